package history

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// TestPackedID checks that each id is read back as it was, and that only ids of
// [schemas.ID] are packed.
func TestPackedID(t *testing.T) {
	own := schemas.ID("stripe", "main", "evt_1", schemas.PaymentCaptured, 0)
	for id, size := range map[string]int{
		own:                               16,
		strings.ToUpper(own):              36,
		strings.ReplaceAll(own, "-", "_"): 36,
		own[:14] + "4" + own[15:]:         36, // another version
		own[:19] + "0" + own[20:]:         36, // another variant
		own[:35] + "g":                    36,
		strings.ReplaceAll(own, "-", ""):  32,
		"":                                0,
		"evt_1":                           5,
		"012345P789012345":                16, // of these bits
	} {
		packed := appendID(nil, id)
		if got := unpackID(packed); got != id || len(packed) != size {
			t.Errorf("%q: %q after %d bytes, want %d bytes", id, got, len(packed), size)
		}
	}
}

// TestRows checks that rows are read back as they were written, and that a row that is
// truncated is an error or another row, and no panic.
func TestRows(t *testing.T) {
	own, other := schemas.ID("stripe", "main", "evt_1", schemas.PaymentCaptured, 0), "of another program"
	at := time.Unix(1700000000, 123456789).UTC()
	numbered := newTopics([]string{"x.payment.captured", "x.payment.failed"})
	check := func(want any, row []byte, read func([]byte) (any, error)) {
		t.Helper()
		got, err := read(slices.Clone(row))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
		for n := range row {
			if got, err := read(slices.Clone(row[:n])); err == nil && reflect.DeepEqual(got, want) {
				t.Errorf("%d of %d bytes of %v give all of it", n, len(row), want)
			}
		}
	}
	for _, id := range []string{own, other, ""} {
		for _, topic := range []string{"x.payment.captured", "x.payment.failed", "x.of.another.version"} {
			v := version{known{id, 5, kafka.Receipt{Topic: topic, Partition: 11, Offset: 1 << 40}}, at.UnixMilli()}
			check(v, numbered.appendVersion(nil, v), func(b []byte) (any, error) { return numbered.readVersion(b) })
		}
	}
	for _, id := range []string{own, other} {
		n := newest{at, id}
		check(n, n.append(nil), func(b []byte) (any, error) { return readNewest(b) })
		s := terminalStates{}.with(terminalState{schemas.PaymentCaptured, id, at}, terminalState{schemas.PaymentFailed, own, at.Add(time.Second)})
		check(s, s.append(nil), func(b []byte) (any, error) { return readTerminal(b) })
	}
	if v, err := newTopics(nil).readVersion(numbered.appendVersion(nil, version{known{own, 5, kafka.Receipt{Topic: "x.payment.failed"}}, 1})); err == nil {
		t.Errorf("a number without a topic gives %v", v)
	}
}

// TestTopicNumbers checks that the topics of a store keep their numbers in a version that
// has further types, or has them in another order.
func TestTopicNumbers(t *testing.T) {
	dir, from := t.TempDir(), origin{storeVersion, "cluster", "x."}
	topics := (kafka.Names{Prefix: from.Prefix}).Events()
	stored := []string{topics[7], "x.a.former.type", topics[2]}
	open := func() *store {
		t.Helper()
		s, err := openStore(dir, vfs.Default, from, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	if fmt.Sprint(s.topics.names) != fmt.Sprint(topics) {
		t.Errorf("topics of a new store: %v", s.topics.names)
	}
	if err := s.writeJSON(rowTopics, stored); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second start finds the list complete
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open()
		if got := s.topics.names; len(got) != len(topics)+1 || !slices.Equal(got[:3], stored) {
			t.Errorf("topics %v, want %v and then the others", got, stored)
		}
		for _, topic := range topics {
			if n := s.topics.numbers[topic]; n == 0 || s.topics.names[n-1] != topic {
				t.Errorf("%s has the number %d", topic, n)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
