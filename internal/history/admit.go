package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// Admission says which events of a webhook are new, and reserves those for its caller.
// Publish Events and References, then call [Admission.Done], or [Admission.Fail] if
// publishing failed. References may be missing although no event is new: publish them
// too.
type Admission struct {
	h *History
	// Events are the events to publish: first those that were not published before, in
	// their order, then corrections of published events that lack a field which the
	// webhook has. Their key is the merchant's id if it is known, and they are marked if
	// they are late or contradict another event.
	Events []schemas.Event
	// References are records to publish together with Events: the references that
	// known events and items without an event state, and that are not published yet. Those
	// of Events are in the events, and the History writes them after Done.
	References []kafka.Record
	// Known has the events that were published before, by the id of the event that was
	// looked up. An event may have been published under another of its ids.
	Known map[string]Located
	// NotAfter is the time of [kafka.Clock] after which Events must not be sent, because
	// another replica may publish them then. Set it in their records.
	NotAfter time.Duration

	claims held
	asOf   uint64        // [History.reads] at the look-up
	done   chan struct{} // closed when the admission ends; nil if nobody waits for that
	ended  bool
}

// waitDone returns a channel that is closed when the admission ends. The caller holds
// the lock.
func (a *Admission) waitDone() <-chan struct{} {
	if a.done == nil {
		a.done = make(chan struct{})
	}
	return a.done
}

// Admit looks events up and returns which are new. An event is known if any of its ids
// was published. Further references, of items without an event, are added to those of
// the events. On a nil History every event is new.
//
// Admit claims the events to publish, so that no other replica publishes them before
// [Admission.NotAfter]. While another webhook of this process, or another replica,
// publishes one of the events, Admit waits until ctx is done.
//
// The error wraps [kafka.ErrUnavailable] if the state is not restored yet, if the events
// cannot be claimed, or if another replica may have published an event that this one has
// not read.
func (h *History) Admit(ctx context.Context, events []schemas.Event, references ...schemas.Reference) (*Admission, error) {
	if h == nil {
		return &Admission{Events: events}, nil
	}
	var a *Admission
	claims := held{}
	for {
		// Look up again after claiming: what other replicas published before is known then.
		if a == nil || !h.markAgain(a) {
			var waited bool
			var err error
			if a, waited, err = h.lookUp(ctx, events, references, a); err != nil {
				return nil, err
			}
			if waited { // another webhook of this process may have sent one of the events since the claims were read
				clear(claims)
			}
		}
		again, err := h.claim(ctx, a, claims)
		if err != nil {
			a.Forget()
			return nil, err
		}
		if !again {
			break
		}
	}
	a.claims, a.NotAfter = claims, claims.notAfter(a.Events, h.claims.rules)
	for _, e := range a.Events {
		if len(claims[e.ID].check) > 0 {
			h.metrics.claimsTakenOver.Inc()
		}
	}
	for _, e := range events {
		if _, known := a.Known[e.ID]; known && e.Data.Corrects == "" { // no webhook gives a correction
			h.metrics.hits.WithLabelValues(e.Data.Connector).Inc()
		}
	}
	return a, nil
}

// markAgain marks the events of an admission that has just been claimed, as they may be
// late now. It returns false if everything must be looked up again: records were read
// since the look-up, or one of the events is known or may get another key.
func (h *History) markAgain(a *Admission) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a.ended || h.Ready() != nil || a.asOf != h.reads.Load() || len(a.Known) > 0 {
		return false
	}
	for i := range a.Events {
		e := &a.Events[i]
		if _, known, err := h.find(e); known || err != nil || hasFallbackKey(*e) {
			return false
		}
		if h.mark(e) != nil || h.checkFresh(e) != nil {
			return false // the look-up returns the error
		}
	}
	return true
}

// lookUp is Admit without claims. It ends an earlier look-up of the same events, if
// there is one, and reports whether it waited for another webhook of this process.
func (h *History) lookUp(ctx context.Context, events []schemas.Event, references []schemas.Reference, before *Admission) (a *Admission, waited bool, err error) {
	if err := h.Ready(); err != nil {
		before.Forget()
		return nil, false, err
	}
	events = merge(events)
	var contents map[kafka.Receipt]schemas.Event
	for {
		a, busy, err := h.tryAdmit(events, references, contents, before)
		if busy == nil && err == nil {
			return a, waited, nil
		}
		var needed needsEvent
		if errors.As(err, &needed) {
			content, err := h.readContent(ctx, known(needed))
			if err != nil {
				return nil, waited, err
			}
			if contents == nil {
				contents = map[kafka.Receipt]schemas.Event{}
			}
			contents[needed.Receipt] = content
			waited = true
			continue
		}
		if err != nil {
			return nil, waited, err
		}
		waited = true
		h.metrics.waits.Inc()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, waited, fmt.Errorf("%w: another webhook with the same event is still being published: %w", kafka.ErrUnavailable, ctx.Err())
		}
	}
}

