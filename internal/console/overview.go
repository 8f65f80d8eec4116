package console

import (
	"cmp"
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
	Waiting   string
	Warnings  []string
	Send      []string
	Webhooks  int
}

// endpointCounts are the server's counters of one endpoint, since its start.
type endpointCounts struct {
	Endpoint    string         `json:"endpoint"`
	Path        string         `json:"path"`
	Live        bool           `json:"live"`
	Last        *time.Time     `json:"last_webhook,omitempty"`
	Webhooks    int            `json:"webhooks"`
	Refused     map[string]int `json:"refused"` // by reason
	Events      int            `json:"events"`
	DeadLetters int            `json:"dead_letters"`
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

type reasonCount struct {
	Reason string
	Count  int
}

// overview shows the endpoints.
func (h *Handler) overview(r *http.Request) (view, error) {
	data := overviewPage{Counted: h.Metrics != nil, Send: h.Send}
	if _, err := h.Names(); err != nil {
		data.Waiting = err.Error()
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
	}
	for _, e := range data.Endpoints {
		data.Webhooks += e.Webhooks
	}
	all := data.Endpoints
	if data.Webhooks > 0 && len(all) > maxIdle { // dev has an endpoint for every connector
		data.Endpoints = slices.DeleteFunc(slices.Clone(all), func(e *endpointCounts) bool { return e.Webhooks == 0 })
	}
	return view{template: "overview", Here: "overview", Title: "Overview", Data: data, JSON: map[string]any{"endpoints": all}}, nil
}

// maxIdle is from how many endpoints on only those with webhooks are listed.
const maxIdle = 20

func newEndpointCounts(e webhook.Endpoint) *endpointCounts {
	return &endpointCounts{Endpoint: e.ID(), Path: e.Path(), Live: e.Live, Refused: map[string]int{}}
}

// addCounts adds the server's counters to the endpoints.
func addCounts(all []*endpointCounts, families []*dto.MetricFamily) {
	byID := map[string]*endpointCounts{}
	for _, e := range all {
		byID[e.Endpoint] = e
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
