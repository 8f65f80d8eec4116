package normalize

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// stripeError is the reason why an intent failed, and the payment method that
// was used.
type stripeError struct {
	Code               text                `json:"code"`
	Charge             text                `json:"charge"` // of the attempt; none if no charge was made
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

// stripeStatusTypes corrects an event name that says captured, authorized or paid
// out while the status of the object says otherwise: the status decides.
var stripeStatusTypes = map[schemas.Type]map[text]schemas.Type{
	schemas.PaymentCaptured: {
		"processing":      schemas.PaymentProcessing, // of intents
		"requires_action": schemas.PaymentActionRequired,
		"canceled":        schemas.PaymentCancelled,
		"pending":         schemas.PaymentProcessing, // of charges
		"failed":          schemas.PaymentFailed,
	},
	schemas.PaymentAuthorized: {
		"succeeded": schemas.PaymentCaptured, // of intents
		"canceled":  schemas.PaymentCancelled,
	},
	schemas.PayoutSucceeded: {
		"pending":    schemas.PayoutProcessing,
		"in_transit": schemas.PayoutProcessing,
		"failed":     schemas.PayoutFailed,
		"canceled":   schemas.PayoutCancelled,
	},
}

// stripeCaptured returns the identity of a capture: with the sum taken so far if it
// took less than the whole, because the rest can follow. The sum of an intent,
// amount_received, and that of its charge, amount_captured, are the same.
func stripeCaptured(id string, taken, whole *int64) string {
	if taken != nil && whole != nil && *taken < *whole {
		return fmt.Sprintf("%s:captured:%d", id, *taken)
	}
	return id + ":captured"
}

// stripeAuthorized returns the identity of an authorization. A larger one later
// is another fact: https://docs.stripe.com/payments/incremental-authorization
func stripeAuthorized(id string, amount *int64) string {
	if amount == nil {
		return id + ":authorized"
	}
	return fmt.Sprintf("%s:authorized:%d", id, *amount)
}

// stripeIntent reads a PaymentIntent.
// https://docs.stripe.com/api/payment_intents/object
//
// An intent with several captures also has an event amount_capturable_updated for each
// capture, with the amount that can still be captured. It does not say how much that
// capture took. payment_intent.succeeded also reports the last capture, with the sum:
// https://docs.stripe.com/payments/multicapture
//
// payment_details.order_reference is the invoice (in_) or the Checkout session
// (cs_) that made the intent, in webhooks since November 2025. Stripe does not
// document that, and a merchant can set the field.
func stripeIntent(change stripeChange, o Options) (f fact, err error) {
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
				ID      text                `json:"id"`
				Details stripeMethodDetails `json:"payment_method_details"`
			} `json:"data"`
		} `json:"charges"`
		Invoice text     `json:"invoice"` // until API version 2025-03-31
		Details struct { // since
			OrderReference text `json:"order_reference"`
		} `json:"payment_details"`
	}
	if err := redecode(change.object, &pi); err != nil {
		return f, err
	}
	invoice, session := pi.Invoice, text("")
	switch reference := pi.Details.OrderReference; {
	case strings.HasPrefix(string(reference), "in_"):
		invoice = text(first(invoice, reference))
	case strings.HasPrefix(string(reference), "cs_"):
		session = reference
	}
	charge := pi.LatestCharge
	if len(pi.Charges.Data) > 0 { // newest first
		d := pi.Charges.Data[0]
		charge = text(first(charge, d.ID))
		f.PaymentMethod, f.NetworkTransactionID = d.Details.method(), string(d.Details.Card.NetworkTransactionID)
	}
	f.Type = stripeIntentTypes[change.event]
	f.Type = cmp.Or(stripeStatusTypes[f.Type][pi.Status], f.Type)
	taken, left := pi.AmountReceived, pi.AmountCapturable
	part := f.Type == schemas.PaymentAuthorized && taken != nil && *taken > 0
	if part {
		f.Type, part = schemas.PaymentCaptured, left != nil && *left > 0
	}
	f.MerchantTransactionID, f.ConnectorTransactionID = o.merchantID(pi.Metadata), pi.ID
	f.ConnectorReferences = others(text(pi.ID), charge, invoice, session)
	f.MandateID = string(pi.PaymentMethod)
	amount := pi.Amount
	switch f.Type {
	case schemas.PaymentCaptured:
		amount = taken
		f.Identity = stripeCaptured(pi.ID, taken, pi.Amount)
		switch whole := pi.ID + ":captured"; {
		case part:
			f.Identity, amount = fmt.Sprintf("%s:%d", whole, *taken), nil
		case f.Identity != whole:
			f.Also = []string{whole} // the last capture: a thin event does not say that it was partial
		case invoice != "" && stripeBasil(change.version) && stripeInvoicesReport(o):
			f.Identity, f.Also = string(invoice)+":captured", []string{whole}
		case pi.Invoice != "":
			f.Also = []string{string(invoice) + ":captured"}
		}
		f.CapturedAmount, err = minor(taken, pi.Currency, stripeExponents)
	case schemas.PaymentAuthorized:
		if left != nil && *left == 0 {
			return stripeNoEvent(ignored(change.event, "nothing was authorized: amount_capturable is 0"), f), nil
		}
		amount = left
		f.Identity = stripeAuthorized(pi.ID, left)
		f.AuthorizedAmount, err = minor(left, pi.Currency, stripeExponents)
	case schemas.PaymentProcessing:
		if charge != "" {
			f.Also = []string{string(charge) + ":pending"}
		}
	case schemas.PaymentFailed:
		if e := pi.LastPaymentError; e != nil {
			f.Error, f.PaymentMethod = e.failure(), e.PaymentMethod.method()
			if e.Charge != "" {
				f.Identity = string(e.Charge) + ":failed"
			}
		}
	case schemas.PaymentCancelled:
		f.Identity = pi.ID + ":canceled"
		f.Error = failure(pi.CancellationReason, "", "")
	}
	if err != nil {
		return f, err
	}
	if f.PaymentMethod == nil && len(pi.PaymentMethodTypes) == 1 {
		f.PaymentMethod = method(pi.PaymentMethodTypes[0], "")
	}
	f.Amount, err = minor(amount, pi.Currency, stripeExponents)
	return f, err
}

