package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"golang.org/x/sync/errgroup"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// reader reads the event topics by partition: no consumer group, whose
// rebalances could hide a record or show it twice.
type reader struct {
	client *kafkago.Client
	hangUp func()
	mark   string             // how the event ids of the run begin
	before map[string][]int64 // where the partitions ended at first
	count  *atomic.Int64      // of records read
}

// readPatience is how long a cluster may take to answer, or to have every
// acknowledged offset: after an outage its brokers recover their logs first.
const readPatience = 90 * time.Second

// startPatience is the same for the start of a run: leaders may be moving, but
// the person who started it waits.
const startPatience = 20 * time.Second

func newReader(ctx context.Context, c Config, run string) (r reader, err error) {
	r = reader{mark: strings.TrimSuffix(eventID(run, 0), "0"), count: new(atomic.Int64)}
	r.client, r.hangUp = c.Kafka.Client()
	r.client.Timeout = 10 * time.Second
	for deadline := time.Now().Add(startPatience); ; time.Sleep(500 * time.Millisecond) {
		var partitions map[string]int
		if partitions, err = r.partitions(ctx, c.Names); err == nil {
			r.before, err = r.ends(ctx, partitions)
		}
		if err == nil || errors.Is(err, kafkago.UnknownTopicOrPartition) || ctx.Err() != nil || time.Now().After(deadline) {
			return r, err
		}
		r.hangUp()
	}
}

// partitions returns how many partitions each event topic has.
func (r reader) partitions(ctx context.Context, names kafka.Names) (map[string]int, error) {
	var topics []string
	for _, t := range schemas.Types() {
		topics = append(topics, names.Event(t))
	}
	m, err := r.client.Metadata(ctx, &kafkago.MetadataRequest{Topics: topics})
	if err != nil {
		return nil, err
	}
	all := map[string]int{}
	for _, t := range m.Topics {
		if t.Error != nil {
			return nil, fmt.Errorf("topic %s: %w (are --brokers and --prefix the server's?)", t.Name, t.Error)
		}
		all[t.Name] = len(t.Partitions)
	}
	return all, nil
}

// ends returns where the partitions end: the offset of the next record.
func (r reader) ends(ctx context.Context, partitions map[string]int) (map[string][]int64, error) {
	ask := map[string][]kafkago.OffsetRequest{}
	all := map[string][]int64{}
	for topic, n := range partitions {
		for p := range n {
			ask[topic] = append(ask[topic], kafkago.LastOffsetOf(p))
		}
		all[topic] = make([]int64, n)
	}
	answer, err := r.client.ListOffsets(ctx, &kafkago.ListOffsetsRequest{Topics: ask})
	if err != nil {
		return nil, err
	}
	for topic, parts := range answer.Topics {
		if len(parts) != partitions[topic] {
			return nil, fmt.Errorf("topic %s: %d of %d partitions answered", topic, len(parts), partitions[topic])
		}
		for _, p := range parts {
			if p.Error != nil {
				return nil, fmt.Errorf("topic %s, partition %d: %w", topic, p.Partition, p.Error)
			}
			all[topic][p.Partition] = p.LastOffset
		}
	}
	return all, nil
}

// read returns what was written since the reader was made, once the
// partitions reach as far as they must.
func (r reader) read(farthest map[string]map[int]int64) ([]record, error) {
	defer r.hangUp()
	ends, err := r.await(farthest)
	if err != nil {
		return nil, err
	}
	var all []record
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(4)
	for topic, parts := range ends {
		for p, end := range parts {
			if end <= r.before[topic][p] {
				continue
			}
			g.Go(func() error {
				found, err := r.partition(topic, p, r.before[topic][p], end)
				mu.Lock()
				all = append(all, found...)
				mu.Unlock()
				return err
			})
		}
	}
	err = g.Wait()
	return all, err
}

// await returns where the partitions end. A new leader may show less than is
// acknowledged until it knows that its followers have it; one that never does
// has lost it, and its end is taken as it is.
func (r reader) await(farthest map[string]map[int]int64) (map[string][]int64, error) {
	partitions := map[string]int{}
	for topic, parts := range r.before {
		partitions[topic] = len(parts)
	}
	for deadline := time.Now().Add(readPatience); ; time.Sleep(500 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		ends, err := r.ends(ctx, partitions)
		cancel()
		if err == nil && reach(ends, farthest) {
			return ends, nil
		}
		if time.Now().After(deadline) {
			return ends, err
		}
		r.hangUp() // or an old answer about the leaders goes on to count
	}
}

func reach(ends map[string][]int64, farthest map[string]map[int]int64) bool {
	for topic, parts := range farthest {
		for p, offset := range parts {
			if p < len(ends[topic]) && ends[topic][p] < offset {
				return false
			}
		}
	}
	return true
}

// partition returns the records of one partition from an offset to another.
func (r reader) partition(topic string, partition int, next, end int64) (all []record, err error) {
	deadline := time.Now().Add(readPatience)
	for next < end {
		found, after, err := r.fetch(topic, partition, next)
		if err == nil && after == next {
			err = errors.New("nothing is there, and the end is beyond")
		}
		if err != nil {
			if time.Now().After(deadline) {
				return nil, fmt.Errorf("%v: %w", place{topic, partition, next}, err)
			}
			time.Sleep(200 * time.Millisecond)
			r.hangUp()
			continue
		}
		deadline = time.Now().Add(readPatience)
		next, all = after, append(all, found...)
		r.count.Add(int64(len(found)))
	}
	return all, nil
}

// fetch returns some records from an offset on, and the offset after them.
func (r reader) fetch(topic string, partition int, next int64) (all []record, after int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	answer, err := r.client.Fetch(ctx, &kafkago.FetchRequest{
		Topic: topic, Partition: partition, Offset: next, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Second,
		IsolationLevel: kafkago.ReadCommitted,
	})
	if err == nil {
		err = answer.Error
	}
	if err != nil {
		return nil, next, err
	}
	after = next
	for {
		m, err := answer.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return all, after, nil
		}
		if err != nil {
			return nil, next, err
		}
		if m.Offset < next {
			continue // the batch begins before
		}
		one, err := r.parse(m)
		if err != nil {
			return nil, next, err
		}
		one.at = place{topic, partition, m.Offset}
		all, after = append(all, one), m.Offset+1
	}
}

// parse returns whose record it is: that of a webhook of this run, or not.
func (r reader) parse(m *protocol.Record) (record, error) {
	key, errKey := protocol.ReadAll(m.Key)
	value, errValue := protocol.ReadAll(m.Value)
	one := record{number: -1, key: string(key)}
	if err := errors.Join(errKey, errValue); err != nil {
		return one, err
	}
	var e struct {
		Data struct {
			ID string `json:"connector_event_id"`
		} `json:"data"`
	}
	if json.Unmarshal(value, &e) != nil {
		return one, nil // another's, whatever it is
	}
	if number, ok := strings.CutPrefix(e.Data.ID, r.mark); ok {
		if n, err := strconv.Atoi(number); err == nil && n >= 0 {
			one.number = n
		}
	}
	return one, nil
}
