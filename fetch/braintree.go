package fetch

import (
	"fmt"
	"net/http"
	"time"
)

// braintree is asked only for its lists of transactions and refunds, by the GraphQL API. An
// answer with errors has the status 200.
//
// Braintree publishes no rate limit.
//
// https://developer.paypal.com/braintree/graphql/guides/making-api-calls
var braintree = Connector{
	Docs:      "https://developer.paypal.com/braintree/graphql/guides/search",
	Keys:      "the private key: Settings, API Keys; Braintree has no read-only ones",
	ClientID:  "the public key that belongs to the private key",
	Hosts:     map[Environment]string{Live: "payments.braintree-api.com", Sandbox: "payments.sandbox.braintree-api.com"},
	authorize: braintreeAuthorize,
}

// braintreeVersion is the version of the API: a day.
const braintreeVersion = "2019-01-01"

func braintreeAuthorize(r *http.Request, a API, key Key, now time.Time) error {
	r.Header.Set("Braintree-Version", braintreeVersion)
	return basicPair(r, a, key, now)
}

// braintreeError returns the error of an answer: one that wraps [ErrCredentials] if the keys
// are refused, and [ErrRequest] for all others.
func braintreeError(answer object) error {
	for _, e := range answer.objects("errors") {
		class := e.text("extensions.errorClass")
		if class == "AUTHENTICATION" || class == "AUTHORIZATION" {
			return fmt.Errorf("%w: %s: check the public and the private key, and that their user may search transactions", ErrCredentials, class)
		}
		return fmt.Errorf("%w: %s", ErrRequest, class)
	}
	return nil
}
