package ingest_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
)

var shuffled = flag.Int("shuffled", 5_000, "how many webhooks TestShuffled delivers in order, and twice out of it")

// chapters are Stripe's webhooks for an order, one minute apart. Only the
// PaymentIntent's webhooks have the merchant's id.
var chapters = []string{
	`"type":"payment_intent.processing","data":{"object":{"id":"pi_%[1]d","object":"payment_intent","amount":900,"currency":"eur","metadata":{"order_id":"order-%[1]d"}}}`,
	`"type":"payment_intent.amount_capturable_updated","data":{"object":{"id":"pi_%[1]d","object":"payment_intent","amount":900,"amount_capturable":900,"currency":"eur","metadata":{"order_id":"order-%[1]d"}}}`,
	`"type":"payment_intent.succeeded","data":{"object":{"id":"pi_%[1]d","object":"payment_intent","amount_received":900,"currency":"eur","latest_charge":"ch_%[1]d","metadata":{"order_id":"order-%[1]d"}}}`,
	`"type":"refund.created","data":{"object":{"id":"re_%[1]d","object":"refund","amount":100,"currency":"eur","status":"pending","payment_intent":"pi_%[1]d","charge":"ch_%[1]d"}}`,
	`"type":"refund.updated","data":{"object":{"id":"re_%[1]d","object":"refund","amount":100,"currency":"eur","status":"succeeded","charge":"ch_%[1]d"}}`,
	`"type":"charge.dispute.created","data":{"object":{"id":"dp_%[1]d","object":"dispute","amount":800,"currency":"eur","status":"needs_response","payment_intent":"pi_%[1]d","charge":"ch_%[1]d"}}`,
	`"type":"charge.dispute.updated","data":{"object":{"id":"dp_%[1]d","object":"dispute","amount":800,"currency":"eur","status":"under_review","charge":"ch_%[1]d"}}`,
	`"type":"charge.dispute.closed","data":{"object":{"id":"dp_%[1]d","object":"dispute","amount":800,"currency":"eur","status":"won","charge":"ch_%[1]d"}}`,
	`"type":"refund.failed","data":{"object":{"id":"re_%[1]d","object":"refund","amount":100,"currency":"eur","status":"failed","charge":"ch_%[1]d"}}`,
	`"type":"payment_intent.canceled","data":{"object":{"id":"pi_%[1]d","object":"payment_intent","amount":900,"currency":"eur","metadata":{"order_id":"order-%[1]d"}}}`,
}

// delivery is the webhook of one chapter of an order.
type delivery struct{ order, chapter int }

func (d delivery) body() []byte {
	const began = 1767225600 // 2026-01-01
	return fmt.Appendf(fmt.Appendf(nil, `{"id":"evt_%d_%d","object":"event","created":%d,"livemode":false,`, d.order, d.chapter, began+60*d.chapter),
		chapters[d.chapter]+"}", d.order)
}

// delivered sends the webhooks to a server with a fake Kafka of its own, those of one
// order one after the other. It returns the events in the topics once no correction is
// pending.
func delivered(t *testing.T, all []delivery) []schemas.Event {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	at := kafka.Config{Brokers: cluster.ListenAddrs()}
	if _, err := (kafka.Layout{Partitions: 4, Replication: 1}).Apply(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	p := publish.NewProducer(publish.Config{Kafka: at})
	defer p.Close()
	producer := &counted{Publisher: p}
	known, err := history.Open(t.Context(), history.Config{Kafka: at, Publisher: producer})
	if err != nil {
		t.Fatal(err)
	}
	defer known.Close()
	known.Await(t.Context(), 20*time.Second)
	b := newBridge(t, func(c *ingest.Config) { c.Publisher, c.History, c.Deadline = producer, known, time.Minute })

	const callers = 32
	var under [callers]chan delivery
	var group sync.WaitGroup
	for i := range under {
		under[i] = make(chan delivery, 100)
		group.Go(func() {
			for d := range under[i] {
				if a := b.do(signed(t, "stripe", d.body())); a.StatusCode != http.StatusOK {
					t.Errorf("%+v: answered %s", d, a.Status)
				}
			}
		})
	}
	for _, d := range all {
		under[d.order%callers] <- d
	}
	for i := range under {
		close(under[i])
	}
	group.Wait()
	for deadline := time.Now().Add(10 * time.Minute); ; time.Sleep(time.Second) {
		events := eventsIn(t, at.Brokers, producer.events.Load())
		corrected := map[string]bool{}
		waiting := 0
		for _, e := range events {
			corrected[e.Data.Corrects] = true
		}
		for _, e := range events {
			if e.Data.KeySource == schemas.KeyFromConnector && !corrected[e.ID] {
				waiting++
			}
		}
		if waiting == 0 {
			return events
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d events have a fallback key and no correction", waiting)
		}
	}
}

// counted counts the events that a publisher has written.
type counted struct {
	history.Publisher
	events atomic.Int64
}

func (c *counted) Publish(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
	receipts, err := c.Publisher.Publish(ctx, records)
	for _, r := range records {
		if err == nil && slices.Contains(kafka.Names{}.Events(), r.Topic) {
			c.events.Add(1)
		}
	}
	return receipts, err
}

// eventsIn returns the first n events of the topics, read with another client.
func eventsIn(t *testing.T, brokers []string, n int64) (all []schemas.Event) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(kafka.Names{}.Events()...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for int64(len(all)) < n {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var e schemas.Event
			if err := json.Unmarshal(r.Value, &e); err != nil {
				t.Error(err)
			}
			all = append(all, e)
		})
	}
	return all
}

