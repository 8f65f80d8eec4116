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

// produceTime is how long a produce request may take until its connection is
// closed.
const produceTime = 10 * time.Second

// broker sends to one broker: one request at a time, with a batch of every
// partition it leads that has one ready. While a request is under way the
// batches of the next fill.
type broker struct {
	cluster *cluster
	id      int32
	wake    chan struct{} // has a place for the one message that there is work

	mu      sync.Mutex
	address string
	ready   []*partition
	conn    *kafka.Conn

	failingSince optionalTime // since when it cannot be reached
	requestSentAt   optionalTime // when the request under way was sent
	throttledUntil   optionalTime // until when it takes no request, since a quota of ours is used up

	// The sender's own.
	attempts   int       // to get an answer, in vain
	retryAt  time.Time // when to try again
	sent []sentBatch
	readers []bytes.Reader
	request rawproduce.Request
}

// moment is a time or none, for many to read and one to set.
type optionalTime struct{ at atomic.Pointer[time.Time] }

func (m *optionalTime) set(t time.Time) { m.at.Store(&t) }
func (m *optionalTime) clear()          { m.at.Store(nil) }
func (m *optionalTime) isNone() bool      { return m.at.Load() == nil }

// before returns the time if there is one and it is not after limit.
func (m *optionalTime) before(limit time.Time) *time.Time {
	if t := m.at.Load(); t != nil && !t.After(limit) {
		return t
	}
	return nil
}

// flight is a batch on its way.
type sentBatch struct {
	part  *partition
	batch *batch
	answered  bool // it is answered
}

// push puts a partition on the list of what to send. The partition is locked.
func (b *broker) enqueue(p *partition) {
	b.mu.Lock()
	b.ready = append(b.ready, p)
	b.mu.Unlock()
	b.signal()
}

func (b *broker) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// silent returns an error if the broker has given no sign of life since limit,
// though it was asked for one.
func (b *broker) unresponsive(limit time.Time) error {
	since := b.failingSince.before(limit)
	if since == nil {
		since = b.requestSentAt.before(limit)
	}
	if since != nil {
		return fmt.Errorf("broker %d does not answer since %s", b.id, since.UTC().Format(time.TimeOnly))
	}
	if until := b.throttledUntil.at.Load(); until != nil && time.Until(*until) > b.cluster.Patience {
		return fmt.Errorf("broker %d takes nothing until %s: a client quota of Kafka's is used up", b.id, until.UTC().Format(time.TimeOnly))
	}
	return nil
}

// hangUp cuts the connection, and so the request under way.
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
			runtime.Gosched() // those who were answered come back into the next request
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

// send sends one request and reports whether it did. A broker that could not
// be reached is tried again even if nothing is to be sent: nobody is given to
// it while it cannot be.
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
	start := time.Now()
	b.requestSentAt.set(start)
	m, err := b.conn.RoundTrip(&b.request, produceTime)
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

// rest has nothing sent for the time that the broker asks for. It would not read
// the request: that would lie in its socket, and be written though its records'
// callers were refused long ago and the connection is gone.
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

// busy reports whether there is something to do.
func (b *broker) hasWork() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.ready) > 0 || !b.failingSince.isNone() || b.cluster.ids.due()
}

// identify returns the producer id for batches that have none yet. Where Kafka
// gives none those go back and wait, and the others are sent. It reports false if
// the connection has ended.
func (b *broker) currentProducerID() (producerID, bool) {
	ids := &b.cluster.ids
	// With a lock, nothing is sent any more once that is lost.
	needs := func(f sentBatch) bool { return ids.lock != nil || f.part.needsID(f.batch) }
	if !slices.ContainsFunc(b.sent, needs) && !ids.due() {
		return producerID{}, true
	}
	id, broken, err := ids.get(b.conn)
	if err == nil {
		return id, true
	}
	b.cluster.wakeBrokers() // so that any broker may be asked the next time
	wait := max(ids.retryIn(), minIDRetry)
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

// connect makes sure that there is a connection.
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

// fail ends a connection that did not answer. The first attempt to connect again
// is at once, unless no connection answers: then their pace is that of [broker.failed].
func (b *broker) connectionFailed(err error) {
	b.disconnect()
	b.recordConnectFailure(time.Now(), err)
	if b.attempts == 1 {
		b.retryAt = time.Time{}
	}
	b.signal()
}

// failed notes that the broker could not be reached.
func (b *broker) recordConnectFailure(since time.Time, err error) {
	if b.failingSince.isNone() {
		b.failingSince.set(since)
	}
	b.attempts++
	b.retryAt = time.Now().Add(min(10*time.Millisecond<<min(b.attempts, 5), 250*time.Millisecond))
	b.cluster.metrics.retries.WithLabelValues("connect").Inc()
	b.cluster.triggerRefresh()
}

// collect takes the first batch of each partition that is ready, as many as
// fit a request.
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
			fits = int(^uint(0) >> 1) // one is always sent
		}
		if t := p.nextBatch(b, fits); t != nil {
			b.sent = append(b.sent, sentBatch{part: p, batch: t})
			room -= len(t.buf)
		}
	}
}

// compose makes the request.
func (b *broker) buildRequest(current producerID) {
	if cap(b.readers) < len(b.sent) {
		b.readers = make([]bytes.Reader, 2*len(b.sent))
	}
	b.request = rawproduce.Request{Acks: -1, Timeout: int32(replicaTime / time.Millisecond), Topics: b.request.Topics[:0]}
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

// replicaTime is how long a broker may wait for the in-sync replicas.
const replicaTime = 5 * time.Second

// topic returns the request's entry of a topic.
func (b *broker) topic(name string) *rawproduce.RequestTopic {
	all := b.request.Topics
	for i := range all {
		if all[i].Topic == name {
			return &all[i]
		}
	}
	if n := len(all); n < cap(all) { // with the partitions' memory of an earlier request
		all = all[:n+1]
		all[n] = rawproduce.RequestTopic{Topic: name, Partitions: all[n].Partitions[:0]}
	} else {
		all = append(all, rawproduce.RequestTopic{Topic: name})
	}
	b.request.Topics = all
	return &all[len(all)-1]
}

var errMissing = errors.New("the broker's answer leaves the partition out")

// answer gives each batch its part of the answer. Without one, err says why.
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

// flight finds what a part of the answer is about. Answers mostly come in the
// order of the request: it looks where the last one was found first.
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
