package normalize

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tollbridge/tollbridge/schemas"
)

var update = flag.Bool("update", false, "rewrite the golden files in samples")

// received is the time at which the webhooks of all tests were received.
var received = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// inputs returns the sample payloads by connector: every file that is not a golden.
func inputs(t testing.TB) map[string][]string {
	files, err := filepath.Glob("samples/*/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	by := map[string][]string{}
	for _, f := range files {
		if path.Ext(f) != ".golden" {
			by[filepath.Base(filepath.Dir(f))] = append(by[filepath.Base(filepath.Dir(f))], f)
		}
	}
	return by
}

// TestGolden normalises every samples/<connector>/<case> and compares the result, byte
// for byte, with <case>.golden beside it. A case whose name begins with "malformed" or
// "ignored" must have that outcome, and any other at least one event. A case whose name
// ends in @name=value is normalised with that setting.
func TestGolden(t *testing.T) {
	schema := schemaOf(t)
	by := inputs(t)
	for connector, files := range by {
		if !slices.Contains(Connectors(), connector) {
			t.Errorf("samples/%s belongs to no connector", connector)
			continue
		}
		for _, f := range files {
			t.Run(strings.TrimPrefix(f, "samples/"), func(t *testing.T) {
				r := golden(t, connector, f)
				want := OutcomeEvents
				for _, o := range []Outcome{OutcomeMalformed, OutcomeIgnored} {
					if strings.HasPrefix(filepath.Base(f), string(o)) {
						want = o
					}
				}
				if r.Outcome() != want {
					t.Errorf("outcome %s, want %s by the name of the case", r.Outcome(), want)
				}
				for _, e := range r.Events {
					if err := e.Validate(); err != nil {
						t.Error(err)
					}
					validate(t, schema, e)
				}
			})
		}
	}
	for _, c := range Connectors() {
		if len(by[c]) == 0 {
			t.Errorf("connector %q has no payloads in samples/%s", c, c)
		}
	}
}

func golden(t *testing.T, connector, file string) Result {
	t.Helper()
	payload, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	base := strings.TrimSuffix(file, path.Ext(file))
	o := Options{ReceivedAt: received}
	if _, setting, ok := strings.Cut(base, "@"); ok {
		name, value, _ := strings.Cut(setting, "=")
		o.Settings = map[string]string{name: value}
	}
	r, err := Normalize(connector, payload, o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	name := base + ".golden"
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v (run with -update, then read it)", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (if right, run with -update):\ngot:\n%s\nwant:\n%s", name, got, want)
	}
	return r
}

// TestGoldenAlone: every golden has exactly one payload.
func TestGoldenAlone(t *testing.T) {
	goldens, _ := filepath.Glob("samples/*/*.golden")
	for _, g := range goldens {
		if all, _ := filepath.Glob(strings.TrimSuffix(g, "golden") + "*"); len(all) != 2 {
			t.Errorf("%s: want the golden and one payload, found %v", g, all)
		}
	}
}

// schemaOf returns the compiled JSON Schema of each type.
func schemaOf(t testing.TB) map[schemas.Type]*jsonschema.Schema {
	t.Helper()
	by := map[schemas.Type]*jsonschema.Schema{}
	for _, typ := range schemas.Types() {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemas.StrictJSONSchema(typ)))
		if err != nil {
			t.Fatalf("schema of %s: %v", typ, err)
		}
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		if err := c.AddResource(typ.Schema(), doc); err != nil {
			t.Fatal(err)
		}
		by[typ] = c.MustCompile(typ.Schema())
	}
	return by
}

func validate(t testing.TB, by map[schemas.Type]*jsonschema.Schema, e schemas.Event) {
	t.Helper()
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := by[e.Type].Validate(doc); err != nil {
		t.Errorf("%s: %v", e.Type, err)
	}
}

