package normalize

import (
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// midtrans reads the current state of one transaction. Only order_id, status_code and
// gross_amount are signed. transaction_status is not, and is accepted only together with
// the status_code that belongs to it: 200 for everything that moves money.
//
// The identity is the three signed fields. For a refund, the amount refunded so far is
// added, although it is not signed: nothing else distinguishes partial refunds. A
// settlement after a capture is the same fact.
//
// Times are Jakarta's (UTC+7). transaction_time is when the payment was created. A
// settlement, an expiry and a refund have times of their own; other later events have
// the time at which they were received.
//
// A notification about a pay account, a linked GoPay account that can be charged, has
// account_id and account_status instead of an order, both signed.
//
// https://docs.midtrans.com/docs/https-notification-webhooks
var midtrans = Connector{
	Docs:      "https://docs.midtrans.com/docs/https-notification-webhooks",
	Key:       "order_id; none of pay accounts",
	Tellers:   sentToURL(midtransTellers),
	Captures:  CountsOnce,  // gross_amount of the order
	Refunds:   CountsTotal, // refund_amount, where there is neither the list refunds nor an id: in webhooks with the list, it is the sum
	normalize: midtransNormalize,
}

// midtransTellers lists the event types.
var midtransTellers = []Teller{
	{Event: "DISABLED", Facts: []schemas.Type{schemas.MandateRevoked}},
	{Event: "ENABLED", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "EXPIRED", Facts: []schemas.Type{schemas.MandateFailed}},
	{Event: "authorize", Facts: []schemas.Type{schemas.PaymentAuthorized}},
	{Event: "cancel", Facts: []schemas.Type{schemas.PaymentCancelled}},
	{Event: "capture", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentProcessing}},
	{Event: "chargeback", Facts: []schemas.Type{schemas.DisputeOpened}},
	{Event: "deny", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "expire", Facts: []schemas.Type{schemas.PaymentExpired}},
	{Event: "failure", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "partial_chargeback", Facts: []schemas.Type{schemas.DisputeOpened}},
	{Event: "partial_refund", Facts: []schemas.Type{schemas.RefundSucceeded}},
	{Event: "pending", Facts: []schemas.Type{schemas.PaymentActionRequired}},
	{Event: "refund", Facts: []schemas.Type{schemas.RefundSucceeded}},
	{Event: "settlement", Facts: []schemas.Type{schemas.PaymentCaptured}},
}

// midtransTypes maps a transaction_status to the event type and to the status_code that
// it must have; empty means any.
var midtransTypes = map[text]struct {
	typ  schemas.Type
	code text
}{
	"authorize":          {schemas.PaymentAuthorized, "200"},
	"capture":            {schemas.PaymentCaptured, "200"},
	"settlement":         {schemas.PaymentCaptured, "200"},
	"pending":            {schemas.PaymentActionRequired, "201"}, // the payer has to pay
	"deny":               {schemas.PaymentFailed, ""},
	"failure":            {schemas.PaymentFailed, ""},
	"cancel":             {schemas.PaymentCancelled, ""},
	"expire":             {schemas.PaymentExpired, ""},
	"refund":             {schemas.RefundSucceeded, "200"},
	"partial_refund":     {schemas.RefundSucceeded, "200"},
	"chargeback":         {schemas.DisputeOpened, "200"},
	"partial_chargeback": {schemas.DisputeOpened, "200"},
}

type midtransTransaction struct {
	OrderID           text `json:"order_id"`
	StatusCode        text `json:"status_code"`
	GrossAmount       text `json:"gross_amount"`
	TransactionID     text `json:"transaction_id"`
	TransactionStatus text `json:"transaction_status"`
	TransactionTime   text `json:"transaction_time"`
	SettlementTime    text `json:"settlement_time"`
	ExpiryTime        text `json:"expiry_time"`
	FraudStatus       text `json:"fraud_status"`
	PaymentType       text `json:"payment_type"`
	Issuer            text `json:"issuer"`
	Store             text `json:"store"`
	Currency          text `json:"currency"`
	StatusMessage     text `json:"status_message"`
	ResponseCode      text `json:"channel_response_code"`
	ResponseMessage   text `json:"channel_response_message"`
	RefundAmount      text `json:"refund_amount"`
	RefundID          text `json:"refund_chargeback_id"` // of the only refund, if refunds is missing
	RefundKey         text `json:"refund_key"`
	Reason            text `json:"reason"`
	Refunds           []struct {
		ID      text `json:"refund_chargeback_id"`
		Key     text `json:"refund_key"`
		Amount  text `json:"refund_amount"`
		Reason  text `json:"reason"`
		Created text `json:"created_at"`
	} `json:"refunds"`
}

