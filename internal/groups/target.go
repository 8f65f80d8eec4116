package groups

import (
	"context"
	"time"

	"github.com/tollbridge/tollbridge/internal/consume"
)

// Target finds the new offset of each partition.
type Target func(context.Context, *consume.Reader, []consume.Partition) (map[consume.Partition]int64, error)

// Earliest is the first record of each partition.
func Earliest(ctx context.Context, r *consume.Reader, partitions []consume.Partition) (map[consume.Partition]int64, error) {
	bounds, err := r.Bounds(ctx, partitions)
	return starts(bounds), err
}

// Latest is the end of each partition.
func Latest(ctx context.Context, r *consume.Reader, partitions []consume.Partition) (map[consume.Partition]int64, error) {
	bounds, err := r.Bounds(ctx, partitions)
	ends := map[consume.Partition]int64{}
	for p, b := range bounds {
		ends[p] = b.To
	}
	return ends, err
}

// At is the first record of each partition that was written at a time or later.
func At(t time.Time) Target {
	return func(ctx context.Context, r *consume.Reader, partitions []consume.Partition) (map[consume.Partition]int64, error) {
		since, err := r.Since(ctx, partitions, t)
		return starts(since), err
	}
}

// Offset is an offset of the only partition; several partitions, and an offset
// outside of the log, are an [*InputError].
func Offset(offset int64) Target {
	return func(ctx context.Context, r *consume.Reader, partitions []consume.Partition) (map[consume.Partition]int64, error) {
		if len(partitions) != 1 {
			return nil, inputError("to", "the offset %d needs one partition: name it, as in --topics 'payment.captured[3]'", offset)
		}
		p := partitions[0]
		bounds, err := r.Bounds(ctx, partitions)
		if err != nil {
			return nil, err
		}
		if b := bounds[p]; offset < b.From || offset > b.To {
			return nil, inputError("to", "expected an offset from %d to %d of partition %s, got %d", b.From, b.To, p, offset)
		}
		return map[consume.Partition]int64{p: offset}, nil
	}
}

func starts(ranges map[consume.Partition]consume.Range) map[consume.Partition]int64 {
	offsets := map[consume.Partition]int64{}
	for p, r := range ranges {
		offsets[p] = r.From
	}
	return offsets
}
