package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/once"
	"github.com/tollbridge/tollbridge/schemas"
)

// shortClaims are rules with which a test need not wait for half a minute.
var shortClaims = once.Rules{SendTime: time.Second, Lifetime: 3 * time.Second}

// replica returns another replica, with claims that expire soon.
func (r *rig) replica(t *testing.T) *History {
	t.Helper()
	h := r.openWith(t, Config{Publisher: r.producer, Log: zerolog.Nop(), ClaimRules: shortClaims})
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// records returns how many records each event has.
func (r *rig) records(t *testing.T, typ schemas.Type) map[string]int {
	t.Helper()
	reader := consume.New(r.kafka)
	defer reader.Close()
	partitions, err := reader.Partitions(t.Context(), r.names.Event(typ))
	if err != nil {
		t.Fatal(err)
	}
	ranges, err := reader.Bounds(t.Context(), partitions)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	if err := reader.Read(t.Context(), ranges, func(chunks []consume.Chunk) error {
		for _, c := range chunks {
			for _, record := range c.Records {
				count[record.Header(schemas.HeaderEventID)]++
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return count
}

// TestTwins: three replicas get the same webhooks at the same time, with one and with
// several events in different orders. Each event is written once, and every replica knows
// where.
func TestTwins(t *testing.T) {
	r := newRig(t)
	replicas := []*History{r.replica(t), r.replica(t), r.replica(t)}
	const webhooks = 40
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for n := range webhooks {
		one := event(fmt.Sprint("one", n), fmt.Sprint("pi_", n), fmt.Sprint("order-", n), schemas.PaymentCaptured, 1)
		two := event(fmt.Sprint("two", n), fmt.Sprint("pi_", n), fmt.Sprint("order-", n), schemas.PaymentCaptured, 2)
		orders := [][]schemas.Event{{one, two}, {two, one}, {one}}
		got := make([]map[string]kafka.Receipt, len(replicas))
		var delivered sync.WaitGroup
		for i, h := range replicas {
			delivered.Go(func() {
				a, err := r.put(ctx, h, orders[i]...)
				if err != nil {
					t.Errorf("webhook %d, replica %d: %v", n, i, err)
					return
				}
				got[i] = map[string]kafka.Receipt{}
				for id, at := range a.Known {
					got[i][id] = at.Receipt
				}
				for _, e := range a.Events {
					got[i][e.ID] = kafka.Receipt{}
				}
			})
		}
		delivered.Wait()
		if t.Failed() {
			return
		}
		if len(got[0]) != 2 || len(got[1]) != 2 || len(got[2]) != 1 {
			t.Fatalf("webhook %d: the replicas know %v", n, got)
		}
	}
	count := r.records(t, schemas.PaymentCaptured)
	if len(count) != 2*webhooks {
		t.Errorf("%d events, want %d", len(count), 2*webhooks)
	}
	for id, n := range count {
		if n != 1 {
			t.Errorf("event %s is written %d times", id, n)
		}
	}
}

// TestTwoTellers: three webhooks that report one fact, each pair of them with an id in
// common, reach three replicas at the same time. The fact is written once, and the
// replica that publishes it learns from the others what its own webhook did not say.
func TestTwoTellers(t *testing.T) {
	r := newRig(t)
	replicas := []*History{r.replica(t), r.replica(t), r.replica(t)}
	const facts = 40
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for n := range facts {
		var delivered sync.WaitGroup
		for i, h := range replicas {
			id := func(i int) string { return fmt.Sprint("fact", n, "-", i%3) }
			e := event(id(i), fmt.Sprint("pi_", n), fmt.Sprint("order-", n), schemas.PaymentCaptured, n)
			e.Also = []string{id(i + 1)}
			delivered.Go(func() {
				a, err := r.put(ctx, h, e)
				if err != nil {
					t.Errorf("fact %d, replica %d: %v", n, i, err)
				} else if len(a.Events)+len(a.Known) != 1 {
					t.Errorf("fact %d, replica %d: %+v", n, i, a)
				}
			})
		}
		delivered.Wait()
	}
	count := 0
	for _, n := range r.records(t, schemas.PaymentCaptured) {
		count += n
	}
	if count != facts {
		t.Errorf("%d records, want %d", count, facts)
	}
}

// TestLoserAdds: a replica loses an event to a replica whose webhook says less. It then
// corrects the event, and adds its own reference.
func TestLoserAdds(t *testing.T) {
	r := newRig(t)
	winner, loser := r.replica(t), r.replica(t)
	e := event("e", "pi_1", "order-1", schemas.PaymentCaptured, 1)
	e.Data.Amount = &schemas.Amount{Value: 1000, Currency: "EUR"}
	poor := e
	poor.Data.Amount = nil
	e.Data.ConnectorReferences = []string{"ch_1"}
	a, err := winner.AdmitWhenFresh(t.Context(), []schemas.Event{poor})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(300*time.Millisecond, func() {
		record, err := kafka.EventRecord(r.names, a.Events[0], "")
		if err == nil {
			_, err = r.producer.Publish(context.Background(), []kafka.Record{record})
		}
		if err != nil {
			t.Error(err)
		}
	})
	b, err := r.put(t.Context(), loser, e)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Events) != 1 || b.Events[0].Data.Corrects != "e" || b.Events[0].Data.Amount == nil || len(b.References) != 1 {
		t.Errorf("%+v: want a correction with the amount, and the reference of ch_1", b)
	}
}

// TestUnavailableIsNotClaimed: no claim is appended for an event whose partition cannot be
// written to.
func TestUnavailableIsNotClaimed(t *testing.T) {
	r := newRig(t)
	h := r.openWith(t, Config{Publisher: r.producer, Log: zerolog.Nop(), Available: func(topic string, key []byte) error {
		return fmt.Errorf("%w: %s, %s", kafka.ErrUnavailable, topic, key)
	}})
	defer h.Close()
	if _, err := h.Admit(t.Context(), []schemas.Event{event("e", "pi_1", "order-1", schemas.PaymentCaptured, 1)}); !errors.Is(err, kafka.ErrUnavailable) {
		t.Errorf("%v, want %v", err, kafka.ErrUnavailable)
	}
	if h.claims.number != 0 {
		t.Errorf("%d claims, want none", h.claims.number)
	}
}

// TestClaimExpires: a replica that ends after its claim does not block the event for
// ever. Another publishes it once the claim has expired, and not before, also one that
// started in the meantime.
func TestClaimExpires(t *testing.T) {
	r := newRig(t)
	first, second := r.replica(t), r.replica(t)
	e := event("e", "pi_1", "order-1", schemas.PaymentCaptured, 1)
	began := time.Now()
	if _, err := first.AdmitWhenFresh(t.Context(), []schemas.Event{e}); err != nil {
		t.Fatal(err)
	}
	third := r.replica(t)
	for i, h := range []*History{second, third} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if _, err := h.Admit(ctx, []schemas.Event{e}); !errors.Is(err, errClaimed) {
			t.Errorf("replica %d: %v, want %v", i+2, err, errClaimed)
		}
		cancel()
	}
	if _, err := r.put(t.Context(), third, e); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < shortClaims.Lifetime {
		t.Errorf("another replica published the event %s after the claim", took)
	}
	if a, err := second.AdmitWhenFresh(t.Context(), []schemas.Event{e}); err != nil || len(a.Events) != 0 {
		t.Errorf("%v, %+v: want the event to be known", err, a)
	}
}

// TestClaimTakenOver: a replica is killed after it has published an event and before the
// others know. The replica that takes the claim over finds the event.
func TestClaimTakenOver(t *testing.T) {
	r := newRig(t)
	first, second := r.replica(t), r.replica(t)
	e := event("e", "pi_1", "order-1", schemas.PaymentCaptured, 1)
	a, err := first.AdmitWhenFresh(t.Context(), []schemas.Event{e})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(shortClaims.Lifetime-100*time.Millisecond, func() { // a request that was long under way
		record, err := kafka.EventRecord(r.names, a.Events[0], "")
		if err == nil {
			_, err = r.producer.Publish(context.Background(), []kafka.Record{record})
		}
		if err != nil {
			t.Error(err)
		}
	})
	if b, err := second.AdmitWhenFresh(t.Context(), []schemas.Event{e}); err != nil || len(b.Events) != 0 {
		t.Errorf("%v, %+v: want the event to be known", err, b)
	}
}

// TestMaybeWritten: after an event was sent without an answer, this process does not
// publish it either while the request may be under way.
func TestMaybeWritten(t *testing.T) {
	r := newRig(t)
	h := r.replica(t)
	e := event("e", "pi_1", "order-1", schemas.PaymentCaptured, 1)
	began := time.Now()
	a, err := h.AdmitWhenFresh(t.Context(), []schemas.Event{e})
	if err != nil {
		t.Fatal(err)
	}
	a.Fail(fmt.Errorf("no answer: %w", kafka.ErrMaybeWritten))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := h.Admit(ctx, []schemas.Event{e}); !errors.Is(err, errClaimed) {
		t.Errorf("%v, want %v", err, errClaimed)
	}
	if _, err := r.put(t.Context(), h, e); err != nil {
		t.Fatal(err)
	}
	if took, want := time.Since(began), shortClaims.SendTime+shortClaims.Lifetime; took < want {
		t.Errorf("the event is published again after %s, want no less than %s", took, want)
	}
}

// TestClaimsAreForgotten: claims whose events were published are not kept in memory.
func TestClaimsAreForgotten(t *testing.T) {
	r := newRig(t)
	first, second := r.replica(t), r.replica(t)
	for n := range 20 {
		if _, err := r.put(t.Context(), first, event(fmt.Sprint("e", n), "pi_1", "order-1", schemas.PaymentCaptured, n)); err != nil {
			t.Fatal(err)
		}
	}
	size := func() int {
		second.claims.mu.Lock()
		defer second.claims.mu.Unlock()
		return len(second.claims.read)
	}
	within(t, "the other replica has read the claims", func() bool { return size() == 20 })
	within(t, "the claims are forgotten", func() bool { return size() == 0 })
}

// TestClaimRecord: the value of a claim record is the JSON of claimRecord, and a process
// recognises its own records.
func TestClaimRecord(t *testing.T) {
	c, other := newClaims(kafka.Config{}, shortClaims), newClaims(kafka.Config{}, shortClaims)
	defer c.reader.Close()
	defer other.reader.Close()
	var all []*claimed
	want := claimRecord{Process: fmt.Sprintf("%016x", c.process), Number: 12}
	for _, e := range []claimEvent{{[]string{"a"}, "webhooks.payment.captured", 0}, {[]string{"b", "c\"\n"}, "webhooks.refund.failed", 11}} {
		want.Events = append(want.Events, e)
		all = append(all, &claimed{key: "stripe/default", ids: e.IDs, place: once.Place{Topic: e.Topic, Partition: e.Partition}})
	}
	record, err := c.record(kafka.Names{}, "stripe/default", &ownClaim{number: 12, events: all})
	if err != nil {
		t.Fatal(err)
	}
	var got claimRecord
	if err := json.Unmarshal(record.Value, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %v, want %+v", record.Value, err, want)
	}
	if n, ok := c.ownNumber(record.Value); !ok || n != 12 {
		t.Errorf("number %d, %t of an own record, want 12", n, ok)
	}
	for _, value := range []string{string(record.Value), "", "{}", c.prefix[:10]} {
		if n, ok := other.ownNumber([]byte(value)); ok {
			t.Errorf("%s: the process takes the record for its own: number %d", value, n)
		}
	}
	all[0].ids[0] = "\xff"
	if _, err := c.record(kafka.Names{}, "stripe/default", &ownClaim{events: all}); err == nil {
		t.Error("no error for an id that is not UTF-8")
	}
}

// TestPollIntervalAlone: a process reads the topics seldom while it reads no claims but its
// own, and often from the first claim of another process on.
func TestPollIntervalAlone(t *testing.T) {
	c, other := newClaims(kafka.Config{}, shortClaims), newClaims(kafka.Config{}, shortClaims)
	defer c.reader.Close()
	defer other.reader.Close()
	read := func(of *claims) {
		all := []*claimed{{ids: []string{"a"}, place: once.Place{Topic: "payment.captured"}}}
		record, err := of.record(kafka.Names{}, "stripe/default", &ownClaim{number: 1, events: all})
		if err != nil {
			t.Fatal(err)
		}
		c.apply(consume.Chunk{Records: []consume.Record{{Value: record.Value}}}, 0)
	}
	check := func(when string, want time.Duration) {
		t.Helper()
		if got := c.pollInterval(kafka.MinPollInterval); got != want {
			t.Errorf("%s: the interval is %s, want %s", when, got, want)
		}
	}
	check("at the start", kafka.MaxPollInterval)
	read(c)
	check("after its own claim", kafka.MaxPollInterval)
	read(other)
	check("after another's claim", kafka.MinPollInterval)
	c.othersRead = c.othersRead.Add(-kafka.AloneAfter - time.Millisecond)
	check("long after another's claim", kafka.MaxPollInterval)
}

// BenchmarkForeignClaims reads the claims of another replica, and reports the memory that
// one needs until it is forgotten.
func BenchmarkForeignClaims(b *testing.B) {
	c, other := newClaims(kafka.Config{}, shortClaims), newClaims(kafka.Config{}, shortClaims)
	defer c.reader.Close()
	defer other.reader.Close()
	records := make([]consume.Record, b.N)
	for i := range records {
		all := []*claimed{{ids: []string{schemas.ID("stripe", "default", fmt.Sprint(i), schemas.PaymentCaptured, 0)}, place: once.Place{Topic: "payment.captured", Partition: int32(i % 6)}}}
		r, err := other.record(kafka.Names{}, "stripe/default", &ownClaim{number: uint64(i), events: all})
		if err != nil {
			b.Fatal(err)
		}
		records[i].Value = r.Value
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b.ReportAllocs()
	b.ResetTimer()
	c.apply(consume.Chunk{Records: records}, 0)
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(b.N), "B-kept/op")
	if len(c.read) != b.N {
		b.Fatalf("%d claims are kept, want %d", len(c.read), b.N)
	}
	runtime.KeepAlive(records)
}
