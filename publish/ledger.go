package publish

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// ledger remembers records that are written, or may be, although their callers were
// refused, so that a redelivery is not written again. Records that were acknowledged to
// their callers are not in it.
//
// A record gets an entry when its caller is refused. While the outcome of its batch is
// unknown, the entry is abandoned, and redeliveries wait for it. Then the entry becomes
// stored (with the receipt) or indeterminate, or is removed because the record was
// not written. Stored and indeterminate entries are kept for a limited time, and a
// limited number of them. Abandoned entries belong to a batch in memory, so
// [Config.MaxBytes] bounds them.
type ledger struct {
	size       atomic.Int64 // number of entries; if it is 0, calls skip the look-up
	retention  time.Duration
	maxEntries int
	now        func() time.Time
	mu         sync.Mutex
	entries    map[string]*entry
	finished   []*entry // stored and indeterminate entries, the oldest first
	metric     *metrics
}

// entry has the outcome of one record. The ledger's lock guards every field but the
// channel.
type entry struct {
	key      string
	fate     fate // abandoned, stored or indeterminate
	receipt  kafka.Receipt
	expires  time.Time
	resolved chan struct{} // closed when the outcome is known
}

func newLedger(keep time.Duration, most int, m *metrics) *ledger {
	return &ledger{retention: keep, maxEntries: most, now: time.Now, entries: map[string]*entry{}, metric: m}
}

// find returns a copy of a record's entry, or nil.
func (l *ledger) find(key string) *entry {
	if l.size.Load() == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[key]
	if e == nil {
		return nil
	}
	if e.fate != abandoned && l.now().After(e.expires) {
		l.forget(e)
		return nil
	}
	same := *e
	return &same
}

// remember adds an entry for a record whose caller is refused, if the record is written
// or may be.
func (l *ledger) remember(key string, s *slot) {
	s.part.mu.Lock()
	defer s.part.mu.Unlock()
	if s.fate == unwritten {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &entry{key: key, fate: abandoned, resolved: make(chan struct{})}
	l.entries[key] = e
	if s.fate == abandoned {
		s.entry = e
	} else {
		l.finish(e, s)
	}
	l.updateSize()
}

// resolve copies the outcome of a record to its entry, if it has one. The caller holds
// the lock of the record's partition.
func (l *ledger) resolve(s *slot) {
	if s.entry == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finish(s.entry, s)
	s.entry = nil
	l.updateSize()
}

// finish sets the outcome of an entry, and removes entries that are too old or exceed
// the limit on their number. The caller holds the ledger's lock.
func (l *ledger) finish(e *entry, s *slot) {
	close(e.resolved)
	if s.fate == unwritten {
		l.forget(e)
		return
	}
	e.fate, e.receipt, e.expires = s.fate, s.receipt, l.now().Add(l.retention)
	l.finished = append(l.finished, e)
	for len(l.finished) > 0 && (len(l.finished) > l.maxEntries || l.now().After(l.finished[0].expires)) {
		l.forget(l.finished[0])
		l.finished[0] = nil
		l.finished = l.finished[1:]
	}
}

// forget removes an entry, unless a later one has replaced it.
func (l *ledger) forget(e *entry) {
	if l.entries[e.key] == e {
		delete(l.entries, e.key)
	}
}

func (l *ledger) updateSize() {
	l.size.Store(int64(len(l.entries)))
	l.metric.remembered.Set(float64(len(l.entries)))
}
