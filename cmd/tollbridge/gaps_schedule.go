package main

import (
	"cmp"
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
	"github.com/tollbridge/tollbridge/internal/gaps"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/webhook"
)

// gapsConfig says how often a server looks for webhooks that never came.
type gapsConfig struct {
	Every time.Duration `yaml:"every"` // from the start of a run to the start of the next
	From  time.Duration `yaml:"from"`  // the age of the oldest event that is compared; 0 is defaultGapsFrom
}

// The limits and defaults of [gapsConfig].
const (
	shortestGapsEvery = 15 * time.Minute
	longestGapsEvery  = 24 * time.Hour
	shortestGapsFrom  = time.Hour
	defaultGapsFrom   = 7 * 24 * time.Hour // longer than most processors deliver again
	gapsTo            = 15 * time.Minute   // younger events are left out: their webhooks may be under way
)

// check returns what is wrong with the schedule of an endpoint. A nil schedule is right.
func (g *gapsConfig) check(e webhook.Endpoint) error {
	if g == nil {
		return nil
	}
	if err := gaps.Check(e.Connector, gaps.Plan); err != nil {
		return fmt.Errorf("gaps: %w", err)
	}
	switch {
	case e.API == nil:
		return errors.New("gaps: the endpoint has no api, whose list is compared: add api: {keys: {main: {env: …}}}")
	case g.Every < shortestGapsEvery || g.Every > longestGapsEvery:
		return fmt.Errorf("gaps.every: want %s to %s, got %s", shortestGapsEvery, longestGapsEvery, g.Every)
	case g.From != 0 && (g.From < shortestGapsFrom || g.From > gaps.MaxPublishAge):
		return fmt.Errorf("gaps.from: want %s to %s, got %s", shortestGapsFrom, gaps.MaxPublishAge, g.From)
	}
	return nil
}

// gapsJob is an endpoint with a schedule.
type gapsJob struct {
	endpoint webhook.Endpoint
	every    time.Duration
	from     time.Duration
}

// gapsJobs returns the endpoints with a schedule. The endpoints are those of the
// configuration, in its order.
func (c config) gapsJobs(endpoints []webhook.Endpoint) (all []gapsJob) {
	for i, e := range c.Endpoints {
		if e.Gaps != nil {
			all = append(all, gapsJob{endpoints[i], e.Gaps.Every, cmp.Or(e.Gaps.From, defaultGapsFrom)})
		}
	}
	return all
}

// gapsSchedule compares what processors list with what was published, from time to time.
// One run is in progress at a time. It publishes nothing and writes nothing, so that
// replicas can have the same schedule.
type gapsSchedule struct {
	log zerolog.Logger
	// opened returns the history and the names of the topics, or why there is none yet.
	opened func() (*history.History, kafka.Names, error)
	// run does a run; it is [gapsSchedule.compare] except in tests.
	run func(context.Context, gapsJob) (gaps.Counts, error)
	// first is the longest time until the first run of an endpoint.
	first time.Duration

	caller  fetch.Caller
	changed chan struct{} // receives after set

	mu   sync.Mutex
	jobs []gapsJob
	due  map[string]time.Time // the start of the next run, by endpoint

	items *prometheus.GaugeVec
	runs  *prometheus.CounterVec
	last  *prometheus.GaugeVec
}

// gapsFirst is the longest time from the start of the server to the first run of an
// endpoint: a server that starts has other work, and replicas start together.
const gapsFirst = 10 * time.Minute

// gapsRetry is the longest time from a run that failed to the next one.
const gapsRetry = 15 * time.Minute

// The results of a run, as the metric has them.
const (
	gapsComplete = "complete"
	gapsFailed   = "failed"
)

