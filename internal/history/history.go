// Package history remembers what was published, so that consumers see each fact
// once, under the merchant's id, and are told when it is late. It is made of
// our own topics and of nothing else: a store in the state directory follows
// them, and is rebuilt from them when it is missing, broken, or another
// cluster's.
//
//	ingest ──Admit──▶ what is new ──▶ Publish ──▶ Done ──▶ memory ─┐
//	                                                 looked up in ├─▶ Admit
//	event topics, references ──follow──▶ store ───────────────────┘
//
// Memory holds what this process published until the store has it: it is written
// there as it was published, and only what others published is read.
//
// # What is guaranteed
//
// An event whose id was published is not published again, for [Config.Remember]
// after it was: by this process, by one before it, whichever way that ended,
// and by any replica from the moment its record is read back. [History.Ready]
// tells when all that was there at the start is read.
//
// A replica that cannot read a partition for [kafka.MaxStaleness] admits no new event
// to it: another may have published it, and have refused it since it does not know.
// That one does not send it again once it has refused it, but looks for it as well
// ([History.Written]). Both begin again [kafka.QuietPeriod] after the partition's leader
// answers, when what was sent before has come to it.
//
// Two replicas that are given the same webhook within the time in which a
// record is read back (about [consume.Reader.PollInterval], more where Kafka is busy, and
// what it takes to show it) both publish it, with the same id. So does a process
// whose killed predecessor's last request reaches its broker only after that
// broker was read to its end, and a replica's last request if it reaches its
// broker only after both times. Consumers handle an id once. Such a pair
//
//   - says the same, but for received_at, late, newest_event_id and contradicts
//     and, where the processor tells one fact by several of its events, for what
//     differs between those;
//   - has one key, and so one partition, unless the payment's reference was
//     written within that time, too: one of the two is then under the
//     processor's id, and is corrected though the other is under the merchant's;
//   - is one event to later redeliveries, which get the receipt of the second.
//
// Of two facts of one payment that two replicas publish within that time, the
// one is not marked as late after the other, nor as its contradiction.
//
// # References
//
// Every event that has the processor's id of a payment and the merchant's is a
// reference. An event without the merchant's id is keyed through it. The first
// reference of an id counts, and no other is written but by two replicas within
// that time; when Kafka has compacted those, a state that is rebuilt has the
// second. What comes before its reference is keyed by
// connector:account:id, and once the reference is there a correction is
// published under the merchant's id: a copy whose corrects is the first one's
// id. Each replica does so after a while of its own, unless another has.
package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// Publisher writes records: see [publish.Producer.Publish].
type Publisher interface {
	Publish(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error)
}

// Config is what a [History] is made of. Kafka, Names and Publisher must be set.
type Config struct {
	Dir       string // the state directory; empty keeps it in memory
	Kafka     kafka.Config
	Names     kafka.Names
	Publisher Publisher // of corrections

	// Remember is how long ids of events are remembered: longer than any
	// processor goes on to send. 0 is 31 days.
	Remember time.Duration

	// MinFree is how many bytes free on the state directory's disk are few: see
	// [History.Warnings]. 0 is [DefaultMinFree].
	MinFree int64

	Log     zerolog.Logger
	Metrics prometheus.Registerer // nil registers nowhere

	disk vfs.FS // of Dir; nil is the system's
}

// ErrNotReady is wrapped while the topics are not read yet. It wraps
// [kafka.ErrUnavailable]: the processor sends again.
var ErrNotReady = fmt.Errorf("%w: the state is not read back yet", kafka.ErrUnavailable)

// errBehind is wrapped while nobody can tell whether an event was published.
var errBehind = fmt.Errorf("%w: it cannot be read whether another replica published it", kafka.ErrUnavailable)

// History is safe for concurrent use.
type History struct {
	Config
	store   atomic.Pointer[store]
	reader  *consume.Reader
	metrics *metrics
	stop    context.CancelFunc
	ended   sync.WaitGroup
	ready   atomic.Bool
	reading atomic.Pointer[reading]
	closed  atomic.Bool
	free    atomic.Int64 // bytes on the disk; below 0 is unknown
	toldAt  atomic.Int64 // when an error of the follower was logged, in nanoseconds

	mu         sync.Mutex            // store, ready and reading change with it
	read       chan struct{}         // closed when ready
	pending    map[string]*Admission // by id, events under way here
	published  map[string]unread     // by id, events that the store does not have yet
	references map[string]string     // the same, of references
	newest     overlay[newest]       // the same, by merchant_transaction_id
	ends       overlay[ends]         // the same, by [endKey]
	own        []own                 // what was published here since the follower asked last

	// Rows of the store, as they are there.
	recentNewest     recent[newest]
	recentEnds       recent[ends]
	recentReferences recent[string] // only of what there is
}

