package history

import (
	"slices"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// ReferenceKeys returns the keys under which an event's payment can be referenced:
// connector:account:id of the payment, and for a refund, dispute or payout also
// connector:account:refund:id and so on, since numeric ids of both may be equal.
// It returns none if the ids are not signed: whoever holds one webhook could
// otherwise bind another payment's id to a merchant's id of their choice.
func ReferenceKeys(e schemas.Event) []string {
	d := &e.Data
	if d.UnsignedIDs {
		return nil
	}
	keys := make([]string, 0, 2+len(d.ConnectorReferences))
	add := func(id string) {
		if id != "" {
			keys = append(keys, d.Connector+":"+d.Account+":"+id)
		}
	}
	add(d.ConnectorTransactionID)
	for _, id := range d.ConnectorReferences {
		add(id)
	}
	add(objectOf(e))
	return keys
}

// objectOf returns the refund, dispute or payout that an event is about, such as
// refund:id, or "" if there is none.
func objectOf(e schemas.Event) string {
	family, id := e.Type.Family(), ""
	switch family {
	case "refund":
		id = e.Data.ConnectorRefundID
	case "dispute":
		id = e.Data.ConnectorDisputeID
	case "payout":
		id = e.Data.ConnectorPayoutID
	}
	if id == "" {
		return ""
	}
	return family + ":" + id
}

// hasFallbackKey reports whether an event's key is a fallback key, or one that the
// merchant gave to a single capture or refund: not the payment's merchant's id.
func hasFallbackKey(e schemas.Event) bool {
	return e.Data.KeySource == schemas.KeyFromConnector || e.Data.KeySource == schemas.KeyFromRequest
}

// withMerchant returns an event with the merchant's id of its reference as key.
func withMerchant(e schemas.Event, merchant string) schemas.Event {
	e.Subject, e.Data.MerchantTransactionID, e.Data.KeySource = merchant, merchant, schemas.KeyFromReference
	return e
}

// resolveKey gives an event with a fallback key the merchant's id as key, if a
// reference has it.
func (h *History) resolveKey(e schemas.Event) (schemas.Event, error) {
	if !hasFallbackKey(e) {
		return e, nil
	}
	for _, key := range ReferenceKeys(e) {
		merchant, err := h.merchantOf(key)
		if err != nil {
			return e, err
		}
		if merchant != "" && merchant != e.Subject {
			return withMerchant(e, merchant), nil
		}
	}
	return e, nil
}

// merchantOf returns the merchant's id that a reference key maps to, or "" if no
// reference is known.
func (h *History) merchantOf(key string) (string, error) {
	if merchant, ok := h.local.references[key]; ok {
		return merchant, nil
	}
	if merchant, ok := h.cachedReferences.get(key); ok {
		return merchant, nil
	}
	merchant, err := h.currentStore().reference(key)
	if err == nil && merchant != "" {
		h.cachedReferences.put(key, merchant)
	}
	return merchant, err
}

// missingReferences returns the keys of the references that an event states and that are
// not known yet.
func (h *History) missingReferences(e schemas.Event) (missing []string, err error) {
	if hasFallbackKey(e) {
		return nil, nil
	}
	return h.unknownReferences(ReferenceKeys(e))
}

// unknownReferences returns those of the keys that no known reference has.
func (h *History) unknownReferences(keys []string) (unknown []string, err error) {
	for _, key := range keys {
		merchant, err := h.merchantOf(key)
		if err != nil {
			return nil, err
		}
		if merchant == "" {
			unknown = append(unknown, key)
		}
	}
	return unknown, nil
}

// addReference adds the record of a reference to the admission, unless the admission
// has one with its key. eventID is the event that states the reference; empty if none
// does.
func (h *History) addReference(a *Admission, key, merchant, eventID string) {
	if slices.ContainsFunc(a.References, func(r kafka.Record) bool { return string(r.Key) == key }) {
		return
	}
	a.References = append(a.References, h.referenceRecord(key, merchant, eventID))
}

// addFurtherReferences adds the references that items without an event state and that
// are not known yet.
func (h *History) addFurtherReferences(a *Admission, references []schemas.Reference) error {
	for _, r := range references {
		keys := make([]string, len(r.IDs))
		for i, id := range r.IDs {
			keys[i] = r.Connector + ":" + r.Account + ":" + id
		}
		unknown, err := h.unknownReferences(keys)
		if err != nil {
			return err
		}
		for _, key := range unknown {
			h.addReference(a, key, r.MerchantTransactionID, "")
		}
	}
	return nil
}

// addReferencesOfKnown adds to the admission the references that an event states and
// that are not known yet. The event was published before, and its key was not resolved
// here.
func (h *History) addReferencesOfKnown(a *Admission, e schemas.Event) error {
	e, err := h.resolveKey(e)
	if err != nil {
		return err
	}
	missing, err := h.missingReferences(e)
	for _, key := range missing {
		h.addReference(a, key, e.Subject, e.ID)
	}
	return err
}

// Link adds the missing references and further ids of events, and the references of
// items without an event, to a. The caller knows that the events were published and does
// not admit them.
func (a *Admission) Link(events []schemas.Event, references ...schemas.Reference) error {
	if a.h == nil {
		return nil
	}
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	for _, e := range events {
		if err := a.h.addReferencesOfKnown(a, e); err != nil {
			return err
		}
		k, ok, err := a.h.find(&e)
		if ok {
			err = a.h.addOtherIDs(a, e, k)
		}
		if err != nil {
			return err
		}
	}
	return a.h.addFurtherReferences(a, references)
}
