package replay

import (
	"cmp"
	"fmt"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
)

// OffsetsBetween returns the offsets from one receipt up to another, without it, and the
// topic that the receipts name; empty if they name none. A text that is no receipt, such as
// a time, sets no limit; if neither is one, the range is nil.
func OffsetsBetween(from, to string) (r *OffsetRange, topic string, err error) {
	first, atFrom := kafka.ParseReceipt(from, "")
	end, atTo := kafka.ParseReceipt(to, "")
	switch {
	case atFrom && atTo:
		topic = cmp.Or(first.Topic, end.Topic)
		if first.Partition != end.Partition || cmp.Or(end.Topic, topic) != topic {
			return nil, "", fmt.Errorf("expected offsets of the same partition, got %s and %s", from, to)
		}
		return &OffsetRange{first.Partition, consume.Range{From: first.Offset, To: end.Offset}}, topic, nil
	case atFrom:
		return &OffsetRange{first.Partition, consume.Range{From: first.Offset, To: consume.Forever}}, first.Topic, nil
	case atTo:
		return &OffsetRange{end.Partition, consume.Range{To: end.Offset}}, end.Topic, nil
	}
	return nil, "", nil
}
