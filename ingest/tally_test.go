package ingest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// TestSilence: the counts of the received event types, by result, and the advice if no
// subscribed event type reports a fact, or if two report it.
func TestSilence(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 30, 0, 0, time.UTC)
	const n = 1234
	for _, tt := range []struct {
		name, connector string
		settings        map[string]string
		came            map[string]int // number of deliveries, by sample
		duplicates      bool           // every second event is a duplicate
		after           time.Duration  // when the report is made
		want            []string       // advice
	}{
		{"only the redundant one", "recurly", nil, map[string]int{"charge_invoice.paid@tells=invoices.json": n}, false, 23 * time.Hour,
			[]string{"recurly/default: 1,234 of charge_invoice.paid in 23 h and none of payment.succeeded: subscribe to it or set tells: invoices"}},
		{"both", "recurly", nil, map[string]int{"charge_invoice.paid@tells=invoices.json": n, "payment.succeeded.json": 1}, false, time.Hour, nil},
		{"the setting names it", "recurly", map[string]string{"tells": "invoices"}, map[string]int{"charge_invoice.paid@tells=invoices.json": n}, false, time.Hour, nil},
		{"a day ago", "recurly", nil, map[string]int{"charge_invoice.paid@tells=invoices.json": n}, false, 25 * time.Hour, nil},
		{"told twice", "mollie", nil, map[string]int{"payment-link.paid.json": 2, "payment.paid.json": 3}, false, time.Minute,
			[]string{"mollie/default: 2 of payment-link.paid and 3 of payment.paid made events in 1 h: each payment is told twice, set tells: payments or captures or all"}},
		{"told twice, by names of equal rank", "shopify", nil, map[string]int{"orders-paid.json": 1, "order_transactions-sale.json": 1}, false, time.Minute,
			[]string{"shopify/default: 1 of order.paid and 1 of transaction.sale.success made events in 1 h: each payment is told twice, set tells: transactions or orders"}},
		{"told once", "shopify", map[string]string{"tells": "orders"}, map[string]int{"orders-paid.json": 1, "order_transactions-sale.json": 1}, false, time.Minute, nil},
		{"joined by an id", "mollie", nil, map[string]int{"payment-link.paid.json": 2, "payment.paid.json": 3}, true, time.Minute, nil},
		{"nothing that is read", "recurly", nil, map[string]int{"ignored-charge_invoice.created@tells=invoices.json": 5}, false, time.Minute,
			[]string{"recurly/default: 5 webhooks in 1 h and no event: subscribe to the event types that tollbridge connectors recurly lists"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			now := start
			endpoint := webhook.Endpoint{Connector: tt.connector, Keys: verify.Keys{Settings: tt.settings}}
			s := &Server{Config: Config{Log: zerolog.New(&log), Now: func() time.Time { return now }},
				metrics: newMetrics(prometheus.NewRegistry())}
			with := &route{endpoint: &endpoint, tally: newTally(&endpoint, start)}
			s.endpoints.Store(&routes{endpoint.ID(): with})
			items := 0
			for name, times := range tt.came {
				payload, err := os.ReadFile(filepath.Join("../normalize/samples", tt.connector, name))
				if err != nil {
					t.Fatal(err)
				}
				r, err := normalize.Normalize(tt.connector, payload, normalize.Options{Settings: tt.settings, ReceivedAt: start})
				if err != nil {
					t.Fatal(err)
				}
				for i := range times {
					d := delivery{s: s, route: with, endpoint: &endpoint, start: start, verdict: webhook.Verdict{Result: r}}
					for _, e := range r.Events {
						d.entries = append(d.entries, entry{id: e.ID, published: tt.duplicates && i%2 == 0})
					}
					d.countEventTypes()
					items += len(r.Events) + len(r.Skipped)
				}
			}
			now = start.Add(tt.after)
			rec := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodGet, "/v1/event_types", nil)
			r.Host = "localhost"
			s.Admin(prometheus.NewRegistry()).ServeHTTP(rec, r)
			var all []EventTypes
			if err := json.Unmarshal(rec.Body.Bytes(), &all); err != nil || len(all) != 1 || all[0].ID() != tt.connector+"/default" || rec.Code != http.StatusOK {
				t.Fatalf("%d %s: %v", rec.Code, rec.Body, err)
			}
			if got := strings.Join(all[0].Advice, "\n"); got != strings.Join(tt.want, "\n") {
				t.Errorf("advice:\n%s\nwant\n%s", got, strings.Join(tt.want, "\n"))
			}
			s.logAdvice()
			for _, advice := range tt.want {
				if !strings.Contains(log.String(), advice) {
					t.Errorf("the log has %s, want %s", &log, advice)
				}
			}
			if len(tt.want) == 0 && log.Len() > 0 {
				t.Errorf("the log has %s, want nothing", &log)
			}
			counted := 0
			for _, one := range all[0].Types {
				counted += one.Events + one.Duplicates + one.Elsewhere + one.Ignored + one.Malformed
				if one.Elsewhere+one.Ignored > 0 && one.Reason == "" {
					t.Errorf("%s: ignored, but no reason is counted", one.Type)
				}
			}
			if want := items; tt.after < tallyHours*time.Hour && counted != want || tt.after > tallyHours*time.Hour && counted != 0 {
				t.Errorf("%d of %d items were counted", counted, want)
			}
		})
	}
}
