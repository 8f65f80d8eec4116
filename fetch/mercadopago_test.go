package fetch_test

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
)

// mercadopagoAPI is the API as in
// https://www.mercadopago.com.br/developers/en/reference/payments/_payments_id/get and
// https://www.mercadopago.com.br/developers/en/reference/merchant_orders/_merchant_orders_id/get.
var mercadopagoAPI = api{
	config: key("APP_USR-" + secretText),
	header: "Authorization", want: "Bearer APP_USR-" + secretText,
	answers: map[string]string{
		"GET /v1/payments/9100000071":  `{"id":9100000071,"status":"approved","collector_id":5100001}`,
		"GET /v1/payments/9100000072":  `{"id":9100000072,"status":"rejected","collector_id":5100001}`,
		"GET /v1/orders/ORD01TOLL":     `{"id":"ORD01TOLL","status":"processed","user_id":"5100001"}`,
		"GET /merchant_orders/7011000": `{"id":7011000,"status":"closed","payments":[{"id":9100000072},{"id":9100000071}]}`,
	},
	webhooks: []webhookCase{
		{name: "a payment", payload: `{"type":"payment","data":{"id":"another"}}`, query: url.Values{"data.id": {"9100000071"}},
			requests: []string{"GET /v1/payments/9100000071"}, documents: []string{"payment/9100000071"}},
		{name: "the kind in the query", payload: `not JSON`, query: url.Values{"data.id": {"9100000071"}, "type": {"payment"}},
			requests: []string{"GET /v1/payments/9100000071"}, documents: []string{"payment/9100000071"}},
		{name: "an order", payload: `{"type":"order"}`, query: url.Values{"data.id": {"ORD01TOLL"}}, settings: map[string]string{"collector_id": "5100001"},
			requests: []string{"GET /v1/orders/ORD01TOLL"}, documents: []string{"order/ORD01TOLL"}},
		{name: "a merchant order", payload: `{"type":"topic_merchant_order_wh"}`, query: url.Values{"data.id": {"7011000"}}, settings: map[string]string{"collector_id": "5100001"},
			requests:  []string{"GET /merchant_orders/7011000", "GET /v1/payments/9100000072", "GET /v1/payments/9100000071"},
			documents: []string{"merchant_order/7011000", "payment/9100000072", "payment/9100000071"}},
		{name: "a chargeback", payload: `{"type":"topic_chargebacks_wh","data":{"id":"217000087654321000","payment_id":9100000071}}`, query: url.Values{"data.id": {"217000087654321000"}},
			requests: []string{"GET /v1/payments/9100000071"}, documents: []string{"payment/9100000071"}},
		{name: "IPN of a payment", payload: `{"resource":"https://evil.example.com/9100000072","topic":"payment"}`, query: url.Values{"topic": {"payment"}, "id": {"9100000071"}}, unsigned: true,
			requests: []string{"GET /v1/payments/9100000071"}, documents: []string{"payment/9100000071"}},
		{name: "IPN of a merchant order", query: url.Values{"topic": {"merchant_order"}, "id": {"7011000"}}, unsigned: true,
			requests:  []string{"GET /merchant_orders/7011000", "GET /v1/payments/9100000072", "GET /v1/payments/9100000071"},
			documents: []string{"merchant_order/7011000", "payment/9100000072", "payment/9100000071"}},
		{name: "an id that is not signed", payload: `{"type":"payment","data":{"id":"9100000071"}}`},
		{name: "a path in the id", payload: `{"type":"payment"}`, query: url.Values{"data.id": {"../users/me"}}},
		{name: "another kind", payload: `{"type":"point_integration_wh"}`, query: url.Values{"data.id": {"9100000071"}}},
	},
}

// TestMercadopagoAccount: the setting collector_id keeps objects of other accounts out.
func TestMercadopagoAccount(t *testing.T) {
	s := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"id":9100000071,"status":"approved","collector_id":666}`))
	})
	w := fetch.Webhook{Payload: []byte(`{"type":"payment"}`), Query: url.Values{"data.id": {"9100000071"}}, Settings: map[string]string{"collector_id": "5100001"}}
	if _, err := s.Client.Fetch(t.Context(), "mercadopago", mercadopagoAPI.config, w); !errors.Is(err, fetch.ErrAccount) {
		t.Errorf("error %v, want %v", err, fetch.ErrAccount)
	}
}
