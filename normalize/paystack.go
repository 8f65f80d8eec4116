package normalize

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// paystack: one event a webhook, {"event", "data"}, the data being the
// transaction, refund, dispute or transfer. Events have no id: their identity
// is that of the thing and its status. A refund may have no id; then it is the
// hash of the body.
//
// The reference of a transaction is the merchant's own, and refunds and
// disputes repeat it. A preauthorization becomes a transaction when it is
// captured; whether charge.success tells of that one, too, Paystack does not
// say, and if it does both are one fact. A payment request that is paid is told twice: as itself,
// by its own id, and as the transaction that paid it.
//
// https://paystack.com/docs/payments/webhooks/#types-of-events
var paystack = Connector{
	Docs:      "https://paystack.com/docs/payments/webhooks/#types-of-events",
	Key:       "data.reference; data.transaction_reference of refunds; data.transaction.reference of disputes and invoices",
	Normalize: paystackNormalize,
}

// paystackExponents are Paystack's subunits that differ from ISO 4217's minor
// units: francs are counted in hundredths that they do not have, in the
// documents those of XOF, in Paystack's own plugin for WooCommerce all.
// https://paystack.com/docs/api/#supported-currency
var paystackExponents = map[string]int{"RWF": 2, "XOF": 2}

// paystackEvents are what the events mean, and what reads their data. The type
// is empty where the data decides.
var paystackEvents = map[string]struct {
	read func(paystackData, schemas.Type) (Fact, error)
	typ  schemas.Type
}{
	"charge.success":         {paystackData.charge, schemas.PaymentCaptured},
	"charge.failed":          {paystackData.charge, schemas.PaymentFailed},
	"invoice.payment_failed": {paystackData.invoice, schemas.PaymentFailed},
	"paymentrequest.success": {paystackData.request, schemas.PaymentCaptured},
	"bank.transfer.rejected": {paystackData.transferIn, schemas.PaymentFailed}, // not the amount that was asked for

	"preauthorization.reserve.success": {paystackData.preauthorization, schemas.PaymentAuthorized},
	"preauthorization.reserve.failed":  {paystackData.preauthorization, schemas.PaymentFailed},
	"preauthorization.capture.success": {paystackData.preauthorization, schemas.PaymentCaptured},
	"preauthorization.capture.failed":  {paystackData.preauthorization, schemas.PaymentCaptureFailed},
	"preauthorization.release.success": {paystackData.preauthorization, schemas.PaymentCancelled},
	"preauthorization.release.failed":  {paystackData.preauthorization, schemas.PaymentCancelFailed},

	"refund.pending":         {paystackData.refund, schemas.RefundPending},
	"refund.processing":      {paystackData.refund, schemas.RefundPending},
	"refund.needs-attention": {paystackData.refund, schemas.RefundPending}, // the payer's bank account is asked for
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

// paystackQuiet are the events of which nothing comes.
var paystackQuiet = map[string]string{
	"invoice.create":                     "charge.success tells when an invoice is paid",
	"invoice.update":                     "charge.success tells when an invoice is paid",
	"paymentrequest.pending":             "the payer was asked and has not paid",
	"subscription.not_renew":             "the subscription goes on to the end of its period",
	"direct_debit.authorization.created": "the bank has yet to confirm the authorization",
}

// paystackResolutions are how disputes end.
// https://paystack.com/docs/payments/disputes/
var paystackResolutions = map[text]schemas.Type{
	"merchant-accepted": schemas.DisputeAccepted,
	"auto-accepted":     schemas.DisputeAccepted, // nobody answered in time
	"declined":          schemas.DisputeWon,
}

func paystackNormalize(payload []byte, _ Options) ([]Fact, error) {
	var e struct {
		Event text           `json:"event"`
		Data  jsontext.Value `json:"data"` // of some events an array
	}
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	if e.Event == "" {
		return nil, fmt.Errorf("%w: no event: not an event of Paystack's", ErrMalformed)
	}
	name := string(e.Event)
	event, ok := paystackEvents[name]
	if why := paystackQuiet[name]; why != "" {
		return []Fact{ignored(name, why)}, nil
	} else if !ok {
		return []Fact{notUnified(name)}, nil
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
		f.Mode = mode(d.Domain == "live")
	}
	return oneFact(name, f, err)
}

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
	RequestCode      text   `json:"request_code"`
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
	Paid                 text `json:"paid"` // of payment requests
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

// time is when it happened. When a thing was made counts only for what begins
// with it: a charge can fail days after it was made.
func (d paystackData) time(typ schemas.Type) (time.Time, error) {
	created := text(first(d.CreatedAt, d.CreatedAtCamel))
	at := text(first(d.UpdatedAt, d.UpdatedAtCamel))
	switch typ {
	case schemas.PaymentCaptured:
		at = text(first(d.PaidAt, d.CapturedAt, at))
	case schemas.PayoutSucceeded:
		at = text(first(d.TransferredAt, at))
	case schemas.DisputeAccepted, schemas.DisputeWon:
		at = text(first(d.ResolvedAt, at))
	case schemas.DisputeOpened:
		at = text(first(created, at))
	case schemas.PaymentAuthorized, schemas.PaymentProcessing, schemas.RefundPending:
		at = text(first(at, created))
	case schemas.MandateActive:
		if d.SubscriptionCode != "" {
			at = text(first(at, created))
		}
	}
	return timestamp(at, time.RFC3339)
}

// paystackStatuses is what happened where an event's name says that it went
// well and the status of the thing says otherwise: the status counts.
var paystackStatuses = map[schemas.Type]map[text]schemas.Type{
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

// typ is what happened, by what the event's name says and the status.
func (d paystackData) typ(named schemas.Type) schemas.Type {
	return cmp.Or(paystackStatuses[named][d.Status], named)
}

// paystackMoney is an amount in subunits.
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

// paystackNothing is the error of an event without the thing it is about.
func paystackNothing(id string) error {
	return fmt.Errorf("%w: no data.%s: it is not told what the event is about", ErrMalformed, id)
}

func (d paystackData) identity(id text) string { return string(id) + ":" + string(d.Status) }

func (d paystackData) charge(typ schemas.Type) (f Fact, err error) {
	if d.ID == "" {
		return f, paystackNothing("id")
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
	}
	return f, nil
}

// invoice is a payment for a subscription, whose transaction may not be there.
func (d paystackData) invoice(typ schemas.Type) (Fact, error) {
	if d.InvoiceCode == "" {
		return Fact{}, paystackNothing("invoice_code")
	}
	d.ID, d.Reference, d.Currency = d.InvoiceCode, d.Transaction.Reference, d.Transaction.Currency
	f, err := d.charge(typ)
	f.Identity = "" // it can fail again
	return f, err
}

// request is a payment that was asked for by mail or link.
func (d paystackData) request(typ schemas.Type) (Fact, error) {
	if d.RequestCode == "" {
		return Fact{}, paystackNothing("request_code")
	}
	d.ID = d.RequestCode
	if typ == schemas.PaymentCaptured && d.Paid == "false" {
		typ = schemas.PaymentProcessing
	}
	return d.charge(typ)
}

// preauthorization has a number of its own until it is captured; then it is
// the transaction that it became.
func (d paystackData) preauthorization(typ schemas.Type) (f Fact, err error) {
	if d.ID == "" {
		return f, paystackNothing("id")
	}
	message := d.Message
	switch typ {
	case schemas.PaymentCaptured:
		d.ID, d.Amount, d.Status = text(first(d.TransactionID, d.ID)), text(first(d.CapturedAmount, d.Amount)), "success"
	case schemas.PaymentCaptureFailed:
		d.ID, d.Amount = text(first(d.TransactionID, d.ID)), text(first(d.CapturedAmount, d.Amount))
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

// transferIn is a bank transfer by the payer that went back. It can be tried
// again, and all that is told of the payment is its number.
func (d paystackData) transferIn(typ schemas.Type) (f Fact, err error) {
	t := d.BankTransfer
	if t.TransactionID == "" {
		return f, paystackNothing("bank_transfer.transaction_id")
	}
	f.Type, f.ConnectorTransactionID = typ, string(t.TransactionID)
	f.PaymentMethod = method("bank_transfer", "")
	f.Error = failure(t.MessageType, t.Message, "")
	f.Amount, err = paystackMoney(t.Amount, "")
	return f, err
}

func (d paystackData) refund(typ schemas.Type) (f Fact, err error) {
	if d.TransactionReference == "" {
		return f, paystackNothing("transaction_reference")
	}
	id := first(d.RefundReference, d.ID)
	if f.Type = typ; id != "" {
		f.Identity = d.identity(text(id))
	}
	f.MerchantTransactionID, f.ConnectorRefundID = string(d.TransactionReference), id
	f.Amount, err = paystackMoney(d.Amount, d.Currency)
	return f, err
}

func (d paystackData) dispute(typ schemas.Type) (f Fact, err error) {
	if d.ID == "" {
		return f, paystackNothing("id")
	}
	switch {
	case typ == "":
		if typ = paystackResolutions[d.Resolution]; typ == "" {
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

// transfer has a number, as transactions have, and a code.
func (d paystackData) transfer(typ schemas.Type) (f Fact, err error) {
	if d.ID == "" {
		return f, paystackNothing("id")
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

func (d paystackData) mandate(typ schemas.Type) (f Fact, err error) {
	id := first(d.SubscriptionCode, d.AuthorizationCode)
	if id == "" {
		return f, paystackNothing("subscription_code or data.authorization_code")
	}
	f.Type, f.Identity, f.ConnectorMandateID = typ, d.identity(text(id)), id
	f.PaymentMethod = method(first(d.Authorization.Channel, d.Channel), d.Authorization.Brand)
	return f, nil
}
