package fetch_test

import (
	"net/url"

	"github.com/tollbridge/tollbridge/fetch"
)

// paypalAPI is the API as in
// https://github.com/paypal/paypal-rest-api-specifications, openapi/payments_payment_v2.json and
// https://developer.paypal.com/docs/api/customer-disputes/v1/#disputes_get.
var paypalAPI = api{
	config: fetch.API{Keys: []fetch.Key{{Name: "main", Value: secretText}}, ClientID: "demo-client"},
	header: "Authorization", want: "Bearer " + demoToken,
	tokenPath: "/v1/oauth2/token",
	tokenForm: url.Values{"grant_type": {"client_credentials"}, "client_id": {"demo-client"}, "client_secret": {secretText}},
	answers: map[string]string{
		"GET /v2/payments/captures/CAPDEMO71":    `{"id":"CAPDEMO71","status":"PARTIALLY_REFUNDED","invoice_id":"order-71"}`,
		"GET /v1/customer/disputes/PP-D-DEMO-71": `{"dispute_id":"PP-D-DEMO-71","disputed_transactions":[{"seller_transaction_id":"CAPDEMO71","invoice_number":"order-71"}]}`,
	},
	webhooks: []webhookCase{
		{name: "a refund", payload: paypalRefunded(``), requests: []string{"GET /v2/payments/captures/CAPDEMO71"}, documents: []string{"capture/CAPDEMO71"}},
		{name: "a refund with the merchant's id", payload: paypalRefunded(`"invoice_id":"order-71",`)},
		{name: "a dispute", payload: `{"id":"WH-1","event_type":"CUSTOMER.DISPUTE.UPDATED","resource":{"dispute_id":"PP-D-DEMO-71"}}`,
			requests: []string{"GET /v1/customer/disputes/PP-D-DEMO-71"}, documents: []string{"dispute/PP-D-DEMO-71"}},
		{name: "a dispute with its transaction", payload: `{"id":"WH-1","event_type":"CUSTOMER.DISPUTE.CREATED","resource":{"dispute_id":"PP-D-DEMO-71","disputed_transactions":[{"seller_transaction_id":"CAPDEMO71"}]}}`},
		{name: "a capture", payload: `{"id":"WH-1","event_type":"PAYMENT.CAPTURE.COMPLETED","resource":{"id":"CAPDEMO71"}}`},
	},
}

func paypalRefunded(more string) string {
	return `{"id":"WH-1","event_type":"PAYMENT.CAPTURE.REFUNDED","resource":{"id":"REFDEMO71",` + more +
		`"links":[{"rel":"self","href":"https://api.paypal.com/v2/payments/refunds/REFDEMO71"},{"rel":"up","href":"https://elsewhere.example/v2/payments/captures/CAPDEMO71"}]}}`
}
