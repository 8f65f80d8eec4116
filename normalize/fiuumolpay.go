package normalize

import (
	"fmt"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// fiuuMolpay reads a form about one payment, which has the field skey, or about one
// refund; or a JSON object of the same fields. Fiuu sends each payment several times,
// in three ways. The identity is its id and status, which are signed. Times are
// Malaysia's (UTC+8).
//
// A refund has Fiuu's id of the payment and the merchant's reference of the refund. It
// has neither a currency nor the order.
//
// https://docs.fiuu.dev/docs/payment-status-notification
var fiuuMolpay = Connector{
	Docs:      "https://docs.fiuu.dev/docs/payment-status-notification",
	Key:       "orderid; refunds have none",
	Tellers:   sentToURL(tellersOf(fiuuMolpayTypes, fiuuMolpayRefundTypes)),
	Captures:  CountsOnce, // there is one payment for each tranID, and captures have no webhook
	normalize: fiuuMolpayNormalize,
}

// The tables that map a status code to the event type.
var (
	fiuuMolpayTypes       = map[string]schemas.Type{"00": schemas.PaymentCaptured, "11": schemas.PaymentFailed, "22": schemas.PaymentProcessing}
	fiuuMolpayRefundTypes = map[string]schemas.Type{"00": schemas.RefundSucceeded, "11": schemas.RefundFailed, "22": schemas.RefundPending}
)

func fiuuMolpayNormalize(payload []byte, _ Options) ([]fact, error) {
	p, err := fiuuMolpayDecode(payload)
	if err != nil {
		return nil, err
	}
	read, types, status := fiuuMolpayPayment, fiuuMolpayTypes, p["status"]
	_, payment := p["skey"] // package verify distinguishes them in the same way
	if !payment {
		read, types, status = fiuuMolpayRefund, fiuuMolpayRefundTypes, p["Status"]
	}
	typ, ok := types[status]
	switch {
	case !ok && status != "":
		return []fact{unknownStatus(status, "the status", status)}, nil
	case payment && (p["tranID"] == "" || p["orderid"] == ""):
		return nil, fmt.Errorf("%w: no tranID or no orderid: not a payment of Fiuu's", ErrMalformed)
	case !payment && p["RefundID"] == "":
		return nil, fmt.Errorf("%w: no skey and no RefundID: neither a payment nor a refund of Fiuu's", ErrMalformed)
	case !ok:
		return nil, fmt.Errorf("%w: no status", ErrMalformed)
	}
	f, err := read(p, typ)
	f.Type = typ
	return oneFact(status, f, err)
}

// fiuuMolpayDecode reads the fields of a form or of a JSON object.
func fiuuMolpayDecode(payload []byte) (map[string]string, error) {
	if len(payload) == 0 || payload[0] != '{' {
		return decodeForm(payload)
	}
	var fields map[string]text
	if err := decode(payload, &fields); err != nil {
		return nil, err
	}
	p := make(map[string]string, len(fields))
	for name, value := range fields {
		p[name] = string(value)
	}
	return p, nil
}

// fiuuMolpayPayment reads a payment.
func fiuuMolpayPayment(p map[string]string, typ schemas.Type) (f fact, err error) {
	f.Identity = p["tranID"] + "/" + p["status"]
	f.MerchantTransactionID, f.ConnectorTransactionID = p["orderid"], p["tranID"]
	f.PaymentMethod = method(p["channel"], "")
	if kind, bank, ok := strings.Cut(p["channel"], "_"); ok && strings.EqualFold(kind, "fpx") { // FPX at a bank: fpx_mb2u
		f.PaymentMethod = method(kind, bank)
	}
	paid, err := timestamp(p["paydate"], time.DateTime)
	if err != nil {
		return f, err
	}
	if !paid.IsZero() {
		f.Time = paid.Add(-8 * time.Hour)
	}
	currency := p["currency"]
	if currency == "RM" { // a common abbreviation of the ringgit
		currency = "MYR"
	}
	if f.Amount, err = major(p["amount"], currency); err != nil {
		return f, err
	}
	switch typ {
	case schemas.PaymentCaptured:
		f.CapturedAmount = f.Amount
	case schemas.PaymentFailed:
		f.Error = failure(p["error_code"], p["error_desc"], "")
	}
	return f, nil
}

// fiuuMolpayRefund reads a refund.
func fiuuMolpayRefund(p map[string]string, typ schemas.Type) (f fact, err error) {
	if kind := p["RefundType"]; kind != "P" && kind != "F" { // so that the signature of a payment cannot pass as that of a refund
		return f, fmt.Errorf("%w: RefundType is %q, want P or F", ErrMalformed, kind)
	}
	f.Identity = p["RefundID"] + "/" + p["Status"]
	f.ConnectorTransactionID = p["TxnID"]
	f.ConnectorRefundID, f.MerchantRefundID = p["RefundID"], p["RefID"]
	if typ == schemas.RefundFailed {
		f.Error = failure("", p["reason"], "")
	}
	f.Amount, err = major(p["Amount"], "")
	return f, err
}
