package normalize

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// stripe: one event a webhook, {"id", "type", "created", "livemode", "data":
// {"object"}}; what matters is the object after the change. The payment is the
// PaymentIntent, or the charge where there is none; of a charge that belongs to
// an intent, the intent's own event tells. Refunds and disputes are announced
// by several event types each, so their identity is object and status: each
// state is one fact.
//
// The merchant's reference is free metadata on the intent, charge or refund;
// a dispute's metadata is its own and mostly empty.
//
// https://docs.stripe.com/api/events/types
var stripe = Connector{
	Docs:      "https://docs.stripe.com/api/events/types",
	Key:       "data.object.metadata.<merchant_id_keys>; data.object.client_reference_id of Checkout sessions",
	Normalize: stripeNormalize,
}

// stripeExponents are Stripe's minor units that differ from ISO 4217's:
// https://docs.stripe.com/currencies#special-cases
var stripeExponents = map[string]int{"ISK": 2, "UGX": 2, "MGA": 0}

// stripeReaders read the objects that events are made of, by event type.
var stripeReaders = map[string]func(event string, object jsontext.Value, o Options) (Fact, error){
	"payment_intent.succeeded":                 stripeIntent,
	"payment_intent.payment_failed":            stripeIntent,
	"payment_intent.canceled":                  stripeIntent,
	"payment_intent.processing":                stripeIntent,
	"payment_intent.requires_action":           stripeIntent,
	"payment_intent.partially_funded":          stripeIntent,
	"payment_intent.amount_capturable_updated": stripeIntent,

	"charge.succeeded": stripeCharge,
	"charge.captured":  stripeCharge,
	"charge.failed":    stripeCharge,
	"charge.pending":   stripeCharge,
	"charge.expired":   stripeCharge,

	"checkout.session.expired": stripeSession,

	"refund.created":        stripeRefund,
	"refund.updated":        stripeRefund,
	"refund.failed":         stripeRefund,
	"charge.refund.updated": stripeRefund,
	"charge.refunded":       stripeRefunded,

	"charge.dispute.created":          stripeDispute,
	"charge.dispute.updated":          stripeDispute,
	"charge.dispute.closed":           stripeDispute,
	"charge.dispute.funds_withdrawn":  stripeDispute,
	"charge.dispute.funds_reinstated": stripeDispute,

	"payout.created":  stripePayout,
	"payout.paid":     stripePayout,
	"payout.failed":   stripePayout,
	"payout.canceled": stripePayout,
	"transfer.paid":   stripeTransfer,
	"transfer.failed": stripeTransfer,

	"setup_intent.succeeded":    stripeSetup,
	"setup_intent.setup_failed": stripeSetup,
	"mandate.updated":           stripeMandate,
	"payment_method.detached":   stripeDetached,

	"radar.early_fraud_warning.created": stripeWarning,
	"radar.early_fraud_warning.updated": stripeWarning,
	"review.closed":                     stripeReview,
}

func stripeNormalize(payload []byte, o Options) ([]Fact, error) {
	var e struct {
		ID       string `json:"id"`
		Type     string `json:"type"`
		Account  text   `json:"account"`
		Created  int64  `json:"created"`
		Livemode bool   `json:"livemode"`
		Data     struct {
			Object jsontext.Value `json:"object"`
		} `json:"data"`
	}
	if err := decode(payload, &e); err != nil {
		if f, ok := stripeThin(payload); ok {
			return []Fact{f}, nil
		}
		return nil, err
	}
	if e.ID == "" || e.Type == "" {
		return nil, fmt.Errorf("%w: no id or no type: not an event of Stripe's", ErrMalformed)
	}
	read, ok := stripeReaders[e.Type]
	if !ok {
		return []Fact{notUnified(e.Type)}, nil
	}
	f, err := read(e.Type, e.Data.Object, o)
	if err == nil {
		err = stripeIdentified(e.Data.Object)
	}
	if err != nil {
		return []Fact{malformed(e.Type, err)}, nil
	}
	f.Time, f.Mode = unix(e.Created), mode(e.Livemode)
	f.Identity = first(f.Identity, e.ID)
	f.Account = string(e.Account)
	f.ConnectorEventID, f.ConnectorEventType = e.ID, e.Type
	return []Fact{f}, nil
}

