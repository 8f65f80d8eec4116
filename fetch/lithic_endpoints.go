package fetch

import "net/url"

// lithicHook reads the event subscriptions of the program. A subscription without event
// types gets all.
//
// https://docs.lithic.com/reference/geteventsubscriptions
var lithicHook = hook{
	keys: "the program's API key",
	request: func(_ API, cursor string) (Request, error) {
		query := url.Values{"page_size": {"100"}}
		if cursor != "" {
			query.Set("starting_after", cursor)
		}
		return Request{Path: lithicSubscriptions, Query: query}, nil
	},
	read: func(_ API, a Answer) (all []Hook, next string, err error) {
		var page object
		if err := decode(a.Body, &page); err != nil {
			return nil, "", err
		}
		for _, o := range page.objects("data") {
			h := lithicSubscription(o)
			h.AllTypes = len(h.Types) == 0
			all, next = append(all, h), h.ID
		}
		if page.text("has_more") != "true" {
			next = ""
		}
		return all, next, nil
	},
	create: &lithicCreation,
}

// lithicCreation makes an event subscription. Its secret is read by a request of its own.
//
// https://docs.lithic.com/reference/posteventsubscriptions
// https://docs.lithic.com/reference/geteventsubscriptionsecret
var lithicCreation = creation{
	docs: "https://docs.lithic.com/reference/posteventsubscriptions",
	keys: "the program's API key",
	requests: func(_ API, n NewHook, _ Answer) ([]Request, error) {
		return []Request{jsonRequest(lithicSubscriptions, map[string]any{"description": hookName, "disabled": false, "event_types": n.Types, "url": n.URL})}, nil
	},
	read: func(o object) Made {
		return Made{Hook: lithicSubscription(o)}
	},
	secretOf: func(_ API, id string) Request {
		return Request{Path: lithicSubscriptions + "/" + segment(id) + "/secret"}
	},
	secretField: "secret",
}

const lithicSubscriptions = "/v1/event_subscriptions"

// lithicSubscription reads an event subscription.
func lithicSubscription(o object) Hook {
	return Hook{ID: o.text("token"), URL: o.text("url"), Enabled: o.text("disabled") != "true", Types: o.strings("event_types")}
}
