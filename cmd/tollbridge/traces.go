package main

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// traces exports the spans of a server to an OpenTelemetry collector. Nil makes none.
type traces struct{ provider *sdk.TracerProvider }

// The environment variables that say where spans go. OpenTelemetry's SDK reads the
// others: of OTLP, of the sampler, of the resource and of the batches.
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
const (
	envDisabled       = "OTEL_SDK_DISABLED"
	envExporter       = "OTEL_TRACES_EXPORTER"
	envEndpoint       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	envTracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	envProtocol       = "OTEL_EXPORTER_OTLP_PROTOCOL"
	envTracesProtocol = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
)

// otlpProtocols are the protocols of OTLP, the default first.
var otlpProtocols = []string{"http/protobuf", "http/json", "grpc"}

// tracesProtocol returns the protocol with which the environment asks for traces, by an
// exporter or by the address of a collector; it is empty if it does not. The error is
// about a value that tollbridge does not have.
func tracesProtocol() (string, error) {
	exporter := os.Getenv(envExporter)
	if strings.EqualFold(os.Getenv(envDisabled), "true") || exporter == "none" || exporter+os.Getenv(envEndpoint)+os.Getenv(envTracesEndpoint) == "" {
		return "", nil
	}
	if exporter != "" && exporter != "otlp" {
		return "", usage("%s is %q, want otlp or none", envExporter, exporter)
	}
	name := envProtocol
	if os.Getenv(envTracesProtocol) != "" {
		name = envTracesProtocol
	}
	protocol := cmp.Or(os.Getenv(envTracesProtocol), os.Getenv(envProtocol), otlpProtocols[0])
	if !slices.Contains(otlpProtocols, protocol) {
		return "", usage("%s is %q, want one of %s", name, protocol, strings.Join(otlpProtocols, ", "))
	}
	for _, name := range []string{envEndpoint, envTracesEndpoint} {
		text := os.Getenv(name)
		if u, err := url.Parse(text); text != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return "", usage("%s is not a URL such as http://collector:4318, or http://collector:4317 for gRPC", name)
		}
	}
	return protocol, nil
}

// startTraces starts to export spans if the environment asks for it. Close must be
// called.
func startTraces(ctx context.Context, log zerolog.Logger) (*traces, error) {
	protocol, err := tracesProtocol()
	if protocol == "" || err != nil {
		return nil, err
	}
	otel.SetLogger(logr.New(traceLog{log}))
	otel.SetErrorHandler(&traceErrors{log: log})
	// The environment's service name and attributes replace these.
	about, err := resource.New(ctx, resource.WithAttributes(semconv.ServiceName("tollbridge"), semconv.ServiceVersion(readBuild().version)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil { // the rest of the resource is usable
		log.Warn().Err(err).Msg("traces: OTEL_RESOURCE_ATTRIBUTES or the host's name cannot be read")
	}
	newExporter := func() (*otlptrace.Exporter, error) { return otlptracehttp.New(ctx) }
	if protocol == "grpc" {
		newExporter = func() (*otlptrace.Exporter, error) { return otlptracegrpc.New(ctx) } // connects later
	}
	exporter, err := newExporter()
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	log.Info().Str("protocol", protocol).Msg("traces are exported, as the OTEL_ environment variables say")
	return &traces{sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about))}, nil
}

// tracer returns the tracer of the server's spans; nil makes none.
func (t *traces) tracer() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer("github.com/tollbridge/tollbridge", trace.WithInstrumentationVersion(readBuild().version), trace.WithSchemaURL(semconv.SchemaURL))
}

// traceFlushTime is how long the stop waits until the last spans are exported.
const traceFlushTime = 3 * time.Second

// close exports the last spans, for at most [traceFlushTime], and stops.
func (t *traces) close(ctx context.Context) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), traceFlushTime)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		otel.Handle(err)
	}
}

// traceErrors logs the errors of the export of spans, at most one a minute.
type traceErrors struct {
	log  zerolog.Logger
	mu   sync.Mutex
	last time.Time
	more int // errors since, which were not logged
}

// Handle implements [otel.ErrorHandler].
func (e *traceErrors) Handle(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.last) < time.Minute {
		e.more++
		return
	}
	text := err.Error() // may have the collector's answer
	e.log.Warn().Str("error", text[:min(len(text), 300)]).Int("more", e.more).Msg("spans could not be exported and are lost; webhooks are not affected")
	e.last, e.more = time.Now(), 0
}

// traceLog logs what OpenTelemetry's SDK says about its environment variables. The
// values stay out of the log: they may be secrets.
type traceLog struct{ log zerolog.Logger }

func (l traceLog) Init(logr.RuntimeInfo)             {}
func (l traceLog) Enabled(level int) bool            { return level <= 1 } // the SDK's warnings
func (l traceLog) WithValues(...any) logr.LogSink    { return l }
func (l traceLog) WithName(string) logr.LogSink      { return l }
func (l traceLog) Info(_ int, text string, _ ...any) { l.log.Warn().Msg("OpenTelemetry: " + text) }
func (l traceLog) Error(err error, text string, _ ...any) {
	l.log.Warn().Err(err).Msg("OpenTelemetry: " + text)
}
