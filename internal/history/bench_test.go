package history

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/once"
	"github.com/tollbridge/tollbridge/schemas"
)

var largest = flag.Int("largest", 1e6, "number of references in the largest store of BenchmarkReferences")

// batchRecords is the number of records that the follower writes at once.
const batchRecords = 1000

// newStore returns a state on disk without a follower, and a function that applies n
// records to it as a follower would.
func newStore(b *testing.B) (*History, func(n int, record func(i int) consume.Record)) {
	b.Helper()
	db, err := openStore(b.TempDir(), vfs.Default, origin{Version: storeVersion}, zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	if err := db.fillFilter(b.Context()); err != nil {
		b.Fatal(err)
	}
	s := &History{local: newLocal(), confirmed: make(chan struct{})}
	s.store.Store(db)
	return s, func(n int, record func(i int) consume.Record) {
		for i := 0; i < n; {
			c := consume.Chunk{}
			for ; i < n && len(c.Records) < batchRecords; i++ {
				c.Records = append(c.Records, record(i))
			}
			if err := s.apply([]consume.Chunk{c}, nil); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// referenceKey returns a key as long as Stripe's. Keys of successive payments are in
// no order.
func referenceKey(i int) string {
	return fmt.Sprintf("stripe::pi_%016x%08x", uint64(i)*0x9e3779b97f4a7c15, i)
}

func referenceRecord(i int) consume.Record {
	return consume.Record{Partition: consume.Partition{Topic: kafka.Names{}.References()}, Key: []byte(referenceKey(i)), Value: fmt.Appendf(nil, "order-%d", i)}
}

// BenchmarkReferences measures look-ups in stores of different sizes.
func BenchmarkReferences(b *testing.B) {
	for n := 1000; n <= *largest; n *= 10 {
		b.Run(fmt.Sprintf("of %d", n), func(b *testing.B) {
			s, follow := newStore(b)
			start := time.Now()
			follow(n, referenceRecord)
			if err := s.currentStore().Flush(); err != nil {
				b.Fatal(err)
			}
			for s.currentStore().Metrics().Compact.NumInProgress > 0 {
				time.Sleep(100 * time.Millisecond)
			}
			perSecond := float64(n) / time.Since(start).Seconds()
			bytes := float64(s.currentStore().Metrics().DiskSpaceUsage()) / float64(n)
			for name, offset := range map[string]int{"hit": 0, "miss": n} {
				b.Run(name, func(b *testing.B) {
					for b.Loop() {
						merchant, err := s.currentStore().reference(referenceKey(offset + rand.IntN(n)))
						if err != nil || (merchant != "") != (offset == 0) {
							b.Fatalf("%q, %v", merchant, err)
						}
					}
					b.ReportMetric(perSecond, "written/s")
					b.ReportMetric(bytes, "B/reference")
				})
			}
		})
	}
}

// BenchmarkAdmit measures the look-ups of a new event, and what its publication changes in
// memory: all that an admission does without Kafka.
func BenchmarkAdmit(b *testing.B) {
	h, follow := newStore(b)
	follow(batchRecords, referenceRecord)
	reader := consume.New(kafka.Config{})
	defer reader.Close()
	h.Config.Names, h.claims = kafka.Names{}, newClaims(kafka.Config{}, once.Rules{})
	defer h.claims.reader.Close()
	h.pending, h.metrics = map[string]*Admission{}, newMetrics(nil, h)
	h.contents.most = generationEvents
	f := &follower{Consumer: reader.NewConsumer(nil, nil), partitions: map[string]int{h.Names.Event(schemas.PaymentCaptured): 6}}
	f.caughtUp.Store(true)
	h.follower.Store(f)
	h.ready.Store(true)
	h.claims.ready.Store(true)
	events := make([]schemas.Event, 1)
	receipts := []kafka.Receipt{{Topic: h.Names.Event(schemas.PaymentCaptured)}}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if f.started = time.Now(); n%batchRecords == 0 {
			h.local = newLocal() // as if the store had it
		}
		events[0] = event(fmt.Sprintf("%08x-0000-5000-8000-%012x", n, n), fmt.Sprint("pi_", n), fmt.Sprint("order-", n), schemas.PaymentCaptured, n)
		a, _, err := h.lookUp(b.Context(), events, nil, nil)
		if err != nil || len(a.Events) != 1 || !h.markAgain(a) {
			b.Fatal(err)
		}
		a.Done(receipts, make([]kafka.Receipt, len(a.References)))
	}
}

// BenchmarkFollow measures how fast the follower stores events of payments that have
// earlier events.
func BenchmarkFollow(b *testing.B) {
	_, follow := newStore(b)
	types := []schemas.Type{schemas.PaymentProcessing, schemas.PaymentAuthorized, schemas.PaymentCaptured, schemas.RefundPending}
	base := 0
	record := func(i int) consume.Record {
		i += base
		typ := types[i%len(types)]
		e := event(fmt.Sprintf("%08x-0000-5000-8000-%012x", i, i), fmt.Sprint("pi_", i/4), fmt.Sprint("order-", i/4), typ, i)
		value, err := json.Marshal(e)
		if err != nil {
			b.Fatal(err)
		}
		header := func(name, value string) schemas.Header { return schemas.Header{Name: name, Value: value} }
		return consume.Record{
			Partition: consume.Partition{Topic: kafka.Names{}.Event(typ)}, Offset: int64(i), Time: began, Key: []byte(e.Subject), Value: value,
			Headers: []schemas.Header{
				header(schemas.HeaderEventID, e.ID), header(schemas.HeaderEventTime, e.Time.Format(time.RFC3339Nano)),
				header(schemas.HeaderKeySource, string(e.Data.KeySource)),
			},
		}
	}
	for b.Loop() {
		follow(batchRecords, record)
		base += batchRecords
	}
	b.ReportMetric(float64(base)/b.Elapsed().Seconds(), "events/s")
}
