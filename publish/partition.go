package publish

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// topic is what is known of a topic.
type topic struct {
	name  string
	limit atomic.Int64                 // its max.message.bytes, or Kafka's default where that is not known
	limitKnown  atomic.Bool                  // limit is the topic's own
	parts atomic.Pointer[[]*partition] // nil: not known yet
	everSeen  []*partition                 // all that ever were; the cluster's lock guards it
	err   atomic.Pointer[error]        // what is wrong with what the brokers say of it; nil: nothing
}

func (t *topic) setError(err error) { t.err.Store(&err) }

// partition is the way of records to one partition: batches in the order they
// are to be written, of which only the first is ever sent.
//
//	queue  [ in flight, or its outcome unknown | full, waiting ... | open ]
type partition struct {
	cluster *cluster
	topic   *topic
	number  int32

	mu     sync.Mutex
	queue  []*batch
	leader *broker // nil: none is known
	enqueued bool    // it is on its leader's list of what to send
	paused bool    // it waits before its next attempt

	id       producerID // the zero value: none yet
	sequence int32      // of the next batch

	// Since when the leader is gone, and since when the oldest record waited as
	// an attempt failed; an acknowledgement ends this. Zero: all is well.
	leaderlessSince, failingSince time.Time
	lastError                 error
}

// usable returns an error if a record given to the partition now would have to
// wait for something that is down already.
func (p *partition) checkAvailable(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unavailableReason(now)
}

// hopeless returns why the partition cannot be written to, once it could not
// for [Config.Patience]. Troubles that follow each other are one: a batch that
// was tried in vain waits no longer for a new leader or another answer.
func (p *partition) unavailableReason(now time.Time) error {
	limit := now.Add(-p.cluster.Patience)
	past := func(since time.Time) bool { return !since.IsZero() && !since.After(limit) }
	switch {
	case p.leader == nil && past(p.leaderlessSince):
		return fmt.Errorf("no leader since %s", p.leaderlessSince.UTC().Format(time.TimeOnly))
	case (p.paused || len(p.queue) > 0 && p.queue[0].attempts > 0) && past(p.failingSince):
		return fmt.Errorf("nothing is acknowledged since %s: %w", p.failingSince.UTC().Format(time.TimeOnly), p.lastError)
	}
	if p.id == (producerID{}) {
		if err := p.cluster.ids.checkAvailable(limit); err != nil {
			return err
		}
	}
	if p.leader != nil {
		return p.leader.unresponsive(limit)
	}
	return nil
}

// needsID reports whether a batch cannot be sent without a new producer id.
func (p *partition) needsID(b *batch) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return b.wire == nil && p.id == (producerID{})
}

// place puts a record in the open batch.
func (p *partition) addRecord(r *kafka.Record, s *slot, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.unavailableReason(now); err != nil {
		return err
	}
	if p.cluster.ctx.Err() != nil {
		return kafka.ErrClosed
	}
	var b *batch
	if n := len(p.queue); n > 0 && !p.queue[n-1].sealed && int64(len(p.queue[n-1].buf))+s.size <= p.batchLimit() {
		b = p.queue[n-1]
	} else {
		b = newBatch()
		b.openedAt = now
		p.queue = append(p.queue, b)
	}
	s.part, s.id = p, r.ID
	b.add(r, now.UnixMilli(), s)
	b.reservedBytes += s.size
	p.enqueue()
	return nil
}

// batchLimit is how many bytes a batch may have.
func (p *partition) batchLimit() int64 {
	return min(p.topic.limit.Load(), int64(p.cluster.MaxBatch)) + lengthSize
}

// list puts the partition on its leader's list, if there is something to send.
func (p *partition) enqueue() {
	if p.enqueued || p.paused || p.leader == nil || len(p.queue) == 0 || p.queue[0].inFlight {
		return
	}
	p.enqueued = true
	p.leader.enqueue(p)
}

// next returns the batch that is to be sent to the broker now, or nil.
func (p *partition) nextBatch(to *broker, room int) *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.enqueued = false
	if p.leader != to || p.paused {
		p.enqueue() // the leader has changed
		return nil
	}
	for len(p.queue) > 0 && !p.queue[0].inFlight {
		b := p.queue[0]
		if !b.unknown && !p.removeAbandoned() {
			continue
		}
		if log := p.logReaderFor(b); log != nil {
			if !p.resolveFromLog(b, *log) {
				return nil
			}
			continue
		}
		if b = p.queue[0]; len(b.buf) > room {
			p.enqueued = true
			to.enqueue(p)
			return nil
		}
		b.inFlight, b.sealed = true, true
		return b
	}
	return nil
}

// prune takes records that nobody waits for any more out of the first batch,
// which is in no log. It reports whether any is left.
func (p *partition) removeAbandoned() bool {
	b := p.queue[0]
	alive := 0
	for _, s := range b.slots {
		if s.fate == waiting {
			alive++
		}
	}
	if alive == len(b.slots) {
		return true
	}
	rest := b.withoutAbandoned()
	if rest == nil {
		p.dropFirst(b)
		return false
	}
	rest.reservedBytes, rest.attempts, rest.openedAt, p.queue[0] = b.reservedBytes, b.attempts, b.openedAt, rest
	b.recycle()
	return true
}

