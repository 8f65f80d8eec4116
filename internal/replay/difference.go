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

// difference lists the fields in which two events differ, with both values. Fields of
// data are listed without the prefix data. A different key counts only if the
// webhook itself has the merchant's id.
func difference(old, replayed schemas.Event) ([]string, error) {
	if replayed.Data.KeySource != schemas.KeyFromPayload {
		replayed = withKeyOf(replayed, old)
	}
	a, err := fields(content(old))
	if err != nil {
		return nil, err
	}
	b, err := fields(content(replayed))
	if err != nil {
		return nil, err
	}
	all := maps.Clone(a)
	maps.Copy(all, b)
	var diff []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !bytes.Equal(a[name], b[name]) {
			diff = append(diff, fmt.Sprintf("%s: %s → %s", name, orNone(a[name]), orNone(b[name])))
		}
	}
	return diff, nil
}

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
