package verify

import (
	"crypto/sha1"
	"encoding/hex"
)

// globalpaymentsRealex hashes twice: SHA1HASH is the SHA-1 of "<hash>.<shared
// secret>", where hash is the SHA-1 of "TIMESTAMP.MERCHANT_ID.ORDER_ID.RESULT.
// MESSAGE.PASREF.AUTHCODE", as hex. Only MERCHANT_ID, which a setting gives, and MESSAGE can
// contain a ".".
//
// The amount, the currency and the merchant's own fields are not signed. The amount paid is
// the one that the merchant requested for that ORDER_ID; the event's amount is unproven.
//
// https://developer.globalpay.com/hpp/api
var globalpaymentsRealex = Connector{
	Docs:     "https://developer.globalpay.com/hpp/api",
	Signs:    "SHA-1 of TIMESTAMP, MERCHANT_ID, ORDER_ID, RESULT, MESSAGE, PASREF and AUTHCODE, and of that and the shared secret, hex, in the field SHA1HASH",
	Covers:   CoversFields,
	Weakness: "the amount and the currency are not signed: compare them with the order; SHA-1, no HMAC; no timestamp is checked",
	Settings: []Setting{globalpaymentsRealexMerchant},
	verify:   globalpaymentsRealexJoined.verify,
	joined:   []joinedScheme{globalpaymentsRealexJoined},
}

var globalpaymentsRealexMerchant = Setting{Name: "merchant_id", Description: "the MERCHANT_ID, which is signed; that of others is refused", Endpoint: true}

var globalpaymentsRealexJoined = joinedScheme{
	read:  inForm("SHA1HASH", hex.DecodeString),
	needs: []Setting{globalpaymentsRealexMerchant},
	messages: always(message{hash: sha1.New, parts: []part{
		{inner: &message{hash: sha1.New, parts: separated(".",
			field("TIMESTAMP", numeric(14, 14)),
			account("MERCHANT_ID", globalpaymentsRealexMerchant, id(50)),
			field("ORDER_ID", id(64).without('.')),
			field("RESULT", numeric(2, 3)),
			unusedField("MESSAGE", anyText),
			field("PASREF", id(64).without('.').orEmpty()),
			unusedField("AUTHCODE", id(64).without('.').orEmpty()),
		)}},
		literal("."),
		keyPart,
	}}),
}
