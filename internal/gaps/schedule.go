package gaps

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/webhook"
)

// The limits of a [Job].
const (
	shortestEvery = time.Minute
	longestEvery  = 24 * time.Hour
	shortestFrom  = time.Hour
	// DefaultFrom is the age of the oldest event that a scheduled run compares, unless it
	// is configured: longer than most processors deliver again.
	DefaultFrom = 7 * 24 * time.Hour
	// DefaultTo is the age of the newest event that a run compares, unless the command
	// line has another one: webhooks of younger events may be under way.
	DefaultTo = 15 * time.Minute
)

// Job is an endpoint with a schedule.
type Job struct {
	Endpoint webhook.Endpoint
	Every    time.Duration // from the start of a run to the start of the next
	From     time.Duration // the age of the oldest event that is compared
}

// Check returns an error that names the key of the configuration if the job cannot run.
func (j Job) Check() error {
	if err := Check(j.Endpoint.Connector, Plan); err != nil {
		return fmt.Errorf("gaps: %w", err)
	}
	switch {
	case j.Endpoint.API == nil:
		return errors.New("gaps: the endpoint has no api, whose list is compared: add api: {keys: {main: {env: …}}}")
	case j.Every < shortestEvery || j.Every > longestEvery:
		return fmt.Errorf("gaps.every: want %s to %s, got %s", display.Age(shortestEvery), display.Age(longestEvery), j.Every)
	case j.From < shortestFrom || j.From > MaxPublishAge:
		return fmt.Errorf("gaps.from: want %s to %s, got %s", display.Age(shortestFrom), display.Age(MaxPublishAge), j.From)
	}
	if err := checkList(j.Endpoint, time.Time{}, time.Now()); err != nil {
		return fmt.Errorf("gaps: %w", err)
	}
	return nil
}

// Schedule compares what processors list with what was published, from time to time.
// One run is in progress at a time. It publishes nothing and writes nothing, so that
// replicas can have the same schedule.
type Schedule struct {
	log    zerolog.Logger
	opened func() (*history.History, kafka.Names, error)
	run    func(context.Context, Job) (Counts, error) // [Schedule.compare], except in tests

	caller  fetch.Caller
	changed chan struct{} // receives after Set

	mu   sync.Mutex
	jobs []Job
	due  map[string]time.Time // the start of the next run, by endpoint

	items *prometheus.GaugeVec
	runs  *prometheus.CounterVec
	last  *prometheus.GaugeVec
}

// longestFirst is the longest time from the start of the server to the first run of an
// endpoint, which is at most [Job.Every] away: a server that starts has other work, and
// replicas start together.
const longestFirst = 10 * time.Minute

// longestRetry is the longest time from a run that failed to the next one.
const longestRetry = 15 * time.Minute

// The results of a run, as the metric has them.
const (
	complete = "complete"
	failed   = "failed"
)

// NewSchedule returns a schedule without endpoints, and registers its metrics. opened
// returns the history and the names of the topics, or why there is none yet.
func NewSchedule(opened func() (*history.History, kafka.Names, error), to prometheus.Registerer, log zerolog.Logger) *Schedule {
	f := promauto.With(to)
	s := &Schedule{
		opened: opened, log: log, changed: make(chan struct{}, 1), due: map[string]time.Time{},
		items: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tollbridge_gaps_items",
			Help: "Items of the processor's list of which no event was published, in the last complete run of gaps, by status: missing, late (the processor may still deliver it), not_subscribed, old. Each replica has its own runs.",
		}, []string{"connector", "endpoint", "status"}),
		runs: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tollbridge_gaps_runs_total",
			Help: "Runs of gaps by result: complete or failed.",
		}, []string{"connector", "endpoint", "result"}),
		last: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tollbridge_gaps_last_success_timestamp_seconds",
			Help: "Unix time of the end of the last complete run of gaps; 0 if there was none since the start.",
		}, []string{"connector", "endpoint"}),
	}
	s.run = s.compare
	return s
}

