package fetch

import (
	"net/url"
	"time"
)

// coinbaseCommerceList lists the account's events, newest first. Coinbase cannot select
// them by time, and does not publish for how long it keeps them. An item is what the
// webhook has as its event.
//
// https://docs.cdp.coinbase.com/api-reference/commerce-api/rest-api/events/list-events
var coinbaseCommerceList = List{
	Docs:       "https://docs.cdp.coinbase.com/api-reference/commerce-api/rest-api/events/list-events",
	Kind:       ListEvents,
	Keys:       "an API key of the account; Coinbase Commerce has no read-only ones",
	Redelivers: 3 * 24 * time.Hour,
	Publish:    true,
	parts: []part{{
		name: "events",
		request: func(_ ListQuery, cursor string) (Request, error) {
			query := url.Values{"limit": {"100"}, "order": {"desc"}}
			if cursor != "" {
				query.Set("starting_after", cursor)
			}
			return Request{Path: "/events", Query: query}, nil
		},
		read: func(q ListQuery, a Answer) (items []Item, next string, err error) {
			items, page, err := eventItems(a.Body, "data", "id", "type", "created_at")
			for n := range items {
				items[n].Payload = wrap(`{"event":`, items[n].Payload, `}`)
			}
			if newerThan(items, q.From) {
				next = queryOf(page.text("pagination.next_uri"), "starting_after")
			}
			return items, next, err
		},
	}},
}
