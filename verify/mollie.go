package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// mollie signs the body of its next-gen webhooks with the webhook's signing
// secret and sends X-Mollie-Signature: sha256=<hex>, or the hex alone. No time
// is signed. Its classic webhooks, id=<id>, are not signed at all, and so they
// are refused.
//
// https://docs.mollie.com/reference/webhooks-new
var mollie = Connector{
	Docs:     "https://docs.mollie.com/reference/webhooks-new",
	Signs:    "HMAC-SHA256 of the body, hex, in X-Mollie-Signature (sha256=); classic webhooks are not signed, and refused",
	Covers:   CoversBody,
	Weakness: "no timestamp: a captured request can be sent again, and its event id tells",
	Headers:  []string{"X-Mollie-Signature"},
	Verify: mac{
		hash:   sha256.New,
		header: "X-Mollie-Signature",
		decode: func(value string) ([]byte, error) { return hex.DecodeString(strings.TrimPrefix(value, "sha256=")) },
	}.verify,
}
