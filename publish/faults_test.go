package publish

import (
	"context"
	"errors"
	"fmt"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// produces makes the cluster answer n produce requests with the function answer.
func produces(c *kfake.Cluster, n int, answer func(*kmsg.ProduceRequest) (kmsg.Response, error)) {
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		if n == 0 {
			c.DropControl()
			return nil, nil, false
		}
		n--
		c.KeepControl()
		answer, err := answer(r.(*kmsg.ProduceRequest))
		return answer, err, true
	})
}

// TestFaults publishes through each fault, and checks that no record is lost,
// duplicated, out of order, or elsewhere than its receipt says.
func TestFaults(t *testing.T) {
	code := func(e *kerr.Error, count int) func(*kfake.Cluster, *wire) {
		return func(c *kfake.Cluster, _ *wire) {
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: e, Count: count})
		}
	}
	for _, test := range []struct {
		name  string
		fault func(*kfake.Cluster, *wire)
		ids   float64 // producer ids requested
	}{
		{"not leader", code(kerr.NotLeaderForPartition, 3), 1},
		{"leaders move", func(c *kfake.Cluster, _ *wire) { c.ShufflePartitionLeaders() }, 1},
		{"not enough replicas", code(kerr.NotEnoughReplicas, 5), 1},
		{"not enough replicas after append", code(kerr.NotEnoughReplicasAfterAppend, 3), 1},
		{"request timed out", code(kerr.RequestTimedOut, 3), 1},
		{"unknown server error", code(kerr.UnknownServerError, 3), 1},
		{"storage error", code(kerr.KafkaStorageError, 3), 1},
		{"unknown leader epoch", code(kerr.UnknownLeaderEpoch, 2), 1},
		{"too large", code(kerr.MessageTooLarge, 1), 1},
		{"out of order", code(kerr.OutOfOrderSequenceNumber, 1), 2},
		{"unknown producer id", code(kerr.UnknownProducerID, 1), 2},
		{"invalid epoch", code(kerr.InvalidProducerEpoch, 1), 2},
		{"a duplicate that was never sent", code(kerr.DuplicateSequenceNumber, 1), 2},
		{"partition missing", func(c *kfake.Cluster, _ *wire) {
			produces(c, 2, func(r *kmsg.ProduceRequest) (kmsg.Response, error) { return r.ResponseKind(), nil })
		}, 1},
		{"answer lost", func(_ *kfake.Cluster, w *wire) { w.loseAnswers.Store(3) }, 1},
		{"request cut", func(_ *kfake.Cluster, w *wire) { w.cutRequests.Store(3) }, 1},
		{"answer lost, then not leader", func(c *kfake.Cluster, w *wire) {
			w.loseAnswers.Store(1)
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotLeaderForPartition, Count: 1})
		}, 1},
		{"hang", func(_ *kfake.Cluster, w *wire) { time.AfterFunc(2*time.Second, w.hold()) }, 1},
		{"broker restarts", func(c *kfake.Cluster, w *wire) {
			w.loseAnswers.Store(1)
			w.cutRequests.Store(2)
			c.ShufflePartitionLeaders()
		}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := &wire{}
			cluster := kafkatest.Fake(t, kfake.NumBrokers(2), kfake.ListenFn(w.listen))
			c := Config{Kafka: kafka.Config{Brokers: cluster.ListenAddrs()}, Patience: 300 * time.Millisecond}
			p := start(t, c)
			s := &senders{p: p, topics: []string{"a", "b"}, callers: 8, each: 40}
			s.after = func(n int64) {
				if n == 100 {
					test.fault(cluster, w)
				}
			}
			s.run(t)
			s.conserved(t, c, 3)
			if got := counted(t, p.cluster.metrics.ids); got < test.ids || got > 3*test.ids {
				t.Errorf("%v producer ids requested, want about %v", got, test.ids)
			}
		})
	}
}

