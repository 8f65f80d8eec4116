package publish

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// TestCountReplicas: the metrics count the partitions that lack in-sync replicas.
func TestCountReplicas(t *testing.T) {
	k := &cluster{metrics: newMetrics(prometheus.NewRegistry())}
	topics := map[string]*topic{"two": {}, "unknown setting": {}}
	topics["two"].minISR.Store(2)
	partition := func(isr ...int32) metadata.ResponsePartition {
		return metadata.ResponsePartition{ReplicaNodes: []int32{1, 2, 3}, IsrNodes: isr}
	}
	m := &metadata.Response{Topics: []metadata.ResponseTopic{
		{Name: "two", Partitions: []metadata.ResponsePartition{partition(1, 2, 3), partition(1, 2), partition(3), partition()}},
		{Name: "unknown setting", Partitions: []metadata.ResponsePartition{partition(1)}},
		{Name: "of another program", Partitions: []metadata.ResponsePartition{partition(1)}},
	}}
	value := func(g prometheus.Gauge) float64 {
		var one dto.Metric
		if err := g.Write(&one); err != nil {
			t.Fatal(err)
		}
		return one.Gauge.GetValue()
	}
	k.countReplicas(m, topics)
	if got := value(k.metrics.underMinISR); got != 2 {
		t.Errorf("%v partitions under min.insync.replicas, want 2", got)
	}
	if got := value(k.metrics.underReplicated); got != 4 {
		t.Errorf("%v under-replicated partitions, want 4", got)
	}
	m.Topics = m.Topics[:1]
	m.Topics[0].Partitions = m.Topics[0].Partitions[:1]
	if k.countReplicas(m, topics); value(k.metrics.underMinISR) != 0 || value(k.metrics.underReplicated) != 0 {
		t.Error("the counts stay after the replicas are back")
	}
}
