package normalize

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// worldlineConnect normalises Worldline Connect's webhooks. One webhook is one
// event, {"id", "type", "created", "merchantId"} and the payment, the refund,
// the payout, the dispute or the token that it is about. Several events can
// mean one fact: payment.captured and, days later, payment.paid. The identity
// is therefore not the event's: it is the object, together with the event type,
// and for a captured payment also the captured amount.
//
// A refund has a reference of its own and does not name its payment. The event
// payment.refunded can report the same fact and does not name the refund: it has the sum
// of the payment's refunds so far, or no amount. Both become events, so that none is
// lost, unless the setting tells selects one of them. What Worldline calls a dispute is
// the merchant's answer to a chargeback.
//
// payment.capture_requested is not a captured payment: Worldline can still reject
// the capture. payment.captured or payment.paid follows.
//
// https://docs.connect.worldline-solutions.com/documentation/webhooks/event-types/
var worldlineConnect = Connector{
	Docs:      "https://docs.connect.worldline-solutions.com/documentation/webhooks/event-types/",
	Key:       "payment.paymentOutput.references.merchantReference, else merchantOrderId beside it; the same of refunds and payouts, which is theirs; (fetched) that of the payment of a dispute",
	Settings:  []Setting{worldlineConnectTells},
	Tellers:   worldlineConnectTellers,
	Captures:  CountsTotal, // amountCaptured and amountPaid of the payment: https://github.com/Worldline-Global-Collect/connect-sdk-dotnet, PaymentOutput
	Refunds:   CountsTotal, // amountRefunded of the payment, in payment.refunded: same page
	normalize: worldlineConnectNormalize,
}

// worldlineConnectTells is the setting that selects whether events of refunds or of
// payments report that a refund succeeded.
var worldlineConnectTells = Setting{
	Name:        "tells",
	Description: "which events report that a refund succeeded: refunds (refund.refunded, refund.captured: each refund with its amount) or payments (payment.refunded); both if it is not set",
	Values:      []string{"refunds", "payments"},
	Unset:       "if both payment.refunded and refund.refunded come to the endpoint, each refund is published twice: set tells to refunds, or to payments if only payment.refunded comes",
}

// worldlineConnectTellers lists the events, the most important first.
var worldlineConnectTellers = []Teller{
	{Event: "payment.captured", Facts: worldlineConnectCaptured},
	{Event: "payment.paid", Facts: worldlineConnectCaptured},
	{Event: "payment.paid_increment", Facts: worldlineConnectCaptured},
	{Event: "payment.pending_approval", Facts: []schemas.Type{schemas.PaymentAuthorized, schemas.PaymentProcessing}},
	{Event: "payment.pending_capture", Facts: []schemas.Type{schemas.PaymentAuthorized, schemas.PaymentProcessing}},
	{Event: "payment.capture_requested", Facts: []schemas.Type{schemas.PaymentAuthorized, schemas.PaymentProcessing}},
	{Event: "payment.rejected", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "payment.rejected_capture", Facts: []schemas.Type{schemas.PaymentCaptureFailed}},
	{Event: "payment.cancelled", Facts: []schemas.Type{schemas.PaymentCancelled}},
	{Event: "payment.reversed", Facts: []schemas.Type{schemas.PaymentReversed}},
	{Event: "payment.chargeback_notification", Facts: []schemas.Type{schemas.DisputeOpened}},
	{Event: "payment.chargebacked", Facts: []schemas.Type{schemas.DisputeOpened}},
	{Event: "refund.refunded", Facts: worldlineConnectRefunded, Tells: "refunds"},
	{Event: "refund.captured", Facts: worldlineConnectRefunded, Tells: "refunds"},
	{Event: "payment.refunded", Facts: []schemas.Type{schemas.RefundSucceeded}, Instead: "refund.refunded", Tells: "payments"},
	{Event: "refund.created", Facts: []schemas.Type{schemas.RefundPending}},
	{Event: "refund.pending_approval", Facts: []schemas.Type{schemas.RefundPending}},
	{Event: "refund.refund_requested", Facts: []schemas.Type{schemas.RefundPending}},
	{Event: "refund.rejected", Facts: []schemas.Type{schemas.RefundFailed}},
	{Event: "refund.cancelled", Facts: []schemas.Type{schemas.RefundCancelled}},
	{Event: "payment.created", Facts: []schemas.Type{schemas.PaymentProcessing}},
	{Event: "payment.authorization_requested", Facts: []schemas.Type{schemas.PaymentProcessing}},
	{Event: "payment.redirected", Facts: []schemas.Type{schemas.PaymentActionRequired}},
	{Event: "payment.pending_payment", Facts: []schemas.Type{schemas.PaymentActionRequired}},
	{Event: "payment.pending_fraud_approval", Facts: []schemas.Type{schemas.PaymentActionRequired}},
	{Event: "payment.pending_completion", Facts: []schemas.Type{schemas.PaymentActionRequired}},
	{Event: "payout.created", Facts: []schemas.Type{schemas.PayoutCreated}},
	{Event: "payout.pending_approval", Facts: []schemas.Type{schemas.PayoutCreated}},
	{Event: "payout.payout_requested", Facts: []schemas.Type{schemas.PayoutProcessing}},
	{Event: "payout.account_credited", Facts: []schemas.Type{schemas.PayoutSucceeded, schemas.PayoutCreated, schemas.PayoutProcessing, schemas.PayoutFailed, schemas.PayoutCancelled, schemas.PayoutReversed}},
	{Event: "payout.rejected", Facts: []schemas.Type{schemas.PayoutFailed}},
	{Event: "payout.rejected_credit", Facts: []schemas.Type{schemas.PayoutFailed}},
	{Event: "payout.cancelled", Facts: []schemas.Type{schemas.PayoutCancelled}},
	{Event: "payout.reversed", Facts: []schemas.Type{schemas.PayoutReversed}},
	{Event: "dispute.created", Facts: []schemas.Type{schemas.DisputeChallenged}},
	{Event: "dispute.send_to_bank", Facts: []schemas.Type{schemas.DisputeChallenged}},
	{Event: "dispute.success", Facts: []schemas.Type{schemas.DisputeWon}},
	{Event: "dispute.expired", Facts: []schemas.Type{schemas.DisputeExpired}},
	{Event: "dispute.cancelled", Facts: []schemas.Type{schemas.DisputeAccepted}},
	{Event: "token.created", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "token.expired", Facts: []schemas.Type{schemas.MandateRevoked}},
	{Event: "token.deleted", Facts: []schemas.Type{schemas.MandateRevoked}},
}

