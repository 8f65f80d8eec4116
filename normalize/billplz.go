package normalize

import (
	"fmt"
	"strconv"

	"github.com/tollbridge/tollbridge/schemas"
)

// billplz: a form about one bill, sent after an attempt to pay it, whichever
// way it ended. A bill that is not paid is "due" and can be paid later, so that
// a failed attempt is no end. Amounts are in sen: Billplz has no currency but
// the ringgit.
//
// The form has no reference of the merchant's: the bill's id stands in. The
// identity is the bill once it is paid, and the attempt before that.
//
// A form without paid is about a payment order, which pays out to a bank
// account: of what is signed there, id, status, total, reference_id and the
// time are read. Each of its states is told once.
//
// https://www.billplz.com/api#v5-payment-order-callback
// https://www.billplz.com/api#x-signature-callback-url
var billplz = Connector{
	Docs:      "https://www.billplz.com/api#x-signature-callback-url",
	Key:       "none in the form: the bill's id stands in; reference_id of payment orders",
	Normalize: billplzNormalize,
}

func billplzNormalize(payload []byte, _ Options) ([]Fact, error) {
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
	var f Fact
	switch paid, status := b["paid"], b["transaction_status"]; {
	case paid == "true" && status == "pending": // it is called paid, and the bank has not said so yet
		f.Type, f.Identity = schemas.PaymentProcessing, b["id"]+"/"+b["transaction_id"]
	case paid == "true":
		f.Type, f.Identity = schemas.PaymentCaptured, b["id"]
	case paid == "false" && status == "pending":
		f.Type, f.Identity = schemas.PaymentProcessing, b["id"]+"/"+b["transaction_id"]
	case paid == "false" && (status == "" || status == "failed"):
		f.Type, f.Identity = schemas.PaymentFailed, b["id"]+"/"+b["transaction_id"]
	case paid == "false":
		return []Fact{ignored(b["state"], fmt.Sprintf("not paid, and the transaction is %q", status))}, nil
	default:
		return nil, fmt.Errorf("%w: paid is %q, want true or false", ErrMalformed, paid)
	}
	f.ConnectorEventType = b["state"]
	f.ConnectorTransactionID = b["id"]
	if f.Time, err = timestamp(b["paid_at"], "2006-01-02 15:04:05 -0700"); err != nil {
		return oneMalformed(b["state"], err)
	}
	amount := b["amount"] // the bill's
	if f.Type == schemas.PaymentCaptured {
		amount = b["paid_amount"]
	}
	if f.Amount, err = minorText(amount, "MYR"); err != nil {
		return oneMalformed(b["state"], err)
	}
	f.setAmountByType()
	return []Fact{f}, nil
}

// billplzOrderTypes are the states of a payment order. What is refunded did not
// reach its recipient, and is the merchant's again.
var billplzOrderTypes = map[string]schemas.Type{
	"processing": schemas.PayoutProcessing,
	"enquiring":  schemas.PayoutProcessing,
	"executing":  schemas.PayoutProcessing,
	"reviewing":  schemas.PayoutProcessing,
	"completed":  schemas.PayoutSucceeded,
	"refunded":   schemas.PayoutReversed,
	"cancelled":  schemas.PayoutCancelled,
}

func billplzOrder(b map[string]string) (facts []Fact, err error) {
	var f Fact
	status := b["status"]
	if f.Type = billplzOrderTypes[status]; f.Type == "" {
		return []Fact{ignored(status, fmt.Sprintf("the status %q of a payment order is none that is known", status))}, nil
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
	if f.Amount, err = minorText(b["total"], "MYR"); err != nil {
		return oneMalformed(status, err)
	}
	return []Fact{f}, nil
}
