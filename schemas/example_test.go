package schemas_test

import (
	"encoding/json"
	"fmt"
	"log"

	"github.com/tollbridge/tollbridge/schemas"
)

// A consumer reads an event from the value of a record.
func Example() {
	value := []byte(`{
		"specversion": "1.0", "id": "cd01f084-1219-5017-8f58-b43519f68c77", "source": "/webhooks/stripe/default",
		"type": "payment.captured", "subject": "order-43", "time": "2026-01-01T00:00:00Z",
		"datacontenttype": "application/json", "dataschema": "urn:tollbridge:schemas/payment.captured/1",
		"data": {"merchant_transaction_id": "order-43", "key_source": "payload", "connector": "stripe", "endpoint": "default", "live": true,
			"connector_event_type": "payment_intent.succeeded", "status": "captured", "received_at": "2026-01-01T00:00:01.2Z",
			"amount": {"value": 1099, "currency": "EUR"}}}`)

	var event schemas.Event
	if err := json.Unmarshal(value, &event); err != nil {
		log.Fatal(err)
	}
	switch event.Type {
	case schemas.PaymentCaptured:
		fmt.Println("ship", event.Data.MerchantTransactionID, "paid", event.Data.Amount.Value, event.Data.Amount.Currency)
	case schemas.RefundSucceeded, schemas.DisputeOpened:
		fmt.Println("book", event.Type, "of", event.Data.MerchantTransactionID)
	}
	// Output: ship order-43 paid 1099 EUR
}

// Amounts are integers in the minor unit of their currency. Processors send
// them in minor or in major units.
func ExampleMajor() {
	euros, _ := schemas.Major("10.5", "EUR")
	yen, _ := schemas.Major("1099", "jpy")
	_, err := schemas.Major("10.999", "EUR")
	fmt.Println(euros, yen)
	fmt.Println(err)
	// Output:
	// {1050 EUR} {1099 JPY}
	// amount: "10.999" EUR has more decimals than the currency's 2
}
