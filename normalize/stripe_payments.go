package normalize

import (
	"cmp"

	"github.com/tollbridge/tollbridge/schemas"
)

// stripeError is the reason why an intent failed, and the payment method that
// was used.
type stripeError struct {
	Code               text                `json:"code"`
	DeclineCode        text                `json:"decline_code"`
	Message            text                `json:"message"`
	NetworkDeclineCode text                `json:"network_decline_code"`
	PaymentMethod      stripeMethodDetails `json:"payment_method"`
}

// failure returns the reason.
func (e stripeError) failure() *schemas.Error {
	return failure(first(e.DeclineCode, e.Code), e.Message, e.NetworkDeclineCode)
}

// stripeIntentTypes maps the event name of an intent to the event type.
var stripeIntentTypes = map[string]schemas.Type{
	"payment_intent.succeeded":                 schemas.PaymentCaptured,
	"payment_intent.payment_failed":            schemas.PaymentFailed,
	"payment_intent.canceled":                  schemas.PaymentCancelled,
	"payment_intent.processing":                schemas.PaymentProcessing,
	"payment_intent.requires_action":           schemas.PaymentActionRequired,
	"payment_intent.partially_funded":          schemas.PaymentActionRequired, // the payer has to send the rest
	"payment_intent.amount_capturable_updated": schemas.PaymentAuthorized,
}

// stripeStatusTypes corrects an event name that says captured or paid out while
// the status of the object says otherwise: the status decides.
var stripeStatusTypes = map[schemas.Type]map[text]schemas.Type{
	schemas.PaymentCaptured: {
		"processing":      schemas.PaymentProcessing, // of intents
		"requires_action": schemas.PaymentActionRequired,
		"canceled":        schemas.PaymentCancelled,
		"pending":         schemas.PaymentProcessing, // of charges
		"failed":          schemas.PaymentFailed,
	},
	schemas.PayoutSucceeded: {
		"pending":    schemas.PayoutProcessing,
		"in_transit": schemas.PayoutProcessing,
		"failed":     schemas.PayoutFailed,
		"canceled":   schemas.PayoutCancelled,
	},
}

// stripeIntent reads a PaymentIntent.
// https://docs.stripe.com/api/payment_intents/object
//
// An intent with several captures also has an event amount_capturable_updated
// for each capture, with the amount that can still be captured. It does not say
// how much that capture took. The last capture becomes an event by
// payment_intent.succeeded:
// https://docs.stripe.com/payments/multicapture
func stripeIntent(change stripeChange, o Options) (f Fact, err error) {
	var pi struct {
		ID                 string       `json:"id"`
		Status             text         `json:"status"`
		Amount             *int64       `json:"amount"`
		AmountCapturable   *int64       `json:"amount_capturable"`
		AmountReceived     *int64       `json:"amount_received"`
		Currency           string       `json:"currency"`
		Metadata           metadata     `json:"metadata"`
		LastPaymentError   *stripeError `json:"last_payment_error"`
		CancellationReason text         `json:"cancellation_reason"`
		PaymentMethod      text         `json:"payment_method"`
		PaymentMethodTypes []string     `json:"payment_method_types"`
		LatestCharge       text         `json:"latest_charge"`
		Charges            struct {     // until API version 2022-11-15
			Data []struct {
				Details stripeMethodDetails `json:"payment_method_details"`
			} `json:"data"`
		} `json:"charges"`
	}
	if err := redecode(change.object, &pi); err != nil {
		return f, err
	}
	f.Type = stripeIntentTypes[change.event]
	f.Type = cmp.Or(stripeStatusTypes[f.Type][pi.Status], f.Type)
	f.MerchantTransactionID, f.ConnectorTransactionID = o.merchantID(pi.Metadata), pi.ID
	f.ConnectorReferences = others(pi.ID, pi.LatestCharge)
	f.MandateID = string(pi.PaymentMethod)
	amount := pi.Amount
	switch f.Type {
	case schemas.PaymentCaptured:
		amount = pi.AmountReceived
		f.CapturedAmount, err = minor(amount, pi.Currency, stripeExponents)
	case schemas.PaymentAuthorized:
		if taken := pi.AmountReceived; taken != nil && *taken > 0 {
			if left := pi.AmountCapturable; left == nil || *left == 0 {
				return ignored(change.event, "nothing is left to capture; payment_intent.succeeded tells"), nil
			}
			f.Type, amount = schemas.PaymentCaptured, nil
			f.CapturedAmount, err = minor(taken, pi.Currency, stripeExponents)
			break
		}
		amount = pi.AmountCapturable
		f.AuthorizedAmount, err = minor(amount, pi.Currency, stripeExponents)
	case schemas.PaymentFailed:
		if e := pi.LastPaymentError; e != nil {
			f.Error, f.PaymentMethod = e.failure(), e.PaymentMethod.method()
		}
	case schemas.PaymentCancelled:
		f.Error = failure(pi.CancellationReason, "", "")
	}
	if err != nil {
		return f, err
	}
	if f.Amount, err = minor(amount, pi.Currency, stripeExponents); err != nil {
		return f, err
	}
	if len(pi.Charges.Data) > 0 { // newest first
		d := pi.Charges.Data[0].Details
		f.PaymentMethod, f.NetworkTransactionID = d.method(), string(d.Card.NetworkTransactionID)
	}
	if f.PaymentMethod == nil && len(pi.PaymentMethodTypes) == 1 {
		f.PaymentMethod = method(pi.PaymentMethodTypes[0], "")
	}
	return f, nil
}

