package replay

import (
	"cmp"
	"fmt"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
)

// Limits are what limits a replay from one text up to another, without it.
type Limits struct {
	Offsets *OffsetRange // nil: neither text is a receipt
	Topic   string       // that the receipts name; empty if they name none
	// FromTime and ToTime are the texts that are no receipts, such as times.
	FromTime, ToTime string
}

// ParseLimits parses two texts, each of which may be a receipt. It returns an error if both
// are, of different partitions.
func ParseLimits(from, to string) (l Limits, err error) {
	first, atFrom := kafka.ParseReceipt(from, "")
	end, atTo := kafka.ParseReceipt(to, "")
	if l.Topic = cmp.Or(first.Topic, end.Topic); atFrom && atTo && (first.Partition != end.Partition || cmp.Or(end.Topic, l.Topic) != l.Topic) {
		return Limits{}, fmt.Errorf("expected offsets of the same partition, got %s and %s", from, to)
	}
	if atFrom || atTo {
		l.Offsets = &OffsetRange{end.Partition, consume.Range{To: consume.Forever}}
	}
	if atFrom {
		l.Offsets.Partition, l.Offsets.From = first.Partition, first.Offset
	} else {
		l.FromTime = from
	}
	if atTo {
		l.Offsets.To = end.Offset
	} else {
		l.ToTime = to
	}
	return l, nil
}
