package publish

import (
	"encoding/json"
	"errors"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// answersMetadata replaces the partitions of each requested topic in the cluster's
// metadata responses with list(topic); nil leaves the topic out.
func answersMetadata(t *testing.T, c *kfake.Cluster, list func(topic string) *kmsg.MetadataResponseTopic) {
	t.Helper()
	at := netip.MustParseAddrPort(c.ListenAddrs()[0])
	c.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		q := r.(*kmsg.MetadataRequest)
		answer := q.ResponseKind().(*kmsg.MetadataResponse)
		answer.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 0, Host: at.Addr().String(), Port: int32(at.Port())}}
		names := append(kafka.Names{}.All(), "a", "b") // the request is for all topics
		if q.Topics != nil {
			names = nil
			for _, topic := range q.Topics {
				names = append(names, *topic.Topic)
			}
		}
		for _, name := range names {
			if of := list(name); of != nil {
				same := *of
				same.Topic = &name
				answer.Topics = append(answer.Topics, same)
			}
		}
		return answer, nil, true
	})
}

// listed returns a topic with these partition numbers, all led by broker 0.
func listed(numbers ...int32) *kmsg.MetadataResponseTopic {
	t := &kmsg.MetadataResponseTopic{}
	for _, n := range numbers {
		t.Partitions = append(t.Partitions, kmsg.MetadataResponseTopicPartition{Partition: n, Replicas: []int32{0}, ISR: []int32{0}})
	}
	return t
}

// TestOddMetadata: if the brokers' metadata of a topic is wrong, publishing, readiness
// and the plan return an error that says what is wrong. They work again once the
// metadata is right.
func TestOddMetadata(t *testing.T) {
	leaderless := listed(0, 1, 2)
	for i := range leaderless.Partitions {
		leaderless.Partitions[i].Leader = 7 // no broker has this id
	}
	none := listed(0, 1, 2)
	for i := range none.Partitions {
		none.Partitions[i].Leader, none.Partitions[i].ErrorCode = -1, 5
	}
	failed := &kmsg.MetadataResponseTopic{ErrorCode: 29}
	for _, test := range []struct {
		name    string
		of      *kmsg.MetadataResponseTopic
		text    string
		planned bool // the plan does not check this
	}{
		{"topic left out", nil, "leaves it out", false},
		{"no partitions", listed(), "lists no partition", false},
		{"gap", listed(0, 2), "lists the partitions [0 2], expected 0 to 1, each once", false},
		{"begins at one", listed(1, 2, 3), "lists the partitions [1 2 3]", false},
		{"one twice", listed(0, 0, 1), "lists the partitions [0 0 1]", false},
		{"negative", listed(-1, 0, 1), "lists the partitions [-1 0 1]", false},
		{"far away", listed(0, 1, 1<<31-1), "expected 0 to 2", false},
		{"unknown leader", leaderless, "Leader Not Available", true},
		{"no leader", none, "Leader Not Available", true},
		{"not allowed", failed, "Topic Authorization Failed", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cluster := kafkatest.Fake(t)
			c := Config{Kafka: kafka.Config{Brokers: cluster.ListenAddrs()}, Patience: 200 * time.Millisecond}
			l := kafka.Layout{Partitions: 3, Replication: 1}
			if _, err := l.Apply(kafkatest.Within(t, 10*time.Second), c.Kafka); err != nil {
				t.Fatal(err)
			}
			var odd atomic.Bool
			odd.Store(true)
			answersMetadata(t, cluster, func(string) *kmsg.MetadataResponseTopic {
				if odd.Load() {
					return test.of
				}
				return listed(2, 0, 1) // the order of partitions does not matter
			})
			r := []kafka.Record{{Topic: "a", ID: "1", Key: []byte("k"), Value: []byte("v")}}
			p := start(t, c)
			if _, err := p.Publish(kafkatest.Within(t, 2*time.Second), r); !errors.Is(err, kafka.ErrUnavailable) || test.name != "no leader" && test.name != "unknown leader" && !strings.Contains(err.Error(), test.text) {
				t.Errorf("publish: got %v, want %v with %q", err, kafka.ErrUnavailable, test.text)
			}
			if err := p.Ready(kafkatest.Within(t, 2*time.Second), []string{"a"}); !errors.Is(err, kafka.ErrUnavailable) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("ready: got %v, want %v with %q", err, kafka.ErrUnavailable, test.text)
			}
			_, err := l.Plan(kafkatest.Within(t, 10*time.Second), c.Kafka)
			if test.planned != (err == nil) || err != nil && !strings.Contains(err.Error(), test.text) {
				t.Errorf("plan: got %v, want an error with %q: %v", err, test.text, !test.planned)
			}
			odd.Store(false)
			eventually(t, p, r)
			odd.Store(true) // also for a producer that knows the topic already
			time.Sleep(2 * kafka.MetadataMinInterval)
			p.cluster.triggerRefresh()
			if err := p.Ready(kafkatest.Within(t, 2*time.Second), []string{"a"}); err == nil {
				t.Error("ready, though the metadata is wrong")
			}
			odd.Store(false)
			r[0].ID = "2"
			eventually(t, p, r)
			if got := readBack(t, c, "a", 3); len(got) != 2 {
				t.Errorf("%d records written, want 2", len(got))
			}
		})
	}
}

// FuzzMetadata applies lists of topics and partitions, one after the other. A topic
// that has partitions must have each number once, and a topic that is wrong in the last
// list must have an error.
func FuzzMetadata(f *testing.F) {
	for _, text := range []string{
		`[[{"Name":"a","Partitions":[{"PartitionIndex":0},{"PartitionIndex":2}]}]]`,
		`[[{"Name":"a","Partitions":[{"PartitionIndex":1,"LeaderID":3},{"PartitionIndex":0}]}],[],[{"Name":"a","ErrorCode":3}]]`,
		`[[{"Name":"a"}],[{"Name":"a"},{"Name":"a","Partitions":[{"PartitionIndex":-5}]}]]`,
		`[[{"Name":"a","Partitions":[{},{}]}],[{"Name":"b"}]]`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var lists [][]metadata.ResponseTopic
		if json.Unmarshal(text, &lists) != nil {
			return
		}
		k := newCluster(Config{}.withDefaults())
		defer k.stop()
		a := &topic{name: "a"}
		k.topics.Store(&map[string]*topic{"a": a})
		for _, topics := range lists {
			k.applyMetadata(&metadata.Response{Topics: topics}, []string{"a"})
			parts := a.parts.Load()
			if parts == nil {
				if a.err.Load() == nil {
					t.Fatal("the topic has neither partitions nor an error")
				}
				continue
			}
			if len(*parts) == 0 {
				t.Fatal("the topic has no partitions")
			}
			for i, p := range *parts {
				if p == nil || int(p.number) != i {
					t.Fatalf("partition %d is %+v", i, p)
				}
			}
		}
	})
}
