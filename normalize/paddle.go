package normalize

import (
	"fmt"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// paddle normalises Paddle's webhooks. One webhook is one event, {"event_id",
// "event_type", "occurred_at", "data"}, and data is the transaction, the
// adjustment, the payout or the payment method. All deliveries of an event, to
// all destinations, have the same event_id.
//
// A transaction becomes paid and, a moment later, completed; transaction.updated has
// these statuses, too. All mean that the money was taken, so the identity of a
// captured payment is the transaction. A failed attempt to pay can also have two
// events, payment_failed and past_due; their identity is the attempt. Any other
// identity is the object and its state.
//
// An adjustment is a refund or a chargeback of a transaction. Each of its
// states is one fact, however many events report it. An adjustment has the id
// of its transaction and not the merchant's reference.
//
// https://developer.paddle.com/webhooks/overview
var paddle = Connector{
	Docs:      "https://developer.paddle.com/webhooks/overview",
	Key:       "data.custom_data.<merchant_id_keys> of transactions, which for adjustments is fetched",
	Tellers:   paddleTellers,
	Captures:  CountsOnce, // a transaction is paid once
	normalize: paddleNormalize,
}

// paddleTellers lists the events, the most important first.
var paddleTellers = []Teller{
	{Event: "transaction.completed", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentProcessing}},
	{Event: "transaction.paid", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentProcessing}, Instead: "transaction.completed, which comes a moment later"},
	{Event: "transaction.payment_failed", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "transaction.past_due", Facts: []schemas.Type{schemas.PaymentFailed}, Instead: "transaction.payment_failed"},
	{Event: "transaction.canceled", Facts: []schemas.Type{schemas.PaymentCancelled}},
	{Event: "transaction.billed", Facts: []schemas.Type{schemas.PaymentActionRequired}},
	{Event: "transaction.updated", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentCancelled}, Instead: "transaction.completed and transaction.canceled"},
	{Event: "adjustment.created", Facts: paddleAdjusted},
	{Event: "adjustment.updated", Facts: paddleAdjusted},
	{Event: "payout.created", Facts: []schemas.Type{schemas.PayoutCreated}},
	{Event: "payout.paid", Facts: []schemas.Type{schemas.PayoutSucceeded}},
	{Event: "payment_method.saved", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "payment_method.deleted", Facts: []schemas.Type{schemas.MandateRevoked}},
}

// paddleAdjusted lists the event types of adjustments.
var paddleAdjusted = []schemas.Type{schemas.RefundPending, schemas.RefundSucceeded, schemas.RefundFailed, schemas.DisputeOpened, schemas.DisputeWon, schemas.DisputeCancelled}

// paddleReaders maps an event to the function that reads its data and to the event
// type. The type is empty where the data decides.
var paddleReaders = map[string]struct {
	read func(paddleData, schemas.Type, Options) (fact, error)
	typ  schemas.Type
}{
	"transaction.billed":         {paddleTransaction, schemas.PaymentActionRequired}, // the customer received an invoice and has to pay it
	"transaction.payment_failed": {paddleTransaction, schemas.PaymentFailed},
	"transaction.past_due":       {paddlePastDue, schemas.PaymentFailed},
	"transaction.paid":           {paddleTransaction, schemas.PaymentCaptured},
	"transaction.completed":      {paddleTransaction, schemas.PaymentCaptured},
	"transaction.canceled":       {paddleTransaction, schemas.PaymentCancelled},
	"transaction.updated":        {paddleUpdated, ""},

	"adjustment.created": {paddleAdjustment, ""},
	"adjustment.updated": {paddleAdjustment, ""},

	"payout.created": {paddlePayout, schemas.PayoutCreated},
	"payout.paid":    {paddlePayout, schemas.PayoutSucceeded},

	"payment_method.saved":   {paddlePaymentMethod, schemas.MandateActive},
	"payment_method.deleted": {paddlePaymentMethod, schemas.MandateRevoked},
}

