package verify

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// ipay88 hashes "<merchant key><MerchantCode><PaymentId><RefNo><Amount>
// <Currency><Status>", the amount without its points and commas. It is the
// field Signature: SHA-1 in base64, or SHA-256 in hex in the later
// specification. One is as hard to make without the key as the other.
//
// Nothing stands between the fields that are hashed, so that a RefNo that ends
// in digits and the amount behind it are not told apart: order 15 over 1.00 and
// order 1 over 51.00 have one signature. A merchant whose references end in a
// letter is safe from that. TransId, AuthCode and ErrDesc are not signed.
//
// https://fliphtml5.com/hmseu/oxni
var ipay88 = Connector{
	Docs:     "https://fliphtml5.com/hmseu/oxni",
	Signs:    "SHA-1 (base64) or SHA-256 (hex) of the merchant key, MerchantCode, PaymentId, RefNo, Amount, Currency and Status, in the field Signature",
	Covers:   CoversFields,
	Weakness: "a plain hash; where RefNo ends and the amount begins is not signed: let references end in a letter; TransId and others are not signed; no timestamp",
	Verify:   formHash{field: "Signature", decode: ipay88Decode, want: ipay88Want}.verify,
}

func ipay88Decode(signature string) ([]byte, error) {
	if len(signature) == hex.EncodedLen(sha256.Size) {
		return hex.DecodeString(signature)
	}
	return base64.StdEncoding.Strict().DecodeString(signature)
}

func ipay88Want(f form, key string, _ Keys) ([]byte, error) {
	text := key + f.join("", "MerchantCode", "PaymentId", "RefNo") +
		strings.NewReplacer(".", "", ",", "").Replace(f["Amount"]) + f.join("", "Currency", "Status")
	if len(f["Signature"]) == hex.EncodedLen(sha256.Size) {
		return digest(sha256.New, text), nil
	}
	return digest(sha1.New, text), nil
}