// worldlineConnectCaptured and worldlineConnectRefunded list the event types of events
// that say that money was taken or given back: the status can claim less.
var (
	worldlineConnectCaptured = []schemas.Type{
		schemas.PaymentCaptured, schemas.PaymentAuthorized, schemas.PaymentProcessing, schemas.PaymentActionRequired,
		schemas.PaymentFailed, schemas.PaymentCaptureFailed, schemas.PaymentCancelled, schemas.PaymentReversed,
	}
	worldlineConnectRefunded = []schemas.Type{schemas.RefundSucceeded, schemas.RefundPending, schemas.RefundFailed, schemas.RefundCancelled}
)

// worldlineConnectExponents lists the currencies whose number of decimals at Worldline
// differs from ISO 4217: every amount has two decimals.
// https://apireference.connect.worldline-solutions.com/s2sapi/v1/en_US/nodejs/services/convertAmount.html
var worldlineConnectExponents = map[string]int{
	"BIF": 2, "CLP": 2, "DJF": 2, "GNF": 2, "ISK": 2, "JPY": 2, "KMF": 2, "KRW": 2, "PYG": 2, "RWF": 2,
	"UGX": 2, "UYI": 2, "VND": 2, "VUV": 2, "XAF": 2, "XOF": 2, "XPF": 2,
	"BHD": 2, "IQD": 2, "JOD": 2, "KWD": 2, "LYD": 2, "OMR": 2, "TND": 2,
	"CLF": 2, "UYW": 2,
}

