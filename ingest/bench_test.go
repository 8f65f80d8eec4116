//go:build unix

package ingest_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/verify"
)

// BenchmarkWebhook measures the CPU time of the whole process for a webhook, with a
// fake Kafka in the same process, without and with history. cpu-ns/op counts all
// threads.
func BenchmarkWebhook(b *testing.B) {
	for name, remembers := range map[string]bool{"without history": false, "with history": true} {
		b.Run(name, func(b *testing.B) {
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
			if err != nil {
				b.Fatal(err)
			}
			defer cluster.Close()
			at := kafka.Config{Brokers: cluster.ListenAddrs()}
			if _, err := (kafka.Layout{Partitions: 4, Replication: 1}).Apply(b.Context(), at); err != nil {
				b.Fatal(err)
			}
			producer := publish.NewProducer(publish.Config{Kafka: at})
			defer producer.Close()
			var known *history.History
			if remembers {
				if known, err = history.Open(b.Context(), history.Config{Dir: b.TempDir(), Kafka: at, Publisher: producer}); err != nil {
					b.Fatal(err)
				}
				defer known.Close()
				known.Await(b.Context(), 20*time.Second)
			}
			s := newBridge(b, func(c *ingest.Config) {
				c.Publisher, c.History, c.Deadline, c.Log = producer, known, time.Minute, zerolog.Nop()
			})
			requests := make(chan *http.Request, b.N)
			orders := b.N/len(chapters) + 1 // all orders get a webhook of one chapter, then all get one of the next
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

// BenchmarkEndpoints measures a webhook up to the call to Kafka, at servers with one
// endpoint, with eight, and with one for every connector. The servers take turns and
// the median counts, so that other load on the machine affects all of them alike: the
// ratios say what further endpoints cost.
func BenchmarkEndpoints(b *testing.B) {
	counts := []int{1, 8, len(verify.Connectors())}
	servers := make([]*bridge, len(counts))
	for i, n := range counts {
		servers[i] = newBridge(b, func(c *ingest.Config) {
			at := stripeAt(c)
			c.Endpoints[0], c.Endpoints[at] = c.Endpoints[at], c.Endpoints[0]
			c.Endpoints, c.Log = c.Endpoints[:n], zerolog.Nop()
			c.Publisher = publisher(func(_ context.Context, r []kafka.Record) ([]kafka.Receipt, error) {
				return make([]kafka.Receipt, len(r)), nil
			})
		})
	}
	took := make([][]time.Duration, len(counts))
	body := captured(b)
	for n := range b.N {
		for turn := range servers {
			i := (n + turn) % len(servers) // no server is always first
			r := signed(b, "stripe", body)
			start := time.Now()
			a := servers[i].do(r)
			took[i] = append(took[i], time.Since(start))
			if a.StatusCode != http.StatusOK {
				b.Fatalf("%d endpoints: answered %s", counts[i], a.Status)
			}
		}
	}
	b.ReportMetric(0, "ns/op") // this would be the time of all three servers, and of making the requests
	median := func(i int) float64 {
		slices.Sort(took[i])
		return float64(took[i][len(took[i])/2])
	}
	one := median(0)
	b.ReportMetric(one, "ns/webhook")
	for i, n := range counts[1:] {
		b.ReportMetric(median(i+1)/one, fmt.Sprintf("times-with-%d", n))
	}
}

// spent returns the CPU time that the process has used.
func spent(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
