package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/kafka"
)

// intent returns a Stripe webhook of a payment with an id and a merchant's reference.
func intent(id, reference string) []byte {
	return fmt.Appendf(nil, `{"id":"evt_%s","object":"event","type":"payment_intent.succeeded","created":1767225600,"livemode":true,
		"data":{"object":{"id":"pi_%[1]s","object":"payment_intent","amount":1099,"currency":"eur","amount_received":1099,"status":"succeeded",
		"metadata":{"merchant_transaction_id":"%s"}}}}`, id, reference)
}

// bytesOf returns an upper bound of a record's size in Kafka.
func bytesOf(r kafka.Record) int {
	n := 100 + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Name) + len(h.Value) + 10
	}
	return n
}

// TestSizeOfEvents: an event is published or, if it is larger than its topic accepts,
// its webhook becomes a dead letter. No verified webhook is refused because of its
// size, however much of it needs escaping in JSON.
func TestSizeOfEvents(t *testing.T) {
	for _, tt := range []struct {
		name, reference string
		event           bool
	}{
		{"plain", "order-43", true},
		{"plain and long", strings.Repeat("x", 200_000), true},
		{"what HTML escapes", strings.Repeat("<&>", 60_000), true}, // escaping would make six bytes of each
		{"what HTML escapes, and too long", strings.Repeat("<", 300_000), false},
		{"at the limit of a body", strings.Repeat("x", 1<<20-1000), false},
		{"line separators, which JSON escapes", strings.Repeat("\u2028", 60_000), false},
		{"control characters, which are in no reference", strings.Repeat(`\u0001`, 60_000), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBridge(t)
			if a := b.do(signed(t, "stripe", intent("1", tt.reference))); a.StatusCode != http.StatusOK {
				t.Fatalf("%d, want 200: %.1000s", a.StatusCode, b.logs.String())
			}
			events, dead := 0, 0
			for _, r := range b.published() {
				limit := 1 << 20 // Kafka's default
				switch {
				case strings.HasPrefix(r.Topic, "payment."):
					events++
					if tt.name == "what HTML escapes" && !strings.Contains(string(r.Value), "<&><&>") {
						t.Errorf("HTML is escaped: %.300s", r.Value)
					}
				case r.Topic == "webhooks.dead":
					dead++
					limit = kafka.ArchiveMaxMessageBytes
				case r.Topic == "webhooks.received":
					limit = kafka.ArchiveMaxMessageBytes
				}
				if n := bytesOf(r); n > limit {
					t.Errorf("a record of %d bytes for %s, which accepts %d", n, r.Topic, limit)
				}
			}
			if (events == 1) != tt.event || (dead == 1) == tt.event {
				t.Errorf("%d events and %d dead letters, want an event: %t", events, dead, tt.event)
			}
			quiet(t, b.logs.String())
		})
	}
}

// smallTopics is a publisher whose topics accept fewer bytes than they should.
func smallTopics(b *bridge, limits map[string]int) publisher {
	return func(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
		large := &kafka.TooLarge{Err: errors.New("the topic's max.message.bytes is small")}
		for i, r := range records {
			if limit := limits[r.Topic]; limit > 0 && bytesOf(r) > limit {
				large.Records = append(large.Records, i)
			}
		}
		if large.Records != nil {
			return nil, large
		}
		return b.publish(ctx, records)
	}
}

// TestSizeOfTopics: if a topic does not accept an event or the archived webhook, the
// webhook becomes a dead letter. The webhook is refused only if webhooks.dead does not
// accept it either.
func TestSizeOfTopics(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limits map[string]int
		status int
		topics string
	}{
		{"all fits", nil, 200, "payment.captured webhooks.received"},
		{"the event does not", map[string]int{"payment.captured": 200}, 200, "webhooks.dead"},
		{"the webhook does not", map[string]int{"webhooks.received": 200}, 200, "webhooks.dead"},
		{"the dead letter does not", map[string]int{"webhooks.received": 200, "webhooks.dead": 200}, 503, ""},
		{"nothing does", map[string]int{"payment.captured": 200, "webhooks.received": 200, "webhooks.dead": 200}, 503, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b *bridge
			b = newBridge(t, func(c *ingest.Config) {
				c.Publisher = publisher(func(ctx context.Context, r []kafka.Record) ([]kafka.Receipt, error) {
					return smallTopics(b, tt.limits)(ctx, r)
				})
			})
			a := b.do(signed(t, "stripe", captured(t)))
			var topics []string
			for _, r := range b.published() {
				topics = append(topics, r.Topic)
			}
			if got := strings.Join(topics, " "); a.StatusCode != tt.status || got != tt.topics {
				t.Errorf("status %d with records in %q, want %d with %q: %s", a.StatusCode, got, tt.status, tt.topics, b.logs.String())
			}
			if strings.HasSuffix(tt.topics, "webhooks.dead") {
				last := b.published()[len(b.published())-1]
				if got := headersOf(last); got["outcome"] != "malformed" || !strings.Contains(got["reason"], "max.message.bytes") {
					t.Errorf("the dead letter has the outcome %q and the reason %q", got["outcome"], got["reason"])
				}
			}
		})
	}
}

