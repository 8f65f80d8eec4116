package verify

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
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
// https://www.billplz.com/api#x-signature
var billplz = Connector{
	Docs:     "https://www.billplz.com/api#x-signature",
	Signs:    `HMAC-SHA256 of the sorted "<name><value>" of all fields joined by "|", hex, in the field x_signature`,
	Covers:   CoversBody,
	Weakness: `no timestamp: a captured request can be sent again; the text that is signed is ambiguous where a field has a "|", and such a form is refused`,
	Verify:   formHash{field: "x_signature", decode: hex.DecodeString, want: billplzWant}.verify,
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
