package publish

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	kafkago "github.com/segmentio/kafka-go"
)

// metrics are the producer's Prometheus metrics. The values of the label cause are
// Kafka's names of errors, and words of tollbridge.
type metrics struct {
	records, bytes, request prometheus.Histogram
	retries, refusals       *prometheus.CounterVec
	idFailures              *prometheus.CounterVec
	waiting, remembered     prometheus.Gauge
	ids, lost, throttled    prometheus.Counter
	underMinISR             prometheus.Gauge
	underReplicated         prometheus.Gauge
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
	m := &metrics{
		underMinISR:     gauge("under_min_insync_partitions", "Partitions of our topics with fewer in-sync replicas than min.insync.replicas, as the last metadata says: Kafka refuses their records. 0 if the setting may not be read."),
		underReplicated: gauge("under_replicated_partitions", "Partitions of our topics with fewer in-sync replicas than replicas, as the last metadata says."),
		records:         histogram("batch_records", "Records of a batch, at each attempt to write it.", prometheus.ExponentialBuckets(1, 4, 7)),
		bytes:           histogram("batch_bytes", "Bytes of a batch as sent, at each attempt to write it.", prometheus.ExponentialBuckets(256, 4, 8)),
		request:         histogram("request_seconds", "From a produce request to its answer, or to the end of its connection.", prometheus.ExponentialBuckets(.0005, 2, 15)),
		retries:         f.NewCounterVec(counter("retries_total", "Attempts that wrote no record, by cause: the name of Kafka's error, connection or connect."), []string{"cause"}),
		refusals:        f.NewCounterVec(counter("refusals_total", "Calls whose records were not acknowledged, by cause."), []string{"cause"}),
		waiting:         gauge("waiting_bytes", "Bytes of records that are not acknowledged yet."),
		remembered:      gauge("remembered_records", "Records remembered because they are or may be written although their callers were refused, so that a redelivery is recognised."),
		ids:             f.NewCounter(counter("producer_ids_total", "Producer ids requested: one at the start, and one whenever a sequence is broken.")),
		idFailures:      f.NewCounterVec(counter("producer_id_failures_total", "Requests for a producer id that failed, by cause: the name of Kafka's error, or connection."), []string{"cause"}),
		throttled:       f.NewCounter(counter("throttled_seconds_total", "Seconds for which brokers have throttled the producer because a client quota was used up.")),
		lost:            f.NewCounter(counter("unknown_records_total", "Records that were given up, and whose outcome will never be known.")),
	}
	// The causes that alerts ask for exist from the start, so that their first one is an
	// increase.
	for _, cause := range []string{errorLabel(kafkago.NotEnoughReplicas), errorLabel(kafkago.NotEnoughReplicasAfterAppend), "connection", "connect"} {
		m.retries.WithLabelValues(cause)
	}
	for _, cause := range []string{"unavailable", "refused", "deadline"} {
		m.refusals.WithLabelValues(cause)
	}
	m.idFailures.WithLabelValues("connection")
	return m
}
