package kafka

import (
	"fmt"
	"regexp"
	"strconv"
)

// PartitionText returns a partition of a topic as topic[partition], the form in which
// tollbridge prints and reads it.
func PartitionText(topic string, partition int) string {
	return fmt.Sprintf("%s[%d]", topic, partition)
}

// Text returns the receipt as topic[partition]@offset, the form in which tollbridge prints
// and reads the position of a record.
func (r Receipt) Text() string {
	return fmt.Sprintf("%s@%d", PartitionText(r.Topic, r.Partition), r.Offset)
}

// The forms of a position and of a partition. Former versions printed
// topic-partition-offset, and read topic:partition; the names of all topics end in a
// letter.
var (
	position       = regexp.MustCompile(`^([^\[\]@]*)\[([0-9]+)\]@([0-9]+)$`)
	formerPosition = regexp.MustCompile(`^(?:(.*[A-Za-z])-)?([0-9]+)-([0-9]+)$`)
	partition      = regexp.MustCompile(`^([^\[\]@:]+)(?:\[([0-9]+)\]|:([0-9]+))$`)
)

// ParseReceipt parses what [Receipt.Text] returns, and topic-partition-offset, the form of
// former versions. The topic may be left out: it is then topic.
func ParseReceipt(text, topic string) (r Receipt, ok bool) {
	m := position.FindStringSubmatch(text)
	if m == nil {
		m = formerPosition.FindStringSubmatch(text)
	}
	if m == nil {
		return r, false
	}
	number, err1 := strconv.ParseUint(m[2], 10, 31)
	offset, err2 := strconv.ParseUint(m[3], 10, 63)
	if m[1] != "" {
		topic = m[1]
	}
	return Receipt{Topic: topic, Partition: int(number), Offset: int64(offset)}, err1 == nil && err2 == nil
}

// ParsePartition parses what [PartitionText] returns, and topic:partition, the form of
// former versions.
func ParsePartition(text string) (topic string, number int, ok bool) {
	m := partition.FindStringSubmatch(text)
	if m == nil {
		return "", 0, false
	}
	n, err := strconv.ParseUint(m[2]+m[3], 10, 31)
	return m[1], int(n), err == nil
}
