package history

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tollbridge/tollbridge/schemas"
)

// The value of a row is a sequence of numbers, as varints, and of texts, each after
// its length. The ids of events are packed: see [appendID]. A topic is a number: see
// [topics].

var errTruncated = errors.New("the value is truncated")

func appendNumber(to []byte, n int64) []byte { return binary.AppendVarint(to, n) }

func readNumber(from []byte) (n int64, rest []byte, err error) {
	n, size := binary.Varint(from)
	if size <= 0 {
		return 0, nil, errTruncated
	}
	return n, from[size:], nil
}

func appendText(to []byte, s string) []byte { return append(appendNumber(to, int64(len(s))), s...) }

// readText returns a text, which is a part of from.
func readText(from []byte) (text, rest []byte, err error) {
	n, rest, err := readNumber(from)
	if err != nil || n < 0 || n > int64(len(rest)) {
		return nil, nil, errTruncated
	}
	return rest[:n], rest[n:], nil
}

func appendTime(to []byte, t time.Time) []byte {
	return appendNumber(appendNumber(to, t.Unix()), int64(t.Nanosecond()))
}

func readTime(from []byte) (t time.Time, rest []byte, err error) {
	seconds, rest, err := readNumber(from)
	if err != nil {
		return t, nil, err
	}
	nanos, rest, err := readNumber(rest)
	return time.Unix(seconds, nanos).UTC(), rest, err
}

// readMillis reads the time at the start of a row: milliseconds since 1970.
func readMillis(from []byte) (time.Time, error) {
	ms, _, err := readNumber(from)
	return time.UnixMilli(ms), err
}

// idBytes is room for the id of an event, as text or packed.
type idBytes [36]byte

// appendID appends the id of an event: the 16 bytes of the UUID that [schemas.ID] made.
// Any other text, which only another program writes, is appended as it is.
func appendID(to []byte, id string) []byte {
	if len(id) != len(idBytes{}) {
		return append(to, id...)
	}
	var digits [32]byte
	n := 0
	for _, part := range [...]string{id[:8], id[9:13], id[14:18], id[19:23], id[24:]} {
		n += copy(digits[n:], part)
	}
	var packed [16]byte
	var again idBytes
	if _, err := hex.Decode(packed[:], digits[:]); err != nil || !isUUID(packed[:]) || string(schemas.AppendUUID(again[:0], packed[:])) != id {
		return append(to, id...)
	}
	return append(to, packed[:]...)
}

// unpackID returns the id that appendID appended.
func unpackID(packed []byte) string {
	if !isUUID(packed) {
		return string(packed)
	}
	var id idBytes
	return string(schemas.AppendUUID(id[:0], packed))
}

// isUUID reports whether a packed id is a UUID of [schemas.ID]: it has the bits of the
// version 5 and the variant, which no ASCII text of 16 bytes has.
func isUUID(packed []byte) bool {
	return len(packed) == 16 && packed[6]>>4 == 5 && packed[8]>>6 == 2
}

// appendIDText appends the id of an event after its length.
func appendIDText(to []byte, id string) []byte {
	var room idBytes
	packed := appendID(room[:0], id)
	return append(appendNumber(to, int64(len(packed))), packed...)
}

// topics are the numbers of the topics in a store's rows, from 1. The number 0 stands
// for a topic without a number; its name comes last in the row.
type topics struct {
	names   []string
	numbers map[string]int64
}

func newTopics(names []string) topics {
	t := topics{names, make(map[string]int64, len(names))}
	for i, name := range names {
		t.numbers[name] = int64(i + 1)
	}
	return t
}

// appendVersion appends the row of an event or a correction: the time of publication in
// milliseconds since 1970, its fields, its id and its receipt.
func (t topics) appendVersion(to []byte, v version) []byte {
	topic := t.numbers[v.Topic]
	to = appendIDText(appendNumber(appendNumber(to, v.time), int64(v.fields)), v.id)
	to = appendNumber(appendNumber(appendNumber(to, int64(v.Partition)), v.Offset), topic)
	if topic == 0 {
		to = append(to, v.Topic...)
	}
	return to
}

func (t topics) readVersion(from []byte) (v version, err error) {
	var fields, partition, topic int64
	var id []byte
	if v.time, from, err = readNumber(from); err != nil {
		return v, err
	}
	if fields, from, err = readNumber(from); err != nil {
		return v, err
	}
	if id, from, err = readText(from); err != nil {
		return v, err
	}
	if partition, from, err = readNumber(from); err != nil {
		return v, err
	}
	if v.Offset, from, err = readNumber(from); err != nil {
		return v, err
	}
	if topic, from, err = readNumber(from); err != nil {
		return v, err
	}
	switch {
	case topic == 0:
		v.Topic = string(from)
	case topic < 0 || topic > int64(len(t.names)):
		return v, fmt.Errorf("no topic has the number %d", topic)
	default:
		v.Topic = t.names[topic-1]
	}
	v.id, v.fields, v.Partition = unpackID(id), schemas.Fields(fields), int(partition)
	return v, nil
}

func (n newest) append(to []byte) []byte { return appendID(appendTime(to, n.Time), n.ID) }

func readNewest(from []byte) (newest, error) {
	t, rest, err := readTime(from)
	return newest{t, unpackID(rest)}, err
}

func (s terminalStates) append(to []byte) []byte {
	for _, e := range s.All {
		to = appendIDText(appendText(appendTime(to, e.Time), string(e.Type)), e.ID)
	}
	return to
}

func readTerminal(from []byte) (states terminalStates, err error) {
	for len(from) > 0 {
		var e terminalState
		var typ, id []byte
		if e.Time, from, err = readTime(from); err != nil {
			return states, err
		}
		if typ, from, err = readText(from); err != nil {
			return states, err
		}
		if id, from, err = readText(from); err != nil {
			return states, err
		}
		e.Type, e.ID = schemas.Type(typ), unpackID(id)
		states = states.with(e)
	}
	return states, nil
}

// merger combines the values of a row that are written without reading the row
// first. Pebble calls it on reads and compactions.
var merger = &pebble.Merger{
	Name: "tollbridge.history",
	Merge: func(key, value []byte) (pebble.ValueMerger, error) {
		m := &rowMerger{slices.Clone(value), mergeNewest}
		if strings.HasPrefix(string(key), rowTerminal) {
			m.merge = mergeTerminal
		}
		return m, nil
	},
}

// rowMerger merges the values of one row. Most rows have one value, which it does not
// decode.
type rowMerger struct {
	row   []byte
	merge func(older, newer []byte) ([]byte, error) // the result may be one of them
}

func (m *rowMerger) set(row []byte, err error) error {
	m.row = append(m.row[:0], row...)
	return err
}

func (m *rowMerger) MergeNewer(value []byte) error { return m.set(m.merge(m.row, value)) }
func (m *rowMerger) MergeOlder(value []byte) error { return m.set(m.merge(value, m.row)) }

func (m *rowMerger) Finish(bool) ([]byte, io.Closer, error) { return m.row, nil, nil }

// mergeNewest keeps the event with the latest time and, of equal times, the one that was
// written last.
func mergeNewest(older, newer []byte) ([]byte, error) {
	before, _, err := readTime(older)
	after, _, failed := readTime(newer)
	if after.Before(before) {
		return older, errors.Join(err, failed)
	}
	return newer, errors.Join(err, failed)
}

// mergeTerminal keeps the latest event of each type.
func mergeTerminal(older, newer []byte) ([]byte, error) {
	states, err := readTerminal(older)
	more, failed := readTerminal(newer)
	return states.with(more.All...).append(nil), errors.Join(err, failed)
}
