// Package replay makes events anew from the webhooks that were kept, with
// today's code: a mapping was mended, an event type is supported now, a topic
// was lost. It says what would change before anything does.
//
// An event whose id was published and that comes out the same is left alone.
// One that comes out otherwise is corrected: a copy with an id of its own, made
// from the first one's and from what it says, whose corrects is the first one's
// id. One that was not published is published. Each is so recognised by its id
// when the same stretch is replayed again, however the run before ended: the
// event topics themselves are where a replay that was killed goes on.
//
// About 170 bytes are held of every event in the topics, so that each can be
// recognised without a store.
package replay

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// Filter chooses what is replayed; what is empty chooses all.
type Filter struct {
	From, To  time.Time // when the webhook was received: from, up to and without
	Stretch   *Stretch
	Connector string
	Endpoint  string
	Outcome   normalize.Outcome // what became of the webhook when it came
	Reason    string            // words of why it was ignored or malformed
	Types     []schemas.Type
	Keys      []string // merchant_transaction_id
	Missing   bool     // only events that were not published
}

// Stretch is some webhooks of one partition of webhooks.received.
type Stretch struct {
	Partition int
	consume.Range
}

// of returns what the stretch has of what there is.
func (s Stretch) of(ranges map[consume.Partition]consume.Range, topic string) (map[consume.Partition]consume.Range, error) {
	p := consume.Partition{Topic: topic, Number: s.Partition}
	all, ok := ranges[p]
	if !ok {
		return nil, fmt.Errorf("%s has no partition %d", topic, s.Partition)
	}
	g := consume.Range{From: max(all.From, s.From), To: all.To}
	if s.To != consume.Forever {
		g.To = min(all.To, s.To)
	}
	if g.From >= g.To {
		return nil, fmt.Errorf("%s-%d has the offsets %d to %d, none of them chosen", topic, s.Partition, all.From, all.To-1)
	}
	return map[consume.Partition]consume.Range{p: g}, nil
}

func (f Filter) webhook(a webhook.Archived) bool {
	return a.Handles == "" && // what became of a dead letter is no webhook
		(f.From.IsZero() || !a.ReceivedAt.Before(f.From)) && (f.To.IsZero() || a.ReceivedAt.Before(f.To)) &&
		(f.Connector == "" || f.Connector == a.Connector) && (f.Endpoint == "" || f.Endpoint == a.Endpoint) &&
		(f.Outcome == "" || f.Outcome == a.Outcome) && strings.Contains(a.Reason, f.Reason)
}

func (f Filter) event(e schemas.Event) bool {
	return (len(f.Types) == 0 || slices.Contains(f.Types, e.Type)) && (len(f.Keys) == 0 || slices.Contains(f.Keys, e.Subject))
}

// whole reports whether every event of a webhook is chosen.
func (f Filter) whole() bool { return len(f.Types)+len(f.Keys) == 0 }

// Publisher writes records: see [publish.Producer.Publish].
type Publisher interface {
	Publish(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error)
}

// Config is what a replay is made of.
type Config struct {
	Reader    *consume.Reader
	Webhooks  kafka.Names // the topics in which they were kept
	Events    kafka.Names // the topics that events go to: the same, or with a prefix of their own
	Endpoints []webhook.Endpoint
	History   *history.History // of the topics Events
	Filter

	// Publisher is nil for a plan: nothing is written.
	Publisher Publisher
	ID        string  // of this replay: the header replay-id of what it writes
	Rate      float64 // events a second that are written; 0 is as fast as Kafka takes them

	// Each is told every change, in the order of its key; Differences asks for
	// what of a changed event is otherwise.
	Each        func(Change) error
	Differences bool
	// Progress is told how many records of how many are read, at each stage.
	Progress func(stage string, done, all int64)
}

// Counts is what a replay came to.
type Counts struct {
	Read       int   `json:"read"` // webhooks
	Same       int   `json:"same"` // events
	Changed    int   `json:"changed"`
	New        int   `json:"new"`
	Gone       int   `json:"gone"`       // events that were made then, and are not today: they stay as they are
	Ignored    int   `json:"ignored"`    // webhooks, as the next ones
	Malformed  int   `json:"malformed"`  //
	Unverified int   `json:"unverified"` // today's configuration has not their endpoint, or not their secret
	Published  int   `json:"published"`  // events
	References int   `json:"references"` // that published events tell, and that were not written with them
	Bytes      int64 `json:"bytes"`      // of the records of new and changed events
}

// Change is an event that is published, or would be.
type Change struct {
	Event schemas.Event `json:"event"`
	Diff  []string      `json:"diff,omitempty"` // field: was → is; none for a new event
	was   kafka.Receipt
}

