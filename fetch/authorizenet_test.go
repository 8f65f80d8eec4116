package fetch_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
)

// authorizenetAPI is the API as in
// https://developer.authorize.net/api/reference/index.html#transaction-reporting-get-transaction-details.
var authorizenetAPI = api{
	config: fetch.API{Keys: []fetch.Key{{Name: "main", Value: secretText}}, ClientID: "demo-login"},
	accepts: func(r *http.Request) error {
		body, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		want := `{"getTransactionDetailsRequest":{"merchantAuthentication":{"name":"demo-login","transactionKey":"` + secretText + `"},"transId":"60123456789"}}`
		if string(body) != want {
			return fmt.Errorf("the body is %s, %v", body, err)
		}
		return wants(r, "Content-Type", "application/json")
	},
	answers: map[string]string{
		"POST /xml/v1/request.api": "\ufeff" + `{"transaction":{"transId":"60123456789","refTransId":"60123456700","order":{"invoiceNumber":"order-71"}},"messages":{"resultCode":"Ok","message":[{"code":"I00001","text":"Successful."}]}}`,
	},
	webhooks: []webhookCase{
		{name: "a refund", payload: `{"notificationId":"n1","eventType":"net.authorize.payment.refund.created","payload":{"id":"60123456789","invoiceNumber":"order-71"}}`,
			requests: []string{"POST /xml/v1/request.api"}, documents: []string{"transaction/60123456789"}},
		{name: "a payment without a reference", payload: `{"notificationId":"n1","eventType":"net.authorize.payment.authcapture.created","payload":{"id":"60123456789"}}`,
			requests: []string{"POST /xml/v1/request.api"}, documents: []string{"transaction/60123456789"}},
		{name: "a payment with one", payload: `{"notificationId":"n1","eventType":"net.authorize.payment.authcapture.created","payload":{"id":"60123456789","invoiceNumber":"order-71"}}`},
		{name: "a customer", payload: `{"notificationId":"n1","eventType":"net.authorize.customer.created","payload":{"id":"60123456789"}}`},
	},
}

// TestAuthorizenetErrors: the code in an answer says what is wrong, because all answers
// have the status 200.
func TestAuthorizenetErrors(t *testing.T) {
	for code, want := range map[string]error{"E00040": fetch.ErrUnknownObject, "E00007": fetch.ErrCredentials, "E00011": fetch.ErrCredentials, "E00001": fetch.ErrUnavailable} {
		s := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "\ufeff"+`{"messages":{"resultCode":"Error","message":[{"code":%q,"text":"oops"}]}}`, code)
		})
		if _, err := s.Client.Fetch(t.Context(), "authorizenet", authorizenetAPI.config, authorizenetAPI.webhooks[0].webhook()); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", code, err, want)
		}
	}
}