// TestLate refuses a caller whose record is written nevertheless, because the broker
// answers too late. The record's redelivery gets the first record's receipt.
func TestLate(t *testing.T) {
	w := &wire{}
	c := Config{Kafka: kafka.Config{Brokers: kafkatest.Fake(t, kfake.ListenFn(w.listen)).ListenAddrs()}, Patience: 200 * time.Millisecond}
	p := start(t, c)
	first := []kafka.Record{{Topic: "a", ID: "1", Key: []byte("k"), Value: []byte("1")}, {Topic: "b", Key: []byte("k"), Value: []byte("no id")}}
	if _, err := p.Publish(kafkatest.Within(t, time.Second), []kafka.Record{{Topic: "a", ID: "0", Key: []byte("k"), Value: []byte("0")}}); err != nil {
		t.Fatal(err)
	}
	release := w.hold()
	begin := time.Now()
	if _, err := p.Publish(kafkatest.Within(t, 4*time.Second), first); !errors.Is(err, kafka.ErrUnavailable) {
		t.Fatalf("got %v, want %v", err, kafka.ErrUnavailable)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("the first refusal took %v, want at most 1 s", took)
	}
	for name, r := range map[string][]kafka.Record{"redelivered": first, "another": {{Topic: "a", ID: "2", Key: []byte("k"), Value: []byte("2")}}} {
		begin = time.Now()
		if _, err := p.Publish(kafkatest.Within(t, 4*time.Second), r); !errors.Is(err, kafka.ErrUnavailable) {
			t.Errorf("%s: got %v, want %v", name, err, kafka.ErrUnavailable)
		}
		if took := time.Since(begin); took > 50*time.Millisecond {
			t.Errorf("%s: the refusal took %v, want at most 50 ms", name, took)
		}
	}
	release()
	again := eventually(t, p, first)
	once := readBack(t, c, "a", 3)
	if len(once) != 2 || string(once[1].value) != "1" || once[1].offset != again[0].Offset {
		t.Errorf("got %d records, the second %q, and the receipt %+v", len(once), once[1].value, again[0])
	}
	if !again[0].Earlier {
		t.Error("the receipt does not say that an earlier call wrote the record")
	}
	if other := readBack(t, c, "b", 3); len(other) != 1 {
		t.Errorf("the record without an id was written %d times, want once", len(other))
	}
}

// TestThrottled: while a broker's quota is used up, nothing is sent to it: the broker
// would read the request late, and write its records after their callers left. Callers
// who cannot wait that long are refused at once.
func TestThrottled(t *testing.T) {
	cluster := kafkatest.Fake(t)
	var asked []time.Time
	rest := []int32{300, 5000, 0}
	cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		q := r.(*kmsg.ProduceRequest)
		answer := q.ResponseKind().(*kmsg.ProduceResponse)
		answer.ThrottleMillis = rest[min(len(asked), len(rest)-1)]
		asked = append(asked, time.Now())
		for _, t := range q.Topics {
			to := kmsg.NewProduceResponseTopic()
			to.Topic = t.Topic
			for _, p := range t.Partitions {
				of := kmsg.NewProduceResponseTopicPartition()
				of.Partition = p.Partition
				to.Partitions = append(to.Partitions, of)
			}
			answer.Topics = append(answer.Topics, to)
		}
		return answer, nil, true
	})
	p := start(t, Config{Kafka: kafka.Config{Brokers: cluster.ListenAddrs()}, Patience: time.Second})
	put := func(id string) error {
		_, err := p.Publish(kafkatest.Within(t, 4*time.Second), []kafka.Record{{Topic: "a", ID: id, Key: []byte("k"), Value: []byte(id)}})
		return err
	}
	for _, id := range []string{"1", "2"} {
		if err := put(id); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	if err := put("3"); !errors.Is(err, kafka.ErrUnavailable) || !strings.Contains(err.Error(), "quota") {
		t.Errorf("while the broker throttles for 5 s: got %v, want an error that names the quota", err)
	}
	if took := time.Since(begin); took > 200*time.Millisecond {
		t.Errorf("the refusal took %s, want at most 200 ms", took)
	}
	if len(asked) != 2 || asked[1].Sub(asked[0]) < 300*time.Millisecond {
		t.Errorf("%d requests, want 2 that are at least 300 ms apart", len(asked))
	}
}

