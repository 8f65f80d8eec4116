// Package lookup finds the records of one payment in Kafka: its events, the
// archived webhooks that gave them, and its dead letters.
//
// All topics have the same number of partitions, and the records of a payment have
// the same key. So they are all in one partition number of each topic. With tens of
// millions of records even that takes too long to read. A running server knows where
// the events are, since it follows the event topics: [Finder.Where] asks it. An
// archived webhook was written together with its events, so it has about their
// timestamp, and Kafka can find records by timestamp.
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

// Item is one record that was found: an event, an archived webhook or a dead letter.
type Item struct {
	kafka.Receipt
	Time    time.Time         `json:"time"` // when the record was written
	Key     string            `json:"key"`
	Event   *schemas.Event    `json:"event,omitempty"`
	Webhook *webhook.Archived `json:"webhook,omitempty"` // also a dead letter, and the record that says how one was handled
}

// Finder finds the records of payments in one cluster. Reader and Names must be set.
type Finder struct {
	Reader *consume.Reader
	Names  kafka.Names
	// From leaves out records that were written before this time. Zero leaves out none.
	From time.Time
	// Where asks a running server for the events of ids: see [history.History.Where].
	// If it is nil, the topics are read. That takes longer, but also finds webhooks that
	// gave no new event, and dead letters whose body contains an id of the payment.
	Where func(ctx context.Context, ids []string) (history.Place, error)
	// Quick: if Where leads to no record, return none. Without Quick the topics are then read.
	Quick bool
	// Progress is called with the number of records read so far and of all; it may be
	// nil.
	Progress func(done, all int64)
}

// Read decodes the record of an event, an archived webhook or a dead letter. It
// returns nil for a reference, and for a record that another program wrote.
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
		e, err := schemas.Decode(r.Value)
		if err != nil || e.ID == "" {
			return nil
		}
		i.Event = &e
	}
	return i
}

// search is the state of one call of [Finder.Payment].
type search struct {
	Finder
	ids   map[string]bool // ids of the payment; true once an id was looked up
	found map[kafka.Receipt]*Item
}

// Payment returns the records of the payment that has an id, in the order in which they
// were written. The id may be a merchant_transaction_id, an event id, or an id that the
// processor gave. If payments of several processors have the same id, it returns the
// records of all of them. If there is none, it returns no record and no error.
func (f Finder) Payment(ctx context.Context, id string) ([]*Item, error) {
	s := &search{Finder: f, ids: map[string]bool{id: false}, found: map[kafka.Receipt]*Item{}}
	lookUp := s.scan
	if f.Where != nil {
		lookUp = s.askServer
	}
	if err := s.lookUpAll(ctx, lookUp); err != nil {
		return nil, err
	}
	if len(s.found) == 0 && (f.Where == nil || !f.Quick) {
		if err := s.scanForID(ctx, id); err != nil {
			return nil, err
		}
		if err := s.lookUpAll(ctx, lookUp); err != nil {
			return nil, err
		}
	}
	if err := s.addWebhooks(ctx); err != nil {
		return nil, err
	}
	all := slices.Collect(maps.Values(s.found))
	slices.SortFunc(all, func(a, b *Item) int { // see rank
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Offset, b.Offset))
	})
	return all, nil
}

// rank orders records of the same millisecond: the webhook, its events, and then the
// record that says how a dead letter was handled.
func rank(i *Item) int {
	switch {
	case i.Webhook == nil:
		return 1
	case i.Webhook.Handles != "":
		return 2
	}
	return 0
}

// lookUpAll looks up every id of the payment, including ids that are found meanwhile.
func (s *search) lookUpAll(ctx context.Context, lookUp func(context.Context, []string) error) error {
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
		if err := lookUp(ctx, ids); err != nil {
			return err
		}
	}
}

// addID adds an id of the payment.
func (s *search) addID(id string) {
	if _, ok := s.ids[id]; !ok && id != "" {
		s.ids[id] = false
	}
}

