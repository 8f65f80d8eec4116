// Package gaps finds what a processor lists and what never came as a webhook. It pages
// through the processor's list, normalises each item as the webhook that would have
// reported it, and looks up whether the events were published. What is missing can be
// published in the same way as a webhook, or the processor can be asked to deliver it
// again.
//
// A run keeps one page in memory, and a time and an offset for each missing item. With a
// [Journal] it can be killed at any time and goes on after the last page.
package gaps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

// MaxPublishAge is the greatest age of an event that is published: published events are
// remembered for 31 days, and an older one could be published twice.
const MaxPublishAge = 30 * 24 * time.Hour

// Action says what a run does about missing items.
type Action string

// The actions.
const (
	Plan    Action = "plan"    // only report
	Publish Action = "publish" // publish their events
	Resend  Action = "resend"  // ask the processor to deliver their webhooks again
)

// Config configures a run. Endpoint, List, Published and Has must be set: see
// [Config.Connect].
type Config struct {
	Endpoint webhook.Endpoint
	From, To time.Time // when the events happened: From inclusive, To exclusive
	Action   Action    // empty is [Plan]
	Now      func() time.Time

	// List returns the page of the processor's list at a position: see [fetch.Caller.Page].
	List func(ctx context.Context, q fetch.ListQuery, at fetch.Position) (fetch.Page, error)
	// Published reports whether an event was published: see history.History.Published.
	Published func(schemas.Event) (bool, error)
	// Has reports whether a fact of a payment was published, by any webhook.
	Has func(fetch.Fact) (bool, error)
	// Publish publishes a webhook that never came, and returns the number of events that
	// it published: see ingest.Server.PublishListed. It is needed for the action [Publish].
	Publish func(ctx context.Context, payload []byte, documents []schemas.Fetched) (int, webhook.Verdict, error)
	// Resend asks the processor to deliver the webhook of an item again. It is needed for
	// the action [Resend].
	Resend func(ctx context.Context, q fetch.ListQuery, i fetch.Item) error

	// Subscribed reports whether the endpoint is subscribed to one of the processor's
	// event types. Nil means that nobody knows.
	Subscribed func(eventType string) bool

	Journal *Journal // nil is a temporary one, or none for a plan
	// Each is called with every missing, late or unsubscribed item; it may be nil. After
	// a run was killed, it is called again for the items of the last page.
	Each func(Finding) error
	// Progress is called after each page and each published item; it may be nil. listed
	// is the number of items so far, and done the part of the time range, 0 to 1.
	Progress func(stage string, listed int, done float64)
}

// Connect sets how the run lists and how it looks up what was published: List, Published
// and Has. The endpoint must be set.
func (c *Config) Connect(caller *fetch.Caller, published *history.History, names kafka.Names) {
	connector := c.Endpoint.Connector
	c.List = func(ctx context.Context, q fetch.ListQuery, at fetch.Position) (fetch.Page, error) {
		return caller.Page(ctx, connector, q, at)
	}
	c.Published = func(e schemas.Event) (bool, error) {
		_, ok, err := published.Published(e)
		return ok, err
	}
	c.Has = func(f fetch.Fact) (bool, error) {
		place, err := published.Where(f.ID)
		if err == nil && len(place.Events) == 0 && len(place.Keys) > 0 { // a processor's id: the events have the merchant's
			place, err = published.Where(place.Keys...)
		}
		topic := names.Event(f.Type)
		return slices.ContainsFunc(place.Events, func(l history.Located) bool { return l.Topic == topic }), err
	}
}

