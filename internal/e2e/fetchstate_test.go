package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/fetchtest"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/schemas"
)

// TestFetchState: a webhook that says only that something changed makes an event of each
// state of the fetched payment. Many webhooks of one payment, Mollie's classic ones, which
// nobody signs, and its next-gen ones among them, make each fact once. A made-up id is
// refused and asked for once. A replay makes the same events, and asks nobody.
func TestFetchState(t *testing.T) {
	const key = "demo-71-read-only-key"
	// Stage 0: paid; 1: refunded in part; 2: charged back.
	var stage atomic.Int32
	now := time.Now().UTC()
	at := func(minutes int) string { return now.Add(time.Duration(minutes-60) * time.Minute).Format(time.RFC3339) }
	mollie := func() string {
		refunds, chargebacks := `[]`, `[]`
		if stage.Load() >= 1 {
			refunds = `[{"resource":"refund","id":"re_Demo1","mode":"test","status":"refunded","amount":{"value":"5.00","currency":"EUR"},"paymentId":"tr_Demo7Kq2","createdAt":"` + at(5) + `"}]`
		}
		if stage.Load() >= 2 {
			chargebacks = `[{"resource":"chargeback","id":"chb_Demo1","amount":{"value":"25.00","currency":"EUR"},"paymentId":"tr_Demo7Kq2","createdAt":"` + at(9) + `","reversedAt":null}]`
		}
		return `{"resource":"payment","id":"tr_Demo7Kq2","mode":"test","status":"paid","amount":{"value":"25.00","currency":"EUR"},"metadata":{"order_id":"order-mollie"},"method":"ideal",
			"createdAt":"` + at(1) + `","paidAt":"` + at(2) + `","_embedded":{"refunds":` + refunds + `,"chargebacks":` + chargebacks + `,"captures":[]}}`
	}
	mercadopago := func() string {
		status, refunds := "approved", `[]`
		if stage.Load() >= 1 {
			refunds = `[{"id":1071,"payment_id":9100000071,"amount":20.5,"status":"approved","date_created":"` + at(5) + `"}]`
		}
		if stage.Load() >= 2 {
			status = "charged_back"
		}
		return `{"id":9100000071,"status":"` + status + `","transaction_amount":149.9,"currency_id":"BRL","captured":true,"live_mode":false,"external_reference":"order-mercadopago","collector_id":5100001,
			"payment_method_id":"pix","payment_type_id":"bank_transfer","date_created":"` + at(1) + `","date_approved":"` + at(2) + `","date_last_updated":"` + at(9) + `","refunds":` + refunds + `}`
	}
	api := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer "+key:
			w.WriteHeader(http.StatusUnauthorized)
		case r.Host == "api.mollie.com" && r.URL.Path == "/v2/payments/tr_Demo7Kq2":
			_, _ = io.WriteString(w, mollie())
		case r.Host == "api.mercadopago.com" && r.URL.Path == "/v1/payments/9100000071":
			_, _ = io.WriteString(w, mercadopago())
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	for _, variable := range api.Proxy() { // of the server that start runs
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	var endpoints []endpoint
	for _, connector := range []string{"mollie", "mercadopago"} {
		endpoints = append(endpoints, endpoint{connector: connector, name: "api", api: map[string]any{"keys": map[string]any{"main": map[string]string{"value": key}}}})
	}
	b := start(t, endpoints...)
	classic := func(id string) int {
		t.Helper()
		response, err := http.Post(b.url+"/webhooks/mollie/api", "application/x-www-form-urlencoded", strings.NewReader("id="+id))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	signed := func(connector, payload string) {
		t.Helper()
		keys, private, _ := sign.Dev(connector)
		r, err := sign.Request(connector, []byte(payload), private, keys.Settings, b.url+"/webhooks/"+connector+"/api", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if a, err := b.deliverRequest(r); err != nil || a.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v %v\n%s", connector, a, err, b.log)
		}
	}
	events := func() (got []string) {
		t.Helper()
		for _, r := range b.read(t, b.names.Events()...) {
			var e schemas.Event
			if err := json.Unmarshal([]byte(r.value), &e); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s %s %d %s", e.Type, r.key, e.Data.Amount.Value, e.Data.Amount.Currency))
		}
		slices.Sort(got)
		return got
	}
	paid := `{"resource":"event","id":"event_Demo1","type":"payment.paid","entityId":"tr_Demo7Kq2","createdAt":"` + at(2) + `","_embedded":[]}`
	for n := range 3 {
		stage.Store(int32(n))
		for range 2 {
			if status := classic("tr_Demo7Kq2"); status != http.StatusOK {
				t.Fatalf("status %d\n%s", status, b.log)
			}
			signed("mercadopago", `{"type":"payment","action":"payment.updated","data":{"id":"9100000071"}}`)
			signed("mollie", paid)
		}
		time.Sleep(time.Second) // the unsigned webhooks may use one request a second
	}
	want := []string{
		"dispute.opened order-mercadopago 14990 BRL",
		"dispute.opened order-mollie 2500 EUR",
		"payment.captured order-mercadopago 14990 BRL",
		"payment.captured order-mollie 2500 EUR",
		"refund.succeeded order-mercadopago 2050 BRL",
		"refund.succeeded order-mollie 500 EUR",
	}
	if got := events(); !slices.Equal(got, want) {
		t.Fatalf("events %q\nwant   %q\n%s", got, want, b.log)
	}
	for range 10 {
		if status := classic("tr_Demo7Kq2"); status != http.StatusOK && status != http.StatusServiceUnavailable {
			t.Errorf("status %d", status)
		}
		time.Sleep(300 * time.Millisecond)
	}
	if got := events(); !slices.Equal(got, want) {
		t.Errorf("ten more webhooks: events %q, want %q", got, want)
	}
	time.Sleep(1100 * time.Millisecond)
	for range 5 {
		if status := classic("tr_Madeup71"); status != http.StatusUnauthorized {
			t.Errorf("a made-up id: status %d, want 401", status)
		}
	}
	calls := api.Calls()
	if n := len(slices.DeleteFunc(slices.Clone(calls), func(c string) bool { return !strings.Contains(c, "tr_Madeup71") })); n != 1 {
		t.Errorf("the API got %d requests for a made-up id, want 1", n)
	}

	live, again := b.eventIDs(t, b.names), b.names
	again.Prefix += "again."
	b.command(t, "topics", "apply", "--prefix", again.Prefix)
	if n := b.counts(t, "replay", "--to-prefix", again.Prefix, "--publish", "--json"); n.Unverified != 0 {
		t.Errorf("replayed: %+v", n)
	}
	if ids := b.eventIDs(t, again); !slices.Equal(ids, live) {
		t.Errorf("replayed %q, want %q", ids, live)
	}
	if n := len(api.Calls()); n != len(calls) {
		t.Errorf("the replay sent %d requests", n-len(calls))
	}
	b.stop(t)
}