// eventsByID returns the events by id, without the fields that depend on the order of
// arrival. A correction replaces the event that it corrects.
func eventsByID(t *testing.T, events []schemas.Event) map[string]schemas.Event {
	t.Helper()
	ids := map[string]bool{}
	by := map[string]schemas.Event{}
	for _, e := range events {
		if ids[e.ID] {
			t.Errorf("%s was published twice", e.ID)
		}
		ids[e.ID] = true
		corrects := e.Data.Corrects
		if corrects != "" {
			e.ID = corrects
		} else if _, there := by[e.ID]; there {
			continue
		}
		e.Data.Corrects, e.Data.Late, e.Data.NewestEventID, e.Data.Contradicts, e.Data.ReceivedAt = "", false, "", "", time.Time{}
		by[e.ID] = e
	}
	return by
}

// TestShuffled: webhooks that arrive in any order, and twice, give the same events with
// the same keys as webhooks that arrive in order. Exactly the events that arrive after
// a later one are marked late.
func TestShuffled(t *testing.T) {
	var ordered []delivery
	for order := range *shuffled / len(chapters) {
		for chapter := range chapters {
			ordered = append(ordered, delivery{order, chapter})
		}
	}
	start := time.Now()
	straight := delivered(t, ordered)
	want := eventsByID(t, straight)
	t.Logf("%d webhooks in order: %d events in %s", len(ordered), len(straight), time.Since(start).Round(time.Millisecond))
	if len(want) != len(ordered) {
		t.Errorf("%d webhooks gave %d events", len(ordered), len(want))
	}
	for _, e := range straight {
		if e.Data.Late || e.Data.Corrects != "" {
			t.Errorf("in order: %s of %s is marked late or is a correction: %+v", e.Type, e.Subject, e.Data)
		}
	}

	twice := append(ordered, ordered...)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(twice), func(i, j int) { twice[i], twice[j] = twice[j], twice[i] })
	start = time.Now()
	events := delivered(t, twice)
	got := eventsByID(t, events)
	t.Logf("%d webhooks out of order: %d events, of them %d corrections, in %s", len(twice), len(events), len(events)-len(got), time.Since(start).Round(time.Millisecond))
	for id, e := range want {
		if !reflect.DeepEqual(got[id], e) {
			t.Errorf("out of order: %+v\nin order:     %+v", got[id], e)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d events out of order, %d in order", len(got), len(want))
	}
	checkLate(t, twice, events)
}

// checkLate checks the late marks against the order of arrival. An event must be marked
// late if a later event of the order had arrived and both had the order's key. While
// one of them had a fallback key, the mark may be missing.
func checkLate(t *testing.T, came []delivery, events []schemas.Event) {
	t.Helper()
	by := map[string]schemas.Event{} // by the webhook's id, without corrections
	for _, e := range events {
		if e.Data.Corrects == "" {
			by[e.Data.ConnectorEventID] = e
		}
	}
	type newest struct{ any, keyed time.Time }
	of := map[int]newest{}
	seen := map[delivery]bool{}
	late := 0
	for _, d := range came {
		if seen[d] {
			continue
		}
		seen[d] = true
		e := by[fmt.Sprintf("evt_%d_%d", d.order, d.chapter)]
		n := of[d.order]
		keyed := e.Data.KeySource != schemas.KeyFromConnector
		if e.Data.Late {
			late++
		}
		if must := keyed && n.keyed.After(e.Time); must && !e.Data.Late {
			t.Errorf("%+v arrived after an event of %s and is not marked late: %+v", d, n.keyed, e)
		}
		if may := n.any.After(e.Time); !may && e.Data.Late {
			t.Errorf("%+v is marked late, and no later event had arrived: %+v", d, e)
		}
		if e.Time.After(n.any) {
			n.any = e.Time
		}
		if keyed && e.Time.After(n.keyed) {
			n.keyed = e.Time
		}
		of[d.order] = n
	}
	t.Logf("%d events are marked late", late)
	if late == 0 {
		t.Error("no event is marked late")
	}
}
