package history

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// Prefixes of the store's keys, with what follows in the key and the value. Values, and
// the ids of events with rowEvent and rowKey, are encoded as rows.go says; rare values are
// JSON. The time of an event is that of
// its Kafka record; for a local event, the time at which it was stored.
const (
	rowMeta      = "m"  // -> origin, JSON
	rowTopics    = "t"  // -> names of the topics in the order of their numbers, JSON
	rowPosition  = "p/" // topic/partition -> next offset
	rowEvent     = "e/" // each id of an event -> version; its id is empty if it is that of the key
	rowKey       = "k/" // merchant_transaction_id, NUL, event id -> time
	rowReference = "r/" // connector:account:id -> merchant_transaction_id as plain text
	rowNewest    = "n/" // merchant_transaction_id -> newest; merged
	rowTerminal  = "s/" // terminalKey -> terminalStates; merged
	rowWaiting   = "w/" // connector:account:id, NUL, event id -> event with a fallback key that waits for its reference, JSON
	rowDue       = "d/" // event id -> correction to publish, JSON
	rowDispute   = "o/" // connector:account:dispute id -> dispute, JSON
	rowCorrected = "c/" // event id -> version: its last correction, which may be stored before the event
)

// origin identifies the cluster and the topics that a store was made from.
type origin struct {
	Version int
	Cluster string
	Prefix  string
}

// storeVersion changes when the meaning of a row does. A store of another version
// is rebuilt.
const storeVersion = 6

// identify returns the origin of a store for a cluster and its topics.
func identify(ctx context.Context, client *kafkago.Client, names kafka.Names) (origin, error) {
	m, err := client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{names.References()}})
	if err != nil {
		return origin{}, fmt.Errorf("%w: asking %s for the cluster id: %w", kafka.ErrUnavailable, client.Addr, err)
	}
	return origin{storeVersion, m.ClusterID, names.Prefix}, nil
}

// store is a Pebble database in the state directory. It has what was read from the
// topics. The follower and the corrections write to it. They do not fsync: after a
// crash the lost rows are read from Kafka again.
type store struct {
	*pebble.DB
	*failure
	filter       *bloomFilter // has the keys with [filteredPrefixes]
	origin       origin
	topics       topics
	dir          string     // empty for a store without a directory
	lock         io.Closer  // of the directory; nil without one
	afterFailure bool       // the store is in memory, because the disk failed
	due          sync.Mutex // held while rows with rowDue are changed
}

// filteredPrefixes are the prefixes of the keys in the Bloom filter: the rows that are
// read while a processor waits for the response. Keys with rowWaiting are added without
// their event id.
var filteredPrefixes = []string{rowEvent, rowReference, rowNewest, rowTerminal, rowWaiting}

// cacheBytes is the size of Pebble's block cache.
const cacheBytes = 32 << 20

// memTableBytes is the size at which Pebble writes a memtable to a file. With larger
// memtables, searching them costs more than writing fewer files saves.
const memTableBytes = 8 << 20

var errForeign = errors.New("the store is of another cluster, topic prefix or version")

