package history

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tollbridge/tollbridge/consume"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
)

// follow reads the topics into the store until ctx is done.
func (s *History) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.readOn(ctx)
		if ctx.Err() != nil {
			return
		}
		s.Log.Warn().Err(err).Msg("following the topics; trying again")
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// readOn reads from where the store is, for ever.
func (s *History) readOn(ctx context.Context) error {
	ranges, target, err := s.ranges(ctx)
	if err != nil {
		return err
	}
	p := &progress{s: s, target: target, next: ranges, told: time.Now()}
	p.look()
	return s.reader.Read(ctx, ranges, func(chunks []consume.Chunk) error {
		if err := s.apply(chunks); err != nil {
			return err
		}
		p.update(chunks)
		return nil
	})
}

// ranges returns from where the partitions are to be read, and where they end
// now.
func (s *History) ranges(ctx context.Context) (ranges, target map[consume.Partition]consume.Range, err error) {
	partitions, err := s.reader.Partitions(ctx, append(s.Names.Events(), s.Names.References())...)
	if err != nil {
		return nil, nil, err
	}
	if target, err = s.reader.Since(ctx, partitions, time.Now().Add(-s.Remember)); err != nil {
		return nil, nil, err
	}
	ranges = map[consume.Partition]consume.Range{}
	for p, t := range target {
		from, err := s.store.position(p)
		if err != nil {
			return nil, nil, err
		}
		switch {
		case from >= 0:
			t.From = from
		case p.Topic == s.Names.References():
			t.From = 0
		}
		ranges[p] = consume.Range{From: t.From, To: consume.Forever}
	}
	return ranges, target, nil
}

// progress knows how far the topics are read.
type progress struct {
	s            *History
	target, next map[consume.Partition]consume.Range
	told         time.Time
}

func (p *progress) update(chunks []consume.Chunk) {
	lag := int64(0)
	for _, c := range chunks {
		p.next[c.Partition] = consume.Range{From: c.Next, To: consume.Forever}
		lag += max(0, c.End-c.Next)
	}
	p.s.metrics.lag.Set(float64(lag))
	if !p.s.ready.Load() {
		p.look()
	}
}

// look finds out whether all that was there at the start is read.
func (p *progress) look() {
	left := int64(0)
	for q, t := range p.target {
		left += max(0, t.To-p.next[q].From)
	}
	switch {
	case left == 0:
		if !p.s.ready.Swap(true) {
			close(p.s.read)
		}
		p.s.Log.Info().Msg("the state is read back")
	case time.Since(p.told) > 2*time.Second:
		p.told = time.Now()
		p.s.Log.Info().Int64("records_left", left).Msg("reading the state back")
	}
}

// round is what a request brought, on its way into the store.
type round struct {
	s          *History
	batch      *pebble.Batch // reads what it has, too
	events     []string      // their ids
	references []string      // their keys
}

// apply writes what was read, and how far, at once or not at all.
func (s *History) apply(chunks []consume.Chunk) error {
	r := round{s: s, batch: s.store.NewIndexedBatch()}
	defer r.batch.Close()
	for _, c := range chunks {
		for _, record := range c.Records {
			if err := r.record(record); err != nil {
				return err
			}
		}
		if err := r.set(positionKey(c.Partition), c.Next); err != nil {
			return err
		}
	}
	if err := r.batch.Commit(pebble.NoSync); err != nil {
		return err
	}
	s.readBack(r.events, r.references)
	return nil
}

func (r *round) set(key string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return r.batch.Set([]byte(key), b, nil)
}

// get reads a row as the batch leaves it.
func (r *round) get(key string, to any) error {
	value, closer, err := r.batch.Get([]byte(key))
	if err == pebble.ErrNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	defer closer.Close()
	return json.Unmarshal(value, to)
}

