package normalize

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// stripe normalises Stripe's webhooks. One webhook is one event, {"id", "type",
// "created", "livemode", "data": {"object"}}, and the object is in its state after the
// change. A merchant can subscribe to any single event type, and several report the
// same fact, so the identity of a fact is the object and its new state: pi_1:captured,
// ch_1:failed, re_1:succeeded, dp_1:lost. The payment is the PaymentIntent, or the
// charge if there is no intent. A few facts have no such identity, because they can
// happen to one object several times; these have the id of Stripe's event, which is the
// same in all its deliveries: processing, action required, and failures without a
// charge.
//
// Which other objects an object names depends on the version of the API, which is set
// for an endpoint at Stripe: see [stripeBasil] and [stripeRefundsByCharge].
//
// The merchant's reference is in the metadata of the intent, the charge, the
// session, the invoice, the subscription or the refund, or in the session's
// client_reference_id. Stripe does not copy the session's to the intent: the
// merchant can do that with payment_intent_data[metadata] when it makes the
// session. A dispute has metadata of its own, which is mostly empty.
//
// https://docs.stripe.com/api/events/types
// https://docs.stripe.com/metadata
var stripe = Connector{
	Docs:      "https://docs.stripe.com/api/events/types",
	Key:       "data.object.metadata.<merchant_id_keys>, also of the subscription of an invoice; data.object.client_reference_id of Checkout sessions",
	Settings:  []Setting{stripeTells, stripeRefunds},
	Tellers:   stripeTellers,
	Captures:  CountsTotal, // amount_received and amount_captured: https://docs.stripe.com/payments/multicapture
	Refunds:   CountsParts, // charge.refunded: the difference of amount_refunded and its former value
	normalize: stripeNormalize,
}

// stripeTells is the setting that selects which events report that an invoice was paid.
var stripeTells = Setting{
	Name: "tells",
	Description: "which events report that an invoice was paid, since API version 2025-03-31, where an invoice no longer names its payment: payments (payment_intent.*, charge.*, invoice_payment.paid) " +
		"or invoices (invoice.*, checkout.session.*; not for invoices that are paid in parts); payments if it is not set",
	Values: []string{"payments", "invoices"},
}

// stripeRefunds is the setting that selects which events report successful refunds.
var stripeRefunds = Setting{
	Name:        "refunds",
	Description: "which events report successful refunds, since API version 2024-10-28, where a charge does not name its refunds: refunds (refund.*) or charges (charge.refunded); refunds if it is not set",
	Values:      []string{"refunds", "charges"},
}

// stripeExponents lists the currencies whose minor unit at Stripe differs from ISO
// 4217:
// https://docs.stripe.com/currencies#special-cases
var stripeExponents = map[string]int{"ISK": 2, "UGX": 2, "MGA": 0}

// stripeReaders maps an event to the function that reads its object.
var stripeReaders = map[string]func(change stripeChange, o Options) (fact, error){
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

	"checkout.session.completed":               stripeSession,
	"checkout.session.async_payment_succeeded": stripeSession,
	"checkout.session.async_payment_failed":    stripeSession,
	"checkout.session.expired":                 stripeSession,

	"invoice.paid":              stripeInvoice,
	"invoice.payment_succeeded": stripeInvoice,
	"invoice.payment_failed":    stripeInvoice,
	"invoice_payment.paid":      stripeInvoicePayment,

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
	ID         text       `json:"id"`
	Object     text       `json:"object"`
	Type       text       `json:"type"`
	Account    text       `json:"account"`
	APIVersion text       `json:"api_version"`
	Created    part       `json:"created"`
	Livemode   text       `json:"livemode"`
	Data       stripeData `json:"data"`

	Context       text `json:"context"`        // of thin events
	RelatedObject part `json:"related_object"` // of thin events
	Snapshot      text `json:"snapshot_event"` // of thin events: the event with the object, if there is one
}

// stripeData has the object of an event and, in Before, the former values of its changed
// fields. Other is the text of anything but a JSON object, which is an error only if the
// event name is known.
type stripeData struct {
	Object part `json:"object"`
	Before part `json:"previous_attributes"`
	other  part
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (s *stripeData) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '{' {
		return s.other.UnmarshalJSONFrom(d)
	}
	type object stripeData
	return json.UnmarshalDecode(d, (*object)(s))
}

