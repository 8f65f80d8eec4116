package lookup_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

const partitions = 5

// rig is a fake Kafka with the topics.
type rig struct {
	names    kafka.Names
	producer *publish.Producer
	reader   *consume.Reader
}

func newRig(t *testing.T) *rig {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	c := kafka.Config{Brokers: cluster.ListenAddrs()}
	if _, err := (kafka.Layout{Partitions: partitions, Replication: 1}).Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	r := &rig{producer: publish.NewProducer(publish.Config{Kafka: c}), reader: consume.New(c)}
	t.Cleanup(r.producer.Close)
	t.Cleanup(r.reader.Close)
	return r
}

func (r *rig) write(t *testing.T, records ...kafka.Record) []kafka.Receipt {
	t.Helper()
	at, err := r.producer.Publish(t.Context(), records)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// event returns the record of a captured payment with the processor's id "pi_" + key.
func (r *rig) event(t *testing.T, id, key string) kafka.Record {
	t.Helper()
	now := time.Now().UTC()
	record, err := kafka.EventRecord(r.names, schemas.Event{
		SpecVersion: schemas.SpecVersion, ID: id, Source: "/webhooks/stripe/default", Type: schemas.PaymentCaptured, Subject: key, Time: now,
		DataContentType: "application/json", DataSchema: schemas.PaymentCaptured.Schema(),
		Data: schemas.Data{MerchantTransactionID: key, KeySource: schemas.KeyFromPayload, Connector: "stripe", Endpoint: "default",
			ConnectorEventType: "x", ConnectorTransactionID: "pi_" + key, ConnectorDisputeID: "du_" + key, Status: "captured", ReceivedAt: now},
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// webhook returns the record of an archived webhook.
func (r *rig) webhook(topic, key, body string, events ...string) kafka.Record {
	w := kafka.Record{Topic: topic, ID: body, Key: []byte(key), Value: []byte(body)}
	for _, h := range [][2]string{
		{"connector", "stripe"}, {"endpoint", "default"}, {"received-at", time.Now().UTC().Format(time.RFC3339Nano)},
		{"outcome", "events"}, {"event-ids", strings.Join(append(events, "webhook"), ",")},
	} {
		w.Headers = append(w.Headers, schemas.Header{Name: h[0], Value: h[1]})
	}
	return w
}

// find returns the ids of the events and the bodies of the webhooks that a look-up
// finds.
func find(t *testing.T, f lookup.Finder, id string) (all []string) {
	t.Helper()
	items, err := f.Payment(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range items {
		if i.Event != nil {
			all = append(all, i.Event.ID)
		} else {
			all = append(all, string(i.Webhook.Body))
		}
	}
	slices.Sort(all)
	return all
}

// TestBatch: the webhook of a batch has the key of its first event, but is found for
// each of its events.
func TestBatch(t *testing.T) {
	r := newRig(t)
	other := "b" // a key in another partition than "a"
	for n := 0; kafka.PartitionOf([]byte(other), partitions) == kafka.PartitionOf([]byte("a"), partitions); n++ {
		other = fmt.Sprint("b", n)
	}
	at := r.write(t, r.event(t, "event-a", "a"), r.event(t, "event-b", other), r.webhook(r.names.Received(), "a", "batch", "event-a", "event-b"))
	r.write(t, r.event(t, "event-c", "c"), r.webhook(r.names.Received(), "c", "no batch", "event-c"),
		kafka.Record{Topic: r.names.Event(schemas.PaymentCaptured), Key: []byte("a"), Value: []byte("another's")},
		kafka.Record{Topic: r.names.Received(), Key: []byte("a"), Value: []byte("another's")})
	where := func(_ context.Context, ids []string) (p history.Place, err error) {
		for n, key := range []string{"a", other} {
			if slices.Contains(ids, key) {
				p.Events = append(p.Events, history.Located{ID: []string{"event-a", "event-b"}[n], Receipt: at[n]})
			}
		}
		return p, nil
	}
	for _, f := range []lookup.Finder{{Reader: r.reader, Names: r.names}, {Reader: r.reader, Names: r.names, Where: where}} {
		for id, want := range map[string][]string{
			"a": {"batch", "event-a"}, other: {"batch", "event-b"}, "pi_a": {"batch", "event-a"}, "du_" + other: {"batch", "event-b"},
			"event-b": {"batch", "event-b"}, "nobody": nil, "captured": nil, "stripe": nil, "": nil, "event-": nil,
		} {
			if got := find(t, f, id); !slices.Equal(got, want) {
				t.Errorf("%q: found %q, want %q (asked a server: %v)", id, got, want, f.Where != nil)
			}
		}
		f.From = time.Now().Add(time.Hour)
		if got := find(t, f, "a"); got != nil {
			t.Errorf("from an hour from now: found %q, want nothing", got)
		}
	}
}

// TestWindows: the webhook of an event is found although it was written earlier or later,
// also when a redelivery was written nearer to the event.
func TestWindows(t *testing.T) {
	cluster := kafkatest.Fake(t)
	c := kafka.Config{Brokers: cluster.ListenAddrs()}
	if _, err := (kafka.Layout{Partitions: partitions, Replication: 1}).Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	r := &rig{reader: consume.New(c)}
	t.Cleanup(r.reader.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	write := func(record kafka.Record, at time.Time) *kgo.Record {
		t.Helper()
		k := &kgo.Record{Topic: record.Topic, Partition: int32(kafka.PartitionOf(record.Key, partitions)), Key: record.Key, Value: record.Value, Timestamp: at}
		for _, h := range record.Headers {
			k.Headers = append(k.Headers, kgo.RecordHeader{Key: h.Name, Value: []byte(h.Value)})
		}
		if err := client.ProduceSync(t.Context(), k).FirstErr(); err != nil {
			t.Fatal(err)
		}
		return k
	}
	const redelivered = 50 * time.Millisecond
	for n, c := range []struct {
		after      time.Duration // of the webhook after its event
		redelivery bool
		found      bool
	}{
		{-2 * time.Second, false, false}, {-900 * time.Millisecond, false, true}, {-50 * time.Millisecond, false, true}, {4 * time.Second, false, true}, {6 * time.Second, false, false},
		{-900 * time.Millisecond, true, true}, {4 * time.Second, true, true},
	} {
		key, at := fmt.Sprint("order-", n), time.Now().Add(time.Duration(n-10)*time.Minute)
		event := write(r.event(t, "event", key), at)
		f := lookup.Finder{Reader: r.reader, Names: r.names, Where: func(_ context.Context, ids []string) (p history.Place, err error) {
			if slices.Contains(ids, key) {
				p.Events = []history.Located{{ID: "event", Receipt: kafka.Receipt{Topic: event.Topic, Partition: int(event.Partition), Offset: event.Offset}}}
			}
			return p, nil
		}}
		again := r.webhook(r.names.Received(), key, "redelivery", "event")
		for i, h := range again.Headers {
			if h.Name == "outcome" {
				again.Headers[i].Value = string(webhook.OutcomeDuplicate)
			}
		}
		want := []string{"event"}
		if c.redelivery {
			want = append(want, "redelivery")
		}
		if c.redelivery && c.after > redelivered {
			write(again, at.Add(redelivered))
		}
		write(r.webhook(r.names.Received(), key, "webhook", "event"), at.Add(c.after))
		if c.redelivery && c.after < redelivered {
			write(again, at.Add(redelivered))
		}
		if c.found {
			want = append(want, "webhook")
		}
		if got := find(t, f, key); !slices.Equal(got, want) {
			t.Errorf("a webhook %s after its event, redelivered: %v: found %q, want %q", c.after, c.redelivery, got, want)
		}
	}
}

// TestQuick: a quick look-up reads no topics for an id of which the server knows no event.
func TestQuick(t *testing.T) {
	r := newRig(t)
	at := r.write(t, r.event(t, "event-a", "a"))
	f := lookup.Finder{Reader: r.reader, Names: r.names, Where: func(_ context.Context, ids []string) (p history.Place, err error) {
		if slices.Contains(ids, "a") {
			p.Events = append(p.Events, history.Located{ID: "event-a", Receipt: at[0]})
		}
		return p, nil
	}}
	for _, f.Quick = range []bool{true, false} {
		if got := find(t, f, "a"); !slices.Equal(got, []string{"event-a"}) {
			t.Errorf("quick %t: found %q, want the event", f.Quick, got)
		}
		if got := find(t, f, "pi_a"); (len(got) == 0) != f.Quick {
			t.Errorf("quick %t: an id that the server does not know: found %q", f.Quick, got)
		}
	}
}

// TestMentions: a dead letter is found for the payment whose id its body contains.
func TestMentions(t *testing.T) {
	r := newRig(t)
	r.write(t, r.event(t, "event-1", "order-1"))
	for _, body := range []string{`{"id":"order-1"}`, `x=pi_order-1&y`, "order-1", `{"id":"order-10"}`, `{"id":"my-order-1"}`, `order-10 order-1`, "order-1é"} {
		r.write(t, r.webhook(r.names.Dead(), "stripe", body))
	}
	f := lookup.Finder{Reader: r.reader, Names: r.names}
	want := []string{"event-1", "order-1", "order-10 order-1", "x=pi_order-1&y", `{"id":"order-1"}`}
	for _, id := range []string{"order-1", "event-1"} {
		if got := find(t, f, id); !slices.Equal(got, want) {
			t.Errorf("%q: found %q, want %q", id, got, want)
		}
	}
	if got := find(t, f, "order-10"); !slices.Equal(got, []string{"order-10 order-1", `{"id":"order-10"}`}) {
		t.Errorf("a payment that has only dead letters: found %q", got)
	}
}

// TestAnotherServer: the server that answers may belong to another cluster. Records
// that are not the events that it names are left out.
func TestAnotherServer(t *testing.T) {
	r := newRig(t)
	at := r.write(t, r.event(t, "event-a", "a"), r.event(t, "event-c", "c"))
	gone := at[0]
	gone.Offset = 99
	f := lookup.Finder{Reader: r.reader, Names: r.names, Where: func(context.Context, []string) (history.Place, error) {
		return history.Place{Events: []history.Located{{ID: "event-a", Receipt: at[1]}, {ID: "event-a", Receipt: gone}}}, nil
	}}
	if got := find(t, f, "a"); slices.Contains(got, "event-c") {
		t.Errorf("found %q, want no event-c", got)
	}
}

// TestParseLetter: ids that LetterID returns and receipts are parsed, and other texts are
// refused.
func TestParseLetter(t *testing.T) {
	names := kafka.Names{Prefix: "shop-1."}
	want := kafka.Receipt{Topic: "shop-1.webhooks.dead", Partition: 3, Offset: 17}
	for _, id := range []string{lookup.LetterID(want), want.Text(), "shop-1.webhooks.dead-3-17"} {
		if got, err := lookup.ParseLetter(names, id); err != nil || got != want {
			t.Errorf("%s: %v, %v", id, got, err)
		}
	}
	for _, id := range []string{"", "3", "3-", "-17", "3-x", "x-3", "other.webhooks.dead-3-17", "other.webhooks.dead[3]@17", "3--1", "99999999999-1"} {
		if got, err := lookup.ParseLetter(names, id); err == nil {
			t.Errorf("%q was parsed as %v, want an error", id, got)
		}
	}
}
