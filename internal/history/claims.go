package history

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/once"
	"github.com/tollbridge/tollbridge/schemas"
)

// claims has the claims that this process has read, and writes its own: see package once
// for the rules.
//
// A record of the topic has the claims of all events of a webhook, with all ids of each
// event. Its key is the webhook's endpoint, because two webhooks can report one fact
// under different ids only at one endpoint. So the claims of a fact are in one partition,
// and the claims of two webhooks have one order there, also if they have several facts in
// common: the later one waits for the earlier one, never each for the other.
type claims struct {
	rules   once.Rules
	process uint64
	reader  *consume.Reader
	ready   atomic.Bool                 // the claims that were in the topic at the start are read
	next    map[consume.Partition]int64 // where to continue; only the consumer's handler uses it
	prefix  string                      // of the values of this process' records, up to their number

	mu         sync.Mutex
	others     map[uint64]time.Time       // when another process last wrote a claim
	othersRead time.Time                  // when a claim of another process was last read
	number     uint64                     // of the last claim record of this process
	read       map[eventKey]*foreign      // by each id of the claimed event, the last read first
	places     map[once.Place]*once.Place // of the claims in read
	own        map[uint64]*ownClaim       // by number: records of this process that are not read yet
	acked      map[offset]uint64          // their numbers, once Kafka has them

	consumer *consume.Consumer // nil before the first
}

// offset is the place of a claim record in the topic.
type offset struct {
	partition int
	number    int64
}

// eventKey is the start of the SHA-256 of an event's id: a replica that starts reads the
// claims of all replicas of ten minutes, which may be millions.
type eventKey [16]byte

func keyOf(id string) eventKey {
	sum := sha256.Sum256([]byte(id))
	return eventKey(sum[:16])
}

// foreign is another process' claim of one event. It is kept small, too.
type foreign struct {
	process, number uint64
	place           *once.Place // in claims.places
	read            *moment     // when it was read
	next            *foreign    // the claim of the same id that was read before
}

// moment is a time by [kafka.Clock] and by the monotonic clock.
type moment struct {
	clock time.Duration
	time  time.Time
}

func (f *foreign) asRead() once.Read {
	return once.Read{Claim: once.Claim{Process: f.process, Number: f.number, Place: *f.place}, At: f.read.clock}
}

// ownClaim is a claim record of this process.
type ownClaim struct {
	number uint64
	events []*claimed
	read   chan struct{} // closed when the record is read and its claims are decided
}

// claimed is this process' claim of one event.
type claimed struct {
	key   string   // of its record
	ids   []string // of the event
	place once.Place
	start time.Duration // of [kafka.Clock], before the claim was appended
	owns  bool          // otherwise another process may be publishing the event
	check []once.Place  // where other processes may have written the event before
}

// held has the claims of an admission, by the event's id.
type held map[string]*claimed

// notAfter returns the time after which the events must not be sent, or 0 if there are
// none.
func (h held) notAfter(events []schemas.Event, rules once.Rules) (end time.Duration) {
	for _, e := range events {
		if t := h[e.ID].start + rules.SendTime; end == 0 || t < end {
			end = t
		}
	}
	return end
}

func newClaims(k kafka.Config, rules once.Rules) *claims {
	if rules == (once.Rules{}) {
		rules = once.Rules{SendTime: kafka.ClaimSendTime, Lifetime: kafka.ClaimLifetime}
	}
	reader := consume.New(k)
	reader.LongPoll = true
	process := rand.Uint64()
	c := &claims{
		rules: rules, process: process, reader: reader,
		prefix: fmt.Sprintf(`{"process":"%016x","number":`, process),
		read:   map[eventKey]*foreign{}, places: map[once.Place]*once.Place{},
		others: map[uint64]time.Time{}, own: map[uint64]*ownClaim{}, acked: map[offset]uint64{},
	}
	reader.PollInterval = func() time.Duration { return c.pollInterval(kafka.ClaimPollInterval) }
	return c
}