// TestSizeOfOneInABatch: if one event of a webhook is too large, the others are
// published.
func TestSizeOfOneInABatch(t *testing.T) {
	events := func(id string, length int) string {
		return fmt.Sprintf(`{"id":"EV%s","created_at":"2026-01-01T11:00:00.000Z","resource_type":"payments","action":"confirmed",
			"links":{"payment":"PM%[1]s"},"details":{"origin":"gocardless","cause":"payment_confirmed","description":"x"},
			"resource_metadata":{"merchant_transaction_id":"%s"}}`, id, strings.Repeat("r", length))
	}
	var b *bridge
	b = newBridge(t, func(c *ingest.Config) {
		c.Publisher = publisher(func(ctx context.Context, r []kafka.Record) ([]kafka.Receipt, error) {
			return smallTopics(b, map[string]int{"payment.captured": 5000})(ctx, r)
		})
	})
	body := fmt.Appendf(nil, `{"events":[%s,%s,%s]}`, events("1", 10), events("2", 10_000), events("3", 10))
	if a := b.do(signed(t, "gocardless", body)); a.StatusCode >= 300 {
		t.Fatalf("%d: %s", a.StatusCode, b.logs.String())
	}
	var topics []string
	for _, r := range b.published() {
		topics = append(topics, r.Topic)
	}
	if got := strings.Join(topics, " "); got != "payment.captured payment.captured webhooks.dead" {
		t.Errorf("published to %q, want the two small events and a dead letter", got)
	}
}

// TestMaxMaxBody: the record of the largest webhook that can be configured, with as
// many headers as a request can have, fits into the archive's topics.
func TestMaxMaxBody(t *testing.T) {
	b := newBridge(t, func(c *ingest.Config) { c.MaxBody = ingest.MaxMaxBody })
	address := listen(t, b)
	body := padded(t, ingest.MaxMaxBody)
	c := dial(t, address)
	fmt.Fprintf(c, head+"Stripe-Signature: %s\r\n", signedAt(t, body, noon))
	fmt.Fprintf(c, "%s", strings.Repeat("Content-Type: x\r\n", 1800)) // most of the limit on headers; each is archived
	fmt.Fprintf(c, "Content-Length: %d\r\n\r\n", len(body))
	go c.Write(body)
	if got := status(t, c); got != http.StatusOK {
		t.Fatalf("%d, want 200: %.1000s", got, b.logs.String())
	}
	for _, r := range b.published() {
		if n := bytesOf(r); r.Topic == "webhooks.received" && n > kafka.ArchiveMaxMessageBytes {
			t.Errorf("the record has %d bytes, and its topic accepts %d", n, kafka.ArchiveMaxMessageBytes)
		}
	}
	if n := len(b.published()); n != 2 {
		t.Errorf("%d records, want the event and the webhook", n)
	}
}

// TestMostEvents: a batch becomes a dead letter if its events, or the list of their
// ids, are larger than Kafka accepts at once.
func TestMostEvents(t *testing.T) {
	for _, body := range []int{1 << 20, ingest.MaxMaxBody} {
		var b *bridge
		b = newBridge(t, func(c *ingest.Config) {
			c.MaxBody = ingest.MaxMaxBody
			c.Publisher = publisher(func(ctx context.Context, r []kafka.Record) ([]kafka.Receipt, error) {
				limits := map[string]int{"payment.captured": 1 << 20, "webhooks.received": kafka.ArchiveMaxMessageBytes, "webhooks.dead": kafka.ArchiveMaxMessageBytes}
				return smallTopics(b, limits)(ctx, r)
			})
		})
		var all strings.Builder
		n := 0
		for all.WriteString(`{"events":[`); all.Len() < body-200; n++ {
			fmt.Fprintf(&all, `{"id":"EV%d","created_at":"2026-01-01T11:00:00.000Z","resource_type":"payments","action":"confirmed","links":{"payment":"PM%[1]d"}},`, n)
		}
		text := strings.TrimSuffix(all.String(), ",") + "]}"
		if a := b.do(signed(t, "gocardless", []byte(text))); a.StatusCode >= 300 {
			t.Fatalf("%d events: %d: %.1000s", n, a.StatusCode, b.logs.String())
		}
		switch records := b.published(); {
		case body == 1<<20 && len(records) != n+1:
			t.Errorf("%d records of %d events", len(records), n)
		case body != 1<<20 && (len(records) != 1 || records[0].Topic != "webhooks.dead"):
			t.Errorf("%d records of %d events, want one dead letter", len(records), n)
		}
	}
}
