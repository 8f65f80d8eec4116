package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// trio is what a processor tells of one order, whose id only the payment has as
// the merchant's reference of it. ORDER stands for the id.
type trio struct{ payment, refund, dispute string }

// trios are by connector. Adyen's refund has a reference of its own.
var trios = map[string]trio{
	"adyen": {
		payment: `{"live":"false","notificationItems":[{"NotificationRequestItem":{"eventCode":"AUTHORISATION","success":"true","eventDate":"2026-01-01T01:00:00+01:00",` +
			`"merchantAccountCode":"ShopECOM","pspReference":"PAY-ORDER","merchantReference":"ORDER","paymentMethod":"visa","amount":{"currency":"EUR","value":1000}}}]}`,
		refund: `{"live":"false","notificationItems":[{"NotificationRequestItem":{"eventCode":"REFUND","success":"true","eventDate":"2026-01-02T01:00:00+01:00",` +
			`"merchantAccountCode":"ShopECOM","pspReference":"REF-ORDER","originalReference":"PAY-ORDER","merchantReference":"return-of-ORDER","paymentMethod":"visa","amount":{"currency":"EUR","value":400}}}]}`,
		dispute: `{"live":"false","notificationItems":[{"NotificationRequestItem":{"eventCode":"NOTIFICATION_OF_CHARGEBACK","success":"true","eventDate":"2026-01-03T01:00:00+01:00",` +
			`"merchantAccountCode":"ShopECOM","pspReference":"DIS-ORDER","originalReference":"PAY-ORDER","merchantReference":"","paymentMethod":"visa","amount":{"currency":"EUR","value":600},` +
			`"additionalData":{"disputeStatus":"Undefended"}}}]}`,
	},
	"paypal": {
		payment: `{"id":"WH-P-ORDER","event_type":"PAYMENT.CAPTURE.COMPLETED","create_time":"2026-01-01T10:00:00Z","resource":{"id":"PAY-ORDER","status":"COMPLETED",` +
			`"amount":{"value":"10.00","currency_code":"EUR"},"invoice_id":"ORDER"}}`,
		refund: `{"id":"WH-R-ORDER","event_type":"PAYMENT.CAPTURE.REFUNDED","create_time":"2026-01-02T10:00:00Z","resource":{"id":"REF-ORDER","status":"COMPLETED",` +
			`"amount":{"value":"4.00","currency_code":"EUR"},"links":[{"rel":"up","href":"https://api.paypal.com/v2/payments/captures/PAY-ORDER"}]}}`,
		dispute: `{"id":"WH-D-ORDER","event_type":"CUSTOMER.DISPUTE.CREATED","create_time":"2026-01-03T10:00:00Z","resource":{"dispute_id":"DIS-ORDER","status":"OPEN",` +
			`"dispute_amount":{"value":"6.00","currency_code":"EUR"},"dispute_life_cycle_stage":"CHARGEBACK","disputed_transactions":[{"seller_transaction_id":"PAY-ORDER"}]}}`,
	},
	"braintree": {
		payment: `<notification><source-merchant-id>shop</source-merchant-id><timestamp>2026-01-01T10:00:00Z</timestamp><kind>transaction_settled</kind><subject><transaction>` +
			`<id>PAY-ORDER</id><type>sale</type><status>settled</status><amount>10.00</amount><currency-iso-code>EUR</currency-iso-code><order-id>ORDER</order-id></transaction></subject></notification>`,
		refund: `<notification><source-merchant-id>shop</source-merchant-id><timestamp>2026-01-02T10:00:00Z</timestamp><kind>transaction_settled</kind><subject><transaction>` +
			`<id>REF-ORDER</id><type>credit</type><status>settled</status><amount>4.00</amount><currency-iso-code>EUR</currency-iso-code><order-id nil="true"/>` +
			`<refunded-transaction-id>PAY-ORDER</refunded-transaction-id></transaction></subject></notification>`,
		dispute: `<notification><source-merchant-id>shop</source-merchant-id><timestamp>2026-01-03T10:00:00Z</timestamp><kind>dispute_opened</kind><subject><dispute>` +
			`<id>DIS-ORDER</id><kind>chargeback</kind><amount>6.00</amount><currency-iso-code>EUR</currency-iso-code><transaction><id>PAY-ORDER</id><order-id nil="true"/></transaction></dispute></subject></notification>`,
	},
}

// TestReferencesOfProcessors: payment, refund and dispute of one order come
// into one partition under the order's id, whichever of them is first.
func TestReferencesOfProcessors(t *testing.T) {
	b := start(t)
	type order struct {
		connector, id string
		first         bool // the payment is
	}
	var orders []order
	for connector, of := range trios {
		for _, first := range []bool{true, false} {
			o := order{connector, fmt.Sprintf("%s-%v", connector, first), first}
			payloads := []string{of.payment, of.refund, of.dispute}
			if !first {
				slices.Reverse(payloads)
			}
			for _, p := range payloads {
				a, err := b.deliver(connector, []byte(strings.ReplaceAll(p, "ORDER", o.id)))
				if err != nil || a.StatusCode != http.StatusOK {
					t.Fatalf("%s: %v %v\n%s", o.id, a, err, b.log)
				}
			}
			orders = append(orders, o)
		}
	}
	topics := []string{b.names.Event(schemas.PaymentAuthorized), b.names.Event(schemas.PaymentCaptured), b.names.Event(schemas.RefundSucceeded), b.names.Event(schemas.DisputeOpened)}
	var all []record
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		all = b.read(t, topics...)
		// An order's own three and, where the payment was last, two corrections.
		if len(all) >= len(orders)*3+len(orders)/2*2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d records of %d orders\n%s", len(all), len(orders), b.log)
		}
	}
	for _, o := range orders {
		of := map[string]int{} // partition, by family
		for _, r := range all {
			var e schemas.Event
			if err := json.Unmarshal([]byte(r.value), &e); err != nil {
				t.Fatal(err)
			}
			if r.key != o.id {
				if strings.HasSuffix(e.Data.ConnectorTransactionID, "-"+o.id) && o.first {
					t.Errorf("%s: the %s is under %s, though the payment was there before", o.id, r.topic, r.key)
				}
				continue
			}
			of[e.Type.Family()] = r.partition
			if corrects := e.Data.Corrects != ""; corrects != (!o.first && e.Type.Family() != "payment") {
				t.Errorf("%s: %s is a correction: %v", o.id, r.topic, corrects)
			}
		}
		if len(of) != 3 || of["payment"] != of["refund"] || of["payment"] != of["dispute"] {
			t.Errorf("%s: the partitions under the order's id are %v, want one for payment, refund and dispute", o.id, of)
		}
	}
	b.stop(t)
}
