package publish

import (
	"bytes"
	"errors"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// lines is a log that a test may read while it is written.
type lines struct{ text atomic.Pointer[[]byte] }

func (l *lines) Write(b []byte) (int, error) {
	var before []byte
	if p := l.text.Load(); p != nil {
		before = *p
	}
	after := append(bytes.Clone(before), b...)
	l.text.Store(&after)
	return len(b), nil
}

func (l *lines) String() string {
	if p := l.text.Load(); p != nil {
		return string(*p)
	}
	return ""
}

// TestNoProducerID: while Kafka gives no producer id, the producer asks again with a
// back-off and over few connections. Callers get the reason, and it is logged once. The
// producer is not ready until it gets an id, even if nobody publishes meanwhile.
func TestNoProducerID(t *testing.T) {
	for _, test := range []struct {
		name string
		code *kerr.Error // nil: the connection is cut
		text string
	}{
		{"not allowed", kerr.ClusterAuthorizationFailed, "grant tollbridge's user the operation Write on its topics, and before Kafka 2.8 IdempotentWrite on the cluster"},
		{"coordinator loads", kerr.CoordinatorLoadInProgress, "kafka gives no producer id: [14]"},
		{"unknown error", kerr.UnknownServerError, "kafka gives no producer id: [-1]"},
		{"connection cut", nil, "kafka gives no producer id: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cluster := kafkatest.Fake(t, kfake.NumBrokers(2))
			var asked, connections atomic.Int64
			var refuses atomic.Bool
			refuses.Store(true)
			cluster.ControlKey(int16(kmsg.InitProducerID), func(q kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				if !refuses.Load() {
					return nil, nil, false
				}
				asked.Add(1)
				if test.code == nil {
					return nil, errors.New("cut"), true
				}
				a := q.(*kmsg.InitProducerIDRequest).ResponseKind().(*kmsg.InitProducerIDResponse)
				a.ErrorCode = test.code.Code
				return a, nil, true
			})
			cluster.ControlKey(int16(kmsg.ApiVersions), func(kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				connections.Add(1)
				return nil, nil, false
			})
			log := &lines{}
			p := start(t, Config{Kafka: kafka.Config{Brokers: cluster.ListenAddrs()}, Patience: 500 * time.Millisecond, Log: zerolog.New(log)})
			records := []kafka.Record{{Topic: "a", Key: []byte("k"), Value: []byte("v")}, {Topic: "b", Key: []byte("other"), Value: []byte("v")}}
			begin := time.Now()
			_, err := p.Publish(kafkatest.Within(t, 4*time.Second), records)
			if !errors.Is(err, kafka.ErrUnavailable) || !strings.Contains(err.Error(), test.text) || time.Since(begin) > 2*time.Second {
				t.Errorf("got %[2]v after %[1]s; want %[3]v with %[4]q after half a second", time.Since(begin).Round(time.Millisecond), err, kafka.ErrUnavailable, test.text)
			}
			begin = time.Now()
			if _, err := p.Publish(kafkatest.Within(t, 4*time.Second), records); err == nil || !strings.Contains(err.Error(), test.text) || time.Since(begin) > 300*time.Millisecond {
				t.Errorf("the next caller: got %v after %s, want the reason at once", err, time.Since(begin))
			}
			if err := p.Ready(kafkatest.Within(t, 4*time.Second), []string{"a", "b"}); !errors.Is(err, kafka.ErrUnavailable) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("ready: got %v, want %v with %q", err, kafka.ErrUnavailable, test.text)
			}
			time.Sleep(2 * time.Second)
			if a, c := asked.Load(), connections.Load(); a < 3 || a > 15 || c > 30 || test.code != nil && c > 6 {
				t.Errorf("%d requests for a producer id, %d connections in %s", a, c, time.Since(begin).Round(time.Millisecond))
			}
			if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "nothing can be published without a producer id") {
				t.Errorf("want one log line, got\n%s", log)
			}
			refuses.Store(false)
			for end := time.Now().Add(2 * kafka.ProducerIDMaxBackoff); p.Ready(kafkatest.Within(t, time.Second), []string{"a", "b"}) != nil; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("not ready, though Kafka gives producer ids again")
				}
			}
			if _, err := p.Publish(kafkatest.Within(t, time.Second), records); err != nil {
				t.Error(err)
			}
			if !strings.Contains(log.String(), "gives a producer id again") {
				t.Errorf("the log does not say that Kafka gives producer ids again:\n%s", log)
			}
		})
	}
}

// TestIDsForSome: while Kafka gives no new producer id, partitions that have one
// continue to publish.
func TestIDsForSome(t *testing.T) {
	cluster := kafkatest.Fake(t)
	c := Config{Kafka: kafka.Config{Brokers: cluster.ListenAddrs()}, Patience: 300 * time.Millisecond}
	p := start(t, c)
	one, other := kafka.Record{Topic: "a", Key: []byte("k"), Value: []byte("v")}, kafka.Record{Topic: "b", Key: []byte("k"), Value: []byte("v")}
	for range 2 {
		if _, err := p.Publish(kafkatest.Within(t, 2*time.Second), []kafka.Record{one}); err != nil {
			t.Fatal(err)
		}
	}
	cluster.ControlKey(int16(kmsg.InitProducerID), func(q kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		a := q.ResponseKind().(*kmsg.InitProducerIDResponse)
		a.ErrorCode = kerr.ClusterAuthorizationFailed.Code
		return a, nil, true
	})
	p.cluster.ids.current.Store(nil)
	if _, err := p.Publish(kafkatest.Within(t, 2*time.Second), []kafka.Record{other}); !errors.Is(err, kafka.ErrUnavailable) {
		t.Errorf("a partition without an id: got %v, want %v", err, kafka.ErrUnavailable)
	}
	if _, err := p.Publish(kafkatest.Within(t, 2*time.Second), []kafka.Record{one}); err != nil {
		t.Errorf("a partition with an id: %v", err)
	}
}

// TestNoAnswer: a broker accepts connections but answers no produce request. The
// producer connects to it with a back-off.
func TestNoAnswer(t *testing.T) {
	cluster := kafkatest.Fake(t)
	c := Config{Kafka: kafka.Config{Brokers: cluster.ListenAddrs()}, Patience: 200 * time.Millisecond}
	p := start(t, c)
	if err := p.Ready(kafkatest.Within(t, 2*time.Second), []string{"a"}); err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int64
	cluster.ControlKey(int16(kmsg.ApiVersions), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		connections.Add(1)
		return nil, nil, false
	})
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		return nil, errors.New("cut"), true
	})
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		for key := range 20 {
			_, _ = p.Publish(kafkatest.Within(t, 5*time.Millisecond), []kafka.Record{{Topic: "a", Key: []byte{byte(key)}, Value: []byte("v")}})
		}
	}
	if n := connections.Load(); n > 40 {
		t.Errorf("%d connections in 2 s, want at most 40", n)
	}
}