// worldlineConnectTypes maps an event to the event type. Events without a type change
// nothing.
var worldlineConnectTypes = map[string]schemas.Type{
	"payment.created":                 schemas.PaymentProcessing,
	"payment.redirected":              schemas.PaymentActionRequired,
	"payment.pending_payment":         schemas.PaymentActionRequired,
	"payment.account_verified":        "",
	"payment.pending_fraud_approval":  schemas.PaymentActionRequired,
	"payment.authorization_requested": schemas.PaymentProcessing,
	"payment.pending_approval":        schemas.PaymentAuthorized, // see payment
	"payment.pending_completion":      schemas.PaymentActionRequired,
	"payment.pending_capture":         schemas.PaymentAuthorized,
	"payment.capture_requested":       schemas.PaymentAuthorized,
	"payment.captured":                schemas.PaymentCaptured,
	"payment.paid":                    schemas.PaymentCaptured,
	"payment.paid_increment":          schemas.PaymentCaptured,
	"payment.reversed":                schemas.PaymentReversed,
	"payment.chargeback_notification": schemas.DisputeOpened,
	"payment.chargebacked":            schemas.DisputeOpened,
	"payment.rejected":                schemas.PaymentFailed,
	"payment.rejected_capture":        schemas.PaymentCaptureFailed,
	"payment.cancelled":               schemas.PaymentCancelled,
	"payment.refunded":                schemas.RefundSucceeded,

	"refund.created":          schemas.RefundPending,
	"refund.pending_approval": schemas.RefundPending,
	"refund.refund_requested": schemas.RefundPending,
	"refund.captured":         schemas.RefundSucceeded,
	"refund.refunded":         schemas.RefundSucceeded,
	"refund.rejected":         schemas.RefundFailed,
	"refund.cancelled":        schemas.RefundCancelled,

	"payout.created":          schemas.PayoutCreated,
	"payout.pending_approval": schemas.PayoutCreated,
	"payout.payout_requested": schemas.PayoutProcessing,
	"payout.account_credited": schemas.PayoutSucceeded,
	"payout.rejected":         schemas.PayoutFailed,
	"payout.rejected_credit":  schemas.PayoutFailed,
	"payout.cancelled":        schemas.PayoutCancelled,
	"payout.reversed":         schemas.PayoutReversed,

	"dispute.draft":                 "",
	"dispute.created":               schemas.DisputeChallenged,
	"dispute.invalid_representment": "",
	"dispute.send_to_bank":          schemas.DisputeChallenged,
	"dispute.success":               schemas.DisputeWon,
	"dispute.expired":               schemas.DisputeExpired,
	"dispute.cancelled":             schemas.DisputeAccepted, // the merchant withdrew its answer

	"token.created":       schemas.MandateActive,
	"token.updated":       "",
	"token.expiring_soon": "",
	"token.expired":       schemas.MandateRevoked,
	"token.deleted":       schemas.MandateRevoked,
}

// worldlineConnectEvent is the body of a webhook.
type worldlineConnectEvent struct {
	ID         text `json:"id"`
	Type       text `json:"type"`
	Created    text `json:"created"`
	MerchantID text `json:"merchantId"`
	Payment    part `json:"payment"`
	Refund     part `json:"refund"`
	Payout     part `json:"payout"`
	Dispute    part `json:"dispute"`
	Token      part `json:"token"`
}

// worldlineConnectObject is the object that an event is about: a payment,
// refund, payout, dispute or token.
type worldlineConnectObject struct {
	ID            text                   `json:"id"`
	Status        text                   `json:"status"`    // in lower case, the last part of an event name
	PaymentID     text                   `json:"paymentId"` // of disputes
	PaymentOutput worldlineConnectOutput `json:"paymentOutput"`
	RefundOutput  worldlineConnectOutput `json:"refundOutput"`
	PayoutOutput  worldlineConnectOutput `json:"payoutOutput"`
	DisputeOutput worldlineConnectOutput `json:"disputeOutput"`
	StatusOutput  struct {
		IsAuthorized bool `json:"isAuthorized"`
		Errors       []struct {
			Code    text `json:"code"`
			Message text `json:"message"`
		} `json:"errors"`
	} `json:"statusOutput"`
}

// worldlineConnectOutput has the amounts and references of an object.
type worldlineConnectOutput struct {
	AmountOfMoney struct {
		Amount       *int64 `json:"amount"`
		CurrencyCode string `json:"currencyCode"`
	} `json:"amountOfMoney"`
	AmountCaptured *int64 `json:"amountCaptured"` // this and the next three: of payments, so far
	AmountPaid     *int64 `json:"amountPaid"`
	AmountRefunded *int64 `json:"amountRefunded"`
	AmountReversed *int64 `json:"amountReversed"`
	References     struct {
		MerchantReference text `json:"merchantReference"`
		MerchantOrderID   text `json:"merchantOrderId"`
	} `json:"references"`
	PaymentMethod text `json:"paymentMethod"`
	RefundMethod  text `json:"refundMethod"`
	Card          struct {
		SchemeTransactionID text `json:"schemeTransactionId"`
		Token               text `json:"token"`
	} `json:"cardPaymentMethodSpecificOutput"`
	CreationDetails struct {
		ReasonCode text `json:"reasonCode"`
	} `json:"creationDetails"`
}

// amount returns value as an amount in the object's currency.
func (o worldlineConnectOutput) amount(value *int64) (*schemas.Amount, error) {
	return minor(value, o.AmountOfMoney.CurrencyCode, worldlineConnectExponents)
}

