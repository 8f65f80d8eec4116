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

// said is an event without what depends on when it was said, and on what else
// was known then.
func said(e schemas.Event) schemas.Event {
	if e.Time.Equal(e.Data.ReceivedAt) {
		e.Time = time.Time{} // the processor does not say when
	}
	e.ID, e.Data.ReceivedAt = "", time.Time{}
	e.Data.Corrects, e.Data.Late, e.Data.NewestEventID, e.Data.Contradicts = "", false, "", ""
	return e
}

// keyed is an event under another's key.
func keyed(e, as schemas.Event) schemas.Event {
	e.Subject, e.Data.MerchantTransactionID, e.Data.KeySource = as.Subject, as.Data.MerchantTransactionID, as.Data.KeySource
	return e
}

// difference names the fields in which two events differ: those of data by
// name alone. A key that is not the webhook's own is no difference.
func difference(was, is schemas.Event) ([]string, error) {
	if is.Data.KeySource != schemas.KeyFromPayload {
		is = keyed(is, was)
	}
	a, err := fields(said(was))
	if err != nil {
		return nil, err
	}
	b, err := fields(said(is))
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
