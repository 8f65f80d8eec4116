package verify

import (
	"crypto/sha256"
	"encoding/base64"
)

// shopify signs the body with the app's client secret, whose text is the HMAC's key, and sends
// X-Shopify-Hmac-Sha256: <base64>. The topic, the shop, the event id and the time are in
// other headers, which are not signed and which anyone can change. Only the body proves what
// happened.
//
// https://shopify.dev/docs/apps/build/webhooks/subscribe/https#step-2-validate-the-origin-of-your-webhook-to-ensure-its-coming-from-shopify
var shopify = Connector{
	Docs:     "https://shopify.dev/docs/apps/build/webhooks/subscribe/https",
	Signs:    "HMAC-SHA256 of the body, base64, in X-Shopify-Hmac-Sha256",
	Covers:   CoversBody,
	Weakness: "topic, shop, time and event id are in headers that are not signed: a captured request can be sent again",
	Headers:  []string{"X-Shopify-Hmac-Sha256"},
	verify: mac{
		hash:   sha256.New,
		header: "X-Shopify-Hmac-Sha256",
		decode: base64.StdEncoding.Strict().DecodeString,
	}.verify,
}
