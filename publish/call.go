package publish

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// fate is what became of a record.
type fate int8

const (
	waiting   fate = iota // in a batch, its caller waits
	stored                // acknowledged
	unwritten             // surely in no log, now or later
	abandoned                // its caller was refused and left, its batch's outcome is unknown
	indeterminate                  // its batch was given up with unknown outcome
)

// slot is one record of a call on its way. From the time it is placed its
// partition's lock guards it.
type slot struct {
	call  *call
	part  *partition // nil: not placed yet, or known by the ledger
	batch *batch
	id    string // [kafka.Record.ID]
	index int    // in the batch
	size  int64  // bytes reserved for it
	fate  fate
	receipt    kafka.Receipt
	err   error
	entry *entry // the ledger's, once the caller was refused
}

// call is one call of [Producer.Publish]: it ends when every record's fate is
// known, or when its caller cannot wait any longer.
type call struct {
	records []kafka.Record
	slots   []slot
	remaining    atomic.Int32
	failed  atomic.Bool   // a record is not stored, or the caller left
	done    chan struct{} // has a place for the one message that nothing is left
	two     [2]slot       // most calls need no more
}

func newCall(records []kafka.Record) *call {
	c := &call{records: records, done: make(chan struct{}, 1)}
	if len(records) <= len(c.two) {
		c.slots = c.two[:len(records)]
	} else {
		c.slots = make([]slot, len(records))
	}
	for i := range c.slots {
		c.slots[i].call = c
	}
	c.remaining.Store(int32(len(records)))
	return c
}

// end tells the caller, if it still waits, what became of the record.
func (s *slot) finish(f fate, err error) {
	was := s.fate
	s.fate, s.err = f, err
	if f != stored {
		s.call.failed.Store(true)
	}
	if was == waiting && s.call.remaining.Add(-1) == 0 {
		s.call.done <- struct{}{}
	}
}

// wait returns once every record's fate is known or ctx is done.
func (c *call) wait(ctx context.Context) {
	select {
	case <-c.done:
	case <-ctx.Done():
		c.abandon(errDeadline)
	}
}

var errDeadline = errors.New("the deadline passed first")

// leave takes the records that are not sent out of their batches, and leaves
// the others behind as orphans.
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
				s.fate = abandoned
			}
		}
		s.part.mu.Unlock()
	}
}

// result returns the receipts, or the first error. Where there is an error the
// ledger remembers every record that is written all the same, or may be.
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
	if err == nil { // even if the deadline passed as the last answer came
		return receipts, nil
	}
	for i := range c.slots {
		if s := &c.slots[i]; s.part != nil {
			l.remember(ledgerKey(&c.records[i]), s)
		}
	}
	c.records = nil // orphans hold on to the call
	return nil, err
}

// outcome returns what became of the record by now. Once its caller left, its
// batch may be answered at any time.
func (s *slot) outcome() (fate, kafka.Receipt, error) {
	if s.part != nil && s.call.failed.Load() { // else nobody touches it any more
		s.part.mu.Lock()
		defer s.part.mu.Unlock()
	}
	return s.fate, s.receipt, s.err
}

// identity tells a record from others and is the same for its redelivery.
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

// recall looks a record up in the ledger. It returns whether the record is
// written, and waits for a batch whose outcome is not known yet.
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
	errIndeterminate      = errors.New("an earlier attempt to write it had to be given up: whether it is written is not known")
	errPending = errors.New("an earlier attempt to write it is not answered yet")
)
