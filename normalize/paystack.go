package normalize

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// paystack normalises Paystack's webhooks. One webhook is one event, {"event",
// "data"}, and data is the transaction, the refund, the dispute or the
// transfer. Events have no id, so the identity is the id and the status of the
// object in data. A refund can be without an id; its identity is then the hash
// of the body.
//
// The reference of a transaction is the merchant's own, and refunds and
// disputes repeat it. A preauthorization becomes a transaction when it is
// captured. Paystack does not document whether it sends charge.success for that
// transaction too; if it does, both events are one fact.
//
// When a payment request or a subscription's invoice is paid, there are two events
// with different ids: one for the request or the invoice, and charge.success for the
// transaction that paid it. An account has one webhook URL, which gets all events,
// so charge.success alone makes the event. A request that the merchant marked as
// paid has no transaction: its money did not come through Paystack.
//
// https://paystack.com/docs/payments/webhooks/#types-of-events
var paystack = Connector{
	Docs:      "https://paystack.com/docs/payments/webhooks/#types-of-events",
	Key:       "data.reference; data.transaction_reference of refunds; data.transaction.reference of disputes and invoices",
	Tellers:   paystackTellers,
	Captures:  CountsOnce,  // a transaction is paid, or a preauthorization captured, once
	Refunds:   CountsParts, // data is the refund, with its amount: https://paystack.com/docs/payments/refunds/
	normalize: paystackNormalize,
}

// paystackTellers lists the events, the most important first. Paystack sends all of
// them to the account's webhook URL.
var paystackTellers = []Teller{
	{Event: "charge.success", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentProcessing, schemas.PaymentFailed}},
	{Event: "charge.failed", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "invoice.payment_failed", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "bank.transfer.rejected", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "preauthorization.reserve.success", Facts: []schemas.Type{schemas.PaymentAuthorized}},
	{Event: "preauthorization.reserve.failed", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "preauthorization.capture.success", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentProcessing, schemas.PaymentFailed}},
	{Event: "preauthorization.capture.failed", Facts: []schemas.Type{schemas.PaymentCaptureFailed}},
	{Event: "preauthorization.release.success", Facts: []schemas.Type{schemas.PaymentCancelled}},
	{Event: "preauthorization.release.failed", Facts: []schemas.Type{schemas.PaymentCancelFailed}},
	{Event: "refund.pending", Facts: []schemas.Type{schemas.RefundPending}},
	{Event: "refund.processing", Facts: []schemas.Type{schemas.RefundPending}},
	{Event: "refund.needs-attention", Facts: []schemas.Type{schemas.RefundPending}},
	{Event: "refund.processed", Facts: []schemas.Type{schemas.RefundSucceeded, schemas.RefundPending, schemas.RefundFailed}},
	{Event: "refund.failed", Facts: []schemas.Type{schemas.RefundFailed}},
	{Event: "charge.dispute.create", Facts: []schemas.Type{schemas.DisputeOpened, schemas.DisputeChallenged}},
	{Event: "charge.dispute.remind", Facts: []schemas.Type{schemas.DisputeOpened, schemas.DisputeChallenged}},
	{Event: "charge.dispute.resolve", Facts: []schemas.Type{schemas.DisputeAccepted, schemas.DisputeWon}},
	{Event: "transfer.success", Facts: []schemas.Type{schemas.PayoutSucceeded, schemas.PayoutProcessing, schemas.PayoutFailed, schemas.PayoutReversed}},
	{Event: "transfer.failed", Facts: []schemas.Type{schemas.PayoutFailed}},
	{Event: "transfer.reversed", Facts: []schemas.Type{schemas.PayoutReversed}},
	{Event: "subscription.create", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "subscription.disable", Facts: []schemas.Type{schemas.MandateRevoked}},
	{Event: "direct_debit.authorization.active", Facts: []schemas.Type{schemas.MandateActive}},
}

// paystackExponents lists the currencies whose subunit at Paystack differs from the
// minor unit of ISO 4217: Paystack counts francs, which have no minor unit, in
// hundredths. Its documentation says so for XOF, its plugin for WooCommerce for all
// currencies.
// https://paystack.com/docs/api/#supported-currency
var paystackExponents = map[string]int{"RWF": 2, "XOF": 2}

