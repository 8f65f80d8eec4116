package ingest_test

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// traced makes a server record its spans. It returns them by name; the name of a request's
// span is cut to its method.
func traced(c *ingest.Config) func() map[string]sdk.ReadOnlySpan {
	recorder := tracetest.NewSpanRecorder()
	c.Tracer = sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder)).Tracer("test")
	return func() map[string]sdk.ReadOnlySpan {
		spans := map[string]sdk.ReadOnlySpan{}
		for _, s := range recorder.Ended() {
			name, _, _ := strings.Cut(s.Name(), " ")
			spans[name] = s
		}
		return spans
	}
}

// describe returns a span's attributes as text.
func describe(s sdk.ReadOnlySpan) map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes() {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

// TestSpans: a webhook has a span for the request and one for each stage, in the trace
// that the request names. Its records name the span of the stage publish, and its log line
// the span of the request.
func TestSpans(t *testing.T) {
	var spans func() map[string]sdk.ReadOnlySpan
	b := newBridge(t, only("stripe"), func(c *ingest.Config) { spans = traced(c) })
	r := signed(t, "stripe", captured(t))
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if a := b.do(r); a.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", a.StatusCode, b.logs.String())
	}
	got := spans()
	root := got["POST"]
	if root == nil || root.Name() != "POST /webhooks/:connector/:endpoint" || root.SpanKind() != trace.SpanKindServer || root.Parent().SpanID().String() != "b7ad6b7169203331" || !root.Parent().IsRemote() {
		t.Fatalf("the span of the request is %v, want a SERVER span below that of the header", root)
	}
	want := map[string]string{
		"http.request.method": "POST", "http.route": "/webhooks/:connector/:endpoint", "url.path": "/webhooks/stripe/default", "url.scheme": "http",
		"http.response.status_code": "200", "http.request.body.size": fmt.Sprint(len(captured(t))), "client.address": "192.0.2.1",
		"tollbridge.connector": "stripe", "tollbridge.endpoint": "default", "tollbridge.outcome": "events", "tollbridge.duplicates": "0",
	}
	if have := describe(root); !maps.Equal(have, want) {
		t.Errorf("the span of the request has %v, want %v", have, want)
	}
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, []string{"POST", "admit", "normalise", "publish", "receive", "verify"}) {
		t.Errorf("spans %v", names)
	}
	for name, s := range got {
		if s.SpanContext().TraceID().String() != "0af7651916cd43dd8448eb211c80319c" || s.Status().Code != codes.Unset {
			t.Errorf("%s: trace %s, status %v", name, s.SpanContext().TraceID(), s.Status())
		}
		if name != "POST" && s.Parent().SpanID() != root.SpanContext().SpanID() {
			t.Errorf("%s is not below the span of the request", name)
		}
	}
	publish := got["publish"]
	records := b.published()
	want = map[string]string{
		"messaging.system": "kafka", "messaging.operation.type": "send", "messaging.operation.name": "publish",
		"messaging.batch.message_count": "2", "tollbridge.event_ids": `["` + headersOf(records[0])["event-id"] + `"]`,
	}
	if have := describe(publish); publish.SpanKind() != trace.SpanKindProducer || publish.Name() != "publish" || !maps.Equal(have, want) {
		t.Errorf("%s, a %v span, has %v; want %v", publish.Name(), publish.SpanKind(), have, want)
	}
	for _, r := range records {
		if have, want := headersOf(r)["traceparent"], traceparentOf(publish); have != want {
			t.Errorf("topic %s: traceparent %s, want %s", r.Topic, have, want)
		}
	}
	at := root.SpanContext()
	for _, field := range []string{`"trace":"` + traceparentOf(root) + `"`, `"trace_id":"` + at.TraceID().String() + `"`, `"span_id":"` + at.SpanID().String() + `"`, `"trace_flags":"01"`} {
		if !strings.Contains(b.logs.String(), field) {
			t.Errorf("the log has no %s: %s", field, b.logs.String())
		}
	}
}

func traceparentOf(s sdk.ReadOnlySpan) string {
	return fmt.Sprintf("00-%s-%s-01", s.SpanContext().TraceID(), s.SpanContext().SpanID())
}

