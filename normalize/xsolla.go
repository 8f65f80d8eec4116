package normalize

import (
	"cmp"
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// xsolla normalises Xsolla's webhooks. One webhook is one notification,
// {"notification_type", "transaction", "purchase", "payment_details", ...}.
// Notifications about an order have these fields in billing. In projects with
// separate webhooks for payments and orders, they do not have them at all; then
// a payment has one notification and its order another, and both are one fact.
//
// Notifications have no id. The identity is the transaction, and for refunds
// and disputes also what distinguishes them. Amounts are JSON numbers or
// strings in major units; the amount of an event is what the user paid or got
// back.
//
// https://developers.xsolla.com/webhooks/overview/
var xsolla = Connector{
	Docs:      "https://developers.xsolla.com/webhooks/overview/",
	Key:       "transaction.external_id, else custom_parameters.<merchant_id_keys>",
	Tellers:   xsollaTellers,
	Captures:  CountsOnce,    // an order is paid once
	Refunds:   CountsUnknown, // Xsolla does not say whether the amount of partial_refund is that of the part
	normalize: xsollaNormalize,
}

// xsollaTellers lists the notification types, the most important first. In projects with
// the webhooks of payments and orders together, order_paid and order_canceled come
// alone.
var xsollaTellers = []Teller{
	{Event: "payment", Facts: []schemas.Type{schemas.PaymentCaptured}},
	{Event: "order_paid", Facts: []schemas.Type{schemas.PaymentCaptured}},
	{Event: "afs_reject", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "ps_declined", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "refund", Facts: []schemas.Type{schemas.RefundSucceeded, schemas.DisputeOpened}},
	{Event: "partial_refund", Facts: []schemas.Type{schemas.RefundSucceeded, schemas.DisputeOpened}},
	{Event: "order_canceled", Facts: []schemas.Type{schemas.RefundSucceeded, schemas.DisputeOpened}},
	{Event: "dispute", Facts: []schemas.Type{schemas.DisputeOpened, schemas.DisputeAccepted, schemas.DisputeWon, schemas.DisputeLost}},
	{Event: "payment_account_add", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "payment_account_remove", Facts: []schemas.Type{schemas.MandateRevoked}},
	{Event: "create_subscription", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "cancel_subscription", Facts: []schemas.Type{schemas.MandateRevoked}},
}

// xsollaReaders maps a notification type to the function that reads it.
var xsollaReaders = map[string]func(xsollaNotification) (fact, error){
	"payment":                xsollaPayment,
	"order_paid":             xsollaPayment,
	"refund":                 xsollaRefund,
	"order_canceled":         xsollaRefund,
	"partial_refund":         xsollaRefund,
	"afs_reject":             xsollaDeclined,
	"ps_declined":            xsollaDeclined,
	"dispute":                xsollaDispute,
	"payment_account_add":    xsollaPaymentAccount,
	"payment_account_remove": xsollaPaymentAccount,
	"create_subscription":    xsollaSubscription,
	"cancel_subscription":    xsollaSubscription,

	"user_validation": xsollaUserCheck,
	"user_search":     xsollaUserCheck,
}

// xsollaAmount is an amount in major units.
type xsollaAmount struct {
	Amount   text `json:"amount"`
	Currency text `json:"currency"`
}

// xsollaBilling is a transaction with its purchase, payment and refund.
type xsollaBilling struct {
	Transaction struct {
		ID                text         `json:"id"`
		ExternalID        text         `json:"external_id"`
		PaymentDate       text         `json:"payment_date"`
		PaymentMethod     text         `json:"payment_method"` // a name in disputes, a number elsewhere
		PaymentMethodName text         `json:"payment_method_name"`
		DryRun            text         `json:"dry_run"`
		Total             xsollaAmount `json:"total"` // of disputes
	} `json:"transaction"`
	Purchase struct {
		Total        xsollaAmount         `json:"total"`
		Subscription xsollaSubscriptionID `json:"subscription"`
	} `json:"purchase"`
	PaymentDetails struct {
		Payment xsollaAmount `json:"payment"`
	} `json:"payment_details"`
	RefundDetails struct {
		Code         text `json:"code"`
		Reason       text `json:"reason"`
		ReasonDetail text `json:"reason_detail"`
		Date         text `json:"date"`
	} `json:"refund_details"`
}

// xsollaSubscriptionID is a reference to a subscription.
type xsollaSubscriptionID struct {
	ID text `json:"subscription_id"`
}

// xsollaNotification is the body of a webhook.
type xsollaNotification struct {
	Type string `json:"notification_type"`
	xsollaBilling
	Billing *xsollaBilling `json:"billing"` // of orders
	Order   struct {
		Mode         text `json:"mode"`
		CurrencyType text `json:"currency_type"`
		Currency     text `json:"currency"`
		Amount       text `json:"amount"`
		InvoiceID    text `json:"invoice_id"`
	} `json:"order"`
	Dispute struct {
		IncomingDate text `json:"incoming_date"`
		Reason       text `json:"reason"`
		Type         text `json:"type"`
		Status       text `json:"status"`
	} `json:"dispute"`
	Action         text `json:"action"` // of disputes
	PaymentAccount struct {
		ID   text `json:"id"`
		Type text `json:"type"`
	} `json:"payment_account"`
	Subscription     xsollaSubscriptionID `json:"subscription"`
	CustomParameters metadata             `json:"custom_parameters"`
}

func xsollaNormalize(payload []byte, o Options) ([]fact, error) {
	var envelope struct {
		Type text `json:"notification_type"`
	}
	if err := decode(payload, &envelope); err != nil {
		return nil, err
	}
	event := string(envelope.Type)
	read, ok := xsollaReaders[event]
	switch {
	case event == "":
		return nil, fmt.Errorf("%w: no notification_type: not a webhook of Xsolla's", ErrMalformed)
	case !ok:
		return []fact{notUnified(event)}, nil
	}
	var n xsollaNotification
	if err := redecode(payload, &n); err != nil {
		return oneMalformed(event, err)
	}
	switch currency := n.Order.CurrencyType; {
	case n.Billing != nil:
		n.xsollaBilling = *n.Billing
	case currency != "" && currency != "real":
		return []fact{ignored(n.Type, fmt.Sprintf("an order in a currency of the type %q: no money has moved", currency))}, nil
	}
	t := &n.Transaction
	t.ID = cmp.Or(t.ID, n.Order.InvoiceID)
	f, err := read(n)
	f.MerchantTransactionID = first(string(t.ExternalID), o.merchantID(n.CustomParameters))
	if t.DryRun != "" && t.DryRun != "0" && t.DryRun != "false" || n.Order.Mode == "sandbox" {
		f.Mode = modeTest
	}
	return oneFact(n.Type, f, err)
}

// xsollaTransaction returns the fields that the facts of all transactions have
// in common.
func xsollaTransaction(n xsollaNotification, typ schemas.Type) (f fact, err error) {
	t := n.Transaction
	if t.ID == "" {
		return f, fmt.Errorf("%w: no transaction.id", ErrMalformed)
	}
	f.Type, f.Identity = typ, string(t.ID)
	f.ConnectorTransactionID = string(t.ID)
	f.PaymentMethod = method(t.PaymentMethodName, "")
	paid := n.PaymentDetails.Payment
	if paid.Amount == "" {
		paid = n.Purchase.Total
	}
	if paid.Amount == "" {
		paid = xsollaAmount{n.Order.Amount, n.Order.Currency}
	}
	f.Amount, err = major(paid.Amount, paid.Currency)
	return f, err
}

// xsollaPayment reads a payment that succeeded.
func xsollaPayment(n xsollaNotification) (fact, error) {
	f, err := xsollaTransaction(n, schemas.PaymentCaptured)
	if err != nil {
		return f, err
	}
	f.CapturedAmount, f.MandateID = f.Amount, string(n.Purchase.Subscription.ID)
	f.Time, err = timestamp(n.Transaction.PaymentDate, time.RFC3339)
	return f, err
}

// xsollaDeclined reads a payment that was declined.
func xsollaDeclined(n xsollaNotification) (fact, error) {
	f, err := xsollaTransaction(n, schemas.PaymentFailed)
	r := n.RefundDetails
	f.Error = failure(r.Code, first(r.ReasonDetail, r.Reason), "")
	return f, err
}

// xsollaChargeback is the code of a refund that is a chargeback.
// https://developers.xsolla.com/webhooks/operation/refund
const xsollaChargeback = "2"

// xsollaRefund reads a refund or a chargeback.
func xsollaRefund(n xsollaNotification) (fact, error) {
	r, typ := n.RefundDetails, schemas.RefundSucceeded
	if r.Code == xsollaChargeback {
		typ = schemas.DisputeOpened
	}
	f, err := xsollaTransaction(n, typ)
	f.Reason = string(r.Reason)
	if typ == schemas.DisputeOpened {
		f.Stage = schemas.StageDispute
	}
	if n.Type == "partial_refund" { // there can be several: the identity is the hash of the payload
		f.Identity = ""
	}
	if t, err := time.Parse(time.RFC3339, string(r.Date)); err == nil { // some times have no time zone, and are not used
		f.Time = t
	}
	return f, err
}

// xsollaDisputeTypes maps the status of a dispute to the event type.
var xsollaDisputeTypes = map[text]schemas.Type{
	"new":      schemas.DisputeOpened,
	"accepted": schemas.DisputeAccepted,
	"won":      schemas.DisputeWon,
	"lost":     schemas.DisputeLost,
}

// xsollaStages maps the type of a dispute to its stage.
var xsollaStages = map[text]schemas.Stage{
	"retrieval":           schemas.StagePreDispute,
	"chargeback":          schemas.StageDispute,
	"1st_time_chargeback": schemas.StageDispute,
	"2nd_time_chargeback": schemas.StagePreArbitration,
	"arbitration":         schemas.StagePreArbitration,
}

// xsollaDispute reads a dispute.
// https://developers.xsolla.com/webhooks/operation/dispute
func xsollaDispute(n xsollaNotification) (fact, error) {
	d, t := n.Dispute, n.Transaction
	typ := xsollaDisputeTypes[d.Status]
	if typ == "" && n.Action == "adding" {
		typ = schemas.DisputeOpened
	}
	if typ == "" {
		return ignored(n.Type, fmt.Sprintf("the dispute has the status %q, which is not a decision", d.Status)), nil
	}
	f, err := xsollaTransaction(n, typ)
	if err != nil {
		return f, err
	}
	f.Identity = fmt.Sprintf("%s/%s/%s", t.ID, d.IncomingDate, d.Type)
	if f.Reason, f.Stage = string(d.Reason), xsollaStages[d.Type]; typ == schemas.DisputeOpened && f.Stage == schemas.StageDispute {
		f.Also = []string{string(t.ID)} // of the refund that the chargeback makes
	}
	f.PaymentMethod = method(t.PaymentMethod, "")
	if typ == schemas.DisputeOpened {
		if f.Time, err = timestamp(d.IncomingDate, time.RFC3339); err != nil {
			return f, err
		}
	}
	f.Amount, err = major(t.Total.Amount, t.Total.Currency)
	return f, err
}

// xsollaPaymentAccount reads a stored payment method. The user can add it again
// later, so the identity is the hash of the payload.
func xsollaPaymentAccount(n xsollaNotification) (f fact, err error) {
	if n.PaymentAccount.ID == "" {
		return f, fmt.Errorf("%w: no payment_account.id", ErrMalformed)
	}
	f.Type = schemas.MandateActive
	if n.Type == "payment_account_remove" {
		f.Type = schemas.MandateRevoked
	}
	f.ConnectorMandateID = string(n.PaymentAccount.ID)
	f.PaymentMethod = method(n.PaymentAccount.Type, "")
	return f, nil
}

// xsollaSubscription reads a subscription that began or was cancelled.
func xsollaSubscription(n xsollaNotification) (f fact, err error) {
	if n.Subscription.ID == "" {
		return f, fmt.Errorf("%w: no subscription.subscription_id", ErrMalformed)
	}
	f.Type = schemas.MandateActive
	if n.Type == "cancel_subscription" {
		f.Type = schemas.MandateRevoked
	}
	f.Identity, f.ConnectorMandateID = string(n.Subscription.ID), string(n.Subscription.ID)
	return f, nil
}

// xsollaUserCheck reads a request that asks whether a user exists. There is no
// payment yet.
func xsollaUserCheck(n xsollaNotification) (fact, error) {
	return ignored(n.Type, "a check whether the user exists, which tollbridge always answers with yes"), nil
}
