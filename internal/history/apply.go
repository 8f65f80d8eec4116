package history

import (
	"cmp"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// apply writes fetched records, local writes and the new positions to the store:
// all of them, or none.
func (h *History) apply(chunks []consume.Chunk, writes []localWrite) error {
	db := h.currentStore()
	db.due.Lock()
	defer db.due.Unlock()
	b := writeBatch{names: h.Names, db: db, batch: db.NewIndexedBatch()}
	now := time.Now()
	for i := range writes {
		if err := b.localWrite(&writes[i], now); err != nil {
			return err
		}
	}
	someRead := false
	for _, c := range chunks {
		someRead = someRead || len(c.Records) > 0
		for _, record := range c.Records {
			if err := b.record(record); err != nil {
				return err
			}
		}
	}
	for i, position := range h.hold(b.stated, chunks) {
		if err := b.putPosition(chunks[i].Partition, position); err != nil {
			return err
		}
	}
	if someRead {
		h.reads.Add(1)
	}
	if err := db.commit(b.batch); err != nil {
		return err
	}
	h.confirm(b.events, b.references)
	if someRead {
		h.reads.Add(1)
	}
	return b.batch.Close()
}

// storedEvent is an event in a batch.
type storedEvent struct {
	*schemas.Event
	terminalKey string
}

// writeBatch collects the rows that one fetch response and the local writes change.
type writeBatch struct {
	names      kafka.Names
	db         *store
	batch      *pebble.Batch // reads from it include its own writes
	events     []storedEvent
	references []string    // keys of the references in it
	stated     []unwritten // references that events of other processes state
	key, value []byte      // memory for the next row
}

// keyOf returns the key with the parts, which is valid until the next call.
func (b *writeBatch) keyOf(parts ...string) []byte {
	b.key = b.key[:0]
	for _, part := range parts {
		b.key = append(b.key, part...)
	}
	return b.key
}

// put writes a row.
func (b *writeBatch) put(key string, value []byte) error {
	return b.batch.Set(b.keyOf(key), value, nil)
}

// putPosition writes the next offset to read of a partition.
func (b *writeBatch) putPosition(p consume.Partition, next int64) error {
	b.value = appendNumber(b.value[:0], next)
	return b.put(positionKey(p), b.value)
}

// putJSON writes a row with a JSON value.
func (b *writeBatch) putJSON(key string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return b.put(key, text)
}

// putFiltered writes a row whose key has one of [filteredPrefixes], and adds the key to
// the Bloom filter.
func (b *writeBatch) putFiltered(prefix, key string, value []byte) error {
	k := b.keyOf(prefix, key)
	b.db.filter.add(k)
	return b.batch.Set(k, value, nil)
}

// mergeFiltered is putFiltered for a row whose values are merged.
func (b *writeBatch) mergeFiltered(prefix, key string, value []byte) error {
	k := b.keyOf(prefix, key)
	b.db.filter.add(k)
	return b.batch.Merge(k, value, nil)
}

// exists reports whether the store has a row with one of [filteredPrefixes], as the
// batch changes it.
func (b *writeBatch) exists(prefix, key string) (bool, error) {
	if !b.db.filter.mayContain(prefix, key) {
		return false, nil
	}
	_, closer, err := b.batch.Get(b.keyOf(prefix, key))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, b.db.readFailed(err)
	}
	return true, closer.Close()
}

// merchantOf returns the merchant's id that a reference key maps to, as the batch
// changes it; empty if there is no reference.
func (b *writeBatch) merchantOf(key string) (string, error) {
	if !b.db.filter.mayContain(rowReference, key) {
		return "", nil
	}
	value, closer, err := b.batch.Get(b.keyOf(rowReference, key))
	if errors.Is(err, pebble.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", b.db.readFailed(err)
	}
	merchant := string(value)
	return merchant, closer.Close()
}

func (b *writeBatch) localWrite(w *localWrite, now time.Time) error {
	if w.event == nil {
		return b.reference(w.referenceKey, w.reference)
	}
	return b.event(storedEvent{w.event, w.terminalKey}, w.event.Fields(), w.at, now)
}

