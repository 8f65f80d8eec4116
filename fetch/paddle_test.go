package fetch_test

import "net/http"

// paddleAPI is the API as in
// https://developer.paddle.com/api-reference/transactions/get-transaction.
var paddleAPI = api{
	config: key("pdl_live_apikey_" + secretText),
	header: "Authorization", want: "Bearer pdl_live_apikey_" + secretText,
	accepts: func(r *http.Request) error { return wants(r, "Paddle-Version", "1") },
	answers: map[string]string{"GET /transactions/txn_01demo71": `{"data":{"id":"txn_01demo71","status":"completed","custom_data":{"order_id":"order-71"}}}`},
	webhooks: []webhookCase{
		{name: "an adjustment", payload: `{"event_id":"evt_01demo71","event_type":"adjustment.updated","data":{"id":"adj_01demo71","transaction_id":"txn_01demo71"}}`,
			requests: []string{"GET /transactions/txn_01demo71"}, documents: []string{"transaction/txn_01demo71"}},
		{name: "a transaction", payload: `{"event_id":"evt_01demo71","event_type":"transaction.completed","data":{"id":"txn_01demo71"}}`},
	},
}
