package fetch

import (
	"net/http"
	"net/url"
	"time"
)

// gocardlessList lists the events of the account of the token. GoCardless lists no events
// that are older than 18 months.
//
// https://developer.gocardless.com/api-reference/#events-list-events
// https://github.com/gocardless/gocardless-pro-go, event_service.go and webhook_service.go
var gocardlessList = List{
	Docs:       "https://developer.gocardless.com/api-reference/#events-list-events",
	Kind:       ListEvents,
	Keys:       "a read-only access token",
	Retention:  18 * 30 * 24 * time.Hour,
	Redelivers: 24 * time.Hour,
	Publish:    true,
	parts: []part{{
		name: "events",
		request: func(q ListQuery, cursor string) (Request, error) {
			query := url.Values{"limit": {"500"}, "created_at[gte]": {rfc3339(q.From)}, "created_at[lt]": {rfc3339(q.To)}}
			if cursor != "" {
				query.Set("after", cursor)
			}
			return Request{Path: "/events", Query: query, Header: gocardlessVersion}, nil
		},
		read: func(_ ListQuery, a Answer) (items []Item, next string, err error) {
			items, page, err := eventItems(a.Body, "events", "id", "", "created_at")
			for n, e := range page.objects("events") {
				items[n].Type = e.text("resource_type") + "." + e.text("action")
				items[n].Payload = wrap(`{"events":[`, items[n].Payload, `]}`)
			}
			return items, page.text("meta.cursors.after"), err
		},
	}},
	ResendKeys: "an access token that may write",
	// A webhook is found by the event's time, because GoCardless does not say which
	// webhook had an event.
	resend: []func(ListQuery, Item, Answer) (Request, error){
		func(_ ListQuery, i Item, _ Answer) (Request, error) {
			return Request{Path: "/webhooks", Header: gocardlessVersion, Query: url.Values{
				"created_at[gte]": {rfc3339(i.Time.Add(-time.Minute))}, "created_at[lte]": {rfc3339(i.Time.Add(30 * time.Minute))}, "limit": {"500"},
			}}, nil
		},
		func(_ ListQuery, i Item, previous Answer) (Request, error) {
			var page object
			if err := decode(previous.Body, &page); err != nil {
				return Request{}, err
			}
			for _, w := range page.objects("webhooks") {
				var sent object
				if decode([]byte(w.text("request_body")), &sent) != nil {
					continue
				}
				for _, e := range sent.objects("events") {
					if e.text("id") == i.ID {
						return Request{Method: http.MethodPost, Path: "/webhooks/" + segment(w.text("id")) + "/actions/retry", Header: gocardlessVersion}, nil
					}
				}
			}
			return Request{}, ErrUnknownObject
		},
	},
}

// gocardlessVersion selects the version of the API.
var gocardlessVersion = http.Header{"Gocardless-Version": {"2015-07-06"}, "Content-Type": {"application/json"}}
