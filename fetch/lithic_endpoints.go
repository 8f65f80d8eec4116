package fetch

import "net/url"

// lithicHook reads the event subscriptions of the program. A subscription without event
// types gets all.
//
// https://docs.lithic.com/reference/geteventsubscriptions
var lithicHook = hook{
	docs: "https://docs.lithic.com/reference/geteventsubscriptions",
	keys: "the program's API key",
	request: func(_ API, cursor string) (Request, error) {
		query := url.Values{"page_size": {"100"}}
		if cursor != "" {
			query.Set("starting_after", cursor)
		}
		return Request{Path: "/v1/event_subscriptions", Query: query}, nil
	},
	read: func(_ API, a Answer) (all []Hook, next string, err error) {
		var page object
		if err := decode(a.Body, &page); err != nil {
			return nil, "", err
		}
		for _, o := range page.objects("data") {
			h := Hook{ID: o.text("token"), URL: o.text("url"), Enabled: o.text("disabled") != "true", Types: o.strings("event_types")}
			h.AllTypes = len(h.Types) == 0
			all, next = append(all, h), h.ID
		}
		if page.text("has_more") != "true" {
			next = ""
		}
		return all, next, nil
	},
}