// record writes the rows of a record of tollbridge's topics. It ignores a record that
// is not an event of tollbridge. It parses an event's body only if the headers do not
// say enough.
func (b *writeBatch) record(record consume.Record) error {
	if record.Topic == b.names.References() {
		return b.reference(string(record.Key), string(record.Value))
	}
	id := record.Header(schemas.HeaderEventID)
	when, err := time.Parse(time.RFC3339Nano, record.Header(schemas.HeaderEventTime))
	if id == "" || err != nil {
		return nil // written by another program
	}
	e := schemas.Event{ID: id, Time: when, Type: schemas.Type(strings.TrimPrefix(record.Topic, b.names.Prefix)), Subject: string(record.Key)}
	e.Data.KeySource = schemas.KeySource(record.Header(schemas.HeaderKeySource))
	e.Data.Corrects = record.Header(schemas.HeaderCorrects)
	fields := schemas.ParseFields(record.Header(schemas.HeaderFields))
	if _, ok := contradictions[e.Type]; ok || fields == 0 || e.Data.Corrects != "" || hasFallbackKey(e) || e.Type.Family() == "dispute" {
		if parsed, err := schemas.Decode(record.Value); err == nil { // otherwise another program wrote it
			e, fields = parsed, parsed.Fields()
		}
	}
	if ids := record.Header(schemas.HeaderAlso); ids != "" {
		e.Also = strings.Split(ids, ",")
	}
	if err := b.state(e, record); err != nil {
		return err
	}
	return b.event(storedEvent{&e, terminalKey(e)}, fields, record.Receipt(), record.Time)
}

// state collects the references that an event's header states and the store lacks.
func (b *writeBatch) state(e schemas.Event, record consume.Record) error {
	for _, key := range schemas.ParseReferences(record.Header(schemas.HeaderReferences)) {
		exists, err := b.exists(rowReference, key)
		if err != nil {
			return err
		}
		if !exists {
			b.stated = append(b.stated, unwritten{key: key, merchant: e.Subject, eventID: e.ID, at: record.Receipt()})
		}
	}
	return nil
}

// event writes the rows of an event, with its fields, that was published at a time.
func (b *writeBatch) event(e storedEvent, fields schemas.Fields, at kafka.Receipt, published time.Time) error {
	b.events = append(b.events, e)
	row := version{known{"", fields, at}, published.UnixMilli()}
	var room idBytes
	id := string(appendID(room[:0], e.ID))
	b.value = b.db.topics.appendVersion(b.value[:0], row)
	err := b.putFiltered(rowEvent, id, b.value)
	b.value = appendNumber(b.value[:0], published.UnixMilli())
	err = errors.Join(err, b.batch.Set(b.keyOf(rowKey, e.Subject, "\x00", id), b.value, nil))
	b.value = newest{e.Time, e.ID}.append(b.value[:0])
	err = errors.Join(err, b.mergeFiltered(rowNewest, e.Subject, b.value))
	if e.terminalKey != "" {
		one := terminalStates{}.with(terminalStateOf(*e.Event))
		b.value = one.append(b.value[:0])
		err = errors.Join(err, b.mergeFiltered(rowTerminal, e.terminalKey, b.value))
	}
	err = errors.Join(err, b.dispute(*e.Event))
	row.id = e.ID
	for _, id := range e.Also {
		also := string(appendID(room[:0], id))
		exists, failed := b.exists(rowEvent, also) // another replica published it as an event of its own
		if err = errors.Join(err, failed); !exists && err == nil {
			b.value = b.db.topics.appendVersion(b.value[:0], row)
			err = b.putFiltered(rowEvent, also, b.value)
		}
	}
	if e.Data.Corrects != "" {
		err = errors.Join(err, b.corrected(*e.Event, row))
	}
	if hasFallbackKey(*e.Event) {
		err = errors.Join(err, b.awaitReference(*e.Event))
	}
	return err
}

