package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// reader reads the records that a run wrote to the event topics.
type reader struct {
	kafka  kafka.Config
	names  kafka.Names                 // of the topics that existed at the start of the run
	prefix string                      // of the processor's event ids of the run
	before map[consume.Partition]int64 // end offsets at the start of the run
	count  *atomic.Int64               // of records read
}

// readTimeout is how long a cluster may take to answer, or to have every acknowledged
// offset: after an outage its brokers recover their logs first.
const readTimeout = 90 * time.Second

// startTimeout is the same for the start of a run. It is shorter, since a person waits,
// and long enough for leaders to move.
const startTimeout = 20 * time.Second

const retryInterval = 500 * time.Millisecond

func newReader(ctx context.Context, c Config, run string) (reader, error) {
	r := reader{kafka: c.Kafka, prefix: strings.TrimSuffix(eventID(run, 0), "0"), before: map[consume.Partition]int64{}, count: new(atomic.Int64)}
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(retryInterval) {
		var err error
		var bounds map[consume.Partition]consume.Range
		if r.names, _, err = c.Names.Existing(ctx, c.Kafka); err == nil && len(r.names.Types) == 0 {
			err = kafkago.UnknownTopicOrPartition
		}
		if err == nil {
			bounds, err = r.bounds(ctx)
		}
		for p, b := range bounds {
			r.before[p] = b.To
		}
		switch {
		case errors.Is(err, kafkago.UnknownTopicOrPartition):
			return r, fmt.Errorf("%w (are --brokers and --prefix the server's?)", err)
		case err == nil, ctx.Err() != nil, time.Now().After(deadline):
			return r, err
		}
	}
}

// bounds returns the offsets that the partitions of the event topics have.
func (r reader) bounds(ctx context.Context) (map[consume.Partition]consume.Range, error) {
	c := consume.New(r.kafka) // new connections each time: after an outage old ones may still know the former leaders
	defer c.Close()
	return c.TopicBounds(ctx, r.names.Events()...)
}

// read returns the records that were written since the reader was made. It waits until
// the partitions have the offsets in atLeast, by partition.
func (r reader) read(atLeast map[consume.Partition]int64) ([]record, error) {
	bounds, err := r.await(atLeast)
	if err != nil {
		return nil, err
	}
	ranges := map[consume.Partition]consume.Range{}
	for p, b := range bounds {
		if from := max(b.From, r.before[p]); from < b.To {
			ranges[p] = consume.Range{From: from, To: b.To}
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	stalled := time.AfterFunc(readTimeout, func() { cancel(fmt.Errorf("no record came for %s", readTimeout)) })
	defer stalled.Stop()
	c := consume.New(r.kafka)
	defer c.Close()
	var all []record
	err = c.Read(ctx, ranges, func(chunks []consume.Chunk) error {
		stalled.Reset(readTimeout)
		for _, chunk := range chunks {
			for _, one := range chunk.Records {
				all = append(all, r.parse(one))
			}
			r.count.Add(int64(len(chunk.Records)))
		}
		return nil
	})
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return all, err
}

// await returns the offsets of the partitions, once they have those in atLeast. A new
// leader may show fewer until it knows that its followers have the records. After
// readTimeout it returns the offsets as they are: a leader that still shows fewer has lost
// the records.
func (r reader) await(atLeast map[consume.Partition]int64) (map[consume.Partition]consume.Range, error) {
	for deadline := time.Now().Add(readTimeout); ; time.Sleep(retryInterval) {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		bounds, err := r.bounds(ctx)
		cancel()
		if err == nil && reaches(bounds, atLeast) || time.Now().After(deadline) {
			return bounds, err
		}
	}
}

// reaches reports whether the partitions have offsets.
func reaches(bounds map[consume.Partition]consume.Range, atLeast map[consume.Partition]int64) bool {
	for p, offset := range atLeast {
		if b, ok := bounds[p]; ok && b.To < offset {
			return false
		}
	}
	return true
}

// parse returns the record, with the number of its webhook if that is of this run.
func (r reader) parse(from consume.Record) record {
	one := record{number: -1, key: string(from.Key), at: position{from.Topic, from.Number, from.Offset}}
	var e struct {
		Data struct {
			ID string `json:"connector_event_id"`
		} `json:"data"`
	}
	if json.Unmarshal(schemas.Unframe(from.Value), &e) != nil {
		return one // written by another program
	}
	if number, ok := strings.CutPrefix(e.Data.ID, r.prefix); ok {
		if n, err := strconv.Atoi(number); err == nil && n >= 0 {
			one.number = n
		}
	}
	return one
}
