package fetch

import (
	"net/http"
	"net/url"
	"time"
)

// paddleList lists the events of the last 90 days, whether a notification destination
// wants them or not. Paddle cannot select them by time: the newest come first, and the
// list ends at the first page that has only older ones.
//
// https://developer.paddle.com/api-reference/events/list-events
// https://developer.paddle.com/changelog/2024/event-notification-retention-changes
// https://developer.paddle.com/api-reference/notifications/replay-notification
var paddleList = List{
	Docs:       "https://developer.paddle.com/api-reference/events/list-events",
	Kind:       ListEvents,
	Keys:       "an API key with notification.read",
	Retention:  90 * 24 * time.Hour,
	Redelivers: 3 * 24 * time.Hour,
	Publish:    true,
	parts: []part{{
		name: "events",
		request: func(_ ListQuery, cursor string) (Request, error) {
			query := url.Values{"per_page": {"200"}, "order_by": {"id[DESC]"}}
			if cursor != "" {
				query.Set("after", cursor)
			}
			return Request{Path: "/events", Query: query}, nil
		},
		read: func(q ListQuery, a Answer) (items []Item, next string, err error) {
			items, page, err := eventItems(a.Body, "data", "event_id", "event_type", "occurred_at")
			if page.text("meta.pagination.has_more") == "true" && newerThan(items, q.From) {
				next = items[len(items)-1].ID
			}
			return items, next, err
		},
	}},
	ResendKeys: "an API key with notification.write",
	resend: []func(ListQuery, Item, Answer) (Request, error){
		func(_ ListQuery, i Item, _ Answer) (Request, error) {
			return Request{Path: "/notifications", Query: url.Values{"search": {i.ID}}}, nil
		},
		func(_ ListQuery, i Item, previous Answer) (Request, error) {
			var page object
			if err := decode(previous.Body, &page); err != nil {
				return Request{}, err
			}
			for _, n := range page.objects("data") {
				if n.text("payload.event_id") == i.ID && n.text("origin") != "replay" {
					return Request{Method: http.MethodPost, Path: "/notifications/" + segment(n.text("id")) + "/replay"}, nil
				}
			}
			return Request{}, ErrUnknownObject
		},
	},
}
