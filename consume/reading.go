package consume

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"

	"github.com/tollbridge/tollbridge/publish"
)

// Reading is one call of [Reader.Read] on its way, for those who want to know
// how far it is. Make one with [Reader.Reading].
//
//	leader ──fetch──▶ chunks ──▶ f       one goroutine and one connection a leader
//	   ▲                 │
//	assigned          what failed: looked for again, alone
//	   └──── metadata ◀──┘
type Reading struct {
	// Known, if it is set, tells of offsets that need not be read, since the
	// caller of Run knows what is there: each once, in any order, as soon as they
	// are known. f is called then, with a chunk without records where they are
	// next.
	Known func() map[Partition][]int64

	reader  *Reader
	control publish.Control
	f       func([]Chunk) error
	calling sync.Mutex    // held while f is called
	forever bool          // some range has no end
	lost    chan struct{} // has a place for the one message that a partition has no leader, or is read, or f failed

	mu      sync.Mutex
	places  map[Partition]*place // that are not read to their end
	leaders map[int32]*leader
	alive   time.Time // when a request was answered last
	why     error     // nothing was
	failed  error     // f's
}

// place is a partition, and how far it is read.
type place struct {
	Partition
	next, to int64
	known    map[int64]struct{} // offsets from next on that need not be read
	leader   *leader            // nil: looked for

	// When its leader was asked where its log ends, and where that is; the zero
	// time: it is read until there.
	asked    time.Time
	askedEnd int64
	whole    time.Time // when it was asked last of what is read
	current  time.Time // see [Reading.Current]
	doubt    time.Time // since when current stands still; zero: it does not
}

// Reading prepares to read ranges.
func (r *Reader) Reading(ranges map[Partition]Range, f func([]Chunk) error) *Reading {
	s := &Reading{
		reader: r, control: publish.Control{Config: r.config}, f: f, lost: make(chan struct{}, 1),
		places: map[Partition]*place{}, leaders: map[int32]*leader{}, alive: time.Now(),
	}
	for p, g := range ranges {
		s.forever = s.forever || g.To == Forever
		if g.To == Forever || g.From < g.To {
			s.places[p] = &place{Partition: p, next: g.From, to: g.To}
		}
	}
	return s
}

// Times of a reading.
const (
	lookPace = 100 * time.Millisecond // between looks at who leads
	endsPace = 150 * time.Millisecond // between questions where logs end
	// Trouble is how old what is read of a partition may be until that is
	// doubtful. It is less than for how long records wait that were sent and are
	// not answered: see [publish.Config.Patience].
	Trouble = 1100 * time.Millisecond
	// Doubt is how long it lasts from when the partition can be read again.
	Doubt = time.Second
)

// Current returns a time at which a partition's leader had nothing in its log that
// is not read by now, and of what was not committed then it is known whether it
// is; zero if there is none, or nobody reads the partition.
//
// After [Trouble], such as a leader that hangs or falls, or replicas that do not
// follow, the time stands still for [Doubt]: requests that a writer has sent
// before may still reach the leader.
func (s *Reading) Current(p Partition) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.places[p]; q != nil {
		return q.current
	}
	return time.Time{}
}

