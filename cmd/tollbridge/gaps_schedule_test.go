package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
	"github.com/tollbridge/tollbridge/internal/gaps"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/webhook"
)

// gapsJobOf returns a schedule of Stripe's endpoint with a name.
func gapsJobOf(name string, every time.Duration) gapsJob {
	return gapsJob{endpoint: webhook.Endpoint{Connector: "stripe", Name: name}, every: every, from: time.Hour}
}

// seriesOf returns the values of the counters and gauges by their name and label values.
func seriesOf(t *testing.T, metrics *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			all[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}

// TestGapsSchedule: each endpoint has its first run within ten minutes and the next ones in
// the configured distance; two runs never overlap; the metrics have the last complete run.
func TestGapsSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := prometheus.NewRegistry()
		s := newGapsSchedule(metrics, zerolog.Nop())
		start, starts, running := time.Now(), map[string][]time.Duration{}, 0
		var mu sync.Mutex         // of starts
		ended := map[string]int{} // the last run may still be in progress
		endedOf := func(name string) int {
			mu.Lock()
			defer mu.Unlock()
			return ended[name]
		}
		startsOf := func(name string) []time.Duration {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(starts[name])
		}
		var fail atomic.Pointer[error]
		fail.Store(new(error))
		s.run = func(ctx context.Context, j gapsJob) (gaps.Counts, error) {
			if running++; running > 1 {
				t.Error("two runs at once")
			}
			defer func() { running-- }()
			mu.Lock()
			starts[j.endpoint.Name] = append(starts[j.endpoint.Name], time.Since(start))
			mu.Unlock()
			select {
			case <-time.After(7 * time.Minute):
				mu.Lock()
				ended[j.endpoint.Name]++
				mu.Unlock()
				return gaps.Counts{Missing: 3, Late: 2}, *fail.Load()
			case <-ctx.Done():
				return gaps.Counts{}, ctx.Err()
			}
		}
		s.set([]gapsJob{gapsJobOf("a", time.Hour), gapsJobOf("b", 2*time.Hour)})
		ctx, cancel := context.WithCancel(t.Context())
		go s.keepRunning(ctx)
		time.Sleep(6*time.Hour + time.Second)
		synctest.Wait()
		for name, every := range map[string]time.Duration{"a": time.Hour, "b": 2 * time.Hour} {
			all := startsOf(name)
			if len(all) == 0 || all[0] < 4*time.Minute || all[0] > gapsFirst+7*time.Minute {
				t.Errorf("%s: first runs at %v, want the first within %s", name, all, gapsFirst)
				continue
			}
			for i := range all[1:] {
				if d := all[i+1] - all[i]; d < every*9/10 || d > every*11/10+7*time.Minute {
					t.Errorf("%s: %s between two runs, want about %s", name, d, every)
				}
			}
			if want := int(6*time.Hour/every) - 1; len(all) < want {
				t.Errorf("%s ran %d times in 6 hours, want at least %d", name, len(all), want)
			}
		}
		for series, want := range map[string]float64{
			"tollbridge_gaps_items stripe a missing": 3, "tollbridge_gaps_items stripe b late": 2, "tollbridge_gaps_items stripe b not_subscribed": 0,
			"tollbridge_gaps_runs_total stripe a complete": float64(endedOf("a")), "tollbridge_gaps_runs_total stripe a failed": 0,
		} {
			if got, ok := seriesOf(t, metrics)[series]; !ok || got != want {
				t.Errorf("%s is %v, want %v", series, got, want)
			}
		}

		// A run that fails is counted, is repeated sooner, and leaves what was found before.
		noAnswer := errors.New("no answer")
		fail.Store(&noAnswer)
		before := len(startsOf("a"))
		time.Sleep(8 * time.Hour)
		synctest.Wait()
		// The first may be an hour and more away. Each takes 7 minutes, may wait for the 7 of
		// the other endpoint, and is repeated after 15. Without that it would be 9 at most.
		if n := len(startsOf("a")) - before; n < 12 {
			t.Errorf("%d runs in 8 hours of failures, want one each half an hour", n)
		}
		if n := seriesOf(t, metrics)["tollbridge_gaps_runs_total stripe a failed"]; n < 11 {
			t.Errorf("%v failed runs counted", n)
		}
		if n := seriesOf(t, metrics)["tollbridge_gaps_items stripe a missing"]; n != 3 {
			t.Errorf("after failures %v are missing, want those of the last complete run", n)
		}

		// A reload without an endpoint ends its runs and its series.
		s.set([]gapsJob{gapsJobOf("b", 2*time.Hour)})
		synctest.Wait()
		before = len(startsOf("a"))
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if len(startsOf("a")) != before {
			t.Errorf("the removed endpoint ran %d times more", len(startsOf("a"))-before)
		}
		for series := range seriesOf(t, metrics) {
			if strings.Contains(series, " a") {
				t.Errorf("the removed endpoint still has %s", series)
			}
		}
		cancel()
		synctest.Wait()
	})
}

