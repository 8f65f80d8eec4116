package publish

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
)

// TestLock: of several callers at once, one gets the lock of the topics, and the others
// learn who holds it. What a former holder sends later is not written.
func TestLock(t *testing.T) {
	t.Run("fake", func(t *testing.T) { lockOf(t, kafka.Config{Brokers: kafkatest.Fake(t).ListenAddrs()}) })
	t.Run("real", func(t *testing.T) {
		if testing.Short() {
			t.Skip("starts a broker")
		}
		lockOf(t, kafka.Config{Brokers: kafkatest.Start(t, kafkatest.Options{Brokers: 1}).Bootstrap()})
	})
}

func lockOf(t *testing.T, c kafka.Config) {
	n := kafka.Names{Prefix: "locked."}
	if _, err := (kafka.Layout{Names: n, Partitions: 3, Replication: 1}).Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	acquire := func(command string) (*Lock, error) {
		return AcquireLock(kafkatest.Within(t, 90*time.Second), c, n, LockHolder{Command: command, Host: "here", PID: 7, Since: time.Now()})
	}
	// Several callers at once.
	var mu sync.Mutex
	var held []*Lock
	var others sync.WaitGroup
	told := map[string]bool{}
	for _, command := range []string{"a", "b", "c"} {
		others.Go(func() {
			l, err := acquire(command)
			mu.Lock()
			defer mu.Unlock()
			var other *LockHeldError
			switch {
			case err == nil:
				held = append(held, l)
			case errors.As(err, &other):
				told[other.Command] = true
			default:
				t.Errorf("%s: %v", command, err)
			}
		})
	}
	others.Wait()
	if len(held) != 1 || len(told) != 1 || !told[held[0].self.Command] {
		t.Fatalf("%d callers hold the lock, and the others got %v as its holder", len(held), told)
	}
	first := held[0]
	// Callers one after the other: the holder keeps the lock, and can write.
	for range 2 {
		_, err := acquire("d")
		var other *LockHeldError
		if !errors.As(err, &other) || other.Command != first.self.Command || other.PID != 7 || other.Host != "here" {
			t.Fatalf("a second caller: got %v, want the holder's name", err)
		}
	}
	record := func(of string) []kafka.Record {
		return []kafka.Record{{Topic: n.Dead(), Key: []byte("k"), Value: []byte(of)}}
	}
	locked := Config{Kafka: c}
	locked.Lock = first
	p := start(t, locked)
	for _, of := range []string{"first", "first again"} {
		if _, err := p.Publish(kafkatest.Within(t, 5*time.Second), record(of)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := start(t, Config{Kafka: c}).Publish(kafkatest.Within(t, 5*time.Second), record("a server's, which takes no lock")); err != nil {
		t.Fatal(err)
	}
	// A process that was suspended continues: it believes that it still holds the lock.
	stopped := &Lock{producer: first.producer}
	stopped.ctx, stopped.cancel = context.WithCancelCause(t.Context())
	now := time.Now()
	stopped.lastHeartbeat.Store(&now)
	first.Release()
	began := time.Now()
	second, err := acquire("e")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Release()
	if took := time.Since(began); took > sessionTime {
		t.Errorf("it took %s to get a released lock", took)
	}
	locked.Lock = stopped
	if _, err := start(t, locked).Publish(kafkatest.Within(t, 2*time.Second), record("one that was stopped")); err == nil {
		t.Error("a former holder can write")
	}
	if !errors.Is(context.Cause(stopped.ctx), ErrLockLost) {
		t.Errorf("a former holder continues: %v", context.Cause(stopped.ctx))
	}
	locked.Lock = second
	if _, err := start(t, locked).Publish(kafkatest.Within(t, 5*time.Second), record("second")); err != nil {
		t.Fatal(err)
	}
	got := valuesOf(t, c, n.Dead())
	if want := []string{"a server's, which takes no lock", "first", "first again", "second"}; !slices.Equal(got, want) {
		t.Errorf("written are %q, want %q", got, want)
	}
	// A holder stops by itself when its heartbeats are not answered.
	late := time.Now().Add(-sessionTime - time.Second)
	second.lastHeartbeat.Store(&late)
	if _, err := second.id(); !errors.Is(err, ErrLockLost) || second.Context().Err() == nil {
		t.Errorf("a holder without heartbeats: got %v, want ErrLockLost", err)
	}
	// As when a holder was killed, Kafka answers the next join when the session has passed.
	// The time that the next holder waited is not a part of its own session.
	third, err := acquire("f")
	if err != nil {
		t.Fatal(err)
	}
	defer third.Release()
	if silent := time.Since(*third.lastHeartbeat.Load()); silent > sessionTime/2 {
		t.Errorf("a new holder has been without a heartbeat for %s already", silent)
	}
}

// valuesOf returns the sorted values of a topic's records as a consumer reads them,
// without control records.
func valuesOf(t *testing.T, c kafka.Config, topic string) (all []string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for ctx := kafkatest.Within(t, 2*time.Second); ctx.Err() == nil; {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { all = append(all, string(r.Value)) })
	}
	slices.Sort(all)
	return all
}

// TestLockErrors: the error says whether topics do not exist or Kafka does not answer.
func TestLockErrors(t *testing.T) {
	c := kafka.Config{Brokers: kafkatest.Fake(t).ListenAddrs()}
	if _, err := AcquireLock(kafkatest.Within(t, 20*time.Second), c, kafka.Names{Prefix: "nosuch."}, LockHolder{}); !errors.Is(err, kafkago.UnknownTopicOrPartition) {
		t.Errorf("without topics: %v", err)
	}
	if _, err := AcquireLock(kafkatest.Within(t, time.Second), kafka.Config{Brokers: []string{"127.0.0.1:1"}}, kafka.Names{}, LockHolder{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without Kafka: %v", err)
	}
}

// TestLockUnknownMember: a process that was suspended after Kafka gave it a member id joins
// again without it.
func TestLockUnknownMember(t *testing.T) {
	cluster := kafkatest.Fake(t)
	c, n := kafka.Config{Brokers: cluster.ListenAddrs()}, kafka.Names{Prefix: "locked."}
	if _, err := (kafka.Layout{Names: n, Partitions: 1, Replication: 1}).Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	cluster.ControlKey(int16(kmsg.JoinGroup), func(r kmsg.Request) (kmsg.Response, error, bool) {
		answer := r.ResponseKind().(*kmsg.JoinGroupResponse)
		answer.ErrorCode, answer.MemberID = kerr.MemberIDRequired.Code, "forgotten" // the next answer is that Kafka does not know it
		return answer, nil, true
	})
	l, err := AcquireLock(kafkatest.Within(t, 20*time.Second), c, n, LockHolder{Command: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	if l.member == "" || l.member == "forgotten" {
		t.Errorf("the lock's member is %q, want one that Kafka knows", l.member)
	}
}
