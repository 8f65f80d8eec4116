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

// leader fetches from one broker the partitions that it leads. Only its own goroutine
// uses it.
type leader struct {
	consumer *Consumer
	id       int32
	address  string

	wakeup           chan struct{} // buffered, size 1: ends the pause before the next fetch
	conn             *kafka.Conn
	replicaID        int32         // for requests of end offsets
	endsReadAt       time.Time     // when the end offsets were last read
	leadersCheckedAt time.Time     // when its metadata was last requested
	lastRecords      time.Time     // when records last arrived
	pollInterval     time.Duration // to the next fetch
	session          session
}

// session is a fetch session: the broker remembers the partitions of earlier requests,
// so that a request names only those that changed. Hundreds of idle partitions then cost
// neither side anything. https://cwiki.apache.org/confluence/x/7h6TBg (KIP-227)
type session struct {
	id, epoch int32
	fetching  map[Partition]position // the partitions as in the requests so far
}

// position is the range of a partition that is still to be read, and the partition's
// leader epoch.
type position struct {
	Range
	epoch int32
}

// maxFetchBytes bounds the response to a fetch; a larger batch comes by itself.
// kafka-go allocates 64 KiB for each batch in the response, and a batch may be one
// record of 200 bytes.
const maxFetchBytes = 512 << 10

// run fetches until the leader has no partitions left, or does not answer.
func (l *leader) run(ctx context.Context) {
	err := l.fetchLoop(ctx)
	if l.conn != nil {
		l.conn.Close()
	}
	if err != nil && ctx.Err() == nil {
		l.consumer.releasePartitions(l, err)
	}
}

// partitionRefused makes the consumer look up the leader of one partition again: this
// broker is not the leader, or has another leader epoch, or its answer could not be
// decoded.
func (l *leader) partitionRefused(p Partition, why error) {
	l.consumer.releasePartitions(l, fmt.Errorf("partition %s, broker %d: %w", p, l.id, why), p)
}

