package soak_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/once"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/internal/soak"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/webhook"
)

// liar is a publisher between ingest and the producer that makes the faults to be found.
type liar struct {
	history.Publisher
	kafka kafka.Config
	calls atomic.Int64
	lie   lie
}

func (l *liar) Publish(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
	if receipts, err, lied := l.lie(l, l.calls.Add(1), records); lied {
		return receipts, err
	}
	return l.Publisher.Publish(ctx, records)
}

// again writes records with another producer.
func (l *liar) again(records []kafka.Record) {
	p := publish.NewProducer(publish.Config{Kafka: l.kafka})
	defer p.Close()
	_, _ = p.Publish(context.Background(), records) // what is not written is not seen: the test fails
}

// receipts returns receipts for records that are not written.
func receipts(records []kafka.Record) []kafka.Receipt {
	claimed := make([]kafka.Receipt, len(records))
	for i, r := range records {
		claimed[i].Topic = r.Topic
	}
	return claimed
}

// lie is what a [liar] does instead of publishing; lied is false if it publishes.
type lie func(l *liar, call int64, records []kafka.Record) (receipts []kafka.Receipt, err error, lied bool)

func honest(*liar, int64, []kafka.Record) ([]kafka.Receipt, error, bool) { return nil, nil, false }

// loser returns a lie that loses each delivery of one webhook.
func loser() lie {
	var mu sync.Mutex
	victim := ""
	return func(_ *liar, call int64, r []kafka.Record) ([]kafka.Receipt, error, bool) {
		mu.Lock()
		defer mu.Unlock()
		if call == 100 && victim == "" {
			victim = r[0].ID
		}
		return receipts(r), nil, r[0].ID == victim
	}
}

// topics returns a fake Kafka with the topics.
func topics(t *testing.T) kafka.Config {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	c := kafka.Config{Brokers: cluster.ListenAddrs()}
	if _, err := (kafka.Layout{Partitions: 3, Replication: 1}).Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c
}

// shortClaims are rules with which a webhook that one replica refuses on a busy machine is
// soon accepted by another.
var shortClaims = once.Rules{SendTime: kafka.ClaimSendTime, Lifetime: kafka.ClaimSendTime + 3*time.Second}

// replica returns a server with a Stripe endpoint. If it does not remember, it publishes
// every delivery.
func replica(t *testing.T, c kafka.Config, does lie, remembers bool) *ingest.Server {
	t.Helper()
	producer := publish.NewProducer(publish.Config{Kafka: c})
	t.Cleanup(producer.Close)
	publisher := &liar{Publisher: producer, kafka: c, lie: does}
	var memory *history.History
	if remembers {
		var err error
		if memory, err = history.Open(t.Context(), history.Config{Kafka: c, Publisher: producer, ClaimRules: shortClaims, Log: zerolog.Nop()}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = memory.Close() })
		memory.Await(t.Context(), time.Minute)
	}
	keys, _, _ := sign.Dev("stripe")
	server, err := ingest.New(ingest.Config{
		Endpoints: []webhook.Endpoint{{Connector: "stripe", Keys: keys, MerchantIDKeys: []string{"merchant_transaction_id"}}},
		Publisher: publisher, History: memory,
	})
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// against returns a run against servers that publish to one Kafka.
func against(t *testing.T, c kafka.Config, servers ...http.Handler) soak.Config {
	t.Helper()
	_, secret, _ := sign.Dev("stripe")
	run := soak.Config{
		Secret: secret, Kafka: c,
		Rate: 500, Count: 600, Keys: 50, Patience: 20 * time.Second, Settle: time.Millisecond, Alone: true,
	}
	for _, s := range servers {
		front := httptest.NewServer(s)
		t.Cleanup(front.Close)
		run.URLs = append(run.URLs, front.URL+"/webhooks/stripe")
	}
	return run
}