// stripeThin: an event of the newer kind, which names its object and does not
// hold it, so that the event's name is all that is known. An account can have
// both kinds sent, and they have different ids: they are two facts.
//
// https://docs.stripe.com/event-destinations
func stripeThin(payload []byte) (f Fact, ok bool) {
	var e struct {
		ID            string    `json:"id"`
		Object        string    `json:"object"`
		Type          string    `json:"type"`
		Context       text      `json:"context"`
		Created       time.Time `json:"created"`
		Livemode      bool      `json:"livemode"`
		RelatedObject struct {
			ID text `json:"id"`
		} `json:"related_object"`
	}
	if err := decode(payload, &e); err != nil || e.Object != "v2.core.event" || e.ID == "" || e.Type == "" {
		return f, false
	}
	name, id := strings.TrimPrefix(e.Type, "v1."), string(e.RelatedObject.ID)
	switch {
	case id == "" || name == e.Type || stripeReaders[name] == nil:
		return notUnified(e.Type), true
	case stripeIntentTypes[name] != "":
		if name == "payment_intent.amount_capturable_updated" {
			return ignored(e.Type, "a thin event does not say whether "+id+" was authorized or captured in part"), true
		}
		f.Type, f.ConnectorTransactionID = stripeIntentTypes[name], id
	case stripePayoutTypes[name] != "":
		f.Type, f.ConnectorPayoutID = stripePayoutTypes[name], id
	default:
		return ignored(e.Type, "a thin event does not say what became of "+id), true
	}
	f.Time, f.Mode, f.Identity = e.Created.UTC(), mode(e.Livemode), e.ID
	f.Account, f.ConnectorEventID, f.ConnectorEventType = string(e.Context), e.ID, e.Type
	return f, true
}

// stripeIdentified asks that an object has an id: null reads as one without. It
// is nearly always the first of its fields, so that the others are not read.
func stripeIdentified(object jsontext.Value) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(object), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return fmt.Errorf("%w: data.object is not an object", ErrMalformed)
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return readable(err)
		}
		if name.String() != "id" {
			if err := d.SkipValue(); err != nil {
				return readable(err)
			}
			continue
		}
		var id text
		if err := id.UnmarshalJSONFrom(d); err != nil {
			return readable(err)
		}
		if id != "" {
			return nil
		}
	}
	return fmt.Errorf("%w: data.object has no id", ErrMalformed)
}

// stripeDetails is how a charge was paid, or a payment method.
type stripeDetails struct {
	Type text `json:"type"`
	Card struct {
		Brand                text `json:"brand"`
		NetworkTransactionID text `json:"network_transaction_id"`
	} `json:"card"`
}

func (d stripeDetails) method() *schemas.PaymentMethod {
	return method(string(d.Type), string(d.Card.Brand))
}

// stripeError is why an intent failed, and what it failed with.
type stripeError struct {
	Code               text          `json:"code"`
	DeclineCode        text          `json:"decline_code"`
	Message            text          `json:"message"`
	NetworkDeclineCode text          `json:"network_decline_code"`
	PaymentMethod      stripeDetails `json:"payment_method"`
}

func (e stripeError) failure() *schemas.Error {
	return failure(first(e.DeclineCode, e.Code), string(e.Message), string(e.NetworkDeclineCode))
}

var stripeIntentTypes = map[string]schemas.Type{
	"payment_intent.succeeded":                 schemas.PaymentCaptured,
	"payment_intent.payment_failed":            schemas.PaymentFailed,
	"payment_intent.canceled":                  schemas.PaymentCancelled,
	"payment_intent.processing":                schemas.PaymentProcessing,
	"payment_intent.requires_action":           schemas.PaymentActionRequired,
	"payment_intent.partially_funded":          schemas.PaymentActionRequired, // the payer has to send the rest
	"payment_intent.amount_capturable_updated": schemas.PaymentAuthorized,
}

