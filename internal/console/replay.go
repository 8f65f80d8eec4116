package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/replay"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

// replayForm selects what a replay reads, and how fast it publishes.
type replayForm struct {
	From      time.Time      `json:"from,omitzero"`
	To        time.Time      `json:"to,omitzero"`
	Offsets   *offsets       `json:"offsets,omitempty"` // nil: all
	Connector string         `json:"connector,omitempty"`
	Endpoint  string         `json:"endpoint,omitempty"` // its name
	Types     []schemas.Type `json:"types,omitempty"`
	Outcome   string         `json:"outcome,omitempty"`
	Reason    string         `json:"reason,omitempty"` // a part of the reason why a webhook was ignored or malformed
	Keys      []string       `json:"keys,omitempty"`
	Missing   bool           `json:"missing,omitempty"`
	Rate      float64        `json:"rate,omitempty"`
	ToPrefix  string         `json:"to_prefix,omitempty"` // of the topics to publish to; empty: the live topics
}

// offsets are those of the webhooks that a replay reads: from one place up to another,
// without it.
type offsets struct {
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	all  *replay.OffsetRange
}

// newOffsets returns the offsets of a topic within limits, and nil if no place limits them.
func newOffsets(l replay.Limits, received string) (*offsets, error) {
	all := l.Offsets
	switch {
	case all == nil:
		return nil, nil
	case l.Topic != "" && l.Topic != received:
		return nil, fmt.Errorf("expected a place in %s, got one in %s", received, display.Cut(l.Topic, 100))
	}
	o := &offsets{all: all, From: kafka.Receipt{Topic: received, Partition: all.Partition, Offset: all.From}.Text()}
	if all.To != consume.Forever {
		o.To = kafka.Receipt{Topic: received, Partition: all.Partition, Offset: all.To}.Text()
	}
	return o, nil
}

// replayOutcomes are the outcomes with which webhooks are archived.
var replayOutcomes = []string{string(normalize.OutcomeEvents), string(webhook.OutcomeDuplicate), string(normalize.OutcomeIgnored), string(normalize.OutcomeMalformed)}

// filter returns the filter of a replay.
func (f *replayForm) filter() replay.Filter {
	r := replay.Filter{From: f.From, To: f.To, Connector: f.Connector, Endpoint: f.Endpoint, Outcome: normalize.Outcome(f.Outcome), Reason: f.Reason, Types: f.Types, Keys: f.Keys, Missing: f.Missing}
	if f.Offsets != nil {
		r.Offsets = f.Offsets.all
	}
	return r
}

// replayPage is the data of the page with the form.
type replayPage struct {
	Action    action
	Endpoints []string
	Types     []schemas.Type
	Outcomes  []string
	Last      *job // the last plan or replay
}

// replay shows the form of a replay.
func (h *Handler) replay(r *http.Request) (view, error) {
	data := replayPage{Action: h.action(r, h.canWrite()), Types: schemas.Types(), Outcomes: replayOutcomes}
	for _, e := range sorted(h.Endpoints()) {
		data.Endpoints = append(data.Endpoints, e.ID())
	}
	var last any = map[string]any{}
	if j := h.jobs.current(); j != nil && j.Filter != nil {
		data.Last, last = j, j
	}
	return view{template: "replay", Here: "replay", Title: "Replay", Data: data, JSON: last}, nil
}

