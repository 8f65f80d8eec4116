// Package schemas is tollbridge's vocabulary: the unified event, the types it
// comes in, money, and the JSON Schema of each. It imports nothing but the
// standard library, and every other package may import it.
//
// An [Event] is a CloudEvents 1.0 event in JSON structured mode. Its type is
// also the name of the Kafka topic it goes to (after the configured prefix),
// and its subject, the merchant's own id of the transaction, is the Kafka key:
//
//	event["type"]                            "payment.captured"
//	event["data"]["merchant_transaction_id"] "order-43"
//
// Names of fields and values may be added in later versions; none changes its
// meaning or goes away while the number at the end of its dataschema stays.
package schemas

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// SpecVersion is the version of CloudEvents that events follow.
const SpecVersion = "1.0"

// ContentType is the media type of an encoded event:
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md#33-structured-content-mode
const ContentType = "application/cloudevents+json"

// Event is one thing that happened to one payment, refund, dispute, payout or
// mandate, as CloudEvents 1.0: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
type Event struct {
	SpecVersion string `json:"specversion"` // always "1.0"
	// ID is the same whenever the processor delivers the fact again, and when
	// it is replayed: see [ID]. Consumers handle an id once.
	ID string `json:"id"`
	// Source is the path the webhook came in by: /webhooks/stripe/default.
	Source string `json:"source"`
	// Type says what happened and names the topic.
	Type Type `json:"type"`
	// Subject is the merchant_transaction_id, which is the Kafka key.
	Subject string `json:"subject"`
	// Time is when it happened at the processor, UTC, or when tollbridge
	// received it where the processor does not say.
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"` // always "application/json"
	DataSchema      string    `json:"dataschema"`      // see [Type.Schema]
	Data            Data      `json:"data"`
}

// Data is what tollbridge knows about what happened. Fields that the processor
// did not send are absent.
type Data struct {
	// MerchantTransactionID is the merchant's own reference of the payment, or
	// the best that stands in for it: KeySource says which.
	MerchantTransactionID string    `json:"merchant_transaction_id"`
	KeySource             KeySource `json:"key_source"`

	Connector string `json:"connector"`         // the processor: stripe
	Endpoint  string `json:"endpoint"`          // which configured endpoint received it: default
	Account   string `json:"account,omitempty"` // the merchant's account at the processor
	Live      bool   `json:"live"`              // false: the processor's test mode

	ConnectorEventID       string `json:"connector_event_id,omitempty"`       // the processor's id of this event, if it is signed
	ConnectorEventType     string `json:"connector_event_type"`               // the processor's own word for it
	ConnectorTransactionID string `json:"connector_transaction_id,omitempty"` // the processor's id of the payment; of the parent payment for refunds and disputes
	// ConnectorReferences are the processor's other ids of the payment, such as
	// its charge's or its order's: a later webhook may name the payment by one.
	ConnectorReferences []string `json:"connector_references,omitempty"`

	Amount *Amount `json:"amount,omitempty"` // what this event moved or asked for
	Status string  `json:"status"`           // the second word of the type: captured

	ReceivedAt time.Time `json:"received_at"` // when tollbridge received the webhook, UTC

	// What tollbridge had published before.

	Late          bool   `json:"late,omitempty"`            // the payment has an event with a later time already
	NewestEventID string `json:"newest_event_id,omitempty"` // of a late event: that one's id
	Contradicts   string `json:"contradicts,omitempty"`     // the id of an event that cannot be true, too: cancelled, and this says captured
	Corrects      string `json:"corrects,omitempty"`        // the id of an event that this one takes the place of

	// Payments.

	AuthorizedAmount     *Amount        `json:"authorized_amount,omitempty"`      // authorized so far
	CapturedAmount       *Amount        `json:"captured_amount,omitempty"`        // captured so far
	PaymentMethod        *PaymentMethod `json:"payment_method,omitempty"`         // also of all others but payouts
	NetworkTransactionID string         `json:"network_transaction_id,omitempty"` // the card network's id
	MandateID            string         `json:"mandate_id,omitempty"`             // the mandate or stored method that paid
	Error                *Error         `json:"error,omitempty"`                  // also of refunds, payouts and mandates

	// Refunds; a reversal has the id of what took the money back.

	ConnectorRefundID string `json:"connector_refund_id,omitempty"` // also of a payment that was reversed as a refund
	MerchantRefundID  string `json:"merchant_refund_id,omitempty"`
	Reason            string `json:"reason,omitempty"` // also of all others but payments; the processor's word

	// Disputes.

	ConnectorDisputeID string     `json:"connector_dispute_id,omitempty"`
	ReasonCode         string     `json:"reason_code,omitempty"` // the card network's code
	Stage              Stage      `json:"stage,omitempty"`
	RespondBy          *time.Time `json:"respond_by,omitempty"` // until when evidence is taken

	// Payouts.

	ConnectorPayoutID string `json:"connector_payout_id,omitempty"`
	MerchantPayoutID  string `json:"merchant_payout_id,omitempty"`

	// Mandates.

	ConnectorMandateID string `json:"connector_mandate_id,omitempty"`
}

