package console

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/internal/replay"
	"github.com/tollbridge/tollbridge/schemas"
)

// paymentPage is the data of the page of a payment.
type paymentPage struct {
	ID       string
	Scanned  bool
	CanScan  bool // reading the topics can find more
	Merchant []string
	Amounts  []amountsShown
	Steps    []step // of this page
	Records  int    // of all pages
	Pages    pages
	Send     []string
}

// payment shows what is known of a payment.
func (h *Handler) payment(r *http.Request) (view, error) {
	v := view{template: "payment", Here: "payment", Query: r.URL.Query().Get("id")}
	id := strings.TrimSpace(v.Query)
	if id == "" {
		return v, errNoID
	}
	p, err := h.find(r, id, r.URL.Query().Get("scan") == "1")
	if err != nil {
		return v, err
	}
	data := paymentPage{ID: id, Scanned: p.Scanned, CanScan: !p.Scanned, Records: len(p.Items), Send: h.Send}
	for _, a := range p.Amounts {
		data.Amounts = append(data.Amounts, newAmountsShown(a))
	}
	for _, e := range lookup.Current(p.Items) {
		if !slices.Contains(data.Merchant, e.Subject) && len(data.Merchant) < 5 {
			data.Merchant = append(data.Merchant, e.Subject)
		}
	}
	data.Pages = newPages(r, len(p.Items))
	data.Steps = newSteps(p.Items, data.Pages.from, data.Pages.to)
	v.Title, v.Data, v.JSON = display.Cut(id, 60), data, p
	return v, nil
}

// errNoID is the error of a page without the id of what it shows.
var errNoID = problem{http.StatusBadRequest, "No id was given.", "Type the merchant's id, or the processor's id of a payment, refund or dispute, into the search field."}

// find finds a payment by an id for a request, with its webhooks masked: see
// [Handler.finder].
func (h *Handler) find(r *http.Request, id string, scan bool) (lookup.Payment, error) {
	f, err := h.finder(scan)
	if err != nil {
		return lookup.Payment{}, notReady(err)
	}
	done := func() {}
	defer func() { done() }()
	wait := func(error) error {
		release, err := h.scan(r.Context())
		if err == nil {
			done = release
		}
		return err
	}
	if f.Where == nil {
		if err := wait(nil); err != nil {
			return lookup.Payment{}, err
		}
	}
	p, err := f.Find(r.Context(), id, wait)
	if errors.Is(err, history.ErrNotReady) {
		return p, notReady(err)
	}
	m := newMasker(h.Endpoints())
	for n, i := range p.Items {
		p.Items[n] = m.item(i)
	}
	return p, err
}

// notReady returns the problem of a server that does not know its topics or its history
// yet.
func notReady(err error) error {
	return problem{http.StatusServiceUnavailable, "The server is still starting: " + err.Error() + ".", "Reload the page in a moment."}
}

// item returns a copy of a record with its webhook masked.
func (m masker) item(i *lookup.Item) *lookup.Item {
	if i.Webhook == nil {
		return i
	}
	to := *i
	to.Webhook = m.webhook(i.Webhook)
	return &to
}

// step is a record of a payment's time line.
type step struct {
	*lookup.Item
	What, Means string // event type or outcome, and what it means
	Tone        string // see [display.Tone], or muted
	Marks       []mark
	After       string // the time since the step before, if it is long
	// Happened is when the fact happened at the processor; of an event.
	Happened   time.Time
	Verified   string    // how the webhook of the event was verified
	Webhooks   []sibling // the webhooks of an event, or the events of a webhook
	Superseded bool      // a correction of this event follows
	Changes    []change  // of a correction: how it differs from what it replaces
	Listed     bool      // only in the table: a webhook whose event is in the time line
}

// mark is something to know about a step.
type mark struct {
	Text, Title string
	Tone        string
	EventID     string // the other event, if there is one
}

// change is a field that a correction changes.
type change struct {
	Field, Old, New string // empty: there was, or is, no such field
}

// changesOf returns how a correction differs from the event that it replaces.
func changesOf(before, after schemas.Event) (all []change) {
	fields, err := replay.FieldChanges(before, after)
	if err != nil { // the events were decoded from JSON, so they can be encoded
		return nil
	}
	for _, f := range fields {
		all = append(all, change{f.Field, fieldText(f.Old), fieldText(f.New)})
	}
	return all
}

