package verify

import (
	"crypto/sha256"
	"encoding/hex"
)

// modernTreasury signs the body with the webhook key, whose text is the HMAC's key, and sends
// X-Signature: <hex>. No timestamp is signed, nor is the id in X-Webhook-ID.
//
// https://docs.moderntreasury.com/platform/reference/webhooks
var modernTreasury = Connector{
	Docs:     "https://docs.moderntreasury.com/platform/reference/webhooks",
	Signs:    "HMAC-SHA256 of the body, hex, in X-Signature",
	Covers:   CoversBody,
	Weakness: "no timestamp, and the webhook's id is not signed: a captured request can be sent again",
	Headers:  []string{"X-Signature"},
	verify:   mac{hash: sha256.New, header: "X-Signature", decode: hex.DecodeString}.verify,
}
