package normalize

import (
	"cmp"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// wechatpay normalises WeChat Pay's webhooks. One webhook is one notification,
// {"id", "event_type", "create_time", "resource"}, whose resource verify has
// decrypted. The state of the resource says what happened, not the event name:
// TRANSACTION.SUCCESS is also sent when the shares of a payment were paid out.
// A payment for several orders has a transaction for each of them.
//
// WeChat Pay can send a notification several times. The identity is the
// transaction, the refund or the transfer, with its state. Amounts without a
// currency are in fen.
//
// Notifications about a batch of transfers say how many transfers succeeded and
// how many failed, and not which. Older versions of the API send XML, which is
// not supported.
//
// https://pay.weixin.qq.com/doc/v3/merchant/4012075420
// https://pay.weixin.qq.com/doc/v3/merchant/4012082022
// https://pay.weixin.qq.com/docs/merchant/apis/entrusted-payment/contract-alter-notify.html
var wechatpay = Connector{
	Docs:      "https://pay.weixin.qq.com/doc/v3/merchant/4012075420",
	Key:       "resource.out_trade_no; out_order_no of WeChat Pay Score, out_bill_no of transfers, out_request_no of withdrawals, out_contract_code of contracts",
	Tellers:   sentToURL(wechatpayTellers),
	Captures:  CountsOnce, // an order is paid once
	normalize: wechatpayNormalize,
}

// wechatpayTellers lists the event types.
var wechatpayTellers = []Teller{
	{Event: "DISCOUNT_CARD.USER_PAID", Facts: []schemas.Type{schemas.PaymentCaptured}},
	{Event: "ECOMMERCE_ENTRUST.SIGN", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "ECOMMERCE_ENTRUST.TERMINATE", Facts: []schemas.Type{schemas.MandateRevoked}},
	{Event: "ENTRUST.RELEASE", Facts: []schemas.Type{schemas.MandateRevoked}},
	{Event: "ENTRUST.SIGN", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "ENTRUST.SIGNING", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "ENTRUST.TERMINATE", Facts: []schemas.Type{schemas.MandateRevoked}},
	{Event: "INSURANCE_ENTRUST.SIGN", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "INSURANCE_ENTRUST.TERMINATE", Facts: []schemas.Type{schemas.MandateRevoked}},
	{Event: "MCHTRANSFER.BATCH.CLOSED", Facts: []schemas.Type{schemas.PayoutCancelled}},
	{Event: "MCHTRANSFER.BATCH.FINISHED", Facts: []schemas.Type{schemas.PayoutSucceeded, schemas.PayoutFailed}},
	{Event: "MCHTRANSFER.BILL.FINISHED", Facts: []schemas.Type{schemas.PayoutSucceeded, schemas.PayoutFailed, schemas.PayoutCancelled}},
	{Event: "MCHTRANSFER.QQWALLETBILL.FINISHED", Facts: []schemas.Type{schemas.PayoutSucceeded}},
	{Event: "MCHWITHDRAW.CHANGE", Facts: []schemas.Type{schemas.PayoutProcessing, schemas.PayoutSucceeded, schemas.PayoutFailed, schemas.PayoutCancelled, schemas.PayoutReversed}},
	{Event: "MEDICAL_INSURANCE.SUCCESS", Facts: []schemas.Type{schemas.PaymentCaptured}},
	{Event: "PAPAY.SIGN", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "PAPAY.TERMINATE", Facts: []schemas.Type{schemas.MandateRevoked}},
	{Event: "PAYSCORE.USER_CANCEL_SIGN_PLAN", Facts: []schemas.Type{schemas.MandateRevoked}},
	{Event: "PAYSCORE.USER_CLOSE_SERVICE", Facts: []schemas.Type{schemas.MandateRevoked}},
	{Event: "PAYSCORE.USER_OPEN_SERVICE", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "PAYSCORE.USER_PAID", Facts: []schemas.Type{schemas.PaymentCaptured}},
	{Event: "PAYSCORE.USER_SIGN_PLAN", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "REFUND.ABNORMAL", Facts: []schemas.Type{schemas.RefundSucceeded, schemas.RefundPending, schemas.RefundFailed}},
	{Event: "REFUND.CLOSED", Facts: []schemas.Type{schemas.RefundSucceeded, schemas.RefundPending, schemas.RefundFailed}},
	{Event: "REFUND.SUCCESS", Facts: []schemas.Type{schemas.RefundSucceeded, schemas.RefundPending, schemas.RefundFailed}},
	{Event: "RISKTRADE.IDENTIFICATION", Facts: []schemas.Type{schemas.FraudReported}},
	{Event: "TRANSACTION.FAIL", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "TRANSACTION.INDUSTRY_SUCCESS", Facts: []schemas.Type{schemas.PaymentProcessing}},
	{Event: "TRANSACTION.PAY_BACK", Facts: []schemas.Type{schemas.PaymentCaptured}},
	{Event: "TRANSACTION.SUCCESS", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentProcessing, schemas.PaymentCancelled}},
}