// fieldText returns the value of a field for people: amounts and texts without JSON.
func fieldText(value json.RawMessage) string {
	var a schemas.Amount
	var text string
	switch {
	case json.Unmarshal(value, &a) == nil && a.Currency != "":
		return display.Amount(&a)
	case json.Unmarshal(value, &text) == nil:
		return text
	}
	return string(value)
}

// sibling is a record that belongs to a step.
type sibling struct {
	Text, URL string
}

// newSteps returns the steps of the records from one index to another.
func newSteps(items []*lookup.Item, from, to int) []step {
	webhooks, corrected, seen, known := map[string][]*lookup.Item{}, map[string]string{}, map[string]bool{}, map[string]bool{}
	for _, i := range items {
		if e := i.Event; e != nil {
			known[e.ID] = true
			if of := e.Data.Corrects; of != "" {
				corrected[of] = e.ID // the latest counts
			}
			continue
		}
		for _, id := range i.Webhook.EventIDs {
			webhooks[id] = append(webhooks[id], i)
		}
	}
	var all []step
	latest := map[string]schemas.Event{} // by the id of the event that was corrected
	for n, i := range items[:to] {
		var s step
		if e := i.Event; e != nil {
			again := seen[e.ID]
			seen[e.ID] = true
			origin := cmp.Or(e.Data.Corrects, e.ID)
			before, replaces := latest[origin]
			if !replaces || e.Data.Corrects != "" {
				latest[origin] = *e
			}
			if n < from {
				continue
			}
			s = eventStep(i, webhooks, corrected, again)
			if replaces && e.Data.Corrects != "" {
				s.Changes = changesOf(before, *e)
			}
		} else {
			if n < from {
				continue
			}
			s = webhookStep(i, known)
		}
		if n > 0 {
			if gap := i.Time.Sub(items[n-1].Time); gap >= time.Minute {
				s.After = display.Age(gap) + " later"
			}
		}
		all = append(all, s)
	}
	return all
}

func eventStep(i *lookup.Item, webhooks map[string][]*lookup.Item, corrected map[string]string, again bool) step {
	e := i.Event
	s := step{Item: i, What: string(e.Type), Means: e.Type.Description(), Tone: string(display.ToneOf(e.Type)), Happened: e.Time}
	add := func(text, title, tone, id string) { s.Marks = append(s.Marks, mark{text, title, tone, id}) }
	d := e.Data
	if d.Corrects != "" {
		add("correction", "It replaces the event "+d.Corrects+".", "info", d.Corrects)
	}
	if by := corrected[cmp.Or(d.Corrects, e.ID)]; by != "" && by != e.ID {
		s.Superseded = true
		add("corrected", "The event "+by+" replaces it.", "muted", by)
	}
	if d.Late {
		add("late", "An event that happened after it was published before it.", "warn", d.NewestEventID)
	}
	if d.Contradicts != "" {
		add("contradicts", "It and the event "+d.Contradicts+" exclude each other.", "bad", d.Contradicts)
	}
	if again {
		add("same id again", "The event was written twice: consumers process each id once.", "warn", "")
	}
	if !d.Live {
		add("test mode", "The processor sent it in its test mode.", "muted", "")
	}
	if d.KeySource == schemas.KeyFromConnector {
		add("fallback key", "The merchant's id was not known when it was published.", "warn", "")
	}
	retried := false
	for _, w := range webhooks[cmp.Or(d.Corrects, e.ID)] {
		text := string(w.Webhook.Outcome)
		switch {
		case w.Webhook.Handles != "":
			retried = true
			text = "dead letter " + text
			add(text, "Its webhook was a dead letter, and was handled by "+w.Webhook.By+".", "info", "")
		case len(s.Webhooks) == 0:
			s.Verified = verifiedBy(w)
			text = "webhook"
		case text == "duplicate":
			text = "redelivery"
		}
		s.Webhooks = append(s.Webhooks, sibling{text, webhookURL(w)})
	}
	if later := i.Time.Sub(d.ReceivedAt); later >= leastReplay && !d.ReceivedAt.IsZero() && !again && !retried {
		add("replayed", "Published "+display.Age(later)+" after its webhook was received: by a replay, or the retry of a dead letter.", "info", "")
	}
	if n := len(s.Webhooks) - 1; n > 0 && d.Corrects == "" {
		add("+"+count(n, "webhook"), "Redeliveries and other webhooks that report the same fact; they made no further event.", "muted", "")
	}
	return s
}

// leastReplay is how long after its webhook an event is written at least, if a replay or
// the retry of a dead letter wrote it. A webhook is acknowledged or refused sooner.
const leastReplay = 2 * time.Minute

