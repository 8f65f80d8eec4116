package verify

import (
	"crypto/md5"
	"encoding/hex"
)

// skrill hashes "<merchant_id><transaction_id><SECRET><mb_amount><mb_currency>
// <status>", where SECRET is the MD5 of the secret word as hex in upper case. The
// field md5sig has the MD5 as hex in upper case.
//
// So the amount that Skrill transferred (mb_amount) and the status are signed. Skrill's own
// id of the payment and the amount that the merchant requested are not. There are no
// separators, but the split is unique: a setting has the merchant_id, and of the fields after
// the secret only the currency has letters.
//
// https://www.skrill.com/fileadmin/content/pdf/Skrill_Quick_Checkout_Guide.pdf
var skrill = Connector{
	Docs:     "https://www.skrill.com/fileadmin/content/pdf/Skrill_Quick_Checkout_Guide.pdf",
	Signs:    "MD5 of merchant_id, transaction_id, the MD5 of the secret word, mb_amount, mb_currency and status, hex, in the field md5sig",
	Covers:   CoversFields,
	Weakness: "MD5, no HMAC; mb_transaction_id, amount, currency and others are not signed; no timestamp",
	Settings: []Setting{skrillMerchant},
	verify:   skrillJoined.verify,
	joined:   []joinedScheme{skrillJoined},
}

var skrillMerchant = Setting{Name: "merchant_id", Description: "the merchant_id of the Skrill account, which is signed; that of others is refused", Endpoint: true}

var skrillJoined = joinedScheme{
	read:  inForm("md5sig", hex.DecodeString),
	needs: []Setting{skrillMerchant},
	messages: always(message{hash: md5.New, parts: []part{
		account("merchant_id", skrillMerchant, numeric(1, 20)),
		field("transaction_id", id(100)),
		{inner: &message{hash: md5.New, parts: []part{keyPart}}, upper: true},
		field("mb_amount", decimal(0, 8)),
		field("mb_currency", currency),
		field("status", pattern("a number such as 2 or -1", 3, `-?[0-9]{1,2}`)),
	}}),
}
