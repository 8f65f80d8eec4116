package verify

import (
	"crypto/sha256"
	"encoding/hex"
)

// checkout signs the body with the key of the webhook, text used as it is (an
// ABC account's key is its secret API key), and sends Cko-Signature: <hex>. The
// hex may be in either case. No time is signed: an old webhook stays good.
//
// https://www.checkout.com/docs/developer-resources/event-notifications/receive-webhooks/configure-your-webhook-server
var checkout = Connector{
	Docs:     "https://www.checkout.com/docs/developer-resources/event-notifications/receive-webhooks/configure-your-webhook-server",
	Signs:    "HMAC-SHA256 of the body, hex, in Cko-Signature",
	Covers:   CoversBody,
	Weakness: "no timestamp: a captured request can be sent again, and its event id tells",
	Headers:  []string{"Cko-Signature"},
	verify:   mac{hash: sha256.New, header: "Cko-Signature", decode: hex.DecodeString}.verify,
}
