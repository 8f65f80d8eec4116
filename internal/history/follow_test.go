package history

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// gauge returns the value of a metric without labels.
func gauge(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// TestLag: lag_records counts the records of other replicas even while a leader answers
// fetches with no records, and is 0 once they are read. Meanwhile the state becomes
// stale, refuses new events, and says how far it is behind.
func TestLag(t *testing.T) {
	r := newRig(t)
	registry := prometheus.NewRegistry()
	s := r.openWith(t, Config{Publisher: r.producer, Metrics: registry})
	defer s.Close()
	var empty atomic.Bool
	empty.Store(true)
	r.cluster.ControlKey(int16(kmsg.Fetch), func(q kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if !empty.Load() {
			return nil, nil, false
		}
		r.cluster.SleepControl(func() { time.Sleep(10 * time.Millisecond) })
		return q.ResponseKind(), nil, true
	})
	const events = 7
	for n := range events {
		record, err := kafka.EventRecord(r.names, event(fmt.Sprint("e", n), "pi_1", "order-1", schemas.PaymentCaptured, n), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.producer.Publish(t.Context(), []kafka.Record{record}); err != nil {
			t.Fatal(err)
		}
	}
	const records = events
	lag := func() float64 { return gauge(t, registry, "tollbridge_state_lag_records") }
	within(t, "every record counts", func() bool { return lag() == records })
	within(t, "the state is stale", func() bool { return gauge(t, registry, "tollbridge_state_stale_seconds") > 1.2 })
	_, err := s.Admit(t.Context(), []schemas.Event{event("new", "pi_1", "order-1", schemas.PaymentCaptured, 1)})
	if want := "cannot rule out a duplicate: replica is behind: consumer lag: partition payment.captured["; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a new event while the state is stale: got %v, want %q", err, want)
	}
	if got := lag(); got != records {
		t.Errorf("the lag is %v, want it still %d", got, records)
	}
	empty.Store(false)
	within(t, "nothing is left to read", func() bool { return lag() == 0 })
	within(t, "the state is fresh", func() bool { return gauge(t, registry, "tollbridge_state_stale_seconds") < 1 })
}

// TestFollowerErrors: every error in reading the topics is counted, and one log line
// covers many of them.
func TestFollowerErrors(t *testing.T) {
	r := newRig(t)
	registry := prometheus.NewRegistry()
	var log logBuffer
	s := r.openWith(t, Config{Publisher: r.producer, Metrics: registry, Log: zerolog.New(&log)})
	defer s.Close()
	const message = "reading the topics failed; retrying"
	if n := gauge(t, registry, "tollbridge_state_follow_errors_total"); n != 0 || log.count(message) != 0 {
		t.Errorf("%v errors and %d log lines before a fault, want none", n, log.count(message))
	}
	start := time.Now()
	r.cluster.Close()
	within(t, "errors are counted", func() bool { return gauge(t, registry, "tollbridge_state_follow_errors_total") > 1 })
	if n := log.count(message); n != 1 && time.Since(start) < errorLogInterval {
		t.Errorf("%d log lines, want one in %s", n, errorLogInterval)
	}
	if !strings.Contains(log.String(), `"level":"warn","error":"`) {
		t.Errorf("the log does not say which error: %s", log.String())
	}
}
