package lookup

import (
	"fmt"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// LetterID returns the id of a dead letter: PARTITION-OFFSET in webhooks.dead.
func LetterID(at kafka.Receipt) string { return fmt.Sprintf("%d-%d", at.Partition, at.Offset) }

// ParseLetter parses an id that [LetterID] returned, or the letter's receipt.
func ParseLetter(names kafka.Names, id string) (kafka.Receipt, error) {
	at, ok := kafka.ParseReceipt(id, names.Dead())
	if !ok || at.Topic != names.Dead() {
		return at, fmt.Errorf("dead letter %q: expected its id, such as 3-17, or its receipt, such as %s", id, kafka.Receipt{Topic: names.Dead(), Partition: 3, Offset: 17}.Text())
	}
	return at, nil
}
