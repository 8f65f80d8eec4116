package ingest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
	"github.com/tollbridge/tollbridge/webhook"
)

const molliePayment = `{"resource":"payment","id":"tr_Demo7Kq2","mode":"live","status":"paid","amount":{"value":"25.00","currency":"EUR"},
	"metadata":{"order_id":"order-71"},"method":"ideal","createdAt":"2026-01-01T10:00:00+00:00","paidAt":"2026-01-01T10:02:00+00:00"}`

// TestFetch: the response to a webhook whose object has to be fetched, for each answer of
// the processor's API. Nothing of the answer and no key is logged.
func TestFetch(t *testing.T) {
	const key = "live_secretsecret71"
	for _, tt := range []struct {
		name, body string
		status     int
		answer     string
		header     string // Retry-After of the API
		want       int
		reason     string
		retry      string // Retry-After of the response
		records    int
	}{
		{name: "paid", body: "id=tr_Demo7Kq2", status: 200, answer: molliePayment, want: 200, records: 2},
		{name: "made up", body: "id=tr_Madeup", status: 404, answer: `{"status":404,"title":"Not Found"}`, want: 401, reason: "object_unknown"},
		{name: "another object", body: "id=tr_Another", status: 200, answer: molliePayment, want: 401, reason: "object_unknown"},
		{name: "our key is wrong", body: "id=tr_Demo7Kq2", status: 401, answer: `{}`, want: 503, reason: "api_credentials", retry: "5"},
		{name: "too many requests", body: "id=tr_Demo7Kq2", status: 429, answer: `{}`, header: "17", want: 503, reason: "api_limited", retry: "17"},
		{name: "an error", body: "id=tr_Demo7Kq2", status: 500, answer: "oops-4711", want: 503, reason: "api_unavailable", retry: "5"},
		{name: "not JSON", body: "id=tr_Demo7Kq2", status: 200, answer: "<html>oops-4711", want: 503, reason: "api_unavailable", retry: "5"},
		{name: "not a payment's id", body: "id=tr_../../v2/organizations/me", want: 401, reason: "object_unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) {
				if tt.header != "" {
					w.Header().Set("Retry-After", tt.header)
				}
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.answer))
			})
			b := newBridge(t, func(c *ingest.Config) {
				c.Endpoints = []webhook.Endpoint{{Connector: "mollie", PublicURL: publicURL, Live: true, API: &fetch.API{Keys: []fetch.Key{{Name: "main", Value: key}}}}}
				c.Fetcher = api.Client
			})
			r := httptest.NewRequest(http.MethodPost, "/webhooks/mollie", strings.NewReader(tt.body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			response := b.do(r)
			if response.StatusCode != tt.want || response.Header.Get("Retry-After") != tt.retry || len(b.published()) != tt.records {
				t.Errorf("status %d, Retry-After %q, %d records; want %d, %q, %d\n%s", response.StatusCode, response.Header.Get("Retry-After"), len(b.published()), tt.want, tt.retry, tt.records, b.logs.String())
			}
			logs := b.logs.String()
			if !strings.Contains(logs, `"reason":"`+tt.reason+`"`) && tt.reason != "" {
				t.Errorf("the log does not have the reason %s: %s", tt.reason, logs)
			}
			for _, secret := range []string{key, "embed=", "oops-4711", "order-71\",\"method"} {
				if strings.Contains(logs, secret) {
					t.Errorf("the log has %q: %s", secret, logs)
				}
			}
			if tt.records > 0 {
				record := b.published()[1]
				a, err := webhook.ReadArchived(record.Headers, record.Value)
				if err != nil || a.VouchedBy != webhook.VouchedByFetch || len(a.Fetched) != 1 || string(a.Fetched[0].Body) != molliePayment || string(a.Body) != tt.body {
					t.Errorf("archived %+v, %v", a, err)
				}
			}
		})
	}
}
