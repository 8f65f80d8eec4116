package normalize

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// paypal: one event a webhook, {"id", "event_type", "create_time",
// "resource"}. The resource is what the event is about, as it was then, in the
// shape of the API that made it: v2 has status, amount.value and invoice_id
// where v1 has state, amount.total and invoice_number. Its status counts; the
// event's name only where there is none. Several events tell of one capture or
// refund, so these are identified by their own ids, and each state is one fact.
//
// The merchant's reference is the invoice id, which PayPal accepts once for a
// merchant, else the free custom id. The payment is the capture, the sale or
// the authorization, whichever the event is about; a capture has that of its
// authorization, too, and not the order's, which may be of several payments. A
// refund can be given references of its own:
// https://developer.paypal.com/api/payments/v2/captures-refund
//
// The merchant's account is
// in some resources only and is left out: with it, events of one payment would
// have different keys. Whether it is the sandbox's is told by the host of the
// event's own links.
//
// https://developer.paypal.com/api/rest/webhooks/event-names/
var paypal = Connector{
	Docs:      "https://developer.paypal.com/api/rest/webhooks/event-names/",
	Key:       "resource.invoice_id, else resource.custom_id; of orders, purchase_units' invoice_id, custom_id or reference_id; of invoices, their number; of payouts, sender_item_id",
	Normalize: paypalNormalize,
}

// paypalReader reads the resource of an event.
type paypalReader func(event string, resource jsontext.Value) ([]Fact, error)

var paypalReaders = map[string]paypalReader{
	"PAYMENT.AUTHORIZATION.CREATED": paypalOne(paypalAuthorization),
	"PAYMENT.AUTHORIZATION.VOIDED":  paypalOne(paypalAuthorization),
	"PAYMENT.CAPTURE.COMPLETED":     paypalOne(paypalCapture),
	"PAYMENT.CAPTURE.PENDING":       paypalOne(paypalCapture),
	"PAYMENT.CAPTURE.DECLINED":      paypalOne(paypalCapture),
	"PAYMENT.CAPTURE.DENIED":        paypalOne(paypalCapture),
	"PAYMENT.CAPTURE.REFUNDED":      paypalOne(paypalRefund),
	"PAYMENT.CAPTURE.REVERSED":      paypalOne(paypalReversal),
	"PAYMENT.SALE.COMPLETED":        paypalOne(paypalCapture),
	"PAYMENT.SALE.PENDING":          paypalOne(paypalCapture),
	"PAYMENT.SALE.DENIED":           paypalOne(paypalCapture),
	"PAYMENT.SALE.REFUNDED":         paypalOne(paypalRefund),
	"PAYMENT.SALE.REVERSED":         paypalOne(paypalReversal),
	"PAYMENT.REFUND.COMPLETED":      paypalOne(paypalRefund),
	"PAYMENT.REFUND.PENDING":        paypalOne(paypalRefund),
	"PAYMENT.REFUND.FAILED":         paypalOne(paypalRefund),
	"PAYMENT.REFUND.CANCELLED":      paypalOne(paypalRefund),

	"PAYMENTS.PAYMENT.CREATED":           paypalOrder,
	"PAYMENT.ORDER.CREATED":              paypalOrder,
	"PAYMENT.ORDER.CANCELLED":            paypalOrder,
	"CHECKOUT.CHECKOUT.BUYER-APPROVED":   paypalOrder,
	"CHECKOUT.ORDER.APPROVED":            paypalOrder,
	"CHECKOUT.ORDER.PROCESSED":           paypalOrder,
	"CHECKOUT.ORDER.DECLINED":            paypalOrder,
	"CHECKOUT.ORDER.VOIDED":              paypalOrder,
	"CHECKOUT.PAYMENT-APPROVAL.REVERSED": paypalOrder,
	"CHECKOUT.ORDER.COMPLETED":           paypalCompleted,

	"INVOICING.INVOICE.PAID":      paypalInvoicePaid,
	"INVOICING.INVOICE.REFUNDED":  paypalInvoiceRefunded,
	"INVOICING.INVOICE.CANCELLED": paypalOne(paypalInvoiceCancelled),

	"CUSTOMER.DISPUTE.CREATED":  paypalOne(paypalDispute),
	"CUSTOMER.DISPUTE.UPDATED":  paypalOne(paypalDispute),
	"CUSTOMER.DISPUTE.RESOLVED": paypalOne(paypalDispute),
	"RISK.DISPUTE.CREATED":      paypalOne(paypalDispute),

	"PAYMENT.PAYOUTSBATCH.PROCESSING":          paypalOne(paypalBatch),
	"PAYMENT.PAYOUTSBATCH.SUCCESS":             paypalOne(paypalBatch),
	"PAYMENT.PAYOUTSBATCH.DENIED":              paypalOne(paypalBatch),
	"PAYMENT.PAYOUTS-ITEM.SUCCEEDED":           paypalOne(paypalItem),
	"PAYMENT.PAYOUTS-ITEM.FAILED":              paypalOne(paypalItem),
	"PAYMENT.PAYOUTS-ITEM.DENIED":              paypalOne(paypalItem),
	"PAYMENT.PAYOUTS-ITEM.BLOCKED":             paypalOne(paypalItem),
	"PAYMENT.PAYOUTS-ITEM.HELD":                paypalOne(paypalItem),
	"PAYMENT.PAYOUTS-ITEM.UNCLAIMED":           paypalOne(paypalItem),
	"PAYMENT.PAYOUTS-ITEM.CANCELED":            paypalOne(paypalItem),
	"PAYMENT.PAYOUTS-ITEM.RETURNED":            paypalOne(paypalItem),
	"PAYMENT.PAYOUTS-ITEM.REFUNDED":            paypalOne(paypalItem),
	"PAYMENT.REFERENCED-PAYOUT-ITEM.COMPLETED": paypalOne(paypalDisbursement),
	"PAYMENT.REFERENCED-PAYOUT-ITEM.FAILED":    paypalOne(paypalDisbursement),

	"BILLING.SUBSCRIPTION.CREATED":           paypalOne(paypalMandate),
	"BILLING.SUBSCRIPTION.ACTIVATED":         paypalOne(paypalMandate),
	"BILLING.SUBSCRIPTION.RE-ACTIVATED":      paypalOne(paypalMandate),
	"BILLING.SUBSCRIPTION.CANCELLED":         paypalOne(paypalMandate),
	"BILLING.SUBSCRIPTION.EXPIRED":           paypalOne(paypalMandate),
	"BILLING.SUBSCRIPTION.SUSPENDED":         paypalOne(paypalMandate),
	"BILLING.SUBSCRIPTION.PAYMENT.FAILED":    paypalOne(paypalUnpaid),
	"BILLING_AGREEMENTS.AGREEMENT.CREATED":   paypalOne(paypalMandate),
	"BILLING_AGREEMENTS.AGREEMENT.CANCELLED": paypalOne(paypalMandate),
	"VAULT.PAYMENT-TOKEN.CREATED":            paypalOne(paypalMandate),
	"VAULT.PAYMENT-TOKEN.DELETED":            paypalOne(paypalMandate),
	"VAULT.CREDIT-CARD.CREATED":              paypalOne(paypalMandate),
	"VAULT.CREDIT-CARD.DELETED":              paypalOne(paypalMandate),
}

