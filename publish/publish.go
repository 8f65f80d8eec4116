// Package publish writes to Kafka. [Producer.Publish] returns once all in-sync
// replicas have every record it was given, and that is what a webhook's 2xx
// stands on. The package also knows the topics: their names, how they are
// created, and whether what is there is what was asked for.
//
// All event topics have the same number of partitions, and a record's
// partition is the Java client's murmur2 of its key: partition p of one topic
// holds the same payments as partition p of another, and Java, librdkafka
// (murmur2_random) and franz-go agree on where a key is.
//
// # How it writes
//
//	callers      partition            broker's sender       broker
//	Publish ──▶ open batch ─┐
//	Publish ──▶ open batch ─┤ queue ─▶ one request with ──▶ append, replicate
//	Publish ──▶ (another)  ─┘          a batch of every          │
//	   ▲                               partition it leads        │
//	   └────────── receipts ◀── verdict on each batch ◀──────────┘
//	                   └─ unknown: the same bytes again
//
// Callers encode their records into their partition's open batch and wait. A
// broker's sender sends the first batch of each of its partitions as soon as
// the request before is answered; while it is under way the next batches fill.
// There is no timer: when nothing is under way a record is sent at once.
//
// # What is guaranteed
//
// A record with a receipt is in Kafka once, on all in-sync replicas. For a
// record whose caller got an error:
//
//   - if it was not sent, it is taken out of its batch and never written;
//   - if a broker answered that it did not append it, likewise;
//   - if it was sent and not answered, the batch is kept and sent again, the
//     same bytes, until an answer tells. The record may so be written after its
//     caller was refused. The ledger knows it by its [Record.ID]: its
//     redelivery waits for the outcome, gets the first one's receipt if it is
//     written, and is written anew if it is not. Meanwhile the partition takes
//     nothing else, and its callers are refused at once. Where somebody reads the
//     topic ([Producer.Consult]) a batch that nobody waits for is not sent again
//     but looked for: its redelivery may have come to another replica;
//   - if the broker refuses the batch for good after an attempt without an
//     answer (its producer id is fenced, or it is not allowed any more), nobody
//     can tell. The record is counted as tollbridge_kafka_unknown_records_total
//     and its redelivery refused while the ledger remembers it.
//
// The ledger remembers for [Config.RememberFor] and at most [Config.Remember]
// records, in memory: a process that is killed, or whose [Producer.Close] ran
// out of time, takes with it what it knew of records it had refused.
//
// # Non-obvious
//
//   - Only a queue's first batch is ever sent, so order holds through retries,
//     and a sequence is counted up only when a batch is acknowledged.
//   - Once an attempt's outcome is unknown a batch's bytes never change: a
//     broker that has them recognises producer id, epoch and sequence.
//   - A sequence that may have been used is never used for other records: the
//     broker would take them for the former, acknowledge, and write nothing.
//     The producer id ends for the partition, and the next begins at 0.
//   - NOT_LEADER_OR_FOLLOWER does not mean that nothing was written: a leader
//     that is deposed while it waits for the replicas answers so, too.
//   - OUT_OF_ORDER_SEQUENCE_NUMBER does: with one batch in flight the log's last
//     batch of the id would be this one, and be recognised.
//   - An acknowledgement of a batch as a duplicate that was never sent before is
//     of another batch: it is not believed.
//   - An orphan (a record whose caller left) is written only if its outcome was
//     unknown; a broker's refusal takes it out of the batch.
//   - Locks are taken in this order: cluster, partition, broker or ledger.
package publish

import (
	"errors"
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// Record is one record to write.
type Record struct {
	Topic string
	// ID is the same for every delivery of the same fact, and tells the record
	// from all others of its topic; empty stands for a digest of key and value.
	ID      string
	Key     []byte // never empty: it chooses the partition
	Value   []byte
	Headers []Header
}

// Header is one header of a record.
type Header struct {
	Name  string
	Value []byte
}

// Receipt is where a record is.
type Receipt struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	// Offset is -1 where the record is written and the broker, asked again
	// after a lost answer, does not remember where.
	Offset int64 `json:"offset"`
	// Earlier is whether the record is one of an earlier call, whose caller was
	// refused: its [Record.ID] is the same, its key and value may not be.
	Earlier bool `json:"-"`
}

// Errors of [Producer.Publish]. Whatever it is, the caller has the webhook sent
// again, with the same ids.
var (
	// ErrUnavailable is wrapped when Kafka did not acknowledge in time.
	ErrUnavailable = errors.New("kafka cannot acknowledge")
	// ErrRefused is wrapped when Kafka refuses a record whenever it is asked:
	// it is too large, its topic is not there, or tollbridge may not write it.
	ErrRefused = errors.New("kafka refuses the record")
	// ErrClosed is returned after [Producer.Close].
	ErrClosed = errors.New("the producer is closed")
)

// TooLarge is the error of records that are refused for their size. It is an
// [ErrRefused]: they are written nowhere, and never will be.
type TooLarge struct {
	Records []int // which of those that were given to [Producer.Publish]; nil of [EventRecord]
	Err     error // of the first of them
}

func (t *TooLarge) Error() string { return t.Err.Error() }

// Unwrap makes it an [ErrRefused].
func (t *TooLarge) Unwrap() []error { return []error{ErrRefused, t.Err} }

// Headers of an event's record that say what its value says, too, for who reads
// many and decodes few.
const (
	HeaderEventID   = "event-id"
	HeaderEventTime = "event-time" // RFC 3339
	HeaderKeySource = "key-source"
	HeaderCorrects  = "corrects" // the id of the event it takes the place of
)

// EventRecord is the record of an event: structured-mode CloudEvents JSON to
// the topic of its type, keyed by its subject. Traceparent is the W3C trace
// context of the webhook it came in. The error is a [TooLarge] where the event
// has more than [schemas.MostBytes].
func EventRecord(n Names, e schemas.Event, traceparent string) (Record, error) {
	if err := e.Validate(); err != nil {
		return Record{}, err
	}
	value, err := e.Encode()
	if err != nil {
		return Record{}, err
	}
	if len(value) > schemas.MostBytes {
		return Record{}, &TooLarge{Err: fmt.Errorf("event %s has %d bytes, and may have %d", e.ID, len(value), schemas.MostBytes)}
	}
	r := Record{
		Topic: n.Event(e.Type),
		ID:    e.ID,
		Key:   []byte(e.Subject),
		Value: value,
		Headers: []Header{
			{"content-type", []byte(schemas.ContentType)},
			{HeaderEventID, []byte(e.ID)},
			{"event-type", []byte(e.Type)},
			{HeaderEventTime, []byte(e.Time.Format(time.RFC3339Nano))},
			{HeaderKeySource, []byte(e.Data.KeySource)},
			{"connector", []byte(e.Data.Connector)},
			{"traceparent", []byte(traceparent)},
		},
	}
	if e.Data.Corrects != "" {
		r.Headers = append(r.Headers, Header{HeaderCorrects, []byte(e.Data.Corrects)})
	}
	return r, nil
}

// PartitionOf returns the partition of key among n, as the Java client's default
// partitioner does: murmur2, its sign bit cleared, modulo n.
func PartitionOf(key []byte, n int) int { return int(murmur2(key)&0x7fffffff) % n }

// CheckPartitions returns an error unless the partitions of a topic, as brokers list
// them, are numbered from 0, each once: a key's partition is one of so many, and with
// some of them out of the list it would be another one.
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