// TestGapsScheduleReload: a reload stops the run in progress, and the run starts again
// with the new configuration.
func TestGapsScheduleReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := prometheus.NewRegistry()
		s := newGapsSchedule(metrics, zerolog.Nop())
		var froms []time.Duration
		s.run = func(ctx context.Context, j gapsJob) (gaps.Counts, error) {
			if froms = append(froms, j.from); len(froms) == 1 {
				<-ctx.Done()
				return gaps.Counts{}, ctx.Err()
			}
			return gaps.Counts{}, nil
		}
		job := gapsJobOf("a", time.Hour)
		s.set([]gapsJob{job})
		ctx, cancel := context.WithCancel(t.Context())
		go s.keepRunning(ctx)
		time.Sleep(gapsFirst)
		synctest.Wait()
		job.from = 2 * time.Hour
		s.set([]gapsJob{job})
		time.Sleep(time.Second)
		synctest.Wait()
		if len(froms) != 2 || froms[1] != job.from {
			t.Errorf("runs of %v, want a second with %s", froms, job.from)
		}
		if n := seriesOf(t, metrics)["tollbridge_gaps_runs_total stripe a failed"]; n != 0 {
			t.Error("the run that the reload stopped counts as failed")
		}
		cancel()
		synctest.Wait()
	})
}

// TestGapsCompare: a run of the schedule finds what the processor lists and Kafka does not
// have, and writes nothing.
func TestGapsCompare(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	to := kafka.Config{Brokers: cluster.ListenAddrs()}
	if _, err := (kafka.Layout{Partitions: 1, Replication: 1}).Apply(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	published, err := history.Open(t.Context(), history.Config{Kafka: to, Publisher: planPublisher{}, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = published.Close() })
	published.Await(t.Context(), time.Minute)
	event := func(id string, age time.Duration) string {
		return fmt.Sprintf(`{"id":%q,"object":"event","created":%d,"livemode":true,"type":"payment_intent.succeeded","data":{"object":{"id":"pi_%[1]s","object":"payment_intent","amount":500,"amount_received":500,"currency":"eur","status":"succeeded","metadata":{}}}}`,
			id, time.Now().Add(-age).Unix())
	}
	listed := fetchtest.New(t, fetchtest.Stripe(t, []string{event("evt_new", time.Minute), event("evt_late", time.Hour), event("evt_lost", 5*24*time.Hour)}))
	s := newGapsSchedule(prometheus.NewRegistry(), zerolog.Nop())
	s.caller.Transport = listed.Transport()
	job := gapsJobOf("", time.Hour)
	job.endpoint.Live, job.endpoint.API = true, &fetch.API{Keys: []fetch.Key{{Name: "main", Value: "rk_test_71demo71"}}}
	job.from = defaultGapsFrom
	s.opened = func() (*history.History, kafka.Names, error) { return nil, kafka.Names{}, errNotChecked }
	if _, err := s.compare(t.Context(), job); !errors.Is(err, kafka.ErrUnavailable) {
		t.Errorf("before the server has started: %v, want %v", err, kafka.ErrUnavailable)
	}
	s.opened = func() (*history.History, kafka.Names, error) { return published, kafka.Names{}, nil }
	n, err := s.compare(t.Context(), job)
	if err != nil || n.Listed != 2 || n.Missing != 1 || n.Late != 1 || n.Published != 0 {
		t.Errorf("%+v, %v; want that one of 2 is missing and one is late", n, err)
	}
}

// TestGapsConfig: a schedule that cannot run is an error of the configuration.
func TestGapsConfig(t *testing.T) {
	api := &fetch.API{}
	for _, test := range []struct {
		connector, want string
		api             *fetch.API
		gaps            *gapsConfig
	}{
		{"stripe", "", nil, nil},
		{"stripe", "", api, &gapsConfig{Every: time.Hour}},
		{"stripe", "no api", nil, &gapsConfig{Every: time.Hour}},
		{"adyen", "reads no list", api, &gapsConfig{Every: time.Hour}},
		{"stripe", "gaps.every: want 15m0s to 24h0m0s, got 0s", api, &gapsConfig{}},
		{"stripe", "gaps.every", api, &gapsConfig{Every: 25 * time.Hour}},
		{"stripe", "gaps.from: want 1h0m0s to 720h0m0s, got 1s", api, &gapsConfig{Every: time.Hour, From: time.Second}},
	} {
		err := test.gaps.check(webhook.Endpoint{Connector: test.connector, API: test.api})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %+v: %v, want %q", test.connector, test.gaps, err, test.want)
		}
	}
}
