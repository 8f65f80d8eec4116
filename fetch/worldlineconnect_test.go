package fetch_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/fetch"
)

// worldlineConnectAPI is the API as in
// https://apireference.connect.worldline-solutions.com/s2sapi/v1/en_US/java/payments/get.html
// and https://apireference.connect.worldline-solutions.com/fileserviceapi/v1/en_US/go/authentication.html.
var worldlineConnectAPI = api{
	config: fetch.API{Keys: []fetch.Key{{Name: "main", Value: secretText}}, ClientID: "key-id-71", Host: "api.connect.worldline-solutions.com"},
	accepts: func(r *http.Request) error {
		mac := hmac.New(sha256.New, []byte(secretText))
		fmt.Fprintf(mac, "GET\n\n%s\n%s\n", r.Header.Get("Date"), r.URL.RequestURI())
		date, err := time.Parse(http.TimeFormat, r.Header.Get("Date"))
		if since := time.Since(date); err == nil && (since < -time.Minute || since > time.Minute) {
			err = errors.New("the date is not now")
		}
		return errors.Join(err, wants(r, "Authorization", "GCS v1HMAC:key-id-71:"+base64.StdEncoding.EncodeToString(mac.Sum(nil))))
	},
	answers: map[string]string{
		"GET /v1/20001/payments/00000200010000000001": `{"id":"00000200010000000001","status":"CAPTURED","paymentOutput":{"references":{"merchantReference":"order-71"}}}`,
	},
	webhooks: []webhookCase{
		{name: "a dispute", payload: `{"apiVersion":"v1","id":"e1","merchantId":"20001","type":"dispute.created","dispute":{"id":"dsp-501","paymentId":"00000200010000000001"}}`,
			requests: []string{"GET /v1/20001/payments/00000200010000000001"}, documents: []string{"payment/00000200010000000001"}},
		{name: "a refund", payload: `{"apiVersion":"v1","id":"e1","merchantId":"20001","type":"refund.refunded","refund":{"id":"r-1"}}`},
	},
}

// TestHostForms: a host that is configured has the form of the processor's hosts. The key is
// sent to it.
func TestHostForms(t *testing.T) {
	for _, tt := range []struct {
		connector, host string
		ok              bool
	}{
		{"worldline-connect", "api.connect.worldline-solutions.com", true},
		{"worldline-connect", "eu.sandbox.api-ingenico.com", true},
		{"worldline-connect", "worldline-solutions.com", false},
		{"worldline-connect", "evil-worldline-solutions.com", false},
		{"worldline-connect", "api.connect.worldline-solutions.com.evil.example", false},
		{"worldline-connect", "api.connect.worldline-solutions.com:444", false},
		{"worldline-connect", "a/b.worldline-solutions.com", false},
		{"shopify", "demo-71.myshopify.com", true},
		{"shopify", "demo.example.com", false},
		{"shopify", "demo.myshopify.com.evil.example", false},
		{"shopify", "evil.example/demo.myshopify.com", false},
		{"shopify", "a.b.myshopify.com", false},
		{"shopify", "user@demo.myshopify.com", false},
		{"shopify", "https://demo.myshopify.com", false},
		{"shopify", "", false},
	} {
		a := fetch.API{Keys: []fetch.Key{{Name: "main", Value: secretText}}, Host: tt.host}
		if c, _ := fetch.Lookup(tt.connector); c.ClientID != "" {
			a.ClientID = "id-71"
		}
		err := fetch.Check(tt.connector, a)
		if (err == nil) != tt.ok || err != nil && !strings.Contains(err.Error(), "api.host") {
			t.Errorf("%s %q: %v", tt.connector, tt.host, err)
		}
	}
}
