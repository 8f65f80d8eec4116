// Package replay normalises archived webhooks again with today's code: after a mapping
// was corrected, an event type was added, or a topic was lost. A plan says what would
// change and writes nothing.
//
// An event that was not published before is published. If an event was published with
// other content, a correction is published: a copy whose field corrects is the id of
// the first event, and whose own id is made from that id and the new content. If the
// content is the same, nothing is published. If another of the processor's webhooks
// reported the same event first, the replayed webhook can only add to that event, as at
// the server. By these ids a replay of the same range recognises what an earlier run
// published, even if that run was interrupted.
//
// A replay holds about 170 bytes in memory for each event in the topics, to recognise
// it without a store.
package replay

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
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

// Filter selects the webhooks and the events to replay. An empty field selects all.
type Filter struct {
	From, To  time.Time    // when the webhook was received: From inclusive, To exclusive
	Offsets   *OffsetRange // offsets of webhooks.received; nil is all
	Connector string
	Endpoint  string
	Outcome   normalize.Outcome // outcome of the webhook when it was received
	Reason    string            // a part of the reason why it was ignored or malformed
	Types     []schemas.Type
	Keys      []string // merchant_transaction_id
	Missing   bool     // publish only events that were not published before
}

// OffsetRange is an offset range of one partition of webhooks.received.
type OffsetRange struct {
	Partition int
	consume.Range
}

// within returns the part of the range that the topic has. ranges has the offset ranges
// of all partitions. It returns an error if the topic has no offset of the range.
func (s OffsetRange) within(ranges map[consume.Partition]consume.Range, topic string) (map[consume.Partition]consume.Range, error) {
	p := consume.Partition{Topic: topic, Number: s.Partition}
	all, ok := ranges[p]
	if !ok {
		return nil, fmt.Errorf("there is no partition %s", p)
	}
	g := consume.Range{From: max(all.From, s.From), To: all.To}
	if s.To != consume.Forever {
		g.To = min(all.To, s.To)
	}
	if g.From >= g.To {
		return nil, fmt.Errorf("partition %s has the offsets %d to %d, none of them in the range that was requested", p, all.From, all.To-1)
	}
	return map[consume.Partition]consume.Range{p: g}, nil
}

// selectsWebhook reports whether the filter selects a webhook.
func (f Filter) selectsWebhook(a webhook.Archived) bool {
	return a.Handles == "" && // a record that marks a dead letter as handled is not a webhook
		(f.From.IsZero() || !a.ReceivedAt.Before(f.From)) && (f.To.IsZero() || a.ReceivedAt.Before(f.To)) &&
		(f.Connector == "" || f.Connector == a.Connector) && (f.Endpoint == "" || f.Endpoint == a.Endpoint) &&
		(f.Outcome == "" || f.Outcome == a.Outcome) && strings.Contains(a.Reason, f.Reason)
}

// selectsEvent reports whether the filter selects an event.
func (f Filter) selectsEvent(e schemas.Event) bool {
	return (len(f.Types) == 0 || slices.Contains(f.Types, e.Type)) && (len(f.Keys) == 0 || slices.Contains(f.Keys, e.Subject))
}

// selectsAllEvents reports whether the filter selects every event of a webhook.
func (f Filter) selectsAllEvents() bool { return len(f.Types)+len(f.Keys) == 0 }

// Config configures a replay. Reader, Endpoints and History must be set.
type Config struct {
	Reader    *consume.Reader
	Webhooks  kafka.Names // the topics of the archive
	Events    kafka.Names // the topics of the events: the same, or those of another prefix
	Endpoints []webhook.Endpoint
	History   *history.History // of the topics of Events
	Filter

	// Publisher is nil for a plan, which writes nothing.
	Publisher history.Publisher
	ID        string  // of this run; it becomes the header replay-id of the published events
	Rate      float64 // events published per second at most; 0 is no limit

	// Each is called with every change. The changes of one key are in order. With
	// Differences, a changed event comes with the fields that differ.
	Each        func(Change) error
	Differences bool
	// TooLarge is called with every new or changed event that is larger than its topic
	// accepts, and the reason; it may be nil. Run publishes the other events, and writes
	// the webhook to webhooks.dead as malformed unless it is there already.
	TooLarge func(e schemas.Event, reason string) error
	// Progress is called with the number of records read so far and of all, for each
	// stage; it may be nil.
	Progress func(stage string, done, all int64)
}