// paystackReaders maps an event to the method that reads its data and to the event
// type. The type is empty where the data decides.
var paystackReaders = map[string]struct {
	read func(paystackData, schemas.Type) (fact, error)
	typ  schemas.Type
}{
	"charge.success":         {paystackData.charge, schemas.PaymentCaptured},
	"charge.failed":          {paystackData.charge, schemas.PaymentFailed},
	"invoice.payment_failed": {paystackData.invoice, schemas.PaymentFailed},
	"bank.transfer.rejected": {paystackData.rejectedTransfer, schemas.PaymentFailed}, // the payer sent another amount than was requested

	"preauthorization.reserve.success": {paystackData.preauthorization, schemas.PaymentAuthorized},
	"preauthorization.reserve.failed":  {paystackData.preauthorization, schemas.PaymentFailed},
	"preauthorization.capture.success": {paystackData.preauthorization, schemas.PaymentCaptured},
	"preauthorization.capture.failed":  {paystackData.preauthorization, schemas.PaymentCaptureFailed},
	"preauthorization.release.success": {paystackData.preauthorization, schemas.PaymentCancelled},
	"preauthorization.release.failed":  {paystackData.preauthorization, schemas.PaymentCancelFailed},

	"refund.pending":         {paystackData.refund, schemas.RefundPending},
	"refund.processing":      {paystackData.refund, schemas.RefundPending},
	"refund.needs-attention": {paystackData.refund, schemas.RefundPending}, // Paystack needs the payer's bank account
	"refund.processed":       {paystackData.refund, schemas.RefundSucceeded},
	"refund.failed":          {paystackData.refund, schemas.RefundFailed},

	"charge.dispute.create":  {paystackData.dispute, schemas.DisputeOpened},
	"charge.dispute.remind":  {paystackData.dispute, schemas.DisputeOpened},
	"charge.dispute.resolve": {paystackData.dispute, ""},

	"transfer.success":  {paystackData.transfer, schemas.PayoutSucceeded},
	"transfer.failed":   {paystackData.transfer, schemas.PayoutFailed},
	"transfer.reversed": {paystackData.transfer, schemas.PayoutReversed},

	"subscription.create":               {paystackData.mandate, schemas.MandateActive},
	"subscription.disable":              {paystackData.mandate, schemas.MandateRevoked},
	"direct_debit.authorization.active": {paystackData.mandate, schemas.MandateActive},
}

// paystackIgnored maps a known event that becomes no event of ours to the reason.
var paystackIgnored = map[string]string{
	"invoice.create":                     "the invoice is to be paid within days",
	"paymentrequest.pending":             "the payer was asked and has not paid",
	"subscription.not_renew":             "the subscription continues until the end of its period",
	"direct_debit.authorization.created": "the bank has yet to confirm the authorization",
}

// paystackReportedBy maps an event to the event that reports the same fact. Paystack
// sends both to the one webhook URL of the account:
// https://paystack.com/docs/payments/webhooks/
var paystackReportedBy = map[string]string{
	"invoice.update":         "charge.success",
	"paymentrequest.success": "charge.success",
}

// paystackResolutionTypes maps the resolution of a dispute to the event type.
// https://paystack.com/docs/payments/disputes/
var paystackResolutionTypes = map[text]schemas.Type{
	"merchant-accepted": schemas.DisputeAccepted,
	"auto-accepted":     schemas.DisputeAccepted, // nobody answered in time
	"declined":          schemas.DisputeWon,
}

func paystackNormalize(payload []byte, _ Options) ([]fact, error) {
	var e struct {
		Event text `json:"event"`
		Data  part `json:"data"` // of some events an array
	}
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	if e.Event == "" {
		return nil, fmt.Errorf("%w: no event: not an event of Paystack's", ErrMalformed)
	}
	name := string(e.Event)
	event, ok := paystackReaders[name]
	if why := paystackIgnored[name]; why != "" {
		return []fact{ignored(name, why)}, nil
	} else if other := paystackReportedBy[name]; other != "" {
		return []fact{reportedBy(name, other)}, nil
	} else if !ok {
		return []fact{notUnified(name)}, nil
	}
	var d paystackData
	if err := redecode(e.Data, &d); err != nil {
		return oneMalformed(name, err)
	}
	f, err := event.read(d, d.typ(event.typ))
	if err == nil {
		f.Time, err = d.time(f.Type)
	}
	if d.Domain != "" {
		f.Mode = modeOf(d.Domain == "live")
	}
	if name == "invoice.payment_failed" {
		f.Formerly = []string{payloadIdentity(payload)}
	}
	return oneFact(name, f, err)
}

