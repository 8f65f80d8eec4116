package consume_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/publish"
)

// watched is a consumer of a topic's partitions, which two brokers lead in turn, with
// counts of the requests to the brokers.
type watched struct {
	*consume.Consumer
	cluster        *kfake.Cluster
	kafka          kafka.Config
	fetched, ended [2]atomic.Int64 // Fetch and ListOffsets requests since the last reset, by broker
	looked         atomic.Int64    // metadata requests
	named          [2]atomic.Int64 // fetches that contain partition 0, by broker
	version        atomic.Int64    // version of the last Fetch request
	epochless      atomic.Int64    // requests without a leader epoch
	read           atomic.Int64    // number of records

	mu     sync.Mutex
	errors []string // the texts of the errors that OnError got
}

// watch starts a consumer. answer may answer a request instead of the broker.
func watch(t *testing.T, partitions int32, answer func(node int32, q kmsg.Request) kmsg.Response) *watched {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(partitions, topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	w := &watched{cluster: cluster, kafka: kafka.Config{Brokers: cluster.ListenAddrs()}}
	ranges := map[consume.Partition]consume.Range{}
	for p := range partitions {
		ranges[consume.Partition{Topic: topic, Number: int(p)}] = consume.Range{To: consume.Forever}
		if err := cluster.MoveTopicPartition(topic, p, p%2); err != nil {
			t.Fatal(err)
		}
	}
	cluster.SetFollowers(topic, 0, []int32{1})
	for _, key := range []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets, kmsg.Metadata} {
		cluster.ControlKey(int16(key), func(q kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			node := cluster.CurrentNode()
			switch key {
			case kmsg.Fetch:
				w.fetched[node].Add(1)
				w.version.Store(int64(q.GetVersion()))
				for _, of := range q.(*kmsg.FetchRequest).Topics {
					for _, p := range of.Partitions {
						if p.Partition == 0 {
							w.named[node].Add(1)
						}
						if p.CurrentLeaderEpoch < 0 {
							w.epochless.Add(1)
						}
					}
				}
			case kmsg.ListOffsets:
				w.ended[node].Add(1)
				for _, of := range q.(*kmsg.ListOffsetsRequest).Topics {
					for _, p := range of.Partitions {
						if p.CurrentLeaderEpoch < 0 {
							w.epochless.Add(1)
						}
					}
				}
			case kmsg.Metadata:
				w.looked.Add(1)
			}
			if answer != nil {
				if a := answer(node, q); a != nil {
					return a, nil, true
				}
			}
			return nil, nil, false
		})
	}
	r := consume.New(w.kafka)
	t.Cleanup(r.Close)
	w.Consumer = r.NewConsumer(ranges, func(chunks []consume.Chunk) error {
		for _, c := range chunks {
			w.read.Add(int64(len(c.Records)))
		}
		return nil
	})
	w.OnError = func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.errors = append(w.errors, err.Error())
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = w.Run(ctx) })
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	write(t, w.kafka, 0, 5)
	eventually(t, 10*time.Second, "the first records are read", func() bool { return w.read.Load() == 5 && w.fresh() })
	return w
}

// lead makes a broker the leader of the first partition. The other broker becomes a
// follower, which also answers fetches.
func (w *watched) lead(t *testing.T, node int32) {
	t.Helper()
	if err := w.cluster.MoveTopicPartition(topic, 0, node); err != nil {
		t.Fatal(err)
	}
	w.cluster.SetFollowers(topic, 0, []int32{1 - node})
}

// fresh reports whether all partitions are fresh.
func (w *watched) fresh() bool {
	_, current := w.Lag()
	return time.Since(current) < kafka.MaxStaleness
}

func (w *watched) reset() {
	for i := range 2 {
		w.fetched[i].Store(0)
		w.ended[i].Store(0)
		w.named[i].Store(0)
	}
	w.looked.Store(0)
}

