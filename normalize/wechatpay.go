package normalize

import (
	"cmp"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// wechatpay: one notification a webhook, {"id", "event_type", "create_time",
// "resource"}, with the resource decrypted. Its state tells what happened, and
// not the event: that the shares of a payment were given out is told as
// TRANSACTION.SUCCESS, too. A payment of several orders at once has a
// transaction for each of them.
//
// The same notification can be sent several times, and the identity is the
// transaction, refund or transfer and its state. Amounts without a currency are
// in fen.
//
// https://pay.weixin.qq.com/doc/v3/merchant/4012075420
// https://pay.weixin.qq.com/doc/v3/merchant/4012082022
var wechatpay = Connector{
	Docs:      "https://pay.weixin.qq.com/doc/v3/merchant/4012075420",
	Key:       "resource.out_trade_no; out_order_no of WeChat Pay Score, out_bill_no of transfers",
	Normalize: wechatpayNormalize,
}

// wechatpayReaders read the resources that events are made of, by event type.
var wechatpayReaders = map[string]func(r wechatpayResource) ([]Fact, error){
	"TRANSACTION.SUCCESS":          wechatpayPayments,
	"TRANSACTION.FAIL":             wechatpayPayments,
	"TRANSACTION.PAY_BACK":         wechatpayPayments,
	"TRANSACTION.INDUSTRY_SUCCESS": wechatpayPayments,
	"TRANSACTION.INDUSTRY_FAILED":  wechatpayPayments,

	"REFUND.SUCCESS":  wechatpayRefund,
	"REFUND.CLOSED":   wechatpayRefund,
	"REFUND.ABNORMAL": wechatpayRefund,

	"MCHTRANSFER.BILL.FINISHED": wechatpayTransfer,

	"PAYSCORE.USER_PAID":          wechatpayScorePaid,
	"PAYSCORE.USER_OPEN_SERVICE":  wechatpayMandate(schemas.MandateActive),
	"PAYSCORE.USER_CLOSE_SERVICE": wechatpayMandate(schemas.MandateRevoked),
	"ENTRUST.SIGNING":             wechatpayMandate(schemas.MandateActive),
	"ENTRUST.RELEASE":             wechatpayMandate(schemas.MandateRevoked),
}

// wechatpayTypes are the states of payments, refunds and transfers.
var (
	wechatpayPaymentTypes = map[string]schemas.Type{
		"SUCCESS":    schemas.PaymentCaptured,
		"PAYERROR":   schemas.PaymentFailed,
		"CLOSED":     schemas.PaymentCancelled,
		"REVOKED":    schemas.PaymentCancelled,
		"USERPAYING": schemas.PaymentProcessing,
		"NOTPAY":     schemas.PaymentProcessing,
		"ACCEPT":     schemas.PaymentProcessing,
	}
	wechatpayRefundTypes = map[string]schemas.Type{
		"SUCCESS":    schemas.RefundSucceeded,
		"PROCESSING": schemas.RefundPending,
		"CLOSED":     schemas.RefundFailed,
		"ABNORMAL":   schemas.RefundFailed, // the payer's card is closed or frozen: the merchant has to act
	}
	wechatpayTransferTypes = map[string]schemas.Type{
		"SUCCESS":   schemas.PayoutSucceeded,
		"FAIL":      schemas.PayoutFailed,
		"CANCELLED": schemas.PayoutCancelled,
	}
)

type wechatpayTransaction struct {
	TransactionID  string `json:"transaction_id"`
	OutTradeNo     string `json:"out_trade_no"`
	TradeState     string `json:"trade_state"`
	TradeStateDesc text   `json:"trade_state_desc"`
	TradeType      text   `json:"trade_type"`
	SuccessTime    text   `json:"success_time"`
	MchID          text   `json:"mchid"`
	SubMchID       text   `json:"sub_mchid"`
	Amount         struct {
		Total       *int64 `json:"total"`
		TotalAmount *int64 `json:"total_amount"` // of one order of several
		Refund      *int64 `json:"refund"`
		Currency    text   `json:"currency"`
	} `json:"amount"`
}

type wechatpayResource struct {
	wechatpayTransaction
	SubOrders []wechatpayTransaction `json:"sub_orders"`

	RefundID     string `json:"refund_id"`
	OutRefundNo  text   `json:"out_refund_no"`
	RefundStatus string `json:"refund_status"`

	TransferBillNo string `json:"transfer_bill_no"`
	OutBillNo      text   `json:"out_bill_no"`
	State          string `json:"state"`
	TransferAmount *int64 `json:"transfer_amount"`
	FailReason     text   `json:"fail_reason"`
	UpdateTime     text   `json:"update_time"`

	OrderID     string `json:"order_id"`
	OutOrderNo  text   `json:"out_order_no"`
	TotalAmount *int64 `json:"total_amount"`
	Collection  struct {
		Details []struct {
			TransactionID string `json:"transaction_id"`
		} `json:"details"`
	} `json:"collection"`

	ContractID        text `json:"contract_id"`
	AuthorizationCode text `json:"authorization_code"`
	OpenID            text `json:"openid"`
}

func wechatpayNormalize(payload []byte, _ Options) ([]Fact, error) {
	var e struct {
		ID         string         `json:"id"`
		EventType  string         `json:"event_type"`
		CreateTime text           `json:"create_time"`
		Resource   jsontext.Value `json:"resource"`
	}
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	if e.ID == "" || e.EventType == "" {
		return nil, fmt.Errorf("%w: no id or no event_type: not a notification of WeChat Pay's", ErrMalformed)
	}
	read, ok := wechatpayReaders[e.EventType]
	if !ok {
		return []Fact{notUnified(e.EventType)}, nil
	}
	var r wechatpayResource
	if err := decode(e.Resource, &r); err != nil {
		return nil, err
	}
	created, err := timestamp(string(e.CreateTime), time.RFC3339)
	if err != nil {
		return nil, err
	}
	facts, err := read(r)
	if err != nil {
		return []Fact{malformed(e.EventType, err)}, nil
	}
	for i := range facts {
		if facts[i].Time.IsZero() {
			facts[i].Time = created
		}
		facts[i].Identity = first(facts[i].Identity, e.ID)
		facts[i].ConnectorEventID, facts[i].ConnectorEventType = e.ID, e.EventType
	}
	return facts, nil
}

// wechatpayAmount is an amount in the minor unit of the currency.
func wechatpayAmount(value *int64, currency text) (*schemas.Amount, error) {
	return minor(value, cmp.Or(string(currency), "CNY"), nil)
}

func wechatpayPayments(r wechatpayResource) (facts []Fact, err error) {
	transactions := r.SubOrders
	if len(transactions) == 0 {
		transactions = []wechatpayTransaction{r.wechatpayTransaction}
	}
	for _, t := range transactions {
		f, err := t.fact()
		if err != nil {
			return nil, err
		}
		facts = append(facts, f)
	}
	return facts, nil
}

func (t wechatpayTransaction) fact() (f Fact, err error) {
	var ok bool
	switch f.Type, ok = wechatpayPaymentTypes[t.TradeState]; {
	case t.TradeState == "":
		return ignored("", "no trade_state: it is not about a payment"), nil
	case !ok:
		return ignored("", fmt.Sprintf("trade_state %q changes nothing that tollbridge unifies", t.TradeState)), nil
	case t.TransactionID == "" && t.OutTradeNo == "":
		return f, fmt.Errorf("%w: no transaction_id and no out_trade_no", ErrMalformed)
	}
	f.Identity = t.OutTradeNo + "/" + t.TransactionID + "/" + t.TradeState
	f.Account = first(t.SubMchID, t.MchID)
	f.MerchantTransactionID, f.ConnectorTransactionID = t.OutTradeNo, t.TransactionID
	f.PaymentMethod = method(string(t.TradeType), "")
	if f.Time, err = timestamp(string(t.SuccessTime), time.RFC3339); err != nil {
		return f, err
	}
	f.Amount, err = wechatpayAmount(cmp.Or(t.Amount.Total, t.Amount.TotalAmount), t.Amount.Currency)
	switch f.Type {
	case schemas.PaymentCaptured:
		f.CapturedAmount = f.Amount
	case schemas.PaymentFailed:
		f.Error = failure(t.TradeState, string(t.TradeStateDesc), "")
	}
	return f, err
}

func wechatpayRefund(r wechatpayResource) ([]Fact, error) {
	f := Fact{Type: wechatpayRefundTypes[r.RefundStatus]}
	switch {
	case r.RefundID == "":
		return nil, fmt.Errorf("%w: no refund_id", ErrMalformed)
	case f.Type == "":
		return []Fact{ignored("", fmt.Sprintf("refund_status %q is none that is known", r.RefundStatus))}, nil
	case f.Type == schemas.RefundFailed:
		f.Error = failure(r.RefundStatus, "", "")
	}
	f.Identity, f.Account = r.RefundID+"/"+r.RefundStatus, first(r.SubMchID, r.MchID)
	f.MerchantTransactionID, f.ConnectorTransactionID = r.OutTradeNo, r.TransactionID
	f.ConnectorRefundID, f.MerchantRefundID = r.RefundID, string(r.OutRefundNo)
	var err error
	if f.Time, err = timestamp(string(r.SuccessTime), time.RFC3339); err != nil {
		return nil, err
	}
	f.Amount, err = wechatpayAmount(r.Amount.Refund, r.Amount.Currency)
	return []Fact{f}, err
}

func wechatpayTransfer(r wechatpayResource) ([]Fact, error) {
	f := Fact{Type: wechatpayTransferTypes[r.State]}
	switch {
	case r.TransferBillNo == "":
		return nil, fmt.Errorf("%w: no transfer_bill_no", ErrMalformed)
	case f.Type == "":
		return []Fact{ignored("", fmt.Sprintf("the state %q of a transfer is none that is known", r.State))}, nil
	}
	f.Identity, f.Account = r.TransferBillNo+"/"+r.State, string(r.MchID)
	f.MerchantTransactionID, f.MerchantPayoutID, f.ConnectorPayoutID = string(r.OutBillNo), string(r.OutBillNo), r.TransferBillNo
	f.Error = failure(string(r.FailReason), "", "")
	var err error
	if f.Time, err = timestamp(string(r.UpdateTime), time.RFC3339); err != nil {
		return nil, err
	}
	f.Amount, err = wechatpayAmount(r.TransferAmount, "")
	return []Fact{f}, err
}

// wechatpayScorePaid is an order of WeChat Pay Score whose whole sum was taken.
func wechatpayScorePaid(r wechatpayResource) ([]Fact, error) {
	if r.OrderID == "" && r.OutOrderNo == "" {
		return nil, fmt.Errorf("%w: no order_id and no out_order_no", ErrMalformed)
	}
	f := Fact{Type: schemas.PaymentCaptured, Identity: string(r.OutOrderNo) + "/" + r.OrderID}
	f.Account = first(r.SubMchID, r.MchID)
	f.MerchantTransactionID, f.ConnectorTransactionID = string(r.OutOrderNo), r.OrderID
	for _, d := range r.Collection.Details { // refunds name the transaction that took the money
		if d.TransactionID != "" {
			f.ConnectorReferences = append(f.ConnectorReferences, d.TransactionID)
		}
	}
	var err error
	f.Amount, err = wechatpayAmount(r.TotalAmount, "")
	f.CapturedAmount = f.Amount
	return []Fact{f}, err
}

// wechatpayMandate reads a payer's consent to be charged later. What has no id
// of its own is the payer's with this merchant.
func wechatpayMandate(typ schemas.Type) func(r wechatpayResource) ([]Fact, error) {
	return func(r wechatpayResource) ([]Fact, error) {
		f := Fact{Type: typ}
		f.ConnectorMandateID = first(r.ContractID, r.AuthorizationCode, r.OpenID)
		if f.ConnectorMandateID == "" {
			return []Fact{ignored("", "the consent has no id: neither contract_id nor authorization_code nor openid")}, nil
		}
		f.Account = first(r.SubMchID, r.MchID)
		return []Fact{f}, nil
	}
}