// wechatpayReaders maps an event to the function that reads its resource.
var wechatpayReaders = map[string]func(r wechatpayResource) ([]fact, error){
	"TRANSACTION.SUCCESS":          wechatpayPayments,
	"TRANSACTION.FAIL":             wechatpayPayments,
	"TRANSACTION.PAY_BACK":         wechatpayPayments,
	"TRANSACTION.INDUSTRY_SUCCESS": wechatpayPayments,
	"TRANSACTION.INDUSTRY_FAILED":  wechatpayPayments,

	"REFUND.SUCCESS":  wechatpayRefund,
	"REFUND.CLOSED":   wechatpayRefund,
	"REFUND.ABNORMAL": wechatpayRefund,

	"MEDICAL_INSURANCE.SUCCESS": wechatpayMedical,
	"DISCOUNT_CARD.USER_PAID":   wechatpayCardPaid,
	"RISKTRADE.IDENTIFICATION":  wechatpayRisk,

	"MCHTRANSFER.BILL.FINISHED":         wechatpayTransfer,
	"MCHTRANSFER.QQWALLETBILL.FINISHED": wechatpayTransfer,
	"MCHTRANSFER.BATCH.FINISHED":        wechatpayBatch,
	"MCHTRANSFER.BATCH.CLOSED":          wechatpayBatch,
	"MCHWITHDRAW.CHANGE":                wechatpayWithdrawal,

	"PAYSCORE.USER_PAID":             wechatpayScorePaid,
	"PAYSCORE.USER_OPEN_SERVICE":     wechatpayMandate(schemas.MandateActive),
	"PAYSCORE.USER_CLOSE_SERVICE":    wechatpayMandate(schemas.MandateRevoked),
	"PAYSCORE.USER_SIGN_PLAN":        wechatpayMandate(schemas.MandateActive),
	"PAYSCORE.USER_CANCEL_SIGN_PLAN": wechatpayMandate(schemas.MandateRevoked),
	"ENTRUST.SIGN":                   wechatpayMandate(schemas.MandateActive),
	"ENTRUST.TERMINATE":              wechatpayMandate(schemas.MandateRevoked),
	"ENTRUST.SIGNING":                wechatpayMandate(schemas.MandateActive), // of school fees
	"ENTRUST.RELEASE":                wechatpayMandate(schemas.MandateRevoked),
	"INSURANCE_ENTRUST.SIGN":         wechatpayMandate(schemas.MandateActive),
	"INSURANCE_ENTRUST.TERMINATE":    wechatpayMandate(schemas.MandateRevoked),
	"ECOMMERCE_ENTRUST.SIGN":         wechatpayMandate(schemas.MandateActive),
	"ECOMMERCE_ENTRUST.TERMINATE":    wechatpayMandate(schemas.MandateRevoked),
	"PAPAY.SIGN":                     wechatpayMandate(schemas.MandateActive), // outside of China
	"PAPAY.TERMINATE":                wechatpayMandate(schemas.MandateRevoked),
}

