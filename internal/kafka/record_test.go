package kafka

import (
	"fmt"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
)

// TestMurmur2 has the vectors of org.apache.kafka.common.utils.UtilsTest.
func TestMurmur2(t *testing.T) {
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) is %d, want %d", key, got, want)
		}
	}
	all := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
	for n := range 200 {
		key := fmt.Appendf(nil, "order-%d", n)
		if got, want := PartitionOf(key, 12), (kafkago.Murmur2Balancer{}).Balance(kafkago.Message{Key: key}, all...); got != want {
			t.Errorf("%s is in partition %d, kafka-go has it in %d", key, got, want)
		}
	}
}
