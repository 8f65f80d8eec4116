package publish

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

func TestPublish(t *testing.T) {
	for _, codec := range []kafkago.Compression{0, kafkago.Gzip, kafkago.Snappy, kafkago.Lz4, kafkago.Zstd} {
		t.Run(codec.String(), func(t *testing.T) {
			c := Config{Kafka: kafka.Config{Brokers: kafkatest.Fake(t).ListenAddrs()}, Compression: codec}
			p := start(t, c)
			records := []kafka.Record{
				{Topic: "a", Key: []byte("k"), Value: []byte("v"), Headers: []schemas.Header{{Name: "h", Value: "1"}, {Name: "empty"}, {Name: "h", Value: "2"}}},
				{Topic: "b", Key: []byte("other"), Value: []byte{}},
				{Topic: "a", Key: []byte("k"), Value: nil},
				{Topic: "a", Key: []byte("big"), Value: bytes.Repeat([]byte("0123456789"), 50_000)},
			}
			receipts, err := p.Publish(kafkatest.Within(t, 10*time.Second), records)
			if err != nil {
				t.Fatal(err)
			}
			found := map[kafka.Receipt]read{}
			for _, topic := range []string{"a", "b"} {
				for _, r := range readBack(t, c, topic, 3) {
					found[kafka.Receipt{Topic: r.topic, Partition: r.partition, Offset: r.offset}] = r
				}
			}
			if len(found) != len(records) {
				t.Errorf("found %d records, want %d", len(found), len(records))
			}
			for i, want := range records {
				got := found[receipts[i]]
				if !bytes.Equal(got.key, want.Key) || !bytes.Equal(got.value, want.Value) || (got.value == nil) != (want.Value == nil) {
					t.Errorf("record %d at %+v: got key %q and %d bytes, want %q and %d", i, receipts[i], got.key, len(got.value), want.Key, len(want.Value))
				}
				if len(got.headers) != len(want.Headers) {
					t.Fatalf("record %d has %d headers, want %d", i, len(got.headers), len(want.Headers))
				}
				for n, h := range want.Headers {
					if got.headers[n].Key != h.Name || string(got.headers[n].Value) != h.Value {
						t.Errorf("record %d, header %d: got %v, want %v", i, n, got.headers[n], h)
					}
				}
			}
		})
	}
}

func TestOrder(t *testing.T) {
	c := Config{Kafka: kafka.Config{Brokers: kafkatest.Fake(t, kfake.NumBrokers(3)).ListenAddrs()}}
	s := &senders{p: start(t, c), topics: []string{"a", "b"}, callers: 64, each: 30}
	s.run(t)
	s.conserved(t, c, 3)
}

// TestClose: Close leaves neither goroutines nor connections, and loses no record in
// flight.
func TestClose(t *testing.T) {
	cluster := kafkatest.Fake(t)
	before := runtime.NumGoroutine()
	c := Config{Kafka: kafka.Config{Brokers: cluster.ListenAddrs()}}
	p := NewProducer(c)
	if err := p.Ready(kafkatest.Within(t, 5*time.Second), []string{"a"}); err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	acked := make(chan string, 1000)
	for n := range 50 {
		calls.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprint(n, "-", i)
				_, err := p.Publish(context.Background(), []kafka.Record{{Topic: "a", Key: []byte(id), Value: []byte(id)}})
				if errors.Is(err, kafka.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
				}
				acked <- id
			}
		})
	}
	want := map[string]bool{}
	for range 200 {
		want[<-acked] = true
	}
	go func() { calls.Wait(); close(acked) }()
	closed := make(chan bool)
	go func() { p.Close(); close(closed) }()
	for id := range acked {
		want[id] = true
	}
	<-closed
	if got := readBack(t, c, "a", 3); len(got) != len(want) {
		t.Errorf("%d records acknowledged, %d written", len(want), len(got))
	}
	for end := time.Now().Add(3 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines before, %d after Close:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
		}
	}
	if _, err := p.Publish(context.Background(), []kafka.Record{{Topic: "a"}}); !errors.Is(err, kafka.ErrClosed) {
		t.Errorf("after Close: got %v, want %v", err, kafka.ErrClosed)
	}
}

func TestRefused(t *testing.T) {
	c := Config{Kafka: kafka.Config{Brokers: kafkatest.Fake(t).ListenAddrs()}, MaxBytes: 3 << 20}
	p := start(t, c)
	for _, test := range []struct {
		name string
		r    kafka.Record
		is   error
		text string
	}{
		{"no topic", kafka.Record{Topic: "nowhere", Key: []byte("k")}, kafka.ErrRefused, "topic nowhere does not exist"},
		{"too large", kafka.Record{Topic: "a", Key: []byte("k"), Value: make([]byte, 2<<20)}, kafka.ErrRefused, "a record of 2097"},
		{"all bytes", kafka.Record{Topic: "a", Key: []byte("k"), Value: make([]byte, 4<<20)}, kafka.ErrRefused, "max.message.bytes is 1048588"},
	} {
		t.Run(test.name, func(t *testing.T) {
			good := kafka.Record{Topic: "a", Key: []byte("k"), Value: []byte(test.name)}
			_, err := p.Publish(kafkatest.Within(t, 5*time.Second), []kafka.Record{good, test.r})
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want %v with %q", err, test.is, test.text)
			}
		})
	}
	if got := readBack(t, c, "a", 3); len(got) != 0 {
		t.Errorf("%d records written, want none: their calls are refused before sending", len(got))
	}
}

// TestTooLarge: if a topic does not accept some records of a call, the error names
// those records. The producer finds them before sending, or the broker refuses them.
// When the other records are published again, each is written once.
func TestTooLarge(t *testing.T) {
	for _, codec := range []kafkago.Compression{0, kafkago.Gzip} { // with compression the broker decides
		c := Config{Kafka: kafka.Config{Brokers: kafkatest.Fake(t).ListenAddrs()}, Compression: codec}
		p := start(t, c)
		if err := p.Ready(kafkatest.Within(t, time.Second), []string{"a"}); err != nil {
			t.Fatal(err)
		}
		noise := make([]byte, 2<<20)
		if _, err := rand.Read(noise); err != nil {
			t.Fatal(err)
		}
		records := []kafka.Record{
			{Topic: "a", ID: "1", Key: []byte("k"), Value: []byte("small")},
			{Topic: "a", ID: "2", Key: []byte("k"), Value: noise},
			{Topic: "a", ID: "3", Key: []byte("k"), Value: []byte("small, too")},
		}
		_, err := p.Publish(kafkatest.Within(t, 3*time.Second), records)
		var large *kafka.TooLarge
		if !errors.As(err, &large) || !errors.Is(err, kafka.ErrRefused) || !slices.Equal(large.Records, []int{1}) {
			t.Fatalf("compression %v: got %v (%+v), want the second refused as too large", codec, err, large)
		}
		receipts, err := p.Publish(kafkatest.Within(t, 3*time.Second), []kafka.Record{records[0], records[2]})
		if err != nil || receipts[0].Offset != 0 || receipts[1].Offset != 1 {
			t.Errorf("compression %v: the other records: %v, %v, want offsets 0 and 1", codec, receipts, err)
		}
	}
}
