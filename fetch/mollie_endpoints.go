package fetch

import (
	"net/http"
	"strings"
)

// mollieHook reads the next-gen webhooks. Classic webhooks have no endpoint at Mollie:
// each payment has its own webhookUrl. An endpoint without a secret takes only these.
//
// The documented event types have none of disputes, although Mollie describes their
// webhooks.
//
// https://docs.mollie.com/reference/list-webhooks
// https://github.com/mollie/mollie-api-golang, models/components/createwebhook.go and
// webhookeventtypes.go
var mollieHook = hook{
	keys:     "an access token (access_…) with webhooks.read",
	unsigned: "it has no secret, so it takes only classic webhooks (id=tr_…), which have no endpoint at Mollie: each payment has its own webhookUrl",
	note:     "if it takes only classic webhooks (id=tr_…), it needs none: each payment has its own webhookUrl",
	offers:   func(eventType string) bool { return !strings.HasPrefix(eventType, "dispute.") },
	request: func(a API, cursor string) (Request, error) {
		query := mollieQuery(a)
		query.Set("limit", "250")
		if cursor != "" {
			query.Set("from", cursor)
		}
		return Request{Path: "/v2/webhooks", Query: query}, nil
	},
	read: func(_ API, a Answer) (all []Hook, next string, err error) {
		var page object
		if err := decode(a.Body, &page); err != nil {
			return nil, "", err
		}
		for _, o := range page.object("_embedded").objects("webhooks") {
			h := mollieWebhook(o)
			h.AllTypes = len(h.Types) == 1 && h.Types[0] == "*"
			if o.text("status") == "blocked" {
				h.Trouble = "Mollie has blocked it"
			}
			all = append(all, h)
		}
		return all, queryOf(page.object("_links").object("next").text("href"), "from"), nil
	},
	create: &mollieCreation,
}

// mollieCreation makes a next-gen webhook. Only the answer to its creation has the secret.
// The event types are one text with commas, as Mollie's library for PHP writes them. Mollie
// recognises a request by its idempotency key.
//
// https://docs.mollie.com/reference/create-webhook
// https://github.com/mollie/mollie-api-php, src/Http/Requests/CreateWebhookRequest.php
var mollieCreation = creation{
	docs:       "https://docs.mollie.com/reference/create-webhook",
	keys:       "an access token (access_…) with webhooks.read and webhooks.write",
	idempotent: true,
	requests: func(a API, n NewHook, _ Answer) ([]Request, error) {
		body := map[string]any{"name": hookName, "url": n.URL, "eventTypes": strings.Join(n.Types, ",")}
		if mollieQuery(a).Has("testmode") {
			body["testmode"] = true
		}
		r := jsonRequest("/v2/webhooks", body)
		r.Header = http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {newIdempotencyKey()}}
		return []Request{r}, nil
	},
	read: func(o object) Made {
		return Made{Hook: mollieWebhook(o), Secret: o.text("webhookSecret")}
	},
}

// mollieWebhook reads a next-gen webhook.
func mollieWebhook(o object) Hook {
	return Hook{ID: o.text("id"), URL: o.text("url"), Enabled: o.text("status") == "enabled", Types: o.strings("eventTypes")}
}
