package fetch

import "net/url"

// stripeHook reads the webhook endpoints of the account.
//
// https://docs.stripe.com/api/webhook_endpoints/list
var stripeHook = hook{
	docs: "https://docs.stripe.com/api/webhook_endpoints/list",
	keys: "a restricted key (rk_…) with Read on Webhook Endpoints",
	request: func(_ API, cursor string) (Request, error) {
		query := url.Values{"limit": {"100"}}
		if cursor != "" {
			query.Set("starting_after", cursor)
		}
		return Request{Path: "/v1/webhook_endpoints", Query: query}, nil
	},
	read: func(_ API, a Answer) (all []Hook, next string, err error) {
		var page object
		if err := decode(a.Body, &page); err != nil {
			return nil, "", err
		}
		for _, o := range page.objects("data") {
			h := Hook{ID: o.text("id"), URL: o.text("url"), Enabled: o.text("status") == "enabled", Types: o.strings("enabled_events"), APIVersion: o.text("api_version")}
			h.AllTypes = len(h.Types) == 1 && h.Types[0] == "*"
			all, next = append(all, h), h.ID
		}
		if page.text("has_more") != "true" {
			next = ""
		}
		return all, next, nil
	},
}
