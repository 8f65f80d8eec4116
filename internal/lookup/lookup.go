// Package lookup finds what Kafka holds of one payment: its events, the
// webhooks they came in, and its dead letters.
//
// All topics have the same partitions and their records the payment's key, so
// that one partition number of each topic is all that need be read. That is a
// twelfth of all there is, and of tens of millions of records too many to wait
// for: a running server, which follows the event topics anyway, is asked where
// the events are ([Finder.Where]). Webhooks have the timestamp of their events,
// which were written with them, and Kafka finds a timestamp by itself.
package lookup

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

// Item is one record that was found: an event or a webhook.
type Item struct {
	kafka.Receipt
	Time    time.Time         `json:"time"` // when it was written
	Key     string            `json:"key"`
	Event   *schemas.Event    `json:"event,omitempty"`
	Webhook *webhook.Archived `json:"webhook,omitempty"` // as it came, or what became of a dead letter
}

// Finder finds payments in one cluster. Reader and Names must be set.
type Finder struct {
	Reader *consume.Reader
	Names  kafka.Names
	// From leaves out what was written before; zero is all there is.
	From time.Time
	// Where asks a server for what it knows of ids: see [history.History.Where].
	// Nil reads the topics, which also finds webhooks that gave no new event, and
	// dead letters that name the payment.
	Where func(ctx context.Context, ids []string) (history.Place, error)
	// Progress is told how many records are read, of how many; it may be nil.
	Progress func(done, all int64)
}

// Read decodes a record; nil if it is not one of ours, or of the references.
func Read(names kafka.Names, r consume.Record) *Item {
	i := &Item{Receipt: r.Receipt(), Time: r.Time.UTC(), Key: string(r.Key)}
	switch r.Topic {
	case names.References():
		return nil
	case names.Received(), names.Dead():
		a, err := webhook.ReadArchived(r.Headers, r.Value)
		if err != nil {
			return nil
		}
		i.Webhook = &a
	default:
		if json.Unmarshal(r.Value, &i.Event) != nil || i.Event == nil || i.Event.ID == "" {
			return nil
		}
	}
	return i
}

// search is one call of Payment on its way.
type search struct {
	Finder
	ids   map[string]bool // of the payment; true when they were looked for
	found map[kafka.Receipt]*Item
}

// Payment returns all of the payment that id stands for, in the order in which
// it was written: id is a merchant_transaction_id, an event's, or an id of the
// processor's. Where ids of several processors are the same it is of all their
// payments. None is no error.
func (f Finder) Payment(ctx context.Context, id string) ([]*Item, error) {
	s := &search{Finder: f, ids: map[string]bool{id: false}, found: map[kafka.Receipt]*Item{}}
	look := s.read
	if f.Where != nil {
		look = s.ask
	}
	if err := s.follow(ctx, look); err != nil {
		return nil, err
	}
	if len(s.found) == 0 {
		if err := s.everywhere(ctx, id); err != nil {
			return nil, err
		}
		if err := s.follow(ctx, look); err != nil {
			return nil, err
		}
	}
	if err := s.webhooks(ctx); err != nil {
		return nil, err
	}
	all := slices.Collect(maps.Values(s.found))
	slices.SortFunc(all, func(a, b *Item) int { // a webhook before the events that it gave
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(place(a), place(b)), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Offset, b.Offset))
	})
	return all, nil
}

// place is which of an event and the webhook it came in is first, written in
// the same millisecond, and what became of a dead letter last.
func place(i *Item) int {
	switch {
	case i.Webhook == nil:
		return 1
	case i.Webhook.Handles != "":
		return 2
	}
	return 0
}

// follow looks for the ids, and for those that what is found names.
func (s *search) follow(ctx context.Context, look func(context.Context, []string) error) error {
	for {
		var ids []string
		for id, done := range s.ids {
			if !done {
				ids = append(ids, id)
			}
			s.ids[id] = true
		}
		if len(ids) == 0 {
			return nil
		}
		if err := look(ctx, ids); err != nil {
			return err
		}
	}
}

// name adds an id of the payment.
func (s *search) name(id string) {
	if _, ok := s.ids[id]; !ok && id != "" {
		s.ids[id] = false
	}
}

