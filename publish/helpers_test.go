package publish

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

func start(t testing.TB, c Config) *Producer {
	t.Helper()
	p := NewProducer(c)
	t.Cleanup(p.Close)
	return p
}

// read is a record as a consumer reads it.
type read struct {
	topic      string
	partition  int
	offset     int64
	key, value []byte
	headers    []kafkago.Header
}

// readBack returns the records in a topic's partitions.
func readBack(t testing.TB, c Config, topic string, partitions int) []read {
	t.Helper()
	client, hangUp := c.Kafka.Client()
	defer hangUp()
	var all []read
	for p := range partitions {
		for next, high := int64(0), int64(1); next < high; {
			r, err := client.Fetch(kafkatest.Within(t, 10*time.Second), &kafkago.FetchRequest{Topic: topic, Partition: p, Offset: next, MinBytes: 1, MaxBytes: 8 << 20, MaxWait: 100 * time.Millisecond})
			if err == nil {
				err = r.Error
			}
			if err != nil {
				t.Fatalf("reading %s/%d at %d: %v", topic, p, next, err)
			}
			high = r.HighWatermark
			for {
				rec, err := r.Records.ReadRecord()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				next = rec.Offset + 1
				all = append(all, read{topic, p, rec.Offset, bytesOf(t, rec.Key), bytesOf(t, rec.Value), rec.Headers})
			}
		}
	}
	return all
}

func bytesOf(t testing.TB, b kafkago.Bytes) []byte {
	if b == nil {
		return nil
	}
	all, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// senders simulate processors. Each sends the records of its own key one after the
// other, and repeats each until it has a receipt.
type senders struct {
	p        *Producer
	topics   []string
	callers  int
	each     int
	deadline time.Duration
	pace     time.Duration // pause between two records
	after    func(n int64) // called with the number of acknowledged records

	mu       sync.Mutex
	receipts map[string]kafka.Receipt // by id
	slowest  time.Duration            // the longest time until an answer
	refused  int
}

func (s *senders) run(t testing.TB) {
	t.Helper()
	s.receipts = map[string]kafka.Receipt{}
	if s.deadline == 0 {
		s.deadline = 4 * time.Second
	}
	var acked atomic.Int64
	var all sync.WaitGroup
	for c := range s.callers {
		all.Go(func() {
			for n := range s.each {
				records := make([]kafka.Record, len(s.topics))
				for i, topic := range s.topics {
					id := fmt.Sprintf("%s-%d-%d", topic, c, n)
					records[i] = kafka.Record{Topic: topic, ID: id, Key: fmt.Appendf(nil, "key-%d", c), Value: []byte(id)}
				}
				s.deliver(t, records)
				if s.after != nil {
					s.after(acked.Add(1))
				}
				time.Sleep(s.pace)
			}
		})
	}
	all.Wait()
}

func (s *senders) deliver(t testing.TB, records []kafka.Record) {
	for end := time.Now().Add(time.Minute); ; {
		ctx, cancel := context.WithTimeout(context.Background(), s.deadline)
		start := time.Now()
		receipts, err := s.p.Publish(ctx, records)
		took := time.Since(start)
		cancel()
		s.mu.Lock()
		s.slowest = max(s.slowest, took)
		if err == nil {
			for i, r := range records {
				s.receipts[r.ID] = receipts[i]
			}
			s.mu.Unlock()
			return
		}
		s.refused++
		s.mu.Unlock()
		if time.Now().After(end) {
			t.Errorf("not acknowledged in a minute: %v", err)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// conserved checks that the topics hold each record once, at the offset of its receipt,
// and the records of each key in order.
func (s *senders) conserved(t testing.TB, c Config, partitions int) {
	t.Helper()
	if want := s.callers * s.each * len(s.topics); len(s.receipts) != want {
		t.Errorf("%d records acknowledged, want %d", len(s.receipts), want)
	}
	seen := map[string]int{}
	for _, topic := range s.topics {
		last := map[string]int{}
		for _, r := range readBack(t, c, topic, partitions) {
			id := string(r.value)
			at, ok := s.receipts[id]
			seen[id]++
			if !ok || seen[id] > 1 {
				t.Errorf("%s was written %d times, acknowledged: %v", id, seen[id], ok)
			}
			if at.Topic != topic || at.Partition != r.partition || at.Offset != r.offset && at.Offset != -1 {
				t.Errorf("%s is at %s/%d/%d, but its receipt is %+v", id, topic, r.partition, r.offset, at)
			}
			var caller, n int
			if _, err := fmt.Sscanf(id, topic+"-%d-%d", &caller, &n); err != nil {
				t.Fatal(err)
			}
			if want := last[string(r.key)]; n != want {
				t.Errorf("key %s: next record is number %d, want %d", r.key, n, want)
			}
			last[string(r.key)]++
		}
	}
	for id := range s.receipts {
		if seen[id] == 0 {
			t.Errorf("%s is lost", id)
		}
	}
	t.Logf("%d records, %d refusals, the slowest answer took %v", len(s.receipts), s.refused, s.slowest)
}

// wire is the network between the producer and the fake brokers, for ListenFn. It
// injects faults into produce requests only.
type wire struct {
	loseAnswers atomic.Int32 // number of requests whose connection is cut after they are written, before the answer
	cutRequests atomic.Int32 // number of requests that are cut before the broker has all of them

	mu   sync.Mutex
	held chan struct{} // answers wait until it is closed
}

func (w *wire) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	return &wireListener{l, w}, err
}

// hold delays all answers until release is called.
func (w *wire) hold() (release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	held := make(chan struct{})
	w.held = held
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		close(held)
		w.held = nil
	})
}

type wireListener struct {
	net.Listener
	*wire
}

func (l *wireListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &wireConn{Conn: c, wire: l.wire}, err
}

type wireConn struct {
	net.Conn
	*wire
	head    []byte // the first six bytes of the frame: length and API key
	left    int    // bytes that are left of the frame
	produce atomic.Bool
}

func (c *wireConn) Read(b []byte) (int, error) {
	if need := 6 - len(c.head); need > 0 && len(b) > need {
		b = b[:need] // read the head alone, to see which request it is
	}
	n, err := c.Conn.Read(b)
	for _, x := range b[:n] {
		if len(c.head) < 6 {
			if c.head = append(c.head, x); len(c.head) == 6 {
				c.left = int(binary.BigEndian.Uint32(c.head)) - 2
				c.produce.Store(binary.BigEndian.Uint16(c.head[4:]) == 0)
			}
		} else {
			c.left--
		}
		if len(c.head) == 6 && c.left == 0 {
			c.head = c.head[:0]
		}
	}
	if err == nil && c.left > 0 && c.produce.Load() && take(&c.cutRequests) {
		_ = c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func (c *wireConn) Write(b []byte) (int, error) {
	if c.produce.Load() {
		c.mu.Lock()
		held := c.held
		c.mu.Unlock()
		if held != nil {
			<-held
		}
		if take(&c.loseAnswers) {
			_ = c.Close()
			return len(b), nil
		}
	}
	return c.Conn.Write(b)
}

// take decrements n and returns true if n is positive.
func take(n *atomic.Int32) bool {
	for {
		v := n.Load()
		if v <= 0 {
			return false
		}
		if n.CompareAndSwap(v, v-1) {
			return true
		}
	}
}

// counted returns the value of a counter or gauge.
func counted(t testing.TB, m prometheus.Metric) float64 {
	t.Helper()
	var v dto.Metric
	if err := m.Write(&v); err != nil {
		t.Fatal(err)
	}
	return v.GetCounter().GetValue() + v.GetGauge().GetValue()
}
