package history

import (
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// local holds what this process published until the store has it.
type local struct {
	events      map[string]*localEvent // by each id of the event
	corrections map[string]version     // the last correction, by the id of the first event
	references  map[string]string      // reference key -> merchant_transaction_id
	unwritten   unwrittenReferences    // those of the references that webhooks.references lacks
	otherIDs    int                    // how many of the references map an id of an event: see [otherIDKey]
	newest      localRows[newest]      // by merchant_transaction_id
	terminal    localRows[terminalStates]
	writes      []localWrite // not yet passed to the follower
}

func newLocal() local {
	return local{
		events: map[string]*localEvent{}, corrections: map[string]version{}, references: map[string]string{}, unwritten: newUnwrittenReferences(),
		newest: localRows[newest]{}, terminal: localRows[terminalStates]{},
	}
}

// localEvent is an event that this process published, and the keys of the rows
// that it changes; these are empty if the follower fetches the event from Kafka.
type localEvent struct {
	known
	merchant, terminalKey string
}

// localWrite is a record that this process published, so that the follower need not
// fetch it: an event or a reference.
type localWrite struct {
	event                   *schemas.Event // nil for a reference
	terminalKey             string         // of the event
	referenceKey, reference string
	at                      kafka.Receipt
}

// localRows holds rows as the local events change them. A row stays until the
// store has the last of its events.
type localRows[T any] map[string]struct {
	row    T
	events int
}

// add sets the row of a key for one more event. It ignores an empty key.
func (l localRows[T]) add(key string, row T) {
	if key != "" {
		entry := l[key]
		entry.row, entry.events = row, entry.events+1
		l[key] = entry
	}
}

// release counts one event of a key as stored, and drops the row with the last one.
func (l localRows[T]) release(key string) {
	entry, ok := l[key]
	if entry.events--; entry.events > 0 {
		l[key] = entry
	} else if ok {
		delete(l, key)
	}
}

// addReference adds a reference that this process wrote.
func (l *local) addReference(key, merchant string, at kafka.Receipt) {
	if _, ok := l.references[key]; !ok && strings.HasPrefix(key, otherIDPrefix) {
		l.otherIDs++
	}
	l.references[key] = merchant
	l.unwritten.remove(key)
	l.writes = append(l.writes, localWrite{referenceKey: key, reference: merchant, at: at})
}

// removeReference removes a reference that the store has, or that is given up.
func (l *local) removeReference(key string) {
	if _, ok := l.references[key]; ok && strings.HasPrefix(key, otherIDPrefix) {
		l.otherIDs--
	}
	delete(l.references, key)
	l.unwritten.remove(key)
}

// addEvent adds an event that was published. The caller must not change it any more.
func (l *local) addEvent(e *schemas.Event, at kafka.Receipt) {
	key := terminalKey(*e)
	l.addIDs(e, &localEvent{known{e.ID, e.Fields(), at}, e.Subject, key})
	l.writes = append(l.writes, localWrite{event: e, terminalKey: key, at: at})
	l.stateOwn(e, at)
	l.newest.add(e.Subject, l.newest[e.Subject].row.after(*e))
	if key != "" {
		l.terminal.add(key, l.terminal[key].row.with(terminalStateOf(*e)))
	}
}

// addIDs adds an event under each of its ids.
func (l *local) addIDs(e *schemas.Event, own *localEvent) {
	l.events[e.ID] = own
	for _, id := range e.Also {
		l.events[id] = own
	}
	if first := e.Data.Corrects; first != "" {
		l.corrections[first] = version{own.known, time.Now().UnixMilli()}
	}
}

// takeWrites returns the local writes since the last call that the store does not
// have yet, and their offsets.
func (l *local) takeWrites() ([]localWrite, map[consume.Partition][]int64) {
	writes := slices.DeleteFunc(l.writes, func(w localWrite) bool {
		if w.event == nil {
			_, unconfirmed := l.references[w.referenceKey]
			return !unconfirmed
		}
		_, unconfirmed := l.events[w.event.ID]
		return !unconfirmed
	})
	l.writes = nil
	offsets := map[consume.Partition][]int64{}
	for _, w := range writes {
		p := partitionOf(w.at)
		offsets[p] = append(offsets[p], w.at.Offset)
	}
	return writes, offsets
}

// confirm drops from memory what the store has now, and updates the caches.
func (h *History) confirm(events []storedEvent, references []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range events {
		h.cachedNewest.update(e.Subject, func(n newest) newest { return n.after(*e.Event) })
		if e.terminalKey != "" {
			h.cachedTerminal.update(e.terminalKey, func(s terminalStates) terminalStates { return s.with(terminalStateOf(*e.Event)) })
		}
		if own, ok := h.local.events[e.ID]; ok && own.id == e.ID {
			delete(h.local.events, e.ID)
			for _, id := range e.Also {
				if also, ok := h.local.events[id]; ok && also.id == e.ID {
					delete(h.local.events, id)
				}
			}
			h.local.newest.release(own.merchant)
			h.local.terminal.release(own.terminalKey)
		}
		if h.local.corrections[e.Data.Corrects].id == e.ID {
			delete(h.local.corrections, e.Data.Corrects)
		}
	}
	for _, key := range references {
		h.local.removeReference(key)
		h.cachedReferences.remove(key)
	}
	if len(events) > 0 {
		close(h.confirmed)
		h.confirmed = make(chan struct{})
	}
}