// Counts is the result of a replay.
type Counts struct {
	Read       int   `json:"read"` // webhooks
	Same       int   `json:"same"` // events
	Changed    int   `json:"changed"`
	New        int   `json:"new"`
	Gone       int   `json:"gone"`    // published events that today's code does not make; they are left alone
	Ignored    int   `json:"ignored"` // webhooks, like the next two
	Malformed  int   `json:"malformed"`
	Unverified int   `json:"unverified"` // today's configuration lacks their endpoint or their secret
	Published  int   `json:"published"`  // events
	References int   `json:"references"` // missing references of published events, and of webhooks that give no event
	TooLarge   int   `json:"too_large"`  // events: see [Config.TooLarge]; not in Changed and New
	Bytes      int64 `json:"bytes"`      // of the records of new and changed events
}

// Change is an event that a replay publishes, or would publish.
type Change struct {
	Event schemas.Event `json:"event"`
	Diff  []string      `json:"diff,omitempty"` // field: old value → new value; none for a new event
	// Fields are the fields of Diff.
	Fields []FieldChange `json:"-"`
	old    kafka.Receipt // where the replaced event is
	from   kafka.Receipt // where the archived webhook is
	bytes  int           // approximate size of the event
}

// published describes the event that is published under an id, or its last correction.
type published struct {
	content, key digest
	at           kafka.Receipt
	time         int64  // the record's timestamp, Unix milliseconds
	received     int64  // when the webhook was received, Unix nanoseconds
	source       digest // see sourceOf
	seen         bool   // its own webhook was replayed, or is not selected
	isNew        bool   // it was not published before this run
	corrected    bool   // content is that of a correction, which may have more than its own webhook gave
}

// redelivery is an archived webhook that gives an event which another webhook gave
// first.
type redelivery struct {
	at       kafka.Receipt
	received int64 // Unix nanoseconds
}

// digest is a short hash of a text. It contains no pointer, so that the garbage
// collector need not scan maps of it.
type digest [16]byte

func digestOf(text []byte) digest {
	s := sha256.Sum256(text)
	return digest(s[:])
}

type run struct {
	Config
	Counts
	published   map[digest]published  // by event id
	first       map[digest]string     // other id of an event -> the id it was published with
	redelivered map[digest]redelivery // by event id: the first redelivery, until the event's own webhook is read
	keyring     verify.Keyring
	batch       []Change
	unlinked    []schemas.Event            // published events whose references may be missing
	references  []schemas.Reference        // of webhooks without an event
	linked      map[string]struct{}        // keys of the references that were published, or would be
	adding      []schemas.Event            // events that another webhook reported first; these may have fields that those lack
	added       map[string]struct{}        // ids of the corrections that adding published, or would publish
	unsure      []Change                   // corrected events whose correction differs from what their webhook says
	tooLarge    map[kafka.Receipt][]string // reasons, by the archived webhook
	start       time.Time
}

// Run replays the selected webhooks. With an error it returns the counts until then;
// running the same replay again continues from there.
func Run(ctx context.Context, c Config) (Counts, error) {
	r := &run{Config: c, published: map[digest]published{}, redelivered: map[digest]redelivery{}, linked: map[string]struct{}{}, first: map[digest]string{}, added: map[string]struct{}{}, tooLarge: map[kafka.Receipt][]string{}}
	if err := r.readPublished(ctx); err != nil {
		return r.Counts, fmt.Errorf("reading the published events: %w", err)
	}
	if err := r.readIDs(ctx); err != nil {
		return r.Counts, fmt.Errorf("reading the ids of published events: %w", err)
	}
	r.start = time.Now()
	err := r.replayWebhooks(ctx)
	if err == nil {
		err = r.replayRedeliveries(ctx)
	}
	if err == nil {
		err = r.flush(ctx)
	}
	if err == nil {
		err = r.archiveTooLarge(ctx)
	}
	if err == nil && r.Publisher != nil {
		err = r.History.Drain(ctx) // no server follows the topics of another prefix, and publishes their corrections
	}
	return r.Counts, err
}