// add keeps a record that was found, and what else the payment is called.
func (s *search) add(r consume.Record) {
	i := Read(s.Names, r)
	if i == nil || s.found[i.Receipt] != nil {
		return
	}
	s.found[i.Receipt] = i
	if i.Event == nil {
		return
	}
	e := *i.Event
	s.name(e.Subject)
	keys := history.ReferenceKeys(e)
	stands := e.Data.KeySource == schemas.KeyFromConnector || e.Data.KeySource == schemas.KeyFromRequest
	if s.Where == nil && !stands { // each is another partition to read
		if e.Data.KeySource != schemas.KeyFromReference {
			return
		}
		keys = keys[:min(1, len(keys))] // what it would have been keyed by, and its redeliveries are
	}
	for _, key := range keys {
		s.name(key)
	}
}

// ask looks ids up at the server, and reads the events it names.
func (s *search) ask(ctx context.Context, ids []string) error {
	place, err := s.Where(ctx, ids)
	if err != nil {
		return err
	}
	for _, key := range place.Keys {
		s.name(key)
	}
	var at []kafka.Receipt
	for _, e := range place.Events {
		at = append(at, e.Receipt)
	}
	records, err := s.Reader.Get(ctx, at)
	if err != nil {
		return err
	}
	for _, e := range place.Events {
		if r, ok := records[e.Receipt]; ok && r.Header(schemas.HeaderEventID) == e.ID && !r.Time.Before(s.From) {
			s.add(r)
		}
	}
	return nil
}

// read looks for ids as keys, in their partition of every topic.
func (s *search) read(ctx context.Context, ids []string) error {
	all, err := s.Reader.Partitions(ctx, s.Names.All()...)
	if err != nil {
		return err
	}
	count := 0
	for _, p := range all {
		count = max(count, p.Number+1)
	}
	numbers := map[int]bool{}
	for _, id := range ids {
		numbers[kafka.PartitionOf([]byte(id), count)] = true
	}
	return s.each(ctx, func(p consume.Partition) bool { return numbers[p.Number] }, func(r consume.Record) {
		if _, ours := s.ids[string(r.Key)]; !ours {
			return
		}
		if r.Topic == s.Names.References() {
			s.name(string(r.Value))
		} else {
			s.add(r)
		}
	})
}

// everywhere looks for an id that is no key, in all that is written of events
// and references.
func (s *search) everywhere(ctx context.Context, id string) error {
	quoted, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return s.each(ctx, func(p consume.Partition) bool {
		return p.Topic != s.Names.Received() && p.Topic != s.Names.Dead()
	}, func(r consume.Record) {
		switch {
		case r.Topic != s.Names.References():
			if bytes.Contains(r.Value, quoted) && named(Read(s.Names, r), id) {
				s.add(r)
			}
		case strings.HasSuffix(string(r.Key), ":"+id):
			s.name(string(r.Key))
			s.name(string(r.Value))
		}
	})
}

// named reports whether an event is called by an id: its own, the processor's,
// or that of what it is about.
func named(i *Item, id string) bool {
	if i == nil {
		return false
	}
	d := i.Event.Data
	return slices.Contains(append(d.ConnectorReferences, i.Event.ID, d.ConnectorEventID, d.ConnectorTransactionID, d.NetworkTransactionID,
		d.ConnectorRefundID, d.MerchantRefundID, d.ConnectorDisputeID, d.ConnectorPayoutID, d.MerchantPayoutID), id)
}

// each reads the partitions that are wanted, from [Finder.From] to where they
// end now; references from their beginning.
func (s *search) each(ctx context.Context, want func(consume.Partition) bool, f func(consume.Record)) error {
	all, err := s.Reader.Partitions(ctx, s.Names.All()...)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(p consume.Partition) bool { return !want(p) })
	ranges, err := s.Reader.Bounds(ctx, all)
	if err != nil {
		return err
	}
	if !s.From.IsZero() {
		late, err := s.Reader.Since(ctx, slices.DeleteFunc(all, func(p consume.Partition) bool { return p.Topic == s.Names.References() }), s.From)
		if err != nil {
			return err
		}
		maps.Copy(ranges, late)
	}
	return Each(ctx, s.Reader, ranges, s.Progress, f)
}

// Each calls f with every record of the ranges.
func Each(ctx context.Context, reader *consume.Reader, ranges map[consume.Partition]consume.Range, progress func(done, all int64), f func(consume.Record)) error {
	var done, all int64
	for _, r := range ranges {
		all += r.To - r.From
	}
	return reader.Read(ctx, ranges, func(chunks []consume.Chunk) error {
		for _, c := range chunks {
			for _, r := range c.Records {
				f(r)
			}
			done += int64(len(c.Records))
		}
		if progress != nil {
			progress(done, all)
		}
		return nil
	})
}

