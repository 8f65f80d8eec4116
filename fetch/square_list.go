package fetch

import (
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
)

// squareList searches the events of the last 28 days. Only the application's personal
// access token may do that, and only events are found that happened while the search was
// switched on (PUT /v2/events/enable).
//
// https://developer.squareup.com/reference/square/events-api/SearchEvents
// https://developer.squareup.com/docs/events-api/overview
var squareList = List{
	Docs:       "https://developer.squareup.com/reference/square/events-api/SearchEvents",
	Kind:       ListEvents,
	Keys:       "the application's personal access token; OAuth tokens cannot search events",
	Retention:  28 * 24 * time.Hour,
	Redelivers: 24 * time.Hour,
	Note:       "events that happened while the events API was disabled (PUT /v2/events/enable) are not listed",
	Publish:    true,
	parts: []part{{
		name: "events",
		request: func(q ListQuery, cursor string) (Request, error) {
			body := map[string]any{
				"limit": 100,
				"query": map[string]any{
					"filter": map[string]any{"created_at": map[string]string{"start_at": rfc3339(q.From), "end_at": rfc3339(q.To)}},
					"sort":   map[string]string{"field": "DEFAULT", "order": "DESC"},
				},
			}
			if cursor != "" {
				body["cursor"] = cursor
			}
			b, err := json.Marshal(body, json.Deterministic(true))
			return Request{Method: http.MethodPost, Path: "/v2/events", Header: jsonBody, Body: b}, err
		},
		read: func(_ ListQuery, a Answer) (items []Item, next string, err error) {
			items, page, err := eventItems(a.Body, "events", "event_id", "type", "created_at")
			return items, page.text("cursor"), err
		},
	}},
}
