package ingest

import (
	"io"
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// tracedTransport makes a span of kind CLIENT for each request whose context has a span
// that is recorded. The request goes out as it is: the processor gets no trace context.
//
// The attributes are those of OpenTelemetry's semantic conventions. They have neither the path
// nor the query: some processors have the merchant's id in the path.
// https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client-span
type tracedTransport struct {
	http.RoundTripper
	tracer trace.Tracer
}

// RoundTrip implements [http.RoundTripper]. The span ends when the answer's body is
// closed.
func (t tracedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !trace.SpanFromContext(r.Context()).IsRecording() {
		return t.RoundTripper.RoundTrip(r)
	}
	port, err := strconv.Atoi(r.URL.Port())
	if err != nil {
		port = 443
	}
	_, span := t.tracer.Start(r.Context(), r.Method, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		semconv.HTTPRequestMethodKey.String(r.Method), semconv.ServerAddress(r.URL.Hostname()), semconv.ServerPort(port)))
	response, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		span.SetAttributes(semconv.ErrorType(err))
		span.SetStatus(codes.Error, "") // the text of the error may have the query
		span.End()
		return response, err
	}
	span.SetAttributes(semconv.HTTPResponseStatusCode(response.StatusCode))
	if response.StatusCode >= http.StatusBadRequest {
		span.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(response.StatusCode)))
		span.SetStatus(codes.Error, "")
	}
	response.Body = tracedBody{response.Body, span}
	return response, nil
}

// tracedBody is the body of an answer, which ends the span.
type tracedBody struct {
	io.ReadCloser
	span trace.Span
}

func (b tracedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.span.SetAttributes(semconv.ErrorType(err))
		b.span.SetStatus(codes.Error, "the answer is incomplete")
	}
	return n, err
}

func (b tracedBody) Close() error {
	b.span.End()
	return b.ReadCloser.Close()
}
