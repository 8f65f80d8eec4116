package history

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
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

// rig is a fake Kafka with the topics, and a producer.
type rig struct {
	cluster  *kfake.Cluster
	kafka    kafka.Config
	names    kafka.Names
	producer *publish.Producer
}

func newRig(t *testing.T) *rig {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	r := &rig{cluster: cluster, kafka: kafka.Config{Brokers: cluster.ListenAddrs()}}
	if _, err := (kafka.Layout{Partitions: 2, Replication: 1}).Apply(t.Context(), r.kafka); err != nil {
		t.Fatal(err)
	}
	r.producer = publish.NewProducer(publish.Config{Kafka: r.kafka})
	t.Cleanup(r.producer.Close)
	return r
}

// open returns a restored state. An empty dir keeps it in memory.
func (r *rig) open(t *testing.T, dir string) *History {
	t.Helper()
	return r.openWith(t, Config{Dir: dir, Publisher: r.producer, Log: zerolog.Nop()})
}

func (r *rig) openWith(t *testing.T, c Config) *History {
	t.Helper()
	c.Kafka, c.Names = r.kafka, r.names
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	s.Await(t.Context(), 20*time.Second)
	if err := s.Ready(); err != nil {
		t.Fatal(err)
	}
	return s
}

// put publishes the new ones among the events.
func (r *rig) put(ctx context.Context, s *History, events ...schemas.Event) (*Admission, error) {
	a, err := s.AdmitWhenFresh(ctx, events) // on a busy machine the state can be behind for a while
	if err != nil {
		return nil, err
	}
	var records []kafka.Record
	for _, e := range a.Events {
		record, err := kafka.EventRecord(r.names, e, "")
		if err != nil {
			a.Forget()
			return nil, err
		}
		record.NotAfter = a.NotAfter
		records = append(records, record)
	}
	receipts, err := s.Publisher.Publish(ctx, append(records, a.References...))
	if err != nil {
		a.Forget()
		return nil, err
	}
	a.Done(receipts[:len(a.Events)], receipts[len(receipts)-len(a.References):])
	return a, nil
}

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// event returns an event of a payment. With an empty merchant it has the fallback
// key.
func event(id, payment, merchant string, typ schemas.Type, minutes int) schemas.Event {
	source, key := schemas.KeyFromPayload, merchant
	if merchant == "" {
		source, key = schemas.KeyFromConnector, "stripe::"+payment
	}
	return schemas.Event{
		SpecVersion: schemas.SpecVersion, ID: id, Source: "/webhooks/stripe/default", Type: typ, Subject: key,
		Time: began.Add(time.Duration(minutes) * time.Minute), DataContentType: "application/json", DataSchema: typ.Schema(),
		Data: schemas.Data{MerchantTransactionID: key, KeySource: source, Connector: "stripe", Endpoint: "default",
			ConnectorEventType: "x", ConnectorTransactionID: payment, Status: typ.Status(), ReceivedAt: began},
	}
}

func TestAdmit(t *testing.T) {
	r := newRig(t)
	s := r.open(t, "")
	defer s.Close()
	put := func(e schemas.Event) schemas.Event {
		t.Helper()
		a, err := r.put(t.Context(), s, e)
		if err != nil || len(a.Events) != 1 {
			t.Fatalf("got %v, %+v, want a new event", err, a)
		}
		return a.Events[0]
	}
	put(event("captured", "pi_1", "order-1", schemas.PaymentCaptured, 10))
	if e := put(event("refund", "pi_1", "", schemas.RefundSucceeded, 11)); e.Subject != "order-1" || e.Data.KeySource != schemas.KeyFromReference || e.Data.Late {
		t.Errorf("a later event without the merchant's id is %+v, want the key order-1", e)
	}
	if e := put(event("processing", "pi_1", "order-1", schemas.PaymentProcessing, 1)); !e.Data.Late || e.Data.NewestEventID != "refund" {
		t.Errorf("an older event is %+v, want it late after the refund", e.Data)
	}
	if e := put(event("cancelled", "pi_1", "order-1", schemas.PaymentCancelled, 12)); e.Data.Contradicts != "captured" || e.Data.Late {
		t.Errorf("cancelled after captured is %+v, want the contradiction marked", e.Data)
	}
	if e := put(event("stranger", "pi_2", "", schemas.PaymentCaptured, 1)); e.Subject != "stripe::pi_2" {
		t.Errorf("an event without a reference has the key %s, want a fallback key", e.Subject)
	}
	a, err := r.put(t.Context(), s, event("captured", "pi_1", "order-1", schemas.PaymentCaptured, 10))
	if err != nil || len(a.Events) != 0 || a.Known["captured"].Topic != "payment.captured" {
		t.Errorf("a redelivery: %v, %+v, want the first event's receipt", err, a)
	}
}

