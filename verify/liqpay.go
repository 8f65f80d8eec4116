package verify

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
)

// liqpay hashes "<private key><data><private key>", where data is a field of
// the form, base64 of JSON, as it stands there. The field signature is the
// hash, base64 of SHA-1. The oldest callbacks have operation_xml instead, which
// is base64 too, and hash what it holds.
//
// It is a plain hash, not an HMAC, and SHA-1 is broken for collisions. No time
// is signed.
//
// https://www.liqpay.ua/documentation/en/api/callback
var liqpay = Connector{
	Docs:     "https://www.liqpay.ua/documentation/en/api/callback",
	Signs:    `SHA-1 of "<private key><data><private key>", base64, in the field signature`,
	Covers:   CoversBody,
	Weakness: "a plain SHA-1 instead of an HMAC; no timestamp: a captured request can be sent again",
	Verify:   formHash{field: "signature", decode: base64.StdEncoding.Strict().DecodeString, want: liqpayWant}.verify,
}

func liqpayWant(f form, secret string, _ Keys) ([]byte, error) {
	signed := f["data"]
	if signed == "" {
		xml, err := base64.StdEncoding.Strict().DecodeString(f["operation_xml"])
		if err != nil || len(xml) == 0 {
			return nil, fmt.Errorf("%w: want data or operation_xml in the form, base64", ErrMalformed)
		}
		signed = string(xml)
	}
	return digest(sha1.New, secret+signed+secret), nil
}