func (r *round) record(record consume.Record) error {
	if record.Topic == r.s.Names.References() {
		return r.reference(string(record.Key), string(record.Value))
	}
	id := record.Header(publish.HeaderEventID)
	when, err := time.Parse(time.RFC3339Nano, record.Header(publish.HeaderEventTime))
	if id == "" || err != nil {
		return nil // another's
	}
	merchant := string(record.Key)
	r.events = append(r.events, id)
	at := publish.Receipt{Topic: record.Topic, Partition: record.Number, Offset: record.Offset}
	row := eventRow{at, record.Time.UnixMilli()}
	if err := errors.Join(r.set(rowEvent+id, row), r.set(keyRow(merchant)+id, row.Time)); err != nil {
		return err
	}
	var n newest
	if err := r.get(rowNewest+merchant, &n); err != nil {
		return err
	}
	e := schemas.Event{ID: id, Time: when, Type: schemas.Type(strings.TrimPrefix(record.Topic, r.s.Names.Prefix))}
	if err := r.set(rowNewest+merchant, n.after(e)); err != nil {
		return err
	}
	if _, ok := contradictions[e.Type]; ok {
		if err := r.ended(record.Value); err != nil {
			return err
		}
	}
	if corrects := record.Header(publish.HeaderCorrects); corrects != "" {
		if err := r.corrected(corrects, record); err != nil {
			return err
		}
	}
	switch schemas.KeySource(record.Header(publish.HeaderKeySource)) {
	case schemas.KeyFromConnector, schemas.KeyFromRequest:
		return r.waiting(record.Value)
	}
	return nil
}

// ended keeps an event of a type that others can contradict.
func (r *round) ended(value []byte) error {
	var e schemas.Event
	if json.Unmarshal(value, &e) != nil {
		return nil // another's
	}
	key := endKey(e)
	if key == "" {
		return nil
	}
	var was ends
	if err := r.get(rowEnds+key, &was); err != nil {
		return err
	}
	return r.set(rowEnds+key, was.with(end{e.Type, e.ID, e.Time}))
}

// corrected lets an event wait for nothing more: its correction may.
func (r *round) corrected(id string, by consume.Record) error {
	var e schemas.Event
	if json.Unmarshal(by.Value, &e) != nil {
		return nil // another's
	}
	if err := r.set(rowCorrected+id, by.Time.UnixMilli()); err != nil {
		return err
	}
	rows := []string{rowDue + id}
	for _, key := range ReferenceKeys(e) {
		rows = append(rows, rowWaiting+key+"\x00"+id)
	}
	for _, row := range rows {
		if err := r.batch.Delete([]byte(row), nil); err != nil {
			return err
		}
	}
	return nil
}

// waiting keeps an event whose merchant's id is not known, unless it is by now.
func (r *round) waiting(value []byte) error {
	var e schemas.Event
	if json.Unmarshal(value, &e) != nil {
		return nil // another's
	}
	var since int64
	if err := r.get(rowCorrected+e.ID, &since); err != nil || since != 0 {
		return err
	}
	for _, key := range ReferenceKeys(e) {
		var merchant string
		if err := r.get(rowReference+key, &merchant); err != nil {
			return err
		}
		if merchant != "" {
			return r.due(e, merchant)
		}
	}
	for _, key := range ReferenceKeys(e) {
		if err := r.batch.Set([]byte(rowWaiting+key+"\x00"+e.ID), value, nil); err != nil {
			return err
		}
	}
	return nil
}

// due has an event corrected, unless its key was right.
func (r *round) due(e schemas.Event, merchant string) error {
	if e.Subject == merchant {
		return nil
	}
	c := correction(e, merchant)
	return r.set(rowDue+c.Data.Corrects, c)
}

// reference keeps the first merchant's id of a payment, and has the events
// corrected that waited for it.
func (r *round) reference(key, merchant string) error {
	r.references = append(r.references, key)
	if merchant == "" { // a tombstone
		return r.batch.Delete([]byte(rowReference+key), nil)
	}
	var known string
	if err := r.get(rowReference+key, &known); err != nil || known != "" {
		return err
	}
	if err := r.set(rowReference+key, merchant); err != nil {
		return err
	}
	prefix := []byte(rowWaiting + key + "\x00")
	rows, err := r.batch.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: append(prefix[:len(prefix)-1:len(prefix)-1], 1)})
	if err != nil {
		return err
	}
	defer rows.Close()
	var done [][]byte
	for rows.First(); rows.Valid(); rows.Next() {
		var e schemas.Event
		if err := json.Unmarshal(rows.Value(), &e); err != nil {
			return err
		}
		if err := r.due(e, merchant); err != nil {
			return err
		}
		done = append(done, append([]byte(nil), rows.Key()...))
	}
	for _, key := range done {
		if err := r.batch.Delete(key, nil); err != nil {
			return err
		}
	}
	return nil
}

// expire forgets, once an hour, what is older than it need be remembered.
func (s *History) expire(ctx context.Context) {
	for {
		select {
		case <-time.After(time.Hour):
		case <-ctx.Done():
			return
		}
		if err := s.store.forget(ctx, time.Now().Add(-s.Remember)); err != nil && ctx.Err() == nil {
			s.Log.Error().Err(err).Msg("forgetting old events")
		}
	}
}
