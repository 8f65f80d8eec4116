package history

import (
	"context"
	"maps"
	"sync/atomic"
	"time"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
)

// keepReading calls read, which reads topics until ctx is done or an error. It calls read
// again one second after an error.
func (h *History) keepReading(ctx context.Context, read func(context.Context) error) {
	for ctx.Err() == nil {
		err := read(ctx)
		if ctx.Err() != nil {
			return
		}
		h.recordError(err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// errorLogInterval is the shortest time between two log lines about errors of the
// follower: a broker that is down causes several errors a second.
const errorLogInterval = 5 * time.Second

// recordError counts an error of the follower, which is retried, and logs it at
// most once in [errorLogInterval].
func (h *History) recordError(err error) {
	h.metrics.errors.Inc()
	if now := time.Now().UnixNano(); now-h.errorLog.Load() > int64(errorLogInterval) {
		h.errorLog.Store(now)
		h.Log.Warn().Err(err).Msg("reading the topics failed; retrying")
	}
}

// follower reads the topics, from the positions that the store has.
type follower struct {
	*consume.Consumer
	partitions map[string]int // number of partitions by topic
	started    time.Time      // the time before the follower asked for the partitions' end offsets
	caughtUp   atomic.Bool    // every record before those end offsets has been read
	left       atomic.Int64   // number of records before those end offsets that are not read yet
	unapplied  []localWrite   // local writes that are no longer in memory and not yet in the store
}

// runFollower copies the topics into the store. It reads on from the store's positions
// until ctx is done or an error.
func (h *History) runFollower(ctx context.Context) error {
	f := &follower{partitions: map[string]int{}, started: time.Now()}
	ranges, bounds, err := h.ranges(ctx)
	if err != nil {
		return err
	}
	for p := range ranges {
		f.partitions[p.Topic]++
	}
	restoring := &restoreProgress{h: h, follower: f, bounds: bounds, next: maps.Clone(ranges), logged: time.Now()}
	handle := func(chunks []consume.Chunk) error {
		if err := h.apply(chunks, f.unapplied); err != nil {
			return err
		}
		f.unapplied = nil
		restoring.advance(chunks)
		return nil
	}
	if err := h.readReferences(ctx, ranges, bounds, handle); err != nil {
		return err
	}
	f.Consumer = h.reader.NewConsumer(ranges, handle)
	f.OnError = h.recordError
	f.KnownOffsets = func() map[consume.Partition][]int64 {
		h.mu.Lock()
		defer h.mu.Unlock()
		writes, offsets := h.local.takeWrites()
		f.unapplied = append(f.unapplied, writes...)
		return offsets
	}
	h.follower.Store(f)
	restoring.check()
	return f.Run(ctx)
}

// readReferences reads the references that are there before everything else, and removes
// them from the ranges: otherwise those that events state would stay in memory until
// their records are read.
func (h *History) readReferences(ctx context.Context, ranges, bounds map[consume.Partition]consume.Range, handle func([]consume.Chunk) error) error {
	references := map[consume.Partition]consume.Range{}
	for p, g := range ranges {
		if to := bounds[p].To; p.Topic == h.Names.References() && g.From < to {
			references[p] = consume.Range{From: g.From, To: to}
			ranges[p] = consume.Range{From: to, To: consume.Forever}
		}
	}
	c := h.reader.NewConsumer(references, handle)
	c.OnError = h.recordError
	return c.Run(ctx)
}

// ranges returns the range of each partition to read, from the store's position and
// without an end, and the bounds of what the partitions hold now. A partition
// without a position is read from [Config.Remember] ago, and references from their
// beginning.
func (h *History) ranges(ctx context.Context) (ranges, bounds map[consume.Partition]consume.Range, err error) {
	partitions, err := h.reader.Partitions(ctx, append(h.Names.Events(), h.Names.References())...)
	if err != nil {
		return nil, nil, err
	}
	if bounds, err = h.reader.Since(ctx, partitions, time.Now().Add(-h.Remember)); err != nil {
		return nil, nil, err
	}
	ranges = map[consume.Partition]consume.Range{}
	for p, b := range bounds {
		position, err := h.currentStore().position(p)
		if err != nil {
			return nil, nil, err
		}
		switch {
		case position >= 0:
			b.From = position
		case p.Topic == h.Names.References():
			b.From = 0
		}
		ranges[p] = consume.Range{From: b.From, To: consume.Forever}
	}
	return ranges, bounds, nil
}

// restoreProgress detects when everything that was in the topics at the start has been
// read.
type restoreProgress struct {
	h            *History
	follower     *follower
	bounds, next map[consume.Partition]consume.Range // offsets of the partitions at the start; next offsets to read
	logged       time.Time                           // when the progress was last logged
}

// advance records that chunks are in the store.
func (p *restoreProgress) advance(chunks []consume.Chunk) {
	if p.follower.caughtUp.Load() {
		return
	}
	for _, c := range chunks {
		p.next[c.Partition] = consume.Range{From: c.Next, To: consume.Forever}
	}
	p.check()
}

// check makes the state ready if nothing is left to read.
func (p *restoreProgress) check() {
	left := int64(0)
	for q, b := range p.bounds {
		left += max(0, b.To-p.next[q].From)
	}
	p.follower.left.Store(left)
	switch {
	case left == 0:
		p.follower.caughtUp.Store(true)
		p.h.mu.Lock()
		p.h.ready.Store(true)
		p.h.mu.Unlock()
		p.h.announceReady()
		p.h.Log.Info().Msg("state restored")
	case time.Since(p.logged) > 2*time.Second:
		p.logged = time.Now()
		p.h.Log.Info().Int64("records_left", left).Msg("restoring the state")
	}
}

// forgetOldEvents removes events older than [Config.Remember] from the store, once
// an hour, until ctx is done.
func (h *History) forgetOldEvents(ctx context.Context) {
	for {
		select {
		case <-time.After(time.Hour):
		case <-ctx.Done():
			return
		}
		if err := h.currentStore().forget(ctx, time.Now().Add(-h.Remember)); err != nil && ctx.Err() == nil {
			h.Log.Error().Err(err).Msg("removing old events from the state store failed; trying again in an hour")
		}
	}
}

// partitionOf returns the partition that a key of a topic belongs to. It returns
// false if the follower does not read the topic.
func (f *follower) partitionOf(topic, key string) (consume.Partition, bool) {
	n := f.partitions[topic]
	if n == 0 {
		return consume.Partition{Topic: topic}, false
	}
	return consume.Partition{Topic: topic, Number: kafka.PartitionOf([]byte(key), n)}, true
}
