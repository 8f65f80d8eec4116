package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/time/rate"

	"github.com/tollbridge/tollbridge/schemas"
)

// lists are the lists of events or payments that processors offer, by connector. Each
// connector has one line here and its lists in a file NAME_list.go.
var lists = map[string]List{
	"braintree":         braintreeList,
	"btcpay":            btcpayList,
	"checkout":          checkoutList,
	"coinbase-commerce": coinbaseCommerceList,
	"flutterwave":       flutterwaveList,
	"gocardless":        gocardlessList,
	"lithic":            lithicList,
	"mercadopago":       mercadopagoList,
	"modern-treasury":   modernTreasuryList,
	"paddle":            paddleList,
	"paypal":            paypalList,
	"mollie":            mollieList,
	"monnify":           monnifyList,
	"paystack":          paystackList,
	"portone":           portoneList,
	"razorpay":          razorpayList,
	"recurly":           recurlyList,
	"shopify":           shopifyList,
	"square":            squareList,
	"stripe":            stripeList,
	"truelayer":         truelayerList,
	"wallee":            walleeList,
	"xendit":            xenditList,
}

// List describes what a processor lists: its events, as its webhooks have them, or its
// payments in their present state.
type List struct {
	Docs string // URL of the processor's documentation
	Kind ListKind
	Keys string // which rights the key needs, in one line
	// Retention is how long the processor lists an event; 0 if it publishes no limit.
	Retention time.Duration
	// Redelivers is for how long the processor delivers a webhook again. A younger event
	// that is missing may still come.
	Redelivers time.Duration
	// Note says what the list does not show, in one line; it may be empty.
	Note string
	// Publish says that an item of the list gives the same event ids as the webhook, so
	// that a missing event may be published. Without it, gaps are only reported.
	Publish bool

	parts []part
	// resend returns the requests that make the processor deliver the webhook of an item
	// again, with a key that may write. Each gets the answer of the one before. Nil
	// means that the processor cannot be asked to.
	resend []func(q ListQuery, i Item, previous Answer) (Request, error)
	// ResendKeys says which rights the writing key needs, in one line.
	ResendKeys string
}

// Resends reports whether the processor can be asked to deliver a webhook again.
func (l List) Resends() bool { return len(l.resend) > 0 }

// ListKind says what a list has.
type ListKind string

// The kinds of lists.
const (
	ListEvents ListKind = "events" // events as their webhooks have them
	ListStates ListKind = "states" // payments and refunds as they are now
)

// ListQuery selects what is listed.
type ListQuery struct {
	From, To time.Time // when the event happened: From inclusive, To exclusive
	API      API
	URL      string // the endpoint's address, for processors that list by webhook
	Settings map[string]string
}

// part is one of the lists of a processor: payments, refunds.
type part struct {
	name string
	// request returns the request for a page. The cursor is empty for the first page.
	request func(q ListQuery, cursor string) (Request, error)
	// read returns the items of a page, newest first where the processor lists so, and
	// the cursor of the next page; empty if there is none.
	read func(q ListQuery, a Answer) (items []Item, next string, err error)
	// detail returns the items that the answer to [Item.detail] has in place of the item.
	detail func(q ListQuery, i Item, a Answer) ([]Item, error)
}

// Item is one listed event, or one payment or refund in its present state.
type Item struct {
	ID   string    `json:"id"`   // the processor's
	Type string    `json:"type"` // the processor's event type, or the kind and state
	Time time.Time `json:"time"`
	// Payload is the webhook that the processor would have sent. It is empty if the list
	// does not have it: Facts then says what to look for.
	Payload []byte `json:"payload,omitempty"`
	// Fetched are documents that the payload's events need and that the list has.
	Fetched []schemas.Fetched `json:"fetched,omitempty"`
	Facts   []Fact            `json:"facts,omitempty"`

	detail *Request
}

// Fact is one fact of a payment in its present state.
type Fact struct {
	ID   string       `json:"id"` // the processor's id of the payment, refund or dispute
	Type schemas.Type `json:"type"`
}

// Answer is an answer of a processor's API.
type Answer struct {
	Cursor string     // of the page, if it is one of a list
	Path   string     // of the request
	Query  url.Values // of the request
	Header http.Header
	Body   []byte
}

