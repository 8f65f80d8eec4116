package publish

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// ledger remembers the records whose caller was refused although they are
// written, or may be, so that a redelivery is not written again. Records that
// were acknowledged to their caller are not in it.
//
// An entry begins when its caller is refused. While its batch is unsettled the
// entry is an orphan, and redeliveries wait for it. It ends as stored (with the
// receipt), as lost, or is forgotten because the record is surely not written.
// What is stored or lost is remembered for a time, and no more than a number
// of them; orphans hold a batch and are bounded by [Config.MaxBytes].
type ledger struct {
	size   atomic.Int64 // of entries: calls look no further when it is 0
	retention   time.Duration
	maxEntries   int
	now    func() time.Time
	mu     sync.Mutex
	entries    map[string]*entry
	finished  []*entry // stored and lost, the oldest first
	metric *metrics
}

// entry is what is known of one record. The ledger's lock guards it, but for
// the channel.
type entry struct {
	key     string
	fate    fate // orphan, stored or lost
	receipt      kafka.Receipt
	expires   time.Time
	resolved chan struct{} // closed when it is no orphan any more
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

// remember makes an entry of a record whose caller is refused, if it is
// written or may be.
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

// settle tells the entry of a record, if it has one, how its batch ended. The
// record's partition is locked.
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

// end is what settle and remember have in common.
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

// forget removes an entry, unless a later one has taken its place.
func (l *ledger) forget(e *entry) {
	if l.entries[e.key] == e {
		delete(l.entries, e.key)
	}
}

func (l *ledger) updateSize() {
	l.size.Store(int64(len(l.entries)))
	l.metric.remembered.Set(float64(len(l.entries)))
}
