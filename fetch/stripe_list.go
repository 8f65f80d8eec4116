package fetch

import (
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// stripeList lists the events of the last 30 days, newest first. An event is the
// webhook's own JSON, but in the account's API version of that time, whatever the version
// of the webhook endpoint is.
//
// https://docs.stripe.com/api/events/list
var stripeList = List{
	Docs:       "https://docs.stripe.com/api/events/list",
	Kind:       ListEvents,
	Keys:       "a restricted key (rk_…) with Read on Events; it sees the events of its mode",
	Retention:  30 * 24 * time.Hour,
	Redelivers: 3 * 24 * time.Hour,
	Note:       "events of connected accounts and thin events are not listed",
	Publish:    true,
	parts: []part{{
		name: "events",
		request: func(q ListQuery, cursor string) (Request, error) {
			query := url.Values{
				"limit":        {"100"},
				"created[gte]": {strconv.FormatInt(q.From.Unix(), 10)},
				"created[lte]": {strconv.FormatInt(q.To.Unix(), 10)},
			}
			if cursor != "" {
				query.Set("starting_after", cursor)
			}
			return Request{Path: "/v1/events", Query: query}, nil
		},
		read: func(_ ListQuery, a Answer) (items []Item, next string, err error) {
			var page struct {
				Data    []jsontext.Value `json:"data"`
				HasMore bool             `json:"has_more"`
			}
			if err := decode(a.Body, &page); err != nil {
				return nil, "", err
			}
			for _, raw := range page.Data {
				var e struct {
					ID      string `json:"id"`
					Type    string `json:"type"`
					Created int64  `json:"created"`
				}
				if err := decode(raw, &e); err != nil {
					return nil, "", err
				}
				items = append(items, Item{ID: e.ID, Type: e.Type, Time: time.Unix(e.Created, 0).UTC(), Payload: raw})
				next = e.ID
			}
			if !page.HasMore {
				next = ""
			}
			return items, next, nil
		},
	}},
}
