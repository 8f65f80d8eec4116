package console

import (
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/internal/doctor"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// webhookPage is the data of the page of an archived webhook.
type webhookPage struct {
	*lookup.Item
	Letter   bool // a dead letter
	URL      string
	Signs    string
	Weakness string
	Covers   verify.Coverage
	Headers  []header
	Pretty   string // the masked body, indented
	Raw      string // the masked body
	Omitted  int    // the bytes of the body that are not shown
	Events   []siblingEvent
	Today    today
	Unmask   action
	Unmasked bool // with its personal fields
}

// header is a header of the archived request.
type header struct {
	Name, Value string
	Signature   bool // verification reads it
}

// headersOf returns the headers of a request to a connector, by name.
func headersOf(c verify.Connector, of http.Header) (all []header) {
	for _, name := range slices.Sorted(maps.Keys(of)) {
		signature := slices.ContainsFunc(c.Headers, func(n string) bool { return strings.EqualFold(n, name) })
		for _, value := range of[name] {
			all = append(all, header{name, value, signature})
		}
	}
	return all
}

// withQuery returns the path or address of a request with its query.
func withQuery(path, query string) string {
	if query == "" {
		return path
	}
	return path + "?" + query
}

// siblingEvent is an event that a webhook gave.
type siblingEvent struct {
	ID, URL string
}

// today is what this version and its configuration make of the webhook.
type today struct {
	Configured bool // the endpoint is configured
	Error      string
	Diagnosis  *doctor.Diagnosis
	Secret     string
	Events     []schemas.Event
	Skipped    []normalize.Skipped
}

// maxBodyShown is how many bytes of a body a page shows.
const maxBodyShown = 256 << 10

// webhook shows one archived webhook.
func (h *Handler) webhook(r *http.Request) (view, error) {
	v := view{template: "webhook", Here: "payment", Title: "Webhook"}
	names, err := h.Names()
	if err != nil {
		return v, notReady(err)
	}
	at, err := parseReceipt(names, r.URL.Query().Get("at"))
	if err != nil {
		return v, problem{http.StatusBadRequest, err.Error() + ".", "Follow a link from a payment."}
	}
	records, err := h.Reader.Get(r.Context(), []kafka.Receipt{at})
	if err != nil {
		return v, err
	}
	record, ok := records[at]
	i := lookup.Read(names, record)
	if !ok || i == nil || i.Webhook == nil {
		return v, problem{http.StatusNotFound, fmt.Sprintf("There is no webhook at %s.", at.Text()), "Kafka keeps archived webhooks for kafka.retention, 35 days if it is not configured."}
	}
	endpoints := h.Endpoints()
	exact := *i.Webhook
	shown := h.masker(r, endpoints).item(i)
	w := shown.Webhook
	c, _ := verify.Lookup(w.Connector)
	data := webhookPage{Item: shown, Letter: at.Topic == names.Dead(), URL: withQuery(w.Path, w.Query), Signs: c.Signs, Weakness: c.Weakness, Covers: c.Covers, Headers: headersOf(c, w.Header)}
	data.Unmask, data.Unmasked = h.action(r, h.Unmask), h.masker(r, nil).personal
	text := bodyText(w.Body)
	data.Pretty, _ = limited(pretty(w.Body))
	data.Raw, data.Omitted = limited(text)
	for _, id := range w.EventIDs {
		data.Events = append(data.Events, siblingEvent{id, "/console/event?" + url.Values{"id": {id}}.Encode()})
	}
	if w.Handles == "" {
		data.Today = h.judge(r, endpoints, exact)
	}
	v.Title = w.Connector + "/" + w.Endpoint + " webhook"
	v.Data, v.JSON = data, lookup.ItemWithBody{Item: shown, Body: w.Body}
	return v, nil
}

// judge verifies and normalises an archived webhook with this version and its
// configuration. It publishes nothing.
func (h *Handler) judge(r *http.Request, endpoints []webhook.Endpoint, w webhook.Archived) (t today) {
	e, configured := lookup.EndpointOf(endpoints, w.Connector, w.Endpoint)
	if t.Configured = configured; !configured {
		return t
	}
	verdict := e.JudgeArchived(r.Context(), new(verify.Keyring), w)
	t.Secret, t.Events, t.Skipped = verdict.Secret, verdict.Events, verdict.Skipped
	m := h.masker(r, endpoints)
	for n := range t.Skipped {
		t.Skipped[n].Reason = m.text(t.Skipped[n].Reason)
	}
	if verdict.Err == nil {
		return t
	}
	t.Error = m.text(verdict.Err.Error())
	address := &url.URL{Path: w.Path, RawQuery: w.Query}
	request := verify.Request{Method: w.Method, URL: e.Address(address), Header: w.Header, Body: w.Body, Archived: true}
	t.Diagnosis = h.diagnose(m, endpoints, doctor.Case{Endpoint: e, Request: request, Now: w.ReceivedAt})
	return t
}

// parseReceipt parses the receipt of an archived webhook or a dead letter.
func parseReceipt(names kafka.Names, text string) (at kafka.Receipt, err error) {
	at, ok := kafka.ParseReceipt(text, "")
	if !ok || at.Topic != names.Received() && at.Topic != names.Dead() {
		return at, fmt.Errorf("%q is not the receipt of a webhook: expected %s[PARTITION]@OFFSET or %s[PARTITION]@OFFSET", display.Cut(text, 100), names.Received(), names.Dead())
	}
	return at, nil
}

// bodyText returns a body as text, or as a hexadecimal dump if it is not text.
func bodyText(b []byte) string {
	if !utf8.Valid(b) {
		return hex.Dump(b)
	}
	return string(b)
}

// pretty returns JSON indented, and other text as it is.
func pretty(b []byte) string {
	v := jsontext.Value(slices.Clone(b))
	if v.Indent(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true), jsontext.WithIndent("  ")) != nil {
		return bodyText(b)
	}
	return string(v)
}

// limited returns the beginning of a long text, and how many bytes it leaves out.
func limited(s string) (string, int) {
	if len(s) <= maxBodyShown {
		return s, 0
	}
	at := maxBodyShown
	for !utf8.RuneStart(s[at]) {
		at--
	}
	return s[:at], len(s) - at
}