// corrected records that by is the correction of an event, so that neither the event
// nor an earlier correction of it waits for a reference any more. It drops the due
// correction, unless by was published without a reference that it states: then by stays
// due, for that reference.
func (b *writeBatch) corrected(by schemas.Event, row version) error {
	id := by.Data.Corrects
	last, err := b.lastCorrection(id)
	if err != nil {
		return err
	}
	if newer(by, last, row).id != by.ID {
		return nil
	}
	if err := b.put(rowCorrected+id, b.db.topics.appendVersion(nil, row)); err != nil {
		return err
	}
	var drop []string
	complete, err := b.referencesExist(by)
	switch {
	case err != nil:
		return err
	case complete:
		drop = append(drop, rowDue+id)
	default:
		if err := b.putJSON(rowDue+id, by); err != nil {
			return err
		}
	}
	for _, key := range ReferenceKeys(by) {
		drop = append(drop, rowWaiting+key+"\x00"+id)
		if last.id != "" && last.id != by.ID {
			drop = append(drop, rowWaiting+key+"\x00"+last.id)
		}
	}
	for _, row := range drop {
		if err := b.batch.Delete([]byte(row), nil); err != nil {
			return err
		}
	}
	return nil
}

// lastCorrection returns the last correction of an event, including what the batch
// changes, or the zero value if there is none.
func (b *writeBatch) lastCorrection(id string) (v version, err error) {
	value, closer, err := b.batch.Get([]byte(rowCorrected + id))
	if errors.Is(err, pebble.ErrNotFound) {
		return v, nil
	}
	if err == nil {
		v, err = b.db.topics.readVersion(value)
		err = errors.Join(err, closer.Close())
	}
	return v, b.db.readFailed(err)
}

// referencesExist reports whether every reference that an event states is in the
// store.
func (b *writeBatch) referencesExist(e schemas.Event) (bool, error) {
	if hasFallbackKey(e) || e.Data.Connector == "" { // without a connector the event is not ours
		return true, nil
	}
	for _, key := range ReferenceKeys(e) {
		if ok, err := b.exists(rowReference, key); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// awaitReference stores an event with a fallback key until its reference arrives. If
// the reference is in the store already, the event's correction becomes due at once.
func (b *writeBatch) awaitReference(e schemas.Event) error {
	first := cmp.Or(e.Data.Corrects, e.ID)
	if last, err := b.lastCorrection(first); err != nil || last.id != "" && last.id != e.ID {
		return err // a later correction waits instead
	}
	for _, key := range ReferenceKeys(e) {
		merchant, err := b.merchantOf(key)
		if err != nil {
			return err
		}
		if merchant != "" {
			return b.correctionDue(e, merchant)
		}
	}
	value, err := json.Marshal(e)
	if err != nil {
		return err
	}
	for _, key := range ReferenceKeys(e) {
		b.db.filter.add([]byte(rowWaiting + key))
		if err := b.put(rowWaiting+key+"\x00"+e.ID, value); err != nil {
			return err
		}
	}
	return nil
}

// correctionDue stores the correction of an event, which is published soon after. It
// stores none if the event's key is the merchant's id already.
func (b *writeBatch) correctionDue(e schemas.Event, merchant string) error {
	if e.Subject == merchant {
		return nil
	}
	c := correction(e, merchant)
	return b.putJSON(rowDue+c.Data.Corrects, c)
}

// reference stores the first merchant's id of a reference key, and makes the
// corrections of the events due that waited for this reference. An empty merchant is a
// tombstone, which deletes the reference.
func (b *writeBatch) reference(key, merchant string) error {
	b.references = append(b.references, key)
	if merchant == "" {
		return b.batch.Delete([]byte(rowReference+key), nil)
	}
	if exists, err := b.exists(rowReference, key); err != nil || exists {
		return err
	}
	b.value = append(b.value[:0], merchant...)
	if err := b.putFiltered(rowReference, key, b.value); err != nil {
		return err
	}
	if !b.db.filter.mayContain(rowWaiting, key) {
		return nil
	}
	prefix := []byte(rowWaiting + key + "\x00")
	rows, err := b.batch.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: append(prefix[:len(prefix)-1:len(prefix)-1], 1)})
	if err != nil {
		return err
	}
	defer rows.Close()
	var drop [][]byte
	for rows.First(); rows.Valid(); rows.Next() {
		var e schemas.Event
		if err := json.Unmarshal(rows.Value(), &e); err != nil {
			return err
		}
		if err := b.correctionDue(e, merchant); err != nil {
			return err
		}
		drop = append(drop, append([]byte(nil), rows.Key()...))
	}
	for _, row := range drop {
		if err := b.batch.Delete(row, nil); err != nil {
			return err
		}
	}
	return nil
}
