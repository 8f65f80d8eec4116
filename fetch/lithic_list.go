package fetch

import (
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"
)

// lithicList lists the program's events with their payloads. Lithic does not publish for
// how long it keeps them. A payload of an older version of the API has no event_type,
// which the webhook has too: it is added.
//
// https://docs.lithic.com/reference/getevents
// https://github.com/lithic-com/lithic-go, event.go and eventsubscription.go
var lithicList = List{
	Docs:       "https://docs.lithic.com/reference/getevents",
	Kind:       ListEvents,
	Keys:       "the program's API key; Lithic has no read-only ones",
	Redelivers: 28 * time.Hour,
	Publish:    true,
	parts: []part{{
		name: "events",
		request: func(q ListQuery, cursor string) (Request, error) {
			query := url.Values{"begin": {rfc3339(q.From)}, "end": {rfc3339(q.To)}, "page_size": {"100"}, "with_content": {"true"}}
			if cursor != "" {
				query.Set("starting_after", cursor)
			}
			return Request{Path: "/v1/events", Query: query}, nil
		},
		read: func(_ ListQuery, a Answer) (items []Item, next string, err error) {
			items, page, err := eventItems(a.Body, "data", "token", "event_type", "created")
			for n, e := range page.objects("data") {
				payload := e.object("payload")
				if payload.text("event_type") == "" && payload != nil {
					payload["event_type"] = e["event_type"]
				}
				if items[n].Payload, err = json.Marshal(payload, json.Deterministic(true)); err != nil {
					return nil, "", err
				}
				next = items[n].ID
			}
			if page.text("has_more") != "true" {
				next = ""
			}
			return items, next, err
		},
	}},
	ResendKeys: "the program's API key",
	resend: []func(ListQuery, Item, Answer) (Request, error){
		func(ListQuery, Item, Answer) (Request, error) {
			return Request{Path: "/v1/event_subscriptions", Query: url.Values{"page_size": {"100"}}}, nil
		},
		func(q ListQuery, i Item, previous Answer) (Request, error) {
			var page object
			if err := decode(previous.Body, &page); err != nil {
				return Request{}, err
			}
			for _, s := range page.objects("data") {
				if s.text("disabled") != "true" && sameAddress(s.text("url"), q.URL) {
					return Request{Method: http.MethodPost, Path: "/v1/events/" + segment(i.ID) + "/event_subscriptions/" + segment(s.text("token")) + "/resend"}, nil
				}
			}
			return Request{}, ErrNoEndpoint
		},
	},
}