// pollInterval returns least, or [kafka.MaxPollInterval] if no claim of another process
// was read for [kafka.AloneAfter]: then nearly every record is of this process.
func (c *claims) pollInterval(least time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.othersRead) > kafka.AloneAfter {
		return kafka.MaxPollInterval
	}
	return least
}

// claimRecord is the value of a record in the topic of claims.
type claimRecord struct {
	Process string       `json:"process"` // 16 hex digits
	Number  uint64       `json:"number"`
	Events  []claimEvent `json:"events"`
}

type claimEvent struct {
	IDs       []string `json:"ids"`
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
}

// record returns the record of a claim. Its value is the JSON of a [claimRecord].
func (c *claims) record(names kafka.Names, key string, o *ownClaim) (kafka.Record, error) {
	value := strconv.AppendUint(append(make([]byte, 0, 256), c.prefix...), o.number, 10)
	id := string(value) // process and number identify the record
	value = append(value, `,"events":[`...)
	var err error
	quote := func(s string) {
		var failed error
		value, failed = jsontext.AppendQuote(value, s)
		err = cmp.Or(err, failed)
	}
	for i, e := range o.events {
		if i > 0 {
			value = append(value, ',')
		}
		value = append(value, `{"ids":`...)
		for i, id := range e.ids {
			value = append(value, "[,"[min(i, 1)])
			quote(id)
		}
		value = append(value, `],"topic":`...)
		quote(e.place.Topic)
		value = append(value, `,"partition":`...)
		value = strconv.AppendInt(value, int64(e.place.Partition), 10)
		value = append(value, '}')
	}
	value = append(value, "]}"...)
	return kafka.Record{Topic: names.Claims(), ID: id, Key: []byte(key), Value: value}, err
}

// ownNumber returns the number of a record of this process, or false if the value is not
// of this process.
func (c *claims) ownNumber(value []byte) (uint64, bool) {
	if len(value) < len(c.prefix) || string(value[:len(c.prefix)]) != c.prefix {
		return 0, false
	}
	digits, _, _ := bytes.Cut(value[len(c.prefix):], []byte{','})
	n, err := strconv.ParseUint(string(digits), 10, 64)
	return n, err == nil
}

// readsOf returns the claims that have one of the ids. The caller holds the lock.
func (c *claims) readsOf(ids []string) (all []once.Read) {
	if len(c.read) == 0 {
		return nil
	}
	for _, id := range ids {
		for f := c.read[keyOf(id)]; f != nil; f = f.next {
			all = append(all, f.asRead())
		}
	}
	return all
}

// apply adds claims that were read, in the order of the log. It decides a claim of this
// process by the claims before it. Records that are no claims are skipped. A chunk without
// records has the offsets of claims of this process, from the parameter on.
func (c *claims) apply(chunk consume.Chunk, from int64) {
	now := &moment{kafka.Clock(), time.Now()} // after the answer of Kafka
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(chunk.Records) == 0 {
		for o := from; o < chunk.Next && len(c.acked) > 0; o++ {
			if number, ok := c.acked[offset{chunk.Number, o}]; ok {
				c.decide(number)
				delete(c.acked, offset{chunk.Number, o})
			}
		}
	}
	for _, record := range chunk.Records {
		if number, ok := c.ownNumber(record.Value); ok {
			c.decide(number)
			delete(c.acked, offset{chunk.Number, record.Offset})
			continue
		}
		var r claimRecord
		if json.Unmarshal(record.Value, &r) != nil {
			continue
		}
		process, err := strconv.ParseUint(r.Process, 16, 64)
		if err != nil {
			continue
		}
		c.others[process], c.othersRead = record.Time, now.time
		for _, e := range r.Events {
			place := c.sharedPlace(once.Place{Topic: e.Topic, Partition: e.Partition})
			c.add(e.IDs, foreign{process: process, number: r.Number, place: place, read: now})
		}
	}
}

// OtherReplicas returns how many other processes have claimed an event in the last ten
// minutes. A replica without webhooks claims nothing, and one that was restarted counts
// twice.
func (h *History) OtherReplicas() (n int) {
	c := h.claims
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, at := range c.others {
		if time.Since(at) <= kafka.ClaimRestore {
			n++
		}
	}
	return n
}