// paystackData has the fields of all kinds of data.
type paystackData struct {
	ID               text   `json:"id"`
	Domain           text   `json:"domain"`
	Status           text   `json:"status"`
	Reference        text   `json:"reference"`
	Amount           text   `json:"amount"` // a number, and in some refunds a string
	Currency         string `json:"currency"`
	Channel          text   `json:"channel"`
	GatewayResponse  text   `json:"gateway_response"`
	Message          text   `json:"message"`
	PaidAt           text   `json:"paid_at"`
	CreatedAt        text   `json:"created_at"`
	UpdatedAt        text   `json:"updated_at"`
	CreatedAtCamel   text   `json:"createdAt"`
	UpdatedAtCamel   text   `json:"updatedAt"`
	InvoiceCode      text   `json:"invoice_code"`
	SubscriptionCode text   `json:"subscription_code"`
	TransferCode     text   `json:"transfer_code"`
	Authorization    struct {
		Code    text `json:"authorization_code"`
		Channel text `json:"channel"`
		Brand   text `json:"brand"`
	} `json:"authorization"`
	AuthorizationCode    text `json:"authorization_code"`
	RefundReference      text `json:"refund_reference"`
	TransactionReference text `json:"transaction_reference"`
	RefundAmount         text `json:"refund_amount"`
	Resolution           text `json:"resolution"`
	Category             text `json:"category"`
	DueAt                text `json:"dueAt"`
	CapturedAmount       text `json:"captured_amount"`
	CapturedAt           text `json:"captured_at"`
	TransferredAt        text `json:"transferred_at"`
	ResolvedAt           text `json:"resolvedAt"`
	TransactionID        text `json:"transaction_id"`
	BankTransfer         struct {
		Amount        text `json:"amount"`
		Message       text `json:"message"`
		MessageType   text `json:"message_type"`
		TransactionID text `json:"transaction_id"`
	} `json:"bank_transfer"`
	Transaction struct {
		ID        text   `json:"id"`
		Reference text   `json:"reference"`
		Channel   text   `json:"channel"`
		Currency  string `json:"currency"`
	} `json:"transaction"`
}

// time returns when the fact happened. The time at which the object was created
// counts only for facts that begin with it: a charge can fail days after it was
// created.
func (d paystackData) time(typ schemas.Type) (time.Time, error) {
	created := cmp.Or(d.CreatedAt, d.CreatedAtCamel)
	at := cmp.Or(d.UpdatedAt, d.UpdatedAtCamel)
	switch typ {
	case schemas.PaymentCaptured:
		at = cmp.Or(d.PaidAt, d.CapturedAt, at)
	case schemas.PayoutSucceeded:
		at = cmp.Or(d.TransferredAt, at)
	case schemas.DisputeAccepted, schemas.DisputeWon:
		at = cmp.Or(d.ResolvedAt, at)
	case schemas.DisputeOpened:
		at = cmp.Or(created, at)
	case schemas.PaymentAuthorized, schemas.PaymentProcessing, schemas.RefundPending:
		at = cmp.Or(at, created)
	case schemas.MandateActive:
		if d.SubscriptionCode != "" {
			at = cmp.Or(at, created)
		}
	}
	return timestamp(at, time.RFC3339)
}