// paypalOne is the reader of resources that make one fact.
func paypalOne(read func(event string, resource jsontext.Value) (Fact, error)) paypalReader {
	return func(event string, resource jsontext.Value) ([]Fact, error) {
		f, err := read(event, resource)
		return []Fact{f}, err
	}
}

func paypalNormalize(payload []byte, _ Options) ([]Fact, error) {
	var e struct {
		ID         text           `json:"id"`
		EventType  text           `json:"event_type"`
		CreateTime text           `json:"create_time"`
		Resource   jsontext.Value `json:"resource"`
		Links      jsontext.Value `json:"links"`
	}
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	event := string(e.EventType)
	read, ok := paypalReaders[event]
	switch {
	case event == "":
		return nil, fmt.Errorf("%w: no event_type: not an event of PayPal's", ErrMalformed)
	case !ok:
		return []Fact{notUnified(event)}, nil
	case e.ID == "":
		return oneMalformed(event, fmt.Errorf("%w: no id: not an event of PayPal's", ErrMalformed))
	}
	var links paypalLinks
	if err := redecode(e.Links, &links); err != nil {
		return oneMalformed(event, err)
	}
	facts, err := read(event, e.Resource)
	if err != nil {
		return oneMalformed(event, err)
	}
	// PayPal's simulator sends times with a 19th month. A fact is not lost for
	// that: it has the time at which it was received.
	when, _ := timestamp(e.CreateTime, time.RFC3339)
	for i := range facts {
		f := &facts[i]
		f.Time, f.Mode = when, links.mode()
		f.Identity = first(f.Identity, string(e.ID))
		f.ConnectorEventID, f.ConnectorEventType = string(e.ID), event
	}
	return facts, nil
}

// paypalLinks is where PayPal's API has things: of all relations, the one that
// a webhook needs may stand in no other field.
type paypalLinks []struct {
	Href string `json:"href"`
}

// id returns the last part of the first link to one of the kinds of things.
func (l paypalLinks) id(kinds ...string) string {
	for _, link := range l {
		for _, kind := range kinds {
			if _, id, ok := strings.Cut(link.Href, "/"+kind+"/"); ok && id != "" && !strings.Contains(id, "/") {
				return id
			}
		}
	}
	return ""
}

// mode tells the sandbox. The host of live is also that of the simulator.
func (l paypalLinks) mode() Mode {
	for _, link := range l {
		if u, err := url.Parse(link.Href); err == nil && strings.HasSuffix(u.Host, ".sandbox.paypal.com") {
			return ModeTest
		}
	}
	return ModeUnknown
}

// paypalMoney is an amount of v2, or of v1, where refunds are negative.
type paypalMoney struct {
	Value        text `json:"value"`
	CurrencyCode text `json:"currency_code"`
	Total        text `json:"total"`
	Currency     text `json:"currency"`
}

func (m paypalMoney) amount() (*schemas.Amount, error) {
	a, err := major(first(m.Value, m.Total), first(m.CurrencyCode, m.Currency))
	if a != nil {
		*a = a.Abs()
	}
	return a, err
}