// decide decides the claims of a record of this process that was read. The caller holds
// the lock.
func (c *claims) decide(number uint64) {
	o := c.own[number]
	if o == nil { // its webhook has given up, or this is a second copy
		return
	}
	for _, e := range o.events {
		e.owns, e.check = c.rules.Decide(c.readsOf(e.ids), e.start)
	}
	delete(c.own, number)
	close(o.read)
}

// add adds a claim of an event with these ids. The caller holds the lock.
func (c *claims) add(ids []string, claim foreign) {
	for _, id := range ids {
		one, key := claim, keyOf(id)
		one.next = c.read[key]
		c.read[key] = &one
	}
}

// sharedPlace returns the one copy of a place. The caller holds the lock.
func (c *claims) sharedPlace(p once.Place) *once.Place {
	shared := c.places[p]
	if shared == nil {
		shared = &p
		c.places[p] = shared
	}
	return shared
}

// forget forgets claims that have become useless. inSync returns the time as of which
// everything in a place's log has been read.
func (c *claims) forget(inSync func(once.Place) time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.others, func(_ uint64, at time.Time) bool { return time.Since(at) > kafka.ClaimRestore })
	before, kept := len(c.read), 0
	for key, first := range c.read {
		link := &first
		for f := first; f != nil; f = f.next {
			// The monotonic clock stands still while the machine sleeps, so this time is
			// the true one or earlier.
			if c.rules.Forgettable(f.asRead(), f.read.clock+inSync(*f.place).Sub(f.read.time)) {
				*link = f.next
			} else {
				link = &f.next
			}
		}
		if first == nil {
			delete(c.read, key)
		} else {
			c.read[key] = first
			kept++
		}
	}
	if before > 4*kept { // a map does not give its memory back
		smaller := make(map[eventKey]*foreign, kept)
		maps.Copy(smaller, c.read)
		c.read = smaller
	}
}

// errClaimsSkipped is the error after which the claims are read again.
var errClaimsSkipped = errors.New("the topic of claims no longer has the next claim to read")

// readClaims reads on from the last position or, if there is none, from the claims of
// [kafka.ClaimRestore] ago.
func (h *History) readClaims(ctx context.Context) error {
	c := h.claims
	partitions, err := c.reader.Partitions(ctx, h.Names.Claims())
	if err != nil {
		return err
	}
	bounds, err := c.reader.Since(ctx, partitions, time.Now().Add(-kafka.ClaimRestore))
	if err != nil {
		return err
	}
	if c.next == nil {
		c.next = map[consume.Partition]int64{}
		for p, b := range bounds {
			c.next[p] = b.From
		}
	}
	ranges := map[consume.Partition]consume.Range{}
	for p, next := range c.next {
		ranges[p] = consume.Range{From: next, To: consume.Forever}
	}
	checkReady := func() {
		if c.ready.Load() {
			return
		}
		for p, b := range bounds {
			if c.next[p] < b.To {
				return
			}
		}
		c.ready.Store(true)
		h.announceReady()
	}
	checkReady()
	consumer := c.reader.NewConsumer(ranges, func(chunks []consume.Chunk) error {
		for _, chunk := range chunks {
			if chunk.Reset {
				c.next = nil
				c.ready.Store(false)
				return fmt.Errorf("%w: partition %s", errClaimsSkipped, chunk.Partition)
			}
			c.apply(chunk, c.next[chunk.Partition])
			c.next[chunk.Partition] = chunk.Next
		}
		checkReady()
		return nil
	})
	consumer.OnError = h.recordError
	c.setConsumer(consumer)
	return consumer.Run(ctx)
}

// forgetClaims forgets useless claims until ctx is done.
func (h *History) forgetClaims(ctx context.Context) {
	for {
		select {
		case <-time.After(kafka.ClaimForgetInterval):
		case <-ctx.Done():
			return
		}
		f := h.follower.Load()
		if f == nil {
			continue
		}
		topics := h.Names.Events()
		h.claims.forget(func(p once.Place) time.Time {
			if !slices.Contains(topics, p.Topic) {
				return time.Now() // the topic did not exist at the start: this process publishes no event to it
			}
			return f.inSyncAt(consume.Partition{Topic: p.Topic, Number: int(p.Partition)})
		})
	}
}

