package history

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/once"
	"github.com/tollbridge/tollbridge/schemas"
)

// Publisher writes records to Kafka, all or an error: see
// [publish.Producer.Publish]. The receipts are in the order of the records.
type Publisher interface {
	Publish(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error)
}

// Config configures a [History]. Kafka, Names and Publisher must be set.
type Config struct {
	Dir       string // the state directory; empty keeps the store in memory
	Kafka     kafka.Config
	Names     kafka.Names
	Publisher Publisher // writes claims, references and corrections

	// Remember is how long event ids are remembered. It must be longer than the time over
	// which any processor redelivers a webhook. 0 means 31 days.
	Remember time.Duration

	// MinFree is the number of free bytes on the state directory's disk below which
	// [History.Warnings] warns. 0 means [DefaultMinFree].
	MinFree int64

	Log     zerolog.Logger
	Metrics prometheus.Registerer // nil registers nowhere

	// ClaimRules are the times of claims. The zero value is the default,
	// [kafka.ClaimSendTime] and [kafka.ClaimLifetime]: all replicas need the same.
	ClaimRules once.Rules
	// Available returns an error if records with a key cannot be written to a topic now: such
	// an event is refused before it is claimed. nil means that this is not known.
	Available func(topic string, key []byte) error

	disk       vfs.FS        // the file system of Dir; nil means the operating system's
	adoptAfter time.Duration // see [adoptAfter]; 0 means that
}

// ErrNotReady is the error while the state is being restored. It wraps
// [kafka.ErrUnavailable]: the processor delivers the webhook again.
var ErrNotReady = fmt.Errorf("%w: the state is not restored yet", kafka.ErrUnavailable)

// History knows which events, references and corrections were published. It is
// safe for concurrent use.
type History struct {
	Config
	store     atomic.Pointer[store]
	reader    *consume.Reader
	claims    *claims
	metrics   *metrics
	topics    map[schemas.Type]string // of events: see [History.topicOf]
	stop      context.CancelFunc
	running   sync.WaitGroup
	ready     atomic.Bool
	follower  atomic.Pointer[follower] // nil until the topics' partitions are known
	closed    atomic.Bool
	reads     atomic.Uint64                         // changes before and after records that were read get into the store
	freeBytes atomic.Int64                          // on the state directory's disk; negative if unknown
	disputes  atomic.Pointer[map[disputeSeries]int] // the last count of open disputes; nil before the first
	errorLog  atomic.Int64                          // when the last error of the follower was logged, Unix nanoseconds

	mu        sync.Mutex            // guards the fields below; store, ready and follower change only while it is held
	restored  chan struct{}         // closed, and replaced, when the state becomes ready
	confirmed chan struct{}         // closed, and replaced, when the store gets further events
	pending   map[string]*Admission // admissions whose events are not published yet, by each id of their events
	local     local
	// endpoints have metric series from the start: connector and name.
	endpoints map[[2]string]bool

	// Caches of rows of the store.
	cachedNewest     cache[newest]
	cachedTerminal   cache[terminalStates]
	cachedReferences cache[string]         // references that exist
	contents         cache[*schemas.Event] // by event id: what was published last
}

// Open opens the store and starts to follow the topics. Call [History.Close] at
// the end.
func Open(ctx context.Context, c Config) (*History, error) {
	if c.Remember == 0 {
		c.Remember = 31 * 24 * time.Hour
	}
	if c.MinFree == 0 {
		c.MinFree = DefaultMinFree
	}
	if c.adoptAfter == 0 {
		c.adoptAfter = adoptAfter
	}
	if c.disk == nil {
		c.disk = vfs.Default
	}
	client, closeClient := c.Kafka.Client()
	defer closeClient()
	origin, err := identify(ctx, client, c.Names)
	if err != nil {
		return nil, err
	}
	dir := c.Dir
	if dir != "" {
		dir = filepath.Join(dir, "history") // a folder of its own, because a rebuild empties it
	}
	db, err := openStore(dir, c.disk, origin, c.Log)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	h := &History{
		Config: c, reader: consume.New(c.Kafka), stop: stop, claims: newClaims(c.Kafka, c.ClaimRules),
		restored: make(chan struct{}), confirmed: make(chan struct{}), pending: map[string]*Admission{}, local: newLocal(), endpoints: map[[2]string]bool{},
		contents: cache[*schemas.Event]{most: generationEvents}, topics: map[schemas.Type]string{},
	}
	for _, t := range schemas.Types() {
		h.topics[t] = h.Names.Event(t)
	}
	h.reader.PollInterval = func() time.Duration { return h.claims.pollInterval(kafka.MinPollInterval) }
	h.store.Store(db)
	h.freeBytes.Store(-1)
	h.metrics = newMetrics(c.Metrics, h)
	h.running.Go(func() { h.run(ctx) })
	h.running.Go(func() { h.watchDisk(ctx) })
	h.running.Go(func() { h.keepReading(ctx, h.readClaims) })
	h.running.Go(func() { h.forgetClaims(ctx) })
	h.running.Go(func() { h.writeReferences(ctx) })
	return h, nil
}