// TestTestModeOnLiveEndpoint: a live endpoint gives no event in test mode.
func TestTestModeOnLiveEndpoint(t *testing.T) {
	for connector, files := range inputs(t) {
		for _, f := range files {
			payload, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			r, err := Normalize(connector, payload, Options{ReceivedAt: received, Live: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range r.Events {
				if !e.Data.Live {
					t.Errorf("%s: %s with live:false on a live endpoint", f, e.Type)
				}
			}
		}
	}
}

// TestOneIDTwice: of two facts in one payload with the same event id, the second is
// skipped with a reason: it repeats the first or contradicts it.
func TestOneIDTwice(t *testing.T) {
	adyen := func(amount int, reference string) string {
		return fmt.Sprintf(`{"NotificationRequestItem":{"eventCode":"AUTHORISATION","success":"true","pspReference":"KHQC5N7G84BLNK43","merchantReference":%q,`+
			`"merchantAccountCode":"M","paymentMethod":"visa","eventDate":"2026-01-01T10:00:00+01:00","amount":{"currency":"EUR","value":%d}}}`, reference, amount)
	}
	gocardless := func(action, payment string) string {
		return fmt.Sprintf(`{"id":"EV1","created_at":"2026-01-01T10:00:00.000Z","resource_type":"payments","action":%q,"links":{"payment":%q},"details":{}}`, action, payment)
	}
	for _, tt := range []struct {
		connector, around string
		items             []string
		events            int
		contradicting     []int // items that contradict the first
	}{
		{"adyen", `{"live":"false","notificationItems":[%s]}`, []string{adyen(100, "a"), adyen(100, "a")}, 1, nil},
		{"adyen", `{"live":"false","notificationItems":[%s]}`, []string{adyen(100, "a"), adyen(200, "a"), adyen(100, "a"), adyen(100, "b")}, 1, []int{1, 3}},
		{"gocardless", `{"events":[%s]}`, []string{gocardless("confirmed", "PM1"), gocardless("confirmed", "PM1")}, 1, nil},
		{"gocardless", `{"events":[%s]}`, []string{gocardless("confirmed", "PM1"), gocardless("confirmed", "PM2")}, 1, []int{1}},
	} {
		payload := fmt.Sprintf(tt.around, strings.Join(tt.items, ","))
		r, err := Normalize(tt.connector, []byte(payload), Options{ReceivedAt: received})
		if err != nil || len(r.Events) != tt.events {
			t.Fatalf("%s: %v, %+v, want %d events", payload, err, r, tt.events)
		}
		if got := len(r.Events) + len(r.Skipped); got != len(tt.items) {
			t.Errorf("%s: %d items are events or skipped with a reason, want all %d", payload, got, len(tt.items))
		}
		var contradicting []int
		for _, k := range r.Skipped {
			if k.Outcome == OutcomeIgnored && k.Reason == "item 0 reports the same fact" {
				continue
			}
			if contradicting = append(contradicting, k.Item); k.Outcome != OutcomeMalformed || !strings.Contains(k.Reason, "item 0") || !strings.Contains(k.Reason, r.Events[0].ID) {
				t.Errorf("item %d is %s: %s; want it malformed, and the reason to name item 0 and the id", k.Item, k.Outcome, k.Reason)
			}
		}
		if !slices.Equal(contradicting, tt.contradicting) {
			t.Errorf("%s: items %v contradict the first, want %v", payload, contradicting, tt.contradicting)
		}
	}
}

// TestPayuIndiaRefund: PayU does not sign refunds, so there is no sample of one.
func TestPayuIndiaRefund(t *testing.T) {
	const refund = `{"additionalValue1":null,"bank_arn":600101,"key":"tbKEY1","amt":"200.00","remark":null,"status":"%s","token":"refund-31","mihpayid":" 27550000123 ","request_id":"140551","merchantTxnId":"order-3101","action":"refund"%s}`
	for _, tt := range []struct {
		status, more string
		outcome      Outcome
		want         schemas.Type
	}{
		{"success", "", OutcomeEvents, schemas.RefundSucceeded},
		{"failure", "", OutcomeEvents, schemas.RefundFailed},
		{"queued", "", OutcomeIgnored, ""},
		{"success", `,"cb_id":1`, OutcomeEvents, schemas.DisputeOpened}, // cb_id makes it a dispute, which is signed, whatever other fields it has
	} {
		r, err := Normalize("payu-india", fmt.Appendf(nil, refund, tt.status, tt.more), Options{ReceivedAt: received})
		if err != nil || r.Outcome() != tt.outcome {
			t.Errorf("%s%s: %s, %v, want %s", tt.status, tt.more, r.Outcome(), err, tt.outcome)
			continue
		}
		if tt.want == "" {
			continue
		}
		e := r.Events[0]
		if e.Type != tt.want {
			t.Errorf("%s%s: %s, want %s", tt.status, tt.more, e.Type, tt.want)
		}
		if d := e.Data; e.Type != schemas.DisputeOpened && (d.MerchantTransactionID != "order-3101" || d.ConnectorTransactionID != "27550000123" ||
			d.ConnectorRefundID != "140551" || d.MerchantRefundID != "refund-31" || *d.Amount != schemas.Amount{Value: 20000, Currency: "INR"}) {
			t.Errorf("%s: %+v, amount %+v", tt.status, d, *d.Amount)
		}
	}
}

// TestDeterministic: a payload gives the same event ids and subjects at any time.
func TestDeterministic(t *testing.T) {
	for connector, files := range inputs(t) {
		for _, f := range files {
			payload, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			one, _ := Normalize(connector, payload, Options{ReceivedAt: received})
			two, _ := Normalize(connector, payload, Options{ReceivedAt: received.Add(time.Hour)})
			for i, e := range one.Events {
				if e.ID != two.Events[i].ID || e.Subject != two.Events[i].Subject {
					t.Errorf("%s: event %d is %s %s, and an hour later %s %s", f, i, e.ID, e.Subject, two.Events[i].ID, two.Events[i].Subject)
				}
			}
		}
	}
}

// FuzzNormalize calls the connectors directly, so that a panic fails the test.
func FuzzNormalize(f *testing.F) {
	for connector, files := range inputs(f) {
		for _, file := range files {
			payload, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(connector, payload)
		}
	}
	f.Fuzz(func(t *testing.T, connector string, payload []byte) {
		c, ok := connectors[connector]
		if !ok {
			return
		}
		facts, err := c.normalize(payload, Options{Endpoint: "default", MerchantIDKeys: defaultMerchantIDKeys, ReceivedAt: received})
		if err != nil {
			return
		}
		for _, fact := range facts {
			e, skipped := fact.event(connector, payload, Options{Endpoint: "default", ReceivedAt: received})
			switch {
			case skipped == nil && e.Validate() != nil:
				t.Errorf("%s: invalid event: %v", connector, e.Validate())
			case skipped != nil && (skipped.Reason == "" || skipped.Outcome == ""):
				t.Errorf("%s: an item is skipped without a reason: %+v", connector, skipped)
			}
		}
	})
}

// TestTooLarge: an event that is larger than a topic accepts is malformed.
func TestTooLarge(t *testing.T) {
	for size, want := range map[int]Outcome{100: OutcomeEvents, 600 << 10: OutcomeMalformed} {
		payload := fmt.Appendf(nil, `{"id":"evt_1","object":"event","created":1767225600,"livemode":true,"type":"payment_intent.succeeded",`+
			`"data":{"object":{"id":"pi_1","amount_received":100,"currency":"eur","metadata":{"order_id":"%s"}}}}`, strings.Repeat("x", size))
		r, err := Normalize("stripe", payload, Options{Live: true, ReceivedAt: time.Unix(1767225600, 0)})
		if err != nil || r.Outcome() != want {
			t.Errorf("a merchant's id of %d bytes: %v, %s, want %s", size, err, r.Outcome(), want)
		}
	}
}
