package normalize

import (
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// recurly normalises Recurly's webhooks. One webhook is one event, {"id",
// "object_type", "site_id", "event_type", "event_time", "uuid"}; id and uuid
// are those of the object and not of the event. The payload has nothing else:
// the amount, the merchant's reference and the payment of a refund are not
// there. A payment's key is its uuid, by which the older API and exports name
// the transaction.
//
// When an invoice is paid, there are two events without a common id, one of the payment
// and one of the invoice. The setting tells selects which of them become events of
// ours: Recurly advises most merchants to rely on those of invoices. An invoice that is
// paid by credit alone has no payment.
//
// What Recurly calls a refunded payment is the transaction that gave the money
// back. The legacy events of object type invoice, of invoices from before the
// feature Credit Invoices, are not read: "closed" does not say whether it is paid.
//
// https://docs.recurly.com/recurly-subscriptions/docs/payment-notifications
// https://docs.recurly.com/recurly-subscriptions/docs/charge-invoice-notifications
var recurly = Connector{
	Docs:      "https://docs.recurly.com/recurly-subscriptions/docs/payment-notifications",
	Key:       "none: the payload names only Recurly's own transaction or invoice",
	Settings:  []Setting{recurlyTells},
	Tellers:   recurlyTellers,
	normalize: recurlyNormalize,
}

// recurlyTells is the setting that selects whether events of payments or of invoices
// report the result of a payment.
var recurlyTells = Setting{
	Name:        "tells",
	Description: "which events report that a payment is processing, captured or failed: payments (payment.*) or invoices (charge_invoice.*); payments if it is not set",
	Values:      []string{"payments", "invoices"},
}

// recurlyTypes maps the event name to the event type.
var recurlyTypes = map[string]schemas.Type{
	"payment.scheduled":  schemas.PaymentProcessing, // submitted to the bank
	"payment.processing": schemas.PaymentProcessing,
	"payment.authorized": schemas.PaymentAuthorized,
	"payment.succeeded":  schemas.PaymentCaptured,
	"payment.success":    schemas.PaymentCaptured, // the name in Recurly's pages about UPI and PayPay
	"payment.failed":     schemas.PaymentFailed,
	"payment.voided":     schemas.PaymentCancelled,
	"payment.refunded":   schemas.RefundSucceeded,

	"charge_invoice.processing": schemas.PaymentProcessing,     // a bank debit is on its way
	"charge_invoice.past_due":   schemas.PaymentActionRequired, // a payment was declined, or nobody paid in time; it can still be paid
	"charge_invoice.paid":       schemas.PaymentCaptured,
	"charge_invoice.failed":     schemas.PaymentFailed,
}

// recurlyReportedBy maps an event that the setting tells can turn off to the event of
// the other object that reports the same fact.
var recurlyReportedBy = map[string]string{
	"payment.scheduled":  "charge_invoice.processing",
	"payment.processing": "charge_invoice.processing",
	"payment.succeeded":  "charge_invoice.paid",
	"payment.success":    "charge_invoice.paid",
	"payment.failed":     "charge_invoice.failed",

	"charge_invoice.processing": "payment.processing",
	"charge_invoice.past_due":   "payment.failed",
	"charge_invoice.paid":       "payment.succeeded",
	"charge_invoice.failed":     "payment.failed",
}

// recurlyTellers lists the events, the most important first.
var recurlyTellers = []Teller{
	{Event: "payment.succeeded", Facts: []schemas.Type{schemas.PaymentCaptured}, Tells: "payments"},
	{Event: "payment.success", Facts: []schemas.Type{schemas.PaymentCaptured}, Tells: "payments"},
	{Event: "payment.failed", Facts: []schemas.Type{schemas.PaymentFailed}, Tells: "payments"},
	{Event: "payment.processing", Facts: []schemas.Type{schemas.PaymentProcessing}, Tells: "payments"},
	{Event: "payment.scheduled", Facts: []schemas.Type{schemas.PaymentProcessing}, Tells: "payments"},
	{Event: "payment.authorized", Facts: []schemas.Type{schemas.PaymentAuthorized}},
	{Event: "payment.voided", Facts: []schemas.Type{schemas.PaymentCancelled}},
	{Event: "payment.refunded", Facts: []schemas.Type{schemas.RefundSucceeded}},
	{Event: "charge_invoice.paid", Facts: []schemas.Type{schemas.PaymentCaptured}, Instead: "payment.succeeded", Tells: "invoices"},
	{Event: "charge_invoice.failed", Facts: []schemas.Type{schemas.PaymentFailed}, Instead: "payment.failed", Tells: "invoices"},
	{Event: "charge_invoice.past_due", Facts: []schemas.Type{schemas.PaymentActionRequired}, Instead: "payment.failed", Tells: "invoices"},
	{Event: "charge_invoice.processing", Facts: []schemas.Type{schemas.PaymentProcessing}, Instead: "payment.processing", Tells: "invoices"},
}

func recurlyNormalize(payload []byte, o Options) ([]fact, error) {
	var e struct {
		ID         text `json:"id"`
		UUID       text `json:"uuid"`
		ObjectType text `json:"object_type"`
		SiteID     text `json:"site_id"`
		EventType  text `json:"event_type"`
		EventTime  text `json:"event_time"`
	}
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	event := string(e.ObjectType + "." + e.EventType)
	typ, ok := recurlyTypes[event]
	switch {
	case e.EventType == "":
		return nil, fmt.Errorf("%w: no event_type: not an event of Recurly's", ErrMalformed)
	case event == "payment.transaction_status_updated":
		return []fact{ignored(event, "the event does not have the transaction's new status: fetch it, unless another event reports it")}, nil
	case !ok:
		return []fact{notUnified(event)}, nil
	case e.ID == "":
		return oneMalformed(event, fmt.Errorf("%w: no id: the event does not say what it is about", ErrMalformed))
	}
	f := fact{Type: typ, Identity: string(e.ObjectType + ":" + e.ID + ":" + e.EventType)}
	f.Account, f.ConnectorEventType = string(e.SiteID), event
	switch {
	case event == "payment.success":
		f.Identity = string(e.ObjectType + ":" + e.ID + ":succeeded")
	case e.ObjectType == "charge_invoice" && typ != schemas.PaymentCaptured:
		f.Identity += ":" + string(e.EventTime) // it can be past due and fail again after it was reopened
	}
	if e.ObjectType == "payment" {
		f.Formerly = []string{string(e.ID + " " + e.EventType + " " + e.EventTime)}
	}
	if typ == schemas.RefundSucceeded {
		f.ConnectorRefundID = first(e.UUID, e.ID)
	} else {
		f.ConnectorTransactionID = first(e.UUID, e.ID)
	}
	var err error
	if f.Time, err = timestamp(e.EventTime, time.RFC3339); err != nil {
		return oneMalformed(event, err)
	}
	invoices := o.Settings[recurlyTells.Name] == "invoices"
	if other := recurlyReportedBy[event]; other != "" && invoices != (e.ObjectType == "charge_invoice") {
		return []fact{reportedBy(event, other)}, nil
	}
	return []fact{f}, nil
}