// TestSpanErrors: the span of the stage that failed has the reason. The span of the
// request is an error if its status is 5xx, as the convention says.
func TestSpanErrors(t *testing.T) {
	down := func(c *ingest.Config) {
		c.Publisher = publisher(func(context.Context, []kafka.Record) ([]kafka.Receipt, error) { return nil, kafka.ErrUnavailable })
	}
	post := func(path, body string) *http.Request {
		return httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	}
	for _, tt := range []struct {
		name      string
		r         *http.Request
		change    func(*ingest.Config)
		span      string // the name of the request's span
		stage     string // that failed; empty if none was begun
		reason    string // of the stage
		status    int
		wantStage string // all stages
	}{
		{name: "forged", r: post("/webhooks/stripe", "{}"), span: "POST /webhooks/:connector", stage: "verify", reason: "signature_missing", status: 401, wantStage: "receive verify"},
		{name: "too large", r: post("/webhooks/stripe", strings.Repeat("x", 2<<20)), span: "POST /webhooks/:connector", stage: "receive", reason: "body_too_large", status: 413, wantStage: "receive"},
		{name: "Kafka is down", r: signed(t, "stripe", captured(t)), change: down, span: "POST /webhooks/:connector/:endpoint", stage: "publish", reason: "kafka_unavailable", status: 503, wantStage: "admit normalise publish receive verify"},
		{name: "malformed", r: signed(t, "stripe", []byte(`{"object":"event","id":"evt_1","type":"payment_intent.succeeded","livemode":true,"created":1767268800,"data":{"object":{}}}`)),
			span: "POST /webhooks/:connector/:endpoint", stage: "normalise", reason: "malformed", status: 200, wantStage: "admit normalise publish receive verify"},
		{name: "a panic", r: signed(t, "stripe", captured(t)), change: func(c *ingest.Config) {
			c.Publisher = publisher(func(context.Context, []kafka.Record) ([]kafka.Receipt, error) { panic("4711") })
		}, span: "POST /webhooks/:connector/:endpoint", status: 503, wantStage: "admit normalise publish receive verify"},
		{name: "no endpoint", r: post("/webhooks/stripe/eu", "{}"), span: "POST /webhooks/:connector/:endpoint", status: 404},
		{name: "no path", r: post("/wp-login.php", "{}"), span: "POST", status: 404},
		{name: "no method", r: httptest.NewRequest(http.MethodPut, "/webhooks/stripe", nil), span: "PUT /webhooks/:connector", status: 405},
		{name: "a method of its own", r: httptest.NewRequest("BREW", "/webhooks/stripe", nil), span: "HTTP", status: 405},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var spans func() map[string]sdk.ReadOnlySpan
			change := tt.change
			if change == nil {
				change = func(*ingest.Config) {}
			}
			b := newBridge(t, only("stripe"), change, func(c *ingest.Config) { spans = traced(c) })
			if a := b.do(tt.r); a.StatusCode != tt.status {
				t.Fatalf("status %d, want %d: %s", a.StatusCode, tt.status, b.logs.String())
			}
			got := spans()
			method, _, _ := strings.Cut(tt.span, " ")
			root := got[method]
			if root == nil || root.Name() != tt.span {
				t.Fatalf("the span of the request is %v, want %s", root, tt.span)
			}
			delete(got, method)
			if stages := strings.Join(slices.Sorted(maps.Keys(got)), " "); stages != tt.wantStage {
				t.Errorf("stages %q, want %q", stages, tt.wantStage)
			}
			want := codes.Unset
			if tt.status >= 500 {
				want = codes.Error
			}
			if root.Status().Code != want || (describe(root)["error.type"] != "") != (want == codes.Error) || (describe(root)["tollbridge.reason"] == "") != (tt.status == 200) {
				t.Errorf("status %d: the span of the request has the status %v and %v", tt.status, root.Status(), describe(root))
			}
			for name, s := range got {
				reason, code := "", codes.Unset
				if name == tt.stage {
					reason, code = tt.reason, codes.Error
				} else if tt.name == "a panic" && name == "publish" {
					continue
				}
				if s.Status().Code != code || s.Status().Description != reason || describe(s)["error.type"] != reason {
					t.Errorf("%s: status %v and %v, want the reason %q", name, s.Status(), describe(s), reason)
				}
			}
		})
	}
}

// TestSpansOfFetch: each request to a processor's API has a CLIENT span below the stage
// fetch, without the query. The processor does not get the trace context.
func TestSpansOfFetch(t *testing.T) {
	const key = "live_secretsecret71"
	for _, tt := range []struct {
		status int
		stage  codes.Code
	}{{200, codes.Unset}, {500, codes.Error}, {404, codes.Error}} {
		api := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Traceparent") != "" {
				t.Error("the processor gets the trace context")
			}
			w.WriteHeader(tt.status)
			_, _ = w.Write([]byte(molliePayment))
		})
		var spans func() map[string]sdk.ReadOnlySpan
		b := newBridge(t, func(c *ingest.Config) {
			c.Endpoints = []webhook.Endpoint{{Connector: "mollie", PublicURL: publicURL, Live: true, API: &fetch.API{Keys: []fetch.Key{{Name: "main", Value: key}}}}}
			c.Fetcher = api.Client
			spans = traced(c)
		})
		r := httptest.NewRequest(http.MethodPost, "/webhooks/mollie", strings.NewReader("id=tr_Demo7Kq2"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		b.do(r)
		if calls := api.Calls(); len(calls) != 1 || !strings.Contains(calls[0], "?embed=") {
			t.Fatalf("requests %v, want one with a query", calls)
		}
		got := spans()
		client, stage := got["GET"], got["fetch"]
		if client == nil || stage == nil || client.Parent().SpanID() != stage.SpanContext().SpanID() || client.SpanKind() != trace.SpanKindClient {
			t.Fatalf("the span of the request is %v, want a CLIENT span below %v", client, stage)
		}
		want := map[string]string{
			"http.request.method": "GET", "server.address": "api.mollie.com", "server.port": "443",
			"http.response.status_code": fmt.Sprint(tt.status),
		}
		if tt.status != 200 {
			want["error.type"] = fmt.Sprint(tt.status)
		}
		if have := describe(client); !maps.Equal(have, want) || client.Status().Code != tt.stage || stage.Status().Code != tt.stage {
			t.Errorf("status %d: the client's span has %v and %v, the stage's %v; want %v", tt.status, have, client.Status(), stage.Status(), want)
		}
	}
}

