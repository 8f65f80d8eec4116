package ingest

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/tollbridge/tollbridge/normalize"
)

// metrics is what ingest tells Prometheus. Labels are words from tables of
// ours: nothing a sender writes becomes one.
type metrics struct {
	webhooks *prometheus.CounterVec
	events   *prometheus.CounterVec
	dead     *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	bytes    prometheus.Counter
	inFlight prometheus.Gauge
	underWay prometheus.Gauge

	connections        prometheus.Gauge
	connectionsRefused prometheus.Counter

	questions       *prometheus.CounterVec
	questionSeconds prometheus.Histogram
}

// seconds are the bounds of the histograms' buckets.
var seconds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 4, 8}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		webhooks: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tollbridge_webhooks_total",
			Help: "Requests to webhook endpoints by what became of them. The reason is empty for those answered 2xx.",
		}, []string{"connector", "endpoint", "outcome", "reason", "status"}),
		events: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tollbridge_events_total",
			Help: "Events acknowledged by Kafka.",
		}, []string{"connector", "endpoint", "type"}),
		dead: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tollbridge_dead_letters_total",
			Help: "Webhooks with something malformed in them, kept in webhooks.dead. Somebody should look.",
		}, []string{"connector", "endpoint"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tollbridge_webhook_duration_seconds",
			Help:    "From the request's headers to its answer.",
			Buckets: seconds,
		}, []string{"connector"}),
		bytes: f.NewCounter(prometheus.CounterOpts{
			Name: "tollbridge_webhook_bytes_total",
			Help: "Bytes of bodies read.",
		}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{
			Name: "tollbridge_in_flight_bytes",
			Help: "Bytes of bodies under way.",
		}),
		underWay: f.NewGauge(prometheus.GaugeOpts{
			Name: "tollbridge_in_flight_webhooks",
			Help: "Webhooks under way.",
		}),
		connections: f.NewGauge(prometheus.GaugeOpts{
			Name: "tollbridge_connections",
			Help: "Connections of webhooks that are open, but for those of trusted proxies.",
		}),
		connectionsRefused: f.NewCounter(prometheus.CounterOpts{
			Name: "tollbridge_connections_refused_total",
			Help: "Connections of webhooks closed at once, since max_connections were open or their address had its share of them.",
		}),
		questions: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tollbridge_handle_event_total",
			Help: "Requests to /v1/handle_event. The reason is empty for those that were verified.",
		}, []string{"connector", "reason", "status"}),
		questionSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "tollbridge_handle_event_duration_seconds",
			Help:    "From the headers of a request to /v1/handle_event to its answer.",
			Buckets: seconds,
		}),
	}
}

// count counts a webhook that is answered.
func (m *metrics) count(d *delivery, status int, reason string) {
	connector, endpoint := "", ""
	if d.endpoint != nil {
		connector, endpoint = d.endpoint.Connector, d.endpoint.NameOrDefault()
	}
	outcome := ""
	if d.err == nil {
		outcome = string(d.verdict.Outcome())
		if d.verdict.Has(normalize.OutcomeMalformed) {
			m.dead.WithLabelValues(connector, endpoint).Inc()
		}
		for _, e := range d.verdict.Events {
			m.events.WithLabelValues(connector, endpoint, string(e.Type)).Inc()
		}
	}
	m.webhooks.WithLabelValues(connector, endpoint, outcome, reason, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(connector).Observe(d.s.Now().Sub(d.start).Seconds())
	m.bytes.Add(float64(d.bytes))
}