// AskSubscriptions asks the processor which event types the endpoint is subscribed to, if
// its API has that, and sets Subscribed. The items of a list of states have no event types
// to compare with. After an error Subscribed is nil, and the run does not tell what is not
// subscribed.
func (c *Config) AskSubscriptions(ctx context.Context, caller *fetch.Caller) error {
	e := c.Endpoint
	address := e.Address(emptyURL(e))
	list, _ := fetch.ListOf(e.Connector)
	if _, ok := fetch.EndpointKeys(e.Connector); !ok || address == "" || list.Kind != fetch.ListEvents {
		return nil
	}
	hooks, err := caller.Hooks(ctx, e.Connector, *e.API)
	if err != nil {
		return err
	}
	c.Subscribed = fetch.SubscriptionsAt(hooks, address)
	return nil
}

// Status says what a [Finding] is.
type Status string

// The statuses of findings.
const (
	Missing      Status = "missing"
	Late         Status = "late"           // the processor may still deliver it
	Unsubscribed Status = "not_subscribed" // the webhook is not subscribed to its type
	Old          Status = "old"            // missing, and too old to be published
)

// Finding is an item of the list whose events were not published.
type Finding struct {
	Status Status         `json:"status"`
	ID     string         `json:"id"`   // the processor's
	Type   string         `json:"type"` // the processor's event type, or the kind and state
	Time   time.Time      `json:"time"`
	Events []schemas.Type `json:"events"` // the events that are missing
	Keys   []string       `json:"keys,omitempty"`
}

// Counts is the result of a run: numbers of items of the list, unless stated otherwise.
type Counts struct {
	Connector    string         `json:"connector"`
	Endpoint     string         `json:"endpoint"`
	From         time.Time      `json:"from"`
	To           time.Time      `json:"to"`
	Kind         fetch.ListKind `json:"kind"`
	Pages        int            `json:"pages"`
	Listed       int            `json:"listed"`
	Known        int            `json:"known"`
	Missing      int            `json:"missing"`
	Late         int            `json:"late"`
	Unsubscribed int            `json:"not_subscribed"`
	Old          int            `json:"old"`
	Ignored      int            `json:"ignored"`    // they give no event
	Unreadable   int            `json:"unreadable"` // they are not what the processor documents
	Published    int            `json:"published"`  // events
	Resent       int            `json:"resent"`
	Failed       int            `json:"failed"` // could not be published or resent
	// FirstFailure is the first item that could not be published or resent, and why.
	FirstFailure string `json:"first_failure,omitempty"`
	// MissingTypes has the number of missing, late and old items by the processor's event type.
	MissingTypes map[string]int `json:"missing_types"`
	// KnownTypes has the number of known items by the processor's event type.
	KnownTypes map[string]int `json:"known_types"`
}

// NeverCame returns the processor's event types of which items are missing and none is
// known, sorted: the endpoint is probably not subscribed to them.
func (n Counts) NeverCame() (types []string) {
	for t := range n.MissingTypes {
		if n.KnownTypes[t] == 0 {
			types = append(types, t)
		}
	}
	slices.Sort(types)
	return types
}

// ErrAction means that a run cannot do what was asked for. The text says why.
var ErrAction = errors.New("not possible")

// Check returns an error that wraps [ErrAction] if the connector has no list, or if what is
// missing cannot be published or resent.
func Check(connector string, a Action) error {
	l, ok := fetch.ListOf(connector)
	switch {
	case !ok:
		return fmt.Errorf("%w: tollbridge reads no list of %q", ErrAction, connector)
	case a == Publish && !l.Publish:
		return fmt.Errorf("%w: the list of %s does not have all that its webhooks have, so that a webhook that comes later would be a second event; without --publish the gaps are reported", ErrAction, connector)
	case a == Resend && !l.Resends():
		return fmt.Errorf("%w: %s cannot be asked to deliver a webhook again", ErrAction, connector)
	}
	return nil
}

// checkList returns an error that wraps [ErrAction] if the settings of the endpoint do not
// allow to compare the list.
func checkList(e webhook.Endpoint, from, to time.Time) error {
	if err := fetch.CheckList(e.Connector, queryOf(e, from, to)); err != nil {
		return fmt.Errorf("%w: endpoint %s: %w", ErrAction, e.ID(), err)
	}
	return nil
}

