package normalize

import (
	"fmt"

	"github.com/tollbridge/tollbridge/schemas"
)

// stripeSession reads a Checkout session. Payment links make sessions, too, and
// copy their metadata to them.
//
// For a payment, a session names the intent, and reports the same facts as the intent's
// events. For a subscription, it names only the invoice. Only the session has
// client_reference_id. It does not name the attempt to pay, so its failure is a fact of
// its own beside that of the intent.
//
// https://docs.stripe.com/api/checkout/sessions/object
// https://docs.stripe.com/checkout/fulfillment
func stripeSession(change stripeChange, o Options) (f fact, err error) {
	var s struct {
		ID                string   `json:"id"`
		Mode              text     `json:"mode"`
		PaymentStatus     text     `json:"payment_status"`
		PaymentIntent     text     `json:"payment_intent"`
		SetupIntent       text     `json:"setup_intent"`
		Invoice           text     `json:"invoice"`
		Subscription      text     `json:"subscription"`
		ClientReferenceID text     `json:"client_reference_id"`
		AmountTotal       *int64   `json:"amount_total"`
		Currency          text     `json:"currency"`
		Metadata          metadata `json:"metadata"`
	}
	if err := redecode(change.object, &s); err != nil {
		return f, err
	}
	f.MerchantTransactionID = first(o.merchantID(s.Metadata), string(s.ClientReferenceID))
	f.ConnectorTransactionID = first(s.PaymentIntent, s.SetupIntent, s.Invoice, text(s.ID))
	f.ConnectorReferences = others(text(f.ConnectorTransactionID), s.Invoice, s.Subscription, text(s.ID))
	if f.Amount, err = minor(s.AmountTotal, s.Currency, stripeExponents); err != nil {
		return f, err
	}
	switch {
	case change.event == "checkout.session.expired" && s.Mode == "setup":
		return ignored(change.event, "the session was to save a payment method, not to pay"), nil
	case change.event == "checkout.session.expired":
		f.Type, f.Identity = schemas.PaymentExpired, s.ID+":expired"
	case change.event == "checkout.session.async_payment_failed":
		f.Type, f.Identity = schemas.PaymentFailed, s.ID+":failed"
	case s.Mode == "setup" && s.SetupIntent == "":
		return ignored(change.event, "the session does not name its SetupIntent"), nil
	case s.Mode == "setup":
		f.Type, f.Identity, f.Amount = schemas.MandateActive, string(s.SetupIntent)+":succeeded", nil
	case s.PaymentStatus == "no_payment_required", s.AmountTotal != nil && *s.AmountTotal == 0:
		return stripeNoEvent(ignored(change.event, "there is nothing to pay"), f), nil
	case s.PaymentStatus != "paid":
		// A payment method that takes days, or a capture by the merchant.
		return stripeNoEvent(ignored(change.event, fmt.Sprintf("payment_status is %q: checkout.session.async_payment_succeeded, payment_intent.succeeded or charge.captured reports the payment", s.PaymentStatus)), f), nil
	default:
		return stripeSessionPaid(change, f, s.PaymentIntent, s.Invoice, s.ID, o), nil
	}
	return f, nil
}

// stripeSessionPaid returns the fact of a paid session.
func stripeSessionPaid(change stripeChange, f fact, intent, invoice text, session string, o Options) fact {
	f.Type, f.CapturedAmount = schemas.PaymentCaptured, f.Amount
	switch joined := !stripeBasil(change.version); {
	case intent != "":
		f.Identity = string(intent) + ":captured"
		if invoice != "" && (joined || stripeInvoicesReport(o)) { // the payment of a session can get an invoice afterwards
			f.Also = []string{string(invoice) + ":captured"}
		}
	case invoice == "":
		f.Identity = session + ":captured"
	case joined || stripeInvoicesReport(o):
		f.Identity = string(invoice) + ":captured"
	default:
		return stripeNoEvent(reportedBy(change.event, "payment_intent.succeeded", "charge.succeeded", "invoice_payment.paid"), f)
	}
	return f
}