// TestForget: the events of a refused webhook are new at its redelivery.
func TestForget(t *testing.T) {
	r := newRig(t)
	s := r.open(t, "")
	defer s.Close()
	e := event("one", "pi_1", "order-1", schemas.PaymentCaptured, 1)
	for range 2 {
		a, err := s.AdmitWhenFresh(t.Context(), []schemas.Event{e})
		if err != nil || len(a.Events) != 1 || len(a.Events[0].References) != 1 {
			t.Fatalf("%v, %+v: want the event, and its reference", err, a)
		}
		a.Forget()
	}
}

// TestKeyOfEarlierAttempt: a record is written after its caller gave up waiting.
// Meanwhile a reference has given the redelivery the merchant's id. The redelivery gets
// the receipt of the written record, which has the fallback key, so that a correction
// of that record follows.
func TestKeyOfEarlierAttempt(t *testing.T) {
	dispute := event("dispute", "pi_1", "", schemas.DisputeOpened, 2)
	merchant := ""
	for i := 0; merchant == "" || kafka.PartitionOf([]byte(merchant), 2) == kafka.PartitionOf([]byte(dispute.Subject), 2); i++ {
		merchant = fmt.Sprint("order-", i) // a key in a partition whose leader answers, while the other partition's leader is held back
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	r := &rig{kafka: kafka.Config{Brokers: cluster.ListenAddrs()}}
	if _, err := (kafka.Layout{Partitions: 2, Replication: 1}).Apply(t.Context(), r.kafka); err != nil {
		t.Fatal(err)
	}
	for _, topic := range r.names.All() {
		for p := range int32(2) {
			node := int32(0)
			if topic == r.names.Event(schemas.DisputeOpened) {
				node = 1
			}
			if err := cluster.MoveTopicPartition(topic, p, node); err != nil {
				t.Fatal(err)
			}
		}
	}
	release := make(chan struct{})
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if cluster.CurrentNode() == 1 {
			cluster.SleepControl(func() { <-release })
		}
		return nil, nil, false
	})
	r.producer = publish.NewProducer(publish.Config{Kafka: r.kafka})
	t.Cleanup(r.producer.Close)
	s := r.open(t, "")
	defer s.Close()

	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := r.put(short, s, dispute); err == nil {
		t.Fatal("acknowledged before Kafka did")
	}
	if _, err := r.put(t.Context(), s, event("paid", "pi_1", merchant, schemas.PaymentCaptured, 1)); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, func() { close(release) })
	a, err := r.put(t.Context(), s, dispute)
	if err != nil || len(a.Events) != 1 || a.Events[0].Subject != merchant {
		t.Fatalf("the redelivery: %v, %+v, want it admitted under %s", err, a, merchant)
	}
	within(t, "the event is corrected", func() bool {
		p, err := s.Where(merchant)
		return err == nil && len(p.Events) == 2 && !slices.ContainsFunc(p.Events, func(e Located) bool { return e.ID == "dispute" })
	})
	if err := s.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if a, err := r.put(t.Context(), s, dispute); err != nil || a.Known["dispute"].Partition != kafka.PartitionOf([]byte(dispute.Subject), 2) {
		t.Errorf("another redelivery: %v, %+v, want the receipt of the record with the fallback key", err, a)
	}
}

// within waits until a condition holds, for 20 s at most.
func within(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not true after 20 s: %s", what)
		}
	}
}

