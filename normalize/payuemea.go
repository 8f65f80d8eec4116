package normalize

import (
	"fmt"
	"strconv"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// payuEmea: a notification is about an order, {"order", "localReceiptDateTime",
// "properties"}, or about a refund, {"orderId", "extOrderId", "refund"}. There is
// no event id: the identity is the order or the refund, and its status. Amounts
// are in hundredths of every currency, which is ISO 4217 for all that PayU takes.
//
// https://developers.payu.com/europe/docs/webhooks/
var payuEmea = Connector{
	Docs:      "https://developers.payu.com/europe/docs/webhooks/",
	Key:       "order.extOrderId, of refunds extOrderId",
	Normalize: payuEmeaNormalize,
}

var (
	payuEmeaTypes = map[text]schemas.Type{
		"PENDING":                  schemas.PaymentProcessing,
		"WAITING_FOR_CONFIRMATION": schemas.PaymentAuthorized, // paid, and the merchant has yet to take it
		"COMPLETED":                schemas.PaymentCaptured,
		"CANCELED":                 schemas.PaymentCancelled,
		"REJECTED":                 schemas.PaymentFailed, // paid after it was cancelled
	}
	payuEmeaRefundTypes = map[text]schemas.Type{
		"PENDING":   schemas.RefundPending,
		"FINALIZED": schemas.RefundSucceeded,
		"CANCELED":  schemas.RefundCancelled,
	}
)

type payuEmeaNotification struct {
	Order struct {
		OrderID      string `json:"orderId"`
		ExtOrderID   text   `json:"extOrderId"`
		CurrencyCode string `json:"currencyCode"`
		TotalAmount  text   `json:"totalAmount"`
		Status       text   `json:"status"`
		PayMethod    struct {
			Type text `json:"type"`
		} `json:"payMethod"`
	} `json:"order"`
	LocalReceiptDateTime text `json:"localReceiptDateTime"`

	OrderID    text `json:"orderId"`
	ExtOrderID text `json:"extOrderId"`
	Refund     struct {
		RefundID          text   `json:"refundId"`
		ExtRefundID       text   `json:"extRefundId"`
		Amount            text   `json:"amount"`
		CurrencyCode      string `json:"currencyCode"`
		Status            text   `json:"status"`
		StatusDateTime    text   `json:"statusDateTime"`
		ReasonDescription text   `json:"reasonDescription"`
	} `json:"refund"`
}

func payuEmeaNormalize(payload []byte, _ Options) ([]Fact, error) {
	var n payuEmeaNotification
	if err := decode(payload, &n); err != nil {
		return nil, err
	}
	read, event := n.order, "order."+string(n.Order.Status)
	switch {
	case n.Refund.RefundID != "":
		read, event = n.refund, "refund."+string(n.Refund.Status)
	case n.Order.OrderID == "":
		return nil, fmt.Errorf("%w: no order.orderId and no refund.refundId: not a notification of PayU's", ErrMalformed)
	}
	f, err := read()
	switch {
	case err != nil:
		f = malformed(event, err)
	case f.Type == "":
		f = ignored(event, fmt.Sprintf("the status of %q is none that is known", event))
	}
	f.ConnectorEventType = event
	return []Fact{f}, nil
}

func (n payuEmeaNotification) order() (f Fact, err error) {
	o := n.Order
	f.Type, f.Identity = payuEmeaTypes[o.Status], o.OrderID+"/"+string(o.Status)
	f.MerchantTransactionID, f.ConnectorTransactionID = string(o.ExtOrderID), o.OrderID
	f.PaymentMethod = method(string(o.PayMethod.Type), "")
	if f.Time, err = timestamp(string(n.LocalReceiptDateTime), time.RFC3339); err != nil {
		return f, err
	}
	if f.Amount, err = minorText(string(o.TotalAmount), o.CurrencyCode); err != nil {
		return f, err
	}
	switch f.Type {
	case schemas.PaymentAuthorized:
		f.AuthorizedAmount = f.Amount
	case schemas.PaymentCaptured:
		f.AuthorizedAmount, f.CapturedAmount = f.Amount, f.Amount
	}
	return f, nil
}

func (n payuEmeaNotification) refund() (f Fact, err error) {
	r := n.Refund
	f.Type, f.Identity = payuEmeaRefundTypes[r.Status], string(r.RefundID+"/"+r.Status)
	f.MerchantTransactionID, f.ConnectorTransactionID = string(n.ExtOrderID), string(n.OrderID)
	f.ConnectorRefundID, f.MerchantRefundID = string(r.RefundID), string(r.ExtRefundID)
	f.Reason = string(r.ReasonDescription)
	if ms, number := strconv.ParseInt(string(r.StatusDateTime), 10, 64); number == nil {
		f.Time = time.UnixMilli(ms).UTC()
	} else if f.Time, err = timestamp(string(r.StatusDateTime), time.RFC3339); err != nil {
		return f, err
	}
	f.Amount, err = minorText(string(r.Amount), r.CurrencyCode)
	return f, err
}
