package main

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// otlpCollector receives spans as an OpenTelemetry collector does.
type otlpCollector struct {
	collector.UnimplementedTraceServiceServer
	url string

	mu       sync.Mutex
	requests int
	headers  []http.Header
	json     []string // the bodies in JSON
	resource map[string]string
	spans    []*tracepb.Span
}

// startCollector starts a collector that receives OTLP over HTTP at url, and over gRPC at
// the address that it returns.
func startCollector(t *testing.T) (c *otlpCollector, grpcAddress string) {
	t.Helper()
	c = &otlpCollector{resource: map[string]string{}}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	c.url = server.URL
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := grpc.NewServer()
	collector.RegisterTraceServiceServer(over, c)
	go func() { _ = over.Serve(l) }()
	t.Cleanup(over.Stop)
	return c, l.Addr().String()
}

func (c *otlpCollector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	b, err := io.ReadAll(body)
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, "want OTLP at /v1/traces", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	c.headers = append(c.headers, r.Header)
	c.mu.Unlock()
	if r.Header.Get("Content-Type") == "application/json" {
		c.mu.Lock()
		c.json = append(c.json, string(b))
		c.mu.Unlock()
		return
	}
	var request collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(b, &request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = c.Export(r.Context(), &request)
}

// Export implements OTLP over gRPC.
func (c *otlpCollector) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	for _, of := range r.ResourceSpans {
		for _, a := range of.Resource.Attributes {
			c.resource[a.Key] = a.Value.GetStringValue()
		}
		for _, scope := range of.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// named returns the spans whose name begins with a word.
func (c *otlpCollector) named(word string) (spans []*tracepb.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if first, _, _ := strings.Cut(s.Name, " "); first == word {
			spans = append(spans, s)
		}
	}
	return spans
}

// otelEnv sets the variables of OpenTelemetry, and no others.
func otelEnv(t *testing.T, env map[string]string) {
	t.Helper()
	for _, name := range []string{envDisabled, envExporter, envEndpoint, envTracesEndpoint, envProtocol, envTracesProtocol,
		"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_BSP_SCHEDULE_DELAY"} {
		t.Setenv(name, env[name])
	}
}

// tracedServe starts a Kafka and `tollbridge serve` with the environment's variables.
func tracedServe(t *testing.T) (s *served, brokers []string) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	config, listen, admin := filepath.Join(t.TempDir(), "tollbridge.yaml"), freePort(t), freePort(t)
	writeFile(t, config, fmt.Sprintf(`{listen: %s, admin: %s, state: "", kafka: {brokers: [%s], partitions: 3, replication: 1},
endpoints: [{connector: stripe, live: false, secrets: {main: {value: whsec_of_default}}}]}`, listen, admin, cluster.ListenAddrs()[0]))
	createTopics(t, config)
	s = startServe(t, config, listen, admin)
	until(t, "serve to be ready", s.ready)
	return s, cluster.ListenAddrs()
}

func (s *served) deliver(t *testing.T, n int) {
	t.Helper()
	if got := deliver(http.DefaultClient, s.url+"/webhooks/stripe", "whsec_of_default", n); got != "200 OK" {
		t.Fatalf("webhook %d is answered %s: %s", n, got, lastLines(s.log.String()))
	}
}

// TestTraces: the spans of a webhook come to a collector, and what a consumer reads names
// the span of the stage publish. The last spans are exported when the server stops.
func TestTraces(t *testing.T) {
	c, _ := startCollector(t)
	otelEnv(t, map[string]string{envEndpoint: c.url, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20of-the-collector",
		"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,wrong", "OTEL_BSP_SCHEDULE_DELAY": "60000"})
	s, brokers := tracedServe(t)
	s.deliver(t, 1)
	if code := s.end(); code != 0 {
		t.Fatalf("exit %d: %s", code, lastLines(s.log.String()))
	}
	publish, requests := c.named("publish"), c.named("POST")
	if len(publish) != 1 || len(requests) != 1 || len(c.spans) != 6 {
		t.Fatalf("spans %v", c.spans)
	}
	if requests[0].Kind != tracepb.Span_SPAN_KIND_SERVER || publish[0].Kind != tracepb.Span_SPAN_KIND_PRODUCER || string(publish[0].ParentSpanId) != string(requests[0].SpanId) {
		t.Errorf("the spans are %v and %v", requests[0], publish[0])
	}
	if c.resource["service.name"] != "tollbridge" || c.resource["deployment.environment.name"] != "test" || c.resource["service.version"] == "" || c.resource["host.name"] == "" {
		t.Errorf("the resource is %v", c.resource)
	}
	if got := c.headers[0].Get("Authorization"); got != "Bearer of-the-collector" {
		t.Errorf("the header of the collector is %q", got)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("payment.captured", "webhooks.received"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	want := fmt.Sprintf("00-%s-%s-01", hex.EncodeToString(publish[0].TraceId), hex.EncodeToString(publish[0].SpanId))
	for read := 0; read < 2; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read++
			for _, h := range r.Headers {
				if h.Key == "traceparent" && string(h.Value) != want {
					t.Errorf("topic %s: traceparent %s, want %s", r.Topic, h.Value, want)
				} else if h.Key == "traceparent" {
					return
				}
			}
			t.Errorf("topic %s: no traceparent", r.Topic)
		})
	}
	if log := s.log.String(); !strings.Contains(log, "OTEL_RESOURCE_ATTRIBUTES or the host's name cannot be read") || !strings.Contains(log, hex.EncodeToString(requests[0].TraceId)) || strings.Contains(log, "of-the-collector") {
		t.Errorf("the log has no trace id, no warning of the wrong attribute, or the collector's key: %s", lastLines(log))
	}
}

