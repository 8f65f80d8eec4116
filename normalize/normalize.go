// Package normalize turns verified webhook payloads of payment processors into
// unified events:
//
//	result, err := normalize.Normalize("stripe", payload, normalize.Options{Live: true, ReceivedAt: time.Now()})
//	if err != nil {
//		log.Fatal(err) // there is no connector of that name
//	}
//	for _, event := range result.Events {
//		fmt.Println(event.Type, event.Data.MerchantTransactionID, *event.Data.Amount)
//	}
//	// payment.captured order-43 {1099 EUR}
//
// There is one file for each connector, which maps the processor's event types,
// statuses and fields to those of package schemas. A connector knows nothing of
// HTTP or Kafka.
//
// [Normalize] is a pure function of the payload and the endpoint's settings: a webhook
// gives the same events with the same ids when it is received, when it is redelivered
// and when it is replayed. Every item of a payload becomes an event, or [Result] lists
// it with the reason why it has none. Normalize checks no signature: verify the webhook
// first.
package normalize

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// connectors maps the name of a connector, which is the processor's part of the webhook
// URL, to the connector. Each has one line here and a file of its own.
var connectors = map[string]Connector{
	"adyen":                 adyen,
	"adyen-platform":        adyenPlatform,
	"authorizenet":          authorizenet,
	"billplz":               billplz,
	"braintree":             braintree,
	"btcpay":                btcpay,
	"cashfree":              cashfree,
	"checkout":              checkout,
	"coinbase-commerce":     coinbaseCommerce,
	"epay-bambora":          epayBambora,
	"fiuu-molpay":           fiuuMolpay,
	"flutterwave":           flutterwave,
	"globalpayments-realex": globalpaymentsRealex,
	"gocardless":            gocardless,
	"ipay88":                ipay88,
	"liqpay":                liqpay,
	"lithic":                lithic,
	"lyra":                  lyra,
	"mercadopago":           mercadopago,
	"midtrans":              midtrans,
	"modern-treasury":       modernTreasury,
	"mollie":                mollie,
	"moneyhash":             moneyhash,
	"monnify":               monnify,
	"multisafepay":          multisafepay,
	"opayo-server":          opayoServer,
	"paddle":                paddle,
	"paypal":                paypal,
	"paystack":              paystack,
	"payu-emea":             payuEmea,
	"payu-india":            payuIndia,
	"portone":               portone,
	"quickpay":              quickpay,
	"razorpay":              razorpay,
	"recurly":               recurly,
	"robokassa":             robokassa,
	"shopify":               shopify,
	"skrill":                skrill,
	"sofort":                sofort,
	"square":                square,
	"standardwebhooks":      standardwebhooks,
	"stripe":                stripe,
	"svix":                  svix,
	"truelayer":             truelayer,
	"trustly":               trustly,
	"wallee":                wallee,
	"wechatpay":             wechatpay,
	"wompi":                 wompi,
	"worldline-connect":     worldlineConnect,
	"xendit":                xendit,
	"xsolla":                xsolla,
}

// Connector describes how the webhooks of one processor are normalised.
type Connector struct {
	Docs     string    // URL of the processor's documentation of its events
	Key      string    // the field that merchant_transaction_id is read from, in one line
	Settings []Setting // of an endpoint; all are optional
	// Tellers are the processor's event types that the connector reads, in the order in
	// which commands and documentation list them.
	Tellers []Teller
	// Captures says how the captures of one payment, one connector_transaction_id, are
	// counted: by captured_amount, if that is the total so far, or by amount, if that is a
	// part. Where it is the total, an event without captured_amount reports a part. It is
	// empty if no event reports a capture.
	Captures Counting
	// Refunds says the same of the amount of refunds that have no id of their own. It is
	// empty if all refunds have one.
	Refunds Counting
	// normalize reads a verified payload. It returns one fact for each item of the
	// payload, in their order. The error wraps [ErrMalformed] and means that the
	// payload as a whole cannot be read.
	normalize func(payload []byte, o Options) ([]fact, error)
}

