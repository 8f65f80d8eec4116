package webhook_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// TestUnsigned: a webhook that the processor does not sign makes events if the API knows its
// object, also of an endpoint without a secret, and from the archive. It is refused if the
// API does not know the object, and without an API. A signed webhook cannot be turned into
// an unsigned one with another id.
func TestUnsigned(t *testing.T) {
	const host = "https://pay.example.com/webhooks/"
	for _, tt := range []struct {
		connector, url, body, contentType string
		unknown                           string // the same for an object that the API does not know
		forged                            string // the URL of a signed webhook with a field of the unsigned form
	}{
		{"mollie", host + "mollie", "id=tr_Demo7Kq2", "application/x-www-form-urlencoded", "id=tr_Madeup71", ""},
		{"mercadopago", host + "mercadopago?topic=payment&id=9100000071", `{"resource":"https://api.mercadolibre.com/collections/notifications/9100000071","topic":"payment"}`, "application/json",
			host + "mercadopago?topic=payment&id=666", host + "mercadopago?topic=payment&id=9100000071&data.id=1"},
		{"mercadopago", host + "mercadopago?id=9100000071&topic=payment", "", "", host + "mercadopago?id=666&topic=payment", ""},
	} {
		s := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/v2/payments/tr_Demo7Kq2":
				_, _ = io.WriteString(w, `{"resource":"payment","id":"tr_Demo7Kq2","mode":"live","status":"paid","amount":{"value":"25.00","currency":"EUR"},"metadata":{"order_id":"order-71"},"createdAt":"2026-01-01T10:00:00+00:00","paidAt":"2026-01-01T10:02:00+00:00"}`)
			case "/v1/payments/9100000071":
				_, _ = io.WriteString(w, `{"id":9100000071,"status":"approved","transaction_amount":25,"currency_id":"BRL","captured":true,"live_mode":true,"external_reference":"order-71","date_approved":"2026-01-01T10:02:00.000-03:00"}`)
			default:
				w.WriteHeader(http.StatusNotFound)
			}
		})
		keys, _, _ := sign.Dev(tt.connector)
		with := webhook.Endpoint{Connector: tt.connector, Keys: keys, Live: true, URL: host + tt.connector, API: &fetch.API{Keys: []fetch.Key{{Name: "main", Value: "live_71demo71demo71"}}}, Fetcher: s.Client}
		noSecret := with
		noSecret.Keys.Secrets = nil
		without := with
		without.API = nil
		request := func(url, body string) verify.Request {
			return verify.Request{Method: http.MethodPost, URL: url, Header: http.Header{"Content-Type": {tt.contentType}, "X-Request-Id": {"r-71"}}, Body: []byte(body)}
		}
		now := time.Date(2026, 1, 1, 14, 0, 0, 0, time.UTC)
		for _, e := range []webhook.Endpoint{with, noSecret} {
			v := e.Judge(t.Context(), new(verify.Keyring), request(tt.url, tt.body), now)
			if v.Err != nil || len(v.Events) != 1 || v.Events[0].Type != schemas.PaymentCaptured || v.Events[0].Subject != "order-71" || v.VouchedBy() != webhook.VouchedByFetch {
				t.Fatalf("%s: %+v, %v, vouched by %q", tt.url, v.Events, v.Err, v.VouchedBy())
			}
			_, query, _ := strings.Cut(tt.url, "?")
			archived := webhook.Archived{
				Connector: tt.connector, Endpoint: "default", Method: http.MethodPost, Path: e.Path(), Query: query, Header: http.Header{"Content-Type": {tt.contentType}},
				Body: []byte(tt.body), ReceivedAt: now, VouchedBy: v.VouchedBy(), Fetched: v.Fetched,
			}
			calls := len(s.Calls())
			if again := e.JudgeArchived(t.Context(), new(verify.Keyring), archived); again.Err != nil || len(again.Events) != 1 || again.Events[0].ID != v.Events[0].ID || len(s.Calls()) != calls {
				t.Errorf("%s from the archive: %+v, %v", tt.url, again.Events, again.Err)
			}
		}
		url, body := tt.unknown, tt.body
		if tt.connector == "mollie" {
			url, body = tt.url, tt.unknown
		}
		if v := with.Judge(t.Context(), new(verify.Keyring), request(url, body), now); !errors.Is(v.Err, verify.ErrObject) {
			t.Errorf("%s %s: error %v, want %v", url, body, v.Err, verify.ErrObject)
		}
		if v := without.Judge(t.Context(), new(verify.Keyring), request(tt.url, tt.body), now); !errors.Is(v.Err, verify.ErrMissing) {
			t.Errorf("%s without an API: error %v, want %v", tt.url, v.Err, verify.ErrMissing)
		}
		if tt.forged == "" {
			continue
		}
		r := request(tt.forged, tt.body)
		r.Header.Set("X-Signature", "ts=1,v1=00")
		if v := with.Judge(t.Context(), new(verify.Keyring), r, now); !errors.Is(v.Err, verify.ErrMismatch) {
			t.Errorf("%s: error %v, want %v", tt.forged, v.Err, verify.ErrMismatch)
		}
	}
}