// readReplay reads the form of a plan.
func (h *Handler) readReplay(r *http.Request, now time.Time) (f *replayForm, err error) {
	field := func(name string) string { return strings.TrimSpace(r.PostForm.Get(name)) }
	f = &replayForm{Outcome: field("outcome"), Reason: field("reason"), Keys: linesOf(r.PostForm["key"]), Missing: field("missing") != "", ToPrefix: field("to_prefix")}
	endpoint := field("endpoint")
	f.Connector, f.Endpoint, _ = strings.Cut(endpoint, "/")
	for _, t := range linesOf(r.PostForm["type"]) {
		f.Types = append(f.Types, schemas.Type(t))
	}
	wrong := func(text string) error {
		return problem{http.StatusBadRequest, text, "Go back and correct the form."}
	}
	names, err := h.Names()
	if err != nil {
		return nil, notReady(err)
	}
	limits, err := replay.ParseLimits(field("from"), field("to"))
	if err == nil {
		f.Offsets, err = newOffsets(limits, names.Received())
	}
	if err != nil {
		return nil, wrong(display.Cut("from and to: "+err.Error(), 300) + ".")
	}
	if f.From, err = h.ParseTime("from", limits.FromTime, now); err == nil {
		f.To, err = h.ParseTime("to", limits.ToTime, now)
	}
	if err != nil {
		return nil, wrong(display.Cut(err.Error(), 300) + ".")
	}
	f.From, f.To = f.From.UTC(), f.To.UTC()
	if f.To.IsZero() && (f.Offsets == nil || f.Offsets.To == "") {
		f.To = now.UTC() // a publication of the plan reads the same webhooks
	}
	if text := field("rate"); text != "" {
		if f.Rate, err = strconv.ParseFloat(text, 64); err != nil || !(f.Rate >= 0 && f.Rate <= 1e6) {
			return nil, wrong("The rate is not a number of events a second.")
		}
	}
	switch {
	case slices.ContainsFunc(f.Types, func(t schemas.Type) bool { return !t.Known() }):
		return nil, wrong("An event type is unknown.")
	case f.Outcome != "" && !slices.Contains(replayOutcomes, f.Outcome):
		return nil, wrong("The outcome is unknown.")
	case endpoint != "" && !slices.ContainsFunc(h.Endpoints(), func(e webhook.Endpoint) bool { return e.ID() == endpoint }):
		return nil, wrong("There is no such endpoint in the configuration.")
	case !kafka.IsPrefix(f.ToPrefix):
		return nil, wrong("The prefix cannot be one of topics: they have letters, digits, dots, dashes and underscores.")
	case len(f.ToPrefix) > 150:
		return nil, wrong("The prefix is too long.")
	case len(f.Keys) > maxReplayKeys, slices.ContainsFunc(f.Keys, func(k string) bool { return len(k) > 1000 }), len(f.Reason) > 1000:
		return nil, wrong(fmt.Sprintf("A merchant's id or the reason is too long, or there are more than %d ids.", maxReplayKeys))
	}
	return f, nil
}

// maxReplayKeys is how many merchant's ids the form of a replay may have: the audit log has
// all of them.
const maxReplayKeys = 100

// linesOf returns the lines of all values of a field that are not empty, each once.
func linesOf(values []string) (all []string) {
	for line := range strings.SplitSeq(strings.Join(values, "\n"), "\n") {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(all, line) {
			all = append(all, line)
		}
	}
	return all
}

// runReplay makes a plan, or publishes the last one.
func (h *Handler) runReplay(w http.ResponseWriter, r *http.Request) {
	fail := func(err error) { h.show(w, r, view{Here: "replay"}, err) }
	j := &job{Kind: jobPlan}
	switch r.PostForm.Get("action") {
	case "plan":
		f, err := h.readReplay(r, time.Now())
		if err != nil {
			fail(err)
			return
		}
		j.Filter = f
	case "publish":
		last := h.jobs.current()
		if last == nil || last.ID != r.PostForm.Get("plan") || last.Kind != jobPlan || last.Running() || last.Error != "" {
			fail(problem{http.StatusConflict, "This plan is not the last one that was made.", "Make a plan again and publish it from its page: what is published must be what you saw."})
			return
		}
		j.Kind, j.Filter = jobReplay, last.Filter
	default:
		fail(problem{http.StatusBadRequest, "The form says neither plan nor publish.", "Open the page Replay and send the form from there."})
		return
	}
	audit := func() {
		h.audit(r, userOf(r), j.Kind).Str("job", j.ID).RawJSON("filter", mustJSON(j.Filter)).Msg("somebody replays webhooks in the console")
	}
	if err := h.start(r, j, audit, h.replayJob); err != nil {
		fail(err)
		return
	}
	h.redirect(w, r, jobURL(j.ID))
}

// The limits of what a job keeps of the changes of a replay.
const (
	maxChanges     = 2000
	maxChangeBytes = 16 << 20
	maxDiffText    = 300 // characters of one difference
	maxTooLarge    = 100
)

// replayJob does the job of [Handler.runReplay], as the command does.
func (h *Handler) replayJob(ctx context.Context, j *job) error {
	publish := j.Kind == jobReplay
	if publish {
		h.jobs.update(func() { j.Stage = "waiting for the lock on the topics" })
	}
	return h.Open(ctx, Opening{j.Kind, publish, j.Filter.ToPrefix}, func(ctx context.Context, s Session) error {
		h.jobs.update(func() { j.Stage = "reading what is published" })
		run := replay.Config{
			Reader: s.Reader, Webhooks: s.Archive, Events: s.Names, Endpoints: h.Endpoints(), Filter: j.Filter.filter(), Rate: j.Filter.Rate,
			ID: j.ID, Differences: true,
			Each: func(c replay.Change) error { h.jobs.update(func() { j.addChange(c) }); return nil },
			TooLarge: func(e schemas.Event, reason string) error {
				h.jobs.update(func() { j.addTooLarge(e, reason) })
				return nil
			},
			Progress: func(stage string, done, all int64) {
				h.jobs.update(func() { j.Stage, j.Done, j.All = "reading the "+stage, done, all })
			},
		}
		if publish {
			run.Publisher = s.Publisher
		}
		err := h.checkReplaySize(ctx, run)
		if err != nil {
			return err
		}
		if run.History, err = s.History(ctx); err != nil {
			return err
		}
		n, err := replay.Run(ctx, run)
		h.jobs.update(func() { j.Counts = &n })
		return err
	})
}

