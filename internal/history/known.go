package history

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// A processor can tell one fact by several of its webhooks. The first that comes makes
// the event. The others are duplicates of it: their events have an id in common with
// it. Where such a duplicate has a field that the event lacks, such as the amount, the
// event is corrected: a copy with the field is published, whose corrects is the id of
// the first event. Where both have a field, that of the first counts.
//
// Corrections of one event are a chain: the id of each is made of the id of the event
// or correction that it replaces. So two corrections of the same version have one id,
// and one of them is published.

// known is an event that was published.
type known struct {
	id     string         // of the event: the one that was looked up may be another id of it
	fields schemas.Fields // that the event has
	kafka.Receipt
}

// find returns the published event with one of the ids of e; false if there is none.
func (h *History) find(e schemas.Event) (k known, ok bool, err error) {
	for _, id := range e.IDs() {
		if k, ok, err = h.findID(id); ok || err != nil {
			return k, ok, err
		}
	}
	return k, false, nil
}

// Published returns the event that was published with one of the ids of e; false if
// there is none.
func (h *History) Published(e schemas.Event) (Located, bool, error) {
	if err := h.Ready(); err != nil {
		return Located{}, false, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	k, ok, err := h.find(e)
	return Located{k.id, k.Receipt}, ok, err
}

// findID returns the published event that an id belongs to.
func (h *History) findID(id string) (known, bool, error) {
	if e, ok := h.local.events[id]; ok {
		return e.known, true, nil
	}
	if k, ok, err := h.currentStore().event(id); ok || err != nil {
		return k, ok, err
	}
	first, err := h.merchantOf(otherIDKey(id))
	if first == "" || err != nil {
		return known{}, false, err
	}
	if e, ok := h.local.events[first]; ok {
		return e.known, true, nil
	}
	return h.currentStore().event(first)
}

// otherIDKey returns the key of the record in the topic of references that maps a
// further id of a fact to the id of its event. It is written where a webhook with both
// ids comes after the event, whose own record has the further ids that its webhook had.
func otherIDKey(id string) string { return "event:id:" + id }

// addOtherIDs adds the ids of e under which its fact is not known to the admission. The
// fact is published as k.
func (h *History) addOtherIDs(a *Admission, e schemas.Event, k known) error {
	for _, id := range ownIDs(e) {
		if _, ok, err := h.findID(id); ok || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		h.addReference(a, otherIDKey(id), k.id, e.ID)
	}
	return nil
}

// ownIDs returns the ids under which an event is known once it is published.
func ownIDs(e schemas.Event) []string { return append([]string{e.ID}, e.Also...) }

// correctionID returns the id of the correction that replaces an event or a correction
// with an id.
func correctionID(e schemas.Event, id string) string {
	return schemas.ID(e.Data.Connector, e.Data.Endpoint, "corrects:"+id, e.Type, 0)
}

// longestChain bounds how many corrections of corrections are followed. Each adds a
// field, and few tellers of a fact add fields.
const longestChain = 16

// replaces reports whether correction b comes after correction a in the chain of
// corrections. Like is an event of the fact.
func replaces(like schemas.Event, b, a string) bool {
	for range longestChain {
		if a = correctionID(like, a); a == b {
			return true
		}
	}
	return false
}

// version is an event, or the last correction of it.
type version struct {
	known
	time int64 // when it was published, Unix milliseconds
}

// newer returns the later of two corrections of an event. Those of one chain can be
// read in any order; the time decides between others, such as those of a replay.
func newer(like schemas.Event, a, b version) version {
	switch {
	case a.id == "" || replaces(like, b.id, a.id):
		return b
	case b.id == "" || replaces(like, a.id, b.id), a.time > b.time:
		return a
	}
	return b
}

// lastVersion returns the last correction of a published event, or the event itself.
func (h *History) lastVersion(like schemas.Event, k known) (known, error) {
	stored, err := h.currentStore().correction(k.id)
	if err != nil {
		return k, err
	}
	if last := newer(like, stored, h.local.corrections[k.id]); last.id != "" {
		return last.known, nil
	}
	return k, nil
}

// needsEvent is the error of [History.fill] if it needs the content of an event that is
// not cached. [History.Admit] reads it from Kafka, without holding the lock.
type needsEvent known

func (needsEvent) Error() string { return "the event has to be read" }

// fill returns the correction of a published event with the fields that it lacks and e
// has; false if it lacks none. Contents are the events that were read from Kafka.
func (h *History) fill(e schemas.Event, k known, contents map[kafka.Receipt]schemas.Event) (c schemas.Event, ok bool, err error) {
	if e.Data.Corrects != "" || e.Fields()&^k.fields == 0 {
		return c, false, nil
	}
	last, err := h.lastVersion(e, k)
	if err != nil || e.Fields()&^last.fields == 0 {
		return c, false, err
	}
	content, ok := h.contents.get(last.id)
	if !ok {
		if content, ok = contents[last.Receipt]; !ok {
			return c, false, needsEvent(last)
		}
		if content.ID != last.id {
			return c, false, nil // it is no longer in the topic
		}
		h.contents.put(last.id, content)
	}
	if content, err = h.resolveKey(content); err != nil { // the first reference of a payment counts, not that of e
		return c, false, err
	}
	filled, added := content.Fill(e)
	if added == 0 {
		return c, false, nil
	}
	c = correctionOf(content, filled)
	if _, err := kafka.EventRecord(h.Names, c, ""); err != nil {
		h.Log.Warn().Err(err).Str("event", k.id).Msg("an event is not corrected: the correction cannot be published")
		return c, false, nil
	}
	return c, true, nil
}

// readContent reads the record of a published event from Kafka. The zero event means
// that it is no longer in its topic.
func (h *History) readContent(ctx context.Context, k known) (e schemas.Event, err error) {
	at := k.Receipt
	at.Earlier = false
	if at.Offset < 0 {
		return e, nil
	}
	records, err := h.reader.Get(ctx, []kafka.Receipt{at})
	if err != nil {
		return e, fmt.Errorf("%w: reading event %s, which another webhook adds to: %w", kafka.ErrUnavailable, k.id, err)
	}
	if json.Unmarshal(records[at].Value, &e) != nil {
		return schemas.Event{}, nil
	}
	return e, nil
}

// merge returns the events with those made one that have an id in common.
func merge(events []schemas.Event) []schemas.Event {
	var all []schemas.Event
	indexes := map[string]int{} // by id
	for _, e := range events {
		i := len(all)
		for _, id := range e.IDs() {
			if first, ok := indexes[id]; ok {
				i = first
				break
			}
		}
		if i == len(all) {
			all = append(all, e)
		} else {
			one, _ := all[i].Fill(e)
			one.Also = append(slices.Clone(one.Also), slices.DeleteFunc(ownIDs(e), func(id string) bool { return slices.Contains(ownIDs(one), id) })...)
			one.Formerly = append(slices.Clone(one.Formerly), e.Formerly...)
			all[i] = one
		}
		for _, id := range e.IDs() {
			indexes[id] = i
		}
	}
	return all
}

// correctionOf returns the event that replaces e, with the content of another.
func correctionOf(e, content schemas.Event) schemas.Event {
	c := content
	c.ID, c.Also, c.Formerly = correctionID(e, e.ID), nil, nil
	c.Data.Corrects = cmp.Or(e.Data.Corrects, e.ID) // the first event, where e is a correction itself
	c.Data.Late, c.Data.NewestEventID, c.Data.Contradicts = false, "", ""
	return c
}