// paypalReference is the merchant's reference, in the names of v2 and of v1.
type paypalReference struct {
	InvoiceID     text `json:"invoice_id"`
	InvoiceNumber text `json:"invoice_number"`
	CustomID      text `json:"custom_id"`
	Custom        text `json:"custom"`
}

func (r paypalReference) id() string {
	return first(r.InvoiceID, r.InvoiceNumber, r.CustomID, r.Custom)
}

// paypalPayment is a capture, an authorization, a sale, or a refund of one:
// https://developer.paypal.com/docs/api/payments/v2/ and v1
type paypalPayment struct {
	paypalReference
	ID     text        `json:"id"`
	Status text        `json:"status"`
	State  text        `json:"state"` // v1
	Amount paypalMoney `json:"amount"`

	StatusDetails struct {
		Reason text `json:"reason"`
	} `json:"status_details"`
	ReasonCode        text `json:"reason_code"` // v1
	ProcessorResponse struct {
		ResponseCode text `json:"response_code"`
	} `json:"processor_response"`
	NetworkTransactionReference struct {
		ID text `json:"id"`
	} `json:"network_transaction_reference"`
	BillingAgreementID text `json:"billing_agreement_id"` // v1

	SaleID            text `json:"sale_id"`    // v1, of a refund
	CaptureID         text `json:"capture_id"` // v1, of a refund
	SupplementaryData struct {
		RelatedIDs struct {
			AuthorizationID text `json:"authorization_id"`
			CaptureID       text `json:"capture_id"`
		} `json:"related_ids"`
	} `json:"supplementary_data"`
	Links paypalLinks `json:"links"`
}

// typ returns what became of p by its status, or by the last word of the event.
func (p paypalPayment) typ(event string, types map[string]schemas.Type) (schemas.Type, error) {
	status := strings.ToUpper(first(p.Status, p.State, text(event[strings.LastIndex(event, ".")+1:])))
	typ, ok := types[status]
	if !ok {
		return "", fmt.Errorf("%w: status %q is not one that PayPal documents", ErrMalformed, status)
	}
	return typ, nil
}

// fact is what payments and refunds have in common.
func (p paypalPayment) fact(event string, types map[string]schemas.Type) (f Fact, err error) {
	if f.Type, err = p.typ(event, types); err != nil {
		return f, err
	}
	f.Identity = string(p.ID)
	f.ConnectorTransactionID, f.MerchantTransactionID = string(p.ID), p.id()
	f.Amount, err = p.Amount.amount()
	return f, err
}

var paypalAuthorizationTypes = map[string]schemas.Type{
	"CREATED":            schemas.PaymentAuthorized,
	"AUTHORIZED":         schemas.PaymentAuthorized, // v1
	"CAPTURED":           schemas.PaymentAuthorized, // the capture has its own event
	"PARTIALLY_CAPTURED": schemas.PaymentAuthorized,
	"PENDING":            schemas.PaymentProcessing,
	"DENIED":             schemas.PaymentFailed,
	"EXPIRED":            schemas.PaymentExpired, // v1
	"VOIDED":             schemas.PaymentCancelled,
}

func paypalAuthorization(event string, resource jsontext.Value) (f Fact, err error) {
	var p paypalPayment
	if err := decode(resource, &p); err != nil {
		return f, err
	}
	return p.authorization(event)
}

func (p paypalPayment) authorization(event string) (Fact, error) {
	f, err := p.fact(event, paypalAuthorizationTypes)
	p.details(&f)
	if f.Type == schemas.PaymentAuthorized {
		f.AuthorizedAmount = f.Amount
	}
	return f, err
}

var paypalCaptureTypes = map[string]schemas.Type{
	"COMPLETED":          schemas.PaymentCaptured,
	"REFUNDED":           schemas.PaymentCaptured, // the refund has its own event
	"PARTIALLY_REFUNDED": schemas.PaymentCaptured,
	"PENDING":            schemas.PaymentProcessing,
	"DECLINED":           schemas.PaymentFailed,
	"DENIED":             schemas.PaymentFailed,
	"FAILED":             schemas.PaymentFailed,
}

func paypalCapture(event string, resource jsontext.Value) (f Fact, err error) {
	var p paypalPayment
	if err := decode(resource, &p); err != nil {
		return f, err
	}
	return p.capture(event)
}

func (p paypalPayment) capture(event string) (Fact, error) {
	f, err := p.fact(event, paypalCaptureTypes)
	p.details(&f)
	authorization := first(string(p.SupplementaryData.RelatedIDs.AuthorizationID), p.Links.id("authorizations", "authorization"))
	f.ConnectorReferences = others(f.ConnectorTransactionID, authorization)
	switch {
	case f.Type == schemas.PaymentCaptured:
		f.CapturedAmount = f.Amount
	case f.Type == schemas.PaymentFailed && authorization != "":
		f.Type = schemas.PaymentCaptureFailed
	}
	return f, err
}

// details is what payments have and refunds have not.
func (p paypalPayment) details(f *Fact) {
	f.NetworkTransactionID = string(p.NetworkTransactionReference.ID)
	f.MandateID = string(p.BillingAgreementID)
	if f.Type == schemas.PaymentFailed {
		f.Error = failure(first(p.StatusDetails.Reason, p.ReasonCode), "", p.ProcessorResponse.ResponseCode)
	}
}

