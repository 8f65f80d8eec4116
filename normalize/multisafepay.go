package normalize

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tollbridge/tollbridge/schemas"
)

// multisafepay reads the current state of an order. The status is the payment's, and
// related_transactions are its refunds so far: each refund is a fact, and one that was
// sent before has the same event id again. A repeated notification gives the same facts.
//
// An order with the status completed and the financial_status uncleared is paid later:
// it counts as authorized. void is a cancellation according to the pages of the payment
// methods, although the general page also lists it for a chargeback.
//
// Times have no zone and are left out.
//
// https://docs.multisafepay.com/docs/webhook
// https://docs.multisafepay.com/docs/payment-statuses
var multisafepay = Connector{
	Docs:      "https://docs.multisafepay.com/docs/payment-statuses",
	Key:       "order_id",
	Tellers:   multisafepayTellers(),
	Captures:  CountsOnce,  // amount of the order
	Refunds:   CountsTotal, // amount_refunded of the order, where it does not list its refunds
	normalize: multisafepayNormalize,
}

// multisafepayTypes maps an order's status to the event type.
var multisafepayTypes = map[string]schemas.Type{
	"initialized": schemas.PaymentProcessing,
	"uncleared":   schemas.PaymentProcessing, // paid, but not settled or not reviewed yet
	"reserved":    schemas.PaymentAuthorized, // to be captured
	"completed":   schemas.PaymentCaptured,
	"declined":    schemas.PaymentFailed,
	"expired":     schemas.PaymentExpired,
	"void":        schemas.PaymentCancelled,
	"cancelled":   schemas.PaymentCancelled,
	"canceled":    schemas.PaymentCancelled,
	"chargedback": schemas.DisputeOpened,
	"chargeback":  schemas.DisputeOpened,

	"refunded":         schemas.RefundSucceeded,
	"partial_refunded": schemas.RefundSucceeded,
}

// multisafepayTellers lists the statuses of an order with their event types, including
// those that financial_status and the order's refunds give. MultiSafepay sends the
// whole order to its one notification URL each time.
func multisafepayTellers() []Teller {
	all := tellersOf(multisafepayTypes, map[string]schemas.Type{"shipped": schemas.PaymentCaptured, "completed": schemas.PaymentAuthorized})
	for i, t := range all {
		if t.Event == "refunded" || t.Event == "partial_refunded" {
			all[i].Facts = distinct(slices.Sorted(maps.Values(multisafepayRefundTypes))...)
		}
	}
	return all
}

// multisafepayRefundTypes maps a refund's status to the event type.
var multisafepayRefundTypes = map[string]schemas.Type{
	"initialized": schemas.RefundPending,
	"reserved":    schemas.RefundPending,
	"completed":   schemas.RefundSucceeded,
	"declined":    schemas.RefundFailed,
	"void":        schemas.RefundCancelled,
	"cancelled":   schemas.RefundCancelled,
}

type multisafepayOrder struct {
	OrderID        text   `json:"order_id"`
	TransactionID  text   `json:"transaction_id"`
	Status         string `json:"status"`
	Amount         *int64 `json:"amount"`
	AmountRefunded *int64 `json:"amount_refunded"`
	Currency       string `json:"currency"`
	Reason         text   `json:"reason"`
	ReasonCode     text   `json:"reason_code"`
	PaymentDetails struct {
		Type        text `json:"type"`
		RecurringID text `json:"recurring_id"`
	} `json:"payment_details"`
	RelatedTransactions []part `json:"related_transactions"`
}

type multisafepayRefundData struct {
	TransactionID text   `json:"transaction_id"`
	Amount        *int64 `json:"amount"`
	Currency      string `json:"currency"`
	Description   text   `json:"description"`
}

