package verify

import (
	"crypto/sha256"
	"encoding/hex"
)

// checkout signs the body with the webhook's key, whose text is the HMAC's key (for an ABC
// account it is the secret API key), and sends Cko-Signature: <hex>, in either case. No
// timestamp is signed: a captured webhook can be sent again at any time.
//
// https://www.checkout.com/docs/developer-resources/event-notifications/receive-webhooks/configure-your-webhook-server
var checkout = Connector{
	Docs:     "https://www.checkout.com/docs/developer-resources/event-notifications/receive-webhooks/configure-your-webhook-server",
	Signs:    "HMAC-SHA256 of the body, hex, in Cko-Signature",
	Covers:   CoversBody,
	Weakness: "no timestamp: a captured request can be sent again, and only its event id shows it",
	Headers:  []string{"Cko-Signature"},
	verify:   mac{hash: sha256.New, header: "Cko-Signature", decode: hex.DecodeString}.verify,
}
