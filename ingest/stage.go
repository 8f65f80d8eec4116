package ingest

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// stage is one of the stages that a webhook passes through: see the package's
// comment.
type stage int

// The stages that are timed. The response takes no time of its own.
const (
	stageReceive stage = iota
	stageVerify
	stageFetch
	stageNormalise
	stageAdmit
	stagePublish
)

// stageNames are the stages' names in metrics and traces.
var stageNames = [...]string{"receive", "verify", "fetch", "normalise", "admit", "publish"}

// running is a stage that has begun. Call end when it is over.
type running struct {
	d     *delivery
	stage stage
	start time.Time
	span  trace.Span // nil without tracing
}

// begin begins a stage of the delivery, and returns the context for its work. The route
// must be known.
func (d *delivery) begin(ctx context.Context, s stage) (context.Context, running) {
	r := running{d: d, stage: s, start: d.s.Now()}
	if d.span != nil {
		ctx, r.span = d.s.startStage(ctx, s)
	}
	return ctx, r
}

// end records how long the stage took. The error is why the stage failed, or nil.
func (r running) end(err error) {
	r.d.route.metrics.stages[r.stage].Observe(r.d.s.Now().Sub(r.start).Seconds())
	if r.span != nil {
		endStage(r.span, err)
	}
}

// traceparent returns the W3C trace context for the records of the stage publish, whose
// context is ctx.
func (r running) traceparent(ctx context.Context) string {
	if r.span == nil {
		return r.d.trace
	}
	return traceparentOf(ctx)
}