// paddleAdjustmentTypes maps the action and the status of an adjustment to the
// event type.
// https://developer.paddle.com/api-reference/adjustments/overview
var paddleAdjustmentTypes = map[[2]text]schemas.Type{
	{"refund", "pending_approval"}: schemas.RefundPending,
	{"refund", "approved"}:         schemas.RefundSucceeded,
	{"refund", "rejected"}:         schemas.RefundFailed,

	{"chargeback", "approved"}:                 schemas.DisputeOpened, // the money was taken back, and Paddle can contest it
	{"chargeback_reverse", "approved"}:         schemas.DisputeWon,
	{"chargeback_warning", "approved"}:         schemas.DisputeOpened,
	{"chargeback_warning_reverse", "approved"}: schemas.DisputeCancelled,
}

// paddleData has the fields of all kinds of data: transactions, adjustments,
// payouts and payment methods.
type paddleData struct {
	ID           string   `json:"id"`
	Status       text     `json:"status"`
	CurrencyCode string   `json:"currency_code"`
	CustomData   metadata `json:"custom_data"`
	Type         text     `json:"type"`   // of payment methods
	Amount       string   `json:"amount"` // of payouts
	Details      struct {
		Totals struct {
			GrandTotal string `json:"grand_total"`
		} `json:"totals"`
	} `json:"details"`
	Payments []struct { // newest attempt first
		AttemptID           text `json:"payment_attempt_id"`
		ErrorCode           text `json:"error_code"`
		StoredPaymentMethod text `json:"stored_payment_method_id"`
		PaymentMethodID     text `json:"payment_method_id"`
		MethodDetails       struct {
			Type text `json:"type"`
			Card struct {
				Type text `json:"type"`
			} `json:"card"`
		} `json:"method_details"`
	} `json:"payments"`

	Action        text `json:"action"`
	Reason        text `json:"reason"`
	TransactionID text `json:"transaction_id"`
	Totals        struct {
		Total string `json:"total"`
	} `json:"totals"`
}

func paddleNormalize(payload []byte, o Options) ([]fact, error) {
	var e struct {
		EventID    text `json:"event_id"`
		EventType  text `json:"event_type"`
		OccurredAt text `json:"occurred_at"`
		Data       part `json:"data"`
	}
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	name := string(e.EventType)
	event, ok := paddleReaders[name]
	switch {
	case name == "":
		return nil, fmt.Errorf("%w: no event_type: not an event of Paddle's", ErrMalformed)
	case !ok:
		return []fact{notUnified(name)}, nil
	case e.EventID == "":
		return oneMalformed(name, fmt.Errorf("%w: no event_id: not an event of Paddle's", ErrMalformed))
	}
	var d paddleData
	err := redecode(e.Data, &d)
	if err == nil && d.ID == "" {
		err = fmt.Errorf("%w: no data.id: the event does not say what it is about", ErrMalformed)
	}
	if err != nil {
		return oneMalformed(name, err)
	}
	f, err := event.read(d, event.typ, o)
	if err == nil {
		f.Time, err = timestamp(e.OccurredAt, time.RFC3339)
	}
	if err != nil {
		return oneMalformed(name, err)
	}
	if f.Identity == "" {
		_, state, _ := strings.Cut(name, ".")
		if name == "transaction.updated" {
			state = string(d.Status)
		}
		f.Identity, f.Formerly = d.ID+":"+state, []string{string(e.EventID)}
		if f.Type == schemas.PaymentFailed {
			f.Identity, f.Formerly = string(e.EventID), nil // there can be several, and the attempt has no id
		}
	}
	f.ConnectorEventID, f.ConnectorEventType = string(e.EventID), name
	return []fact{f}, nil
}

