package history

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// A processor may report one fact by several of its webhooks. The first to arrive makes
// the event. The others are duplicates: their events have an id in common with it. If a
// duplicate has a field that the event lacks, such as the amount, the event is
// corrected: a copy with the field is published, whose field corrects has the id of the
// first event. If both have a field, the value of the first counts.
//
// Corrections of one event are a chain: the id of each is made from the id of the event
// or correction that it replaces. So two corrections of the same version have the same
// id, and only one of them is published.

// known is a published event.
type known struct {
	id     string         // the event's id; the id that was looked up may be another one of it
	fields schemas.Fields // the fields that the event has
	kafka.Receipt
}

// find returns the published event that has one of the ids of e, or false if there is
// none.
func (h *History) find(e *schemas.Event) (k known, ok bool, err error) {
	for id := range e.IDs() {
		if k, ok, err = h.findID(id); ok || err != nil {
			return k, ok, err
		}
	}
	return k, false, nil
}

// Published returns the published event that has one of the ids of e, or false if there
// is none.
func (h *History) Published(e schemas.Event) (Located, bool, error) {
	if err := h.Ready(); err != nil {
		return Located{}, false, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	k, ok, err := h.find(&e)
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
	if h.local.otherIDs == 0 && !h.currentStore().filter.mayContain(rowReference, otherIDPrefix, id) {
		return known{}, false, nil // nearly every webhook
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

// otherIDKey returns the key of the record in webhooks.references that maps a further
// id of a fact to the id of its event. Such a record is written if a webhook with both
// ids comes after the event; the event's own record has the further ids of the event's
// own webhook.
func otherIDKey(id string) string { return otherIDPrefix + id }

const otherIDPrefix = "event:id:"

// addOtherIDs adds to the admission the ids of e that are not known as ids of the
// published event k.
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

// ownIDs returns the ids by which an event is found once it is published.
func ownIDs(e schemas.Event) []string {
	return append(append(make([]string, 0, 1+len(e.Also)), e.ID), e.Also...)
}

// correctionID returns the id of the correction that replaces the event or correction
// with an id.
func correctionID(e schemas.Event, id string) string {
	return schemas.ID(e.Data.Connector, e.Data.Endpoint, "corrects:"+id, e.Type, 0)
}

// longestChain bounds how many corrections of corrections are followed. Each adds a
// field, and few webhooks of a fact add fields.
const longestChain = 16

// replaces reports whether correction b comes after correction a in the chain of
// corrections. like is an event of the same fact.
func replaces(like schemas.Event, b, a string) bool {
	for range longestChain {
		if a = correctionID(like, a); a == b {
			return true
		}
	}
	return false
}

// version is an event or its last correction.
type version struct {
	known
	time int64 // when it was published, Unix milliseconds
}

// newer returns the later of two corrections of an event. Corrections of one chain may
// be read in any order; for others, such as those of a replay, the time decides.
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
// not cached. [History.Admit] then reads the content from Kafka, without holding the
// lock.
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
	var content schemas.Event
	if published, ok := h.contents.get(last.id); ok {
		content = *published
	} else {
		if content, ok = contents[last.Receipt]; !ok {
			return c, false, needsEvent(last)
		}
		if content.ID != last.id {
			return c, false, nil // the record is no longer in the topic
		}
		h.contents.put(last.id, &content)
	}
	if content, err = h.resolveKey(content); err != nil { // the payment's first reference counts, not the reference of e
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

// readContent reads the record of a published event from Kafka. It returns the zero
// event if the record is no longer in its topic.
func (h *History) readContent(ctx context.Context, k known) (e schemas.Event, err error) {
	at := k.Receipt
	at.Earlier = false
	if at.Offset < 0 {
		return e, nil
	}
	records, err := h.reader.Get(ctx, []kafka.Receipt{at})
	if err != nil {
		return e, fmt.Errorf("%w: reading event %s, to which another webhook adds: %w", kafka.ErrUnavailable, k.id, err)
	}
	if e, err = schemas.Decode(records[at].Value); err != nil {
		return schemas.Event{}, nil // another program wrote it, or it is no longer there
	}
	return e, nil
}

// merge returns the events, with those that have an id in common merged into one.
func merge(events []schemas.Event) []schemas.Event {
	if len(events) < 2 { // nearly every webhook
		return events
	}
	var all []schemas.Event
	indexes := map[string]int{} // by id
	for _, e := range events {
		i := len(all)
		for id := range e.IDs() {
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
		for id := range e.IDs() {
			indexes[id] = i
		}
	}
	return all
}

// correctionOf returns the event that replaces e, with the content of another event.
func correctionOf(e, content schemas.Event) schemas.Event {
	c := content
	c.ID, c.Also, c.Formerly, c.References = correctionID(e, e.ID), nil, nil, nil
	c.Data.Corrects = cmp.Or(e.Data.Corrects, e.ID) // the id of the first event, even if e is a correction
	c.Data.Late, c.Data.NewestEventID, c.Data.Contradicts = false, "", ""
	return c
}
