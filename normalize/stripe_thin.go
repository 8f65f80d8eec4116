package normalize

import (
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

// thin reads a thin event. It has the id of its object and not the object, so only the
// event name decides. If the account has both kinds of destinations, Stripe sends thin
// events of all objects in addition to events that contain the object. The two then
// report one fact with one identity.
// one fact, and have one identity.
//
// https://docs.stripe.com/event-destinations
func (e stripeEvent) thin(Options) (f fact, err error) {
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
	var created time.Time
	err = redecode(e.Created, &created)
	f.Time = created.UTC()
	return f, err
}