// checkReplaySize returns an error if a replay could take too much of this process's memory.
// It counts the events of the topics, or the webhooks to read if they are more: a replay to
// empty topics can make as many events.
func (h *Handler) checkReplaySize(ctx context.Context, run replay.Config) error {
	if h.MaxReplay == 0 {
		return nil
	}
	events, err := run.Reader.TopicBounds(ctx, run.Events.Events()...)
	if err != nil {
		return err
	}
	webhooks, err := run.WebhookRanges(ctx)
	if err != nil {
		return err
	}
	if n := max(consume.Size(events), consume.Size(webhooks)); n > h.MaxReplay {
		return fmt.Errorf("there are %d published events or webhooks to read, and a replay needs about 170 bytes of memory for each: in the server's process at most %d are allowed, so that webhooks do not suffer; choose fewer webhooks, use 'tollbridge console' beside Kafka, or 'tollbridge replay'", n, h.MaxReplay)
	}
	return nil
}

// addChange keeps a change, if there is room, with its long texts cut.
func (j *job) addChange(c replay.Change) {
	b, err := json.Marshal(c)
	if err != nil || len(j.Changes) == maxChanges || j.bytes+len(b) > maxChangeBytes {
		j.Omitted++
		return
	}
	kept := replayChange{Change: replay.Change{Event: c.Event}}
	for n, f := range c.Fields {
		kept.Diff = append(kept.Diff, display.Cut(c.Diff[n], maxDiffText))
		kept.fields = append(kept.fields, change{f.Field, display.Cut(fieldText(f.Old), maxDiffText), display.Cut(fieldText(f.New), maxDiffText)})
	}
	j.bytes += len(b)
	j.Changes = append(j.Changes, kept)
}

// replayChange is a change of a replay that a job keeps.
type replayChange struct {
	replay.Change
	fields []change // those of Diff, for the page
}

// addTooLarge keeps an event that is too large for its topic, if there is room.
func (j *job) addTooLarge(e schemas.Event, reason string) {
	if len(j.TooLarge) < maxTooLarge {
		j.TooLarge = append(j.TooLarge, fmt.Sprintf("%s %s: %s", e.Type, display.Cut(e.Subject, 100), display.Cut(reason, 300)))
	}
}

// counted is a count of a replay, with what it counts.
type counted struct {
	N    int
	What string
}

// Counted returns the counts of a replay that are not 0.
func (j *job) Counted() (rows []counted) {
	n := j.Counts
	if n == nil {
		return nil
	}
	for _, r := range []counted{
		{n.Read, "webhooks read"}, {n.Same, "events are the same"}, {n.Changed, "events changed"}, {n.New, "events are new"},
		{n.Gone, "events that today's code does not make; they stay"}, {n.Ignored, "webhooks are ignored"}, {n.Malformed, "webhooks are malformed"},
		{n.Unverified, "webhooks are not verified with today's configuration"}, {n.References, "references of published events were missing"},
		{n.TooLarge, "events are too large for their topic; their webhooks are dead letters"}, {n.Published, "events published"},
	} {
		if r.N > 0 || r.What == "webhooks read" {
			rows = append(rows, r)
		}
	}
	return rows
}

// Todo returns how many events a publication of the plan writes.
func (j *job) Todo() int {
	if j.Counts == nil {
		return 0
	}
	if j.Filter.Missing {
		return j.Counts.New
	}
	return j.Counts.New + j.Counts.Changed
}

// changeRow is a change of a replay, as the page lists it.
type changeRow struct {
	schemas.Event
	Corrects string // the id of the event that is corrected; empty for a new event
	Fields   []change
}

// newChangeRow returns a change as a row of the page of the job.
func newChangeRow(c replayChange) changeRow {
	return changeRow{Event: c.Event, Corrects: c.Event.Data.Corrects, Fields: c.fields}
}
