package normalize

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// oneFact returns the only fact of a payload, under the processor's name for
// the event. A fact that could not be read is malformed.
func oneFact[E ~string](event E, f fact, err error) ([]fact, error) {
	if err != nil {
		return oneMalformed(event, err)
	}
	f.ConnectorEventType = string(event)
	return []fact{f}, nil
}

// oneMalformed returns the only fact of a payload whose event is known by name
// and cannot be read.
func oneMalformed[E ~string](event E, err error) ([]fact, error) {
	return []fact{malformed(event, err)}, nil
}

// ignored returns a fact that becomes no event, and the reason.
func ignored[E ~string](event E, reason string) fact {
	f := fact{Outcome: OutcomeIgnored, Why: reason}
	f.ConnectorEventType = string(event)
	return f
}

// notUnified returns the ignored fact of an event type that the connector does
// not map.
func notUnified[E ~string](event E) fact {
	return ignored(event, fmt.Sprintf("event type %q is not about a payment, refund, dispute, payout or mandate that tollbridge unifies", event))
}

// reportedBy returns the ignored fact of an event type whose facts other event types
// report. The caller sets the merchant's reference and the processor's ids on it, so
// that they can be linked.
func reportedBy[E ~string](event E, others ...string) fact {
	f := ignored(event, fmt.Sprintf("%s reports this fact; this event only adds references", strings.Join(others, " or ")))
	f.ToldBy = others
	return f
}

// reportedBy returns the fact as an ignored one: see the function [reportedBy].
func (f fact) reportedBy(event string, others ...string) fact {
	t := reportedBy(event, others...)
	t.Mode, t.Data = f.Mode, f.Data
	t.ConnectorEventType = event
	return t
}

// unknownStatus returns the fact of an event whose type is mapped and whose status is
// in no table of the connector. It is ignored, not malformed: processors add statuses,
// and the archived webhook can be replayed once the connector knows the new one. what
// names the field, such as "the status".
func unknownStatus[E, S ~string](event E, what string, status S) fact {
	return ignored(event, unknownStatusError{what, string(status)}.Error())
}

// unknownStatusError is the error of a function that returns no fact: [malformed]
// turns it into the fact of [unknownStatus].
type unknownStatusError struct{ what, status string }

func (e unknownStatusError) Error() string {
	return fmt.Sprintf("%s %q is not known to tollbridge", e.what, e.status)
}

// statusNotUnified returns the fact of an event whose status, which the processor may
// document, has no event type. Like [unknownStatus], it is ignored.
func statusNotUnified[E, S ~string](event E, what string, status S) fact {
	return ignored(event, fmt.Sprintf("%s %q is not one that tollbridge unifies", what, status))
}

// malformed returns a fact that cannot be read, and the reason. The fact of an
// [unknownStatusError] is ignored, unless the payload has no status.
func malformed[E ~string](event E, err error) fact {
	if unknown := (unknownStatusError{}); errors.As(err, &unknown) {
		if unknown.status != "" {
			return ignored(event, unknown.Error())
		}
		err = fmt.Errorf("%w: %s is missing", ErrMalformed, unknown.what)
	}
	f := fact{Outcome: OutcomeMalformed, Why: err.Error()}
	f.ConnectorEventType = string(event)
	return f
}

// setAmountByType copies the amount to the one that the type of a payment fact is
// about: authorized or captured. It is for processors whose events have the amount of
// that step only, so a captured fact gets no authorized amount.
func (f *fact) setAmountByType() {
	switch f.Type {
	case schemas.PaymentAuthorized:
		f.AuthorizedAmount = f.Amount
	case schemas.PaymentCaptured:
		f.CapturedAmount = f.Amount
	}
}

// generic reads the payload of a connector for a signature scheme instead of a
// processor. The sender defines the payload, so every fact is ignored. generic reads
// the field "type", the name that Standard Webhooks recommends.
func generic(payload []byte, _ Options) ([]fact, error) {
	var e struct {
		Type text `json:"type"`
	}
	if err := decode(payload, &e); err != nil {
		return []fact{ignored("", "not a JSON object: the sender defines the format")}, nil
	}
	return []fact{ignored(e.Type, fmt.Sprintf("the sender defines the event type %q: tollbridge does not know what it means for a payment", e.Type))}, nil
}
