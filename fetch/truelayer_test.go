package fetch_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
)

// truelayerAPI is the API as in https://docs.truelayer.com/docs/get-data-about-a-payment
// and https://docs.truelayer.com/docs/generate-an-access-token.
var truelayerAPI = api{
	config: fetch.API{Keys: []fetch.Key{{Name: "main", Value: secretText}}, ClientID: "demo-client"},
	header: "Authorization", want: "Bearer " + demoToken,
	tokenPath: "/connect/token",
	tokenForm: url.Values{"grant_type": {"client_credentials"}, "client_id": {"demo-client"}, "client_secret": {secretText}, "scope": {"payments"}},
	answers: map[string]string{
		"GET /v3/payments/0a1b2c3d-demo-71":                          `{"id":"0a1b2c3d-demo-71","amount_in_minor":2500,"currency":"GBP"}`,
		"GET /v3/payments/0a1b2c3d-demo-71/refunds/1a1b2c3d-demo-72": `{"id":"1a1b2c3d-demo-72","amount_in_minor":500,"currency":"GBP"}`,
		"GET /v3/payouts/2a1b2c3d-demo-73":                           `{"id":"2a1b2c3d-demo-73","amount_in_minor":900,"currency":"GBP"}`,
	},
	webhooks: []webhookCase{
		{name: "a payment", payload: `{"type":"payment_settled","event_id":"e1","payment_id":"0a1b2c3d-demo-71"}`,
			requests: []string{"GET /v3/payments/0a1b2c3d-demo-71"}, documents: []string{"payment/0a1b2c3d-demo-71"}},
		{name: "a refund", payload: `{"type":"refund_executed","event_id":"e1","payment_id":"0a1b2c3d-demo-71","refund_id":"1a1b2c3d-demo-72"}`,
			requests: []string{"GET /v3/payments/0a1b2c3d-demo-71/refunds/1a1b2c3d-demo-72"}, documents: []string{"refund/1a1b2c3d-demo-72"}},
		{name: "a payout", payload: `{"type":"payout_executed","event_id":"e1","payout_id":"2a1b2c3d-demo-73"}`,
			requests: []string{"GET /v3/payouts/2a1b2c3d-demo-73"}, documents: []string{"payout/2a1b2c3d-demo-73"}},
		{name: "a payment into another account", payload: `{"type":"payment_executed","event_id":"e1","payment_id":"0a1b2c3d-demo-71"}`, settings: map[string]string{"beneficiary": "external_account"}},
		{name: "a mandate", payload: `{"type":"mandate_authorized","event_id":"e1","mandate_id":"3a1b2c3d-demo-74"}`},
	},
}

// TestTruelayerToken: the token is of the environment, and one is enough for many
// webhooks.
func TestTruelayerToken(t *testing.T) {
	s := fetchtest.New(t, truelayerAPI.serve)
	a := truelayerAPI.config
	a.Environment = fetch.Sandbox
	for range 3 {
		if _, err := s.Client.Fetch(t.Context(), "truelayer", a, truelayerAPI.webhooks[0].webhook()); err != nil {
			t.Fatal(err)
		}
	}
	calls := s.Calls()
	if len(calls) != 4 || calls[0] != "POST auth.truelayer-sandbox.com/connect/token" || !strings.HasPrefix(calls[1], "GET api.truelayer-sandbox.com/") {
		t.Errorf("asked %q, want one token and three payments of the sandbox", calls)
	}
}
