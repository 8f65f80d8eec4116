package publish

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// fate is the outcome of a record.
type fate int8

const (
	waiting       fate = iota // in a batch, and its caller waits
	stored                    // acknowledged
	unwritten                 // not in the log, and never will be
	abandoned                 // its caller was refused; the outcome of its batch is not known yet
	indeterminate             // the outcome of its batch can never be known
)

// slot tracks one record of a call. Once the record is in a batch, the partition's lock
// guards the slot.
type slot struct {
	call    *call
	part    *partition // nil: not in a batch yet, or found in the ledger
	batch   *batch
	id      string // [kafka.Record.ID]
	index   int    // index of the record in the batch
	size    int64  // bytes reserved for it
	fate    fate
	receipt kafka.Receipt
	err     error
	entry   *entry // the record's entry in the ledger, once the caller was refused

	notAfter time.Duration // [kafka.Record.NotAfter]
	// maybeWritten is set once the caller was refused while the outcome was unknown.
	maybeWritten bool
}

// call is one call of [Producer.Publish]. It ends when the outcome of every record is
// known, or at its caller's deadline.
type call struct {
	records   []kafka.Record
	slots     []slot
	remaining atomic.Int32
	failed    atomic.Bool   // a record was not stored, or the caller has left
	done      chan struct{} // buffered, size 1: the outcome of every record is known
	few       [3]slot       // avoids an allocation for an event, its webhook and a reference
}

func newCall(records []kafka.Record) *call {
	c := &call{records: records, done: make(chan struct{}, 1)}
	if len(records) <= len(c.few) {
		c.slots = c.few[:len(records)]
	} else {
		c.slots = make([]slot, len(records))
	}
	for i := range c.slots {
		c.slots[i].call = c
	}
	c.remaining.Store(int32(len(records)))
	return c
}

// finish sets the outcome of the record, and tells the caller if it still waits.
func (s *slot) finish(f fate, err error) {
	was := s.fate
	s.fate, s.err = f, err
	if f == abandoned || f == indeterminate {
		s.maybeWritten = true
	}
	if f != stored {
		s.call.failed.Store(true)
	}
	if was == waiting && s.call.remaining.Add(-1) == 0 {
		s.call.done <- struct{}{}
	}
}

// wait returns once the outcome of every record is known or ctx is done.
func (c *call) wait(ctx context.Context) {
	select {
	case <-c.done:
	case <-ctx.Done():
		c.abandon(errDeadline)
	}
}

var errDeadline = errors.New("the deadline passed before Kafka acknowledged the record")

// abandon marks the records that were not sent as unwritten, and the others as
// abandoned.
func (c *call) abandon(err error) {
	c.failed.Store(true)
	for i := range c.slots {
		s := &c.slots[i]
		if s.part == nil {
			if s.fate == waiting {
				s.fate, s.err = unwritten, err
			}
			continue
		}
		s.part.mu.Lock()
		if s.fate == waiting {
			s.fate, s.err = unwritten, err
			if s.batch.inFlight || s.batch.unknown {
				s.fate, s.maybeWritten = abandoned, true
			}
		}
		s.part.mu.Unlock()
	}
}

// result returns the receipts, or the first error. After an error the ledger has every
// record of the call that is written or may be.
func (c *call) result(l *ledger) ([]kafka.Receipt, error) {
	receipts := make([]kafka.Receipt, len(c.slots))
	var err error
	var large *kafka.TooLarge
	for i := range c.slots {
		f, at, why := c.slots[i].outcome()
		if receipts[i] = at; f != stored && err == nil {
			err = why
		}
		if f == unwritten && errors.Is(why, kafkago.MessageSizeTooLarge) {
			if large == nil {
				large = &kafka.TooLarge{Err: why}
			}
			large.Records = append(large.Records, i)
		}
	}
	if large != nil {
		err = large
	}
	if err == nil { // even if the deadline passed when the last answer arrived
		return receipts, nil
	}
	for i := range c.slots {
		if c.slots[i].part != nil && c.slots[i].notAfter > 0 && c.slots[i].isMaybeWritten() {
			err = fmt.Errorf("%w: %w", kafka.ErrMaybeWritten, err)
			break
		}
	}
	for i := range c.slots {
		if s := &c.slots[i]; s.part != nil {
			l.remember(ledgerKey(&c.records[i]), s)
		}
	}
	c.records = nil // abandoned records keep the call in memory
	return nil, err
}

// outcome returns the outcome of the record so far. Once the caller has left it takes
// the lock, because the batch may be answered at any time.
func (s *slot) outcome() (fate, kafka.Receipt, error) {
	if s.part != nil && s.call.failed.Load() { // otherwise no other goroutine changes it any more
		s.part.mu.Lock()
		defer s.part.mu.Unlock()
	}
	return s.fate, s.receipt, s.err
}

// isMaybeWritten returns maybeWritten. It takes the lock.
func (s *slot) isMaybeWritten() bool {
	s.part.mu.Lock()
	defer s.part.mu.Unlock()
	return s.maybeWritten
}

// ledgerKey returns a key that identifies a record; redeliveries of the record have the
// same key.
func ledgerKey(r *kafka.Record) string {
	if r.ID != "" {
		return r.Topic + "\x00" + r.ID
	}
	h := sha256.New()
	var size [8]byte
	for _, part := range [][]byte{r.Key, r.Value} {
		h.Write(binary.BigEndian.AppendUint64(size[:0], uint64(len(part))))
		h.Write(part)
	}
	return r.Topic + "\x01" + string(h.Sum(nil))
}

// checkLedger looks a record up in the ledger, and reports whether the record is
// written. If its batch has no outcome yet, checkLedger waits for that.
func (s *slot) checkLedger(ctx context.Context, l *ledger, p *partition, r *kafka.Record) (bool, error) {
	for {
		e := l.find(ledgerKey(r))
		switch {
		case e == nil:
			return false, nil
		case e.fate == stored:
			s.receipt = e.receipt
			s.receipt.Earlier = true
			return true, nil
		case e.fate == indeterminate:
			return false, errIndeterminate
		}
		if err := p.checkAvailable(time.Now()); err != nil {
			return false, err
		}
		select {
		case <-e.resolved:
		case <-ctx.Done():
			return false, errDeadline
		case <-time.After(p.cluster.Patience):
			return false, errPending
		}
	}
}

var (
	errIndeterminate = errors.New("an earlier attempt to write the record was given up: it is unknown whether the record was written")
	errTooLate       = errors.New("the record is not sent: another replica may write it now")
	errPending       = errors.New("an earlier attempt to write the record has not been answered yet")
)
