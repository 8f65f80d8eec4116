package verify

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
)

// globalpaymentsRealex hashes twice: SHA1HASH is the SHA-1 of "<hash>.<shared
// secret>", where hash is the SHA-1 of "TIMESTAMP.MERCHANT_ID.ORDER_ID.RESULT.
// MESSAGE.PASREF.AUTHCODE", as hex.
//
// The amount is not signed, nor the currency, nor the merchant's own fields:
// what was paid is what was asked for under that ORDER_ID, and an event's
// amount is a claim.
//
// https://developer.globalpay.com/hpp/api
var globalpaymentsRealex = Connector{
	Docs:     "https://developer.globalpay.com/hpp/api",
	Signs:    "SHA-1 of TIMESTAMP, MERCHANT_ID, ORDER_ID, RESULT, MESSAGE, PASREF and AUTHCODE, and of that and the shared secret, hex, in the field SHA1HASH",
	Covers:   CoversFields,
	Weakness: "the amount and the currency are not signed: compare them with the order; SHA-1, no HMAC; no timestamp to judge by",
	Verify:   formHash{field: "SHA1HASH", decode: hex.DecodeString, want: globalpaymentsRealexWant}.verify,
}

func globalpaymentsRealexWant(f form, secret string, _ Keys) ([]byte, error) {
	if err := f.without(".", "TIMESTAMP", "ORDER_ID", "RESULT"); err != nil {
		return nil, err
	}
	inner := digest(sha1.New, f.join(".", "TIMESTAMP", "MERCHANT_ID", "ORDER_ID", "RESULT", "MESSAGE", "PASREF", "AUTHCODE"))
	return digest(sha1.New, fmt.Sprintf("%x.%s", inner, secret)), nil
}
