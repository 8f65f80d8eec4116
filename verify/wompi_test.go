package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestWompiBorders checks that a genuine signature is valid for no other event, whatever
// list of fields, names and values a sender makes from the same signed text.
func TestWompiBorders(t *testing.T) {
	now := time.Unix(1767262535, 0)
	const secret = "test_events_tbWompiSecret01"
	event := func(signed, name, properties, data string, stamp int64) Request {
		sum := sha256.Sum256([]byte(signed + secret))
		return Request{Body: fmt.Appendf(nil, `{"event":%q,"data":%s,"signature":{"properties":[%s],"checksum":%q},"timestamp":%d}`,
			name, data, properties, hex.EncodeToString(sum[:]), stamp)}
	}
	k := Keys{Secrets: []Secret{{"main", secret}}}
	const payment = "15113-1767262530-10042APPROVED4590000" + "1767262535"
	const listed = `"transaction.id","transaction.status","transaction.amount_in_cents"`
	good := `{"transaction":{"id":"15113-1767262530-10042","status":"APPROVED","amount_in_cents":4590000}}`
	if _, err := Verify("wompi", event(payment, "transaction.updated", listed, good, 1767262535), k, now); err != nil {
		t.Fatal(err)
	}
	type attack struct {
		event, properties, data string
		want                    Reason
	}
	for what, c := range map[string]attack{
		"the beginning of the id in another field": {"transaction.updated", `"transaction.x",` + listed,
			`{"transaction":{"x":"1","id":"5113-1767262530-10042","status":"APPROVED","amount_in_cents":4590000}}`, ErrAmbiguous},
		"the end of the amount in another field": {"transaction.updated", listed + `,"transaction.x"`,
			`{"transaction":{"x":"00","id":"15113-1767262530-10042","status":"APPROVED","amount_in_cents":45900}}`, ErrAmbiguous},
		"the end of the amount in another field, after an empty field": {"transaction.updated", listed + `,"transaction.y","transaction.x"`,
			`{"transaction":{"x":"00","y":"","id":"15113-1767262530-10042","status":"APPROVED","amount_in_cents":45900}}`, ErrAmbiguous},
		"the end of the amount in another field, and the amount a string": {"transaction.updated", listed + `,"transaction.x"`,
			`{"transaction":{"x":"00","id":"15113-1767262530-10042","status":"APPROVED","amount_in_cents":"45900"}}`, ErrAmbiguous},
		"the whole amount in another field": {"transaction.updated", `"transaction.id","transaction.status","transaction.x"`,
			`{"transaction":{"x":"4590000","id":"15113-1767262530-10042","status":"APPROVED"}}`, ErrAmbiguous},
		"a payment as a payout": {"transaction.updated", `"transaction.id","transaction.status","transaction.amountInCents"`,
			`{"transaction":{"id":"15113-1767262530-10042","status":"APPROVED","amountInCents":4590000}}`, ErrField},
		"a payment as a payout that has both amounts": {"transaction.updated", listed,
			`{"transaction":{"id":"15113-1767262530-10042","status":"APPROVED","amount_in_cents":4590000,"amountInCents":1}}`, ErrAmbiguous},
		"a payment as a stored payment method": {"nequi_token.updated", `"nequi_token.id","nequi_token.status","nequi_token.x"`,
			`{"nequi_token":{"id":"15113-1767262530-10042","status":"APPROVED","x":"4590000"}}`, ErrField},
		"a name that looks like a path": {"transaction.updated", `"transaction/id","transaction.status","transaction.amount_in_cents"`,
			`{"transaction/id":"15113-1767262530-10042","transaction":{"id":"9-9-9","status":"APPROVED","amount_in_cents":4590000}}`, ErrMalformed},
		"a field given twice": {"transaction.updated", listed,
			`{"transaction":{"id":"9-9-9","id":"15113-1767262530-10042","status":"APPROVED","amount_in_cents":4590000}}`, ErrMalformed},
	} {
		if _, err := Verify("wompi", event(payment, c.event, c.properties, c.data, 1767262535), k, now); ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
	}
	late := event("15113-1767262530-10042APPROVED459000"+"01767262535", "transaction.updated", listed, strings.Replace(good, "4590000", "459000", 1), 1767262535)
	late.Body = []byte(strings.Replace(string(late.Body), `"timestamp":1767262535`, `"timestamp":"01767262535"`, 1))
	if _, err := Verify("wompi", late, k, now); !errors.Is(err, ErrField) {
		t.Errorf("a digit of the amount at the beginning of the timestamp: %v", err)
	}
	if _, err := Verify("wompi", event(payment, "transaction.updated", listed+strings.Repeat(`,"transaction.id"`, 20), good, 1767262535), k, now); !errors.Is(err, ErrMalformed) {
		t.Errorf("23 properties: %v", err)
	}
}