// errClaimed is wrapped by the error for an event that another process has claimed and not
// published in time.
var errClaimed = fmt.Errorf("%w: another replica is publishing the event, and has not published it yet", kafka.ErrUnavailable)

// claim claims the events to publish of an admission, and adds the claims to held. If
// another process may be publishing one of the events, claim waits until that event is
// known. It returns true if the events must be looked up again, and false if all are
// claimed already.
func (h *History) claim(ctx context.Context, a *Admission, held held) (again bool, err error) {
	unclaimed, err := h.unclaimed(a, held)
	if err != nil {
		return false, err
	}
	if len(unclaimed) > 0 {
		if err := h.appendClaims(ctx, unclaimed); err != nil {
			return false, err
		}
		for _, c := range unclaimed {
			held[c.ids[0]] = c
		}
		return true, nil
	}
	for _, e := range a.Events {
		if held[e.ID].owns {
			continue
		}
		h.metrics.claimsLost.Inc()
		if err := h.awaitPublished(ctx, e); err != nil {
			return false, err
		}
		delete(held, e.ID)
		again = true
	}
	return again, nil
}

// unclaimed returns a new claim for each event to publish that held has no usable claim
// of: the event's key may have changed since, or the time to send it may be over.
func (h *History) unclaimed(a *Admission, held held) (all []*claimed, err error) {
	for _, e := range a.Events {
		p, err := h.placeOf(e)
		if err != nil {
			return nil, err
		}
		if h.Available != nil {
			if err := h.Available(p.Topic, []byte(e.Subject)); err != nil {
				return nil, err
			}
		}
		c := held[e.ID]
		if c == nil || c.owns && (c.place != p || !h.claims.rules.MaySend(c.start, kafka.Clock())) {
			all = append(all, &claimed{key: claimKey(e), ids: ownIDs(e), place: p})
		}
	}
	return all, nil
}

// claimKey returns the key of an event's claims.
func claimKey(e schemas.Event) string { return e.Data.Connector + "/" + e.Data.Endpoint }

// placeOf returns where an event is to be written.
func (h *History) placeOf(e schemas.Event) (once.Place, error) {
	topic := h.topicOf(e.Type)
	if f := h.follower.Load(); f != nil {
		if p, ok := f.partitionOf(topic, e.Subject); ok {
			return once.Place{Topic: p.Topic, Partition: int32(p.Number)}, nil
		}
	}
	return once.Place{}, fmt.Errorf("%w: consumer lag: topic %s was not read yet", errBehind, topic)
}

// maxClaims limits the events of a claim record, so that it is far smaller than Kafka's
// limit. Only a webhook with more events has several records.
const maxClaims = 1000

