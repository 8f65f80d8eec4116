package normalize

import (
	"cmp"
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// xsolla: one notification a webhook, {"notification_type", "transaction",
// "purchase", "payment_details", ...}. Notifications about an order have these
// in billing, or, where the project has separate webhooks, not at all: then a
// payment has a notification and its order one more, which tell one fact.
//
// Nothing identifies a notification. The identity is the transaction, and what
// tells its refunds and disputes apart. Amounts are JSON numbers or text in
// major units; that of an event is what the user paid or got back.
//
// https://developers.xsolla.com/webhooks/overview/
var xsolla = Connector{
	Docs:      "https://developers.xsolla.com/webhooks/overview/",
	Key:       "transaction.external_id, else custom_parameters.<merchant_id_keys>",
	Normalize: xsollaNormalize,
}

// xsollaNotifications is what tells the facts of each notification.
var xsollaNotifications = map[string]func(xsollaNotification) (Fact, error){
	"payment":                xsollaPayment,
	"order_paid":             xsollaPayment,
	"refund":                 xsollaRefund,
	"order_canceled":         xsollaRefund,
	"partial_refund":         xsollaRefund,
	"afs_reject":             xsollaDeclined,
	"ps_declined":            xsollaDeclined,
	"dispute":                xsollaDispute,
	"payment_account_add":    xsollaAccount,
	"payment_account_remove": xsollaAccount,
	"create_subscription":    xsollaSubscription,
	"cancel_subscription":    xsollaSubscription,

	"user_validation": xsollaQuestion,
	"user_search":     xsollaQuestion,
}

type xsollaAmount struct {
	Amount   text `json:"amount"`
	Currency text `json:"currency"`
}

// xsollaBilling is a transaction and what was paid.
type xsollaBilling struct {
	Transaction struct {
		ID                text         `json:"id"`
		ExternalID        text         `json:"external_id"`
		PaymentDate       text         `json:"payment_date"`
		PaymentMethod     text         `json:"payment_method"` // a word in disputes, elsewhere a number
		PaymentMethodName text         `json:"payment_method_name"`
		DryRun            text         `json:"dry_run"`
		Total             xsollaAmount `json:"total"` // of disputes
	} `json:"transaction"`
	Purchase struct {
		Total        xsollaAmount     `json:"total"`
		Subscription xsollaSubscribed `json:"subscription"`
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

type xsollaSubscribed struct {
	ID text `json:"subscription_id"`
}

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
	Subscription     xsollaSubscribed `json:"subscription"`
	CustomParameters metadata         `json:"custom_parameters"`
}

func xsollaNormalize(payload []byte, o Options) ([]Fact, error) {
	var envelope struct {
		Type text `json:"notification_type"`
	}
	if err := decode(payload, &envelope); err != nil {
		return nil, err
	}
	event := string(envelope.Type)
	read, ok := xsollaNotifications[event]
	switch {
	case event == "":
		return nil, fmt.Errorf("%w: no notification_type: not a webhook of Xsolla's", ErrMalformed)
	case !ok:
		return []Fact{notUnified(event)}, nil
	}
	var n xsollaNotification
	if err := redecode(payload, &n); err != nil {
		return oneMalformed(event, err)
	}
	switch currency := n.Order.CurrencyType; {
	case n.Billing != nil:
		n.xsollaBilling = *n.Billing
	case currency != "" && currency != "real":
		return []Fact{ignored(n.Type, fmt.Sprintf("an order in a currency of the type %q: no money has moved", currency))}, nil
	}
	t := &n.Transaction
	t.ID = cmp.Or(t.ID, n.Order.InvoiceID)
	f, err := read(n)
	f.MerchantTransactionID = first(string(t.ExternalID), o.merchantID(n.CustomParameters))
	if t.DryRun != "" && t.DryRun != "0" && t.DryRun != "false" || n.Order.Mode == "sandbox" {
		f.Mode = ModeTest
	}
	return oneFact(n.Type, f, err)
}

// xsollaTransaction is what notifications about a transaction have in common.
func xsollaTransaction(n xsollaNotification, typ schemas.Type) (f Fact, err error) {
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

func xsollaPayment(n xsollaNotification) (Fact, error) {
	f, err := xsollaTransaction(n, schemas.PaymentCaptured)
	if err != nil {
		return f, err
	}
	f.CapturedAmount, f.MandateID = f.Amount, string(n.Purchase.Subscription.ID)
	f.Time, err = timestamp(n.Transaction.PaymentDate, time.RFC3339)
	return f, err
}

func xsollaDeclined(n xsollaNotification) (Fact, error) {
	f, err := xsollaTransaction(n, schemas.PaymentFailed)
	r := n.RefundDetails
	f.Error = failure(r.Code, first(r.ReasonDetail, r.Reason), "")
	return f, err
}

// xsollaChargeback is the code of a refund that the payer's bank demands.
// https://developers.xsolla.com/webhooks/operation/refund
const xsollaChargeback = "2"

func xsollaRefund(n xsollaNotification) (Fact, error) {
	r, typ := n.RefundDetails, schemas.RefundSucceeded
	if r.Code == xsollaChargeback {
		typ = schemas.DisputeOpened
	}
	f, err := xsollaTransaction(n, typ)
	f.Reason = string(r.Reason)
	if typ == schemas.DisputeOpened {
		f.Stage = schemas.StageDispute
	}
	if n.Type == "partial_refund" { // there can be several
		f.Identity = ""
	}
	if t, err := time.Parse(time.RFC3339, string(r.Date)); err == nil { // some have no zone, and do not say which is meant
		f.Time = t
	}
	return f, err
}

var xsollaDisputes = map[text]schemas.Type{
	"new":      schemas.DisputeOpened,
	"accepted": schemas.DisputeAccepted,
	"won":      schemas.DisputeWon,
	"lost":     schemas.DisputeLost,
}

var xsollaStages = map[text]schemas.Stage{
	"retrieval":           schemas.StagePreDispute,
	"chargeback":          schemas.StageDispute,
	"1st_time_chargeback": schemas.StageDispute,
	"2nd_time_chargeback": schemas.StagePreArbitration,
	"arbitration":         schemas.StagePreArbitration,
}

// xsollaDispute: https://developers.xsolla.com/webhooks/operation/dispute
func xsollaDispute(n xsollaNotification) (Fact, error) {
	d, t := n.Dispute, n.Transaction
	typ := xsollaDisputes[d.Status]
	if typ == "" && n.Action == "adding" {
		typ = schemas.DisputeOpened
	}
	if typ == "" {
		return ignored(n.Type, fmt.Sprintf("the dispute has the status %q, which decides nothing", d.Status)), nil
	}
	f, err := xsollaTransaction(n, typ)
	if err != nil {
		return f, err
	}
	f.Identity = fmt.Sprintf("%s/%s/%s", t.ID, d.IncomingDate, d.Type)
	f.Reason, f.Stage = string(d.Reason), xsollaStages[d.Type]
	f.PaymentMethod = method(t.PaymentMethod, "")
	if typ == schemas.DisputeOpened {
		if f.Time, err = timestamp(d.IncomingDate, time.RFC3339); err != nil {
			return f, err
		}
	}
	f.Amount, err = major(t.Total.Amount, t.Total.Currency)
	return f, err
}

// xsollaAccount is about a stored payment method. It can be added again, so
// that the identity is the payload.
func xsollaAccount(n xsollaNotification) (f Fact, err error) {
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

func xsollaSubscription(n xsollaNotification) (f Fact, err error) {
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

// xsollaQuestion is about a user, before there is a payment.
func xsollaQuestion(n xsollaNotification) (Fact, error) {
	return ignored(n.Type, "a question whether the user exists: every one is answered yes"), nil
}
