package normalize

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// trustly: {"method", "params": {"data"}}, where the method is the event and
// the data its order. What a method means depends on whose order it is: a
// credit is a deposit that arrived, or a payout that came back. An order's
// notifications go to the address that it was made with, so that the endpoint
// can say by its setting which they are; of a debit nothing is said without it.
// A payout is confirmed in the same words where it is a deposit's refund, and
// without the setting it is called what Trustly calls it.
//
// https://eu.developers.trustly.com/doc/reference/notifications-overview
// https://eu.developers.trustly.com/doc/reference/payout-confirmation
var trustly = Connector{
	Docs:      "https://eu.developers.trustly.com/doc/reference/notifications-overview",
	Key:       "params.data.messageid",
	Normalize: trustlyNormalize,
}

// trustlyMethods are what the methods mean at endpoints for deposits, and at
// those for payouts.
var trustlyMethods = map[string]struct{ deposit, payout schemas.Type }{
	"credit":             {schemas.PaymentCaptured, schemas.PayoutReversed},
	"debit":              {schemas.PaymentReversed, schemas.PayoutProcessing}, // the deposit's money did not come
	"pending":            {schemas.PaymentProcessing, schemas.PayoutProcessing},
	"cancel":             {schemas.PaymentCancelled, schemas.PayoutCancelled},
	"payoutconfirmation": {schemas.RefundSucceeded, schemas.PayoutSucceeded},
	"payoutfailed":       {schemas.RefundFailed, schemas.PayoutFailed},
	"account":            {schemas.MandateActive, schemas.MandateActive},
}

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

func trustlyNormalize(payload []byte, o Options) ([]Fact, error) {
	var call struct {
		Method text           `json:"method"`
		Params jsontext.Value `json:"params"`
	}
	if err := decode(payload, &call); err != nil {
		return nil, err
	}
	event, orders := string(call.Method), o.Settings["orders"] // which verify has
	types, ok := trustlyMethods[event]
	switch {
	case event == "":
		return nil, fmt.Errorf("%w: no method: not a notification of Trustly's", ErrMalformed)
	case !ok:
		return []Fact{notUnified(event)}, nil
	case event == "debit" && orders == "":
		return []Fact{ignored(event, "a deposit whose money did not come, or a withdrawal: the setting orders would tell")}, nil
	}
	var params struct {
		Data trustlyData `json:"data"`
	}
	if err := redecode(call.Params, &params); err != nil {
		return oneMalformed(event, err)
	}
	d := params.Data
	if event == "account" && d.Attributes.Mandate != "1" {
		return []Fact{ignored(event, "the account was told, and is no mandate that can be charged")}, nil
	}
	typ := types.deposit
	if orders == "payouts" || orders == "" && types.payout.Family() == "payout" && types.deposit.Family() == "refund" {
		typ = types.payout
	}
	f, err := d.fact(typ)
	if orders == "" && f.Type.Family() == "payout" { // a deposit's, perhaps
		f.ConnectorTransactionID = string(d.OrderID)
	}
	return oneFact(event, f, err)
}

func (d trustlyData) fact(typ schemas.Type) (f Fact, err error) {
	// All three must be there: a name that is not could have become part of a value.
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