// Lists returns the names of the connectors with a list, sorted.
func Lists() []string { return slices.Sorted(maps.Keys(lists)) }

// ListOf returns the list of a connector, and whether it has one.
func ListOf(connector string) (List, bool) {
	l, ok := lists[connector]
	return l, ok
}

// CheckList returns an error if the endpoint's settings, or its API, do not allow to ask for
// the list of a connector. It sends no request.
func CheckList(connector string, q ListQuery) error {
	for _, p := range lists[connector].parts {
		if _, err := p.request(q, ""); err != nil {
			return err
		}
	}
	return nil
}

// Position is a position in the lists of a processor. The zero Position is the start.
type Position struct {
	Part   int    `json:"part"`
	Cursor string `json:"cursor,omitempty"`
	End    bool   `json:"end,omitempty"`
}

// Page is one page of a list.
type Page struct {
	Items []Item
	Next  Position
}

// Page returns the page at a position. Errors are those of [Caller.call].
func (c *Caller) Page(ctx context.Context, connector string, q ListQuery, at Position) (Page, error) {
	l, ok := lists[connector]
	if !ok || at.Part >= len(l.parts) {
		return Page{}, fmt.Errorf("%s has no list at part %d", connector, at.Part)
	}
	p := l.parts[at.Part]
	r, err := p.request(q, at.Cursor)
	if err != nil {
		return Page{}, err
	}
	r.Name = p.name
	answer, err := c.call(ctx, connector, q.API, r)
	if err != nil {
		return Page{}, err
	}
	answer.Cursor = at.Cursor
	items, next, err := p.read(q, answer)
	if err != nil {
		return Page{}, fmt.Errorf("%s: the list of %s: %w", connectors[connector].host(q.API), p.name, err)
	}
	var page Page
	for _, i := range items {
		all := []Item{i}
		if i.detail != nil {
			if all, err = c.details(ctx, connector, q, p, i); err != nil {
				return Page{}, err
			}
		}
		for _, i := range all {
			if !i.Time.Before(q.From) && i.Time.Before(q.To) {
				page.Items = append(page.Items, i)
			}
		}
	}
	page.Next = Position{Part: at.Part, Cursor: next}
	switch {
	case next == "", next == at.Cursor && len(items) == 0:
		page.Next = Position{Part: at.Part + 1, End: at.Part+1 == len(l.parts)}
	case next == at.Cursor: // what follows would be left out
		return Page{}, fmt.Errorf("%s: the list of %s: %w: a page names itself as the next one", connectors[connector].host(q.API), p.name, ErrUnavailable)
	}
	return page, nil
}