// These tables map the states of payments, refunds, transfers and withdrawals to
// event types.
var (
	wechatpayPaymentTypes = map[string]schemas.Type{
		"SUCCESS":    schemas.PaymentCaptured,
		"PAYERROR":   schemas.PaymentFailed,
		"PAY_FAIL":   schemas.PaymentFailed, // of a charge under a mandate
		"CLOSED":     schemas.PaymentCancelled,
		"REVOKED":    schemas.PaymentCancelled,
		"USERPAYING": schemas.PaymentProcessing,
		"NOTPAY":     schemas.PaymentProcessing,
		"ACCEPT":     schemas.PaymentProcessing,
		"ACCEPTED":   schemas.PaymentProcessing,
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
	wechatpayWithdrawalTypes = map[string]schemas.Type{
		"CREATE_SUCCESS": schemas.PayoutProcessing,
		"SUCCESS":        schemas.PayoutSucceeded,
		"FAIL":           schemas.PayoutFailed,
		"REFUND":         schemas.PayoutReversed, // the bank returned it
		"CLOSE":          schemas.PayoutCancelled,
	}
)

// wechatpayAmounts has the amounts of a notification. In a withdrawal, the
// field is a number and not an object.
type wechatpayAmounts struct {
	Total       *int64 `json:"total"`
	TotalAmount *int64 `json:"total_amount"` // of one of several orders
	Refund      *int64 `json:"refund"`
	Currency    text   `json:"currency"`
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (a *wechatpayAmounts) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == '0' {
		return json.UnmarshalDecode(d, &a.Total)
	}
	type object wechatpayAmounts
	return json.UnmarshalDecode(d, (*object)(a))
}

// wechatpayTransaction is a payment, or the part of a payment for one of
// several orders.
type wechatpayTransaction struct {
	TransactionID  string           `json:"transaction_id"`
	OutTradeNo     string           `json:"out_trade_no"`
	TradeState     string           `json:"trade_state"`
	TradeStateDesc text             `json:"trade_state_desc"`
	Description    text             `json:"trade_state_description"` // its other name
	SuccessTime    text             `json:"success_time"`
	MchID          text             `json:"mchid"`
	OtherMchID     text             `json:"mch_id"` // of transfers and WeChat Pay Score
	SpMchID        text             `json:"sp_mchid"`
	OtherSubMchID  text             `json:"sub_mch_id"`
	SubMchID       text             `json:"sub_mchid"`
	Amount         wechatpayAmounts `json:"amount"`

	ContractID text `json:"contract_id"`
	Contract   struct {
		ID text `json:"contract_id"`
	} `json:"contract_information"`
}

// account returns the merchant, and not the partner that acts for the merchant.
func (t wechatpayTransaction) account() string {
	return first(t.SubMchID, t.OtherSubMchID, t.MchID, t.OtherMchID, t.SpMchID)
}

// wechatpayResource has the fields of all kinds of resources, and the name of
// the event.
type wechatpayResource struct {
	event string
	wechatpayTransaction
	SubOrders []part `json:"sub_orders"`

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
	TotalAmount text   `json:"total_amount"`
	Collection  struct {
		Details []struct {
			TransactionID string `json:"transaction_id"`
		} `json:"details"`
	} `json:"collection"`

	AuthorizationCode text `json:"authorization_code"`
	SignPlanID        text `json:"sign_plan_id"`
	SignPlanNo        text `json:"merchant_sign_plan_no"`
	OutContractCode   text `json:"out_contract_code"`
	OpenID            text `json:"openid"`
	SubOpenID         text `json:"sub_openid"`

	BatchID       text `json:"batch_id"`
	OutBatchNo    text `json:"out_batch_no"`
	BatchStatus   text `json:"batch_status"`
	SuccessNum    int  `json:"success_num"`
	SuccessAmount text `json:"success_amount"`
	FailNum       int  `json:"fail_num"`
	FailAmount    text `json:"fail_amount"`
	CloseReason   text `json:"close_reason"`

	WithdrawID   string `json:"withdraw_id"`
	OutRequestNo text   `json:"out_request_no"`
	Status       string `json:"status"`
	Reason       text   `json:"reason"`

	MixTradeNo string `json:"mix_trade_no"`
	PaidTime   text   `json:"paid_time"`
	TotalFee   text   `json:"total_fee"`

	OutCardCode text `json:"out_card_code"`
	CardPayment struct {
		TransactionID string `json:"transaction_id"`
		State         text   `json:"pay_state"`
		Amount        text   `json:"pay_amount"`
		Time          text   `json:"pay_time"`
	} `json:"pay_information"`

	RiskType  text `json:"risk_type"`
	RiskLevel text `json:"risk_level"`
}

func wechatpayNormalize(payload []byte, _ Options) ([]fact, error) {
	var e struct {
		ID         text `json:"id"`
		EventType  text `json:"event_type"`
		CreateTime text `json:"create_time"`
		Resource   part `json:"resource"`
	}
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	event := string(e.EventType)
	read, ok := wechatpayReaders[event]
	switch {
	case event == "":
		return nil, fmt.Errorf("%w: no event_type: not a notification of WeChat Pay's", ErrMalformed)
	case !ok:
		return []fact{notUnified(event)}, nil
	case e.ID == "":
		return oneMalformed(event, fmt.Errorf("%w: no id: not a notification of WeChat Pay's", ErrMalformed))
	}
	r := wechatpayResource{event: event}
	if err := redecode(e.Resource, &r); err != nil {
		return oneMalformed(event, err)
	}
	created, err := timestamp(e.CreateTime, time.RFC3339)
	if err != nil {
		return oneMalformed(event, err)
	}
	facts, err := read(r)
	if err != nil {
		return oneMalformed(event, err)
	}
	for i := range facts {
		if facts[i].Time.IsZero() {
			facts[i].Time = created
		}
		facts[i].Identity = first(facts[i].Identity, string(e.ID))
		facts[i].ConnectorEventID, facts[i].ConnectorEventType = string(e.ID), event
	}
	return facts, nil
}

// wechatpayAmount returns an amount in the minor unit of the currency.
func wechatpayAmount(value *int64, currency text) (*schemas.Amount, error) {
	return minor(value, cmp.Or(string(currency), "CNY"), nil)
}

// wechatpayPayments reads a payment. It returns a fact for each order.
func wechatpayPayments(r wechatpayResource) (facts []fact, err error) {
	if len(r.SubOrders) == 0 {
		f, err := r.wechatpayTransaction.fact(r.event)
		return []fact{f}, err
	}
	for _, order := range r.SubOrders {
		var t wechatpayTransaction
		f, err := fact{}, redecode(order, &t)
		if err == nil {
			f, err = t.fact(r.event)
		}
		if err != nil {
			f = malformed(r.event, err)
		}
		facts = append(facts, f)
	}
	return facts, nil
}

// fact returns the fact of one transaction.
func (t wechatpayTransaction) fact(event string) (f fact, err error) {
	if t.TradeState == "" && (event == "TRANSACTION.FAIL" || event == "TRANSACTION.INDUSTRY_FAILED") {
		t.TradeState = "PAY_FAIL"
	}
	var ok bool
	switch f.Type, ok = wechatpayPaymentTypes[t.TradeState]; {
	case t.TradeState == "":
		return ignored("", "no trade_state: it is not about a payment"), nil
	case !ok:
		return ignored("", fmt.Sprintf("tollbridge has no event type for trade_state %q", t.TradeState)), nil
	case t.TransactionID == "" && t.OutTradeNo == "":
		return f, fmt.Errorf("%w: no transaction_id and no out_trade_no", ErrMalformed)
	}
	f.Identity = t.OutTradeNo + "/" + t.TransactionID + "/" + t.TradeState
	f.Account = t.account()
	f.MerchantTransactionID, f.ConnectorTransactionID = t.OutTradeNo, t.TransactionID
	f.PaymentMethod, f.MandateID = method("wallet", "wechat_pay"), first(t.ContractID, t.Contract.ID)
	if f.Type == schemas.PaymentCaptured { // in other states, success_time is the time of another state
		if f.Time, err = timestamp(t.SuccessTime, time.RFC3339); err != nil {
			return f, err
		}
	}
	f.Amount, err = wechatpayAmount(cmp.Or(t.Amount.Total, t.Amount.TotalAmount), t.Amount.Currency)
	f.setAmountByType()
	if f.Type == schemas.PaymentFailed {
		f.Error = failure(t.TradeState, first(t.TradeStateDesc, t.Description), "")
	}
	return f, err
}

// wechatpayRefund reads a refund.
func wechatpayRefund(r wechatpayResource) ([]fact, error) {
	f := fact{Type: wechatpayRefundTypes[r.RefundStatus]}
	switch {
	case r.RefundID == "":
		return nil, fmt.Errorf("%w: no refund_id", ErrMalformed)
	case f.Type == "":
		return []fact{unknownStatus("", "refund_status", r.RefundStatus)}, nil
	case f.Type == schemas.RefundFailed:
		f.Error = failure(r.RefundStatus, "", "")
	}
	f.Identity, f.Account = r.RefundID+"/"+r.RefundStatus, r.account()
	f.MerchantTransactionID, f.ConnectorTransactionID = r.OutTradeNo, r.TransactionID
	f.ConnectorRefundID, f.MerchantRefundID = r.RefundID, string(r.OutRefundNo)
	var err error
	if f.Type == schemas.RefundSucceeded {
		if f.Time, err = timestamp(r.SuccessTime, time.RFC3339); err != nil {
			return nil, err
		}
	}
	f.Amount, err = wechatpayAmount(r.Amount.Refund, r.Amount.Currency)
	return []fact{f}, err
}

// wechatpayTransfer reads a transfer to a user of WeChat.
func wechatpayTransfer(r wechatpayResource) ([]fact, error) {
	f := fact{Type: wechatpayTransferTypes[r.State]}
	switch {
	case r.TransferBillNo == "":
		return nil, fmt.Errorf("%w: no transfer_bill_no", ErrMalformed)
	case f.Type == "":
		return []fact{ignored("", fmt.Sprintf("the state %q of a transfer is not known to tollbridge", r.State))}, nil
	}
	f.Identity, f.Account = r.TransferBillNo+"/"+r.State, r.account()
	f.MerchantTransactionID, f.MerchantPayoutID, f.ConnectorPayoutID = string(r.OutBillNo), string(r.OutBillNo), r.TransferBillNo
	f.Error = failure(r.FailReason, "", "")
	var err error
	if f.Time, err = timestamp(r.UpdateTime, time.RFC3339); err != nil {
		return nil, err
	}
	f.Amount, err = wechatpayAmount(r.TransferAmount, "")
	return []fact{f}, err
}

// wechatpayBatch reads a batch of transfers. It returns a fact for all
// transfers that succeeded, and one for all that failed.
func wechatpayBatch(r wechatpayResource) (facts []fact, err error) {
	id := first(r.BatchID, r.OutBatchNo)
	if id == "" {
		return nil, fmt.Errorf("%w: no batch_id and no out_batch_no", ErrMalformed)
	}
	for _, part := range []struct {
		exists bool
		typ    schemas.Type
		amount text
	}{
		{r.SuccessNum > 0, schemas.PayoutSucceeded, r.SuccessAmount},
		{r.FailNum > 0, schemas.PayoutFailed, r.FailAmount},
		{r.BatchStatus == "CLOSED" && r.SuccessNum+r.FailNum == 0, schemas.PayoutCancelled, r.TotalAmount},
	} {
		if !part.exists {
			continue
		}
		f := fact{Type: part.typ, Identity: id + "/" + string(r.BatchStatus)}
		f.Account, f.ConnectorPayoutID = r.account(), id
		f.MerchantTransactionID, f.MerchantPayoutID = string(r.OutBatchNo), string(r.OutBatchNo)
		f.Reason = string(r.CloseReason)
		if f.Time, err = timestamp(r.UpdateTime, time.RFC3339); err != nil {
			return nil, err
		}
		if f.Amount, err = minorText(part.amount, "CNY", nil); err != nil {
			return nil, err
		}
		facts = append(facts, f)
	}
	if len(facts) == 0 {
		return []fact{ignored("", "the webhook does not say how many transfers of the batch arrived and how many failed")}, nil
	}
	return facts, nil
}

// wechatpayWithdrawal reads a withdrawal: a payout to the merchant's own bank
// account.
func wechatpayWithdrawal(r wechatpayResource) ([]fact, error) {
	f := fact{Type: wechatpayWithdrawalTypes[r.Status]}
	switch {
	case r.WithdrawID == "":
		return nil, fmt.Errorf("%w: no withdraw_id", ErrMalformed)
	case f.Type == "":
		return []fact{ignored("", fmt.Sprintf("the status %q of a withdrawal changes nothing, or is not known", r.Status))}, nil
	case f.Type == schemas.PayoutFailed, f.Type == schemas.PayoutReversed:
		f.Error = failure("", r.Reason, "")
	}
	f.Identity, f.Account = r.WithdrawID+"/"+r.Status, r.account()
	f.MerchantTransactionID, f.MerchantPayoutID, f.ConnectorPayoutID = string(r.OutRequestNo), string(r.OutRequestNo), r.WithdrawID
	var err error
	if f.Time, err = timestamp(r.UpdateTime, time.RFC3339); err != nil {
		return nil, err
	}
	f.Amount, err = wechatpayAmount(r.Amount.Total, "")
	return []fact{f}, err
}

// wechatpayMedical reads an order that the health insurance and the payer paid
// together.
func wechatpayMedical(r wechatpayResource) ([]fact, error) {
	if r.MixTradeNo == "" {
		return nil, fmt.Errorf("%w: no mix_trade_no", ErrMalformed)
	}
	f := fact{Type: schemas.PaymentCaptured, Identity: r.MixTradeNo}
	f.Account = r.account()
	f.MerchantTransactionID, f.ConnectorTransactionID = r.OutTradeNo, r.MixTradeNo
	var err error
	if f.Time, err = timestamp(r.PaidTime, time.RFC3339); err != nil {
		return nil, err
	}
	f.Amount, err = minorText(r.TotalFee, "CNY", nil)
	f.CapturedAmount = f.Amount
	return []fact{f}, err
}

// wechatpayCardPaid reads the payment for a discount card.
func wechatpayCardPaid(r wechatpayResource) ([]fact, error) {
	p := r.CardPayment
	switch {
	case p.State != "PAID":
		return []fact{ignored("", fmt.Sprintf("the charge of the card has the state %q", p.State))}, nil
	case p.TransactionID == "":
		return nil, fmt.Errorf("%w: no pay_information.transaction_id", ErrMalformed)
	}
	f := fact{Type: schemas.PaymentCaptured, Identity: p.TransactionID}
	f.Account = r.account()
	f.MerchantTransactionID, f.ConnectorTransactionID = string(r.OutCardCode), p.TransactionID
	var err error
	if f.Time, err = timestamp(p.Time, time.RFC3339); err != nil {
		return nil, err
	}
	f.Amount, err = minorText(p.Amount, "CNY", nil)
	f.CapturedAmount = f.Amount
	return []fact{f}, err
}

// wechatpayRisk reads a warning of WeChat Pay about an order.
func wechatpayRisk(r wechatpayResource) ([]fact, error) {
	if r.OutTradeNo == "" {
		return nil, fmt.Errorf("%w: no out_trade_no", ErrMalformed)
	}
	f := fact{Type: schemas.FraudReported, Identity: fmt.Sprintf("%s/%s/%s", r.OutTradeNo, r.RiskType, r.RiskLevel)}
	f.Account, f.MerchantTransactionID, f.ConnectorTransactionID = r.account(), r.OutTradeNo, r.TransactionID
	f.Reason = string(r.RiskType)
	return []fact{f}, nil
}

// wechatpayScorePaid reads an order of WeChat Pay Score that was paid in full.
func wechatpayScorePaid(r wechatpayResource) ([]fact, error) {
	if r.OrderID == "" && r.OutOrderNo == "" {
		return nil, fmt.Errorf("%w: no order_id and no out_order_no", ErrMalformed)
	}
	f := fact{Type: schemas.PaymentCaptured, Identity: string(r.OutOrderNo) + "/" + r.OrderID}
	f.Account = r.account()
	f.MerchantTransactionID, f.ConnectorTransactionID = string(r.OutOrderNo), r.OrderID
	for _, d := range r.Collection.Details { // a refund names one of these transactions
		if d.TransactionID != "" {
			f.ConnectorReferences = append(f.ConnectorReferences, d.TransactionID)
		}
	}
	var err error
	f.Amount, err = minorText(r.TotalAmount, "CNY", nil)
	f.CapturedAmount = f.Amount
	return []fact{f}, err
}

// wechatpayMandate returns a reader of mandates: the consent of a payer to be
// charged later. A mandate without an id of its own is identified by the
// payer's id at this merchant.
func wechatpayMandate(typ schemas.Type) func(r wechatpayResource) ([]fact, error) {
	return func(r wechatpayResource) ([]fact, error) {
		f := fact{Type: typ}
		f.ConnectorMandateID = first(r.ContractID, r.Contract.ID, r.SignPlanID, r.AuthorizationCode, r.OutContractCode, r.OpenID, r.SubOpenID)
		if f.ConnectorMandateID == "" {
			return []fact{ignored("", "the consent has no id: neither contract_id nor authorization_code nor openid")}, nil
		}
		f.MerchantTransactionID = first(r.OutContractCode, r.SignPlanNo)
		f.Account = r.account()
		return []fact{f}, nil
	}
}
