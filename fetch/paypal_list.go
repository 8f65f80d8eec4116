package fetch

import (
	"net/http"
	"net/url"
	"time"
)

// paypalList lists the events of the application whose credentials are used. PayPal does
// not publish for how long it keeps them. Events of the webhooks simulator are not there.
// A page with fewer events than asked for is not the last one: the link "next" decides.
//
// https://developer.paypal.com/docs/api/webhooks/v1/#webhooks-events_list
// https://github.com/paypal/paypal-rest-api-specifications, openapi/notifications_webhooks_v1.json
var paypalList = List{
	Docs:       "https://developer.paypal.com/docs/api/webhooks/v1/#webhooks-events_list",
	Kind:       ListEvents,
	Keys:       "the client id and secret of the application whose webhooks are received",
	Redelivers: 3 * 24 * time.Hour,
	Note:       "only events of the application of this client id are listed",
	Publish:    true,
	parts: []part{{
		name: "events",
		request: func(q ListQuery, cursor string) (Request, error) {
			query := url.Values{"page_size": {"100"}, "start_time": {rfc3339(q.From)}, "end_time": {rfc3339(q.To)}}
			if cursor != "" {
				var err error
				if query, err = url.ParseQuery(cursor); err != nil {
					return Request{}, err
				}
			}
			return Request{Path: "/v1/notifications/webhooks-events", Query: query}, nil
		},
		read: func(_ ListQuery, a Answer) (items []Item, next string, err error) {
			items, page, err := eventItems(a.Body, "events", "id", "event_type", "create_time")
			for _, link := range page.objects("links") {
				if link.text("rel") == "next" {
					next = rawQuery(link.text("href"))
				}
			}
			return items, next, err
		},
	}},
	ResendKeys: "the same application; the right to manage webhooks",
	resend: []func(ListQuery, Item, Answer) (Request, error){
		func(_ ListQuery, i Item, _ Answer) (Request, error) {
			return Request{Method: http.MethodPost, Path: "/v1/notifications/webhooks-events/" + segment(i.ID) + "/resend", Header: jsonBody, Body: []byte("{}")}, nil
		},
	},
}