// own is a record that was published here, so that it need not be read: an event
// or, if that has no id, a reference.
type own struct {
	event         schemas.Event
	key, merchant string
	at            kafka.Receipt
}

// unread is an event that was published here, and the rows that it changes.
type unread struct {
	kafka.Receipt
	merchant, end string
}

// overlay is rows as the events published here make them, until the store has
// read the last of those back.
type overlay[T any] map[string]struct {
	row    T
	events int
}

// add puts a row over the store's; an empty key is none.
func (o overlay[T]) add(key string, row T) {
	if key != "" {
		over := o[key]
		over.row, over.events = row, over.events+1
		o[key] = over
	}
}

// drop takes away what one event put there.
func (o overlay[T]) drop(key string) {
	over, ok := o[key]
	if over.events--; over.events > 0 {
		o[key] = over
	} else if ok {
		delete(o, key)
	}
}

// newest is the event of a merchant_transaction_id with the latest time.
type newest struct {
	Time time.Time
	ID   string
}

// Open opens the store, and begins to follow the topics. Close the state.
func Open(ctx context.Context, c Config) (*History, error) {
	if c.Remember == 0 {
		c.Remember = 31 * 24 * time.Hour
	}
	if c.MinFree == 0 {
		c.MinFree = DefaultMinFree
	}
	if c.disk == nil {
		c.disk = vfs.Default
	}
	client, hangUp := c.Kafka.Client()
	defer hangUp()
	of, err := identity(ctx, client, c.Names)
	if err != nil {
		return nil, err
	}
	dir := c.Dir
	if dir != "" {
		dir = filepath.Join(dir, "history") // ours alone: what is in it may have to go
	}
	db, err := openStore(dir, c.disk, of, c.Log)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &History{
		Config: c, reader: consume.New(c.Kafka), stop: stop, read: make(chan struct{}),
		pending: map[string]*Admission{}, published: map[string]unread{},
		references: map[string]string{}, newest: overlay[newest]{}, ends: overlay[ends]{},
	}
	s.store.Store(db)
	s.free.Store(-1)
	s.metrics = newMetrics(c.Metrics, s)
	s.ended.Go(func() { s.run(ctx) })
	s.ended.Go(func() { s.watch(ctx) })
	return s, nil
}

// stored returns the store, which may be another one a moment later.
func (s *History) stored() *store { return s.store.Load() }

// run keeps the store until ctx is done. One whose disk fails is replaced by one in
// memory, which is read back from Kafka.
func (s *History) run(ctx context.Context) {
	for ctx.Err() == nil {
		db := s.stored()
		s.keep(ctx, db)
		select {
		case <-db.failed:
			s.replace(ctx, db)
		default:
		}
	}
}

// keep follows the topics into a store until ctx is done or the store fails.
func (s *History) keep(ctx context.Context, db *store) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		if err := db.fill(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn().Err(err).Msg("look-ups in the state go without their filter")
		}
	})
	all.Go(func() { s.follow(ctx) })
	all.Go(func() { s.correct(ctx) })
	all.Go(func() { s.expire(ctx) })
	select {
	case <-db.failed:
	case <-ctx.Done():
	}
	stop()
}

// replace puts an empty store in memory in the place of one that failed. Until it
// is read back nothing is admitted.
func (s *History) replace(ctx context.Context, failed *store) {
	for ctx.Err() == nil {
		if failed.dir != "" && rebuilds(failed.err) { // a restart is to build it anew
			if err := empty(failed.dir); err != nil {
				s.Log.Error().Err(err).Str("dir", failed.dir).Msg("removing a state that cannot be read")
			}
		}
		db, err := substitute(failed.of, failed.err, s.Log)
		if err != nil { // there is no reason for one in memory
			s.Log.Error().Err(err).Msg("making a state in memory; trying again")
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			continue
		}
		s.mu.Lock()
		db.lock = failed.lock
		s.store.Store(db)
		s.reading.Store(nil)
		if s.ready.Swap(false) {
			s.read = make(chan struct{})
		}
		s.mu.Unlock()
		return
	}
}

// Close ends the following and closes the store.
func (s *History) Close() error {
	s.closed.Store(true)
	s.stop()
	s.ended.Wait()
	s.reader.Close()
	return s.stored().Close()
}

// Ready returns nil once everything that was in the topics at the start is read.
func (s *History) Ready() error {
	if !s.ready.Load() {
		return ErrNotReady
	}
	return nil
}