// appendClaims appends claims and waits until they are read back and decided. It appends
// none for an event that another process may be publishing: that claim does not own the
// event.
func (h *History) appendClaims(ctx context.Context, all []*claimed) error {
	c := h.claims
	began, start := time.Now(), kafka.Clock() // before the claims are appended
	own := c.begin(all, start)
	if len(own) == 0 {
		return nil
	}
	defer c.forgetOwn(own)
	records := make([]kafka.Record, len(own))
	for i, o := range own {
		var err error
		if records[i], err = c.record(h.Names, o.events[0].key, o); err != nil {
			return err
		}
	}
	consumer := c.currentConsumer() // before: an offset may be of a log that the next one does not read
	receipts, err := h.Publisher.Publish(ctx, records)
	if err != nil {
		return fmt.Errorf("claiming the event: %w", err)
	}
	for i, o := range own {
		c.appended(o, receipts[i], consumer)
	}
	for _, o := range own {
		select {
		case <-o.read:
		case <-ctx.Done():
			return fmt.Errorf("%w: the claim of the event did not come back from Kafka in time: %w", kafka.ErrUnavailable, ctx.Err())
		}
		for _, e := range o.events {
			if err := h.awaitInSync(ctx, e.check, began); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin sets the start of claims and returns the claim records to append: without the
// claims of events that another process may be publishing. The claims of a record have
// one key.
func (c *claims) begin(all []*claimed, start time.Duration) (records []*ownClaim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range all {
		e.start = start
	}
	blocked := func(e *claimed) bool { return c.rules.Blocked(c.readsOf(e.ids), start) }
	free := all
	if slices.ContainsFunc(all, blocked) {
		free = slices.DeleteFunc(slices.Clone(all), blocked)
	}
	slices.SortStableFunc(free, func(a, b *claimed) int { return cmp.Compare(a.key, b.key) })
	for len(free) > 0 {
		n := 1
		for n < min(len(free), maxClaims) && free[n].key == free[0].key {
			n++
		}
		c.number++
		o := &ownClaim{number: c.number, events: free[:n], read: make(chan struct{})}
		c.own[o.number] = o
		records, free = append(records, o), free[n:]
	}
	return records
}

// appended is called when Kafka has acknowledged a claim record. If all records before it
// are read, the record counts as read: its content is known. Otherwise those are fetched.
// The consumer is that of before the record was sent.
func (c *claims) appended(o *ownClaim, at kafka.Receipt, consumer *consume.Consumer) {
	c.mu.Lock()
	_, unread := c.own[o.number]
	skip := unread && at.Offset >= 0 && consumer != nil && consumer == c.consumer
	if skip {
		c.acked[offset{at.Partition, at.Offset}] = o.number
	}
	c.mu.Unlock()
	if skip { // otherwise it is fetched
		consumer.Skip(partitionOf(at), at.Offset)
	}
}

func (c *claims) currentConsumer() *consume.Consumer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.consumer
}

// setConsumer sets the consumer of the topic. It forgets the offsets that the one before
// was to skip.
func (c *claims) setConsumer(consumer *consume.Consumer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.acked)
	c.consumer = consumer
}

// forgetOwn forgets claim records for which no webhook waits any more.
func (c *claims) forgetOwn(own []*ownClaim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range own {
		delete(c.own, o.number)
	}
}

// keepOwn adds the claims of an admission whose events may have been written to the claims
// of other processes, because their outcome is just as unknown. The events may be sent
// until NotAfter.
func (c *claims) keepOwn(a *Admission) {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := &moment{a.NotAfter, time.Now().Add(a.NotAfter - kafka.Clock())}
	for _, e := range a.Events {
		own := a.claims[e.ID]
		c.add(own.ids, foreign{process: c.process, place: c.sharedPlace(own.place), read: end})
	}
}

// awaitInSync waits until everything that was in the places' logs at a time is read.
func (h *History) awaitInSync(ctx context.Context, places []once.Place, at time.Time) error {
	for _, p := range places {
		for {
			f := h.follower.Load()
			if f != nil && f.inSyncAt(consume.Partition{Topic: p.Topic, Number: int(p.Partition)}).After(at) {
				break
			}
			select {
			case <-time.After(retryInterval):
			case <-ctx.Done():
				return fmt.Errorf("%w: partition %s, where another replica may have written the event", errBehind, kafka.PartitionText(p.Topic, int(p.Partition)))
			}
		}
	}
	return nil
}

// awaitPublished waits until an event is known that another process may be publishing. It
// returns [errClaimed] if ctx is done, or if the claims that were read before have expired.
func (h *History) awaitPublished(ctx context.Context, e schemas.Event) error {
	expired := time.NewTimer(h.claims.rules.Lifetime)
	defer expired.Stop()
	for {
		h.mu.Lock()
		_, published, err := h.find(&e)
		confirmed := h.confirmed
		h.mu.Unlock()
		if published || err != nil {
			return err
		}
		select {
		case <-confirmed:
		case <-expired.C:
			h.metrics.claimsExpired.Inc()
			return errClaimed
		case <-ctx.Done():
			h.metrics.claimsUnresolved.Inc()
			return fmt.Errorf("%w: %w", errClaimed, ctx.Err())
		}
	}
}
