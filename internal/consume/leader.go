package consume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
	"github.com/segmentio/kafka-go/protocol/listoffsets"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// leader is a broker that partitions are read from. Its goroutine alone uses it.
type leader struct {
	s       *Consumer
	id      int32
	address string

	conn    *kafka.Conn
	asks    int32         // as whom it is asked where its logs end
	asked   time.Time     // when it was asked last where its logs end
	looked  time.Time     // when it was asked last who leads
	busy    time.Time     // when something came last
	rest    time.Duration // until the next request
	session session
}

// session is what a broker keeps of our requests, so that each has only what is
// new: the hundreds of partitions that nothing happens in cost neither side
// anything. https://cwiki.apache.org/confluence/x/7h6TBg (KIP-227)
type session struct {
	id, epoch int32
	has       map[Partition]position // what it reads of each partition
}

// position is what is to be read of a partition, and in which leader epoch.
type position struct {
	Range
	epoch int32
}

// A request's answer is at most this large, in bytes, or one batch. kafka-go takes
// 64 KiB for each batch of it, and ours may be one record of 200 bytes.
const answerBytes = 512 << 10

// Times of requests. A broker holds one if it has nothing, and nothing came for a
// while. A request that is held is noted at each of its partitions, and stays there
// when one of them ends it: at hundreds of partitions and as many requests a second
// each write has to go through thousands of those.
const (
	holdTime   = 100 * time.Millisecond
	busyTime   = 500 * time.Millisecond
	answerTime = 2 * time.Second        // beside holdTime
	restTime   = 100 * time.Millisecond // the most that a broker rests
	restFactor = 4                      // as long as its answer took
)

// run reads until the leader has no partitions any more, or does not answer.
func (l *leader) run(ctx context.Context) {
	err := l.read(ctx)
	if l.conn != nil {
		l.conn.Close()
	}
	if err != nil && ctx.Err() == nil {
		l.s.abandon(l, err)
	}
}

// refused looks for the leader of one partition anew: the broker does not lead it,
// or not in the epoch that it was asked in, or its answer cannot be read.
func (l *leader) refused(p Partition, why error) {
	l.s.abandon(l, fmt.Errorf("topic %s, partition %d, broker %d: %w", p.Topic, p.Number, l.id, why), p)
}

func (l *leader) read(ctx context.Context) (err error) {
	if l.conn, err = l.s.reader.config.Dial(ctx, l.address); err != nil {
		return err
	}
	for behind := false; ; {
		if err := l.skip(); err != nil {
			return err
		}
		places := l.s.mine(l)
		if len(places) == 0 {
			return nil
		}
		if time.Since(l.looked) > leaderCheckInterval {
			if err := l.s.checkLeaders(ctx, l); err != nil {
				return fmt.Errorf("broker %d: %w", l.id, err)
			}
			l.looked = time.Now()
		}
		if l.s.forever && time.Since(l.asked) > endsPace {
			if err := l.s.ends(l, places); err != nil {
				return fmt.Errorf("broker %d: %w", l.id, err)
			}
			l.asked = time.Now()
		}
		if behind, err = l.ask(ctx, places, behind); err != nil {
			return err
		}
		if behind {
			continue
		}
		if err := sleep(ctx, l.rest/2); err != nil {
			return err
		}
	}
}

// rested says how long a broker rests that took some time for an answer: the reader's
// pace, or what has it spend no more than a fifth of its time on us.
func (r *Reader) rested(took time.Duration) time.Duration {
	pace := r.PollInterval
	if pace == 0 {
		pace = 10 * time.Millisecond
	}
	return max(pace, min(restFactor*took, restTime))
}

