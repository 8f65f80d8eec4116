package normalize

import (
	"fmt"

	"github.com/tollbridge/tollbridge/schemas"
)

// trustly normalises Trustly's notifications, {"method", "params": {"data"}}.
// The method is the event name, and the data its order. The meaning of a method
// depends on the kind of the order: a credit is a deposit that arrived, or a
// payout that was returned. Trustly sends the notifications of an order to the
// address that the order was created with, so the setting of the endpoint can
// say which kind its orders are. Without the setting, a debit becomes no event.
// Trustly confirms a payout and the refund of a deposit with the same method;
// without the setting, the event is about a payout, as Trustly names it.
//
// https://eu.developers.trustly.com/doc/reference/notifications-overview
// https://eu.developers.trustly.com/doc/reference/payout-confirmation
var trustly = Connector{
	Docs:      "https://eu.developers.trustly.com/doc/reference/notifications-overview",
	Key:       "params.data.messageid",
	Tellers:   sentToURL(trustlyTellers),
	Captures:  CountsUnknown, // amount of a credit; Trustly does not say whether an order has several
	Refunds:   CountsUnknown, // amount of a payout; as above
	normalize: trustlyNormalize,
}

// trustlyTellers lists the event types.
var trustlyTellers = []Teller{
	{Event: "account", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "cancel", Facts: []schemas.Type{schemas.PaymentFailed, schemas.PaymentCancelled, schemas.PayoutCancelled}},
	{Event: "credit", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PayoutReversed}},
	{Event: "debit", Facts: []schemas.Type{schemas.PaymentReversed, schemas.PayoutProcessing}},
	{Event: "payoutconfirmation", Facts: []schemas.Type{schemas.RefundSucceeded, schemas.PayoutSucceeded}},
	{Event: "payoutfailed", Facts: []schemas.Type{schemas.RefundFailed, schemas.PayoutFailed}},
	{Event: "pending", Facts: []schemas.Type{schemas.PaymentProcessing}},
}

// trustlyTypes maps the method to two event types: one at endpoints for
// deposits, and one at endpoints for payouts.
var trustlyTypes = map[string]struct{ deposit, payout schemas.Type }{
	"credit":             {schemas.PaymentCaptured, schemas.PayoutReversed},
	"debit":              {schemas.PaymentReversed, schemas.PayoutProcessing}, // the money of the deposit did not arrive
	"pending":            {schemas.PaymentProcessing, schemas.PayoutProcessing},
	"cancel":             {schemas.PaymentCancelled, schemas.PayoutCancelled},
	"payoutconfirmation": {schemas.RefundSucceeded, schemas.PayoutSucceeded},
	"payoutfailed":       {schemas.RefundFailed, schemas.PayoutFailed},
	"account":            {schemas.MandateActive, schemas.MandateActive},
}

// trustlyData is the data of a notification.
type trustlyData struct {
	NotificationID text `json:"notificationid"`
	MessageID      text `json:"messageid"`
	OrderID        text `json:"orderid"`
	AccountID      text `json:"accountid"`
	Amount         text `json:"amount"`
	Currency       text `json:"currency"`
	Timestamp      text `json:"timestamp"`
	ErrorCode      text `json:"errorcode"`
	ErrorMessage   text `json:"errormessage"`
	Attributes     struct {
		Mandate text `json:"directdebitmandate"`
		Reason  text `json:"reason"`
		Details text `json:"details"`
	} `json:"attributes"`
}

func trustlyNormalize(payload []byte, o Options) ([]fact, error) {
	var call struct {
		Method text `json:"method"`
		Params part `json:"params"`
	}
	if err := decode(payload, &call); err != nil {
		return nil, err
	}
	event, orders := string(call.Method), o.Settings["orders"] // verify uses the same setting
	types, ok := trustlyTypes[event]
	switch {
	case event == "":
		return nil, fmt.Errorf("%w: no method: not a notification of Trustly's", ErrMalformed)
	case !ok:
		return []fact{notUnified(event)}, nil
	case event == "debit" && orders == "":
		return []fact{ignored(event, "a deposit whose money did not arrive, or a payout: without the setting orders, the two cannot be distinguished")}, nil
	}
	var params struct {
		Data trustlyData `json:"data"`
	}
	if err := redecode(call.Params, &params); err != nil {
		return oneMalformed(event, err)
	}
	d := params.Data
	if event == "account" && d.Attributes.Mandate != "1" {
		return []fact{ignored(event, "the notification names the payer's account, which is not a mandate that can be charged")}, nil
	}
	typ := types.deposit
	if orders == "payouts" || orders == "" && types.payout.Family() == "payout" && types.deposit.Family() == "refund" {
		typ = types.payout
	}
	f, err := d.fact(typ)
	if orders == "" && f.Type.Family() == "payout" { // it can be the refund of a deposit
		f.ConnectorTransactionID = string(d.OrderID)
	}
	return oneFact(event, f, err)
}

// fact returns the fact of the type typ.
func (d trustlyData) fact(typ schemas.Type) (f fact, err error) {
	// All three must be there. The signature covers names and values without
	// separators, so the name of a missing field could be part of a value.
	if d.NotificationID == "" || d.MessageID == "" || d.OrderID == "" {
		return f, fmt.Errorf("%w: want notificationid, messageid and orderid in params.data", ErrMalformed)
	}
	f.Error = failure(first(d.ErrorCode, d.Attributes.Reason), first(d.ErrorMessage, d.Attributes.Details), "")
	if f.Type = typ; typ == schemas.PaymentCancelled && f.Error != nil {
		f.Type = schemas.PaymentFailed
	}
	f.Identity, f.ConnectorEventID = string(d.NotificationID), string(d.NotificationID)
	f.MerchantTransactionID = string(d.MessageID)
	switch f.Type.Family() {
	case "payout":
		f.ConnectorPayoutID, f.MerchantPayoutID = string(d.OrderID), string(d.MessageID)
	case "mandate":
		if f.ConnectorMandateID = string(d.AccountID); d.AccountID == "" {
			return f, fmt.Errorf("%w: no accountid of the mandate", ErrMalformed)
		}
	default:
		f.ConnectorTransactionID, f.MandateID = string(d.OrderID), string(d.AccountID)
	}
	if f.Time, err = timestamp(d.Timestamp, "2006-01-02 15:04:05-07", "2006-01-02 15:04:05-07:00"); err != nil {
		return f, err
	}
	f.Amount, err = major(d.Amount, d.Currency)
	f.setAmountByType()
	return f, err
}
