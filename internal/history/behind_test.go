package history

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
)

// deaf is a producer that cannot write references while it is set.
type deaf struct {
	*publish.Producer
	on     atomic.Bool
	failed atomic.Int64 // number of failed calls
}

func (d *deaf) Publish(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
	for _, r := range records {
		if d.on.Load() && r.Topic == (kafka.Names{}).References() {
			d.failed.Add(1)
			return nil, kafka.ErrUnavailable
		}
	}
	return d.Producer.Publish(ctx, records)
}

// written returns the merchant's ids in webhooks.references by key, as Kafka has them, and
// the number of records.
func (r *rig) written(t *testing.T) (references map[string]string, records int) {
	t.Helper()
	references = map[string]string{}
	for _, record := range r.read(t, r.names.References()) {
		references[string(record.Key)] = string(record.Value)
		records++
	}
	return references, records
}

// paymentWithRefund are two events of a payment. The refund has no merchant's id, and
// states a reference of its own once the payment's reference gives it one.
func paymentWithRefund() (paid, refund schemas.Event) {
	refund = event("refund", "pi_1", "", schemas.RefundSucceeded, 2)
	refund.Data.ConnectorRefundID = "re_1"
	return event("paid", "pi_1", "order-1", schemas.PaymentCaptured, 0), refund
}

// TestReferencesBehind checks that a reference is known once its event is published, although
// webhooks.references cannot be written, and is written once, when it can be.
func TestReferencesBehind(t *testing.T) {
	r := newRig(t)
	producer := &deaf{Producer: r.producer}
	producer.on.Store(true)
	s := r.openWith(t, Config{Publisher: producer, Log: zerolog.Nop()})
	defer s.Close()
	paid, refund := paymentWithRefund()
	for range 2 { // and a redelivery
		for _, e := range []schemas.Event{paid, refund} {
			a, err := r.put(t.Context(), s, e)
			if err != nil || len(a.References) > 0 {
				t.Fatalf("%s: %v, %+v: want no reference beside the events", e.ID, err, a)
			}
			if len(a.Events) > 0 && a.Events[0].Subject != "order-1" {
				t.Errorf("%s has the key %s, want order-1", e.ID, a.Events[0].Subject)
			}
		}
	}
	for _, id := range []string{"pi_1", "stripe::pi_1", "re_1"} {
		if p, err := s.Where(id); err != nil || !slices.Contains(p.Keys, "order-1") {
			t.Errorf("where %s is: %+v, %v, want order-1 among its keys", id, p, err)
		}
	}
	within(t, "writing them fails", func() bool { return producer.failed.Load() > 1 })
	if got, _ := r.written(t); len(got) > 0 {
		t.Fatalf("%v are written, want none", got)
	}
	producer.on.Store(false)
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, n := r.written(t)
	if n != 2 || got["stripe::pi_1"] != "order-1" || got["stripe::refund:re_1"] != "order-1" {
		t.Errorf("%d records, %v, want one of the payment and one of the refund", n, got)
	}
}

// TestReferencesOutlive checks that references are written although the process that published
// their events ends before it writes them: by the next process with its state directory, by
// one without, and by another replica.
func TestReferencesOutlive(t *testing.T) {
	for _, c := range []struct {
		name  string
		heirs func(t *testing.T, r *rig, dir string, before func()) *History // calls before, which ends the first process
	}{
		{"the same state directory", func(t *testing.T, r *rig, dir string, before func()) *History {
			before()
			return r.openWith(t, Config{Dir: dir, Publisher: r.producer, Log: zerolog.Nop(), adoptAfter: 50 * time.Millisecond})
		}},
		{"an empty state directory", func(t *testing.T, r *rig, _ string, before func()) *History {
			before()
			return r.openWith(t, Config{Publisher: r.producer, Log: zerolog.Nop(), adoptAfter: 50 * time.Millisecond})
		}},
		{"another replica", func(t *testing.T, r *rig, _ string, before func()) *History {
			s := r.openWith(t, Config{Publisher: r.producer, Log: zerolog.Nop(), adoptAfter: 50 * time.Millisecond})
			before()
			return s
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			dir := filepath.Join(t.TempDir(), "state")
			producer := &deaf{Producer: r.producer}
			s := r.openWith(t, Config{Dir: dir, Publisher: producer, Log: zerolog.Nop()})
			paid, refund := paymentWithRefund()
			last := event("last", "pi_2", "order-1", schemas.PaymentCaptured, 0)
			heir := c.heirs(t, r, dir, func() {
				producer.on.Store(true)
				for _, e := range []schemas.Event{paid, refund} {
					if _, err := r.put(t.Context(), s, e); err != nil {
						t.Fatal(err)
					}
				}
				within(t, "the events are in the store", func() bool {
					_, one, _ := s.currentStore().event(paid.ID)
					_, two, _ := s.currentStore().event(refund.ID)
					return one && two
				})
				// Later records of the partition must not move its position past the event.
				last.Data.UnsignedIDs = true // states no reference
				if _, err := r.put(t.Context(), s, last); err != nil {
					t.Fatal(err)
				}
				within(t, "the last event is in the store", func() bool { _, ok, _ := s.currentStore().event(last.ID); return ok })
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			})
			defer heir.Close()
			if a, err := heir.LookUpWhenFresh(t.Context(), []schemas.Event{event("late", "pi_1", "", schemas.PaymentProcessing, 3)}); err != nil || a.Events[0].Subject != "order-1" {
				t.Errorf("%v, %+v: want the key order-1 before the reference is written", err, a)
			} else {
				a.Forget()
			}
			want := map[string]string{"stripe::pi_1": "order-1", "stripe::refund:re_1": "order-1"}
			within(t, "the references are written", func() bool { got, _ := r.written(t); return fmt.Sprint(got) == fmt.Sprint(want) })
			within(t, "the references are in the store", func() bool {
				heir.mu.Lock()
				defer heir.mu.Unlock()
				return len(heir.local.references)+len(heir.local.unwritten.byKey) == 0
			})
			if _, n := r.written(t); n != len(want) {
				t.Errorf("%d records, want each reference once", n)
			}
		})
	}
}

