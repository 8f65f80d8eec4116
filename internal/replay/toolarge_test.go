package replay_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/replay"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

// small is a publisher whose event topics accept values up to a size.
type small struct {
	history.Publisher
	most int
}

func (s small) Publish(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
	large := &kafka.TooLarge{Err: errors.New("larger than max.message.bytes")}
	for i, r := range records {
		if len(r.Value) > s.most && r.Topic == (kafka.Names{}).Event(schemas.PaymentCaptured) {
			large.Records = append(large.Records, i)
		}
	}
	if large.Records != nil {
		return nil, large
	}
	return s.Publisher.Publish(ctx, records)
}

// deadLetters returns the webhooks in webhooks.dead.
func (r *rig) deadLetters(t *testing.T) (all []webhook.Archived) {
	t.Helper()
	partitions, err := r.reader.Partitions(t.Context(), kafka.Names{}.Dead())
	if err != nil {
		t.Fatal(err)
	}
	ranges, err := r.reader.Bounds(t.Context(), partitions)
	if err != nil {
		t.Fatal(err)
	}
	err = r.reader.Read(t.Context(), ranges, func(chunks []consume.Chunk) error {
		for _, c := range chunks {
			for _, record := range c.Records {
				a, err := webhook.ReadArchived(record.Headers, record.Value)
				if err != nil {
					return err
				}
				all = append(all, a)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestTooLarge: new events and corrections that are larger than their topic accepts do
// not keep other events from being published. Their webhooks become dead letters, once,
// and the reasons are reported.
func TestTooLarge(t *testing.T) {
	r := newRig(t)
	long := strings.Replace(payment(2, "jpy"), "order-2", strings.Repeat("order-2", 70), -1)
	r.serve(t, hundredfold, payment(1, "jpy"), long, payment(3, "jpy"), payment(4, "eur"))
	to := small{r.producer, 1600}
	for run := range 2 {
		var reasons []string
		c := replay.Config{TooLarge: func(e schemas.Event, reason string) error {
			if !strings.HasPrefix(e.Subject, "order-2order-2") {
				t.Errorf("the event of %s is reported as too large", e.Subject)
			}
			reasons = append(reasons, reason)
			return nil
		}}
		n, _ := r.must(t, c, to)
		if n.TooLarge != 1 || n.Published != 2-2*run || n.Changed != 2-2*run || len(reasons) != 1 || !strings.Contains(reasons[0], "max.message.bytes") {
			t.Errorf("run %d: %+v, reasons %q, want the other events published and one too large", run, n, reasons)
		}
		letters := r.deadLetters(t)
		if len(letters) != 1 || string(letters[0].Body) != long || letters[0].Outcome != normalize.OutcomeMalformed || !strings.Contains(letters[0].Reason, "max.message.bytes") {
			t.Errorf("run %d: %d dead letters: %+v", run, len(letters), letters)
		}
	}
	if n, _ := r.must(t, replay.Config{}, r.producer); n.TooLarge != 0 || n.Published != 1 {
		t.Errorf("after the topic's limit was raised: %+v, want the event published", n)
	}
}

// TestTooLargeKey: an event becomes too large under the merchant's id, which was not
// known when the event was published. A plan reports it too, and neither plan nor
// replay stops.
func TestTooLargeKey(t *testing.T) {
	r := newRig(t)
	r.serve(t, nil, strings.ReplaceAll(dispute(1), "fraudulent", strings.Repeat("r", schemas.MostBytes-5000)))
	r.serve(t, nil, strings.ReplaceAll(payment(1, "eur"), "order-1", strings.Repeat("order-1", 1000)), payment(2, "jpy"))
	r.topics(t, "again.")
	again := replay.Config{Events: kafka.Names{Prefix: "again."}, Filter: replay.Filter{Types: []schemas.Type{schemas.PaymentCaptured}}}
	if n, _ := r.must(t, again, r.producer); n.Published != 2 {
		t.Fatalf("%+v, want the payments published", n)
	}
	again.Types = nil
	for _, to := range []history.Publisher{nil, r.producer} {
		n, _ := r.must(t, again, to)
		if n.TooLarge != 1 || n.New != 0 || n.Same != 2 || n.Published != 0 {
			t.Errorf("%+v, want the dispute too large", n)
		}
	}
}