// stripeCharge reads a charge.
// https://docs.stripe.com/api/charges/object
// A charge that is captured asynchronously says captured at once, and charge.updated
// only adds its balance transaction:
// charge.updated only brings its balance transaction:
// https://docs.stripe.com/payments/payment-intents/asynchronous-capture
func stripeCharge(change stripeChange, o Options) (f fact, err error) {
	var c struct {
		ID             string              `json:"id"`
		Status         text                `json:"status"`
		PaymentIntent  text                `json:"payment_intent"`
		Invoice        text                `json:"invoice"` // until API version 2025-03-31
		SourceTransfer text                `json:"source_transfer"`
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
	if c.SourceTransfer != "" {
		return stripeTransferred(change.event, c.SourceTransfer), nil
	}
	f.MerchantTransactionID = o.merchantID(c.Metadata)
	f.ConnectorTransactionID = first(string(c.PaymentIntent), c.ID)
	f.ConnectorReferences = others(text(f.ConnectorTransactionID), text(c.ID), c.Invoice)
	f.PaymentMethod, f.NetworkTransactionID = c.Details.method(), string(c.Details.Card.NetworkTransactionID)
	f.MandateID = string(c.PaymentMethod)
	amount := c.Amount
	switch {
	case change.event == "charge.failed":
		f.Type, f.Identity = schemas.PaymentFailed, c.ID+":failed"
		f.Error = failure(c.FailureCode, c.FailureMessage, c.Outcome.NetworkDeclineCode)
	case change.event == "charge.pending":
		f.Type, f.Identity = schemas.PaymentProcessing, c.ID+":pending"
	case change.event == "charge.expired":
		f.Type, f.Identity = schemas.PaymentExpired, f.ConnectorTransactionID+":expired"
		if c.PaymentIntent != "" {
			f.Also = []string{c.ID + ":expired"} // of the thin event
		}
	case stripeStatusTypes[schemas.PaymentCaptured][c.Status] != "":
		f.Type, f.Identity = stripeStatusTypes[schemas.PaymentCaptured][c.Status], c.ID+":"+string(c.Status)
	case c.Captured || change.event == "charge.captured":
		if change.event == "charge.succeeded" && c.PaymentIntent != "" && stripeBasil(change.version) && stripeInvoicesReport(o) {
			return stripeNoEvent(reportedBy(change.event, "payment_intent.succeeded", "invoice.paid"), f), nil
		}
		f.Type, f.Identity = schemas.PaymentCaptured, stripeCaptured(f.ConnectorTransactionID, c.AmountCaptured, c.Amount)
		if c.Invoice != "" {
			f.Also = []string{string(c.Invoice) + ":captured"}
		}
		if f.AuthorizedAmount, err = minor(c.Amount, c.Currency, stripeExponents); err != nil {
			return f, err
		}
		if taken := c.AmountCaptured; taken != nil {
			if f.CapturedAmount, err = minor(taken, c.Currency, stripeExponents); err != nil {
				return f, err
			}
			amount = change.increase("amount_captured", *taken) // amount_captured is a sum of several captures
			if amount == nil && (c.Amount == nil || *taken == *c.Amount || c.Details.Card.Multicapture.Status != "available") {
				amount = taken
			}
		}
	default:
		if authorized := c.Details.Card.AmountAuthorized; authorized != nil {
			amount = authorized // less than the amount if only a part was authorized
		}
		f.Type, f.Identity = schemas.PaymentAuthorized, stripeAuthorized(f.ConnectorTransactionID, amount)
		f.AuthorizedAmount, err = minor(amount, c.Currency, stripeExponents)
	}
	if err != nil {
		return f, err
	}
	f.Amount, err = minor(amount, c.Currency, stripeExponents)
	return f, err
}

// stripeTransferred returns the ignored fact of a charge that another account at
// Stripe made by a transfer, such as that of a connected account by a destination
// charge. The payer's payment is the charge of that other account, the platform.
//
// https://docs.stripe.com/api/charges/object#charge_object-source_transfer
// https://docs.stripe.com/connect/destination-charges
func stripeTransferred(event string, transfer text) fact {
	return ignored(event, "the charge is the transfer "+string(transfer)+" from another Stripe account, which has the payer's payment")
}
