package consume_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
)

const topic = "payment.captured"

// rig starts a fake Kafka with the topics, and n records with ten keys in one of them.
func rig(t *testing.T, n int) (*kfake.Cluster, kafka.Config) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	c := kafka.Config{Brokers: cluster.ListenAddrs()}
	if _, err := (kafka.Layout{Partitions: 3, Replication: 1}).Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	write(t, c, 0, n)
	return cluster, c
}

func write(t *testing.T, c kafka.Config, from, to int) {
	t.Helper()
	p := publish.NewProducer(publish.Config{Kafka: c})
	defer p.Close()
	for i := from; i < to; i++ {
		key := fmt.Sprint("order-", i%10)
		r := kafka.Record{Topic: topic, Key: []byte(key), Value: fmt.Append(nil, i), Headers: []schemas.Header{{Name: "n", Value: fmt.Sprint(i)}}}
		if _, err := p.Publish(t.Context(), []kafka.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
}

// collect returns a handler that counts the values it gets, and checks the order of
// offsets in each partition.
func collect(t *testing.T, into map[string]int) func([]consume.Chunk) error {
	last := map[consume.Partition]int64{}
	return func(chunks []consume.Chunk) error {
		for _, c := range chunks {
			for _, r := range c.Records {
				if before, ok := last[c.Partition]; ok && r.Offset != before+1 {
					t.Errorf("%v: offset %d came after %d", c.Partition, r.Offset, before)
				}
				if last[c.Partition] = r.Offset; r.Header("n") != string(r.Value) {
					t.Errorf("the record %s has the header %q", r.Value, r.Header("n"))
				}
				into[string(r.Value)]++
			}
		}
		return nil
	}
}

// there returns the current ranges of the topic's partitions.
func there(t *testing.T, r *consume.Reader) map[consume.Partition]consume.Range {
	t.Helper()
	partitions, err := r.Partitions(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	ranges, err := r.Bounds(t.Context(), partitions)
	if err != nil {
		t.Fatal(err)
	}
	return ranges
}

func TestRead(t *testing.T) {
	_, c := rig(t, 200)
	r := consume.New(c)
	defer r.Close()
	partitions, err := r.Partitions(t.Context(), topic)
	if err != nil || len(partitions) != 3 {
		t.Fatalf("%v, %v, want three partitions", partitions, err)
	}
	ranges, err := r.Bounds(t.Context(), partitions)
	if err != nil {
		t.Fatal(err)
	}
	write(t, c, 200, 210) // after the end of the ranges
	got := map[string]int{}
	if err := r.Read(t.Context(), ranges, collect(t, got)); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if got[fmt.Sprint(i)] != 1 {
			t.Errorf("record %d was read %d times", i, got[fmt.Sprint(i)])
		}
	}
	if len(got) != 200 {
		t.Errorf("%d records, want the 200 of the ranges", len(got))
	}
	if _, err := r.Partitions(t.Context(), "not.there"); err == nil {
		t.Error("want an error for a topic that does not exist")
	}
}

// TestAnswers: a response has a limited number of small batches of one record each.
// Each batch takes 64 KiB of memory until it is decoded.
func TestAnswers(t *testing.T) {
	const all, most = 20_000, 7000 // records
	_, c := rig(t, all)
	r := consume.New(c)
	defer r.Close()
	ranges := there(t, r)
	got := 0
	if err := r.Read(t.Context(), ranges, func(chunks []consume.Chunk) error {
		n := 0
		for _, c := range chunks {
			n += len(c.Records)
		}
		if got += n; n > most {
			t.Errorf("%d records in one response, want %d at most", n, most)
		}
		return nil
	}); err != nil || got != all {
		t.Errorf("%d of %d records, %v", got, all, err)
	}
}

// TestForever: records that are written later are read, until the context is done.
func TestForever(t *testing.T) {
	_, c := rig(t, 5)
	r := consume.New(c)
	defer r.Close()
	ranges := everything(t, r)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got := map[string]int{}
	add := collect(t, got)
	later := false
	err := r.Read(ctx, ranges, func(chunks []consume.Chunk) error {
		if err := add(chunks); err != nil {
			return err
		}
		if len(got) == 5 && !later {
			later = true
			write(t, c, 5, 10)
		}
		if len(got) == 10 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || len(got) != 10 {
		t.Errorf("%v after %d records, want 10 records and the context's error", err, len(got))
	}
}

// TestSince: reading begins at a given time; from a time in the future there are no
// records.
func TestSince(t *testing.T) {
	_, c := rig(t, 20)
	r := consume.New(c)
	defer r.Close()
	partitions, err := r.Partitions(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		at   time.Time
		want int
	}{{time.Now().Add(-time.Hour), 20}, {time.Now().Add(time.Hour), 0}} {
		ranges, err := r.Since(t.Context(), partitions, s.at)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		if err := r.Read(t.Context(), ranges, collect(t, got)); err != nil || len(got) != s.want {
			t.Errorf("since %s: %v, %d records, want %d", s.at, err, len(got), s.want)
		}
	}
}

// TestGet: records are found by their receipts; receipts without a record are left out.
// Records that are near to each other are read together.
func TestGet(t *testing.T) {
	cluster, c := rig(t, 20)
	r := consume.New(c)
	defer r.Close()
	ranges := there(t, r)
	var at []kafka.Receipt
	for p, g := range ranges {
		for offset := g.From - 1; offset <= g.To; offset++ { // including one offset before the range and one after it
			at = append(at, kafka.Receipt{Topic: p.Topic, Partition: p.Number, Offset: offset})
		}
	}
	var fetches atomic.Int64
	cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		fetches.Add(1)
		return nil, nil, false
	})
	slices.SortFunc(at, func(a, b kafka.Receipt) int { return cmp.Compare(b.Offset, a.Offset) })
	found, err := r.Get(t.Context(), at)
	if n := fetches.Load(); n > 6 {
		t.Errorf("%d requests for the records of 3 partitions, want at most 2 for each", n)
	}
	if err != nil || len(found) != 20 {
		t.Fatalf("%d records, %v, want the 20 of the topic", len(found), err)
	}
	for a, record := range found {
		if record.Receipt() != a || record.Header("n") != string(record.Value) {
			t.Errorf("the record at %+v is %+v", a, record)
		}
	}
	some := at[:0]
	for a := range found {
		if a.Offset%2 == 0 {
			some = append(some, a)
		}
	}
	if found, err := r.Get(t.Context(), some); err != nil || len(found) != len(some) {
		t.Errorf("%d records, %v, want only the %d that were asked for", len(found), err, len(some))
	}
	if found, err := r.Get(t.Context(), nil); err != nil || len(found) != 0 {
		t.Errorf("no receipts: %v, %v, want no records and no error", found, err)
	}
}

// TestGetFar: records of one partition that are far from each other are found, too.
func TestGetFar(t *testing.T) {
	_, c := rig(t, 0)
	p := publish.NewProducer(publish.Config{Kafka: c})
	defer p.Close()
	var records []kafka.Record
	for n := range 60 {
		records = append(records, kafka.Record{Topic: topic, Key: []byte("order"), Value: fmt.Append(nil, n)})
	}
	at, err := p.Publish(t.Context(), records)
	if err != nil {
		t.Fatal(err)
	}
	r := consume.New(c)
	defer r.Close()
	found, err := r.Get(t.Context(), []kafka.Receipt{at[0], at[20], at[50]})
	if err != nil || len(found) != 3 {
		t.Fatalf("%d records, %v, want 3", len(found), err)
	}
	for _, n := range []int{0, 20, 50} {
		if got := string(found[at[n]].Value); got != fmt.Sprint(n) {
			t.Errorf("the record at %+v is %q, want %d", at[n], got, n)
		}
	}
}

// TestEnds: reading ends with the handler's error, or when no broker answers any more.
func TestEnds(t *testing.T) {
	cluster, c := rig(t, 10)
	r := consume.New(c)
	defer r.Close()
	ranges := there(t, r)
	enough := errors.New("enough")
	if err := r.Read(t.Context(), ranges, func([]consume.Chunk) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("%v, want the caller's error", err)
	}
	cluster.Close()
	r.GiveUpAfter = 100 * time.Millisecond
	if err := r.Read(t.Context(), ranges, func([]consume.Chunk) error { return nil }); err == nil {
		t.Error("want an error when no broker answers")
	}
}
