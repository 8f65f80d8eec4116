package consume

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// Consumer is one call of [Reader.Read] on its way, for those who want to know
// how far it is. Make one with [Reader.NewConsumer].
//
//	leader ──fetch──▶ chunks ──▶ f       one goroutine and one connection a leader
//	   ▲                 │
//	assigned          what failed: looked for again, alone
//	   └──── metadata ◀──┘
//
// # Leaders
//
// Only a partition's leader has every record that was acknowledged: a follower may
// lag. A broker answers as a follower without saying so, or does not know yet that
// it leads no longer. So each request names the leader epoch that the metadata
// shows, and a broker that is in another one refuses it. Every leader is asked for
// the metadata now and then, beside the fetches: any broker that knows of a newer
// leader moves the partition there. The metadata never moves it back, as that of a
// broker which does not know yet would: an older epoch counts only where nobody has
// shown the newer one for [epochGrace], as of a topic that was deleted and made anew.
type Consumer struct {
	// KnownOffsets, if it is set, tells of offsets that need not be read, since the
	// caller of Run knows what is there: each once, in any order, as soon as they
	// are known. f is called then, with a chunk without records where they are
	// next.
	KnownOffsets func() map[Partition][]int64
	// OnError, if it is set, is told every error that is tried again: a broker that
	// does not answer, a partition without a leader. Several goroutines call it, up to
	// ten times a second for a partition; what it does must be quick.
	OnError func(error)

	reader  *Reader
	control kafka.AnyBroker
	f       func([]Chunk) error
	calling sync.Mutex     // held while f is called
	forever bool           // some range has no end
	running sync.WaitGroup // the leaders' goroutines
	lost    chan struct{}  // has a place for the one message that a partition has no leader, or is read, or f failed

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

	epoch int32     // the leader epoch that requests name; -1: none
	shown time.Time // when the metadata showed that epoch last
	end   int64     // where the log ended when the leader told that last
	// When its leader was asked where its log ends, and where that is; the zero
	// time: it is read until there.
	asked    time.Time
	askedEnd int64
	whole    time.Time // when it was asked last of what is read
	current  time.Time // see [Consumer.FreshAsOf]
	doubt    time.Time // since when current stands still; zero: it does not
}

// NewConsumer prepares to read ranges.
func (r *Reader) NewConsumer(ranges map[Partition]Range, f func([]Chunk) error) *Consumer {
	s := &Consumer{
		reader: r, control: kafka.AnyBroker{Config: r.config}, f: f, lost: make(chan struct{}, 1),
		places: map[Partition]*place{}, leaders: map[int32]*leader{}, alive: time.Now(),
	}
	for p, g := range ranges {
		s.forever = s.forever || g.To == Forever
		if g.To == Forever || g.From < g.To {
			s.places[p] = &place{Partition: p, next: g.From, to: g.To, epoch: -1, end: g.From}
		}
	}
	return s
}

// Times of a reading.
const (
	lookPace = 100 * time.Millisecond // between looks at who leads, at first
	slowPace = 800 * time.Millisecond // and at last, where looking does not help
	// metadataPace is how often every leader is asked who leads.
	leaderCheckInterval = time.Second
	// epochGrace is for how long nobody may have shown a leader epoch until an older
	// one counts: longer than brokers take to hear of a new leader.
	epochGrace = 5 * time.Second
	endsPace   = 150 * time.Millisecond // between questions where logs end
	// Trouble is how old what is read of a partition may be until that is
	// doubtful. It is less than for how long records wait that were sent and are
	// not answered: see [kafka.Config.Patience].
	MaxStaleness = 1100 * time.Millisecond
	// Doubt is how long it lasts from when the partition can be read again.
	QuietPeriod = time.Second
)

// FreshAsOf returns a time at which a partition's leader had nothing in its log that
// is not read by now, and of what was not committed then it is known whether it
// is; zero if there is none, or nobody reads the partition.
//
// After [kafka.MaxStaleness], such as a leader that hangs or falls, or replicas that do not
// follow, the time stands still for [kafka.QuietPeriod]: requests that a writer has sent
// before may still reach the leader.
func (s *Consumer) FreshAsOf(p Partition) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.places[p]; q != nil {
		return q.current
	}
	return time.Time{}
}