// Counting says what several amounts of one payment report.
type Counting string

// What amounts report.
const (
	CountsParts   Counting = "parts"   // each reports a part: they add up
	CountsTotal   Counting = "total"   // each reports the sum so far: the largest is valid
	CountsOnce    Counting = "once"    // there is one amount
	CountsUnknown Counting = "unknown" // the processor's documentation is not clear
)

// Types returns the types of the events that the connector makes, in the order of
// [schemas.Types].
func (c Connector) Types() []schemas.Type {
	made := map[schemas.Type]bool{}
	for _, teller := range c.Tellers {
		for _, t := range teller.Facts {
			made[t] = true
		}
	}
	return slices.DeleteFunc(schemas.Types(), func(t schemas.Type) bool { return !made[t] })
}

// Setting describes an optional setting of an endpoint.
type Setting struct {
	Name        string
	Description string // its meaning and its values, in one line
	// Values are the values that the setting can have; nil if it can have any.
	Values []string
	// Unset is a warning about an endpoint without the setting, for settings without
	// a default that is right for most merchants. It says what happens and which value
	// to set. If it is empty, there is no warning.
	Unset string
}

// Teller is one of the processor's event types, and the facts that it can report.
type Teller struct {
	Event string         // the processor's name, as in connector_event_type
	Facts []schemas.Type // the types of its events
	// Subscription is what the merchant subscribes to, if the processor has another
	// name for that than Event.
	Subscription string
	// Instead names event types that report the same facts, so that the merchant need
	// not subscribe to this one. It is empty if the merchant should subscribe to it. It
	// begins with "with tells VALUE: " if it is redundant only while the setting tells
	// has that value.
	Instead string
	// Tells is the value of the setting "tells" with which this type makes events. With
	// another value, it is ignored and only adds references. It is empty if the type
	// makes events with every value.
	Tells string
}

// NoSubscription is the [Teller.Subscription] of event types that the processor sends
// without a subscription.
const NoSubscription = "nothing: the processor sends all of them to the configured address"

// Options are the properties of the endpoint and of the delivery that the payload
// does not carry.
type Options struct {
	Endpoint string // name of the endpoint; empty means "default"
	Live     bool   // the endpoint takes real money: facts in test mode are ignored
	// MerchantIDKeys are the metadata fields that may hold the merchant's reference;
	// the first with a value is used. Empty means merchant_transaction_id, then order_id.
	MerchantIDKeys []string
	Settings       map[string]string // by [Setting.Name]
	ReceivedAt     time.Time         // when the webhook was received
	// Fetched are the answers of the processor's API that belong to the webhook. They are
	// as trustworthy as a verified payload.
	Fetched []schemas.Fetched
	// Unsigned says that nobody verified the payload. Fields that the processor does
	// not sign are then read where no signed field has the value. Use it to look at
	// payloads, never for events that are published.
	Unsigned bool
}

// defaultMerchantIDKeys is the default of [Options.MerchantIDKeys].
var defaultMerchantIDKeys = []string{"merchant_transaction_id", "order_id"}

// fact is what one item of a payload says happened. The connector sets the fields
// that it reads, and [Normalize] makes an event of them.
type fact struct {
	// Type is the event type. It is empty for an item that becomes no event; Outcome
	// and Why are then set.
	Type schemas.Type
	// Identity is a text that the processor repeats whenever it sends the same fact.
	// The event id is computed from it, so it must be signed. Empty means the SHA-256
	// of the payload, for processors whose redeliveries are equal byte for byte.
	Identity string
	// Also are other identities of the same fact, with the same type and item, which
	// other webhooks of the processor give it. If the fact was published under any of
	// its identities, it is a duplicate, and from then on under all of them.
	Also []string
	// Formerly are the identities that earlier versions of the connector gave the fact
	// of this webhook, with the same type and item. If the fact was published under one
	// of them, it is a duplicate: redeliveries and replays after an upgrade publish
	// nothing twice. They are only looked up, never stored.
	Formerly []string
	Item     int       // distinguishes facts with the same identity and type
	Time     time.Time // when it happened; zero if the processor does not say
	Mode     mode
	schemas.Data

	Outcome Outcome // ignored or malformed; empty if Type is set
	Why     string  // reason for the outcome
	// ToldBy are the event types that report an ignored fact instead: see [reportedBy].
	ToldBy []string
}