// stripeIntent: https://docs.stripe.com/api/payment_intents/object
//
// An intent that can be captured several times says at each capture, too, that
// less can be captured now; how much that one took it does not say, and the
// last one is told by payment_intent.succeeded:
// https://docs.stripe.com/payments/multicapture
func stripeIntent(event string, object jsontext.Value, o Options) (f Fact, err error) {
	var pi struct {
		ID                 string       `json:"id"`
		Amount             *int64       `json:"amount"`
		AmountCapturable   *int64       `json:"amount_capturable"`
		AmountReceived     *int64       `json:"amount_received"`
		Currency           string       `json:"currency"`
		Metadata           metadata     `json:"metadata"`
		LastPaymentError   *stripeError `json:"last_payment_error"`
		PaymentMethod      text         `json:"payment_method"`
		PaymentMethodTypes []string     `json:"payment_method_types"`
		LatestCharge       text         `json:"latest_charge"`
		Charges            struct {     // until API version 2022-11-15
			Data []struct {
				Details stripeDetails `json:"payment_method_details"`
			} `json:"data"`
		} `json:"charges"`
	}
	if err := redecode(object, &pi); err != nil {
		return f, err
	}
	f.Type = stripeIntentTypes[event]
	f.MerchantTransactionID, f.ConnectorTransactionID = o.merchantID(pi.Metadata), pi.ID
	f.ConnectorReferences = others(pi.ID, pi.LatestCharge)
	f.MandateID = string(pi.PaymentMethod)
	amount := pi.Amount
	switch f.Type {
	case schemas.PaymentCaptured:
		amount = pi.AmountReceived
		f.CapturedAmount, err = minor(amount, pi.Currency, stripeExponents)
	case schemas.PaymentAuthorized:
		if taken := pi.AmountReceived; taken != nil && *taken > 0 {
			if left := pi.AmountCapturable; left == nil || *left == 0 {
				return ignored(event, "nothing is left to capture; payment_intent.succeeded tells"), nil
			}
			f.Type, amount = schemas.PaymentCaptured, nil
			f.CapturedAmount, err = minor(taken, pi.Currency, stripeExponents)
			break
		}
		amount = pi.AmountCapturable
		f.AuthorizedAmount, err = minor(amount, pi.Currency, stripeExponents)
	case schemas.PaymentFailed:
		if e := pi.LastPaymentError; e != nil {
			f.Error, f.PaymentMethod = e.failure(), e.PaymentMethod.method()
		}
	}
	if err != nil {
		return f, err
	}
	if f.Amount, err = minor(amount, pi.Currency, stripeExponents); err != nil {
		return f, err
	}
	if len(pi.Charges.Data) > 0 { // the newest first
		d := pi.Charges.Data[0].Details
		f.PaymentMethod, f.NetworkTransactionID = d.method(), string(d.Card.NetworkTransactionID)
	}
	if f.PaymentMethod == nil && len(pi.PaymentMethodTypes) == 1 {
		f.PaymentMethod = method(pi.PaymentMethodTypes[0], "")
	}
	return f, nil
}

