package fetch

import (
	"net/http"
	"regexp"
	"time"
)

// shopify is asked only for its list of orders. Its webhooks have what their events need, and
// Shopify allows only one second for the connection and five for the answer.
//
// The host is the shop's own, under myshopify.com. A shop allows two requests a second with
// one token; shops on other plans allow more.
//
// https://shopify.dev/docs/api/admin-rest/usage/rate-limits
var shopify = Connector{
	Docs:      "https://shopify.dev/docs/api/admin-rest",
	Keys:      "the Admin API access token of a custom app with read_orders (and read_all_orders for orders of more than 60 days ago)",
	HostHint:  "example.myshopify.com, the shop's permanent domain",
	HostForm:  regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}\.myshopify\.com$`),
	Rate:      2,
	authorize: shopifyAuthorize,
}

func shopifyAuthorize(r *http.Request, _ API, key Key, _ time.Time) error {
	r.Header.Set("X-Shopify-Access-Token", key.Value)
	return nil
}