// bench returns a run against one server that does not remember.
func bench(t *testing.T, does lie) soak.Config {
	t.Helper()
	c := topics(t)
	return against(t, c, replica(t, c, does, false))
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

// TestPlanted: each fault that a server makes is counted.
func TestPlanted(t *testing.T) {
	for name, c := range map[string]struct {
		lie  lie
		want soak.Report
	}{
		"nothing": {honest, soak.Report{}},
		"a loss": {func(_ *liar, call int64, r []kafka.Record) ([]kafka.Receipt, error, bool) {
			return receipts(r), nil, call == 300
		}, soak.Report{Lost: 1}},
		"a duplicate": {func(l *liar, call int64, r []kafka.Record) ([]kafka.Receipt, error, bool) {
			if call == 300 {
				l.again(r)
			}
			return nil, nil, false
		}, soak.Report{Dup: 1, WrongReceipts: 0}},
		"an error that is no refusal": {func(l *liar, call int64, r []kafka.Record) ([]kafka.Receipt, error, bool) {
			if call == 300 {
				l.again(r)
			}
			return nil, kafka.ErrUnavailable, call == 300
		}, soak.Report{Dup: 1, Refused: 1}},
		"an invented webhook": {func(l *liar, call int64, r []kafka.Record) ([]kafka.Receipt, error, bool) {
			if call == 300 {
				l.again([]kafka.Record{{Topic: r[0].Topic, Key: []byte("x"), Value: []byte(`{}`)}})
			}
			return nil, nil, false
		}, soak.Report{Phantom: 1}},
		"refused, and sent again": {func(_ *liar, call int64, r []kafka.Record) ([]kafka.Receipt, error, bool) {
			return nil, kafka.ErrUnavailable, call%10 == 0
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

// TestPlantedReorder: a webhook that is written after its acknowledgement, and after the
// next ones of its key, is counted.
func TestPlantedReorder(t *testing.T) {
	var late []kafka.Record
	var once sync.Once
	c := bench(t, func(l *liar, call int64, r []kafka.Record) ([]kafka.Receipt, error, bool) {
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

// forger changes the answers of servers to the first webhook that is delivered again.
type forger struct {
	forge func(w http.ResponseWriter, answer *httptest.ResponseRecorder) // nil is nothing

	mu     sync.Mutex
	seen   map[string]bool // bodies
	victim string
}

func (f *forger) before(server http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
		chosen := f.chooses(string(body))
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, q)
		if chosen {
			f.forge(w, answer)
			return
		}
		repeat(w, answer)
	})
}

func (f *forger) chooses(body string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.victim == "" && f.seen[body] {
		f.victim = body
	}
	f.seen[body] = true
	return f.forge != nil && f.victim == body
}

func repeat(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()) // a caller who left has no answer, and soak sees it
}

// TestPlantedRedelivery: faults in the answers to redeliveries, and faults that only
// replicas with a history make, are counted.
func TestPlantedRedelivery(t *testing.T) {
	for name, c := range map[string]struct {
		lie   lie // of each
		forge func(w http.ResponseWriter, answer *httptest.ResponseRecorder)
		want  soak.Report
	}{
		"nothing": {lie: honest},
		"another receipt": {lie: honest, forge: func(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
			at := answer.Header().Get(ingest.ReceiptHeader)
			answer.Header().Set(ingest.ReceiptHeader, strings.Replace(at, `topic="`, `topic="other.`, 1))
			repeat(w, answer)
		}, want: soak.Report{WrongReceipts: 1}},
		"no receipt": {lie: honest, forge: func(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
			answer.Header().Del(ingest.ReceiptHeader)
			repeat(w, answer)
		}, want: soak.Report{WrongReceipts: 1}},
		"no 2xx any more": {lie: honest, forge: func(w http.ResponseWriter, _ *httptest.ResponseRecorder) {
			w.WriteHeader(http.StatusInternalServerError)
		}, want: soak.Report{Unconfirmed: 1}},
		"a loss": {lie: loser(), want: soak.Report{Lost: 1}},
		"an invented webhook": {lie: func(l *liar, call int64, r []kafka.Record) ([]kafka.Receipt, error, bool) {
			if call == 100 {
				l.again([]kafka.Record{{Topic: r[0].Topic, Key: []byte("x"), Value: []byte(`{}`)}})
			}
			return nil, nil, false
		}, want: soak.Report{Phantom: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kafka := topics(t)
			f := &forger{forge: c.forge, seen: map[string]bool{}}
			run := against(t, kafka, f.before(replica(t, kafka, c.lie, true)), f.before(replica(t, kafka, c.lie, true)))
			run.Redeliver, run.Patience = 0.5, shortClaims.Lifetime+4*time.Second
			run.After, run.Within = time.Second, time.Second // a busy machine reads back late
			r := soaked(t, run)
			if r.Sent != 600 || r.Acked != 600 || r.GivenUp != 0 || r.Redelivered < 200 || r.OK() != (name == "nothing") {
				t.Errorf("sent %d, acked %d, given up %d, redelivered %d, OK is %v", r.Sent, r.Acked, r.GivenUp, r.Redelivered, r.OK())
			}
			got := [...]int{r.Lost, r.Dup, r.Phantom, r.Order, r.WrongReceipts, r.Unconfirmed}
			w := c.want
			if want := [...]int{w.Lost, w.Dup, w.Phantom, w.Order, w.WrongReceipts, w.Unconfirmed}; got != want {
				t.Errorf("lost, dup, phantom, order, wrong receipts, unconfirmed: %v, want %v\n%s", got, want, strings.Join(r.Details, "\n"))
			}
		})
	}
}

// TestForgotten: what replicas without a history write twice is counted: redeliveries as
// duplicates, and deliveries to both at once as twins.
func TestForgotten(t *testing.T) {
	kafka := topics(t)
	one, other := replica(t, kafka, honest, false), replica(t, kafka, honest, false)
	for name, c := range map[string]struct {
		servers          []http.Handler
		redeliver, twice float64
		apart            time.Duration
	}{
		"a redelivery":             {[]http.Handler{one, other}, 0.5, 0, 0},
		"two at once":              {[]http.Handler{one, other}, 0, 0.5, 0},
		"two, one after the other": {[]http.Handler{one, other}, 0, 0.5, 20 * time.Millisecond},
		"two at once, one replica": {[]http.Handler{one}, 0, 0.5, 0},
	} {
		t.Run(name, func(t *testing.T) {
			run := against(t, kafka, c.servers...)
			run.Count, run.Redeliver, run.Within, run.Twice, run.Apart = 200, c.redeliver, 100*time.Millisecond, c.twice, c.apart
			r := soaked(t, run)
			if r.Dup < 50 || r.Lost+r.Phantom+r.Order+r.WrongReceipts+r.Unconfirmed > 0 {
				t.Errorf("got %v, want DUP alone\n%s", r, strings.Join(r.Details, "\n"))
			}
			if twins := len(c.servers) > 1 && c.twice > 0; twins && r.Twins != r.Twice || !twins && r.Twins+r.Twice > 0 {
				t.Errorf("%d of %d twins, DUP %d: only what several replicas got at once are twins, and they all are", r.Twins, r.Twice, r.Dup)
			}
			if c.redeliver > 0 && r.Dup != r.Redelivered {
				t.Errorf("DUP %d of %d redeliveries, want all", r.Dup, r.Redelivered)
			}
		})
	}
}

// TestGivenUp: webhooks that are written and never answered with 2xx are counted apart.
func TestGivenUp(t *testing.T) {
	var mu sync.Mutex
	victim := ""
	c := bench(t, func(l *liar, call int64, r []kafka.Record) ([]kafka.Receipt, error, bool) {
		mu.Lock()
		defer mu.Unlock()
		if call == 300 {
			victim = r[0].ID
			l.again(r)
		}
		return nil, kafka.ErrUnavailable, victim != "" && r[0].ID == victim
	})
	c.Patience = time.Second
	r := soaked(t, c)
	if r.GivenUp != 1 || r.UnackedWritten != 1 || r.Acked != r.Sent-1 || !r.OK() {
		t.Errorf("got %v, want one given up, and written", r)
	}
}

// TestNoVerdict: a run with a wrong configuration ends with an error that says why.
func TestNoVerdict(t *testing.T) {
	for want, spoil := range map[string]func(*soak.Config){
		"secret": func(c *soak.Config) { c.Secret = "whsec_other" },
		"URL":    func(c *soak.Config) { c.URLs[0] += "/other" },
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
	if _, err := soak.Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), kafkago.UnknownTopicOrPartition.Error()) {
		t.Errorf("got %v, want an error about the topics", err)
	}
}

// TestJSON: the names that scripts rely on, in their order.
func TestJSON(t *testing.T) {
	b, err := json.Marshal(soak.Report{Sent: 9, Acked: 8, Lost: 7, Dup: 6, Phantom: 5, Order: 4, MaxPause: 3 * time.Millisecond, Max503: 2 * time.Millisecond, WrongReceipts: 1, Redelivered: 2, Unconfirmed: 3, Twice: 4, Twins: 5})
	want := `{"sent":9,"acked":8,"lost":7,"dup":6,"phantom":5,"order":4,"max_pause_ms":3,"max_503_ms":2,"wrong_receipts":1,"redelivered":2,"unconfirmed":3,"twice":4,"twins":5,`
	if err != nil || !strings.HasPrefix(string(b), want) {
		t.Errorf("got %s, %v; want it to begin with %s", b, err, want)
	}
}

// TestControlRecords: the control records that commands leave at the ends of the topics
// are no records of the run, and the run reads past them.
func TestControlRecords(t *testing.T) {
	c := topics(t)
	run, err := soak.Start(t.Context(), against(t, c, replica(t, c, honest, false)))
	if err != nil {
		t.Fatal(err)
	}
	ends := func() (sum int64) {
		reader := consume.New(c)
		defer reader.Close()
		partitions, err := reader.Partitions(t.Context(), kafka.Names{}.Events()...)
		if err != nil {
			t.Fatal(err)
		}
		bounds, err := reader.Bounds(t.Context(), partitions)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range bounds {
			sum += b.To
		}
		return sum
	}
	for sent := 0; sent < 600; sent, _ = run.Sent() {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond)
	before := ends()
	for range 2 {
		lock, err := publish.AcquireLock(t.Context(), c, kafka.Names{}, publish.LockHolder{Command: "a test"})
		if err != nil {
			t.Fatal(err)
		}
		lock.Release()
	}
	if ends() == before {
		t.Fatal("the lock left no control records")
	}
	r, err := run.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if r.Acked != 600 || !r.OK() {
		t.Errorf("%v\n%s", r, strings.Join(r.Details, "\n"))
	}
}
