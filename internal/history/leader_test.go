package history

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
)

// TestFormerLeaderLags: after the partitions moved to another leader, the former leader
// answers like a follower that no longer replicates. An event that another replica
// published since is known or refused, and never new.
func TestFormerLeaderLags(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	r := &rig{cluster: cluster, kafka: kafka.Config{Brokers: cluster.ListenAddrs()}}
	if _, err := (kafka.Layout{Partitions: 1, Replication: 1}).Apply(t.Context(), r.kafka); err != nil {
		t.Fatal(err)
	}
	moveTo := func(broker int32) {
		for _, topic := range r.names.All() {
			cluster.SetFollowers(topic, 0, []int32{0, 1})
			if err := cluster.MoveTopicPartition(topic, 0, broker); err != nil {
				t.Fatal(err)
			}
		}
	}
	var lags atomic.Bool // broker 0 answers as if no further record had been written
	cluster.ControlKey(int16(kmsg.Fetch), func(q kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if !lags.Load() || cluster.CurrentNode() != 0 {
			return nil, nil, false
		}
		answer := q.ResponseKind().(*kmsg.FetchResponse)
		answer.SessionID = q.(*kmsg.FetchRequest).SessionID
		return answer, nil, true
	})
	cluster.ControlKey(int16(kmsg.ListOffsets), func(q kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if !lags.Load() || cluster.CurrentNode() != 0 {
			return nil, nil, false
		}
		answer := q.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, topic := range q.(*kmsg.ListOffsetsRequest).Topics {
			of := kmsg.NewListOffsetsResponseTopic()
			of.Topic = topic.Topic
			for _, p := range topic.Partitions {
				end := kmsg.NewListOffsetsResponseTopicPartition()
				end.Partition, end.Offset = p.Partition, 0
				of.Partitions = append(of.Partitions, end)
			}
			answer.Topics = append(answer.Topics, of)
		}
		return answer, nil, true
	})
	moveTo(0)
	r.producer = publish.NewProducer(publish.Config{Kafka: r.kafka})
	t.Cleanup(r.producer.Close)
	h := r.openWith(t, Config{Publisher: r.producer, Log: zerolog.Nop()})
	defer h.Close()
	time.Sleep(kafka.LeaderCheckInterval) // by now the follower reads from broker 0
	moveTo(1)
	lags.Store(true)
	time.Sleep(2 * kafka.FetchMaxWait) // by now the fetches that broker 0 held are answered

	e := event("captured", "pi_1", "order-1", schemas.PaymentCaptured, 1)
	other := publish.NewProducer(publish.Config{Kafka: r.kafka}) // the other replica
	t.Cleanup(other.Close)
	record, err := kafka.EventRecord(r.names, e, "")
	if err != nil {
		t.Fatal(err)
	}
	at, err := other.Publish(t.Context(), []kafka.Record{record})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second) // longer than [kafka.MaxStaleness]
	a, err := h.AdmitWhenFresh(t.Context(), []schemas.Event{e})
	if err != nil {
		t.Logf("refused: %v", err)
		return
	}
	defer a.Forget()
	if len(a.Events) != 0 || a.Known[e.ID].Receipt != at[0] {
		t.Errorf("%d new events, known %v; want the other replica's receipt, %v", len(a.Events), a.Known, at[0])
	}
}
