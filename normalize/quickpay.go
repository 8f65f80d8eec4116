package normalize

import (
	"fmt"
	"slices"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// quickpay normalises Quickpay's callbacks. A callback is a payment or a
// subscription after an operation on it, with all of its operations. The last
// operation is what happened; each earlier one had a callback of its own. A
// pending operation has another callback when it is no longer pending, so the
// identity is the payment, the operation and the operation's status.
//
// https://learn.quickpay.net/tech-talk/api/callback
// https://learn.quickpay.net/tech-talk/api/services/
var quickpay = Connector{
	Docs:      "https://learn.quickpay.net/tech-talk/api/callback",
	Key:       "order_id",
	Tellers:   sentToURL(quickpayTellers),
	Captures:  CountsTotal, // the sum of the captures among the operations, all of which each callback has: https://learn.quickpay.net/tech-talk/api/callback
	normalize: quickpayNormalize,
}

// quickpayTellers lists the event types.
var quickpayTellers = []Teller{
	{Event: "Payment/authorize", Facts: []schemas.Type{schemas.PaymentAuthorized, schemas.PaymentFailed, schemas.PaymentProcessing, schemas.PaymentActionRequired}},
	{Event: "Payment/cancel", Facts: []schemas.Type{schemas.PaymentCancelled, schemas.PaymentCancelFailed}},
	{Event: "Payment/capture", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentCaptureFailed, schemas.PaymentProcessing}},
	{Event: "Payment/recurring", Facts: []schemas.Type{schemas.PaymentAuthorized}},
	{Event: "Payment/refund", Facts: []schemas.Type{schemas.RefundPending, schemas.RefundSucceeded, schemas.RefundFailed}},
	{Event: "Subscription/authorize", Facts: []schemas.Type{schemas.MandateActive, schemas.MandateFailed}},
	{Event: "Subscription/cancel", Facts: []schemas.Type{schemas.MandateRevoked}},
}

// quickpayOperationTypes maps a resource and an operation to four event types, one for
// each outcome below, in that order.
var quickpayOperationTypes = map[string][4]schemas.Type{
	"Payment/authorize": {schemas.PaymentFailed, schemas.PaymentProcessing, schemas.PaymentActionRequired, schemas.PaymentAuthorized},
	"Payment/recurring": {schemas.PaymentFailed, schemas.PaymentProcessing, schemas.PaymentActionRequired, schemas.PaymentAuthorized}, // a payment of a subscription
	"Payment/capture":   {schemas.PaymentCaptureFailed, schemas.PaymentProcessing, "", schemas.PaymentCaptured},
	"Payment/cancel":    {schemas.PaymentCancelFailed, schemas.PaymentProcessing, "", schemas.PaymentCancelled},
	"Payment/refund":    {schemas.RefundFailed, schemas.RefundPending, "", schemas.RefundSucceeded},

	"Subscription/authorize": {schemas.MandateFailed, "", "", schemas.MandateActive},
	"Subscription/cancel":    {"", "", "", schemas.MandateRevoked},
}

// The outcomes of an operation: indices of the values of quickpayOperationTypes.
const (
	quickpayFailed = iota
	quickpayPending
	quickpayActionRequired
	quickpayApproved
)

// quickpayOperation is an operation on a payment or subscription, such as a
// capture.
type quickpayOperation struct {
	ID           int64  `json:"id"`
	Type         string `json:"type"`
	Amount       *int64 `json:"amount"`
	Pending      bool   `json:"pending"`
	QPStatusCode text   `json:"qp_status_code"`
	QPStatusMsg  text   `json:"qp_status_msg"`
	AQStatusCode text   `json:"aq_status_code"`
	CreatedAt    text   `json:"created_at"`
}

// outcome returns the outcome of an operation by its status code.
// https://learn.quickpay.net/tech-talk/appendixes/errors/
func (op quickpayOperation) outcome() int {
	switch code := op.QPStatusCode; {
	case op.Pending, code == "", code == "20200": // waiting for approval
		return quickpayPending
	case code == "20000":
		return quickpayApproved
	case code == "30100", code == "30101": // the payer has to authenticate
		return quickpayActionRequired
	default:
		return quickpayFailed
	}
}

