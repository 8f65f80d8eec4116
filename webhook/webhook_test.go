package webhook_test

import (
	"bytes"
	"errors"
	"net/http"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// signed returns an endpoint of a connector and a correctly signed request to it.
func signed(t *testing.T, connector, sample string) (webhook.Endpoint, verify.Request) {
	t.Helper()
	keys, private, ok := sign.Dev(connector)
	if !ok {
		t.Fatalf("internal/sign has no keys for %s", connector)
	}
	e := webhook.Endpoint{Connector: connector, Keys: keys, PublicURL: "https://pay.example.com"}
	if err := e.Check(); err != nil {
		t.Fatal(err)
	}
	payload, err := samples.Payload(connector, sample)
	if err != nil {
		t.Fatal(err)
	}
	r, err := sign.Request(connector, payload, private, keys.Settings, e.PublicURL+e.Path(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return e, r
}

// TestHandleEvent: HandleEvent verifies a webhook of every connector, and
// refuses it with another body or without a secret.
func TestHandleEvent(t *testing.T) {
	for _, connector := range verify.Connectors() {
		t.Run(connector, func(t *testing.T) {
			sample := firstWithEvents(t, connector)
			e, r := signed(t, connector, sample)
			events, err := webhook.HandleEvent(t.Context(), e, r)
			if noEvents[connector] {
				if !errors.Is(err, webhook.ErrNoEvent) {
					t.Errorf("%s: %v, want %v", sample, err, webhook.ErrNoEvent)
				}
			} else if err != nil || len(events) == 0 {
				t.Fatalf("%s: %d events, %v", sample, len(events), err)
			}
			for _, event := range events {
				if err := event.Validate(); err != nil {
					t.Error(err)
				}
			}
			if c, _ := verify.Lookup(connector); c.Covers == verify.CoversBody && !c.Keyless {
				changed := r
				changed.Body = append([]byte("x"), r.Body...)
				if events, err := webhook.HandleEvent(t.Context(), e, changed); err == nil || verify.ReasonOf(err) == "" {
					t.Errorf("a changed body: %d events, %v", len(events), err)
				}
			}
			e.Keys.Secrets = nil
			if c, _ := verify.Lookup(connector); !c.Keyless {
				if _, err := webhook.HandleEvent(t.Context(), e, r); !errors.Is(err, verify.ErrNoSecret) {
					t.Errorf("without a secret: %v", err)
				}
			}
		})
	}
}

// noEvents lists the connectors whose webhooks give no event: they only name
// what changed, or the sender defines the event types.
var noEvents = map[string]bool{"mercadopago": true, "standardwebhooks": true, "svix": true}

// firstWithEvents returns the name of a connector's first sample that is verified
// with the settings of sign.Dev and gives events, if the connector has any.
func firstWithEvents(t *testing.T, connector string) string {
	t.Helper()
	for _, name := range samples.Names(connector) {
		if strings.HasPrefix(name, "malformed-") || strings.Contains(name, "@") {
			continue
		}
		payload, err := samples.Payload(connector, name)
		if err != nil {
			t.Fatal(err)
		}
		keys, private, _ := sign.Dev(connector)
		e := webhook.Endpoint{Connector: connector, Keys: keys, PublicURL: "https://pay.example.com"}
		r, err := sign.Request(connector, payload, private, keys.Settings, e.PublicURL+e.Path(), time.Now())
		if err != nil {
			continue // the sample is of another signature scheme
		}
		if v := e.Judge(t.Context(), new(verify.Keyring), r, time.Now()); v.Err == nil && (len(v.Events) > 0) != noEvents[connector] && !v.Has(normalize.OutcomeMalformed) {
			return name
		}
	}
	t.Fatalf("no sample of %s gives an event", connector)
	return ""
}

// TestHandleEventErrors: HandleEvent returns the documented errors.
func TestHandleEventErrors(t *testing.T) {
	e := webhook.Endpoint{Connector: "stripe", Keys: verify.Keys{Secrets: []verify.Secret{
		{Name: "old", Value: "whsec_an_old_secret"}, {Name: "main", Value: "whsec_the_main_secret"},
	}}}
	for _, tt := range []struct {
		name, payload, secret string
		want                  error
	}{
		{"the second secret", captured, "whsec_the_main_secret", nil},
		{"another secret", captured, "whsec_another_secret", verify.ErrMismatch},
		{"malformed", `{}`, "whsec_the_main_secret", normalize.ErrMalformed},
		{"no event type of ours", `{"id":"evt_1","type":"customer.created","data":{"object":{}}}`, "whsec_the_main_secret", webhook.ErrNoEvent},
	} {
		r, err := sign.Request("stripe", []byte(tt.payload), tt.secret, nil, "", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		events, err := webhook.HandleEvent(t.Context(), e, r)
		if !errors.Is(err, tt.want) || (err == nil) != (len(events) > 0) {
			t.Errorf("%s: %d events, error %v, want %v", tt.name, len(events), err, tt.want)
		}
	}
	if _, err := webhook.HandleEvent(t.Context(), webhook.Endpoint{Connector: "nobody"}, verify.Request{}); !errors.Is(err, verify.ErrUnknown) {
		t.Errorf("unknown connector: %v", err)
	}
}

const captured = `{
	"id": "evt_1", "type": "payment_intent.succeeded", "created": 1767225600, "livemode": true,
	"data": {"object": {"id": "pi_1", "amount": 1099, "amount_received": 1099, "currency": "eur",
		"metadata": {"merchant_transaction_id": "order-43"}}}
}`

// TestArchived: ReadArchived returns the webhook that Record wrote, and it
// gives the same events.
func TestArchived(t *testing.T) {
	for _, connector := range verify.Connectors() {
		t.Run(connector, func(t *testing.T) {
			e, r := signed(t, connector, firstWithEvents(t, connector))
			r.Header.Set("X-Unrelated", "not archived")
			now := time.Now().UTC()
			before := e.Judge(t.Context(), new(verify.Keyring), r, now)
			if before.Err != nil {
				t.Fatal(before.Err)
			}
			a := webhook.Archived{
				Connector: connector, Endpoint: "default", Method: r.Method, Path: e.Path(), Header: r.Header, Body: r.Body,
				ReceivedAt: now, Secret: before.Secret, Outcome: before.Outcome(), EventIDs: []string{"1", "2"}, Trace: "00-1-2-01",
			}
			if _, query, ok := strings.Cut(r.URL, "?"); ok {
				a.Query = query
			}
			record := a.Record("order-43")
			if string(record.Key) != "order-43" {
				t.Errorf("the key is %q", record.Key)
			}
			got, err := webhook.ReadArchived(record.Headers, record.Value)
			if err != nil {
				t.Fatal(err)
			}
			if got.Header.Get("X-Unrelated") != "" {
				t.Error("a header that verification does not read is archived")
			}
			if !got.Is(e) || got.ID() != a.ID() {
				t.Errorf("read a webhook of %s/%s with the id %s, want the id %s", got.Connector, got.Endpoint, got.ID(), a.ID())
			}
			got.Header, a.Header = nil, nil
			if !reflect.DeepEqual(got, a) {
				t.Errorf("read   %+v\nwanted %+v", got, a)
			}
			again, _ := webhook.ReadArchived(record.Headers, record.Value)
			if same := again.RecordAgain("order-43"); !reflect.DeepEqual(same, record) {
				t.Errorf("archived again as %v, want %v", same.Headers, record.Headers)
			}
			after := e.JudgeArchived(t.Context(), new(verify.Keyring), again)
			if after.Err != nil || !reflect.DeepEqual(after.Events, before.Events) {
				t.Errorf("JudgeArchived: %v, %d events, want %d", after.Err, len(after.Events), len(before.Events))
			}
		})
	}
	for _, headers := range [][]schemas.Header{nil, {{Name: "connector", Value: "stripe"}}, {{Name: "received-at", Value: "2026-01-01T00:00:00Z"}}} {
		if _, err := webhook.ReadArchived(headers, nil); err == nil {
			t.Errorf("%v: no error for the record of another program", headers)
		}
	}
}

// TestImports: package webhook depends on no HTTP framework, Kafka client,
// store or metrics library.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := slices.Compact(slices.Sorted(slices.Values(strings.Fields(string(out)))))
	want := []string{"github.com/go-json-experiment/json", "github.com/tollbridge/tollbridge", "github.com/agnivade/levenshtein"}
	for _, m := range modules {
		if !slices.Contains(want, m) && !strings.HasPrefix(m, "golang.org/x/") {
			t.Errorf("webhook needs the module %s; it may need %v", m, want)
		}
	}
	out, err = exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]bool{}
	for _, p := range strings.Fields(string(out)) {
		if name, ok := strings.CutPrefix(p, "github.com/tollbridge/tollbridge/"); ok {
			ours[name] = true
		}
	}
	if want := map[string]bool{"webhook": true, "verify": true, "fetch": true, "normalize": true, "schemas": true, "internal/suggest": true}; !reflect.DeepEqual(ours, want) {
		t.Errorf("webhook imports our packages %v, want %v", ours, want)
	}
}

// BenchmarkArchive measures making the record of an archived webhook of 2 KiB, and its id.
func BenchmarkArchive(b *testing.B) {
	a := webhook.Archived{
		Connector: "stripe", Endpoint: "default", Method: http.MethodPost, Path: "/webhooks/stripe", Secret: "main",
		Header:     http.Header{"Content-Type": {"application/json"}, "Stripe-Signature": {"t=1767225600,v1=" + strings.Repeat("0", 64)}},
		Body:       bytes.Repeat([]byte("x"), 2<<10),
		ReceivedAt: time.Date(2026, 1, 1, 0, 0, 0, 1e6, time.UTC), Outcome: normalize.OutcomeEvents,
		EventIDs: []string{"cd01f084-1219-5017-8f58-b43519f68c77"}, Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	b.ReportAllocs()
	for b.Loop() {
		if r := a.Record("order-43"); len(r.Headers) == 0 || a.ID() == "" {
			b.Fatal(r)
		}
	}
}
