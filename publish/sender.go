package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// broker sends produce requests to one broker, one at a time. A request has the first
// batch of every partition that the broker leads and that has a batch ready. While a
// request is in flight, the batches of the next request fill.
type broker struct {
	cluster *cluster
	id      int32
	wake    chan struct{} // buffered, size 1: there is work

	mu      sync.Mutex
	address string
	ready   []*partition
	conn    *kafka.Conn

	failingSince   optionalTime // the broker has been unreachable since then
	requestSentAt  optionalTime // when the request in flight was sent
	throttledUntil optionalTime // the broker accepts no request before then, because a client quota is used up

	// Only the sender's goroutine uses these fields.
	attempts int       // number of consecutive failed attempts to connect
	retryAt  time.Time // no request before then
	sent     []sentBatch
	readers  []bytes.Reader
	request  rawproduce.Request
}

// optionalTime is a time or none. One goroutine sets it, several read it.
type optionalTime struct{ at atomic.Pointer[time.Time] }

func (m *optionalTime) set(t time.Time) { m.at.Store(&t) }
func (m *optionalTime) clear()          { m.at.Store(nil) }
func (m *optionalTime) isNone() bool    { return m.at.Load() == nil }

// before returns the time if there is one and it is not after limit, or nil.
func (m *optionalTime) before(limit time.Time) *time.Time {
	if t := m.at.Load(); t != nil && !t.After(limit) {
		return t
	}
	return nil
}

// sentBatch is a batch of the request in flight.
type sentBatch struct {
	part     *partition
	batch    *batch
	answered bool // the response had a part for it
}

// enqueue adds a partition to those with a batch to send. The caller holds the
// partition's lock.
func (b *broker) enqueue(p *partition) {
	b.mu.Lock()
	b.ready = append(b.ready, p)
	b.mu.Unlock()
	b.signal()
}

// signal wakes the sender.
func (b *broker) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// unresponsive returns an error if since limit or longer the broker could not be
// reached or has not answered the request in flight, or if it throttles the producer
// for longer than [Config.Patience].
func (b *broker) unresponsive(limit time.Time) error {
	since := b.failingSince.before(limit)
	if since == nil {
		since = b.requestSentAt.before(limit)
	}
	if since != nil {
		return fmt.Errorf("broker %d has not answered since %s", b.id, since.UTC().Format(time.TimeOnly))
	}
	if until := b.throttledUntil.at.Load(); until != nil && time.Until(*until) > b.cluster.Patience {
		return fmt.Errorf("broker %d accepts no request until %s: the client quota in Kafka is used up", b.id, until.UTC().Format(time.TimeOnly))
	}
	return nil
}

// closeConnection closes the connection, which fails the request in flight.
func (b *broker) closeConnection() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil {
		b.conn.Close()
	}
}

// run sends until ctx is done.
func (b *broker) run(ctx context.Context) {
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		select {
		case <-b.wake:
		case <-retry.C:
		case <-ctx.Done():
			b.disconnect()
			return
		}
		for b.send(ctx) {
			runtime.Gosched() // lets the callers that were just answered join the next request
		}
		wait := time.Until(b.retryAt)
		if other := b.cluster.ids.retryIn(); wait <= 0 || other > 0 && other < wait {
			wait = other
		}
		if wait > 0 {
			retry.Reset(wait)
		}
	}
}

// send sends one request and reports whether it was answered. If the broker could not be
// reached, send connects to it again even if there is nothing to send: callers are refused
// until the connection is back.
func (b *broker) send(ctx context.Context) bool {
	if time.Now().Before(b.retryAt) {
		return false
	}
	if !b.hasWork() || !b.connect(ctx) {
		return false
	}
	b.collect()
	current, ok := b.currentProducerID()
	if !ok || len(b.sent) == 0 {
		return false
	}
	b.buildRequest(current)
	if b.returnLate() {
		return true
	}
	start := time.Now()
	b.requestSentAt.set(start)
	m, err := b.conn.RoundTrip(&b.request, kafka.ProduceTimeout)
	b.requestSentAt.clear()
	b.cluster.metrics.request.Observe(time.Since(start).Seconds())
	if err != nil {
		b.handleResponse(nil, err)
		b.connectionFailed(err)
		return false
	}
	b.attempts = 0
	answer := m.(*produce.Response)
	b.throttle(time.Duration(answer.ThrottleTimeMs) * time.Millisecond)
	b.handleResponse(answer, nil)
	return true
}

