package fetch_test

import (
	"testing"

	"github.com/tollbridge/tollbridge/fetch"
)

// btcpayAPI is the API as in https://github.com/btcpayserver/btcpayserver,
// BTCPayServer/wwwroot/swagger/v1/swagger.template.invoices.json.
var btcpayAPI = api{
	config: fetch.API{Keys: []fetch.Key{{Name: "main", Value: secretText}}, Host: "btcpay.shop.example"},
	header: "Authorization", want: "token " + secretText,
	answers: map[string]string{
		"GET /api/v1/stores/StoreDemo1/invoices/InvDemo71": `{"id":"InvDemo71","storeId":"StoreDemo1","amount":"25.00","paidAmount":"25.00","currency":"EUR","status":"Settled","metadata":{"orderId":"order-71"}}`,
	},
	webhooks: []webhookCase{
		{name: "an invoice", payload: `{"deliveryId":"d1","type":"InvoiceSettled","storeId":"StoreDemo1","invoiceId":"InvDemo71"}`,
			requests: []string{"GET /api/v1/stores/StoreDemo1/invoices/InvDemo71"}, documents: []string{"invoice/InvDemo71"}},
		{name: "a test delivery", payload: `{"deliveryId":"d1","type":"InvoiceSettled","storeId":"StoreDemo1","invoiceId":"__test__abc__test__"}`},
		{name: "a payout", payload: `{"deliveryId":"d1","type":"PayoutApproved","storeId":"StoreDemo1","payoutId":"PayDemo71"}`},
	},
}

// TestBtcpayHost: the merchant's server is needed, as a host.
func TestBtcpayHost(t *testing.T) {
	for _, host := range []string{"", "https://btcpay.shop.example", "btcpay.shop.example/api", "user@btcpay.shop.example", "btcpay"} {
		a := btcpayAPI.config
		a.Host = host
		if fetch.Check("btcpay", a) == nil {
			t.Errorf("the host %q is accepted", host)
		}
	}
}
