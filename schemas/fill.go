package schemas

import (
	"slices"
	"strings"
	"time"
)

// Fields is a set of the optional fields of an event that say what happened, with one
// bit for each entry of fields. The webhooks that report one fact can have different
// fields.
type Fields uint64

// fields lists the fields of [Fields] in the order of their bits. State stores
// contain the bits, so new fields must come last.
var fields = []field{
	{"key",
		func(d *Data) bool { return d.KeySource == KeyFromPayload || d.KeySource == KeyFromReference },
		func(d, from *Data) {
			d.MerchantTransactionID, d.KeySource = from.MerchantTransactionID, from.KeySource
		}},
	pointer("amount", func(d *Data) **Amount { return &d.Amount }),
	pointer("authorized_amount", func(d *Data) **Amount { return &d.AuthorizedAmount }),
	pointer("captured_amount", func(d *Data) **Amount { return &d.CapturedAmount }),
	pointer("payment_method", func(d *Data) **PaymentMethod { return &d.PaymentMethod }),
	{"payment_method.brand",
		func(d *Data) bool { return d.PaymentMethod != nil && d.PaymentMethod.Brand != "" },
		func(d, from *Data) {
			if d.PaymentMethod != nil && d.PaymentMethod.Type == from.PaymentMethod.Type {
				d.PaymentMethod = from.PaymentMethod
			}
		}},
	text("connector_transaction_id", func(d *Data) *string { return &d.ConnectorTransactionID }),
	text("network_transaction_id", func(d *Data) *string { return &d.NetworkTransactionID }),
	text("mandate_id", func(d *Data) *string { return &d.MandateID }),
	pointer("error", func(d *Data) **Error { return &d.Error }),
	text("connector_refund_id", func(d *Data) *string { return &d.ConnectorRefundID }),
	text("merchant_refund_id", func(d *Data) *string { return &d.MerchantRefundID }),
	text("reason", func(d *Data) *string { return &d.Reason }),
	text("connector_dispute_id", func(d *Data) *string { return &d.ConnectorDisputeID }),
	text("reason_code", func(d *Data) *string { return &d.ReasonCode }),
	text("stage", func(d *Data) *Stage { return &d.Stage }),
	pointer("respond_by", func(d *Data) **time.Time { return &d.RespondBy }),
	text("connector_payout_id", func(d *Data) *string { return &d.ConnectorPayoutID }),
	text("merchant_payout_id", func(d *Data) *string { return &d.MerchantPayoutID }),
	text("connector_mandate_id", func(d *Data) *string { return &d.ConnectorMandateID }),
}

// field is a field of [Fields]: its name, whether data has it, and how to copy it.
type field struct {
	name string
	has  func(d *Data) bool
	copy func(d, from *Data)
}

func pointer[T any](name string, of func(*Data) **T) field {
	return field{name, func(d *Data) bool { return *of(d) != nil }, func(d, from *Data) { *of(d) = *of(from) }}
}

func text[T ~string](name string, of func(*Data) *T) field {
	return field{name, func(d *Data) bool { return *of(d) != "" }, func(d, from *Data) { *of(d) = *of(from) }}
}

// Fields returns the fields that an event has.
func (e *Event) Fields() (all Fields) {
	for i, f := range fields {
		if f.has(&e.Data) {
			all |= 1 << i
		}
	}
	return all
}

// String returns the names of the fields, separated by commas. [ParseFields] reads
// them.
func (s Fields) String() string {
	names := make([]byte, 0, 256) // on the stack
	for i, f := range fields {
		if s&(1<<i) != 0 {
			if len(names) > 0 {
				names = append(names, ',')
			}
			names = append(names, f.name...)
		}
	}
	return string(names)
}

// ParseFields returns the fields with the names. It ignores unknown names.
func ParseFields(names string) (s Fields) {
	for name := range strings.SplitSeq(names, ",") {
		if i := slices.IndexFunc(fields, func(f field) bool { return f.name == name }); i >= 0 {
			s |= 1 << i
		}
	}
	return s
}

// Fill returns e with the fields that it lacks and other has, and with the
// ConnectorReferences of both. Other is the same fact, reported by another webhook of
// the processor. Where both have a field, Fill keeps that of e. Added has the fields
// that e lacked.
func (e Event) Fill(other Event) (filled Event, added Fields) {
	d := &e.Data
	before := e.Fields()
	for _, f := range fields {
		if !f.has(d) && f.has(&other.Data) {
			f.copy(d, &other.Data)
		}
	}
	e.Subject = d.MerchantTransactionID
	d.ConnectorReferences = slices.Clone(d.ConnectorReferences)
	for _, id := range append([]string{other.Data.ConnectorTransactionID}, other.Data.ConnectorReferences...) {
		if id != "" && id != d.ConnectorTransactionID && !slices.Contains(d.ConnectorReferences, id) {
			d.ConnectorReferences = append(d.ConnectorReferences, id)
		}
	}
	return e, e.Fields() &^ before
}

// Reference links the processor's ids of a payment to the merchant's reference. It
// comes from a webhook without an event.
type Reference struct {
	MerchantTransactionID string   `json:"merchant_transaction_id"`
	Connector             string   `json:"connector"`
	Account               string   `json:"account,omitempty"`
	IDs                   []string `json:"ids"` // of the payment; refund:ID, dispute:ID or payout:ID of others
}
