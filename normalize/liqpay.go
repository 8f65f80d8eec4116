package normalize

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// liqpay reads a form whose field data is the payment as JSON in base64; the oldest
// callbacks have it as XML in operation_xml. LiqPay signs nothing else of the form, and
// nothing else is read. The status is that of a payment or, depending on the action, of
// a payout or a subscription.
//
// A partial refund does not change the payment's status: refund_amount shows it. LiqPay
// does not say whether that is the last refund or the sum of all. It stands beside
// refund_date_last, the time of the last one, so it may be either. The identity is payment_id, which all callbacks of a payment have. Amounts are in major
// units. create_date is when the payment was created, and is not used; end_date is when
// it was paid or failed, and is used for neither refunds nor reversals.
//
// https://www.liqpay.ua/documentation/en/api/callback
var liqpay = Connector{
	Docs:      "https://www.liqpay.ua/documentation/en/api/callback",
	Key:       "order_id",
	Tellers:   sentToURL(liqpayTellers),
	Captures:  CountsOnce,    // the amount of a payment; all its callbacks have one payment_id
	Refunds:   CountsUnknown, // refund_amount: see above
	normalize: liqpayNormalize,
}

// liqpayTellers lists the event types.
var liqpayTellers = []Teller{
	{Event: "3ds_verify", Facts: []schemas.Type{schemas.PaymentActionRequired}},
	{Event: "cash_wait", Facts: []schemas.Type{schemas.PaymentActionRequired}},
	{Event: "error", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "failure", Facts: []schemas.Type{schemas.PaymentFailed, schemas.PayoutFailed}},
	{Event: "hold_wait", Facts: []schemas.Type{schemas.PaymentAuthorized}},
	{Event: "reversed", Facts: []schemas.Type{schemas.RefundSucceeded, schemas.PayoutReversed}},
	{Event: "sandbox", Facts: []schemas.Type{schemas.PaymentCaptured}},
	{Event: "subscribed", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "success", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.RefundSucceeded, schemas.PayoutSucceeded}},
	{Event: "unsubscribed", Facts: []schemas.Type{schemas.MandateRevoked}},
	{Event: "wait_accept", Facts: []schemas.Type{schemas.PaymentProcessing}},
	{Event: "wait_compensation", Facts: []schemas.Type{schemas.PaymentCaptured}},
	{Event: "wait_reserve", Facts: []schemas.Type{schemas.RefundPending}},
}

// liqpayTypes maps a status to the event type.
var liqpayTypes = map[string]schemas.Type{
	"success":           schemas.PaymentCaptured,
	"sandbox":           schemas.PaymentCaptured, // success, in test mode
	"wait_compensation": schemas.PaymentCaptured, // successful; paid out at the end of the day
	"failure":           schemas.PaymentFailed,
	"error":             schemas.PaymentFailed,
	"try_again":         schemas.PaymentFailed,
	"reversed":          schemas.RefundSucceeded,
	"wait_reserve":      schemas.RefundPending,
	"subscribed":        schemas.MandateActive,
	"unsubscribed":      schemas.MandateRevoked,

	"hold_wait":   schemas.PaymentAuthorized,
	"wait_lc":     schemas.PaymentAuthorized, // until the delivery is confirmed
	"wait_accept": schemas.PaymentProcessing, // until LiqPay approves the shop; if it does not, the money goes back
	"wait_card":   schemas.PaymentProcessing,
	"wait_secure": schemas.PaymentProcessing,
	"prepared":    schemas.PaymentProcessing,
	"processing":  schemas.PaymentProcessing,

	"cash_wait":        schemas.PaymentActionRequired,
	"invoice_wait":     schemas.PaymentActionRequired,
	"wait_qr":          schemas.PaymentActionRequired,
	"wait_sender":      schemas.PaymentActionRequired,
	"3ds_verify":       schemas.PaymentActionRequired,
	"captcha_verify":   schemas.PaymentActionRequired,
	"cvv_verify":       schemas.PaymentActionRequired,
	"ivr_verify":       schemas.PaymentActionRequired,
	"mp_verify":        schemas.PaymentActionRequired,
	"otp_verify":       schemas.PaymentActionRequired,
	"p24_verify":       schemas.PaymentActionRequired,
	"password_verify":  schemas.PaymentActionRequired,
	"phone_verify":     schemas.PaymentActionRequired,
	"pin_verify":       schemas.PaymentActionRequired,
	"receiver_verify":  schemas.PaymentActionRequired,
	"sender_verify":    schemas.PaymentActionRequired,
	"senderapp_verify": schemas.PaymentActionRequired,
}

