package publish

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics is what the producer tells Prometheus. The labels are Kafka's names
// of errors and words of ours.
type metrics struct {
	records, bytes, request prometheus.Histogram
	retries, refusals       *prometheus.CounterVec
	idFailures              *prometheus.CounterVec
	waiting, remembered     prometheus.Gauge
	ids, lost, throttled    prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return f.NewHistogram(prometheus.HistogramOpts{Name: "tollbridge_kafka_" + name, Help: help, Buckets: buckets})
	}
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: "tollbridge_kafka_" + name, Help: help}
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "tollbridge_kafka_" + name, Help: help})
	}
	return &metrics{
		records:    histogram("batch_records", "Records of a batch, at each attempt to write it.", prometheus.ExponentialBuckets(1, 4, 7)),
		bytes:      histogram("batch_bytes", "Bytes of a batch as sent, at each attempt to write it.", prometheus.ExponentialBuckets(256, 4, 8)),
		request:    histogram("request_seconds", "From a produce request to its answer, or to its connection's end.", prometheus.ExponentialBuckets(.0005, 2, 15)),
		retries:    f.NewCounterVec(counter("retries_total", "Attempts that did not write, by why: Kafka's word, connection or connect."), []string{"cause"}),
		refusals:   f.NewCounterVec(counter("refusals_total", "Calls whose records were not acknowledged, by why."), []string{"cause"}),
		waiting:    gauge("waiting_bytes", "Bytes of records that are not acknowledged yet."),
		remembered: gauge("remembered_records", "Records that were refused although they are written or may be, so that a redelivery is recognised."),
		ids:        f.NewCounter(counter("producer_ids_total", "Producer ids taken: one at the start, and one whenever a sequence is broken.")),
		idFailures: f.NewCounterVec(counter("producer_id_failures_total", "Requests for a producer id that got none, by why: Kafka's word, or connection."), []string{"cause"}),
		throttled:  f.NewCounter(counter("throttled_seconds_total", "For how long brokers will not look at the next produce request, since a client quota is used up.")),
		lost:       f.NewCounter(counter("unknown_records_total", "Records given up whose outcome will never be known.")),
	}
}
