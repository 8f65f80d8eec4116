package gaps

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
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/webhook"
)

// jobOf returns a schedule of Stripe's endpoint with a name.
func jobOf(name string, every time.Duration) Job {
	return Job{Endpoint: webhook.Endpoint{Connector: "stripe", Name: name}, Every: every, From: time.Hour}
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

// TestSchedule: each endpoint has its first run within ten minutes and the next ones in
// the configured distance; two runs never overlap; the metrics have the last complete run.
func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := prometheus.NewRegistry()
		s := NewSchedule(nil, metrics, zerolog.Nop())
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
		s.run = func(ctx context.Context, j Job) (Counts, error) {
			if running++; running > 1 {
				t.Error("two runs at once")
			}
			defer func() { running-- }()
			mu.Lock()
			starts[j.Endpoint.Name] = append(starts[j.Endpoint.Name], time.Since(start))
			mu.Unlock()
			select {
			case <-time.After(7 * time.Minute):
				mu.Lock()
				ended[j.Endpoint.Name]++
				mu.Unlock()
				return Counts{Missing: 3, Late: 2}, *fail.Load()
			case <-ctx.Done():
				return Counts{}, ctx.Err()
			}
		}
		s.Set([]Job{jobOf("a", time.Hour), jobOf("b", 2*time.Hour)})
		ctx, cancel := context.WithCancel(t.Context())
		go s.Run(ctx)
		time.Sleep(6*time.Hour + time.Second)
		synctest.Wait()
		for name, every := range map[string]time.Duration{"a": time.Hour, "b": 2 * time.Hour} {
			all := startsOf(name)
			if len(all) == 0 || all[0] < 4*time.Minute || all[0] > longestFirst+7*time.Minute {
				t.Errorf("%s: first runs at %v, want the first within %s", name, all, longestFirst)
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
		s.Set([]Job{jobOf("b", 2*time.Hour)})
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

// TestScheduleReload: a reload stops the run in progress, and the run starts again
// with the new configuration.
func TestScheduleReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := prometheus.NewRegistry()
		s := NewSchedule(nil, metrics, zerolog.Nop())
		var froms []time.Duration
		s.run = func(ctx context.Context, j Job) (Counts, error) {
			if froms = append(froms, j.From); len(froms) == 1 {
				<-ctx.Done()
				return Counts{}, ctx.Err()
			}
			return Counts{}, nil
		}
		job := jobOf("a", time.Hour)
		s.Set([]Job{job})
		ctx, cancel := context.WithCancel(t.Context())
		go s.Run(ctx)
		time.Sleep(longestFirst)
		synctest.Wait()
		job.From = 2 * time.Hour
		s.Set([]Job{job})
		time.Sleep(time.Second)
		synctest.Wait()
		if len(froms) != 2 || froms[1] != job.From {
			t.Errorf("runs of %v, want a second with %s", froms, job.From)
		}
		if n := seriesOf(t, metrics)["tollbridge_gaps_runs_total stripe a failed"]; n != 0 {
			t.Error("the run that the reload stopped counts as failed")
		}
		cancel()
		synctest.Wait()
	})
}

// noPublisher is the publisher of a history that publishes nothing.
type noPublisher struct{}

func (noPublisher) Publish(context.Context, []kafka.Record) ([]kafka.Receipt, error) {
	return nil, errors.New("a scheduled run publishes")
}

// TestScheduledRun: a run of the schedule finds what the processor lists and Kafka does not
// have, and writes nothing.
func TestScheduledRun(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	to := kafka.Config{Brokers: cluster.ListenAddrs()}
	if _, err := (kafka.Layout{Partitions: 1, Replication: 1}).Apply(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	published, err := history.Open(t.Context(), history.Config{Kafka: to, Publisher: noPublisher{}, Log: zerolog.Nop()})
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
	var reason error
	s := NewSchedule(func() (*history.History, kafka.Names, error) { return published, kafka.Names{}, reason }, prometheus.NewRegistry(), zerolog.Nop())
	s.caller.Transport = listed.Transport()
	job := jobOf("", time.Hour)
	job.Endpoint.Live, job.Endpoint.API = true, &fetch.API{Keys: []fetch.Key{{Name: "main", Value: "rk_test_71demo71"}}}
	job.From = DefaultFrom
	reason = kafka.ErrUnavailable
	if _, err := s.compare(t.Context(), job); !errors.Is(err, kafka.ErrUnavailable) {
		t.Errorf("before the server has started: %v, want %v", err, kafka.ErrUnavailable)
	}
	reason = nil
	n, err := s.compare(t.Context(), job)
	if err != nil || n.Listed != 2 || n.Missing != 1 || n.Late != 1 || n.Published != 0 {
		t.Errorf("%+v, %v; want that one of 2 is missing and one is late", n, err)
	}
}

// TestJobCheck: a schedule that cannot run is an error of the configuration.
func TestJobCheck(t *testing.T) {
	api := &fetch.API{}
	for _, test := range []struct {
		connector, want string
		api             *fetch.API
		every, from     time.Duration
	}{
		{"stripe", "", api, time.Hour, DefaultFrom},
		{"stripe", "", api, time.Minute, time.Hour},
		{"stripe", "no api", nil, time.Hour, DefaultFrom},
		{"adyen", "reads no list", api, time.Hour, DefaultFrom},
		{"stripe", "gaps.every: want 1 minute to 24 hours, got 0s", api, 0, DefaultFrom},
		{"stripe", "gaps.every", api, 25 * time.Hour, DefaultFrom},
		{"stripe", "gaps.from: want 60 minutes to 30 days, got 1s", api, time.Hour, time.Second},
		{"stripe", "gaps.from", api, time.Hour, 31 * 24 * time.Hour},
	} {
		err := Job{webhook.Endpoint{Connector: test.connector, API: test.api}, test.every, test.from}.Check()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test, err, test.want)
		}
	}
}
