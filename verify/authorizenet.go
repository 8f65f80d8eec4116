package verify

import (
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"strings"
)

// authorizenet signs the body with the Signature Key and sends
// X-ANET-Signature: sha512=<hex>, usually in upper case. The key looks like hex, but is not
// decoded: its text is the HMAC's key. No timestamp is signed.
//
// https://developer.authorize.net/api/reference/features/webhooks.html
var authorizenet = Connector{
	Docs:     "https://developer.authorize.net/api/reference/features/webhooks.html",
	Signs:    "HMAC-SHA512 of the body, hex, in X-ANET-Signature (sha512=)",
	Covers:   CoversBody,
	Weakness: "no timestamp: a captured request can be sent again, and only its notificationId shows it",
	Headers:  []string{"X-ANET-Signature"},
	verify:   mac{hash: sha512.New, header: "X-ANET-Signature", decode: authorizenetHex}.verify,
}

func authorizenetHex(value string) ([]byte, error) {
	digits, ok := strings.CutPrefix(value, "sha512=")
	if !ok {
		return nil, errors.New("want sha512=<hex>")
	}
	return hex.DecodeString(digits)
}
