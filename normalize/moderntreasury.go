package normalize

import (
	"fmt"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// modernTreasury reads {"event", "data"}, where data is the object at the time of the
// event. A payment order moves money out, which is a payout, or in, which is a payment.
// An incoming payment detail is money that a third party sent.
//
// The event's id is in a header that is not signed. An order that failed or was returned
// can be drafted again, and then has the same events with the same id. The identity is
// therefore the object, the event and the time of the object's last change.
//
// An expected payment is one that the merchant expects. It is reconciled with the
// bank's transaction, so it can report the same money as an incoming payment detail.
// The setting tells selects which of them makes the event. The merchant's reference is
// mostly in the expected payment alone; both name the transaction's line item.
// transaction.posted is not read, because the bank has a transaction for every payment
// in and out.
//
// https://docs.moderntreasury.com/platform/reference/payment-orders
// https://docs.moderntreasury.com/platform/reference/incoming-payment-details
// https://docs.moderntreasury.com/platform/reference/expected-payments
var modernTreasury = Connector{
	Docs:      "https://docs.moderntreasury.com/platform/reference/payment-orders",
	Key:       "data.metadata.<merchant_id_keys>",
	Settings:  []Setting{modernTreasuryTells},
	Tellers:   modernTreasuryTellers,
	Captures:  CountsOnce,  // each incoming payment has an id of its own
	Refunds:   CountsParts, // an incoming payment that was returned: each has its own amount
	normalize: modernTreasuryNormalize,
}

// modernTreasuryTells is the setting that selects the object that reports money from a
// third party.
var modernTreasuryTells = Setting{
	Name: "tells",
	Description: "which events report money that a third party sent: incoming_payments (incoming_payment_detail.completed) or expected_payments (expected_payment.reconciled: only money that the merchant expected); " +
		"incoming_payments if it is not set",
	Values: []string{"incoming_payments", "expected_payments"},
}

// modernTreasuryTellers lists the events, the most important first.
var modernTreasuryTellers = func() (all []Teller) {
	for _, event := range []string{"completed", "failed", "returned", "cancelled", "denied", "created", "approved", "redrafted", "held", "resolved", "begin_processing", "finish_processing"} {
		event = "payment_order." + event
		types := modernTreasuryTypes[event]
		t := Teller{Event: event, Facts: []schemas.Type{types.in, types.out}}
		if event == "payment_order.completed" {
			t.Facts = append(t.Facts, schemas.PaymentProcessing, schemas.PayoutProcessing)
		}
		all = append(all, t)
	}
	return append(all,
		Teller{Event: "incoming_payment_detail.completed", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentProcessing}, Tells: "incoming_payments"},
		Teller{Event: "expected_payment.reconciled", Facts: []schemas.Type{schemas.PaymentCaptured}, Instead: "incoming_payment_detail.completed", Tells: "expected_payments"},
		Teller{Event: "incoming_payment_detail.created", Facts: []schemas.Type{schemas.PaymentProcessing}},
		Teller{Event: "incoming_payment_detail.returned", Facts: []schemas.Type{schemas.RefundSucceeded}},
		Teller{Event: "incoming_payment_detail.return_failed", Facts: []schemas.Type{schemas.RefundFailed}},
	)
}()

// modernTreasuryTypes maps an event to the event types for money in and for money out.
// Events that do not change the object's state are missing.
var modernTreasuryTypes = map[string]struct{ in, out schemas.Type }{
	"payment_order.created":           {schemas.PaymentProcessing, schemas.PayoutCreated},
	"payment_order.approved":          {schemas.PaymentProcessing, schemas.PayoutCreated},
	"payment_order.redrafted":         {schemas.PaymentProcessing, schemas.PayoutCreated},
	"payment_order.held":              {schemas.PaymentProcessing, schemas.PayoutProcessing},
	"payment_order.resolved":          {schemas.PaymentProcessing, schemas.PayoutProcessing},
	"payment_order.begin_processing":  {schemas.PaymentProcessing, schemas.PayoutProcessing},
	"payment_order.finish_processing": {schemas.PaymentProcessing, schemas.PayoutProcessing},
	"payment_order.completed":         {schemas.PaymentCaptured, schemas.PayoutSucceeded},
	"payment_order.failed":            {schemas.PaymentFailed, schemas.PayoutFailed},
	"payment_order.denied":            {schemas.PaymentCancelled, schemas.PayoutCancelled}, // by the merchant's own approvers
	"payment_order.cancelled":         {schemas.PaymentCancelled, schemas.PayoutCancelled},
	"payment_order.returned":          {schemas.PaymentReversed, schemas.PayoutReversed},

	"incoming_payment_detail.created":       {in: schemas.PaymentProcessing},
	"incoming_payment_detail.completed":     {in: schemas.PaymentCaptured},
	"incoming_payment_detail.returned":      {in: schemas.RefundSucceeded}, // by the merchant
	"incoming_payment_detail.return_failed": {in: schemas.RefundFailed},

	"expected_payment.reconciled": {in: schemas.PaymentCaptured},
}

// modernTreasuryOpen lists the statuses of an object that the bank has not executed
// yet.
var modernTreasuryOpen = map[text]bool{
	"needs_approval": true, "approved": true, "held": true, "pending": true, "processing": true, "sent": true,
}

