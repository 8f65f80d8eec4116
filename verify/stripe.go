package verify

import "time"

// stripe signs "<unix seconds>.<body>" with the endpoint's secret, whose text is the HMAC's
// key, and sends Stripe-Signature: t=<unix seconds>,v1=<hex>[,v1=<hex>], with one v1 for each
// active secret while one is rolled. Other schemes (v0) are not for live endpoints and are
// ignored. A timestamp in the future is accepted, as in Stripe's own libraries: only Stripe
// can have signed it.
//
// https://docs.stripe.com/webhooks#verify-manually
var stripe = Connector{
	Docs:     "https://docs.stripe.com/webhooks#verify-manually",
	Signs:    `HMAC-SHA256 of "<time>.<body>", hex, in Stripe-Signature (t=, v1=)`,
	Covers:   CoversBody,
	Headers:  []string{"Stripe-Signature"},
	Settings: []Setting{tolerance},
	verify:   timed{header: "Stripe-Signature", between: ",", time: "t", signature: "v1", joint: ".", tolerance: 5 * time.Minute}.verify,
}
