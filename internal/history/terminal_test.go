package history

import (
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// about returns an event of the refund, dispute or payout "thing-1" of order-1.
func about(id string, typ schemas.Type, minutes int) schemas.Event {
	e := event(id, "pi_1", "order-1", typ, minutes)
	switch typ.Family() {
	case "refund":
		e.Data.ConnectorRefundID = "thing-1"
	case "dispute":
		e.Data.ConnectorDisputeID, e.Data.Stage = "thing-1", schemas.StageDispute
	case "payout":
		e.Data.ConnectorPayoutID = "thing-1"
	}
	return e
}

// TestContradictions: an event that is mutually exclusive with a published one is
// marked, whichever of the two is published first.
func TestContradictions(t *testing.T) {
	for _, c := range []struct {
		earlier, later schemas.Type
		want           bool
	}{
		{schemas.PaymentCaptured, schemas.PaymentCancelled, true},
		{schemas.PaymentCaptured, schemas.PaymentExpired, true},
		{schemas.PaymentCancelled, schemas.PaymentCaptured, true},
		{schemas.PaymentExpired, schemas.PaymentCaptured, true},
		{schemas.PaymentFailed, schemas.PaymentCaptured, false},
		{schemas.PaymentCaptured, schemas.PaymentFailed, true},
		{schemas.PaymentCaptured, schemas.PaymentReversed, false},
		{schemas.RefundFailed, schemas.RefundSucceeded, true},
		{schemas.RefundCancelled, schemas.RefundSucceeded, true},
		{schemas.RefundSucceeded, schemas.RefundCancelled, true},
		{schemas.RefundSucceeded, schemas.RefundFailed, false},
		{schemas.RefundPending, schemas.RefundSucceeded, false},
		{schemas.DisputeWon, schemas.DisputeLost, true},
		{schemas.DisputeLost, schemas.DisputeWon, true},
		{schemas.DisputeOpened, schemas.DisputeLost, false},
		{schemas.PayoutCancelled, schemas.PayoutSucceeded, true},
		{schemas.PayoutSucceeded, schemas.PayoutCancelled, true},
		{schemas.PayoutFailed, schemas.PayoutSucceeded, false},
		{schemas.PayoutSucceeded, schemas.PayoutFailed, false},
	} {
		for _, n := range []struct{ first, second schemas.Event }{
			{about("one", c.earlier, 1), about("two", c.later, 2)},
			{about("two", c.later, 2), about("one", c.earlier, 1)},
		} {
			known := terminalStates{}
			if terminalKey(n.first) != "" {
				known = known.with(terminalStateOf(n.first))
			}
			want := ""
			if c.want {
				want = n.first.ID
			}
			if got := known.contradictedBy(n.second); got != want {
				t.Errorf("%s happened before %s, and %s was published first: contradicts %q, want %q", c.earlier, c.later, n.first.Type, got, want)
			}
		}
	}
}

// TestContradictionIsOfOneObject: an event does not contradict an event of another
// payment of the order, of another refund, or of another stage of the dispute. This
// holds for events in memory and in the store.
func TestContradictionIsOfOneObject(t *testing.T) {
	r := newRig(t)
	s := r.open(t, "")
	defer s.Close()
	put := func(e schemas.Event) string {
		t.Helper()
		a, err := r.put(t.Context(), s, e)
		if err != nil || len(a.Events) != 1 {
			t.Fatalf("%v, %+v: want the event to be new", err, a)
		}
		return a.Events[0].Data.Contradicts
	}
	for i, stored := range []bool{false, true} {
		id := func(name string) string { return name + string(rune('0'+i)) }
		put(about(id("won"), schemas.DisputeWon, 10*i))
		put(about(id("failed"), schemas.RefundFailed, 10*i))
		put(event(id("cancelled"), id("pi"), "order-1", schemas.PaymentCancelled, 1))
		if stored {
			awaitStored(t, s)
		}
		next := about(id("next"), schemas.DisputeLost, 10*i+1)
		next.Data.Stage = schemas.StagePreArbitration
		other := about(id("other"), schemas.RefundSucceeded, 10*i+1)
		other.Data.ConnectorRefundID = id("another")
		for _, c := range []struct {
			e    schemas.Event
			want string
		}{
			{next, ""},
			{other, ""},
			{event(id("captured"), id("pi_other"), "order-1", schemas.PaymentCaptured, 2), ""},
			{about(id("lost"), schemas.DisputeLost, 10*i+2), id("won")},
			{about(id("succeeded"), schemas.RefundSucceeded, 10*i+2), id("failed")},
			{event(id("captured-too"), id("pi"), "order-1", schemas.PaymentCaptured, 2), id("cancelled")},
		} {
			if got := put(c.e); got != c.want {
				t.Errorf("%s contradicts %q, want %q", c.e.ID, got, c.want)
			}
		}
		awaitStored(t, s)
	}
}

// awaitStored waits until the store has everything that s published.
func awaitStored(t *testing.T, s *History) {
	t.Helper()
	left := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.local.events)
	}
	for deadline := time.Now().Add(20 * time.Second); left() > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d events are still not in the store", left())
		}
	}
}

// TestLateBehindAnother: a newer event of another replica makes an event late, even
// while memory has an older event of the same order that is not in the store yet.
func TestLateBehindAnother(t *testing.T) {
	r := newRig(t)
	one, other := r.open(t, ""), r.open(t, "")
	defer one.Close()
	defer other.Close()
	a, err := one.AdmitWhenFresh(t.Context(), []schemas.Event{event("first", "pi_1", "order-1", schemas.PaymentProcessing, 1)})
	if err != nil {
		t.Fatal(err)
	}
	a.Done([]kafka.Receipt{{}}, []kafka.Receipt{{}, {}}) // Kafka has no record at this receipt
	if _, err := r.put(t.Context(), other, event("newest", "pi_1", "order-1", schemas.PaymentCaptured, 10)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, there, err := one.currentStore().event("newest"); there || err != nil || time.Now().After(deadline) {
			break
		}
	}
	for id, typ := range map[string]schemas.Type{"authorized": schemas.PaymentAuthorized, "cancelled": schemas.PaymentCancelled} {
		a, err := one.AdmitWhenFresh(t.Context(), []schemas.Event{event(id, "pi_1", "order-1", typ, 5)})
		if err != nil {
			t.Fatal(err)
		}
		if d := a.Events[0].Data; !d.Late || d.NewestEventID != "newest" {
			t.Errorf("%s: late is %v, newest event %q, want it late after the other replica's event", typ, d.Late, d.NewestEventID)
		}
		a.Forget()
	}
}
