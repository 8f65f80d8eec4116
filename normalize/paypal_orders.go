package normalize

import (
	"github.com/tollbridge/tollbridge/schemas"
)

// paypalPayments has the payments of an order.
type paypalPayments struct {
	Captures       []paypalPayment `json:"captures"`
	Authorizations []paypalPayment `json:"authorizations"`
}

// paypalUnit is a purchase unit: the part of an order that is paid to one
// payee.
type paypalUnit struct {
	paypalReference
	ReferenceID text           `json:"reference_id"`
	Amount      paypalMoney    `json:"amount"`
	Payments    paypalPayments `json:"payments"`
	Summary     paypalPayments `json:"payment_summary"` // v1
}

// id returns the merchant's reference. If the merchant does not name the only
// unit of an order, PayPal names it "default", which is no reference.
func (u paypalUnit) id() string {
	if id := u.paypalReference.id(); id != "" || u.ReferenceID == "default" {
		return id
	}
	return string(u.ReferenceID)
}

// paypalOrderObject is an order of v2 or v1, or a payment of v1.
// https://developer.paypal.com/docs/api/orders/v2/
type paypalOrderObject struct {
	ID            text         `json:"id"`
	OrderID       text         `json:"order_id"`
	Amount        paypalMoney  `json:"amount"`
	PurchaseUnits []paypalUnit `json:"purchase_units"`
	Transactions  []paypalUnit `json:"transactions"` // of a payment
	PaymentSource paypalSource `json:"payment_source"`
}

// paypalOrderTypes maps the event name of an order to the event type.
var paypalOrderTypes = map[string]schemas.Type{
	"PAYMENTS.PAYMENT.CREATED":           schemas.PaymentActionRequired, // the buyer agreed; the merchant has to execute it
	"PAYMENT.ORDER.CREATED":              schemas.PaymentProcessing,
	"PAYMENT.ORDER.CANCELLED":            schemas.PaymentCancelled,
	"CHECKOUT.CHECKOUT.BUYER-APPROVED":   schemas.PaymentActionRequired,
	"CHECKOUT.ORDER.APPROVED":            schemas.PaymentActionRequired, // the merchant has to capture it
	"CHECKOUT.ORDER.PROCESSED":           schemas.PaymentProcessing,
	"CHECKOUT.ORDER.DECLINED":            schemas.PaymentFailed,
	"CHECKOUT.ORDER.VOIDED":              schemas.PaymentCancelled,
	"CHECKOUT.PAYMENT-APPROVAL.REVERSED": schemas.PaymentCancelled, // not captured in time: the buyer got the money back
}

// paypalRepeated lists the events of an order that can occur several times: the buyer
// can approve an order again after a payment was declined, and each attempt can be
// declined. An order does not say which attempt it is.
var paypalRepeated = map[string]bool{
	"PAYMENTS.PAYMENT.CREATED":         true,
	"CHECKOUT.CHECKOUT.BUYER-APPROVED": true,
	"CHECKOUT.ORDER.APPROVED":          true,
	"CHECKOUT.ORDER.DECLINED":          true,
}

// paypalOrder reads an order. It returns a fact for each purchase unit, because
// each is a payment with its own reference.
func paypalOrder(event string, resource part) ([]fact, error) {
	var o paypalOrderObject
	if err := decode(resource, &o); err != nil {
		return nil, err
	}
	units := append(o.PurchaseUnits, o.Transactions...)
	if len(units) == 0 {
		units = []paypalUnit{{Amount: o.Amount}}
	}
	var facts []fact
	for i, u := range units {
		f := fact{Type: paypalOrderTypes[event], Item: i}
		f.ConnectorTransactionID, f.MerchantTransactionID = first(o.ID, o.OrderID), u.id()
		if f.ConnectorTransactionID != "" && !paypalRepeated[event] {
			f.Identity = f.ConnectorTransactionID + ":" + event
		}
		f.PaymentMethod = o.PaymentSource.method()
		amount, err := u.Amount.amount()
		if f.Amount = amount; err != nil {
			f = malformed(event, err)
		}
		facts = append(facts, f)
	}
	return facts, nil
}

// paypalOrderCompleted reads a completed order. It returns a fact for each
// capture and authorization. These facts are the same as those of the payments'
// own events, which the endpoint may not receive.
func paypalOrderCompleted(event string, resource part) ([]fact, error) {
	var o paypalOrderObject
	if err := decode(resource, &o); err != nil {
		return nil, err
	}
	var facts []fact
	add := func(u paypalUnit, f fact, err error) {
		f.MerchantTransactionID = first(f.MerchantTransactionID, u.id())
		f.PaymentMethod = o.PaymentSource.method()
		if err != nil {
			f = malformed(event, err)
		}
		facts = append(facts, f)
	}
	for _, u := range o.PurchaseUnits {
		for _, p := range append(u.Payments.Authorizations, u.Summary.Authorizations...) {
			f, err := p.authorization("CREATED")
			add(u, f, err)
		}
		for _, p := range append(u.Payments.Captures, u.Summary.Captures...) {
			f, err := p.capture(event)
			add(u, f, err)
		}
	}
	if len(facts) == 0 {
		return []fact{reportedBy(event, "PAYMENT.CAPTURE.COMPLETED", "PAYMENT.AUTHORIZATION.CREATED")}, nil // it has no id of a payment
	}
	return facts, nil
}
