package fetch_test

import (
	"errors"
	"net/http"
	"path"
	"slices"
	"testing"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
)

// mollieAPI is the API as in https://docs.mollie.com/reference/get-payment.
var mollieAPI = api{
	config: key("live_" + secretText),
	header: "Authorization", want: "Bearer live_" + secretText,
	answers: map[string]string{
		"GET /v2/payments/tr_Demo7Kq2?embed=refunds%2Cchargebacks%2Ccaptures": `{"id":"tr_Demo7Kq2","mode":"live","status":"paid"}`,
	},
	webhooks: []webhookCase{
		{name: "next-gen, simple", payload: `{"id":"event_Demo1","type":"payment.paid","entityId":"tr_Demo7Kq2"}`,
			requests: []string{"GET /v2/payments/tr_Demo7Kq2?embed=refunds%2Cchargebacks%2Ccaptures"}, documents: []string{"payment/tr_Demo7Kq2"}},
		{name: "classic", payload: "id=tr_Demo7Kq2", unsigned: true,
			requests: []string{"GET /v2/payments/tr_Demo7Kq2?embed=refunds%2Cchargebacks%2Ccaptures"}, documents: []string{"payment/tr_Demo7Kq2"}},
	},
}

// TestMollie: what is asked for each form of webhook.
// https://docs.mollie.com/reference/get-payment
func TestMollie(t *testing.T) {
	const key, token = "live_demo71demo71", "access_demo71demo71"
	const payment = "GET api.mollie.com/v2/payments/tr_Demo7Kq2?embed=refunds%2Cchargebacks%2Ccaptures"
	const link = `{"resource":"event","id":"event_Demo1","type":"payment-link.paid","entityId":"pl_Demo1","_embedded":[]}`
	for _, tt := range []struct {
		name, payload, key string
		environment        fetch.Environment
		unsigned           bool
		want               []string
		err                error
	}{
		{name: "classic", payload: "id=tr_Demo7Kq2", key: key, unsigned: true, want: []string{payment}},
		{name: "classic, an access token in test mode", payload: "id=tr_Demo7Kq2", key: token, environment: fetch.Sandbox, unsigned: true, want: []string{payment + "&testmode=true"}},
		{name: "a path in the id", payload: "id=tr_../../organizations/me", key: key, unsigned: true, err: fetch.ErrNothingToAsk},
		{name: "an escaped path in the id", payload: "id=tr_%2e%2e%2f", key: key, unsigned: true, err: fetch.ErrNothingToAsk},
		{name: "two ids", payload: "id=tr_1&id=tr_2", key: key, unsigned: true, err: fetch.ErrNothingToAsk},
		{name: "not a payment", payload: "id=ord_kEn1PlbGa", key: key, unsigned: true, err: fetch.ErrNothingToAsk},
		{name: "no id", payload: "", key: key, unsigned: true, err: fetch.ErrNothingToAsk},
		{name: "next-gen, simple", payload: `{"id":"event_Demo1","type":"payment.paid","entityId":"tr_Demo7Kq2"}`, key: key, want: []string{payment}},
		{name: "next-gen, with its entity", payload: `{"id":"event_Demo1","type":"payment.paid","entityId":"tr_Demo7Kq2","_embedded":{"entity":{"id":"tr_Demo7Kq2"}}}`, key: key},
		{name: "next-gen, another entity, an API key", payload: link, key: key},
		{name: "next-gen, another entity, an access token", payload: link, key: token, want: []string{"GET api.mollie.com/v2/events/event_Demo1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Authorization"); got != "Bearer "+tt.key {
					t.Errorf("Authorization is %q", got)
				}
				_, _ = w.Write([]byte(`{"id":"` + path.Base(r.URL.Path) + `","mode":"live"}`))
			})
			a := fetch.API{Keys: []fetch.Key{{Name: "main", Value: tt.key}}, Environment: tt.environment}
			w := fetch.Webhook{Payload: []byte(tt.payload), Unsigned: tt.unsigned, Live: true}
			documents, err := s.Client.Fetch(t.Context(), "mollie", a, w)
			if !errors.Is(err, tt.err) || len(documents) != len(tt.want) {
				t.Errorf("%d documents, error %v; want %d, %v", len(documents), err, len(tt.want), tt.err)
			}
			if got := s.Calls(); !slices.Equal(got, tt.want) {
				t.Errorf("asked %q\nwant  %q", got, tt.want)
			}
		})
	}
}

// TestMollieBelongs: an answer for another payment, or in test mode, is not believed.
func TestMollieBelongs(t *testing.T) {
	for body, want := range map[string]error{
		`{"id":"tr_Demo7Kq2","mode":"live"}`:   nil,
		`{"id":"tr_Another","mode":"live"}`:    fetch.ErrAccount,
		`{"id":"tr_Demo7Kq2","mode":"test"}`:   fetch.ErrAccount,
		`["not","a","payment"]`:                fetch.ErrUnavailable,
		`{"mode":"live","amount":{"value":1}}`: fetch.ErrAccount,
	} {
		s := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })
		a := fetch.API{Keys: []fetch.Key{{Name: "main", Value: "live_demo71demo71"}}}
		_, err := s.Client.Fetch(t.Context(), "mollie", a, fetch.Webhook{Payload: []byte("id=tr_Demo7Kq2"), Unsigned: true, Live: true})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", body, err, want)
		}
	}
}
