package history

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// The value of a row is a sequence of numbers, as varints, and of texts, each after
// its length.

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

func readText(from []byte) (s string, rest []byte, err error) {
	n, rest, err := readNumber(from)
	if err != nil || n < 0 || n > int64(len(rest)) {
		return "", nil, errTruncated
	}
	return string(rest[:n]), rest[n:], nil
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

// appendReceipt appends a receipt. It must come last in a row.
func appendReceipt(to []byte, at kafka.Receipt) []byte {
	return append(appendNumber(appendNumber(to, int64(at.Partition)), at.Offset), at.Topic...)
}

// append appends the row of an event or a correction: the time of publication in
// milliseconds since 1970, its fields, its id and its receipt.
func (v version) append(to []byte) []byte {
	return appendReceipt(appendText(appendNumber(appendNumber(to, v.time), int64(v.fields)), v.id), v.Receipt)
}

func readVersion(from []byte) (v version, err error) {
	if v.time, from, err = readNumber(from); err != nil {
		return v, err
	}
	fields, from, err := readNumber(from)
	if err != nil {
		return v, err
	}
	v.fields = schemas.Fields(fields)
	if v.id, from, err = readText(from); err != nil {
		return v, err
	}
	partition, from, err := readNumber(from)
	if err != nil {
		return v, err
	}
	v.Partition = int(partition)
	v.Offset, from, err = readNumber(from)
	v.Topic = string(from)
	return v, err
}

func (n newest) append(to []byte) []byte { return append(appendTime(to, n.Time), n.ID...) }

func readNewest(from []byte) (newest, error) {
	t, rest, err := readTime(from)
	return newest{t, string(rest)}, err
}

func (s terminalStates) append(to []byte) []byte {
	for _, e := range s.All {
		to = appendText(appendText(appendTime(to, e.Time), string(e.Type)), e.ID)
	}
	return to
}

func readTerminal(from []byte) (states terminalStates, err error) {
	for len(from) > 0 {
		var e terminalState
		var typ string
		if e.Time, from, err = readTime(from); err != nil {
			return states, err
		}
		if typ, from, err = readText(from); err != nil {
			return states, err
		}
		if e.ID, from, err = readText(from); err != nil {
			return states, err
		}
		e.Type = schemas.Type(typ)
		states = states.with(e)
	}
	return states, nil
}

// merger combines the values of a row that are written without reading the row
// first. Pebble calls it on reads and compactions.
var merger = &pebble.Merger{
	Name: "tollbridge.history",
	Merge: func(key, value []byte) (pebble.ValueMerger, error) {
		var m pebble.ValueMerger = new(newestMerger)
		if strings.HasPrefix(string(key), rowTerminal) {
			m = new(terminalMerger)
		}
		return m, m.MergeNewer(value)
	},
}

// newestMerger keeps the event with the latest time and, of equal times, the one
// that was written last.
type newestMerger struct{ newest }

func (m *newestMerger) MergeNewer(value []byte) error {
	n, err := readNewest(value)
	if err == nil && !n.Time.Before(m.Time) {
		m.newest = n
	}
	return err
}

func (m *newestMerger) MergeOlder(value []byte) error {
	n, err := readNewest(value)
	if err == nil && n.Time.After(m.Time) {
		m.newest = n
	}
	return err
}

func (m *newestMerger) Finish(bool) ([]byte, io.Closer, error) { return m.append(nil), nil, nil }

// terminalMerger keeps the latest event of each type.
type terminalMerger struct{ terminalStates }

func (m *terminalMerger) MergeNewer(value []byte) error {
	states, err := readTerminal(value)
	m.terminalStates = m.with(states.All...)
	return err
}

func (m *terminalMerger) MergeOlder(value []byte) error {
	states, err := readTerminal(value)
	m.terminalStates = states.with(m.All...)
	return err
}

func (m *terminalMerger) Finish(bool) ([]byte, io.Closer, error) { return m.append(nil), nil, nil }