// TestTraceProtocols: spans are exported with each protocol of OTLP.
func TestTraceProtocols(t *testing.T) {
	for _, protocol := range otlpProtocols {
		t.Run(protocol, func(t *testing.T) {
			c, grpcAddress := startCollector(t)
			env := map[string]string{envExporter: "otlp", envProtocol: protocol, envEndpoint: c.url, "OTEL_SERVICE_NAME": "payments"}
			if protocol == "grpc" {
				env[envEndpoint] = "http://" + grpcAddress
			}
			otelEnv(t, env)
			s, _ := tracedServe(t)
			s.deliver(t, 1)
			s.end()
			if protocol == "http/json" {
				if len(c.json) != 1 || !json.Valid([]byte(c.json[0])) || !strings.Contains(c.json[0], `"publish"`) || !strings.Contains(c.json[0], `"payments"`) {
					t.Errorf("requests %v", c.json)
				}
				return
			}
			if len(c.named("publish")) != 1 || c.resource["service.name"] != "payments" {
				t.Errorf("spans %v of %v", c.spans, c.resource)
			}
		})
	}
}

// TestTracesOff: without variables that ask for traces, nothing is exported.
func TestTracesOff(t *testing.T) {
	c, _ := startCollector(t)
	for name, env := range map[string]map[string]string{
		"the SDK is disabled":  {envDisabled: "TRUE", envExporter: "otlp", envEndpoint: c.url},
		"no exporter":          {envExporter: "none", envEndpoint: c.url},
		"nothing is sampled":   {envEndpoint: c.url, "OTEL_TRACES_SAMPLER": "always_off"},
		"nothing is asked for": {"OTEL_SERVICE_NAME": "payments"},
	} {
		t.Run(name, func(t *testing.T) {
			otelEnv(t, env)
			s, _ := tracedServe(t)
			s.deliver(t, 1)
			s.end()
			if c.requests > 0 {
				t.Errorf("the collector got %d requests", c.requests)
			}
			if log := s.log.String(); strings.Contains(log, "trace_id") != (name == "nothing is sampled") {
				t.Errorf("the log has ids of spans that there are not: %s", lastLines(log))
			}
		})
	}
}

// TestTracesWithoutCollector: a collector that is down, and one that never answers, delay
// no webhook. The log says once that spans are lost, and the stop waits no longer than
// traceFlushTime.
func TestTracesWithoutCollector(t *testing.T) {
	ended := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-ended }))
	defer silent.Close()
	defer close(ended)
	for name, endpoint := range map[string]string{"down": "http://" + freePort(t), "silent": silent.URL} {
		t.Run(name, func(t *testing.T) {
			otelEnv(t, map[string]string{envEndpoint: endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"})
			s, _ := tracedServe(t)
			for n := range 20 {
				s.deliver(t, n)
			}
			began := time.Now()
			if code := s.end(); code != 0 {
				t.Errorf("exit %d", code)
			}
			if took := time.Since(began); took > traceFlushTime+10*time.Second {
				t.Errorf("the stop took %v", took)
			}
			if n := strings.Count(s.log.String(), "spans could not be exported"); n != 1 {
				t.Errorf("the log says %d times that spans are lost, want once: %s", n, lastLines(s.log.String()))
			}
		})
	}
}

// TestWrongTraces: values of OpenTelemetry's variables that tollbridge does not have are
// errors at the start.
func TestWrongTraces(t *testing.T) {
	config := filepath.Join(t.TempDir(), "tollbridge.yaml")
	writeFile(t, config, fmt.Sprintf(`{listen: %s, admin: %s, state: "", kafka: {brokers: [%s]},
endpoints: [{connector: stripe, live: false, secrets: {main: {value: whsec_of_default}}}]}`, freePort(t), freePort(t), freePort(t)))
	for want, env := range map[string]map[string]string{
		`OTEL_TRACES_EXPORTER is "zipkin", want otlp or none`:                                 {envExporter: "zipkin"},
		`OTEL_EXPORTER_OTLP_PROTOCOL is "thrift", want one of http/protobuf, http/json, grpc`: {envExporter: "otlp", envProtocol: "thrift"},
		"OTEL_EXPORTER_OTLP_ENDPOINT is not a URL such as http://collector:4318":              {envEndpoint: "collector:4318"},
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is not a URL such as http://collector:4318":       {envTracesEndpoint: "http://user:pass word@:"},
	} {
		otelEnv(t, env)
		if got := tollbridge(t, "", "serve", "--config", config); got.code != 2 || !strings.Contains(got.err, want) || strings.Contains(got.err, "pass") {
			t.Errorf("exit %d, %s; want 2 and %q", got.code, got.err, want)
		}
	}
}
