package verify

import (
	"crypto/sha256"
	"encoding/hex"
)

// razorpay signs the body with the webhook's secret, whose text is the HMAC's key, and sends
// X-Razorpay-Signature: <hex>. No timestamp is signed, nor is the event id in
// X-Razorpay-Event-Id, which anyone can change. A redelivery is signed with the secret that
// was active when the event happened.
//
// https://razorpay.com/docs/webhooks/validate-test/
var razorpay = Connector{
	Docs:     "https://razorpay.com/docs/webhooks/validate-test/",
	Signs:    "HMAC-SHA256 of the body, hex, in X-Razorpay-Signature",
	Covers:   CoversBody,
	Weakness: "no timestamp, and the event id is not signed: a captured request can be sent again",
	Headers:  []string{"X-Razorpay-Signature"},
	verify:   mac{hash: sha256.New, header: "X-Razorpay-Signature", decode: hex.DecodeString}.verify,
}
