package schemas

import (
	"crypto/sha1"
	"encoding/hex"
	"strconv"
)

// namespace is the UUID namespace of event ids: the UUIDv5 of
// "urn:tollbridge:event" in the URL namespace of RFC 9562. It must never
// change: consumers would treat every event as new.
var namespace = uuidv5([16]byte{0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8}, []byte("urn:tollbridge:event"))

// ID returns the id of an event: a UUIDv5 (RFC 9562, section 5.5) of the
// connector, the endpoint, the identity of the fact at the processor, the
// event's type, and the index of the event among those of the fact. A fact has
// the same id in every delivery and on every replica.
func ID(connector, endpoint, identity string, t Type, item int) string {
	// Each part has its length before it, so that different parts never give
	// the same text.
	name := make([]byte, 0, 256) // on the stack
	for _, part := range [...]string{connector, endpoint, identity, string(t), strconv.Itoa(item)} {
		name = strconv.AppendInt(name, int64(len(part)), 10)
		name = append(append(name, ':'), part...)
	}
	id := uuidv5(namespace, name)
	var text [36]byte
	return string(AppendUUID(text[:0], id[:]))
}

// AppendUUID appends the text of a UUID of 16 bytes.
func AppendUUID(to, id []byte) []byte {
	to = append(hex.AppendEncode(to, id[:4]), '-')
	to = append(hex.AppendEncode(to, id[4:6]), '-')
	to = append(hex.AppendEncode(to, id[6:8]), '-')
	to = append(hex.AppendEncode(to, id[8:10]), '-')
	return hex.AppendEncode(to, id[10:])
}

// uuidv5 returns the UUID of version 5 of a name: see RFC 9562, section 5.5.
func uuidv5(namespace [16]byte, name []byte) (id [16]byte) {
	sum := sha1.Sum(append(append(make([]byte, 0, 272), namespace[:]...), name...))
	copy(id[:], sum[:])
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return id
}
