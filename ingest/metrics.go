package ingest

import (
	"cmp"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

// metrics are the server's Prometheus metrics. Label values come from our own
// tables, never from a request.
type metrics struct {
	webhooks *prometheus.CounterVec
	events   *prometheus.CounterVec
	dead     *prometheus.CounterVec
	types    *prometheus.CounterVec
	secrets  *prometheus.GaugeVec
	seconds  *prometheus.HistogramVec
	stages   *prometheus.HistogramVec
	last     *prometheus.GaugeVec
	lastDone *prometheus.GaugeVec
	bytes    prometheus.Counter
	inFlight prometheus.Gauge
	underWay prometheus.Gauge

	connections        prometheus.Gauge
	connectionsRefused prometheus.Counter

	fetches      *prometheus.CounterVec
	fetchSeconds *prometheus.HistogramVec

	questions       *prometheus.CounterVec
	questionSeconds prometheus.Histogram
}

// seconds are the upper bounds of the histograms' buckets.
var seconds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 4, 8}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tollbridge_time_seconds",
		Help: "Unix time by this replica's clock. Compared with the time of the scrape, it shows a clock that is wrong: signed timestamps are then refused.",
	}, func() float64 { return float64(time.Now().UnixMilli()) / 1000 })
	return &metrics{
		webhooks: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tollbridge_webhooks_total",
			Help: "Requests to webhook endpoints by outcome. The reason is empty for a 2xx response.",
		}, []string{"connector", "endpoint", "outcome", "reason", "status"}),
		events: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tollbridge_events_total",
			Help: "Events acknowledged by Kafka.",
		}, []string{"connector", "endpoint", "type"}),
		dead: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tollbridge_dead_letters_total",
			Help: "Webhooks with a malformed item, written to webhooks.dead. Inspect them with tollbridge dead.",
		}, []string{"connector", "endpoint"}),
		types: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tollbridge_event_types_total",
			Help: "Items of webhooks by the processor's event type (\"other\" if the connector does not read it) and result: event, duplicate, elsewhere (another event type makes the event), ignored, malformed.",
		}, []string{"connector", "endpoint", "event_type", "result"}),
		secrets: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tollbridge_secret_matched_timestamp_seconds",
			Help: "Unix time at which the secret last verified a webhook; 0 if it did not since the start.",
		}, []string{"connector", "endpoint", "secret"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tollbridge_webhook_duration_seconds",
			Help:    "Time from the request's headers to the response.",
			Buckets: seconds,
		}, []string{"connector"}),
		stages: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tollbridge_webhook_stage_duration_seconds",
			Help:    "Time of a webhook in each stage: receive (reading the body), verify (with fetching public keys), fetch (asking the processor's API), normalise, admit (looking up duplicates), publish (until Kafka acknowledges).",
			Buckets: seconds,
		}, []string{"connector", "stage"}),
		last: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tollbridge_last_webhook_timestamp_seconds",
			Help: "Unix time of the last request to the endpoint at this replica, whatever its response; 0 if there was none since the start.",
		}, []string{"connector", "endpoint"}),
		lastDone: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tollbridge_last_success_timestamp_seconds",
			Help: "Unix time of the last 2xx response of the endpoint at this replica; 0 if there was none since the start.",
		}, []string{"connector", "endpoint"}),
		bytes: f.NewCounter(prometheus.CounterOpts{
			Name: "tollbridge_webhook_bytes_total",
			Help: "Bytes of request bodies read.",
		}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{
			Name: "tollbridge_in_flight_bytes",
			Help: "Bytes of request bodies in flight.",
		}),
		underWay: f.NewGauge(prometheus.GaugeOpts{
			Name: "tollbridge_in_flight_webhooks",
			Help: "Webhooks in flight.",
		}),
		connections: f.NewGauge(prometheus.GaugeOpts{
			Name: "tollbridge_connections",
			Help: "Open connections of the webhooks' listener, without those of trusted proxies.",
		}),
		connectionsRefused: f.NewCounter(prometheus.CounterOpts{
			Name: "tollbridge_connections_refused_total",
			Help: "Connections that were closed at once because max_connections were open, or because their address had used its share.",
		}),
		fetches: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tollbridge_fetch_total",
			Help: "Requests to processors' APIs by result: ok, unknown (no such object), credentials (the key is refused), limited, unavailable. sent is false if a limit, a refused key or an outage kept the request from being sent.",
		}, []string{"connector", "result", "sent"}),
		fetchSeconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tollbridge_fetch_duration_seconds",
			Help:    "Time of a request to a processor's API.",
			Buckets: seconds,
		}, []string{"connector"}),
		questions: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tollbridge_handle_event_total",
			Help: "Requests to /v1/handle_event. The reason is empty for verified webhooks.",
		}, []string{"connector", "reason", "status"}),
		questionSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "tollbridge_handle_event_duration_seconds",
			Help:    "Time from the headers of a request to /v1/handle_event to the response.",
			Buckets: seconds,
		}),
	}
}