// reported reports whether OnError got an error that contains a text.
func (w *watched) reported(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.errors, func(e string) bool { return strings.Contains(e, text) })
}

// TestLeaderMoves: when a partition gets another leader, it is read from that leader.
// The former leader is a follower now, from which Kafka also lets consumers fetch.
func TestLeaderMoves(t *testing.T) {
	w := watch(t, 1, nil)
	if v := w.version.Load(); v < 9 || v > 10 {
		t.Errorf("Fetch version %d, want one that names the leader epoch (9) and that only leaders answer (10)", v)
	}
	for _, leader := range []int32{1, 0} {
		w.lead(t, leader)
		eventually(t, 5*time.Second, "read from the new leader", func() bool { return w.fetched[leader].Load() > 0 && w.ended[leader].Load() > 0 })
		time.Sleep(100 * time.Millisecond) // for requests in flight
		w.reset()
		before := w.read.Load()
		write(t, w.kafka, 0, 3)
		eventually(t, 5*time.Second, "the new records are read, and the view is fresh", func() bool { return w.read.Load() == before+3 && w.fresh() })
		if f, e := w.fetched[1-leader].Load(), w.ended[1-leader].Load(); f+e > 0 {
			t.Errorf("broker %d leads, but the other broker got %d fetches and %d requests for end offsets", leader, f, e)
		}
	}
	if n := w.epochless.Load(); n > 0 {
		t.Errorf("%d requests had no leader epoch", n)
	}
}

// TestLeaderDoesNotKnow: a former leader that does not know yet that it lost a
// partition answers as before. The metadata of another broker moves the consumer to the
// new leader, and the metadata of the former leader does not move it back.
func TestLeaderDoesNotKnow(t *testing.T) {
	var stale atomic.Pointer[kmsg.MetadataResponse] // the old metadata of broker 0; nil: its metadata is current
	var end int64
	w := watch(t, 3, func(node int32, q kmsg.Request) kmsg.Response {
		m := stale.Load()
		if m == nil || node != 0 {
			return nil
		}
		switch q := q.(type) {
		case *kmsg.MetadataRequest:
			same := *m
			same.Version = q.Version
			return &same
		case *kmsg.FetchRequest: // without new records
			answer := q.ResponseKind().(*kmsg.FetchResponse)
			answer.SessionID = q.SessionID
			return answer
		case *kmsg.ListOffsetsRequest:
			answer := q.ResponseKind().(*kmsg.ListOffsetsResponse)
			of := kmsg.NewListOffsetsResponseTopicPartition()
			of.Offset = end
			answer.Topics = []kmsg.ListOffsetsResponseTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsResponseTopicPartition{of}}}
			return answer
		}
		return nil
	})
	end = w.cluster.PartitionInfo(topic, 0).HighWatermark
	stale.Store(shown(t, w.cluster))
	w.lead(t, 1)
	w.kafka.Brokers = w.kafka.Brokers[1:] // the producer gets its metadata from the other broker
	p := publish.NewProducer(publish.Config{Kafka: w.kafka})
	defer p.Close()
	key := 0
	for kafka.PartitionOf(fmt.Append(nil, key), 3) != 0 {
		key++
	}
	for n := range int64(3) {
		if _, err := p.Publish(t.Context(), []kafka.Record{{Topic: topic, Key: fmt.Append(nil, key), Value: []byte("v")}}); err != nil {
			t.Fatal(err)
		}
		eventually(t, 3*kafka.LeaderCheckInterval, "the new leader's records are read", func() bool { return w.read.Load() == 5+n+1 })
		w.reset()
		time.Sleep(2 * kafka.LeaderCheckInterval) // broker 0 leads another partition, and returns its old metadata
		if w.named[0].Load() > 0 {
			t.Fatal("the partition went back to its former leader")
		}
	}
}

