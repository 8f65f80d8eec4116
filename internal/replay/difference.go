package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// content returns an event without the fields that depend on when it was published, and
// on what was published before.
func content(e schemas.Event) schemas.Event {
	if e.Time.Equal(e.Data.ReceivedAt) {
		e.Time = time.Time{} // the processor gave no time
	}
	e.ID, e.Data.ReceivedAt = "", time.Time{}
	e.Data.Corrects, e.Data.Late, e.Data.NewestEventID, e.Data.Contradicts = "", false, "", ""
	return e
}

// withKeyOf returns an event with the key of another.
func withKeyOf(e, other schemas.Event) schemas.Event {
	e.Subject, e.Data.MerchantTransactionID, e.Data.KeySource = other.Subject, other.Data.MerchantTransactionID, other.Data.KeySource
	return e
}

// FieldChange is a field in which two events differ. Fields of data have no prefix.
type FieldChange struct {
	Field    string
	Old, New json.RawMessage // nil: the event has no such field
}

// FieldChanges returns the fields in which two events differ, by name. It leaves out the fields
// that depend on when an event was published.
func FieldChanges(before, after schemas.Event) ([]FieldChange, error) {
	a, err := fields(content(before))
	if err != nil {
		return nil, err
	}
	b, err := fields(content(after))
	if err != nil {
		return nil, err
	}
	all := maps.Clone(a)
	maps.Copy(all, b)
	var changes []FieldChange
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !bytes.Equal(a[name], b[name]) {
			changes = append(changes, FieldChange{name, a[name], b[name]})
		}
	}
	return changes, nil
}

// String returns the change as text: field: old value → new value.
func (c FieldChange) String() string {
	return fmt.Sprintf("%s: %s → %s", c.Field, orNone(c.Old), orNone(c.New))
}

// difference returns the fields in which two events differ. A different key counts only if
// the webhook itself has the merchant's id.
func difference(old, replayed schemas.Event) ([]FieldChange, error) {
	if replayed.Data.KeySource != schemas.KeyFromPayload {
		replayed = withKeyOf(replayed, old)
	}
	return FieldChanges(old, replayed)
}

// orNone returns a value of JSON as text, or none if there is none.
func orNone(b []byte) string {
	if b == nil {
		return "none"
	}
	return string(b)
}

// fields returns the fields of an event by name, those of data among them.
func fields(e schemas.Event) (map[string]json.RawMessage, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	var all, data map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(all["data"], &data); err != nil {
		return nil, err
	}
	delete(all, "data")
	maps.Copy(all, data)
	return all, nil
}
