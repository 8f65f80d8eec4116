package publish

import (
	"testing"

	"github.com/segmentio/kafka-go/protocol/metadata"
)

// TestPartitionsThatComeBack: a partition that was missing in the metadata for a while
// continues with its sequence number. If it began at 0 with a producer id that the
// partition's log has, the broker would take a new batch for a duplicate and not write
// it.
func TestPartitionsThatComeBack(t *testing.T) {
	k := newCluster(Config{}.withDefaults())
	defer k.stop()
	list := func(n int) *metadata.ResponseTopic {
		m := &metadata.ResponseTopic{Name: "t"}
		for i := range n {
			m.Partitions = append(m.Partitions, metadata.ResponsePartition{PartitionIndex: int32(i)})
		}
		return m
	}
	topic := &topic{name: "t"}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.applyTopic(topic, list(3), nil)
	last := (*topic.parts.Load())[2]
	last.id, last.sequence = producerID{id: 7, assigned: true}, 42
	k.applyTopic(topic, list(1), nil)
	if n := len(*topic.parts.Load()); n != 1 {
		t.Fatalf("%d partitions, want 1", n)
	}
	if last.leader != nil || last.leaderlessSince.IsZero() {
		t.Error("the missing partition has a leader")
	}
	k.applyTopic(topic, list(3), nil)
	if back := (*topic.parts.Load())[2]; back != last || back.sequence != 42 {
		t.Errorf("sequence %d of producer id %d, want 42 of 7", back.sequence, back.id.id)
	}
}
