package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync"
	"time"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/dead"
	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/replay"
)

// Opening says what a job needs a [Session] for.
type Opening struct {
	Command  string // names the job for others that wait for the lock
	Publish  bool
	ToPrefix string // prefix of the topics of the events; empty: those of the archive
}

// Session is what a job needs that reads what was published, or publishes.
type Session struct {
	Reader    *consume.Reader
	Archive   kafka.Names // the topics of the webhooks
	Names     kafka.Names // the topics of the events; of a job that publishes with the ids of the schemas
	Publisher history.Publisher
	// History opens the history of the event topics. It can take minutes beside a Kafka
	// without a server.
	History func(ctx context.Context) (*history.History, error)
}

// The kinds of jobs, as the audit log has them.
const (
	jobRetry   = "dead_retry"
	jobDiscard = "dead_discard"
	jobPlan    = "replay_plan"
	jobReplay  = "replay_publish"
)

// job is work that takes longer than a request. There is at most one at a time, and the
// last one is kept until the next one begins.
type job struct {
	ID      string     `json:"id"`
	Kind    string     `json:"kind"`
	Who     string     `json:"who"`
	Started time.Time  `json:"started"`
	Ended   *time.Time `json:"ended,omitempty"`
	Stage   string     `json:"stage,omitempty"` // what it does now
	Done    int64      `json:"done"`            // of the stage
	All     int64      `json:"all"`
	Error   string     `json:"error,omitempty"`

	// Of dead letters: how many there are, those that could not be retried, and the first
	// ones.
	Letters  int            `json:"letters,omitempty"`
	Stay     int            `json:"stay,omitempty"`
	Verdicts []dead.Verdict `json:"verdicts,omitempty"`

	// Of a replay: its filter, counts and first changes. Omitted changes are counted only.
	Filter   *replayForm    `json:"filter,omitempty"`
	Counts   *replay.Counts `json:"counts,omitempty"`
	Changes  []replayChange `json:"changes,omitempty"`
	Omitted  int            `json:"omitted_changes,omitempty"`
	TooLarge []string       `json:"too_large,omitempty"`
	bytes    int            // of Changes
}

// Running reports whether the job has not ended.
func (j *job) Running() bool { return j.Ended == nil }

// Title says what the job does.
func (j *job) Title() string {
	return map[string]string{jobRetry: "Retry of dead letters", jobDiscard: "Discard of dead letters", jobPlan: "Plan of a replay", jobReplay: "Replay"}[j.Kind]
}

// Percent returns how much of the stage is done.
func (j *job) Percent() int64 { return min(100, j.Done*100/max(1, j.All)) }

// jobs runs jobs, one at a time.
type jobs struct {
	mu      sync.Mutex
	last    *job // nil before the first
	stop    context.CancelFunc
	stopped bool
	running sync.WaitGroup
}

// newID returns the id of a new job.
func newID(at time.Time) string { return at.UTC().Format("20060102T150405.000Z") }

// start starts a job, which f does. Before, audit writes the job's line of the audit log.
// f changes the job only through [jobs.update]. The job ends when f returns, and is
// cancelled by [jobs.cancel] and [Handler.stopJobs].
func (h *Handler) start(r *http.Request, j *job, audit func(), f func(context.Context, *job) error) error {
	u := userOf(r)
	h.jobs.mu.Lock()
	defer h.jobs.mu.Unlock()
	switch last := h.jobs.last; {
	case h.jobs.stopped:
		return problem{http.StatusServiceUnavailable, "The server is stopping.", "Try again when it runs."}
	case last != nil && last.Running():
		return problem{http.StatusConflict, fmt.Sprintf("Something else is running: %s, started by %s.", last.Title(), last.Who), "Wait until it ends, or cancel it: /console/job shows it."}
	}
	j.Who, j.Started = u.Name, time.Now().UTC()
	j.ID = newID(j.Started)
	ctx, stop := context.WithCancel(context.WithValue(context.Background(), userKey{}, u))
	h.jobs.last, h.jobs.stop = j, stop
	client := h.client(r)
	audit()
	h.jobs.running.Go(func() {
		err := h.runJob(ctx, j, f)
		stop()
		h.jobs.mu.Lock()
		defer h.jobs.mu.Unlock()
		if errors.Is(err, context.Canceled) {
			err = errors.New("it was cancelled: what it had published stays, and the same again continues from there")
		}
		if err != nil {
			j.Error = newMasker(h.Endpoints()).text(err.Error())
		}
		now := time.Now().UTC()
		j.Ended, j.Stage = &now, ""
		line := h.Log.Log().Str("audit", j.Kind+"_ended").Str("who", u.Name).Str("login", u.Login).Stringer("remote", client).Str("job", j.ID)
		if j.Counts != nil {
			line = line.Int("events", j.Counts.Published)
		} else {
			var handled []string
			for _, v := range j.Verdicts[:min(len(j.Verdicts), maxLogged)] {
				if v.Resolved() {
					handled = append(handled, v.ID)
				}
			}
			line = line.Int("letters", j.Letters).Int("stay", j.Stay).Strs("handled", handled)
		}
		line.AnErr("error", err).Msg("a job of the console ended")
	})
	return nil
}