// TestSameAtOnce: concurrent webhooks with the same events in different orders wait for
// each other, and each event is new to exactly one of them.
func TestSameAtOnce(t *testing.T) {
	r := newRig(t)
	s := r.open(t, "")
	defer s.Close()
	var fresh atomic.Int64
	var callers sync.WaitGroup
	const ids = 20
	for c := range 8 {
		callers.Go(func() {
			for n := range ids {
				one := event(fmt.Sprint("e", n), "pi", "order", schemas.PaymentCaptured, n)
				two := event(fmt.Sprint("e", (n+1)%ids), "pi", "order", schemas.PaymentCaptured, n)
				if c%2 == 0 {
					one, two = two, one
				}
				a, err := r.put(t.Context(), s, one, two)
				if err != nil {
					t.Error(err)
					return
				}
				fresh.Add(int64(len(a.Events)))
			}
		})
	}
	callers.Wait()
	if fresh.Load() != ids {
		t.Errorf("%d events were new, want each of %d once", fresh.Load(), ids)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	a, err := s.AdmitWhenFresh(t.Context(), []schemas.Event{event("held", "pi", "order", schemas.PaymentCaptured, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Forget()
	if _, err := s.Admit(ctx, a.Events); !errors.Is(err, kafka.ErrUnavailable) {
		t.Errorf("while another webhook publishes the same event for long: got %v, want ErrUnavailable", err)
	}
}

// TestRebuild: a state that is opened again knows what was published, even if its
// directory was deleted or belongs to another cluster.
func TestRebuild(t *testing.T) {
	r := newRig(t)
	dir := filepath.Join(t.TempDir(), "state")
	s := r.open(t, dir)
	e := event("one", "pi_1", "order-1", schemas.PaymentCaptured, 1)
	if _, err := r.put(t.Context(), s, e); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Dir: dir, Kafka: r.kafka}); !errors.Is(err, errInUse) {
		t.Errorf("a second server opened the state directory: %v, want %v", err, errInUse)
	}
	for _, damage := range []func(*History){
		func(*History) {},
		func(s *History) {
			if err := s.currentStore().writeJSON(rowMeta, origin{storeVersion, "another", ""}); err != nil {
				t.Fatal(err)
			}
		},
		func(*History) { defer os.RemoveAll(dir) },
	} {
		damage(s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = r.open(t, dir)
		a, err := s.LookUpWhenFresh(t.Context(), []schemas.Event{e, event("two", "pi_1", "", schemas.RefundSucceeded, 2)})
		if err != nil || len(a.Events) != 1 || a.Events[0].Subject != "order-1" || a.Known["one"].Topic == "" {
			t.Fatalf("%v, %+v: want the first event known, and the second with the key order-1", err, a)
		}
		a.Forget()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestForgetOld: events that are older than [Config.Remember] are removed.
func TestForgetOld(t *testing.T) {
	r := newRig(t)
	s := r.open(t, "")
	defer s.Close()
	if _, err := r.put(t.Context(), s, event("one", "pi_1", "order-1", schemas.PaymentCaptured, 1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		before time.Time
		want   bool
	}{{time.Now().Add(-time.Hour), true}, {time.Now().Add(time.Hour), false}} {
		if err := s.currentStore().forget(t.Context(), c.before); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := s.currentStore().event("one"); err != nil || ok != c.want {
			t.Errorf("after forgetting events before %s: known %v, %v, want %v", c.before, ok, err, c.want)
		}
	}
	if n, err := s.currentStore().terminal("stripe::pi_1"); err != nil || len(n.All) != 0 {
		t.Errorf("the payment's terminal states are %v, %v, want them removed", n, err)
	}
	if merchant, err := s.currentStore().reference("stripe::pi_1"); err != nil || merchant != "order-1" {
		t.Errorf("the reference is %q, %v, want it kept", merchant, err)
	}
}

// TestMemoryIsReleased: memory keeps nothing that the store has, whether memory or the
// store gets an event first.
func TestMemoryIsReleased(t *testing.T) {
	r := newRig(t)
	s := r.open(t, "")
	defer s.Close()
	for n := range 200 { // every second one is late
		e := event(fmt.Sprint("e", n), fmt.Sprint("pi_", n%50), fmt.Sprint("order-", n%50), schemas.PaymentProcessing, n%2*10)
		if _, err := r.put(t.Context(), s, e); err != nil {
			t.Fatal(err)
		}
	}
	held := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.pending) + len(s.local.events) + len(s.local.references) + len(s.local.newest) + len(s.local.terminal)
	}
	for deadline := time.Now().Add(20 * time.Second); held() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d entries stay in memory: %v %v", held(), s.local.events, s.local.newest)
		}
	}
}

// TestWaitsThroughRestart: an event that waits for its reference is corrected even if
// the state was closed and opened meanwhile.
func TestWaitsThroughRestart(t *testing.T) {
	r := newRig(t)
	dir := filepath.Join(t.TempDir(), "state")
	s := r.open(t, dir)
	if _, err := r.put(t.Context(), s, event("dispute", "pi_1", "", schemas.DisputeOpened, 2)); err != nil {
		t.Fatal(err)
	}
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = r.open(t, dir)
	defer s.Close()
	for s.currentStore().filter.visible.Load() == nil {
		time.Sleep(time.Millisecond)
	}
	if _, err := r.put(t.Context(), s, event("paid", "pi_1", "order-1", schemas.PaymentCaptured, 1)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		p, err := s.Where("order-1")
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Events) == 2 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("order-1 has %+v, want the payment and the dispute's correction", p.Events)
		}
	}
}
