package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/gaps"
	"github.com/tollbridge/tollbridge/webhook"
)

// gapsJobOf returns a schedule of Stripe's endpoint with a name.
func gapsJobOf(name string, every time.Duration) gapsJob {
	return gapsJob{endpoint: webhook.Endpoint{Connector: "stripe", Name: name}, every: every, from: time.Hour}
}

// TestGapsSchedule: each endpoint has its first run within ten minutes and the next ones in
// the configured distance; two runs never overlap; the metrics have the last complete run.
func TestGapsSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := prometheus.NewRegistry()
		s := newGapsSchedule(metrics, zerolog.Nop())
		start, starts, running := time.Now(), map[string][]time.Duration{}, 0
		var fail error
		s.run = func(_ context.Context, j gapsJob) (gaps.Counts, error) {
			if running++; running > 1 {
				t.Error("two runs at once")
			}
			defer func() { running-- }()
			starts[j.endpoint.Name] = append(starts[j.endpoint.Name], time.Since(start))
			time.Sleep(7 * time.Minute)
			return gaps.Counts{Missing: 3, Late: 2}, fail
		}
		s.set([]gapsJob{gapsJobOf("a", time.Hour), gapsJobOf("b", 2*time.Hour)})
		ctx, cancel := context.WithCancel(t.Context())
		go s.keepRunning(ctx)
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		for name, every := range map[string]time.Duration{"a": time.Hour, "b": 2 * time.Hour} {
			all := starts[name]
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
		if err := testutil.GatherAndCompare(metrics, strings.NewReader(`# HELP tollbridge_gaps_items Items of the processor's list of which no event was published, in the last complete run of gaps, by status: missing, late (the processor may still deliver it), not_subscribed, old. Each replica has its own runs.
# TYPE tollbridge_gaps_items gauge
tollbridge_gaps_items{connector="stripe",endpoint="a",status="late"} 2
tollbridge_gaps_items{connector="stripe",endpoint="a",status="missing"} 3
tollbridge_gaps_items{connector="stripe",endpoint="a",status="not_subscribed"} 0
tollbridge_gaps_items{connector="stripe",endpoint="a",status="old"} 0
tollbridge_gaps_items{connector="stripe",endpoint="b",status="late"} 2
tollbridge_gaps_items{connector="stripe",endpoint="b",status="missing"} 3
tollbridge_gaps_items{connector="stripe",endpoint="b",status="not_subscribed"} 0
tollbridge_gaps_items{connector="stripe",endpoint="b",status="old"} 0
`), "tollbridge_gaps_items"); err != nil {
			t.Error(err)
		}

		// A run that fails is counted, is repeated sooner, and leaves what was found before.
		fail = errors.New("no answer")
		before := len(starts["a"])
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if n := len(starts["a"]) - before; n < 4 {
			t.Errorf("%d runs in 2 hours of failures, want one each quarter of an hour", n)
		}
		if n := testutil.ToFloat64(s.runs.WithLabelValues("stripe", "a", gapsFailed)); n < 3 {
			t.Errorf("%v failed runs counted", n)
		}
		if n := testutil.ToFloat64(s.items.WithLabelValues("stripe", "a", "missing")); n != 3 {
			t.Errorf("after failures %v are missing, want those of the last complete run", n)
		}

		// A reload without an endpoint ends its runs and its series.
		s.set([]gapsJob{gapsJobOf("b", 2*time.Hour)})
		synctest.Wait()
		before = len(starts["a"])
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if len(starts["a"]) != before || testutil.CollectAndCount(s.last) != 1 {
			t.Errorf("the removed endpoint ran %d times more, and there are %d series", len(starts["a"])-before, testutil.CollectAndCount(s.last))
		}
		cancel()
		synctest.Wait()
	})
}

// TestGapsScheduleReload: a reload stops the run in progress, and the run starts again
// with the new configuration.
func TestGapsScheduleReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newGapsSchedule(prometheus.NewRegistry(), zerolog.Nop())
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
		if n := testutil.ToFloat64(s.runs.WithLabelValues("stripe", "a", gapsFailed)); n != 0 {
			t.Error("the run that the reload stopped counts as failed")
		}
		cancel()
		synctest.Wait()
	})
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