func midtransNormalize(payload []byte, o Options) ([]fact, error) {
	var n struct {
		OrderID           text `json:"order_id"`
		TransactionStatus text `json:"transaction_status"`
		AccountID         text `json:"account_id"`
		AccountStatus     text `json:"account_status"`
		StatusCode        text `json:"status_code"`
		PaymentType       text `json:"payment_type"`
	}
	if err := decode(payload, &n); err != nil {
		return nil, err
	}
	event := string(n.TransactionStatus)
	status, ok := midtransTypes[n.TransactionStatus]
	switch {
	case event == "" && n.OrderID == "" && n.AccountID != "" && n.AccountStatus != "": // together with an order_id, they are not signed
		return []fact{midtransAccount(n.AccountID, n.AccountStatus, n.StatusCode, n.PaymentType)}, nil
	case event == "":
		return nil, fmt.Errorf("%w: no transaction_status and no account_id with an account_status: neither a transaction nor a pay account of Midtrans's", ErrMalformed)
	case !ok:
		return []fact{statusNotUnified(event, "transaction_status", event)}, nil
	}
	var t midtransTransaction
	if err := redecode(payload, &t); err != nil {
		return oneMalformed(event, err)
	}
	switch {
	case t.OrderID == "" || t.StatusCode == "":
		return oneMalformed(event, fmt.Errorf("%w: no order_id or no status_code: not a transaction of Midtrans's", ErrMalformed))
	case t.FraudStatus == "challenge" && t.StatusCode == "201":
		status.typ = schemas.PaymentProcessing // until the merchant has reviewed it
	case status.code != "" && status.code != t.StatusCode:
		err := fmt.Errorf("%w: status_code, which is signed, is %q; transaction_status %q, which is not signed, needs %q", ErrMalformed, t.StatusCode, event, status.code)
		return oneMalformed(event, err)
	}
	f, err := t.fact(status.typ)
	if f.Type == schemas.PaymentExpired && f.Time.After(o.ReceivedAt) { // the merchant let it expire early
		f.Time = time.Time{}
	}
	return oneFact(event, f, err)
}

// midtransAccountTypes maps a pay account's status to the event type. A pending account
// is missing: it waits for the customer's consent.
//
// https://docs.midtrans.com/reference/create-pay-account
var midtransAccountTypes = map[text]schemas.Type{
	"ENABLED":  schemas.MandateActive,
	"DISABLED": schemas.MandateRevoked,
	"EXPIRED":  schemas.MandateFailed,
}

// midtransAccount returns the fact of a pay account. Its identity is the signed fields.
func midtransAccount(id, status, code, kind text) (f fact) {
	if f.Type = midtransAccountTypes[status]; f.Type == "" {
		return ignored(status, fmt.Sprintf("account_status %q neither activates nor revokes a mandate", status))
	}
	f.Identity, f.ConnectorEventType = string("account "+id+" "+status+" "+code), string(status)
	f.ConnectorMandateID, f.PaymentMethod = string(id), method(kind, "")
	return f
}

// fact returns the fact of a transaction.
func (t midtransTransaction) fact(typ schemas.Type) (f fact, err error) {
	f.Type = typ
	f.Identity = string(t.OrderID + " " + t.StatusCode + " " + t.GrossAmount + " ")
	f.MerchantTransactionID, f.ConnectorTransactionID, f.UnsignedIDs = string(t.OrderID), string(t.TransactionID), true
	f.PaymentMethod = method(t.PaymentType, first(t.Issuer, t.Store))
	var when string
	amount := t.GrossAmount
	switch typ {
	case schemas.PaymentAuthorized, schemas.PaymentActionRequired:
		when = string(t.TransactionTime)
	case schemas.PaymentCaptured:
		when = string(t.SettlementTime)
	case schemas.PaymentExpired:
		when = string(t.ExpiryTime)
	}
	switch typ.Family() {
	case "refund":
		f.Identity += string(t.RefundAmount)
		f.ConnectorRefundID, f.MerchantRefundID, f.Reason = string(t.RefundID), string(t.RefundKey), string(t.Reason)
		if t.TransactionStatus == "partial_refund" {
			amount = "" // gross_amount is that of the whole payment
		}
		amount = text(first(t.RefundAmount, amount))
		if n := len(t.Refunds); n > 0 { // the last is the newest
			last := t.Refunds[n-1]
			amount = text(first(last.Amount, amount))
			f.ConnectorRefundID, f.MerchantRefundID, f.Reason = string(last.ID), string(last.Key), string(last.Reason)
			when = string(last.Created)
		}
	case "dispute":
		f.Stage, f.ConnectorDisputeID = schemas.StageDispute, string(t.RefundID)
		if t.TransactionStatus == "partial_chargeback" {
			f.Identity += "partial" // a chargeback of the whole payment may follow
			amount = ""             // the webhook does not have the amount of the part
		}
	}
	if when != "" {
		when += " +07:00"
	}
	if f.Time, err = timestamp(when, "2006-01-02 15:04:05 -07:00"); err != nil {
		return f, err
	}
	if typ == schemas.PaymentFailed {
		f.Error = failure(t.StatusCode, first(t.ResponseMessage, t.StatusMessage), t.ResponseCode)
	}
	f.Amount, err = major(amount, first(t.Currency, "IDR"))
	f.setAmountByType()
	return f, err
}