// tryAdmit reserves all new events, or none: if another admission has one of them, it
// returns a channel that is closed when that admission ends. A waiting caller holds no
// reservation, so callers cannot deadlock. tryAdmit ends an earlier admission of the same
// events, if there is one.
func (h *History) tryAdmit(events []schemas.Event, references []schemas.Reference, contents map[kafka.Receipt]schemas.Event, before *Admission) (*Admission, <-chan struct{}, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if before != nil && !before.ended {
		before.end()
	}
	if err := h.Ready(); err != nil { // the store may have been replaced meanwhile
		return nil, nil, err
	}
	if err := h.checkUnwritten(); err != nil {
		return nil, nil, err
	}
	for i := range events {
		if other := h.pendingWith(&events[i]); other != nil {
			return nil, other.waitDone(), nil
		}
	}
	a := &Admission{h: h, asOf: h.reads.Load()}
	a.Events = make([]schemas.Event, 0, len(events))
	var corrections []schemas.Event
	for i := range events {
		e := events[i]
		k, ok, err := h.find(&events[i])
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			a.Events = append(a.Events, e)
			continue
		}
		if a.Known == nil {
			a.Known = map[string]Located{}
		}
		a.Known[e.ID] = Located{k.id, k.Receipt}
		// The published event may lack a reference or an id that e has.
		if err := errors.Join(h.addReferencesOfKnown(a, e), h.addOtherIDs(a, e, k)); err != nil {
			return nil, nil, err
		}
		c, ok, err := h.fill(e, k, contents)
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			continue
		}
		if other := h.pendingWith(&c); other != nil {
			return nil, other.waitDone(), nil
		}
		corrections = append(corrections, c)
	}
	a.Events = append(a.Events, corrections...)
	for i := range a.Events {
		e := &a.Events[i]
		if err := h.enrich(e); err != nil {
			return nil, nil, err
		}
		if err := h.checkFresh(e); err != nil {
			return nil, nil, err
		}
		missing, err := h.missingReferences(*e)
		if err != nil {
			return nil, nil, err
		}
		e.References = missing
	}
	if err := h.addFurtherReferences(a, references); err != nil {
		return nil, nil, err
	}
	for i := range a.Events {
		for id := range a.Events[i].IDs() {
			h.pending[id] = a
		}
	}
	return a, nil, nil
}

// pendingWith returns the admission of another webhook that has one of the ids of e, or
// nil if there is none.
func (h *History) pendingWith(e *schemas.Event) *Admission {
	for id := range e.IDs() {
		if a, ok := h.pending[id]; ok {
			return a
		}
	}
	return nil
}

// receiptOf returns the receipt of an event, and false if it was not published.
func (h *History) receiptOf(id string) (kafka.Receipt, bool, error) {
	k, ok, err := h.findID(id)
	return k.Receipt, ok, err
}

// enrich gives a new event the merchant's id as its key if a reference has it, and its
// marks.
func (h *History) enrich(e *schemas.Event) (err error) {
	if *e, err = h.resolveKey(*e); err != nil {
		return err
	}
	return h.mark(e)
}

// mark gives a new event its marks late and contradicts.
func (h *History) mark(e *schemas.Event) error {
	n, err := h.newestOf(e.Subject)
	if err != nil {
		return err
	}
	if n.Time.After(e.Time) {
		e.Data.Late, e.Data.NewestEventID = true, n.ID
	}
	states, err := h.terminalStatesOf(terminalKey(*e))
	if err != nil {
		return err
	}
	e.Data.Contradicts = states.contradictedBy(*e)
	return nil
}

// DropCorrections removes the corrections from Events. Call it if Kafka refuses one of
// them because of its size.
func (a *Admission) DropCorrections() {
	if a.h == nil {
		return
	}
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	a.Events = slices.DeleteFunc(a.Events, func(e schemas.Event) bool {
		if e.Data.Corrects != "" {
			delete(a.h.pending, e.ID)
		}
		return e.Data.Corrects != ""
	})
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
	for i := range a.Events {
		e := &a.Events[i]
		if events[i].Earlier {
			h.addEarlier(e, events[i])
		} else {
			h.local.addEvent(e, events[i])
			h.contents.put(e.ID, e)
		}
		if e.Data.Corrects != "" {
			h.metrics.corrections.Inc()
		}
		if e.Data.Late {
			h.metrics.late.Inc()
		}
	}
	a.end()
}

// addEarlier records the receipt of an event that an earlier attempt wrote, after
// that attempt's webhook was refused. The content and key of that record are those
// of the earlier attempt, so the follower fetches it from Kafka.
func (h *History) addEarlier(e *schemas.Event, at kafka.Receipt) {
	if _, stored, err := h.currentStore().event(e.ID); err == nil && stored {
		return
	}
	at.Earlier = false
	h.local.addIDs(e, &localEvent{known: known{e.ID, e.Fields(), at}})
}

// Fail ends an admission after publishing failed. If the error says that an event may have
// been written, this process, too, publishes it only once its claim has expired. Fail has
// no effect after Done.
func (a *Admission) Fail(err error) {
	if a.h != nil && !a.ended && errors.Is(err, kafka.ErrMaybeWritten) {
		a.h.claims.keepOwn(a)
	}
	a.Forget()
}

// Forget ends an admission whose events were not sent: a redelivery finds them new. It has
// no effect after Done.
func (a *Admission) Forget() {
	if a == nil || a.h == nil {
		return
	}
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	if !a.ended {
		a.end()
	}
}

// end releases the reserved events. The caller must hold the lock.
func (a *Admission) end() {
	a.ended = true
	for i := range a.Events {
		for id := range a.Events[i].IDs() {
			if a.h.pending[id] == a {
				delete(a.h.pending, id)
			}
		}
	}
	if a.done != nil {
		close(a.done)
	}
}
