// Package consume reads topics back, by partition and offset. It joins no
// consumer group, whose rebalances could hide a record or show it twice, and it
// commits nothing: whoever reads says where to begin.
package consume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
	"golang.org/x/sync/errgroup"

	"github.com/tollbridge/tollbridge/publish"
)

// Partition is one partition of a topic.
type Partition struct {
	Topic  string
	Number int
}

// Range is the offsets from From up to, and without, To. To is [Forever] where
// reading goes on as records come.
type Range struct{ From, To int64 }

// Forever is the end of a [Range] that has none.
const Forever = -1

// Record is a record as it was read.
type Record struct {
	Partition
	Offset  int64
	Time    time.Time
	Key     []byte
	Value   []byte
	Headers []kafka.Header
}

// Header returns the value of the first header of the name, or "".
func (r Record) Header(name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// Receipt is where the record is.
func (r Record) Receipt() publish.Receipt {
	return publish.Receipt{Topic: r.Topic, Partition: r.Number, Offset: r.Offset}
}

// Chunk is some records of a partition that follow one another.
type Chunk struct {
	Partition
	Records []Record // may be none, where the log has a gap
	Next    int64    // the offset after them
	End     int64    // where the partition ended when they were read
}

// Reader reads from one cluster. It is safe for concurrent use.
type Reader struct {
	client *kafka.Client
	hangUp func()
	// Pace is the least time between two requests to a broker when there is
	// nothing more to read than what comes in: each costs the broker a look at
	// every partition. 0 is 10 ms.
	Pace time.Duration
	// Patience is how long no request may be answered until Read gives up; 0 is
	// for ever.
	Patience time.Duration
}

// New returns a reader. Close it.
func New(c publish.Config) *Reader {
	client, hangUp := c.Client()
	return &Reader{client: client, hangUp: hangUp}
}

// Close ends the connections.
func (r *Reader) Close() { r.hangUp() }

// Partitions returns the partitions of the topics. A topic that is not there is
// an error.
func (r *Reader) Partitions(ctx context.Context, topics ...string) ([]Partition, error) {
	m, err := r.client.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	if err != nil {
		return nil, fmt.Errorf("asking %s for its topics: %w", r.client.Addr, err)
	}
	var all []Partition
	for _, t := range m.Topics {
		if t.Error != nil {
			return nil, fmt.Errorf("topic %s: %w", t.Name, t.Error)
		}
		for _, p := range t.Partitions {
			all = append(all, Partition{t.Name, p.ID})
		}
	}
	return all, nil
}

// Bounds returns where each partition begins and ends now.
func (r *Reader) Bounds(ctx context.Context, partitions []Partition) (map[Partition]Range, error) {
	return r.offsets(ctx, partitions, func(p int) []kafka.OffsetRequest {
		return []kafka.OffsetRequest{kafka.FirstOffsetOf(p), kafka.LastOffsetOf(p)}
	}, func(o kafka.PartitionOffsets) Range { return Range{o.FirstOffset, o.LastOffset} })
}

// Since returns the range of each partition from the first record at or after
// a time to where it ends now.
func (r *Reader) Since(ctx context.Context, partitions []Partition, at time.Time) (map[Partition]Range, error) {
	ends, err := r.Bounds(ctx, partitions)
	if err != nil {
		return nil, err
	}
	begins, err := r.offsets(ctx, partitions, func(p int) []kafka.OffsetRequest {
		return []kafka.OffsetRequest{kafka.TimeOffsetOf(p, at)}
	}, func(o kafka.PartitionOffsets) Range {
		for offset := range o.Offsets {
			return Range{From: offset}
		}
		return Range{From: -1}
	})
	if err != nil {
		return nil, err
	}
	for p, end := range ends {
		if from := begins[p].From; from >= 0 {
			end.From = from
		} else {
			end.From = end.To // nothing is as new
		}
		ends[p] = end
	}
	return ends, nil
}

func (r *Reader) offsets(ctx context.Context, partitions []Partition, ask func(int) []kafka.OffsetRequest, read func(kafka.PartitionOffsets) Range) (map[Partition]Range, error) {
	topics := map[string][]kafka.OffsetRequest{}
	for _, p := range partitions {
		topics[p.Topic] = append(topics[p.Topic], ask(p.Number)...)
	}
	answer, err := r.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: topics, IsolationLevel: kafka.ReadCommitted})
	if err != nil {
		return nil, fmt.Errorf("asking for offsets: %w", err)
	}
	all := map[Partition]Range{}
	for topic, offsets := range answer.Topics {
		for _, o := range offsets {
			if o.Error != nil {
				return nil, fmt.Errorf("topic %s, partition %d: %w", topic, o.Partition, o.Error)
			}
			all[Partition{topic, o.Partition}] = read(o)
		}
	}
	for _, p := range partitions {
		if _, ok := all[p]; !ok {
			return nil, fmt.Errorf("topic %s, partition %d: no answer", p.Topic, p.Number)
		}
	}
	return all, nil
}

