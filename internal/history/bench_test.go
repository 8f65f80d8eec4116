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
	"github.com/tollbridge/tollbridge/schemas"
)

var largest = flag.Int("largest", 1e6, "of how many references BenchmarkReferences makes its largest store")

// fetched is how many records the follower writes at once.
const fetched = 1000

// written returns a state on disk that follows nothing, and what has it follow
// n records.
func written(b *testing.B) (*History, func(n int, record func(i int) consume.Record)) {
	b.Helper()
	db, err := openStore(b.TempDir(), vfs.Default, meta{Version: storeVersion}, zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	if err := db.fill(b.Context()); err != nil {
		b.Fatal(err)
	}
	s := &History{newest: overlay[newest]{}, ends: overlay[ends]{}}
	s.store.Store(db)
	return s, func(n int, record func(i int) consume.Record) {
		for i := 0; i < n; {
			c := consume.Chunk{}
			for ; i < n && len(c.Records) < fetched; i++ {
				c.Records = append(c.Records, record(i))
			}
			if err := s.apply([]consume.Chunk{c}, nil); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// referenceKey is one of Stripe's size. Payments have no order that keys do.
func referenceKey(i int) string {
	return fmt.Sprintf("stripe::pi_%016x%08x", uint64(i)*0x9e3779b97f4a7c15, i)
}

func referenceRecord(i int) consume.Record {
	return consume.Record{Partition: consume.Partition{Topic: kafka.Names{}.References()}, Key: []byte(referenceKey(i)), Value: fmt.Appendf(nil, "order-%d", i)}
}

// BenchmarkReferences looks references up in stores of more and more of them.
func BenchmarkReferences(b *testing.B) {
	for n := 1000; n <= *largest; n *= 10 {
		b.Run(fmt.Sprintf("of %d", n), func(b *testing.B) {
			s, follow := written(b)
			start := time.Now()
			follow(n, referenceRecord)
			if err := s.stored().Flush(); err != nil {
				b.Fatal(err)
			}
			for s.stored().Metrics().Compact.NumInProgress > 0 {
				time.Sleep(100 * time.Millisecond)
			}
			perSecond := float64(n) / time.Since(start).Seconds()
			bytes := float64(s.stored().Metrics().DiskSpaceUsage()) / float64(n)
			for name, offset := range map[string]int{"hit": 0, "miss": n} {
				b.Run(name, func(b *testing.B) {
					for b.Loop() {
						merchant, err := s.stored().reference(referenceKey(offset + rand.IntN(n)))
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

// BenchmarkFollow writes events as the follower reads them, of payments that
// have some already.
func BenchmarkFollow(b *testing.B) {
	_, follow := written(b)
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
		follow(fetched, record)
		base += fetched
	}
	b.ReportMetric(float64(base)/b.Elapsed().Seconds(), "events/s")
}
