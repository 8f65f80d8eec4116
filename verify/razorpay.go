package verify

import (
	"crypto/sha256"
	"encoding/hex"
)

// razorpay signs the body with the webhook's secret, text used as it is, and
// sends X-Razorpay-Signature: <hex>. Nothing else is signed: neither a time nor
// the event id in X-Razorpay-Event-Id, which anyone can change. A delivery that
// is retried is signed with the secret of the event's day.
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
