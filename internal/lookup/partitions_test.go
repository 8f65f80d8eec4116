package lookup

import (
	"slices"
	"testing"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
)

// TestPartitionsOf: a key is looked up in its partition of each topic, even if topics
// have different numbers of partitions.
func TestPartitionsOf(t *testing.T) {
	var all []consume.Partition
	for topic, n := range map[string]int{"payment.captured": 12, "webhooks.received": 5, "webhooks.references": 1} {
		for p := range n {
			all = append(all, consume.Partition{Topic: topic, Number: p})
		}
	}
	for _, key := range []string{"order-1", "order-2", "stripe::pi_1"} {
		got := PartitionsOf(all, key)
		for topic, n := range map[string]int{"payment.captured": 12, "webhooks.received": 5, "webhooks.references": 1} {
			if want := (consume.Partition{Topic: topic, Number: kafka.PartitionOf([]byte(key), n)}); !slices.Contains(got, want) {
				t.Errorf("%s: got %v, want it to include %v", key, got, want)
			}
		}
		if len(got) != 3 {
			t.Errorf("%s: %v, want one partition of each topic", key, got)
		}
	}
}
