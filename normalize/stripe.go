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
// state is one fact. Which event tells that a charge was refunded depends on
// the version of the API: see [stripeRefunded].
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
var stripeReaders = map[string]func(change stripeChange, o Options) (Fact, error){
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

// stripeEvent is an event without what it is about, which only the readers of
// known types read.
type stripeEvent struct {
	ID         text           `json:"id"`
	Object     text           `json:"object"`
	Type       text           `json:"type"`
	Account    text           `json:"account"`
	APIVersion text           `json:"api_version"`
	Created    jsontext.Value `json:"created"`
	Livemode   text           `json:"livemode"`
	Data       jsontext.Value `json:"data"`

	Context       text           `json:"context"`        // of thin events
	RelatedObject jsontext.Value `json:"related_object"` // of thin events
}

func stripeNormalize(payload []byte, o Options) ([]Fact, error) {
	var e stripeEvent
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	event := string(e.Type)
	switch {
	case event == "":
		return nil, fmt.Errorf("%w: no type: not an event of Stripe's", ErrMalformed)
	case stripeReaders[strings.TrimPrefix(event, "v1.")] == nil:
		return []Fact{notUnified(event)}, nil
	case e.ID == "":
		return oneMalformed(event, fmt.Errorf("%w: no id: not an event of Stripe's", ErrMalformed))
	}
	read := e.fact
	if e.Object == "v2.core.event" {
		read = e.thin
	}
	f, err := read(o)
	f.Mode, f.Identity = mode(e.Livemode == "true"), first(f.Identity, string(e.ID))
	f.ConnectorEventID = string(e.ID)
	return oneFact(event, f, err)
}

// stripeChange is an object after a change.
type stripeChange struct {
	event   string // its type
	version string // of the API, in which the object is rendered
	created time.Time
	object  jsontext.Value // data.object
	before  jsontext.Value // data.previous_attributes: what changed, as it was
}

// fact reads an event that holds its object.
func (e stripeEvent) fact(o Options) (f Fact, err error) {
	read, ok := stripeReaders[string(e.Type)]
	if !ok {
		return notUnified(e.Type), nil
	}
	var data struct {
		Object             jsontext.Value `json:"object"`
		PreviousAttributes jsontext.Value `json:"previous_attributes"`
	}
	if err := redecode(e.Data, &data); err != nil {
		return f, err
	}
	var created int64
	if err := redecode(e.Created, &created); err != nil {
		return f, err
	}
	change := stripeChange{string(e.Type), string(e.APIVersion), unix(created), data.Object, data.PreviousAttributes}
	if f, err = read(change, o); err != nil {
		return f, err
	}
	f.Time, f.Account = change.created, string(e.Account)
	return f, stripeIdentified(data.Object)
}

// thin reads an event of the newer kind, which names its object and does not
// hold it, so that the event's name is all that is known. An account can have
// both kinds sent, and they have different ids: they are two facts.
//
// https://docs.stripe.com/event-destinations
func (e stripeEvent) thin(Options) (f Fact, err error) {
	var about struct {
		ID text `json:"id"`
	}
	if err := redecode(e.RelatedObject, &about); err != nil {
		return f, err
	}
	name, id := strings.TrimPrefix(string(e.Type), "v1."), string(about.ID)
	switch {
	case id == "" || name == string(e.Type):
		return notUnified(e.Type), nil
	case stripeIntentTypes[name] != "":
		if name == "payment_intent.amount_capturable_updated" {
			return ignored(e.Type, "a thin event does not say whether "+id+" was authorized or captured in part"), nil
		}
		f.Type, f.ConnectorTransactionID = stripeIntentTypes[name], id
	case stripePayoutTypes[name] != "":
		f.Type, f.ConnectorPayoutID = stripePayoutTypes[name], id
	default:
		return ignored(e.Type, "a thin event does not say what became of "+id), nil
	}
	f.Account = string(e.Context)
	var created time.Time
	err = redecode(e.Created, &created)
	f.Time = created.UTC()
	return f, err
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
			return decodeError(err)
		}
		if name.String() != "id" {
			if err := d.SkipValue(); err != nil {
				return decodeError(err)
			}
			continue
		}
		var id text
		if err := id.UnmarshalJSONFrom(d); err != nil {
			return decodeError(err)
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
	return method(d.Type, d.Card.Brand)
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
	return failure(first(e.DeclineCode, e.Code), e.Message, e.NetworkDeclineCode)
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

// stripeStatuses is what happened where an event's name says that the money was
// taken or paid out, and the status of the object says otherwise: the status
// counts.
var stripeStatuses = map[schemas.Type]map[text]schemas.Type{
	schemas.PaymentCaptured: {
		"processing":      schemas.PaymentProcessing, // of intents
		"requires_action": schemas.PaymentActionRequired,
		"canceled":        schemas.PaymentCancelled,
		"pending":         schemas.PaymentProcessing, // of charges
		"failed":          schemas.PaymentFailed,
	},
	schemas.PayoutSucceeded: {
		"pending":    schemas.PayoutProcessing,
		"in_transit": schemas.PayoutProcessing,
		"failed":     schemas.PayoutFailed,
		"canceled":   schemas.PayoutCancelled,
	},
}

// stripeIntent: https://docs.stripe.com/api/payment_intents/object
//
// An intent that can be captured several times says at each capture, too, that
// less can be captured now; how much that one took it does not say, and the
// last one is told by payment_intent.succeeded:
// https://docs.stripe.com/payments/multicapture
func stripeIntent(change stripeChange, o Options) (f Fact, err error) {
	var pi struct {
		ID                 string       `json:"id"`
		Status             text         `json:"status"`
		Amount             *int64       `json:"amount"`
		AmountCapturable   *int64       `json:"amount_capturable"`
		AmountReceived     *int64       `json:"amount_received"`
		Currency           string       `json:"currency"`
		Metadata           metadata     `json:"metadata"`
		LastPaymentError   *stripeError `json:"last_payment_error"`
		CancellationReason text         `json:"cancellation_reason"`
		PaymentMethod      text         `json:"payment_method"`
		PaymentMethodTypes []string     `json:"payment_method_types"`
		LatestCharge       text         `json:"latest_charge"`
		Charges            struct {     // until API version 2022-11-15
			Data []struct {
				Details stripeDetails `json:"payment_method_details"`
			} `json:"data"`
		} `json:"charges"`
	}
	if err := redecode(change.object, &pi); err != nil {
		return f, err
	}
	f.Type = stripeIntentTypes[change.event]
	f.Type = cmp.Or(stripeStatuses[f.Type][pi.Status], f.Type)
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
				return ignored(change.event, "nothing is left to capture; payment_intent.succeeded tells"), nil
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
	case schemas.PaymentCancelled:
		f.Error = failure(pi.CancellationReason, "", "")
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
func stripeCharge(change stripeChange, o Options) (f Fact, err error) {
	var c struct {
		ID             string        `json:"id"`
		Status         text          `json:"status"`
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
	if err := redecode(change.object, &c); err != nil {
		return f, err
	}
	if c.PaymentIntent != "" && change.event != "charge.expired" {
		return ignored(change.event, "the charge belongs to "+string(c.PaymentIntent)+", whose own event tells"), nil
	}
	f.MerchantTransactionID = o.merchantID(c.Metadata)
	f.ConnectorTransactionID = first(string(c.PaymentIntent), c.ID)
	f.ConnectorReferences = others(f.ConnectorTransactionID, c.ID)
	f.PaymentMethod, f.NetworkTransactionID = c.Details.method(), string(c.Details.Card.NetworkTransactionID)
	f.MandateID = string(c.PaymentMethod)
	if f.Amount, err = minor(c.Amount, c.Currency, stripeExponents); err != nil {
		return f, err
	}
	switch {
	case change.event == "charge.failed":
		f.Type = schemas.PaymentFailed
		f.Error = failure(c.FailureCode, c.FailureMessage, c.Outcome.NetworkDeclineCode)
	case change.event == "charge.pending":
		f.Type = schemas.PaymentProcessing
	case change.event == "charge.expired":
		f.Type = schemas.PaymentExpired
	case stripeStatuses[schemas.PaymentCaptured][c.Status] != "":
		f.Type = stripeStatuses[schemas.PaymentCaptured][c.Status]
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
func stripeSession(change stripeChange, o Options) (f Fact, err error) {
	var s struct {
		ID                string   `json:"id"`
		PaymentIntent     text     `json:"payment_intent"`
		ClientReferenceID text     `json:"client_reference_id"`
		AmountTotal       *int64   `json:"amount_total"`
		Currency          text     `json:"currency"`
		Mode              text     `json:"mode"`
		Metadata          metadata `json:"metadata"`
	}
	if err := redecode(change.object, &s); err != nil {
		return f, err
	}
	if s.Mode == "setup" {
		return ignored(change.event, "the session was to save a payment method, not to pay"), nil
	}
	f.Type = schemas.PaymentExpired
	f.MerchantTransactionID = first(o.merchantID(s.Metadata), string(s.ClientReferenceID))
	f.ConnectorTransactionID = first(string(s.PaymentIntent), s.ID)
	f.Amount, err = minor(s.AmountTotal, s.Currency, stripeExponents)
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

func stripeRefund(change stripeChange, o Options) (f Fact, err error) {
	var r stripeRefundObject
	if err := redecode(change.object, &r); err != nil {
		return f, err
	}
	if f, err = r.fact(change, o); f.Type == schemas.RefundSucceeded && r.Charge != "" && stripeChargeTells(change.version) {
		return ignored(change.event, "in this version of the API charge.refunded tells that a charge was refunded"), err
	}
	return f, err
}

func (r stripeRefundObject) fact(change stripeChange, o Options) (f Fact, err error) {
	if r.Status == "" {
		r.Status = "succeeded" // refunds had no status before 2018, and none that failed
	}
	if r.Reason == "expired_uncaptured_charge" {
		return ignored(change.event, "the charge was never captured: charge.expired tells"), nil
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
	f.Error = failure(r.FailureReason, "", "")
	f.Amount, err = minor(r.Amount, r.Currency, stripeExponents)
	return f, err
}

// stripeChargeTells reports whether charge.refunded alone tells that a charge was
// refunded, in a version of the API. Since 2022-11-15 the charge does not hold
// its refunds, and until 2024-10-28 refund.created was sent of refunds without a
// charge only. Versions begin with their date.
//
// https://docs.stripe.com/upgrades#2022-11-15
// https://docs.stripe.com/changelog/acacia/2024-10-28/refund-webhook-update
func stripeChargeTells(version string) bool {
	return version >= "2022-11-15" && version < "2024-10-28"
}

// stripeRefunded reads the charge after a refund. Where it holds its refunds,
// the newest is what happened. Where it does not, the refund's own events tell,
// or, in the versions of [stripeChargeTells], by how much more of the charge is
// refunded than before. The refund's id is not there, so that the sum and the
// day identify it: Stripe can make two events of one change, and a refund that
// failed can be made again, days later, to the same sum.
// Until 2025-03-31, giving up a charge that was never captured was a refund, too.
func stripeRefunded(change stripeChange, o Options) (f Fact, err error) {
	var c struct {
		ID             string         `json:"id"`
		PaymentIntent  text           `json:"payment_intent"`
		Captured       *bool          `json:"captured"`
		AmountRefunded *int64         `json:"amount_refunded"`
		Currency       string         `json:"currency"`
		Metadata       metadata       `json:"metadata"`
		Details        stripeDetails  `json:"payment_method_details"`
		Refunds        jsontext.Value `json:"refunds"`
	}
	if err := redecode(change.object, &c); err != nil {
		return f, err
	}
	refunds, err := stripeRefunds(c.Refunds)
	if err != nil {
		return f, err
	}
	switch {
	case c.Captured != nil && !*c.Captured:
		return ignored(change.event, "the charge was never captured, so it was cancelled and not refunded"), nil
	case len(refunds) > 0:
		if f, err = refunds[0].fact(change, o); err != nil || f.Type == "" {
			return f, err
		}
		f.MerchantTransactionID = first(f.MerchantTransactionID, o.merchantID(c.Metadata))
		f.ConnectorTransactionID = first(string(c.PaymentIntent), f.ConnectorTransactionID, c.ID)
		return f, err
	case !stripeChargeTells(change.version) || c.AmountRefunded == nil:
		return ignored(change.event, "the charge does not hold its refunds; refund.created and refund.updated tell"), nil
	}
	f.Type, f.Identity = schemas.RefundSucceeded, fmt.Sprintf("%s:refunded:%d:%s", c.ID, *c.AmountRefunded, change.created.Format(time.DateOnly))
	f.MerchantTransactionID = o.merchantID(c.Metadata)
	f.ConnectorTransactionID = first(string(c.PaymentIntent), c.ID)
	f.ConnectorReferences = others(f.ConnectorTransactionID, c.ID)
	f.PaymentMethod = c.Details.method()
	f.Amount, err = minor(stripeDifference(*c.AmountRefunded, change.before), c.Currency, stripeExponents)
	return f, err
}

// stripeDifference is how much of a charge was refunded by one change; nil if
// the event does not say how much was before.
func stripeDifference(refunded int64, before jsontext.Value) *int64 {
	var was struct {
		AmountRefunded *int64 `json:"amount_refunded"`
	}
	if len(before) == 0 || redecode(before, &was) != nil || was.AmountRefunded == nil {
		return nil
	}
	if refunded -= *was.AmountRefunded; refunded <= 0 {
		return nil
	}
	return &refunded
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
func stripeDispute(change stripeChange, o Options) (f Fact, err error) {
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
	if err := redecode(change.object, &d); err != nil {
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
	f.PaymentMethod = method(d.Details.Type, d.Details.Card.Brand)
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
func stripePayout(change stripeChange, o Options) (f Fact, err error) {
	var p struct {
		ID             string   `json:"id"`
		Status         text     `json:"status"`
		Amount         *int64   `json:"amount"`
		Currency       string   `json:"currency"`
		FailureCode    text     `json:"failure_code"`
		FailureMessage text     `json:"failure_message"`
		Metadata       metadata `json:"metadata"`
	}
	if err := redecode(change.object, &p); err != nil {
		return f, err
	}
	f.Type = stripePayoutTypes[change.event]
	f.Type = cmp.Or(stripeStatuses[f.Type][p.Status], f.Type)
	f.ConnectorPayoutID = p.ID
	f.MerchantTransactionID = o.merchantID(p.Metadata)
	f.Error = failure(p.FailureCode, p.FailureMessage, "")
	// Payouts in HUF and TWD, too, are in hundredths, as ISO 4217 has them.
	f.Amount, err = minor(p.Amount, p.Currency, stripeExponents)
	return f, err
}

// stripeTransfer: until API version 2017-04-06 a payout was a transfer, and so
// was money that a platform moves to an account of Stripe's, which is none.
//
// https://docs.stripe.com/transfer-payout-split
func stripeTransfer(change stripeChange, o Options) (f Fact, err error) {
	var t struct {
		Type text `json:"type"`
	}
	if err := redecode(change.object, &t); err != nil {
		return f, err
	}
	if t.Type == "stripe_account" {
		return ignored(change.event, "the transfer is between accounts of Stripe's, and no payout"), nil
	}
	return stripePayout(change, o)
}

// stripeSetup: https://docs.stripe.com/api/setup_intents/object
func stripeSetup(change stripeChange, o Options) (f Fact, err error) {
	var s struct {
		ID                 string       `json:"id"`
		Mandate            text         `json:"mandate"`
		PaymentMethod      text         `json:"payment_method"`
		PaymentMethodTypes []string     `json:"payment_method_types"`
		LastSetupError     *stripeError `json:"last_setup_error"`
		Metadata           metadata     `json:"metadata"`
	}
	if err := redecode(change.object, &s); err != nil {
		return f, err
	}
	f.Type = schemas.MandateActive
	if change.event == "setup_intent.setup_failed" {
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
func stripeMandate(change stripeChange, _ Options) (f Fact, err error) {
	var m struct {
		ID     string `json:"id"`
		Status text   `json:"status"`
	}
	if err := redecode(change.object, &m); err != nil {
		return f, err
	}
	switch m.Status {
	case "active":
		f.Type = schemas.MandateActive
	case "inactive":
		f.Type = schemas.MandateRevoked
	default:
		return ignored(change.event, fmt.Sprintf("mandate status %q is neither active nor inactive", m.Status)), nil
	}
	f.ConnectorMandateID = m.ID
	return f, nil
}

// stripeDetached: a payment method that was saved with its customer and, from
// now on, cannot be used: https://docs.stripe.com/api/payment_methods/detach
func stripeDetached(change stripeChange, o Options) (f Fact, err error) {
	var m struct {
		ID       string   `json:"id"`
		Metadata metadata `json:"metadata"`
		stripeDetails
	}
	if err := redecode(change.object, &m); err != nil {
		return f, err
	}
	f.Type = schemas.MandateRevoked
	f.MerchantTransactionID = o.merchantID(m.Metadata)
	f.ConnectorMandateID, f.PaymentMethod = m.ID, m.method()
	return f, nil
}

// stripeWarning: https://docs.stripe.com/api/radar/early_fraud_warnings/object
func stripeWarning(change stripeChange, _ Options) (f Fact, err error) {
	var w struct {
		ID            string `json:"id"`
		Charge        text   `json:"charge"`
		PaymentIntent text   `json:"payment_intent"`
		FraudType     text   `json:"fraud_type"`
	}
	if err := redecode(change.object, &w); err != nil {
		return f, err
	}
	f.Type, f.Identity = schemas.FraudReported, w.ID
	f.ConnectorTransactionID = first(w.PaymentIntent, w.Charge)
	f.ConnectorReferences = others(f.ConnectorTransactionID, w.Charge)
	f.Reason = string(w.FraudType)
	return f, nil
}

// stripeReview: https://docs.stripe.com/api/radar/reviews/object
func stripeReview(change stripeChange, _ Options) (f Fact, err error) {
	var r struct {
		ClosedReason  text `json:"closed_reason"`
		Charge        text `json:"charge"`
		PaymentIntent text `json:"payment_intent"`
	}
	if err := redecode(change.object, &r); err != nil {
		return f, err
	}
	switch r.ClosedReason {
	case "approved":
		f.Type = schemas.FraudApproved
	case "refunded_as_fraud":
		f.Type = schemas.FraudRejected
	default:
		return ignored(change.event, fmt.Sprintf("the review closed as %q, which judges no fraud", r.ClosedReason)), nil
	}
	f.ConnectorTransactionID = first(r.PaymentIntent, r.Charge)
	f.ConnectorReferences = others(f.ConnectorTransactionID, r.Charge)
	return f, nil
}