var paypalRefundTypes = map[string]schemas.Type{
	"COMPLETED": schemas.RefundSucceeded,
	"REFUNDED":  schemas.RefundSucceeded, // the event's word
	"PENDING":   schemas.RefundPending,
	"FAILED":    schemas.RefundFailed,
	"CANCELLED": schemas.RefundCancelled,
}

func paypalRefund(event string, resource jsontext.Value) (f Fact, err error) {
	var p paypalPayment
	if err := decode(resource, &p); err != nil {
		return f, err
	}
	f, err = p.fact(event, paypalRefundTypes)
	p.parent(event, &f)
	if f.MerchantTransactionID != "" {
		f.KeySource, f.MerchantRefundID = schemas.KeyFromRequest, f.MerchantTransactionID
	}
	f.Reason = first(p.StatusDetails.Reason, p.ReasonCode)
	return f, err
}

// paypalReversal: the resource is the refund that PayPal made, whatever its
// status: the money is taken back.
func paypalReversal(event string, resource jsontext.Value) (f Fact, err error) {
	var p paypalPayment
	if err := decode(resource, &p); err != nil {
		return f, err
	}
	p.Status = "REVERSED"
	f, err = p.fact(event, map[string]schemas.Type{"REVERSED": schemas.PaymentReversed})
	p.parent(event, &f)
	return f, err
}

// parent tells a refund from what it refunds. A reversed sale may come as the
// sale itself, with the refund in its links.
func (p paypalPayment) parent(event string, f *Fact) {
	parent := first(string(p.SaleID), string(p.CaptureID), string(p.SupplementaryData.RelatedIDs.CaptureID),
		p.Links.id("captures", "capture", "sale"))
	id, linked := string(p.ID), p.Links.id("refunds", "refund")
	if parent == "" && linked != id && strings.HasPrefix(event, "PAYMENT.SALE.") {
		parent = id
	}
	if parent == id {
		id = linked
	}
	f.ConnectorTransactionID, f.ConnectorRefundID = parent, id
	f.Identity = id // the event's, if there is none
}

// paypalPayments is the payments of an order that has some.
type paypalPayments struct {
	Captures       []paypalPayment `json:"captures"`
	Authorizations []paypalPayment `json:"authorizations"`
}

// paypalUnit is a part of an order that is paid to one payee.
type paypalUnit struct {
	paypalReference
	ReferenceID text           `json:"reference_id"`
	Amount      paypalMoney    `json:"amount"`
	Payments    paypalPayments `json:"payments"`
	Summary     paypalPayments `json:"payment_summary"` // v1
}

// id is the merchant's reference. An order of one unit is PayPal's "default"
// where the merchant names none.
func (u paypalUnit) id() string {
	if id := u.paypalReference.id(); id != "" || u.ReferenceID == "default" {
		return id
	}
	return string(u.ReferenceID)
}

// paypalOrderObject is an order of v2 or v1, or a payment of v1:
// https://developer.paypal.com/docs/api/orders/v2/
type paypalOrderObject struct {
	ID            text         `json:"id"`
	OrderID       text         `json:"order_id"`
	Amount        paypalMoney  `json:"amount"`
	PurchaseUnits []paypalUnit `json:"purchase_units"`
	Transactions  []paypalUnit `json:"transactions"` // of a payment
	PaymentSource paypalSource `json:"payment_source"`
}

var paypalOrderTypes = map[string]schemas.Type{
	"PAYMENTS.PAYMENT.CREATED":           schemas.PaymentActionRequired, // the buyer agreed; the merchant has to execute it
	"PAYMENT.ORDER.CREATED":              schemas.PaymentProcessing,
	"PAYMENT.ORDER.CANCELLED":            schemas.PaymentCancelled,
	"CHECKOUT.CHECKOUT.BUYER-APPROVED":   schemas.PaymentActionRequired,
	"CHECKOUT.ORDER.APPROVED":            schemas.PaymentActionRequired, // the merchant has to capture it
	"CHECKOUT.ORDER.PROCESSED":           schemas.PaymentProcessing,
	"CHECKOUT.ORDER.DECLINED":            schemas.PaymentFailed,
	"CHECKOUT.ORDER.VOIDED":              schemas.PaymentCancelled,
	"CHECKOUT.PAYMENT-APPROVAL.REVERSED": schemas.PaymentCancelled, // not captured in time: the buyer has the money back
}

// paypalOrder makes a fact of each unit: each is a payment with a reference of
// its own.
func paypalOrder(event string, resource jsontext.Value) ([]Fact, error) {
	var o paypalOrderObject
	if err := decode(resource, &o); err != nil {
		return nil, err
	}
	units := append(o.PurchaseUnits, o.Transactions...)
	if len(units) == 0 {
		units = []paypalUnit{{Amount: o.Amount}}
	}
	var facts []Fact
	for i, u := range units {
		f := Fact{Type: paypalOrderTypes[event], Item: i}
		f.ConnectorTransactionID, f.MerchantTransactionID = first(o.ID, o.OrderID), u.id()
		f.PaymentMethod = o.PaymentSource.method()
		amount, err := u.Amount.amount()
		if f.Amount = amount; err != nil {
			f = malformed(event, err)
		}
		facts = append(facts, f)
	}
	return facts, nil
}

