package history

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	hits                     *prometheus.CounterVec
	waits, corrections, late prometheus.Counter
	errors                   prometheus.Counter
	lag, bytes, free         prometheus.Gauge
}

func newMetrics(r prometheus.Registerer, s *History) *metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "tollbridge_state_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "tollbridge_state_" + name, Help: help})
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "tollbridge_state_disk_failed", Help: "1 where the state is in memory because its disk was full or failed."},
		func() float64 {
			if s.stored().substitute {
				return 1
			}
			return 0
		})
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "tollbridge_state_stale_seconds", Help: "How long ago the partition that is furthest behind was read to its end; +Inf before it was."}, s.stale)
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "tollbridge_state_unread_events", Help: "Events published here that are not read back yet."},
		func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(len(s.published))
		})
	return &metrics{
		hits: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tollbridge_state_duplicates_total", Help: "Events that were published before and not again.",
		}, []string{"connector"}),
		waits:       counter("waits_total", "Webhooks that waited for the same event under way."),
		corrections: counter("corrections_total", "Events published again under the merchant's id."),
		late:        counter("late_total", "Events published after one with a later time."),
		errors:      counter("follow_errors_total", "Errors in following the topics, each of which is tried again."),
		lag:         gauge("lag_records", "Records of all followed partitions that are not read yet, as of when each was read last."),
		bytes:       gauge("store_bytes", "Size of the state directory's store."),
		free:        gauge("disk_free_bytes", "Bytes free on the state directory's disk; 0 where the state has none."),
	}
}