// topicOf returns the topic of a type's events, without making its name anew.
func (h *History) topicOf(t schemas.Type) string {
	if topic, ok := h.topics[t]; ok {
		return topic
	}
	return h.Names.Event(t)
}

// currentStore returns the store. A disk failure replaces it.
func (h *History) currentStore() *store { return h.store.Load() }

// run maintains the store until ctx is done. If the store's disk fails, it replaces the
// store by one in memory, which is restored from Kafka.
func (h *History) run(ctx context.Context) {
	for ctx.Err() == nil {
		db := h.currentStore()
		h.maintain(ctx, db)
		select {
		case <-db.failed:
			h.replaceStore(ctx, db)
		default:
		}
	}
}

// maintain follows the topics, publishes corrections and forgets old events until
// ctx is done or the store fails.
func (h *History) maintain(ctx context.Context, db *store) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() {
		if err := db.fillFilter(ctx); err != nil && ctx.Err() == nil {
			h.Log.Warn().Err(err).Msg("Bloom filter unavailable; lookups read the store")
		}
	})
	tasks.Go(func() { h.keepReading(ctx, h.runFollower) })
	tasks.Go(func() { h.publishCorrections(ctx) })
	tasks.Go(func() { h.forgetOldEvents(ctx) })
	tasks.Go(func() { h.watchDisputes(ctx, db) })
	select {
	case <-db.failed:
	case <-ctx.Done():
	}
	stop()
}

// replaceStore replaces a failed store by an empty one in memory. No event is admitted
// until the new store is restored.
func (h *History) replaceStore(ctx context.Context, failed *store) {
	for ctx.Err() == nil {
		if failed.dir != "" && isUnreadable(failed.err) { // the next start then rebuilds the store
			if err := removeFiles(failed.dir); err != nil {
				h.Log.Error().Err(err).Str("dir", failed.dir).Msg("removing the unreadable state store failed")
			}
		}
		db, err := openInMemory(failed.origin, failed.err, h.Log)
		if err != nil { // not expected of a store in memory
			h.Log.Error().Err(err).Msg("opening a state store in memory failed; retrying")
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			continue
		}
		h.mu.Lock()
		db.lock = failed.lock
		h.store.Store(db)
		h.follower.Store(nil)
		h.ready.Store(false)
		h.mu.Unlock()
		return
	}
}

// Close stops the follower and closes the store.
func (h *History) Close() error {
	h.closed.Store(true)
	h.stop()
	h.running.Wait()
	h.reader.Close()
	h.claims.reader.Close()
	return h.currentStore().Close()
}

// Ready returns nil once everything that was in the topics at the start has been
// read, and [ErrNotReady] before.
func (h *History) Ready() error {
	if !h.ready.Load() || !h.claims.ready.Load() {
		return ErrNotReady
	}
	return nil
}

// announceReady ends the calls of [History.Await] if the state is ready.
func (h *History) announceReady() {
	if h.Ready() != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.restored)
	h.restored = make(chan struct{})
}

// Await waits until the state is ready, atMost has passed, or ctx is done.
func (h *History) Await(ctx context.Context, atMost time.Duration) {
	h.mu.Lock()
	restored := h.restored
	h.mu.Unlock()
	if h.Ready() == nil {
		return
	}
	select {
	case <-restored:
	case <-time.After(atMost):
	case <-ctx.Done():
	}
}
