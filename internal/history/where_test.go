package history

import (
	"slices"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// TestWhere: every id of a payment finds its events, and no events of other payments.
func TestWhere(t *testing.T) {
	r := newRig(t)
	s := r.open(t, "")
	defer s.Close()
	refund := event("refund", "pi_1", "order-1", schemas.RefundSucceeded, 11)
	refund.Data.ConnectorRefundID = "77"
	opened := event("opened", "pi_4", "order-4", schemas.DisputeOpened, 12)
	opened.Data.ConnectorDisputeID = "du_4"
	for _, e := range []schemas.Event{
		opened,
		event("numbers", "order-1", "order-9", schemas.PaymentCaptured, 10), // the processor's id equals the merchant_transaction_id of another payment
		event("captured", "pi_1", "order-1", schemas.PaymentCaptured, 10), refund,
		event("longer", "pi_2", "order-1x", schemas.PaymentCaptured, 10),
		event("stranger", "pi_3", "", schemas.PaymentCaptured, 10),
	} {
		if e.ID == "longer" {
			e.Data.Account = "acct_9" // the search steps from account to account
		}
		if _, err := r.put(t.Context(), s, e); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id           string
		events, keys []string
	}{
		{"order-1", []string{"captured", "refund"}, nil},
		{"captured", []string{"captured"}, nil},
		{"pi_1", nil, []string{"order-1", "stripe::pi_1"}},
		{"stripe::pi_1", nil, []string{"order-1"}},
		{"77", nil, []string{"order-1", "stripe::refund:77"}},
		{"pi_2", nil, []string{"order-1x", "stripe:acct_9:pi_2"}},
		{"stripe::pi_3", []string{"stranger"}, nil},
		{"du_4", nil, []string{"order-4", "stripe::dispute:du_4"}},
		{"pi_", nil, nil},
		{"", nil, nil},
	} {
		p, err := s.Where(c.id)
		if err != nil {
			t.Fatal(err)
		}
		var events []string
		for _, e := range p.Events {
			if events = append(events, e.ID); e.Receipt == (kafka.Receipt{}) {
				t.Errorf("%q: %s has no receipt", c.id, e.ID)
			}
		}
		slices.Sort(events)
		slices.Sort(p.Keys)
		if !slices.Equal(events, c.events) || !slices.Equal(p.Keys, c.keys) {
			t.Errorf("%q: got events %q and keys %q, want %q and %q", c.id, events, p.Keys, c.events, c.keys)
		}
	}
	if err := s.currentStore().forget(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Where("order-1"); err != nil || len(p.Events) != 0 {
		t.Errorf("a forgotten event is found: %v, %v", p, err)
	}
}
