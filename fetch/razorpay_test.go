package fetch_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"testing"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
)

// razorpayAPI is the API as in https://razorpay.com/docs/api/orders/fetch-with-id/.
var razorpayAPI = api{
	config: fetch.API{Keys: []fetch.Key{{Name: "main", Value: secretText}}, ClientID: "rzp_live_demo71"},
	header: "Authorization", want: "Basic " + base64.StdEncoding.EncodeToString([]byte("rzp_live_demo71:"+secretText)),
	answers: map[string]string{"GET /v1/orders/order_Demo71": `{"id":"order_Demo71","entity":"order","receipt":"order-71","notes":[]}`},
	webhooks: []webhookCase{
		{name: "a payment of an order", payload: `{"event":"payment.captured","payload":{"payment":{"entity":{"id":"pay_Demo71","order_id":"order_Demo71","notes":[]}}}}`,
			requests: []string{"GET /v1/orders/order_Demo71"}, documents: []string{"order/order_Demo71"}},
		{name: "with the merchant's id", payload: `{"event":"payment.captured","payload":{"payment":{"entity":{"id":"pay_Demo71","order_id":"order_Demo71","notes":{"order_id":"order-71"}}}}}`},
		{name: "with the order", payload: `{"event":"order.paid","payload":{"payment":{"entity":{"id":"pay_Demo71","order_id":"order_Demo71"}},"order":{"entity":{"id":"order_Demo71"}}}}`},
		{name: "without an order", payload: `{"event":"payment.captured","payload":{"payment":{"entity":{"id":"pay_Demo71","order_id":null}}}}`},
	},
}

// TestRazorpayUnknown: only the description tells an unknown order from another wrong
// request, because both have the status 400.
func TestRazorpayUnknown(t *testing.T) {
	for body, want := range map[string]error{
		`{"error":{"code":"BAD_REQUEST_ERROR","description":"The id provided does not exist"}}`: fetch.ErrUnknownObject,
		`{"error":{"code":"BAD_REQUEST_ERROR","description":"Please provide your api key"}}`:    fetch.ErrUnavailable,
		`not JSON`: fetch.ErrUnavailable,
	} {
		s := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, body, http.StatusBadRequest) })
		if _, err := s.Client.Fetch(t.Context(), "razorpay", razorpayAPI.config, razorpayAPI.webhooks[0].webhook()); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", body, err, want)
		}
	}
}
