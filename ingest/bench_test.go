//go:build unix

package ingest_test

import (
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tollbridge/tollbridge/history"
	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/publish"
)

// BenchmarkWebhook is what a webhook costs the whole process, and a Kafka in
// it, without history and with it: cpu-ns/op are of all threads.
func BenchmarkWebhook(b *testing.B) {
	for name, remembers := range map[string]bool{"without history": false, "with history": true} {
		b.Run(name, func(b *testing.B) {
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
			if err != nil {
				b.Fatal(err)
			}
			defer cluster.Close()
			kafka := publish.Config{Brokers: cluster.ListenAddrs()}
			if _, err := (publish.Layout{Partitions: 4, Replication: 1}).Apply(b.Context(), kafka); err != nil {
				b.Fatal(err)
			}
			producer := publish.NewProducer(kafka)
			defer producer.Close()
			var known *history.History
			if remembers {
				if known, err = history.Open(b.Context(), history.Config{Dir: b.TempDir(), Kafka: kafka, Publisher: producer}); err != nil {
					b.Fatal(err)
				}
				defer known.Close()
				known.Await(b.Context(), 20*time.Second)
			}
			s := newBridge(b, func(c *ingest.Config) {
				c.Publisher, c.History, c.Deadline, c.Log = producer, known, time.Minute, zerolog.Nop()
			})
			requests := make(chan *http.Request, b.N)
			orders := b.N/len(chapters) + 1 // all are told of one chapter, then of the next
			for n := range b.N {
				requests <- signed(b, "stripe", delivery{n % orders, n / orders}.body())
			}
			close(requests)
			b.ResetTimer()
			before := spent(b)
			var callers sync.WaitGroup
			for range 32 {
				callers.Go(func() {
					for r := range requests {
						if a := s.do(r); a.StatusCode != http.StatusOK {
							b.Errorf("answered %s", a.Status)
						}
					}
				})
			}
			callers.Wait()
			b.ReportMetric(float64(spent(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// spent is the CPU time of the process so far.
func spent(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
