package verify

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
)

// skrill hashes "<merchant_id><transaction_id><SECRET><mb_amount><mb_currency>
// <status>", where SECRET is the MD5 of the secret word as hex in upper case. It
// is the field md5sig, hex in upper case.
//
// So what Skrill moved (mb_amount) and the status are signed, and Skrill's own
// id of the payment and the amount that the merchant asked for are not. Nothing
// stands between the fields that are hashed: where merchant_id ends and
// transaction_id begins is not signed.
//
// https://www.skrill.com/fileadmin/content/pdf/Skrill_Quick_Checkout_Guide.pdf
var skrill = Connector{
	Docs:     "https://www.skrill.com/fileadmin/content/pdf/Skrill_Quick_Checkout_Guide.pdf",
	Signs:    "MD5 of merchant_id, transaction_id, the MD5 of the secret word, mb_amount, mb_currency and status, hex, in the field md5sig",
	Covers:   CoversFields,
	Weakness: "MD5, no HMAC; mb_transaction_id, amount, currency and others are not signed, nor where merchant_id ends and transaction_id begins; no timestamp",
	Verify:   formHash{field: "md5sig", decode: hex.DecodeString, want: skrillWant}.verify,
}

func skrillWant(f form, secret string, _ Keys) ([]byte, error) {
	text := f.join("", "merchant_id", "transaction_id") + fmt.Sprintf("%X", digest(md5.New, secret)) +
		f.join("", "mb_amount", "mb_currency", "status")
	return digest(md5.New, text), nil
}