// Await returns once the state is ready, or after a while at most.
func (s *History) Await(ctx context.Context, atMost time.Duration) {
	s.mu.Lock()
	read := s.read
	s.mu.Unlock()
	select {
	case <-read:
	case <-time.After(atMost):
	case <-ctx.Done():
	}
}

// Admission is what became of a webhook's events: those that are to be
// published, with what goes along. References may be missing where no event is:
// write both, and end it with [Admission.Done] or [Admission.Forget].
type Admission struct {
	s *History
	// Events are the ones that were not published yet, under their merchant's
	// id if that is known, and marked if they are late.
	Events []schemas.Event
	// References are to be written with them: those that an event tells, a known
	// one too, and that are not known.
	References []kafka.Record
	// Known has the receipts of the others, by event id.
	Known map[string]kafka.Receipt

	done  chan struct{} // closed when it is over
	ended bool
}

// Admit looks the events up. An event that is under way here is waited for,
// until ctx is done. A nil History remembers nothing: every event is new.
func (s *History) Admit(ctx context.Context, events []schemas.Event) (*Admission, error) {
	if s == nil {
		return &Admission{Events: events}, nil
	}
	if err := s.Ready(); err != nil {
		return nil, err
	}
	for {
		a, wait, err := s.claim(events)
		if wait == nil || err != nil {
			return a, err
		}
		s.metrics.waits.Inc()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: the same event is under way: %w", kafka.ErrUnavailable, ctx.Err())
		}
	}
}

// claim takes all of the events, or none and returns what to wait for: who
// waits holds nothing that another could wait for.
func (s *History) claim(events []schemas.Event) (*Admission, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.Ready(); err != nil { // the store may be another one by now
		return nil, nil, err
	}
	for _, e := range events {
		if other, ok := s.pending[e.ID]; ok {
			return nil, other.done, nil
		}
	}
	a := &Admission{s: s, Known: map[string]kafka.Receipt{}, done: make(chan struct{})}
	for _, e := range events {
		at, ok, err := s.find(e.ID)
		switch {
		case err != nil:
			return nil, nil, err
		case ok:
			if e.Data.Corrects == "" { // else it is no webhook's
				s.metrics.hits.WithLabelValues(e.Data.Connector).Inc()
			}
			a.Known[e.ID] = at
			// The event may be written, and the reference that went with it not.
			if err := s.relink(a, e); err != nil {
				return nil, nil, err
			}
			continue
		}
		if e, err = s.settle(e); err != nil {
			return nil, nil, err
		}
		if err := s.current(e); err != nil {
			return nil, nil, err
		}
		if err := s.link(a, e); err != nil {
			return nil, nil, err
		}
		a.Events = append(a.Events, e)
	}
	for _, e := range a.Events {
		s.pending[e.ID] = a
	}
	return a, nil, nil
}

// find returns where an event is, if it was published.
func (s *History) find(id string) (kafka.Receipt, bool, error) {
	if e, ok := s.published[id]; ok {
		return e.Receipt, true, nil
	}
	return s.stored().receipt(id)
}

// settle gives an event the key that is known for it, and marks it if there is
// a later one, or one that it contradicts.
func (s *History) settle(e schemas.Event) (schemas.Event, error) {
	e, err := s.resolve(e)
	if err != nil {
		return e, err
	}
	n, err := s.newestOf(e.Subject)
	if err != nil {
		return e, err
	}
	if n.Time.After(e.Time) {
		e.Data.Late, e.Data.NewestEventID = true, n.ID
		s.metrics.late.Inc()
	}
	others, err := s.endsOf(endKey(e))
	if err != nil {
		return e, err
	}
	e.Data.Contradicts = others.against(e)
	return e, nil
}

// resolve gives an event that has a fallback key the merchant's id, if a reference
// tells it.
func (s *History) resolve(e schemas.Event) (schemas.Event, error) {
	if !stands(e) {
		return e, nil
	}
	for _, key := range ReferenceKeys(e) {
		merchant, err := s.reference(key)
		if err != nil {
			return e, err
		}
		if merchant != "" && merchant != e.Subject {
			return rekeyed(e, merchant), nil
		}
	}
	return e, nil
}

// stands reports whether the key of an event only stands in for the merchant's
// id of the payment.
func stands(e schemas.Event) bool {
	return e.Data.KeySource == schemas.KeyFromConnector || e.Data.KeySource == schemas.KeyFromRequest
}

func rekeyed(e schemas.Event, merchant string) schemas.Event {
	e.Subject, e.Data.MerchantTransactionID, e.Data.KeySource = merchant, merchant, schemas.KeyFromReference
	return e
}