// mode says whether a fact is about real money.
type mode string

// The modes. With modeUnknown, the fact has the mode of the endpoint.
const (
	modeUnknown mode = ""
	modeLive    mode = "live"
	modeTest    mode = "test"
)

// modeOf returns the mode for processors that send a boolean.
func modeOf(live bool) mode {
	if live {
		return modeLive
	}
	return modeTest
}

// Outcome is the result of normalising a payload, or one item of it.
type Outcome string

// The outcomes.
const (
	OutcomeEvents    Outcome = "events"    // at least one item became an event
	OutcomeIgnored   Outcome = "ignored"   // valid, but not a fact that has an event type
	OutcomeMalformed Outcome = "malformed" // verified, but not as the processor's documentation says
)

// Result is the result of normalising a payload.
type Result struct {
	Events []schemas.Event `json:"events"`
	// Skipped are the items without an event, and items whose merchant's reference was
	// left out.
	Skipped []Skipped `json:"kept,omitempty"`
	// References are the merchant's reference and the processor's ids from the items
	// without an event.
	References []schemas.Reference `json:"references,omitempty"`
}

// Skipped is an item of a payload that became no event, with the reason. An item that
// became an event is also listed if its merchant's reference was left out. The caller
// has to archive the payload.
type Skipped struct {
	Item    int     `json:"item"`                           // index of the item in the payload, from 0
	Type    string  `json:"connector_event_type,omitempty"` // the processor's name for the event
	Outcome Outcome `json:"outcome"`                        // ignored or malformed
	Reason  string  `json:"reason"`
	// ToldBy are the processor's event types that report this fact instead.
	ToldBy []string `json:"-"`
}

// Outcome returns the outcome of the payload: events if it has at least one event,
// else malformed if an item is malformed, else ignored.
func (r Result) Outcome() Outcome {
	switch {
	case len(r.Events) > 0:
		return OutcomeEvents
	case r.Has(OutcomeMalformed):
		return OutcomeMalformed
	default:
		return OutcomeIgnored
	}
}

// Has reports whether an item in Skipped has the outcome.
func (r Result) Has(o Outcome) bool {
	return slices.ContainsFunc(r.Skipped, func(s Skipped) bool { return s.Outcome == o })
}

var (
	// ErrUnknown means that there is no connector of that name.
	ErrUnknown = errors.New("unknown connector")
	// ErrMalformed means that a verified payload is not as the processor documents
	// it. A redelivery would be malformed, too: a person has to inspect the payload.
	ErrMalformed = errors.New("payload malformed")
)

// Normalize returns the events of a verified payload. The error wraps [ErrUnknown]
// if there is no such connector; there is no other error. A payload that cannot be
// read gives a result without events, with the outcome malformed and a reason.
func Normalize(connector string, payload []byte, o Options) (Result, error) {
	c, ok := connectors[connector]
	if !ok {
		return Result{}, fmt.Errorf("%w %q", ErrUnknown, connector)
	}
	if o.Endpoint == "" {
		o.Endpoint = "default"
	}
	if len(o.MerchantIDKeys) == 0 {
		o.MerchantIDKeys = defaultMerchantIDKeys
	}
	payload = withoutByteOrderMark(payload)
	facts, err := c.read(payload, o)
	if err != nil {
		facts = []fact{malformed("", err)}
	}
	var r Result
	type position struct{ item, event int }
	var positions map[string]position // of the first item with an event id
	if len(facts) > 1 {
		positions = map[string]position{}
	}
	for i := range facts {
		f := &facts[i]
		e, skipped := f.event(connector, payload, o)
		if skipped == nil && positions != nil {
			for id := range e.IDs() {
				if first, ok := positions[id]; ok {
					skipped = r.merge(first.event, first.item, e)
					break
				}
			}
		}
		if reference, ok := f.reference(connector, o); ok {
			r.References = append(r.References, reference)
		}
		switch {
		case skipped != nil:
			skipped.Item = i
			r.Skipped = append(r.Skipped, *skipped)
		default:
			if positions != nil {
				for id := range e.IDs() {
					positions[id] = position{i, len(r.Events)}
				}
			}
			r.Events = append(r.Events, e)
			if err := schemas.CheckReference(f.MerchantTransactionID); f.MerchantTransactionID != "" && err != nil {
				r.Skipped = append(r.Skipped, Skipped{Item: i, Type: f.ConnectorEventType, Outcome: OutcomeIgnored, Reason: fmt.Sprintf("the merchant's reference is ignored, and the event has a fallback key: %v", err)})
			}
		}
	}
	return r, nil
}

