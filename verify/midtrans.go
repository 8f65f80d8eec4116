package verify

import (
	"crypto/sha512"
	"encoding/hex"
)

// midtrans puts signature_key into the JSON body: the hex SHA-512 of order_id,
// status_code, gross_amount and the server key, one after the other, as they
// are written. Nothing else is signed, not even transaction_status: the
// status_code alone says whether it went well.
//
// Nothing stands between the fields. An amount that begins like a status code
// and goes on like an amount, such as 201500.00, can be split in another way, if
// the merchant's references may end in digits: the setting forms says how they
// look.
//
// https://docs.midtrans.com/docs/https-notification-webhooks
// https://docs.midtrans.com/reference/status-code-1
var midtrans = Connector{
	Docs:   "https://docs.midtrans.com/docs/https-notification-webhooks",
	Signs:  "SHA-512 of order_id, status_code, gross_amount and the server key, hex, in the body's signature_key",
	Covers: CoversFields,
	Weakness: "a plain hash; transaction_status, refund amounts and ids are not signed; where order_id ends is not signed: an amount such as 201500.00, which begins like a status code, " +
		"is refused unless the setting forms tells how references look; no timestamp: a captured request can be sent again, and changed so",
	Settings: []Setting{forms(`{"order_id": "INV-[0-9]{8}"}`, false)},
	Check:    func(_ string, k Keys) error { return checkForms(k, 0, "order_id") },
	Verify:   midtransJoined.verify,
	joined:   []joined{midtransJoined},
}

var midtransJoined = joined{
	read: inJSON("signature_key", hex.DecodeString),
	messages: one(message{hash: sha512.New, parts: []part{
		field("order_id", id(128)),
		{name: "status_code", format: pattern("a status code such as 200", 3, `[2-5][0-9]{2}`), joined: midtransNotified},
		{name: "gross_amount", format: decimal(0, 2), joined: pattern("an amount above zero", 24, `[1-9][0-9]*(?:\.[0-9]{1,2})?`)},
		keyPart,
	}}),
}

// midtransNotified are the status codes of notifications. Others are the API's
// answers: another split into one of these is no split that Midtrans made.
var midtransNotified = words("200", "201", "202", "407")
