package replay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/once"
	"github.com/tollbridge/tollbridge/internal/replay"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// rig is a fake Kafka, and a server that writes to it.
type rig struct {
	kafka    kafka.Config
	producer *publish.Producer
	endpoint webhook.Endpoint
	reader   *consume.Reader

	archiveFails bool // the servers cannot write to the archive
}

func newRig(t *testing.T) *rig {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	keys, _, _ := sign.Dev("stripe")
	r := &rig{kafka: kafka.Config{Brokers: cluster.ListenAddrs()}, endpoint: webhook.Endpoint{Connector: "stripe", Keys: keys}}
	r.topics(t, "")
	r.producer = publish.NewProducer(publish.Config{Kafka: r.kafka})
	t.Cleanup(r.producer.Close)
	r.connect(t)
	return r
}

func (r *rig) connect(t *testing.T) {
	r.reader = consume.New(r.kafka)
	t.Cleanup(r.reader.Close)
}

func (r *rig) topics(t *testing.T, prefix string) {
	t.Helper()
	layout := kafka.Layout{Names: kafka.Names{Prefix: prefix}, Partitions: 2, Replication: 1}
	if _, err := layout.Apply(t.Context(), r.kafka); err != nil {
		t.Fatal(err)
	}
}

// openHistory returns the restored history of the topics of a prefix.
func (r *rig) openHistory(t *testing.T, names kafka.Names, p history.Publisher) *history.History {
	t.Helper()
	h, err := history.Open(t.Context(), history.Config{Kafka: r.kafka, Names: names, Publisher: p, ClaimRules: shortClaims, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	h.Await(t.Context(), 20*time.Second)
	return h
}

// serve sends webhooks to a server. mangle changes the events that the server
// publishes.
func (r *rig) serve(t *testing.T, mangle func(*schemas.Event), webhooks ...string) {
	t.Helper()
	var to history.Publisher = mangler{r.producer, mangle}
	if r.archiveFails {
		to = without{to}
	}
	r.serveBy(t, to, webhooks...)
}

// serveBy sends webhooks to a server that publishes with the publisher to.
func (r *rig) serveBy(t *testing.T, to history.Publisher, webhooks ...string) {
	t.Helper()
	h := r.openHistory(t, kafka.Names{}, to)
	defer h.Close()
	server, err := ingest.New(ingest.Config{Endpoints: []webhook.Endpoint{r.endpoint}, Publisher: to, History: h})
	if err != nil {
		t.Fatal(err)
	}
	_, secret, _ := sign.Dev("stripe")
	for _, w := range webhooks {
		v, err := sign.Request("stripe", []byte(w), secret, r.endpoint.Keys.Settings, "", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		q := httptest.NewRequest(v.Method, "/webhooks/stripe", bytes.NewReader(v.Body))
		q.Header = v.Header
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, q)
		if answer.Code != http.StatusOK {
			t.Fatalf("%d %s: %s", answer.Code, answer.Body, w)
		}
	}
	if err := h.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	reads := r.openHistory(t, kafka.Names{}, to) // h skips the records that it published itself, so another history must read the mangled keys
	defer reads.Close()
	if err := reads.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// mangler is a publisher that changes events, as older code with a wrong mapping would
// have made them.
type mangler struct {
	history.Publisher
	mangle func(*schemas.Event)
}

func (m mangler) Publish(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
	var mangled []kafka.Record
	for _, r := range records {
		var e schemas.Event
		if m.mangle != nil && slices.Contains(kafka.Names{}.Events(), r.Topic) {
			if err := json.Unmarshal(r.Value, &e); err != nil {
				return nil, err
			}
			m.mangle(&e)
			var err error
			if r, err = kafka.EventRecord(kafka.Names{}, e, ""); err != nil {
				return nil, err
			}
		}
		mangled = append(mangled, r)
	}
	return m.Publisher.Publish(ctx, mangled)
}

// events returns the events in the topics of a prefix, by event id.
func (r *rig) events(t *testing.T, names kafka.Names) map[string]schemas.Event {
	t.Helper()
	partitions, err := r.reader.Partitions(t.Context(), names.Events()...)
	if err != nil {
		t.Fatal(err)
	}
	ranges, err := r.reader.Bounds(t.Context(), partitions)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]schemas.Event{}
	err = r.reader.Read(t.Context(), ranges, func(chunks []consume.Chunk) error {
		for _, c := range chunks {
			for _, record := range c.Records {
				var e schemas.Event
				if err := json.Unmarshal(record.Value, &e); err != nil {
					return err
				}
				if _, ok := all[e.ID]; ok {
					t.Errorf("%s was published twice", e.ID)
				}
				if again := e.Data.Corrects != "" && record.Header("replay-id") == ""; again && e.Data.KeySource != schemas.KeyFromReference {
					t.Errorf("%s corrects %s and has no replay-id", e.ID, e.Data.Corrects)
				}
				all[e.ID] = e
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// replay runs a replay as a new process would.
func (r *rig) replay(t *testing.T, c replay.Config, p history.Publisher) (replay.Counts, []replay.Change, error) {
	t.Helper()
	r.connect(t) // a new process has a new connection
	to := p
	if p == nil {
		to = refusing{}
	}
	h := r.openHistory(t, c.Events, to)
	defer h.Close()
	var changes []replay.Change
	if c.Endpoints == nil {
		c.Endpoints = []webhook.Endpoint{r.endpoint}
	}
	c.Reader, c.History, c.Publisher, c.ID, c.Differences = r.reader, h, p, "a test", true
	c.Each = func(x replay.Change) error { changes = append(changes, x); return nil }
	n, err := replay.Run(t.Context(), c)
	return n, changes, err
}

func (r *rig) must(t *testing.T, c replay.Config, p history.Publisher) (replay.Counts, []replay.Change) {
	t.Helper()
	n, changes, err := r.replay(t, c, p)
	if err != nil {
		t.Fatal(err)
	}
	return n, changes
}

type refusing struct{}

func (refusing) Publish(context.Context, []kafka.Record) ([]kafka.Receipt, error) {
	return nil, errors.New("a plan published something")
}

// shortClaims lets a test that kills a command continue at once: nothing of the command is
// under way then.
var shortClaims = once.Rules{SendTime: kafka.ClaimSendTime, Lifetime: time.Second}

// isClaim reports whether records are claims, which precede the events.
func isClaim(records []kafka.Record) bool {
	return len(records) > 0 && strings.HasSuffix(records[0].Topic, kafka.Names{}.Claims())
}

// killed is a publisher that fails after a number of calls, as if the process were
// killed. Claims do not count.
type killed struct {
	history.Publisher
	after *int
}

var errKilled = errors.New("killed")

func (k killed) Publish(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
	if isClaim(records) {
		return k.Publisher.Publish(ctx, records)
	}
	if *k.after == 0 {
		return nil, errKilled
	}
	*k.after--
	return k.Publisher.Publish(ctx, records)
}

// payment returns a webhook of an order that was paid in a currency.
func payment(order int, currency string) string {
	return fmt.Sprintf(`{"id":"evt_%d","object":"event","created":%d,"livemode":true,"type":"payment_intent.succeeded",`+
		`"data":{"object":{"id":"pi_%[1]d","object":"payment_intent","amount":500,"amount_received":500,"currency":%[3]q,"metadata":{"order_id":"order-%[1]d"}}}}`,
		order, 1767225600+order, currency)
}

// dispute returns a webhook without the order's id.
func dispute(order int) string {
	return fmt.Sprintf(`{"id":"evt_dp_%d","object":"event","created":1767226000,"livemode":true,"type":"charge.dispute.created",`+
		`"data":{"object":{"id":"dp_%[1]d","object":"dispute","amount":500,"currency":"eur","charge":"ch_%[1]d","payment_intent":"pi_%[1]d","status":"needs_response","reason":"fraudulent","metadata":{}}}}`, order)
}

// payments returns webhooks of n orders, every fifth of them paid in yen.
func payments(n int) (all []string) {
	for i := range n {
		currency := "eur"
		if i%5 == 0 {
			currency = "jpy"
		}
		all = append(all, payment(i, currency))
	}
	return all
}

// hundredfold makes a common mistake: it multiplies amounts in yen by 100, though yen
// have no minor unit.
func hundredfold(e *schemas.Event) {
	for _, a := range []*schemas.Amount{e.Data.Amount, e.Data.CapturedAmount} {
		if a != nil && a.Currency == "JPY" {
			a.Value *= 100
		}
	}
}

// TestMendedMapping: a plan shows exactly the events that a wrong mapping changed. A
// replay corrects them, also after one that was killed, and a second replay finds
// nothing to do.
func TestMendedMapping(t *testing.T) {
	const orders, yen = 1000, 200
	for _, calls := range []int{0, 1, 3} { // calls of a replay before it is killed
		r := newRig(t)
		webhooks := payments(orders)
		r.serve(t, hundredfold, append(webhooks, webhooks[:50]...)...) // some are redelivered
		before := r.events(t, kafka.Names{})

		n, changes := r.must(t, replay.Config{}, nil)
		if want := (replay.Counts{Read: orders + 50, Same: orders - yen, Changed: yen, Bytes: n.Bytes}); n != want || len(changes) != yen {
			t.Errorf("the plan: %+v, and %d changes reported, want %+v", n, len(changes), want)
		}
		for _, c := range changes {
			want := []string{`amount: {"value":50000,"currency":"JPY"} → {"value":500,"currency":"JPY"}`,
				`captured_amount: {"value":50000,"currency":"JPY"} → {"value":500,"currency":"JPY"}`}
			if !slices.Equal(c.Diff, want) {
				t.Errorf("%s: difference %q, want %q", c.Event.Subject, c.Diff, want)
			}
		}
		if after := r.events(t, kafka.Names{}); !reflect.DeepEqual(after, before) {
			t.Error("the plan wrote to the topics")
		}

		left := calls
		n, _, err := r.replay(t, replay.Config{}, killed{r.producer, &left})
		if !errors.Is(err, errKilled) && (err != nil || calls*batch < yen) {
			t.Errorf("killed after %d calls: %+v, %v", calls, n, err)
		}
		first := n.Published
		n, _ = r.must(t, replay.Config{}, r.producer)
		if n.Published+first != yen || n.Changed != n.Published {
			t.Errorf("killed after %d events, then %+v, want %d events published in both runs", first, n, yen)
		}
		after := r.events(t, kafka.Names{})
		if len(after) != orders+yen {
			t.Errorf("the topics have %d events, want %d and %d corrections", len(after), orders, yen)
		}
		for _, e := range after {
			was := before[e.Data.Corrects]
			if e.Data.Corrects != "" && (was.Data.Amount.Value != 50000 || e.Data.Amount.Value != 500 || e.Subject != was.Subject || !e.Time.Equal(was.Time)) {
				t.Errorf("%+v corrects %+v", e, was)
			}
		}
		if n, changes = r.must(t, replay.Config{}, r.producer); n.Published+len(changes) != 0 || n.Same != orders {
			t.Errorf("second replay: %+v and %d changes, want no change", n, len(changes))
		}
	}
}

// without is a publisher that does not write the archive's records, like a write that
// fails in part.
type without struct{ history.Publisher }

func (w without) Publish(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
	receipts := make([]kafka.Receipt, len(records))
	for i, r := range records {
		if r.Topic == (kafka.Names{}).Received() {
			continue
		}
		written, err := w.Publisher.Publish(ctx, []kafka.Record{r})
		if err != nil {
			return nil, err
		}
		receipts[i] = written[0]
	}
	return receipts, nil
}

// TestArchivedRedelivery: an event whose own webhook is not in the archive is compared
// with its redelivery. An event whose own webhook is in the archive is not.
func TestArchivedRedelivery(t *testing.T) {
	r := newRig(t)
	r.archiveFails = true
	r.serve(t, hundredfold, payment(0, "jpy"), payment(1, "eur"), payment(5, "jpy"))
	r.archiveFails = false
	r.serve(t, hundredfold, payment(0, "jpy"), payment(1, "eur"), payment(0, "jpy")) // order-5 has no webhook in the archive
	r.serve(t, hundredfold, payment(2, "eur"))
	r.serve(t, nil, strings.Replace(payment(2, "eur"), `"amount_received":500`, `"amount_received":400`, 1)) // a redelivery with another amount: the first webhook counts
	want := replay.Counts{Read: 5, Same: 2, Changed: 1}
	n, changes := r.must(t, replay.Config{}, nil)
	if n.Bytes = 0; n != want || len(changes) != 1 || changes[0].Event.Subject != "order-0" || len(changes[0].Diff) != 2 {
		t.Errorf("the plan: %+v, %+v, want %+v and order-0 reported", n, changes, want)
	}
	for _, outcome := range []normalize.Outcome{webhook.OutcomeDuplicate, normalize.OutcomeEvents} {
		want := map[normalize.Outcome]int{webhook.OutcomeDuplicate: 1}[outcome]
		if n, _ := r.must(t, replay.Config{Filter: replay.Filter{Outcome: outcome}}, nil); n.Changed != want {
			t.Errorf("webhooks with the outcome %s: %+v, want %d changed", outcome, n, want)
		}
	}
	for _, want := range []int{1, 0} {
		if n, _ := r.must(t, replay.Config{}, r.producer); n.Published != want {
			t.Errorf("%+v, want %d published", n, want)
		}
	}
	if all := r.events(t, kafka.Names{}); len(all) != 5 {
		t.Errorf("%d events, want four and a correction", len(all))
	}
}

// batch is the number of events that a replay publishes at once.
const batch = 200

// partial is a publisher that writes events as versions did that had no header for
// references, and writes no references.
type partial struct{ history.Publisher }

func (p partial) Publish(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
	references := func(r kafka.Record) bool { return r.Topic == kafka.Names{}.References() }
	header := func(h schemas.Header) bool { return h.Name == schemas.HeaderReferences }
	some := slices.DeleteFunc(slices.Clone(records), references)
	for i := range some {
		some[i].Headers = slices.DeleteFunc(slices.Clone(some[i].Headers), header)
	}
	receipts, err := p.Publisher.Publish(ctx, some)
	return append(receipts, make([]kafka.Receipt, len(records)-len(receipts))...), err
}

// TestReferenceAfterEvent: a replay publishes the missing references of published
// events, and a plan counts them.
func TestReferenceAfterEvent(t *testing.T) {
	r := newRig(t)
	whole := r.producer
	r.serve(t, nil, payment(0, "eur"))
	r.serveBy(t, partial{whole}, payment(1, "eur"), payment(2, "eur"))
	for _, c := range []struct {
		by   history.Publisher
		want int
	}{{nil, 2}, {nil, 2}, {whole, 2}, {whole, 0}} {
		if n, _ := r.must(t, replay.Config{}, c.by); n.Same != 3 || n.Published != 0 || n.References != c.want {
			t.Errorf("%+v, want 3 unchanged events and %d references", n, c.want)
		}
	}
	r.serve(t, nil, dispute(2))
	for _, e := range r.events(t, kafka.Names{}) {
		if e.Type == schemas.DisputeOpened && e.Subject != "order-2" {
			t.Errorf("the dispute has the key %s, want order-2", e.Subject)
		}
	}
}

// TestMendedTwice: an event was corrected, broken again by another replay, and
// corrected in the same way. It has a correction for each time.
func TestMendedTwice(t *testing.T) {
	r := newRig(t)
	r.serve(t, hundredfold, payment(0, "jpy"))
	r.must(t, replay.Config{}, r.producer)
	for id, e := range r.events(t, kafka.Names{}) { // a replay with the broken code
		if e.Data.Corrects != "" {
			hundredfold(&e)
			e.ID = schemas.ID("stripe", "default", "again:"+id, e.Type, 0)
			record, err := kafka.EventRecord(kafka.Names{}, e, "")
			if err != nil {
				t.Fatal(err)
			}
			record.Headers = append(record.Headers, schemas.Header{Name: "replay-id", Value: "broken"})
			if _, err := r.producer.Publish(t.Context(), []kafka.Record{record}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, want := range []int{1, 0} {
		if n, _ := r.must(t, replay.Config{}, r.producer); n.Published != want {
			t.Errorf("%+v, want %d published", n, want)
		}
	}
}

// TestMendedKey: an event published under another key is corrected if today's code
// finds the merchant's id in its webhook, unless a reference gave the event that key
// already.
func TestMendedKey(t *testing.T) {
	r := newRig(t)
	lose := func(e *schemas.Event) {
		if e.Data.ConnectorTransactionID == "pi_1" && e.Data.Corrects == "" {
			e.Subject = "stripe::pi_1"
			e.Data.MerchantTransactionID, e.Data.KeySource = e.Subject, schemas.KeyFromConnector
		}
	}
	basket := strings.Replace(payment(3, "eur"), "order_id", "basket", 1)
	r.serve(t, lose, payment(1, "eur"), payment(2, "eur"), basket)
	if n, _ := r.must(t, replay.Config{}, r.producer); n.Published != 0 || n.Same != 3 {
		t.Errorf("%+v, want no change: order-1 was corrected already", n)
	}
	r.endpoint.MerchantIDKeys = []string{"order_id", "basket"}
	n, changes := r.must(t, replay.Config{}, r.producer)
	if n.Published != 1 || len(changes) != 1 || changes[0].Event.Subject != "order-3" ||
		!slices.Contains(changes[0].Diff, `subject: "stripe::pi_3" → "order-3"`) {
		t.Errorf("%+v %+v, want a correction with the key order-3", n, changes)
	}
	if n, _ := r.must(t, replay.Config{}, r.producer); n.Published != 0 || n.Same != 3 {
		t.Errorf("second replay: %+v, want no change", n)
	}
	if all := r.events(t, kafka.Names{}); len(all) != 5 {
		t.Errorf("%d events, want three events and two corrections: %+v", len(all), all)
	}
}

// TestMendedBeforeItsReference: a replay corrects an event before the event's reference
// is known. Once it is known, the event is published under the merchant's id with the
// corrected content.
func TestMendedBeforeItsReference(t *testing.T) {
	r := newRig(t)
	r.serve(t, func(e *schemas.Event) { e.Data.Amount.Value *= 2 }, dispute(1))
	first := ""
	for first = range r.events(t, kafka.Names{}) {
	}
	if n, _ := r.must(t, replay.Config{}, r.producer); n.Published != 1 {
		t.Errorf("%+v, want one correction", n)
	}
	r.serve(t, nil, payment(1, "eur"))
	var last []schemas.Event
	for _, e := range r.events(t, kafka.Names{}) {
		if e.Type == schemas.DisputeOpened && e.Subject == "order-1" {
			last = append(last, e)
		}
	}
	if len(last) != 1 || last[0].Data.Corrects != first || last[0].Data.Amount.Value != 500 {
		t.Errorf("%+v, want one correction of %s, with the amount 500", last, first)
	}
	if n, _ := r.must(t, replay.Config{}, r.producer); n.Published != 0 {
		t.Errorf("second replay: %+v, want nothing published", n)
	}
}

// TestToPrefix: a replay to topics of another prefix gives them the events of the live
// topics, with the same ids and in the order of each key. Disputes that came before
// their orders get the orders' keys.
func TestToPrefix(t *testing.T) {
	r := newRig(t)
	var webhooks []string
	for i := range 300 {
		webhooks = append(webhooks, dispute(i))
	}
	r.serve(t, nil, append(webhooks, payments(300)...)...)
	live := r.events(t, kafka.Names{})
	again := kafka.Names{Prefix: "again."}
	r.topics(t, again.Prefix)
	to := replay.Config{Events: again, Rate: 2000}
	start := time.Now()
	left := 1
	if n, _, err := r.replay(t, to, killed{r.producer, &left}); !errors.Is(err, errKilled) || n.Published != batch {
		t.Errorf("killed: %+v, %v, want one batch of %d published", n, err, batch)
	}
	n, _ := r.must(t, to, r.producer)
	if n.New != 600-batch || n.Same != batch {
		t.Errorf("%+v, want %d new events and the others unchanged", n, 600-batch)
	}
	if took := time.Since(start); took < 600*time.Second/2000 {
		t.Errorf("600 events at 2000/s took %s", took)
	}
	if n, _ := r.must(t, to, r.producer); n.Published != 0 {
		t.Errorf("second replay: %+v, want nothing published", n)
	}
	got := r.events(t, again)
	for id, e := range live {
		if e.Data.KeySource != schemas.KeyFromConnector && e.Data.Corrects == "" && got[id].Subject != e.Subject {
			t.Errorf("%s has the key %q, and in the live topics %q", id, got[id].Subject, e.Subject)
		}
	}
	under := map[string]int{} // the dispute of an order: the event or its correction
	for _, e := range got {
		if e.Type == schemas.DisputeOpened && e.Data.KeySource == schemas.KeyFromReference {
			under[e.Subject]++
		}
	}
	if len(under) != 300 {
		t.Errorf("%d disputes have the keys of their orders, want 300", len(under))
	}
	if after := r.events(t, kafka.Names{}); !reflect.DeepEqual(after, live) {
		t.Error("the live topics changed")
	}
}

// TestFilters: exactly the selected webhooks and events are replayed.
func TestFilters(t *testing.T) {
	r := newRig(t)
	r.serve(t, hundredfold, payment(0, "jpy"), payment(5, "jpy"), payment(1, "eur"), dispute(1),
		`{"id":"evt_x","object":"event","created":1767225600,"livemode":true,"type":"customer.created","data":{"object":{"id":"cus_1"}}}`, `[]`)
	again := kafka.Names{Prefix: "again."}
	r.topics(t, again.Prefix)
	hour := time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		replay.Config
		want replay.Counts
	}{
		"all":               {replay.Config{}, replay.Counts{Read: 6, Same: 2, Changed: 2, Ignored: 1, Malformed: 1}},
		"of a key":          {replay.Config{Filter: replay.Filter{Keys: []string{"order-5"}}}, replay.Counts{Read: 6, Changed: 1, Ignored: 1, Malformed: 1}},
		"of a type":         {replay.Config{Filter: replay.Filter{Types: []schemas.Type{schemas.DisputeOpened}}}, replay.Counts{Read: 6, Same: 1, Ignored: 1, Malformed: 1}},
		"of an outcome":     {replay.Config{Filter: replay.Filter{Outcome: normalize.OutcomeIgnored}}, replay.Counts{Read: 1, Ignored: 1}},
		"for a reason":      {replay.Config{Filter: replay.Filter{Reason: "customer.created"}}, replay.Counts{Read: 1, Ignored: 1}},
		"of another":        {replay.Config{Filter: replay.Filter{Connector: "adyen"}}, replay.Counts{}},
		"of an endpoint":    {replay.Config{Filter: replay.Filter{Endpoint: "default"}}, replay.Counts{Read: 6, Same: 2, Changed: 2, Ignored: 1, Malformed: 1}},
		"of another one":    {replay.Config{Filter: replay.Filter{Endpoint: "other"}}, replay.Counts{}},
		"since an hour":     {replay.Config{Filter: replay.Filter{From: hour}}, replay.Counts{Read: 6, Same: 2, Changed: 2, Ignored: 1, Malformed: 1}},
		"until an hour ago": {replay.Config{Filter: replay.Filter{To: hour}}, replay.Counts{}},
		"missing":           {replay.Config{Filter: replay.Filter{Missing: true}}, replay.Counts{Read: 6, Same: 2, Changed: 2, Ignored: 1, Malformed: 1}},
		"missing elsewhere": {replay.Config{Filter: replay.Filter{Missing: true}, Events: again}, replay.Counts{Read: 6, New: 4, Ignored: 1, Malformed: 1}},
	} {
		n, changes := r.must(t, c.Config, nil)
		told := n.Changed + n.New
		if c.Missing {
			told = n.New
		}
		n.Bytes = 0
		if n != c.want || len(changes) != told {
			t.Errorf("%s: %+v and %d changes reported, want %+v", name, n, len(changes), c.want)
		}
	}
}

// TestLimits: receipts set the limits of offsets, and other texts are times.
func TestLimits(t *testing.T) {
	forever := int64(consume.Forever)
	for _, c := range []struct {
		from, to, topic string
		want            *replay.OffsetRange // nil: all
		times           [2]string
	}{
		{"7d", "", "", nil, [2]string{"7d", ""}},
		{"webhooks.received[3]@17", "2026-01-31T12:00:00Z", "webhooks.received", &replay.OffsetRange{Partition: 3, Range: consume.Range{From: 17, To: forever}}, [2]string{"", "2026-01-31T12:00:00Z"}},
		{"7d", "webhooks.received[3]@17", "webhooks.received", &replay.OffsetRange{Partition: 3, Range: consume.Range{To: 17}}, [2]string{"7d", ""}},
		{"3-17", "webhooks.received[3]@19", "webhooks.received", &replay.OffsetRange{Partition: 3, Range: consume.Range{From: 17, To: 19}}, [2]string{}},
		{"webhooks.received[3]@17", "3-19", "webhooks.received", &replay.OffsetRange{Partition: 3, Range: consume.Range{From: 17, To: 19}}, [2]string{}},
	} {
		got, err := replay.ParseLimits(c.from, c.to)
		if want := (replay.Limits{Offsets: c.want, Topic: c.topic, FromTime: c.times[0], ToTime: c.times[1]}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s to %s: %+v, %v, want %+v", c.from, c.to, got, err, want)
		}
	}
	for _, to := range []string{"webhooks.received[2]@19", "webhooks.dead[3]@19"} {
		if got, err := replay.ParseLimits("webhooks.received[3]@17", to); err == nil {
			t.Errorf("to %s: %+v, want an error", to, got)
		}
	}
}

// TestOffsetRange: an offset range selects webhooks of one partition.
func TestOffsetRange(t *testing.T) {
	r := newRig(t)
	r.serve(t, nil, payments(50)...)
	read := 0
	for partition := range 2 {
		whole := replay.OffsetRange{Partition: partition, Range: consume.Range{To: consume.Forever}}
		n, _ := r.must(t, replay.Config{Filter: replay.Filter{Offsets: &whole}}, nil)
		read += n.Read
		some := replay.OffsetRange{Partition: partition, Range: consume.Range{From: 2, To: 5}}
		if n, _ := r.must(t, replay.Config{Filter: replay.Filter{Offsets: &some}}, nil); n.Read != 3 {
			t.Errorf("offsets 2 to 4: %+v, want 3 webhooks read", n)
		}
	}
	if read != 50 {
		t.Errorf("the partitions have %d webhooks, want 50", read)
	}
	for want, s := range map[string]replay.OffsetRange{
		"there is no partition webhooks.received[2]": {Partition: 2, Range: consume.Range{To: 5}},
		"none of them in the range":                  {Partition: 1, Range: consume.Range{From: 900, To: 1000}},
	} {
		if _, _, err := r.replay(t, replay.Config{Filter: replay.Filter{Offsets: &s}}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", s, err, want)
		}
	}
}

// TestGone: events that today's code does not make are counted and left alone. A
// webhook whose signature does not match today's secret gives no event.
func TestGone(t *testing.T) {
	r := newRig(t)
	r.serve(t, nil, payment(0, "eur"))
	var e schemas.Event
	for _, e = range r.events(t, kafka.Names{}) {
		e.ID, e.Subject, e.Data.MerchantTransactionID = schemas.ID("stripe", "default", "older code's", e.Type, 0), "order-9", "order-9"
	}
	record, err := kafka.EventRecord(kafka.Names{}, e, "")
	if err != nil {
		t.Fatal(err)
	}
	keys, secret, _ := sign.Dev("stripe")
	v, err := sign.Request("stripe", []byte(`{"id":"evt_9","object":"event","created":1,"livemode":true,"type":"customer.created","data":{"object":{"id":"cus_9"}}}`), secret, keys.Settings, "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	kept := kafka.Record{Topic: kafka.Names{}.Received(), Key: []byte("order-9"), Value: v.Body}
	for _, h := range [][2]string{
		{"connector", "stripe"}, {"endpoint", "default"}, {"method", v.Method}, {"received-at", time.Now().Format(time.RFC3339Nano)},
		{"outcome", "events"}, {"event-ids", e.ID}, {"http-stripe-signature", v.Header.Get("Stripe-Signature")},
	} {
		kept.Headers = append(kept.Headers, schemas.Header{Name: h[0], Value: h[1]})
	}
	if _, err := r.producer.Publish(t.Context(), []kafka.Record{record, kept}); err != nil {
		t.Fatal(err)
	}
	if n, _ := r.must(t, replay.Config{}, r.producer); n.Gone != 1 || n.Same != 1 || n.Published != 0 || n.Ignored != 1 {
		t.Errorf("%+v, want one event gone and one unchanged", n)
	}
	r.endpoint.Keys.Secrets = []verify.Secret{{Name: "main", Value: "whsec_another"}}
	if n, _ := r.must(t, replay.Config{}, nil); n.Unverified != 2 || n.New+n.Same+n.Gone != 0 {
		t.Errorf("with another secret: %+v, want two unverified webhooks and no event", n)
	}
}