// merge adds the fields of e to the event with the index, which reports the same fact.
// It returns why e does not become an event. Item is the index of that event's item.
func (r *Result) merge(index, item int, e schemas.Event) *Skipped {
	first := r.Events[index]
	one, _ := first.Fill(e)
	if e.ID == first.ID && !sameFact(one, first, e) {
		return &Skipped{Type: e.Data.ConnectorEventType, Outcome: OutcomeMalformed, Reason: fmt.Sprintf(
			"item %d has the same event id, %s, and other data: only the first of two facts with one id becomes an event", item, e.ID)}
	}
	r.Events[index] = one
	return &Skipped{Type: e.Data.ConnectorEventType, Outcome: OutcomeIgnored, Reason: fmt.Sprintf("item %d reports the same fact", item)}
}

// sameFact reports whether a and b agree in all fields that both have; one is a with
// the fields of b added. Their times, and the processor's ids and names of the events,
// may differ.
func sameFact(one, a, b schemas.Event) bool {
	b, _ = b.Fill(a)
	for _, e := range []*schemas.Event{&one, &b} {
		e.Time, e.Also, e.Formerly, e.Data.ConnectorEventID, e.Data.ConnectorEventType = a.Time, nil, nil, "", ""
		e.Data.ConnectorReferences = slices.Sorted(slices.Values(e.Data.ConnectorReferences))
	}
	return reflect.DeepEqual(one, b)
}

// read calls the connector and turns a panic into an error that wraps [ErrMalformed].
// Without it, the processor would redeliver the payload that caused the panic for days.
func (c Connector) read(payload []byte, o Options) (facts []fact, err error) {
	defer func() {
		if p := recover(); p != nil {
			facts, err = nil, fmt.Errorf("%w: the connector panicked: %v", ErrMalformed, p)
		}
	}()
	return c.normalize(payload, o)
}

// event returns the event of a fact or, if it has none, the reason.
func (f *fact) event(connector string, payload []byte, o Options) (schemas.Event, *Skipped) {
	switch {
	case f.Type == "":
		return schemas.Event{}, f.skipped(f.Outcome, f.Why)
	case o.Live && f.Mode == modeTest:
		return schemas.Event{}, f.skipped(OutcomeIgnored, "test mode, and the endpoint is live")
	}
	if f.Identity == "" {
		f.Identity = payloadIdentity(payload)
	}
	d := f.Data
	d.Connector, d.Endpoint, d.Status = connector, o.Endpoint, f.Type.Status()
	d.ReceivedAt = o.ReceivedAt.UTC()
	d.Live = f.Mode == modeLive || f.Mode == modeUnknown && o.Live
	if schemas.CheckReference(d.MerchantTransactionID) == nil {
		d.KeySource = cmp.Or(d.KeySource, schemas.KeyFromPayload)
	} else {
		d.KeySource = schemas.KeyFromConnector
		d.MerchantTransactionID = connector + ":" + d.Account + ":" + f.connectorID()
	}
	when := f.Time.UTC()
	if f.Time.IsZero() {
		when = d.ReceivedAt
	}
	e := schemas.Event{
		SpecVersion:     schemas.SpecVersion,
		ID:              schemas.ID(connector, o.Endpoint, f.Identity, f.Type, f.Item),
		Source:          "/webhooks/" + connector + "/" + o.Endpoint,
		Type:            f.Type,
		Subject:         d.MerchantTransactionID,
		Time:            when,
		DataContentType: "application/json",
		DataSchema:      f.Type.Schema(),
		Data:            d,
	}
	e.Also = f.idsOf(f.Also, &e)
	e.Formerly = f.idsOf(f.Formerly, &e)
	err := e.Validate()
	if err == nil && len(payload) > schemas.MostBytes/32 { // the event of a smaller payload cannot be too large
		err = checkSize(e)
	}
	if err != nil {
		return schemas.Event{}, f.skipped(OutcomeMalformed, err.Error())
	}
	return e, nil
}