// newGapsSchedule returns a schedule without endpoints, and registers its metrics.
func newGapsSchedule(to prometheus.Registerer, log zerolog.Logger) *gapsSchedule {
	f := promauto.With(to)
	s := &gapsSchedule{
		log: log, first: gapsFirst, changed: make(chan struct{}, 1), due: map[string]time.Time{},
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

// set replaces the endpoints and their schedules. A run in progress stops; if its endpoint
// still has a schedule, it starts again.
func (s *gapsSchedule) set(jobs []gapsJob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	former := s.jobs
	s.jobs = jobs
	due := map[string]time.Time{}
	for _, j := range jobs {
		id := j.endpoint.ID()
		at, ok := s.due[id]
		if latest := time.Now().Add(j.every); !ok || at.After(latest) {
			at = time.Now().Add(jitter(min(s.first, j.every)))
		}
		due[id] = at
		s.last.WithLabelValues(j.endpoint.Connector, j.endpoint.NameOrDefault())
		for _, result := range []string{gapsComplete, gapsFailed} {
			s.runs.WithLabelValues(j.endpoint.Connector, j.endpoint.NameOrDefault(), result)
		}
		for _, status := range []gaps.Status{gaps.Missing, gaps.Late, gaps.Unsubscribed, gaps.Old} {
			s.items.WithLabelValues(j.endpoint.Connector, j.endpoint.NameOrDefault(), string(status))
		}
	}
	s.due = due
	for _, j := range former {
		if _, ok := due[j.endpoint.ID()]; ok {
			continue
		}
		of := prometheus.Labels{"connector": j.endpoint.Connector, "endpoint": j.endpoint.NameOrDefault()}
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

// errGapsChanged is the cause of the end of a run whose endpoint may have changed.
var errGapsChanged = errors.New("the configuration changed")

// keepRunning does the runs until ctx is done.
func (s *gapsSchedule) keepRunning(ctx context.Context) {
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
func (s *gapsSchedule) next() (job gapsJob, at time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.jobs) == 0 {
		return job, at, false
	}
	job = slices.MinFunc(s.jobs, func(a, b gapsJob) int { return s.due[a.endpoint.ID()].Compare(s.due[b.endpoint.ID()]) })
	return job, s.due[job.endpoint.ID()], true
}

// runUntilChanged does a run of an endpoint, and sets the time of the next one. The run
// stops when the endpoints change, and is then still due.
func (s *gapsSchedule) runUntilChanged(ctx context.Context, job gapsJob) {
	start := time.Now()
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	var n gaps.Counts
	var err error
	go func() {
		defer close(done)
		n, err = s.run(running, job)
	}()
	select {
	case <-done:
	case <-s.changed:
		cancel(errGapsChanged)
		<-done
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := job.endpoint.ID()
	if _, ok := s.due[id]; !ok || ctx.Err() != nil || errors.Is(context.Cause(running), errGapsChanged) {
		return
	}
	wait := job.every*9/10 + rand.N(job.every/5) - time.Since(start)
	if err != nil {
		wait = min(wait, gapsRetry)
	}
	s.due[id] = time.Now().Add(max(wait, time.Minute)) // a run may take longer than the time between two
	s.report(job, n, err)
}

// report counts and logs the result of a run.
func (s *gapsSchedule) report(job gapsJob, n gaps.Counts, err error) {
	connector, endpoint := job.endpoint.Connector, job.endpoint.NameOrDefault()
	log := s.log.With().Str("connector", connector).Str("endpoint", endpoint).Int("listed", n.Listed).Logger()
	if err != nil {
		s.runs.WithLabelValues(connector, endpoint, gapsFailed).Inc()
		log.Warn().Err(err).Msg("gaps: the processor's list could not be compared with the published events")
		return
	}
	s.runs.WithLabelValues(connector, endpoint, gapsComplete).Inc()
	s.last.WithLabelValues(connector, endpoint).SetToCurrentTime()
	for status, items := range map[gaps.Status]int{gaps.Missing: n.Missing, gaps.Late: n.Late, gaps.Unsubscribed: n.Unsubscribed, gaps.Old: n.Old} {
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
func (s *gapsSchedule) compare(ctx context.Context, job gapsJob) (gaps.Counts, error) {
	published, names, err := s.opened()
	if err != nil {
		return gaps.Counts{}, err
	}
	now := time.Now()
	run := gaps.Config{Endpoint: job.endpoint, Action: gaps.Plan, From: now.Add(-job.from), To: now.Add(-gapsTo)}
	connectGaps(&run, &s.caller, published, names)
	if err := askSubscriptions(ctx, &run, &s.caller); err != nil {
		s.log.Debug().Err(err).Str("endpoint", job.endpoint.ID()).Msg("gaps: the event types of the endpoint are unknown")
	}
	return gaps.Run(ctx, run)
}