// returnLate returns all batches to their partitions if one of them must not be sent any
// more, and reports whether there was one. This process may have been suspended since it
// collected them.
func (b *broker) returnLate() bool {
	if !slices.ContainsFunc(b.sent, func(f sentBatch) bool { return f.batch.isLate() }) {
		return false
	}
	for _, f := range b.sent {
		f.part.returnUnsent(f.batch, 0)
	}
	b.sent = b.sent[:0]
	return true
}

// throttle delays the next request by the time that the broker asks for. The broker
// would not read a request before that: the request would wait in the socket, and be
// written long after its callers were refused and the connection was closed.
// https://cwiki.apache.org/confluence/x/OCngB (KIP-219)
func (b *broker) throttle(d time.Duration) {
	if d == 0 {
		b.throttledUntil.clear()
		return
	}
	b.cluster.metrics.throttled.Add(d.Seconds())
	b.retryAt = time.Now().Add(d)
	b.throttledUntil.set(b.retryAt)
}

// hasWork reports whether there is something to send, a connection to restore, or a
// producer id to request.
func (b *broker) hasWork() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.ready) > 0 || !b.failingSince.isNone() || b.cluster.ids.due()
}

// currentProducerID returns the producer id for batches that have none yet. If Kafka
// assigns none, those batches go back to their partitions and wait, and the others are
// sent. It returns false if the connection is broken.
func (b *broker) currentProducerID() (producerID, bool) {
	ids := &b.cluster.ids
	// With a lock, no batch is sent once the lock is lost.
	needs := func(f sentBatch) bool { return ids.lock != nil || f.part.needsID(f.batch) }
	if !slices.ContainsFunc(b.sent, needs) && !ids.due() {
		return producerID{}, true
	}
	id, broken, err := ids.get(b.conn)
	if err == nil {
		return id, true
	}
	b.cluster.wakeBrokers() // any broker's sender may request an id next time
	wait := max(ids.retryIn(), kafka.ProducerIDMinBackoff)
	b.sent = slices.DeleteFunc(b.sent, func(f sentBatch) bool {
		back := broken || needs(f)
		if back {
			f.part.returnUnsent(f.batch, wait)
		}
		return back
	})
	if broken {
		b.connectionFailed(err)
	}
	return producerID{}, !broken
}

// connect opens a connection if there is none, and reports whether there is one.
func (b *broker) connect(ctx context.Context) bool {
	if b.conn != nil && b.conn.Expired() {
		b.disconnect()
	}
	if b.conn != nil {
		return true
	}
	b.mu.Lock()
	address := b.address
	b.mu.Unlock()
	start := time.Now()
	c, err := b.cluster.Kafka.Dial(ctx, address)
	if err != nil {
		b.recordConnectFailure(start, err)
		return false
	}
	b.mu.Lock()
	b.conn = c
	b.mu.Unlock()
	b.failingSince.clear()
	return true
}

func (b *broker) disconnect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil {
		b.conn.Close()
		b.conn = nil
	}
}

// connectionFailed closes a connection on which no answer came. The next attempt to
// connect is made at once if a request was answered since the previous failure,
// otherwise after the back-off of recordConnectFailure.
func (b *broker) connectionFailed(err error) {
	b.disconnect()
	b.recordConnectFailure(time.Now(), err)
	if b.attempts == 1 {
		b.retryAt = time.Time{}
	}
	b.signal()
}