func multisafepayNormalize(payload []byte, _ Options) ([]fact, error) {
	var n struct {
		Status          text `json:"status"`
		FinancialStatus text `json:"financial_status"`
	}
	if err := decode(payload, &n); err != nil {
		return nil, err
	}
	status, event := n.Status, string(n.Status)
	switch {
	case status == "shipped" && n.FinancialStatus == "completed": // a pay-later order is captured when it is shipped
		status = n.FinancialStatus
	case status == "completed" && n.FinancialStatus == "uncleared":
		status = "reserved"
	}
	typ := multisafepayTypes[string(status)]
	if typ == "" && status != "" {
		return []fact{ignored(event, fmt.Sprintf("the status %q says nothing about the payment", event))}, nil
	}
	var p multisafepayOrder
	err := redecode(payload, &p)
	if err == nil && (p.OrderID == "" || status == "") {
		err = fmt.Errorf("%w: no order_id or no status: not an order of MultiSafepay's", ErrMalformed)
	}
	if err != nil {
		return oneMalformed(event, err)
	}
	if typ.Family() != "refund" || len(p.RelatedTransactions) == 0 {
		return []fact{p.fact(typ)}, nil
	}
	var facts []fact
	for _, r := range p.RelatedTransactions {
		facts = append(facts, p.refund(r))
	}
	return facts, nil
}

// common returns a fact with the fields that all facts of an order have.
func (p multisafepayOrder) common(typ schemas.Type) (f fact) {
	f.Type, f.ConnectorEventType = typ, p.Status
	f.MerchantTransactionID, f.ConnectorTransactionID = string(p.OrderID), string(p.TransactionID)
	f.PaymentMethod = method(p.PaymentDetails.Type, "")
	return f
}

// fact returns the fact of the order itself.
func (p multisafepayOrder) fact(typ schemas.Type) fact {
	f, amount := p.common(typ), p.Amount
	f.Identity = fmt.Sprintf("%s/%s", p.OrderID, p.TransactionID)
	switch typ {
	case schemas.RefundSucceeded: // without related_transactions there is only the sum of the refunds
		if amount = p.AmountRefunded; amount != nil {
			f.Identity += fmt.Sprintf("/%d", *amount)
		}
	case schemas.DisputeOpened:
		f.Stage, f.Reason = schemas.StageDispute, string(p.Reason)
	case schemas.PaymentFailed:
		f.Error = failure(p.ReasonCode, p.Reason, "")
	}
	var err error
	if f.Amount, err = minor(amount, p.Currency, nil); err != nil {
		return malformed(p.Status, err)
	}
	switch typ {
	case schemas.PaymentAuthorized:
		f.AuthorizedAmount, f.MandateID = f.Amount, string(p.PaymentDetails.RecurringID)
	case schemas.PaymentCaptured:
		f.CapturedAmount, f.MandateID = f.Amount, string(p.PaymentDetails.RecurringID)
	}
	return f
}

// refund returns the fact of a refund. It reads each refund separately, so that one that
// cannot be read does not affect the others.
func (p multisafepayOrder) refund(item part) fact {
	var n struct {
		Status text `json:"status"`
	}
	if err := redecode(item, &n); err != nil {
		return malformed(p.Status, err)
	}
	typ := multisafepayRefundTypes[string(n.Status)]
	if typ == "" && n.Status != "" {
		return unknownStatus(p.Status, "the refund's status", n.Status)
	}
	var r multisafepayRefundData
	if err := redecode(item, &r); err != nil {
		return malformed(p.Status, err)
	}
	if r.TransactionID == "" || typ == "" {
		return malformed(p.Status, fmt.Errorf("%w: no related_transactions.transaction_id or no status", ErrMalformed))
	}
	f := p.common(typ)
	f.Identity, f.ConnectorRefundID = string(r.TransactionID), string(r.TransactionID)
	f.Reason = string(r.Description)
	var err error
	if f.Amount, err = minor(r.Amount, r.Currency, nil); err != nil {
		return malformed(p.Status, err)
	}
	return f
}
