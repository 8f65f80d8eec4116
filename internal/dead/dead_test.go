package dead_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/dead"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/internal/once"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// rig is a fake Kafka with one dead letter.
type rig struct {
	kafka    kafka.Config
	names    kafka.Names
	producer *publish.Producer
	endpoint webhook.Endpoint
}

func newRig(t *testing.T, connector, payload string) *rig {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	keys, _, _ := sign.Dev(connector)
	r := &rig{kafka: kafka.Config{Brokers: cluster.ListenAddrs()}, endpoint: webhook.Endpoint{Connector: connector, Keys: keys}}
	if _, err := (kafka.Layout{Partitions: 2, Replication: 1}).Apply(t.Context(), r.kafka); err != nil {
		t.Fatal(err)
	}
	r.producer = publish.NewProducer(publish.Config{Kafka: r.kafka})
	t.Cleanup(r.producer.Close)
	r.add(t, payload)
	return r
}

// retry retries all letters as the command does, and returns how many there were. It
// stops at the first error.
func (r *rig) retry(t *testing.T, to history.Publisher) (int, error) {
	t.Helper()
	h, err := history.Open(t.Context(), history.Config{Kafka: r.kafka, Names: r.names, Publisher: to, ClaimRules: shortClaims, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	h.Await(t.Context(), 20*time.Second)
	d := dead.Handler{Reader: r.reader(t), Names: r.names, Endpoints: []webhook.Endpoint{r.endpoint}, History: h, Publisher: to, By: "a test"}
	letters := r.letters(t, dead.Filter{})
	return len(letters), d.Retry(t.Context(), letters, func(dead.Verdict) error { return nil })
}

// reader returns a reader that is closed when the test ends.
func (r *rig) reader(t *testing.T) *consume.Reader {
	reader := consume.New(r.kafka)
	t.Cleanup(reader.Close)
	return reader
}

func (r *rig) letters(t *testing.T, f dead.Filter) []*dead.Letter {
	t.Helper()
	reader := consume.New(r.kafka)
	defer reader.Close()
	all, err := dead.List(t.Context(), reader, r.names, f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// events counts the records of the event topics.
func (r *rig) events(t *testing.T) int64 { return r.count(t, r.names.Events()...) }

// count counts the records of topics.
func (r *rig) count(t *testing.T, topics ...string) (n int64) {
	t.Helper()
	reader := consume.New(r.kafka)
	defer reader.Close()
	partitions, err := reader.Partitions(t.Context(), topics...)
	if err != nil {
		t.Fatal(err)
	}
	ranges, err := reader.Bounds(t.Context(), partitions)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range ranges {
		n += g.To - g.From
	}
	return n
}

// shortClaims lets a test that kills a command continue at once: nothing of the command is
// under way then.
var shortClaims = once.Rules{SendTime: kafka.ClaimSendTime, Lifetime: time.Second}

// isAside reports whether records are what the history writes: claims, which precede the
// events, or references, which follow them.
func isAside(records []kafka.Record) bool {
	topic, names := records[0].Topic, kafka.Names{}
	return strings.HasSuffix(topic, names.Claims()) || strings.HasSuffix(topic, names.References())
}

// killed is a publisher that fails after a number of calls, as if the process were
// killed. Claims and references do not count.
type killed struct {
	history.Publisher
	after *int
}

var errKilled = errors.New("killed")

func (k killed) Publish(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
	if isAside(records) {
		return k.Publisher.Publish(ctx, records)
	}
	if *k.after == 0 {
		return nil, errKilled
	}
	*k.after--
	return k.Publisher.Publish(ctx, records)
}

const payment = `{"id":"evt_1","object":"event","created":1767225600,"livemode":false,"type":"payment_intent.succeeded",` +
	`"data":{"object":{"id":"pi_1","amount_received":100,"currency":"eur","metadata":{"order_id":"order-1"}}}}`

// TestKilled: the next retry completes a retry that was killed, and the event is
// published once.
func TestKilled(t *testing.T) {
	for calls := range 2 { // killed before the event is published, or before the letter is marked
		r := newRig(t, "stripe", payment)
		after := calls
		if n, err := r.retry(t, killed{r.producer, &after}); n != 1 || !errors.Is(err, errKilled) {
			t.Errorf("killed after %d calls: %d letters, %v", calls, n, err)
		}
		if n := r.events(t); n != int64(calls) {
			t.Errorf("killed after %d calls: %d events", calls, n)
		}
		for _, want := range []int{1, 0} {
			if n, err := r.retry(t, r.producer); n != want || err != nil {
				t.Errorf("retry after the kill: %d letters, %v, want %d", n, err, want)
			}
		}
		if n := r.events(t); n != 1 {
			t.Errorf("killed after %d calls, and retried twice: %d events, want one", calls, n)
		}
		all := r.letters(t, dead.Filter{Handled: true})
		if len(all) != 1 || all[0].Handled.Outcome != dead.Retried || all[0].Handled.By != "a test" || len(all[0].Handled.EventIDs) != 1 {
			t.Errorf("the letter is marked %+v, want it one retry by \"a test\" with one event id", all[0].Handled)
		}
	}
}

// add writes another letter of the rig's connector.
func (r *rig) add(t *testing.T, payload string) {
	t.Helper()
	now := time.Now()
	_, secret, _ := sign.Dev(r.endpoint.Connector)
	v, err := sign.Request(r.endpoint.Connector, []byte(payload), secret, r.endpoint.Keys.Settings, "", now)
	if err != nil {
		t.Fatal(err)
	}
	letter := kafka.Record{Topic: r.names.Dead(), Key: []byte(r.endpoint.Connector), Value: v.Body}
	for _, h := range [][2]string{
		{"connector", r.endpoint.Connector}, {"endpoint", "default"}, {"method", v.Method}, {"received-at", now.Format(time.RFC3339Nano)},
		{"outcome", "malformed"}, {"reason", "by a test"},
	} {
		letter.Headers = append(letter.Headers, schemas.Header{Name: h[0], Value: h[1]})
	}
	for name := range v.Header {
		letter.Headers = append(letter.Headers, schemas.Header{Name: "http-" + strings.ToLower(name), Value: v.Header.Get(name)})
	}
	if _, err := r.producer.Publish(t.Context(), []kafka.Record{letter}); err != nil {
		t.Fatal(err)
	}
}

// counted is a publisher that counts its calls but those with claims or references.
type counted struct {
	history.Publisher
	calls *int
}

func (c counted) Publish(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
	if !isAside(records) {
		*c.calls++
	}
	return c.Publisher.Publish(ctx, records)
}

// TestBatches: letters of different payments are written in few requests to Kafka.
func TestBatches(t *testing.T) {
	r := newRig(t, "stripe", payment)
	const letters = 450
	for i := 2; i <= letters; i++ {
		r.add(t, strings.NewReplacer("evt_1", fmt.Sprint("evt_", i), "pi_1", fmt.Sprint("pi_", i), "order-1", fmt.Sprint("order-", i)).Replace(payment))
	}
	calls := 0
	if n, err := r.retry(t, counted{r.producer, &calls}); n != letters || err != nil {
		t.Fatalf("%d letters, %v", n, err)
	}
	if calls != 6 {
		t.Errorf("%d produce calls, want 3 for the events and 3 for the marks", calls)
	}
	if events, references := r.events(t), r.count(t, r.names.References()); events != letters || references != letters {
		t.Errorf("%d events and %d references, want %d of each", events, references, letters)
	}
	if n, err := r.retry(t, r.producer); n != 0 || err != nil {
		t.Errorf("%d letters are left, %v", n, err)
	}
}

// TestOnePayment: a letter is looked up after the events of the payment's earlier
// letters are published. So a duplicate is recognised, and a dispute gets the payment's
// key.
func TestOnePayment(t *testing.T) {
	r := newRig(t, "stripe", payment)
	r.add(t, payment)
	r.add(t, `{"id":"evt_2","object":"event","created":1767225700,"livemode":false,"type":"charge.dispute.created",`+
		`"data":{"object":{"id":"dp_1","object":"dispute","amount":100,"currency":"eur","payment_intent":"pi_1","status":"needs_response","reason":"fraudulent"}}}`)
	if n, err := r.retry(t, r.producer); n != 3 || err != nil {
		t.Fatalf("%d letters, %v", n, err)
	}
	if n := r.events(t); n != 2 {
		t.Errorf("%d events, want the payment and the dispute once", n)
	}
	if n := r.count(t, r.names.Event(schemas.DisputeOpened)); n != 1 {
		t.Fatalf("%d disputes, want one", n)
	}
	reader := consume.New(r.kafka)
	defer reader.Close()
	partitions, err := reader.Partitions(t.Context(), r.names.Event(schemas.DisputeOpened))
	if err != nil {
		t.Fatal(err)
	}
	ranges, err := reader.Bounds(t.Context(), partitions)
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Read(t.Context(), ranges, func(chunks []consume.Chunk) error {
		for _, chunk := range chunks {
			for _, record := range chunk.Records {
				if string(record.Key) != "order-1" {
					t.Errorf("the dispute has the key %s, want that of its payment", record.Key)
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// small is a publisher whose topics accept values up to a size.
type small struct {
	history.Publisher
	most int
}

func (s small) Publish(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
	var large *kafka.TooLarge
	for i, r := range records {
		if len(r.Value) > s.most {
			large = &kafka.TooLarge{Records: []int{i}, Err: errors.New("larger than max.message.bytes")}
		}
	}
	if large != nil {
		return nil, large
	}
	return s.Publisher.Publish(ctx, records)
}

// TestTooLarge: a letter whose event is too large for its topic stays a dead letter,
// and the other letters of its batch are retried.
func TestTooLarge(t *testing.T) {
	r := newRig(t, "stripe", payment)
	r.add(t, strings.NewReplacer("evt_1", "evt_2", "pi_1", "pi_2", "order-1", strings.Repeat("order-2", 100)).Replace(payment))
	r.add(t, strings.NewReplacer("evt_1", "evt_3", "pi_1", "pi_3", "order-1", "order-3").Replace(payment))
	for want := 3; want > 0; want -= 2 {
		if n, err := r.retry(t, small{r.producer, 1400}); n != want || err != nil {
			t.Errorf("%d letters, %v, want %d", n, err, want)
		}
	}
	if n := r.events(t); n != 2 {
		t.Errorf("%d events, want the 2 of the other letters", n)
	}
}

// TestUnresolved: a letter that today's configuration cannot verify or read stays a
// dead letter.
func TestUnresolved(t *testing.T) {
	for name, c := range map[string]struct {
		payload string
		change  func(*webhook.Endpoint)
	}{
		"malformed":         {`{"id":1}`, func(*webhook.Endpoint) {}},
		"another secret":    {payment, func(e *webhook.Endpoint) { e.Keys.Secrets = []verify.Secret{{Name: "dev", Value: "whsec_other"}} }},
		"no such endpoint":  {payment, func(e *webhook.Endpoint) { e.Name = "other" }},
		"another processor": {payment, func(e *webhook.Endpoint) { e.Connector = "adyen" }},
	} {
		r := newRig(t, "stripe", c.payload)
		c.change(&r.endpoint)
		if _, err := r.retry(t, r.producer); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := r.events(t); n != 0 || len(r.letters(t, dead.Filter{})) != 1 {
			t.Errorf("%s: %d events, want none and the letter still listed", name, n)
		}
	}
}

// TestPartly: the readable items of a batch are published. The letter stays a dead
// letter because of the other items.
func TestPartly(t *testing.T) {
	var batch struct {
		Live  string            `json:"live"`
		Items []json.RawMessage `json:"notificationItems"`
	}
	batch.Live = "false"
	for _, name := range []string{"AUTHORISATION", "malformed-amount"} {
		b, err := samples.Payload("adyen", name)
		if err != nil {
			t.Fatal(err)
		}
		items := batch.Items
		batch.Items = nil
		if err := json.Unmarshal(b, &batch); err != nil {
			t.Fatal(err)
		}
		batch.Items = append(items, batch.Items...)
	}
	payload, err := json.Marshal(batch)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, "adyen", string(payload))
	for range 2 {
		if n, err := r.retry(t, r.producer); n != 1 || err != nil {
			t.Errorf("%d letters, %v, want one that is still not handled", n, err)
		}
		if n := r.events(t); n != 1 {
			t.Errorf("%d events, want one", n)
		}
	}
}

// load returns the webhook of a letter with its bodies.
func (r *rig) load(t *testing.T, l *dead.Letter) *webhook.Archived {
	t.Helper()
	all, err := dead.Load(t.Context(), r.reader(t), r.names, l)
	if err != nil {
		t.Fatal(err)
	}
	return all[l]
}

// TestLoad: a list has no bodies but says what they are; Load reads them.
func TestLoad(t *testing.T) {
	r := newRig(t, "stripe", payment)
	l := r.letters(t, dead.Filter{})[0]
	with, sum := r.load(t, l), sha256.Sum256([]byte(payment))
	if l.Webhook.Body != nil || l.SHA256 != hex.EncodeToString(sum[:]) || l.Bytes != len(payment) || string(with.Body) != payment {
		t.Errorf("listed %+v, loaded %+v", l, with)
	}
	without := *with
	without.Body = nil
	if !reflect.DeepEqual(&without, l.Webhook) {
		t.Errorf("loaded %+v, want what was listed: %+v", without, l.Webhook)
	}
	gone := *l
	gone.Offset += 9
	if got := r.load(t, &gone); got != nil {
		t.Errorf("a letter that is no longer there: %+v", got)
	}
}

// TestMemory: neither a list nor a plan nor a retry holds the bodies of all letters.
func TestMemory(t *testing.T) {
	const letters, size, most = 64, 900_000, 24 << 20
	r := newRig(t, "stripe", payment)
	for i := 2; i <= letters; i++ {
		r.add(t, strings.NewReplacer("evt_1", fmt.Sprint("evt_", i), "pi_1", fmt.Sprint("pi_", i), "order-1", fmt.Sprint("order-", i), `"livemode"`, `"pad":"`+strings.Repeat("x", size)+`","livemode"`).Replace(payment))
	}
	h, err := history.Open(t.Context(), history.Config{Kafka: r.kafka, Names: r.names, Publisher: r.producer, ClaimRules: shortClaims, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	h.Await(t.Context(), 20*time.Second)
	held := func() int64 { // bytes in use, those of the fake Kafka included
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := held()
	check := func(what string) {
		if n := held() - before; n > most {
			t.Errorf("%s holds %d MB, want at most %d", what, n>>20, most>>20)
		}
	}
	all := r.letters(t, dead.Filter{})
	check("the list")
	d := dead.Handler{Reader: r.reader(t), Names: r.names, Endpoints: []webhook.Endpoint{r.endpoint}, History: h, Publisher: r.producer, By: "a test"}
	for what, run := range map[string]func(context.Context, []*dead.Letter, func(dead.Verdict) error) error{"the plan": d.Plan, "the retry": d.Retry} {
		n := 0
		err := run(t.Context(), all, func(v dead.Verdict) error {
			if n++; !v.Resolved() || len(v.New) != 1 && what == "the retry" {
				t.Errorf("%s: letter %d: %+v", what, n, v)
			}
			check(what)
			return nil
		})
		if err != nil || n != letters {
			t.Errorf("%s: %d letters, %v", what, n, err)
		}
	}
	runtime.KeepAlive(all)
}

// TestDiscard: discarding needs a note, and a discarded letter can still be selected.
func TestDiscard(t *testing.T) {
	r := newRig(t, "stripe", payment)
	l := r.letters(t, dead.Filter{})[0]
	if err := (&dead.Handler{Names: r.names, Publisher: r.producer}).Discard(t.Context(), []*dead.Letter{l}); !errors.Is(err, dead.ErrNote) {
		t.Errorf("without a note: got %v, want ErrNote", err)
	}
	if err := (&dead.Handler{Names: r.names, Publisher: r.producer, Note: "ours"}).Discard(t.Context(), []*dead.Letter{l}); err != nil {
		t.Fatal(err)
	}
	if all := r.letters(t, dead.Filter{}); len(all) != 0 {
		t.Errorf("a discarded letter is listed: %+v", all)
	}
	for _, id := range []string{l.ID, "webhooks.dead-" + l.ID, l.SHA256, l.SHA256[:8]} {
		all := r.letters(t, dead.Filter{IDs: []string{id}, Handled: true})
		if len(all) != 1 || all[0].Handled.Outcome != dead.Discarded || all[0].Handled.Reason != "ours" {
			t.Errorf("%s: %+v", id, all)
		}
	}
	reader := consume.New(r.kafka)
	defer reader.Close()
	for _, id := range []string{l.SHA256[:7], "9-9", "x", ""} {
		if all, err := dead.List(t.Context(), reader, r.names, dead.Filter{IDs: []string{id}}, nil); err == nil {
			t.Errorf("%q selects %+v, want an error", id, all)
		}
	}
}

// portonePaid is a webhook that only names a payment.
const portonePaid = `{"type":"Transaction.Paid","timestamp":"2026-01-01T01:00:00.000Z","data":{"paymentId":"order-71","transactionId":"t-71","storeId":"store-demo"}}`

// fetchRig is a rig with a dead letter whose payment the API did not know when the webhook
// came.
func fetchRig(t *testing.T, api http.HandlerFunc) *rig {
	t.Helper()
	r := newRig(t, "portone", portonePaid)
	r.endpoint.API = &fetch.API{Keys: []fetch.Key{{Name: "main", Value: "key-71demo71"}}}
	r.endpoint.Fetcher = fetchtest.New(t, api).Client
	letters := r.letters(t, dead.Filter{})
	unknown := *r.load(t, letters[0])
	unknown.Fetched = []schemas.Fetched{{Name: "payment/order-71", Host: "api.portone.io", Path: "/payments/order-71", Status: schemas.StatusUnknown, At: time.Now().UTC()}}
	d := dead.Handler{Names: r.names, Publisher: r.producer, By: "a test", Note: "replaced by one that was not fetched"}
	if err := d.Discard(t.Context(), letters); err != nil {
		t.Fatal(err)
	}
	record := unknown.Record("portone")
	if _, err := r.producer.Publish(t.Context(), []kafka.Record{{Topic: r.names.Dead(), Key: record.Key, Value: record.Value, Headers: record.Headers}}); err != nil {
		t.Fatal(err)
	}
	return r
}

// received returns the webhooks in webhooks.received.
func (r *rig) received(t *testing.T) (all []webhook.Archived) {
	t.Helper()
	reader := consume.New(r.kafka)
	defer reader.Close()
	ranges, err := reader.TopicBounds(t.Context(), r.names.Received())
	if err != nil {
		t.Fatal(err)
	}
	err = lookup.Each(t.Context(), reader, ranges, nil, func(rec consume.Record) {
		all = append(all, *lookup.Read(r.names, rec).Webhook)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestFetchAgain: a letter whose payment the API did not know is asked for again. The event
// has what the API says now, and the webhook is archived with the answer, so that a replay
// needs no network. While the API does not know the payment or gives no answer, the letter
// stays, and nothing is archived.
func TestFetchAgain(t *testing.T) {
	answer := func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }
	calls := 0
	r := fetchRig(t, func(w http.ResponseWriter, _ *http.Request) { calls++; answer(w) })
	if n, err := r.retry(t, r.producer); n != 1 || err != nil || calls != 1 {
		t.Fatalf("%d letters, %v, %d calls", n, err, calls)
	}
	answer = func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }
	if n, err := r.retry(t, r.producer); n != 1 || err != nil || len(r.received(t)) != 0 {
		t.Fatalf("an outage: %d letters, %v, %d webhooks are archived", n, err, len(r.received(t)))
	}
	limited := false
	answer = func(w http.ResponseWriter) {
		if !limited {
			limited = true
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		_, _ = io.WriteString(w, `{"status":"PAID","id":"order-71","transactionId":"t-71","storeId":"store-demo","channel":{"type":"LIVE"},"currency":"KRW","amount":{"total":30000,"paid":30000}}`)
	}
	if n, err := r.retry(t, r.producer); n != 1 || err != nil {
		t.Fatalf("%d letters, %v", n, err)
	}
	if n, err := r.retry(t, r.producer); n != 0 || err != nil {
		t.Errorf("%d letters are left, %v", n, err)
	}
	archived := r.received(t)
	if len(archived) != 1 || len(archived[0].EventIDs) != 1 || archived[0].By != "a test" || len(archived[0].Fetched) != 1 || archived[0].Fetched[0].Status != http.StatusOK {
		t.Fatalf("archived %+v", archived)
	}
	r.endpoint.Fetcher = fetchtest.New(t, func(_ http.ResponseWriter, q *http.Request) { t.Errorf("a replay asked %s", q.URL) }).Client
	v := r.endpoint.JudgeArchived(t.Context(), new(verify.Keyring), archived[0])
	if v.Err != nil || len(v.Events) != 1 || v.Events[0].ID != archived[0].EventIDs[0] || v.Events[0].Data.Amount == nil || v.Events[0].Data.Amount.Value != 30000 {
		t.Errorf("a replay gives %+v, %v", v.Events, v.Err)
	}
}

// TestNotFetchedAgain: a letter that can be read with what the archive has is not asked for.
func TestNotFetchedAgain(t *testing.T) {
	r := newRig(t, "portone", portonePaid)
	r.endpoint.API = &fetch.API{Keys: []fetch.Key{{Name: "main", Value: "key-71demo71"}}}
	r.endpoint.Fetcher = fetchtest.New(t, func(_ http.ResponseWriter, q *http.Request) { t.Errorf("asked %s", q.URL) }).Client
	if n, err := r.retry(t, r.producer); n != 1 || err != nil || r.events(t) != 1 || len(r.received(t)) != 0 {
		t.Errorf("%d letters, %v", n, err)
	}
}
