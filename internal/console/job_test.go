package console

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/replay"
)

// TestJobPanics: a panic ends its job with an error, and not the server; the next job can
// start. The audit log has the line of a job before the job begins.
func TestJobPanics(t *testing.T) {
	g := newGuarded(Config{Login: Login{Password: testPassword}, Write: true})
	r, _ := http.NewRequestWithContext(t.Context(), "POST", "/console/dead", nil)
	for n, f := range []func() error{func() error { panic("by a test") }, func() error { return errors.New("by a test") }} {
		j := &job{Kind: jobRetry}
		logged := make(chan string, 1)
		audit := func() { g.audit(r, user{Name: "anna"}, j.Kind).Str("job", j.ID).Msg("") }
		err := g.start(r, j, audit, func(context.Context, *job) error {
			logged <- g.log.String()
			return f()
		})
		if err != nil {
			t.Fatal(err)
		}
		g.jobs.running.Wait()
		if line := <-logged; !strings.Contains(line, `"audit":"dead_retry"`) || !strings.Contains(line, j.ID) {
			t.Errorf("when the job began, the log was %s", line)
		}
		if got := g.jobs.current(); got.Running() || !strings.Contains(got.Error, "by a test") || strings.Contains(got.Error, "fault of tollbridge") != (n == 0) {
			t.Errorf("job %d: %+v", n, got)
		}
		if stack := strings.Contains(g.log.String(), "runJob"); !stack {
			t.Errorf("the log has no stack: %s", g.log)
		}
	}
}

// TestScans: only so many pages read whole topics at once; a page that has to wait for too
// long says why.
func TestScans(t *testing.T) {
	h := starting()
	var ends []func()
	for range maxScans {
		done, err := h.scan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, done)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := h.scan(ctx); err == nil || !strings.Contains(err.Error(), "Other pages") {
		t.Errorf("one more than allowed: %v", err)
	}
	ends[0]()
	if _, err := h.scan(t.Context()); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
}

// TestChangeRow: values of a changed field are shown as they are, whatever text is in
// them, and each is cut alone.
func TestChangeRow(t *testing.T) {
	long := strings.Repeat("x", 2*maxDiffText)
	var j job
	c := replay.Change{Fields: []replay.FieldChange{{Field: "reason", Old: mustJSON("a: b → c" + long), New: mustJSON("d → e: f")}, {Field: "amount", New: []byte(`{"value":1099,"currency":"EUR"}`)}}}
	for _, f := range c.Fields {
		c.Diff = append(c.Diff, f.String())
	}
	j.addChange(c)
	got := newChangeRow(j.Changes[0]).Fields
	if got[0].Field != "reason" || !strings.HasPrefix(got[0].Old, "a: b → cxx") || !strings.HasSuffix(got[0].Old, "x…") || got[0].New != "d → e: f" || got[1].Old != "" || !strings.Contains(got[1].New, "10.99") {
		t.Errorf("%+v", got)
	}
	if j.Changes[0].Diff[1] != `amount: none → {"value":1099,"currency":"EUR"}` || !strings.HasPrefix(c.Diff[0], `reason: "a: b → cxx`) || len(c.Diff[0]) < len(long) {
		t.Errorf("%q", j.Changes[0].Diff)
	}
}

// TestReplaySize: a replay that could take too much memory is refused before the history is
// read: also one to empty topics, which makes the events of all webhooks that it reads.
func TestReplaySize(t *testing.T) {
	r := newLiveRig(t)
	to := kafka.Names{Prefix: "again."}
	if _, err := (kafka.Layout{Names: to, Partitions: 3, Replication: 1}).Apply(t.Context(), r.config); err != nil {
		t.Fatal(err)
	}
	for _, outcome := range []string{"events", "duplicate", "ignored"} {
		r.archived(r.names.Received(), "order-1", outcome, "")
	}
	h, _ := r.server()
	read := errors.New("the history is read")
	h.Open = func(ctx context.Context, o Opening, f func(context.Context, Session) error) error {
		return f(ctx, Session{Reader: h.Reader, Archive: r.names, Names: to, History: func(context.Context) (*history.History, error) { return nil, read }})
	}
	p := kafka.PartitionOf([]byte("order-1"), 3)
	some := &offsets{all: &replay.OffsetRange{Partition: p, Range: consume.Range{From: 1, To: consume.Forever}}}
	for _, c := range []struct {
		most    int64
		offsets *offsets
		refused bool
	}{{2, nil, true}, {2, some, false}, {3, nil, false}, {0, nil, false}} {
		h.MaxReplay = c.most
		err := h.replayJob(t.Context(), &job{Kind: jobPlan, Filter: &replayForm{Offsets: c.offsets, ToPrefix: to.Prefix}})
		if refused := err != nil && strings.Contains(err.Error(), "at most 2 are allowed"); refused != c.refused || !refused && !errors.Is(err, read) {
			t.Errorf("at most %d, offsets %v: %v, refused: want %v", c.most, c.offsets, err, c.refused)
		}
	}
}
