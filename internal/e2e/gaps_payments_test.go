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
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
)

// TestGapsOfPayments: the webhooks of some payments never came. For processors that list
// payments in their present state, exactly those are found. Mollie's and Mercado Pago's
// are published, Xendit's are only reported, and PortOne delivers its own again. A second
// run finds none.
func TestGapsOfPayments(t *testing.T) {
	ago := func(days int) string {
		return time.Now().UTC().Add(time.Duration(-24*days) * time.Hour).Format(time.RFC3339)
	}
	mercadopago := func(id int) string {
		return fmt.Sprintf(`{"id":%d,"status":"approved","transaction_amount":10.5,"transaction_amount_refunded":0,"currency_id":"BRL","captured":true,"live_mode":false,"external_reference":"mercadopago-%[1]d",
			"collector_id":5100001,"payment_method_id":"pix","payment_type_id":"bank_transfer","date_created":%q,"date_approved":%[2]q,"date_last_updated":%[2]q,"refunds":[]}`, id, ago(id%10+3))
	}
	mollie := func(n int) string {
		return fmt.Sprintf(`{"resource":"payment","id":"tr_Listed%d","mode":"test","status":"paid","amount":{"value":"25.00","currency":"EUR"},"metadata":{"order_id":"mollie-%[1]d"},"method":"ideal",
			"createdAt":%q,"paidAt":%[2]q,"_links":{}}`, n, ago(n+4))
	}
	xendit := func(n int) string {
		return fmt.Sprintf(`{"id":"txn_%d","product_id":"py-listed%[1]d","type":"PAYMENT","status":"SUCCESS","reference_id":"xendit-%[1]d","currency":"IDR","amount":25000,"created":%q}`, n, ago(n+4))
	}
	portone := func(n int) string {
		return fmt.Sprintf(`{"id":"portone-%d","status":"PAID","transactionId":"0191-listed-%[1]d","storeId":"store-demo","currency":"KRW","amount":{"total":30000,"paid":30000},"channel":{"type":"TEST"},"statusChangedAt":%q}`, n, ago(n+4))
	}
	paid := func(n int) string {
		return fmt.Sprintf(`{"type":"Transaction.Paid","timestamp":%q,"data":{"paymentId":"portone-%d","transactionId":"0191-listed-%[2]d","storeId":"store-demo"}}`, ago(n+4), n)
	}
	var b *tollbridge
	payments := fetchtest.MercadoPago(t, []string{mercadopago(9100000071), mercadopago(9100000072)})
	api := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
		answer := func(format string, args ...any) { fmt.Fprintf(w, format, args...) }
		switch path := r.URL.Path; {
		case r.Host == "api.mercadopago.com":
			payments(w, r)
		case path == "/v2/payments":
			answer(`{"count":2,"_embedded":{"payments":[%s,%s]},"_links":{"next":null}}`, mollie(1), mollie(2))
		case path == "/v2/refunds" || path == "/v2/chargebacks":
			answer(`{"count":0,"_embedded":{%q:[]},"_links":{"next":null}}`, strings.TrimPrefix(path, "/v2/"))
		case strings.HasPrefix(path, "/v2/payments/tr_Listed"):
			_, _ = io.WriteString(w, mollie(int(path[len(path)-1]-'0')))
		case path == "/transactions":
			answer(`{"has_more":false,"data":[%s,%s],"links":[]}`, xendit(1), xendit(2))
		case path == "/v3/payments/py-listed1":
			answer(`{"payment_id":"py-listed1","reference_id":"xendit-1","request_amount":25000,"currency":"IDR","status":"SUCCEEDED"}`)
		case r.Method == http.MethodGet && path == "/payments":
			answer(`{"items":[%s,%s],"page":{"number":0,"size":100,"totalCount":2}}`, portone(1), portone(2))
		case r.Method == http.MethodGet && strings.HasPrefix(path, "/payments/portone-"):
			_, _ = io.WriteString(w, portone(int(path[len(path)-1]-'0')))
		case r.Method == http.MethodPost && path == "/payments/portone-2/resend-webhook":
			if r.Header.Get("Authorization") != "PortOne key-that-may-write" {
				t.Errorf("the resend has the credential %q", r.Header.Get("Authorization"))
			}
			b.deliverTo(t, "portone", []byte(paid(2)))
			answer(`{"webhook":{"paymentStatus":"PAID","id":"webhook-2","status":"SUCCEEDED","url":"https://shop.example"}}`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	ofPayments := listing("mercadopago")
	ofPayments.settings = map[string]string{"tells": "payments"}
	b = startOnly(t, api.Proxy(), listing("mollie"), ofPayments, listing("xendit"), listing("portone"))
	classic := verify.Request{Method: http.MethodPost, URL: b.url + "/webhooks/mollie/api", Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, Body: []byte("id=tr_Listed1")}
	if a, err := b.deliverRequest(classic); err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v\n%s", a, err, b.log)
	}
	b.deliverTo(t, "mercadopago", []byte(`{"type":"payment","action":"payment.updated","data":{"id":"9100000071"}}`))
	b.deliverTo(t, "xendit", []byte(`{"event":"payment.capture","business_id":"6094fa000000000000000001","created":"2026-01-01T10:00:00Z","data":{"payment_id":"py-listed1","payment_request_id":"pr-listed1","reference_id":"xendit-1",
		"type":"PAY","country":"ID","request_amount":25000,"currency":"IDR","capture_method":"AUTOMATIC","channel_code":"OVO","status":"SUCCEEDED","captures":[{"capture_timestamp":"2026-01-01T10:00:00Z","capture_id":"cap-1","capture_amount":25000}]}}`))
	b.deliverTo(t, "portone", []byte(paid(1)))

	env := api.Proxy()
	for _, of := range []struct {
		connector, withheld string
		close               []string // the flags that close the gap; none if it is only reported
	}{
		{"mollie", "tr_Listed2", []string{"--publish"}},
		{"mercadopago", "9100000072", []string{"--publish"}},
		{"xendit", "py-listed2", nil},
		{"portone", "portone-2", []string{"--resend", "--write-key-file", "-"}},
	} {
		if n, found := b.gaps(t, env, 1, of.connector); !slices.Equal(found, []string{of.withheld}) || n.Missing != 1 || n.Known != 1 {
			t.Errorf("%s: %+v, %v; want %s missing", of.connector, n, found, of.withheld)
		}
		if of.close == nil {
			c, _, errs := b.gapsCommand(env, of.connector, "--publish")
			if _ = c.Run(); c.ProcessState.ExitCode() != 2 || !strings.Contains(errs.String(), "without --publish the gaps are reported") {
				t.Errorf("%s --publish: exit code %d, %s", of.connector, c.ProcessState.ExitCode(), errs)
			}
			continue
		}
		c, out, errs := b.gapsCommand(env, of.connector, of.close...)
		c.Stdin = strings.NewReader("key-that-may-write\n")
		if err := c.Run(); err != nil {
			t.Errorf("%s %v: %v: %s%s", of.connector, of.close, err, out, errs)
		}
		if n, _ := readGaps(t, out); n.Published+n.Resent != 1 {
			t.Errorf("%s %v: %+v", of.connector, of.close, n)
		}
		if n, found := b.gaps(t, env, 0, of.connector); len(found) != 0 || n.Known != 2 {
			t.Errorf("%s: a second run: %+v, %v", of.connector, n, found)
		}
	}
	var got []string
	for _, r := range b.read(t, b.names.Events()...) {
		var e schemas.Event
		if err := json.Unmarshal([]byte(r.value), &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %s %d %s", e.Type, r.key, e.Data.Amount.Value, e.Data.Amount.Currency))
	}
	slices.Sort(got)
	want := []string{
		"payment.captured mercadopago-9100000071 1050 BRL", "payment.captured mercadopago-9100000072 1050 BRL",
		"payment.captured mollie-1 2500 EUR", "payment.captured mollie-2 2500 EUR",
		"payment.captured portone-1 30000 KRW", "payment.captured portone-2 30000 KRW",
		"payment.captured xendit-1 2500000 IDR",
	}
	if !slices.Equal(got, want) {
		t.Errorf("events %q\nwant   %q\n%s", got, want, b.log)
	}
	b.stop(t)
}
