// Package schemas defines the events that tollbridge publishes: their fields,
// their types, money, and the JSON Schema of each type. A consumer decodes a
// record's value into an [Event]:
//
//	event, err := schemas.Decode(record.Value) // or json.Unmarshal, if there is no Schema Registry
//	// event.Type == schemas.PaymentCaptured
//	// event.Data.MerchantTransactionID == "order-43"
//
// An [Event] is a CloudEvents 1.0 event in JSON structured mode. Its type is
// also the name of its Kafka topic, after the configured prefix. Its subject
// is the merchant's own id of the payment, which is also the Kafka key.
//
// Compatibility: while the number at the end of an event's dataschema stays
// the same, fields and values may be added, and no field is removed, renamed,
// made optional or given another meaning. Consumers ignore fields and values
// that they do not know.
//
// The package imports only the standard library.
package schemas

import (
	"errors"
	"fmt"
	"iter"
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

// Event is one fact about one payment, refund, dispute, payout or mandate, as a
// CloudEvents 1.0 event: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
type Event struct {
	SpecVersion string `json:"specversion"` // always "1.0"
	// ID is the same for every redelivery and replay of the fact: see [ID].
	// Consumers process each id once.
	ID string `json:"id"`
	// Source is the path of the endpoint that received the webhook:
	// /webhooks/stripe/default.
	Source string `json:"source"`
	// Type says what happened and names the topic.
	Type Type `json:"type"`
	// Subject is the merchant_transaction_id, which is the Kafka key.
	Subject string `json:"subject"`
	// Time is when the fact happened at the processor, in UTC. If the processor
	// does not send a time, it is when tollbridge received the webhook.
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"` // always "application/json"
	DataSchema      string    `json:"dataschema"`      // see [Type.Schema]
	Data            Data      `json:"data"`
	// Also are other ids of the same fact, which other webhooks of the processor give
	// it: the fact is published once under all of them. They are in a header of the
	// record, not in its value.
	Also []string `json:"-"`
	// Formerly are the ids that earlier versions gave the fact: it is not published
	// again if it was published under one of them. They are not in the record.
	Formerly []string `json:"-"`
	// References are the processor's ids, each as connector:account:id, that this event is
	// the first to map to its merchant_transaction_id. They are in a header of the
	// record, not in its value.
	References []string `json:"-"`
}

// IDs returns the ids under which the fact may have been published: ID, Also and
// Formerly.
func (e *Event) IDs() iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(e.ID) {
			return
		}
		for _, ids := range [2][]string{e.Also, e.Formerly} {
			for _, id := range ids {
				if !yield(id) {
					return
				}
			}
		}
	}
}

// Data holds the details of an event. Fields that the processor did not send
// are absent.
type Data struct {
	// MerchantTransactionID is the merchant's own reference of the payment or,
	// if that is not known, a fallback key: KeySource says which.
	MerchantTransactionID string    `json:"merchant_transaction_id"`
	KeySource             KeySource `json:"key_source"`

	Connector string `json:"connector"`         // the processor: stripe
	Endpoint  string `json:"endpoint"`          // the configured endpoint that received the webhook: default
	Account   string `json:"account,omitempty"` // the merchant's account at the processor
	Live      bool   `json:"live"`              // false in the processor's test mode

	ConnectorEventID       string `json:"connector_event_id,omitempty"`       // the processor's id of this event, if the signature covers it
	ConnectorEventType     string `json:"connector_event_type"`               // the processor's own name for the event: payment_intent.succeeded
	ConnectorTransactionID string `json:"connector_transaction_id,omitempty"` // the processor's id of the payment; of the parent payment for refunds and disputes
	// UnsignedIDs says that no signature covers the processor's ids: no
	// reference is stored for them. It is not published.
	UnsignedIDs bool `json:"-"`
	// ConnectorReferences are the processor's other ids of the payment, such as
	// the id of its charge or order. A later webhook may use one of them.
	ConnectorReferences []string `json:"connector_references,omitempty"`

	Amount *Amount `json:"amount,omitempty"` // the amount moved or requested by this event
	Status string  `json:"status"`           // the second word of the type: captured

	ReceivedAt time.Time `json:"received_at"` // when tollbridge received the webhook, UTC

	// How the event relates to events published before it.

	Late          bool   `json:"late,omitempty"`            // an event of the payment with a later time was published before
	NewestEventID string `json:"newest_event_id,omitempty"` // the id of that event
	Contradicts   string `json:"contradicts,omitempty"`     // the id of an event that excludes this one: it says cancelled, this one captured
	Corrects      string `json:"corrects,omitempty"`        // the id of the event that this one replaces

	// Payments.

	AuthorizedAmount     *Amount        `json:"authorized_amount,omitempty"`      // total authorized so far
	CapturedAmount       *Amount        `json:"captured_amount,omitempty"`        // total captured so far
	PaymentMethod        *PaymentMethod `json:"payment_method,omitempty"`         // in all events but those of payouts
	NetworkTransactionID string         `json:"network_transaction_id,omitempty"` // the card network's id
	MandateID            string         `json:"mandate_id,omitempty"`             // the mandate or stored payment method that was charged
	Error                *Error         `json:"error,omitempty"`                  // also in refunds, payouts and mandates

	// Refunds.

	ConnectorRefundID string `json:"connector_refund_id,omitempty"` // also in payment.reversed, if the processor reports it as a refund
	MerchantRefundID  string `json:"merchant_refund_id,omitempty"`
	Reason            string `json:"reason,omitempty"` // the processor's word; in all events but those of payments

	// Disputes.

	ConnectorDisputeID string     `json:"connector_dispute_id,omitempty"`
	ReasonCode         string     `json:"reason_code,omitempty"` // the card network's code
	Stage              Stage      `json:"stage,omitempty"`
	RespondBy          *time.Time `json:"respond_by,omitempty"` // the deadline for evidence

	// Payouts.

	ConnectorPayoutID string `json:"connector_payout_id,omitempty"`
	MerchantPayoutID  string `json:"merchant_payout_id,omitempty"`

	// Mandates.

	ConnectorMandateID string `json:"connector_mandate_id,omitempty"`
}

