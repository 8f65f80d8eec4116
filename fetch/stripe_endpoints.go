package fetch

import "net/url"

// stripeHook reads the webhook endpoints of the account.
//
// https://docs.stripe.com/api/webhook_endpoints/list
var stripeHook = hook{
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
			h := stripeEndpoint(o)
			all, next = append(all, h), h.ID
		}
		if page.text("has_more") != "true" {
			next = ""
		}
		return all, next, nil
	},
	create: &stripeCreation,
}

// stripeCreation makes a webhook endpoint. Only the answer to its creation has the secret.
// Stripe answers a request with the same idempotency key in the same way for a day.
//
// https://docs.stripe.com/api/webhook_endpoints/create
// https://docs.stripe.com/api/idempotent_requests
var stripeCreation = creation{
	docs:       "https://docs.stripe.com/api/webhook_endpoints/create",
	keys:       "a restricted key (rk_…) with Write on Webhook Endpoints",
	versions:   true,
	idempotent: true,
	requests: func(_ API, n NewHook, _ Answer) ([]Request, error) {
		form := url.Values{"url": {n.URL}, "description": {hookName}, "enabled_events[]": n.Types}
		if n.APIVersion != "" {
			form.Set("api_version", n.APIVersion)
		}
		r := formRequest("/v1/webhook_endpoints", form)
		r.Header.Set("Idempotency-Key", newIdempotencyKey())
		return []Request{r}, nil
	},
	read: func(o object) Made {
		return Made{Hook: stripeEndpoint(o), Secret: o.text("secret")}
	},
}

// stripeEndpoint reads a webhook endpoint.
func stripeEndpoint(o object) Hook {
	h := Hook{ID: o.text("id"), URL: o.text("url"), Enabled: o.text("status") == "enabled", Types: o.strings("enabled_events"), APIVersion: o.text("api_version")}
	h.AllTypes = len(h.Types) == 1 && h.Types[0] == "*"
	return h
}