// readPublished reads every event of the topics, because a webhook in the range may be
// the redelivery of a much older event.
func (r *run) readPublished(ctx context.Context) error {
	ranges, err := r.Reader.TopicBounds(ctx, r.Events.Events()...)
	if err != nil {
		return err
	}
	return r.read(ctx, "events", ranges, func(record consume.Record) error {
		e, err := schemas.Decode(record.Value)
		if err != nil || e.ID == "" {
			return nil // written by another program
		}
		content, _, err := contentOf(e)
		if err != nil {
			return err
		}
		id := digestOf([]byte(cmp.Or(e.Data.Corrects, e.ID))) // a correction replaces the first event
		if further := record.Header(schemas.HeaderAlso); further != "" {
			for one := range strings.SplitSeq(further, ",") {
				r.first[digestOf([]byte(one))] = e.ID
			}
		}
		p := published{
			corrected: e.Data.Corrects != "",
			content:   content, key: digestOf([]byte(e.Subject)), at: record.Receipt(),
			time: record.Time.UnixMilli(), received: e.Data.ReceivedAt.UnixNano(), source: sourceOf(e),
		}
		if was, ok := r.published[id]; !ok || e.Data.Corrects != "" && p.time >= was.time {
			r.published[id] = p
		}
		return nil
	})
}

// readIDs reads the archived webhooks of published events, for events that have another
// id today. Another webhook of the same fact gives only today's id, and may be read
// before the event's own webhook.
func (r *run) readIDs(ctx context.Context) error {
	ranges, err := r.Reader.TopicBounds(ctx, r.Webhooks.Received(), r.Webhooks.Dead())
	if err != nil {
		return err
	}
	return r.read(ctx, "ids", ranges, func(record consume.Record) error {
		a, err := webhook.ReadArchived(record.Headers, record.Value)
		n := slices.IndexFunc(r.Endpoints, a.Is)
		if err != nil || n < 0 || len(a.EventIDs) == 0 || r.Connector != "" && r.Connector != a.Connector || r.Endpoint != "" && r.Endpoint != a.Endpoint {
			return nil
		}
		for _, e := range r.Endpoints[n].JudgeArchived(ctx, &r.keyring, a).Events {
			first, err := r.underItsID(e)
			if err != nil {
				return err
			}
			if _, published := r.published[digestOf([]byte(first.ID))]; !published {
				continue
			}
			for _, id := range append([]string{e.ID}, e.Also...) {
				if _, ok := r.published[digestOf([]byte(id))]; !ok {
					r.first[digestOf([]byte(id))] = first.ID
				}
			}
		}
		return ctx.Err()
	})
}

// clockSkew is the largest expected difference between two clocks: that of tollbridge,
// which sets received-at, and that of Kafka, which a look-up by time uses.
const clockSkew = time.Minute

// WebhookRanges returns the offset ranges of the archive that a replay reads.
func (c Config) WebhookRanges(ctx context.Context) (map[consume.Partition]consume.Range, error) {
	partitions, err := c.Reader.Partitions(ctx, c.Webhooks.Received(), c.Webhooks.Dead())
	if err != nil {
		return nil, err
	}
	begin := c.Reader.Bounds
	if !c.From.IsZero() {
		begin = func(ctx context.Context, p []consume.Partition) (map[consume.Partition]consume.Range, error) {
			return c.Reader.Since(ctx, p, c.From.Add(-clockSkew))
		}
	}
	ranges, err := begin(ctx, partitions)
	if err == nil && c.Offsets != nil {
		ranges, err = c.Offsets.within(ranges, c.Webhooks.Received())
	}
	return ranges, err
}

// replayWebhooks reads the archived webhooks of the range and replays the selected ones.
func (r *run) replayWebhooks(ctx context.Context) error {
	ranges, err := r.WebhookRanges(ctx)
	if err != nil {
		return err
	}
	return r.read(ctx, "webhooks", ranges, func(record consume.Record) error {
		a, err := webhook.ReadArchived(record.Headers, record.Value)
		if err != nil {
			return nil // written by another program
		}
		if !r.selectsWebhook(a) {
			r.skip(a)
			return nil
		}
		return r.replayWebhook(ctx, a, record.Receipt())
	})
}