// Run reads, as [Reader.Read] says.
func (s *Reading) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var leaders sync.WaitGroup
	defer leaders.Wait()
	defer cancel()
	defer s.control.Close()
	var looked time.Time
	for {
		homeless, err := s.state()
		if err != nil || homeless == nil {
			return err
		}
		pause := time.Second
		switch rest := time.Until(looked.Add(lookPace)); {
		case len(homeless) == 0:
		case rest > 0:
			pause = rest
		default:
			looked, pause = time.Now(), lookPace
			if err := s.assign(ctx, &leaders, homeless); err != nil {
				s.told(err)
			}
		}
		select {
		case <-s.lost:
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// state returns the topics of partitions that have no leader, nil if everything
// is read, or an error if it never will be.
func (s *Reading) state() (homeless map[string]bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	patience := s.reader.Patience
	switch {
	case s.failed != nil:
		return nil, s.failed
	case len(s.places) == 0:
		return nil, nil
	case patience > 0 && time.Since(s.alive) > patience:
		return nil, fmt.Errorf("nothing could be read for %s: %w", patience, s.why)
	}
	homeless = map[string]bool{}
	for p, q := range s.places {
		if q.leader == nil {
			homeless[p.Topic] = true
		}
	}
	return homeless, nil
}

// wake has Run see what has changed.
func (s *Reading) wake() {
	select {
	case s.lost <- struct{}{}:
	default:
	}
}

// told notes why something could not be read.
func (s *Reading) told(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.why = err
}

// assign gives the partitions of the topics that have no leader to the one that
// they have now.
func (s *Reading) assign(ctx context.Context, running *sync.WaitGroup, topics map[string]bool) error {
	names := make([]string, 0, len(topics))
	for name := range topics {
		names = append(names, name)
	}
	m, err := s.control.Metadata(ctx, names)
	if err != nil {
		return err
	}
	addresses := map[int32]string{}
	for _, b := range m.Brokers {
		addresses[b.NodeID] = publish.Address(b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range m.Topics {
		t := &m.Topics[i]
		if t.ErrorCode != 0 {
			err = fmt.Errorf("topic %s: %w", t.Name, kafka.Error(t.ErrorCode))
		}
		for _, p := range t.Partitions {
			q := s.places[Partition{t.Name, int(p.PartitionIndex)}]
			if q == nil || q.leader != nil {
				continue
			}
			address, ok := addresses[p.LeaderID]
			if !ok {
				err = fmt.Errorf("topic %s, partition %d: %w", t.Name, p.PartitionIndex, kafka.LeaderNotAvailable)
				continue
			}
			q.leader = s.leader(ctx, running, p.LeaderID, address)
		}
	}
	return err
}

// leader returns the one of that id, and has it read from.
func (s *Reading) leader(ctx context.Context, running *sync.WaitGroup, id int32, address string) *leader {
	l := s.leaders[id]
	if l == nil || l.address != address {
		l = &leader{s: s, id: id, address: address, asks: debugging}
		s.leaders[id] = l
		running.Go(func() { l.run(ctx) })
	}
	return l
}

// abandon has partitions of a leader looked for again: all, or those named.
func (s *Reading) abandon(l *leader, err error, only ...Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why = err; only == nil {
		for p, q := range s.places {
			if q.leader == l {
				only = append(only, p)
			}
		}
		if s.leaders[l.id] == l {
			delete(s.leaders, l.id)
		}
	}
	for _, p := range only {
		if q := s.places[p]; q != nil && q.leader == l {
			q.leader, q.asked = nil, time.Time{} // another's log may end before
		}
	}
	s.wake()
}

// mine returns the partitions of a leader. Without any it is done with, and gets
// no others.
func (s *Reading) mine(l *leader) []*place {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*place
	for _, q := range s.places {
		if q.leader == l {
			all = append(all, q)
		}
	}
	if len(all) == 0 && s.leaders[l.id] == l {
		delete(s.leaders, l.id)
	}
	return all
}

// heard notes that a leader answered.
func (s *Reading) heard(l *leader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alive = time.Now()
	for _, q := range s.places {
		if q.leader == l {
			q.settle()
		}
	}
}

// settle sees whether all is read that was in the log when that was asked. It is
// called when the leader has answered a request since: else another was it.
func (q *place) settle() {
	if q.asked.IsZero() || q.next < q.askedEnd {
		return
	}
	at, before := q.asked, q.whole
	q.asked, q.whole = time.Time{}, at
	switch {
	case !before.IsZero() && at.Sub(before) > Trouble:
		q.doubt = time.Now()
	case q.doubt.IsZero() || at.Sub(q.doubt) > Doubt:
		q.current, q.doubt = at, time.Time{}
	}
}

// The ids of who asks where a log ends: a consumer, who is told of what is not
// committed only once it is, and who looks at all there is.
const (
	consumer  = -1
	debugging = -2
)

// ends asks a leader where its partitions' logs end, also what is not committed.
func (s *Reading) ends(l *leader, places []*place) error {
	request := &listoffsets.Request{ReplicaID: l.asks}
	topics := map[string]int{}
	for _, q := range places {
		i, ok := topics[q.Topic]
		if !ok {
			i = len(request.Topics)
			topics[q.Topic] = i
			request.Topics = append(request.Topics, listoffsets.RequestTopic{Topic: q.Topic})
		}
		request.Topics[i].Partitions = append(request.Topics[i].Partitions, listoffsets.RequestPartition{
			Partition: int32(q.Number), CurrentLeaderEpoch: -1, Timestamp: kafka.LastOffset,
		})
	}
	sent := time.Now()
	m, err := l.conn.Exchange(request, answerTime)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range m.(*listoffsets.Response).Topics {
		for _, p := range t.Partitions {
			q := s.places[Partition{t.Topic, int(p.Partition)}]
			switch code := kafka.Error(p.ErrorCode); {
			case code == kafka.InvalidRequest, code == kafka.UnsupportedVersion, code == kafka.Unknown:
				l.asks = consumer // not every Kafka is Apache's
			case code == 0 && q != nil && q.leader == l && q.asked.IsZero(): // an earlier question is settled first
				q.asked, q.askedEnd = sent, p.Offset
			}
		}
	}
	return nil
}

// skip goes over what the caller knows, and reports whether that was anything.
func (s *Reading) skip() (some bool, err error) {
	if s.Known == nil {
		return false, nil
	}
	s.calling.Lock()
	defer s.calling.Unlock()
	known := s.Known()
	if len(known) == 0 {
		return false, nil
	}
	s.mu.Lock()
	var chunks []Chunk
	for p, offsets := range known {
		q := s.places[p]
		if q == nil {
			continue
		}
		if q.known == nil {
			q.known = map[int64]struct{}{}
		}
		for _, offset := range offsets {
			if offset >= q.next {
				q.known[offset] = struct{}{}
			}
		}
		if next := q.over(q.next); next > q.next {
			chunks = append(chunks, Chunk{Partition: p, Next: next, End: next})
		}
	}
	s.mu.Unlock()
	return true, s.call(chunks)
}

// over is the first offset from one on that is not known.
func (q *place) over(next int64) int64 {
	for len(q.known) > 0 {
		if _, ok := q.known[next]; !ok {
			break
		}
		next++
	}
	return next
}

// deliver hands on what a leader sent of its partitions.
func (s *Reading) deliver(l *leader, chunks []Chunk) error {
	s.calling.Lock()
	defer s.calling.Unlock()
	s.mu.Lock()
	fresh := chunks[:0]
	for _, c := range chunks {
		q := s.places[c.Partition]
		if q == nil || q.leader != l {
			continue // it is another's by now
		}
		if c.moved {
			q.next, q.known, q.asked = c.Next, nil, time.Time{}
		} else if c.Next <= q.next {
			continue // it was known
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
	return s.call(fresh)
}

// call calls f, and notes how far the partitions are then.
func (s *Reading) call(chunks []Chunk) error {
	s.mu.Lock()
	failed := s.failed
	s.mu.Unlock()
	if failed != nil {
		return failed
	}
	err := s.f(chunks)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed = err; err != nil {
		s.wake()
		return err
	}
	for _, c := range chunks {
		q := s.places[c.Partition]
		if q == nil {
			continue
		}
		for offset := q.next; len(q.known) > 0 && offset < c.Next; offset++ {
			delete(q.known, offset)
		}
		if q.next = c.Next; q.to != Forever && q.next >= q.to {
			delete(s.places, c.Partition)
			s.wake()
		}
	}
	return nil
}