// paypalCompleted makes a fact of each capture and authorization: the same as
// of its own event, in case that the endpoint does not receive those.
func paypalCompleted(event string, resource jsontext.Value) ([]Fact, error) {
	var o paypalOrderObject
	if err := decode(resource, &o); err != nil {
		return nil, err
	}
	var facts []Fact
	add := func(u paypalUnit, f Fact, err error) {
		f.MerchantTransactionID = first(f.MerchantTransactionID, u.id())
		f.PaymentMethod = o.PaymentSource.method()
		if err != nil {
			f = malformed(event, err)
		}
		facts = append(facts, f)
	}
	for _, u := range o.PurchaseUnits {
		for _, p := range append(u.Payments.Authorizations, u.Summary.Authorizations...) {
			f, err := p.authorization("CREATED")
			add(u, f, err)
		}
		for _, p := range append(u.Payments.Captures, u.Summary.Captures...) {
			f, err := p.capture(event)
			add(u, f, err)
		}
	}
	if len(facts) == 0 {
		return []Fact{ignored(event, "the order holds no payments; their own events tell")}, nil
	}
	return facts, nil
}

// paypalInvoice is an invoice that PayPal sends to a payer. Its payments and
// refunds are the same facts as in events of their own.
// https://developer.paypal.com/docs/api/invoicing/v2/
type paypalInvoice struct {
	ID     text   `json:"id"`
	Number text   `json:"number"` // v1
	Status string `json:"status"`
	Detail struct {
		Number text `json:"invoice_number"`
	} `json:"detail"`
	Amount      paypalMoney            `json:"amount"`
	TotalAmount paypalMoney            `json:"total_amount"` // v1
	Payments    paypalInvoiceMovements `json:"payments"`
	Refunds     paypalInvoiceMovements `json:"refunds"`
	PaidAmount  struct {
		PayPal paypalMoney `json:"paypal"`
	} `json:"paid_amount"` // v1
}

// paypalInvoiceMovement is a payment or a refund. What is EXTERNAL did not go
// through PayPal: the merchant says so.
type paypalInvoiceMovement struct {
	Type          text        `json:"type"`
	PaymentID     text        `json:"payment_id"`
	RefundID      text        `json:"refund_id"`
	TransactionID text        `json:"transaction_id"` // v1
	Amount        paypalMoney `json:"amount"`
}

// through is the id of what went through PayPal; empty if it did not.
func (m paypalInvoiceMovement) through() string {
	if m.Type == "EXTERNAL" {
		return ""
	}
	return first(m.PaymentID, m.RefundID, m.TransactionID)
}

// paypalInvoiceMovements is a list of v1, which stands in an object in v2, with
// the sum of what was paid.
type paypalInvoiceMovements struct {
	list []paypalInvoiceMovement
	paid paypalMoney
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (m *paypalInvoiceMovements) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == '[' {
		return json.UnmarshalDecode(d, &m.list)
	}
	var o struct {
		Transactions []paypalInvoiceMovement `json:"transactions"`
		PaidAmount   paypalMoney             `json:"paid_amount"`
	}
	err := json.UnmarshalDecode(d, &o)
	m.list, m.paid = o.Transactions, o.PaidAmount
	return err
}

// id is that of the last payment through PayPal, else the invoice's.
func (i paypalInvoice) id() string {
	for _, p := range slices.Backward(i.Payments.list) {
		if id := p.through(); id != "" {
			return id
		}
	}
	return string(i.ID)
}

