package kafka

import "testing"

// TestPlace: a position and a partition have one form in print, and are also read in the
// forms of former versions.
func TestPlace(t *testing.T) {
	at := Receipt{Topic: "shop.webhooks.dead", Partition: 3, Offset: 17}
	if got, want := at.Text(), "shop.webhooks.dead[3]@17"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, text := range []string{at.Text(), "shop.webhooks.dead-3-17", "[3]@17", "3-17"} {
		if got, ok := ParseReceipt(text, at.Topic); !ok || got != at {
			t.Errorf("%q: got %v, %v, want %v", text, got, ok, at)
		}
	}
	if got, ok := ParseReceipt("my-topic-3-17", at.Topic); !ok || got != (Receipt{Topic: "my-topic", Partition: 3, Offset: 17}) {
		t.Errorf("a topic with a hyphen: %v, %v", got, ok)
	}
	for _, text := range []string{"", "3", "3-", "-3-17", "a[3]", "a[3]@", "a[-3]@17", "a[3]@-17", "a[x]@1", "a[3]@17x", "[99999999999]@1", "a[3]@99999999999999999999", "2026-01-01", "2026-01-01T00:00:00Z"} {
		if got, ok := ParseReceipt(text, at.Topic); ok {
			t.Errorf("%q: got %v, want no position", text, got)
		}
	}
	for _, text := range []string{PartitionText("payment.captured", 3), "payment.captured:3"} {
		if topic, n, ok := ParsePartition(text); !ok || topic != "payment.captured" || n != 3 {
			t.Errorf("%q: got %q, %d, %v", text, topic, n, ok)
		}
	}
	for _, text := range []string{"payment.captured", "payment.captured:", "payment.captured:x", "payment.captured[]", "[3]", "a[3]b", "a[99999999999]"} {
		if topic, n, ok := ParsePartition(text); ok {
			t.Errorf("%q: got %q, %d, want no partition", text, topic, n)
		}
	}
}
