package fetch

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// checkoutList searches the payments and the disputes of the time range, and reads the
// events of each: Checkout.com does not list events by time. An event of an older payment
// is not found. An item has the fields of the webhook.
//
// The API publishes neither the paging of the search nor how long events are kept: the
// next page is asked for with the time of the last payment.
//
// https://www.checkout.com/docs/payments/manage-payments/search-and-filter-payments
// https://github.com/checkout/checkout-sdk-go, workflows/client.go
var checkoutList = List{
	Docs:       "https://www.checkout.com/docs/payments/manage-payments/search-and-filter-payments",
	Kind:       ListEvents,
	Keys:       "a secret API key with the scopes payments:search, disputes and flow:events",
	Redelivers: 24 * time.Hour,
	Note:       "only events of payments that were requested, and of disputes that changed, within the time range are listed; a later refund of an older payment is not",
	Publish:    true,
	parts: []part{
		{
			name: "payments",
			request: func(q ListQuery, cursor string) (Request, error) {
				to := rfc3339(q.To)
				if cursor != "" {
					to = cursor
				}
				b, err := json.Marshal(map[string]any{"limit": checkoutPage, "from": rfc3339(q.From), "to": to}, json.Deterministic(true))
				return Request{Method: http.MethodPost, Path: "/payments/search", Header: jsonBody, Body: b}, err
			},
			read: func(_ ListQuery, a Answer) (items []Item, next string, err error) {
				items, _, err = eventItems(a.Body, "data", "id", "status", "requested_on")
				if len(items) == checkoutPage {
					next = items[len(items)-1].Time.Format(time.RFC3339Nano)
					if next == a.Cursor {
						return nil, "", fmt.Errorf("%w: it has %d payments or more of the same time, %s", ErrUnavailable, checkoutPage, next)
					}
				}
				return checkoutSubjects(items), next, err
			},
			detail: checkoutEvents,
		},
		{
			name: "disputes",
			request: func(q ListQuery, cursor string) (Request, error) {
				query := url.Values{"limit": {strconv.Itoa(checkoutPage)}, "from": {rfc3339(q.From)}, "to": {rfc3339(q.To)}}
				if cursor != "" {
					query.Set("skip", cursor)
				}
				return Request{Path: "/disputes", Query: query}, nil
			},
			read: func(_ ListQuery, a Answer) (items []Item, next string, err error) {
				items, page, err := eventItems(a.Body, "data", "id", "status", "last_update")
				skip, _ := strconv.Atoi(page.text("skip"))
				if len(items) == checkoutPage {
					next = strconv.Itoa(skip + checkoutPage)
				}
				return checkoutSubjects(items), next, err
			},
			detail: checkoutEvents,
		},
	},
	ResendKeys: "a secret API key with the scope flow:reflow",
	resend: []func(ListQuery, Item, Answer) (Request, error){
		func(_ ListQuery, i Item, _ Answer) (Request, error) {
			return Request{Method: http.MethodPost, Path: "/workflows/events/" + segment(i.ID) + "/reflow", Header: jsonBody, Body: []byte("{}")}, nil
		},
	},
}

// checkoutPage is how many payments or disputes a page has.
const checkoutPage = 100

// checkoutSubjects adds the requests for the events of payments and disputes.
func checkoutSubjects(items []Item) []Item {
	for n := range items {
		items[n].Payload = nil
		items[n].detail = &Request{Name: "events", Path: "/workflows/events/subject/" + segment(items[n].ID)}
	}
	return items
}

// checkoutEvents returns the events of a payment or dispute, each to be read, or one event
// that was read.
func checkoutEvents(_ ListQuery, i Item, a Answer) (items []Item, err error) {
	if strings.HasPrefix(a.Path, "/workflows/events/subject/") {
		items, _, err = eventItems(a.Body, "data", "id", "type", "timestamp")
		for n := range items {
			items[n].Payload = nil
			items[n].detail = &Request{Name: "event", Path: "/workflows/events/" + segment(items[n].ID)}
		}
		return items, err
	}
	var e object
	if err := decode(a.Body, &e); err != nil {
		return nil, err
	}
	i.detail = nil
	i.Payload, err = json.Marshal(struct {
		ID        jsontext.Value `json:"id"`
		Type      jsontext.Value `json:"type"`
		Version   jsontext.Value `json:"version,omitzero"`
		CreatedOn jsontext.Value `json:"created_on"`
		Data      jsontext.Value `json:"data"`
		Links     jsontext.Value `json:"_links,omitzero"`
	}{e["id"], e["type"], e["version"], e["timestamp"], e["data"], e["_links"]})
	return []Item{i}, err
}
