package console

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/tollbridge/tollbridge/webhook"
)

// overviewPage is the data of the first page.
type overviewPage struct {
	Endpoints []*endpointCounts
	Counted   bool // the server's counters are known
	Health    health
	Chart     []minute
	Most      int // the most webhooks of a minute of the chart
	Send      []string

	// Sums of all endpoints, since the server's start.
	Webhooks, Events, Refused, DeadLetters int
	Reasons                                []reasonCount
}

// health says whether the server can acknowledge webhooks, and what may keep it from that.
type health struct {
	Waiting         string     `json:"not_ready,omitempty"` // why webhooks are answered 503; empty if they are not
	Warnings        []string   `json:"warnings,omitempty"`
	OtherReplicas   *int       `json:"other_replicas,omitempty"`        // that received webhooks in the last ten minutes
	Lag             int        `json:"state_lag_records"`               // records of the topics that the server has not read yet
	UnderReplicated int        `json:"under_replicated_partitions"`     // fewer in-sync replicas than replicas
	UnderMinInSync  int        `json:"under_min_insync_partitions"`     // fewer in-sync replicas than min.insync.replicas: nothing can be written
	Disputes        []disputes `json:"open_disputes_by_days,omitempty"` // open disputes by their deadline
}

// Replicas says which replicas received webhooks in the last ten minutes; "" if that is not
// known.
func (h health) Replicas() string {
	switch {
	case h.OtherReplicas == nil:
		return ""
	case *h.OtherReplicas == 0:
		return "only this one received webhooks in the last 10 minutes"
	}
	return "this one, and " + count(*h.OtherReplicas, "other") + " that received webhooks in the last 10 minutes"
}

// disputes counts the open disputes of one value of the label days_left of the metric
// tollbridge_open_disputes.
type disputes struct {
	DaysLeft string `json:"days_left"`
	Count    int    `json:"count"`
}

// addGauges adds the server's gauges.
func (h *health) addGauges(families []*dto.MetricFamily) {
	byDays := map[string]int{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			n := int(m.GetGauge().GetValue())
			switch f.GetName() {
			case "tollbridge_state_lag_records":
				h.Lag = n
			case "tollbridge_kafka_under_replicated_partitions":
				h.UnderReplicated = n
			case "tollbridge_kafka_under_min_insync_partitions":
				h.UnderMinInSync = n
			case "tollbridge_open_disputes":
				for _, l := range m.GetLabel() {
					if l.GetName() == "days_left" {
						byDays[l.GetValue()] += n
					}
				}
			}
		}
	}
	for days, n := range byDays {
		if n > 0 {
			h.Disputes = append(h.Disputes, disputes{days, n})
		}
	}
	slices.SortFunc(h.Disputes, func(a, b disputes) int { return cmp.Compare(a.order(), b.order()) })
}

// order is a text by which the labels are sorted: overdue, 0 to 6, 7+, unknown.
func (d disputes) order() string {
	if d.DaysLeft == "overdue" {
		return ""
	}
	return d.DaysLeft
}

// Text says when the disputes have to be responded to.
func (d disputes) Text() string {
	switch d.DaysLeft {
	case "overdue":
		return count(d.Count, "dispute") + " overdue"
	case "unknown":
		return count(d.Count, "dispute") + " without a deadline"
	case "1":
		return count(d.Count, "dispute") + " with 1 day left"
	}
	return count(d.Count, "dispute") + " with " + d.DaysLeft + " days left"
}

// minute is a bar of the chart of the last hour. Heights and Y are in units of the chart,
// which is [chartHeight] high.
type minute struct {
	X                         int
	Accepted, Refused         int
	AcceptedHeight, AcceptedY int
	RefusedHeight, RefusedY   int
}

// chartMinutes and chartHeight are the size of the chart.
const chartMinutes, chartHeight = 60, 60

// sample is how many webhooks the server had counted at a time.
type sample struct {
	webhooks, refused int
	endpoints         map[string]int // webhooks by endpoint
}

