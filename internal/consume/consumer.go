package consume

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// Consumer reads ranges of partitions, and reports its progress. Create one with
// [Reader.NewConsumer], set its fields, and call [Consumer.Run] once.
//
//	leader ──fetch──▶ chunks ──▶ handler     one goroutine and one connection per leader
//	   ▲                 │
//	assigned          a partition failed: look up its leader
//	   └──── metadata ◀──┘
//
// The file assignment.go has the assignment of partitions to leaders, leader.go the fetches,
// and freshness.go how fresh the view of each partition is.
//
// # Leaders
//
// Only the leader of a partition is sure to have every acknowledged record; a follower
// may lag. A broker may answer as a follower without saying so, or not know yet that it
// is no longer the leader. So each request names the leader epoch from the metadata, and
// a broker in another epoch refuses the request. Beside the fetches, every leader is
// asked for the metadata every [kafka.LeaderCheckInterval]. If a broker's metadata has a
// newer leader epoch, the partition moves to that leader. Older metadata, from a broker
// that has not learnt of the new leader yet, does not move the partition back. An older
// epoch is accepted only if no broker has shown the newer one for [kafka.LeaderEpochGrace], as
// after a topic was deleted and created again.
type Consumer struct {
	// KnownOffsets, if set, returns offsets whose records the caller of Run knows
	// already, such as those that it has published. It returns each offset once, in any
	// order. The consumer skips these offsets, and passes a chunk without records to
	// the handler when it does.
	KnownOffsets func() map[Partition][]int64
	// OnError, if set, gets every error after which the consumer tries again: a broker
	// does not answer, a partition has no leader. Several goroutines call it, up to
	// ten times a second per partition; it must return quickly.
	OnError func(error)

	reader    *Reader
	metadata  kafka.AnyBroker
	handler   func([]Chunk) error
	handlerMu sync.Mutex     // held while the handler runs
	follows   bool           // some range has no end: see [Forever]
	running   sync.WaitGroup // the goroutines of the leaders
	wakeup    chan struct{}  // buffered, size 1: Run must check the state again

	mu           sync.Mutex
	states       map[Partition]*partitionState // the partitions that are not read to the end of their ranges
	leaders      map[int32]*leader
	lastResponse time.Time // when a broker last answered a request
	lastError    error     // the last error of a request
	handlerErr   error     // the error of the handler; errEnded after Run
}

var errEnded = errors.New("the consumer has ended")

// partitionState says how far a partition is read, and how fresh that is. The consumer's
// lock guards it.
type partitionState struct {
	Partition
	next, end int64
	known     map[int64]struct{} // offsets from next on that can be skipped: see [Consumer.KnownOffsets] and [Consumer.Skip]
	leader    *leader            // nil: Run looks it up

	epoch     int32     // the leader epoch for requests; -1: not known
	epochSeen time.Time // when the metadata last had that epoch
	logEnd    int64     // the end offset in the leader's last answer
	// When the leader was last asked for its end offset, and that offset. The time is
	// zero once the partition is read up to it.
	endAskedAt time.Time
	endOffset  int64
	caughtUpAt time.Time // the endAskedAt of the last end offset up to which everything was read
	freshAsOf  time.Time // see [Consumer.FreshAsOf]
	quietSince time.Time // when the current quiet period began; zero: none
}

// NewConsumer returns a consumer of the ranges, which passes the chunks to handler.
func (r *Reader) NewConsumer(ranges map[Partition]Range, f func([]Chunk) error) *Consumer {
	s := &Consumer{
		reader: r, metadata: kafka.AnyBroker{Config: r.config}, handler: f, wakeup: make(chan struct{}, 1),
		states: map[Partition]*partitionState{}, leaders: map[int32]*leader{}, lastResponse: time.Now(),
	}
	for p, g := range ranges {
		s.follows = s.follows || g.To == Forever
		if g.To == Forever || g.From < g.To {
			s.states[p] = &partitionState{Partition: p, next: g.From, end: g.To, epoch: -1, logEnd: g.From}
		}
	}
	return s
}

