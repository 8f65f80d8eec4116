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

// The values of rows are numbers, as varints, and texts behind their length, one
// after the other.

var errRow = errors.New("it is cut short")

func appendNumber(to []byte, n int64) []byte { return binary.AppendVarint(to, n) }

func readNumber(from []byte) (n int64, rest []byte, err error) {
	n, size := binary.Varint(from)
	if size <= 0 {
		return 0, nil, errRow
	}
	return n, from[size:], nil
}

func appendText(to []byte, s string) []byte { return append(appendNumber(to, int64(len(s))), s...) }

func readText(from []byte) (s string, rest []byte, err error) {
	n, rest, err := readNumber(from)
	if err != nil || n < 0 || n > int64(len(rest)) {
		return "", nil, errRow
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

// readSince reads a row that begins with milliseconds since 1970.
func readSince(from []byte) (time.Time, error) {
	ms, _, err := readNumber(from)
	return time.UnixMilli(ms), err
}

func appendReceipt(to []byte, at kafka.Receipt) []byte {
	return append(appendNumber(appendNumber(to, int64(at.Partition)), at.Offset), at.Topic...)
}

func readReceipt(from []byte) (since int64, at kafka.Receipt, err error) {
	since, rest, err := readNumber(from)
	if err != nil {
		return 0, at, err
	}
	partition, rest, err := readNumber(rest)
	if err != nil {
		return 0, at, err
	}
	offset, rest, err := readNumber(rest)
	return since, kafka.Receipt{Topic: string(rest), Partition: int(partition), Offset: offset}, err
}

func (n newest) encode() []byte { return append(appendTime(nil, n.Time), n.ID...) }

func readNewest(from []byte) (newest, error) {
	t, rest, err := readTime(from)
	return newest{t, string(rest)}, err
}

func (n ends) encode() (to []byte) {
	for _, e := range n.All {
		to = appendText(appendText(appendTime(to, e.Time), string(e.Type)), e.ID)
	}
	return to
}

func readEnds(from []byte) (n ends, err error) {
	for len(from) > 0 {
		var e end
		var typ string
		if e.Time, from, err = readTime(from); err != nil {
			return n, err
		}
		if typ, from, err = readText(from); err != nil {
			return n, err
		}
		if e.ID, from, err = readText(from); err != nil {
			return n, err
		}
		e.Type = schemas.Type(typ)
		n = n.with(e)
	}
	return n, nil
}

// merger has Pebble put rows together that are written without a look at what
// was there.
var merger = &pebble.Merger{
	Name: "tollbridge.history",
	Merge: func(key, value []byte) (pebble.ValueMerger, error) {
		var m pebble.ValueMerger = new(newestMerger)
		if strings.HasPrefix(string(key), rowEnds) {
			m = new(endsMerger)
		}
		return m, m.MergeNewer(value)
	},
}

// newestMerger keeps the later time and, of equal ones, what was written later.
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

func (m *newestMerger) Finish(bool) ([]byte, io.Closer, error) { return m.encode(), nil, nil }

// endsMerger keeps the last of each type.
type endsMerger struct{ ends }

func (m *endsMerger) MergeNewer(value []byte) error {
	n, err := readEnds(value)
	m.ends = m.with(n.All...)
	return err
}

func (m *endsMerger) MergeOlder(value []byte) error {
	n, err := readEnds(value)
	m.ends = n.with(m.All...)
	return err
}

func (m *endsMerger) Finish(bool) ([]byte, io.Closer, error) { return m.encode(), nil, nil }
