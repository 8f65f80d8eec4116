package fetch_test

import "encoding/base64"

// midtransAPI is the API as in https://docs.midtrans.com/docs/get-status-api-requests.
var midtransAPI = api{
	config: key("Mid-server-" + secretText),
	header: "Authorization", want: "Basic " + base64.StdEncoding.EncodeToString([]byte("Mid-server-"+secretText+":")),
	answers: map[string]string{
		"GET /v2/order-71/status":       `{"status_code":"200","order_id":"order-71","gross_amount":"25000.00","transaction_status":"settlement"}`,
		"GET /v2/order%2371%2F1/status": `{"status_code":"200","order_id":"order#71/1","gross_amount":"25000.00","transaction_status":"settlement"}`,
		"GET /v2/order-73/status":       `{"status_code":"200","order_id":"order-73","gross_amount":"25000.00","transaction_status":"partial_refund","refunds":[{"refund_chargeback_id":1,"refund_amount":"5000.00"},{"refund_chargeback_id":2,"refund_amount":"6000.00"}]}`,
	},
	webhooks: []webhookCase{
		{name: "a settlement", payload: midtransNotification("order-71", "200", "25000.00", "settlement", ""), requests: []string{"GET /v2/order-71/status"}, documents: []string{"status/order-71"}},
		{name: "an earlier state", payload: midtransNotification("order-71", "201", "25000.00", "pending", ""), requests: []string{"GET /v2/order-71/status"}, documents: []string{"status/order-71"}},
		{name: "an id with signs", payload: midtransNotification("order#71/1", "200", "25000.00", "settlement", ""), requests: []string{"GET /v2/order%2371%2F1/status"}, documents: []string{"status/order#71/1"}},
		{name: "a refund", payload: midtransNotification("order-73", "200", "25000.00", "partial_refund", `,"refunds":[{"refund_chargeback_id":1,"refund_amount":"5000.00"}]`), requests: []string{"GET /v2/order-73/status"}, documents: []string{"status/order-73"}},
		{name: "a pay account", payload: `{"account_id":"a-1","account_status":"ENABLED","status_code":"200"}`},
	},
}

func midtransNotification(order, code, amount, status, more string) string {
	return `{"order_id":"` + order + `","status_code":"` + code + `","gross_amount":"` + amount + `","transaction_status":"` + status + `"` + more + `}`
}
