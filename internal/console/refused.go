package console

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/internal/doctor"
	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// The limits of the refused requests of an endpoint that are kept.
const (
	MaxRefused      = 1000    // the most that [Config.Refused] can be
	maxRefusedBytes = 2 << 20 // of headers and bodies together
	maxRefusedBody  = 1 << 20 // a longer body is not kept
	// refusedRate is how many requests a second are copied: under a flood of forged requests,
	// the others are only counted.
	refusedRate = 10
)

// keptRequest is a refused request in memory.
type keptRequest struct {
	webhook.Refused
	Number  uint64 `json:"number"`
	Bytes   int    `json:"bytes"`   // of the body
	Dropped bool   `json:"dropped"` // the body is too long to be kept
	size    int
}

// refusedRequests are the last refused requests of each endpoint, never on a disk.
type refusedRequests struct {
	mu   sync.Mutex
	last uint64 // the number of the newest one
	by   map[string]*refusedOf
}

// refusedOf are the refused requests of one endpoint, oldest first.
type refusedOf struct {
	limit   *rate.Limiter
	kept    []*keptRequest
	bytes   int
	skipped int // requests that came too fast to be kept
}

// KeepRefused keeps a copy of a refused request for the page of refused requests. It
// diagnoses nothing: that is done when somebody looks.
func (h *Handler) KeepRefused(x webhook.Refused) {
	h.refused.keep(x, h.Refused, time.Now())
}

