package fetch

import (
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// modernTreasuryList lists the organization's events. An item is wrapped as the webhook
// has it. The cursor of the next page is a header.
//
// https://docs.moderntreasury.com/platform/reference/list-events
// https://github.com/Modern-Treasury/modern-treasury-go, event.go and packages/pagination/pagination.go
var modernTreasuryList = List{
	Docs:       "https://docs.moderntreasury.com/platform/reference/list-events",
	Kind:       ListEvents,
	Keys:       "the organization id and a read-only API key",
	Redelivers: 3 * 24 * time.Hour,
	Publish:    true,
	parts: []part{{
		name: "events",
		request: func(q ListQuery, cursor string) (Request, error) {
			query := url.Values{"event_time_start": {rfc3339(q.From)}, "event_time_end": {rfc3339(q.To)}, "per_page": {"100"}}
			if cursor != "" {
				query.Set("after_cursor", cursor)
			}
			return Request{Path: "/api/events", Query: query}, nil
		},
		read: func(_ ListQuery, a Answer) (items []Item, next string, err error) {
			var all []object
			if err := decode(a.Body, &all); err != nil {
				return nil, "", err
			}
			for _, e := range all {
				at, err := timeOf(e.text("event_time"))
				if err != nil {
					return nil, "", err
				}
				name := strings.TrimPrefix(e.text("event_name"), e.text("resource")+".")
				payload, err := json.Marshal(struct {
					Event string         `json:"event"`
					Data  jsontext.Value `json:"data"`
				}{name, e["data"]})
				if err != nil {
					return nil, "", err
				}
				items = append(items, Item{ID: e.text("id"), Type: e.text("resource") + "." + name, Time: at, Payload: payload})
			}
			return items, a.Header.Get("X-After-Cursor"), nil
		},
	}},
}