type modernTreasuryData struct {
	ID                   string   `json:"id"`
	Object               string   `json:"object"`
	Status               text     `json:"status"`
	Type                 text     `json:"type"`
	Direction            text     `json:"direction"`
	ReceivingAccountType text     `json:"receiving_account_type"`
	Amount               *int64   `json:"amount"`
	Currency             text     `json:"currency"`
	Metadata             metadata `json:"metadata"`
	LiveMode             *bool    `json:"live_mode"`
	UpdatedAt            string   `json:"updated_at"`
	VendorFailureReason  text     `json:"vendor_failure_reason"`
	LineItemID           text     `json:"transaction_line_item_id"`
	LowerBound           *int64   `json:"amount_lower_bound"` // of expected payments
	UpperBound           *int64   `json:"amount_upper_bound"`
	CurrentReturn        struct {
		Code   text `json:"code"`
		Reason text `json:"reason"`
	} `json:"current_return"`
}

func modernTreasuryNormalize(payload []byte, o Options) ([]fact, error) {
	var n struct {
		Event text `json:"event"`
		Data  part `json:"data"`
	}
	if err := decode(payload, &n); err != nil {
		return nil, err
	}
	if n.Event == "" {
		return nil, fmt.Errorf("%w: no event: not an event of Modern Treasury's", ErrMalformed)
	}
	var resource struct {
		Object text `json:"object"`
	}
	if n.Data.kind() == '{' {
		if err := redecode(n.Data, &resource); err != nil {
			return nil, err
		}
	}
	event := strings.TrimPrefix(string(resource.Object+"."+n.Event), ".")
	types, ok := modernTreasuryTypes[event]
	switch {
	case event == "payment_order.reversed":
		return []fact{ignored(event, "the merchant asked the bank for a reversal, and no event reports whether the bank carried it out")}, nil
	case event == "failed":
		return []fact{ignored(event, "the object was not created, and the event has only its id and not its kind")}, nil
	case !ok:
		return []fact{notUnified(event)}, nil
	}
	var e struct {
		Data   modernTreasuryData `json:"data"`
		Errors struct {
			Code    text `json:"code"`
			Message text `json:"message"`
		} `json:"errors"`
	}
	if err := redecode(payload, &e); err != nil {
		return oneMalformed(event, err)
	}
	d := e.Data
	switch {
	case d.ID == "":
		return oneMalformed(event, fmt.Errorf("%w: no data.id: the event does not say what it is about", ErrMalformed))
	case d.ReceivingAccountType == "internal_account":
		return []fact{ignored(event, "the merchant moved money between its own accounts")}, nil
	case types.out == "" && d.Direction == "debit":
		return []fact{ignored(event, "a third party debited the merchant's account")}, nil
	}
	if modernTreasuryOpen[d.Status] && (types.in == schemas.PaymentCaptured || types.out == schemas.PayoutSucceeded) {
		types.in, types.out = schemas.PaymentProcessing, schemas.PayoutProcessing // a completed event about an object that is still open
	}
	f, err := d.fact(types.in, types.out, o)
	f.Identity = d.ID + "/" + event
	switch event {
	case "expected_payment.reconciled":
	case "incoming_payment_detail.created", "incoming_payment_detail.completed":
		f.Formerly = []string{f.Identity + "/" + d.UpdatedAt}
	default: // it can happen again
		f.Identity += "/" + d.UpdatedAt
	}
	if d.LineItemID != "" && f.Type.Family() == "payment" {
		f.ConnectorReferences = []string{string(d.LineItemID)}
	}
	if other := modernTreasuryReportedBy(event, f.Type, o); other != "" && err == nil {
		return []fact{f.reportedBy(event, other)}, nil
	}
	switch f.Type {
	case schemas.PaymentFailed, schemas.PayoutFailed, schemas.PaymentReversed, schemas.PayoutReversed:
		f.Error = failure(first(e.Errors.Code, d.CurrentReturn.Code), first(e.Errors.Message, d.VendorFailureReason, d.CurrentReturn.Reason), "")
	}
	return oneFact(event, f, err)
}

// modernTreasuryReportedBy returns the event that the setting tells selects to report a
// captured payment instead of this event; "" if this event reports it.
func modernTreasuryReportedBy(event string, typ schemas.Type, o Options) string {
	expected := o.Settings[modernTreasuryTells.Name] == "expected_payments"
	switch {
	case typ != schemas.PaymentCaptured:
	case expected && event == "incoming_payment_detail.completed":
		return "expected_payment.reconciled"
	case !expected && event == "expected_payment.reconciled":
		return "incoming_payment_detail.completed"
	}
	return ""
}

// fact returns the fact of an object, of the type in or out by the direction of the
// money.
func (d modernTreasuryData) fact(in, out schemas.Type, o Options) (f fact, err error) {
	switch d.Direction { // of a payment order, from the recipient's view: credit is money out; of an incoming payment detail, credit is money in
	case "credit":
		if f.Type = in; d.Object == "payment_order" {
			f.Type = out
		}
	case "debit":
		f.Type = in
	default:
		return f, fmt.Errorf("%w: data.direction is %q, want credit or debit", ErrMalformed, d.Direction)
	}
	f.MerchantTransactionID = o.merchantID(d.Metadata)
	if d.LiveMode != nil {
		f.Mode = modeOf(*d.LiveMode)
	}
	if f.Time, err = timestamp(d.UpdatedAt, time.RFC3339); err != nil {
		return f, err
	}
	if d.LowerBound != nil && d.UpperBound != nil && *d.LowerBound == *d.UpperBound {
		d.Amount = d.LowerBound // an expected payment; if it has a range, the received amount is unknown
	}
	if f.Amount, err = minor(d.Amount, d.Currency, nil); err != nil {
		return f, err
	}
	if f.Type.Family() == "payout" {
		f.ConnectorPayoutID, f.MerchantPayoutID = d.ID, f.MerchantTransactionID
		return f, nil
	}
	f.ConnectorTransactionID, f.PaymentMethod = d.ID, method(d.Type, "")
	f.setAmountByType()
	return f, nil
}
