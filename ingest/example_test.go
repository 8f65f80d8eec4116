package ingest_test

import (
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/schemas"
)

// A webhook that was received by other means is verified and read by one call.
func ExampleHandleEvent() {
	payload := []byte(`{
		"id": "evt_1", "type": "payment_intent.succeeded", "created": 1767225600, "livemode": true,
		"data": {"object": {
			"id": "pi_1", "amount": 1099, "amount_received": 1099, "currency": "eur",
			"metadata": {"merchant_transaction_id": "order-43"}
		}}
	}`)
	// As Stripe would send it.
	request, err := sign.Request("stripe", payload, "whsec_test", nil, "", time.Now())
	if err != nil {
		panic(err)
	}

	events, err := ingest.HandleEvent("stripe", request.Body, request.Header, "whsec_test")
	if err != nil {
		panic(err)
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