// stripeCharge reads a charge.
// https://docs.stripe.com/api/charges/object
func stripeCharge(change stripeChange, o Options) (f Fact, err error) {
	var c struct {
		ID             string              `json:"id"`
		Status         text                `json:"status"`
		PaymentIntent  text                `json:"payment_intent"`
		Amount         *int64              `json:"amount"`
		AmountCaptured *int64              `json:"amount_captured"`
		Captured       bool                `json:"captured"`
		Currency       string              `json:"currency"`
		Metadata       metadata            `json:"metadata"`
		FailureCode    text                `json:"failure_code"`
		FailureMessage text                `json:"failure_message"`
		PaymentMethod  text                `json:"payment_method"`
		Details        stripeMethodDetails `json:"payment_method_details"`
		Outcome        struct {
			NetworkDeclineCode text `json:"network_decline_code"`
		} `json:"outcome"`
	}
	if err := redecode(change.object, &c); err != nil {
		return f, err
	}
	if c.PaymentIntent != "" && change.event != "charge.expired" {
		return ignored(change.event, "the charge belongs to "+string(c.PaymentIntent)+", whose own event tells"), nil
	}
	f.MerchantTransactionID = o.merchantID(c.Metadata)
	f.ConnectorTransactionID = first(string(c.PaymentIntent), c.ID)
	f.ConnectorReferences = others(f.ConnectorTransactionID, c.ID)
	f.PaymentMethod, f.NetworkTransactionID = c.Details.method(), string(c.Details.Card.NetworkTransactionID)
	f.MandateID = string(c.PaymentMethod)
	if f.Amount, err = minor(c.Amount, c.Currency, stripeExponents); err != nil {
		return f, err
	}
	switch {
	case change.event == "charge.failed":
		f.Type = schemas.PaymentFailed
		f.Error = failure(c.FailureCode, c.FailureMessage, c.Outcome.NetworkDeclineCode)
	case change.event == "charge.pending":
		f.Type = schemas.PaymentProcessing
	case change.event == "charge.expired":
		f.Type = schemas.PaymentExpired
	case stripeStatusTypes[schemas.PaymentCaptured][c.Status] != "":
		f.Type = stripeStatusTypes[schemas.PaymentCaptured][c.Status]
	case c.Captured:
		f.Type = schemas.PaymentCaptured
		f.AuthorizedAmount = f.Amount
		if c.AmountCaptured != nil {
			f.CapturedAmount, err = minor(c.AmountCaptured, c.Currency, stripeExponents)
			f.Amount = f.CapturedAmount
		}
	default:
		f.Type = schemas.PaymentAuthorized
		f.AuthorizedAmount = f.Amount
	}
	return f, err
}

// stripeSession reads a Checkout session.
// https://docs.stripe.com/api/checkout/sessions/object
func stripeSession(change stripeChange, o Options) (f Fact, err error) {
	var s struct {
		ID                string   `json:"id"`
		PaymentIntent     text     `json:"payment_intent"`
		ClientReferenceID text     `json:"client_reference_id"`
		AmountTotal       *int64   `json:"amount_total"`
		Currency          text     `json:"currency"`
		Mode              text     `json:"mode"`
		Metadata          metadata `json:"metadata"`
	}
	if err := redecode(change.object, &s); err != nil {
		return f, err
	}
	if s.Mode == "setup" {
		return ignored(change.event, "the session was to save a payment method, not to pay"), nil
	}
	f.Type = schemas.PaymentExpired
	f.MerchantTransactionID = first(o.merchantID(s.Metadata), string(s.ClientReferenceID))
	f.ConnectorTransactionID = first(string(s.PaymentIntent), s.ID)
	f.Amount, err = minor(s.AmountTotal, s.Currency, stripeExponents)
	return f, err
}
