package history

import (
	"fmt"
	"math"
	"time"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// errBehind is the error while another replica may have published an event that
// this one has not read.
var errBehind = fmt.Errorf("%w: cannot rule out a duplicate: replica is behind", kafka.ErrUnavailable)

// checkFresh returns an error if the event's topic does not exist, and one that wraps
// [errBehind] if a new event's partition was
// last in sync longer than [kafka.MaxStaleness] ago: another replica may have
// published the event since. A producer waits longer than that, [kafka.Patience],
// before it refuses a record with unknown outcome. So when the processor delivers the
// webhook again, this replica has stopped admitting events to the partition.
func (h *History) checkFresh(e *schemas.Event) error {
	f, topic := h.follower.Load(), h.topicOf(e.Type)
	if f == nil {
		return fmt.Errorf("%w: consumer lag: topic %s is not read yet", errBehind, topic)
	}
	p, followed := f.partitionOf(topic, e.Subject)
	if !followed {
		return fmt.Errorf("%w: topic %s did not exist when this process started: create it with 'tollbridge topics apply' and start again", kafka.ErrUnavailable, topic)
	}
	inSync := f.inSyncAt(p)
	if inSync.IsZero() {
		return fmt.Errorf("%w: consumer lag: partition %s was not in sync yet", errBehind, p)
	}
	if age := time.Since(inSync); age > kafka.MaxStaleness {
		return fmt.Errorf("%w: consumer lag: partition %s last in sync %s ago", errBehind, p, age.Round(time.Millisecond))
	}
	return nil
}

// inSyncAt returns the latest time for which everything that was in the partition then
// has been read, or zero if there is none.
func (f *follower) inSyncAt(p consume.Partition) time.Time { return f.orStarted(f.FreshAsOf(p)) }

// orStarted returns t. If t is zero, it returns the time at which the follower started,
// provided that everything that was in the topics then has been read.
func (f *follower) orStarted(t time.Time) time.Time {
	if t.IsZero() && f.caughtUp.Load() {
		return f.started
	}
	return t
}

// lag returns the number of records of all partitions that are not read yet, according
// to the leaders' last answers.
func (h *History) lag() float64 {
	f := h.follower.Load()
	if f == nil {
		return 0
	}
	records, _ := f.Lag()
	return float64(max(records, f.left.Load())) // after the start no leader may have answered yet
}

// staleSeconds returns for how many seconds the partition that is furthest behind has
// not been in sync, or +Inf if a partition never was.
func (h *History) staleSeconds() float64 {
	f := h.follower.Load()
	if f == nil {
		return math.Inf(1)
	}
	_, oldest := f.Lag()
	if oldest = f.orStarted(oldest); oldest.IsZero() {
		return math.Inf(1)
	}
	return time.Since(oldest).Seconds()
}

// Follows reports whether [History.Written] can answer for a topic: see
// [publish.LogReader].
func (h *History) Follows(topic string) bool {
	f := h.follower.Load()
	return f != nil && f.partitions[topic] > 0 && topic != h.Names.References()
}

// Written reads the outcome of events that were sent to a partition at a time sent,
// without an answer that says whether they were written. It returns the receipts of the
// written ones by event id; the others were not written. It returns false as long as
// one of them may still be written: see [publish.LogReader].
func (h *History) Written(topic string, partition int, sent time.Time, ids []string) (map[string]kafka.Receipt, bool) {
	if h.closed.Load() {
		return nil, true // the process is about to exit and sends nothing again
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.follower.Load()
	if f == nil || f.inSyncAt(consume.Partition{Topic: topic, Number: partition}).Before(sent.Add(kafka.QuietPeriod)) {
		return nil, false
	}
	receipts := map[string]kafka.Receipt{}
	for _, id := range ids {
		at, ok, err := h.receiptOf(id)
		if err != nil {
			return nil, false
		}
		if ok {
			receipts[id] = at
		}
	}
	return receipts, true
}
