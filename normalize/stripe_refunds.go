package normalize

import (
	"cmp"
	"fmt"
	"slices"
	"time"

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
func stripeRefund(change stripeChange, o Options) (f fact, err error) {
	var r stripeRefundObject
	if err := redecode(change.object, &r); err != nil {
		return f, err
	}
	f, err = r.fact(change, o)
	if f.Type == schemas.RefundSucceeded && r.Charge != "" && stripeRefundsByCharge(change.version, o) {
		return stripeNoEvent(reportedBy(change.event, "charge.refunded"), f), err
	}
	return f, err
}

// fact returns the fact of a refund. The refund of a charge that was never captured and
// has expired is the expiry of the payment, which charge.expired also reports.
func (r stripeRefundObject) fact(change stripeChange, o Options) (f fact, err error) {
	if r.Status == "" {
		r.Status = "succeeded" // refunds had no status before 2018, and none that failed
	}
	typ, ok := stripeRefundTypes[r.Status]
	if !ok {
		return f, unknownStatusError{"the refund's status", string(r.Status)}
	}
	f.MerchantTransactionID = o.merchantID(r.Metadata)
	f.ConnectorTransactionID = first(r.PaymentIntent, r.Charge)
	f.ConnectorReferences = others(f.ConnectorTransactionID, r.Charge)
	if f.Amount, err = minor(r.Amount, r.Currency, stripeExponents); err != nil {
		return f, err
	}
	if r.Reason == "expired_uncaptured_charge" {
		if f.ConnectorTransactionID == "" {
			return ignored(change.event, "the refund is of a charge that was never captured, and does not name it"), nil
		}
		f.Type, f.Identity = schemas.PaymentExpired, f.ConnectorTransactionID+":expired"
		return f, nil
	}
	if f.Type = typ; r.ID != "" {
		f.Identity = r.ID + ":" + string(r.Status)
	}
	f.ConnectorRefundID = r.ID
	f.Reason = string(r.Reason)
	f.Error = failure(r.FailureReason, "", "")
	return f, nil
}

// stripeRefundsByCharge reports whether charge.refunded, instead of the refunds' own
// events, reports the successful refunds of charges. Since 2022-11-15 a charge does not
// contain its refunds, so the two cannot be linked. Before 2024-10-28 refund.created
// was sent only for refunds without a charge, so charge.refunded is the only event.
// Since then Stripe sends both to endpoints that subscribe to them, and the endpoint's
// setting decides. A version begins with its date.
//
// https://docs.stripe.com/upgrades#2022-11-15
// https://docs.stripe.com/changelog/acacia/2024-10-28/refund-webhook-update
func stripeRefundsByCharge(version string, o Options) bool {
	return version >= "2022-11-15" && (version < "2024-10-28" || o.Settings["refunds"] == "charges")
}

// stripeChargeRefunded reads a charge after a refund. If the charge contains
// its refunds, the newest refund is the fact. If it does not, the refund has
// events of its own, except where [stripeRefundsByCharge] says otherwise: then the
// amount of the refund is the difference between amount_refunded and its former
// value. The refund's id is not there, so the identity is the charge, the sum
// refunded so far and the day: Stripe can send two events for one change, and after
// a failed refund the same sum can be reached again, days later.
//
// Until 2025-03-31, a charge that was cancelled before its capture also became
// refunded. That is the cancellation of the payment.
func stripeChargeRefunded(change stripeChange, o Options) (f fact, err error) {
	var c struct {
		ID             string              `json:"id"`
		PaymentIntent  text                `json:"payment_intent"`
		SourceTransfer text                `json:"source_transfer"`
		Captured       *bool               `json:"captured"`
		Amount         *int64              `json:"amount"`
		AmountRefunded *int64              `json:"amount_refunded"`
		Currency       string              `json:"currency"`
		Metadata       metadata            `json:"metadata"`
		Details        stripeMethodDetails `json:"payment_method_details"`
		Refunds        part                `json:"refunds"`
	}
	if err := redecode(change.object, &c); err != nil {
		return f, err
	}
	refunds, err := stripeRefundsOf(c.Refunds)
	if err != nil {
		return f, err
	}
	if c.SourceTransfer != "" {
		return stripeTransferred(change.event, c.SourceTransfer), nil
	}
	f.MerchantTransactionID = o.merchantID(c.Metadata)
	f.ConnectorTransactionID = first(string(c.PaymentIntent), c.ID)
	f.ConnectorReferences = others(f.ConnectorTransactionID, c.ID)
	f.PaymentMethod = c.Details.method()
	switch {
	case c.Captured != nil && !*c.Captured:
		f.Type, f.Identity = schemas.PaymentCancelled, f.ConnectorTransactionID+":canceled"
		if len(refunds) > 0 && refunds[0].Reason == "expired_uncaptured_charge" {
			f.Type, f.Identity = schemas.PaymentExpired, f.ConnectorTransactionID+":expired"
		}
		f.Amount, err = minor(c.Amount, c.Currency, stripeExponents)
		return f, err
	case len(refunds) > 0:
		refund, err := refunds[0].fact(change, o)
		refund.MerchantTransactionID = first(refund.MerchantTransactionID, f.MerchantTransactionID)
		refund.ConnectorTransactionID = first(string(c.PaymentIntent), refund.ConnectorTransactionID, c.ID)
		return refund, err
	case !stripeRefundsByCharge(change.version, o) || c.AmountRefunded == nil:
		return stripeNoEvent(reportedBy(change.event, "refund.created", "refund.updated"), f), nil
	}
	f.Type, f.Identity = schemas.RefundSucceeded, fmt.Sprintf("%s:refunded:%d:%s", c.ID, *c.AmountRefunded, change.created.Format(time.DateOnly))
	f.Amount, err = minor(change.increase("amount_refunded", *c.AmountRefunded), c.Currency, stripeExponents)
	return f, err
}

// stripeRefundsOf returns the refunds that a charge contains, newest first.
// They are a list object or, until API version 2014-06-17, an array of refunds
// without ids, in no documented order.
func stripeRefundsOf(refunds part) ([]stripeRefundObject, error) {
	var list struct {
		Data []stripeRefundObject `json:"data"`
	}
	switch {
	case len(refunds) == 0:
		return nil, nil
	case refunds.kind() != '[':
		err := redecode(refunds, &list)
		return list.Data, err
	}
	err := redecode(refunds, &list.Data)
	slices.SortStableFunc(list.Data, func(a, b stripeRefundObject) int { return cmp.Compare(b.Created, a.Created) })
	return list.Data, err
}
