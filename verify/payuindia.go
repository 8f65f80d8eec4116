package verify

import (
	"crypto/sha512"
	"encoding/hex"
)

// payuIndia hashes the salt and some fields, from the last of the request to
// the first: "salt|status|udf10|...|udf1|email|firstname|productinfo|amount|
// txnid|key", and "<additional charges>|" before it where PayU took some. It
// is the field hash, hex of SHA-512.
//
// So the status, the amount and the merchant's txnid are signed; PayU's own id
// of the payment (mihpayid), the way it was paid and the error are not. The
// callbacks about refunds and disputes are JSON without any hash: nothing can
// verify them, and they are refused.
//
// https://docs.payu.in/docs/generate-hash-payu-hosted
var payuIndia = Connector{
	Docs:     "https://docs.payu.in/docs/generate-hash-payu-hosted",
	Signs:    "SHA-512 of the salt and fields of the form, in reverse order with | between, hex, in the field hash",
	Covers:   CoversFields,
	Weakness: "mihpayid, mode, unmappedstatus, error and others are not signed; no timestamp; callbacks about refunds and disputes carry no hash and are refused",
	Settings: []Setting{payuIndiaKey},
	Verify:   formHash{field: "hash", decode: hex.DecodeString, want: payuIndiaWant}.verify,
}

var payuIndiaKey = Setting{Name: "merchant_key", Says: "the merchant key; if it is set, forms of another key are refused"}

func payuIndiaWant(f form, salt string, k Keys) ([]byte, error) {
	if err := f.without("|", "status", "amount", "txnid", "key"); err != nil {
		return nil, err
	}
	if key := k.Settings[payuIndiaKey.Name]; key != "" && key != f["key"] {
		return nil, ErrMismatch
	}
	text := salt + "|" + f.join("|", "status",
		"udf10", "udf9", "udf8", "udf7", "udf6", "udf5", "udf4", "udf3", "udf2", "udf1",
		"email", "firstname", "productinfo", "amount", "txnid", "key")
	for _, name := range []string{"additionalCharges", "additional_charges"} {
		if f[name] != "" {
			text = f[name] + "|" + text
		}
	}
	return digest(sha512.New, text), nil
}