// link adds the references that an event is and that are not known.
func (s *History) link(a *Admission, e schemas.Event) error {
	if stands(e) {
		return nil
	}
	for _, key := range ReferenceKeys(e) {
		known, err := s.reference(key)
		if err != nil {
			return err
		}
		if known != "" || slices.ContainsFunc(a.References, func(r kafka.Record) bool { return string(r.Key) == key }) {
			continue
		}
		a.References = append(a.References, kafka.Record{
			Topic: s.Names.References(), ID: key + "=" + e.Subject, Key: []byte(key), Value: []byte(e.Subject),
			Headers: []schemas.Header{{Name: schemas.HeaderEventID, Value: e.ID}},
		})
	}
	return nil
}

// relink adds the references that a published event tells and that are not known.
func (s *History) relink(a *Admission, e schemas.Event) error {
	e, err := s.resolve(e)
	if err != nil {
		return err
	}
	return s.link(a, e)
}

// Link adds the references that events tell and that are not known, where the
// caller knows that the events are published, and Admit need not.
func (a *Admission) Link(events []schemas.Event) error {
	if a.s == nil {
		return nil
	}
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	for _, e := range events {
		if err := a.s.relink(a, e); err != nil {
			return err
		}
	}
	return nil
}

// reference returns the merchant's id, or "".
func (s *History) reference(key string) (string, error) {
	if merchant, ok := s.references[key]; ok {
		return merchant, nil
	}
	if merchant, ok := s.recentReferences.get(key); ok {
		return merchant, nil
	}
	merchant, err := s.stored().reference(key)
	if err == nil && merchant != "" {
		s.recentReferences.put(key, merchant)
	}
	return merchant, err
}

// newestOf returns the later of what memory and the store have: either may know
// of events that the other has not read, or not published.
func (s *History) newestOf(merchant string) (newest, error) {
	n, ok := s.recentNewest.get(merchant)
	if !ok {
		var err error
		if n, err = s.stored().newest(merchant); err != nil {
			return n, err
		}
		s.recentNewest.put(merchant, n)
	}
	if here, ok := s.newest[merchant]; ok && !here.row.Time.Before(n.Time) {
		n = here.row
	}
	return n, nil
}

// endsOf returns what memory and the store have together.
func (s *History) endsOf(key string) (ends, error) {
	if key == "" {
		return ends{}, nil
	}
	n, ok := s.recentEnds.get(key)
	if !ok {
		var err error
		if n, err = s.stored().ends(key); err != nil {
			return n, err
		}
		s.recentEnds.put(key, n)
	}
	if here, ok := s.ends[key]; ok {
		n = n.with(here.row.All...)
	}
	return n, nil
}

// ReferenceKeys returns the keys that an event's payment is known by:
// connector:account:id of the payment, and of a refund, dispute or payout
// connector:account:refund:id and so on, since ids of numbers may be of both. An
// id that is not signed is none: whoever holds one webhook could bind the id of
// another payment to its own.
func ReferenceKeys(e schemas.Event) []string {
	d := e.Data
	prefix := d.Connector + ":" + d.Account + ":"
	var keys []string
	if d.UnsignedIDs {
		return nil
	}
	for _, id := range append([]string{d.ConnectorTransactionID}, d.ConnectorReferences...) {
		if id != "" {
			keys = append(keys, prefix+id)
		}
	}
	if thing := thing(e); thing != "" {
		keys = append(keys, prefix+thing)
	}
	return keys
}

// thing is the refund, dispute or payout that an event is about, as refund:id;
// empty if it is about none.
func thing(e schemas.Event) string {
	family, id := e.Type.Family(), ""
	switch family {
	case "refund":
		id = e.Data.ConnectorRefundID
	case "dispute":
		id = e.Data.ConnectorDisputeID
	case "payout":
		id = e.Data.ConnectorPayoutID
	}
	if id == "" {
		return ""
	}
	return family + ":" + id
}

// after is what is newest once an event is published.
func (n newest) after(e schemas.Event) newest {
	if !e.Time.Before(n.Time) {
		n.Time, n.ID = e.Time, e.ID
	}
	return n
}