// queryOf returns the query of an endpoint's list.
func queryOf(e webhook.Endpoint, from, to time.Time) fetch.ListQuery {
	return fetch.ListQuery{From: from, To: to, API: *e.API, URL: e.Address(emptyURL(e)), Settings: e.Keys.Settings}
}

// run is one run.
type run struct {
	c     Config
	n     Counts
	list  fetch.List
	query fetch.ListQuery
	late  time.Time // an item that is not older may still be delivered
	old   time.Time // an item that is older is not published
}

// Run lists the processor's events or payments of the time range and reports what is
// missing. With an error it returns the counts until then; running again with the same
// journal continues from there, and without a journal starts again. It publishes nothing
// twice.
func Run(ctx context.Context, c Config) (Counts, error) {
	c.Action = cmp.Or(c.Action, Plan)
	if err := Check(c.Endpoint.Connector, c.Action); err != nil {
		return Counts{}, err
	}
	if c.Endpoint.API == nil {
		return Counts{}, fmt.Errorf("%w: endpoint %s has no api in the configuration", ErrAction, c.Endpoint.ID())
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Journal == nil && c.Action != Plan {
		j, err := openTemporary()
		if err != nil {
			return Counts{}, err
		}
		defer j.Close()
		c.Journal = j
	}
	if err := checkList(c.Endpoint, c.From, c.To); err != nil {
		return Counts{}, err
	}
	r := &run{c: c}
	r.list, _ = fetch.ListOf(c.Endpoint.Connector)
	state, err := c.Journal.begin(header{Connector: c.Endpoint.Connector, Endpoint: c.Endpoint.NameOrDefault(), Action: c.Action, From: c.From.UTC(), To: c.To.UTC()})
	if err != nil {
		return Counts{}, err
	}
	r.c.From, r.c.To = state.header.From, state.header.To
	r.n = state.counts
	if r.n.MissingTypes == nil {
		r.n.MissingTypes, r.n.KnownTypes = map[string]int{}, map[string]int{}
	}
	r.n.Connector, r.n.Endpoint, r.n.Kind = c.Endpoint.Connector, c.Endpoint.NameOrDefault(), r.list.Kind
	r.n.From, r.n.To = r.c.From, r.c.To
	r.query = queryOf(c.Endpoint, r.c.From, r.c.To)
	r.late, r.old = c.Now().Add(-r.list.Redelivers), c.Now().Add(-MaxPublishAge)
	if err := r.readList(ctx, state.at); err != nil {
		return r.n, err
	}
	if c.Action != Plan {
		err = r.act(ctx, state.acted)
	}
	return r.n, err
}

// readList pages through the list, from a position on.
func (r *run) readList(ctx context.Context, at fetch.Position) error {
	for !at.End {
		page, err := r.c.List(ctx, r.query, at)
		if err != nil {
			return fmt.Errorf("%d items are listed: %w", r.n.Listed, err)
		}
		r.n.Pages++
		for _, i := range page.Items {
			if err := r.compare(ctx, i); err != nil {
				return err
			}
		}
		if err := r.c.Journal.page(page.Next, r.n); err != nil {
			return err
		}
		r.progress("list", page)
		at = page.Next
	}
	return ctx.Err()
}

func (r *run) progress(stage string, page fetch.Page) {
	if r.c.Progress == nil || len(page.Items) == 0 {
		return
	}
	last := page.Items[len(page.Items)-1].Time
	r.c.Progress(stage, r.n.Listed, min(1, max(0, r.c.To.Sub(last).Seconds()/max(1, r.c.To.Sub(r.c.From).Seconds()))))
}

// compare looks up whether the events of an item were published.
func (r *run) compare(ctx context.Context, i fetch.Item) error {
	r.n.Listed++
	f := Finding{ID: i.ID, Type: i.Type, Time: i.Time}
	facts, err := r.missing(ctx, i, &f)
	switch {
	case err != nil:
		return err
	case facts == 0:
		return nil
	case len(f.Events) == 0:
		r.n.Known++
		r.n.KnownTypes[i.Type]++
		return nil
	case r.c.Subscribed != nil && !r.c.Subscribed(i.Type):
		f.Status = Unsubscribed
		r.n.Unsubscribed++
	case i.Time.After(r.late):
		f.Status = Late
		r.n.Late++
		r.n.MissingTypes[i.Type]++
	case i.Time.Before(r.old):
		f.Status = Old
		r.n.Old++
		r.n.MissingTypes[i.Type]++
	default:
		f.Status = Missing
		r.n.Missing++
		r.n.MissingTypes[i.Type]++
	}
	if r.c.Each != nil {
		if err := r.c.Each(f); err != nil {
			return err
		}
	}
	cannotPublish := f.Status == Old || len(i.Payload) == 0
	if r.c.Action == Plan || f.Status == Unsubscribed || r.c.Action == Publish && cannotPublish {
		return nil
	}
	return r.c.Journal.add(i)
}

// missing returns the number of events of an item, and sets those that were not published.
func (r *run) missing(ctx context.Context, i fetch.Item, f *Finding) (events int, err error) {
	if len(i.Payload) == 0 {
		for _, fact := range i.Facts {
			has, err := r.c.Has(fact)
			if err != nil {
				return 0, err
			}
			if !has {
				f.Events, f.Keys = append(f.Events, fact.Type), append(f.Keys, fact.ID)
			}
		}
		if len(i.Facts) == 0 {
			r.n.Ignored++
		}
		return len(i.Facts), nil
	}
	v := r.c.Endpoint.JudgeListed(ctx, i.Payload, i.Fetched, false, r.c.Now())
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case v.Err != nil || v.Has(normalize.OutcomeMalformed) && len(v.Events) == 0:
		r.n.Unreadable++
		return 0, nil
	case len(v.Events) == 0:
		r.n.Ignored++
		return 0, nil
	}
	for _, e := range v.Events {
		known, err := r.c.Published(e)
		if err != nil {
			return 0, err
		}
		if !known {
			f.Events, f.Keys = append(f.Events, e.Type), append(f.Keys, e.Subject)
		}
	}
	return len(v.Events), nil
}