// known is what is published under an event id: by the event, or by the last
// correction of it.
type known struct {
	says, key sum
	at        kafka.Receipt
	time      int64 // of the record, in milliseconds
	received  int64 // when the webhook came, in nanoseconds
	telling   sum   // see [telling]
	seen      bool  // in this replay
}

// redelivery is an archived webhook that gives a published event again.
type redelivery struct {
	at       kafka.Receipt
	received int64 // in nanoseconds
}

// sum stands for a text, in few bytes and without a pointer.
type sum [16]byte

func sumOf(text []byte) sum {
	s := sha256.Sum256(text)
	return sum(s[:])
}

type run struct {
	Config
	Counts
	known   map[sum]known      // by event id
	again   map[sum]redelivery // the first redelivery of events whose own webhook is not read yet, by event id
	keyring verify.Keyring
	batch   []Change
	there   []schemas.Event     // published: their references may not be
	linked  map[string]struct{} // keys of references that were written, or would be
	start   time.Time
}

// Run replays. With an error it returns what was done until then: the same
// again goes on from there.
func Run(ctx context.Context, c Config) (Counts, error) {
	r := &run{Config: c, known: map[sum]known{}, again: map[sum]redelivery{}, linked: map[string]struct{}{}}
	if err := r.published(ctx); err != nil {
		return r.Counts, fmt.Errorf("reading what is published: %w", err)
	}
	r.start = time.Now()
	err := r.webhooks(ctx)
	if err == nil {
		err = r.redeliveries(ctx)
	}
	if err == nil {
		err = r.flush(ctx)
	}
	if err == nil && r.Publisher != nil {
		err = r.History.Drain(ctx) // topics of their own have no server that corrects keys
	}
	return r.Counts, err
}

// published notes every event of the topics. All of them: a redelivery in the
// stretch may be of an event long before.
func (r *run) published(ctx context.Context) error {
	partitions, err := r.Reader.Partitions(ctx, r.Events.Events()...)
	if err != nil {
		return err
	}
	ranges, err := r.Reader.Bounds(ctx, partitions)
	if err != nil {
		return err
	}
	return r.read(ctx, "events", ranges, func(record consume.Record) error {
		var e schemas.Event
		if json.Unmarshal(record.Value, &e) != nil || e.ID == "" {
			return nil // another's
		}
		says, err := digest(e)
		if err != nil {
			return err
		}
		id := sumOf([]byte(cmp.Or(e.Data.Corrects, e.ID))) // a correction takes the place of the first
		now := known{
			says: says, key: sumOf([]byte(e.Subject)), at: record.Receipt(),
			time: record.Time.UnixMilli(), received: e.Data.ReceivedAt.UnixNano(), telling: telling(e),
		}
		if was, ok := r.known[id]; !ok || e.Data.Corrects != "" && now.time >= was.time {
			r.known[id] = now
		}
		return nil
	})
}

// clockSkew is how much the clocks of replicas and of Kafka may differ by which
// a stretch is looked up.
const clockSkew = time.Minute

// webhooks reads the stretch and judges each anew.
func (r *run) webhooks(ctx context.Context) error {
	partitions, err := r.Reader.Partitions(ctx, r.Webhooks.Received(), r.Webhooks.Dead())
	if err != nil {
		return err
	}
	begin := r.Reader.Bounds
	if !r.From.IsZero() {
		begin = func(ctx context.Context, p []consume.Partition) (map[consume.Partition]consume.Range, error) {
			return r.Reader.Since(ctx, p, r.From.Add(-clockSkew))
		}
	}
	ranges, err := begin(ctx, partitions)
	if err == nil && r.Stretch != nil {
		ranges, err = r.Stretch.of(ranges, r.Webhooks.Received())
	}
	if err != nil {
		return err
	}
	return r.read(ctx, "webhooks", ranges, func(record consume.Record) error {
		a, err := webhook.ReadArchived(record.Headers, record.Value)
		if err != nil {
			return nil // another's
		}
		if !r.webhook(a) {
			r.leave(a)
			return nil
		}
		return r.judge(ctx, a, record.Receipt())
	})
}

// leave leaves the events of a webhook that is not chosen alone: no redelivery
// of it speaks for them.
func (r *run) leave(a webhook.Archived) {
	for _, text := range a.EventIDs {
		id := sumOf([]byte(text))
		if was, ok := r.known[id]; ok && was.received == a.ReceivedAt.UnixNano() {
			was.seen = true
			r.known[id] = was
			delete(r.again, id)
		}
	}
}

// redeliveriesAtOnce bounds the memory of webhooks that are read a second time.
const redeliveriesAtOnce = 16