// TestSpansHaveNoSecrets: no attribute of a span, and no name and no status, has a part of
// the body, of the query or of a header, or a secret: of every connector, accepted and
// refused.
func TestSpansHaveNoSecrets(t *testing.T) {
	const query = "query-4711"
	for _, connector := range verify.Connectors() {
		keys, _, _ := sign.Dev(connector)
		for _, forged := range []bool{false, true} {
			var spans func() map[string]sdk.ReadOnlySpan
			b := newBridge(t, only(connector), func(c *ingest.Config) { spans = traced(c) })
			name := samples.Names(connector)[0]
			r := signed(t, connector, sample(t, connector, name))
			subject := ""
			if m := meaning(t, connector, r); len(m.Events) > 0 {
				subject = m.Events[0].Subject
			}
			r = signed(t, connector, sample(t, connector, name))
			if r.URL.RawQuery == "" {
				r.URL.RawQuery = "a=" + query
			}
			if forged {
				r.Body = http.NoBody
			}
			b.do(r)
			private := []string{query, subject}
			for _, s := range keys.Secrets {
				private = append(private, s.Value, base64.StdEncoding.EncodeToString([]byte(s.Value)))
			}
			for _, values := range r.Header {
				private = append(private, values...)
			}
			for _, s := range spans() {
				text := strings.Join(append(slices.Collect(maps.Values(describe(s))), s.Name(), s.Status().Description), "\n")
				for _, p := range private {
					if len(p) > 6 && p != publicURL && strings.Contains(text, p) {
						t.Errorf("%s: the span %s has %q:\n%s", connector, s.Name(), p, text)
					}
				}
				if len(s.Events()) > 0 {
					t.Errorf("%s: the span %s has events, which may quote an error: %v", connector, s.Name(), s.Events())
				}
			}
		}
	}
}

// TestSpanOfOneTopic: a webhook that is only archived has one destination, which its span
// names.
func TestSpanOfOneTopic(t *testing.T) {
	var spans func() map[string]sdk.ReadOnlySpan
	b := newBridge(t, only("stripe"), func(c *ingest.Config) { spans = traced(c) })
	b.do(signed(t, "stripe", []byte(`{"object":"event","id":"evt_1","type":"customer.created","livemode":true,"created":1767268800,"data":{"object":{"id":"cus_1"}}}`)))
	got := spans()["publish"]
	if got == nil || got.Name() != "publish webhooks.received" || describe(got)["messaging.destination.name"] != "webhooks.received" || describe(got)["messaging.batch.message_count"] != "1" {
		t.Errorf("the span is %v", got)
	}
}

// TestNotSampled: without a sampled trace nothing is recorded, and the records say so to
// consumers.
func TestNotSampled(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	b := newBridge(t, only("stripe"), func(c *ingest.Config) {
		c.Tracer = sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder), sdk.WithSampler(sdk.ParentBased(sdk.AlwaysSample()))).Tracer("test")
	})
	r := signed(t, "stripe", captured(t))
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
	b.do(r)
	got := headersOf(b.published()[0])["traceparent"]
	if len(recorder.Ended()) > 0 || !strings.HasPrefix(got, "00-0af7651916cd43dd8448eb211c80319c-") || !strings.HasSuffix(got, "-00") {
		t.Errorf("%d spans, traceparent %s", len(recorder.Ended()), got)
	}
}

// BenchmarkTraces measures a webhook up to the call to Kafka, without and with tracing.
func BenchmarkTraces(b *testing.B) {
	for name, tracer := range map[string]trace.Tracer{"off": nil, "on": sdk.NewTracerProvider(sdk.WithBatcher(tracetest.NewNoopExporter())).Tracer("bench")} {
		b.Run(name, func(b *testing.B) {
			s := newBridge(b, only("stripe"), func(c *ingest.Config) {
				c.Tracer, c.Metrics = tracer, prometheus.NewRegistry()
				c.Publisher = publisher(func(_ context.Context, r []kafka.Record) ([]kafka.Receipt, error) {
					return make([]kafka.Receipt, len(r)), nil
				})
			})
			body := captured(b)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				r := signed(b, "stripe", body)
				b.StartTimer()
				if a := s.do(r); a.StatusCode != http.StatusOK {
					b.Fatal(cmp.Or(a.Status, "no status"))
				}
			}
		})
	}
}
