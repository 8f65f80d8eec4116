package normalize

import "github.com/tollbridge/tollbridge/schemas"

// stripeInvoice reads an invoice.
// https://docs.stripe.com/api/invoices/object
//
// Until API version 2025-03-31 an invoice names the intent and the charge that paid it,
// and reports the same facts as their events. Since then it names neither, and the
// setting tells decides. With tells: invoices, it cannot be seen whether the merchant
// marked the invoice as paid outside of Stripe: Stripe no longer says so.
//
// invoice.paid and invoice.payment_succeeded are both sent for a payment, and only
// invoice.paid for an invoice that is marked as paid.
func stripeInvoice(change stripeChange, o Options) (f fact, err error) {
	type details struct {
		Subscription text     `json:"subscription"`
		Metadata     metadata `json:"metadata"` // a copy of the subscription's
	}
	var in struct {
		ID              string   `json:"id"`
		Status          text     `json:"status"`
		AmountDue       *int64   `json:"amount_due"`
		AmountPaid      *int64   `json:"amount_paid"`
		AmountRemaining *int64   `json:"amount_remaining"`
		Currency        text     `json:"currency"`
		Metadata        metadata `json:"metadata"`

		// Until API version 2025-03-31.
		PaymentIntent       text    `json:"payment_intent"`
		Charge              text    `json:"charge"`
		PaidOutOfBand       bool    `json:"paid_out_of_band"`
		Subscription        text    `json:"subscription"`
		SubscriptionDetails details `json:"subscription_details"`

		// Since.
		Parent struct {
			SubscriptionDetails details `json:"subscription_details"`
		} `json:"parent"`
	}
	if err := redecode(change.object, &in); err != nil {
		return f, err
	}
	payment := first(in.PaymentIntent, in.Charge)
	subscription := first(in.Subscription, in.Parent.SubscriptionDetails.Subscription)
	f.MerchantTransactionID = first(o.merchantID(in.Metadata), o.merchantID(in.SubscriptionDetails.Metadata), o.merchantID(in.Parent.SubscriptionDetails.Metadata))
	f.ConnectorTransactionID = first(payment, in.ID)
	f.ConnectorReferences = others(f.ConnectorTransactionID, string(in.Charge), in.ID)
	if f.MerchantTransactionID == "" {
		// The subscription links the invoice to the reference of the subscription's
		// session. An invoice with a reference of its own does not name the
		// subscription, so that later invoices do not get that reference.
		f.ConnectorReferences = append(f.ConnectorReferences, others("", subscription)...)
	}
	if change.event == "invoice.payment_failed" {
		f.Type = schemas.PaymentFailed
		if in.Charge != "" {
			f.Identity = string(in.Charge) + ":failed"
		}
		amount := in.AmountRemaining
		if amount == nil {
			amount = in.AmountDue
		}
		f.Amount, err = minor(amount, in.Currency, stripeExponents)
		return f, err
	}
	switch {
	case in.AmountPaid != nil && *in.AmountPaid == 0:
		return stripeNoEvent(ignored(change.event, "nothing was paid: amount_paid is 0, as in a trial or with credit"), f), nil
	case in.PaidOutOfBand:
		return stripeNoEvent(ignored(change.event, "the merchant marked the invoice as paid outside of Stripe"), f), nil
	case payment != "":
		f.Identity, f.Also = payment+":captured", []string{in.ID + ":captured"}
	case !stripeInvoicesReport(o):
		return stripeNoEvent(reportedBy(change.event, "payment_intent.succeeded", "charge.succeeded", "invoice_payment.paid"), f), nil
	case in.Status != "" && in.Status != "paid":
		return stripeNoEvent(ignored(change.event, "the invoice is paid in part: its status is "+string(in.Status)+", and invoice.paid reports the full payment"), f), nil
	default:
		f.Identity = in.ID + ":captured"
	}
	f.Type = schemas.PaymentCaptured
	f.Amount, err = minor(in.AmountPaid, in.Currency, stripeExponents)
	f.CapturedAmount = f.Amount
	return f, err
}

// stripeInvoicePayment reads an invoice payment, which links an invoice to an intent,
// or to a charge that has no intent. It exists since API version 2025-03-31. An intent
// that was not made for an invoice can pay several invoices: amount_paid is then a part
// of the intent's amount.
//
// https://docs.stripe.com/api/invoice-payment/object
func stripeInvoicePayment(change stripeChange, o Options) (f fact, err error) {
	var p struct {
		Invoice    text   `json:"invoice"`
		IsDefault  *bool  `json:"is_default"` // the payment that Stripe made for the invoice itself
		AmountPaid *int64 `json:"amount_paid"`
		Currency   text   `json:"currency"`
		Payment    struct {
			Type          text `json:"type"`
			PaymentIntent text `json:"payment_intent"`
			Charge        text `json:"charge"`
		} `json:"payment"`
		PaymentIntent text `json:"payment_intent"` // of preview versions
		Charge        text `json:"charge"`         // of preview versions
	}
	if err := redecode(change.object, &p); err != nil {
		return f, err
	}
	payment := first(p.Payment.PaymentIntent, p.PaymentIntent, p.Payment.Charge, p.Charge)
	switch {
	case p.Payment.Type == "payment_record":
		return ignored(change.event, "the payment was made outside of Stripe, and recorded"), nil
	case p.AmountPaid != nil && *p.AmountPaid == 0:
		return ignored(change.event, "nothing was paid: amount_paid is 0"), nil
	case payment == "":
		return ignored(change.event, "the invoice payment names neither an intent nor a charge"), nil
	}
	f.ConnectorTransactionID = payment
	f.ConnectorReferences = others(text(payment), p.Payment.Charge, p.Charge, p.Invoice)
	f.Identity = payment + ":captured"
	if stripeInvoicesReport(o) && p.Invoice != "" {
		if p.IsDefault != nil && !*p.IsDefault {
			return stripeNoEvent(reportedBy(change.event, "invoice.paid"), f), nil
		}
		f.Identity = string(p.Invoice) + ":captured"
	}
	f.Type = schemas.PaymentCaptured
	f.Amount, err = minor(p.AmountPaid, p.Currency, stripeExponents)
	if p.IsDefault == nil || *p.IsDefault {
		f.CapturedAmount = f.Amount
	}
	return f, err
}