// reader returns who can tell what became of a batch that may be in the log and
// that nobody waits for any more, or nil.
func (p *partition) logReaderFor(b *batch) *LogReader {
	log := p.cluster.logReader.Load()
	if log == nil || !b.unknown || !(*log).Follows(p.topic.name) {
		return nil
	}
	for _, s := range b.slots {
		if s.fate == waiting || s.id == "" {
			return nil
		}
	}
	return log
}

// lookPace is between looks at what the log has.
const lookPace = 20 * time.Millisecond

// look settles a batch by what the log has, and reports whether it could. The
// batch is not sent again: its redelivery may have come to another replica, and
// what is not in the log by now is to be written by that one.
func (p *partition) resolveFromLog(b *batch, log LogReader) bool {
	ids := make([]string, len(b.slots))
	for i, s := range b.slots {
		ids[i] = s.id
	}
	at, ok := log.Written(p.topic.name, int(p.number), b.lastAttempt, ids)
	if !ok {
		p.pause(lookPace)
		return false
	}
	p.dropFirst(b)
	for _, s := range b.slots {
		var there bool
		if s.receipt, there = at[s.id]; there {
			p.finishSlot(s, stored, nil)
		} else {
			p.finishSlot(s, unwritten, errDeadline)
		}
	}
	p.discardProducerID() // its sequence may have been used
	p.failingSince, p.lastError = time.Time{}, nil
	return true
}

// drop takes the first batch out of the queue, for good. Its slots end after that:
// their callers find its bytes free.
func (p *partition) dropFirst(b *batch) {
	p.queue = append(p.queue[:0], p.queue[1:]...)
	p.cluster.release(b.reservedBytes)
	b.recycle()
}

// sealFor makes the bytes of a batch that has none yet.
func (p *partition) sealFor(b *batch, current producerID) {
	if b.wire != nil {
		return
	}
	p.mu.Lock()
	if p.id == (producerID{}) {
		p.id, p.sequence = current, 0
	}
	id, sequence := p.id, p.sequence
	p.mu.Unlock()
	b.seal(id, sequence, p.cluster.codec)
}

// answered is what the broker said of the batch in flight, or that it said
// nothing: then code is 0 and err is set.
func (p *partition) onResponse(b *batch, code kafkago.Error, base int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.inFlight = false
	b.attempts++
	b.lastAttempt = time.Now()
	v := unknown
	if err == nil {
		if v = classify(code, b.unknown); v != written {
			err = code
		}
	}
	if v != written {
		p.recordFailure(b, code, err)
	}
	switch v {
	case written:
		p.acknowledged(b, base)
	case unknown:
		b.unknown = true
		p.retryLater(b)
	case retriable:
		p.retryUnwritten(b)
	case splittable:
		p.split(b, err)
	case fatal:
		p.refuse(b, err)
	case outOfSequence:
		// One batch is in flight at a time, so if the log had this one it
		// would be the producer id's last and recognised.
		p.discardProducerID()
		b.unknown = false
		p.retryUnwritten(b)
	case fenced:
		p.discardProducerID()
		if b.unknown {
			p.finishIndeterminate(b, err)
		} else {
			p.retryUnwritten(b)
		}
	}
	p.enqueue()
}

// fails notes that an attempt was for nothing.
func (p *partition) recordFailure(b *batch, code kafkago.Error, err error) {
	word := "connection"
	if code != 0 {
		word = errorLabel(code)
	}
	p.cluster.metrics.retries.WithLabelValues(word).Inc()
	p.lastError = err
	if p.failingSince.IsZero() {
		p.failingSince = b.openedAt
	}
	if code == 0 || leaderMoved(code) {
		p.cluster.triggerRefresh()
	}
}

// acknowledged ends a batch that all in-sync replicas have. Base is -1 where
// the broker recognised it and does not remember where it is.
func (p *partition) acknowledged(b *batch, base int64) {
	p.failingSince, p.lastError = time.Time{}, nil
	p.sequence = nextSequence(p.sequence, len(b.slots))
	p.dropFirst(b)
	for i, s := range b.slots {
		s.receipt = kafka.Receipt{Topic: p.topic.name, Partition: int(p.number), Offset: -1}
		if base >= 0 {
			s.receipt.Offset = base + int64(i)
		}
		p.finishSlot(s, stored, nil)
	}
}

func (p *partition) finishSlot(s *slot, f fate, err error) {
	if s.fate == unwritten {
		return // withdrawn
	}
	s.finish(f, err)
	p.cluster.ledger.resolve(s)
}

// retry sends the batch again after a while.
func (p *partition) retryLater(b *batch) {
	if b.attempts <= 1 {
		return // at once
	}
	p.pause(min(10*time.Millisecond<<min(b.attempts, 6), 500*time.Millisecond))
}

