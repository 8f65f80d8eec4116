package schemas

import (
	"encoding/binary"
	"encoding/json"
)

// frameLength is the number of bytes before a framed value: a byte 0, which no JSON
// begins with, and the id of the schema.
const frameLength = 5

// Frame returns an encoded event in the wire format of Confluent's Schema Registry: a
// byte 0, the id of the event's schema in the registry (4 bytes, big-endian), the JSON.
// https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
func Frame(schemaID uint32, value []byte) []byte {
	framed := make([]byte, frameLength, frameLength+len(value))
	binary.BigEndian.PutUint32(framed[1:], schemaID)
	return append(framed, value...)
}

// Unframe returns the JSON of an event's record value, which may be framed: see [Frame].
// The bytes are those of value, not a copy.
func Unframe(value []byte) []byte {
	if len(value) >= frameLength && value[0] == 0 {
		return value[frameLength:]
	}
	return value
}

// Decode decodes the value of an event's record, which may be framed: see [Frame]. It
// accepts fields that it does not know.
func Decode(value []byte) (e Event, err error) {
	err = json.Unmarshal(Unframe(value), &e)
	return e, err
}
