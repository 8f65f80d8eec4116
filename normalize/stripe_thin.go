package normalize

import (
	"fmt"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// stripeThinFact is what the name of a thin event says of its object.
type stripeThinFact struct {
	typ schemas.Type
	// state follows the object's id in the identity, as in the identity of the event
	// that contains the object. Empty means that the fact can happen several times.
	state string
}

// stripeThinFacts maps the names of thin events, without "v1.", to facts. The names of
// the intents and payouts are in [stripeIntentTypes] and [stripePayoutTypes].
var stripeThinFacts = map[string]stripeThinFact{
	"payment_intent.succeeded":              {schemas.PaymentCaptured, ":captured"},
	"payment_intent.canceled":               {schemas.PaymentCancelled, ":canceled"},
	"charge.failed":                         {schemas.PaymentFailed, ":failed"},
	"charge.expired":                        {schemas.PaymentExpired, ":expired"},
	"checkout.session.async_payment_failed": {schemas.PaymentFailed, ":failed"},
	"checkout.session.expired":              {schemas.PaymentExpired, ":expired"},
	"invoice.payment_failed":                {schemas.PaymentFailed, ""},
	"refund.failed":                         {schemas.RefundFailed, ":failed"},
	"charge.dispute.created":                {schemas.DisputeOpened, ":needs_response"},
	"setup_intent.succeeded":                {schemas.MandateActive, ":succeeded"},
	"setup_intent.setup_failed":             {schemas.MandateFailed, ""},
	"payment_method.detached":               {schemas.MandateRevoked, ":detached"},
}

// stripeThinReportedBy maps a thin event that does not say whether money was taken to
// the event that does. Thin events of charges and sessions do not name the intent, and
// an invoice with the amount 0 is paid, too.
var stripeThinReportedBy = map[string]string{
	"charge.succeeded":                         "v1.payment_intent.succeeded",
	"charge.captured":                          "v1.payment_intent.succeeded",
	"charge.pending":                           "v1.payment_intent.processing",
	"checkout.session.completed":               "v1.payment_intent.succeeded",
	"checkout.session.async_payment_succeeded": "v1.payment_intent.succeeded",
	"invoice.paid":                             "v1.payment_intent.succeeded",
	"invoice.payment_succeeded":                "v1.payment_intent.succeeded",
	"invoice_payment.paid":                     "v1.payment_intent.succeeded",
}

// thin reads a thin event. It has the id of its object and not the object, so without a
// fetched document only the event name decides. If the account has both kinds of
// destinations, Stripe sends thin events of all objects in addition to events that
// contain the object. The two then report one fact with one identity.
//
// The thin event names the other event in snapshot_event. That event is fetched first: it
// gives the fact of the webhook that contains the object. The object alone, which is
// fetched if there is no such event or if it is older than the 30 days for which Stripe
// keeps events, may be in a later state than the event.
//
// https://docs.stripe.com/event-destinations
// https://docs.stripe.com/webhooks/migrate-snapshot-to-thin-events
func (e stripeEvent) thin(o Options) (fact, error) {
	if f, ok, err := e.snapshot(o); ok || err != nil {
		return f, err
	}
	f, err := e.thinAlone()
	if err != nil {
		return f, err
	}
	return e.withObject(f, o)
}

// snapshot returns the fact of the fetched event that contains the object, and whether it
// was fetched.
func (e stripeEvent) snapshot(o Options) (f fact, ok bool, err error) {
	var s stripeEvent
	name := "event/" + string(e.Snapshot)
	if ok, err = o.document(name, &s); !ok {
		return f, false, err
	}
	if want := strings.TrimPrefix(string(e.Type), "v1."); s.ID != e.Snapshot || string(s.Type) != want {
		return f, true, fmt.Errorf("%w: the fetched %s is the event %q of type %q, want type %q", ErrMalformed, name, s.ID, s.Type, want)
	}
	if f, err = s.fact(o); err != nil {
		return f, true, fmt.Errorf("the fetched %s: %w", name, err)
	}
	f.ConnectorEventID = string(s.ID)
	if f.Identity == "" {
		f.Identity = string(s.ID)
		f.Also = append(f.Also, string(e.ID))
	}
	if f.Account == "" {
		f.Account = string(e.Context)
	}
	f.Formerly = append(f.Formerly, string(s.ID))
	return f, true, nil
}

// stripeObjectFacts are the thin events whose fact the object decides: without it, they
// have none. An event of a charge or a session is not among them, because its object may
// have been captured further or refunded since, which would be another fact.
var stripeObjectFacts = map[string]bool{"payment_intent.amount_capturable_updated": true}

// withObject adds the amounts, the reference and the reasons of the fetched object. The
// type, the identity and the time stay those of the event.
func (e stripeEvent) withObject(f fact, o Options) (fact, error) {
	name := strings.TrimPrefix(string(e.Type), "v1.")
	kind := name[:max(0, strings.LastIndex(name, "."))]
	var about struct {
		ID text `json:"id"`
	}
	if err := redecode(e.RelatedObject, &about); err != nil {
		return f, err
	}
	var object part
	document := kind + "/" + string(about.ID)
	if ok, err := o.document(document, &object); !ok || f.Type == "" && !stripeObjectFacts[name] {
		return f, err
	}
	read, ok := stripeReaders[name]
	if !ok {
		return f, nil
	}
	now, err := read(stripeChange{event: name, version: stripeVersion, created: f.Time, object: object}, o)
	if err == nil {
		err = stripeCheckID(object)
	}
	switch {
	case err != nil:
		return f, fmt.Errorf("the fetched %s: %w", document, err)
	case f.Type == "": // the object decides
		if now.Type != schemas.PaymentAuthorized {
			return ignored(e.Type, "a thin event, and the payment has changed since: what was authorized is not known"), nil
		}
		now.Account = string(e.Context)
		now.Time, err = e.createdAt()
		return now, err
	}
	f.fillReferences(now)
	if now.Type != f.Type { // the object is in a later state
		if f.Type.Family() != "payment" { // the amounts of payments change, others do not
			f.Amount, f.Reason, f.ReasonCode = now.Amount, now.Reason, now.ReasonCode
		}
		return f, nil
	}
	f.Amount, f.AuthorizedAmount, f.CapturedAmount = now.Amount, now.AuthorizedAmount, now.CapturedAmount
	fill(&f.ConnectorMandateID, now.ConnectorMandateID)
	f.PaymentMethod, f.NetworkTransactionID, f.MandateID = now.PaymentMethod, now.NetworkTransactionID, now.MandateID
	f.Error, f.Reason, f.ReasonCode, f.Stage, f.RespondBy = now.Error, now.Reason, now.ReasonCode, now.Stage, now.RespondBy
	if now.Identity != f.Identity && now.Identity != "" && f.Identity != "" {
		f.Also = append(f.Also, now.Identity) // of the event with the object
	}
	return f, nil
}

// fillReferences adds the merchant's reference and the processor's ids of the payment.
func (f *fact) fillReferences(from fact) {
	fill(&f.MerchantTransactionID, from.MerchantTransactionID)
	if f.MerchantTransactionID == from.MerchantTransactionID {
		f.KeySource = from.KeySource
	}
	ids := append([]string{f.ConnectorTransactionID, from.ConnectorTransactionID}, from.ConnectorReferences...)
	if from.ConnectorTransactionID != "" {
		f.ConnectorTransactionID = from.ConnectorTransactionID
	}
	f.ConnectorReferences = others(f.ConnectorTransactionID, ids...)
}

// createdAt returns the time of a thin event, which is text.
func (e stripeEvent) createdAt() (time.Time, error) {
	var created time.Time
	err := redecode(e.Created, &created)
	return created.UTC(), err
}

// stripeVersion is the version of Stripe's API with which package fetch asks for objects:
// it decides which fields they have.
const stripeVersion = "2025-03-31.basil"

// thinAlone returns the fact of a thin event without a document.
func (e stripeEvent) thinAlone() (f fact, err error) {
	var about struct {
		ID text `json:"id"`
	}
	if err := redecode(e.RelatedObject, &about); err != nil {
		return f, err
	}
	name, id := strings.TrimPrefix(string(e.Type), "v1."), string(about.ID)
	fact := stripeThinFacts[name]
	switch {
	case id == "" || name == string(e.Type):
		return notUnified(e.Type), nil
	case name == "payment_intent.amount_capturable_updated":
		return ignored(e.Type, "a thin event does not say whether "+id+" was authorized or captured in part"), nil
	case stripeThinReportedBy[name] != "":
		return reportedBy(e.Type, stripeThinReportedBy[name]), nil
	case fact.typ != "":
		f.Type = fact.typ
		if fact.state != "" {
			f.Identity = id + fact.state
		}
	case stripeIntentTypes[name] != "":
		f.Type = stripeIntentTypes[name]
	case stripePayoutTypes[name] != "":
		f.Type, f.Identity = stripePayoutTypes[name], stripePayoutIdentity(id, name)
	case name == "radar.early_fraud_warning.created":
		f.Type, f.Identity = schemas.FraudReported, id
	default:
		return ignored(e.Type, "a thin event does not have the new state of "+id), nil
	}
	switch f.Type.Family() {
	case "refund":
		f.ConnectorRefundID = id
	case "dispute":
		f.ConnectorDisputeID = id
	case "payout":
		f.ConnectorPayoutID = id
	case "payment":
		f.ConnectorTransactionID = id
	case "mandate":
		f.ConnectorMandateID = id
		if strings.HasPrefix(name, "setup_intent.") {
			f.ConnectorMandateID, f.ConnectorTransactionID = "", id
		}
	}
	f.Account = string(e.Context)
	f.Time, err = e.createdAt()
	return f, err
}