// quickpayResource is a payment or a subscription.
type quickpayResource struct {
	ID             text                `json:"id"`
	MerchantID     text                `json:"merchant_id"`
	OrderID        text                `json:"order_id"`
	SubscriptionID text                `json:"subscription_id"`
	Currency       text                `json:"currency"`
	TestMode       bool                `json:"test_mode"`
	Operations     []quickpayOperation `json:"operations"`
	Metadata       struct {
		Type  text `json:"type"`
		Brand text `json:"brand"`
	} `json:"metadata"`
}

// quickpayResources lists the types of objects that have operations.
var quickpayResources = []string{"Payment", "Subscription"}

func quickpayNormalize(payload []byte, _ Options) ([]fact, error) {
	var envelope struct {
		Type       text `json:"type"`
		Operations part `json:"operations"`
	}
	if err := decode(payload, &envelope); err != nil {
		return nil, err
	}
	kind := first(envelope.Type, "Payment") // older callbacks have no type
	if !slices.Contains(quickpayResources, kind) {
		return []fact{notUnified(kind)}, nil
	}
	var operations []struct {
		Type text `json:"type"`
	}
	if err := redecode(envelope.Operations, &operations); err != nil {
		return oneMalformed(kind, err)
	}
	event := kind
	if n := len(operations); n > 0 {
		event += "/" + string(operations[n-1].Type)
	}
	types, ok := quickpayOperationTypes[event]
	if !ok && event != kind {
		return []fact{notUnified(event)}, nil
	}
	var r quickpayResource
	if err := redecode(payload, &r); err != nil {
		return oneMalformed(event, err)
	}
	switch {
	case r.ID == "":
		return oneMalformed(event, fmt.Errorf("%w: no id: not a payment or subscription of Quickpay's", ErrMalformed))
	case len(r.Operations) == 0:
		return []fact{ignored(kind, "the payment or subscription has no operation yet")}, nil
	}
	op := r.Operations[len(r.Operations)-1]
	typ := types[op.outcome()]
	if typ == "" {
		return []fact{ignored(event, fmt.Sprintf("the operation has the status %q, which changes nothing yet", op.QPStatusCode))}, nil
	}
	f, err := r.fact(op, typ)
	return oneFact(event, f, err)
}

// fact returns the fact of the operation op, of the event type typ.
func (r quickpayResource) fact(op quickpayOperation, typ schemas.Type) (f fact, err error) {
	f.Type, f.Mode = typ, modeOf(!r.TestMode)
	f.Identity = fmt.Sprintf("%s/%d/%s", r.ID, op.ID, op.QPStatusCode)
	f.Account, f.MerchantTransactionID = string(r.MerchantID), string(r.OrderID)
	kind := r.Metadata.Type
	if kind == "mobile" { // MobilePay, Swish and similar
		kind = "wallet"
	}
	f.PaymentMethod = method(kind, r.Metadata.Brand)
	if op.outcome() == quickpayFailed {
		f.Error = failure(op.QPStatusCode, op.QPStatusMsg, op.AQStatusCode)
	}
	if f.Time, err = timestamp(op.CreatedAt, time.RFC3339); err != nil {
		return f, err
	}
	if typ.Family() == "mandate" {
		f.ConnectorMandateID = string(r.ID)
		return f, nil
	}
	f.ConnectorTransactionID, f.MandateID = string(r.ID), string(r.SubscriptionID)
	if f.Amount, err = minor(op.Amount, r.Currency, nil); err != nil {
		return f, err
	}
	switch typ {
	case schemas.PaymentAuthorized:
		f.AuthorizedAmount = f.Amount
	case schemas.PaymentCaptured:
		f.CapturedAmount, err = r.captured()
	case schemas.RefundPending, schemas.RefundSucceeded, schemas.RefundFailed:
		f.ConnectorRefundID, f.MandateID = fmt.Sprintf("%s/%d", r.ID, op.ID), "" // the id of an operation is unique for its payment only
	}
	return f, err
}

// captured returns the sum of all captures so far.
func (r quickpayResource) captured() (*schemas.Amount, error) {
	var sum int64
	for _, op := range r.Operations {
		if op.Type == "capture" && op.Amount != nil && op.outcome() == quickpayApproved {
			sum += *op.Amount
		}
	}
	return minor(&sum, r.Currency, nil)
}
