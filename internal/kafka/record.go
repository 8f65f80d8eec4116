package kafka

import (
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// Record is a record to write.
type Record struct {
	Topic string
	// ID identifies the record in its topic: every delivery of the same fact has the
	// same ID. If it is empty, a digest of key and value is used.
	ID      string
	Key     []byte // not empty: it selects the partition
	Value   []byte
	Headers []schemas.Header
	// NotAfter is the time of [Clock] after which the record must not be sent; 0 is no
	// limit. An event has one: after it another replica may publish the event.
	NotAfter time.Duration
}

// EventRecord returns the record of an event: see [schemas.Event.Record]. With a Schema
// Registry its value is framed: see [schemas.Frame]. It returns a [TooLarge] error if the
// event's JSON is longer than [schemas.MostBytes].
func EventRecord(n Names, e schemas.Event, traceparent string) (Record, error) {
	r, err := e.Record(traceparent)
	if err == nil && len(r.Value) > schemas.MostBytes {
		err = &TooLarge{Err: fmt.Errorf("event %s has %d bytes, want at most %d", e.ID, len(r.Value), schemas.MostBytes)}
	}
	if err != nil {
		return Record{}, err
	}
	if n.SchemaIDs != nil {
		id, ok := n.SchemaIDs[e.Type]
		if !ok {
			return Record{}, fmt.Errorf("%w: event %s: the id of the schema of %s is not known: run 'tollbridge topics apply', and restart", ErrUnavailable, e.ID, e.Type)
		}
		r.Value = schemas.Frame(id, r.Value)
	}
	return Record{Topic: n.Event(e.Type), ID: e.ID, Key: r.Key, Value: r.Value, Headers: r.Headers}, nil
}

// Receipt says where a record is written: topic, partition and offset.
type Receipt struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	// Offset is -1 if the record is written and the broker no longer knows its offset,
	// which may happen when an earlier response was lost.
	Offset int64 `json:"offset"`
	// Earlier reports that an earlier call, whose caller was refused, wrote the record. It
	// has the same [Record.ID], but its key and value may differ.
	Earlier bool `json:"-"`
}

// PartitionOf returns the partition of a key in a topic with n partitions, as the default
// partitioner of the Java client does: murmur2 without its sign bit, modulo n.
func PartitionOf(key []byte, n int) int { return int(murmur2(key)&0x7fffffff) % n }

// CheckPartitions returns an error if the partition numbers in the metadata of a topic are
// not 0 to n-1, each once. With a number missing, keys would map to other partitions.
func CheckPartitions(topic string, numbers []int) error {
	if len(numbers) == 0 {
		return fmt.Errorf("topic %s: the brokers' metadata lists no partition of it", topic)
	}
	seen := make([]bool, len(numbers))
	for _, n := range numbers {
		if n < 0 || n >= len(seen) || seen[n] {
			return fmt.Errorf("topic %s: the brokers' metadata lists the partitions %v, expected 0 to %d, each once", topic, numbers, len(numbers)-1)
		}
		seen[n] = true
	}
	return nil
}

// murmur2 is org.apache.kafka.common.utils.Utils.murmur2.
func murmur2(b []byte) uint32 {
	const seed, m, r = 0x9747b28c, 0x5bd1e995, 24
	h := uint32(seed) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		k *= m
		k ^= k >> r
		h = h*m ^ k*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
