package verify

import (
	"cmp"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// billplz signs all fields of the form with the X Signature key, whose text is the HMAC's
// key. The signed text has "<name><value>" of each field, sorted case-insensitively and
// joined by "|". The signature is in the field x_signature, hex.
//
// The signed text does not show where a name ends and its value begins, or whether a "|" is
// a separator or was written by the payer. So a form is refused if the text of one field
// could be read as another field from which events are made: a payer's name can be
// "ALI | ABU", but not "ALI|paidtrue". No timestamp is signed: a captured form can be sent
// again at any time.
//
// A form without x_signature is about a payment order (a payout). Its field checksum is the
// HMAC-SHA512, with the same key, of id, bank_account_number, status, total, reference_id and
// epoch, without separators. Its other fields are not signed, so it must not have the fields
// of a bill.
//
// https://www.billplz.com/api#x-signature
// https://www.billplz.com/api#v5-checksum
var billplz = Connector{
	Docs: "https://www.billplz.com/api#x-signature",
	Signs: `HMAC-SHA256 of the sorted "<name><value>" of all fields joined by "|", hex, in the field x_signature; of payment orders, ` +
		"HMAC-SHA512 of id, bank_account_number, status, total, reference_id and epoch, hex, in the field checksum",
	Covers: CoversFields,
	Weakness: `no timestamp: a captured request can be sent again; a form is refused where a "|" in a text of the payer's could begin another field; ` +
		"of payment orders, where total ends and reference_id begins is not signed: such a form is refused unless the setting forms has the format of references, so let them begin with a letter",
	Settings: []Setting{forms(`{"reference_id": "PO-[0-9]{8}"}`, false)},
	check:    func(_ string, k Keys) error { return checkForms(k, 0, "reference_id") },
	verify:   billplzVerify,
	joined:   []joinedScheme{billplzBills, billplzOrders},
}

var (
	billplzBills  = joinedScheme{read: inForm("x_signature", hex.DecodeString), messages: billplzBill}
	billplzOrders = joinedScheme{read: inForm("checksum", hex.DecodeString), messages: billplzOrder}
)

func billplzVerify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	f, err := r.form()
	if err != nil {
		return Verified{}, err
	}
	if _, bill := f["x_signature"]; !bill && f["checksum"] != "" {
		return billplzOrders.verify(r, secret, k, now)
	}
	return billplzBills.verify(r, secret, k, now)
}

func billplzOrder(_ Request, f form, _ Keys) ([]message, error) {
	if _, bill := f["paid"]; bill {
		return nil, fmt.Errorf("%w: a payment order must not have the field paid of a bill", ErrMalformed)
	}
	return []message{{hash: sha512.New, hmac: true, parts: []part{
		field("id", pattern("a UUID", 36, `[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`)),
		unusedField("bank_account_number", numeric(1, 34)),
		field("status", pattern("a word", 32, `[a-z_]+`)),
		field("total", pattern("sen", 15, `0|[1-9][0-9]*`)),
		field("reference_id", id(255).orEmpty()),
		field("epoch", numeric(10, 10)),
	}}}, nil
}

// billplzEventFields are the fields of a bill from which events are made.
var billplzEventFields = map[string]format{
	"id":                 pattern("letters and digits", 64, `[0-9A-Za-z]+`),
	"paid":               oneOf("true", "false"),
	"state":              pattern("a word", 32, `[a-z]+`),
	"amount":             pattern("sen", 15, `[0-9]+`),
	"paid_amount":        pattern("sen", 15, `[0-9]+`).orEmpty(),
	"paid_at":            pattern("a time such as 2026-01-01 18:15:09 +0800", 32, `[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)? (?:[+-][0-9]{4}|UTC)`).orEmpty(),
	"transaction_id":     pattern("letters and digits", 64, `[0-9A-Za-z]+`).orEmpty(),
	"transaction_status": pattern("a word", 32, `[a-z_]+`).orEmpty(),
}

// billplzEventFieldNames has the names of these fields: a slice, because it is iterated for
// each of many pieces, and iterating a map is slow.
var billplzEventFieldNames = slices.Sorted(maps.Keys(billplzEventFields))

func billplzBill(_ Request, f form, _ Keys) ([]message, error) {
	names := slices.DeleteFunc(slices.Collect(maps.Keys(f)), func(name string) bool { return name == "x_signature" })
	slices.SortFunc(names, func(a, b string) int {
		a, b = a+f[a], b+f[b]
		return cmp.Or(strings.Compare(strings.ToLower(a), strings.ToLower(b)), strings.Compare(a, b))
	})
	var parts []part
	for _, name := range names {
		if len(parts) > 0 {
			parts = append(parts, literal("|"))
		}
		p := field(name, anyText)
		if format, ok := billplzEventFields[name]; ok {
			p = field(name, format)
		}
		p.unused = true // billplzCheckSplits checks the splits instead: names are signed, too
		parts = append(parts, literal(name), p)
	}
	return []message{{hash: sha256.New, hmac: true, parts: parts, extraCheck: billplzCheckSplits}}, nil
}

// billplzCheckSplits returns an error if a piece of a field's text, from one "|" to the next,
// can be read as another field of [billplzEventFields]. So these fields have the same
// values however the text is split.
func billplzCheckSplits(f form, _ Keys) error {
	for name, value := range f {
		if name == "x_signature" {
			continue
		}
		first := true
		for piece := range strings.SplitSeq(name+value, "|") {
			for _, other := range billplzEventFieldNames {
				rest, begins := strings.CutPrefix(piece, other)
				if begins && billplzEventFields[other].matches(rest) && (!first || name != other) {
					return fmt.Errorf("%w: a part of the field %s can be read as the field %s", ErrAmbiguous, quoted(name), other)
				}
			}
			first = false
		}
	}
	return nil
}
