package ingest

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/tollbridge/tollbridge/normalize"
)

// With [Config.Tracer], each webhook has a span of kind SERVER, and below it a span for
// each stage. The span of the stage publish is of kind PRODUCER, and all records of the
// webhook name it in their header traceparent. It is a child of the webhook's span, not a
// link: a webhook waits for its own records. The requests to Kafka have no spans: one
// request carries records of many webhooks.
//
// The attributes are those of OpenTelemetry's semantic conventions for HTTP and
// messaging, and ours, which begin with tollbridge. They have no part of a body, of a
// query or of a header, no secret and no merchant's id.
// https://opentelemetry.io/docs/specs/semconv/

// maxEventIDs bounds the event ids that a span has. The log has all of them.
const maxEventIDs = 20

// startTrace starts the span of a request. The route is the path's template, or empty if
// the path has none.
func (d *delivery) startTrace(c echo.Context, route string) {
	r := c.Request()
	method := spanMethod(r.Method)
	name := method
	if method == otherMethod {
		name = "HTTP"
	}
	attributes := []attribute.KeyValue{ // one attribute that is not UTF-8 would make the export of all spans fail
		semconv.HTTPRequestMethodKey.String(method), semconv.URLPath(strings.ToValidUTF8(shorten(r.URL.Path), "\ufffd")), semconv.URLScheme("http"),
	}
	if route != "" {
		name += " " + route
		attributes = append(attributes, semconv.HTTPRoute(route))
	}
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, d.span = d.s.Tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attributes...))
	d.trace = traceparentOf(ctx)
	c.SetRequest(r.WithContext(ctx))
}

// otherMethod is the method in spans of requests with a method that HTTP does not define.
const otherMethod = "_OTHER"

func spanMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return method
	}
	return otherMethod
}

// endTrace ends the span of the webhook. The reason is empty if it was not refused.
func (d *delivery) endTrace(status int, reason string) {
	if d.span == nil {
		return
	}
	defer d.span.End()
	if !d.span.IsRecording() {
		return
	}
	d.span.SetAttributes(semconv.HTTPResponseStatusCode(status), semconv.HTTPRequestBodySize(d.bytes))
	if d.from.IsValid() {
		d.span.SetAttributes(semconv.ClientAddress(d.from.String()))
	}
	if d.endpoint != nil {
		d.span.SetAttributes(attribute.String("tollbridge.connector", d.endpoint.Connector), attribute.String("tollbridge.endpoint", d.endpoint.NameOrDefault()))
	}
	if reason != "" {
		d.span.SetAttributes(attribute.String("tollbridge.reason", reason))
	} else {
		d.span.SetAttributes(attribute.String("tollbridge.outcome", string(d.verdict.Outcome())), attribute.Int("tollbridge.duplicates", d.duplicates))
	}
	if status >= http.StatusInternalServerError { // other refusals are no errors of a server
		fail(d.span, reason)
	}
}

// startStage starts the span of a stage, as a child of the span in ctx.
func (s *Server) startStage(ctx context.Context, of stage) (context.Context, trace.Span) {
	if of != stagePublish {
		return s.Tracer.Start(ctx, stageNames[of])
	}
	return s.Tracer.Start(ctx, stageNames[of], trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		semconv.MessagingSystemKafka, semconv.MessagingOperationTypeSend, semconv.MessagingOperationName(stageNames[of])))
}

// endStage ends the span of a stage. The text of the error stays out of the span: it may
// quote the request.
func endStage(span trace.Span, err error) {
	if err != nil {
		_, reason, _ := responsePolicy{}.refuse(err)
		fail(span, reason)
	}
	span.End()
}

// fail sets the status of a span to an error for this reason.
func fail(span trace.Span, reason string) {
	span.SetAttributes(semconv.ErrorTypeKey.String(reason))
	span.SetStatus(codes.Error, reason)
}

// malformed makes the span of the stage normalise an error if an item of the webhook is
// malformed.
func (r running) malformed() {
	if r.span != nil && r.d.verdict.Has(normalize.OutcomeMalformed) {
		fail(r.span, string(normalize.OutcomeMalformed))
	}
}

// sends describes the records in the span of the stage publish.
func (r running) sends(entries []entry, references int) {
	if r.span == nil || !r.span.IsRecording() {
		return
	}
	var ids, topics []string
	records := references
	for _, e := range entries {
		if e.published {
			continue
		}
		records++
		topics = append(topics, e.record.Topic)
		if e.record.Topic != r.d.s.names().Received() && e.record.Topic != r.d.s.names().Dead() && len(ids) < maxEventIDs {
			ids = append(ids, e.id)
		}
	}
	r.span.SetAttributes(semconv.MessagingBatchMessageCount(records), attribute.StringSlice("tollbridge.event_ids", ids))
	if len(topics) == records && len(slices.Compact(topics)) == 1 { // the convention knows no more than one destination
		r.span.SetAttributes(semconv.MessagingDestinationName(topics[0]))
		r.span.SetName(stageNames[stagePublish] + " " + topics[0])
	}
}

// traceparentOf returns the W3C trace context of the span in ctx.
func traceparentOf(ctx context.Context) string {
	header := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, header)
	return header["traceparent"]
}

// traceparent returns the request's W3C trace context, or a new one.
// https://www.w3.org/TR/trace-context/#traceparent-header
func traceparent(h http.Header) string {
	if came := h.Get("Traceparent"); validTraceparent(came) {
		return came
	}
	var id [24]byte
	for i := 0; i < len(id); i += 8 {
		binary.BigEndian.PutUint64(id[i:], rand.Uint64())
	}
	text := make([]byte, 0, 55) // on the stack
	text = hex.AppendEncode(append(text, "00-"...), id[:16])
	text = hex.AppendEncode(append(text, '-'), id[16:])
	return string(append(text, "-01"...))
}

func validTraceparent(s string) bool {
	parts := strings.Split(s, "-")
	if len(parts) != 4 || parts[0] != "00" || len(parts[1]) != 32 || len(parts[2]) != 16 || len(parts[3]) != 2 {
		return false
	}
	zero := strings.Trim(parts[1], "0") == "" || strings.Trim(parts[2], "0") == ""
	return !zero && !slices.ContainsFunc(parts, func(p string) bool { return strings.Trim(p, "0123456789abcdef") != "" })
}