// TestLateNotWritten lets the broker answer, after the caller left, that it did not
// write the record. The redelivery is written.
func TestLateNotWritten(t *testing.T) {
	cluster := kafkatest.Fake(t)
	c := Config{Kafka: kafka.Config{Brokers: cluster.ListenAddrs()}, Patience: 200 * time.Millisecond}
	p := start(t, c)
	r := []kafka.Record{{Topic: "a", ID: "1", Key: []byte("k"), Value: []byte("1")}}
	fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	begin := time.Now()
	for n := range 5 {
		if _, err := p.Publish(kafkatest.Within(t, 4*time.Second), r); !errors.Is(err, kafka.ErrUnavailable) {
			t.Fatalf("got %v, want %v", err, kafka.ErrUnavailable)
		}
		if took := time.Since(begin); n > 0 && took > 50*time.Millisecond {
			t.Errorf("refusal %d took %v, want at most 50 ms", n, took)
		}
		begin = time.Now()
	}
	if n := p.cluster.ledger.size.Load(); n != 0 {
		t.Errorf("the ledger has %d records, want none: none was written", n)
	}
	fault.Remove()
	if eventually(t, p, r); len(readBack(t, c, "a", 3)) != 1 {
		t.Error("the redelivery is not written exactly once")
	}
}

// TestOnePatience lets several faults follow each other. A caller's patience covers all
// of them together: it does not begin again with the next fault or attempt.
func TestOnePatience(t *testing.T) {
	for name, next := range map[string]func(*partition, *broker){
		"the next attempt": func(*partition, *broker) {},
		"a leader":         func(p *partition, _ *broker) { p.setLeader(nil, kafkago.LeaderNotAvailable) },
		"its answer": func(p *partition, b *broker) {
			p.nextBatch(b, 1<<20)
			b.requestSentAt.set(time.Now())
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, b := byHand(t)
			c := newCall([]kafka.Record{{Topic: "a", Key: []byte("k")}})
			since := time.Now().Add(-50 * time.Second)
			if err := p.addRecord(&c.records[0], &c.slots[0], since); err != nil {
				t.Fatal(err)
			}
			for range 2 { // a pause follows the second refusal
				p.onResponse(p.nextBatch(b, 1<<20), kafkago.NotEnoughReplicas, -1, nil)
			}
			if name != "the next attempt" {
				p.mu.Lock()
				p.resume()
				p.mu.Unlock()
			}
			next(p, b)
			p.failWaiters(since.Add(59 * time.Second))
			if fate := c.slots[0].fate; fate != waiting {
				t.Fatalf("refused before its patience was over: fate %d", fate)
			}
			p.failWaiters(since.Add(time.Minute))
			if !errors.Is(c.slots[0].err, kafka.ErrUnavailable) {
				t.Errorf("it still waits after its patience was over: %v", c.slots[0].err)
			}
		})
	}
}

// TestDown publishes records after all brokers have gone.
func TestDown(t *testing.T) {
	cluster := kafkatest.Fake(t)
	c := Config{Kafka: kafka.Config{Brokers: cluster.ListenAddrs()}, Patience: 300 * time.Millisecond}
	p := start(t, c)
	r := func(id string) []kafka.Record {
		return []kafka.Record{{Topic: "a", ID: id, Key: []byte(id), Value: []byte(id)}}
	}
	if _, err := p.Publish(kafkatest.Within(t, time.Second), r("0")); err != nil {
		t.Fatal(err)
	}
	cluster.Close()
	for n := range 30 {
		begin := time.Now()
		_, err := p.Publish(kafkatest.Within(t, 4*time.Second), r(fmt.Sprint(n)))
		if !errors.Is(err, kafka.ErrUnavailable) {
			t.Fatalf("got %v, want %v", err, kafka.ErrUnavailable)
		}
		if took := time.Since(begin); took > time.Second || n >= 12 && took > 50*time.Millisecond {
			t.Errorf("refusal %d took too long, %v: %v", n, took, err)
		}
	}
}