// Set replaces the endpoints and their schedules. A run in progress stops; if its endpoint
// still has a schedule, it starts again.
func (s *Schedule) Set(jobs []Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	former := s.jobs
	s.jobs = jobs
	due := map[string]time.Time{}
	for _, j := range jobs {
		id := j.Endpoint.ID()
		at, ok := s.due[id]
		if latest := time.Now().Add(j.Every); !ok || at.After(latest) {
			at = time.Now().Add(jitter(min(longestFirst, j.Every)))
		}
		due[id] = at
		s.last.WithLabelValues(j.Endpoint.Connector, j.Endpoint.NameOrDefault())
		for _, result := range []string{complete, failed} {
			s.runs.WithLabelValues(j.Endpoint.Connector, j.Endpoint.NameOrDefault(), result)
		}
		for _, status := range []Status{Missing, Late, Unsubscribed, Old} {
			s.items.WithLabelValues(j.Endpoint.Connector, j.Endpoint.NameOrDefault(), string(status))
		}
	}
	s.due = due
	for _, j := range former {
		if _, ok := due[j.Endpoint.ID()]; ok {
			continue
		}
		of := prometheus.Labels{"connector": j.Endpoint.Connector, "endpoint": j.Endpoint.NameOrDefault()}
		s.items.DeletePartialMatch(of)
		s.runs.DeletePartialMatch(of)
		s.last.DeletePartialMatch(of)
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// jitter returns a random part of a duration, at least half of it.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// errChanged is the cause of the end of a run whose endpoint may have changed.
var errChanged = errors.New("the configuration changed")

// Run does the runs until ctx is done.
func (s *Schedule) Run(ctx context.Context) {
	for ctx.Err() == nil {
		job, at, ok := s.next()
		wait := time.Until(at)
		if !ok {
			wait = time.Hour
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-s.changed:
		case <-timer.C:
			if ok {
				s.runUntilChanged(ctx, job)
			}
		}
		timer.Stop()
	}
}

// next returns the endpoint whose run is due first, and when; false if none has a
// schedule.
func (s *Schedule) next() (job Job, at time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.jobs) == 0 {
		return job, at, false
	}
	job = slices.MinFunc(s.jobs, func(a, b Job) int { return s.due[a.Endpoint.ID()].Compare(s.due[b.Endpoint.ID()]) })
	return job, s.due[job.Endpoint.ID()], true
}

// runUntilChanged does a run of an endpoint, and sets the time of the next one. The run
// stops when the endpoints change, and is then still due.
func (s *Schedule) runUntilChanged(ctx context.Context, job Job) {
	start := time.Now()
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	var n Counts
	var err error
	go func() {
		defer close(done)
		n, err = s.run(running, job)
	}()
	select {
	case <-done:
	case <-s.changed:
		cancel(errChanged)
		<-done
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := job.Endpoint.ID()
	if _, ok := s.due[id]; !ok || ctx.Err() != nil || errors.Is(context.Cause(running), errChanged) {
		return
	}
	wait := job.Every*9/10 + rand.N(job.Every/5) - time.Since(start)
	if err != nil {
		wait = min(wait, longestRetry)
	}
	s.due[id] = time.Now().Add(max(wait, time.Minute)) // a run may take longer than the time between two
	s.report(job, n, err)
}

// report counts and logs the result of a run.
func (s *Schedule) report(job Job, n Counts, err error) {
	connector, endpoint := job.Endpoint.Connector, job.Endpoint.NameOrDefault()
	log := s.log.With().Str("connector", connector).Str("endpoint", endpoint).Int("listed", n.Listed).Logger()
	if err != nil {
		s.runs.WithLabelValues(connector, endpoint, failed).Inc()
		log.Warn().Err(err).Msg("gaps: the processor's list could not be compared with the published events")
		return
	}
	s.runs.WithLabelValues(connector, endpoint, complete).Inc()
	s.last.WithLabelValues(connector, endpoint).SetToCurrentTime()
	for status, items := range map[Status]int{Missing: n.Missing, Late: n.Late, Unsubscribed: n.Unsubscribed, Old: n.Old} {
		s.items.WithLabelValues(connector, endpoint, string(status)).Set(float64(items))
	}
	line := log.Info()
	if n.Missing > 0 {
		line = log.Warn()
	}
	line.Int("known", n.Known).Int("missing", n.Missing).Int("late", n.Late).Int("not_subscribed", n.Unsubscribed).Int("unreadable", n.Unreadable).
		Msg("gaps: the processor's list was compared with the published events; 'tollbridge gaps' lists what is missing and can publish it")
}

// compare does a run. It returns an error that wraps [kafka.ErrUnavailable] if the server
// has not started or is behind.
func (s *Schedule) compare(ctx context.Context, job Job) (Counts, error) {
	published, names, err := s.opened()
	if err != nil {
		return Counts{}, err
	}
	now := time.Now()
	run := Config{Endpoint: job.Endpoint, Action: Plan, From: now.Add(-job.From), To: now.Add(-DefaultTo)}
	run.Connect(&s.caller, published, names)
	if err := run.AskSubscriptions(ctx, &s.caller); err != nil {
		s.log.Debug().Err(err).Str("connector", job.Endpoint.Connector).Str("endpoint", job.Endpoint.NameOrDefault()).Msg("gaps: the event types of the endpoint are unknown")
	}
	return Run(ctx, run)
}
