package normalize

import (
	"fmt"
	"strconv"

	"github.com/tollbridge/tollbridge/schemas"
)

// billplz reads a form about one bill, which Billplz sends after each attempt to pay
// it. A bill that is not paid is "due" and can still be paid, so a failed attempt is
// not final. Amounts are in sen: the only currency is the ringgit.
//
// The form has no reference of the merchant, so the event has a fallback key with the
// bill's id. The bill in the API has two references, each with a label of the merchant's:
// the one whose label is one of merchant_id_keys is the payment's, else the first. The identity is the bill once it is paid, and the attempt before that.
//
// A form without the field paid is about a payment order, a payout to a bank account.
// The fields that are read are signed: id, status, total, reference_id and epoch. Each
// status is one event.
//
// https://www.billplz.com/api#v5-payment-order-callback
// https://www.billplz.com/api#x-signature-callback-url
var billplz = Connector{
	Docs:      "https://www.billplz.com/api#x-signature-callback-url",
	Key:       "none in the form of a bill: (fetched) the reference with the label <merchant_id_keys>, else reference_1; reference_id of payment orders",
	Tellers:   sentToURL(billplzTellers),
	Captures:  CountsOnce, // a bill is paid once
	normalize: billplzNormalize,
}

// billplzTellers lists the event types.
var billplzTellers = []Teller{
	{Event: "cancelled", Facts: []schemas.Type{schemas.PayoutCancelled}},
	{Event: "completed", Facts: []schemas.Type{schemas.PayoutSucceeded}},
	{Event: "due", Facts: []schemas.Type{schemas.PaymentFailed, schemas.PaymentProcessing}},
	{Event: "paid", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentProcessing}},
	{Event: "processing", Facts: []schemas.Type{schemas.PayoutProcessing}},
	{Event: "refunded", Facts: []schemas.Type{schemas.PayoutReversed}},
}

func billplzNormalize(payload []byte, o Options) ([]fact, error) {
	b, err := decodeForm(payload)
	if err != nil {
		return nil, err
	}
	if _, bill := b["paid"]; !bill && b["total"] != "" {
		return billplzOrder(b)
	}
	if b["id"] == "" {
		return nil, fmt.Errorf("%w: no id: not a callback of Billplz's", ErrMalformed)
	}
	var f fact
	switch paid, status := b["paid"], b["transaction_status"]; {
	case paid == "true" && status == "pending": // paid, but the bank has not confirmed it yet
		f.Type, f.Identity = schemas.PaymentProcessing, b["id"]+"/"+b["transaction_id"]
	case paid == "true":
		f.Type, f.Identity = schemas.PaymentCaptured, b["id"]
	case paid == "false" && status == "pending":
		f.Type, f.Identity = schemas.PaymentProcessing, b["id"]+"/"+b["transaction_id"]
	case paid == "false" && (status == "" || status == "failed"):
		f.Type, f.Identity = schemas.PaymentFailed, b["id"]+"/"+b["transaction_id"]
	case paid == "false":
		return []fact{ignored(b["state"], fmt.Sprintf("not paid, and the transaction is %q", status))}, nil
	default:
		return nil, fmt.Errorf("%w: paid is %q, want true or false", ErrMalformed, paid)
	}
	f.ConnectorEventType = b["state"]
	f.ConnectorTransactionID = b["id"]
	if f.Time, err = timestamp(b["paid_at"], "2006-01-02 15:04:05 -0700"); err != nil {
		return oneMalformed(b["state"], err)
	}
	amount := b["amount"] // what the bill asks for
	if f.Type == schemas.PaymentCaptured {
		amount = b["paid_amount"]
	}
	if f.Amount, err = minorText(amount, "MYR", nil); err != nil {
		return oneMalformed(b["state"], err)
	}
	f.setAmountByType()
	if err := f.fillFromBillplz(o); err != nil {
		return oneMalformed(b["state"], err)
	}
	return []fact{f}, nil
}

// fillFromBillplz adds the merchant's reference from the bill. The amounts are in the
// form.
func (f *fact) fillFromBillplz(o Options) error {
	if len(o.Fetched) == 0 {
		return nil
	}
	var d struct {
		Label1     text `json:"reference_1_label"`
		Reference1 text `json:"reference_1"`
		Label2     text `json:"reference_2_label"`
		Reference2 text `json:"reference_2"`
	}
	if ok, err := o.document("bill/"+f.ConnectorTransactionID, &d); !ok {
		return err
	}
	for _, key := range o.MerchantIDKeys {
		switch text(key) {
		case d.Label1:
			fill(&f.MerchantTransactionID, d.Reference1)
		case d.Label2:
			fill(&f.MerchantTransactionID, d.Reference2)
		}
	}
	fill(&f.MerchantTransactionID, d.Reference1)
	return nil
}

// billplzOrderTypes maps a payment order's status to the event type. "refunded" means
// that the money did not reach the recipient and was returned to the merchant.
var billplzOrderTypes = map[string]schemas.Type{
	"processing": schemas.PayoutProcessing,
	"enquiring":  schemas.PayoutProcessing,
	"executing":  schemas.PayoutProcessing,
	"reviewing":  schemas.PayoutProcessing,
	"completed":  schemas.PayoutSucceeded,
	"refunded":   schemas.PayoutReversed,
	"cancelled":  schemas.PayoutCancelled,
}

// billplzOrder reads a payment order.
func billplzOrder(b map[string]string) (facts []fact, err error) {
	var f fact
	status := b["status"]
	if f.Type = billplzOrderTypes[status]; f.Type == "" {
		return []fact{ignored(status, fmt.Sprintf("the status %q of a payment order is not known to tollbridge", status))}, nil
	}
	if b["id"] == "" {
		return nil, fmt.Errorf("%w: no id: not a callback of Billplz's", ErrMalformed)
	}
	f.Identity, f.ConnectorEventType = b["id"], status
	f.ConnectorPayoutID = b["id"]
	f.MerchantTransactionID, f.MerchantPayoutID = b["reference_id"], b["reference_id"]
	if sent, err := strconv.ParseInt(b["epoch"], 10, 64); err == nil {
		f.Time = unixOrMilli(sent)
	}
	if f.Amount, err = minorText(b["total"], "MYR", nil); err != nil {
		return oneMalformed(status, err)
	}
	return []fact{f}, nil
}
