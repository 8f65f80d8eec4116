package verify

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"slices"
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
	verify:   payuIndiaVerify,
	joined:   []joined{payuIndiaPayments, payuIndiaDisputes},
}

const payuIndiaDispute = "X-PayU-Dispute-Webhook-Signature-V2"

var payuIndiaKey = Setting{Name: "merchant_key", Endpoint: true, Description: "the merchant key, which is signed; forms of another key are refused; disputes are verified only with it"}

var (
	payuIndiaPayments = joined{
		read:     inForm("hash", hex.DecodeString),
		messages: payuIndiaMessages,
		needs:    []Setting{payuIndiaKey},
	}
	payuIndiaDisputes = joined{
		read:     payuIndiaReadDispute,
		messages: payuIndiaDisputeMessages,
		needs:    []Setting{payuIndiaKey},
	}
)

func payuIndiaVerify(r Request, salt string, k Keys, now time.Time) (Verified, error) {
	if bytes.HasPrefix(bytes.TrimSpace(r.Body), []byte("{")) {
		return payuIndiaDisputes.verify(r, salt, k, now)
	}
	return payuIndiaPayments.verify(r, salt, k, now)
}

// payuIndiaMessages are the texts that a payment may be hashed as. Whatever
// stands between, the status is what follows the salt, and the amount, txnid
// and key are the last three: only the texts in the middle can have a "|".
func payuIndiaMessages(_ Request, f form, _ Keys) (all []message, err error) {
	var charges []part
	for _, name := range []string{"additional_charges", "additionalCharges"} {
		if f[name] != "" {
			charges = append(charges, idleField(name, id(64).without('|')))
		}
	}
	for _, between := range [][]part{
		idleFields("udf10", "udf9", "udf8", "udf7", "udf6"),
		{{}, {}, {}, {}, {}},
		idleFields("splitInfo", "udf10", "udf9", "udf8", "udf7", "udf6"),
		append(idleFields("splitInfo"), make([]part, 5)...),
	} {
		all = append(all, message{hash: sha512.New, parts: separated("|", slices.Concat(
			charges,
			[]part{keyPart, field("status", id(32).without('|'))},
			between,
			idleFields("udf5", "udf4", "udf3", "udf2", "udf1", "email", "firstname", "productinfo"),
			[]part{field("amount", decimal(0, 3)), field("txnid", id(64).without('|')), account("key", payuIndiaKey, id(64).without('|'))},
		)...)})
	}
	return all, nil
}

func payuIndiaReadDispute(r Request) (form, []byte, error) {
	header, err := r.header(payuIndiaDispute)
	if err != nil {
		return nil, nil, err
	}
	signature, err := hex.DecodeString(header)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s: %v", ErrMalformed, payuIndiaDispute, err)
	}
	f, err := r.object()
	if err == nil && f["cb_id"] == "" {
		err = fmt.Errorf("%w: no cb_id: not a dispute of PayU's", ErrMalformed)
	}
	return f, signature, err
}

func payuIndiaDisputeMessages(_ Request, _ form, k Keys) ([]message, error) {
	if k.Settings[payuIndiaKey.Name] == "" {
		return nil, fmt.Errorf("%w: disputes are signed with the merchant key: %q is not set", ErrSetting, payuIndiaKey.Name)
	}
	word := id(64).without('|').orEmpty() // other hashes with the key and the salt have more fields
	status := field("cb_status", word)
	status.bare = func(s string) string { return strings.ReplaceAll(s, " ", "") }
	return []message{{hash: sha512.New, parts: separated("|", literal(k.Settings[payuIndiaKey.Name]),
		field("txn_id", word), field("cb_amount", word), field("cb_id", id(64).without('|')), field("cb_type", word), status, keyPart)}}, nil
}
