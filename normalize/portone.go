package normalize

import (
	"fmt"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// portone normalises PortOne's webhooks of version 2024-04-25. One webhook is one
// event, {"type", "timestamp", "data"}. The data has only the ids of the payment and of
// what happened to it, and no amounts. The payment's id is the merchant's own, and each
// attempt to pay it is a transaction of PortOne's. The id of the event is in a header,
// which normalize does not see. The identity is the transaction, the cancellation or
// the billing key, together with the type of the event, which is its new state. A
// dispute has no id, and its identity is the hash of the body, which a redelivery
// repeats.
//
// The payment in the API has the amounts, the currency and the method, and says whether
// the channel is a test channel. Its transactionId is that of the newest attempt. Its
// document is payment/<paymentId> or, if it is about another attempt than the webhook,
// transactions/<paymentId>, the list of all attempts.
//
// https://developers.portone.io/opi/ko/integration/webhook/readme-v2?v=v2
var portone = Connector{
	Docs:      "https://developers.portone.io/opi/ko/integration/webhook/readme-v2?v=v2",
	Key:       "data.paymentId",
	Tellers:   tellersOf(portoneTypes),
	Captures:  CountsTotal, // amount.paid of the payment, after discounts: https://github.com/portone-io/server-sdk, javascript/src/generated/payment/PaymentAmount.ts
	normalize: portoneNormalize,
}

// portoneTypes maps the event name to the event type.
var portoneTypes = map[string]schemas.Type{
	"Transaction.VirtualAccountIssued": schemas.PaymentActionRequired, // the payer has to transfer the money
	"Transaction.Confirm":              schemas.PaymentActionRequired, // the merchant has to approve
	"Transaction.PayPending":           schemas.PaymentProcessing,
	"Transaction.Paid":                 schemas.PaymentCaptured,
	"Transaction.Failed":               schemas.PaymentFailed,

	// A payment is cancelled after it was paid: PortOne gives the money back.
	"Transaction.CancelPending":    schemas.RefundPending,
	"Transaction.PartialCancelled": schemas.RefundSucceeded,
	"Transaction.Cancelled":        schemas.RefundSucceeded,

	"Transaction.DisputeCreated": schemas.DisputeOpened,

	"BillingKey.Issued":  schemas.MandateActive,
	"BillingKey.Failed":  schemas.MandateFailed,
	"BillingKey.Deleted": schemas.MandateRevoked,
}

// portoneIgnored maps a known event that becomes no event of ours to the reason.
var portoneIgnored = map[string]string{
	"Transaction.Ready":           "the payer opened the payment window, and nothing has happened yet",
	"Transaction.DisputeResolved": "the event does not say who won the dispute: fetch it",
	"BillingKey.Ready":            "the payer opened the window for a billing key, and nothing has happened yet",
	"BillingKey.Updated":          "the event does not say what changed: fetch the billing key",
}

func portoneNormalize(payload []byte, o Options) ([]fact, error) {
	var e struct {
		Type      text `json:"type"`
		Timestamp text `json:"timestamp"`
		Data      part `json:"data"`
	}
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	event := string(e.Type)
	typ, ok := portoneTypes[event]
	switch why := portoneIgnored[event]; {
	case event == "":
		return nil, fmt.Errorf("%w: no type: not an event of PortOne's, version 2024-04-25", ErrMalformed)
	case why != "":
		return []fact{ignored(event, why)}, nil
	case !ok:
		return []fact{notUnified(event)}, nil
	}
	f, err := portoneFact(event, e.Data, typ, o)
	if err == nil {
		f.Time, err = timestamp(e.Timestamp, time.RFC3339)
	}
	if f.Identity != "" {
		f.Formerly = []string{payloadIdentity(payload)}
	}
	return oneFact(event, f, err)
}

// portoneFact reads the data of an event of the type typ.
func portoneFact(event string, data part, typ schemas.Type, o Options) (f fact, err error) {
	var d struct {
		PaymentID      text   `json:"paymentId"`
		TransactionID  text   `json:"transactionId"`
		CancellationID text   `json:"cancellationId"`
		StoreID        text   `json:"storeId"`
		TotalAmount    *int64 `json:"totalAmount"`
		BillingKey     text   `json:"billingKey"`
	}
	if err := redecode(data, &d); err != nil {
		return f, err
	}
	switch mandate := typ.Family() == "mandate"; {
	case mandate && d.BillingKey == "":
		return f, fmt.Errorf("%w: no data.billingKey", ErrMalformed)
	case !mandate && (d.PaymentID == "" || d.TransactionID == ""):
		return f, fmt.Errorf("%w: no data.paymentId or no data.transactionId", ErrMalformed)
	}
	f.Type, f.Account = typ, string(d.StoreID)
	f.MerchantTransactionID, f.ConnectorTransactionID = string(d.PaymentID), string(d.TransactionID)
	f.ConnectorRefundID, f.ConnectorMandateID = string(d.CancellationID), string(d.BillingKey)
	switch typ.Family() {
	case "payment":
		f.Identity = string(d.TransactionID) + ":" + event // two of them ask the payer or the merchant to act
	case "refund":
		f.Identity = string(d.CancellationID)
	case "mandate":
		f.Identity = string(d.BillingKey)
	}
	if typ.Family() != "mandate" {
		found, err := f.fillFromPortone(o)
		if err != nil || found {
			return f, err
		}
	}
	if typ.Family() == "payment" { // in other events it is the payment's, too, and not what is refunded or disputed
		f.Amount, err = minor(d.TotalAmount, "", nil) // without a currency
	}
	return f, err
}

// portoneAttempt is one attempt to pay: a payment, or an item of the list of a payment's
// transactions.
type portoneAttempt struct {
	ID            text `json:"id"` // of a transaction in the list; of the payment otherwise
	TransactionID text `json:"transactionId"`
	Channel       struct {
		Type text `json:"type"`
	} `json:"channel"`
	Currency text `json:"currency"`
	Method   struct {
		Type text `json:"type"`
		Card struct {
			Brand text `json:"brand"`
		} `json:"card"`
	} `json:"method"`
	Amount struct {
		Total *int64 `json:"total"`
		Paid  *int64 `json:"paid"`
	} `json:"amount"`
	Failure struct {
		Reason    text `json:"reason"`
		PgCode    text `json:"pgCode"`
		PgMessage text `json:"pgMessage"`
	} `json:"failure"`
	Cancellations []struct {
		ID          text   `json:"id"`
		TotalAmount *int64 `json:"totalAmount"`
		Reason      text   `json:"reason"`
	} `json:"cancellations"`
}

// portoneAttemptOf returns the attempt with the id of the transaction, and whether it was
// fetched.
func portoneAttemptOf(payment, transaction string, o Options) (a portoneAttempt, ok bool, err error) {
	if ok, err = o.document("payment/"+payment, &a); err != nil || ok && string(a.TransactionID) == transaction {
		return a, ok, err
	}
	var list struct {
		Items []portoneAttempt `json:"items"`
	}
	if ok, err = o.document("transactions/"+payment, &list); !ok {
		return a, false, err
	}
	for _, a := range list.Items {
		if string(a.ID) == transaction || string(a.TransactionID) == transaction {
			return a, true, nil
		}
	}
	return a, false, nil
}

// fillFromPortone adds what the API says of the payment, and reports whether it says
// anything.
func (f *fact) fillFromPortone(o Options) (bool, error) {
	if len(o.Fetched) == 0 {
		return false, nil
	}
	a, ok, err := portoneAttemptOf(f.MerchantTransactionID, f.ConnectorTransactionID, o)
	if !ok {
		return false, err
	}
	wrong := func(err error) (bool, error) {
		return false, fmt.Errorf("the fetched payment/%s: %w", f.MerchantTransactionID, err)
	}
	switch a.Channel.Type {
	case "LIVE", "TEST":
		f.Mode = modeOf(a.Channel.Type == "LIVE")
	}
	f.PaymentMethod = method(strings.TrimPrefix(string(a.Method.Type), "PaymentMethod"), a.Method.Card.Brand)
	if f.Type.Family() == "refund" {
		for _, c := range a.Cancellations {
			if c.ID == text(f.ConnectorRefundID) && c.ID != "" {
				f.Reason = string(c.Reason)
				if f.Amount, err = minor(c.TotalAmount, a.Currency, nil); err != nil {
					return wrong(err)
				}
			}
		}
		return true, nil
	}
	if f.Amount, err = minor(a.Amount.Total, a.Currency, nil); err != nil {
		return wrong(err)
	}
	switch f.Type {
	case schemas.PaymentCaptured:
		if f.CapturedAmount, err = minor(a.Amount.Paid, a.Currency, nil); err != nil {
			return wrong(err)
		}
	case schemas.PaymentFailed:
		f.Error = failure(a.Failure.PgCode, first(a.Failure.Reason, a.Failure.PgMessage), "")
	}
	return true, nil
}