// TestReferenceOfKnownEvent checks that a redelivery writes the reference of an event whose
// record has no header with it, as those of earlier versions.
func TestReferenceOfKnownEvent(t *testing.T) {
	r := newRig(t)
	paid, _ := paymentWithRefund()
	record, err := kafka.EventRecord(r.names, paid, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.producer.Publish(t.Context(), []kafka.Record{record}); err != nil {
		t.Fatal(err)
	}
	s := r.open(t, "")
	defer s.Close()
	for n := range 2 {
		a, err := r.put(t.Context(), s, paid)
		if err != nil || len(a.Events) > 0 || len(a.References) != 1-n {
			t.Fatalf("delivery %d: %v, %+v: want the event known, and its reference written by the first", n, err, a)
		}
	}
}

// TestCorrectionThroughReferenceBehind checks that an event with a fallback key is corrected
// once the reference is written, and that the correction's own reference is written.
func TestCorrectionThroughReferenceBehind(t *testing.T) {
	r := newRig(t)
	s := r.open(t, "")
	defer s.Close()
	dispute := event("dispute", "pi_1", "", schemas.DisputeOpened, 1)
	dispute.Data.ConnectorDisputeID = "dp_1"
	paid, _ := paymentWithRefund()
	for _, e := range []schemas.Event{dispute, paid} {
		if _, err := r.put(t.Context(), s, e); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{"stripe::pi_1": "order-1", "stripe::dispute:dp_1": "order-1"}
	within(t, "both references are written", func() bool { got, _ := r.written(t); return fmt.Sprint(got) == fmt.Sprint(want) })
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	events, _ := r.published(t, schemas.DisputeOpened)
	if len(events) != 2 || events[1].Subject != "order-1" || events[1].Data.Corrects != "dispute" {
		t.Errorf("%+v, want the dispute and its correction under order-1", events)
	}
}

// TestTooManyUnwritten checks that no event is admitted while too many references wait.
func TestTooManyUnwritten(t *testing.T) {
	r := newRig(t)
	s := r.open(t, "")
	defer s.Close()
	s.mu.Lock()
	later := time.Now().Add(time.Hour)
	for n := range maxUnwritten {
		s.local.unwritten.add(unwritten{key: fmt.Sprint(n), at: kafka.Receipt{Topic: "payment.captured"}, due: later})
	}
	s.mu.Unlock()
	paid, _ := paymentWithRefund()
	_, err := s.Admit(t.Context(), []schemas.Event{paid})
	if !errors.Is(err, kafka.ErrUnavailable) || !strings.Contains(err.Error(), "webhooks.references cannot be written") {
		t.Errorf("%v, want an error that names the topic", err)
	}
	s.mu.Lock()
	s.local.unwritten.remove("7")
	s.mu.Unlock()
	a, err := s.AdmitWhenFresh(t.Context(), []schemas.Event{paid})
	if err != nil {
		t.Fatal(err)
	}
	a.Forget()
}

// TestTooLargeReference checks that a reference that Kafka does not take does not keep the
// others from being written.
func TestTooLargeReference(t *testing.T) {
	r := newRig(t)
	s := r.open(t, "")
	defer s.Close()
	huge := event("huge", "pi_"+strings.Repeat("9", 2<<20), "order-1", schemas.PaymentCaptured, 0)
	paid := event("paid", "pi_2", "order-2", schemas.PaymentCaptured, 0)
	s.mu.Lock()
	for n, e := range []schemas.Event{huge, paid} {
		e.References = ReferenceKeys(e)
		s.local.stateOwn(&e, kafka.Receipt{Topic: "payment.captured", Offset: int64(n)})
	}
	s.mu.Unlock()
	within(t, "the other reference is written", func() bool { got, _ := r.written(t); return len(got) == 1 && got["stripe::pi_2"] == "order-2" })
	within(t, "the huge one is given up", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.local.unwritten.byKey) == 0
	})
}
