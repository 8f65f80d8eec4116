package fetch_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
)

// recurlyAPI is the API as in https://github.com/recurly/recurly-client-go,
// openapi/api.yaml.
var recurlyAPI = api{
	config: key(secretText),
	header: "Authorization", want: "Basic " + base64.StdEncoding.EncodeToString([]byte(secretText+":")),
	accepts: func(r *http.Request) error { return wants(r, "Accept", "application/vnd.recurly.v2021-02-25") },
	answers: map[string]string{
		"GET /transactions/tdemo71abcde": `{"id":"tdemo71abcde","object":"transaction","uuid":"6a0demo71","type":"refund","amount":5.5,"currency":"USD"}`,
		"GET /invoices/idemo71abcdef":    `{"id":"idemo71abcdef","object":"invoice","number":"1071","total":25.5,"currency":"USD"}`,
	},
	webhooks: []webhookCase{
		{name: "a transaction", payload: recurlyEvent("payment", "refunded", "tdemo71abcde"),
			requests: []string{"GET /transactions/tdemo71abcde"}, documents: []string{"transaction/tdemo71abcde"}},
		{name: "an invoice that reports the payment", payload: recurlyEvent("charge_invoice", "paid", "idemo71abcdef"), settings: map[string]string{"tells": "invoices"},
			requests: []string{"GET /invoices/idemo71abcdef"}, documents: []string{"invoice/idemo71abcdef"}},
		{name: "an invoice that does not", payload: recurlyEvent("charge_invoice", "paid", "idemo71abcdef")},
		{name: "a payment that an invoice reports", payload: recurlyEvent("payment", "succeeded", "tdemo71abcde"), settings: map[string]string{"tells": "invoices"}},
		{name: "an account", payload: recurlyEvent("account", "created", "ademo71abcde")},
	},
}

func recurlyEvent(object, event, id string) string {
	return `{"id":"` + id + `","object_type":"` + object + `","site_id":"s1","event_type":"` + event + `","event_time":"2026-01-03T10:00:00Z","uuid":"6a0demo71"}`
}

// TestRecurlyEurope: the European host is asked if it is configured, and no other.
func TestRecurlyEurope(t *testing.T) {
	s := fetchtest.New(t, recurlyAPI.serve)
	a := recurlyAPI.config
	a.Host = "v3.eu.recurly.com"
	if err := fetch.Check("recurly", a); err != nil {
		t.Error(err)
	}
	if _, err := s.Client.Fetch(t.Context(), "recurly", a, recurlyAPI.webhooks[0].webhook()); err != nil || !strings.HasPrefix(s.Calls()[0], "GET v3.eu.recurly.com/") {
		t.Errorf("asked %q, %v", s.Calls(), err)
	}
	a.Host = "recurly.example"
	if fetch.Check("recurly", a) == nil {
		t.Error("another host is accepted")
	}
}
