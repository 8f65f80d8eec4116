// Package consume reads topics by partition and offset. It joins no consumer group, since
// a rebalance could skip a record or deliver it twice. It commits no offsets: the caller
// says where to begin.
package consume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// Partition is one partition of a topic.
type Partition struct {
	Topic  string
	Number int
}

// String returns topic[partition].
func (p Partition) String() string { return kafka.PartitionText(p.Topic, p.Number) }

// Range is the range of offsets from From up to, but not including, To. If To is
// [Forever], reading continues as records arrive.
type Range struct{ From, To int64 }

// Forever is the end of a [Range] without end.
const Forever = -1

// Size returns how many offsets ranges have, all of which must have an end.
func Size(ranges map[Partition]Range) (n int64) {
	for _, g := range ranges {
		n += g.To - g.From
	}
	return n
}

// Record is a record that was read.
type Record struct {
	Partition
	Offset  int64
	Time    time.Time
	Key     []byte
	Value   []byte
	Headers []schemas.Header
}

// Header returns the value of the first header of the name, or "".
func (r Record) Header(name string) string {
	for _, h := range r.Headers {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

// Receipt returns the topic, partition and offset of the record.
func (r Record) Receipt() kafka.Receipt {
	return kafka.Receipt{Topic: r.Topic, Partition: r.Number, Offset: r.Offset}
}

// Chunk is a sequence of consecutive records of one partition.
type Chunk struct {
	Partition
	Records []Record // may be empty if the log has a gap
	Next    int64    // the offset after the last record
	End     int64    // the partition's end offset at the time of the fetch

	// Reset is set if the log no longer had the offset to read: records may have been
	// skipped, or come again. Reading continues at Next.
	Reset bool
}

// Reader reads from one cluster. It is safe for concurrent use.
type Reader struct {
	config kafka.Config
	client *kafkago.Client
	hangUp func()
	// PollInterval returns the least time between two fetches from a broker when the
	// reader has caught up; each fetch makes the broker check every partition. nil means
	// [kafka.MinPollInterval]. A slow broker is polled less often: see
	// [kafka.PollFactor]. Several goroutines call it at once.
	PollInterval func() time.Duration
	// LongPoll makes the brokers hold every fetch until they have a record for it, so that
	// records come as soon as they are committed. It is for a topic or two: see
	// [kafka.FetchMaxWait]. It leaves [Consumer.FreshAsOf] without an answer.
	LongPoll bool
	// GiveUpAfter is how long Read continues while no broker answers; 0 means for ever.
	GiveUpAfter time.Duration
}

// New returns a reader. The caller must close it.
func New(c kafka.Config) *Reader {
	client, hangUp := c.Client()
	return &Reader{config: c, client: client, hangUp: hangUp}
}

// Slowed returns a reader with another PollInterval, which uses the same connections.
func (r *Reader) Slowed(interval time.Duration) *Reader {
	slowed := *r
	slowed.PollInterval = func() time.Duration { return interval }
	return &slowed
}

// Close closes the connections.
func (r *Reader) Close() { r.hangUp() }

// Partitions returns the partitions of the topics. It returns an error if a topic does not
// exist, or its partitions are not numbered from 0: see [kafka.CheckPartitions].
func (r *Reader) Partitions(ctx context.Context, topics ...string) ([]Partition, error) {
	m, err := r.client.Metadata(ctx, &kafkago.MetadataRequest{Topics: topics})
	if err != nil {
		return nil, fmt.Errorf("asking %s for its topics: %w", r.client.Addr, err)
	}
	var all []Partition
	for _, t := range m.Topics {
		if errors.Is(t.Error, kafkago.UnknownTopicOrPartition) {
			return nil, r.config.Missing(ctx, t.Name)
		}
		if t.Error != nil {
			return nil, fmt.Errorf("topic %s: %w", t.Name, t.Error)
		}
		numbers := make([]int, len(t.Partitions))
		for i, p := range t.Partitions {
			numbers[i] = p.ID
			all = append(all, Partition{t.Name, p.ID})
		}
		if err := kafka.CheckPartitions(t.Name, numbers); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Bounds returns the first offset and the end offset of each partition.
func (r *Reader) Bounds(ctx context.Context, partitions []Partition) (map[Partition]Range, error) {
	return r.offsets(ctx, partitions, func(p int) []kafkago.OffsetRequest {
		return []kafkago.OffsetRequest{kafkago.FirstOffsetOf(p), kafkago.LastOffsetOf(p)}
	}, func(o kafkago.PartitionOffsets) Range { return Range{o.FirstOffset, o.LastOffset} })
}

// TopicBounds returns the first offset and the end offset of each partition of topics.
func (r *Reader) TopicBounds(ctx context.Context, topics ...string) (map[Partition]Range, error) {
	partitions, err := r.Partitions(ctx, topics...)
	if err != nil {
		return nil, err
	}
	return r.Bounds(ctx, partitions)
}

// Since returns the range of each partition from the first record at or after a time to
// the current end offset.
func (r *Reader) Since(ctx context.Context, partitions []Partition, at time.Time) (map[Partition]Range, error) {
	ends, err := r.Bounds(ctx, partitions)
	if err != nil {
		return nil, err
	}
	begins, err := r.offsets(ctx, partitions, func(p int) []kafkago.OffsetRequest {
		return []kafkago.OffsetRequest{kafkago.TimeOffsetOf(p, at)}
	}, func(o kafkago.PartitionOffsets) Range {
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
			end.From = end.To // no record is that new
		}
		ends[p] = end
	}
	return ends, nil
}

// offsets requests offsets of partitions.
func (r *Reader) offsets(ctx context.Context, partitions []Partition, ask func(int) []kafkago.OffsetRequest, read func(kafkago.PartitionOffsets) Range) (map[Partition]Range, error) {
	topics := map[string][]kafkago.OffsetRequest{}
	for _, p := range partitions {
		topics[p.Topic] = append(topics[p.Topic], ask(p.Number)...)
	}
	answer, err := r.client.ListOffsets(ctx, &kafkago.ListOffsetsRequest{Topics: topics, IsolationLevel: kafkago.ReadCommitted})
	if err != nil {
		return nil, fmt.Errorf("requesting offsets: %w", err)
	}
	all := map[Partition]Range{}
	for topic, offsets := range answer.Topics {
		for _, o := range offsets {
			if o.Error != nil {
				return nil, fmt.Errorf("partition %s: %w", kafka.PartitionText(topic, o.Partition), o.Error)
			}
			all[Partition{topic, o.Partition}] = read(o)
		}
	}
	for _, p := range partitions {
		if _, ok := all[p]; !ok {
			return nil, fmt.Errorf("partition %s: the brokers' answer leaves it out", p)
		}
	}
	return all, nil
}

// Read reads the ranges and passes the records of each response to f, one call at a time.
// The records of a partition come in the order of their offsets, each once. Read returns
// when every range is read, when ctx is done, with the error of f, or after
// [Reader.GiveUpAfter]. Partitions fail independently: if a broker does not answer or is
// no longer the leader, its partitions are retried while the others go on. If the
// beginning of a range is no longer in the log, or the topic was deleted and created
// again, reading begins at the first offset of the log.
func (r *Reader) Read(ctx context.Context, ranges map[Partition]Range, f func([]Chunk) error) error {
	return r.NewConsumer(ranges, f).Run(ctx)
}

// nearby is how many offsets between two records [Reader.Get] reads with them: few, because
// records can be large, but that mostly costs less than another request.
const nearby = 4

// Get reads single records. It leaves out records that are no longer in the log.
func (r *Reader) Get(ctx context.Context, at []kafka.Receipt) (map[kafka.Receipt]Record, error) {
	found := map[kafka.Receipt]Record{}
	if len(at) == 0 {
		return found, nil
	}
	var partitions []Partition
	for _, a := range at {
		partitions = append(partitions, Partition{a.Topic, a.Partition})
	}
	slices.SortFunc(partitions, func(a, b Partition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Number, b.Number))
	})
	bounds, err := r.Bounds(ctx, slices.Compact(partitions))
	if err != nil {
		return nil, err
	}
	left := slices.DeleteFunc(slices.Clone(at), func(a kafka.Receipt) bool { // otherwise Read would wait for these records to be written
		g := bounds[Partition{a.Topic, a.Partition}]
		return a.Offset < g.From || a.Offset >= g.To
	})
	slices.SortFunc(left, func(a, b kafka.Receipt) int { return cmp.Compare(a.Offset, b.Offset) })
	wanted := map[kafka.Receipt]bool{}
	for _, a := range left {
		wanted[a] = true
	}
	for len(left) > 0 {
		ranges := map[Partition]Range{} // of each partition one record at a time, with those nearby
		left = slices.DeleteFunc(left, func(a kafka.Receipt) bool {
			p := Partition{a.Topic, a.Partition}
			g, taken := ranges[p]
			if !taken {
				g.From = a.Offset
			} else if a.Offset > g.To+nearby {
				return false
			}
			g.To = a.Offset + 1
			ranges[p] = g
			return true
		})
		err := r.Read(ctx, ranges, func(chunks []Chunk) error {
			for _, c := range chunks {
				for _, record := range c.Records {
					if wanted[record.Receipt()] {
						found[record.Receipt()] = record
					}
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