// paystackStatusTypes corrects an event name that says succeeded while the
// status of the object says otherwise: the status decides.
var paystackStatusTypes = map[schemas.Type]map[text]schemas.Type{
	schemas.PaymentCaptured: {
		"pending":    schemas.PaymentProcessing,
		"ongoing":    schemas.PaymentProcessing,
		"processing": schemas.PaymentProcessing,
		"queued":     schemas.PaymentProcessing,
		"failed":     schemas.PaymentFailed,
		"abandoned":  schemas.PaymentFailed,
	},
	schemas.RefundSucceeded: {
		"pending":         schemas.RefundPending,
		"processing":      schemas.RefundPending,
		"needs-attention": schemas.RefundPending,
		"failed":          schemas.RefundFailed,
	},
	schemas.PayoutSucceeded: {
		"pending":    schemas.PayoutProcessing,
		"processing": schemas.PayoutProcessing,
		"otp":        schemas.PayoutProcessing,
		"failed":     schemas.PayoutFailed,
		"reversed":   schemas.PayoutReversed,
	},
}

// typ returns the event type by the event name and the status of the object.
func (d paystackData) typ(named schemas.Type) schemas.Type {
	return cmp.Or(paystackStatusTypes[named][d.Status], named)
}

// paystackMoney returns an amount in subunits; nil if it is empty.
func paystackMoney(subunits text, currency string) (*schemas.Amount, error) {
	if subunits == "" {
		return nil, nil
	}
	value, err := strconv.ParseInt(string(subunits), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: amount %q is not a whole number of subunits", ErrMalformed, subunits)
	}
	return minor(&value, currency, paystackExponents)
}

// paystackMissing returns the error for an event that lacks the id of the
// object it is about.
func paystackMissing(id string) error {
	return fmt.Errorf("%w: no data.%s: the event does not say what it is about", ErrMalformed, id)
}

// identity returns the identity of the object in its current status.
func (d paystackData) identity(id text) string { return string(id) + ":" + string(d.Status) }

// charge reads a transaction.
func (d paystackData) charge(typ schemas.Type) (f fact, err error) {
	if d.ID == "" {
		return f, paystackMissing("id")
	}
	f.Type, f.Identity = typ, d.identity(d.ID)
	f.MerchantTransactionID, f.ConnectorTransactionID = string(d.Reference), string(d.ID)
	f.MandateID = string(d.Authorization.Code)
	f.PaymentMethod = method(first(d.Channel, d.Authorization.Channel), d.Authorization.Brand)
	if f.Amount, err = paystackMoney(d.Amount, d.Currency); err != nil {
		return f, err
	}
	switch typ {
	case schemas.PaymentCaptured:
		f.CapturedAmount = f.Amount
	case schemas.PaymentFailed:
		f.Error = failure("", d.GatewayResponse, "")
		if d.Reference != "" { // an invoice names the transaction by its reference
			f.Also = []string{d.referenceIdentity()}
		}
	}
	return f, nil
}

// referenceIdentity returns the identity of the failed transaction with the reference.
func (d paystackData) referenceIdentity() string {
	return "reference " + string(d.Reference) + ":failed"
}

// invoice reads a failed payment of a subscription. If it has no transaction, only the
// payload distinguishes the attempts.
func (d paystackData) invoice(typ schemas.Type) (fact, error) {
	if d.InvoiceCode == "" {
		return fact{}, paystackMissing("invoice_code")
	}
	d.ID, d.Reference, d.Currency = d.InvoiceCode, d.Transaction.Reference, d.Transaction.Currency
	f, err := d.charge(typ)
	switch t := d.Transaction; {
	case t.ID != "":
		f.Identity = string(t.ID) + ":failed"
		f.ConnectorTransactionID, f.ConnectorReferences = string(t.ID), []string{string(d.InvoiceCode)}
	case t.Reference != "":
		f.Identity = d.referenceIdentity()
	default:
		f.Identity = "" // it can fail again
	}
	return f, err
}

// preauthorization reads a preauthorization. It has an id of its own until it
// is captured; then it has the id of the transaction that it became.
func (d paystackData) preauthorization(typ schemas.Type) (f fact, err error) {
	if d.ID == "" {
		return f, paystackMissing("id")
	}
	message := d.Message
	switch typ {
	case schemas.PaymentCaptured:
		d.ID, d.Amount, d.Status = cmp.Or(d.TransactionID, d.ID), cmp.Or(d.CapturedAmount, d.Amount), "success"
	case schemas.PaymentCaptureFailed:
		d.ID, d.Amount = cmp.Or(d.TransactionID, d.ID), cmp.Or(d.CapturedAmount, d.Amount)
	}
	if f, err = d.charge(typ); err != nil {
		return f, err
	}
	switch typ {
	case schemas.PaymentAuthorized:
		f.AuthorizedAmount = f.Amount
	case schemas.PaymentFailed, schemas.PaymentCaptureFailed, schemas.PaymentCancelFailed:
		f.Error = failure("", message, "")
	}
	return f, nil
}

