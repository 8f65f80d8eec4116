package fetch

import "net/url"

// squareHook reads the webhook subscriptions of the application.
//
// https://developer.squareup.com/reference/square/webhook-subscriptions-api/list-webhook-subscriptions
var squareHook = hook{
	docs: "https://developer.squareup.com/reference/square/webhook-subscriptions-api/list-webhook-subscriptions",
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
			all = append(all, Hook{ID: o.text("id"), URL: o.text("notification_url"), Enabled: o.text("enabled") == "true", Types: o.strings("event_types"), APIVersion: o.text("api_version")})
		}
		return all, page.text("cursor"), nil
	},
}
