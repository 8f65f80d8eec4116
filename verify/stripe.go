package verify

import "time"

// stripe signs "<unix seconds>.<body>" with the endpoint's secret, text used as
// it is, and sends Stripe-Signature: t=<unix seconds>,v1=<hex>[,v1=<hex>], one
// v1 for each live secret while one is being rolled. Other schemes (v0) are
// not for live endpoints. A time in the future is let through, as Stripe's own
// libraries do: only Stripe can have signed it.
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
