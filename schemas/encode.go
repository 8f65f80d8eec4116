package schemas

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// MostBytes is the maximum size of an encoded event in bytes. A topic accepts
// records of 1 MiB by default, and the record also has the subject as its key.
const MostBytes = 512 << 10

// Encode returns the event as JSON, the value of its record. It does not escape
// <, > and &: no browser reads it as HTML, and each would take six bytes.
func (e Event) Encode() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return nil, fmt.Errorf("event %s: %w", e.ID, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
