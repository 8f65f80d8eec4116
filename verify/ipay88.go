package verify

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// ipay88 hashes "<merchant key><MerchantCode><PaymentId><RefNo><Amount>
// <Currency><Status>", with the amount without points and commas. The field Signature has
// the hash: SHA-1 in base64 or, in the later specification, SHA-256 in hex. Either is
// accepted: neither can be forged without the key.
//
// There are no separators between the fields: order 15 with 1.00 and order 1 with 51.00
// have the same signature. So a setting gives the format of RefNo, and a request whose text
// can still be split in another way is refused. The split is always unique if references
// begin and end with a letter. TransId, AuthCode and ErrDesc are not signed.
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
	joined:   []joinedScheme{ipay88Joined},
}

var (
	ipay88Merchant = Setting{Name: "merchant_code", Description: "the MerchantCode, which is signed; that of others is refused", Endpoint: true}
	ipay88Forms    = forms(`{"RefNo": "[A-Z]{2}[0-9]{8}"}`, true)
)

var ipay88Joined = joinedScheme{
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
	unusedField("PaymentId", numeric(1, 4).orEmpty()),
	field("RefNo", id(64)),
	{
		name:        "Amount",
		format:      pattern("an amount such as 1,234.50", 24, `(?:[1-9][0-9]*|0|[1-9][0-9]{0,2}(?:,[0-9]{3})+)\.[0-9]{2}`),
		convert:     strings.NewReplacer(".", "", ",", "").Replace,
		splitFormat: format{want: "digits", min: 3, max: 20, char: isDigit, valid: func(s string) bool { return s[0] != '0' || len(s) == 3 }},
	},
	field("Currency", currency),
	field("Status", numeric(1, 1)),
}
