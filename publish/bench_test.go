package publish

import (
	"context"
	"fmt"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// BenchmarkPublish measures callers that publish records of 1 KiB, each one after the
// other, to a fake Kafka in the same process. The fake's cost is in the figures.
func BenchmarkPublish(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			p := start(b, Config{Kafka: kafka.Config{Brokers: kafkatest.Fake(b, kfake.BlackholeProduce()).ListenAddrs()}})
			if err := p.Ready(kafkatest.Within(b, 5*time.Second), []string{"a"}); err != nil {
				b.Fatal(err)
			}
			value := make([]byte, 1024)
			var caller atomic.Int64
			b.SetParallelism(max(1, callers/2)) // is multiplied by GOMAXPROCS
			b.ReportAllocs()
			b.ResetTimer()
			one := func(key []byte) {
				ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
				if _, err := p.Publish(ctx, []kafka.Record{{Topic: "a", ID: "id", Key: key, Value: value}}); err != nil {
					b.Error(err)
				}
				cancel()
			}
			if callers == 1 {
				for b.Loop() {
					one([]byte("k"))
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				key := fmt.Append(nil, caller.Add(1))
				for pb.Next() {
					one(key)
				}
			})
		})
	}
}
