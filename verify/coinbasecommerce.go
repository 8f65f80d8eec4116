package verify

import (
	"crypto/sha256"
	"encoding/hex"
)

// coinbaseCommerce signs the body with the webhook's shared secret, whose text is the HMAC's
// key, and sends X-CC-Webhook-Signature: <hex>. No timestamp is checked. The signed id of the
// event identifies a redelivery.
//
// https://docs.cdp.coinbase.com/commerce/api-arcitecture/webhooks-fields
var coinbaseCommerce = Connector{
	Docs:     "https://docs.cdp.coinbase.com/commerce/api-arcitecture/webhooks-fields",
	Signs:    "HMAC-SHA256 of the body, hex, in X-CC-Webhook-Signature",
	Covers:   CoversBody,
	Weakness: "no timestamp is checked: only the event's id shows that a captured request was sent again",
	Headers:  []string{"X-CC-Webhook-Signature"},
	verify:   mac{hash: sha256.New, header: "X-CC-Webhook-Signature", decode: hex.DecodeString}.verify,
}
