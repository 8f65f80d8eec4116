package history

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/schemas"
)

// read returns the records that topics have.
func (r *rig) read(t *testing.T, topics ...string) (records []consume.Record) {
	t.Helper()
	reader := consume.New(r.kafka)
	defer reader.Close()
	ranges, err := reader.TopicBounds(t.Context(), topics...)
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Read(t.Context(), ranges, func(chunks []consume.Chunk) error {
		for _, c := range chunks {
			records = append(records, c.Records...)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return records
}

// published returns the events of a topic's partitions, and the references.
func (r *rig) published(t *testing.T, typ schemas.Type) (events []schemas.Event, references map[string]string) {
	t.Helper()
	references = map[string]string{}
	for _, record := range r.read(t, r.names.Event(typ), r.names.References()) {
		var e schemas.Event
		if record.Topic == r.names.References() {
			references[string(record.Key)] = string(record.Value)
		} else if err := json.Unmarshal(record.Value, &e); err != nil {
			t.Fatal(err)
		} else {
			events = append(events, e)
		}
	}
	return events, references
}

// last returns the last correction of an event, or the event if it has none.
func last(t *testing.T, events []schemas.Event, id string) schemas.Event {
	t.Helper()
	byID := map[string]schemas.Event{}
	for _, e := range events {
		if _, twice := byID[e.ID]; twice {
			t.Errorf("event %s is published twice", e.ID)
		}
		byID[e.ID] = e
	}
	e, ok := byID[id]
	for ; ok; e, ok = byID[correctionID(e, e.ID)] {
		if next, more := byID[correctionID(e, e.ID)]; !more {
			return e
		} else if next.Data.Corrects != id {
			t.Errorf("%s corrects %s, want the first event %s", next.ID, next.Data.Corrects, id)
		}
	}
	t.Fatalf("event %s is not published", id)
	return e
}

// TestOtherIDs: an event is found by its other ids, including those that only a
// duplicate had, and also after the state was rebuilt. Ids of earlier versions are only
// looked up.
func TestOtherIDs(t *testing.T) {
	r := newRig(t)
	s := r.open(t, "")
	captured := func(id string, also ...string) schemas.Event {
		e := event(id, "pi_1", "order-1", schemas.PaymentCaptured, 1)
		e.Also = also
		return e
	}
	put := func(e schemas.Event, events, references int) {
		t.Helper()
		a, err := r.put(t.Context(), s, e)
		if err != nil || len(a.Events) != events || len(a.References) != references {
			t.Fatalf("%s, also %s, formerly %s: %v, %+v: want %d events and %d references", e.ID, e.Also, e.Formerly, err, a, events, references)
		}
		if _, known := a.Known[e.ID]; known != (events == 0) {
			t.Errorf("%s: known events are %v", e.ID, a.Known)
		}
	}
	check := func() {
		t.Helper()
		for _, id := range []string{"a", "b", "c", "d"} {
			put(captured(id), 0, 0)
		}
	}
	put(captured("a", "b"), 1, 0)
	put(captured("b"), 0, 0)
	put(captured("b", "c"), 0, 1) // has one more id
	put(captured("b", "c"), 0, 0)
	put(captured("c"), 0, 0)
	put(captured("d", "c"), 0, 1)
	check()
	now := captured("new")
	now.Formerly = []string{"old"}
	former := captured("newer")
	former.Formerly = []string{"c"}
	put(former, 0, 1)
	put(now, 1, 0)
	put(captured("old"), 1, 0)
	check()
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	check()
	if p, err := s.Where("b"); err != nil || len(p.Events) != 1 || p.Events[0].ID != "a" {
		t.Errorf("the event of id b is %+v, %v, want a", p, err)
	}
	s.Close()
	s = r.open(t, "")
	defer s.Close()
	check()
}

// TestFill: a duplicate that has a field which the event lacks corrects the event once.
// The fields that the event has stay, and the payment's first reference decides its
// key.
func TestFill(t *testing.T) {
	r := newRig(t)
	s := r.open(t, "")
	defer func() { s.Close() }()
	told := func(change func(*schemas.Data)) schemas.Event {
		e := event("one", "pi_1", "", schemas.PaymentFailed, 1)
		change(&e.Data)
		e.Subject = e.Data.MerchantTransactionID
		return e
	}
	amount := func(n int64) func(*schemas.Data) {
		return func(d *schemas.Data) { d.Amount = &schemas.Amount{Value: n, Currency: "EUR"} }
	}
	method := func(d *schemas.Data) { d.PaymentMethod = &schemas.PaymentMethod{Type: "card", Brand: "visa"} }
	put := func(e schemas.Event, events int) {
		t.Helper()
		a, err := r.put(t.Context(), s, e)
		if err != nil || len(a.Events) != events {
			t.Fatalf("%v, %+v: want %d events", err, a, events)
		}
	}
	put(told(func(*schemas.Data) {}), 1)
	put(told(func(*schemas.Data) {}), 0)
	put(told(amount(100)), 1)
	put(told(amount(100)), 0)
	put(told(amount(200)), 0)
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = r.open(t, "") // the rebuilt state knows which fields are missing, but has no cached content
	put(told(amount(100)), 0)
	put(told(method), 1)
	put(told(method), 0)
	put(event("authorized", "pi_1", "order-1", schemas.PaymentAuthorized, 0), 1)
	within(t, "the key is corrected", func() bool {
		p, err := s.Where("order-1")
		return err == nil && len(p.Events) == 2
	})
	put(told(func(d *schemas.Data) { d.Error = &schemas.Error{Code: "51"} }), 1)
	put(told(func(d *schemas.Data) { d.MerchantTransactionID, d.KeySource = "order-2", schemas.KeyFromPayload }), 0)
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	events, _ := r.published(t, schemas.PaymentFailed)
	got := last(t, events, "one")
	want := told(func(d *schemas.Data) {
		amount(100)(d)
		method(d)
		d.Error = &schemas.Error{Code: "51"}
		d.MerchantTransactionID, d.KeySource, d.Corrects = "order-1", schemas.KeyFromReference, "one"
	})
	want.ID = got.ID
	if !reflect.DeepEqual(got, want) || len(events) != 5 {
		t.Errorf("%d events, the last correction is\n%+v\nwant 5, and\n%+v", len(events), got, want)
	}
}

// TestKeyOfDuplicate: a duplicate with the merchant's id gives it to the event,
// although the two have no processor's id in common.
func TestKeyOfDuplicate(t *testing.T) {
	r := newRig(t)
	s := r.open(t, "")
	defer s.Close()
	invoice := event("invoice", "in_1", "", schemas.PaymentCaptured, 1)
	invoice.Also = []string{"payment"}
	if _, err := r.put(t.Context(), s, invoice); err != nil {
		t.Fatal(err)
	}
	if _, err := r.put(t.Context(), s, event("payment", "pi_1", "order-1", schemas.PaymentCaptured, 1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	events, references := r.published(t, schemas.PaymentCaptured)
	if got := last(t, events, "invoice"); got.Subject != "order-1" || len(events) != 2 {
		t.Errorf("%d events, the last with the key %s, want 2 and order-1", len(events), got.Subject)
	}
	for _, key := range []string{"stripe::in_1", "stripe::pi_1"} {
		if references[key] != "order-1" {
			t.Errorf("reference %s maps to %q, want order-1", key, references[key])
		}
	}
}

// TestReferenceWithoutEvent: a webhook that gives no event gives its reference to an
// event that waits for it, and to later events.
func TestReferenceWithoutEvent(t *testing.T) {
	r := newRig(t)
	s := r.open(t, "")
	defer s.Close()
	if _, err := r.put(t.Context(), s, event("paid", "pi_1", "", schemas.PaymentCaptured, 1)); err != nil {
		t.Fatal(err)
	}
	session := schemas.Reference{MerchantTransactionID: "order-1", Connector: "stripe", IDs: []string{"pi_1", "cs_1"}}
	for _, written := range []int{2, 0} {
		a, err := s.AdmitWhenFresh(t.Context(), nil, session)
		if err != nil || len(a.References) != written || len(a.Events) != 0 {
			t.Fatalf("%v, %+v", err, a)
		}
		receipts, err := s.Publisher.Publish(t.Context(), a.References)
		if err != nil {
			t.Fatal(err)
		}
		a.Done(nil, receipts)
	}
	within(t, "the waiting event is corrected", func() bool {
		p, err := s.Where("order-1")
		return err == nil && len(p.Events) == 1
	})
	if a, err := r.put(t.Context(), s, event("refund", "cs_1", "", schemas.RefundSucceeded, 2)); err != nil || a.Events[0].Subject != "order-1" {
		t.Errorf("%v, %+v: want the refund with the key order-1", err, a)
	}
}

// TestOverlappingAtOnce: concurrent webhooks that share one of several ids give one
// event. Its last correction has the fields of all webhooks.
func TestOverlappingAtOnce(t *testing.T) {
	r := newRig(t)
	s := r.open(t, "")
	defer s.Close()
	var first atomic.Int64
	var callers sync.WaitGroup
	const facts, tellers = 10, 4
	for i := range tellers {
		callers.Go(func() {
			for n := range facts {
				e := event(fmt.Sprintf("%d/%d", n, i), fmt.Sprint("pi_", n), "", schemas.PaymentCaptured, 1)
				e.Also = []string{fmt.Sprint(n, "/all")}
				switch i {
				case 0:
					e.Data.Amount = &schemas.Amount{Value: 1, Currency: "EUR"}
				case 1:
					e.Data.NetworkTransactionID = "net"
				case 2:
					e.Data.MandateID = "mandate"
				}
				a, err := r.put(t.Context(), s, e)
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range a.Events {
					if e.Data.Corrects == "" {
						first.Add(1)
					}
				}
			}
		})
	}
	callers.Wait()
	if first.Load() != facts {
		t.Errorf("%d events, want %d", first.Load(), facts)
	}
	events, _ := r.published(t, schemas.PaymentCaptured)
	for _, e := range events {
		if e.Data.Corrects == "" {
			if got := last(t, events, e.ID).Data; got.Amount == nil || got.NetworkTransactionID == "" || got.MandateID == "" {
				t.Errorf("event %s: the last correction is %+v, want the fields of all webhooks", e.ID, got)
			}
		}
	}
}

// TestAnyOrder: several webhooks report a fact, in any order and at any replica, and
// states are rebuilt at any time. One event is published, its corrections are a chain,
// and the last one has the fields of all webhooks.
func TestAnyOrder(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t)
	replicas := []*History{r.open(t, ""), r.open(t, "")}
	defer func() {
		for _, s := range replicas {
			s.Close()
		}
	}()
	tellers := []func(*schemas.Event){
		func(e *schemas.Event) { e.Data.Amount = &schemas.Amount{Value: 5, Currency: "EUR"} },
		func(e *schemas.Event) { e.Data.PaymentMethod = &schemas.PaymentMethod{Type: "card"} },
		func(e *schemas.Event) { e.Data.PaymentMethod = &schemas.PaymentMethod{Type: "card", Brand: "visa"} },
		func(e *schemas.Event) {
			e.Subject, e.Data.MerchantTransactionID, e.Data.KeySource = "order", "order", schemas.KeyFromPayload
		},
	}
	caughtUp := func() {
		t.Helper()
		for _, s := range replicas {
			if err := s.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		events, references := r.published(t, schemas.PaymentCaptured)
		for _, s := range replicas {
			within(t, "a replica has read all", func() bool {
				for _, e := range events {
					if _, ok, err := s.currentStore().event(e.ID); !ok || err != nil {
						return false
					}
				}
				for key := range references {
					if merchant, err := s.currentStore().reference(key); merchant == "" || err != nil {
						return false
					}
				}
				return true
			})
		}
	}
	for n := range 6 {
		id := fmt.Sprint("fact", n)
		for _, i := range random.Perm(len(tellers)) {
			e := event(id, fmt.Sprint("pi_", n), "", schemas.PaymentCaptured, 1)
			tellers[i](&e)
			if e.Subject == "order" {
				e.Subject = fmt.Sprint("order-", n)
				e.Data.MerchantTransactionID = e.Subject
			}
			for range 1 + random.IntN(2) {
				if _, err := r.put(t.Context(), replicas[random.IntN(2)], e); err != nil {
					t.Fatal(err)
				}
				caughtUp()
			}
			if random.IntN(4) == 0 {
				replicas[0].Close()
				replicas[0] = r.open(t, "")
			}
		}
	}
	caughtUp()
	events, _ := r.published(t, schemas.PaymentCaptured)
	for n := range 6 {
		id := fmt.Sprint("fact", n)
		e := last(t, events, id)
		d := e.Data
		if e.Subject != fmt.Sprint("order-", n) || d.Amount == nil || d.PaymentMethod == nil || d.PaymentMethod.Brand != "visa" {
			t.Errorf("seed %d: the last correction of %s is %+v", seed, id, e)
		}
		chain := slices.DeleteFunc(slices.Clone(events), func(e schemas.Event) bool { return e.ID != id && e.Data.Corrects != id })
		if len(chain) > len(tellers)+1 {
			t.Errorf("seed %d: %s has %d records", seed, id, len(chain))
		}
	}
}
