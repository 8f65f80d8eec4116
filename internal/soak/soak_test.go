package soak_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/internal/soak"
	"github.com/tollbridge/tollbridge/publish"
)

// liar stands between ingest and the producer, and does what a bridge must not.
type liar struct {
	ingest.Publisher
	kafka publish.Config
	calls atomic.Int64
	lie   func(l *liar, call int64, records []publish.Record) (receipts []publish.Receipt, err error, lied bool)
}

func (l *liar) Publish(ctx context.Context, records []publish.Record) ([]publish.Receipt, error) {
	if receipts, err, lied := l.lie(l, l.calls.Add(1), records); lied {
		return receipts, err
	}
	return l.Publisher.Publish(ctx, records)
}

// again writes records with a producer that knows nothing of the first.
func (l *liar) again(records []publish.Record) {
	p := publish.NewProducer(l.kafka)
	defer p.Close()
	_, _ = p.Publish(context.Background(), records) // what is not written is not seen: the test fails
}

// receipts claims that the records are written, each as its topic's first.
func receipts(records []publish.Record) []publish.Receipt {
	claimed := make([]publish.Receipt, len(records))
	for i, r := range records {
		claimed[i].Topic = r.Topic
	}
	return claimed
}

// bench serves an endpoint of Stripe's in front of a fake Kafka.
func bench(t *testing.T, lie func(*liar, int64, []publish.Record) ([]publish.Receipt, error, bool)) soak.Config {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	c := publish.Config{Brokers: cluster.ListenAddrs()}
	if _, err := (publish.Layout{Partitions: 3, Replication: 1}).Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	producer := publish.NewProducer(c)
	t.Cleanup(producer.Close)
	keys, secret, _ := sign.Dev("stripe")
	server, err := ingest.New(ingest.Config{
		Endpoints: []ingest.Endpoint{{Connector: "stripe", Keys: keys, MerchantIDKeys: []string{"merchant_transaction_id"}}},
		Publisher: &liar{Publisher: producer, kafka: c, lie: lie},
	})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(server)
	t.Cleanup(front.Close)
	return soak.Config{
		URL: front.URL + "/webhooks/stripe", Secret: secret, Kafka: c,
		Rate: 500, Count: 600, Keys: 50, Patience: 20 * time.Second, Settle: time.Millisecond, Alone: true,
	}
}

func soaked(t *testing.T, c soak.Config) soak.Report {
	t.Helper()
	run, err := soak.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	r, err := run.Wait()
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	return r
}

// TestPlanted has each fault committed by what stands for the bridge, and
// expects it to be seen.
func TestPlanted(t *testing.T) {
	for name, c := range map[string]struct {
		lie  func(l *liar, call int64, records []publish.Record) ([]publish.Receipt, error, bool)
		want soak.Report
	}{
		"nothing": {func(*liar, int64, []publish.Record) ([]publish.Receipt, error, bool) { return nil, nil, false }, soak.Report{}},
		"a loss": {func(_ *liar, call int64, r []publish.Record) ([]publish.Receipt, error, bool) {
			return receipts(r), nil, call == 300
		}, soak.Report{Lost: 1}},
		"a duplicate": {func(l *liar, call int64, r []publish.Record) ([]publish.Receipt, error, bool) {
			if call == 300 {
				l.again(r)
			}
			return nil, nil, false
		}, soak.Report{Dup: 1, WrongReceipts: 0}},
		"an error that is no refusal": {func(l *liar, call int64, r []publish.Record) ([]publish.Receipt, error, bool) {
			if call == 300 {
				l.again(r)
			}
			return nil, publish.ErrUnavailable, call == 300
		}, soak.Report{Dup: 1, Refused: 1}},
		"an invented webhook": {func(l *liar, call int64, r []publish.Record) ([]publish.Receipt, error, bool) {
			if call == 300 {
				l.again([]publish.Record{{Topic: r[0].Topic, Key: []byte("x"), Value: []byte(`{}`)}})
			}
			return nil, nil, false
		}, soak.Report{Phantom: 1}},
		"refused, and sent again": {func(_ *liar, call int64, r []publish.Record) ([]publish.Receipt, error, bool) {
			return nil, publish.ErrUnavailable, call%10 == 0
		}, soak.Report{Refused: 66}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := soaked(t, bench(t, c.lie))
			if r.Sent != 600 || r.Acked != 600 || r.GivenUp != 0 {
				t.Errorf("sent %d, acked %d, given up %d; want 600, 600, 0", r.Sent, r.Acked, r.GivenUp)
			}
			got := [...]int{r.Lost, r.Dup, r.Phantom, r.Order, r.WrongReceipts, r.Refused}
			w := c.want
			if want := [...]int{w.Lost, w.Dup, w.Phantom, w.Order, w.WrongReceipts, w.Refused}; got != want {
				t.Errorf("lost, dup, phantom, order, wrong receipts, refused: %v, want %v\n%s", got, want, strings.Join(r.Details, "\n"))
			}
		})
	}
}

