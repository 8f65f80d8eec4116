package verify

import (
	"cmp"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// billplz signs all fields of the form with the X Signature key, text used as
// it is: name and value of each, put together, sorted without regard to case,
// joined by "|". The signature is the field x_signature, hex.
//
// What is signed does not tell where a name ends and its value begins, nor a
// "|" that joins from one that the payer wrote. So a "|" in a field is refused:
// a payer's name could otherwise be read as further fields. No time is signed,
// and a captured form stays good.
//
// A form without x_signature is about a payment order, which pays out: its
// field checksum is the HMAC-SHA512, by the same key, of id,
// bank_account_number, status, total, reference_id and epoch, with nothing
// between them. Nothing else of it is signed, so that it must not have the
// fields of a bill.
//
// https://www.billplz.com/api#x-signature
// https://www.billplz.com/api#v5-checksum
var billplz = Connector{
	Docs: "https://www.billplz.com/api#x-signature",
	Signs: `HMAC-SHA256 of the sorted "<name><value>" of all fields joined by "|", hex, in the field x_signature; of payment orders, ` +
		"HMAC-SHA512 of id, bank_account_number, status, total, reference_id and epoch, hex, in the field checksum",
	Covers: CoversFields,
	Weakness: `no timestamp: a captured request can be sent again; the text that is signed is ambiguous where a field has a "|", and such a form is refused; ` +
		"of payment orders, where total ends and reference_id begins is not signed: let references begin with a letter",
	Verify: billplzVerify,
}

var (
	billplzBill  = formHash{field: "x_signature", decode: hex.DecodeString, want: billplzWant}
	billplzOrder = formHash{field: "checksum", decode: hex.DecodeString, want: billplzOrderWant}
)

func billplzVerify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	f, err := r.form()
	if err != nil {
		return Verified{}, err
	}
	if _, bill := f["x_signature"]; !bill && f["checksum"] != "" {
		return billplzOrder.verify(r, secret, k, now)
	}
	return billplzBill.verify(r, secret, k, now)
}

func billplzOrderWant(f form, secret string, _ Keys) ([]byte, error) {
	if _, bill := f["paid"]; bill {
		return nil, fmt.Errorf("%w: the checksum of a payment order beside a field of a bill", ErrMalformed)
	}
	signed := f.join("", "id", "bank_account_number", "status", "total", "reference_id", "epoch")
	return sum(sha512.New, []byte(secret), []byte(signed)), nil
}

func billplzWant(f form, secret string, _ Keys) ([]byte, error) {
	var fields []string
	for name, value := range f {
		if name == "x_signature" {
			continue
		}
		if strings.Contains(name+value, "|") {
			return nil, fmt.Errorf(`%w: the field %q has a "|", which joins the fields that are signed`, ErrMalformed, name)
		}
		fields = append(fields, name+value)
	}
	slices.SortFunc(fields, func(a, b string) int {
		return cmp.Or(strings.Compare(strings.ToLower(a), strings.ToLower(b)), strings.Compare(a, b))
	})
	return sum(sha256.New, []byte(secret), []byte(strings.Join(fields, "|"))), nil
}