// liqpayPayoutTypes maps the payment type of a status to the event type of a transfer
// to a card.
var liqpayPayoutTypes = map[schemas.Type]schemas.Type{
	schemas.PaymentCaptured:   schemas.PayoutSucceeded,
	schemas.PaymentFailed:     schemas.PayoutFailed,
	schemas.PaymentProcessing: schemas.PayoutProcessing,
	schemas.RefundSucceeded:   schemas.PayoutReversed,
}

type liqpayPaymentData struct {
	Action         text `json:"action" xml:"-"`
	Status         text `json:"status" xml:"status"`
	PaymentID      text `json:"payment_id" xml:"transaction_id"`
	OrderID        text `json:"order_id" xml:"order_id"`
	LiqpayOrderID  text `json:"liqpay_order_id" xml:"-"`
	PublicKey      text `json:"public_key" xml:"merchant_id"`
	Amount         text `json:"amount" xml:"amount"`
	Currency       text `json:"currency" xml:"currency"`
	RefundAmount   text `json:"refund_amount" xml:"-"`
	RefundDateLast text `json:"refund_date_last" xml:"-"`
	EndDate        text `json:"end_date" xml:"-"`
	PayType        text `json:"paytype" xml:"pay_way"`
	CardType       text `json:"sender_card_type" xml:"-"`
	ErrCode        text `json:"err_code" xml:"code"`
	ErrDescription text `json:"err_description" xml:"-"`
}

func liqpayNormalize(payload []byte, _ Options) ([]fact, error) {
	p, err := liqpayDecode(payload)
	if err != nil {
		return nil, err
	}
	typ, event := liqpayTypes[string(p.Status)], string(p.Status)
	if p.Action == "p2pcredit" {
		typ = liqpayPayoutTypes[typ]
	}
	switch {
	case typ == "" && event != "":
		return []fact{unknownStatus(event, "the status", event)}, nil
	case p.PaymentID == "" || event == "":
		return nil, fmt.Errorf("%w: no payment_id or no status: not a payment of LiqPay's", ErrMalformed)
	case p.Action == "auth":
		return []fact{ignored(event, "a card was checked: no money has moved")}, nil
	}
	facts := []fact{p.fact(typ)}
	if typ == schemas.PaymentCaptured && strings.Trim(string(p.RefundAmount), "0.") != "" {
		facts = append(facts, p.fact(schemas.RefundSucceeded))
	}
	return facts, nil
}

// liqpayDecode reads the signed field of the form.
func liqpayDecode(payload []byte) (p liqpayPaymentData, err error) {
	form, err := decodeForm(payload)
	if err != nil {
		return p, err
	}
	encoded, read := form["data"], decode
	if encoded == "" {
		encoded, read = form["operation_xml"], decodeXML
	}
	signed, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(signed) == 0 {
		return p, fmt.Errorf("%w: want data or operation_xml in the form, base64", ErrMalformed)
	}
	return p, read(signed, &p)
}

// fact returns the fact of a callback.
func (p liqpayPaymentData) fact(typ schemas.Type) (f fact) {
	f.Type, f.Identity, f.ConnectorEventType = typ, string(p.PaymentID), string(p.Status)
	f.Account, f.MerchantTransactionID = string(p.PublicKey), string(p.OrderID)
	if p.Status == "sandbox" || strings.HasPrefix(f.Account, "sandbox_") {
		f.Mode = modeTest
	}
	if ms, err := strconv.ParseInt(string(p.EndDate), 10, 64); err == nil && typ.Family() != "refund" && typ != schemas.PayoutReversed {
		f.Time = time.UnixMilli(ms)
	}
	amount := p.Amount
	switch typ.Family() {
	case "mandate":
		f.ConnectorMandateID = string(p.PaymentID)
	case "payout":
		f.ConnectorPayoutID, f.MerchantPayoutID = string(p.PaymentID), string(p.OrderID)
	case "refund":
		if p.RefundAmount != "" {
			amount = p.RefundAmount
			f.Identity += "/" + string(p.RefundAmount) + "/" + string(p.RefundDateLast)
		}
		fallthrough
	case "payment":
		f.ConnectorTransactionID, f.ConnectorReferences = string(p.PaymentID), others("", p.LiqpayOrderID)
		f.PaymentMethod = method(p.PayType, p.CardType)
	}
	var err error
	if f.Amount, err = major(amount, p.Currency); err != nil {
		return malformed(p.Status, err)
	}
	f.setAmountByType()
	if typ == schemas.PaymentFailed || typ == schemas.PayoutFailed {
		f.Error = failure(p.ErrCode, p.ErrDescription, "")
	}
	return f
}
