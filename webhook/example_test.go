package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// A program that receives its webhooks itself verifies and reads each with one
// call.
func ExampleHandleEvent() {
	const secret = "whsec_your_endpoint_secret"
	body := []byte(`{
		"id": "evt_1", "type": "payment_intent.succeeded", "created": 1767225600, "livemode": true,
		"data": {"object": {"id": "pi_1", "amount": 1099, "amount_received": 1099, "currency": "eur",
			"metadata": {"merchant_transaction_id": "order-43"}}}
	}`)
	// The header that Stripe sends.
	sent := fmt.Sprint(time.Now().Unix())
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s.%s", sent, body)
	header := http.Header{"Stripe-Signature": {fmt.Sprintf("t=%s,v1=%x", sent, mac.Sum(nil))}}

	endpoint := webhook.Endpoint{
		Connector: "stripe",
		Live:      true,
		Keys:      verify.Keys{Secrets: []verify.Secret{{Name: "main", Value: secret}}},
	}
	request := verify.Request{Method: http.MethodPost, Header: header, Body: body}
	events, err := webhook.HandleEvent(context.Background(), endpoint, request)
	if err != nil {
		log.Fatal(err)
	}
	event := events[0]
	fmt.Println(event.Type == schemas.PaymentCaptured, event.Type)
	fmt.Println(event.Data.MerchantTransactionID)
	fmt.Println(event.Data.Amount.Value, event.Data.Amount.Currency)
	// Output:
	// true payment.captured
	// order-43
	// 1099 EUR
}