// rejectedTransfer reads a bank transfer by the payer that Paystack sent back.
// The payer can try again. Of the payment, the event has only Paystack's id.
func (d paystackData) rejectedTransfer(typ schemas.Type) (f fact, err error) {
	t := d.BankTransfer
	if t.TransactionID == "" {
		return f, paystackMissing("bank_transfer.transaction_id")
	}
	f.Type, f.ConnectorTransactionID = typ, string(t.TransactionID)
	f.PaymentMethod = method("bank_transfer", "")
	f.Error = failure(t.MessageType, t.Message, "")
	f.Amount, err = paystackMoney(t.Amount, "")
	return f, err
}

// refund reads a refund.
func (d paystackData) refund(typ schemas.Type) (f fact, err error) {
	if d.TransactionReference == "" {
		return f, paystackMissing("transaction_reference")
	}
	id := first(d.RefundReference, d.ID)
	if f.Type = typ; id != "" {
		f.Identity = d.identity(text(id))
	}
	f.MerchantTransactionID, f.ConnectorRefundID = string(d.TransactionReference), id
	f.Amount, err = paystackMoney(d.Amount, d.Currency)
	return f, err
}

// dispute reads a dispute.
func (d paystackData) dispute(typ schemas.Type) (f fact, err error) {
	if d.ID == "" {
		return f, paystackMissing("id")
	}
	switch {
	case typ == "":
		if typ = paystackResolutionTypes[d.Resolution]; typ == "" {
			return ignored("", fmt.Sprintf("resolution %q is not known", d.Resolution)), nil
		}
	case d.Status == "awaiting-bank-feedback":
		typ = schemas.DisputeChallenged
	}
	f.Type, f.Identity = typ, string(d.ID)
	f.MerchantTransactionID = first(d.Transaction.Reference, d.TransactionReference)
	f.ConnectorTransactionID, f.ConnectorDisputeID = string(d.Transaction.ID), string(d.ID)
	f.PaymentMethod = method(d.Transaction.Channel, "")
	if f.Reason = string(d.Category); d.Category == "chargeback" {
		f.Stage = schemas.StageDispute
	}
	by, err := timestamp(d.DueAt, time.RFC3339)
	if err != nil {
		return f, err
	}
	f.RespondBy = deadline(by)
	f.Amount, err = paystackMoney(d.RefundAmount, d.Currency)
	return f, err
}

// transfer reads a payout. It has both an id, as transactions have, and a code.
func (d paystackData) transfer(typ schemas.Type) (f fact, err error) {
	if d.ID == "" {
		return f, paystackMissing("id")
	}
	f.Type, f.Identity = typ, d.identity(d.ID)
	f.MerchantTransactionID, f.MerchantPayoutID = string(d.Reference), string(d.Reference)
	f.ConnectorTransactionID, f.ConnectorPayoutID = string(d.ID), first(d.TransferCode, d.ID)
	if typ == schemas.PayoutFailed || typ == schemas.PayoutReversed {
		f.Error = failure("", d.GatewayResponse, "")
	}
	f.Amount, err = paystackMoney(d.Amount, d.Currency)
	return f, err
}

// mandate reads a subscription or an authorization of direct debit.
func (d paystackData) mandate(typ schemas.Type) (f fact, err error) {
	id := first(d.SubscriptionCode, d.AuthorizationCode)
	if id == "" {
		return f, paystackMissing("subscription_code or data.authorization_code")
	}
	f.Type, f.Identity, f.ConnectorMandateID = typ, d.identity(text(id)), id
	f.PaymentMethod = method(first(d.Authorization.Channel, d.Channel), d.Authorization.Brand)
	return f, nil
}
