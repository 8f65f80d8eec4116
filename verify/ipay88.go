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
// Nothing stands between the fields: order 15 over 1.00 and order 1 over 51.00
// have one signature. So the endpoint says how its RefNo looks, and where the
// text can be split in two ways all the same, it is refused. References that
// begin and end with a letter are certain. TransId, AuthCode and ErrDesc are
// not signed.
//
// https://fliphtml5.com/hmseu/oxni
var ipay88 = Connector{
	Docs:   "https://fliphtml5.com/hmseu/oxni",
	Signs:  "SHA-1 (base64) or SHA-256 (hex) of the merchant key, MerchantCode, PaymentId, RefNo, Amount, Currency and Status, in the field Signature",
	Covers: CoversFields,
	Weakness: "a plain hash; where RefNo begins and ends is not signed: a request is refused where the setting forms leaves that open, so let references begin and end with a letter; " +
		"TransId and others are not signed; no timestamp",
	Settings: []Setting{ipay88Merchant, ipay88Forms},
	check:    func(_ string, k Keys) error { return checkForms(k, 1, "RefNo") },
	verify:   ipay88Joined.verify,
	joined:   []joined{ipay88Joined},
}

var (
	ipay88Merchant = Setting{Name: "merchant_code", Description: "the MerchantCode, which is signed; that of others is refused", Endpoint: true}
	ipay88Forms    = forms(`{"RefNo": "[A-Z]{2}[0-9]{8}"}`, true)
)

var ipay88Joined = joined{
	read:     inForm("Signature", ipay88Decode),
	messages: ipay88Messages,
	needs:    []Setting{ipay88Merchant, ipay88Forms},
}

func ipay88Decode(signature string) ([]byte, error) {
	if len(signature) == hex.EncodedLen(sha256.Size) {
		return hex.DecodeString(signature)
	}
	return base64.StdEncoding.Strict().DecodeString(signature)
}

func ipay88Messages(_ Request, f form, _ Keys) ([]message, error) {
	m := message{hash: sha1.New, parts: ipay88Parts}
	if len(f["Signature"]) == hex.EncodedLen(sha256.Size) {
		m.hash = sha256.New
	}
	return []message{m}, nil
}

var ipay88Parts = []part{
	keyPart,
	account("MerchantCode", ipay88Merchant, id(20)),
	idleField("PaymentId", numeric(1, 4).orEmpty()),
	field("RefNo", id(64)),
	{
		name:   "Amount",
		format: pattern("an amount such as 1,234.50", 24, `(?:[1-9][0-9]*|0|[1-9][0-9]{0,2}(?:,[0-9]{3})+)\.[0-9]{2}`),
		bare:   strings.NewReplacer(".", "", ",", "").Replace,
		joined: format{says: "digits", min: 3, max: 20, char: isDigit, whole: func(s string) bool { return s[0] != '0' || len(s) == 3 }},
	},
	field("Currency", currency),
	field("Status", numeric(1, 1)),
}
