// Package normalize turns what a processor says into what tollbridge says: a
// verified payload into unified events. There is one file a connector; this
// one holds what they share.
//
// Normalising is a pure function of the payload and the endpoint's settings:
// the same webhook gives the same events with the same ids, today, redelivered,
// and replayed next year. A connector knows its processor's words and nothing
// of HTTP or Kafka. What it cannot map it says so of, item by item: nothing
// that was verified is dropped silently.
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

// connectors is every processor whose webhooks can be normalised, by its name
// in the URL. A connector is one line here and a file of its own.
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

// Connector is what normalize knows of a processor.
type Connector struct {
	Docs      string // the processor's page about its events
	Key       string // where merchant_transaction_id comes from, in one line
	Settings  []Setting
	Normalize Func
}

// Setting is one thing that an endpoint can configure for normalising.
type Setting struct {
	Name string
	Says string // what it is, in one line
}

// Func reads a payload that was verified. It returns a fact an item, in the
// order they stand there, and an error wrapping [ErrMalformed] if the payload
// as a whole cannot be read.
type Func func(payload []byte, o Options) ([]Fact, error)

// Options is what the endpoint adds to a payload.
type Options struct {
	Endpoint       string            // its name; empty is "default"
	Live           bool              // test-mode facts are ignored
	MerchantIDKeys []string          // names to look for in free metadata, the first that is there counts; empty is [DefaultMerchantIDKeys]
	Settings       map[string]string // see [Connector.Settings]
	ReceivedAt     time.Time         // when the webhook came in
	// Unsigned is whether no signature was judged: what a payload claims is then
	// read, too, where nothing that is signed says it. It is for looking at
	// payloads, never for events that are published.
	Unsigned bool
}

// DefaultMerchantIDKeys is where the merchant's reference is looked for in a
// processor's free metadata.
var DefaultMerchantIDKeys = []string{"merchant_transaction_id", "order_id"}

// Fact is one item of a payload in the making of an event. The connector fills
// in what it read; [Normalize] does the rest.
type Fact struct {
	// Type is what happened; empty if it is nothing that tollbridge has a word
	// for, and then Outcome and Why say so.
	Type schemas.Type
	// Identity is what the processor repeats when it sends the fact again. Ids
	// are made from it, so it must be signed. Empty is a hash of the payload:
	// right where a redelivery repeats it byte for byte.
	Identity string
	Item     int       // tells events of one identity and type apart
	Time     time.Time // when it happened; zero if the processor does not say
	Mode     Mode
	schemas.Data

	Outcome Outcome
	Why     string
}

// Mode is whether a fact is about real money.
type Mode string

// The modes. Where the processor does not tell, the endpoint decides.
const (
	ModeUnknown Mode = ""
	ModeLive    Mode = "live"
	ModeTest    Mode = "test"
)

// mode is the Mode of processors that send a flag.
func mode(live bool) Mode {
	if live {
		return ModeLive
	}
	return ModeTest
}

// Outcome is what became of a webhook, or of one item of it.
type Outcome string

// The outcomes.
const (
	OutcomeEvents    Outcome = "events"    // there is at least one event
	OutcomeIgnored   Outcome = "ignored"   // read and understood, and not a fact that tollbridge unifies
	OutcomeMalformed Outcome = "malformed" // verified, and not what the processor's documentation says
)

// Result is what a payload means.
type Result struct {
	Events []schemas.Event `json:"events"`
	Kept   []Kept          `json:"kept,omitempty"` // the items without an event
}

// Kept is an item that became no event, and why; or, where there is an event of
// it, what was left out of that. Whoever normalises keeps the payload it came in.
type Kept struct {
	Item    int     `json:"item"` // its place in the payload, from 0
	Type    string  `json:"connector_event_type,omitempty"`
	Outcome Outcome `json:"outcome"`
	Reason  string  `json:"reason"`
}

// Outcome is the best that became of any item: events, else malformed where
// somebody should look, else ignored.
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

// Has reports whether an item without an event has the outcome.
func (r Result) Has(o Outcome) bool {
	return slices.ContainsFunc(r.Kept, func(k Kept) bool { return k.Outcome == o })
}

var (
	// ErrUnknown is wrapped for a connector that is not in the table.
	ErrUnknown = errors.New("unknown connector")
	// ErrMalformed is wrapped for a payload that is not what the processor
	// documents. The processor cannot mend it; it is kept for people to look at.
	ErrMalformed = errors.New("payload malformed")
)

