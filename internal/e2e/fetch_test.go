package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/fetchtest"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/schemas"
)

// fetchedTwin is the Stripe event that the thin event of fetchedWebhooks names.
const fetchedTwin = `{"id":"evt_1Demo71","object":"event","api_version":"2025-03-31.basil","created":1767261600,"type":"payment_intent.succeeded","livemode":false,` +
	`"data":{"object":{"id":"pi_Demo71","object":"payment_intent","amount":1099,"amount_received":1099,"amount_capturable":0,"currency":"eur","status":"succeeded","livemode":false,` +
	`"metadata":{"order_id":"order-stripe"},"latest_charge":"ch_Demo71","payment_method_types":["card"]}}}`

// fetchedWebhooks are webhooks that only name what changed. The last is that with the
// object, which reports the same fact as the one before.
var fetchedWebhooks = []struct{ connector, payload string }{
	{"gocardless", `{"events":[
		{"id":"EVDEMO1","created_at":"2026-01-05T10:00:00.000Z","resource_type":"payments","action":"confirmed","links":{"payment":"PMDEMO71"}},
		{"id":"EVDEMO2","created_at":"2026-01-05T10:00:01.000Z","resource_type":"payments","action":"confirmed","links":{"payment":"PMDEMO72"}},
		{"id":"EVDEMO3","created_at":"2026-01-05T10:00:01.000Z","resource_type":"refunds","action":"paid","links":{"refund":"RFDEMO71"}}]}`},
	{"portone", `{"type":"Transaction.Paid","timestamp":"2026-01-01T01:00:00.000Z","data":{"paymentId":"order-portone","transactionId":"0191-demo-71","storeId":"store-demo"}}`},
	{"portone", `{"type":"Transaction.PartialCancelled","timestamp":"2026-01-02T01:00:00.000Z","data":{"paymentId":"order-portone","transactionId":"0191-demo-71","storeId":"store-demo","cancellationId":"cancel-demo-1"}}`},
	{"btcpay", `{"deliveryId":"dDemo1","originalDeliveryId":"dDemo1","type":"InvoiceSettled","timestamp":1767261700,"storeId":"StoreDemo1","invoiceId":"InvDemo71"}`},
	{"stripe", `{"id":"evt_thin_Demo71","object":"v2.core.event","type":"v1.payment_intent.succeeded","created":"2026-01-01T10:00:00.000Z","livemode":false,` +
		`"related_object":{"id":"pi_Demo71","type":"payment_intent","url":"/v1/payment_intents/pi_Demo71"},"snapshot_event":"evt_1Demo71"}`},
	{"stripe", fetchedTwin},
}

// fetchedWant has each event: its type, key and amount.
var fetchedWant = []string{
	"payment.captured order-btcpay 2500 EUR",
	"payment.captured order-gocardless 2500 GBP",
	"payment.captured order-gocardless-2 2600 GBP",
	"payment.captured order-portone 30000 KRW",
	"payment.captured order-stripe 1099 EUR",
	"refund.succeeded order-gocardless 500 GBP",
	"refund.succeeded order-portone 5000 KRW",
}