func paypalReadInvoice(resource jsontext.Value) (i paypalInvoice, err error) {
	var r struct {
		Invoice jsontext.Value `json:"invoice"`
	}
	if err := decode(resource, &r); err != nil {
		return i, err
	}
	if r.Invoice.Kind() == '{' {
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

// fact is what the facts of an invoice have in common.
func (i paypalInvoice) fact(typ schemas.Type, m paypalMoney) (f Fact, err error) {
	f.Type, f.ConnectorTransactionID = typ, i.id()
	f.MerchantTransactionID = first(i.Detail.Number, i.Number)
	f.ConnectorReferences = others(f.ConnectorTransactionID, i.ID)
	f.Amount, err = m.amount()
	return f, err
}

// paypalInvoiceStatuses are the statuses of an invoice that was paid, at least in
// part. INVOICING.INVOICE.PAID is sent, too, when a payment is made that is
// pending: https://developer.paypal.com/docs/invoicing/webhooks/
var paypalInvoiceStatuses = []string{
	"", // not told
	"PAID", "PARTIALLY_PAID", "MARKED_AS_PAID",
	"REFUNDED", "PARTIALLY_REFUNDED", "MARKED_AS_REFUNDED",
}

// paypalInvoicePaid makes a fact of each payment. Where one is pending, it is not
// told which: those are captured that the sum of what was paid covers, and the
// later ones are processing.
func paypalInvoicePaid(event string, resource jsontext.Value) ([]Fact, error) {
	i, err := paypalReadInvoice(resource)
	if err != nil {
		return nil, err
	}
	paid := slices.Contains(paypalInvoiceStatuses, i.Status)
	sum, err := i.paid().amount()
	if err != nil {
		return nil, err
	}
	var left int64 // of the sum, what the payments so far do not account for
	if sum != nil {
		left = sum.Value
	}
	var facts []Fact
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
		if p.through() != "" {
			facts = append(facts, f)
		}
	}
	switch {
	case len(facts) > 0:
		return facts, nil
	case len(i.Payments.list) > 0 || i.Status == "MARKED_AS_PAID":
		return []Fact{ignored(event, "the merchant says that it was paid, and not through PayPal")}, nil
	case !paid:
		f, err := i.fact(schemas.PaymentProcessing, i.total())
		return []Fact{f}, err
	case i.paid() == paypalMoney{} && i.Status != "PARTIALLY_PAID":
		f, err := i.fact(schemas.PaymentCaptured, i.total())
		f.CapturedAmount = f.Amount
		return []Fact{f}, err
	}
	f, err := i.fact(schemas.PaymentCaptured, i.paid())
	f.CapturedAmount = f.Amount
	return []Fact{f}, err
}

// payment is the fact of one of the invoice's payments.
func (i paypalInvoice) payment(p paypalInvoiceMovement) (Fact, error) {
	f, err := i.fact(schemas.PaymentCaptured, p.Amount)
	id := p.through()
	f.Identity, f.ConnectorTransactionID, f.CapturedAmount = id, id, f.Amount
	f.ConnectorReferences = others(id, i.ID)
	return f, err
}

// paid is how much of the invoice was paid, of v2 or v1; empty if it is not told.
func (i paypalInvoice) paid() paypalMoney {
	if i.Payments.paid.Value != "" {
		return i.Payments.paid
	}
	return i.PaidAmount.PayPal
}

func paypalInvoiceRefunded(event string, resource jsontext.Value) ([]Fact, error) {
	i, err := paypalReadInvoice(resource)
	if err != nil {
		return nil, err
	}
	var facts []Fact
	for _, r := range i.Refunds.list {
		id := r.through()
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
		return []Fact{ignored(event, "the merchant says that it was refunded, and not through PayPal")}, nil
	}
	f, err := i.fact(schemas.RefundSucceeded, paypalMoney{}) // how much of it is not told
	return []Fact{f}, err
}

func paypalInvoiceCancelled(_ string, resource jsontext.Value) (f Fact, err error) {
	i, err := paypalReadInvoice(resource)
	if err != nil {
		return f, err
	}
	return i.fact(schemas.PaymentCancelled, i.total())
}

// total is the invoice's amount, of v2 or v1.
func (i paypalInvoice) total() paypalMoney {
	if i.Amount.Value != "" {
		return i.Amount
	}
	return i.TotalAmount
}

// paypalSource is how it was paid: an object with one member, by whose name it
// is known.
type paypalSource map[string]jsontext.Value

func (s paypalSource) method() *schemas.PaymentMethod {
	if len(s) != 1 {
		return nil
	}
	for kind, details := range s {
		var card struct {
			Brand text `json:"brand"`
		}
		_ = decode(details, &card) // the brand is a detail, and of cards only
		return method(kind, card.Brand)
	}
	return nil
}

var paypalStages = map[string]schemas.Stage{
	"INQUIRY":         schemas.StagePreDispute,
	"CHARGEBACK":      schemas.StageDispute,
	"PRE_ARBITRATION": schemas.StagePreArbitration,
	"ARBITRATION":     schemas.StagePreArbitration,
}

// paypalOutcomes: https://developer.paypal.com/api/customer-disputes/v1/definitions/dispute_outcome
var paypalOutcomes = map[string]schemas.Type{
	"RESOLVED_BUYER_FAVOUR":  schemas.DisputeLost,
	"RESOLVED_SELLER_FAVOUR": schemas.DisputeWon,
	"RESOLVED_WITH_PAYOUT":   schemas.DisputeWon, // PayPal pays: the merchant keeps the money
	"DENIED":                 schemas.DisputeWon, // the buyer's claim is
	"ACCEPTED":               schemas.DisputeAccepted,
	"CANCELED_BY_BUYER":      schemas.DisputeCancelled,
	"NONE":                   schemas.DisputeCancelled, // closed without a decision, as another is about the same payment
}

// paypalDisputeObject: https://developer.paypal.com/docs/api/customer-disputes/v1/#disputes_get
type paypalDisputeObject struct {
	DisputeID    text        `json:"dispute_id"`
	ID           text        `json:"id"` // its old name
	Reason       text        `json:"reason"`
	ReasonCode   text        `json:"external_reason_code"`
	Status       string      `json:"status"`
	Amount       paypalMoney `json:"dispute_amount"`
	Stage        string      `json:"dispute_life_cycle_stage"`
	Due          string      `json:"seller_response_due_date"`
	Transactions []struct {
		paypalReference
		SellerTransactionID text `json:"seller_transaction_id"`
	} `json:"disputed_transactions"`
	Outcome struct {
		Code string `json:"outcome_code"`
	} `json:"dispute_outcome"`
	Evidences []struct {
		Source string `json:"source"`
	} `json:"evidences"`
}

// paypalDispute: updates tell of messages, too. What a dispute is in, its
// stage and until when the merchant may answer, is one fact.
func paypalDispute(event string, resource jsontext.Value) (f Fact, err error) {
	var d paypalDisputeObject
	if err := decode(resource, &d); err != nil {
		return f, err
	}
	typ, why, err := d.typ(event)
	if typ == "" || err != nil {
		return ignored(event, why), err
	}
	f.Type, f.Stage = typ, paypalStages[d.Stage]
	if f.ConnectorDisputeID = first(d.DisputeID, d.ID); f.ConnectorDisputeID == "" {
		return f, fmt.Errorf("%w: no dispute_id", ErrMalformed)
	}
	f.Identity = f.ConnectorDisputeID + ":" + d.Stage
	if typ == schemas.DisputeOpened {
		f.Identity += ":" + d.Due
	}
	f.Reason, f.ReasonCode = string(d.Reason), string(d.ReasonCode)
	if len(d.Transactions) > 0 {
		f.MerchantTransactionID = d.Transactions[0].id()
		f.ConnectorTransactionID = string(d.Transactions[0].SellerTransactionID)
	}
	due, err := timestamp(d.Due, time.RFC3339)
	if err != nil {
		return f, err
	}
	f.RespondBy = deadline(due)
	f.Amount, err = d.Amount.amount()
	return f, err
}

// typ returns what became of d, or why that is nothing new.
func (d paypalDisputeObject) typ(event string) (typ schemas.Type, why string, err error) {
	resolved := event == "CUSTOMER.DISPUTE.RESOLVED"
	switch {
	case resolved || d.Status == "RESOLVED" && d.Outcome.Code != "":
		typ, ok := paypalOutcomes[d.Outcome.Code]
		if !ok {
			err = fmt.Errorf("%w: outcome_code %q is not one that PayPal documents", ErrMalformed, d.Outcome.Code)
		}
		return typ, "", err
	case strings.HasSuffix(event, ".CREATED"):
		return schemas.DisputeOpened, "", nil
	case d.Status == "UNDER_REVIEW" && d.answered():
		return schemas.DisputeChallenged, "", nil
	case d.Status == "OPEN" || d.Status == "WAITING_FOR_SELLER_RESPONSE" || d.Status == "UNDER_REVIEW":
		return schemas.DisputeOpened, "", nil
	}
	return "", fmt.Sprintf("a dispute in status %q is neither the merchant's to answer nor decided", d.Status), nil
}

// answered reports whether the merchant handed in evidence.
func (d paypalDisputeObject) answered() bool {
	for _, e := range d.Evidences {
		if e.Source == "SUBMITTED_BY_SELLER" {
			return true
		}
	}
	return false
}

// paypalPayoutTypes is by the event's name, which says what the resource does.
var paypalPayoutTypes = map[string]schemas.Type{
	"PAYMENT.PAYOUTSBATCH.PROCESSING":          schemas.PayoutProcessing,
	"PAYMENT.PAYOUTSBATCH.SUCCESS":             schemas.PayoutSucceeded,
	"PAYMENT.PAYOUTSBATCH.DENIED":              schemas.PayoutFailed,
	"PAYMENT.PAYOUTS-ITEM.SUCCEEDED":           schemas.PayoutSucceeded,
	"PAYMENT.PAYOUTS-ITEM.FAILED":              schemas.PayoutFailed,
	"PAYMENT.PAYOUTS-ITEM.DENIED":              schemas.PayoutFailed,
	"PAYMENT.PAYOUTS-ITEM.BLOCKED":             schemas.PayoutFailed,
	"PAYMENT.PAYOUTS-ITEM.HELD":                schemas.PayoutProcessing, // PayPal reviews it
	"PAYMENT.PAYOUTS-ITEM.UNCLAIMED":           schemas.PayoutProcessing, // the receiver has 30 days to open an account
	"PAYMENT.PAYOUTS-ITEM.CANCELED":            schemas.PayoutCancelled,
	"PAYMENT.PAYOUTS-ITEM.RETURNED":            schemas.PayoutExpired, // nobody claimed it
	"PAYMENT.PAYOUTS-ITEM.REFUNDED":            schemas.PayoutReversed,
	"PAYMENT.REFERENCED-PAYOUT-ITEM.COMPLETED": schemas.PayoutSucceeded,
	"PAYMENT.REFERENCED-PAYOUT-ITEM.FAILED":    schemas.PayoutFailed,
}

// paypalUnsent are the statuses of payouts that are on their way. They count, and
// not the event's name.
var paypalUnsent = []text{"NEW", "PENDING", "PROCESSING", "ONHOLD", "UNCLAIMED"}

// paypalPayout is what became of a payout by the event's name and the status.
func paypalPayout(event string, status text) schemas.Type {
	typ := paypalPayoutTypes[event]
	if typ == schemas.PayoutSucceeded && slices.Contains(paypalUnsent, status) {
		return schemas.PayoutProcessing
	}
	return typ
}

// paypalBatch: a batch is a payout of its own, the sum of its items, which
// have their own events; it succeeded when all of them were tried.
func paypalBatch(event string, resource jsontext.Value) (f Fact, err error) {
	var b struct {
		Header struct {
			ID     text        `json:"payout_batch_id"`
			Status text        `json:"batch_status"`
			Amount paypalMoney `json:"amount"`
			Sender struct {
				ID text `json:"sender_batch_id"`
			} `json:"sender_batch_header"`
		} `json:"batch_header"`
	}
	if err := decode(resource, &b); err != nil {
		return f, err
	}
	f.Type = paypalPayout(event, b.Header.Status)
	f.Identity, f.ConnectorPayoutID = string(b.Header.ID), string(b.Header.ID)
	f.MerchantPayoutID, f.MerchantTransactionID = string(b.Header.Sender.ID), string(b.Header.Sender.ID)
	f.Amount, err = b.Header.Amount.amount()
	return f, err
}

// paypalItem: https://developer.paypal.com/docs/api/payments.payouts-batch/v1/
func paypalItem(event string, resource jsontext.Value) (f Fact, err error) {
	var i struct {
		ID     text `json:"payout_item_id"`
		Status text `json:"transaction_status"`
		Item   struct {
			ID     text        `json:"sender_item_id"`
			Amount paypalMoney `json:"amount"`
		} `json:"payout_item"`
		Errors struct {
			Name    text `json:"name"`
			Message text `json:"message"`
		} `json:"errors"`
	}
	if err := decode(resource, &i); err != nil {
		return f, err
	}
	f.Type = paypalPayout(event, i.Status)
	f.ConnectorPayoutID = string(i.ID)
	if i.ID != "" {
		f.Identity = string(i.ID) + ":" + string(i.Status) // held and unclaimed are both processing
	}
	f.MerchantPayoutID, f.MerchantTransactionID = string(i.Item.ID), string(i.Item.ID)
	f.Error = failure(i.Errors.Name, i.Errors.Message, "")
	f.Amount, err = i.Item.Amount.amount()
	return f, err
}

// paypalDisbursement: a captured payment that was held for its seller is paid
// out to them: https://developer.paypal.com/docs/api/referenced-payouts/v1/
func paypalDisbursement(event string, resource jsontext.Value) (f Fact, err error) {
	var i struct {
		paypalReference
		ID          text        `json:"item_id"`
		ReferenceID text        `json:"reference_id"`
		Amount      paypalMoney `json:"payout_amount"`
		State       struct {
			Status text `json:"status"`
			Reason text `json:"reason"`
		} `json:"processing_state"`
	}
	if err := decode(resource, &i); err != nil {
		return f, err
	}
	f.Type = paypalPayout(event, i.State.Status)
	f.Identity, f.ConnectorPayoutID = string(i.ID), string(i.ID)
	f.MerchantTransactionID, f.ConnectorTransactionID = i.id(), string(i.ReferenceID)
	if f.Type == schemas.PayoutFailed {
		f.Error = failure(i.State.Reason, "", "")
	}
	f.Amount, err = i.Amount.amount()
	return f, err
}

var paypalMandateTypes = map[string]schemas.Type{
	"CREATED":      schemas.MandateActive,
	"ACTIVATED":    schemas.MandateActive,
	"RE-ACTIVATED": schemas.MandateActive,
	"SUSPENDED":    schemas.MandateRevoked, // until it is activated again
	"CANCELLED":    schemas.MandateRevoked,
	"EXPIRED":      schemas.MandateRevoked,
	"DELETED":      schemas.MandateRevoked,
}

// paypalMandate: a subscription, a billing agreement or a stored method. One
// that the buyer has yet to approve is announced as created all the same.
func paypalMandate(event string, resource jsontext.Value) (f Fact, err error) {
	var m struct {
		paypalReference
		ID            text         `json:"id"`
		Status        text         `json:"status"`
		State         text         `json:"state"` // v1
		PaymentSource paypalSource `json:"payment_source"`
	}
	if err := decode(resource, &m); err != nil {
		return f, err
	}
	word := event[strings.LastIndex(event, ".")+1:]
	switch status := strings.ToUpper(first(m.Status, m.State)); {
	case word != "CREATED", status == "", status == "ACTIVE", status == "OK":
	default:
		return ignored(event, fmt.Sprintf("in status %q it cannot be charged yet; its activation has its own event", status)), nil
	}
	f.Type = paypalMandateTypes[word]
	f.ConnectorMandateID, f.MerchantTransactionID = string(m.ID), m.id()
	f.PaymentMethod = m.PaymentSource.method()
	return f, nil
}

// paypalUnpaid: a subscription whose payment failed. The payment has no id.
func paypalUnpaid(_ string, resource jsontext.Value) (f Fact, err error) {
	var s struct {
		paypalReference
		ID      text `json:"id"`
		Billing struct {
			Failed struct {
				Amount     paypalMoney `json:"amount"`
				ReasonCode text        `json:"reason_code"`
			} `json:"last_failed_payment"`
		} `json:"billing_info"`
	}
	if err := decode(resource, &s); err != nil {
		return f, err
	}
	f.Type = schemas.PaymentFailed
	f.MandateID, f.MerchantTransactionID = string(s.ID), s.id()
	f.Error = failure(s.Billing.Failed.ReasonCode, "", "")
	f.Amount, err = s.Billing.Failed.Amount.amount()
	return f, err
}