// paddleTransaction reads a transaction.
func paddleTransaction(d paddleData, typ schemas.Type, o Options) (f fact, err error) {
	if typ == schemas.PaymentCaptured && d.Status != "" && d.Status != "paid" && d.Status != "completed" {
		typ = schemas.PaymentProcessing // the status decides, not the event name
	}
	f.Type = typ
	f.MerchantTransactionID, f.ConnectorTransactionID = o.merchantID(d.CustomData), d.ID
	if f.Amount, err = minorText(d.Details.Totals.GrandTotal, d.CurrencyCode, nil); err != nil {
		return f, err
	}
	if typ == schemas.PaymentCaptured {
		f.Identity, f.CapturedAmount = d.ID, f.Amount
	}
	if len(d.Payments) > 0 {
		p := d.Payments[0]
		f.PaymentMethod = method(p.MethodDetails.Type, p.MethodDetails.Card.Type)
		f.MandateID = first(p.PaymentMethodID, p.StoredPaymentMethod)
		if typ == schemas.PaymentFailed {
			f.Identity, f.Error = string(p.AttemptID), failure(p.ErrorCode, "", "")
		}
	}
	return f, nil
}

// paddleUpdated reads a changed transaction. Its status says whether it is paid or
// canceled, which other events also report.
func paddleUpdated(d paddleData, _ schemas.Type, o Options) (fact, error) {
	switch d.Status {
	case "paid", "completed":
		return paddleTransaction(d, schemas.PaymentCaptured, o)
	case "canceled":
		return paddleTransaction(d, schemas.PaymentCancelled, o)
	}
	return ignored("", fmt.Sprintf("the transaction is %q: it is neither paid nor canceled", d.Status)), nil
}

// paddlePastDue reads a transaction that is past due. It is a failed payment only if
// there was an attempt to pay.
func paddlePastDue(d paddleData, typ schemas.Type, o Options) (fact, error) {
	if len(d.Payments) == 0 || d.Payments[0].ErrorCode == "" {
		return ignored("", "nobody tried to pay in time, and the transaction can still be paid"), nil
	}
	return paddleTransaction(d, typ, o)
}

// paddleAdjustment reads an adjustment: a refund or a chargeback.
func paddleAdjustment(d paddleData, _ schemas.Type, o Options) (f fact, err error) {
	typ, ok := paddleAdjustmentTypes[[2]text{d.Action, d.Status}]
	if !ok {
		return ignored("", fmt.Sprintf("the adjustment has the action %q and the status %q: it moves no money, or another adjustment reports it", d.Action, d.Status)), nil
	}
	f.Type, f.Identity = typ, d.ID
	f.ConnectorTransactionID, f.Reason = string(d.TransactionID), string(d.Reason)
	switch d.Action {
	case "refund":
		f.ConnectorRefundID = d.ID
	case "chargeback":
		f.ConnectorDisputeID, f.Stage = d.ID, schemas.StageDispute
	case "chargeback_warning":
		f.ConnectorDisputeID, f.Stage = d.ID, schemas.StagePreDispute
	case "chargeback_reverse": // a new adjustment without the id of the one that it reverses
		f.Stage = schemas.StageDispute
	case "chargeback_warning_reverse":
		f.Stage = schemas.StagePreDispute
	}
	if f.Amount, err = minorText(d.Totals.Total, d.CurrencyCode, nil); err != nil || len(o.Fetched) == 0 {
		return f, err
	}
	var transaction struct {
		Data struct {
			CustomData metadata `json:"custom_data"`
		} `json:"data"`
	}
	if _, err := o.document("transaction/"+f.ConnectorTransactionID, &transaction); err != nil {
		return f, err
	}
	f.MerchantTransactionID = o.merchantID(transaction.Data.CustomData)
	return f, nil
}

// paddlePayout reads a payout to the merchant.
func paddlePayout(d paddleData, typ schemas.Type, _ Options) (f fact, err error) {
	f.Type, f.ConnectorPayoutID = typ, d.ID
	f.Amount, err = minorText(d.Amount, d.CurrencyCode, nil)
	return f, err
}

// paddlePaymentMethod reads a stored payment method.
func paddlePaymentMethod(d paddleData, typ schemas.Type, _ Options) (f fact, err error) {
	f.Type, f.ConnectorMandateID = typ, d.ID
	f.PaymentMethod = method(d.Type, "")
	return f, nil
}
