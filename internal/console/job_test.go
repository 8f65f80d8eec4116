package console

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
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
