package fetch_test

import "net/http"

// squareAPI is the API as in
// https://developer.squareup.com/reference/square/payments-api/get-payment.
var squareAPI = api{
	config: key(secretText),
	header: "Authorization", want: "Bearer " + secretText,
	accepts: func(r *http.Request) error { return wants(r, "Square-Version", "2025-01-23") },
	answers: map[string]string{"GET /v2/payments/PayDemo71": `{"payment":{"id":"PayDemo71","status":"COMPLETED","reference_id":"order-71","order_id":"OrdDemo71"}}`},
	webhooks: []webhookCase{
		{name: "a refund", payload: `{"merchant_id":"M1","type":"refund.updated","event_id":"e1","data":{"object":{"refund":{"id":"RefDemo71","payment_id":"PayDemo71"}}}}`,
			requests: []string{"GET /v2/payments/PayDemo71"}, documents: []string{"payment/PayDemo71"}},
		{name: "a dispute", payload: `{"merchant_id":"M1","type":"dispute.created","event_id":"e1","data":{"object":{"dispute":{"id":"DisDemo71","disputed_payment":{"payment_id":"PayDemo71"}}}}}`,
			requests: []string{"GET /v2/payments/PayDemo71"}, documents: []string{"payment/PayDemo71"}},
		{name: "a payment", payload: `{"merchant_id":"M1","type":"payment.updated","event_id":"e1","data":{"object":{"payment":{"id":"PayDemo71"}}}}`},
	},
}