// TestDeadline lets the caller's deadline pass before the producer's patience is over.
// A record that was not sent by then is not written.
func TestDeadline(t *testing.T) {
	w := &wire{}
	c := Config{Kafka: kafka.Config{Brokers: kafkatest.Fake(t, kfake.ListenFn(w.listen)).ListenAddrs()}, Patience: 10 * time.Second}
	p := start(t, c)
	if err := p.Ready(kafkatest.Within(t, time.Second), []string{"a"}); err != nil {
		t.Fatal(err)
	}
	release := w.hold()
	sent := make(chan error)
	go func() {
		_, err := p.Publish(context.Background(), []kafka.Record{{Topic: "a", ID: "sent", Key: []byte("k"), Value: []byte("sent")}})
		sent <- err
	}()
	for p.cluster.pendingBytes.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	queued := []kafka.Record{{Topic: "a", ID: "queued", Key: []byte("k"), Value: []byte("queued")}}
	if _, err := p.Publish(kafkatest.Within(t, 50*time.Millisecond), queued); !errors.Is(err, kafka.ErrUnavailable) {
		t.Fatalf("got %v, want %v", err, kafka.ErrUnavailable)
	}
	release()
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if got := readBack(t, c, "a", 3); len(got) != 1 {
		t.Errorf("%d records written, want only the one that was sent", len(got))
	}
	if _, err := p.Publish(kafkatest.Within(t, time.Second), queued); err != nil {
		t.Fatal(err)
	}
	if got := readBack(t, c, "a", 3); len(got) != 2 || string(got[1].value) != "queued" {
		t.Errorf("got %d records, want 2, the redelivered one last", len(got))
	}
}

// TestGivenUp lets a request end without an answer, and then lets the broker refuse its
// producer id. The record's outcome is unknown, and it is not sent again.
func TestGivenUp(t *testing.T) {
	cluster := kafkatest.Fake(t)
	c := Config{Kafka: kafka.Config{Brokers: cluster.ListenAddrs()}, Patience: 300 * time.Millisecond, RememberFor: time.Second}
	p := start(t, c)
	n := 0
	produces(cluster, 2, func(r *kmsg.ProduceRequest) (kmsg.Response, error) {
		n++
		code := []*kerr.Error{kerr.RequestTimedOut, kerr.InvalidProducerEpoch}[n-1]
		answer := r.ResponseKind().(*kmsg.ProduceResponse)
		answer.Topics = []kmsg.ProduceResponseTopic{{Topic: "a", Partitions: []kmsg.ProduceResponseTopicPartition{{Partition: r.Topics[0].Partitions[0].Partition, ErrorCode: code.Code}}}}
		return answer, nil
	})
	r := []kafka.Record{{Topic: "a", ID: "1", Key: []byte("k"), Value: []byte("1")}}
	for range 2 {
		if _, err := p.Publish(kafkatest.Within(t, 2*time.Second), r); !errors.Is(err, kafka.ErrUnavailable) {
			t.Fatalf("got %v, want %v", err, kafka.ErrUnavailable)
		}
	}
	if _, err := p.Publish(kafkatest.Within(t, 2*time.Second), []kafka.Record{{Topic: "a", ID: "2", Key: []byte("k"), Value: []byte("2")}}); err != nil {
		t.Errorf("a record that follows: %v", err)
	}
	if got := counted(t, p.cluster.metrics.lost); got != 1 {
		t.Errorf("%v records counted as given up, want 1", got)
	}
	time.Sleep(time.Second)
	if _, err := p.Publish(kafkatest.Within(t, 2*time.Second), r); err != nil {
		t.Errorf("after RememberFor: %v", err)
	}
}

