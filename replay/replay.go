// Package replay makes events anew from the webhooks that were kept, with
// today's code, and says what that would change before it changes anything.
//
// An event whose id was published and that comes out the same is left alone.
// One that comes out otherwise is corrected: a copy with an id of its own, made
// from the first one's and from what it says, whose corrects is the first one's
// id. One that was not published is published. Each is so recognised by its id
// when the same stretch is replayed again, however the run before ended.
package replay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tollbridge/tollbridge/consume"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
)

// Judge reads a kept webhook again. Skip leaves it out.
type Judge func(ctx context.Context, r consume.Record) (result normalize.Result, skip bool, err error)

// Config is what a replay is made of.
type Config struct {
	Reader   *consume.Reader
	Names    publish.Names
	From, To time.Time // of the webhooks' receipt; a zero To is now
	Judge    Judge
	Select   func(schemas.Event) bool // nil is all
	// Progress is told how many webhooks are read, of how many.
	Progress func(done, all int64)
}

// Counts is what a replay came to.
type Counts struct {
	Read      int `json:"read"` // webhooks
	Same      int `json:"same"` // events
	Changed   int `json:"changed"`
	New       int `json:"new"`
	Ignored   int `json:"ignored"` // webhooks, as the next ones
	Malformed int `json:"malformed"`
	// Unverified webhooks were kept and cannot be verified any more: their
	// secret is gone from the configuration.
	Unverified int `json:"unverified"`
	Published  int `json:"published"`
}

// Change is one event that would be published.
type Change struct {
	Event schemas.Event `json:"event"`
	Diff  []string      `json:"diff,omitempty"` // field: was → is; none for a new event
}

// Plan is what a replay would do.
type Plan struct {
	Counts
	Changes []Change
}

// known is what is published of an event id: the latest of it and its
// corrections.
type known struct {
	says  [sha256.Size]byte
	event []byte // as JSON, for the difference
}

// published is every event of a stretch of time.
type published struct {
	events map[string]known // by id; a correction stands for what it corrects
	ids    map[string]bool
	newest map[string]schemas.Event // by key; id and time only
}

// Make reads the stretch and returns what replaying it would do. Nothing is
// written.
func Make(ctx context.Context, c Config) (*Plan, error) {
	if c.To.IsZero() {
		c.To = time.Now()
	}
	was, err := c.published(ctx)
	if err != nil {
		return nil, err
	}
	p := &Plan{}
	seen := map[string]bool{}
	err = c.webhooks(ctx, func(r consume.Record) error {
		result, skip, err := c.Judge(ctx, r)
		if skip {
			return nil
		}
		p.Read++
		switch {
		case err != nil:
			p.Unverified++
			return nil
		case result.Outcome() == normalize.OutcomeIgnored:
			p.Ignored++
		case result.Outcome() == normalize.OutcomeMalformed:
			p.Malformed++
		}
		for _, e := range result.Events {
			if seen[e.ID] || c.Select != nil && !c.Select(e) {
				continue // a redelivery was kept, too
			}
			seen[e.ID] = true
			if err := p.add(was, e); err != nil {
				return err
			}
		}
		return nil
	})
	return p, err
}

// add decides about one event.
func (p *Plan) add(was *published, e schemas.Event) error {
	before, ok := was.events[e.ID]
	if !ok {
		p.New++
		if n := was.newest[e.Subject]; n.Time.After(e.Time) {
			e.Data.Late, e.Data.NewestEventID = true, n.ID
		}
		p.Changes = append(p.Changes, Change{Event: e})
		return nil
	}
	var old schemas.Event
	if err := json.Unmarshal(before.event, &old); err != nil {
		return err
	}
	is := settled(e, old)
	says, err := digest(is)
	if err != nil {
		return err
	}
	if says == before.says {
		p.Same++
		return nil
	}
	p.Changed++
	diff, err := difference(old, is)
	if err != nil {
		return err
	}
	is.ID = schemas.ID(e.Data.Connector, e.Data.Endpoint, "replay:"+e.ID+":"+hex.EncodeToString(says[:]), e.Type, 0)
	is.Data.Corrects = e.ID
	p.Changes = append(p.Changes, Change{Event: is, Diff: diff})
	return nil
}

// settled is an event as it would be published beside what was: a key that was
// found by reference is no change.
func settled(e, old schemas.Event) schemas.Event {
	if old.Data.KeySource == schemas.KeyFromReference && e.Data.KeySource != schemas.KeyFromPayload {
		e.Subject, e.Data.MerchantTransactionID, e.Data.KeySource = old.Subject, old.Subject, old.Data.KeySource
	}
	if old.Time.Equal(old.Data.ReceivedAt) && e.Time.Equal(e.Data.ReceivedAt) {
		e.Time = old.Time // the processor does not say when
	}
	e.Data.ReceivedAt = old.Data.ReceivedAt // of the first delivery
	return e
}

// digest is of what an event says, without what depends on when it was said.
func digest(e schemas.Event) ([sha256.Size]byte, error) {
	b, err := json.Marshal(said(e))
	return sha256.Sum256(b), err
}

func said(e schemas.Event) schemas.Event {
	e.ID, e.Data.Corrects = "", ""
	e.Data.Late, e.Data.NewestEventID, e.Data.Contradicts = false, "", ""
	return e
}

