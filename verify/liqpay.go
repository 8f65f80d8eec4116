package verify

import (
	"crypto/sha1"
	"crypto/sha3"
	"encoding/base64"
	"fmt"
	"hash"
)

// liqpay hashes "<private key><data><private key>", where data is a field of
// the form, base64 of JSON, as it stands there. The field signature is the
// hash in base64: SHA3-256 from version 7 of the API on, SHA-1 before, told
// apart by their lengths. One is as hard to make without the key as the other.
// The oldest callbacks have operation_xml instead, which is base64 too, and
// hash what it holds.
//
// It is a plain hash, not an HMAC, and SHA-1 is broken for collisions. No time
// is signed.
//
// https://www.liqpay.ua/documentation/en/api/callback
var liqpay = Connector{
	Docs:     "https://www.liqpay.ua/documentation/en/api/callback",
	Signs:    `SHA-1 or SHA3-256 of "<private key><data><private key>", base64, in the field signature`,
	Covers:   CoversBody,
	Weakness: "a plain hash instead of an HMAC; no timestamp: a captured request can be sent again",
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
	algorithm := sha1.New
	if len(f["signature"]) == base64.StdEncoding.EncodedLen(sha3.New256().Size()) {
		algorithm = func() hash.Hash { return sha3.New256() }
	}
	return digest(algorithm, secret+signed+secret), nil
}
