package lookup

import (
	"context"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
)

// Reference is a record of webhooks.references: it maps a processor's id to the
// merchant's id.
type Reference struct {
	Key                   string    `json:"fallback_key"` // connector:account:id; the key of the record
	MerchantTransactionID string    `json:"merchant_transaction_id"`
	Since                 time.Time `json:"since"`    // when the record was written
	EventID               string    `json:"event_id"` // the event that had both ids
}

// Matches reports whether an id is the reference's key, the processor's id in it,
// or the merchant's id.
func (r Reference) Matches(id string) bool {
	return r.Key == id || strings.HasSuffix(r.Key, ":"+id) || r.MerchantTransactionID == id
}

// EachReference calls f with every reference that was written until now. A reference
// may be repeated; the first counts. If id is a key, connector:account:id, only that
// key's partition is read. After each fetch from Kafka it calls progress, which may be
// nil, with the number of records read so far and of all.
func EachReference(ctx context.Context, reader *consume.Reader, names kafka.Names, id string, progress func(done, all int64), f func(Reference)) error {
	partitions, err := reader.Partitions(ctx, names.References())
	if err != nil {
		return err
	}
	connector, rest, _ := strings.Cut(id, ":")
	if _, known := verify.Lookup(connector); known && strings.Contains(rest, ":") {
		partitions = PartitionsOf(partitions, id)
	}
	ranges, err := reader.Bounds(ctx, partitions)
	if err != nil {
		return err
	}
	return Each(ctx, reader, ranges, progress, func(r consume.Record) {
		if len(r.Value) > 0 {
			f(Reference{string(r.Key), string(r.Value), r.Time.UTC(), r.Header(schemas.HeaderEventID)})
		}
	})
}
