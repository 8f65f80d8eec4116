package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// Config is how to reach Kafka.
type Config struct {
	Brokers  []string // host:port, any of the cluster's
	ClientID string   // shown in the brokers' logs and quotas; empty is "tollbridge"
}

// timeout bounds one exchange with a broker. kafka-go tells the broker to wait
// for the replicas half as long.
const timeout = 3 * time.Second

// client returns a client of the cluster and what ends its connections.
func (c Config) client() (*kafka.Client, func()) {
	if c.ClientID == "" {
		c.ClientID = "tollbridge"
	}
	t := &kafka.Transport{ClientID: c.ClientID, DialTimeout: time.Second, MetadataTTL: time.Second}
	return &kafka.Client{Addr: kafka.TCP(c.Brokers...), Timeout: timeout, Transport: t}, t.CloseIdleConnections
}

// Producer writes records. It is safe for concurrent use.
type Producer struct {
	client *kafka.Client
	hangUp func()

	mu         sync.RWMutex
	partitions map[string]int // of each topic seen
	closed     bool
	callers    sync.WaitGroup
}

// NewProducer returns a producer. Nothing is asked of Kafka yet: see
// [Producer.Ready].
func NewProducer(c Config) *Producer {
	p := &Producer{partitions: map[string]int{}}
	p.client, p.hangUp = c.client()
	return p
}

// Ready returns nil if the topics are there and have a leader each.
func (p *Producer) Ready(ctx context.Context, topics []string) error {
	m, err := p.client.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range m.Topics {
		if t.Error != nil {
			return fmt.Errorf("%w: topic %s: %w", ErrUnavailable, t.Name, t.Error)
		}
		for _, q := range t.Partitions {
			if q.Error != nil {
				return fmt.Errorf("%w: topic %s, partition %d: %w", ErrUnavailable, t.Name, q.ID, q.Error)
			}
		}
		p.partitions[t.Name] = len(t.Partitions)
	}
	return nil
}

// Publish writes the records and returns their receipts in the same order,
// once all in-sync replicas have all of them. Records of one partition are
// written in the order they stand. The context's deadline bounds it; an error
// wraps [ErrUnavailable], [ErrRefused] or [ErrClosed].
func (p *Producer) Publish(ctx context.Context, records []Record) ([]Receipt, error) {
	p.mu.RLock()
	if p.closed {
		p.mu.RUnlock()
		return nil, ErrClosed
	}
	p.callers.Add(1)
	p.mu.RUnlock()
	defer p.callers.Done()

	receipts := make([]Receipt, len(records))
	type place struct {
		topic     string
		partition int
	}
	groups := map[place][]int{} // the records of each partition, by their index
	for i, r := range records {
		n, err := p.count(ctx, r.Topic)
		if err != nil {
			return nil, err
		}
		receipts[i] = Receipt{Topic: r.Topic, Partition: partition(r.Key, n)}
		at := place{r.Topic, receipts[i].Partition}
		groups[at] = append(groups[at], i)
	}
	errs := make(chan error, len(groups))
	for at, members := range groups {
		go func() {
			base, err := p.write(ctx, at.topic, at.partition, records, members)
			for n, i := range members {
				receipts[i].Offset = base + int64(n)
			}
			errs <- err
		}()
	}
	var err error
	for range groups {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return nil, err
	}
	return receipts, nil
}

// count returns how many partitions a topic has.
func (p *Producer) count(ctx context.Context, topic string) (int, error) {
	p.mu.RLock()
	n := p.partitions[topic]
	p.mu.RUnlock()
	if n > 0 {
		return n, nil
	}
	if err := p.Ready(ctx, []string{topic}); err != nil {
		return 0, err
	}
	return p.count(ctx, topic)
}

// write appends some of the records to one partition and returns the offset
// of the first, trying again while that may help and the context lasts.
func (p *Producer) write(ctx context.Context, topic string, partition int, records []Record, members []int) (int64, error) {
	for backoff := 10 * time.Millisecond; ; backoff = min(2*backoff, 500*time.Millisecond) {
		r, err := p.client.Produce(ctx, &kafka.ProduceRequest{
			Topic: topic, Partition: partition,
			RequiredAcks: kafka.RequireAll,
			Records:      &reader{records: records, members: members},
		})
		if err == nil {
			err = r.Error
		}
		switch {
		case err == nil:
			return r.BaseOffset, nil
		case !passing(err):
			return 0, fmt.Errorf("%w: topic %s: %w", ErrRefused, topic, err)
		}
		p.hangUp() // or kafka-go goes on with the metadata it has
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: topic %s, partition %d: %w", ErrUnavailable, topic, partition, err)
		case <-time.After(backoff):
		}
	}
}

// passing reports whether a produce error may be gone when asked again.
func passing(err error) bool {
	var k kafka.Error
	if !errors.As(err, &k) {
		return true // the connection, or no leader
	}
	return k.Temporary() || k.Timeout()
}

// Close waits for the calls under way and ends the connections.
func (p *Producer) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.callers.Wait()
	p.hangUp()
}

// reader gives kafka-go some of the records.
type reader struct {
	records []Record
	members []int
}

func (r *reader) ReadRecord() (*kafka.Record, error) {
	if len(r.members) == 0 {
		return nil, io.EOF
	}
	rec := r.records[r.members[0]]
	r.members = r.members[1:]
	headers := make([]kafka.Header, len(rec.Headers))
	for i, h := range rec.Headers {
		headers[i] = kafka.Header{Key: h.Name, Value: h.Value}
	}
	return &kafka.Record{Key: kafka.NewBytes(rec.Key), Value: kafka.NewBytes(rec.Value), Time: time.Now(), Headers: headers}, nil
}