// Lag returns how many records the partitions' logs have that are not read, as far
// as their leaders have told, and the oldest of the times that [Consumer.FreshAsOf]
// returns: zero if it returns none for some partition.
func (s *Consumer) Lag() (records int64, current time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := true
	for _, q := range s.places {
		records += max(0, q.end-q.next)
		if first || q.current.Before(current) {
			current, first = q.current, false
		}
	}
	return records, current
}

// Run reads, as [Reader.Read] says.
func (s *Consumer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.running.Wait()
	defer cancel()
	defer s.control.Close()
	var looked time.Time
	looks := 0 // in a row that have not helped
	for {
		homeless, err := s.state()
		if err != nil || homeless == nil {
			return err
		}
		if time.Since(looked) > 2*slowPace {
			looks = 0
		}
		pace := min(lookPace<<(looks/10), slowPace)
		pause := time.Second
		switch rest := time.Until(looked.Add(pace)); {
		case len(homeless) == 0:
		case rest > 0:
			pause = rest
		default:
			looked, pause = time.Now(), pace
			if looks++; looks%5 == 0 {
				s.control.Close() // what this broker shows does not help: another is asked
			}
			if err := s.assign(ctx, homeless); err != nil && ctx.Err() == nil {
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
func (s *Consumer) state() (homeless map[string]bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	patience := s.reader.GiveUpAfter
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
func (s *Consumer) wake() {
	select {
	case s.lost <- struct{}{}:
	default:
	}
}

// told notes why something could not be read.
func (s *Consumer) told(err error) {
	s.mu.Lock()
	s.why = err
	s.mu.Unlock()
	if s.OnError != nil {
		s.OnError(err)
	}
}

// assign gives the partitions of the topics that have no leader to the one that
// they have now.
func (s *Consumer) assign(ctx context.Context, topics map[string]bool) error {
	m, err := s.control.Metadata(ctx, slices.Collect(maps.Keys(topics)))
	if err != nil {
		return err
	}
	return s.applyMetadata(ctx, m, topics)
}

// checkLeaders asks a leader for the metadata of all topics that are read, and gives
// partitions to newer leaders.
func (s *Consumer) checkLeaders(ctx context.Context, l *leader) error {
	s.mu.Lock()
	topics := map[string]bool{}
	for p := range s.places {
		topics[p.Topic] = true
	}
	s.mu.Unlock()
	m, err := l.conn.Metadata(slices.Collect(maps.Keys(topics)))
	if err != nil {
		return err
	}
	_ = s.applyMetadata(ctx, m, nil) // for partitions without a leader Run asks
	return nil
}

// applyMetadata gives partitions to the leaders that the metadata shows. It returns
// an error if a partition of the topics that were asked for has none then.
func (s *Consumer) applyMetadata(ctx context.Context, m *metadata.Response, asked map[string]bool) (err error) {
	addresses := map[int32]string{}
	for _, b := range m.Brokers {
		addresses[b.NodeID] = kafka.Address(b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range m.Topics {
		t := &m.Topics[i]
		if t.ErrorCode != 0 {
			err = fmt.Errorf("topic %s: %w", t.Name, kafkago.Error(t.ErrorCode))
		}
		for i := range t.Partitions {
			p := &t.Partitions[i]
			q := s.places[Partition{t.Name, int(p.PartitionIndex)}]
			if q == nil {
				continue
			}
			address, ok := addresses[p.LeaderID]
			switch {
			case p.LeaderEpoch < q.epoch && (q.leader != nil || time.Since(q.shown) < epochGrace):
				ok = false // of a broker that does not know the newer one yet
			case p.LeaderEpoch == q.epoch:
				q.shown = time.Now()
			}
			switch {
			case !ok && q.leader == nil:
				err = fmt.Errorf("topic %s, partition %d: %w", t.Name, p.PartitionIndex, kafkago.LeaderNotAvailable)
			case !ok, q.leader != nil && q.leader.id == p.LeaderID && q.epoch == p.LeaderEpoch:
			default:
				q.leader, q.epoch, q.shown = s.leader(ctx, p.LeaderID, address), p.LeaderEpoch, time.Now()
				q.asked = time.Time{} // another's log may end before
			}
		}
	}
	for p, q := range s.places {
		if err == nil && q.leader == nil && asked[p.Topic] {
			err = fmt.Errorf("topic %s, partition %d: the brokers' metadata leaves it out", p.Topic, p.Number)
		}
	}
	return err
}

// leader returns the one of that id, and has it read from.
func (s *Consumer) leader(ctx context.Context, id int32, address string) *leader {
	l := s.leaders[id]
	if l == nil || l.address != address {
		l = &leader{s: s, id: id, address: address, asks: debugging, looked: time.Now()}
		s.leaders[id] = l
		s.running.Go(func() { l.run(ctx) })
	}
	return l
}

// abandon has partitions of a leader looked for again: all, or those named.
func (s *Consumer) abandon(l *leader, err error, only ...Partition) {
	s.told(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if only == nil {
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
			q.leader, q.asked = nil, time.Time{}
		}
	}
	s.wake()
}

// mine returns the partitions of a leader. Without any it is done with, and gets
// no others.
func (s *Consumer) mine(l *leader) []*place {
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
func (s *Consumer) heard(l *leader) {
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
	case !before.IsZero() && at.Sub(before) > kafka.MaxStaleness:
		q.doubt = time.Now()
	case q.doubt.IsZero() || at.Sub(q.doubt) > kafka.QuietPeriod:
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
func (s *Consumer) ends(l *leader, places []*place) error {
	request := &listoffsets.Request{ReplicaID: l.asks}
	topics := map[string]int{}
	positions := l.positions(places)
	for p, at := range positions {
		i, ok := topics[p.Topic]
		if !ok {
			i = len(request.Topics)
			topics[p.Topic] = i
			request.Topics = append(request.Topics, listoffsets.RequestTopic{Topic: p.Topic})
		}
		request.Topics[i].Partitions = append(request.Topics[i].Partitions, listoffsets.RequestPartition{
			Partition: int32(p.Number), CurrentLeaderEpoch: at.epoch, Timestamp: kafkago.LastOffset,
		})
	}
	sent := time.Now()
	m, err := l.conn.RoundTrip(request, answerTime)
	if err != nil {
		return err
	}
	var refused map[Partition]error
	s.mu.Lock()
	for _, t := range m.(*listoffsets.Response).Topics {
		for i := range t.Partitions {
			of := &t.Partitions[i]
			p := Partition{t.Topic, int(of.Partition)}
			q, code := s.places[p], kafkago.Error(of.ErrorCode)
			switch {
			case code == kafkago.InvalidRequest, code == kafkago.UnsupportedVersion, code == kafkago.Unknown:
				l.asks = consumer // not every Kafka is Apache's
			case q == nil, q.leader != l, q.epoch != positions[p].epoch: // it has moved meanwhile
			case code != 0:
				if refused == nil {
					refused = map[Partition]error{}
				}
				refused[p] = code
			default:
				q.end = of.Offset
				if q.asked.IsZero() { // an earlier question is settled first
					q.asked, q.askedEnd = sent, of.Offset
				}
			}
		}
	}
	s.mu.Unlock()
	for p, code := range refused {
		l.refused(p, code)
	}
	return nil
}

// skip goes over what the caller knows, and reports whether that was anything.
func (s *Consumer) skip() (some bool, err error) {
	if s.KnownOffsets == nil {
		return false, nil
	}
	s.calling.Lock()
	defer s.calling.Unlock()
	known := s.KnownOffsets()
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
func (s *Consumer) deliver(l *leader, chunks []Chunk) error {
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
func (s *Consumer) call(chunks []Chunk) error {
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
		if c.moved {
			q.end = c.End
		}
		q.end = max(q.end, c.End)
		if q.next = c.Next; q.to != Forever && q.next >= q.to {
			delete(s.places, c.Partition)
			s.wake()
		}
	}
	return nil
}