// recordConnectFailure records that the broker could not be reached, and sets the
// back-off.
func (b *broker) recordConnectFailure(since time.Time, err error) {
	if b.failingSince.isNone() {
		b.failingSince.set(since)
	}
	b.attempts++
	b.retryAt = time.Now().Add(min(10*time.Millisecond<<min(b.attempts, 5), 250*time.Millisecond))
	b.cluster.metrics.retries.WithLabelValues("connect").Inc()
	b.cluster.triggerRefresh()
}

// collect moves the first batch of each ready partition to the request, as many as fit.
func (b *broker) collect() {
	b.mu.Lock()
	ready := b.ready
	b.ready = nil
	b.mu.Unlock()
	b.sent = b.sent[:0]
	room := b.cluster.MaxRequest
	for _, p := range ready {
		fits := room
		if len(b.sent) == 0 {
			fits = int(^uint(0) >> 1) // the first batch is always sent
		}
		if t := p.nextBatch(b, fits); t != nil {
			b.sent = append(b.sent, sentBatch{part: p, batch: t})
			room -= len(t.buf)
		}
	}
}

// buildRequest builds the produce request, and encodes batches that are not encoded yet.
func (b *broker) buildRequest(current producerID) {
	if cap(b.readers) < len(b.sent) {
		b.readers = make([]bytes.Reader, 2*len(b.sent))
	}
	b.request = rawproduce.Request{Acks: -1, Timeout: int32(kafka.ReplicationTimeout / time.Millisecond), Topics: b.request.Topics[:0]}
	for i, f := range b.sent {
		f.part.sealFor(f.batch, current)
		b.cluster.metrics.records.Observe(float64(len(f.batch.slots)))
		b.cluster.metrics.bytes.Observe(float64(len(f.batch.wire)))
		r := &b.readers[:len(b.sent)][i]
		r.Reset(f.batch.wire)
		t := b.topic(f.part.topic.name)
		t.Partitions = append(t.Partitions, rawproduce.RequestPartition{
			Partition: f.part.number,
			RecordSet: protocol.RawRecordSet{Reader: r},
		})
	}
}

// topic returns the request's entry for a topic, and adds it if there is none.
func (b *broker) topic(name string) *rawproduce.RequestTopic {
	all := b.request.Topics
	for i := range all {
		if all[i].Topic == name {
			return &all[i]
		}
	}
	if n := len(all); n < cap(all) { // reuses the memory of an earlier request
		all = all[:n+1]
		all[n] = rawproduce.RequestTopic{Topic: name, Partitions: all[n].Partitions[:0]}
	} else {
		all = append(all, rawproduce.RequestTopic{Topic: name})
	}
	b.request.Topics = all
	return &all[len(all)-1]
}

var errMissing = errors.New("the broker's answer leaves the partition out")

// handleResponse passes each part of the response to its batch. If there is no response,
// err says why.
func (b *broker) handleResponse(r *produce.Response, err error) {
	if r != nil {
		next := 0
		for i := range r.Topics {
			for _, a := range r.Topics[i].Partitions {
				if f := b.findSent(r.Topics[i].Topic, a.Partition, &next); f != nil {
					f.answered = true
					f.part.onResponse(f.batch, kafkago.Error(a.ErrorCode), a.BaseOffset, nil)
				}
			}
		}
		err = errMissing
	}
	for i := range b.sent {
		f := &b.sent[i]
		if !f.answered {
			f.part.onResponse(f.batch, 0, -1, err)
		}
		f.batch, f.part = nil, nil
	}
}

// findSent returns the batch that a part of the response belongs to, or nil. The parts
// mostly come in the order of the request, so the search starts after the last match.
func (b *broker) findSent(topic string, number int32, next *int) *sentBatch {
	for range b.sent {
		f := &b.sent[*next]
		*next = (*next + 1) % len(b.sent)
		if !f.answered && f.part.number == number && f.part.topic.name == topic {
			return f
		}
	}
	return nil
}
