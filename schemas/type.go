package schemas

import "strings"

// Type is what happened, in terms that are the same for all processors. It is
// also the name of the event's topic, after the configured prefix.
type Type string

// The event types. A new type is a line here and a line in [types].
const (
	PaymentAuthorized            Type = "payment.authorized"
	PaymentCaptured              Type = "payment.captured"
	PaymentFailed                Type = "payment.failed"
	PaymentCaptureFailed         Type = "payment.capture_failed"
	PaymentProcessing            Type = "payment.processing"
	PaymentActionRequired        Type = "payment.action_required"
	PaymentCancelled             Type = "payment.cancelled"
	PaymentCancelFailed          Type = "payment.cancel_failed"
	PaymentExpired               Type = "payment.expired"
	PaymentAuthorizationAdjusted Type = "payment.authorization_adjusted"
	PaymentReversed              Type = "payment.reversed"

	RefundPending   Type = "refund.pending"
	RefundSucceeded Type = "refund.succeeded"
	RefundFailed    Type = "refund.failed"
	RefundCancelled Type = "refund.cancelled"

	DisputeOpened     Type = "dispute.opened"
	DisputeChallenged Type = "dispute.challenged"
	DisputeAccepted   Type = "dispute.accepted"
	DisputeExpired    Type = "dispute.expired"
	DisputeCancelled  Type = "dispute.cancelled"
	DisputeWon        Type = "dispute.won"
	DisputeLost       Type = "dispute.lost"

	PayoutCreated    Type = "payout.created"
	PayoutProcessing Type = "payout.processing"
	PayoutSucceeded  Type = "payout.succeeded"
	PayoutFailed     Type = "payout.failed"
	PayoutCancelled  Type = "payout.cancelled"
	PayoutExpired    Type = "payout.expired"
	PayoutReversed   Type = "payout.reversed"

	MandateActive  Type = "mandate.active"
	MandateFailed  Type = "mandate.failed"
	MandateRevoked Type = "mandate.revoked"

	FraudApproved Type = "fraud.approved"
	FraudRejected Type = "fraud.rejected"
	FraudReported Type = "fraud.reported"
)

// types lists every type with its description, in the order in which they are
// shown: the steps of a payment, then what may follow it.
var types = []struct {
	t           Type
	description string
}{
	{PaymentAuthorized, "The amount is reserved and not yet taken."},
	{PaymentCaptured, "The money is taken, wholly or in part; where authorization and capture are one step, the payment succeeded."},
	{PaymentFailed, "The payment was refused or failed; no money was taken."},
	{PaymentCaptureFailed, "A capture of an authorized amount failed, or was undone after it had been reported."},
	{PaymentProcessing, "The outcome is not known yet."},
	{PaymentActionRequired, "The payer or the merchant must do something before it can go on."},
	{PaymentCancelled, "The payment or its authorization was cancelled before the money was taken."},
	{PaymentCancelFailed, "A cancellation was refused; the payment stands as it was."},
	{PaymentExpired, "Nobody paid, or captured, in time."},
	{PaymentAuthorizationAdjusted, "The authorized amount or its time limit was changed; error is present if the change was refused."},
	{PaymentReversed, "Money already taken was taken back by the processor or the bank, without a refund or a dispute."},
	{RefundPending, "A refund was asked for; the money is not yet on its way."},
	{RefundSucceeded, "The refund was carried out, wholly or in part."},
	{RefundFailed, "The refund was refused, or came back; the merchant has the money."},
	{RefundCancelled, "A refund was withdrawn before it was carried out."},
	{DisputeOpened, "The payer or the bank contests the payment: an inquiry, a chargeback or its next stage."},
	{DisputeChallenged, "The merchant's evidence was handed in; the decision is open."},
	{DisputeAccepted, "The merchant accepted the dispute; the money is lost."},
	{DisputeExpired, "The time for an answer passed without one."},
	{DisputeCancelled, "The dispute was withdrawn, or an inquiry closed without a chargeback."},
	{DisputeWon, "Decided for the merchant."},
	{DisputeLost, "Decided against the merchant."},
	{PayoutCreated, "A payout was ordered."},
	{PayoutProcessing, "A payout is on its way."},
	{PayoutSucceeded, "A payout arrived."},
	{PayoutFailed, "A payout failed."},
	{PayoutCancelled, "A payout was cancelled before it was sent."},
	{PayoutExpired, "A payout was not claimed in time."},
	{PayoutReversed, "A payout came back after it had been sent."},
	{MandateActive, "A mandate or stored payment method can be charged."},
	{MandateFailed, "A mandate could not be set up."},
	{MandateRevoked, "A mandate can no longer be charged."},
	{FraudApproved, "A fraud check let the payment pass."},
	{FraudRejected, "A fraud check stopped the payment."},
	{FraudReported, "The card network or the bank reported the payment as fraudulent; no money has moved."},
}

// descriptions is the description of each type.
var descriptions = func() map[Type]string {
	m := make(map[Type]string, len(types))
	for _, t := range types {
		m[t.t] = t.description
	}
	return m
}()

// Types returns all event types, in the order in which they are shown.
func Types() []Type {
	all := make([]Type, len(types))
	for i, t := range types {
		all[i] = t.t
	}
	return all
}

// Known reports whether t is one of [Types].
func (t Type) Known() bool {
	_, ok := descriptions[t]
	return ok
}

// Description returns the sentence that explains t, or "" if t is not known.
func (t Type) Description() string { return descriptions[t] }

// Family returns the first word of t: payment, refund, dispute, payout, mandate or fraud.
func (t Type) Family() string {
	family, _, _ := strings.Cut(string(t), ".")
	return family
}

// Status returns the second word of t: captured.
func (t Type) Status() string {
	_, status, _ := strings.Cut(string(t), ".")
	return status
}

// Schema returns the URI of the JSON Schema of t's events, which is their
// dataschema. Its last part is the version: it changes with the first change
// that is not compatible.
func (t Type) Schema() string {
	if uri, ok := uris[t]; ok {
		return uri
	}
	return schemaURI(t)
}

func schemaURI(t Type) string { return "urn:tollbridge:schemas/" + string(t) + "/1" }

// uris is the [Type.Schema] of each type, so that an event need not make it anew.
var uris = func() map[Type]string {
	m := make(map[Type]string, len(types))
	for _, t := range types {
		m[t.t] = schemaURI(t.t)
	}
	return m
}()
