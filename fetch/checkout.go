package fetch

import (
	"net/http"
	"time"
)

// checkout is asked only for what its lists and its webhook endpoints have: webhooks have
// everything. Checkout.com publishes no rate limit.
//
// https://api-reference.checkout.com/
var checkout = Connector{
	Docs:      "https://api-reference.checkout.com/",
	Keys:      "a secret API key (sk_…)",
	HostHint:  "abcd1234.api.checkout.com, with the prefix of your account",
	authorize: checkoutAuthorize,
}

// checkoutAuthorize sends the secret key.
func checkoutAuthorize(r *http.Request, _ API, key Key, _ time.Time) error {
	r.Header.Set("Authorization", "Bearer "+key.Value)
	return nil
}