// TestPlantedReorder: a webhook that was acknowledged before it was written
// comes behind the next ones of its key.
func TestPlantedReorder(t *testing.T) {
	var late []publish.Record
	var once sync.Once
	c := bench(t, func(l *liar, call int64, r []publish.Record) ([]publish.Receipt, error, bool) {
		if call == 100 {
			late = r
			return receipts(r), nil, true
		}
		if call == 590 {
			once.Do(func() { l.again(late) })
		}
		return nil, nil, false
	})
	r := soaked(t, c)
	if r.Order != 1 || r.WrongReceipts != 1 || r.Lost+r.Dup+r.Phantom != 0 {
		t.Errorf("got %v, want ORDER 1 and a wrong receipt\n%s", r, strings.Join(r.Details, "\n"))
	}
}

// TestGivenUp: what is never answered 2xx and yet written is counted apart.
func TestGivenUp(t *testing.T) {
	var mu sync.Mutex
	victim := ""
	c := bench(t, func(l *liar, call int64, r []publish.Record) ([]publish.Receipt, error, bool) {
		mu.Lock()
		defer mu.Unlock()
		if call == 300 {
			victim = r[0].ID
			l.again(r)
		}
		return nil, publish.ErrUnavailable, victim != "" && r[0].ID == victim
	})
	c.Patience = time.Second
	r := soaked(t, c)
	if r.GivenUp != 1 || r.UnackedWritten != 1 || r.Acked != r.Sent-1 || !r.OK() {
		t.Errorf("got %v, want one given up, and written", r)
	}
}

// TestNoVerdict: a run that cannot be right from the start says why.
func TestNoVerdict(t *testing.T) {
	honest := func(*liar, int64, []publish.Record) ([]publish.Receipt, error, bool) { return nil, nil, false }
	for want, spoil := range map[string]func(*soak.Config){
		"secret": func(c *soak.Config) { c.Secret = "whsec_other" },
		"URL":    func(c *soak.Config) { c.URL += "/other" },
	} {
		c := bench(t, honest)
		spoil(&c)
		run, err := soak.Start(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := run.Wait(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v and %v, want an error about the %s", r, err, want)
		}
	}
	c := bench(t, honest)
	c.Names.Prefix = "other."
	if _, err := soak.Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), kafka.UnknownTopicOrPartition.Error()) {
		t.Errorf("got %v, want an error about the topics", err)
	}
}

// TestJSON: the names that scripts rely on, in their order.
func TestJSON(t *testing.T) {
	b, err := json.Marshal(soak.Report{Sent: 9, Acked: 8, Lost: 7, Dup: 6, Phantom: 5, Order: 4, MaxPause: 3 * time.Millisecond, Max503: 2 * time.Millisecond})
	want := `{"sent":9,"acked":8,"lost":7,"dup":6,"phantom":5,"order":4,"max_pause_ms":3,"max_503_ms":2,`
	if err != nil || !strings.HasPrefix(string(b), want) {
		t.Errorf("got %s, %v; want it to begin with %s", b, err, want)
	}
}
