package consume_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
)

// everything returns the ranges of the topic's partitions from their beginning, without
// an end.
func everything(t *testing.T, r *consume.Reader) map[consume.Partition]consume.Range {
	t.Helper()
	partitions, err := r.Partitions(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	ranges := map[consume.Partition]consume.Range{}
	for _, p := range partitions {
		ranges[p] = consume.Range{To: consume.Forever}
	}
	return ranges
}

// eventually waits until a condition is true, and fails the test after atMost.
func eventually(t *testing.T, atMost time.Duration, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(atMost); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %[2]s: %[1]s", what, atMost)
		}
	}
}

// TestCurrent: FreshAsOf advances while the leader answers, and stops while it does
// not. When the leader answers again, FreshAsOf advances only after
// [kafka.QuietPeriod].
func TestCurrent(t *testing.T) {
	cluster, c := rig(t, 30)
	var hangs atomic.Bool
	cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		cluster.SleepControl(func() {
			for hangs.Load() {
				time.Sleep(time.Millisecond)
			}
		})
		return nil, nil, false
	})
	r := consume.New(c)
	defer r.Close()
	var read atomic.Int64
	ranges := everything(t, r)
	reading := r.NewConsumer(ranges, func(chunks []consume.Chunk) error {
		for _, c := range chunks {
			read.Add(int64(len(c.Records)))
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = reading.Run(ctx) })
	defer running.Wait()
	defer cancel()
	fresh := func() bool {
		for p := range ranges {
			if time.Since(reading.FreshAsOf(p)) > kafka.MaxStaleness {
				return false
			}
		}
		return true
	}
	eventually(t, 10*time.Second, "everything is read and fresh", func() bool { return read.Load() == 30 && fresh() })
	for end := time.Now().Add(2 * kafka.MaxStaleness); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if !fresh() {
			t.Fatal("the view is stale while its leaders answer")
		}
	}
	hangs.Store(true)
	eventually(t, 10*time.Second, "stale while the leaders hang", func() bool { return !fresh() })
	var stood time.Time
	for p := range ranges {
		stood = reading.FreshAsOf(p)
	}
	write(t, c, 30, 35)
	time.Sleep(kafka.MaxStaleness / 2)
	answers := time.Now()
	hangs.Store(false)
	eventually(t, 10*time.Second, "the records written meanwhile are read", func() bool { return read.Load() == 35 })
	eventually(t, 10*time.Second, "fresh again", fresh)
	if took := time.Since(answers); took < kafka.QuietPeriod {
		t.Errorf("fresh %s after the leaders answered again, want at least %s; before that it was fresh as of %s", took, kafka.QuietPeriod, stood)
	}
}

