package normalize_test

import (
	"fmt"
	"log"
	"time"

	"github.com/tollbridge/tollbridge/normalize"
)

// The payload is the body that verify.Verify returned.
func Example() {
	payload := []byte(`{
		"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "created": 1767225600, "livemode": true,
		"data": {"object": {"id": "pi_1", "object": "payment_intent", "amount": 1099, "amount_received": 1099, "currency": "eur",
			"status": "succeeded", "metadata": {"order_id": "order-43"}}}}`)

	result, err := normalize.Normalize("stripe", payload, normalize.Options{Live: true, ReceivedAt: time.Now()})
	if err != nil {
		log.Fatal(err) // there is no connector of that name
	}
	for _, event := range result.Events {
		fmt.Println(event.Type, event.Data.MerchantTransactionID, *event.Data.Amount)
	}
	// Output: payment.captured order-43 {1099 EUR}
}

// A payload without an event has an outcome and a reason.
func ExampleResult() {
	for _, payload := range []string{
		`{"id": "evt_2", "object": "event", "type": "customer.created"}`,
		`{"id": "evt_3", "object": "event"}`,
	} {
		result, err := normalize.Normalize("stripe", []byte(payload), normalize.Options{ReceivedAt: time.Now()})
		if err != nil {
			log.Fatal(err)
		}
		for _, item := range result.Skipped {
			fmt.Printf("%s: %s\n", result.Outcome(), item.Reason)
		}
	}
	// Output:
	// ignored: event type "customer.created" is not about a payment, refund, dispute, payout or mandate that tollbridge unifies
	// malformed: payload malformed: no type: not an event of Stripe's
}