// stripeCharge: https://docs.stripe.com/api/charges/object
func stripeCharge(event string, object jsontext.Value, o Options) (f Fact, err error) {
	var c struct {
		ID             string        `json:"id"`
		PaymentIntent  text          `json:"payment_intent"`
		Amount         *int64        `json:"amount"`
		AmountCaptured *int64        `json:"amount_captured"`
		Captured       bool          `json:"captured"`
		Currency       string        `json:"currency"`
		Metadata       metadata      `json:"metadata"`
		FailureCode    text          `json:"failure_code"`
		FailureMessage text          `json:"failure_message"`
		PaymentMethod  text          `json:"payment_method"`
		Details        stripeDetails `json:"payment_method_details"`
		Outcome        struct {
			NetworkDeclineCode text `json:"network_decline_code"`
		} `json:"outcome"`
	}
	if err := redecode(object, &c); err != nil {
		return f, err
	}
	if c.PaymentIntent != "" && event != "charge.expired" {
		return ignored(event, "the charge belongs to "+string(c.PaymentIntent)+", whose own event tells"), nil
	}
	f.MerchantTransactionID = o.merchantID(c.Metadata)
	f.ConnectorTransactionID = first(string(c.PaymentIntent), c.ID)
	f.ConnectorReferences = others(f.ConnectorTransactionID, text(c.ID))
	f.PaymentMethod, f.NetworkTransactionID = c.Details.method(), string(c.Details.Card.NetworkTransactionID)
	f.MandateID = string(c.PaymentMethod)
	if f.Amount, err = minor(c.Amount, c.Currency, stripeExponents); err != nil {
		return f, err
	}
	switch {
	case event == "charge.failed":
		f.Type = schemas.PaymentFailed
		f.Error = failure(string(c.FailureCode), string(c.FailureMessage), string(c.Outcome.NetworkDeclineCode))
	case event == "charge.pending":
		f.Type = schemas.PaymentProcessing
	case event == "charge.expired":
		f.Type = schemas.PaymentExpired
	case c.Captured:
		f.Type = schemas.PaymentCaptured
		f.AuthorizedAmount = f.Amount
		if c.AmountCaptured != nil {
			f.CapturedAmount, err = minor(c.AmountCaptured, c.Currency, stripeExponents)
			f.Amount = f.CapturedAmount
		}
	default:
		f.Type = schemas.PaymentAuthorized
		f.AuthorizedAmount = f.Amount
	}
	return f, err
}

// stripeSession: https://docs.stripe.com/api/checkout/sessions/object
func stripeSession(event string, object jsontext.Value, o Options) (f Fact, err error) {
	var s struct {
		ID                string   `json:"id"`
		PaymentIntent     text     `json:"payment_intent"`
		ClientReferenceID text     `json:"client_reference_id"`
		AmountTotal       *int64   `json:"amount_total"`
		Currency          text     `json:"currency"`
		Mode              text     `json:"mode"`
		Metadata          metadata `json:"metadata"`
	}
	if err := redecode(object, &s); err != nil {
		return f, err
	}
	if s.Mode == "setup" {
		return ignored(event, "the session was to save a payment method, not to pay"), nil
	}
	f.Type = schemas.PaymentExpired
	f.MerchantTransactionID = first(o.merchantID(s.Metadata), string(s.ClientReferenceID))
	f.ConnectorTransactionID = first(string(s.PaymentIntent), s.ID)
	f.Amount, err = minor(s.AmountTotal, string(s.Currency), stripeExponents)
	return f, err
}

// stripeRefundObject: https://docs.stripe.com/api/refunds/object
type stripeRefundObject struct {
	ID            string   `json:"id"`
	Status        text     `json:"status"`
	Amount        *int64   `json:"amount"`
	Currency      string   `json:"currency"`
	Charge        text     `json:"charge"`
	PaymentIntent text     `json:"payment_intent"`
	Created       int64    `json:"created"`
	Reason        text     `json:"reason"`
	FailureReason text     `json:"failure_reason"`
	Metadata      metadata `json:"metadata"`
}

var stripeRefundTypes = map[text]schemas.Type{
	"pending":         schemas.RefundPending,
	"requires_action": schemas.RefundPending,
	"succeeded":       schemas.RefundSucceeded,
	"failed":          schemas.RefundFailed,
	"canceled":        schemas.RefundCancelled,
}

func stripeRefund(event string, object jsontext.Value, o Options) (f Fact, err error) {
	var r stripeRefundObject
	if err := redecode(object, &r); err != nil {
		return f, err
	}
	return r.fact(event, o)
}