// TestKnown: offsets that the caller knows are skipped, in whichever order it returns
// them.
func TestKnown(t *testing.T) {
	_, c := rig(t, 0)
	p := publish.NewProducer(publish.Config{Kafka: c})
	defer p.Close()
	var ours []kafka.Receipt
	var theirs []string
	for i := range 60 {
		value := fmt.Sprint(i)
		at, err := p.Publish(t.Context(), []kafka.Record{{Topic: topic, Key: []byte("order-1"), Value: []byte(value), Headers: []schemas.Header{{Name: "n", Value: value}}}})
		if err != nil {
			t.Fatal(err)
		}
		if i < 20 || i >= 30 {
			ours = append([]kafka.Receipt{at[0]}, ours...)
		} else {
			theirs = append(theirs, value)
		}
	}
	r := consume.New(c)
	defer r.Close()
	got, next := map[string]int{}, int64(0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reading := r.NewConsumer(everything(t, r), func(chunks []consume.Chunk) error {
		for _, c := range chunks {
			for _, record := range c.Records {
				got[string(record.Value)]++
			}
			if next = max(next, c.Next); next == 60 {
				cancel()
			}
		}
		return nil
	})
	reading.KnownOffsets = func() map[consume.Partition][]int64 {
		all := map[consume.Partition][]int64{}
		for _, at := range ours {
			p := consume.Partition{Topic: at.Topic, Number: at.Partition}
			all[p] = append(all[p], at.Offset)
		}
		ours = nil
		return all
	}
	timer := time.AfterFunc(20*time.Second, cancel)
	defer timer.Stop()
	_ = reading.Run(ctx)
	if next != 60 || len(got) < len(theirs) {
		t.Fatalf("read up to %d with %d records, want up to 60 with at least %d records", next, len(got), len(theirs))
	}
	for _, value := range theirs {
		if got[value] != 1 {
			t.Errorf("record %s was read %d times", value, got[value])
		}
	}
	for i := range 20 {
		if got[fmt.Sprint(i)] != 0 {
			t.Errorf("record %d was read, though the caller knows it", i)
		}
	}
}

// TestSkip: a record that the caller has published counts as read at once if all records
// before it are read. Otherwise those are fetched at once.
func TestSkip(t *testing.T) {
	_, c := rig(t, 0)
	p := publish.NewProducer(publish.Config{Kafka: c})
	defer p.Close()
	write := func(value string) kafka.Receipt {
		at, err := p.Publish(t.Context(), []kafka.Record{{Topic: topic, Key: []byte("order-1"), Value: []byte(value)}})
		if err != nil {
			t.Fatal(err)
		}
		return at[0]
	}
	r := consume.New(c)
	defer r.Close()
	r = r.Slowed(time.Hour) // the next fetch does not come by itself
	var mu sync.Mutex
	var read []string
	var next int64
	partition := consume.Partition{Topic: topic, Number: write("first").Partition}
	reading := r.NewConsumer(everything(t, r), func(chunks []consume.Chunk) error {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range chunks {
			for _, record := range c.Records {
				read = append(read, string(record.Value))
			}
			if c.Partition == partition {
				next = max(next, c.Next)
			}
		}
		return nil
	})
	isRead := func(upTo int64, want ...string) bool {
		mu.Lock()
		defer mu.Unlock()
		return next == upTo && slices.Equal(read, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = reading.Run(ctx) })
	defer running.Wait()
	defer cancel()
	eventually(t, 10*time.Second, "the first record is read", func() bool { return isRead(1, "first") })

	for range 3 {
		reading.Skip(partition, write("own").Offset)
	}
	if !isRead(4, "first") {
		t.Errorf("read up to %d: %q; want up to 4, without the own records", next, read)
	}
	write("another's")
	a, b := write("own").Offset, write("own").Offset
	reading.Skip(partition, b) // acknowledgements may come in any order
	reading.Skip(partition, a)
	eventually(t, 10*time.Second, "the record before the own ones is read", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return next == 7 && slices.Contains(read, "another's")
	})
	reading.Skip(partition, a) // has no effect
	cancel()
	running.Wait()
	reading.Skip(partition, 7)
	if next != 7 {
		t.Errorf("the handler was called after the end")
	}
}

// TestNotDebugging: if Kafka refuses the debugging replica id, the consumer asks for
// end offsets as a consumer.
func TestNotDebugging(t *testing.T) {
	cluster, c := rig(t, 10)
	var refused atomic.Int64
	cluster.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		q := r.(*kmsg.ListOffsetsRequest)
		if q.ReplicaID != -2 {
			return nil, nil, false
		}
		refused.Add(1)
		answer := q.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, t := range q.Topics {
			to := kmsg.NewListOffsetsResponseTopic()
			to.Topic = t.Topic
			for _, p := range t.Partitions {
				of := kmsg.NewListOffsetsResponseTopicPartition()
				of.Partition, of.ErrorCode = p.Partition, 42 // INVALID_REQUEST
				to.Partitions = append(to.Partitions, of)
			}
			answer.Topics = append(answer.Topics, to)
		}
		return answer, nil, true
	})
	r := consume.New(c)
	defer r.Close()
	ranges := everything(t, r)
	reading := r.NewConsumer(ranges, func([]consume.Chunk) error { return nil })
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = reading.Run(ctx) })
	defer running.Wait()
	defer cancel()
	eventually(t, 10*time.Second, "fresh", func() bool {
		for p := range ranges {
			if reading.FreshAsOf(p).IsZero() {
				return false
			}
		}
		return true
	})
	if refused.Load() == 0 {
		t.Error("no request had the debugging replica id")
	}
}
