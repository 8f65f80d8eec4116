package schemas

import (
	"encoding/json"
	"strings"
	"time"
)

// Record is the content of a Kafka record, without its topic and partition.
type Record struct {
	Key     []byte
	Value   []byte
	Headers []Header
}

// Header is one header of a [Record].
type Header struct {
	Name  string
	Value string
}

// The headers of an event's record repeat fields of the event, so that a reader
// can select records without decoding their values.
const (
	HeaderEventID   = "event-id"
	HeaderEventType = "event-type"
	HeaderEventTime = "event-time" // RFC 3339
	HeaderKeySource = "key-source"
	HeaderCorrects  = "corrects" // the id of the event that this one replaces; absent if it replaces none
	HeaderAlso      = "also"     // [Event.Also], separated by commas; absent if there is none
	// HeaderReferences is [Event.References], a JSON array of strings; absent if there is
	// none.
	HeaderReferences = "references"
	HeaderFields     = "fields" // [Event.Fields]; empty or absent if that is not known: earlier versions did not write it
)

// Record returns the record of an event: its CloudEvents JSON, keyed by its
// subject. Traceparent is the W3C trace context of the webhook. The error is
// that of [Event.Validate].
func (e *Event) Record(traceparent string) (Record, error) {
	if err := e.Validate(); err != nil {
		return Record{}, err
	}
	value, err := e.Encode()
	if err != nil {
		return Record{}, err
	}
	headers := []Header{
		{"content-type", ContentType},
		{HeaderEventID, e.ID},
		{HeaderEventType, string(e.Type)},
		{HeaderEventTime, e.Time.Format(time.RFC3339Nano)},
		{HeaderKeySource, string(e.Data.KeySource)},
		{"connector", e.Data.Connector},
		{"traceparent", traceparent},
		{HeaderFields, e.Fields().String()},
	}
	if len(e.Also) > 0 {
		headers = append(headers, Header{HeaderAlso, strings.Join(e.Also, ",")})
	}
	if len(e.References) > 0 {
		headers = append(headers, Header{HeaderReferences, string(appendStrings(nil, e.References))})
	}
	if e.Data.Corrects != "" {
		headers = append(headers, Header{HeaderCorrects, e.Data.Corrects})
	}
	return Record{Key: []byte(e.Subject), Value: value, Headers: headers}, nil
}

// ParseReferences returns the references of the value of a [HeaderReferences]. It returns
// none if tollbridge did not write it.
func ParseReferences(header string) (references []string) {
	if header == "" || json.Unmarshal([]byte(header), &references) != nil {
		return nil
	}
	return references
}
