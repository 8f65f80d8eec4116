package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// follow reads the topics into the store until ctx is done.
func (s *History) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.readOn(ctx)
		if ctx.Err() != nil {
			return
		}
		s.failed(err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// failed tells of an error that is tried again: in the log once in [toldAgain], since
// a broker that is away gives several a second.
func (s *History) failed(err error) {
	s.metrics.errors.Inc()
	if now := time.Now().UnixNano(); now-s.toldAt.Load() > int64(toldAgain) {
		s.toldAt.Store(now)
		s.Log.Warn().Err(err).Msg("following the topics; trying again")
	}
}

const toldAgain = 5 * time.Second

// readOn reads from where the store is, for ever.
func (s *History) readOn(ctx context.Context) error {
	r := &reading{partitions: map[string]int{}, began: time.Now()}
	ranges, target, err := s.ranges(ctx)
	if err != nil {
		return err
	}
	p := &progress{s: s, reading: r, target: target, next: maps.Clone(ranges), behind: map[consume.Partition]int64{}, told: time.Now()}
	for q, g := range target {
		p.sees(q, ranges[q].From, g.To)
	}
	for q := range ranges {
		r.partitions[q.Topic]++
	}
	r.Consumer = s.reader.NewConsumer(ranges, func(chunks []consume.Chunk) error {
		if err := s.apply(chunks, r.known); err != nil {
			return err
		}
		r.known = nil
		p.update(chunks)
		return nil
	})
	r.OnError = s.failed
	r.KnownOffsets = func() map[consume.Partition][]int64 { return r.take(s) }
	s.reading.Store(r)
	p.look()
	return r.Run(ctx)
}

// reading is what follows the topics.
type reading struct {
	*consume.Consumer
	partitions map[string]int // of each topic
	known      []own          // that the store does not have yet
	began      time.Time      // before it was looked where the partitions end
	caughtUp   atomic.Bool    // they are read until there
}

// until returns until when a partition is read.
func (r *reading) until(p consume.Partition) time.Time {
	if t := r.FreshAsOf(p); !t.IsZero() || !r.caughtUp.Load() {
		return t
	}
	return r.began
}

// take hands on what was published here and not read already.
func (r *reading) take(s *History) map[consume.Partition][]int64 {
	s.mu.Lock()
	fresh := s.own
	s.own = nil
	fresh = slices.DeleteFunc(fresh, func(o own) bool {
		if o.key != "" {
			_, ours := s.references[o.key]
			return !ours
		}
		_, ours := s.published[o.event.ID]
		return !ours
	})
	s.mu.Unlock()
	r.known = append(r.known, fresh...)
	offsets := map[consume.Partition][]int64{}
	for _, o := range fresh {
		p := consume.Partition{Topic: o.at.Topic, Number: o.at.Partition}
		offsets[p] = append(offsets[p], o.at.Offset)
	}
	return offsets
}

// current returns an error if others may have published an event and that cannot
// be read now: if the partition was not for [kafka.MaxStaleness]. Records that were
// sent and not answered wait longer, so that a replica that cannot tell what became
// of an event has not refused it before.
func (s *History) current(e schemas.Event) error {
	p, since := s.caught(s.Names.Event(e.Type), e.Subject)
	if age := time.Since(since); age > kafka.MaxStaleness {
		return fmt.Errorf("%w: topic %s, partition %d is read until %s ago", errBehind, p.Topic, p.Number, age.Round(time.Millisecond))
	}
	return nil
}

// stale returns how many seconds ago the partition that is furthest behind was read
// to its end.
func (s *History) stale() float64 {
	r := s.reading.Load()
	if r == nil {
		return math.Inf(1)
	}
	oldest := time.Now()
	for topic, n := range r.partitions {
		for i := range n {
			until := r.until(consume.Partition{Topic: topic, Number: i})
			if until.IsZero() {
				return math.Inf(1)
			}
			if until.Before(oldest) {
				oldest = until
			}
		}
	}
	return time.Since(oldest).Seconds()
}

// caught returns a key's partition, and until when it is read.
func (s *History) caught(topic, key string) (p consume.Partition, until time.Time) {
	r := s.reading.Load()
	if r == nil || r.partitions[topic] == 0 {
		return consume.Partition{Topic: topic}, until
	}
	p = consume.Partition{Topic: topic, Number: kafka.PartitionOf([]byte(key), r.partitions[topic])}
	return p, r.until(p)
}

// Follows reports whether a topic is read: see [publish.LogReader].
func (s *History) Follows(topic string) bool {
	r := s.reading.Load()
	return r != nil && r.partitions[topic] > 0 && topic != s.Names.References()
}

// Written tells what became of records that were sent and not answered: see
// [publish.LogReader].
func (s *History) Written(topic string, partition int, sent time.Time, ids []string) (map[string]kafka.Receipt, bool) {
	if s.closed.Load() {
		return nil, true // who ends sends nothing again
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.reading.Load()
	if r == nil || r.until(consume.Partition{Topic: topic, Number: partition}).Before(sent.Add(kafka.QuietPeriod)) {
		return nil, false
	}
	at := map[string]kafka.Receipt{}
	for _, id := range ids {
		where, ok, err := s.find(id)
		if err != nil {
			return nil, false
		}
		if ok {
			at[id] = where
		}
	}
	return at, true
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
		from, err := s.stored().position(p)
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
	reading      *reading
	target, next map[consume.Partition]consume.Range
	behind       map[consume.Partition]int64 // records, when it was read last
	lag          int64                       // of all partitions
	told         time.Time
}

// sees notes how far a partition is read, and where it ends.
func (p *progress) sees(q consume.Partition, next, end int64) {
	now := max(0, end-next)
	p.lag += now - p.behind[q]
	p.behind[q] = now
	p.s.metrics.lag.Set(float64(p.lag))
}

func (p *progress) update(chunks []consume.Chunk) {
	for _, c := range chunks {
		p.next[c.Partition] = consume.Range{From: c.Next, To: consume.Forever}
		p.sees(c.Partition, c.Next, c.End)
	}
	if !p.reading.caughtUp.Load() {
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
		p.reading.caughtUp.Store(true)
		p.s.mu.Lock()
		if !p.s.ready.Swap(true) {
			close(p.s.read)
		}
		p.s.mu.Unlock()
		p.s.Log.Info().Msg("the state is read back")
	case time.Since(p.told) > 2*time.Second:
		p.told = time.Now()
		p.s.Log.Info().Int64("records_left", left).Msg("reading the state back")
	}
}

// round is what a request brought, on its way into the store.
type round struct {
	s          *History
	db         *store
	batch      *pebble.Batch // reads what it has, too
	events     []schemas.Event
	references []string // their keys
}

// apply writes what was read and what is known, and how far that is, at once or
// not at all.
func (s *History) apply(chunks []consume.Chunk, known []own) error {
	db := s.stored()
	r := round{s: s, db: db, batch: db.NewIndexedBatch()}
	now := time.Now()
	for i := range known {
		if err := r.own(&known[i], now); err != nil {
			return err
		}
	}
	for _, c := range chunks {
		for _, record := range c.Records {
			if err := r.record(record); err != nil {
				return err
			}
		}
		if err := r.put(positionKey(c.Partition), appendNumber(nil, c.Next)); err != nil {
			return err
		}
	}
	if err := db.commit(r.batch); err != nil {
		return err
	}
	s.readBack(r.events, r.references)
	return r.batch.Close()
}

func (r *round) set(key string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return r.batch.Set([]byte(key), b, nil)
}

// has reports whether there is a row as the batch leaves it.
func (r *round) has(key string) (bool, error) {
	if strings.HasPrefix(key, rowReference) && !r.db.absent.has(key) {
		return false, nil
	}
	_, closer, err := r.batch.Get([]byte(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, r.db.bad(err)
	}
	return true, closer.Close()
}

// merchant reads a reference as the batch leaves it; empty is none.
func (r *round) merchant(key string) (string, error) {
	if !r.db.absent.has(rowReference + key) {
		return "", nil
	}
	value, closer, err := r.batch.Get([]byte(rowReference + key))
	if errors.Is(err, pebble.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", r.db.bad(err)
	}
	merchant := string(value)
	return merchant, closer.Close()
}

// put writes a row that is no JSON.
func (r *round) put(key string, value []byte) error { return r.batch.Set([]byte(key), value, nil) }

// seek writes a row that is [sought].
func (r *round) seek(key string, write func(key, value []byte, _ *pebble.WriteOptions) error, value []byte) error {
	r.db.absent.add(key)
	return write([]byte(key), value, nil)
}

// own writes what was published here.
func (r *round) own(o *own, now time.Time) error {
	if o.key != "" {
		return r.reference(o.key, o.merchant)
	}
	return r.event(o.event, o.at, now)
}

func (r *round) record(record consume.Record) error {
	if record.Topic == r.s.Names.References() {
		return r.reference(string(record.Key), string(record.Value))
	}
	id := record.Header(schemas.HeaderEventID)
	when, err := time.Parse(time.RFC3339Nano, record.Header(schemas.HeaderEventTime))
	if id == "" || err != nil {
		return nil // another's
	}
	e := schemas.Event{ID: id, Time: when, Type: schemas.Type(strings.TrimPrefix(record.Topic, r.s.Names.Prefix)), Subject: string(record.Key)}
	e.Data.KeySource = schemas.KeySource(record.Header(schemas.HeaderKeySource))
	e.Data.Corrects = record.Header(schemas.HeaderCorrects)
	if _, ok := contradictions[e.Type]; ok || e.Data.Corrects != "" || stands(e) {
		var whole schemas.Event
		if json.Unmarshal(record.Value, &whole) == nil { // else another's
			e = whole
		}
	}
	return r.event(e, record.Receipt(), record.Time)
}

// event writes the rows of an event. One of another's has what its headers say.
func (r *round) event(e schemas.Event, at kafka.Receipt, since time.Time) error {
	r.events = append(r.events, e)
	err := errors.Join(
		r.seek(rowEvent+e.ID, r.batch.Set, appendReceipt(appendNumber(nil, since.UnixMilli()), at)),
		r.put(keyRow(e.Subject)+e.ID, appendNumber(nil, since.UnixMilli())),
		r.seek(rowNewest+e.Subject, r.batch.Merge, newest{e.Time, e.ID}.encode()),
	)
	if key := endKey(e); key != "" {
		one := ends{}.with(end{e.Type, e.ID, e.Time})
		err = errors.Join(err, r.seek(rowEnds+key, r.batch.Merge, one.encode()))
	}
	if e.Data.Corrects != "" {
		err = errors.Join(err, r.corrected(e, since))
	}
	if stands(e) {
		err = errors.Join(err, r.waiting(e))
	}
	return err
}

// corrected lets an event wait for nothing more: its correction may. What is due is
// dropped, unless the correction is written and a reference that it tells is not.
func (r *round) corrected(by schemas.Event, since time.Time) error {
	id := by.Data.Corrects
	if err := r.put(rowCorrected+id, appendNumber(nil, since.UnixMilli())); err != nil {
		return err
	}
	var rows []string
	linked, err := r.linked(by)
	switch {
	case err != nil:
		return err
	case linked:
		rows = append(rows, rowDue+id)
	default:
		if err := r.set(rowDue+id, by); err != nil {
			return err
		}
	}
	for _, key := range ReferenceKeys(by) {
		rows = append(rows, rowWaiting+key+"\x00"+id)
	}
	for _, row := range rows {
		if err := r.batch.Delete([]byte(row), nil); err != nil {
			return err
		}
	}
	return nil
}

// linked reports whether every reference that an event tells is known.
func (r *round) linked(e schemas.Event) (bool, error) {
	if stands(e) || e.Data.Connector == "" { // another's
		return true, nil
	}
	for _, key := range ReferenceKeys(e) {
		if known, err := r.has(rowReference + key); err != nil || !known {
			return false, err
		}
	}
	return true, nil
}

// waiting keeps an event whose merchant's id is not known, unless it is by now.
func (r *round) waiting(e schemas.Event) error {
	if corrected, err := r.has(rowCorrected + e.ID); err != nil || corrected {
		return err
	}
	for _, key := range ReferenceKeys(e) {
		merchant, err := r.merchant(key)
		if err != nil {
			return err
		}
		if merchant != "" {
			return r.due(e, merchant)
		}
	}
	value, err := json.Marshal(e)
	if err != nil {
		return err
	}
	for _, key := range ReferenceKeys(e) {
		r.db.absent.add(rowWaiting + key)
		if err := r.put(rowWaiting+key+"\x00"+e.ID, value); err != nil {
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
	if known, err := r.has(rowReference + key); err != nil || known {
		return err
	}
	if err := r.seek(rowReference+key, r.batch.Set, []byte(merchant)); err != nil {
		return err
	}
	if !r.db.absent.has(rowWaiting + key) {
		return nil
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
		if err := s.stored().forget(ctx, time.Now().Add(-s.Remember)); err != nil && ctx.Err() == nil {
			s.Log.Error().Err(err).Msg("forgetting old events")
		}
	}
}
