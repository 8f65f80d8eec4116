package history

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	hits                     *prometheus.CounterVec
	waits, corrections, late prometheus.Counter
	lag                      prometheus.Gauge
}

func newMetrics(r prometheus.Registerer, s *History) *metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "tollbridge_state_" + name, Help: help})
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "tollbridge_state_store_bytes", Help: "Size of the state directory's store."},
		func() float64 { return float64(s.store.Metrics().DiskSpaceUsage()) })
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
		lag:         f.NewGauge(prometheus.GaugeOpts{Name: "tollbridge_state_lag_records", Help: "Records that were behind what was read last."}),
	}
}
