package publish

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"testing"

	"github.com/segmentio/kafka-go/protocol"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// decode decodes a sealed batch with kafka-go, and checks its checksum.
func decode(t testing.TB, b *batch) []read {
	t.Helper()
	if got, want := binary.BigEndian.Uint32(b.wire[lengthSize+17:]), crc32.Checksum(b.wire[lengthSize+21:], castagnoli); got != want {
		t.Fatalf("checksum %x, want %x", got, want)
	}
	var set protocol.RecordSet
	if _, err := set.ReadFrom(bytes.NewReader(b.wire)); err != nil {
		t.Fatal(err)
	}
	var all []read
	for {
		r, err := set.Records.ReadRecord()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, read{offset: r.Offset, key: bytesOf(t, r.Key), value: bytesOf(t, r.Value), headers: r.Headers})
	}
}

func batchOf(values ...string) *batch {
	b := newBatch()
	for i, v := range values {
		b.add(&kafka.Record{Key: []byte("k"), Value: []byte(v), Headers: []schemas.Header{{Name: "h", Value: v}}}, int64(1_700_000_000_000+i*90), new(slot))
	}
	return b
}

// TestWaited takes records out of a batch that is not sent yet.
func TestWaited(t *testing.T) {
	var values []string
	for n := range 300 { // enough for record indexes of one and of two bytes
		values = append(values, fmt.Sprint("value ", n))
	}
	b := batchOf(values...)
	var left []string
	for i, s := range b.slots {
		if i%3 == 0 {
			s.fate = unwritten
		} else {
			left = append(left, values[i])
		}
	}
	w := b.withoutAbandoned()
	w.seal(producerID{5, 1, true}, 7, nil)
	got := decode(t, w)
	for i, v := range left {
		if string(got[i].value) != v || got[i].offset != int64(i) || string(got[i].headers[0].Value) != v || w.slots[i].index != i || w.slots[i].batch != w {
			t.Errorf("record %d is %q with offset %d, want %q", i, got[i].value, got[i].offset, v)
		}
	}
	if len(got) != len(left) {
		t.Errorf("%d records, want %d", len(got), len(left))
	}
	for i, one := range batchOf(values...).singles() {
		if one.seal(producerID{}, 0, nil); string(decode(t, one)[0].value) != values[i] {
			t.Errorf("record %d of the batches is not %q", i, values[i])
		}
	}
}

func FuzzBatch(f *testing.F) {
	f.Add([]byte("key"), []byte("value"), "name", []byte("header"), int64(0), uint8(3), int32(7))
	f.Add([]byte(nil), []byte{}, "", []byte(nil), int64(-1000), uint8(200), int32(0))
	f.Fuzz(func(t *testing.T, key, value []byte, name string, header []byte, age int64, n uint8, sequence int32) {
		r := kafka.Record{Key: key, Value: value, Headers: []schemas.Header{{Name: name, Value: string(header)}, {Name: name}}}
		b := newBatch()
		const now = int64(1_700_000_000_000)
		for i := range int(n) + 1 {
			b.add(&r, now+int64(i)*(age%1_000_000), new(slot))
			size := recordSize(&r, int64(i)*(age%1_000_000), i)
			if size > recordSize(&r, 0, 0)+recordRoom {
				t.Fatalf("a record of %d bytes was encoded in %d", recordSize(&r, 0, 0), size)
			}
		}
		b.seal(producerID{1 << 40, 3, true}, sequence, nil)
		all := decode(t, b)
		if len(all) != int(n)+1 {
			t.Fatalf("%d records, want %d", len(all), int(n)+1)
		}
		for i, got := range all {
			if !bytes.Equal(got.key, key) || !bytes.Equal(got.value, value) || got.offset != int64(i) || len(got.headers) != 2 ||
				got.headers[0].Key != name || !bytes.Equal(got.headers[0].Value, header) {
				t.Fatalf("record %d is %+v", i, got)
			}
		}
	})
}

func TestSequenceAfter(t *testing.T) {
	for _, test := range []struct{ from, n, want int32 }{{0, 1, 1}, {1<<31 - 1, 1, 0}, {1<<31 - 2, 1, 1<<31 - 1}, {1<<31 - 5, 10, 5}} {
		if got := nextSequence(test.from, int(test.n)); got != test.want {
			t.Errorf("%d records after sequence %d: next is %d, want %d", test.n, test.from, got, test.want)
		}
	}
}