// Run counts the webhooks of each minute for the chart of the first page. When ctx is
// done, it cancels the running job, ends the live views and returns.
func (h *Handler) Run(ctx context.Context) {
	defer h.feed.close()
	defer h.stopJobs()
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		if h.Metrics != nil {
			if families, err := h.Metrics.Gather(); err == nil {
				h.addSample(sampleOf(families))
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (h *Handler) addSample(s sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.samples = append(h.samples, s)
	if len(h.samples) > chartMinutes {
		h.samples = h.samples[1:]
	}
}

// sampleOf returns how many webhooks the server has counted.
func sampleOf(families []*dto.MetricFamily) (s sample) {
	s.endpoints = map[string]int{}
	for _, f := range families {
		if f.GetName() != "tollbridge_webhooks_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			n := int(m.GetCounter().GetValue())
			s.webhooks += n
			connector, endpoint := "", ""
			for _, l := range m.GetLabel() {
				switch {
				case l.GetName() == "connector":
					connector = l.GetValue()
				case l.GetName() == "endpoint":
					endpoint = l.GetValue()
				case l.GetName() == "reason" && l.GetValue() != "":
					s.refused += n
				}
			}
			s.endpoints[connector+"/"+endpoint] += n
		}
	}
	return s
}

// lastHour returns the samples of the last hour, and the one of now.
func (h *Handler) lastHour(now sample) []sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append(slices.Clone(h.samples), now)
}

// chart returns the bars of [Handler.lastHour], oldest first, and the most webhooks of a
// minute. The last bar is the minute that is not over yet.
func chart(all []sample) (bars []minute, most int) {
	for n := range all[1:] {
		// A removed endpoint takes its counters along, so a count can be less than before.
		webhooks, refused := max(0, all[n+1].webhooks-all[n].webhooks), max(0, all[n+1].refused-all[n].refused)
		bars = append(bars, minute{X: (chartMinutes - len(all) + 1 + n) * 10, Accepted: max(0, webhooks-refused), Refused: refused})
		most = max(most, webhooks, refused)
	}
	height := func(n int) int {
		if n == 0 {
			return 0
		}
		return max(1, int(float64(n)/float64(most)*chartHeight))
	}
	for n := range bars {
		b := &bars[n]
		b.AcceptedHeight, b.RefusedHeight = height(b.Accepted), height(b.Refused)
		b.AcceptedY = chartHeight - b.AcceptedHeight
		b.RefusedY = max(0, b.AcceptedY-b.RefusedHeight)
	}
	return bars, most
}

// bar is a minute of the chart of an endpoint, in its units.
type bar struct{ X, Y, Height int }

// sparkHeight is the height of the chart of an endpoint.
const sparkHeight = 20

// spark returns the minutes of the last hour in which an endpoint got webhooks, and the
// most webhooks of a minute.
func spark(id string, all []sample) (bars []bar, most int) {
	counts := make([]int, len(all)-1)
	for n := range counts {
		counts[n] = max(0, all[n+1].endpoints[id]-all[n].endpoints[id])
		most = max(most, counts[n])
	}
	for n, count := range counts {
		if count > 0 {
			height := max(2, count*sparkHeight/most)
			bars = append(bars, bar{(chartMinutes - len(counts) + n) * 2, sparkHeight - height, height})
		}
	}
	return bars, most
}

// endpointCounts are the server's counters of one endpoint, since its start.
type endpointCounts struct {
	ID          string         `json:"-"` // connector/endpoint
	Connector   string         `json:"connector"`
	Endpoint    string         `json:"endpoint"` // its name
	Path        string         `json:"path"`
	Live        bool           `json:"live"`
	Last        *time.Time     `json:"last_webhook,omitempty"`
	Webhooks    int            `json:"webhooks"`
	Refused     map[string]int `json:"refused_by_reason"`
	Events      int            `json:"events"`
	DeadLetters int            `json:"dead_letters"`
	Spark       []bar          `json:"-"`
	Most        int            `json:"-"` // the most webhooks of a minute of the last hour
}

// Share returns a count as thousandths of the webhooks, for a bar.
func (e *endpointCounts) Share(n int) int {
	return int(float64(n) / float64(max(1, e.Webhooks)) * 1000)
}

// Accepted returns the number of webhooks that were not refused.
func (e *endpointCounts) Accepted() int {
	n := e.Webhooks
	for _, refused := range e.Refused {
		n -= refused
	}
	return n
}

// Reasons returns the reasons of refusals, the most frequent first.
func (e *endpointCounts) Reasons() []reasonCount {
	var all []reasonCount
	for reason, n := range e.Refused {
		all = append(all, reasonCount{reason, n})
	}
	slices.SortFunc(all, func(a, b reasonCount) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.Reason, b.Reason)) })
	return all
}

