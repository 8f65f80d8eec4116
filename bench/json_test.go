package bench_test

import (
	stdjson "encoding/json"
	"testing"
	"time"

	"github.com/bytedance/sonic"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	gojson "github.com/goccy/go-json"

	"github.com/tollbridge/tollbridge/normalize"
)

// intent has the fields that normalize reads of a PaymentIntent.
type intent struct {
	ID                 string            `json:"id"`
	Amount             *int64            `json:"amount"`
	AmountCapturable   *int64            `json:"amount_capturable"`
	AmountReceived     *int64            `json:"amount_received"`
	Currency           string            `json:"currency"`
	Metadata           map[string]string `json:"metadata"`
	PaymentMethodTypes []string          `json:"payment_method_types"`
	LatestCharge       string            `json:"latest_charge"`
}

// envelope is Stripe's event, decoded in one step.
type envelope struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Created  int64  `json:"created"`
	Livemode bool   `json:"livemode"`
	Data     struct {
		Object intent `json:"object"`
	} `json:"data"`
}

// BenchmarkDecode measures the cost of decoding a webhook, by decoder. Only the first
// two refuse duplicate names and invalid UTF-8, as tollbridge must: two consumers of
// such a payload could read two different payments from it.
func BenchmarkDecode(b *testing.B) {
	payload := newWriter("1000000", middle.Size).next()
	for _, d := range []struct {
		name   string
		decode func([]byte, any) error
	}{
		{"v2", func(p []byte, to any) error { return json.Unmarshal(p, to) }},
		{"v2-twice", twice},
		{"v2-lax", func(p []byte, to any) error {
			return json.Unmarshal(p, to, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
		}},
		{"encoding-json", stdjson.Unmarshal},
		{"sonic", sonic.Unmarshal},
		{"sonic-std", sonic.ConfigStd.Unmarshal},
		{"goccy", func(p []byte, to any) error { return gojson.Unmarshal(p, to) }},
	} {
		b.Run(d.name, func(b *testing.B) {
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			for b.Loop() {
				var e envelope
				if err := d.decode(payload, &e); err != nil || e.ID == "" || e.Data.Object.ID == "" {
					b.Fatal(e, err)
				}
			}
		})
	}
}

// twice decodes the envelope first and the object after it, as normalize does, because
// the envelope says what the object is.
func twice(p []byte, to any) error {
	var outer struct {
		ID       string `json:"id"`
		Type     string `json:"type"`
		Created  int64  `json:"created"`
		Livemode bool   `json:"livemode"`
		Data     struct {
			Object jsontext.Value `json:"object"`
		} `json:"data"`
	}
	if err := json.Unmarshal(p, &outer); err != nil {
		return err
	}
	e := to.(*envelope)
	e.ID, e.Type, e.Created, e.Livemode = outer.ID, outer.Type, outer.Created, outer.Livemode
	return json.Unmarshal(outer.Data.Object, &e.Data.Object)
}

// BenchmarkNormalize measures everything that normalize does for a webhook.
func BenchmarkNormalize(b *testing.B) {
	payload := newWriter("1000000", middle.Size).next()
	o := normalize.Options{Endpoint: "default", Live: true, MerchantIDKeys: []string{"merchant_transaction_id", "order_id"}, ReceivedAt: time.Now()}
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if r, err := normalize.Normalize("stripe", payload, o); err != nil || len(r.Events) != 1 {
			b.Fatal(r, err)
		}
	}
}