// openPebble opens a store in a directory; an empty dir keeps it in memory. It
// returns an error that wraps errForeign if the store has another origin.
func openPebble(dir string, disk vfs.FS, from origin) (*store, error) {
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	f := newFailure()
	o := &pebble.Options{
		Cache: cache, MemTableSize: memTableBytes, Merger: merger,
		Logger: f, EventListener: f.listener(), FS: guarded{disk, f},
	}
	// A follower that falls behind admits no events, so writes must not wait for
	// compactions, however busy the machine is.
	o.MemTableStopWritesThreshold, o.L0StopWritesThreshold = 8, 100
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression } // halves the cost of a look-up
	}
	if dir == "" {
		o.FS = vfs.NewMem()
	}
	s := &store{failure: f, filter: newBloomFilter(maxFilterBytes), origin: from}
	err := f.do(func() (err error) {
		s.DB, err = pebble.Open(dir, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	var stored origin
	found, err := s.readJSON(rowMeta, &stored)
	if err == nil && found && stored != from {
		err = errForeign
	}
	if err == nil && !found {
		err = s.writeJSON(rowMeta, from)
	}
	if err == nil {
		err = s.numberTopics()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// numberTopics gives each topic of events a number. Topics that the store has keep
// theirs, so that the rows stay valid when a later version has further types.
func (s *store) numberTopics() error {
	var all []string
	if _, err := s.readJSON(rowTopics, &all); err != nil {
		return err
	}
	known := len(all)
	for _, topic := range (kafka.Names{Prefix: s.origin.Prefix}).Events() {
		if !slices.Contains(all, topic) {
			all = append(all, topic)
		}
	}
	s.topics = newTopics(all)
	if len(all) == known {
		return nil
	}
	return s.writeJSON(rowTopics, all)
}

// closeTimeout is the longest that Close waits for Pebble.
const closeTimeout = 10 * time.Second

// Close closes the store. Pebble cannot close a database whose write failed, so Close
// leaves that one alone: everything in it is in Kafka.
func (s *store) Close() error {
	closed := make(chan error, 1)
	go func() { closed <- s.do(s.DB.Close) }()
	var err error
	select {
	case err = <-closed:
	case <-s.failed:
	case <-time.After(closeTimeout):
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// fillFilter adds the keys that the store had at the start to the Bloom filter, and
// enables it.
func (s *store) fillFilter(ctx context.Context) error {
	for _, prefix := range filteredPrefixes {
		if err := s.each(prefix, func(key, _ []byte) error {
			if prefix == rowWaiting {
				key = key[:bytes.LastIndexByte(key, 0)]
			}
			s.filter.add(key)
			return ctx.Err()
		}); err != nil {
			return err
		}
	}
	s.filter.setComplete()
	return nil
}

// read calls decode with the value of a row, which is valid until decode returns. It
// returns false if there is no such row.
func (s *store) read(key string, decode func([]byte) error) (bool, error) {
	value, closer, err := s.Get([]byte(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, s.readFailed(err)
	}
	defer closer.Close()
	if err := decode(value); err != nil {
		return false, s.readFailed(fmt.Errorf("row %q: %w", key, err))
	}
	return true, nil
}

// readJSON decodes a row with a JSON value. It returns false if there is none.
func (s *store) readJSON(key string, to any) (bool, error) {
	return s.read(key, func(value []byte) error { return json.Unmarshal(value, to) })
}

func (s *store) writeJSON(key string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.do(func() error { return s.Set([]byte(key), b, pebble.NoSync) })
}

// readFiltered is read for keys with a prefix of [filteredPrefixes].
func (s *store) readFiltered(prefix, key string, decode func([]byte) error) (bool, error) {
	if !s.filter.mayContain(prefix, key) {
		return false, nil
	}
	return s.read(prefix+key, decode)
}

// event returns the event that an id belongs to, or false if the store does not have
// it.
func (s *store) event(id string) (k known, ok bool, err error) {
	var room idBytes
	ok, err = s.readFiltered(rowEvent, string(appendID(room[:0], id)), func(value []byte) error {
		v, err := s.topics.readVersion(value)
		k = v.known
		k.id = cmp.Or(k.id, id)
		return err
	})
	return k, ok, err
}

// correction returns the last correction of an event, or the zero value if there is
// none.
func (s *store) correction(id string) (v version, err error) {
	_, err = s.read(rowCorrected+id, func(value []byte) (err error) {
		v, err = s.topics.readVersion(value)
		return err
	})
	return v, err
}

// reference returns the merchant's id that a reference key maps to, or "" if there is
// none.
func (s *store) reference(key string) (merchant string, err error) {
	_, err = s.readFiltered(rowReference, key, func(value []byte) error {
		merchant = string(value)
		return nil
	})
	return merchant, err
}

// newest returns the newest event of a merchant's id, or the zero value if there is
// none.
func (s *store) newest(merchant string) (n newest, err error) {
	_, err = s.readFiltered(rowNewest, merchant, func(value []byte) (err error) {
		n, err = readNewest(value)
		return err
	})
	return n, err
}

// terminal returns the terminal states of a [terminalKey].
func (s *store) terminal(key string) (states terminalStates, err error) {
	_, err = s.readFiltered(rowTerminal, key, func(value []byte) (err error) {
		states, err = readTerminal(value)
		return err
	})
	return states, err
}

func positionKey(p consume.Partition) string {
	return fmt.Sprintf("%s%s/%d", rowPosition, p.Topic, p.Number)
}

// position returns the next offset to read of a partition; -1 if none was read.
func (s *store) position(p consume.Partition) (int64, error) {
	next := int64(-1)
	_, err := s.read(positionKey(p), func(value []byte) (err error) {
		next, _, err = readNumber(value)
		return err
	})
	return next, err
}

// each calls f with the rows whose keys begin with prefix, in their order. The
// slices are valid until f returns.
func (s *store) each(prefix string, f func(key, value []byte) error) error {
	rows, err := s.NewIter(&pebble.IterOptions{LowerBound: []byte(prefix), UpperBound: []byte(afterPrefix(prefix))})
	if err != nil {
		return s.readFailed(err)
	}
	for rows.First(); rows.Valid() && err == nil; rows.Next() {
		err = f(rows.Key(), rows.Value())
	}
	return errors.Join(err, s.readFailed(rows.Close()))
}

var errEnough = errors.New("enough")

// dueCorrections returns up to most corrections that are due.
func (s *store) dueCorrections(most int) (due []schemas.Event, err error) {
	err = s.each(rowDue, func(_, value []byte) error {
		if len(due) == most {
			return errEnough
		}
		var e schemas.Event
		if err := json.Unmarshal(value, &e); err != nil {
			return err
		}
		due = append(due, e)
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return due, err
}

// dropCorrection removes a due correction, unless another has replaced it.
func (s *store) dropCorrection(c schemas.Event) error {
	s.due.Lock()
	defer s.due.Unlock()
	var due schemas.Event
	row := rowDue + c.Data.Corrects
	if found, err := s.readJSON(row, &due); err != nil || !found || due.ID != c.ID {
		return err
	}
	return s.do(func() error { return s.Delete([]byte(row), pebble.NoSync) })
}

// commit writes a batch. The caller closes the batch only if there is no error: after
// an error the batch may still be in use.
func (s *store) commit(b *pebble.Batch) error {
	return s.do(func() error { return b.Commit(pebble.NoSync) })
}

// forget removes the rows of events that were published before a time. References
// are kept.
func (s *store) forget(ctx context.Context, before time.Time) error {
	b := s.NewBatch()
	var errs []error
	for prefix, timeOf := range map[string]func(value []byte) (time.Time, error){
		rowEvent: readMillis, rowKey: readMillis, rowCorrected: readMillis,
		rowNewest:   func(value []byte) (time.Time, error) { n, err := readNewest(value); return n.Time, err },
		rowTerminal: func(value []byte) (time.Time, error) { s, err := readTerminal(value); return s.Time, err },
		rowDispute: func(value []byte) (time.Time, error) {
			var d dispute
			err := json.Unmarshal(value, &d)
			if !d.over(before, time.Now()) {
				return time.Now(), err // keep it
			}
			return d.Time, err
		},
		rowWaiting: func(value []byte) (time.Time, error) {
			var e schemas.Event
			err := json.Unmarshal(value, &e)
			return e.Time, err
		},
	} {
		errs = append(errs, s.each(prefix, func(key, value []byte) error {
			t, err := timeOf(value)
			if err == nil && t.Before(before) {
				err = b.Delete(key, nil)
			}
			return errors.Join(err, ctx.Err())
		}))
	}
	if err := errors.Join(errs...); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := s.commit(b); err != nil {
		return err
	}
	return b.Close()
}
