// Package publish writes records to Kafka. [Producer.Publish] returns receipts once
// all in-sync replicas have all of the records; only then is a webhook answered 2xx.
//
// # How it writes
//
//	callers      partition            broker's sender       broker
//	Publish ──▶ open batch ─┐
//	Publish ──▶ open batch ─┤ queue ─▶ one request with ──▶ append, replicate
//	Publish ──▶ (another)  ─┘          a batch of every          │
//	   ▲                               partition it leads        │
//	   └────────── receipts ◀── verdict on each batch ◀──────────┘
//	                   └─ outcome unknown: the same bytes again
//
// Callers encode their records into the open batch of the record's partition, and
// wait. A broker's sender sends the first batch of each of its partitions as soon as
// the previous request is answered; while a request is in flight, the next batches
// fill. There is no linger timer: when no request is in flight, a record is sent at
// once.
//
// # What is guaranteed
//
// A record with a receipt is in Kafka once, on all in-sync replicas. If the caller
// got an error instead, one of these holds for the record:
//
//   - It was not sent: it is removed from its batch and never written.
//   - A broker answered that it did not append it: the same holds.
//   - It was sent and no answer came: its outcome is unknown. The batch is kept, and
//     the same bytes are sent again until an answer says what happened. So the record
//     may be written after its caller was refused. The ledger knows it by its
//     [kafka.Record.ID]: a redelivery of it waits for the outcome, gets the receipt of
//     the first attempt if that was written, and is written if that was not.
//     Meanwhile the partition accepts no other records, and refuses their callers at
//     once. If a log reader is set ([Producer.SetLogReader]), a batch whose callers
//     have all left is not sent again: the producer reads the log to see whether it
//     was written, since its redelivery may have gone to another replica.
//   - It has a time limit ([kafka.Record.NotAfter]) and was not acknowledged by then: it
//     is not sent any more. If it was sent before, the error also wraps
//     [kafka.ErrMaybeWritten].
//   - The broker refuses the batch for good after an attempt without an answer (the
//     producer id is fenced, or a permission was withdrawn): the outcome can never be
//     known. The record is counted in tollbridge_kafka_unknown_records_total, and its
//     redelivery is refused as long as the ledger remembers it.
//
// The ledger remembers records for [Config.RememberFor], and at most
// [Config.RememberMax] of them, in memory. If the process is killed, or
// [Producer.Close] runs out of time, the ledger is lost.
//
// # Non-obvious
//
//   - Only the first batch of a queue is ever sent, so order holds through retries.
//     The sequence number advances only when a batch is acknowledged.
//   - Once the outcome of an attempt is unknown, the bytes of the batch never change:
//     a broker that has the batch recognises producer id, epoch and sequence.
//   - A sequence number that may have been used is never used for other records: the
//     broker would take them for the earlier ones, acknowledge them, and write
//     nothing. The partition gives up its producer id, and starts the next at 0.
//   - NOT_LEADER_OR_FOLLOWER does not prove that the batch was not written: a leader
//     that is deposed while it waits for the replicas gives the same answer.
//   - OUT_OF_ORDER_SEQUENCE_NUMBER does prove it. Only one batch is in flight, so a
//     broker that had this batch would have it as the producer id's last, and would
//     recognise it.
//   - If a batch was never sent before and the broker acknowledges it as a duplicate,
//     the acknowledgement is for another batch. The producer does not accept it.
//   - An abandoned record (its caller has left) is written only if its outcome was
//     unknown; if a broker refuses the batch, the record is removed from it.
//   - Locks are acquired in this order: cluster, partition, broker or ledger.
package publish

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// Config configures a [Producer]. Kafka must be set; the comment of every other
// field says what its zero value means.
type Config struct {
	Kafka kafka.Config

	Compression kafkago.Compression // of the batches; 0 is none
	MaxBytes    int64               // of records that are not acknowledged yet; further records are refused; 0 is 64 MiB
	MaxBatch    int                 // the most bytes of a batch with several records; 0 is 1 MiB; a smaller max.message.bytes of the topic counts
	MaxRequest  int                 // the most bytes of a request with several batches; 0 is 8 MiB

	// Patience is how long a partition may be unavailable before its callers are
	// refused, and new callers at once; 0 is [kafka.Patience].
	Patience time.Duration
	// DrainTimeout is how long [Producer.Close] waits for calls and batches in flight; 0 is 10 s.
	DrainTimeout time.Duration
	// RememberFor and RememberMax bound the ledger: for how long, and how many,
	// records are remembered that may have been written although their callers were
	// refused; 0 is 72 h, and 100000.
	RememberFor time.Duration
	RememberMax int

	// Lock, if it is not nil, gives the producer its id; the producer writes only
	// while the lock is held.
	Lock *Lock

	Metrics prometheus.Registerer // nil: the metrics are not registered
	Log     zerolog.Logger        // the zero value logs nothing
}

