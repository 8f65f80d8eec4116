package normalize

import (
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// xendit: one event a webhook, {"event", "business_id", "created", "data"}.
// Invoices and the older QR codes send their fields without data, invoices
// without an event too. Amounts are numbers in major units. The identity is
// the id of the thing; its state makes the type.
//
// https://docs.xendit.co/docs/payments-api-webhooks
var xendit = Connector{
	Docs:      "https://docs.xendit.co/docs/payments-api-webhooks",
	Key:       "data.reference_id of payments and payouts; external_id of invoices and QR codes; data.metadata.<merchant_id_keys> of refunds",
	Normalize: xenditNormalize,
}

// xenditEvents are what the events mean, and what reads their data.
var xenditEvents = map[string]struct {
	read func(xenditData, schemas.Type, Options) (Fact, error)
	typ  schemas.Type
}{
	"payment.authorization":    {xenditPayment, schemas.PaymentAuthorized},
	"payment.awaiting_capture": {xenditPayment, schemas.PaymentAuthorized},
	"payment.capture":          {xenditPayment, schemas.PaymentCaptured},
	"payment.succeeded":        {xenditPayment, schemas.PaymentCaptured},
	"payment.pending":          {xenditPayment, schemas.PaymentProcessing},
	"payment.failure":          {xenditPayment, schemas.PaymentFailed},
	"payment.failed":           {xenditPayment, schemas.PaymentFailed},
	"payment.cancellation":     {xenditPayment, schemas.PaymentCancelled},
	"payment.expiry":           {xenditPayment, schemas.PaymentExpired},
	"payment_request.expiry":   {xenditPayment, schemas.PaymentExpired},
	"capture.succeeded":        {xenditPayment, schemas.PaymentCaptured},
	"capture.failed":           {xenditPayment, schemas.PaymentCaptureFailed},
	"qr.payment":               {xenditPayment, schemas.PaymentCaptured},
	"ewallet.capture":          {xenditPayment, schemas.PaymentCaptured},
	"ewallet.void":             {xenditPayment, schemas.PaymentCancelled},

	"refund.succeeded": {xenditRefund, schemas.RefundSucceeded},
	"refund.failed":    {xenditRefund, schemas.RefundFailed},

	"payout.succeeded": {xenditPayout, schemas.PayoutSucceeded},
	"payout.failed":    {xenditPayout, schemas.PayoutFailed},
	"payout.expired":   {xenditPayout, schemas.PayoutExpired},
	"payout.reversed":  {xenditPayout, schemas.PayoutReversed},

	"payment_token.activation": {xenditToken, schemas.MandateActive},
	"payment_token.failure":    {xenditToken, schemas.MandateFailed},
	"payment_token.expiry":     {xenditToken, schemas.MandateRevoked},
	"payment_method.activated": {xenditToken, schemas.MandateActive},
	"payment_method.expired":   {xenditToken, schemas.MandateRevoked},

	"invoice PAID":    {xenditPayment, schemas.PaymentCaptured},
	"invoice SETTLED": {xenditPayment, schemas.PaymentCaptured},
	"invoice EXPIRED": {xenditPayment, schemas.PaymentExpired},
}

type xenditEvent struct {
	Event   string      `json:"event"`
	Created text        `json:"created"`
	Data    *xenditData `json:"data"`
}

type xenditData struct {
	ID               text     `json:"id"`
	PaymentID        text     `json:"payment_id"`
	PaymentRequestID text     `json:"payment_request_id"`
	PaymentTokenID   text     `json:"payment_token_id"`
	InvoiceID        text     `json:"invoice_id"`
	ReferenceID      text     `json:"reference_id"`
	ExternalID       text     `json:"external_id"`
	Status           text     `json:"status"`
	Currency         text     `json:"currency"`
	RequestAmount    text     `json:"request_amount"`
	CaptureAmount    text     `json:"capture_amount"`
	ChargeAmount     text     `json:"charge_amount"`
	PaidAmount       text     `json:"paid_amount"`
	Amount           text     `json:"amount"`
	ChannelCode      text     `json:"channel_code"`
	PaymentChannel   text     `json:"payment_channel"`
	FailureCode      text     `json:"failure_code"`
	Reason           text     `json:"reason"`
	Created          text     `json:"created"`
	Updated          text     `json:"updated"`
	PaidAt           text     `json:"paid_at"`
	Metadata         metadata `json:"metadata"`
	QRCode           struct {
		ExternalID text `json:"external_id"`
	} `json:"qr_code"`
}

func xenditNormalize(payload []byte, o Options) ([]Fact, error) {
	var e xenditEvent
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	if e.Data == nil { // an older webhook, whose fields stand outside
		e.Data = new(xenditData)
		if err := decode(payload, e.Data); err != nil {
			return nil, err
		}
	}
	if e.Event == "" {
		if e.Data.ExternalID == "" || e.Data.Status == "" {
			return nil, fmt.Errorf("%w: no event and no invoice: not a webhook of Xendit's", ErrMalformed)
		}
		e.Event = "invoice " + string(e.Data.Status)
	}
	event, ok := xenditEvents[e.Event]
	if !ok {
		return []Fact{notUnified(e.Event)}, nil
	}
	f, err := event.read(*e.Data, event.typ, o)
	if err == nil {
		f.Time, err = timestamp(first(e.Data.PaidAt, e.Data.Updated, e.Created, e.Data.Created), time.RFC3339)
	}
	if err != nil {
		return []Fact{malformed(e.Event, err)}, nil
	}
	f.ConnectorEventType = e.Event
	return []Fact{f}, nil
}

// xenditNothing is the error of an event without the thing it is about.
func xenditNothing() error { return fmt.Errorf("%w: no data.id", ErrMalformed) }

// xenditPayment: ewallets and QR codes may tell of a failure under the name of
// the success.
func xenditPayment(d xenditData, typ schemas.Type, _ Options) (f Fact, err error) {
	f.ConnectorTransactionID = first(d.PaymentID, d.PaymentRequestID, d.ID)
	f.ConnectorReferences = others(f.ConnectorTransactionID, d.PaymentRequestID) // all that a refund may name
	if f.Identity = first(d.ID, d.PaymentID, d.PaymentRequestID); f.Identity == "" {
		return f, xenditNothing()
	}
	if typ == schemas.PaymentCaptured && d.Status == "FAILED" {
		typ = schemas.PaymentFailed
	}
	f.Type = typ
	f.MerchantTransactionID = first(d.ReferenceID, d.ExternalID, d.QRCode.ExternalID)
	f.PaymentMethod = method(first(d.ChannelCode, d.PaymentChannel), "")
	f.Error = failure(string(d.FailureCode), "", "")
	if d.QRCode.ExternalID != "" {
		d.Currency = text(first(d.Currency, "IDR")) // the older QR codes are Indonesia's
	}
	f.Amount, err = major(first(d.CaptureAmount, d.PaidAmount, d.RequestAmount, d.ChargeAmount, d.Amount), string(d.Currency))
	switch typ {
	case schemas.PaymentAuthorized:
		f.AuthorizedAmount = f.Amount
	case schemas.PaymentCaptured:
		f.CapturedAmount = f.Amount
	}
	return f, err
}

// xenditRefund: the reference is the refund's own.
func xenditRefund(d xenditData, typ schemas.Type, o Options) (f Fact, err error) {
	if d.ID == "" {
		return f, xenditNothing()
	}
	f.Type, f.Identity, f.ConnectorRefundID = typ, string(d.ID), string(d.ID)
	f.MerchantTransactionID, f.MerchantRefundID = o.merchantID(d.Metadata), string(d.ReferenceID)
	f.ConnectorTransactionID = first(d.PaymentID, d.PaymentRequestID, d.InvoiceID)
	f.PaymentMethod = method(string(d.ChannelCode), "")
	f.Reason, f.Error = string(d.Reason), failure(string(d.FailureCode), "", "")
	f.Amount, err = major(string(d.Amount), string(d.Currency))
	return f, err
}

func xenditPayout(d xenditData, typ schemas.Type, _ Options) (f Fact, err error) {
	if d.ID == "" {
		return f, xenditNothing()
	}
	f.Type, f.Identity, f.ConnectorPayoutID = typ, string(d.ID), string(d.ID)
	f.MerchantTransactionID, f.MerchantPayoutID = string(d.ReferenceID), string(d.ReferenceID)
	f.Error = failure(string(d.FailureCode), "", "")
	f.Amount, err = major(string(d.Amount), string(d.Currency))
	return f, err
}

// xenditToken is a stored payment method.
func xenditToken(d xenditData, typ schemas.Type, _ Options) (f Fact, err error) {
	f.Type, f.ConnectorMandateID = typ, first(d.PaymentTokenID, d.ID)
	if f.Identity = f.ConnectorMandateID; f.Identity == "" {
		return f, xenditNothing()
	}
	f.MerchantTransactionID = string(d.ReferenceID)
	f.PaymentMethod = method(string(d.ChannelCode), "")
	f.Error = failure(string(d.FailureCode), "", "")
	return f, nil
}