// TestWrap passes the highest sequence number, and recreates the topic.
func TestWrap(t *testing.T) {
	cluster := kafkatest.Fake(t)
	c := Config{Kafka: kafka.Config{Brokers: cluster.ListenAddrs()}}
	p := start(t, c)
	s := &senders{p: p, topics: []string{"a"}, callers: 1, each: 1}
	s.run(t)
	part, err := p.cluster.partition(kafkatest.Within(t, time.Second), &kafka.Record{Topic: "a", Key: []byte("key-0")})
	if err != nil {
		t.Fatal(err)
	}
	part.mu.Lock()
	part.discardProducerID()
	part.id, part.sequence = producerID{id: 77, assigned: true}, 1<<31-6
	part.mu.Unlock()
	s.each = 20
	s.receipts = nil
	if err := cluster.DeleteTopic("a"); err != nil {
		t.Fatal(err)
	}
	if err := cluster.CreateTopic("a", 3, nil); err != nil {
		t.Fatal(err)
	}
	s.run(t)
	s.conserved(t, c, 3)
}

// TestNeighbours: the broker refuses one record of a batch as too large, and the others
// are written.
func TestNeighbours(t *testing.T) {
	cluster := kafkatest.Fake(t)
	c := Config{Kafka: kafka.Config{Brokers: cluster.ListenAddrs()}}
	p := start(t, c)
	if err := p.Ready(kafkatest.Within(t, time.Second), []string{"a"}); err != nil {
		t.Fatal(err)
	}
	(*p.cluster.topics.Load())["a"].limit.Store(10 << 20) // as if the topic's limit was lowered after the metadata was read
	records := make([]kafka.Record, 5)
	for i := range records {
		records[i] = kafka.Record{Topic: "a", ID: fmt.Sprint(i), Key: []byte("k"), Value: make([]byte, 100)}
	}
	records[2].Value = make([]byte, 2<<20)
	_, err := p.Publish(kafkatest.Within(t, 5*time.Second), records)
	if !errors.Is(err, kafka.ErrRefused) {
		t.Errorf("got %v, want %v", err, kafka.ErrRefused)
	}
	if got := readBack(t, c, "a", 3); len(got) != 4 {
		t.Errorf("%d records written, want the 4 good ones", len(got))
	}
	good := append(records[:2:2], records[3:]...)
	if _, err := p.Publish(kafkatest.Within(t, 5*time.Second), good); err != nil {
		t.Error(err)
	}
	if got := readBack(t, c, "a", 3); len(got) != 4 {
		t.Errorf("%d records after their redelivery, want 4", len(got))
	}
}

// TestBytes uses up [Config.MaxBytes].
func TestBytes(t *testing.T) {
	w := &wire{}
	c := Config{Kafka: kafka.Config{Brokers: kafkatest.Fake(t, kfake.ListenFn(w.listen)).ListenAddrs()}, MaxBytes: 10_000, Patience: 10 * time.Second}
	p := start(t, c)
	if err := p.Ready(kafkatest.Within(t, time.Second), []string{"a"}); err != nil {
		t.Fatal(err)
	}
	release := w.hold()
	r := kafka.Record{Topic: "a", Key: []byte("k"), Value: make([]byte, 8000)}
	done := make(chan error)
	go func() { _, err := p.Publish(context.Background(), []kafka.Record{r}); done <- err }()
	for p.cluster.pendingBytes.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, err := p.Publish(kafkatest.Within(t, time.Second), []kafka.Record{r}); !errors.Is(err, kafka.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, kafka.ErrUnavailable)
	}
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := p.cluster.pendingBytes.Load(); n != 0 {
		t.Errorf("%d bytes are still reserved", n)
	}
}

// eventually publishes records again until it gets receipts.
func eventually(t *testing.T, p *Producer, r []kafka.Record) []kafka.Receipt {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		receipts, err := p.Publish(kafkatest.Within(t, time.Second), r)
		if err == nil {
			return receipts
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