// redeliveries compares the events whose own webhook was not archived, or was not
// chosen, with what their first redelivery gives. Writing to the archive may
// fail where writing the event does not; the processor then sends it again.
func (r *run) redeliveries(ctx context.Context) error {
	var all []kafka.Receipt
	received := map[kafka.Receipt]int64{}
	for _, d := range r.again {
		if _, ok := received[d.at]; !ok { // one webhook may give several events
			all, received[d.at] = append(all, d.at), d.received
		}
	}
	slices.SortFunc(all, func(a, b kafka.Receipt) int {
		return cmp.Or(cmp.Compare(received[a], received[b]), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	for some := range slices.Chunk(all, redeliveriesAtOnce) {
		records, err := r.Reader.Get(ctx, some)
		if err != nil {
			return err
		}
		for _, at := range some {
			record, ok := records[at]
			if !ok {
				continue // retention deleted it meanwhile
			}
			a, err := webhook.ReadArchived(record.Headers, record.Value)
			if err != nil {
				return err
			}
			if err := r.redelivery(ctx, a, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// redelivery compares the events that wait for a redelivery with what it gives.
func (r *run) redelivery(ctx context.Context, a webhook.Archived, at kafka.Receipt) error {
	n := slices.IndexFunc(r.Endpoints, a.Is)
	if n < 0 {
		return nil
	}
	j := r.Endpoints[n].JudgeArchived(ctx, &r.keyring, a)
	if j.Err != nil {
		return ctx.Err()
	}
	for _, e := range j.Events {
		id := sumOf([]byte(e.ID))
		if r.again[id].at != at || !r.event(e) {
			continue
		}
		if err := r.compare(e, id); err != nil {
			return err
		}
	}
	if len(r.batch) >= batchEvents {
		return r.flush(ctx)
	}
	return nil
}

func (r *run) read(ctx context.Context, stage string, ranges map[consume.Partition]consume.Range, f func(consume.Record) error) error {
	var done, all int64
	for _, g := range ranges {
		all += g.To - g.From
	}
	return r.Reader.Read(ctx, ranges, func(chunks []consume.Chunk) error {
		for _, chunk := range chunks {
			for _, record := range chunk.Records {
				if err := f(record); err != nil {
					return err
				}
				done++
				if r.Progress != nil && done%100 == 0 {
					r.Progress(stage, done, all)
				}
			}
		}
		return nil
	})
}

// judge reads one webhook, which is at a place of the archive, with today's code.
func (r *run) judge(ctx context.Context, a webhook.Archived, at kafka.Receipt) error {
	r.Read++
	n := slices.IndexFunc(r.Endpoints, a.Is)
	if n < 0 {
		r.Unverified++
		return nil
	}
	j := r.Endpoints[n].JudgeArchived(ctx, &r.keyring, a)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case j.Err != nil:
		r.Unverified++
		return nil
	case j.Outcome() == normalize.OutcomeIgnored:
		r.Ignored++
	case j.Outcome() == normalize.OutcomeMalformed:
		r.Malformed++
	}
	r.gone(a, j.Events)
	for _, e := range j.Events {
		if !r.event(e) {
			continue
		}
		if _, ok := r.known[sumOf([]byte(e.ID))]; ok {
			r.there = append(r.there, e)
		}
		if err := r.decide(e, at); err != nil {
			return err
		}
	}
	if max(len(r.batch), len(r.there)) >= batchEvents {
		return r.flush(ctx)
	}
	return nil
}

// gone counts what the webhook came to and does not any more.
func (r *run) gone(a webhook.Archived, events []schemas.Event) {
	if !r.whole() {
		return
	}
	for _, id := range a.EventIDs {
		was, ok := r.known[sumOf([]byte(id))]
		if ok && !was.seen && !slices.ContainsFunc(events, func(e schemas.Event) bool { return e.ID == id }) {
			was.seen = true
			r.known[sumOf([]byte(id))] = was
			r.Gone++
		}
	}
}

// decide says what becomes of one event of a webhook that is at a place of the
// archive. A published event is compared with what its own webhook gives; a
// redelivery of that is noted, for [run.redeliveries], and the same fact that
// another of the processor's events told is no concern of ours.
func (r *run) decide(e schemas.Event, at kafka.Receipt) error {
	id := sumOf([]byte(e.ID))
	was, ok := r.known[id]
	switch received := e.Data.ReceivedAt.UnixNano(); {
	case was.seen:
		return nil
	case !ok || was.received == received:
		delete(r.again, id)
		return r.compare(e, id)
	case was.telling == telling(e):
		if other, ok := r.again[id]; !ok || received < other.received {
			r.again[id] = redelivery{at, received}
		}
	}
	return nil
}

// compare compares an event with what is published under its id.
func (r *run) compare(e schemas.Event, id sum) error {
	was, ok := r.known[id]
	says, err := digest(e)
	if err != nil {
		return err
	}
	was.seen = true
	r.known[id] = was
	switch {
	case !ok:
		r.New++
	case was.says == says && (e.Data.KeySource != schemas.KeyFromPayload || was.key == sumOf([]byte(e.Subject))):
		r.Same++
		return nil
	default:
		r.Changed++
		if r.Missing {
			return nil
		}
		// What it takes the place of is in the id: what was mended twice may say
		// again what it said once.
		place := fmt.Sprintf("replay:%s:%s-%d-%d:%x:%s", e.ID, was.at.Topic, was.at.Partition, was.at.Offset, says, e.Subject)
		e.Data.Corrects = e.ID
		e.ID = schemas.ID(e.Data.Connector, e.Data.Endpoint, place, e.Type, 0)
	}
	r.batch = append(r.batch, Change{Event: e, was: was.at})
	return nil
}

// batchEvents is how many events are on their way at once.
const batchEvents = 200

// flush publishes what is decided, or only tells it.
func (r *run) flush(ctx context.Context) error {
	batch, there := r.batch, r.there
	r.batch, r.there = nil, nil
	if len(batch)+len(there) == 0 {
		return nil
	}
	events := make([]schemas.Event, len(batch))
	for i, c := range batch {
		events[i] = c.Event
	}
	a, err := r.History.AdmitWhenFresh(ctx, events)
	if err != nil {
		return err
	}
	defer a.Forget() // unless it is done
	if err := r.link(a, there); err != nil {
		return err
	}
	if err := r.tell(ctx, batch, a.Events); err != nil {
		return err
	}
	var records []kafka.Record
	for _, e := range a.Events {
		record, err := kafka.EventRecord(r.Events, e, "")
		if err != nil {
			return err
		}
		record.Headers = append(record.Headers, schemas.Header{Name: "replay-id", Value: r.ID})
		records = append(records, record)
		r.Bytes += int64(len(record.Key) + len(record.Value))
	}
	if r.Publisher == nil || len(records)+len(a.References) == 0 {
		return nil
	}
	receipts, err := r.Publisher.Publish(ctx, append(records, a.References...))
	if err != nil {
		return fmt.Errorf("%d events are published; run the same again, what is published is recognised: %w", r.Published, err)
	}
	a.Done(receipts[:len(a.Events)], receipts[len(receipts)-len(a.References):])
	r.Published += len(a.Events)
	return r.pace(ctx)
}

// link adds the references of published events that are not written, and counts
// each once, in a plan too.
func (r *run) link(a *history.Admission, there []schemas.Event) error {
	fresh := len(a.References)
	if err := a.Link(there); err != nil {
		return err
	}
	for i, reference := range a.References {
		key := string(reference.Key)
		if _, ok := r.linked[key]; !ok && i >= fresh {
			r.References++
		}
		r.linked[key] = struct{}{}
	}
	return nil
}

// tell hands the changes on, under the keys that they have.
func (r *run) tell(ctx context.Context, batch []Change, admitted []schemas.Event) error {
	if r.Each == nil {
		return nil
	}
	var before map[kafka.Receipt]consume.Record
	if r.Differences {
		var at []kafka.Receipt
		for _, c := range batch {
			if c.was.Topic != "" {
				at = append(at, c.was)
			}
		}
		var err error
		if before, err = r.Reader.Get(ctx, at); err != nil {
			return err
		}
	}
	for _, c := range batch {
		i := slices.IndexFunc(admitted, func(e schemas.Event) bool { return e.ID == c.Event.ID })
		if i < 0 {
			continue // published meanwhile
		}
		c.Event = admitted[i]
		if record, ok := before[c.was]; ok {
			var was schemas.Event
			if err := json.Unmarshal(record.Value, &was); err != nil {
				return err
			}
			var err error
			if c.Diff, err = difference(was, c.Event); err != nil {
				return err
			}
		}
		if err := r.Each(c); err != nil {
			return err
		}
	}
	return nil
}

// pace waits until the rate allows the next batch.
func (r *run) pace(ctx context.Context) error {
	if r.Rate <= 0 {
		return nil
	}
	ahead := time.Duration(float64(r.Published)/r.Rate*float64(time.Second)) - time.Since(r.start)
	select {
	case <-time.After(ahead):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// telling is which of the processor's events an event was made from. A processor
// may tell one fact by several, and what each says of it differs.
func telling(e schemas.Event) sum {
	return sumOf([]byte(e.Data.ConnectorEventType + "\x00" + e.Data.ConnectorEventID))
}

// digest is of what an event says, whatever its key.
func digest(e schemas.Event) (sum, error) {
	b, err := json.Marshal(keyed(said(e), schemas.Event{}))
	return sumOf(b), err
}
