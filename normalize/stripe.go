package normalize

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// stripe normalises Stripe's webhooks. One webhook is one event, {"id", "type",
// "created", "livemode", "data": {"object"}}, and the object is in its state
// after the change. The payment id is that of the PaymentIntent, or of the
// charge if there is no intent. A charge of an intent becomes no event, because
// the intent has an event of its own. Several event types report the same
// refund or dispute, so the identity of these is the object and its status:
// each state is one fact. The API version decides which event reports the
// refund of a charge: see [stripeChargeRefunded].
//
// The merchant's reference is in the metadata of the intent, the charge or the
// refund. A dispute has metadata of its own, which is mostly empty.
//
// https://docs.stripe.com/api/events/types
var stripe = Connector{
	Docs:      "https://docs.stripe.com/api/events/types",
	Key:       "data.object.metadata.<merchant_id_keys>; data.object.client_reference_id of Checkout sessions",
	Normalize: stripeNormalize,
}

// stripeExponents has the currencies whose minor unit at Stripe differs from
// ISO 4217:
// https://docs.stripe.com/currencies#special-cases
var stripeExponents = map[string]int{"ISK": 2, "UGX": 2, "MGA": 0}

// stripeReaders has, for each event name, the function that reads its object.
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
	"charge.refunded":       stripeChargeRefunded,

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

	"setup_intent.succeeded":    stripeSetupIntent,
	"setup_intent.setup_failed": stripeSetupIntent,
	"mandate.updated":           stripeMandate,
	"payment_method.detached":   stripeMethodDetached,

	"radar.early_fraud_warning.created": stripeFraudWarning,
	"radar.early_fraud_warning.updated": stripeFraudWarning,
	"review.closed":                     stripeReview,
}

// stripeEvent is the body of a webhook. Its object is read only if the event
// name is known.
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

// stripeChange is an event with its object.
type stripeChange struct {
	event   string // the event name
	version string // of the API: the format of the object
	created time.Time
	object  jsontext.Value // data.object
	before  jsontext.Value // data.previous_attributes: the former values of the changed fields
}

// fact reads an event that contains its object.
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
	return f, stripeCheckID(data.Object)
}

// thin reads a thin event. It has the id of its object and not the object, so
// only the event name decides. An account can receive both kinds of events;
// these have different ids and are two facts.
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

// stripeCheckID returns an error if the object has no id or is no object. The
// id is nearly always the first field, so the others are rarely scanned.
func stripeCheckID(object jsontext.Value) error {
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

// stripeMethodDetails has the details of a payment method.
type stripeMethodDetails struct {
	Type text `json:"type"`
	Card struct {
		Brand                text `json:"brand"`
		NetworkTransactionID text `json:"network_transaction_id"`
	} `json:"card"`
}

// method returns the payment method.
func (d stripeMethodDetails) method() *schemas.PaymentMethod {
	return method(d.Type, d.Card.Brand)
}
