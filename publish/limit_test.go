package publish

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
)

// TestNotAfter: a record with a time limit is not sent later. Its caller learns whether
// it may have been written, and records without a limit that wait with it are written.
func TestNotAfter(t *testing.T) {
	for _, test := range []struct {
		name         string
		answer       *kerr.Error
		maybeWritten bool
	}{
		{"not written", kerr.NotEnoughReplicas, false},
		{"outcome unknown", kerr.RequestTimedOut, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			cluster := kafkatest.Fake(t)
			c := Config{Kafka: kafka.Config{Brokers: cluster.ListenAddrs()}, Patience: 20 * time.Second}
			p := start(t, c)
			p.SetLogReader(emptyLog{})
			var mu sync.Mutex
			var last time.Time // request with the record
			failing := true
			cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				mu.Lock()
				defer mu.Unlock()
				if !failing {
					return nil, nil, false
				}
				last = time.Now()
				return refusal(r.(*kmsg.ProduceRequest), test.answer), nil, true
			})
			const limit = 400 * time.Millisecond
			began := time.Now()
			_, err := p.Publish(kafkatest.Within(t, 10*time.Second), []kafka.Record{{Topic: "a", ID: "late", Key: []byte("k"), NotAfter: kafka.Clock() + limit}})
			if !errors.Is(err, kafka.ErrUnavailable) || errors.Is(err, kafka.ErrMaybeWritten) != test.maybeWritten {
				t.Errorf("%v: want that Kafka is unavailable, and that the record may be written: %t", err, test.maybeWritten)
			}
			if took := time.Since(began); took < limit || took > 5*time.Second {
				t.Errorf("refused after %s, want about %s", took, limit)
			}
			mu.Lock()
			if after := last.Sub(began); after > limit+100*time.Millisecond {
				t.Errorf("sent %s after the beginning, and the limit is %s", after, limit)
			}
			failing = false
			mu.Unlock()
			if _, err := p.Publish(kafkatest.Within(t, 10*time.Second), []kafka.Record{{Topic: "a", ID: "other", Key: []byte("k"), Value: []byte("other")}}); err != nil {
				t.Fatal(err)
			}
			if all := readBack(t, c, "a", 3); len(all) != 1 || string(all[0].value) != "other" {
				t.Errorf("%d records, want only the other one", len(all))
			}
		})
	}
}

// emptyLog is a log reader that finds no record, and knows it at once.
type emptyLog struct{}

func (emptyLog) Follows(string) bool { return true }
func (emptyLog) Written(string, int, time.Time, []string) (map[string]kafka.Receipt, bool) {
	return nil, true
}

// refusal returns an answer with an error code for every partition of a request.
func refusal(q *kmsg.ProduceRequest, e *kerr.Error) kmsg.Response {
	answer := q.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range q.Topics {
		to := kmsg.NewProduceResponseTopic()
		to.Topic, to.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			of := kmsg.NewProduceResponseTopicPartition()
			of.Partition, of.ErrorCode = p.Partition, e.Code
			to.Partitions = append(to.Partitions, of)
		}
		answer.Topics = append(answer.Topics, to)
	}
	return answer
}