func (r stripeRefundObject) fact(event string, o Options) (f Fact, err error) {
	if r.Status == "" {
		r.Status = "succeeded" // refunds had no status before 2018, and none that failed
	}
	if r.Reason == "expired_uncaptured_charge" {
		return ignored(event, "the charge was never captured: charge.expired tells"), nil
	}
	typ, ok := stripeRefundTypes[r.Status]
	if !ok {
		return f, fmt.Errorf("%w: refund status %q", ErrMalformed, r.Status)
	}
	if f.Type = typ; r.ID != "" {
		f.Identity = r.ID + ":" + string(r.Status)
	}
	f.MerchantTransactionID = o.merchantID(r.Metadata)
	f.ConnectorRefundID = r.ID
	f.ConnectorTransactionID = first(r.PaymentIntent, r.Charge)
	f.ConnectorReferences = others(f.ConnectorTransactionID, r.Charge)
	f.Reason = string(r.Reason)
	f.Error = failure(string(r.FailureReason), "", "")
	f.Amount, err = minor(r.Amount, r.Currency, stripeExponents)
	return f, err
}

// stripeRefunded: the charge after a refund. Until API version 2022-11-15 it
// holds its refunds, newest first; since then refund.created tells. Until
// 2025-03-31, giving up a charge that was never captured was a refund, too.
func stripeRefunded(event string, object jsontext.Value, o Options) (f Fact, err error) {
	var c struct {
		ID            string         `json:"id"`
		PaymentIntent text           `json:"payment_intent"`
		Captured      *bool          `json:"captured"`
		Metadata      metadata       `json:"metadata"`
		Refunds       jsontext.Value `json:"refunds"`
	}
	if err := redecode(object, &c); err != nil {
		return f, err
	}
	refunds, err := stripeRefunds(c.Refunds)
	if err != nil {
		return f, err
	}
	if c.Captured != nil && !*c.Captured {
		return ignored(event, "the charge was never captured, so it was cancelled and not refunded"), nil
	}
	if len(refunds) == 0 {
		return ignored(event, "the charge does not hold its refunds; refund.created and refund.updated tell"), nil
	}
	if f, err = refunds[0].fact(event, o); err != nil || f.Type == "" {
		return f, err
	}
	f.MerchantTransactionID = first(f.MerchantTransactionID, o.merchantID(c.Metadata))
	f.ConnectorTransactionID = first(string(c.PaymentIntent), f.ConnectorTransactionID, c.ID)
	return f, err
}

// stripeRefunds is the refunds that a charge holds, newest first: a list object
// or, until API version 2014-06-17, an array of refunds that have no id and are
// in no order that is documented.
func stripeRefunds(refunds jsontext.Value) ([]stripeRefundObject, error) {
	var list struct {
		Data []stripeRefundObject `json:"data"`
	}
	switch {
	case len(refunds) == 0:
		return nil, nil
	case refunds.Kind() != '[':
		err := redecode(refunds, &list)
		return list.Data, err
	}
	err := redecode(refunds, &list.Data)
	slices.SortStableFunc(list.Data, func(a, b stripeRefundObject) int { return cmp.Compare(b.Created, a.Created) })
	return list.Data, err
}

var stripeDisputeTypes = map[text]schemas.Type{
	"warning_needs_response": schemas.DisputeOpened,
	"needs_response":         schemas.DisputeOpened,
	"warning_under_review":   schemas.DisputeChallenged,
	"under_review":           schemas.DisputeChallenged,
	"warning_closed":         schemas.DisputeCancelled, // an inquiry that ended without a chargeback
	"won":                    schemas.DisputeWon,
	"lost":                   schemas.DisputeLost,
	"prevented":              schemas.DisputeAccepted, // the payer was refunded by rule before a chargeback
	"charge_refunded":        schemas.DisputeAccepted, // an inquiry that a refund ended; old API versions
}

