package verify

import (
	"crypto/sha512"
	"encoding/hex"
)

// midtrans sends signature_key in the JSON body: the hex SHA-512 of order_id, status_code,
// gross_amount and the server key, exactly as written and without separators. Nothing else
// is signed, not even transaction_status: only the status_code proves whether the payment
// succeeded.
//
// An amount such as 201500.00 begins with a status code, 201, and the rest is an amount, too.
// If the merchant's references may end in digits, the text can then be split in another way:
// the setting forms gives their format.
//
// A notification about a pay account, which has no order_id, is signed by account_id,
// account_status, status_code and the server key. Midtrans documents the notification
// and not its signature. The formula is that of the documentation of one public
// repository, a conference's backend API that receives GoPay account linking
// notifications at /api/v1/webhooks/midtrans/account-linking; no second source is
// known. If it is wrong, these notifications are refused, and nothing unverified is
// accepted. Neither message can be split into the other: before the status_code, an account
// has letters and a transaction has digits.
//
// https://docs.midtrans.com/docs/https-notification-webhooks
// https://docs.midtrans.com/reference-link/notifications-handling
// https://docs.midtrans.com/reference/status-code-1
var midtrans = Connector{
	Docs:   "https://docs.midtrans.com/docs/https-notification-webhooks",
	Signs:  "SHA-512 of order_id, status_code, gross_amount and the server key, hex, in the body's signature_key; of pay accounts, account_id, account_status and status_code",
	Covers: CoversFields,
	Weakness: "a plain hash; transaction_status, refund amounts and ids are not signed; where order_id ends is not signed: an amount such as 201500.00, which begins like a status code, " +
		"is refused unless the setting forms has the format of references; no timestamp: a captured request can be changed and sent again",
	Settings: []Setting{forms(`{"order_id": "INV-[0-9]{8}"}`, false)},
	check:    func(_ string, k Keys) error { return checkForms(k, 0, "order_id") },
	verify:   midtransJoined.verify,
	joined:   []joinedScheme{midtransJoined},
}

var midtransJoined = joinedScheme{
	read: inJSON("signature_key", hex.DecodeString),
	messages: func(_ Request, f form, _ Keys) ([]message, error) {
		if f["order_id"] == "" && f["account_id"] != "" {
			return []message{midtransAccount}, nil
		}
		return []message{midtransTransaction}, nil
	},
}

var (
	midtransStatus = part{name: "status_code", format: pattern("a status code such as 200", 3, `[2-5][0-9]{2}`), splitFormat: midtransNotified}

	midtransTransaction = message{hash: sha512.New, parts: []part{
		field("order_id", id(128)),
		midtransStatus,
		{name: "gross_amount", format: decimal(0, 2), splitFormat: pattern("an amount above zero", 24, `[1-9][0-9]*(?:\.[0-9]{1,2})?`)},
		keyPart,
	}}
	// The split is unique: the status has only capitals, the id only digits and small letters.
	midtransAccount = message{hash: sha512.New, parts: []part{
		field("account_id", pattern("a UUID in small letters", 64, `[0-9a-z-]+`)),
		field("account_status", pattern("a word in capitals", 32, `[A-Z_]+`)),
		midtransStatus,
		keyPart,
	}}
)

// midtransNotified are the status codes of notifications. Other codes are responses of
// Midtrans's API: a split with one of those cannot be what Midtrans signed.
var midtransNotified = oneOf("200", "201", "202", "407")