// fetchedAnswers are the answers of the APIs, by the path. Their forms are those of
// the processors' SDKs and OpenAPI files, which the tests of package fetch name.
var fetchedAnswers = map[string]string{
	"/events": `{"events":[{"id":"EVDEMO1"},{"id":"EVDEMO2"}],"meta":{"cursors":{"before":null,"after":null},"limit":500},"linked":{"payments":[
		{"id":"PMDEMO71","amount":2500,"currency":"GBP","status":"paid_out","metadata":{"order_id":"order-gocardless"}},
		{"id":"PMDEMO72","amount":2600,"currency":"GBP","status":"confirmed","metadata":{"order_id":"order-gocardless-2"}}]}}`,
	"/refunds/RFDEMO71": `{"refunds":{"id":"RFDEMO71","amount":500,"currency":"GBP","metadata":{},"links":{"payment":"PMDEMO71"}}}`,
	"/payments/order-portone": `{"status":"PARTIAL_CANCELLED","id":"order-portone","transactionId":"0191-demo-71","storeId":"store-demo","channel":{"type":"TEST"},"currency":"KRW",
		"amount":{"total":30000,"paid":30000,"cancelled":5000},"cancellations":[{"status":"SUCCEEDED","id":"cancel-demo-1","totalAmount":5000,"reason":"size"}]}`,
	"/api/v1/stores/StoreDemo1/invoices/InvDemo71": `{"id":"InvDemo71","storeId":"StoreDemo1","amount":"25.00","paidAmount":"25.00","currency":"EUR","type":"Standard","status":"Settled",
		"additionalStatus":"None","metadata":{"orderId":"order-btcpay"}}`,
	"/v1/events/evt_1Demo71": fetchedTwin,
}

// TestFetch: webhooks that only name what changed become events with the amount and the
// merchant's reference, once each however often they come. A replay makes the same events
// of the archive, and asks no API.
func TestFetch(t *testing.T) {
	const key = "demo-71-read-only-key"
	api := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
		answer, ok := fetchedAnswers[r.URL.Path]
		switch {
		case !strings.HasSuffix(r.Header.Get("Authorization"), " "+key):
			w.WriteHeader(http.StatusUnauthorized)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = io.WriteString(w, answer)
		}
	})
	for _, variable := range api.Proxy() { // of the server that start runs
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	var endpoints []endpoint
	for _, connector := range []string{"gocardless", "portone", "btcpay", "stripe"} {
		e := endpoint{connector: connector, name: "api", api: map[string]any{"keys": map[string]any{"main": map[string]string{"value": key}}}}
		if connector == "btcpay" {
			e.api["host"] = "btcpay.shop.example"
		}
		endpoints = append(endpoints, e)
	}
	b := start(t, endpoints...)
	for range 3 {
		for _, w := range fetchedWebhooks {
			keys, private, _ := sign.Dev(w.connector)
			r, err := sign.Request(w.connector, []byte(w.payload), private, keys.Settings, b.url+"/webhooks/"+w.connector+"/api", time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if a, err := b.deliverRequest(r); err != nil || a.StatusCode/100 != 2 {
				t.Fatalf("%s: %v %v\n%s", w.connector, a, err, b.log)
			}
		}
	}
	var got []string
	for _, r := range b.read(t, b.names.Events()...) {
		var e schemas.Event
		if err := json.Unmarshal([]byte(r.value), &e); err != nil {
			t.Fatal(err)
		}
		amount := "no amount"
		if e.Data.Amount != nil {
			amount = fmt.Sprintf("%d %s", e.Data.Amount.Value, e.Data.Amount.Currency)
		}
		got = append(got, fmt.Sprintf("%s %s %s", e.Type, r.key, amount))
	}
	if slices.Sort(got); !slices.Equal(got, fetchedWant) {
		t.Errorf("events %q\nwant   %q\nasked %q\n%s", got, fetchedWant, api.Calls(), b.log)
	}
	if strings.Contains(b.log.String(), key) {
		t.Error("the log has the key")
	}
	calls := len(api.Calls())
	live, again := b.eventIDs(t, b.names), b.names
	again.Prefix += "again."
	b.command(t, "topics", "apply", "--prefix", again.Prefix)
	if n := b.counts(t, "replay", "--to-prefix", again.Prefix, "--publish", "--json"); n.Unverified != 0 {
		t.Errorf("replayed: %+v", n)
	}
	if ids := b.eventIDs(t, again); !slices.Equal(ids, live) {
		t.Errorf("replayed %q, want %q", ids, live)
	}
	if n := len(api.Calls()); n != calls {
		t.Errorf("the replay sent %d requests: %q", n-calls, api.Calls()[calls:])
	}
	b.stop(t)
}
