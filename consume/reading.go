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
	lost    chan struct{} // has a place for the one message that a partition has no leader

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
	end      int64              // where it ended when it was looked at last
	known    map[int64]struct{} // offsets from next on that need not be read
	leader   *leader            // nil: looked for
	// caught is until when everything in it was read, where its leader's own
	// time does not say so.
	caught time.Time
	// doubt is since when it is doubtful whether its leader shows all there is;
	// zero: it is not. When it was settled, until what end it is to be read for
	// that. See [Reading.Current].
	doubt, settled time.Time
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
			s.places[p] = &place{Partition: p, next: g.From, to: g.To, end: g.From}
		}
	}
	return s
}

// Times of a reading.
const (
	lookPace = 100 * time.Millisecond // between looks at who leads
	// Trouble is for how long a partition may not have been read until that is
	// doubtful. It is less than for how long records wait that were sent and are
	// not answered: see [publish.Config.Patience].
	Trouble = 1250 * time.Millisecond
	// Doubt is how long it lasts from when its leader answers again.
	Doubt = time.Second
)

// Current returns until when everything that was in a partition is read; zero if
// that was never so, or nobody reads it.
//
// After [Trouble], such as a leader that hangs or falls, the time stands still
// until the partition is read to an end that its leader names [Doubt] later:
// meanwhile a new leader may not know yet what its replicas have, and requests
// that a writer has sent before may still reach it.
func (s *Reading) Current(p Partition) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.places[p]; q != nil {
		return q.current()
	}
	return time.Time{}
}

func (q *place) current() time.Time {
	if q.leader == nil || !q.doubt.IsZero() || q.next < q.end || q.leader.answered.Before(q.caught) {
		return q.caught
	}
	return q.leader.answered
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
		l = &leader{s: s, id: id, address: address}
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
			q.caught, q.leader = q.current(), nil
		}
	}
	select {
	case s.lost <- struct{}{}:
	default:
	}
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

// heard notes that a leader answered a request that was sent at a time, and how
// far its partitions go by that.
func (s *Reading) heard(l *leader, sent time.Time, chunks []Chunk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alive = time.Now()
	for _, c := range chunks {
		if q := s.places[c.Partition]; q != nil && q.leader == l {
			q.caught, q.end = q.current(), c.End
		}
	}
	for _, q := range s.places {
		if q.leader != l {
			continue
		}
		was := q.current()
		if q.doubt.IsZero() && !was.IsZero() && sent.Sub(later(was, q.settled)) > Trouble {
			q.caught, q.doubt, q.settled = was, time.Now(), time.Time{}
			l.doubts = true
		}
	}
	l.answered = sent
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// settle asks a leader where its doubtful partitions end, once the doubts are old
// enough. A new leader that does not know that yet says so.
func (s *Reading) settle(l *leader) error {
	request, left := &listoffsets.Request{ReplicaID: -1}, false
	s.mu.Lock()
	for p, q := range s.places {
		switch {
		case q.leader != l || q.doubt.IsZero():
		case time.Since(q.doubt) < Doubt:
			left = true
		default:
			request.Topics = append(request.Topics, listoffsets.RequestTopic{Topic: p.Topic, Partitions: []listoffsets.RequestPartition{
				{Partition: int32(p.Number), CurrentLeaderEpoch: -1, Timestamp: kafka.LastOffset},
			}})
		}
	}
	s.mu.Unlock()
	l.doubts = left
	if len(request.Topics) == 0 {
		return nil
	}
	request.Topics = merged(request.Topics)
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
			switch {
			case q == nil || q.leader != l:
			case p.ErrorCode != 0:
				l.doubts = true
			default:
				q.end, q.doubt, q.settled = max(q.end, p.Offset), time.Time{}, sent
				q.settle()
			}
		}
	}
	return nil
}

// settle ends what is left of a doubt once the partition is read to the end that
// its leader named.
func (q *place) settle() {
	if !q.settled.IsZero() && q.next >= q.end {
		q.caught, q.settled = q.settled, time.Time{}
	}
}

// merged has each topic once, as brokers want it.
func merged(topics []listoffsets.RequestTopic) (all []listoffsets.RequestTopic) {
	at := map[string]int{}
	for _, t := range topics {
		i, ok := at[t.Topic]
		if !ok {
			i = len(all)
			at[t.Topic] = i
			all = append(all, listoffsets.RequestTopic{Topic: t.Topic})
		}
		all[i].Partitions = append(all[i].Partitions, t.Partitions...)
	}
	return all
}

// skip goes over what the caller knows.
func (s *Reading) skip() error {
	if s.Known == nil {
		return nil
	}
	s.calling.Lock()
	defer s.calling.Unlock()
	known := s.Known()
	if len(known) == 0 {
		return nil
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
			chunks = append(chunks, Chunk{Partition: p, Next: next, End: max(next, q.end)})
		}
	}
	s.mu.Unlock()
	return s.call(chunks)
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
			q.next, q.known = c.Next, nil
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
		select {
		case s.lost <- struct{}{}:
		default:
		}
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
		q.next = c.Next
		q.settle()
		if q.to != Forever && q.next >= q.to {
			delete(s.places, c.Partition)
			select {
			case s.lost <- struct{}{}: // everything may be read
			default:
			}
		}
	}
	return nil
}