// details returns the items that the API has for one item of a list. An item that the
// API no longer knows is returned as it is.
func (c *Caller) details(ctx context.Context, connector string, q ListQuery, p part, i Item) (all []Item, err error) {
	answer, err := c.call(ctx, connector, q.API, *i.detail)
	if errors.Is(err, ErrUnknownObject) {
		i.detail = nil
		return []Item{i}, nil
	}
	if err != nil {
		return nil, err
	}
	found, err := p.detail(q, i, answer)
	if err != nil {
		return nil, err
	}
	for _, one := range found {
		if one.detail == nil {
			all = append(all, one)
			continue
		}
		more, err := c.details(ctx, connector, q, p, one)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

// Resend asks the processor to deliver the webhook of an item again. q has a key that may
// do that.
func (c *Caller) Resend(ctx context.Context, connector string, q ListQuery, i Item) error {
	l := lists[connector]
	if !l.Resends() {
		return fmt.Errorf("%s cannot be asked to deliver a webhook again", connector)
	}
	var previous Answer
	for _, step := range l.resend {
		r, err := step(q, i, previous)
		if err == nil {
			previous, err = c.call(ctx, connector, q.API, r)
		}
		if err != nil {
			return fmt.Errorf("resending: %w", err)
		}
	}
	return nil
}

// Caller sends requests that no webhook waits for: pages of lists, resends, and checks
// of endpoints. It stays at a quarter of the processor's limit, waits as long as the
// processor's Retry-After says, and tries again after an outage.
//
// The zero Caller is ready for use. It is safe for concurrent use.
type Caller struct {
	// Transport sends the requests; nil is that of [Client].
	Transport http.RoundTripper
	// Sleep waits; nil waits for the duration, or until ctx is done.
	Sleep func(ctx context.Context, d time.Duration) error

	mu       sync.Mutex
	client   *Client // access tokens, and requests with their credentials
	http     *http.Client
	limiters map[string]*rate.Limiter // by connector and host
}

// The limits of a [Caller].
const (
	callTimeout  = 30 * time.Second // for one request
	callAnswer   = 32 << 20         // bytes of one answer
	callAttempts = 6                // for one request
	callShare    = 4                // the part of the processor's limit that is used: a quarter
)

// setup returns the HTTP client and the limiter for a host.
func (c *Caller) setup(connector, host string, perSecond float64) (*http.Client, *rate.Limiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == nil {
		c.client = &Client{Transport: c.Transport}
		h := *c.client.client()
		h.Timeout = callTimeout
		c.http, c.limiters = &h, map[string]*rate.Limiter{}
	}
	l := c.limiters[connector+" "+host]
	if l == nil {
		l = rate.NewLimiter(rate.Limit(perSecond/callShare), 1)
		c.limiters[connector+" "+host] = l
	}
	return c.http, l
}

// call sends a request with the first key that the API accepts. Errors wrap
// [ErrUnknownObject], [ErrCredentials], [ErrUnavailable] or, if the API refuses the request itself,
// [ErrRequest].
func (c *Caller) call(ctx context.Context, connector string, a API, r Request) (answer Answer, err error) {
	err = fmt.Errorf("%w: there is none", ErrCredentials)
	for _, key := range a.Keys {
		if answer, err = c.callWith(ctx, connector, a, key, r); !errors.Is(err, ErrCredentials) {
			break
		}
	}
	return answer, err
}

// ErrRequest means that the API refuses a request as wrong.
var ErrRequest = errors.New("the processor's API refuses the request")

// refusal is the error of a request that the API refuses as wrong. Its text does not have
// the body of the answer.
type refusal struct {
	host, method, path string
	status             int
	body               []byte
}

func (e *refusal) Error() string {
	return fmt.Sprintf("%s: %s %s: %v with status %d", e.host, e.method, e.path, ErrRequest, e.status)
}

// Unwrap returns [ErrRequest].
func (e *refusal) Unwrap() error { return ErrRequest }

// callWith sends a request with one key, and again while the API is limited or fails.
func (c *Caller) callWith(ctx context.Context, connector string, a API, key Key, r Request) (Answer, error) {
	spec := connectors[connector]
	h, limiter := c.setup(connector, spec.host(a), cmp.Or(spec.Rate, DefaultRate))
	backoff := time.Second
	for attempt := 1; ; attempt++ {
		if err := c.sleep(ctx, limiter.Reserve().Delay()); err != nil {
			return Answer{}, err
		}
		answer, err := c.send(ctx, h, spec, connector, a, key, r)
		var limited *LimitedError
		switch {
		case err == nil || ctx.Err() != nil || !errors.Is(err, ErrUnavailable) || attempt == callAttempts:
			return answer, cmp.Or(ctx.Err(), err)
		case errors.As(err, &limited):
			backoff = limited.RetryAfter
		}
		if err := c.sleep(ctx, backoff); err != nil {
			return Answer{}, err
		}
		backoff = min(max(2*backoff, time.Second), time.Minute)
	}
}

func (c *Caller) sleep(ctx context.Context, d time.Duration) error {
	if c.Sleep != nil {
		return c.Sleep(ctx, d)
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Caller) send(ctx context.Context, h *http.Client, spec Connector, connector string, a API, key Key, r Request) (Answer, error) {
	host := spec.host(a)
	request, err := c.client.newRequest(ctx, spec, a, key, c.client.keyState(connector, a, key), r)
	if err != nil {
		return Answer{}, err
	}
	if request.Header.Get("Idempotency-Key") != "" {
		// The HTTP client would send it again by itself, and hide that an attempt was lost.
		request.GetBody = nil
	}
	response, err := h.Do(request)
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %w: %s", host, ErrUnavailable, networkError(err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, callAnswer+1))
	switch status := response.StatusCode; {
	case err != nil:
		return Answer{}, fmt.Errorf("%s: %w: the answer is incomplete", host, ErrUnavailable)
	case len(body) > callAnswer:
		return Answer{}, fmt.Errorf("%s: %w: the answer has more than %d bytes", host, ErrRequest, callAnswer)
	case status >= 200 && status < 300 && len(body) > 0 && !jsontext.Value(body).IsValid():
		return Answer{}, fmt.Errorf("%s: %w: status %d with a body that is not JSON", host, ErrUnavailable, status)
	case status >= 200 && status < 300:
		return Answer{Path: r.Path, Query: r.Query, Header: response.Header, Body: body}, nil
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return Answer{}, refused(host, key, status)
	case status == http.StatusNotFound, status == http.StatusGone:
		return Answer{}, fmt.Errorf("%s: %s: %w", host, r.Path, ErrUnknownObject)
	case status == http.StatusTooManyRequests:
		return Answer{}, &LimitedError{Host: host, RetryAfter: retryAfter(response.Header, time.Now()), By: "the processor"}
	case status >= 500:
		return Answer{}, fmt.Errorf("%s: %w: status %d", host, ErrUnavailable, status)
	default:
		return Answer{}, &refusal{host: host, method: cmp.Or(r.Method, http.MethodGet), path: r.Path, status: status, body: body}
	}
}

// timeOf parses a time of an API: RFC 3339, also with a zone such as +0000.
func timeOf(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05.999999999", time.DateTime} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: %q is not a time", ErrUnavailable, text)
}

// rfc3339 writes a time as most APIs read it.
func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// queryOf returns a parameter of a link. Only the parameter is used: the host and the
// path of a link are the sender's text.
func queryOf(link, parameter string) string {
	u, err := url.Parse(link)
	if err != nil {
		return ""
	}
	return u.Query().Get(parameter)
}

// eventItems reads the items of a page: objects in the field list, each with its id, type
// and time. The payload of an item is its JSON. It returns the page, too.
func eventItems(body []byte, list, id, eventType, at string) (items []Item, page object, err error) {
	if err := decode(body, &page); err != nil {
		return nil, nil, err
	}
	var all []jsontext.Value
	if err := decode(page[list], &all); err != nil {
		return nil, nil, err
	}
	for _, one := range all {
		var o object
		if err := decode(one, &o); err != nil {
			return nil, nil, err
		}
		t, err := timeOf(o.text(at))
		if err != nil {
			return nil, nil, err
		}
		items = append(items, Item{ID: o.text(id), Type: o.text(eventType), Time: t, Payload: one})
	}
	return items, page, nil
}

// wrap returns the payload between two texts.
func wrap(before string, payload []byte, after string) []byte {
	return slices.Concat([]byte(before), payload, []byte(after))
}

// newerThan reports whether the last item of a page is not older than a time, so that
// the next page may have items since then.
func newerThan(items []Item, t time.Time) bool {
	return len(items) > 0 && !items[len(items)-1].Time.Before(t)
}

// ErrNoEndpoint means that the processor has no webhook endpoint with our address.
var ErrNoEndpoint = errors.New("the processor has no webhook endpoint with our address: set url or public_url to the address that it calls")

// sameAddress reports whether an address of the processor is that of our endpoint. An
// empty one is unknown, and is the same as any.
func sameAddress(a, ours string) bool {
	return ours == "" || strings.TrimSuffix(a, "/") == strings.TrimSuffix(ours, "/")
}

// jsonBody is the header of a request with a body.
var jsonBody = http.Header{"Content-Type": {"application/json"}}

// rawQuery returns the query of a link. Only that is used of it.
func rawQuery(link string) string {
	_, query, _ := strings.Cut(link, "?")
	return query
}

// nextPage returns the number of the page after an answer's, for a list whose pages are
// numbered in the query's parameter page; empty if the answer is of the last one.
func nextPage(a Answer, pages string, items []Item) string {
	number, _ := strconv.Atoi(a.Query.Get("page"))
	if last, _ := strconv.Atoi(pages); number < last && len(items) > 0 {
		return strconv.Itoa(number + 1)
	}
	return ""
}

// listedDocument returns a part of a list as the answer to the request for it alone.
func listedDocument(r Request, host string, body []byte) schemas.Fetched {
	return schemas.Fetched{Name: r.Name, Host: host, Path: r.Path, Status: http.StatusOK, At: time.Now().UTC().Truncate(time.Millisecond), Body: body}
}