// Run reads the ranges as [Reader.Read] does.
func (s *Consumer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.end()
	defer s.running.Wait()
	defer cancel()
	defer s.metadata.Close()
	var lastLookup time.Time
	lookups := 0 // consecutive metadata requests after which a partition had no leader
	for {
		leaderless, err := s.leaderlessTopics()
		if err != nil || leaderless == nil {
			return err
		}
		if time.Since(lastLookup) > 2*kafka.LeaderLookupMaxInterval {
			lookups = 0
		}
		pace := min(kafka.LeaderLookupInterval<<(lookups/10), kafka.LeaderLookupMaxInterval)
		pause := time.Second
		switch wait := time.Until(lastLookup.Add(pace)); {
		case len(leaderless) == 0:
		case wait > 0:
			pause = wait
		default:
			lastLookup, pause = time.Now(), pace
			if lookups++; lookups%5 == 0 {
				s.metadata.Close() // the next request goes to another broker
			}
			if err := s.assignLeaders(ctx, leaderless); err != nil && ctx.Err() == nil {
				s.recordError(err)
			}
		}
		select {
		case <-s.wakeup:
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end ends the calls of the handler.
func (s *Consumer) end() {
	s.handlerMu.Lock()
	defer s.handlerMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlerErr = cmp.Or(s.handlerErr, errEnded)
}

// signal makes Run check the state again.
func (s *Consumer) signal() {
	select {
	case s.wakeup <- struct{}{}:
	default:
	}
}

// recordError records an error after which the consumer tries again.
func (s *Consumer) recordError(err error) {
	s.mu.Lock()
	s.lastError = err
	s.mu.Unlock()
	if s.OnError != nil {
		s.OnError(err)
	}
}

// skipKnown advances past offsets that the caller knows, such as those that this
// process has published. It reports whether there were any.
func (s *Consumer) skipKnown() (some bool, err error) {
	if s.KnownOffsets == nil {
		return false, nil
	}
	s.handlerMu.Lock()
	defer s.handlerMu.Unlock()
	known := s.KnownOffsets()
	if len(known) == 0 {
		return false, nil
	}
	s.mu.Lock()
	var chunks []Chunk
	for p, offsets := range known {
		q := s.states[p]
		if q == nil {
			continue
		}
		for _, offset := range offsets {
			q.addKnown(offset)
		}
		chunks = q.skipped(chunks)
	}
	s.mu.Unlock()
	return true, s.callHandler(chunks)
}

// Skip tells the consumer that the caller knows the record at an offset, because it has
// published the record. Once all earlier records of the partition are read, the handler
// gets a chunk without records that ends after the offset. If they are read already, Skip
// calls the handler itself; otherwise it ends the pause before the next fetch, which has
// them. It does nothing if Run has ended or the record is read already.
func (s *Consumer) Skip(p Partition, offset int64) {
	s.handlerMu.Lock()
	defer s.handlerMu.Unlock()
	s.mu.Lock()
	q := s.states[p]
	if q == nil {
		s.mu.Unlock()
		return
	}
	q.addKnown(offset)
	chunks := q.skipped(nil)
	if l := q.leader; l != nil && len(chunks) == 0 && len(q.known) > 0 {
		select {
		case l.wakeup <- struct{}{}:
		default:
		}
	}
	s.mu.Unlock()
	if len(chunks) > 0 {
		_ = s.callHandler(chunks) // Run returns the error
	}
}

// addKnown adds an offset that the caller knows, unless it is read already.
func (q *partitionState) addKnown(offset int64) {
	if offset < q.next {
		return
	}
	if q.known == nil {
		q.known = map[int64]struct{}{}
	}
	q.known[offset] = struct{}{}
}

// skipped appends to chunks the chunk of the next offsets that the caller knows, if it
// knows the next one.
func (q *partitionState) skipped(chunks []Chunk) []Chunk {
	next := q.next
	for len(q.known) > 0 {
		if _, ok := q.known[next]; !ok {
			break
		}
		next++
	}
	if next == q.next {
		return chunks
	}
	return append(chunks, Chunk{Partition: q.Partition, Next: next, End: next})
}

// deliver passes chunks from a leader to the handler, without records that were skipped
// and without partitions that have moved.
func (s *Consumer) deliver(l *leader, chunks []Chunk) error {
	s.handlerMu.Lock()
	defer s.handlerMu.Unlock()
	s.mu.Lock()
	fresh := chunks[:0]
	for _, c := range chunks {
		q := s.states[c.Partition]
		if q == nil || q.leader != l {
			continue // the partition has another leader now
		}
		if c.Reset {
			q.next, q.known, q.endAskedAt = c.Next, nil, time.Time{}
		} else if c.Next <= q.next {
			continue // the records were skipped meanwhile
		}
		for len(c.Records) > 0 && c.Records[0].Offset < q.next {
			c.Records = c.Records[1:]
		}
		fresh = append(fresh, c)
	}
	s.mu.Unlock()
	if len(fresh) == 0 {
		return nil
	}
	return s.callHandler(fresh)
}

// callHandler calls the handler, and then records how far the partitions are read. It
// calls the handler again if the caller knows the offsets that follow.
func (s *Consumer) callHandler(chunks []Chunk) error {
	for {
		s.mu.Lock()
		failed := s.handlerErr
		s.mu.Unlock()
		if failed != nil {
			return failed
		}
		err := s.handler(chunks)
		if chunks, err = s.handled(chunks, err); err != nil || len(chunks) == 0 {
			return err
		}
	}
}

// handled records that the handler has got chunks and returned an error. It returns the
// chunks of the offsets that follow and that the caller knows.
func (s *Consumer) handled(chunks []Chunk, err error) (more []Chunk, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handlerErr = err; err != nil {
		s.signal()
		return nil, err
	}
	for _, c := range chunks {
		q := s.states[c.Partition]
		if q == nil {
			continue
		}
		for offset := q.next; len(q.known) > 0 && offset < c.Next; offset++ {
			delete(q.known, offset)
		}
		if c.Reset {
			q.logEnd = c.End
		}
		q.logEnd = max(q.logEnd, c.End)
		if q.next = c.Next; q.end != Forever && q.next >= q.end {
			delete(s.states, c.Partition)
			s.signal()
			continue
		}
		more = q.skipped(more)
	}
	return more, nil
}
