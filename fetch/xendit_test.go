package fetch_test

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// xenditAPI is the API as in https://docs.xendit.co/apidocs/get-payment and
// https://docs.xendit.co/apidocs/get-invoice.
var xenditAPI = api{
	config: key("xnd_production_" + secretText),
	header: "Authorization", want: "Basic " + base64.StdEncoding.EncodeToString([]byte("xnd_production_"+secretText+":")),
	accepts: func(r *http.Request) error {
		if strings.HasPrefix(r.URL.Path, "/v3/") {
			return wants(r, "api-version", "2024-11-11")
		}
		return nil
	},
	answers: map[string]string{
		"GET /v3/payments/py-demo71":                `{"payment_id":"py-demo71","reference_id":"order-71","request_amount":25000,"currency":"IDR","status":"SUCCEEDED"}`,
		"GET /v2/invoices/0123456789abcdef01234567": `{"id":"0123456789abcdef01234567","external_id":"order-71","amount":25000,"currency":"IDR","status":"SETTLED"}`,
	},
	webhooks: []webhookCase{
		{name: "a payment", payload: xenditCapture("order-71", "25000", "SUCCEEDED"), requests: []string{"GET /v3/payments/py-demo71"}, documents: []string{"payment/py-demo71"}},
		{name: "an invoice", payload: xenditInvoicePaid("25000", "PAID"), requests: []string{"GET /v2/invoices/0123456789abcdef01234567"}, documents: []string{"invoice/0123456789abcdef01234567"}},
		{name: "a payout", payload: `{"event":"payout.succeeded","data":{"id":"disb-1"}}`},
	},
}

func xenditCapture(reference, amount, status string) string {
	return `{"event":"payment.capture","business_id":"b1","data":{"payment_id":"py-demo71","reference_id":"` + reference + `","request_amount":` + amount + `,"currency":"IDR","status":"` + status + `"}}`
}

func xenditInvoicePaid(amount, status string) string {
	return `{"id":"0123456789abcdef01234567","external_id":"order-71","user_id":"u1","amount":` + amount + `,"currency":"IDR","status":"` + status + `"}`
}
