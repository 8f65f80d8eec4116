package verify

import (
	"crypto/md5"
	"encoding/hex"
)

// fiuuMolpay, formerly MOLPay and Razer Merchant Services, hashes a payment twice:
// skey is the MD5 of "<paydate><domain><hash><appcode><secret key>", where hash
// is the MD5 of "<tranID><orderid><status><domain><amount><currency>", as hex.
// A form without skey is about a refund: Signature is the MD5 of "<RefundType>
// <MerchantID><RefID><RefundID><TxnID><Amount><Status><secret key>".
//
// There are no separators between the fields. So a setting gives the format of orderid: if
// it begins with a letter, it is clear where tranID ends. In a refund, RefID, RefundID,
// TxnID and the amount may all be digits: the split is unique only if the setting has the
// formats of the first three. The channel, the error and the kind of notification are not
// signed. The fields may be sent as a JSON object instead of a form.
//
// https://docs.fiuu.dev/docs/payment-status-notification
var fiuuMolpay = Connector{
	Docs:   "https://docs.fiuu.dev/docs/payment-status-notification",
	Signs:  "MD5 of the fields of the payment and the secret key, hex, in the field skey; of a refund, in the field Signature; a form, or JSON",
	Covers: CoversFields,
	Weakness: "MD5, no HMAC; where tranID ends and orderid begins is not signed, and of refunds neither where RefID, RefundID, TxnID and the amount do: " +
		"a request is refused where the setting forms leaves that open; channel, error_code and others are not signed; no timestamp is checked",
	Settings: []Setting{fiuuMolpayMerchant, fiuuMolpayForms},
	check: func(_ string, k Keys) error {
		return checkForms(k, 1, "orderid", "tranID", "RefID", "RefundID", "TxnID")
	},
	verify: fiuuMolpayJoined.verify,
	joined: []joinedScheme{fiuuMolpayJoined},
}

var (
	fiuuMolpayMerchant = Setting{Name: "merchant_id", Description: "the merchant ID, which is signed as domain or MerchantID; that of others is refused", Endpoint: true}
	fiuuMolpayForms    = forms(`{"orderid": "[A-Z]{2}[0-9]{8}", "RefID": "RF[0-9]{8}", "RefundID": "[0-9]{6}", "TxnID": "[0-9]{10}"}`, true)
)

var fiuuMolpayJoined = joinedScheme{
	read:     fiuuMolpayRead,
	messages: fiuuMolpayMessages,
	needs:    []Setting{fiuuMolpayMerchant, fiuuMolpayForms},
}

func fiuuMolpayRead(r Request) (f form, signature []byte, err error) {
	if len(r.Body) > 0 && r.Body[0] == '{' {
		f, err = r.object()
	} else {
		f, err = r.form()
	}
	if err != nil {
		return nil, nil, err
	}
	name := "skey"
	if _, payment := f["skey"]; !payment && f["Signature"] != "" {
		name = "Signature"
	}
	signature, err = f.signature(name, hex.DecodeString)
	return f, signature, err
}

// fiuuMolpayMessages returns the message of a payment if there is an skey, as package normalize
// does, and that of a refund otherwise. Neither can be read as the other: a payment's text
// begins with a digit, a refund's with a letter.
func fiuuMolpayMessages(_ Request, f form, _ Keys) ([]message, error) {
	if _, payment := f["skey"]; payment {
		return []message{fiuuMolpayPayment}, nil
	}
	return []message{fiuuMolpayRefund}, nil
}

var fiuuMolpayPayment = message{hash: md5.New, parts: []part{
	field("paydate", pattern("a time such as 2026-01-01 18:15:09", 19, `[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}`)),
	account("domain", fiuuMolpayMerchant, id(32)),
	{inner: &message{hash: md5.New, parts: []part{
		field("tranID", numeric(1, 20)),
		field("orderid", id(64)),
		field("status", numeric(2, 2)),
		account("domain", fiuuMolpayMerchant, id(32)),
		field("amount", decimal(2, 2)),
		field("currency", pattern("two or three capital letters", 3, `[A-Z]{2,3}`)),
	}}},
	unusedField("appcode", id(32).orEmpty()),
	keyPart,
}}

var fiuuMolpayRefund = message{hash: md5.New, parts: []part{
	field("RefundType", oneOf("P", "F")),
	account("MerchantID", fiuuMolpayMerchant, id(32)),
	field("RefID", id(64)),
	field("RefundID", numeric(1, 20)),
	field("TxnID", numeric(1, 20)),
	field("Amount", decimal(2, 2)),
	field("Status", numeric(2, 2)),
	keyPart,
}}
