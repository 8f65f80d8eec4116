package publish

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// topic holds the metadata of a topic.
type topic struct {
	name       string
	limit      atomic.Int64                 // the topic's max.message.bytes, or Kafka's default if that is not known
	limitKnown atomic.Bool                  // limit was read from the topic
	minISR     atomic.Int64                 // the topic's min.insync.replicas; 0 if that is not known
	parts      atomic.Pointer[[]*partition] // nil: not known yet
	everSeen   []*partition                 // all partitions that were ever in the metadata; the cluster's lock guards it
	err        atomic.Pointer[error]        // why the last metadata of the topic could not be used; nil if it could
}

func (t *topic) setError(err error) { t.err.Store(&err) }

// partition is the queue of batches for one partition, in the order in which they are
// written. Only the first batch is ever sent.
//
//	queue  [ in flight, or its outcome unknown | full, waiting ... | open ]
type partition struct {
	cluster *cluster
	topic   *topic
	number  int32

	mu       sync.Mutex
	queue    []*batch
	leader   *broker // nil if it is not known
	enqueued bool    // it is in its leader's list of partitions with a batch to send
	paused   bool    // the partition backs off before its next attempt

	id       producerID // the zero value: none yet
	sequence int32      // of the next batch

	// The partition has had no leader since leaderlessSince. The oldest record whose
	// attempts failed has waited since failingSince, which an acknowledgement clears. The
	// zero time means that there is no such problem.
	leaderlessSince, failingSince time.Time
	lastError                     error
}

// checkAvailable returns an error if the partition has been unavailable for
// [Config.Patience], so that a new record is refused at once.
func (p *partition) checkAvailable(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unavailableReason(now)
}

