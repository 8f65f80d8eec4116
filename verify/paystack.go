package verify

import (
	"crypto/sha512"
	"encoding/hex"
)

// paystack signs the body with the merchant's secret API key, whose text is the HMAC's key,
// and sends X-Paystack-Signature: <hex>. A webhook has neither a timestamp nor an event id.
//
// https://paystack.com/docs/payments/webhooks/#verify-event-origin
var paystack = Connector{
	Docs:     "https://paystack.com/docs/payments/webhooks/#verify-event-origin",
	Signs:    "HMAC-SHA512 of the body, hex, in X-Paystack-Signature",
	Covers:   CoversBody,
	Weakness: "no timestamp and no event id: a captured request can be sent again; the key is that of the API too",
	Headers:  []string{"X-Paystack-Signature"},
	verify:   mac{hash: sha512.New, header: "X-Paystack-Signature", decode: hex.DecodeString}.verify,
}
