package normalize

import (
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// sofort normalises Sofort's notifications: a form about one transfer that the
// payer ordered at the bank. A project without statuses receives notifications
// about executed transfers only, and these have no status. If Sofort
// cannot see the merchant's bank account, a transfer is "untraceable": it was
// ordered, and no other notification follows.
//
// The identity is the transfer and its status. A transfer can be refunded in
// parts. The time of the status, which is signed, distinguishes these refunds.
// The amount in the form is that of the whole transfer and not of the refund.
//
// https://www.sofort.com/integrationCenter-eng-DE/content/view/full/2513/
var sofort = Connector{
	Docs:      "https://www.sofort.com/integrationCenter-eng-DE/content/view/full/2513/",
	Key:       "user_variable_0",
	Tellers:   sentToURL(sofortTellers),
	Captures:  CountsOnce,    // a transfer arrives once
	Refunds:   CountsUnknown, // the notification has no amount of the refund
	normalize: sofortNormalize,
}

// sofortTellers lists the event types.
var sofortTellers = []Teller{
	{Event: "loss", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "notification", Facts: []schemas.Type{schemas.PaymentCaptured}},
	{Event: "pending", Facts: []schemas.Type{schemas.PaymentProcessing}},
	{Event: "received", Facts: []schemas.Type{schemas.PaymentCaptured}},
	{Event: "refunded", Facts: []schemas.Type{schemas.RefundSucceeded}},
	{Event: "untraceable", Facts: []schemas.Type{schemas.PaymentProcessing}},
}

// sofortTypes maps the status of a transfer to the event type.
var sofortTypes = map[string]schemas.Type{
	"":         schemas.PaymentCaptured,
	"received": schemas.PaymentCaptured,
	"pending":  schemas.PaymentProcessing, // ordered at the bank, not yet received
	"loss":     schemas.PaymentFailed,     // the money never arrived
	"refunded": schemas.RefundSucceeded,

	"untraceable": schemas.PaymentProcessing,
}

func sofortNormalize(payload []byte, _ Options) ([]fact, error) {
	p, err := decodeForm(payload)
	if err != nil {
		return nil, err
	}
	if p["transaction"] == "" {
		return nil, fmt.Errorf("%w: no transaction: not a notification of Sofort's", ErrMalformed)
	}
	event := first(p["status"], "notification")
	var f fact
	if f.Type = sofortTypes[p["status"]]; f.Type == "" {
		return []fact{ignored(event, fmt.Sprintf("the status %q says nothing about the money", event))}, nil
	}
	f.Identity = p["transaction"] + "/" + p["status"]
	if f.Type == schemas.RefundSucceeded {
		f.Identity += "/" + p["status_modified"]
	}
	f.Account, f.ConnectorEventType = p["project_id"], event
	f.MerchantTransactionID, f.ConnectorTransactionID = p["user_variable_0"], p["transaction"]
	// The times have no time zone: they are checked and not used.
	if _, err = timestamp(p["created"], time.DateTime); err != nil {
		return oneMalformed(event, err)
	}
	if f.Amount, err = major(p["amount"], p["currency_id"]); err != nil {
		return oneMalformed(event, err)
	}
	f.setAmountByType()
	if f.Type == schemas.RefundSucceeded {
		f.Amount = nil
	}
	return []fact{f}, nil
}