// unavailableReason returns why the partition cannot be written to if that has lasted
// for [Config.Patience], or nil. Problems that follow each other count as one: a batch
// whose attempts failed gets no extra time when the leader is lost as well. The caller
// holds the lock.
func (p *partition) unavailableReason(now time.Time) error {
	limit := now.Add(-p.cluster.Patience)
	past := func(since time.Time) bool { return !since.IsZero() && !since.After(limit) }
	switch {
	case p.leader == nil && past(p.leaderlessSince):
		return fmt.Errorf("it has had no leader since %s", p.leaderlessSince.UTC().Format(time.TimeOnly))
	case (p.paused || len(p.queue) > 0 && p.queue[0].attempts > 0) && past(p.failingSince):
		return fmt.Errorf("no record has been acknowledged since %s: %w", p.failingSince.UTC().Format(time.TimeOnly), p.lastError)
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

// addRecord adds a record to the open batch, or returns why the partition is unavailable.
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
	s.part, s.id, s.notAfter = p, r.ID, r.NotAfter
	b.add(r, now.UnixMilli(), s)
	b.reservedBytes += s.size
	p.enqueue()
	return nil
}

// batchLimit returns the most bytes of a batch with several records.
func (p *partition) batchLimit() int64 {
	return min(p.topic.limit.Load(), int64(p.cluster.MaxBatch)) + lengthSize
}

// enqueue adds the partition to its leader's list if it has a batch to send. The caller
// holds the lock.
func (p *partition) enqueue() {
	if p.enqueued || p.paused || p.leader == nil || len(p.queue) == 0 || p.queue[0].inFlight {
		return
	}
	p.enqueued = true
	p.leader.enqueue(p)
}

// nextBatch returns the batch to send to the broker now, or nil if there is none or it has
// more than room bytes.
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
		late := b.isLate()
		if late {
			p.refuseLate(b)
		}
		if !b.unknown && !p.removeAbandoned() {
			continue
		}
		if log := p.logReaderFor(b); log != nil {
			if !p.resolveFromLog(b, *log) {
				return nil
			}
			continue
		}
		if late && b.unknown {
			if p.cluster.logReader.Load() == nil {
				p.discardProducerID()
				p.finishIndeterminate(b, errTooLate)
				continue
			}
			p.pause(kafka.LogReadInterval) // until the reader follows the topic
			return nil
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

// refuseLate refuses the callers of the records that must not be sent any more. If the
// batch may be in the log, its bytes cannot change, so it is not sent again at all, and
// all callers are refused.
func (p *partition) refuseLate(b *batch) {
	now := kafka.Clock()
	for _, s := range b.slots {
		switch {
		case s.fate != waiting:
		case b.unknown:
			s.finish(abandoned, unavailable(p, errTooLate))
		case s.notAfter > 0 && now > s.notAfter:
			p.finishSlot(s, unwritten, unavailable(p, errTooLate))
		}
	}
}

// removeAbandoned removes the records whose callers have left from the first batch, which
// must not be in the log. It reports whether the batch has records left.
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

// logReaderFor returns the log reader if it should resolve the batch: the outcome of
// the batch is unknown, all of its callers have left, and the reader follows the topic.
// Otherwise it returns nil.
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

// resolveFromLog finishes a batch according to the log, and reports whether the log
// reader could answer. The batch is not sent again: its redelivery may have gone to
// another replica, which writes the records that are not in the log.
func (p *partition) resolveFromLog(b *batch, log LogReader) bool {
	ids := make([]string, len(b.slots))
	for i, s := range b.slots {
		ids[i] = s.id
	}
	at, ok := log.Written(p.topic.name, int(p.number), b.lastAttempt, ids)
	if !ok {
		p.pause(kafka.LogReadInterval)
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
	p.discardProducerID() // its sequence number may have been used
	p.failingSince, p.lastError = time.Time{}, nil
	return true
}

// dropFirst removes the first batch from the queue for good. It is called before the
// slots are finished, so that their callers find the batch's bytes released.
func (p *partition) dropFirst(b *batch) {
	p.queue = append(p.queue[:0], p.queue[1:]...)
	p.cluster.release(b.reservedBytes)
	b.recycle()
}

// sealFor encodes a batch that is not encoded yet, with the partition's producer id, or
// with the current one if the partition has none.
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

// onResponse handles the broker's answer to the batch in flight. If no answer came, err is
// set and code is 0.
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
		// One batch is in flight at a time, so a log with this batch would have it
		// as the producer id's last, and the broker would recognise it.
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

// recordFailure records a failed attempt, and refreshes the metadata if the leader may
// have moved.
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

// acknowledged finishes a batch that is on all in-sync replicas. Base is the offset of its
// first record, or -1 if the broker recognised the batch and no longer knows the offset.
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

// finishSlot sets the outcome of a record in its slot and in the ledger.
func (p *partition) finishSlot(s *slot, f fate, err error) {
	if s.fate == unwritten {
		return // it was removed before
	}
	s.finish(f, err)
	p.cluster.ledger.resolve(s)
}

// retryLater sends the batch again: at once after the first attempt, else after a
// back-off.
func (p *partition) retryLater(b *batch) {
	if b.attempts <= 1 {
		return // at once
	}
	p.pause(min(10*time.Millisecond<<min(b.attempts, 6), 500*time.Millisecond))
}

// pause delays the next attempt. The caller holds the lock.
func (p *partition) pause(d time.Duration) {
	p.paused = true
	time.AfterFunc(d, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.resume()
	})
}

func (p *partition) resume() {
	p.paused = false
	p.enqueue()
}

// retryUnwritten retries a batch that the broker did not append at this attempt. If no
// earlier attempt may have written it, records whose callers have left are removed, and
// the others are refused after [Config.Patience].
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

// resetUnwritten resets a batch that is not in the log to its state before it was sent: it
// may change again, and records whose callers have left will not be written.
func (p *partition) resetUnwritten(b *batch) {
	b.wire = nil
	for _, s := range b.slots {
		if s.fate == abandoned {
			p.finishSlot(s, unwritten, errDeadline)
		}
	}
}

// split replaces a batch that is too large, or has an invalid record, by one batch for
// each of its records, so that the valid ones are written.
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

// refuse finishes a batch that the broker will never accept.
func (p *partition) refuse(b *batch, err error) {
	if b.unknown {
		p.discardProducerID()
		p.finishIndeterminate(b, err)
		return
	}
	p.finishBatch(b, unwritten, fmt.Errorf("%w: topic %s: a batch of %d records and %d bytes (the topic's max.message.bytes is %d): %w",
		kafka.ErrRefused, p.topic.name, len(b.slots), len(b.wire)-lengthSize, p.topic.limit.Load(), err))
}

// finishBatch removes the first batch and gives all of its records the same outcome.
func (p *partition) finishBatch(b *batch, f fate, err error) {
	p.dropFirst(b)
	for _, s := range b.slots {
		p.finishSlot(s, f, err)
	}
}

// finishIndeterminate finishes a batch that may be in the log, if no answer can tell
// any more. As long as the ledger has its records, Publish refuses their redeliveries.
func (p *partition) finishIndeterminate(b *batch, err error) {
	p.cluster.metrics.lost.Add(float64(len(b.slots)))
	p.finishBatch(b, indeterminate, unavailable(p, err))
}

// discardProducerID gives up the producer id of this partition. The sequence of the next id
// begins at 0: with the old id and sequence, the broker could take a new batch for one
// that it already has.
func (p *partition) discardProducerID() {
	p.cluster.ids.discard(p.id)
	p.id = producerID{}
}

// failWaiters refuses the callers if the partition has been unavailable for
// [Config.Patience]. Batches that were never sent are dropped. A batch that may be written
// stays, until its outcome is known.
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

// setLeader sets the leader. If it is nil there is none, and why gives the reason. A
// request in flight to the former leader is cut off, because its answer would come too
// late.
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

// unavailable returns the error for callers of a partition that is not available.
func unavailable(p *partition, why error) error {
	return fmt.Errorf("%w: partition %s: %w", kafka.ErrUnavailable, kafka.PartitionText(p.topic.name, int(p.number)), why)
}

// returnUnsent returns to the partition a batch that was collected for a request but
// not sent. It is collected again after wait.
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