// Done tells that Kafka has the events and the references; the receipts are of
// the events, in their order, and of the references in theirs.
func (a *Admission) Done(events, references []kafka.Receipt) {
	s := a.s
	if s == nil || a.ended {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range a.References { // before the events: see [round.corrected]
		o := own{key: string(r.Key), merchant: string(r.Value), at: references[i]}
		s.references[o.key] = o.merchant
		s.own = append(s.own, o)
	}
	for i, e := range a.Events {
		if events[i].Earlier {
			s.publishedEarlier(e.ID, events[i])
			continue
		}
		key := endKey(e)
		s.published[e.ID] = unread{events[i], e.Subject, key}
		s.own = append(s.own, own{event: e, at: events[i]})
		s.newest.add(e.Subject, s.newest[e.Subject].row.after(e))
		if key != "" {
			s.ends.add(key, s.ends[key].row.with(end{e.Type, e.ID, e.Time}))
		}
	}
	a.end()
}

// publishedEarlier notes an event that an earlier attempt wrote, after its caller
// was refused. What it says, and under which key, is in Kafka: it is read there.
func (s *History) publishedEarlier(id string, at kafka.Receipt) {
	if _, there, err := s.stored().receipt(id); err == nil && there {
		return // it is read already
	}
	at.Earlier = false
	s.published[id] = unread{Receipt: at}
}

// Forget tells that they may not be there: a redelivery is as new. After Done it
// does nothing.
func (a *Admission) Forget() {
	if a.s == nil || a.ended {
		return
	}
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	a.end()
}

func (a *Admission) end() {
	a.ended = true
	for _, e := range a.Events {
		delete(a.s.pending, e.ID)
	}
	close(a.done)
}

// readBack drops from memory what the store has now.
func (s *History) readBack(events []schemas.Event, references []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		s.recentNewest.change(e.Subject, func(n newest) newest { return n.after(e) })
		if key := endKey(e); key != "" {
			s.recentEnds.change(key, func(n ends) ends { return n.with(end{e.Type, e.ID, e.Time}) })
		}
		if u, here := s.published[e.ID]; here {
			delete(s.published, e.ID)
			s.newest.drop(u.merchant)
			s.ends.drop(u.end)
		}
	}
	for _, key := range references {
		delete(s.references, key)
		s.recentReferences.drop(key)
	}
}

// correctionDelay is within which time, at random, a replica publishes a
// correction that no other has.
const correctionDelay = 3 * time.Second

// correctionsAtOnce bounds the memory of corrections that are due.
const correctionsAtOnce = 1000

// correct publishes the corrections that are due.
func (s *History) correct(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-time.After(rand.N(correctionDelay)):
		case <-ctx.Done():
			return
		}
		if s.Ready() != nil {
			continue
		}
		due, err := s.stored().corrections(correctionsAtOnce)
		rand.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] }) // or replicas go abreast
		for i := 0; i < len(due) && err == nil; i++ {
			err = s.publishCorrection(ctx, due[i])
		}
		if err != nil && ctx.Err() == nil {
			s.Log.Warn().Err(err).Msg("corrections are not published yet")
		}
	}
}

// Settle returns once everything that was published here is read back, and
// every correction that it made due is published. It is for a process that ends
// then, where no other may go on.
func (s *History) Settle(ctx context.Context) error {
	for {
		s.mu.Lock()
		unread := len(s.published) + len(s.references)
		s.mu.Unlock()
		due, err := s.stored().corrections(1)
		if err != nil || unread+len(due) == 0 {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *History) publishCorrection(ctx context.Context, e schemas.Event) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	a, err := s.Admit(ctx, []schemas.Event{e})
	if err != nil {
		return err
	}
	var records []kafka.Record
	for _, fresh := range a.Events {
		r, err := kafka.EventRecord(s.Names, fresh, "")
		if err != nil {
			a.Forget()
			return errors.Join(err, s.stored().corrected(e.Data.Corrects)) // never will be
		}
		records = append(records, r)
	}
	receipts, err := s.Publisher.Publish(ctx, append(records, a.References...))
	if err != nil {
		a.Forget()
		if errors.As(err, new(*kafka.TooLarge)) {
			return errors.Join(err, s.stored().corrected(e.Data.Corrects)) // never will be
		}
		return err
	}
	a.Done(receipts[:len(a.Events)], receipts[len(a.Events):])
	if len(a.Events) > 0 {
		s.metrics.corrections.Inc()
	}
	return s.stored().corrected(e.Data.Corrects)
}

// correction is the event that takes the place of one whose merchant's id was
// not known.
func correction(e schemas.Event, merchant string) schemas.Event {
	c := rekeyed(e, merchant)
	c.ID = schemas.ID(e.Data.Connector, e.Data.Endpoint, "corrects:"+e.ID, e.Type, 0)
	c.Data.Corrects = cmp.Or(e.Data.Corrects, e.ID) // the first, where it is a correction itself
	c.Data.Late, c.Data.NewestEventID, c.Data.Contradicts = false, "", ""
	return c
}
