package fetch_test

// portoneAPI is the API as in https://github.com/portone-io/server-sdk,
// javascript/src/generated/payment/client.ts.
var portoneAPI = api{
	config: key(secretText),
	header: "Authorization", want: "PortOne " + secretText,
	answers: map[string]string{
		"GET /payments/order-71?storeId=store-demo":              `{"status":"PAID","id":"order-71","transactionId":"0191-demo-71","storeId":"store-demo"}`,
		"GET /payments/order%2F71%20%23%3F?storeId=store-demo":   `{"status":"PAID","id":"order/71 #?","transactionId":"0191-demo-71","storeId":"store-demo"}`,
		"GET /payments/order-71/transactions?storeId=store-demo": `{"items":[{"status":"FAILED","id":"0191-demo-70","paymentId":"order-71","storeId":"store-demo"},{"status":"PAID","id":"0191-demo-71","paymentId":"order-71","storeId":"store-demo"}]}`,
	},
	webhooks: []webhookCase{
		{name: "a payment", payload: portoneEvent("Transaction.Paid", "order-71", "0191-demo-71"),
			requests: []string{"GET /payments/order-71?storeId=store-demo"}, documents: []string{"payment/order-71"}},
		{name: "a payment whose id is any text", payload: portoneEvent("Transaction.Paid", "order/71 #?", "0191-demo-71"),
			requests: []string{"GET /payments/order%2F71%20%23%3F?storeId=store-demo"}, documents: []string{"payment/order/71 #?"}},
		{name: "an earlier attempt", payload: portoneEvent("Transaction.Failed", "order-71", "0191-demo-70"),
			requests:  []string{"GET /payments/order-71?storeId=store-demo", "GET /payments/order-71/transactions?storeId=store-demo"},
			documents: []string{"payment/order-71", "transactions/order-71"}},
		{name: "a billing key", payload: `{"type":"BillingKey.Issued","data":{"billingKey":"bk","storeId":"store-demo"}}`},
		{name: "the payer looks at it", payload: portoneEvent("Transaction.Ready", "order-71", "0191-demo-71")},
	},
}

func portoneEvent(typ, payment, transaction string) string {
	return `{"type":"` + typ + `","timestamp":"2026-01-01T01:00:00.000Z","data":{"paymentId":"` + payment + `","transactionId":"` + transaction + `","storeId":"store-demo"}}`
}
