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
	keep   time.Duration
	most   int
	now    func() time.Time
	mu     sync.Mutex
	all    map[string]*entry
	ended  []*entry // stored and lost, the oldest first
	metric *metrics
}

// entry is what is known of one record. The ledger's lock guards it, but for
// the channel.
type entry struct {
	key     string
	fate    fate // orphan, stored or lost
	at      kafka.Receipt
	until   time.Time
	settled chan struct{} // closed when it is no orphan any more
}

func newLedger(keep time.Duration, most int, m *metrics) *ledger {
	return &ledger{keep: keep, most: most, now: time.Now, all: map[string]*entry{}, metric: m}
}

// find returns a copy of a record's entry, or nil.
func (l *ledger) find(key string) *entry {
	if l.size.Load() == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.all[key]
	if e == nil {
		return nil
	}
	if e.fate != orphan && l.now().After(e.until) {
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
	e := &entry{key: key, fate: orphan, settled: make(chan struct{})}
	l.all[key] = e
	if s.fate == orphan {
		s.entry = e
	} else {
		l.end(e, s)
	}
	l.count()
}

// settle tells the entry of a record, if it has one, how its batch ended. The
// record's partition is locked.
func (l *ledger) settle(s *slot) {
	if s.entry == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end(s.entry, s)
	s.entry = nil
	l.count()
}

// end is what settle and remember have in common.
func (l *ledger) end(e *entry, s *slot) {
	close(e.settled)
	if s.fate == unwritten {
		l.forget(e)
		return
	}
	e.fate, e.at, e.until = s.fate, s.at, l.now().Add(l.keep)
	l.ended = append(l.ended, e)
	for len(l.ended) > 0 && (len(l.ended) > l.most || l.now().After(l.ended[0].until)) {
		l.forget(l.ended[0])
		l.ended[0] = nil
		l.ended = l.ended[1:]
	}
}

// forget removes an entry, unless a later one has taken its place.
func (l *ledger) forget(e *entry) {
	if l.all[e.key] == e {
		delete(l.all, e.key)
	}
}

func (l *ledger) count() {
	l.size.Store(int64(len(l.all)))
	l.metric.remembered.Set(float64(len(l.all)))
}
