package verify

import (
	"crypto/sha256"
	"encoding/hex"
)

// gocardless signs the body with the webhook endpoint's secret, whose text is the HMAC's key,
// and sends Webhook-Signature: <hex>. No timestamp is signed. The signed ids of the events in
// the body identify a redelivery.
//
// https://developer.gocardless.com/api-reference/#webhooks-signing-webhooks
var gocardless = Connector{
	Docs:     "https://developer.gocardless.com/api-reference/#webhooks-signing-webhooks",
	Signs:    "HMAC-SHA256 of the body, hex, in Webhook-Signature",
	Covers:   CoversBody,
	Weakness: "no timestamp: only the ids of the events show that a captured request was sent again",
	Headers:  []string{"Webhook-Signature"},
	verify:   mac{hash: sha256.New, header: "Webhook-Signature", decode: hex.DecodeString}.verify,
}
