package fetch_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
)

// flutterwaveAPI is the API as in
// https://developer.flutterwave.com/v3.0/docs/transaction-verification.
var flutterwaveAPI = api{
	config: key("FLWSECK-" + secretText),
	header: "Authorization", want: "Bearer FLWSECK-" + secretText,
	answers: map[string]string{"GET /v3/transactions/285959875/verify": `{"status":"success","data":{"id":285959875,"tx_ref":"order-71","amount":150.00,"currency":"NGN","status":"successful"}}`},
	webhooks: []webhookCase{
		{name: "a charge", payload: flutterwaveCharge("order-71", "150", "NGN", "successful"),
			requests: []string{"GET /v3/transactions/285959875/verify"}, documents: []string{"transaction/285959875"}},
		{name: "version 4", payload: `{"type":"charge.completed","data":{"id":"chg_demo71","reference":"order-71"}}`},
		{name: "a transfer", payload: `{"event":"transfer.completed","data":{"id":71,"reference":"payout-71"}}`},
	},
}

func flutterwaveCharge(reference, amount, currency, status string) string {
	return `{"event":"charge.completed","data":{"id":285959875,"tx_ref":"` + reference + `","amount":` + amount + `,"currency":"` + currency + `","status":"` + status + `"}}`
}

// TestProofs: a webhook whose fields no signature covers, and which claims something else
// than the API says, is not believed.
func TestProofs(t *testing.T) {
	for _, tt := range []struct{ connector, name, payload string }{
		{"flutterwave", "another reference", flutterwaveCharge("order-72", "150", "NGN", "successful")},
		{"flutterwave", "another amount", flutterwaveCharge("order-71", "151", "NGN", "successful")},
		{"flutterwave", "an amount that is none", flutterwaveCharge("order-71", "15e1", "NGN", "successful")},
		{"flutterwave", "another currency", flutterwaveCharge("order-71", "150", "USD", "successful")},
		{"midtrans", "another order", midtransNotification("order-72", "200", "25000.00", "settlement", "")},
		{"midtrans", "another amount", midtransNotification("order-71", "200", "25001.00", "settlement", "")},
		{"midtrans", "a refund that is none", midtransNotification("order-71", "200", "25000.00", "refund", "")},
		{"xendit", "another amount", xenditCapture("order-71", "25001", "SUCCEEDED")},
		{"xendit", "another reference", xenditCapture("order-72", "25000", "SUCCEEDED")},
		{"xendit", "another amount of an invoice", xenditInvoicePaid("25001", "PAID")},
	} {
		a := apis[tt.connector]
		answer := a.answers[a.webhooks[0].requests[0]]
		if tt.name == "another amount of an invoice" {
			answer = a.answers[a.webhooks[1].requests[0]]
		}
		s := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) })
		_, err := s.Client.Fetch(t.Context(), tt.connector, a.config, fetch.Webhook{Payload: []byte(tt.payload), Live: true})
		if !errors.Is(err, fetch.ErrAccount) {
			t.Errorf("%s: %s: %v, want %v", tt.connector, tt.name, err, fetch.ErrAccount)
		}
	}
}

// TestProofOfSuccess: a webhook that claims a success is not believed while the API says
// that there is none.
func TestProofOfSuccess(t *testing.T) {
	for connector, answer := range map[string]string{
		"flutterwave": `{"status":"success","data":{"id":285959875,"tx_ref":"order-71","amount":150,"currency":"NGN","status":"failed"}}`,
		"midtrans":    `{"status_code":"200","order_id":"order-71","gross_amount":"25000.00","transaction_status":"expire"}`,
		"xendit":      `{"payment_id":"py-demo71","reference_id":"order-71","request_amount":25000,"currency":"IDR","status":"PENDING"}`,
	} {
		a := apis[connector]
		s := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) })
		if _, err := s.Client.Fetch(t.Context(), connector, a.config, a.webhooks[0].webhook()); !errors.Is(err, fetch.ErrAccount) {
			t.Errorf("%s: %v, want %v", connector, err, fetch.ErrAccount)
		}
	}
}

// TestUnknownByBody: some APIs do not say by 404 that they do not know an object.
func TestUnknownByBody(t *testing.T) {
	for _, tt := range []struct {
		connector string
		status    int
		body      string
	}{
		{"flutterwave", http.StatusBadRequest, `{"status":"error","message":"No transaction was found for this id","data":null}`},
		{"midtrans", http.StatusOK, `{"status_code":"404","status_message":"Transaction doesn't exist."}`},
	} {
		a := apis[tt.connector]
		s := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.status)
			_, _ = w.Write([]byte(tt.body))
		})
		if _, err := s.Client.Fetch(t.Context(), tt.connector, a.config, a.webhooks[0].webhook()); !errors.Is(err, fetch.ErrUnknownObject) {
			t.Errorf("%s: %v, want %v", tt.connector, err, fetch.ErrUnknownObject)
		}
	}
}