// withDefaults returns the configuration with defaults for zero values.
func (c Config) withDefaults() Config {
	setDefault(&c.MaxBytes, 64<<20)
	setDefault(&c.MaxBatch, 1<<20)
	setDefault(&c.MaxRequest, 8<<20)
	setDefault(&c.Patience, kafka.Patience)
	setDefault(&c.DrainTimeout, 10*time.Second)
	setDefault(&c.RememberFor, 72*time.Hour)
	setDefault(&c.RememberMax, 100_000)
	return c
}

func setDefault[T comparable](to *T, value T) {
	var zero T
	if *to == zero {
		*to = value
	}
}

// Producer writes records. It is safe for concurrent use.
type Producer struct {
	cluster *cluster
	closed  atomic.Bool
	calls   atomic.Int64 // to Publish that have not returned
}

// NewProducer returns a producer. It does not contact Kafka yet: see
// [Producer.Ready].
func NewProducer(c Config) *Producer { return &Producer{cluster: newCluster(c.withDefaults())} }

// LogReader finds records in the topics, whichever process wrote them.
type LogReader interface {
	// Follows reports whether the reader consumes a topic.
	Follows(topic string) bool
	// Written returns the receipts of those records that are in the partition, by
	// [kafka.Record.ID]. It returns false while it cannot rule out that a request sent
	// up to a time has appended, or may still append, records that are not read yet.
	Written(topic string, partition int, sent time.Time, ids []string) (map[string]kafka.Receipt, bool)
}

// SetLogReader makes the producer resolve batches with unknown outcome, once their
// callers have left, by reading the log instead of sending them again. It is needed if
// other replicas write the same records.
func (p *Producer) SetLogReader(l LogReader) { p.cluster.logReader.Store(&l) }

// Ready returns nil if the topics exist, each partition has a leader, and Kafka has
// given the producer an id. The first call of Ready requests that id.
func (p *Producer) Ready(ctx context.Context, topics []string) error {
	if err := p.cluster.refresh(ctx, topics...); err != nil {
		return fmt.Errorf("%w: %w", kafka.ErrUnavailable, err)
	}
	known := *p.cluster.topics.Load()
	for _, name := range topics {
		t := known[name]
		if err := t.err.Load(); err != nil {
			return fmt.Errorf("%w: %w", kafka.ErrUnavailable, *err)
		}
		parts := t.parts.Load()
		if parts == nil {
			return fmt.Errorf("%w: topic %s: its metadata is not known yet", kafka.ErrUnavailable, name)
		}
		for _, q := range *parts {
			if err := q.checkLeader(); err != nil {
				return err
			}
		}
	}
	ids := &p.cluster.ids
	if !ids.requested.Swap(true) {
		p.cluster.wakeBrokers()
	}
	if ids.lock == nil {
		select {
		case <-ids.answered:
		case <-ctx.Done():
			return fmt.Errorf("%w: no broker answers the request for a producer id: %w", kafka.ErrUnavailable, ctx.Err())
		case <-p.cluster.ctx.Done():
			return kafka.ErrClosed
		}
	}
	if err := ids.checkAvailable(time.Now()); err != nil {
		return fmt.Errorf("%w: %w", kafka.ErrUnavailable, err)
	}
	return nil
}

// Publish writes the records and returns their receipts in the same order,
// once all in-sync replicas have all of them. Records of one partition are
// written in the order given, after those of earlier calls. Publish returns at the
// latest at the context's deadline, and after [Config.Patience] if Kafka does not
// answer. An error wraps [kafka.ErrUnavailable], [kafka.ErrRefused] or [kafka.ErrClosed].
//
// After an error some of the records may be written already, or later. If a record
// was sent and not answered, the producer finds out its outcome in the background,
// and remembers the record by its [kafka.Record.ID]. If the record is given to
// Publish again, Publish waits for that outcome; if the record was written, Publish
// returns the receipt of the first attempt and does not write it again. The package's
// documentation says how long records are remembered. Publish does not recognise a
// duplicate of a record for which another call has not returned yet, nor of one for
// which it has returned a receipt.
func (p *Producer) Publish(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
	p.calls.Add(1)
	defer p.calls.Add(-1)
	if p.closed.Load() {
		return nil, kafka.ErrClosed
	}
	if len(records) == 0 {
		return nil, nil
	}
	c := newCall(records)
	if err := p.enqueue(ctx, c); err != nil {
		c.abandon(err)
	} else {
		c.wait(ctx)
	}
	receipts, err := c.result(p.cluster.ledger)
	if err != nil {
		return nil, p.cluster.countRefusal(err)
	}
	return receipts, nil
}

// countRefusal counts an error by its cause, and returns it wrapped in
// [kafka.ErrUnavailable] if it wraps no error of package kafka yet.
func (k *cluster) countRefusal(err error) error {
	word := "unavailable"
	switch {
	case errors.Is(err, kafka.ErrRefused):
		word = "refused"
	case errors.Is(err, errDeadline), errors.Is(err, context.DeadlineExceeded):
		word = "deadline"
	}
	k.metrics.refusals.WithLabelValues(word).Inc()
	if word != "refused" && !errors.Is(err, kafka.ErrUnavailable) && !errors.Is(err, kafka.ErrClosed) {
		err = fmt.Errorf("%w: %w", kafka.ErrUnavailable, err)
	}
	return err
}

