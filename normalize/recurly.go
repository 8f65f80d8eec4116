package normalize

import (
	"cmp"
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// recurly normalises Recurly's webhooks. One webhook is one event, {"id",
// "object_type", "site_id", "event_type", "event_time", "uuid"}; id and uuid
// are those of the object and not of the event. The payload has nothing else:
// the amount and the payment of a refund are in the transaction or invoice in
// the API. A payment's key is its uuid, by which the older API and exports name
// the transaction; the API names a refund's payment by its id.
//
// Recurly has no reference of a payment that the merchant chooses. The setting
// reference selects the field that is the merchant's id.
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
	Key:       "none in the webhook: (fetched) the field that the setting reference selects",
	Settings:  []Setting{recurlyTells, recurlyReference},
	Tellers:   recurlyTellers,
	Captures:  CountsOnce, // each payment is a transaction with an id of its own
	normalize: recurlyNormalize,
}

// recurlyTells is the setting that selects whether events of payments or of invoices
// report the result of a payment.
var recurlyTells = Setting{
	Name:        "tells",
	Description: "which events report that a payment is processing, captured or failed: payments (payment.*) or invoices (charge_invoice.*); payments if it is not set",
	Values:      []string{"payments", "invoices"},
}

// recurlyReference is the setting that selects the merchant's reference.
var recurlyReference = Setting{
	Name:        "reference",
	Description: "which field of the fetched transaction or invoice is the merchant's reference: invoice.number or account.code; none if it is not set",
	Values:      []string{"invoice.number", "account.code"},
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
	if e.ObjectType == "charge_invoice" {
		err = f.fillFromRecurlyInvoice(e.ID, o)
	} else {
		var verification bool
		if verification, err = f.fillFromRecurlyTransaction(e.ID, o); verification {
			return []fact{ignored(event, "the transaction verifies a payment method, and moves no money")}, nil
		}
	}
	if err != nil {
		return oneMalformed(event, err)
	}
	return []fact{f}, nil
}

// fillFromRecurlyTransaction adds what the API says of the transaction with the id. It
// reports whether the transaction only verifies a payment method.
// https://recurly.com/developers/api/v2021-02-25/index.html#operation/get_transaction
func (f *fact) fillFromRecurlyTransaction(id text, o Options) (verification bool, err error) {
	if len(o.Fetched) == 0 {
		return false, nil
	}
	var t struct {
		ID       text `json:"id"`
		UUID     text `json:"uuid"`
		Original text `json:"original_transaction_id"`
		Type     text `json:"type"`
		Amount   text `json:"amount"`
		Currency text `json:"currency"`
		Method   struct {
			Kind  text `json:"object"`
			Brand text `json:"card_type"`
		} `json:"payment_method"`
		Account struct {
			Code text `json:"code"`
		} `json:"account"`
		Invoice struct {
			ID     text `json:"id"`
			Number text `json:"number"`
		} `json:"invoice"`
		StatusCode    text `json:"status_code"`
		StatusMessage text `json:"status_message"`
		GatewayCode   text `json:"gateway_response_code"`
	}
	name := "transaction/" + string(id)
	if ok, err := o.document(name, &t); !ok {
		return false, err
	}
	if t.Type == "verify" {
		return true, nil
	}
	amount, err := major(t.Amount, t.Currency)
	if err != nil {
		return false, fmt.Errorf("the fetched %s: %w", name, err)
	}
	f.fillAmount(amount)
	f.fillMethod(method(t.Method.Kind, t.Method.Brand))
	f.MerchantTransactionID = recurlyReferenceOf(t.Invoice.Number, t.Account.Code, o)
	switch f.Type {
	case schemas.RefundSucceeded:
		f.ConnectorTransactionID = string(t.Original)
		return false, nil
	case schemas.PaymentFailed:
		f.Error = failure(t.StatusCode, t.StatusMessage, t.GatewayCode)
	}
	f.ConnectorReferences = others(text(f.ConnectorTransactionID), t.ID, t.UUID, t.Invoice.ID)
	return false, nil
}

// fillFromRecurlyInvoice adds what the API says of the invoice with the id.
// https://recurly.com/developers/api/v2021-02-25/index.html#operation/get_invoice
func (f *fact) fillFromRecurlyInvoice(id text, o Options) error {
	if len(o.Fetched) == 0 {
		return nil
	}
	var i struct {
		ID       text `json:"id"`
		Number   text `json:"number"`
		Total    text `json:"total"`
		Paid     text `json:"paid"` // by payments; the rest can be credit
		Currency text `json:"currency"`
		Account  struct {
			Code text `json:"code"`
		} `json:"account"`
	}
	name := "invoice/" + string(id)
	if ok, err := o.document(name, &i); !ok {
		return err
	}
	decimal := i.Total
	if f.Type == schemas.PaymentCaptured {
		decimal = cmp.Or(i.Paid, i.Total)
	}
	amount, err := major(decimal, i.Currency)
	if err != nil {
		return fmt.Errorf("the fetched %s: %w", name, err)
	}
	f.fillAmount(amount)
	f.MerchantTransactionID = recurlyReferenceOf(i.Number, i.Account.Code, o)
	f.ConnectorReferences = others(text(f.ConnectorTransactionID), i.ID)
	return nil
}

// recurlyReferenceOf returns the merchant's reference that the setting selects.
func recurlyReferenceOf(invoiceNumber, accountCode text, o Options) string {
	switch o.Settings[recurlyReference.Name] {
	case "invoice.number":
		return string(invoiceNumber)
	case "account.code":
		return string(accountCode)
	}
	return ""
}