// A webhook is written by the same call as the events it gave: its timestamp is
// theirs, or a little apart where one of its partitions had to wait.
const (
	before = time.Second
	behind = 5 * time.Second
)

// webhooks finds those of the events whose webhook was not among what has their
// key, and the dead letters that events were made from later.
func (s *search) webhooks(ctx context.Context) error {
	missing := map[string]*Item{}
	for _, i := range s.found {
		if i.Event != nil && i.Event.Data.Corrects == "" {
			missing[i.Event.ID] = i
		}
	}
	for _, i := range s.found {
		if i.Webhook != nil {
			for _, id := range i.Webhook.EventIDs {
				delete(missing, id)
			}
		}
	}
	for _, everywhere := range []bool{false, true} { // where its key is, and where that of its batch's first event may be
		for _, i := range slices.SortedFunc(maps.Values(missing), func(a, b *Item) int { return a.Time.Compare(b.Time) }) {
			if missing[i.Event.ID] == nil {
				continue // it came with one before
			}
			if err := s.around(ctx, i, everywhere, missing); err != nil {
				return err
			}
		}
	}
	if s.Where == nil {
		if err := s.mentions(ctx); err != nil {
			return err
		}
	}
	return s.letters(ctx)
}

// around looks for the webhooks that were written when an event was, in its
// partition or in all, and takes events off the list that came in them.
func (s *search) around(ctx context.Context, event *Item, everywhere bool, missing map[string]*Item) error {
	partitions, err := s.Reader.Partitions(ctx, s.Names.Received(), s.Names.Dead())
	if err != nil {
		return err
	}
	if !everywhere {
		partitions = slices.DeleteFunc(partitions, func(p consume.Partition) bool { return p.Number != event.Partition })
	}
	ranges, err := s.Reader.Since(ctx, partitions, event.Time.Add(-before))
	if err != nil {
		return err
	}
	ends, err := s.Reader.Since(ctx, partitions, event.Time.Add(behind))
	if err != nil {
		return err
	}
	for p, r := range ranges {
		ranges[p] = consume.Range{From: r.From, To: ends[p].From}
	}
	events := map[string]bool{}
	for _, i := range s.found {
		if i.Event != nil {
			events[i.Event.ID] = true
		}
	}
	return Each(ctx, s.Reader, ranges, nil, func(r consume.Record) {
		i := Read(s.Names, r)
		if i == nil || !slices.ContainsFunc(i.Webhook.EventIDs, func(id string) bool { return events[id] }) {
			return
		}
		s.add(r)
		for _, id := range i.Webhook.EventIDs {
			delete(missing, id)
		}
	})
}

// mentions finds dead letters that have an id of the payment in their body:
// nobody could read whose they are, and their key is the connector's name.
func (s *search) mentions(ctx context.Context) error {
	ids := map[string]bool{}
	for id := range s.ids {
		ids[id] = true
	}
	for _, i := range s.found {
		if i.Event != nil {
			d := i.Event.Data
			for _, id := range append(d.ConnectorReferences, d.ConnectorTransactionID, d.ConnectorRefundID, d.ConnectorDisputeID) {
				ids[id] = true
			}
		}
	}
	return s.each(ctx, func(p consume.Partition) bool { return p.Topic == s.Names.Dead() }, func(r consume.Record) {
		for id := range ids {
			if mentioned(r.Value, id) {
				s.add(r)
				return
			}
		}
	})
}

// shortest is how many bytes of an id are no coincidence.
const shortest = 5

// mentioned reports whether a body has an id as a word of its own.
func mentioned(body []byte, id string) bool {
	if len(id) < shortest {
		return false
	}
	word := func(b []byte) bool {
		r, _ := utf8.DecodeRune(b)
		return len(b) > 0 && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' || r == '-')
	}
	for from := 0; ; {
		at := bytes.Index(body[from:], []byte(id))
		if at < 0 {
			return false
		}
		at += from
		if from = at + len(id); !word(body[from:]) && (at == 0 || !word(body[at-1:at])) {
			return true
		}
	}
}

// letters reads the dead letters that were found to be handled.
func (s *search) letters(ctx context.Context) error {
	var at []kafka.Receipt
	for _, i := range s.found {
		if i.Webhook == nil || i.Webhook.Handles == "" {
			continue
		}
		if letter, err := ParseLetter(s.Names, i.Webhook.Handles); err == nil && s.found[letter] == nil {
			at = append(at, letter)
		}
	}
	records, err := s.Reader.Get(ctx, at)
	for _, r := range records {
		s.add(r)
	}
	return err
}