// act publishes or resends the missing items of the journal, the oldest first, after
// those that an earlier run did.
func (r *run) act(ctx context.Context, done int) error {
	items, err := r.c.Journal.missing()
	if err != nil {
		return err
	}
	for n, at := range items {
		if n < done {
			continue
		}
		i, err := r.c.Journal.item(at)
		if err != nil {
			return err
		}
		if r.c.Action == Resend {
			err = r.c.Resend(ctx, r.query, i)
		} else {
			err = r.publish(ctx, i)
		}
		switch {
		case err == nil && r.c.Action == Resend:
			r.n.Resent++
		case errors.Is(err, fetch.ErrUnknownObject), errors.Is(err, fetch.ErrRequest): // others may still succeed
			r.fail(i, err.Error())
		case err != nil:
			return fmt.Errorf("%d of %d missing items are done; run the same command again: %s: %w", n, len(items), i.ID, err)
		}
		if err := r.c.Journal.acted(n+1, r.n); err != nil {
			return err
		}
		if r.c.Progress != nil {
			r.c.Progress(string(r.c.Action), n+1, float64(n+1)/float64(len(items)))
		}
	}
	return nil
}

func (r *run) publish(ctx context.Context, i fetch.Item) error {
	published, v, err := r.c.Publish(ctx, i.Payload, i.Fetched)
	if err != nil {
		return err
	}
	if v.Has(normalize.OutcomeMalformed) {
		r.fail(i, v.Reasons())
	}
	r.n.Published += published
	return nil
}

// fail counts an item that could not be published or resent.
func (r *run) fail(i fetch.Item, why string) {
	if r.n.Failed++; r.n.Failed == 1 {
		r.n.FirstFailure = i.ID + ": " + why
	}
}