// runJob calls f. A panic of f is logged and returned as an error: it must not end the
// server.
func (h *Handler) runJob(ctx context.Context, j *job, f func(context.Context, *job) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			h.Log.Error().Str("job", j.ID).Str("panic", fmt.Sprint(p)).Str("stack", string(debug.Stack())).Msg("a job of the console panicked")
			err = fmt.Errorf("it panicked, which is a fault of tollbridge: %v", p)
		}
	}()
	return f(ctx, j)
}

// maxLogged is how many letters a line of the audit log names. Their records in Kafka name
// all, with the user.
const maxLogged = 50

// update changes a job while it runs.
func (s *jobs) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// current returns a copy of the last job; nil if there was none.
func (s *jobs) current() *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		return nil
	}
	j := *s.last
	return &j
}

// cancel ends the running job with an id.
func (s *jobs) cancel(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil || s.last.ID != id || !s.last.Running() {
		return false
	}
	s.stop()
	return true
}

// stopJobs cancels the running job, waits for its end, and lets no other begin.
func (h *Handler) stopJobs() {
	h.jobs.mu.Lock()
	h.jobs.stopped = true
	if h.jobs.stop != nil {
		h.jobs.stop()
	}
	h.jobs.mu.Unlock()
	h.jobs.running.Wait()
}

// jobURL returns the URL of the page of a job with an id.
func jobURL(id string) string { return "/console/job?" + url.Values{"id": {id}}.Encode() }

// jobPage is the data of the page of a job.
type jobPage struct {
	*job
	Action  action
	Pages   pages
	Rows    []changeRow // of this page
	Results []letterResult
	Publish bool // the plan can be published
}

// job shows the last job. Browsers load the page of a running job again after a second.
func (h *Handler) job(w http.ResponseWriter, r *http.Request) {
	j := h.jobs.current()
	v := view{Here: "replay"}
	if j == nil || r.URL.Query().Has("id") && r.URL.Query().Get("id") != j.ID {
		h.show(w, r, v, problem{http.StatusNotFound, "There is no such job.", "Only the last one is kept, until the server stops. The audit log has all of them."})
		return
	}
	data := jobPage{job: j, Action: h.action(r, h.canWrite()), Pages: newPages(r, len(j.Changes))}
	for _, c := range j.Changes[data.Pages.from:data.Pages.to] {
		data.Rows = append(data.Rows, newChangeRow(c))
	}
	if j.Kind == jobRetry || j.Kind == jobDiscard {
		v.Here = "dead"
	}
	for _, l := range j.Verdicts {
		data.Results = append(data.Results, newLetterResult(l))
	}
	if j.Running() {
		w.Header().Set("Refresh", "1")
	} else if j.Kind == jobPlan && j.Error == "" {
		data.Publish = j.Todo()+j.Counts.References > 0
	}
	v.template, v.Title, v.Data, v.JSON = "job", j.Title(), data, j
	h.show(w, r, v, nil)
}

// cancelJob ends the running job.
func (h *Handler) cancelJob(w http.ResponseWriter, r *http.Request) {
	id := r.PostForm.Get("id")
	if !h.jobs.cancel(id) {
		h.show(w, r, view{}, problem{http.StatusNotFound, "This job is not running.", "It may have ended: /console/job shows the last one."})
		return
	}
	h.audit(r, userOf(r), "job_cancel").Str("job", display.Cut(id, 40)).Msg("somebody cancelled a job of the console")
	h.redirect(w, r, jobURL(id))
}
