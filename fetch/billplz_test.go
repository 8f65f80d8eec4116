package fetch_test

import "encoding/base64"

// billplzAPI is the API as in https://www.billplz.com/api#get-a-bill.
var billplzAPI = api{
	config: key(secretText),
	header: "Authorization", want: "Basic " + base64.StdEncoding.EncodeToString([]byte(secretText+":")),
	answers: map[string]string{
		"GET /api/v3/bills/demo71bill": `{"id":"demo71bill","paid":true,"state":"paid","amount":2500,"reference_1_label":"Order","reference_1":"order-71"}`,
	},
	webhooks: []webhookCase{
		{name: "a bill", payload: "id=demo71bill&paid=true&state=paid&amount=2500&paid_amount=2500",
			requests: []string{"GET /api/v3/bills/demo71bill"}, documents: []string{"bill/demo71bill"}},
		{name: "a path in the id", payload: "id=..%2Fdemo71bill&paid=true&state=paid&amount=2500&paid_amount=2500"},
		{name: "a payment order", payload: "id=demo71order&total=2500&status=completed&reference_id=order-71"},
	},
}