// stripeDispute: https://docs.stripe.com/api/disputes/object
func stripeDispute(_ string, object jsontext.Value, o Options) (f Fact, err error) {
	var d struct {
		ID                string   `json:"id"`
		Status            text     `json:"status"`
		Amount            *int64   `json:"amount"`
		Currency          string   `json:"currency"`
		Charge            text     `json:"charge"`
		PaymentIntent     text     `json:"payment_intent"`
		Reason            text     `json:"reason"`
		NetworkReasonCode text     `json:"network_reason_code"`
		Metadata          metadata `json:"metadata"`
		EvidenceDetails   struct {
			DueBy *int64 `json:"due_by"`
		} `json:"evidence_details"`
		Details struct {
			Type text `json:"type"`
			Card struct {
				Brand             text `json:"brand"`
				NetworkReasonCode text `json:"network_reason_code"`
			} `json:"card"`
		} `json:"payment_method_details"`
	}
	if err := redecode(object, &d); err != nil {
		return f, err
	}
	typ, ok := stripeDisputeTypes[d.Status]
	if !ok {
		return f, fmt.Errorf("%w: dispute status %q", ErrMalformed, d.Status)
	}
	f.Type, f.Identity = typ, d.ID+":"+string(d.Status)
	f.MerchantTransactionID = o.merchantID(d.Metadata)
	f.ConnectorDisputeID = d.ID
	f.ConnectorTransactionID = first(d.PaymentIntent, d.Charge)
	f.ConnectorReferences = others(f.ConnectorTransactionID, d.Charge)
	f.Reason = string(d.Reason)
	f.ReasonCode = first(d.Details.Card.NetworkReasonCode, d.NetworkReasonCode)
	f.PaymentMethod = method(string(d.Details.Type), string(d.Details.Card.Brand))
	f.Stage = schemas.StageDispute
	switch d.Status {
	case "warning_needs_response", "warning_under_review", "warning_closed", "prevented", "charge_refunded":
		f.Stage = schemas.StagePreDispute
	}
	if d.EvidenceDetails.DueBy != nil {
		f.RespondBy = deadline(unix(*d.EvidenceDetails.DueBy))
	}
	f.Amount, err = minor(d.Amount, d.Currency, stripeExponents)
	return f, err
}

var stripePayoutTypes = map[string]schemas.Type{
	"payout.created":  schemas.PayoutCreated,
	"payout.paid":     schemas.PayoutSucceeded,
	"payout.failed":   schemas.PayoutFailed,
	"payout.canceled": schemas.PayoutCancelled,
	"transfer.paid":   schemas.PayoutSucceeded,
	"transfer.failed": schemas.PayoutFailed,
}

// stripePayout: https://docs.stripe.com/api/payouts/object
func stripePayout(event string, object jsontext.Value, o Options) (f Fact, err error) {
	var p struct {
		ID             string   `json:"id"`
		Amount         *int64   `json:"amount"`
		Currency       string   `json:"currency"`
		FailureCode    text     `json:"failure_code"`
		FailureMessage text     `json:"failure_message"`
		Metadata       metadata `json:"metadata"`
	}
	if err := redecode(object, &p); err != nil {
		return f, err
	}
	f.Type = stripePayoutTypes[event]
	f.ConnectorPayoutID = p.ID
	f.MerchantTransactionID = o.merchantID(p.Metadata)
	f.Error = failure(string(p.FailureCode), string(p.FailureMessage), "")
	// Payouts in HUF and TWD, too, are in hundredths, as ISO 4217 has them.
	f.Amount, err = minor(p.Amount, p.Currency, stripeExponents)
	return f, err
}

// stripeTransfer: until API version 2017-04-06 a payout was a transfer, and so
// was money that a platform moves to an account of Stripe's, which is none.
//
// https://docs.stripe.com/transfer-payout-split
func stripeTransfer(event string, object jsontext.Value, o Options) (f Fact, err error) {
	var t struct {
		Type text `json:"type"`
	}
	if err := redecode(object, &t); err != nil {
		return f, err
	}
	if t.Type == "stripe_account" {
		return ignored(event, "the transfer is between accounts of Stripe's, and no payout"), nil
	}
	return stripePayout(event, object, o)
}