// worldlineConnectPositive returns value, or nil if it is 0.
func worldlineConnectPositive(value *int64) *int64 {
	if value == nil || *value == 0 {
		return nil
	}
	return value
}

// reference returns the merchant's reference.
func (o worldlineConnectOutput) reference() string {
	return first(o.References.MerchantReference, o.References.MerchantOrderID)
}

func worldlineConnectNormalize(payload []byte, o Options) ([]fact, error) {
	var e worldlineConnectEvent
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	event := string(e.Type)
	typ, known := worldlineConnectTypes[event]
	switch {
	case event == "":
		return nil, fmt.Errorf("%w: no type: not an event of Worldline's", ErrMalformed)
	case !known:
		return []fact{notUnified(event)}, nil
	case typ == "":
		return []fact{ignored(event, "no money has moved, and the payment is not final")}, nil
	case e.ID == "":
		return oneMalformed(event, fmt.Errorf("%w: no id: not an event of Worldline's", ErrMalformed))
	}
	f, err := e.fact(typ)
	if err == nil {
		f.Time, err = timestamp(e.Created, "2006-01-02T15:04:05Z0700", time.RFC3339)
	}
	f.ConnectorEventID, f.Account = string(e.ID), string(e.MerchantID)
	if err == nil && f.Type.Family() == "dispute" {
		err = f.fillFromWorldlineConnectPayment(o)
	}
	if err == nil && f.Type == schemas.RefundSucceeded {
		kind, _, _ := strings.Cut(event, ".")
		other := map[string]string{"payment": "refund.refunded", "refund": "payment.refunded"}[kind]
		if tells := o.Settings[worldlineConnectTells.Name]; tells != "" && tells != kind+"s" {
			return []fact{f.reportedBy(event, other)}, nil
		}
	}
	return oneFact(event, f, err)
}

// fact returns the fact of the event, of the type typ.
func (e worldlineConnectEvent) fact(typ schemas.Type) (f fact, err error) {
	kind, _, _ := strings.Cut(string(e.Type), ".")
	about := map[string]struct {
		object part
		read   func(worldlineConnectObject, fact) (fact, error)
	}{
		"payment": {e.Payment, worldlineConnectObject.payment},
		"refund":  {e.Refund, worldlineConnectObject.refund},
		"payout":  {e.Payout, worldlineConnectObject.payout},
		"dispute": {e.Dispute, worldlineConnectObject.dispute},
		"token":   {e.Token, worldlineConnectObject.token},
	}[kind]
	var object worldlineConnectObject
	if err := redecode(about.object, &object); err != nil {
		return f, err
	}
	if object.ID == "" {
		return f, fmt.Errorf("%w: no id of the %s", ErrMalformed, kind)
	}
	switch typ { // the status decides, not the event name
	case schemas.PaymentCaptured, schemas.RefundSucceeded, schemas.PayoutSucceeded:
		typ = cmp.Or(worldlineConnectTypes[kind+"."+strings.ToLower(string(object.Status))], typ)
	}
	f.Type, f.Identity, f.ConnectorEventType = typ, string(object.ID), string(e.Type)
	if kind == "payment" && typ.Family() == "refund" { // the event does not name the refund, and there can be several
		f.Identity = string(e.ID)
	}
	return about.read(object, f)
}

// failure returns why the object was rejected.
func (t worldlineConnectObject) failure() *schemas.Error {
	if len(t.StatusOutput.Errors) == 0 {
		return nil
	}
	return failure(t.StatusOutput.Errors[0].Code, t.StatusOutput.Errors[0].Message, "")
}

// payment fills in the fact about a payment.
func (t worldlineConnectObject) payment(f fact) (_ fact, err error) {
	o := t.PaymentOutput
	f.MerchantTransactionID, f.ConnectorTransactionID = o.reference(), string(t.ID)
	f.PaymentMethod = method(o.PaymentMethod, "")
	amount := o.AmountOfMoney.Amount
	switch {
	case f.Type.Family() == "refund": // the payment can be refunded in parts
		amount = worldlineConnectPositive(o.AmountRefunded)
	case f.Type == schemas.PaymentReversed:
		amount = cmp.Or(worldlineConnectPositive(o.AmountReversed), amount)
	}
	if f.Amount, err = o.amount(amount); err != nil {
		return f, err
	}
	if f.Type == schemas.PaymentAuthorized && !t.StatusOutput.IsAuthorized { // the merchant has to approve it before the bank authorizes it
		f.Type = schemas.PaymentProcessing
	}
	switch f.Type {
	case schemas.PaymentAuthorized:
		f.AuthorizedAmount = f.Amount
	case schemas.PaymentCaptured:
		return o.captured(f)
	case schemas.PaymentFailed, schemas.PaymentCaptureFailed:
		f.Error = t.failure()
	case schemas.DisputeOpened:
		f.Stage = schemas.StageDispute
	}
	if f.Type.Family() == "payment" {
		f.NetworkTransactionID, f.MandateID = string(o.Card.SchemeTransactionID), string(o.Card.Token)
	}
	return f, nil
}

