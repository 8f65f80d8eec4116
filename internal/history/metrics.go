package history

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	hits                     *prometheus.CounterVec
	waits, corrections, late prometheus.Counter
	errors                   prometheus.Counter

	claimsLost, claimsUnresolved, claimsExpired, claimsTakenOver prometheus.Counter
	bytes, free                                                  prometheus.Gauge
}

func newMetrics(r prometheus.Registerer, h *History) *metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "tollbridge_state_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "tollbridge_state_" + name, Help: help})
	}
	gaugeFunc := func(name, help string, value func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: "tollbridge_state_" + name, Help: help}, value)
	}
	gaugeFunc("disk_failed", "1 if the state store is in memory because its disk was full or failed.", func() float64 {
		if h.currentStore().afterFailure {
			return 1
		}
		return 0
	})
	gaugeFunc("stale_seconds", "Seconds since the partition that is furthest behind was in sync; +Inf before it was.", h.staleSeconds)
	gaugeFunc("lag_records", "Records of all followed partitions that are not read yet, as far as their leaders have said.", h.lag)
	gaugeFunc("unread_events", "Events published by this process that are not in the state store yet.", func() float64 {
		h.mu.Lock()
		defer h.mu.Unlock()
		return float64(len(h.local.events))
	})
	gaugeFunc("disk_min_free_bytes", "The setting state_min_free: with fewer free bytes on the state directory's disk, /readyz warns.", func() float64 { return float64(h.MinFree) })
	if r != nil {
		r.MustRegister(disputeCollector{h})
	}
	claims := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "tollbridge_claims_" + name + "_total", Help: help})
	}
	return &metrics{
		claimsLost:       claims("lost", "Events of a webhook that another replica had claimed first."),
		claimsUnresolved: claims("unresolved", "Webhooks refused because another replica had claimed an event and did not publish it in time."),
		claimsExpired:    claims("expired", "Events that a command waited for, and that were not published while their claim was valid."),
		claimsTakenOver:  claims("taken_over", "Events published after the claim of another replica that did not publish them had expired."),
		hits: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tollbridge_state_duplicates_total", Help: "Events that were published before, and so not again.",
		}, []string{"connector"}),
		waits:       counter("waits_total", "Webhooks that waited while another one with the same event was being published."),
		corrections: counter("corrections_total", "Events published again, under the merchant's id or with what another webhook adds."),
		late:        counter("late_total", "Events published after one with a later time."),
		errors:      counter("follow_errors_total", "Errors in reading the topics; each is retried."),
		bytes:       gauge("store_bytes", "Size of the state store in bytes."),
		free:        gauge("disk_free_bytes", "Free bytes on the state directory's disk; 0 without a state directory."),
	}
}
