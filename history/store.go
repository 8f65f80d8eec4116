package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/consume"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
)

// What a key of the store begins with. What stands behind it is JSON but for
// texts.
const (
	rowMeta      = "m"  // whose store it is
	rowPosition  = "p/" // topic, partition → the next offset
	rowEvent     = "e/" // event id → where it is
	rowKey       = "k/" // merchant_transaction_id, NUL, event id → since when it is there
	rowReference = "r/" // connector:account:id → merchant_transaction_id
	rowNewest    = "n/" // merchant_transaction_id → newest
	rowEnds      = "s/" // what ended, by endKey → ends
	rowWaiting   = "w/" // connector:account:id, NUL, event id → an event that waits for its reference
	rowDue       = "d/" // event id → the correction that is due
	rowCorrected = "c/" // event id → since when it has a correction, read back before it or after
)

// meta tells whether a store is of this cluster and these topics.
type meta struct {
	Version int
	Cluster string
	Prefix  string
}

// storeVersion changes with what the rows mean: an older store is rebuilt.
const storeVersion = 2

// identity asks the cluster for its id.
func identity(ctx context.Context, client *kafka.Client, names publish.Names) (meta, error) {
	m, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{names.References()}})
	if err != nil {
		return meta{}, fmt.Errorf("asking %s for the cluster's id: %w", client.Addr, err)
	}
	return meta{storeVersion, m.ClusterID, names.Prefix}, nil
}

// store is what the topics said, in the state directory. Only the follower and
// the corrections write it, without fsync: what a crash takes is read again.
type store struct{ *pebble.DB }

// cacheBytes bounds the memory of look-ups.
const cacheBytes = 32 << 20

func openStore(dir string, of meta, log zerolog.Logger) (*store, error) {
	if dir != "" {
		dir = filepath.Join(dir, "published") // ours alone: it may have to go
	}
	s, err := tryStore(dir, of)
	if err == nil || dir == "" {
		return s, err
	}
	if !errors.Is(err, errForeign) && !errors.Is(err, pebble.ErrCorruption) {
		return nil, fmt.Errorf("state directory %s (is another tollbridge using it?): %w", dir, err)
	}
	log.Warn().Err(err).Str("dir", dir).Msg("the state directory cannot be used and is rebuilt from Kafka")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	return tryStore(dir, of)
}

var errForeign = errors.New("it is of another cluster, prefix or version")

func tryStore(dir string, of meta) (*store, error) {
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	o := &pebble.Options{Cache: cache, MemTableSize: 16 << 20, Logger: silent{}}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression } // half the cost of a look-up
	}
	if dir == "" {
		o.FS = vfs.NewMem()
	}
	db, err := pebble.Open(dir, o)
	if err != nil {
		return nil, err
	}
	s := &store{db}
	var was meta
	found, err := s.read(rowMeta, &was)
	if err == nil && found && was != of {
		err = errForeign
	}
	if err == nil && !found {
		err = s.write(rowMeta, of)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// silent keeps Pebble's own log out of ours.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf("state store: "+format, args...))
}

func (s *store) read(key string, to any) (bool, error) {
	value, closer, err := s.Get([]byte(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("state store: %w", err)
	}
	defer closer.Close()
	if err := json.Unmarshal(value, to); err != nil {
		return false, fmt.Errorf("state store: row %q: %w", key, err)
	}
	return true, nil
}

func (s *store) write(key string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.Set([]byte(key), b, pebble.NoSync)
}

// eventRow is where an event is, and since when.
type eventRow struct {
	publish.Receipt
	Time int64 // milliseconds since 1970, Kafka's
}

func (s *store) receipt(id string) (publish.Receipt, bool, error) {
	var row eventRow
	ok, err := s.read(rowEvent+id, &row)
	return row.Receipt, ok, err
}

func (s *store) reference(key string) (merchant string, err error) {
	_, err = s.read(rowReference+key, &merchant)
	return merchant, err
}

func (s *store) newest(merchant string) (n newest, err error) {
	_, err = s.read(rowNewest+merchant, &n)
	return n, err
}

func (s *store) ends(key string) (n ends, err error) {
	_, err = s.read(rowEnds+key, &n)
	return n, err
}

func positionKey(p consume.Partition) string {
	return fmt.Sprintf("%s%s/%d", rowPosition, p.Topic, p.Number)
}

// position returns the next offset to read of a partition, or -1.
func (s *store) position(p consume.Partition) (int64, error) {
	next := int64(-1)
	_, err := s.read(positionKey(p), &next)
	return next, err
}

// each calls f with the rows whose keys begin with prefix. The slices are f's
// only until it returns.
func (s *store) each(prefix string, f func(key, value []byte) error) error {
	rows, err := s.NewIter(&pebble.IterOptions{LowerBound: []byte(prefix), UpperBound: []byte(after(prefix))})
	if err != nil {
		return err
	}
	for rows.First(); rows.Valid() && err == nil; rows.Next() {
		err = f(rows.Key(), rows.Value())
	}
	return errors.Join(err, rows.Close())
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
func (s *store) corrected(id string) error { return s.Delete([]byte(rowDue+id), pebble.NoSync) }

// forget drops the events that were published before a time.
func (s *store) forget(ctx context.Context, before time.Time) error {
	b := s.NewBatch()
	old := func(key []byte, since int64) error {
		if since < before.UnixMilli() {
			return b.Delete(key, nil)
		}
		return ctx.Err()
	}
	err := s.each(rowEvent, func(key, value []byte) error {
		var row eventRow
		if err := json.Unmarshal(value, &row); err != nil {
			return err
		}
		return old(key, row.Time)
	})
	for _, prefix := range []string{rowKey, rowCorrected} {
		err = errors.Join(err, s.each(prefix, func(key, value []byte) error {
			var since int64
			if err := json.Unmarshal(value, &since); err != nil {
				return err
			}
			return old(key, since)
		}))
	}
	for _, prefix := range []string{rowNewest, rowEnds, rowWaiting} {
		err = errors.Join(err, s.each(prefix, func(key, value []byte) error {
			var row struct {
				Time time.Time `json:"time"` // newest and ends write it with a capital, which reads the same
			}
			if err := json.Unmarshal(value, &row); err != nil {
				return err
			}
			if row.Time.Before(before) {
				return b.Delete(key, nil)
			}
			return ctx.Err()
		}))
	}
	if err != nil {
		return errors.Join(err, b.Close())
	}
	return b.Commit(pebble.NoSync)
}