// stripeSetup: https://docs.stripe.com/api/setup_intents/object
func stripeSetup(event string, object jsontext.Value, o Options) (f Fact, err error) {
	var s struct {
		ID                 string       `json:"id"`
		Mandate            text         `json:"mandate"`
		PaymentMethod      text         `json:"payment_method"`
		PaymentMethodTypes []string     `json:"payment_method_types"`
		LastSetupError     *stripeError `json:"last_setup_error"`
		Metadata           metadata     `json:"metadata"`
	}
	if err := redecode(object, &s); err != nil {
		return f, err
	}
	f.Type = schemas.MandateActive
	if event == "setup_intent.setup_failed" {
		f.Type = schemas.MandateFailed
		if e := s.LastSetupError; e != nil {
			f.Error, f.PaymentMethod = e.failure(), e.PaymentMethod.method()
		}
	}
	if f.PaymentMethod == nil && len(s.PaymentMethodTypes) == 1 {
		f.PaymentMethod = method(s.PaymentMethodTypes[0], "")
	}
	f.MerchantTransactionID = o.merchantID(s.Metadata)
	f.ConnectorTransactionID = s.ID
	f.ConnectorMandateID = first(s.Mandate, s.PaymentMethod)
	return f, nil
}

// stripeMandate: https://docs.stripe.com/api/mandates/object
func stripeMandate(event string, object jsontext.Value, _ Options) (f Fact, err error) {
	var m struct {
		ID     string `json:"id"`
		Status text   `json:"status"`
	}
	if err := redecode(object, &m); err != nil {
		return f, err
	}
	switch m.Status {
	case "active":
		f.Type = schemas.MandateActive
	case "inactive":
		f.Type = schemas.MandateRevoked
	default:
		return ignored(event, fmt.Sprintf("mandate status %q is neither active nor inactive", m.Status)), nil
	}
	f.ConnectorMandateID = m.ID
	return f, nil
}

// stripeDetached: a payment method that was saved with its customer and, from
// now on, cannot be used: https://docs.stripe.com/api/payment_methods/detach
func stripeDetached(_ string, object jsontext.Value, o Options) (f Fact, err error) {
	var m struct {
		ID       string   `json:"id"`
		Metadata metadata `json:"metadata"`
		stripeDetails
	}
	if err := redecode(object, &m); err != nil {
		return f, err
	}
	f.Type = schemas.MandateRevoked
	f.MerchantTransactionID = o.merchantID(m.Metadata)
	f.ConnectorMandateID, f.PaymentMethod = m.ID, m.method()
	return f, nil
}

// stripeWarning: https://docs.stripe.com/api/radar/early_fraud_warnings/object
func stripeWarning(_ string, object jsontext.Value, _ Options) (f Fact, err error) {
	var w struct {
		ID            string `json:"id"`
		Charge        text   `json:"charge"`
		PaymentIntent text   `json:"payment_intent"`
		FraudType     text   `json:"fraud_type"`
	}
	if err := redecode(object, &w); err != nil {
		return f, err
	}
	f.Type, f.Identity = schemas.FraudReported, w.ID
	f.ConnectorTransactionID = first(w.PaymentIntent, w.Charge)
	f.ConnectorReferences = others(f.ConnectorTransactionID, w.Charge)
	f.Reason = string(w.FraudType)
	return f, nil
}

// stripeReview: https://docs.stripe.com/api/radar/reviews/object
func stripeReview(event string, object jsontext.Value, _ Options) (f Fact, err error) {
	var r struct {
		ClosedReason  text `json:"closed_reason"`
		Charge        text `json:"charge"`
		PaymentIntent text `json:"payment_intent"`
	}
	if err := redecode(object, &r); err != nil {
		return f, err
	}
	switch r.ClosedReason {
	case "approved":
		f.Type = schemas.FraudApproved
	case "refunded_as_fraud":
		f.Type = schemas.FraudRejected
	default:
		return ignored(event, fmt.Sprintf("the review closed as %q, which judges no fraud", r.ClosedReason)), nil
	}
	f.ConnectorTransactionID = first(r.PaymentIntent, r.Charge)
	f.ConnectorReferences = others(f.ConnectorTransactionID, r.Charge)
	return f, nil
}