// skip goes over what the caller knows.
func (l *leader) skip() error {
	known, err := l.s.skip()
	if known {
		l.busy = time.Now()
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask makes one request, and reports whether there is more to be had at once. An
// answer rests for a moment where the caller may come to know of what is in it:
// what is known by then is not decoded. Where it was behind before, it does not:
// that was written long ago.
func (l *leader) ask(ctx context.Context, places []*place, wasBehind bool) (behind bool, err error) {
	from := l.positions(places)
	request := l.request(from)
	start := time.Now()
	answer, err := l.fetch(request)
	if err != nil {
		return false, err
	}
	took := time.Since(start)
	if request.MaxWaitTime > 0 {
		took = 0 // it was held
	}
	l.rest = l.s.reader.rested(took)
	if again, err := l.kept(answer); again || err != nil {
		return again, err
	}
	if l.s.KnownOffsets != nil && !wasBehind {
		if err := sleep(ctx, l.rest/2); err != nil {
			return false, err
		}
		if err := l.skip(); err != nil {
			return false, err
		}
		for p, g := range l.positions(places) {
			if at, ok := from[p]; ok && g.From > at.From {
				at.From = g.From
				from[p] = at
			}
		}
	}
	var chunks, gaps []Chunk
	for _, t := range answer.Topics {
		for i := range t.Partitions {
			p := Partition{t.Topic, int(t.Partitions[i].Partition)}
			at, ok := from[p]
			if !ok {
				continue // it is read to its end by now
			}
			c, err := l.chunk(p, at, &t.Partitions[i])
			if err != nil {
				l.refused(p, err)
				continue
			}
			behind = behind || c.Next < c.End
			if c.Next == at.From && c.Next < c.End {
				gaps = append(gaps, c)
			} else {
				chunks = append(chunks, c)
			}
		}
	}
	if len(chunks) > 0 {
		gaps = nil // others filled the answer
	}
	for _, c := range gaps {
		if c, err = l.gap(c, from[c.Partition]); err != nil {
			return false, err
		}
		chunks = append(chunks, c)
	}
	if len(chunks) > 0 {
		l.busy = time.Now()
	}
	if err := l.s.deliver(l, chunks); err != nil {
		return false, err
	}
	l.s.heard(l)
	return behind, nil
}

// positions returns what is to be read of the places.
func (l *leader) positions(places []*place) map[Partition]position {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	from := make(map[Partition]position, len(places))
	for _, q := range places {
		from[q.Partition] = position{Range{q.next, q.to}, q.epoch}
	}
	return from
}

// request asks for what the session does not have, or for all if there is none.
func (l *leader) request(from map[Partition]position) *fetch.Request {
	r := &fetch.Request{
		ReplicaID: consumer, SessionID: l.session.id, SessionEpoch: l.session.epoch,
		MinBytes: 1, MaxBytes: answerBytes, IsolationLevel: int8(kafkago.ReadCommitted),
	}
	if time.Since(l.busy) > busyTime {
		r.MaxWaitTime = int32(holdTime.Milliseconds())
	}
	if !l.s.forever {
		r.SessionID, r.SessionEpoch = 0, -1 // not worth one
	}
	topics := map[string]int{}
	has := l.session.has
	if has == nil {
		has = map[Partition]position{}
	}
	for p, g := range from {
		if before, ok := has[p]; ok && before == g && r.SessionID != 0 {
			continue
		}
		has[p] = g
		i, ok := topics[p.Topic]
		if !ok {
			i = len(r.Topics)
			topics[p.Topic] = i
			r.Topics = append(r.Topics, fetch.RequestTopic{Topic: p.Topic})
		}
		r.Topics[i].Partitions = append(r.Topics[i].Partitions, fetch.RequestPartition{
			Partition: int32(p.Number), CurrentLeaderEpoch: g.epoch, FetchOffset: g.From, LogStartOffset: -1, PartitionMaxBytes: answerBytes,
		})
	}
	if len(has) > len(from) {
		for p := range has {
			if _, ok := from[p]; !ok {
				delete(has, p)
				r.ForgottenTopics = append(r.ForgottenTopics, fetch.RequestForgottenTopic{Topic: p.Topic, Partitions: []int32{int32(p.Number)}})
			}
		}
	}
	l.session.has = has
	return r
}

// kept takes in what the broker says of the session. It reports whether there is
// none any more, so that all is to be asked for again.
func (l *leader) kept(answer *fetch.Response) (again bool, err error) {
	switch code := kafkago.Error(answer.ErrorCode); {
	case code == kafkago.FetchSessionIDNotFound, code == kafkago.InvalidFetchSessionEpoch:
		l.session = session{}
		return true, nil
	case code != 0:
		return false, code
	case answer.SessionID == 0:
		l.session = session{}
	case l.session.epoch == math.MaxInt32:
		l.session.epoch = 1
	default:
		l.session.id = answer.SessionID
		l.session.epoch++
	}
	return false, nil
}

func (l *leader) fetch(r *fetch.Request) (*fetch.Response, error) {
	m, err := l.conn.RoundTrip(r, holdTime+answerTime)
	if err != nil {
		return nil, fmt.Errorf("broker %d: %w", l.id, err)
	}
	return m.(*fetch.Response), nil
}

// gap steps over an offset that no record is at: of a transaction's end, or of
// what compaction took away. It is for when a broker shows that there is more and
// brings nothing.
func (l *leader) gap(c Chunk, g position) (Chunk, error) {
	p := c.Partition
	answer, err := l.fetch(&fetch.Request{
		ReplicaID: consumer, SessionEpoch: -1, MaxWaitTime: 1, MinBytes: 1, MaxBytes: answerBytes, IsolationLevel: int8(kafkago.ReadCommitted),
		Topics: []fetch.RequestTopic{{Topic: p.Topic, Partitions: []fetch.RequestPartition{
			{Partition: int32(p.Number), CurrentLeaderEpoch: g.epoch, FetchOffset: g.From, LogStartOffset: -1, PartitionMaxBytes: answerBytes},
		}}},
	})
	if err != nil || answer.ErrorCode != 0 || len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1 {
		return c, err // the next request tells what is wrong
	}
	alone, err := l.chunk(p, g, &answer.Topics[0].Partitions[0])
	if err != nil {
		return c, nil // likewise
	}
	if alone.Next == g.From && alone.Next < alone.End {
		alone.Next++
	}
	return alone, nil
}

// chunk reads what a request brought of one partition.
func (l *leader) chunk(p Partition, g position, a *fetch.ResponsePartition) (Chunk, error) {
	c := Chunk{Partition: p, Next: g.From, End: a.LastStableOffset}
	switch err := kafkago.Error(a.ErrorCode); {
	case errors.Is(err, kafkago.OffsetOutOfRange):
		first, err := l.bound(p, g.epoch, kafkago.FirstOffset)
		if err != nil {
			return c, err
		}
		end, err := l.bound(p, g.epoch, kafkago.LastOffset)
		c.Next, c.End, c.moved = first, end, true
		return c, err
	case a.ErrorCode != 0:
		return c, err
	}
	if g.To != Forever {
		c.End = min(c.End, g.To)
	}
	if a.RecordSet.Records == nil || c.Next >= c.End {
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
		record, err := read(p, m)
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
		c.Records = append(c.Records, record)
	}
}

// bound asks where a partition begins or ends.
func (l *leader) bound(p Partition, epoch int32, which int64) (int64, error) {
	m, err := l.conn.RoundTrip(&listoffsets.Request{ReplicaID: consumer, IsolationLevel: int8(kafkago.ReadCommitted), Topics: []listoffsets.RequestTopic{{
		Topic: p.Topic, Partitions: []listoffsets.RequestPartition{{Partition: int32(p.Number), CurrentLeaderEpoch: epoch, Timestamp: which}},
	}}}, answerTime)
	if err != nil {
		return 0, err
	}
	topics := m.(*listoffsets.Response).Topics
	if len(topics) != 1 || len(topics[0].Partitions) != 1 {
		return 0, errors.New("the broker's answer leaves the partition out")
	}
	of := topics[0].Partitions[0]
	if of.ErrorCode != 0 {
		return 0, kafkago.Error(of.ErrorCode)
	}
	return of.Offset, nil
}

func read(p Partition, m *protocol.Record) (Record, error) {
	key, err := take(m.Key)
	if err != nil {
		return Record{}, err
	}
	value, err := take(m.Value)
	headers := make([]schemas.Header, len(m.Headers))
	for i, h := range m.Headers {
		headers[i] = schemas.Header{Name: h.Key, Value: string(h.Value)}
	}
	return Record{Partition: p, Offset: m.Offset, Time: m.Time, Key: key, Value: value, Headers: headers}, err
}

// take copies bytes and gives back the pages of 64 KiB that they lie in, or
// kafka-go makes new ones for each batch that comes.
func take(b protocol.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	defer b.Close()
	return protocol.ReadAll(b)
}