func (s *stripeData) readsObjects() {}

func stripeNormalize(payload []byte, o Options) ([]fact, error) {
	var e stripeEvent
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	event := string(e.Type)
	switch {
	case event == "":
		return nil, fmt.Errorf("%w: no type: not an event of Stripe's", ErrMalformed)
	case stripeReaders[strings.TrimPrefix(event, "v1.")] == nil:
		return []fact{notUnified(event)}, nil
	case e.ID == "":
		return oneMalformed(event, fmt.Errorf("%w: no id: not an event of Stripe's", ErrMalformed))
	}
	read := e.fact
	if e.Object == "v2.core.event" {
		read = e.thin
	}
	f, err := read(o)
	f.Mode, f.ConnectorEventID = modeOf(e.Livemode == "true"), cmp.Or(f.ConnectorEventID, string(e.ID))
	if f.Identity == "" {
		f.Identity = string(e.ID)
	}
	f.Formerly = append(f.Formerly, string(e.ID)) // most facts had it
	return oneFact(event, f, err)
}

// stripeChange is an event with its object.
type stripeChange struct {
	event   string // the event name
	version string // of the API: the format of the object
	created time.Time
	object  part // data.object
	before  part // data.previous_attributes: the former values of the changed fields
}

// fact reads an event that contains its object.
func (e stripeEvent) fact(o Options) (f fact, err error) {
	read, ok := stripeReaders[string(e.Type)]
	if !ok {
		return notUnified(e.Type), nil
	}
	if err := redecode(e.Data.other, &struct{}{}); err != nil {
		return f, err
	}
	var created int64
	if err := redecode(e.Created, &created); err != nil {
		return f, err
	}
	change := stripeChange{string(e.Type), string(e.APIVersion), unix(created), e.Data.Object, e.Data.Before}
	if f, err = read(change, o); err != nil {
		return f, err
	}
	f.Time, f.Account = change.created, string(e.Account)
	return f, stripeCheckID(e.Data.Object)
}

// increase returns by how much the change raised a sum in a field of the object; nil if
// the event lacks the sum before the change, or if the sum did not grow.
func (c stripeChange) increase(field string, to int64) *int64 {
	var before map[string]part
	var from *int64
	if redecode(c.before, &before) != nil || redecode(before[field], &from) != nil || from == nil {
		return nil
	}
	if to -= *from; to <= 0 {
		return nil
	}
	return &to
}

// stripeCheckID returns an error if the object has no id or is no object. The
// id is nearly always the first field, so the others are rarely scanned.
func stripeCheckID(object part) error {
	const space = " \t\r\n"
	if id, ok := bytes.CutPrefix(bytes.TrimLeft(bytes.TrimPrefix(object, []byte("{")), space), []byte(`"id":`)); ok {
		if id = bytes.TrimLeft(id, space); id[0] == '"' && id[1] != '"' {
			return nil
		}
	}
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

		// Of charges alone.
		AmountAuthorized *int64 `json:"amount_authorized"`
		Multicapture     struct {
			Status text `json:"status"`
		} `json:"multicapture"`
	} `json:"card"`
}

// stripeBasil reports whether a version of the API, which begins with its date, is
// 2025-03-31.basil or later. Since then neither an intent nor a charge names its
// invoice, and an invoice does not name them.
//
// https://docs.stripe.com/changelog/basil/2025-03-31/add-support-for-multiple-partial-payments-on-invoices
func stripeBasil(version string) bool { return version >= "2025-03-31" }

// stripeInvoicesReport reports whether the setting tells selects the events of invoices
// to report that an invoice was paid.
func stripeInvoicesReport(o Options) bool { return o.Settings["tells"] == "invoices" }

// stripeNoEvent returns the ignored fact with the merchant's reference and the ids of
// f, which link other events.
func stripeNoEvent(ignored, f fact) fact {
	ignored.MerchantTransactionID = f.MerchantTransactionID
	ignored.ConnectorTransactionID, ignored.ConnectorReferences = f.ConnectorTransactionID, f.ConnectorReferences
	return ignored
}

// method returns the payment method.
func (d stripeMethodDetails) method() *schemas.PaymentMethod {
	return method(d.Type, d.Card.Brand)
}
