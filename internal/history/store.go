package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
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

// What a key of the store begins with. What stands behind it is in rows.go, or
// JSON for what is rare. Times are of Kafka's records, or of when they were
// published here.
const (
	rowMeta      = "m"  // whose store it is, JSON
	rowPosition  = "p/" // topic, partition → the next offset
	rowEvent     = "e/" // event id → since when, and where, it is
	rowKey       = "k/" // merchant_transaction_id, NUL, event id → since when it is there
	rowReference = "r/" // connector:account:id → merchant_transaction_id, as it is
	rowNewest    = "n/" // merchant_transaction_id → newest; merged
	rowEnds      = "s/" // what ended, by endKey → ends; merged
	rowWaiting   = "w/" // connector:account:id, NUL, event id → an event that waits for its reference, JSON
	rowDue       = "d/" // event id → the correction that is due, JSON
	rowCorrected = "c/" // event id → since when it has a correction, read back before it or after
)

// meta tells whether a store is of this cluster and these topics.
type meta struct {
	Version int
	Cluster string
	Prefix  string
}

// storeVersion changes with what the rows mean: an older store is rebuilt.
const storeVersion = 3

// identity asks the cluster for its id.
func identity(ctx context.Context, client *kafkago.Client, names kafka.Names) (meta, error) {
	m, err := client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{names.References()}})
	if err != nil {
		return meta{}, fmt.Errorf("asking %s for the cluster's id: %w", client.Addr, err)
	}
	return meta{storeVersion, m.ClusterID, names.Prefix}, nil
}

// store is what the topics said, in the state directory. Only the follower and
// the corrections write it, without fsync: what a crash takes is read again.
type store struct {
	*pebble.DB
	*failure
	absent     *absent // of rows that are looked for while a webhook waits
	of         meta
	dir        string    // empty if it never had one
	lock       io.Closer // of the directory; nil if there is none
	substitute bool      // in memory, since the disk failed
}

// sought are the rows that absent knows, those that wait by what they wait for.
var sought = []string{rowEvent, rowReference, rowNewest, rowEnds, rowWaiting}

// cacheBytes bounds the memory of look-ups.
const cacheBytes = 32 << 20

// memTableBytes is how much is in memory before it is a file. Looking through
// more costs more than writing smaller files.
const memTableBytes = 8 << 20

var errForeign = errors.New("it is of another cluster, prefix or version")