func webhookStep(i *lookup.Item, known map[string]bool) step {
	w := i.Webhook
	s := step{Item: i, What: "webhook: " + string(w.Outcome), Tone: "muted", Means: w.Reason, Verified: verifiedBy(i)}
	switch {
	case w.Handles != "":
		s.What, s.Means, s.Verified = "dead letter "+string(w.Outcome), "By "+w.By+": "+w.Reason, ""
	case w.Outcome == "duplicate":
		s.Means = cmp.Or(s.Means, "A redelivery, or another webhook about a fact that was published before.")
	case w.Outcome == "events":
		s.What, s.Means = "webhook", "Verified; its events are published."
	}
	if strings.HasSuffix(i.Topic, "webhooks.dead") && w.Handles == "" {
		s.What, s.Tone = "dead letter", "bad"
	}
	s.Webhooks = append(s.Webhooks, sibling{"webhook", webhookURL(i)})
	for _, id := range w.EventIDs {
		if known[id] && w.Handles == "" {
			s.Listed = true
		}
		if known[id] && len(s.Webhooks) < 10 {
			s.Webhooks = append(s.Webhooks, sibling{"event", "/console/event?" + url.Values{"id": {id}}.Encode()})
		}
	}
	return s
}

// webhookURL returns the URL of the page of a webhook.
func webhookURL(i *lookup.Item) string {
	return "/console/webhook?" + url.Values{"at": {i.Receipt.Text()}}.Encode()
}

// verifiedBy says in a few words how a webhook was verified. The page of the webhook
// tells what is signed.
func verifiedBy(i *lookup.Item) string {
	w := i.Webhook
	switch {
	case w.VouchedBy != "":
		return "not signed; vouched for by " + string(w.VouchedBy)
	case w.Secret != "":
		return "signed with the secret " + w.Secret
	}
	return "signed"
}

// amountsShown are the amounts of a payment in one currency, and their bar.
type amountsShown struct {
	lookup.Amounts
	Parts []amountPart
}

// amountPart is a part of the bar. From and Width are thousandths of the bar.
type amountPart struct {
	Name, Tone  string
	Value       *schemas.Amount
	From, Width int
}

func newAmountsShown(a lookup.Amounts) amountsShown {
	s := amountsShown{Amounts: a}
	whole := max(a.Authorized, a.Captured)
	from := 0
	add := func(name, tone string, value int64) {
		width := 0
		if whole > 0 && value > 0 {
			width = min(int(float64(value)/float64(whole)*1000), 1000-from)
		}
		s.Parts = append(s.Parts, amountPart{name, tone, &schemas.Amount{Value: value, Currency: a.Currency}, from, width})
		from += width
	}
	add("left", "good", a.Left)
	add("refunded", "warn", a.Refunded)
	add("disputed", "bad", a.Disputed)
	return s
}

// Of returns one of the amounts by name.
func (a amountsShown) Of(name string) *schemas.Amount {
	values := map[string]int64{"authorized": a.Authorized, "captured": a.Captured, "left": a.Left}
	return &schemas.Amount{Value: values[name], Currency: a.Currency}
}

// eventPage is the data of the page of an event.
type eventPage struct {
	lookup.Details
	Step step
	Text string // the event as JSON
}

// event shows one event and the webhooks that report it. A link can name one that is older
// than the history remembers: the page then offers to read the topics.
func (h *Handler) event(r *http.Request) (view, error) {
	v := view{template: "event", Here: "payment", Query: r.URL.Query().Get("id")}
	id := strings.TrimSpace(v.Query)
	if id == "" {
		return v, errNoID
	}
	p, err := h.find(r, id, r.URL.Query().Get("scan") == "1")
	if err != nil {
		return v, err
	}
	d, err := p.Details(id)
	if err != nil {
		unknown := problem{http.StatusNotFound, fmt.Sprintf("Nothing is known of an event with the id %q.", display.Cut(id, 100)), "Look for the payment by another id of it."}
		if p.Scanned {
			return v, unknown
		}
		unknown.Next = "The server's history does not know it; the topics may still have it."
		return v, unread{unknown, "/console/event?" + url.Values{"id": {id}, "scan": {"1"}}.Encode()}
	}
	data := eventPage{Details: d, Text: pretty(mustJSON(d.Event.Event))}
	for _, s := range newSteps(p.Items, 0, len(p.Items)) {
		if s.Receipt == d.Event.Receipt {
			data.Step = s
		}
	}
	v.Title, v.Data, v.JSON = string(d.Event.Event.Type), data, d
	return v, nil
}