func (l *leader) fetchLoop(ctx context.Context) (err error) {
	if l.conn, err = l.consumer.reader.config.Dial(ctx, l.address); err != nil {
		return err
	}
	for behind := false; ; {
		if err := l.skipKnown(); err != nil {
			return err
		}
		parts := l.consumer.partitionsOf(l)
		if len(parts) == 0 {
			return nil
		}
		if time.Since(l.leadersCheckedAt) > kafka.LeaderCheckInterval {
			if err := l.consumer.checkLeaders(ctx, l); err != nil {
				return fmt.Errorf("broker %d: %w", l.id, err)
			}
			l.leadersCheckedAt = time.Now()
		}
		if l.consumer.follows && !l.consumer.reader.LongPoll && time.Since(l.endsReadAt) > kafka.EndOffsetsInterval {
			if err := l.consumer.readEndOffsets(l, parts); err != nil {
				return fmt.Errorf("broker %d: %w", l.id, err)
			}
			l.endsReadAt = time.Now()
		}
		if behind, err = l.poll(ctx, parts, behind); err != nil {
			return err
		}
		if behind {
			continue
		}
		select {
		case <-time.After(l.pollInterval / 2):
		case <-l.wakeup:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pollInterval returns the time to the next fetch after one that took some time:
// [Reader.PollInterval], or [kafka.PollFactor] times as long as the fetch took, up to
// [kafka.MaxPollInterval].
func (r *Reader) pollInterval(took time.Duration) time.Duration {
	interval := kafka.MinPollInterval
	if r.PollInterval != nil {
		interval = r.PollInterval()
	}
	return max(interval, min(kafka.PollFactor*took, kafka.MaxPollInterval))
}

// skipKnown calls [Consumer.skipKnown].
func (l *leader) skipKnown() error {
	known, err := l.consumer.skipKnown()
	if known {
		l.lastRecords = time.Now()
	}
	return err
}

// sleep waits for d, or returns the error of ctx if that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// poll makes one fetch, and reports whether the log has more records to read at once.
// Before it decodes the response, it waits for half of the poll interval if
// [Consumer.KnownOffsets] is set, so that offsets produced by this process can be skipped.
// If the last fetch was behind the end of the log, it does not wait: the records are old.
func (l *leader) poll(ctx context.Context, parts []*partitionState, wasBehind bool) (behind bool, err error) {
	from := l.positions(parts)
	request := l.fetchRequest(from)
	start := time.Now()
	answer, err := l.fetch(request)
	if err != nil {
		return false, err
	}
	took := time.Since(start)
	if request.MaxWaitTime > 0 {
		took = 0 // the broker held the fetch
	}
	l.pollInterval = l.consumer.reader.pollInterval(took)
	if again, err := l.updateSession(answer); again || err != nil {
		return again, err
	}
	if l.consumer.KnownOffsets != nil && !wasBehind {
		if err := sleep(ctx, l.pollInterval/2); err != nil {
			return false, err
		}
		if err := l.skipKnown(); err != nil {
			return false, err
		}
		for p, g := range l.positions(parts) {
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
			records := t.Partitions[i].RecordSet.Records
			at, ok := from[p]
			if !ok {
				discard(records) // the range was read meanwhile
				continue
			}
			c, err := l.decodeChunk(p, at, &t.Partitions[i])
			discard(records)
			if err != nil {
				l.partitionRefused(p, err)
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
		gaps = nil // the response may have had no room for the other partitions
	}
	for _, c := range gaps {
		if c, err = l.skipGap(c, from[c.Partition]); err != nil {
			return false, err
		}
		chunks = append(chunks, c)
	}
	if len(chunks) > 0 {
		l.lastRecords = time.Now()
	}
	if err := l.consumer.deliver(l, chunks); err != nil {
		return false, err
	}
	l.consumer.onResponse(l)
	return behind, nil
}

// positions returns the ranges of the partitions that are still to be read.
func (l *leader) positions(parts []*partitionState) map[Partition]position {
	l.consumer.mu.Lock()
	defer l.consumer.mu.Unlock()
	from := make(map[Partition]position, len(parts))
	for _, q := range parts {
		from[q.Partition] = position{Range{q.next, q.end}, q.epoch}
	}
	return from
}

// fetchRequest returns a request for the partitions that changed in the fetch session, or
// for all if there is no session.
func (l *leader) fetchRequest(from map[Partition]position) *fetch.Request {
	r := &fetch.Request{
		ReplicaID: consumerReplica, SessionID: l.session.id, SessionEpoch: l.session.epoch,
		MinBytes: 1, MaxBytes: maxFetchBytes, IsolationLevel: int8(kafkago.ReadCommitted),
	}
	if l.consumer.reader.LongPoll || time.Since(l.lastRecords) > kafka.FetchIdleTime {
		r.MaxWaitTime = int32(kafka.FetchMaxWait.Milliseconds())
	}
	if !l.consumer.follows {
		r.SessionID, r.SessionEpoch = 0, -1 // a session is not worth while
	}
	topics := map[string]int{}
	has := l.session.fetching
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
			Partition: int32(p.Number), CurrentLeaderEpoch: g.epoch, FetchOffset: g.From, LogStartOffset: -1, PartitionMaxBytes: maxFetchBytes,
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
	l.session.fetching = has
	return r
}

// updateSession updates the fetch session from a response. It reports whether the broker
// has dropped the session, so that all partitions must be requested again.
func (l *leader) updateSession(answer *fetch.Response) (again bool, err error) {
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

// fetch sends a fetch request and returns the response.
func (l *leader) fetch(r *fetch.Request) (*fetch.Response, error) {
	m, err := l.conn.RoundTrip(r, kafka.FetchMaxWait+kafka.FetchTimeout)
	if err != nil {
		return nil, fmt.Errorf("broker %d: %w", l.id, err)
	}
	return m.(*fetch.Response), nil
}

// skipGap advances past an offset without a record: the marker of a transaction, or a
// record that compaction removed. It is called when a broker reports more records and
// returns none.
func (l *leader) skipGap(c Chunk, g position) (Chunk, error) {
	p := c.Partition
	answer, err := l.fetch(&fetch.Request{
		ReplicaID: consumerReplica, SessionEpoch: -1, MaxWaitTime: 1, MinBytes: 1, MaxBytes: maxFetchBytes, IsolationLevel: int8(kafkago.ReadCommitted),
		Topics: []fetch.RequestTopic{{Topic: p.Topic, Partitions: []fetch.RequestPartition{
			{Partition: int32(p.Number), CurrentLeaderEpoch: g.epoch, FetchOffset: g.From, LogStartOffset: -1, PartitionMaxBytes: maxFetchBytes},
		}}},
	})
	if err != nil || answer.ErrorCode != 0 || len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1 {
		return c, err // the next fetch reports the error
	}
	alone, err := l.decodeChunk(p, g, &answer.Topics[0].Partitions[0])
	if err != nil {
		return c, nil // the next fetch reports the error
	}
	if alone.Next == g.From && alone.Next < alone.End {
		alone.Next++
	}
	return alone, nil
}

// decodeChunk decodes the part of a response for one partition.
func (l *leader) decodeChunk(p Partition, g position, a *fetch.ResponsePartition) (Chunk, error) {
	c := Chunk{Partition: p, Next: g.From, End: a.LastStableOffset}
	switch err := kafkago.Error(a.ErrorCode); {
	case errors.Is(err, kafkago.OffsetOutOfRange):
		first, err := l.offsetOf(p, g.epoch, kafkago.FirstOffset)
		if err != nil {
			return c, err
		}
		end, err := l.offsetOf(p, g.epoch, kafkago.LastOffset)
		c.Next, c.End, c.Reset = first, end, true
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
		if m.Offset < g.From {
			release(m) // the batch begins before the requested offset, or this record was skipped meanwhile
			continue
		}
		record, err := decodeRecord(p, m)
		if err != nil {
			return c, err
		}
		c.Next = m.Offset + 1
		if g.To != Forever && m.Offset >= g.To {
			continue
		}
		c.Records = append(c.Records, record)
	}
}

// offsetOf requests the first or the last offset of a partition.
func (l *leader) offsetOf(p Partition, epoch int32, which int64) (int64, error) {
	m, err := l.conn.RoundTrip(&listoffsets.Request{ReplicaID: consumerReplica, IsolationLevel: int8(kafkago.ReadCommitted), Topics: []listoffsets.RequestTopic{{
		Topic: p.Topic, Partitions: []listoffsets.RequestPartition{{Partition: int32(p.Number), CurrentLeaderEpoch: epoch, Timestamp: which}},
	}}}, kafka.FetchTimeout)
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

// decodeRecord copies a record from kafka-go's buffers.
func decodeRecord(p Partition, m *protocol.Record) (Record, error) {
	key, err := readBytes(m.Key)
	if err != nil {
		return Record{}, err
	}
	value, err := readBytes(m.Value)
	headers := make([]schemas.Header, len(m.Headers))
	for i, h := range m.Headers {
		headers[i] = schemas.Header{Name: h.Key, Value: string(h.Value)}
	}
	return Record{Partition: p, Offset: m.Offset, Time: m.Time, Key: key, Value: value, Headers: headers}, err
}

// discard releases the records of a response that were not decoded.
func discard(records protocol.RecordReader) {
	for records != nil {
		m, err := records.ReadRecord()
		if err != nil {
			return
		}
		release(m)
	}
}

// release returns a record's pages of 64 KiB to kafka-go's pool. Otherwise kafka-go
// allocates new pages for each batch.
func release(m *protocol.Record) {
	for _, b := range [2]protocol.Bytes{m.Key, m.Value} {
		if b != nil {
			_ = b.Close()
		}
	}
}

// readBytes copies bytes, and returns their pages to kafka-go's pool: see [release].
func readBytes(b protocol.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	defer b.Close()
	return protocol.ReadAll(b)
}