// skipped returns the item of a fact that becomes no event.
func (f *fact) skipped(o Outcome, reason string) *Skipped {
	return &Skipped{Type: f.ConnectorEventType, Outcome: o, Reason: reason, ToldBy: f.ToldBy}
}

// idsOf returns the event ids of further identities of a fact, except those that its
// event e already has.
func (f *fact) idsOf(identities []string, e *schemas.Event) (ids []string) {
	for _, identity := range identities {
		id := schemas.ID(e.Data.Connector, e.Data.Endpoint, identity, f.Type, f.Item)
		if id != e.ID && !slices.Contains(e.Also, id) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// payloadIdentity returns the identity of a fact that has none of its own: the SHA-256
// of the payload.
func payloadIdentity(payload []byte) string {
	sum := sha256.Sum256(payload)
	return hex.EncodeToString(sum[:])
}

// reference returns the reference that a fact without an event gives; false if the fact
// lacks the merchant's reference or an id of the processor's.
func (f *fact) reference(connector string, o Options) (r schemas.Reference, ok bool) {
	d := &f.Data
	if f.Type != "" || d.UnsignedIDs || d.KeySource == schemas.KeyFromRequest || o.Live && f.Mode == modeTest || schemas.CheckReference(d.MerchantTransactionID) != nil {
		return r, false
	}
	r = schemas.Reference{MerchantTransactionID: d.MerchantTransactionID, Connector: connector, Account: d.Account}
	for _, id := range append([]string{d.ConnectorTransactionID}, d.ConnectorReferences...) {
		if schemas.CheckReference(id) == nil && !slices.Contains(r.IDs, id) {
			r.IDs = append(r.IDs, id)
		}
	}
	return r, len(r.IDs) > 0 && (d.Account == "" || schemas.CheckReference(d.Account) == nil)
}

// checkSize returns an error for an event that is too large for a topic. Publishing it
// would always fail, and the processor would redeliver the webhook for days. An event
// can be larger than its payload: it repeats some fields, and JSON escapes some bytes.
func checkSize(e schemas.Event) error {
	b, err := e.Encode()
	if err == nil && len(b) > schemas.MostBytes {
		err = fmt.Errorf("the event would have %d bytes, and may have %d", len(b), schemas.MostBytes)
	}
	return err
}

// connectorID returns the id in the fallback key: the payment's, so that all events
// of a payment have the same key, else that of the dispute, refund, payout, mandate
// or event.
func (f *fact) connectorID() string {
	for _, id := range []string{
		f.ConnectorTransactionID, f.ConnectorDisputeID, f.ConnectorRefundID,
		f.ConnectorPayoutID, f.ConnectorMandateID, f.MandateID, f.ConnectorEventID,
	} {
		if id != "" {
			return id
		}
	}
	return f.Identity
}

// Connectors returns the names of all connectors, sorted.
func Connectors() []string { return slices.Sorted(maps.Keys(connectors)) }

// Lookup returns the description of a connector, and false if there is none of that
// name.
func Lookup(connector string) (Connector, bool) {
	c, ok := connectors[connector]
	return c, ok
}