// reasonCount is how many requests were refused for a reason.
type reasonCount struct {
	Reason string
	Count  int
}

// overview shows the server's health and its endpoints.
func (h *Handler) overview(r *http.Request) (view, error) {
	data := overviewPage{Counted: h.Metrics != nil, Send: h.Send}
	if _, err := h.Names(); err != nil {
		data.Health.Waiting = err.Error()
	} else if h.Ready != nil {
		if err := h.Ready(r.Context()); err != nil {
			data.Health.Waiting = err.Error()
		}
	}
	if h.Warnings != nil {
		data.Health.Warnings = h.Warnings()
	}
	if h.OtherReplicas != nil {
		n := h.OtherReplicas()
		data.Health.OtherReplicas = &n
	}
	for _, e := range sorted(h.Endpoints()) {
		data.Endpoints = append(data.Endpoints, newEndpointCounts(e))
	}
	if h.Metrics != nil {
		families, err := h.Metrics.Gather()
		if err != nil {
			h.Log.Warn().Err(err).Msg("some counters could not be read for the console")
		}
		addCounts(data.Endpoints, families)
		data.Health.addGauges(families)
		samples := h.lastHour(sampleOf(families))
		data.Chart, data.Most = chart(samples)
		for _, e := range data.Endpoints {
			e.Spark, e.Most = spark(e.ID, samples)
		}
	}
	sum := endpointCounts{Refused: map[string]int{}}
	for _, e := range data.Endpoints {
		data.Webhooks, data.Events, data.DeadLetters = data.Webhooks+e.Webhooks, data.Events+e.Events, data.DeadLetters+e.DeadLetters
		for reason, n := range e.Refused {
			sum.Refused[reason] += n
			data.Refused += n
		}
	}
	data.Reasons = sum.Reasons()
	all := data.Endpoints
	if data.Webhooks > 0 && len(all) > maxIdle { // dev has an endpoint for every connector
		data.Endpoints = slices.DeleteFunc(slices.Clone(all), func(e *endpointCounts) bool { return e.Webhooks == 0 })
	}
	asJSON := map[string]any{"health": data.Health, "endpoints": all}
	return view{template: "overview", Here: "overview", Title: "Overview", Data: data, JSON: asJSON}, nil
}

// maxIdle is from how many endpoints on only those with webhooks are listed.
const maxIdle = 20

func newEndpointCounts(e webhook.Endpoint) *endpointCounts {
	return &endpointCounts{ID: e.ID(), Connector: e.Connector, Endpoint: e.NameOrDefault(), Path: e.Path(), Live: e.Live, Refused: map[string]int{}}
}

// addCounts adds the server's counters to the endpoints.
func addCounts(all []*endpointCounts, families []*dto.MetricFamily) {
	byID := map[string]*endpointCounts{}
	for _, e := range all {
		byID[e.ID] = e
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			e := byID[labels["connector"]+"/"+labels["endpoint"]]
			if e == nil {
				continue
			}
			n := int(m.GetCounter().GetValue())
			switch f.GetName() {
			case "tollbridge_webhooks_total":
				e.Webhooks += n
				if reason := labels["reason"]; reason != "" && n > 0 {
					e.Refused[reason] += n
				}
			case "tollbridge_events_total":
				e.Events += n
			case "tollbridge_dead_letters_total":
				e.DeadLetters += n
			case "tollbridge_last_webhook_timestamp_seconds":
				if seconds := m.GetGauge().GetValue(); seconds > 0 {
					at := time.UnixMilli(int64(seconds * 1000)).UTC()
					e.Last = &at
				}
			}
		}
	}
}
