package ingest

import (
	"time"
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
}

// begin begins a stage of the delivery. The route must be known.
func (d *delivery) begin(s stage) running { return running{d, s, d.s.Now()} }

// end records how long the stage took.
func (r running) end() {
	r.d.route.metrics.stages[r.stage].Observe(r.d.s.Now().Sub(r.start).Seconds())
}
