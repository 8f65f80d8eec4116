package fetch

import "net/url"

// squareHook reads the webhook subscriptions of the application.
//
// https://developer.squareup.com/reference/square/webhook-subscriptions-api/list-webhook-subscriptions
var squareHook = hook{
	keys: "the application's personal access token",
	request: func(_ API, cursor string) (Request, error) {
		query := url.Values{"include_disabled": {"true"}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		return Request{Path: "/v2/webhooks/subscriptions", Query: query}, nil
	},
	read: func(_ API, a Answer) (all []Hook, next string, err error) {
		var page object
		if err := decode(a.Body, &page); err != nil {
			return nil, "", err
		}
		for _, o := range page.objects("subscriptions") {
			all = append(all, squareSubscription(o))
		}
		return all, page.text("cursor"), nil
	},
	create: &squareCreation,
}

// squareCreation makes a webhook subscription with those of the event types that Square
// offers. Square recognises a request by its idempotency key.
//
// https://developer.squareup.com/reference/square/webhook-subscriptions-api/create-webhook-subscription
// https://developer.squareup.com/reference/square/webhook-subscriptions-api/list-webhook-event-types
var squareCreation = creation{
	docs:       "https://developer.squareup.com/reference/square/webhook-subscriptions-api/create-webhook-subscription",
	keys:       "the application's personal access token",
	versions:   true,
	idempotent: true,
	prepare:    func(API) Request { return Request{Path: "/v2/webhooks/event-types"} },
	offered: func(prepared Answer) ([]string, error) {
		var page object
		err := decode(prepared.Body, &page)
		return page.strings("event_types"), err
	},
	requests: func(_ API, n NewHook, _ Answer) ([]Request, error) {
		subscription := map[string]any{"name": hookName, "enabled": true, "event_types": n.Types, "notification_url": n.URL}
		if n.APIVersion != "" {
			subscription["api_version"] = n.APIVersion
		}
		return []Request{jsonRequest("/v2/webhooks/subscriptions", map[string]any{"idempotency_key": newIdempotencyKey(), "subscription": subscription})}, nil
	},
	read: func(page object) Made {
		o := page.object("subscription")
		return Made{Hook: squareSubscription(o), Secret: o.text("signature_key")}
	},
}

// squareSubscription reads a webhook subscription.
func squareSubscription(o object) Hook {
	return Hook{ID: o.text("id"), URL: o.text("notification_url"), Enabled: o.text("enabled") == "true", Types: o.strings("event_types"), APIVersion: o.text("api_version")}
}
