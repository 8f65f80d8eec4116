package verify

import (
	"crypto/sha256"
	"encoding/hex"
)

// quickpay signs the body with the account's private key, whose text is the HMAC's key, and
// sends QuickPay-Checksum-Sha256: <hex>. The private key is not the key of the API user. No
// timestamp is signed, nor are the other QuickPay headers.
//
// https://learn.quickpay.net/tech-talk/api/callback
var quickpay = Connector{
	Docs:     "https://learn.quickpay.net/tech-talk/api/callback",
	Signs:    "HMAC-SHA256 of the body, hex, in QuickPay-Checksum-Sha256",
	Covers:   CoversBody,
	Weakness: "no timestamp and no event id: a captured request can be sent again",
	Headers:  []string{"QuickPay-Checksum-Sha256"},
	verify:   mac{hash: sha256.New, header: "QuickPay-Checksum-Sha256", decode: hex.DecodeString}.verify,
}