// captured fills in how much of a payment was captured. The requested amount,
// amountOfMoney, differs from the captured or paid amount if the merchant captures
// only a part, or if the payer sends too little or pays in parts. Then amountCaptured
// and amountPaid are the sums of all parts so far, and the amount of the last part is
// unknown. amountPaid is 0 if the payment was captured and the money has not arrived
// yet; older webhooks do not have amountCaptured.
//
// https://github.com/Worldline-Global-Collect/connect-sdk-dotnet, PaymentOutput
func (o worldlineConnectOutput) captured(f fact) (_ fact, err error) {
	taken := cmp.Or(worldlineConnectPositive(o.AmountPaid), worldlineConnectPositive(o.AmountCaptured))
	if f.ConnectorEventType == "payment.captured" {
		taken = cmp.Or(worldlineConnectPositive(o.AmountCaptured), worldlineConnectPositive(o.AmountPaid))
	}
	f.CapturedAmount = f.Amount
	if taken != nil {
		if f.CapturedAmount, err = o.amount(taken); err != nil {
			return f, err
		}
	}
	switch {
	case f.CapturedAmount == nil:
	case f.ConnectorEventType == "payment.paid_increment":
		f.Amount = nil
	default:
		f.Amount = f.CapturedAmount
	}
	if f.CapturedAmount != nil {
		f.Identity += fmt.Sprintf("/%d", f.CapturedAmount.Value)
	}
	f.NetworkTransactionID, f.MandateID = string(o.Card.SchemeTransactionID), string(o.Card.Token)
	return f, nil
}

// refund fills in the fact about a refund.
func (t worldlineConnectObject) refund(f fact) (_ fact, err error) {
	o := t.RefundOutput
	if f.MerchantTransactionID = o.reference(); f.MerchantTransactionID != "" {
		f.KeySource = schemas.KeyFromRequest
	}
	f.ConnectorRefundID, f.MerchantRefundID = string(t.ID), string(o.References.MerchantReference)
	f.PaymentMethod = method(o.RefundMethod, "")
	f.Error = t.failure()
	f.Amount, err = o.amount(o.AmountOfMoney.Amount)
	return f, err
}

// payout fills in the fact about a payout.
func (t worldlineConnectObject) payout(f fact) (_ fact, err error) {
	o := t.PayoutOutput
	f.MerchantTransactionID, f.MerchantPayoutID = o.reference(), string(o.References.MerchantReference)
	f.ConnectorPayoutID = string(t.ID)
	f.Error = t.failure()
	f.Amount, err = o.amount(o.AmountOfMoney.Amount)
	return f, err
}

// dispute fills in the fact about a dispute: the merchant's answer to a
// chargeback.
func (t worldlineConnectObject) dispute(f fact) (_ fact, err error) {
	o := t.DisputeOutput
	f.ConnectorTransactionID, f.ConnectorDisputeID = string(t.PaymentID), string(t.ID)
	f.Stage, f.ReasonCode = schemas.StageDispute, string(o.CreationDetails.ReasonCode)
	f.Amount, err = o.amount(o.AmountOfMoney.Amount)
	return f, err
}

// token fills in the fact about a stored payment method.
func (t worldlineConnectObject) token(f fact) (fact, error) {
	f.ConnectorMandateID = string(t.ID)
	return f, nil
}

// fillFromWorldlineConnectPayment adds the merchant's reference of the payment of a dispute,
// and how it was paid.
// https://apireference.connect.worldline-solutions.com/s2sapi/v1/en_US/java/payments/get.html
func (f *fact) fillFromWorldlineConnectPayment(o Options) error {
	if len(o.Fetched) == 0 {
		return nil
	}
	var t worldlineConnectObject
	if ok, err := o.document("payment/"+f.ConnectorTransactionID, &t); !ok {
		return err
	}
	fill(&f.MerchantTransactionID, t.PaymentOutput.reference())
	f.fillMethod(method(t.PaymentOutput.PaymentMethod, ""))
	return nil
}
