package fetch

import (
	"net/http"
	"time"
)

// coinbaseCommerce is asked only for its list of events: webhooks have everything. Coinbase
// publishes no rate limit.
//
// https://docs.cdp.coinbase.com/api-reference/commerce-api/rest-api/introduction
var coinbaseCommerce = Connector{
	Docs:      "https://docs.cdp.coinbase.com/api-reference/commerce-api/rest-api/introduction",
	Keys:      "an API key of the account: Settings, Security",
	Hosts:     map[Environment]string{Live: "api.commerce.coinbase.com"},
	authorize: coinbaseCommerceAuthorize,
}

// coinbaseCommerceAuthorize sends the key and the version of the API.
func coinbaseCommerceAuthorize(r *http.Request, _ API, key Key, _ time.Time) error {
	r.Header.Set("X-CC-Api-Key", key.Value)
	r.Header.Set("X-CC-Version", "2018-03-22")
	return nil
}
