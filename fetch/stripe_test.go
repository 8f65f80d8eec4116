package fetch_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
)

// stripeAPI is the API as in https://docs.stripe.com/api/events/retrieve,
// https://docs.stripe.com/api/payment_intents/retrieve and https://docs.stripe.com/context.
var stripeAPI = api{
	config: key("rk_live_" + secretText),
	header: "Authorization", want: "Bearer rk_live_" + secretText,
	accepts: func(r *http.Request) error {
		return errors.Join(wants(r, "Stripe-Version", "2025-03-31.basil"), wants(r, "Stripe-Context", "acct_Demo71"))
	},
	answers: map[string]string{
		"GET /v1/events/evt_1Demo71":                       `{"id":"evt_1Demo71","object":"event","livemode":true,"type":"payment_intent.succeeded"}`,
		"GET /v1/payment_intents/pi_Demo71":                `{"id":"pi_Demo71","object":"payment_intent","livemode":true}`,
		"GET /v1/disputes/dp_Demo71":                       `{"id":"dp_Demo71","object":"dispute","livemode":true}`,
		"GET /v1/radar/early_fraud_warnings/issfr_Demo71":  `{"id":"issfr_Demo71","livemode":true}`,
		"GET /v1/checkout/sessions/cs_live_a1B2c3D4e5Demo": `{"id":"cs_live_a1B2c3D4e5Demo","livemode":true}`,
	},
	webhooks: []webhookCase{
		{name: "the event with the object", payload: stripeThin("payment_intent.succeeded", "pi_Demo71", `,"snapshot_event":"evt_1Demo71"`),
			requests: []string{"GET /v1/events/evt_1Demo71"}, documents: []string{"event/evt_1Demo71"}},
		{name: "the object", payload: stripeThin("payment_intent.succeeded", "pi_Demo71", ""),
			requests: []string{"GET /v1/payment_intents/pi_Demo71"}, documents: []string{"payment_intent/pi_Demo71"}},
		{name: "a dispute", payload: stripeThin("charge.dispute.created", "dp_Demo71", ""),
			requests: []string{"GET /v1/disputes/dp_Demo71"}, documents: []string{"charge.dispute/dp_Demo71"}},
		{name: "a session", payload: stripeThin("checkout.session.expired", "cs_live_a1B2c3D4e5Demo", ""),
			requests: []string{"GET /v1/checkout/sessions/cs_live_a1B2c3D4e5Demo"}, documents: []string{"checkout.session/cs_live_a1B2c3D4e5Demo"}},
		{name: "a fraud warning", payload: stripeThin("radar.early_fraud_warning.created", "issfr_Demo71", ""),
			requests: []string{"GET /v1/radar/early_fraud_warnings/issfr_Demo71"}, documents: []string{"radar.early_fraud_warning/issfr_Demo71"}},
		{name: "a charge, which may have changed", payload: stripeThin("charge.captured", "ch_Demo71", "")},
		{name: "not a payment", payload: stripeThin("customer.created", "cus_Demo71", `,"snapshot_event":"evt_1Demo71"`)},
		{name: "a snapshot event", payload: `{"id":"evt_1","object":"event","type":"payment_intent.succeeded","data":{"object":{"id":"pi_Demo71"}}}`},
	},
}

func stripeThin(typ, id, more string) string {
	return `{"id":"evt_thin_Demo71","object":"v2.core.event","type":"v1.` + typ + `","created":"2026-01-01T10:00:00.000Z","livemode":true,"context":"acct_Demo71",` +
		`"related_object":{"id":"` + id + `","type":"x","url":"https://elsewhere.example/v1/` + id + `"}` + more + `}`
}

// TestStripeOldEvent: the object is asked for once it is certain that Stripe does not have
// the event, which it keeps for 30 days.
func TestStripeOldEvent(t *testing.T) {
	s := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/events/") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		stripeAPI.serve(w, r)
	})
	now := time.Now()
	s.Client.Now = func() time.Time { return now }
	w := stripeAPI.webhooks[0].webhook()
	if _, err := s.Client.Fetch(t.Context(), "stripe", stripeAPI.config, w); !errors.Is(err, fetch.ErrUnknownObject) {
		t.Errorf("at once: %v, want %v", err, fetch.ErrUnknownObject)
	}
	now = now.Add(time.Hour)
	documents, err := s.Client.Fetch(t.Context(), "stripe", stripeAPI.config, w)
	if err != nil || len(documents) != 2 || documents[1].Name != "payment_intent/pi_Demo71" || documents[1].Status != http.StatusOK {
		t.Errorf("an hour later: %+v, %v; want the object", documents, err)
	}
	if calls := s.Calls(); !slices.ContainsFunc(calls, func(c string) bool { return strings.HasSuffix(c, "/v1/payment_intents/pi_Demo71") }) {
		t.Errorf("asked %q", calls)
	}
}