// Read reads the ranges and calls f with what each request brought, never twice
// at a time. The records of a partition come in their order, each once. It
// returns when every range is read, when ctx is done, with f's error, or after
// [Reader.Patience]. A broker that does not answer, or leads no longer, is asked
// again. Where the log does not reach back to a range's beginning any more, or
// was deleted and made anew, reading begins where the log does.
func (r *Reader) Read(ctx context.Context, ranges map[Partition]Range, f func([]Chunk) error) error {
	s := &stretch{Reader: r, f: f, left: map[Partition]Range{}, alive: time.Now()}
	for p, g := range ranges {
		if g.To == Forever || g.From < g.To {
			s.left[p] = g
		}
	}
	for len(s.left) > 0 {
		err := s.round(ctx)
		switch {
		case s.failed != nil:
			return s.failed
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && r.Patience > 0 && time.Since(s.alive) > r.Patience:
			return fmt.Errorf("nothing could be read for %s: %w", r.Patience, err)
		case err != nil:
			r.hangUp() // or an old answer about the leaders goes on to count
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// stretch is one call of Read on its way.
type stretch struct {
	*Reader
	f func([]Chunk) error

	mu     sync.Mutex
	left   map[Partition]Range
	alive  time.Time // when a request was answered last
	failed error     // f's
}

// round reads from every leader until all is read, or one of them fails.
func (s *stretch) round(ctx context.Context) error {
	leaders, err := s.leaders(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, partitions := range leaders {
		g.Go(func() error { return s.follow(ctx, partitions) })
	}
	return g.Wait()
}

// leaders returns the partitions that are not read yet, by their leader.
func (s *stretch) leaders(ctx context.Context) (map[int][]Partition, error) {
	names := map[string]bool{}
	for p := range s.left {
		names[p.Topic] = true
	}
	ask := &kafka.MetadataRequest{}
	for name := range names {
		ask.Topics = append(ask.Topics, name)
	}
	m, err := s.client.Metadata(ctx, ask)
	if err != nil {
		return nil, err
	}
	all := map[int][]Partition{}
	for _, t := range m.Topics {
		if t.Error != nil {
			return nil, fmt.Errorf("topic %s: %w", t.Name, t.Error)
		}
		for _, p := range t.Partitions {
			q := Partition{t.Name, p.ID}
			if _, ok := s.left[q]; !ok {
				continue
			}
			if p.Error != nil && !errors.Is(p.Error, kafka.ReplicaNotAvailable) {
				return nil, fmt.Errorf("topic %s, partition %d: %w", t.Name, p.ID, p.Error)
			}
			all[p.Leader.ID] = append(all[p.Leader.ID], q)
		}
	}
	return all, nil
}

// Sizes of a request, in bytes, and how long a broker holds it if it has
// nothing.
const (
	partitionBytes = 1 << 20
	requestBytes   = 8 << 20
	holdTime       = 500 * time.Millisecond
	answerTime     = 10 * time.Second
)

// follow asks one leader until its partitions are read.
func (s *stretch) follow(ctx context.Context, partitions []Partition) error {
	pace := s.Pace
	if pace == 0 {
		pace = 10 * time.Millisecond
	}
	for {
		ranges := s.open(partitions)
		if len(ranges) == 0 {
			return nil
		}
		start := time.Now()
		behind, err := s.ask(ctx, ranges)
		if err != nil {
			return err
		}
		if behind {
			continue
		}
		select {
		case <-time.After(pace - time.Since(start)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// open returns which of the partitions are not read to their end.
func (s *stretch) open(partitions []Partition) map[Partition]Range {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[Partition]Range{}
	for _, p := range partitions {
		if g, ok := s.left[p]; ok {
			all[p] = g
		}
	}
	return all
}

// ask makes one request for all of the ranges, and reports whether there is
// more to be had at once.
func (s *stretch) ask(ctx context.Context, ranges map[Partition]Range) (behind bool, err error) {
	answer, err := s.fetch(ctx, ranges, requestBytes)
	if err != nil {
		return false, err
	}
	var chunks []Chunk
	for _, t := range answer.Topics {
		for i := range t.Partitions {
			p := Partition{t.Topic, int(t.Partitions[i].Partition)}
			c, err := s.chunk(ctx, p, ranges[p], &t.Partitions[i])
			if err != nil {
				return false, fmt.Errorf("topic %s, partition %d: %w", p.Topic, p.Number, err)
			}
			if c.Next > ranges[p].From {
				chunks = append(chunks, c)
			}
			behind = behind || c.Next < c.End
		}
	}
	if behind && len(chunks) == 0 {
		if chunks, err = s.gaps(ctx, ranges); err != nil {
			return false, err
		}
	}
	return behind, s.deliver(chunks)
}

// gaps steps over offsets that no record is at: of a transaction's end, or of
// what compaction took away. It is for when a broker shows that there is more
// and brings nothing.
func (s *stretch) gaps(ctx context.Context, ranges map[Partition]Range) ([]Chunk, error) {
	var chunks []Chunk
	for p, g := range ranges {
		answer, err := s.fetch(ctx, map[Partition]Range{p: g}, requestBytes)
		if err != nil {
			return nil, err
		}
		for _, t := range answer.Topics {
			for i := range t.Partitions {
				c, err := s.chunk(ctx, p, g, &t.Partitions[i])
				if err != nil {
					return nil, err
				}
				if c.Next == g.From && c.Next < c.End {
					c.Next++
				}
				if c.Next > g.From {
					chunks = append(chunks, c)
				}
			}
		}
	}
	return chunks, nil
}

func (s *stretch) fetch(ctx context.Context, ranges map[Partition]Range, most int32) (*fetch.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	r := &fetch.Request{
		ReplicaID: -1, SessionID: -1, SessionEpoch: -1,
		MaxWaitTime: int32(holdTime.Milliseconds()), MinBytes: 1, MaxBytes: most, IsolationLevel: int8(kafka.ReadCommitted),
	}
	topics := map[string]int{}
	for p, g := range ranges {
		i, ok := topics[p.Topic]
		if !ok {
			i = len(r.Topics)
			topics[p.Topic] = i
			r.Topics = append(r.Topics, fetch.RequestTopic{Topic: p.Topic})
		}
		r.Topics[i].Partitions = append(r.Topics[i].Partitions, fetch.RequestPartition{
			Partition: int32(p.Number), CurrentLeaderEpoch: -1, FetchOffset: g.From, LogStartOffset: -1, PartitionMaxBytes: partitionBytes,
		})
	}
	m, err := s.client.Transport.RoundTrip(ctx, s.client.Addr, r)
	if err != nil {
		return nil, err
	}
	answer, ok := m.(*fetch.Response)
	if !ok {
		return nil, fmt.Errorf("a fetch was answered by a %T", m)
	}
	if answer.ErrorCode != 0 {
		return nil, kafka.Error(answer.ErrorCode)
	}
	return answer, nil
}

// chunk reads what a request brought of one partition.
func (s *stretch) chunk(ctx context.Context, p Partition, g Range, a *fetch.ResponsePartition) (Chunk, error) {
	c := Chunk{Partition: p, Next: g.From, End: a.LastStableOffset}
	switch err := kafka.Error(a.ErrorCode); {
	case errors.Is(err, kafka.OffsetOutOfRange):
		bounds, err := s.Bounds(ctx, []Partition{p})
		if err != nil {
			return c, err
		}
		c.Next, c.End = bounds[p].From, bounds[p].To
		s.move(p, c.Next)
		return c, nil
	case a.ErrorCode != 0:
		return c, err
	}
	if g.To != Forever {
		c.End = min(c.End, g.To)
	}
	if a.RecordSet.Records == nil {
		return c, nil
	}
	for {
		m, err := a.RecordSet.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		if err != nil {
			return c, err
		}
		if m.Offset < g.From {
			continue // the batch begins before
		}
		c.Next = m.Offset + 1
		if g.To != Forever && m.Offset >= g.To {
			continue
		}
		record, err := read(p, m)
		if err != nil {
			return c, err
		}
		c.Records = append(c.Records, record)
	}
}

func read(p Partition, m *protocol.Record) (Record, error) {
	key, err := protocol.ReadAll(m.Key)
	if err != nil {
		return Record{}, err
	}
	value, err := protocol.ReadAll(m.Value)
	return Record{Partition: p, Offset: m.Offset, Time: m.Time, Key: key, Value: value, Headers: m.Headers}, err
}

// move has a partition go on at another offset, back even.
func (s *stretch) move(p Partition, to int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g, ok := s.left[p]; ok {
		g.From = to
		s.left[p] = g
		s.finish(p)
	}
}

// finish forgets a partition that is read to its end.
func (s *stretch) finish(p Partition) {
	if g := s.left[p]; g.To != Forever && g.From >= g.To {
		delete(s.left, p)
	}
}

// deliver hands chunks on, and notes that they were.
func (s *stretch) deliver(chunks []Chunk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alive = time.Now()
	if len(chunks) == 0 || s.failed != nil {
		return s.failed
	}
	if s.failed = s.f(chunks); s.failed != nil {
		return s.failed
	}
	for _, c := range chunks {
		g := s.left[c.Partition]
		g.From = c.Next
		s.left[c.Partition] = g
		s.finish(c.Partition)
	}
	return nil
}

// Get reads single records. Those that are not there any more are left out.
func (r *Reader) Get(ctx context.Context, at []publish.Receipt) (map[publish.Receipt]Record, error) {
	found := map[publish.Receipt]Record{}
	left := slices.Clone(at)
	for len(left) > 0 {
		ranges := map[Partition]Range{} // one record of each partition at a time
		left = slices.DeleteFunc(left, func(a publish.Receipt) bool {
			p := Partition{a.Topic, a.Partition}
			_, taken := ranges[p]
			if !taken {
				ranges[p] = Range{a.Offset, a.Offset + 1}
			}
			return !taken
		})
		err := r.Read(ctx, ranges, func(chunks []Chunk) error {
			for _, c := range chunks {
				for _, record := range c.Records {
					found[record.Receipt()] = record
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