// shown returns a cluster's current metadata of the topic.
func shown(t *testing.T, cluster *kfake.Cluster) *kmsg.MetadataResponse {
	t.Helper()
	m := kmsg.NewPtrMetadataResponse()
	for i, address := range cluster.ListenAddrs() {
		at := netip.MustParseAddrPort(address)
		m.Brokers = append(m.Brokers, kmsg.MetadataResponseBroker{NodeID: int32(i), Host: at.Addr().String(), Port: int32(at.Port())})
	}
	of := kmsg.MetadataResponseTopic{Topic: kmsg.StringPtr(topic)}
	for _, p := range cluster.PartitionInfos(topic) {
		of.Partitions = append(of.Partitions, kmsg.MetadataResponseTopicPartition{Partition: p.Partition, Leader: p.Leader, LeaderEpoch: p.Epoch})
	}
	m.Topics = append(m.Topics, of)
	return m
}

// TestEpochRefused: if a broker refuses the leader epoch, the consumer requests the
// metadata and fetches again, with a back-off, and reports the error. It continues once
// the broker accepts the epoch.
func TestEpochRefused(t *testing.T) {
	for _, code := range []*kerr.Error{kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch, kerr.NotLeaderForPartition} {
		t.Run(code.Message, func(t *testing.T) {
			t.Parallel()
			var refuses atomic.Bool
			w := watch(t, 1, func(_ int32, q kmsg.Request) kmsg.Response {
				if !refuses.Load() {
					return nil
				}
				switch q := q.(type) {
				case *kmsg.FetchRequest:
					answer := q.ResponseKind().(*kmsg.FetchResponse)
					of := kmsg.NewFetchResponseTopicPartition()
					of.ErrorCode = code.Code
					answer.Topics = []kmsg.FetchResponseTopic{{Topic: topic, Partitions: []kmsg.FetchResponseTopicPartition{of}}}
					return answer
				case *kmsg.ListOffsetsRequest:
					answer := q.ResponseKind().(*kmsg.ListOffsetsResponse)
					of := kmsg.NewListOffsetsResponseTopicPartition()
					of.ErrorCode = code.Code
					answer.Topics = []kmsg.ListOffsetsResponseTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsResponseTopicPartition{of}}}
					return answer
				}
				return nil
			})
			w.reset()
			refuses.Store(true)
			time.Sleep(2 * kafka.MaxStaleness)
			if f, e, m := w.fetched[0].Load(), w.ended[0].Load(), w.looked.Load(); f+e+m > 80 {
				t.Errorf("%d fetches, %d requests for end offsets and %d for metadata in %s, want at most 80 together", f, e, m, 2*kafka.MaxStaleness)
			}
			if w.fresh() {
				t.Error("the view is fresh, though no broker answers for the partition")
			}
			if !w.reported("partition payment.captured[0], broker 0: ") {
				t.Errorf("OnError got %q", w.errors)
			}
			refuses.Store(false)
			eventually(t, 10*time.Second, "fresh again", w.fresh)
		})
	}
}