// skip leaves the events of an unselected webhook alone: it also keeps them from being
// compared with a redelivery.
func (r *run) skip(a webhook.Archived) {
	for _, text := range a.EventIDs {
		id := digestOf([]byte(text))
		if was, ok := r.published[id]; ok && was.received == a.ReceivedAt.UnixNano() {
			was.seen = true
			r.published[id] = was
			delete(r.redelivered, id)
		}
	}
}

// maxRedeliveries is the number of webhooks that are read again together. It bounds
// their memory.
const maxRedeliveries = 16

// replayRedeliveries replays the first redelivery of each event whose own webhook is
// not in the archive. Such events exist because writing to the archive can fail when
// writing the event succeeds; the processor then delivers the webhook again.
func (r *run) replayRedeliveries(ctx context.Context) error {
	var all []kafka.Receipt
	received := map[kafka.Receipt]int64{}
	for _, d := range r.redelivered {
		if _, ok := received[d.at]; !ok { // one webhook may give several events
			all, received[d.at] = append(all, d.at), d.received
		}
	}
	slices.SortFunc(all, func(a, b kafka.Receipt) int {
		return cmp.Or(cmp.Compare(received[a], received[b]), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	for some := range slices.Chunk(all, maxRedeliveries) {
		records, err := r.Reader.Get(ctx, some)
		if err != nil {
			return err
		}
		for _, at := range some {
			record, ok := records[at]
			if !ok {
				continue // deleted by retention meanwhile
			}
			a, err := webhook.ReadArchived(record.Headers, record.Value)
			if err != nil {
				return err
			}
			if err := r.replayRedelivery(ctx, a, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// replayRedelivery compares the events for which this webhook is the first redelivery.
func (r *run) replayRedelivery(ctx context.Context, a webhook.Archived, at kafka.Receipt) error {
	n := slices.IndexFunc(r.Endpoints, a.Is)
	if n < 0 {
		return nil
	}
	j := r.Endpoints[n].JudgeArchived(ctx, &r.keyring, a)
	if j.Err != nil {
		return ctx.Err()
	}
	for _, e := range j.Events {
		e, err := r.underItsID(e)
		if err != nil {
			return err
		}
		id := digestOf([]byte(e.ID))
		if r.redelivered[id].at != at || !r.selectsEvent(e) {
			continue
		}
		if err := r.compare(e, id, at); err != nil {
			return err
		}
	}
	if len(r.batch) >= batchEvents {
		return r.flush(ctx)
	}
	return nil
}

// read calls f with the records of ranges, and reports the progress of the stage.
func (r *run) read(ctx context.Context, stage string, ranges map[consume.Partition]consume.Range, f func(consume.Record) error) error {
	done, all := int64(0), consume.Size(ranges)
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

// replayWebhook normalises one webhook of the archive with today's code, and compares
// its events with the published ones.
func (r *run) replayWebhook(ctx context.Context, a webhook.Archived, at kafka.Receipt) error {
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
	r.countGone(a, j.Events)
	if r.selectsAllEvents() {
		r.references = append(r.references, j.References...)
	}
	for _, e := range j.Events {
		if !r.selectsEvent(e) {
			continue
		}
		own := e
		e, err := r.underItsID(e)
		if err != nil {
			return err
		}
		if _, ok := r.published[digestOf([]byte(e.ID))]; ok {
			own.Formerly = append(slices.Clone(own.Formerly), e.ID)
			r.unlinked = append(r.unlinked, own)
		}
		if err := r.replayEvent(e, at); err != nil {
			return err
		}
	}
	if max(len(r.batch), len(r.unlinked), len(r.adding), len(r.unsure), len(r.references)) >= batchEvents {
		return r.flush(ctx)
	}
	return nil
}

// countGone counts the published events of a webhook that today's code does not make.
func (r *run) countGone(a webhook.Archived, events []schemas.Event) {
	if !r.selectsAllEvents() {
		return
	}
	for _, id := range a.EventIDs {
		was, ok := r.published[digestOf([]byte(id))]
		if ok && !was.seen && !slices.ContainsFunc(events, func(e schemas.Event) bool { return slices.Contains(slices.Collect(e.IDs()), id) }) {
			was.seen = true
			r.published[digestOf([]byte(id))] = was
			r.Gone++
		}
	}
}

// underItsID returns an event with the id under which it was published, or with its own
// if it was not.
func (r *run) underItsID(e schemas.Event) (schemas.Event, error) {
	for id := range e.IDs() {
		if _, ok := r.published[digestOf([]byte(id))]; ok {
			e.ID = id
			return e, nil
		}
	}
	for id := range e.IDs() {
		if first, ok := r.first[digestOf([]byte(id))]; ok {
			e.ID = first
			return e, nil
		}
	}
	known, ok, err := r.History.Published(e)
	if ok {
		e.ID = known.ID
	}
	return e, err
}

// replayEvent handles one event of an archived webhook. It compares at once a new
// event, and an event that this webhook was the first to give. It keeps the first
// redelivery for replayRedeliveries. Another webhook of the processor that reports the
// same fact can only add to the event.
func (r *run) replayEvent(e schemas.Event, at kafka.Receipt) error {
	id := digestOf([]byte(e.ID))
	was, ok := r.published[id]
	switch received := e.Data.ReceivedAt.UnixNano(); {
	case !ok || !was.seen && was.received == received:
		delete(r.redelivered, id)
		return r.compare(e, id, at)
	case was.source != sourceOf(e):
		// A plan publishes nothing, so nothing can be added to an event that is new.
		if was.isNew && r.Publisher != nil || !was.isNew && !r.Missing {
			r.adding = append(r.adding, e)
		}
	case !was.seen:
		if other, ok := r.redelivered[id]; !ok || received < other.received {
			r.redelivered[id] = redelivery{at, received}
		}
	}
	return nil
}

// compare compares an event of an archived webhook with the published event of the same
// id, and adds a new event or a correction to the batch.
func (r *run) compare(e schemas.Event, id digest, from kafka.Receipt) error {
	was, ok := r.published[id]
	content, bytes, err := contentOf(e)
	if err != nil {
		return err
	}
	c := Change{Event: e, from: from, bytes: bytes}
	was.seen = true
	if !ok {
		was.isNew, was.received, was.source = true, e.Data.ReceivedAt.UnixNano(), sourceOf(e)
	}
	r.published[id] = was
	switch {
	case !ok:
		r.New++
		r.batch = append(r.batch, c)
	case was.content == content && r.sameKey(was, e):
		r.Same++
	case was.corrected:
		r.unsure = append(r.unsure, c)
	default:
		r.change(c, was, content)
	}
	return nil
}

// sameKey reports whether a published event has the key that the replayed event has.
func (r *run) sameKey(was published, e schemas.Event) bool {
	return e.Data.KeySource != schemas.KeyFromPayload || was.key == digestOf([]byte(e.Subject))
}

// change adds the correction of a published event to the batch.
func (r *run) change(c Change, was published, content digest) {
	e := c.Event
	r.Changed++
	if r.Missing {
		return
	}
	// The receipt of the replaced record is part of the id: a later correction may have
	// the content of an earlier one again.
	identity := fmt.Sprintf("replay:%s:%s-%d-%d:%x:%s", e.ID, was.at.Topic, was.at.Partition, was.at.Offset, content, e.Subject)
	e.Data.Corrects = e.ID
	e.ID, e.Also, e.Formerly = schemas.ID(e.Data.Connector, e.Data.Endpoint, identity, e.Type, 0), nil, nil
	c.Event, c.old = e, was.at
	r.batch = append(r.batch, c)
}

// compareCorrected compares the events whose last correction differs from what their
// webhook says, because another webhook may have added something. It reads the
// corrections from Kafka.
func (r *run) compareCorrected(ctx context.Context) error {
	unsure := r.unsure
	r.unsure = nil
	var at []kafka.Receipt
	for _, c := range unsure {
		at = append(at, r.published[digestOf([]byte(c.Event.ID))].at)
	}
	records, err := r.Reader.Get(ctx, at)
	if err != nil {
		return err
	}
	for i, c := range unsure {
		e := c.Event
		was := r.published[digestOf([]byte(e.ID))]
		if record, ok := records[at[i]]; ok {
			correction, err := schemas.Decode(record.Value)
			if err != nil {
				return err
			}
			e, _ = e.Fill(correction)
		}
		content, bytes, err := contentOf(e)
		if err != nil {
			return err
		}
		if was.content == content && r.sameKey(was, e) {
			r.Same++
		} else {
			c.Event, c.bytes = e, bytes
			r.change(c, was, content)
		}
	}
	return nil
}

// batchEvents is the number of events that are published together, and batchBytes
// roughly limits their bytes. Both are less than the producer accepts at once.
const (
	batchEvents = 200
	batchBytes  = 8 << 20
)

// flush publishes the batch, or only reports it if there is no publisher.
func (r *run) flush(ctx context.Context) error {
	if err := r.compareCorrected(ctx); err != nil {
		return err
	}
	batch := r.batch
	last, adding := work{unlinked: r.unlinked, references: r.references}, work{adding: r.adding}
	r.batch, r.unlinked, r.adding, r.references = nil, nil, nil, nil
	for {
		n, bytes := 0, 0
		for n < len(batch) && (n == 0 || bytes+batch[n].bytes <= batchBytes) {
			bytes += batch[n].bytes
			n++
		}
		w := work{batch: batch[:n]}
		if batch = batch[n:]; len(batch) == 0 {
			last.batch = w.batch
			if err := r.publish(ctx, &last); err != nil {
				return err
			}
			return r.publish(ctx, &adding) // it may add to events of the batch
		}
		if err := r.publish(ctx, &w); err != nil {
			return err
		}
	}
}

// work is what one call publishes.
type work struct {
	batch      []Change
	unlinked   []schemas.Event     // see run
	adding     []schemas.Event     // see run
	references []schemas.Reference // see run
	additions  []Change            // corrections that adding made
	reported   bool                // the changes are reported
}

// publish publishes work without the events that are too large, or only reports it if
// there is no publisher.
func (r *run) publish(ctx context.Context, w *work) error {
	for len(w.batch)+len(w.unlinked)+len(w.adding)+len(w.references) > 0 {
		rejected, err := r.tryPublish(ctx, w)
		if err != nil || len(rejected) == 0 {
			return err
		}
		for _, e := range rejected {
			w.batch = slices.DeleteFunc(slices.Clone(w.batch), func(c Change) bool { return c.Event.ID == e.ID })
			w.adding = slices.DeleteFunc(slices.Clone(w.adding), func(other schemas.Event) bool { return other.ID == e.ID || other.ID == e.Data.Corrects })
		}
	}
	return nil
}

// tryPublish publishes work. If events are too large it publishes nothing and returns
// them: call it again without them.
func (r *run) tryPublish(ctx context.Context, w *work) (rejected []schemas.Event, err error) {
	events := make([]schemas.Event, len(w.batch), len(w.batch)+len(w.adding))
	for i, c := range w.batch {
		events[i] = c.Event
	}
	admit := r.History.AdmitWhenFresh
	if r.Publisher == nil {
		admit = r.History.LookUpWhenFresh
	}
	a, err := admit(ctx, append(events, w.adding...))
	if err != nil {
		return nil, err
	}
	defer a.Forget() // does nothing after Done
	if err := r.link(a, w.unlinked, w.references); err != nil {
		return nil, err
	}
	w.additions = append(w.additions, r.additions(w.batch, a.Events)...)
	var records []kafka.Record
	bytes := 0
	for _, e := range a.Events {
		record, err := kafka.EventRecord(r.Events, e, "")
		var large *kafka.TooLarge
		switch {
		case errors.As(err, &large):
			if err := r.reject(w, e, large); err != nil {
				return nil, err
			}
			rejected = append(rejected, e)
		case err != nil:
			return nil, err
		}
		record.NotAfter = a.NotAfter
		record.Headers = append(record.Headers, schemas.Header{Name: "replay-id", Value: r.ID})
		records = append(records, record)
		bytes += len(record.Key) + len(record.Value)
	}
	if len(rejected) > 0 {
		return rejected, nil
	}
	if !w.reported {
		w.reported = true
		r.Bytes += int64(bytes)
		if err := r.report(ctx, append(slices.Clone(w.batch), w.additions...), a.Events); err != nil {
			return nil, err
		}
	}
	if r.Publisher == nil || len(records)+len(a.References) == 0 {
		return nil, nil
	}
	receipts, err := r.Publisher.Publish(ctx, append(records, a.References...))
	var large *kafka.TooLarge
	if errors.As(err, &large) { // the topic accepts less than the event schema
		for _, i := range large.Records {
			if i < len(a.Events) {
				if err := r.reject(w, a.Events[i], large); err != nil {
					return nil, err
				}
				rejected = append(rejected, a.Events[i])
			}
		}
		if len(rejected) > 0 {
			return rejected, nil
		}
	}
	if err != nil {
		a.Fail(err)
		return nil, fmt.Errorf("%d events are published; run the same command again, it recognises them: %w", r.Published, err)
	}
	a.Done(receipts[:len(a.Events)], receipts[len(receipts)-len(a.References):])
	r.Published += len(a.Events)
	return nil, r.limitRate(ctx)
}

// additions returns the corrections among the admitted events that add what other
// webhooks say. It counts each once, also in a plan.
func (r *run) additions(batch []Change, admitted []schemas.Event) (all []Change) {
	for _, e := range admitted {
		if e.Data.Corrects == "" || slices.ContainsFunc(batch, func(c Change) bool { return c.Event.ID == e.ID }) {
			continue
		}
		if _, ok := r.added[e.ID]; !ok {
			r.added[e.ID] = struct{}{}
			r.Changed++
			all = append(all, Change{Event: e, old: r.published[digestOf([]byte(e.Data.Corrects))].at})
		}
	}
	return all
}

// link adds the missing references of published events and of webhooks without an
// event, and counts each once, also in a plan.
func (r *run) link(a *history.Admission, published []schemas.Event, references []schemas.Reference) error {
	for _, e := range a.Events {
		for _, key := range e.References {
			r.linked[key] = struct{}{}
		}
	}
	before := len(a.References)
	if err := a.Link(published, references...); err != nil {
		return err
	}
	for i, reference := range a.References {
		key := string(reference.Key)
		if _, ok := r.linked[key]; !ok && i >= before {
			r.References++
		}
		r.linked[key] = struct{}{}
	}
	return nil
}

// report calls Each with the changes of a batch as they were admitted: under the
// merchant's id if it is known.
func (r *run) report(ctx context.Context, batch []Change, admitted []schemas.Event) error {
	if r.Each == nil {
		return nil
	}
	var before map[kafka.Receipt]consume.Record
	if r.Differences {
		var at []kafka.Receipt
		for _, c := range batch {
			if c.old.Topic != "" {
				at = append(at, c.old)
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
		if record, ok := before[c.old]; ok {
			was, err := schemas.Decode(record.Value)
			if err != nil {
				return err
			}
			if c.Fields, err = difference(was, c.Event); err != nil {
				return err
			}
			c.Diff = nil
			for _, f := range c.Fields {
				c.Diff = append(c.Diff, f.String())
			}
		}
		if err := r.Each(c); err != nil {
			return err
		}
	}
	return nil
}

// limitRate waits until the rate allows the next batch.
func (r *run) limitRate(ctx context.Context) error {
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

// sourceOf identifies the processor's event that an event was made from. A processor
// may report one fact by several events, with different fields.
func sourceOf(e schemas.Event) digest {
	return digestOf([]byte(e.Data.ConnectorEventType + "\x00" + e.Data.ConnectorEventID))
}

// contentOf returns the digest of an event's content, without its key, and its size.
func contentOf(e schemas.Event) (digest, int, error) {
	b, err := json.Marshal(withKeyOf(content(e), schemas.Event{}))
	return digestOf(b), len(b), err
}