// enqueue adds each record that is not in the ledger to the open batch of its
// partition. It adds none if one of them is known in advance to fail.
func (p *Producer) enqueue(ctx context.Context, c *call) error {
	k := p.cluster
	var few [4]*partition // on the stack
	parts := append(few[:0], make([]*partition, len(c.records))...)
	total := int64(0)
	now := time.Now()
	var big *kafka.TooLarge
	for i := range c.records {
		r := &c.records[i]
		q, err := k.partition(ctx, r)
		if err != nil {
			return err
		}
		size, err := q.size(r)
		if err != nil {
			if big == nil {
				big = &kafka.TooLarge{Err: err}
			}
			big.Records = append(big.Records, i)
			continue
		}
		if k.ledger.size.Load() > 0 {
			known, err := c.slots[i].checkLedger(ctx, k.ledger, q, r)
			if err != nil {
				return unavailable(q, err)
			}
			if known {
				c.slots[i].finish(stored, nil)
				continue
			}
		}
		if len(parts) > 1 { // all or none, as far as that can be known in advance
			if err := q.checkAvailable(now); err != nil {
				return unavailable(q, err)
			}
		}
		parts[i], c.slots[i].size = q, size
		total += size
	}
	if big != nil {
		return big
	}
	if err := k.reserve(total); err != nil {
		return err
	}
	for i, q := range parts {
		if q == nil {
			continue
		}
		if err := q.addRecord(&c.records[i], &c.slots[i], now); err != nil {
			k.release(total)
			return unavailable(q, err)
		}
		total -= c.slots[i].size
	}
	return nil
}

// partition returns the partition of a record. It refreshes the metadata if the topic
// is not known yet.
func (k *cluster) partition(ctx context.Context, r *kafka.Record) (*partition, error) {
	t := (*k.topics.Load())[r.Topic]
	if t == nil || t.parts.Load() == nil {
		if err := k.unreachable(); err != nil {
			return nil, err
		}
		if err := k.refresh(ctx, r.Topic); err != nil {
			return nil, err
		}
		t = (*k.topics.Load())[r.Topic]
		if err := t.err.Load(); err != nil {
			if errors.Is(*err, kafkago.UnknownTopicOrPartition) {
				return nil, fmt.Errorf("%w: topic %s does not exist", kafka.ErrRefused, r.Topic)
			}
			return nil, *err
		}
		if t.parts.Load() == nil {
			return nil, fmt.Errorf("topic %s: its metadata is not known yet", r.Topic)
		}
	}
	parts := *t.parts.Load()
	return parts[kafka.PartitionOf(r.Key, len(parts))], nil
}

// size returns the bytes to reserve for a record, or an error if the record is larger
// than its topic allows. With compression, or if the topic's limit is not known, it
// returns no error: the broker decides.
func (p *partition) size(r *kafka.Record) (int64, error) {
	n := int64(recordSize(r, 0, 0) + recordRoom)
	if limit := p.topic.limit.Load(); n-recordRoom+headerSize > limit && p.cluster.codec == nil && p.topic.limitKnown.Load() {
		return 0, fmt.Errorf("%w: topic %s: a record of %d bytes, and the topic's max.message.bytes is %d: raise it or lower the limit of a webhook's body",
			kafka.ErrRefused, r.Topic, n-recordRoom+headerSize, limit)
	}
	return n, nil
}

// checkLeader returns an error if the partition has no known leader.
func (p *partition) checkLeader() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader == nil {
		return unavailable(p, p.lastError)
	}
	return nil
}

// Available returns an error that wraps [kafka.ErrUnavailable] if Publish would refuse a
// record with this key at once because its partition is not available. It asks no broker.
func (p *Producer) Available(topic string, key []byte) error {
	t := (*p.cluster.topics.Load())[topic]
	if t == nil || t.parts.Load() == nil {
		return nil // Publish asks for the topic's metadata
	}
	parts := *t.parts.Load()
	q := parts[kafka.PartitionOf(key, len(parts))]
	if err := q.checkAvailable(time.Now()); err != nil {
		return unavailable(q, err)
	}
	return nil
}

// Close waits until the calls of Publish have returned and the outcome of every batch
// is known, at most for [Config.DrainTimeout], and closes the connections.
func (p *Producer) Close() {
	p.closed.Store(true)
	const pace = 2 * time.Millisecond
	end := time.Now().Add(p.cluster.DrainTimeout)
	for (p.calls.Load() > 0 || p.cluster.pendingBytes.Load() > 0) && time.Now().Before(end) {
		time.Sleep(pace)
	}
	p.cluster.stop()
	p.cluster.eachPartition(func(q *partition) { q.failOnClose() })
	for p.calls.Load() > 0 {
		time.Sleep(pace)
	}
}

// failOnClose refuses the callers that still wait when the producer closes.
func (p *partition) failOnClose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.queue {
		for _, s := range b.slots {
			if s.fate == waiting {
				s.finish(abandoned, kafka.ErrClosed)
			}
		}
	}
}
