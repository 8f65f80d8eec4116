package normalize

import (
	"fmt"
	"strconv"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// payuEmea normalises the notifications of PayU Europe. A notification is about
// an order, {"order", "localReceiptDateTime", "properties"}, or about a refund,
// {"orderId", "extOrderId", "refund"}. It has no event id: the identity is the
// id of the order or refund and its status. Amounts are in hundredths of the
// currency, for every currency; ISO 4217 says the same for all currencies that
// PayU accepts.
//
// https://developers.payu.com/europe/docs/webhooks/
var payuEmea = Connector{
	Docs:      "https://developers.payu.com/europe/docs/webhooks/",
	Key:       "order.extOrderId, of refunds extOrderId",
	Tellers:   sentToURL(payuEmeaTellers),
	Captures:  CountsOnce, // totalAmount of the order
	normalize: payuEmeaNormalize,
}

// payuEmeaTellers lists the event types.
var payuEmeaTellers = []Teller{
	{Event: "order.CANCELED", Facts: []schemas.Type{schemas.PaymentCancelled}},
	{Event: "order.COMPLETED", Facts: []schemas.Type{schemas.PaymentCaptured}},
	{Event: "order.PENDING", Facts: []schemas.Type{schemas.PaymentProcessing}},
	{Event: "order.REJECTED", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "order.WAITING_FOR_CONFIRMATION", Facts: []schemas.Type{schemas.PaymentAuthorized}},
	{Event: "refund.CANCELED", Facts: []schemas.Type{schemas.RefundCancelled}},
	{Event: "refund.FINALIZED", Facts: []schemas.Type{schemas.RefundSucceeded}},
	{Event: "refund.PENDING", Facts: []schemas.Type{schemas.RefundPending}},
}

var (
	// payuEmeaTypes maps the status of an order to the event type.
	payuEmeaTypes = map[text]schemas.Type{
		"PENDING":                  schemas.PaymentProcessing,
		"WAITING_FOR_CONFIRMATION": schemas.PaymentAuthorized, // paid, and the merchant has to capture it
		"COMPLETED":                schemas.PaymentCaptured,
		"CANCELED":                 schemas.PaymentCancelled,
		"REJECTED":                 schemas.PaymentFailed, // paid after it was cancelled
	}
	// payuEmeaRefundTypes maps the status of a refund to the event type.
	payuEmeaRefundTypes = map[text]schemas.Type{
		"PENDING":   schemas.RefundPending,
		"FINALIZED": schemas.RefundSucceeded,
		"CANCELED":  schemas.RefundCancelled,
	}
)

// payuEmeaNotification is the body of a webhook.
type payuEmeaNotification struct {
	Order                part `json:"order"`
	LocalReceiptDateTime text `json:"localReceiptDateTime"`

	OrderID    text `json:"orderId"`
	ExtOrderID text `json:"extOrderId"`
	Refund     part `json:"refund"`
}

// payuEmeaOrder is an order: one payment.
type payuEmeaOrder struct {
	OrderID      string `json:"orderId"`
	ExtOrderID   text   `json:"extOrderId"`
	CurrencyCode string `json:"currencyCode"`
	TotalAmount  text   `json:"totalAmount"`
	Status       text   `json:"status"`
	PayMethod    struct {
		Type text `json:"type"`
	} `json:"payMethod"`
}

// payuEmeaRefund is a refund of an order.
type payuEmeaRefund struct {
	RefundID          text   `json:"refundId"`
	ExtRefundID       text   `json:"extRefundId"`
	Amount            text   `json:"amount"`
	CurrencyCode      string `json:"currencyCode"`
	Status            text   `json:"status"`
	StatusDateTime    text   `json:"statusDateTime"`
	ReasonDescription text   `json:"reasonDescription"`
}

func payuEmeaNormalize(payload []byte, _ Options) ([]fact, error) {
	var n payuEmeaNotification
	if err := decode(payload, &n); err != nil {
		return nil, err
	}
	kind, about, types, read := "order", n.Order, payuEmeaTypes, n.order
	if len(n.Refund) > 0 {
		kind, about, types, read = "refund", n.Refund, payuEmeaRefundTypes, n.refund
	}
	if len(about) == 0 {
		return []fact{ignored("", "neither an order nor a refund")}, nil
	}
	var state struct {
		Status text `json:"status"`
	}
	if err := redecode(about, &state); err != nil {
		return oneMalformed(kind, err)
	}
	event := kind + "." + string(state.Status)
	if types[state.Status] == "" {
		return []fact{ignored(event, fmt.Sprintf("the status of %q is not known to tollbridge", event))}, nil
	}
	f, err := read()
	return oneFact(event, f, err)
}

// order reads a notification about an order.
func (n payuEmeaNotification) order() (f fact, err error) {
	var o payuEmeaOrder
	if err := redecode(n.Order, &o); err != nil {
		return f, err
	}
	if o.OrderID == "" {
		return f, fmt.Errorf("%w: no order.orderId: the webhook does not say which order it is about", ErrMalformed)
	}
	f.Type, f.Identity = payuEmeaTypes[o.Status], o.OrderID+"/"+string(o.Status)
	f.MerchantTransactionID, f.ConnectorTransactionID = string(o.ExtOrderID), o.OrderID
	f.PaymentMethod = method(o.PayMethod.Type, "")
	if f.Amount, err = minorText(o.TotalAmount, o.CurrencyCode, nil); err != nil {
		return f, err
	}
	switch f.Type {
	case schemas.PaymentAuthorized:
		f.AuthorizedAmount = f.Amount
	case schemas.PaymentCaptured:
		f.AuthorizedAmount, f.CapturedAmount = f.Amount, f.Amount
	default:
		return f, nil
	}
	f.Time, err = timestamp(n.LocalReceiptDateTime, time.RFC3339) // when the money was received
	return f, err
}

// refund reads a notification about a refund.
func (n payuEmeaNotification) refund() (f fact, err error) {
	var r payuEmeaRefund
	if err := redecode(n.Refund, &r); err != nil {
		return f, err
	}
	if r.RefundID == "" {
		return f, fmt.Errorf("%w: no refund.refundId: the webhook does not say which refund it is about", ErrMalformed)
	}
	f.Type, f.Identity = payuEmeaRefundTypes[r.Status], string(r.RefundID+"/"+r.Status)
	f.MerchantTransactionID, f.ConnectorTransactionID = string(n.ExtOrderID), string(n.OrderID)
	f.ConnectorRefundID, f.MerchantRefundID = string(r.RefundID), string(r.ExtRefundID)
	f.Reason = string(r.ReasonDescription)
	if ms, number := strconv.ParseInt(string(r.StatusDateTime), 10, 64); number == nil {
		f.Time = time.UnixMilli(ms).UTC()
	} else if f.Time, err = timestamp(r.StatusDateTime, time.RFC3339); err != nil {
		return f, err
	}
	f.Amount, err = minorText(r.Amount, r.CurrencyCode, nil)
	return f, err
}