// TestWompiLists checks that Wompi may list further fields, and any fields for a webhook that
// becomes no event. A webhook is refused only if another id, status, amount or timestamp has
// the same signed text.
func TestWompiLists(t *testing.T) {
	now := time.Unix(1767262535, 0)
	const secret = "test_events_tbWompiSecret01"
	k := Keys{Secrets: []Secret{{"main", secret}}}
	const (
		three  = `"transaction.id","transaction.status","transaction.amount_in_cents"`
		fields = `"id":"15113-1767262530-10042","status":"%s","amount_in_cents":4590000,"currency":"COP","reference":"%s","payment_source_id":null`
		text   = "15113-1767262530-10042%s4590000"
		token  = "nequi_prod_RQkUiuv3lEnDLiSao2Cz0iQLdFlyQOIA"
	)
	payment := func(status, reference string) string {
		return `{"transaction":{` + fmt.Sprintf(fields, status, reference) + `}}`
	}
	for what, c := range map[string]struct {
		event, properties, data, signed string
		want                            Reason
	}{
		"the currency":                          {"transaction.updated", three + `,"transaction.currency"`, payment("APPROVED", "x"), fmt.Sprintf(text, "APPROVED") + "COP", ""},
		"the currency and a number":             {"transaction.updated", three + `,"transaction.currency","transaction.reference"`, payment("APPROVED", "5501"), fmt.Sprintf(text, "APPROVED") + "COP5501", ""},
		"null and a word":                       {"transaction.updated", three + `,"transaction.payment_source_id","transaction.currency"`, payment("APPROVED", "x"), fmt.Sprintf(text, "APPROVED") + "COP", ""},
		"null and a number":                     {"transaction.updated", three + `,"transaction.payment_source_id","transaction.reference"`, payment("APPROVED", "5501"), fmt.Sprintf(text, "APPROVED") + "5501", ErrAmbiguous},
		"a number after the amount":             {"transaction.updated", three + `,"transaction.reference"`, payment("APPROVED", "5501"), fmt.Sprintf(text, "APPROVED") + "5501", ErrAmbiguous},
		"a status that becomes no event":        {"transaction.updated", `"transaction.status","transaction.reference"`, payment("REVIEW", "5501"), "REVIEW5501", ""},
		"a token that ends in a capital":        {"nequi_token.updated", `"nequi_token.id","nequi_token.status"`, `{"nequi_token":{"id":"` + token + `","status":"APPROVED"}}`, token + "APPROVED", ""},
		"a token with a number":                 {"nequi_token.updated", `"nequi_token.id","nequi_token.status","nequi_token.phone_number"`, `{"nequi_token":{"id":"` + token + `","status":"APPROVED","phone_number":"3990000000"}}`, token + "APPROVED3990000000", ""},
		"a token whose text has two statuses":   {"nequi_token.updated", `"nequi_token.id","nequi_token.status","nequi_token.name"`, `{"nequi_token":{"id":"` + token + `","status":"APPROVED","name":"DECLINED"}}`, token + "APPROVEDDECLINED", ErrAmbiguous},
		"an event that tollbridge does not map": {"merchant.updated", `"merchant.name"`, `{"merchant":{"name":"1"}}`, "1", ""},
	} {
		sum := sha256.Sum256([]byte(c.signed + "1767262535" + secret))
		r := Request{Body: fmt.Appendf(nil, `{"event":%q,"data":%s,"signature":{"properties":[%s],"checksum":%q},"timestamp":1767262535}`,
			c.event, c.data, c.properties, hex.EncodeToString(sum[:]))}
		if _, err := Verify("wompi", r, k, now); ReasonOf(err) != c.want || err != nil && c.want == "" {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}