func (p *partition) pause(rest time.Duration) {
	p.paused = true
	time.AfterFunc(rest, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.resume()
	})
}

func (p *partition) resume() {
	p.paused = false
	p.enqueue()
}

// again is for a batch that was not accepted this time. If it is in no log,
// records whose callers left are taken out, and the others are refused once
// there is no hope.
func (p *partition) retryUnwritten(b *batch) {
	if !b.unknown {
		p.resetUnwritten(b)
		if time.Since(p.failingSince) >= p.cluster.Patience {
			p.finishBatch(b, unwritten, unavailable(p, p.lastError))
			return
		}
	}
	p.retryLater(b)
}

// withdraw makes a batch that is in no log as if it was never sent: it may
// change, and what nobody waits for is not written any more.
func (p *partition) resetUnwritten(b *batch) {
	b.wire = nil
	for _, s := range b.slots {
		if s.fate == abandoned {
			p.finishSlot(s, unwritten, errDeadline)
		}
	}
}

// split is for a batch that is too much, or has a record that is: each of its
// records gets a batch of its own, so that its neighbours are not hurt.
func (p *partition) split(b *batch, err error) {
	if b.unknown || len(b.slots) == 1 {
		p.cluster.triggerRefresh() // the topic's limit may have changed
		p.refuse(b, err)
		return
	}
	p.resetUnwritten(b)
	singles := b.singles()
	for _, one := range singles {
		one.openedAt = b.openedAt
	}
	singles[0].reservedBytes = b.reservedBytes
	p.queue = append(singles, p.queue[1:]...)
	b.recycle()
}

// refuse ends a batch that will never be accepted.
func (p *partition) refuse(b *batch, err error) {
	if b.unknown {
		p.discardProducerID()
		p.finishIndeterminate(b, err)
		return
	}
	p.finishBatch(b, unwritten, fmt.Errorf("%w: topic %s: a batch of %d records and %d bytes (the topic's max.message.bytes is %d): %w",
		kafka.ErrRefused, p.topic.name, len(b.slots), len(b.wire)-lengthSize, p.topic.limit.Load(), err))
}

// end ends the first batch with nothing written.
func (p *partition) finishBatch(b *batch, f fate, err error) {
	p.dropFirst(b)
	for _, s := range b.slots {
		p.finishSlot(s, f, err)
	}
}

// giveUp ends a batch that may be in the log and that no broker will ever tell
// about: the ledger refuses its redeliveries as long as it remembers.
func (p *partition) finishIndeterminate(b *batch, err error) {
	p.cluster.metrics.lost.Add(float64(len(b.slots)))
	p.finishBatch(b, indeterminate, unavailable(p, err))
}

// newID ends the producer id for this partition. Sequences of the next begin
// at 0: to go on with the ones of this would let the broker take a new batch
// for one that it has.
func (p *partition) discardProducerID() {
	p.cluster.ids.discard(p.id)
	p.id = producerID{}
}

// giveIn answers the callers when the partition is hopeless: what was never
// sent is dropped, and what may be written stays, to be sent until it is known.
func (p *partition) failWaiters(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	why := p.unavailableReason(now)
	if why == nil || len(p.queue) == 0 {
		return
	}
	err := unavailable(p, why)
	for len(p.queue) > 1 {
		last := p.queue[len(p.queue)-1]
		for _, s := range last.slots {
			p.finishSlot(s, unwritten, err)
		}
		p.cluster.release(last.reservedBytes)
		last.recycle()
		p.queue = p.queue[:len(p.queue)-1]
	}
	b := p.queue[0]
	if !b.inFlight && !b.unknown {
		p.finishBatch(b, unwritten, err)
		return
	}
	for _, s := range b.slots {
		if s.fate == waiting {
			s.finish(abandoned, err)
		}
	}
}

// leads makes a broker the leader; nil is none. A request under way to the
// former one is cut: its answer would come too late.
func (p *partition) setLeader(b *broker, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b == nil {
		if p.leaderlessSince.IsZero() {
			p.leaderlessSince = time.Now()
		}
		p.leader, p.lastError = nil, why
		return
	}
	p.leaderlessSince = time.Time{}
	if p.leader == b {
		return
	}
	if p.leader != nil && len(p.queue) > 0 && p.queue[0].inFlight {
		p.leader.closeConnection()
	}
	p.leader, p.enqueued = b, false
	p.resume()
}

// unavailable is the error of callers whose records cannot be acknowledged.
func unavailable(p *partition, why error) error {
	return fmt.Errorf("%w: topic %s, partition %d: %w", kafka.ErrUnavailable, p.topic.name, p.number, why)
}

// returned puts a batch back that was taken and not sent, to be taken again after
// a while.
func (p *partition) returnUnsent(b *batch, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.inFlight = false
	if !b.unknown {
		p.resetUnwritten(b)
	}
	if wait > 0 {
		p.pause(wait)
	}
	p.enqueue()
}
