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

// payuIndia hashes the salt and some fields of a payment's form, in the reverse order of the
// payment request: "salt|status|udf10|...|udf1|email|firstname|productinfo|amount|txnid|key".
// If PayU took additional charges, "<additional charges>|" comes first. The field hash has
// the SHA-512 in hex.
//
// PayU also documents hashes with five empty values in place of udf10 to udf6, and hashes
// with splitInfo after the status. It does not document when it uses which one. All are
// accepted: only PayU can compute them, and the fields in which they differ are not read.
//
// So the status, the amount and the merchant's txnid are signed. PayU's own id of the payment
// (mihpayid), the payment method and the error are not. Anyone who knows the hash of one
// form, such as the payer, can compute the hash of the same form with text appended (length
// extension). That text has a NUL byte, which no genuine form has.
//
// A dispute is JSON with a hash in a header: of "key|txn_id|cb_amount|cb_id|cb_type|
// cb_status|salt", with the spaces removed from the status. The merchant key is not in the
// body. PayU signs disputes only if the merchant asks for it, and refunds never: a request
// without a hash is refused.
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
	joined:   []joinedScheme{payuIndiaPayments, payuIndiaDisputes},
}

const payuIndiaDispute = "X-PayU-Dispute-Webhook-Signature-V2"

var payuIndiaKey = Setting{Name: "merchant_key", Endpoint: true, Description: "the merchant key, which is signed; forms of another key are refused; disputes are verified only with it"}

var (
	payuIndiaPayments = joinedScheme{
		read:     inForm("hash", hex.DecodeString),
		messages: payuIndiaMessages,
		needs:    []Setting{payuIndiaKey},
	}
	payuIndiaDisputes = joinedScheme{
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

// payuIndiaMessages returns the messages that a payment may be signed as. In all of them the
// status comes after the salt, and the amount, txnid and key are the last three: only the
// fields between them can have a "|".
func payuIndiaMessages(_ Request, f form, _ Keys) (all []message, err error) {
	var charges []part
	for _, name := range []string{"additional_charges", "additionalCharges"} {
		if f[name] != "" {
			charges = append(charges, unusedField(name, id(64).without('|')))
		}
	}
	for _, between := range [][]part{
		unusedFields("udf10", "udf9", "udf8", "udf7", "udf6"),
		{{}, {}, {}, {}, {}},
		unusedFields("splitInfo", "udf10", "udf9", "udf8", "udf7", "udf6"),
		append(unusedFields("splitInfo"), make([]part, 5)...),
	} {
		all = append(all, message{hash: sha512.New, parts: separated("|", slices.Concat(
			charges,
			[]part{keyPart, field("status", id(32).without('|'))},
			between,
			unusedFields("udf5", "udf4", "udf3", "udf2", "udf1", "email", "firstname", "productinfo"),
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
	word := id(64).without('|').orEmpty() // so no other text that is hashed with the key and the salt fits: those have more fields
	status := field("cb_status", word)
	status.convert = func(s string) string { return strings.ReplaceAll(s, " ", "") }
	return []message{{hash: sha512.New, parts: separated("|", literal(k.Settings[payuIndiaKey.Name]),
		field("txn_id", word), field("cb_amount", word), field("cb_id", id(64).without('|')), field("cb_type", word), status, keyPart)}}, nil
}
