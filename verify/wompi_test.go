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

// TestWompiBorders: one genuine signature is that of no other event, whatever
// list of fields, names and values the sender writes around the same text.
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
	for what, c := range map[string]struct{ event, properties, data string }{
		"a digit of the amount at the end of the time": {"transaction.updated", listed, strings.Replace(good, "4590000}", "459000,\"x\":1}", 1)},
		"the beginning of the id elsewhere": {"transaction.updated", `"transaction.x",` + listed,
			`{"transaction":{"x":"1","id":"5113-1767262530-10042","status":"APPROVED","amount_in_cents":4590000}}`},
		"the end of the amount elsewhere": {"transaction.updated", listed + `,"transaction.x"`,
			`{"transaction":{"x":"00","id":"15113-1767262530-10042","status":"APPROVED","amount_in_cents":45900}}`},
		"all of the amount elsewhere": {"transaction.updated", `"transaction.id","transaction.status","transaction.x"`,
			`{"transaction":{"x":"4590000","id":"15113-1767262530-10042","status":"APPROVED"}}`},
		"a payment as a payout": {"transaction.updated", `"transaction.id","transaction.status","transaction.amountInCents"`,
			`{"transaction":{"id":"15113-1767262530-10042","status":"APPROVED","amountInCents":4590000}}`},
		"a payment as a stored payment method": {"nequi_token.updated", `"nequi_token.id","nequi_token.status","nequi_token.x"`,
			`{"nequi_token":{"id":"15113-1767262530-10042","status":"APPROVED","x":"4590000"}}`},
		"a word of the status in the id": {"transaction.updated", listed,
			`{"transaction":{"id":"15113-1767262530-10042APP","status":"ROVED","amount_in_cents":4590000}}`},
	} {
		stamp := int64(1767262535)
		signed := payment
		if strings.Contains(what, "time") { // 0 and the time: the same number
			signed = "15113-1767262530-10042APPROVED459000" + "01767262535"
			r := event(signed, c.event, c.properties, c.data, stamp)
			r.Body = []byte(strings.Replace(string(r.Body), `"timestamp":1767262535`, `"timestamp":"01767262535"`, 1))
			if _, err := Verify("wompi", r, k, now); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		if _, err := Verify("wompi", event(signed, c.event, c.properties, c.data, stamp), k, now); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Verify("wompi", event(payment, "transaction.updated", listed+strings.Repeat(`,"transaction.id"`, 20), good, 1767262535), k, now); !errors.Is(err, ErrMalformed) {
		t.Errorf("23 properties: %v", err)
	}
}
