package verify

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// payuIndia hashes the salt and some fields of a payment's form, from the last
// of the request to the first: "salt|status|udf10|...|udf1|email|firstname|
// productinfo|amount|txnid|key", and "<additional charges>|" before it where
// PayU took some. It is the field hash, hex of SHA-512.
//
// PayU writes of five empty places where udf10 to udf6 stand, and has forms with
// splitInfo whose hash has splitInfo behind the status. Nothing says whether it
// does so in every form that has them. Any of these hashes is PayU's, and what
// they differ in is not read: each is accepted.
//
// So the status, the amount and the merchant's txnid are signed; PayU's own id
// of the payment (mihpayid), the way it was paid and the error are not. Who
// knows the hash of one form, such as the payer, can compute that of the same
// form with more behind it; it has a NUL in it then, which no form has.
//
// A dispute is JSON with a hash in a header: "key|txn_id|cb_amount|cb_id|
// cb_type|cb_status|salt", where the status is without its spaces. The merchant
// key is not in the body. PayU signs disputes if it is asked to, refunds never:
// what carries no hash is refused.
//
// https://docs.payu.in/docs/generate-hash-payu-hosted
// https://docs.payu.in/docs/webhooks-for-chargeback
var payuIndia = Connector{
	Docs:     "https://docs.payu.in/docs/generate-hash-payu-hosted",
	Signs:    "SHA-512 of the salt and fields of the form, in reverse order with | between, hex, in the field hash; of a dispute, of the merchant key, five fields and the salt, in " + payuIndiaDispute,
	Covers:   CoversFields,
	Weakness: "mihpayid, mode, unmappedstatus, error and others are not signed; of disputes neither the reason nor the times; no timestamp; callbacks about refunds carry no hash and are refused, and so are those about disputes unless PayU was asked to sign them",
	Headers:  []string{payuIndiaDispute},
	Settings: []Setting{payuIndiaKey},
	Verify:   payuIndiaVerify,
}

const payuIndiaDispute = "X-PayU-Dispute-Webhook-Signature-V2"

var payuIndiaKey = Setting{Name: "merchant_key", Says: "the merchant key; if it is set, forms of another key are refused; disputes are verified only if it is"}

func payuIndiaVerify(r Request, salt string, k Keys, now time.Time) (Verified, error) {
	if bytes.HasPrefix(bytes.TrimSpace(r.Body), []byte("{")) {
		return payuIndiaVerifyDispute(r, salt, k)
	}
	v, err := Verified{}, error(ErrMismatch)
	for _, between := range [][]string{
		{"udf10", "udf9", "udf8", "udf7", "udf6"},
		{"", "", "", "", ""},
		{"splitInfo", "udf10", "udf9", "udf8", "udf7", "udf6"},
		{"splitInfo", "", "", "", "", ""},
	} {
		want := func(f form, salt string, k Keys) ([]byte, error) { return payuIndiaWant(f, salt, k, between) }
		if v, err = (formHash{"hash", hex.DecodeString, want}).verify(r, salt, k, now); ReasonOf(err) != ErrMismatch {
			break
		}
	}
	return v, err
}

func payuIndiaWant(f form, salt string, k Keys, between []string) ([]byte, error) {
	if err := f.without("|", "status", "amount", "txnid", "key"); err != nil {
		return nil, err
	}
	if key := k.Settings[payuIndiaKey.Name]; key != "" && key != f["key"] {
		return nil, ErrMismatch
	}
	text := salt + "|" + f["status"] + "|" + f.join("|", between...) + "|" + f.join("|",
		"udf5", "udf4", "udf3", "udf2", "udf1", "email", "firstname", "productinfo", "amount", "txnid", "key")
	if strings.Contains(text, "\x00") {
		return nil, fmt.Errorf("%w: a NUL in what is signed", ErrMalformed)
	}
	for _, name := range []string{"additionalCharges", "additional_charges"} {
		if f[name] != "" {
			text = f[name] + "|" + text
		}
	}
	return digest(sha512.New, text), nil
}

func payuIndiaVerifyDispute(r Request, salt string, k Keys) (Verified, error) {
	header, err := r.header(payuIndiaDispute)
	if err != nil {
		return Verified{}, err
	}
	signature, err := hex.DecodeString(header)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: %s: %v", ErrMalformed, payuIndiaDispute, err)
	}
	key := k.Settings[payuIndiaKey.Name]
	if key == "" {
		return Verified{}, fmt.Errorf("%w: disputes are signed with the merchant key: %q is not set", ErrSetting, payuIndiaKey.Name)
	}
	var d struct {
		Payment text `json:"txn_id"`
		Amount  text `json:"cb_amount"`
		ID      text `json:"cb_id"`
		Type    text `json:"cb_type"`
		Status  text `json:"cb_status"`
	}
	if err := decodeJSON(r.Body, &d); err != nil {
		return Verified{}, err
	}
	if d.ID == "" {
		return Verified{}, fmt.Errorf("%w: no cb_id: not a dispute of PayU's", ErrMalformed)
	}
	fields := []string{key, string(d.Payment), string(d.Amount), string(d.ID), string(d.Type), strings.ReplaceAll(string(d.Status), " ", "")}
	if strings.Contains(strings.Join(fields, ""), "|") { // other hashes with the key and the salt have more fields
		return Verified{}, fmt.Errorf("%w: a field has a \"|\", which separates what is signed", ErrMalformed)
	}
	if !hmac.Equal(signature, digest(sha512.New, strings.Join(fields, "|")+"|"+salt)) {
		return Verified{}, ErrMismatch
	}
	return Verified{Payload: r.Body}, nil
}
