package history

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// The references that a new event states are in a header of its record. They are written
// to webhooks.references behind the webhook's response, many at a time, by the process
// that published the event. If that process ends before, another one, or its successor,
// has read the header and writes them some seconds later.
//
// So that a crash loses none, the position of the event's partition in the store stays
// before the event until webhooks.references has all its references: whoever opens
// the store reads the event again.

const (
	// referencesInterval is the time between two writes of references.
	referencesInterval = 250 * time.Millisecond
	// adoptAfter is how long a process waits before it writes references that another one
	// should have written. A random time of the same length is added to it, because all
	// replicas wait for the same references.
	adoptAfter = 15 * time.Second
	// maxReferencesAtOnce is the number of references in one write.
	maxReferencesAtOnce = 2000
	// maxUnwritten is the number of references in memory above which no event is admitted.
	// They become as many only while webhooks.references cannot be written.
	maxUnwritten = 100_000
)

// unwritten is a reference that a published event states and that webhooks.references does
// not have, as far as this process knows.
type unwritten struct {
	key, merchant, eventID string
	at                     kafka.Receipt // of the event
	own                    bool          // this process published the event
	due                    time.Time     // when this process writes the reference
}

// unwrittenReferences are references that are not written yet.
type unwrittenReferences struct {
	byKey map[string]unwritten
	// offsets has the offsets of their events, by the event's partition and reference key.
	offsets map[consume.Partition]map[string]int64
}

func newUnwrittenReferences() unwrittenReferences {
	return unwrittenReferences{map[string]unwritten{}, map[consume.Partition]map[string]int64{}}
}

// add adds a reference. If its key is there already, the first of the two counts, and it
// is written at the earlier time.
func (l *unwrittenReferences) add(u unwritten) {
	if first, ok := l.byKey[u.key]; ok {
		if u.own && !first.own {
			first.own, first.due = true, u.due
			l.byKey[u.key] = first
		}
		return
	}
	l.byKey[u.key] = u
	p := partitionOf(u.at)
	if l.offsets[p] == nil {
		l.offsets[p] = map[string]int64{}
	}
	l.offsets[p][u.key] = u.at.Offset
}

// remove removes the reference with a key, if it is there.
func (l *unwrittenReferences) remove(key string) {
	if u, ok := l.byKey[key]; ok {
		delete(l.byKey, key)
		delete(l.offsets[partitionOf(u.at)], key)
	}
}

// position returns the offset up to which everything in a partition is stored: next, or
// that of the first event before it with an unwritten reference.
func (l *unwrittenReferences) position(p consume.Partition, next int64) int64 {
	for _, offset := range l.offsets[p] {
		next = min(next, offset)
	}
	return next
}

// due returns up to [maxReferencesAtOnce] references to write now.
func (l *unwrittenReferences) due(now time.Time) (all []unwritten) {
	for _, u := range l.byKey {
		if !u.due.After(now) {
			if all = append(all, u); len(all) == maxReferencesAtOnce {
				break
			}
		}
	}
	return all
}

func partitionOf(at kafka.Receipt) consume.Partition {
	return consume.Partition{Topic: at.Topic, Number: at.Partition}
}

// state adds the references that events of another process state. They are known from now
// on, and this process writes them to webhooks.references if the other has not done it by
// the time due.
func (l *local) state(all []unwritten, due time.Time) {
	for _, u := range all {
		u.due = due
		if _, known := l.references[u.key]; !known {
			l.references[u.key] = u.merchant
			l.unwritten.add(u)
		}
	}
}

// stateOwn adds the references of an event that this process published.
func (l *local) stateOwn(e *schemas.Event, at kafka.Receipt) {
	if at.Offset < 0 { // the follower reads the event from Kafka, and its header
		return
	}
	for _, key := range e.References {
		_, known := l.references[key]
		if _, adopted := l.unwritten.byKey[key]; known && !adopted {
			continue // another webhook's, which is written
		}
		if !known {
			l.references[key] = e.Subject
		}
		l.unwritten.add(unwritten{key: key, merchant: e.Subject, eventID: e.ID, at: at, own: true})
	}
}

// hold makes the references known that events of other processes state, and returns the
// position to store for the partition of each chunk.
func (h *History) hold(stated []unwritten, chunks []consume.Chunk) []int64 {
	positions := make([]int64, len(chunks))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.local.state(stated, time.Now().Add(h.adoptAfter+rand.N(h.adoptAfter)))
	for i, c := range chunks {
		positions[i] = h.local.unwritten.position(c.Partition, c.Next)
	}
	return positions
}

// referenceRecord returns the record of a reference. eventID is the event that states
// it; empty if none does.
func (h *History) referenceRecord(key, merchant, eventID string) kafka.Record {
	id := key + "=" + merchant
	both := []byte(id)
	r := kafka.Record{Topic: h.Names.References(), ID: id, Key: both[:len(key):len(key)], Value: both[len(key)+1:]}
	if eventID != "" {
		r.Headers = []schemas.Header{{Name: schemas.HeaderEventID, Value: eventID}}
	}
	return r
}

// writeReferences writes references to webhooks.references until ctx is done, and then
// once more.
func (h *History) writeReferences(ctx context.Context) {
	for {
		wait := referencesInterval
		if err := h.writeDueReferences(ctx); err != nil && ctx.Err() == nil {
			h.Log.Warn().Err(err).Msg("writing references failed; retrying")
			wait = time.Second
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			if err := h.writeDueReferences(context.WithoutCancel(ctx)); err != nil {
				h.Log.Warn().Err(err).Msg("writing the last references failed; whoever reads their events next writes them")
			}
			return
		}
	}
}

// writeDueReferences writes the references that are due.
func (h *History) writeDueReferences(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		h.mu.Lock()
		due := h.local.unwritten.due(time.Now())
		h.mu.Unlock()
		if len(due) == 0 {
			return nil
		}
		records := make([]kafka.Record, len(due))
		for i, u := range due {
			records[i] = h.referenceRecord(u.key, u.merchant, u.eventID)
		}
		receipts, err := h.Publisher.Publish(ctx, records)
		var large *kafka.TooLarge
		if errors.As(err, &large) {
			h.dropReferences(due, large)
			continue
		}
		if err != nil {
			return err
		}
		h.mu.Lock()
		for i, u := range due {
			h.local.addReference(u.key, u.merchant, receipts[i])
		}
		h.mu.Unlock()
	}
}

// dropReferences gives up the references that Kafka will never take.
func (h *History) dropReferences(all []unwritten, large *kafka.TooLarge) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, i := range large.Records {
		h.Log.Error().Err(large.Err).Str("event", all[i].eventID).Msg("a reference is not written: webhooks.references does not take a record of its size")
		h.local.removeReference(all[i].key)
	}
}

// checkUnwritten returns an error while too many references are not written.
func (h *History) checkUnwritten() error {
	if n := len(h.local.unwritten.byKey); n >= maxUnwritten {
		return fmt.Errorf("%w: topic %s cannot be written: %d references wait for it, at most %d may", kafka.ErrUnavailable, h.Names.References(), n, maxUnwritten)
	}
	return nil
}
