package verify

import (
	"crypto/sha256"
	"encoding/base64"
)

// adyenPlatform is for Adyen's webhooks with the signature in a header: those of the balance
// platform (transfers, accounts), of management and of recurring tokens. Adyen signs the
// body. The key is issued as hex. No timestamp is signed: a captured request can be sent
// again, and results in the same event.
//
// https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures
var adyenPlatform = Connector{
	Docs:     "https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures",
	Signs:    "HMAC-SHA256 (hex key) of the body, base64, in HmacSignature",
	Covers:   CoversBody,
	Weakness: "no time is signed: a captured request can be replayed",
	Headers:  []string{"HmacSignature"},
	check:    checkHexKey,
	verify: mac{
		hash:   sha256.New,
		header: "HmacSignature",
		decode: base64.StdEncoding.Strict().DecodeString,
		key:    hexKey,
	}.verify,
}