// add adds a record of the payment, and the further ids in it.
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
	s.addID(e.Subject)
	keys := history.ReferenceKeys(e)
	fallback := e.Data.KeySource == schemas.KeyFromConnector || e.Data.KeySource == schemas.KeyFromRequest
	if s.Where == nil && !fallback { // without a server, each further id is one more partition to read
		if e.Data.KeySource != schemas.KeyFromReference {
			return
		}
		keys = keys[:min(1, len(keys))] // add only the fallback key: redeliveries that came before the reference have it
	}
	for _, key := range keys {
		s.addID(key)
	}
}

// askServer asks the server for the events of ids, and reads them from Kafka. It
// leaves out a record that is not the event that the server named.
func (s *search) askServer(ctx context.Context, ids []string) error {
	place, err := s.Where(ctx, ids)
	if err != nil {
		return err
	}
	for _, key := range place.Keys {
		s.addID(key)
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

// scan reads the records whose key is one of ids, in the keys' partitions of every
// topic.
func (s *search) scan(ctx context.Context, ids []string) error {
	all, err := s.Reader.Partitions(ctx, s.Names.Kept()...)
	if err != nil {
		return err
	}
	wanted := PartitionsOf(all, ids...)
	return s.each(ctx, func(p consume.Partition) bool { return slices.Contains(wanted, p) }, func(r consume.Record) {
		if _, ours := s.ids[string(r.Key)]; !ours {
			return
		}
		if r.Topic == s.Names.References() {
			s.addID(string(r.Value))
		} else {
			s.add(r)
		}
	})
}

// PartitionsOf returns those of all partitions in which records with the keys are. The
// topics may have different numbers of partitions: the server does not start then, but
// a command still finds their records.
func PartitionsOf(all []consume.Partition, keys ...string) []consume.Partition {
	count := map[string]int{}
	for _, p := range all {
		count[p.Topic]++
	}
	wanted := map[consume.Partition]bool{}
	for _, key := range keys {
		for topic, n := range count {
			wanted[consume.Partition{Topic: topic, Number: kafka.PartitionOf([]byte(key), n)}] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(p consume.Partition) bool { return !wanted[p] })
}

// scanForID reads all events and references for an id that is not a key.
func (s *search) scanForID(ctx context.Context, id string) error {
	quoted, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return s.each(ctx, func(p consume.Partition) bool {
		return p.Topic != s.Names.Received() && p.Topic != s.Names.Dead()
	}, func(r consume.Record) {
		switch {
		case r.Topic != s.Names.References():
			if bytes.Contains(r.Value, quoted) && hasID(Read(s.Names, r), id) {
				s.add(r)
			}
		case strings.HasSuffix(string(r.Key), ":"+id):
			s.addID(string(r.Key))
			s.addID(string(r.Value))
		}
	})
}

// hasID reports whether an event has an id: its own, the processor's event id, or the
// id of its payment, refund, dispute or payout.
func hasID(i *Item, id string) bool {
	if i == nil {
		return false
	}
	d := i.Event.Data
	return slices.Contains(append(d.ConnectorReferences, i.Event.ID, d.ConnectorEventID, d.ConnectorTransactionID, d.NetworkTransactionID,
		d.ConnectorRefundID, d.MerchantRefundID, d.ConnectorDisputeID, d.ConnectorPayoutID, d.MerchantPayoutID), id)
}

// each calls f with the records of the wanted partitions, from [Finder.From] to their
// present ends. It reads references from their beginning.
func (s *search) each(ctx context.Context, want func(consume.Partition) bool, f func(consume.Record)) error {
	all, err := s.Reader.Partitions(ctx, s.Names.Kept()...)
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

// Each calls f with every record of the ranges, and progress, if it is not nil, with
// the number of records read so far and of all.
func Each(ctx context.Context, reader *consume.Reader, ranges map[consume.Partition]consume.Range, progress func(done, all int64), f func(consume.Record)) error {
	done, all := int64(0), consume.Size(ranges)
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

// window is where to look for the webhook of an event: how much earlier or later than the
// event it was written, and whether in every partition or only in that of the event's number.
type window struct {
	earlier, later time.Duration
	everyPartition bool
}

// windows are the windows in which a webhook is looked for, until it is found. A webhook and
// its events are written by the same call, nearly always in the same moment; their timestamps
// differ more if a partition had to wait. The webhook of a batch is in the partition of its
// first event.
var windows = []window{
	{100 * time.Millisecond, 100 * time.Millisecond, false},
	{time.Second, 5 * time.Second, false},
	{time.Second, 5 * time.Second, true},
}

// addWebhooks adds the archived webhooks of the events that have none yet, and the dead
// letters of the payment.
func (s *search) addWebhooks(ctx context.Context) error {
	missing := map[string]*Item{}
	for _, i := range s.found {
		if i.Event != nil && i.Event.Data.Corrects == "" {
			missing[i.Event.ID] = i
		}
	}
	for _, i := range s.found {
		i.remove(missing)
	}
	for _, w := range windows {
		for _, i := range slices.SortedFunc(maps.Values(missing), func(a, b *Item) int { return a.Time.Compare(b.Time) }) {
			if missing[i.Event.ID] == nil {
				continue // found with the webhook of an earlier event
			}
			if err := s.addWebhooksNear(ctx, i, w, missing); err != nil {
				return err
			}
		}
	}
	if s.Where == nil {
		if err := s.addMentions(ctx); err != nil {
			return err
		}
	}
	return s.addHandledLetters(ctx)
}

// addWebhooksNear adds the webhooks of the payment that were written in a window of an
// event. It removes from missing the events that they gave.
func (s *search) addWebhooksNear(ctx context.Context, event *Item, w window, missing map[string]*Item) error {
	partitions, err := s.Reader.Partitions(ctx, s.Names.Received(), s.Names.Dead())
	if err != nil {
		return err
	}
	if !w.everyPartition {
		partitions = slices.DeleteFunc(partitions, func(p consume.Partition) bool { return p.Number != event.Partition })
	}
	ranges, err := s.Reader.Since(ctx, partitions, event.Time.Add(-w.earlier))
	if err != nil {
		return err
	}
	ends, err := s.Reader.Since(ctx, partitions, event.Time.Add(w.later))
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
		i.remove(missing)
	})
}

// remove removes from missing the events that the record, if it is a webhook, gave. A
// redelivery names them, too, but the webhook that gave them is still to be found.
func (i *Item) remove(missing map[string]*Item) {
	if i.Webhook == nil || i.Webhook.Outcome == webhook.OutcomeDuplicate {
		return
	}
	for _, id := range i.Webhook.EventIDs {
		delete(missing, id)
	}
}

// addMentions adds the dead letters whose body contains an id of the payment. A dead
// letter's key is the connector's name, because its payment could not be read.
func (s *search) addMentions(ctx context.Context) error {
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
			if containsID(r.Value, id) {
				s.add(r)
				return
			}
		}
	})
}

// minIDLength is the length in bytes from which an id in a body is no coincidence.
const minIDLength = 5

// containsID reports whether a body contains an id as a separate word.
func containsID(body []byte, id string) bool {
	if len(id) < minIDLength {
		return false
	}
	startsWithWord := func(b []byte) bool {
		r, _ := utf8.DecodeRune(b)
		return len(b) > 0 && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' || r == '-')
	}
	for from := 0; ; {
		at := bytes.Index(body[from:], []byte(id))
		if at < 0 {
			return false
		}
		at += from
		if from = at + len(id); !startsWithWord(body[from:]) && (at == 0 || !startsWithWord(body[at-1:at])) {
			return true
		}
	}
}

// addHandledLetters adds the dead letters that the found records mark as handled.
func (s *search) addHandledLetters(ctx context.Context) error {
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
