package normalize

import (
	"fmt"

	"github.com/tollbridge/tollbridge/schemas"
)

// stripeDisputeTypes maps the status of a dispute to the event type.
var stripeDisputeTypes = map[text]schemas.Type{
	"warning_needs_response": schemas.DisputeOpened,
	"needs_response":         schemas.DisputeOpened,
	"warning_under_review":   schemas.DisputeChallenged,
	"under_review":           schemas.DisputeChallenged,
	"warning_closed":         schemas.DisputeCancelled, // an inquiry that ended without a chargeback
	"won":                    schemas.DisputeWon,
	"lost":                   schemas.DisputeLost,
	"prevented":              schemas.DisputeAccepted, // a rule of the merchant refunded the payer before a chargeback
	"charge_refunded":        schemas.DisputeAccepted, // a refund ended the inquiry; old API versions
}

// stripeDispute reads a dispute.
// https://docs.stripe.com/api/disputes/object
func stripeDispute(change stripeChange, o Options) (f fact, err error) {
	var d struct {
		ID                string   `json:"id"`
		Status            text     `json:"status"`
		Amount            *int64   `json:"amount"`
		Currency          string   `json:"currency"`
		Charge            text     `json:"charge"`
		PaymentIntent     text     `json:"payment_intent"`
		Reason            text     `json:"reason"`
		NetworkReasonCode text     `json:"network_reason_code"`
		Metadata          metadata `json:"metadata"`
		EvidenceDetails   struct {
			DueBy *int64 `json:"due_by"`
		} `json:"evidence_details"`
		Details struct {
			Type text `json:"type"`
			Card struct {
				Brand             text `json:"brand"`
				NetworkReasonCode text `json:"network_reason_code"`
			} `json:"card"`
		} `json:"payment_method_details"`
	}
	if err := redecode(change.object, &d); err != nil {
		return f, err
	}
	typ, ok := stripeDisputeTypes[d.Status]
	if !ok {
		return f, unknownStatusError{"the dispute's status", string(d.Status)}
	}
	f.Type, f.Identity = typ, d.ID+":"+string(d.Status)
	f.MerchantTransactionID = o.merchantID(d.Metadata)
	f.ConnectorDisputeID = d.ID
	f.ConnectorTransactionID = first(d.PaymentIntent, d.Charge)
	f.ConnectorReferences = others(f.ConnectorTransactionID, d.Charge)
	f.Reason = string(d.Reason)
	f.ReasonCode = first(d.Details.Card.NetworkReasonCode, d.NetworkReasonCode)
	f.PaymentMethod = method(d.Details.Type, d.Details.Card.Brand)
	f.Stage = schemas.StageDispute
	switch d.Status {
	case "warning_needs_response", "warning_under_review", "warning_closed", "prevented", "charge_refunded":
		f.Stage = schemas.StagePreDispute
	}
	if d.EvidenceDetails.DueBy != nil {
		f.RespondBy = deadline(unix(*d.EvidenceDetails.DueBy))
	}
	f.Amount, err = minor(d.Amount, d.Currency, stripeExponents)
	return f, err
}

// stripeFraudWarning reads an early fraud warning.
// https://docs.stripe.com/api/radar/early_fraud_warnings/object
func stripeFraudWarning(change stripeChange, _ Options) (f fact, err error) {
	var w struct {
		ID            string `json:"id"`
		Charge        text   `json:"charge"`
		PaymentIntent text   `json:"payment_intent"`
		FraudType     text   `json:"fraud_type"`
	}
	if err := redecode(change.object, &w); err != nil {
		return f, err
	}
	f.Type, f.Identity = schemas.FraudReported, w.ID
	f.ConnectorTransactionID = first(w.PaymentIntent, w.Charge)
	f.ConnectorReferences = others(f.ConnectorTransactionID, w.Charge)
	f.Reason = string(w.FraudType)
	return f, nil
}

// stripeReview reads a review.
// https://docs.stripe.com/api/radar/reviews/object
func stripeReview(change stripeChange, _ Options) (f fact, err error) {
	var r struct {
		ID            string `json:"id"`
		ClosedReason  text   `json:"closed_reason"`
		Charge        text   `json:"charge"`
		PaymentIntent text   `json:"payment_intent"`
	}
	if err := redecode(change.object, &r); err != nil {
		return f, err
	}
	switch r.ClosedReason {
	case "approved":
		f.Type = schemas.FraudApproved
	case "refunded_as_fraud":
		f.Type = schemas.FraudRejected
	default:
		return ignored(change.event, fmt.Sprintf("the review closed as %q, which does not say whether it was fraud", r.ClosedReason)), nil
	}
	if r.ID != "" {
		f.Identity = r.ID + ":closed"
	}
	f.ConnectorTransactionID = first(r.PaymentIntent, r.Charge)
	f.ConnectorReferences = others(f.ConnectorTransactionID, r.Charge)
	return f, nil
}
