package publish

import (
	"testing"

	"github.com/segmentio/kafka-go/protocol/metadata"
)

// TestPartitionsThatComeBack: a partition that was gone from the metadata goes
// on with its sequence. Beginning anew with a producer id that its log knows,
// the broker would take a new batch for one that it has, and write nothing.
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
		t.Error("the partition that is gone has a leader")
	}
	k.applyTopic(topic, list(3), nil)
	if back := (*topic.parts.Load())[2]; back != last || back.sequence != 42 {
		t.Errorf("sequence %d of producer id %d, want 42 of 7", back.sequence, back.id.id)
	}
}
