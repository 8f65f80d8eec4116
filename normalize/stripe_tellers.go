package normalize

import "github.com/tollbridge/tollbridge/schemas"

// stripeTellers are the event types that [stripe] reads. An endpoint at Stripe gets
// those that it subscribes to: https://docs.stripe.com/api/webhook_endpoints/create
// Those of thin events, v1.*, follow those that contain the object.
var stripeTellers = []Teller{
	{Event: "payment_intent.succeeded", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentProcessing, schemas.PaymentActionRequired, schemas.PaymentCancelled}},
	{Event: "payment_intent.payment_failed", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "payment_intent.canceled", Facts: []schemas.Type{schemas.PaymentCancelled}},
	{Event: "payment_intent.processing", Facts: []schemas.Type{schemas.PaymentProcessing}},
	{Event: "payment_intent.requires_action", Facts: []schemas.Type{schemas.PaymentActionRequired}},
	{Event: "payment_intent.partially_funded", Facts: []schemas.Type{schemas.PaymentActionRequired}},
	{Event: "payment_intent.amount_capturable_updated", Facts: []schemas.Type{schemas.PaymentAuthorized, schemas.PaymentCaptured, schemas.PaymentCancelled}},

	// The only ones with client_reference_id.
	{Event: "checkout.session.completed", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.MandateActive}},
	{Event: "checkout.session.async_payment_succeeded", Facts: []schemas.Type{schemas.PaymentCaptured}},
	{Event: "checkout.session.async_payment_failed", Facts: []schemas.Type{schemas.PaymentFailed}, Instead: "payment_intent.payment_failed"},
	{Event: "checkout.session.expired", Facts: []schemas.Type{schemas.PaymentExpired}},

	{Event: "charge.succeeded", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentAuthorized, schemas.PaymentProcessing, schemas.PaymentFailed}, Tells: "payments",
		Instead: "payment_intent.succeeded and payment_intent.amount_capturable_updated; it adds the card's brand and network_transaction_id"},
	{Event: "charge.captured", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentProcessing, schemas.PaymentFailed},
		Instead: "payment_intent.succeeded and payment_intent.amount_capturable_updated; it adds the card's brand and network_transaction_id"},
	{Event: "charge.failed", Facts: []schemas.Type{schemas.PaymentFailed}, Instead: "payment_intent.payment_failed"},
	{Event: "charge.pending", Facts: []schemas.Type{schemas.PaymentProcessing}, Instead: "payment_intent.processing"},
	{Event: "charge.expired", Facts: []schemas.Type{schemas.PaymentExpired}},

	{Event: "invoice.paid", Facts: []schemas.Type{schemas.PaymentCaptured}, Tells: "invoices",
		Instead: "payment_intent.succeeded, unless tells is invoices; it adds the reference in the metadata of the invoice or the subscription"},
	{Event: "invoice.payment_succeeded", Facts: []schemas.Type{schemas.PaymentCaptured}, Tells: "invoices", Instead: "invoice.paid"},
	{Event: "invoice.payment_failed", Facts: []schemas.Type{schemas.PaymentFailed}, Instead: "payment_intent.payment_failed, where there was a payment method"},
	{Event: "invoice_payment.paid", Facts: []schemas.Type{schemas.PaymentCaptured}, Instead: "payment_intent.succeeded"},

	{Event: "refund.created", Facts: []schemas.Type{schemas.RefundPending, schemas.RefundSucceeded, schemas.RefundFailed, schemas.RefundCancelled, schemas.PaymentExpired}},
	{Event: "refund.updated", Facts: []schemas.Type{schemas.RefundPending, schemas.RefundSucceeded, schemas.RefundFailed, schemas.RefundCancelled, schemas.PaymentExpired}},
	{Event: "refund.failed", Facts: []schemas.Type{schemas.RefundPending, schemas.RefundSucceeded, schemas.RefundFailed, schemas.RefundCancelled}, Instead: "refund.updated"},
	{Event: "charge.refunded", Facts: []schemas.Type{schemas.RefundPending, schemas.RefundSucceeded, schemas.RefundFailed, schemas.RefundCancelled, schemas.PaymentCancelled, schemas.PaymentExpired},
		Instead: "refund.created and refund.updated, since API version 2024-10-28"},
	{Event: "charge.refund.updated", Facts: []schemas.Type{schemas.RefundPending, schemas.RefundSucceeded, schemas.RefundFailed, schemas.RefundCancelled, schemas.PaymentExpired},
		Instead: "refund.updated, since API version 2024-10-28"},

	{Event: "charge.dispute.created", Facts: stripeDisputeFacts},
	{Event: "charge.dispute.updated", Facts: stripeDisputeFacts},
	{Event: "charge.dispute.closed", Facts: stripeDisputeFacts},
	{Event: "charge.dispute.funds_withdrawn", Facts: stripeDisputeFacts, Instead: "charge.dispute.created and charge.dispute.updated"},
	{Event: "charge.dispute.funds_reinstated", Facts: stripeDisputeFacts, Instead: "charge.dispute.closed"},
	{Event: "radar.early_fraud_warning.created", Facts: []schemas.Type{schemas.FraudReported}},
	{Event: "radar.early_fraud_warning.updated", Facts: []schemas.Type{schemas.FraudReported}, Instead: "radar.early_fraud_warning.created"},
	{Event: "review.closed", Facts: []schemas.Type{schemas.FraudApproved, schemas.FraudRejected}},

	{Event: "payout.created", Facts: []schemas.Type{schemas.PayoutCreated}},
	{Event: "payout.paid", Facts: []schemas.Type{schemas.PayoutSucceeded, schemas.PayoutProcessing, schemas.PayoutFailed, schemas.PayoutCancelled}},
	{Event: "payout.failed", Facts: []schemas.Type{schemas.PayoutFailed}},
	{Event: "payout.canceled", Facts: []schemas.Type{schemas.PayoutCancelled}},
	{Event: "transfer.paid", Facts: []schemas.Type{schemas.PayoutSucceeded, schemas.PayoutProcessing, schemas.PayoutFailed, schemas.PayoutCancelled}, Instead: "payout.paid, since API version 2017-04-06"},
	{Event: "transfer.failed", Facts: []schemas.Type{schemas.PayoutFailed}, Instead: "payout.failed, since API version 2017-04-06"},

	{Event: "setup_intent.succeeded", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "setup_intent.setup_failed", Facts: []schemas.Type{schemas.MandateFailed}},
	{Event: "mandate.updated", Facts: []schemas.Type{schemas.MandateActive, schemas.MandateRevoked}},
	{Event: "payment_method.detached", Facts: []schemas.Type{schemas.MandateRevoked}},

	stripeThinTeller("payment_intent.succeeded", schemas.PaymentCaptured),
	stripeThinTeller("payment_intent.payment_failed", schemas.PaymentFailed),
	stripeThinTeller("payment_intent.canceled", schemas.PaymentCancelled),
	stripeThinTeller("payment_intent.processing", schemas.PaymentProcessing),
	stripeThinTeller("payment_intent.requires_action", schemas.PaymentActionRequired),
	stripeThinTeller("payment_intent.partially_funded", schemas.PaymentActionRequired),
	stripeThinTeller("charge.failed", schemas.PaymentFailed),
	stripeThinTeller("charge.expired", schemas.PaymentExpired),
	stripeThinTeller("checkout.session.async_payment_failed", schemas.PaymentFailed),
	stripeThinTeller("checkout.session.expired", schemas.PaymentExpired),
	stripeThinTeller("invoice.payment_failed", schemas.PaymentFailed),
	stripeThinTeller("refund.failed", schemas.RefundFailed),
	stripeThinTeller("charge.dispute.created", schemas.DisputeOpened),
	stripeThinTeller("radar.early_fraud_warning.created", schemas.FraudReported),
	stripeThinTeller("payout.created", schemas.PayoutCreated),
	stripeThinTeller("payout.paid", schemas.PayoutSucceeded),
	stripeThinTeller("payout.failed", schemas.PayoutFailed),
	stripeThinTeller("payout.canceled", schemas.PayoutCancelled),
	stripeThinTeller("setup_intent.succeeded", schemas.MandateActive),
	stripeThinTeller("setup_intent.setup_failed", schemas.MandateFailed),
	stripeThinTeller("payment_method.detached", schemas.MandateRevoked),
}

// stripeDisputeFacts lists the facts that each event type of a dispute can report: the
// status of the dispute decides.
var stripeDisputeFacts = []schemas.Type{schemas.DisputeOpened, schemas.DisputeChallenged, schemas.DisputeAccepted, schemas.DisputeCancelled, schemas.DisputeWon, schemas.DisputeLost}

// stripeThinTeller returns the teller of a thin event.
func stripeThinTeller(event string, fact schemas.Type) Teller {
	return Teller{Event: "v1." + event, Facts: []schemas.Type{fact}, Instead: event + ", which has the amount and the merchant's reference"}
}