// endpointMetrics are the series of an endpoint that each of its webhooks changes, so
// that they are not looked up for each.
type endpointMetrics struct {
	seconds        prometheus.Observer
	stages         [len(stageNames)]prometheus.Observer // nil for stages that the endpoint does not have
	last, lastDone prometheus.Gauge

	status   int                                 // of the response to a webhook that is in Kafka
	webhooks map[string]prometheus.Counter       // with that status, by outcome
	events   map[schemas.Type]prometheus.Counter // by type, for those that the connector's webhooks report
	types    map[[2]string]prometheus.Counter    // by event type and result
}

// countType counts an item of a webhook by the processor's event type and result.
func (m *metrics) countType(d *delivery, event, result string) {
	c := d.route.metrics.types[[2]string{event, result}]
	if c == nil {
		c = m.types.WithLabelValues(d.endpoint.Connector, d.endpoint.NameOrDefault(), event, result)
	}
	c.Inc()
}

// add creates the series of an endpoint at 0, so that the first webhook of a kind is an
// increase: increase() of a series that begins at 1 is 0, and no alert would fire.
func (m *metrics) add(e *webhook.Endpoint) (own endpointMetrics) {
	connector, endpoint, policy := e.Connector, e.NameOrDefault(), policies[e.Connector]
	webhooks := m.webhooks.MustCurryWith(prometheus.Labels{"connector": connector, "endpoint": endpoint})
	own.status = cmp.Or(policy.done, http.StatusOK)
	own.webhooks, own.events, own.types = map[string]prometheus.Counter{}, map[schemas.Type]prometheus.Counter{}, map[[2]string]prometheus.Counter{}
	for _, o := range []normalize.Outcome{normalize.OutcomeEvents, normalize.OutcomeIgnored, normalize.OutcomeMalformed} {
		own.webhooks[string(o)] = webhooks.WithLabelValues(string(o), "", strconv.Itoa(own.status))
	}
	webhooks.WithLabelValues(string(webhook.OutcomeHandshake), "", strconv.Itoa(http.StatusOK))
	for _, err := range endpointErrors() {
		status, reason, _ := policy.refuse(err)
		webhooks.WithLabelValues("", reason, strconv.Itoa(status))
	}
	m.dead.WithLabelValues(connector, endpoint)
	own.last = m.last.WithLabelValues(connector, endpoint)
	own.lastDone = m.lastDone.WithLabelValues(connector, endpoint)
	own.seconds = m.seconds.WithLabelValues(connector)
	for s, name := range stageNames {
		if stage(s) != stageFetch || e.API != nil {
			own.stages[s] = m.stages.WithLabelValues(connector, name)
		}
	}
	if e.API != nil {
		m.fetchSeconds.WithLabelValues(connector)
		for _, result := range []fetch.Result{fetch.ResultOK, fetch.ResultUnknown, fetch.ResultCredentials, fetch.ResultLimited, fetch.ResultUnavailable} {
			m.fetches.WithLabelValues(connector, string(result), "true")
		}
	}
	m.questions.WithLabelValues(connector, "", strconv.Itoa(http.StatusOK))
	c, _ := normalize.Lookup(connector)
	events := []string{otherType}
	for _, t := range c.Tellers {
		events = append(events, t.Event)
		for _, fact := range t.Facts {
			own.events[fact] = m.events.WithLabelValues(connector, endpoint, string(fact))
		}
	}
	for _, event := range events {
		for _, result := range []string{resultEvent, resultDuplicate, resultElsewhere, resultIgnored, resultMalformed} {
			own.types[[2]string{event, result}] = m.types.WithLabelValues(connector, endpoint, event, result)
		}
	}
	return own
}