// Normalize reads a verified payload of the named connector. The error wraps
// [ErrUnknown]; what is wrong with a payload stands in the result.
func Normalize(connector string, payload []byte, o Options) (Result, error) {
	c, ok := connectors[connector]
	if !ok {
		return Result{}, fmt.Errorf("%w %q", ErrUnknown, connector)
	}
	if o.Endpoint == "" {
		o.Endpoint = "default"
	}
	if len(o.MerchantIDKeys) == 0 {
		o.MerchantIDKeys = DefaultMerchantIDKeys
	}
	payload = withoutMark(payload)
	facts, err := c.read(payload, o)
	if err != nil {
		facts = []Fact{malformed("", err)}
	}
	var r Result
	items := map[string][2]int{} // by event id, the first item with it, and its event's place
	for i, f := range facts {
		e, kept := f.event(connector, payload, o)
		if first, ok := items[e.ID]; kept == nil && ok {
			if sameFact(e, r.Events[first[1]]) {
				continue // told twice in one payload it is one event
			}
			kept = &Kept{Type: f.ConnectorEventType, Outcome: OutcomeMalformed, Reason: fmt.Sprintf(
				"item %d has the same event id, %s, and says otherwise: of two facts with one id only the first is an event", first[0], e.ID)}
		}
		switch {
		case kept != nil:
			kept.Item = i
			r.Kept = append(r.Kept, *kept)
		default:
			items[e.ID] = [2]int{i, len(r.Events)}
			r.Events = append(r.Events, e)
			if err := schemas.CheckReference(f.MerchantTransactionID); f.MerchantTransactionID != "" && err != nil {
				r.Kept = append(r.Kept, Kept{Item: i, Type: f.ConnectorEventType, Outcome: OutcomeIgnored, Reason: fmt.Sprintf("the merchant's reference is ignored, and the event has a fallback key: %v", err)})
			}
		}
	}
	return r, nil
}

// sameFact reports whether two events with one id say the same. A processor that
// tells a fact twice may have another time and another name for it each time.
func sameFact(a, b schemas.Event) bool {
	a.Time, a.Data.ConnectorEventID, a.Data.ConnectorEventType = b.Time, b.Data.ConnectorEventID, b.Data.ConnectorEventType
	return reflect.DeepEqual(a, b)
}

// read calls the connector. A panic would make the processor send the same
// payload for days; as malformed, it is kept and somebody is told.
func (c Connector) read(payload []byte, o Options) (facts []Fact, err error) {
	defer func() {
		if p := recover(); p != nil {
			facts, err = nil, fmt.Errorf("%w: the connector panicked: %v", ErrMalformed, p)
		}
	}()
	return c.Normalize(payload, o)
}

// event makes the event of a fact, or says why there is none.
func (f Fact) event(connector string, payload []byte, o Options) (schemas.Event, *Kept) {
	kept := &Kept{Type: f.ConnectorEventType, Outcome: f.Outcome, Reason: f.Why}
	switch {
	case f.Type == "":
		return schemas.Event{}, kept
	case o.Live && f.Mode == ModeTest:
		kept.Outcome, kept.Reason = OutcomeIgnored, "test mode, and the endpoint is live"
		return schemas.Event{}, kept
	}
	if f.Identity == "" {
		sum := sha256.Sum256(payload)
		f.Identity = hex.EncodeToString(sum[:])
	}
	d := f.Data
	d.Connector, d.Endpoint, d.Status = connector, o.Endpoint, f.Type.Status()
	d.ReceivedAt = o.ReceivedAt.UTC()
	d.Live = f.Mode == ModeLive || f.Mode == ModeUnknown && o.Live
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
	err := e.Validate()
	if err == nil && len(payload) > schemas.MostBytes/32 { // no smaller one has grown so much
		err = tooLarge(e)
	}
	if err != nil {
		kept.Outcome, kept.Reason = OutcomeMalformed, err.Error()
		return schemas.Event{}, kept
	}
	return e, nil
}

// tooLarge refuses an event that no topic takes: it would be sent again for days.
// A few bytes of a payload can become many of an event, where a field stands in
// it more than once, or JSON has to escape what is in it.
func tooLarge(e schemas.Event) error {
	b, err := e.Encode()
	if err == nil && len(b) > schemas.MostBytes {
		err = fmt.Errorf("the event would have %d bytes, and may have %d", len(b), schemas.MostBytes)
	}
	return err
}

// connectorID is the id that stands in for the merchant's: the payment's, so
// that all of its facts have one key, else that of the thing itself.
func (f Fact) connectorID() string {
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

// Connectors returns the names of the processors Normalize knows, sorted.
func Connectors() []string { return slices.Sorted(maps.Keys(connectors)) }

// Lookup returns what normalize knows of a processor.
func Lookup(connector string) (Connector, bool) {
	c, ok := connectors[connector]
	return c, ok
}
