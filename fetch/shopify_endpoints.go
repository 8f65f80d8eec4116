package fetch

import "net/url"

// shopifyHook reads the webhook subscriptions of the app whose token the key is, by the
// REST API, as the list of orders. A subscription has one topic. Those that were made in
// the Shopify admin, or by the app's configuration file, are not listed.
//
// https://shopify.dev/docs/api/admin-rest/latest/resources/webhook
var shopifyHook = hook{
	keys:   "the Admin API access token of the app that receives the webhooks",
	note:   "webhooks that were made in the Shopify admin or in the app's configuration file are not listed",
	single: true,
	request: func(_ API, cursor string) (Request, error) {
		query := url.Values{"limit": {"250"}}
		if cursor != "" {
			query.Set("page_info", cursor)
		}
		return Request{Path: shopifyWebhooks, Query: query}, nil
	},
	read: func(_ API, a Answer) (all []Hook, next string, err error) {
		var page object
		if err := decode(a.Body, &page); err != nil {
			return nil, "", err
		}
		for _, o := range page.objects("webhooks") {
			h := Hook{ID: o.text("id"), URL: o.text("address"), Enabled: true, Types: []string{o.text("topic")}, APIVersion: o.text("api_version")}
			if o.text("format") == "xml" {
				h.Trouble = "the format of " + o.text("topic") + " is XML, which tollbridge does not read: make it again with JSON"
			}
			all = append(all, h)
		}
		return all, shopifyNext(a.Header.Get("Link")), nil
	},
	create: &shopifyCreation,
}

// shopifyCreation makes a subscription for each topic. All webhooks of an app are signed
// with its client secret, which the API does not tell.
//
// https://shopify.dev/docs/api/admin-rest/latest/resources/webhook#post-webhooks
var shopifyCreation = creation{
	docs:    "https://shopify.dev/docs/api/admin-rest/latest/resources/webhook#post-webhooks",
	keys:    "the Admin API access token of the app, with the scopes that its topics need, such as read_orders",
	without: "Shopify signs with the app's client secret (API secret key): take it from the app's page, API credentials",
	requests: func(_ API, n NewHook, _ Answer) (all []Request, err error) {
		for _, topic := range n.Types {
			all = append(all, jsonRequest(shopifyWebhooks, map[string]any{"webhook": map[string]string{"topic": topic, "address": n.URL, "format": "json"}}))
		}
		return all, nil
	},
	read: func(page object) Made {
		o := page.object("webhook")
		return Made{Hook: Hook{ID: o.text("id"), URL: o.text("address"), Enabled: true, APIVersion: o.text("api_version")}}
	},
}

const shopifyWebhooks = "/admin/api/2026-07/webhooks.json" // with the version of the API