// difference names the fields in which two events differ.
func difference(was, is schemas.Event) ([]string, error) {
	a, err := fields(said(was))
	if err != nil {
		return nil, err
	}
	b, err := fields(said(is))
	if err != nil {
		return nil, err
	}
	var diff []string
	all := maps.Clone(a)
	maps.Copy(all, b)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !bytes.Equal(a[name], b[name]) {
			diff = append(diff, fmt.Sprintf("%s: %s → %s", name, orNone(a[name]), orNone(b[name])))
		}
	}
	return diff, nil
}

func orNone(b []byte) string {
	if b == nil {
		return "none"
	}
	return string(b)
}

// fields returns an event's fields, those of its data by name alone.
func fields(e schemas.Event) (map[string]json.RawMessage, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	data := map[string]json.RawMessage{}
	if err := json.Unmarshal(all["data"], &data); err != nil {
		return nil, err
	}
	delete(all, "data")
	maps.Copy(all, data)
	return all, nil
}

// webhooks reads what was kept in the stretch.
func (c Config) webhooks(ctx context.Context, f func(consume.Record) error) error {
	ranges, err := c.ranges(ctx, c.Names.Received(), c.Names.Dead())
	if err != nil {
		return err
	}
	var done, all int64
	for _, r := range ranges {
		all += r.To - r.From
	}
	return c.Reader.Read(ctx, ranges, func(chunks []consume.Chunk) error {
		for _, chunk := range chunks {
			for _, r := range chunk.Records {
				done++
				if r.Time.After(c.To) {
					continue
				}
				if err := f(r); err != nil {
					return err
				}
			}
		}
		if c.Progress != nil {
			c.Progress(done, all)
		}
		return nil
	})
}

func (c Config) ranges(ctx context.Context, topics ...string) (map[consume.Partition]consume.Range, error) {
	partitions, err := c.Reader.Partitions(ctx, topics...)
	if err != nil {
		return nil, err
	}
	if c.From.IsZero() {
		return c.Reader.Bounds(ctx, partitions)
	}
	return c.Reader.Since(ctx, partitions, c.From)
}

// published reads the events back that the webhooks of the stretch, and those
// before whose redeliveries are in it, came to.
func (c Config) published(ctx context.Context) (*published, error) {
	all := &published{events: map[string]known{}, ids: map[string]bool{}, newest: map[string]schemas.Event{}}
	whole := c
	whole.From = time.Time{} // a redelivery may be of an event long before
	ranges, err := whole.ranges(ctx, c.Names.Events()...)
	if err != nil {
		return nil, err
	}
	type correction struct {
		of    string
		event known
		at    time.Time
	}
	var corrections []correction
	err = c.Reader.Read(ctx, ranges, func(chunks []consume.Chunk) error {
		for _, chunk := range chunks {
			for _, r := range chunk.Records {
				var e schemas.Event
				if json.Unmarshal(r.Value, &e) != nil || e.ID == "" {
					continue // another's
				}
				says, err := digest(e)
				if err != nil {
					return err
				}
				all.ids[e.ID] = true
				if n := all.newest[e.Subject]; !e.Time.Before(n.Time) {
					all.newest[e.Subject] = schemas.Event{ID: e.ID, Time: e.Time}
				}
				if e.Data.Corrects != "" {
					corrections = append(corrections, correction{e.Data.Corrects, known{says, r.Value}, r.Time})
					continue
				}
				all.events[e.ID] = known{says, r.Value}
			}
		}
		return nil
	})
	slices.SortStableFunc(corrections, func(a, b correction) int { return a.at.Compare(b.at) })
	for _, x := range corrections {
		all.events[x.of] = x.event
	}
	return all, err
}

// Publisher writes records: see [publish.Producer.Publish].
type Publisher interface {
	Publish(ctx context.Context, records []publish.Record) ([]publish.Receipt, error)
}

// batch is how many events are on their way at once.
const batch = 200

// Publish writes what the plan found, to the topics of the names: those of the
// server, or of a prefix of their own. Rate is events a second; 0 is as fast as
// Kafka takes them. It says which replay it was in the header replay-id.
func (p *Plan) Publish(ctx context.Context, to Publisher, names publish.Names, replayID string, rate float64, progress func(done, all int64)) error {
	start := time.Now()
	for part := range slices.Chunk(p.Changes, batch) {
		var records []publish.Record
		for _, c := range part {
			r, err := publish.EventRecord(names, c.Event, "")
			if err != nil {
				return err
			}
			r.Headers = append(r.Headers, publish.Header{Name: "replay-id", Value: []byte(replayID)})
			records = append(records, r)
		}
		if _, err := to.Publish(ctx, records); err != nil {
			return fmt.Errorf("%d of %d are published; run the same again, what is published is recognised: %w", p.Published, len(p.Changes), err)
		}
		p.Published += len(part)
		if progress != nil {
			progress(int64(p.Published), int64(len(p.Changes)))
		}
		if rate > 0 {
			ahead := time.Duration(float64(p.Published)/rate*float64(time.Second)) - time.Since(start)
			select {
			case <-time.After(ahead):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}