// TestTopicMadeAnew: a topic that was deleted and created again is read, although its
// leader epochs start at 0 again.
func TestTopicMadeAnew(t *testing.T) {
	w := watch(t, 1, nil)
	for i := range int32(4) {
		w.lead(t, 1-i%2)
	}
	eventually(t, 5*time.Second, "fresh", w.fresh)
	if err := w.cluster.DeleteTopic(topic); err != nil {
		t.Fatal(err)
	}
	if err := w.cluster.CreateTopic(topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	if was := w.cluster.PartitionInfo(topic, 0).Epoch; was > 3 {
		t.Fatalf("the new topic's leader epoch is %d, want a lower one than before", was)
	}
	write(t, w.kafka, 0, 3)
	eventually(t, 15*time.Second, "the new topic is read", func() bool { return w.read.Load() == 8 && w.fresh() })
}

// TestLag: the lag counts the records of all partitions, even while their leaders
// return no records.
func TestLag(t *testing.T) {
	var empty atomic.Bool
	w := watch(t, 2, func(_ int32, q kmsg.Request) kmsg.Response {
		if f, ok := q.(*kmsg.FetchRequest); ok && empty.Load() { // a leader that returns no records
			answer := f.ResponseKind().(*kmsg.FetchResponse)
			answer.SessionID = f.SessionID
			return answer
		}
		return nil
	})
	if records, current := w.Lag(); records != 0 || time.Since(current) > kafka.MaxStaleness {
		t.Errorf("lag is %d records, fresh as of %s ago; want 0 records, and fresh now", records, time.Since(current))
	}
	empty.Store(true)
	write(t, w.kafka, 5, 25)
	eventually(t, 5*time.Second, "the lag is 20 records", func() bool { records, _ := w.Lag(); return records == 20 })
	time.Sleep(2 * kafka.MaxStaleness)
	if records, current := w.Lag(); records != 20 || time.Since(current) < kafka.MaxStaleness {
		t.Errorf("lag is %d records, fresh as of %s ago; want 20 records, and longer ago than %s", records, time.Since(current), kafka.MaxStaleness)
	}
	empty.Store(false)
	eventually(t, 10*time.Second, "the lag is 0 records", func() bool { records, _ := w.Lag(); return records == 0 && w.fresh() })
}

// TestOddMetadata: if the brokers' metadata leaves partitions out or is invalid,
// Partitions returns an error, and a consumer reports errors and retries. Reading
// continues once the metadata is valid again.
func TestOddMetadata(t *testing.T) {
	for _, test := range []struct {
		name string
		of   []int32 // nil leaves the topic out
		text string
	}{
		{"topic left out", nil, "the answer leaves it out"},
		{"no partitions", []int32{}, "lists no partition"},
		{"gap", []int32{0, 2}, "lists the partitions [0 2]"},
		{"one twice", []int32{0, 0}, "lists the partitions [0 0]"},
		{"negative", []int32{-1, 0}, "lists the partitions [-1 0]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cluster, c := rig(t, 20)
			orderly := shown(t, cluster)
			odd := *orderly
			odd.Topics = nil
			if test.of != nil {
				odd.Topics = []kmsg.MetadataResponseTopic{{Topic: kmsg.StringPtr(topic)}}
				for _, n := range test.of {
					odd.Topics[0].Partitions = append(odd.Topics[0].Partitions, kmsg.MetadataResponseTopicPartition{Partition: n, Leader: -1})
				}
			}
			var now atomic.Pointer[kmsg.MetadataResponse]
			now.Store(&odd)
			cluster.ControlKey(int16(kmsg.Metadata), func(q kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				answer := *now.Load()
				answer.Version = q.GetVersion()
				return &answer, nil, true
			})
			r := consume.New(c)
			defer r.Close()
			if _, err := r.Partitions(t.Context(), topic); err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want an error with %q", err, test.text)
			}
			got := map[string]int{}
			ranges := map[consume.Partition]consume.Range{}
			for _, p := range cluster.PartitionInfos(topic) {
				ranges[consume.Partition{Topic: topic, Number: int(p.Partition)}] = consume.Range{To: p.HighWatermark}
			}
			reading := r.NewConsumer(ranges, collect(t, got))
			var told atomic.Int64
			reading.OnError = func(err error) {
				if strings.Contains(err.Error(), "partition "+topic+"[") {
					told.Add(1)
				}
			}
			time.AfterFunc(500*time.Millisecond, func() { now.Store(orderly) })
			if err := reading.Run(t.Context()); err != nil || len(got) != 20 {
				t.Errorf("%d records, %v; want 20", len(got), err)
			}
			if n := told.Load(); n == 0 || n > 20 {
				t.Errorf("%d errors were reported in half a second, want 1 to 20", n)
			}
		})
	}
}
