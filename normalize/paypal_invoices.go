package normalize

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// paypalInvoice is an invoice that PayPal sends to a payer. Its payments and
// refunds can also have events of their own, which are the same facts.
// https://developer.paypal.com/docs/api/invoicing/v2/
type paypalInvoice struct {
	ID     text   `json:"id"`
	Number text   `json:"number"` // v1
	Status string `json:"status"`
	Detail struct {
		Number text `json:"invoice_number"`
	} `json:"detail"`
	Amount      paypalMoney               `json:"amount"`
	TotalAmount paypalMoney               `json:"total_amount"` // v1
	Payments    paypalInvoiceTransactions `json:"payments"`
	Refunds     paypalInvoiceTransactions `json:"refunds"`
	PaidAmount  struct {
		PayPal paypalMoney `json:"paypal"`
	} `json:"paid_amount"` // v1
}

// paypalInvoiceTransaction is a payment or a refund of an invoice. Its type is
// EXTERNAL if the merchant recorded it and it was not made through PayPal.
type paypalInvoiceTransaction struct {
	Type          text        `json:"type"`
	PaymentID     text        `json:"payment_id"`
	RefundID      text        `json:"refund_id"`
	TransactionID text        `json:"transaction_id"` // v1
	Amount        paypalMoney `json:"amount"`
}

// paypalID returns the id of a payment or refund that was made through PayPal;
// "" for any other.
func (m paypalInvoiceTransaction) paypalID() string {
	if m.Type == "EXTERNAL" {
		return ""
	}
	return first(m.PaymentID, m.RefundID, m.TransactionID)
}

// paypalInvoiceTransactions is a list in v1. In v2 it is an object with the
// list and the sum of the payments.
type paypalInvoiceTransactions struct {
	list []paypalInvoiceTransaction
	paid paypalMoney
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (m *paypalInvoiceTransactions) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == '[' {
		return json.UnmarshalDecode(d, &m.list)
	}
	var o struct {
		Transactions []paypalInvoiceTransaction `json:"transactions"`
		PaidAmount   paypalMoney                `json:"paid_amount"`
	}
	err := json.UnmarshalDecode(d, &o)
	m.list, m.paid = o.Transactions, o.PaidAmount
	return err
}

// id returns the id of the last payment through PayPal, else the id of the
// invoice.
func (i paypalInvoice) id() string {
	for _, p := range slices.Backward(i.Payments.list) {
		if id := p.paypalID(); id != "" {
			return id
		}
	}
	return string(i.ID)
}

// paypalReadInvoice decodes an invoice, which is the resource itself or in its
// field invoice.
func paypalReadInvoice(resource part) (i paypalInvoice, err error) {
	var r struct {
		Invoice part `json:"invoice"`
	}
	if err := decode(resource, &r); err != nil {
		return i, err
	}
	if r.Invoice.kind() == '{' {
		resource = r.Invoice
	}
	if err := redecode(resource, &i); err != nil {
		return i, err
	}
	if i.ID == "" {
		return i, fmt.Errorf("%w: no id of the invoice", ErrMalformed)
	}
	return i, nil
}

// fact returns the fields that the facts of an invoice have in common.
func (i paypalInvoice) fact(typ schemas.Type, m paypalMoney) (f fact, err error) {
	f.Type, f.ConnectorTransactionID = typ, i.id()
	f.MerchantTransactionID = first(i.Detail.Number, i.Number)
	f.ConnectorReferences = others(f.ConnectorTransactionID, i.ID)
	f.Amount, err = m.amount()
	return f, err
}

// paypalPaidInvoiceStatuses are the statuses of an invoice that was paid, at
// least in part. PayPal also sends INVOICING.INVOICE.PAID when a payment is
// made and still pending: https://developer.paypal.com/docs/invoicing/webhooks/
var paypalPaidInvoiceStatuses = []string{
	"", // the invoice has no status
	"PAID", "PARTIALLY_PAID", "MARKED_AS_PAID",
	"REFUNDED", "PARTIALLY_REFUNDED", "MARKED_AS_REFUNDED",
}