// PaymentMethod is how the payer paid.
type PaymentMethod struct {
	Type  string `json:"type"`            // the processor's word in lower case: card, sepa_debit, upi
	Brand string `json:"brand,omitempty"` // visa, mastercard, gpay; lower case
}

// Error is the reason for a failure, in the processor's words.
type Error struct {
	Code        string `json:"code,omitempty"`
	Message     string `json:"message,omitempty"`
	NetworkCode string `json:"network_code,omitempty"` // the card network's or the issuer's own code
}

// KeySource is where a merchant_transaction_id comes from.
type KeySource string

// The sources of a merchant_transaction_id.
const (
	KeyFromPayload   KeySource = "payload"   // the webhook carries the merchant's reference
	KeyFromRequest   KeySource = "request"   // the webhook carries the merchant's reference of a capture or refund, which may differ from the payment's
	KeyFromReference KeySource = "reference" // an earlier event of the same payment carried the merchant's reference
	KeyFromConnector KeySource = "connector" // a fallback key, connector:account:id: the merchant's reference is not known
)

// Stage is how far a dispute has gone.
type Stage string

// The stages of a dispute.
const (
	StagePreDispute     Stage = "pre_dispute"     // an inquiry or retrieval request; no money has moved
	StageDispute        Stage = "dispute"         // a chargeback
	StagePreArbitration Stage = "pre_arbitration" // a second chargeback, pre-arbitration or arbitration
)

var errEmpty = errors.New("it is empty")

// CheckReference returns an error if s cannot be a merchant_transaction_id, and
// so a Kafka key. It must not be empty, must be UTF-8, which JSON can hold
// unchanged, and must have no control characters (U+0000 to U+001F, U+007F to
// U+009F): stores, files and terminals give them a meaning of their own.
func CheckReference(s string) error {
	switch {
	case s == "":
		return errEmpty
	case !utf8.ValidString(s):
		return errors.New("it is not UTF-8")
	}
	if i := strings.IndexFunc(s, unicode.IsControl); i >= 0 {
		return fmt.Errorf("it has a control character at byte %d", i)
	}
	return nil
}

// checkIDs returns an error for the account or an id of the processor's that could not
// be a merchant's reference: they link events, too.
func (d *Data) checkIDs() error {
	ids := [...]string{d.Account, d.ConnectorTransactionID, d.ConnectorRefundID, d.ConnectorDisputeID, d.ConnectorPayoutID}
	for _, all := range [...][]string{ids[:], d.ConnectorReferences} {
		for _, id := range all {
			if err := CheckReference(id); id != "" && err != nil {
				return fmt.Errorf("an id of the processor's, %q: %w", id, err)
			}
		}
	}
	return nil
}

// Validate returns an error if an event lacks what every consumer needs. The
// JSON Schemas check the other fields.
func (e *Event) Validate() error {
	switch {
	case e.ID == "":
		return fmt.Errorf("event has no id")
	case !e.Type.Known():
		return fmt.Errorf("event %s: unknown type %q; 'tollbridge schemas' lists the types", e.ID, e.Type)
	case e.Subject == "":
		return fmt.Errorf("event %s: subject is empty: it is the Kafka key", e.ID)
	case CheckReference(e.Subject) != nil:
		return fmt.Errorf("event %s: subject %q: %w", e.ID, e.Subject, CheckReference(e.Subject))
	case e.Subject != e.Data.MerchantTransactionID:
		return fmt.Errorf("event %s: subject %q differs from merchant_transaction_id %q", e.ID, e.Subject, e.Data.MerchantTransactionID)
	case e.Time.IsZero():
		return fmt.Errorf("event %s: time is missing", e.ID)
	case !writable(e.Time):
		return fmt.Errorf("event %s: time is in the year %d: want a year from 0 to 9999, as RFC 3339 has", e.ID, e.Time.Year())
	case e.Data.RespondBy != nil && !writable(*e.Data.RespondBy):
		return fmt.Errorf("event %s: respond_by is in the year %d: want a year from 0 to 9999, as RFC 3339 has", e.ID, e.Data.RespondBy.Year())
	}
	if err := e.Data.checkIDs(); err != nil {
		return fmt.Errorf("event %s: %w", e.ID, err)
	}
	return nil
}

// writable reports whether t can be encoded as RFC 3339. A time in milliseconds
// that is read as seconds cannot, and its event could never be published.
func writable(t time.Time) bool { return t.Year() >= 0 && t.Year() <= 9999 }