func tryStore(dir string, disk vfs.FS, of meta) (*store, error) {
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	f := newFailure()
	o := &pebble.Options{
		Cache: cache, MemTableSize: memTableBytes, Merger: merger,
		Logger: f, EventListener: f.listener(), FS: guarded{disk, f},
	}
	// Whoever does not follow admits nothing: writing never waits for files to be
	// put together, however busy the machine is.
	o.MemTableStopWritesThreshold, o.L0StopWritesThreshold = 8, 100
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression } // half the cost of a look-up
	}
	if dir == "" {
		o.FS = vfs.NewMem()
	}
	s := &store{failure: f, absent: newAbsent(absentMost), of: of}
	err := f.do(func() (err error) {
		s.DB, err = pebble.Open(dir, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	var was meta
	found, err := s.read(rowMeta, &was)
	if err == nil && found && was != of {
		err = errForeign
	}
	if err == nil && !found {
		err = s.write(rowMeta, of)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// closeTime is how long a store may take to close.
const closeTime = 10 * time.Second

// Close closes the store, unless it failed: what is in it is in Kafka, and Pebble
// does not close what it could not write.
func (s *store) Close() error {
	closed := make(chan error, 1)
	go func() { closed <- s.do(s.DB.Close) }()
	var err error
	select {
	case err = <-closed:
	case <-s.failed:
	case <-time.After(closeTime):
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// fill tells absent of what was there at the start.
func (s *store) fill(ctx context.Context) error {
	for _, prefix := range sought {
		if err := s.each(prefix, func(key, _ []byte) error {
			row := string(key)
			if prefix == rowWaiting {
				row = row[:strings.LastIndexByte(row, 0)]
			}
			s.absent.add(row)
			return ctx.Err()
		}); err != nil {
			return err
		}
	}
	s.absent.fill()
	return nil
}

// value calls f with a row's value, which is f's until it returns, if there is
// such a row.
func (s *store) value(key string, f func([]byte) error) (bool, error) {
	value, closer, err := s.Get([]byte(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, s.bad(err)
	}
	defer closer.Close()
	if err := f(value); err != nil {
		return false, s.bad(fmt.Errorf("row %q: %w", key, err))
	}
	return true, nil
}

// read reads a row of JSON.
func (s *store) read(key string, to any) (bool, error) {
	return s.value(key, func(value []byte) error { return json.Unmarshal(value, to) })
}

func (s *store) write(key string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.do(func() error { return s.Set([]byte(key), b, pebble.NoSync) })
}

// look is value for the rows that are sought.
func (s *store) look(key string, f func([]byte) error) (bool, error) {
	if !s.absent.has(key) {
		return false, nil
	}
	return s.value(key, f)
}

func (s *store) receipt(id string) (at kafka.Receipt, ok bool, err error) {
	ok, err = s.look(rowEvent+id, func(value []byte) (err error) {
		_, at, err = readReceipt(value)
		return err
	})
	return at, ok, err
}

func (s *store) reference(key string) (merchant string, err error) {
	_, err = s.look(rowReference+key, func(value []byte) error {
		merchant = string(value)
		return nil
	})
	return merchant, err
}

func (s *store) newest(merchant string) (n newest, err error) {
	_, err = s.look(rowNewest+merchant, func(value []byte) (err error) {
		n, err = readNewest(value)
		return err
	})
	return n, err
}

func (s *store) ends(key string) (n ends, err error) {
	_, err = s.look(rowEnds+key, func(value []byte) (err error) {
		n, err = readEnds(value)
		return err
	})
	return n, err
}

func positionKey(p consume.Partition) string {
	return fmt.Sprintf("%s%s/%d", rowPosition, p.Topic, p.Number)
}

// position returns the next offset to read of a partition, or -1.
func (s *store) position(p consume.Partition) (int64, error) {
	next := int64(-1)
	_, err := s.value(positionKey(p), func(value []byte) (err error) {
		next, _, err = readNumber(value)
		return err
	})
	return next, err
}

// each calls f with the rows whose keys begin with prefix. The slices are f's
// only until it returns.
func (s *store) each(prefix string, f func(key, value []byte) error) error {
	rows, err := s.NewIter(&pebble.IterOptions{LowerBound: []byte(prefix), UpperBound: []byte(after(prefix))})
	if err != nil {
		return s.bad(err)
	}
	for rows.First(); rows.Valid() && err == nil; rows.Next() {
		err = f(rows.Key(), rows.Value())
	}
	return errors.Join(err, s.bad(rows.Close()))
}

var errEnough = errors.New("enough")

// corrections returns what is due, as many as most.
func (s *store) corrections(most int) (due []schemas.Event, err error) {
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

// corrected drops a correction that is published.
func (s *store) corrected(id string) error {
	return s.do(func() error { return s.Delete([]byte(rowDue+id), pebble.NoSync) })
}

// commit writes a batch. Its caller closes it where there is no error: else it may
// still be in use.
func (s *store) commit(b *pebble.Batch) error {
	return s.do(func() error { return b.Commit(pebble.NoSync) })
}

// forget drops the events that were published before a time.
func (s *store) forget(ctx context.Context, before time.Time) error {
	b := s.NewBatch()
	var errs []error
	for prefix, since := range map[string]func(value []byte) (time.Time, error){
		rowEvent: readSince, rowKey: readSince, rowCorrected: readSince,
		rowNewest: func(value []byte) (time.Time, error) { n, err := readNewest(value); return n.Time, err },
		rowEnds:   func(value []byte) (time.Time, error) { n, err := readEnds(value); return n.Time, err },
		rowWaiting: func(value []byte) (time.Time, error) {
			var e schemas.Event
			err := json.Unmarshal(value, &e)
			return e.Time, err
		},
	} {
		errs = append(errs, s.each(prefix, func(key, value []byte) error {
			t, err := since(value)
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
