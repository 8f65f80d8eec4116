package schemas

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// MostBytes is how many bytes an encoded event may have. A topic takes records
// of a mebibyte by default, and its record has the subject once more, as the key.
const MostBytes = 512 << 10

// Encode returns the event as JSON, the value of its record. The characters <, >
// and & stand as they are: no browser reads it as HTML, and escaped each would
// take six bytes.
func (e Event) Encode() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return nil, fmt.Errorf("event %s: %w", e.ID, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
