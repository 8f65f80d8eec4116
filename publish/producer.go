// Package publish writes to Kafka. [Producer.Publish] returns once all in-sync
// replicas have every record it was given, and that is what a webhook's 2xx
// stands on.
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
//     caller was refused. The ledger knows it by its [kafka.Record.ID]: its
//     redelivery waits for the outcome, gets the first one's receipt if it is
//     written, and is written anew if it is not. Meanwhile the partition takes
//     nothing else, and its callers are refused at once. Where somebody reads the
//     topic ([Producer.SetLogReader]) a batch that nobody waits for is not sent again
//     but looked for: its redelivery may have come to another replica;
//   - if the broker refuses the batch for good after an attempt without an
//     answer (its producer id is fenced, or it is not allowed any more), nobody
//     can tell. The record is counted as tollbridge_kafka_unknown_records_total
//     and its redelivery refused while the ledger remembers it.
//
// The ledger remembers for [Config.RememberFor] and at most [Config.RememberMax]
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

// Config is what a [Producer] may use. Kafka must be set; every other zero value
// has the meaning that its comment gives.
type Config struct {
	Kafka kafka.Config

	Compression kafkago.Compression // of the batches; 0 is none
	MaxBytes    int64               // of records that are not acknowledged yet; more are refused; 0 is 64 MiB
	MaxBatch    int                 // bytes of a batch with more than one record; 0 is 1 MiB; a topic's max.message.bytes may be less
	MaxRequest  int                 // bytes of a request with more than one batch; 0 is 8 MiB

	// Patience is how long a partition may not be writable until its callers
	// are refused, and new ones at once; 0 is 1.6 s.
	Patience time.Duration
	// DrainTimeout is how long [Producer.Close] waits for what is under way; 0 is 10 s.
	DrainTimeout time.Duration
	// RememberFor and RememberMax say how long, and how many, records that were
	// refused to their callers and yet written are remembered; 0 is 72 h, and
	// 100000.
	RememberFor time.Duration
	RememberMax int

	// Lock, if it is not nil, is what a producer writes with, and only while it is
	// held.
	Lock *Lock

	Metrics prometheus.Registerer // nil registers nowhere
	Log     zerolog.Logger        // the zero value says nothing
}

// orElse puts the defaults where nothing is set.
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
	calls   atomic.Int64 // under way
}

// NewProducer returns a producer. Nothing is asked of Kafka yet: see
// [Producer.Ready].
func NewProducer(c Config) *Producer { return &Producer{cluster: newCluster(c.withDefaults())} }

// LogReader is what can be read of Kafka.
type LogReader interface {
	// Follows reports whether a topic is read at all.
	Follows(topic string) bool
	// Written returns where records are, by [kafka.Record.ID], whoever wrote them. It
	// returns false as long as something may be in the partition, or come into it,
	// that was sent until a time and is not read.
	Written(topic string, partition int, sent time.Time, ids []string) (map[string]kafka.Receipt, bool)
}

// SetLogReader has what was sent and not answered, and what nobody waits for any more,
// looked for in the log in place of being sent again, as it must be where other
// replicas write the same records.
func (p *Producer) SetLogReader(l LogReader) { p.cluster.logReader.Store(&l) }

// Ready returns nil if the topics are there and have a leader each, and Kafka gives
// the producer an id, for which it is asked the first time that Ready is called.
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
			return fmt.Errorf("%w: topic %s: nothing is known of it", kafka.ErrUnavailable, name)
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
			return fmt.Errorf("%w: no broker answers for a producer id: %w", kafka.ErrUnavailable, ctx.Err())
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
// written in the order they stand, and after those of calls that came before.
// The context's deadline bounds it, and [Config.Patience] where Kafka does not
// answer; an error wraps [kafka.ErrUnavailable], [kafka.ErrRefused] or [kafka.ErrClosed].
//
// After an error some records may be written, or be written later: that of a
// record which was sent and not answered is found out in the background. The
// producer remembers them by [kafka.Record.ID], and when they are given to Publish
// again they are not written again: it returns the receipts of the first time,
// and waits if that is not known yet. See the package's documentation for what
// is forgotten when. Publish does not recognise a record that is given to it
// while another call with it has not returned, nor one that it returned a
// receipt for.
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

// refusal counts an error and has it wrap one of the package's.
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

// place puts each record that the ledger does not know in its partition's open
// batch. Nothing is placed if it can be seen before that something is wrong.
func (p *Producer) enqueue(ctx context.Context, c *call) error {
	k := p.cluster
	parts := make([]*partition, len(c.records))
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
		if len(parts) > 1 { // all or nothing, where that can be seen
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

// partition returns the partition of a record.
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
				return nil, fmt.Errorf("%w: topic %s is not there", kafka.ErrRefused, r.Topic)
			}
			return nil, *err
		}
		if t.parts.Load() == nil {
			return nil, fmt.Errorf("topic %s: nothing is known of it", r.Topic)
		}
	}
	parts := *t.parts.Load()
	return parts[kafka.PartitionOf(r.Key, len(parts))], nil
}

// size returns how many bytes a record takes, or an error if its topic does
// not take so many. Compressed it may, so that the broker is asked, as it is where
// the topic's limit is not known.
func (p *partition) size(r *kafka.Record) (int64, error) {
	n := int64(recordSize(r, 0, 0) + recordRoom)
	if limit := p.topic.limit.Load(); n-recordRoom+headerSize > limit && p.cluster.codec == nil && p.topic.limitKnown.Load() {
		return 0, fmt.Errorf("%w: topic %s: a record of %d bytes, and the topic's max.message.bytes is %d: raise it or lower the limit of a webhook's body",
			kafka.ErrRefused, r.Topic, n-recordRoom+headerSize, limit)
	}
	return n, nil
}

// led returns an error if the partition has no leader.
func (p *partition) checkLeader() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader == nil {
		return unavailable(p, p.lastError)
	}
	return nil
}

// Close waits for the calls under way, and for batches whose callers left,
// until all is known or [Config.DrainTimeout] has passed, and ends the connections.
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

// abandon answers who still waits when the producer has ended.
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