// PaymentMethod is how it was paid.
type PaymentMethod struct {
	Type  string `json:"type"`            // the processor's word in lower case: card, sepa_debit, upi
	Brand string `json:"brand,omitempty"` // visa, mastercard, gpay; lower case
}

// Error is why something did not succeed, in the processor's words.
type Error struct {
	Code        string `json:"code,omitempty"`
	Message     string `json:"message,omitempty"`
	NetworkCode string `json:"network_code,omitempty"` // the card network's or the issuer's own code
}

// KeySource says where a merchant_transaction_id comes from.
type KeySource string

// The sources of a merchant_transaction_id.
const (
	KeyFromPayload   KeySource = "payload"   // the webhook carries the merchant's reference
	KeyFromRequest   KeySource = "request"   // the webhook carries the merchant's reference of a capture, refund or the like, which may not be the payment's
	KeyFromReference KeySource = "reference" // an earlier event of the same payment carried it
	KeyFromConnector KeySource = "connector" // connector:account:id; nobody told the merchant's
)

// Stage is how far a dispute has gone.
type Stage string

// The stages of a dispute.
const (
	StagePreDispute     Stage = "pre_dispute"     // an inquiry or retrieval request; no money has moved
	StageDispute        Stage = "dispute"         // a chargeback
	StagePreArbitration Stage = "pre_arbitration" // a second chargeback, pre-arbitration or arbitration
)

// CheckReference returns why a text cannot be a merchant_transaction_id and so a
// Kafka key, or nil. It must be UTF-8, or JSON would change it and the key not,
// and have no control characters (U+0000 to U+001F, U+007F to U+009F): no
// merchant has one in a reference, and stores, files and terminals take them for
// the end of something.
func CheckReference(s string) error {
	switch {
	case s == "":
		return errors.New("it is empty")
	case !utf8.ValidString(s):
		return errors.New("it is not UTF-8")
	}
	if i := strings.IndexFunc(s, unicode.IsControl); i >= 0 {
		return fmt.Errorf("it has a control character at byte %d", i)
	}
	return nil
}

// ids are the account and the processor's ids that [Validate] holds to the same
// rule as the merchant's reference: other events find this one by them.
func (d Data) ids() []string {
	return append([]string{d.Account, d.ConnectorTransactionID, d.ConnectorRefundID, d.ConnectorDisputeID, d.ConnectorPayoutID}, d.ConnectorReferences...)
}

// Validate returns what is wrong with an event, or nil. It asks for what every
// consumer builds on; the JSON Schemas ask for the rest.
func (e Event) Validate() error {
	switch {
	case e.ID == "":
		return fmt.Errorf("event has no id")
	case !e.Type.Known():
		return fmt.Errorf("event %s: type %q is not one of tollbridge's", e.ID, e.Type)
	case e.Subject == "":
		return fmt.Errorf("event %s: subject is empty, it is the Kafka key", e.ID)
	case CheckReference(e.Subject) != nil:
		return fmt.Errorf("event %s: subject %q: %w", e.ID, e.Subject, CheckReference(e.Subject))
	case e.Subject != e.Data.MerchantTransactionID:
		return fmt.Errorf("event %s: subject %q differs from merchant_transaction_id %q", e.ID, e.Subject, e.Data.MerchantTransactionID)
	case e.Time.IsZero():
		return fmt.Errorf("event %s: time is missing", e.ID)
	case !writable(e.Time):
		return fmt.Errorf("event %s: time is in the year %d, and JSON has 0 to 9999", e.ID, e.Time.Year())
	case e.Data.RespondBy != nil && !writable(*e.Data.RespondBy):
		return fmt.Errorf("event %s: respond_by is in the year %d, and JSON has 0 to 9999", e.ID, e.Data.RespondBy.Year())
	}
	for _, id := range e.Data.ids() {
		if err := CheckReference(id); id != "" && err != nil {
			return fmt.Errorf("event %s: an id of the processor's, %q: %w", e.ID, id, err)
		}
	}
	return nil
}

// writable reports whether t can be encoded as RFC 3339. A processor's
// milliseconds read as seconds cannot, and the event could never be published.
func writable(t time.Time) bool { return t.Year() >= 0 && t.Year() <= 9999 }
