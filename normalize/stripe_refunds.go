package normalize

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// stripeRefundObject is a refund.
// https://docs.stripe.com/api/refunds/object
type stripeRefundObject struct {
	ID            string   `json:"id"`
	Status        text     `json:"status"`
	Amount        *int64   `json:"amount"`
	Currency      string   `json:"currency"`
	Charge        text     `json:"charge"`
	PaymentIntent text     `json:"payment_intent"`
	Created       int64    `json:"created"`
	Reason        text     `json:"reason"`
	FailureReason text     `json:"failure_reason"`
	Metadata      metadata `json:"metadata"`
}

// stripeRefundTypes maps the status of a refund to the event type.
var stripeRefundTypes = map[text]schemas.Type{
	"pending":         schemas.RefundPending,
	"requires_action": schemas.RefundPending,
	"succeeded":       schemas.RefundSucceeded,
	"failed":          schemas.RefundFailed,
	"canceled":        schemas.RefundCancelled,
}

// stripeRefund reads a refund.
func stripeRefund(change stripeChange, o Options) (f Fact, err error) {
	var r stripeRefundObject
	if err := redecode(change.object, &r); err != nil {
		return f, err
	}
	if f, err = r.fact(change, o); f.Type == schemas.RefundSucceeded && r.Charge != "" && stripeRefundsByCharge(change.version) {
		return ignored(change.event, "in this version of the API charge.refunded tells that a charge was refunded"), err
	}
	return f, err
}

// fact returns the fact of a refund.
func (r stripeRefundObject) fact(change stripeChange, o Options) (f Fact, err error) {
	if r.Status == "" {
		r.Status = "succeeded" // refunds had no status before 2018, and none that failed
	}
	if r.Reason == "expired_uncaptured_charge" {
		return ignored(change.event, "the charge was never captured: charge.expired tells"), nil
	}
	typ, ok := stripeRefundTypes[r.Status]
	if !ok {
		return f, fmt.Errorf("%w: refund status %q", ErrMalformed, r.Status)
	}
	if f.Type = typ; r.ID != "" {
		f.Identity = r.ID + ":" + string(r.Status)
	}
	f.MerchantTransactionID = o.merchantID(r.Metadata)
	f.ConnectorRefundID = r.ID
	f.ConnectorTransactionID = first(r.PaymentIntent, r.Charge)
	f.ConnectorReferences = others(f.ConnectorTransactionID, r.Charge)
	f.Reason = string(r.Reason)
	f.Error = failure(r.FailureReason, "", "")
	f.Amount, err = minor(r.Amount, r.Currency, stripeExponents)
	return f, err
}

// stripeRefundsByCharge reports whether, in this version of the API,
// charge.refunded is the only event that reports the successful refund of a
// charge. Since 2022-11-15 the charge does not contain its refunds, and before
// 2024-10-28 refund.created was sent only for refunds without a charge. A
// version begins with its date.
//
// https://docs.stripe.com/upgrades#2022-11-15
// https://docs.stripe.com/changelog/acacia/2024-10-28/refund-webhook-update
func stripeRefundsByCharge(version string) bool {
	return version >= "2022-11-15" && version < "2024-10-28"
}

// stripeChargeRefunded reads a charge after a refund. If the charge contains
// its refunds, the newest refund is the fact. If it does not, the refund has
// events of its own, except in the versions of [stripeRefundsByCharge]. In
// these the amount of the refund is the difference between amount_refunded and
// its former value. The refund's id is not there, so the identity is the
// charge, the sum refunded so far and the day: Stripe can send two events for
// one change, and after a failed refund the same sum can be reached again, days
// later.
//
// Until 2025-03-31, a charge that was cancelled before its capture also became
// refunded.
func stripeChargeRefunded(change stripeChange, o Options) (f Fact, err error) {
	var c struct {
		ID             string              `json:"id"`
		PaymentIntent  text                `json:"payment_intent"`
		Captured       *bool               `json:"captured"`
		AmountRefunded *int64              `json:"amount_refunded"`
		Currency       string              `json:"currency"`
		Metadata       metadata            `json:"metadata"`
		Details        stripeMethodDetails `json:"payment_method_details"`
		Refunds        jsontext.Value      `json:"refunds"`
	}
	if err := redecode(change.object, &c); err != nil {
		return f, err
	}
	refunds, err := stripeRefundsOf(c.Refunds)
	if err != nil {
		return f, err
	}
	switch {
	case c.Captured != nil && !*c.Captured:
		return ignored(change.event, "the charge was never captured, so it was cancelled and not refunded"), nil
	case len(refunds) > 0:
		if f, err = refunds[0].fact(change, o); err != nil || f.Type == "" {
			return f, err
		}
		f.MerchantTransactionID = first(f.MerchantTransactionID, o.merchantID(c.Metadata))
		f.ConnectorTransactionID = first(string(c.PaymentIntent), f.ConnectorTransactionID, c.ID)
		return f, err
	case !stripeRefundsByCharge(change.version) || c.AmountRefunded == nil:
		return ignored(change.event, "the charge does not hold its refunds; refund.created and refund.updated tell"), nil
	}
	f.Type, f.Identity = schemas.RefundSucceeded, fmt.Sprintf("%s:refunded:%d:%s", c.ID, *c.AmountRefunded, change.created.Format(time.DateOnly))
	f.MerchantTransactionID = o.merchantID(c.Metadata)
	f.ConnectorTransactionID = first(string(c.PaymentIntent), c.ID)
	f.ConnectorReferences = others(f.ConnectorTransactionID, c.ID)
	f.PaymentMethod = c.Details.method()
	f.Amount, err = minor(stripeRefundedBy(*c.AmountRefunded, change.before), c.Currency, stripeExponents)
	return f, err
}

// stripeRefundedBy returns how much of a charge one change refunded; nil if the
// event does not have the sum before the change.
func stripeRefundedBy(refunded int64, before jsontext.Value) *int64 {
	var was struct {
		AmountRefunded *int64 `json:"amount_refunded"`
	}
	if len(before) == 0 || redecode(before, &was) != nil || was.AmountRefunded == nil {
		return nil
	}
	if refunded -= *was.AmountRefunded; refunded <= 0 {
		return nil
	}
	return &refunded
}

// stripeRefundsOf returns the refunds that a charge contains, newest first.
// They are a list object or, until API version 2014-06-17, an array of refunds
// without ids, in no documented order.
func stripeRefundsOf(refunds jsontext.Value) ([]stripeRefundObject, error) {
	var list struct {
		Data []stripeRefundObject `json:"data"`
	}
	switch {
	case len(refunds) == 0:
		return nil, nil
	case refunds.Kind() != '[':
		err := redecode(refunds, &list)
		return list.Data, err
	}
	err := redecode(refunds, &list.Data)
	slices.SortStableFunc(list.Data, func(a, b stripeRefundObject) int { return cmp.Compare(b.Created, a.Created) })
	return list.Data, err
}