// paypalInvoicePaid reads a paid invoice. It returns a fact for each payment.
// The invoice does not say which payment is pending. If one is, a payment
// counts as captured if the rest of the paid sum covers it, in the order of the
// list, and as processing otherwise.
func paypalInvoicePaid(event string, resource part) ([]fact, error) {
	i, err := paypalReadInvoice(resource)
	if err != nil {
		return nil, err
	}
	paid := slices.Contains(paypalPaidInvoiceStatuses, i.Status)
	sum, err := i.paid().amount()
	if err != nil {
		return nil, err
	}
	var left int64 // how much of the sum the payments so far do not cover
	if sum != nil {
		left = sum.Value
	}
	var facts []fact
	for _, p := range i.Payments.list {
		f, err := i.payment(p)
		switch {
		case err != nil:
			f = malformed(event, err)
		case paid:
		case f.Amount != nil && f.Amount.Value <= left:
			left -= f.Amount.Value
		default:
			f.Type, f.CapturedAmount = schemas.PaymentProcessing, nil
		}
		if p.paypalID() != "" {
			facts = append(facts, f)
		}
	}
	switch {
	case len(facts) > 0:
		return facts, nil
	case len(i.Payments.list) > 0 || i.Status == "MARKED_AS_PAID":
		return []fact{ignored(event, "the merchant recorded a payment outside of PayPal")}, nil
	case !paid:
		f, err := i.fact(schemas.PaymentProcessing, i.total())
		return []fact{f}, err
	case i.paid() == paypalMoney{} && i.Status != "PARTIALLY_PAID":
		f, err := i.fact(schemas.PaymentCaptured, i.total())
		f.CapturedAmount = f.Amount
		f.Identity = string(i.ID) + ":captured"
		return []fact{f}, err
	}
	f, err := i.fact(schemas.PaymentCaptured, i.paid())
	if f.CapturedAmount = f.Amount; f.Amount != nil {
		f.Identity = fmt.Sprintf("%s:captured:%d", i.ID, f.Amount.Value) // the sum of the payments so far
	}
	return []fact{f}, err
}

// payment returns the fact of one payment of the invoice.
func (i paypalInvoice) payment(p paypalInvoiceTransaction) (fact, error) {
	f, err := i.fact(schemas.PaymentCaptured, p.Amount)
	id := p.paypalID()
	f.Identity, f.ConnectorTransactionID, f.CapturedAmount = id, id, f.Amount
	f.ConnectorReferences = others(id, i.ID)
	return f, err
}

// paid returns how much of the invoice was paid, in v2 or v1; empty if the
// invoice does not say.
func (i paypalInvoice) paid() paypalMoney {
	if i.Payments.paid.Value != "" {
		return i.Payments.paid
	}
	return i.PaidAmount.PayPal
}

// paypalInvoiceRefunded reads a refunded invoice. It returns a fact for each
// refund.
func paypalInvoiceRefunded(event string, resource part) ([]fact, error) {
	i, err := paypalReadInvoice(resource)
	if err != nil {
		return nil, err
	}
	var facts []fact
	for _, r := range i.Refunds.list {
		id := r.paypalID()
		if id == "" {
			continue
		}
		f, err := i.fact(schemas.RefundSucceeded, r.Amount)
		if f.Identity, f.ConnectorRefundID = id, id; err != nil {
			f = malformed(event, err)
		}
		facts = append(facts, f)
	}
	switch {
	case len(facts) > 0:
		return facts, nil
	case len(i.Refunds.list) > 0 || i.Status == "MARKED_AS_REFUNDED":
		return []fact{ignored(event, "the merchant recorded a refund outside of PayPal")}, nil
	}
	f, err := i.fact(schemas.RefundSucceeded, paypalMoney{}) // the invoice does not say how much
	return []fact{f}, err
}

// paypalInvoiceCancelled reads an invoice that the merchant cancelled.
func paypalInvoiceCancelled(_ string, resource part) (f fact, err error) {
	i, err := paypalReadInvoice(resource)
	if err != nil {
		return f, err
	}
	f, err = i.fact(schemas.PaymentCancelled, i.total())
	f.Identity = string(i.ID) + ":cancelled"
	return f, err
}

// total returns the invoice's amount, in v2 or v1.
func (i paypalInvoice) total() paypalMoney {
	if i.Amount.Value != "" {
		return i.Amount
	}
	return i.TotalAmount
}