func (s *refusedRequests) keep(x webhook.Refused, most int, now time.Time) {
	if most == 0 {
		return
	}
	s.mu.Lock()
	if s.by == nil {
		s.by = map[string]*refusedOf{}
	}
	of := s.by[x.ID()]
	if of == nil {
		of = &refusedOf{limit: rate.NewLimiter(refusedRate, refusedRate)}
		s.by[x.ID()] = of
	}
	if !of.limit.AllowN(now, 1) {
		of.skipped++
		s.mu.Unlock()
		return
	}
	s.last++
	number := s.last
	s.mu.Unlock()

	k := &keptRequest{Refused: x, Number: number, Bytes: len(x.Body)}
	k.Header, k.Path, k.Query, k.Error = x.Header.Clone(), strings.Clone(x.Path), strings.Clone(x.Query), display.Cut(x.Error, 1000)
	if k.Dropped = len(x.Body) > maxRefusedBody; k.Dropped {
		k.Body = nil
	} else {
		k.Body = slices.Clone(x.Body)
	}
	k.size = len(k.Body) + len(k.Path) + len(k.Query) + len(k.Error)
	for name, values := range k.Header {
		for _, v := range values {
			k.size += len(name) + len(v)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	of.kept, of.bytes = append(of.kept, k), of.bytes+k.size
	for len(of.kept) > most || of.bytes > maxRefusedBytes && len(of.kept) > 1 {
		of.bytes -= of.kept[0].size
		of.kept[0] = nil
		of.kept = of.kept[1:]
	}
}

// list returns the kept requests of the endpoints, newest first, and how many came too
// fast to be kept: of one endpoint, or of all if only is empty. It forgets those of
// endpoints that are no longer configured.
func (s *refusedRequests) list(endpoints []webhook.Endpoint, only string) (all []*keptRequest, skipped int) {
	s.mu.Lock()
	for id, of := range s.by {
		if !slices.ContainsFunc(endpoints, func(e webhook.Endpoint) bool { return e.ID() == id }) {
			delete(s.by, id)
			continue
		}
		if only == "" || only == id {
			all, skipped = append(all, of.kept...), skipped+of.skipped
		}
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b *keptRequest) int { return b.ReceivedAt.Compare(a.ReceivedAt) })
	return all, skipped
}

// request returns a copy of a refused request with its header, query, body and error
// masked. Headers whose name says that they are secret are masked whole: a refused token
// may be valid at another endpoint.
func (m masker) request(k *keptRequest) *keptRequest {
	to := *k
	to.Query, to.Body, to.Error = m.form(k.Query), m.body(k.Body), m.text(k.Error)
	to.Header = http.Header{}
	for name, values := range k.Header {
		for _, v := range values {
			if (masker{personal: true}).sensitive(name) {
				v = masked
			}
			to.Header.Add(name, m.text(v))
		}
	}
	return &to
}

// refusalsPage is the data of the list of refused requests.
type refusalsPage struct {
	On      bool // requests are kept
	Most    int
	Only    string // the endpoint, if the request names one
	Skipped int
	Rows    []*keptRequest
	Pages   pages
}

// refusalPage is the data of one refused request.
type refusalPage struct {
	*keptRequest
	URL       string
	Signs     string
	Covers    verify.Coverage
	Headers   []header
	Diagnosis *doctor.Diagnosis
	Pretty    string
	Omitted   int
	Unmask    action
	Unmasked  bool
}

// refusals lists the last refused requests, or shows the one that the request names.
func (h *Handler) refusals(r *http.Request) (view, error) {
	v := view{template: "refused", Here: "refused", Title: "Refused requests"}
	endpoints := h.Endpoints()
	if r.URL.Query().Get("number") != "" {
		k := h.refusedRequest(r)
		if k == nil {
			return v, problem{http.StatusNotFound, "This refused request is no longer kept.", fmt.Sprintf("Only the last ones of each endpoint are, in memory: at most %d.", h.Refused)}
		}
		return h.refusal(r, endpoints, k)
	}
	only := r.URL.Query().Get("endpoint")
	all, skipped := h.refused.list(endpoints, only)
	m := newMasker(endpoints)
	data := refusalsPage{On: h.Refused > 0, Most: h.Refused, Only: only, Skipped: skipped}
	data.Pages = newPages(r, len(all))
	for _, k := range all[data.Pages.from:data.Pages.to] {
		row := *k
		row.Body = nil // masking it takes time, and the list does not show it
		data.Rows = append(data.Rows, m.request(&row))
	}
	if data.Rows == nil {
		data.Rows = []*keptRequest{}
	}
	v.Data, v.JSON = data, data.Rows
	return v, nil
}

// refusedRequest returns the kept request whose number a request has; nil if there is none.
func (h *Handler) refusedRequest(r *http.Request) *keptRequest {
	number, err := strconv.ParseUint(r.URL.Query().Get("number"), 10, 64)
	if err != nil {
		return nil
	}
	all, _ := h.refused.list(h.Endpoints(), "")
	n := slices.IndexFunc(all, func(k *keptRequest) bool { return k.Number == number })
	if n < 0 {
		return nil
	}
	return all[n]
}

// refusal shows one refused request with the doctor's diagnosis.
func (h *Handler) refusal(r *http.Request, endpoints []webhook.Endpoint, k *keptRequest) (view, error) {
	v := view{template: "refusal", Here: "refused", Title: "Refused request"}
	m := h.masker(r, endpoints)
	shown := m.request(k)
	c, _ := verify.Lookup(k.Connector)
	data := refusalPage{keptRequest: shown, URL: withQuery(shown.Path, shown.Query), Signs: c.Signs, Covers: c.Covers, Headers: headersOf(c, shown.Header), Unmask: h.action(r, h.Unmask), Unmasked: m.personal}
	if e, ok := lookup.EndpointOf(endpoints, k.Connector, k.Endpoint); ok && (len(k.Body) > 0 || k.Bytes == 0) {
		request := verify.Request{Method: k.Method, URL: e.Address(&url.URL{Path: k.Path, RawQuery: k.Query}), Header: k.Header, Body: k.Body}
		data.Diagnosis = h.diagnose(m, endpoints, doctor.Case{Endpoint: e, Request: request, Now: k.ReceivedAt})
	}
	data.Pretty, data.Omitted = limited(pretty(shown.Body))
	v.Data, v.JSON = data, struct {
		*keptRequest
		Body      []byte            `json:"body"` // masked
		Diagnosis *doctor.Diagnosis `json:"diagnosis,omitempty"`
	}{shown, shown.Body, data.Diagnosis}
	return v, nil
}

// maxFinding is how many characters of a finding a page shows.
const maxFinding = 2000

// diagnose returns the masked diagnosis of a request; nil if there is no mistake. One
// diagnosis runs at a time: it takes CPU. It tries the keys of the other endpoints, too.
func (h *Handler) diagnose(m masker, endpoints []webhook.Endpoint, c doctor.Case) *doctor.Diagnosis {
	h.diagnosing.Lock()
	defer h.diagnosing.Unlock()
	c.Others = slices.DeleteFunc(slices.Clone(endpoints), func(o webhook.Endpoint) bool { return o.Path() == c.Endpoint.Path() })
	d := c.Diagnose()
	if d == nil {
		return nil
	}
	known, _ := verify.Lookup(c.Endpoint.Connector)
	return m.diagnosis(d, known.Headers)
}

// diagnosis returns a copy of a diagnosis whose texts are masked: they quote the request.
// Of the headers with these names it has only names, numbers and lengths.
func (m masker) diagnosis(d *doctor.Diagnosis, headers []string) *doctor.Diagnosis {
	to := *d
	finding := func(f doctor.Finding) doctor.Finding {
		return doctor.Finding{Cause: f.Cause, Mistake: display.Cut(m.text(f.Mistake), maxFinding), Fix: display.Cut(m.text(f.Fix), maxFinding)}
	}
	to.Finding, to.Also, to.Read = finding(d.Finding), nil, map[string]string{}
	for _, f := range d.Also {
		to.Also = append(to.Also, finding(f))
	}
	for name, value := range d.Read {
		address, query, _ := strings.Cut(value, "?")
		switch {
		case slices.Contains(headers, name):
			to.Read[name] = m.text(value)
		case name == "address" && (strings.HasPrefix(value, "https://") || strings.HasPrefix(value, "http://")): // the signed URL
			to.Read[name] = withQuery(m.text(address), m.form(query))
		case m.sensitive(name):
			to.Read[name] = masked
		default:
			to.Read[name] = string(m.fieldValue(value))
		}
	}
	return &to
}
