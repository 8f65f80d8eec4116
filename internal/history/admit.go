package history

import (
	"context"
	"fmt"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// Admission says which events of a webhook are new, and reserves those for its
// caller. Publish Events and References, then call [Admission.Done], or
// [Admission.Forget] if publishing failed. References can be missing where no
// event is: publish those, too.
type Admission struct {
	h *History
	// Events were not published before. They have the merchant's id as key where it
	// is known, and are marked if they are late or contradict another event.
	Events []schemas.Event
	// References are records to publish together with Events: the references that
	// new and known events state and that are not published yet.
	References []kafka.Record
	// Known holds the receipts of the events that were published before, by event id.
	Known map[string]kafka.Receipt

	done  chan struct{} // closed by Done and Forget
	ended bool
}

// Admit looks events up and returns which are new. It waits while another webhook
// of this process publishes one of them, until ctx is done. On a nil History every
// event is new.
//
// The error wraps [kafka.ErrUnavailable] if the state is not restored yet, or if
// another replica may have published an event that this one has not read.
func (h *History) Admit(ctx context.Context, events []schemas.Event) (*Admission, error) {
	if h == nil {
		return &Admission{Events: events}, nil
	}
	if err := h.Ready(); err != nil {
		return nil, err
	}
	for {
		a, busy, err := h.tryAdmit(events)
		if busy == nil || err != nil {
			return a, err
		}
		h.metrics.waits.Inc()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: another webhook with the same event is still being published: %w", kafka.ErrUnavailable, ctx.Err())
		}
	}
}

// tryAdmit reserves all of the new events, or none: if another admission has one
// of them, it returns a channel that is closed when that one ends. A waiting
// caller holds no reservation, so callers cannot deadlock.
func (h *History) tryAdmit(events []schemas.Event) (*Admission, <-chan struct{}, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.Ready(); err != nil { // the store may have been replaced meanwhile
		return nil, nil, err
	}
	for _, e := range events {
		if other, ok := h.pending[e.ID]; ok {
			return nil, other.done, nil
		}
	}
	a := &Admission{h: h, Known: map[string]kafka.Receipt{}, done: make(chan struct{})}
	for _, e := range events {
		at, ok, err := h.receiptOf(e.ID)
		switch {
		case err != nil:
			return nil, nil, err
		case ok:
			if e.Data.Corrects == "" { // corrections come from no webhook
				h.metrics.hits.WithLabelValues(e.Data.Connector).Inc()
			}
			a.Known[e.ID] = at
			// The event may have been written without the reference that it states.
			if err := h.addReferencesOfKnown(a, e); err != nil {
				return nil, nil, err
			}
			continue
		}
		if e, err = h.enrich(e); err != nil {
			return nil, nil, err
		}
		if err := h.checkFresh(e); err != nil {
			return nil, nil, err
		}
		if err := h.addReferences(a, e); err != nil {
			return nil, nil, err
		}
		a.Events = append(a.Events, e)
	}
	for _, e := range a.Events {
		h.pending[e.ID] = a
	}
	return a, nil, nil
}

// receiptOf returns the receipt of an event, and false if it was not published.
func (h *History) receiptOf(id string) (kafka.Receipt, bool, error) {
	if e, ok := h.local.events[id]; ok {
		return e.Receipt, true, nil
	}
	return h.currentStore().receipt(id)
}

// enrich returns a new event with the merchant's id as key if a reference has it,
// and with its marks: late, contradicts.
func (h *History) enrich(e schemas.Event) (schemas.Event, error) {
	e, err := h.resolveKey(e)
	if err != nil {
		return e, err
	}
	n, err := h.newestOf(e.Subject)
	if err != nil {
		return e, err
	}
	if n.Time.After(e.Time) {
		e.Data.Late, e.Data.NewestEventID = true, n.ID
		h.metrics.late.Inc()
	}
	states, err := h.terminalStatesOf(terminalKey(e))
	if err != nil {
		return e, err
	}
	e.Data.Contradicts = states.contradictedBy(e)
	return e, nil
}

// Done records that Kafka has the events and the references. events are the
// receipts of Events, references those of References, each in their order.
func (a *Admission) Done(events, references []kafka.Receipt) {
	h := a.h
	if h == nil || a.ended {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	// References first: [writeBatch.corrected] looks for those of a correction.
	for i, r := range a.References {
		h.local.addReference(string(r.Key), string(r.Value), references[i])
	}
	for i, e := range a.Events {
		if events[i].Earlier {
			h.addEarlier(e.ID, events[i])
		} else {
			h.local.addEvent(e, events[i])
		}
	}
	a.end()
}

// addEarlier records the receipt of an event that an earlier attempt wrote, after
// that attempt's webhook was refused. The content and key of that record are those
// of the earlier attempt, so the follower fetches it from Kafka.
func (h *History) addEarlier(id string, at kafka.Receipt) {
	if _, stored, err := h.currentStore().receipt(id); err == nil && stored {
		return
	}
	at.Earlier = false
	h.local.events[id] = localEvent{Receipt: at}
}

// Forget ends an admission whose events may not be in Kafka: a redelivery finds
// them new. It does nothing after Done.
func (a *Admission) Forget() {
	if a.h == nil || a.ended {
		return
	}
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	a.end()
}

// end releases the reserved events. The caller holds the lock.
func (a *Admission) end() {
	a.ended = true
	for _, e := range a.Events {
		delete(a.h.pending, e.ID)
	}
	close(a.done)
}