// countFetch counts a request to a processor's API.
func (m *metrics) countFetch(call fetch.Call) {
	m.fetches.WithLabelValues(call.Connector, string(call.Result), strconv.FormatBool(call.Sent)).Inc()
	if call.Sent {
		m.fetchSeconds.WithLabelValues(call.Connector).Observe(call.Took.Seconds())
	}
}

// blockedCollector reports for each endpoint with an API whether requests to it are held
// back.
type blockedCollector struct{ s *Server }

var blockedMetric = prometheus.NewDesc("tollbridge_fetch_blocked",
	"1 while no request is sent to the processor's API: it refuses the keys, its limit is used up, or it gives no answer. Webhooks that need it are answered 503.",
	[]string{"connector", "endpoint"}, nil)

// Describe implements [prometheus.Collector].
func (b blockedCollector) Describe(to chan<- *prometheus.Desc) { to <- blockedMetric }

// Collect implements [prometheus.Collector].
func (b blockedCollector) Collect(to chan<- prometheus.Metric) {
	for _, r := range b.s.currentRoutes() {
		e := r.endpoint
		if e.API == nil {
			continue
		}
		blocked := 0.0
		if b.s.Fetcher.Blocked(e.Connector, *e.API) != nil {
			blocked = 1
		}
		to <- prometheus.MustNewConstMetric(blockedMetric, prometheus.GaugeValue, blocked, e.Connector, e.NameOrDefault())
	}
}

// remove removes the series of an endpoint that is no longer configured: no alert may
// wait for its webhooks.
func (m *metrics) remove(e *webhook.Endpoint) {
	of := prometheus.Labels{"connector": e.Connector, "endpoint": e.NameOrDefault()}
	for _, v := range []*prometheus.CounterVec{m.webhooks, m.events, m.dead, m.types} {
		v.DeletePartialMatch(of)
	}
	for _, v := range []*prometheus.GaugeVec{m.last, m.lastDone, m.secrets} {
		v.DeletePartialMatch(of)
	}
}

// count counts a delivery and its response.
func (m *metrics) count(d *delivery, status int, reason string) {
	connector, endpoint := "", ""
	if d.endpoint != nil {
		connector, endpoint = d.endpoint.Connector, d.endpoint.NameOrDefault()
	}
	outcome := ""
	if d.err == nil {
		outcome = string(d.verdict.Outcome())
		if d.endpoint != nil {
			m.countPublished(d)
			d.countEventTypes()
		}
	}
	now := d.s.Now()
	took := now.Sub(d.start).Seconds()
	if d.route != nil {
		seconds := float64(now.UnixMilli()) / 1000
		d.route.metrics.last.Set(seconds)
		if status < http.StatusMultipleChoices {
			d.route.metrics.lastDone.Set(seconds)
		}
		d.route.metrics.seconds.Observe(took)
	} else {
		m.seconds.WithLabelValues(connector).Observe(took)
	}
	var webhooks prometheus.Counter
	if d.route != nil && status == d.route.metrics.status && reason == "" {
		webhooks = d.route.metrics.webhooks[outcome]
	}
	if webhooks == nil {
		webhooks = m.webhooks.WithLabelValues(connector, endpoint, outcome, reason, strconv.Itoa(status))
	}
	webhooks.Inc()
	m.bytes.Add(float64(d.bytes))
}

// countPublished counts the events and the dead letter of a webhook that Kafka has.
func (m *metrics) countPublished(d *delivery) {
	connector, endpoint := d.endpoint.Connector, d.endpoint.NameOrDefault()
	if d.verdict.Has(normalize.OutcomeMalformed) {
		m.dead.WithLabelValues(connector, endpoint).Inc()
	}
	for i := range d.verdict.Events {
		t := d.verdict.Events[i].Type
		c := d.route.metrics.events[t]
		if c == nil {
			c = m.events.WithLabelValues(connector, endpoint, string(t))
		}
		c.Inc()
	}
}
