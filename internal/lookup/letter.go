package lookup

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// LetterID returns the id of a dead letter: PARTITION-OFFSET in webhooks.dead.
func LetterID(at kafka.Receipt) string { return fmt.Sprintf("%d-%d", at.Partition, at.Offset) }

// ReceiptText returns a receipt as TOPIC-PARTITION-OFFSET.
func ReceiptText(at kafka.Receipt) string { return at.Topic + "-" + LetterID(at) }

// ParseLetter parses an id that [LetterID] returned. The topic may precede it, as in
// webhooks.dead-3-17.
func ParseLetter(names kafka.Names, id string) (kafka.Receipt, error) {
	at := kafka.Receipt{Topic: names.Dead()}
	partition, offset, ok := strings.Cut(strings.TrimPrefix(id, names.Dead()+"-"), "-")
	if !ok {
		return at, fmt.Errorf("dead letter %q: want PARTITION-OFFSET, such as 3-17", id)
	}
	n, err := strconv.ParseUint(partition, 10, 31)
	if err != nil {
		return at, fmt.Errorf("dead letter %q: the partition %q is not a number", id, partition)
	}
	m, err := strconv.ParseUint(offset, 10, 63)
	if err != nil {
		return at, fmt.Errorf("dead letter %q: the offset %q is not a number", id, offset)
	}
	at.Partition, at.Offset = int(n), int64(m)
	return at, nil
}
