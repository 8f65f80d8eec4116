package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"
)

// The store is a copy of what is in Kafka, so that a disk that is full or fails
// ends nothing: the store goes on in memory and is read back from Kafka.
//
// Pebble was written for databases that end with their disk. A write that fails is
// tried again at once and for ever, or ends the process. [failure] is told of it
// first, and neither happens: the goroutine that wrote stands still. What it holds
// stays locked, so that nobody writes to such a store or closes it again.

// failure is what makes a store useless, once it has happened.
type failure struct {
	once   sync.Once
	failed chan struct{} // closed when it has
	err    error
}

func newFailure() *failure { return &failure{failed: make(chan struct{})} }

// happened tells of an error. The first one counts.
func (f *failure) happened(err error) {
	f.once.Do(func() {
		f.err = err
		close(f.failed)
	})
}

// Infof, Errorf and Fatalf are Pebble's log. What it says of its work is left out.
func (f *failure) Infof(string, ...any)  {}
func (f *failure) Errorf(string, ...any) {}

// Fatalf ends the goroutine, as Pebble wants, and not the process.
func (f *failure) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err = cause
		}
	}
	f.happened(err)
	runtime.Goexit()
}

// listener hears what goes wrong in Pebble's own goroutines, and what is read
// and is not what was written.
func (f *failure) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			if errors.Is(err, vfs.ErrUnsupported) {
				return
			}
			f.guard(err) // or it tries again at once
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			f.happened(fmt.Errorf("%s: %w", info.Path, info.Details))
		},
	}
}

// do calls something that writes, in a goroutine of its own, since that may end
// there, and returns its error or the store's failure.
func (f *failure) do(write func() error) error {
	select {
	case <-f.failed:
		return fmt.Errorf("state store: %w", f.err)
	default:
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				err, ok := p.(error)
				if !ok {
					err = fmt.Errorf("%v", p)
				}
				f.happened(err)
			}
		}()
		done <- write()
	}()
	select {
	case err := <-done:
		return err
	case <-f.failed:
		return fmt.Errorf("state store: %w", f.err)
	}
}

// bad returns an error of reading, and has the store fail where there is one: what
// cannot be read today cannot be tomorrow.
func (f *failure) bad(err error) error {
	if err != nil {
		err = fmt.Errorf("state store: %w", err)
		f.happened(err)
	}
	return err
}

// openStore opens the store in a directory; empty is in memory. A store that
// cannot be read is removed and rebuilt from Kafka. Where the disk is full or
// fails the store is in memory. There is an error where the directory is wrong:
// another process uses it, or it may not be written.
func openStore(dir string, disk vfs.FS, of meta, log zerolog.Logger) (*store, error) {
	if dir == "" {
		return tryStore("", nil, of)
	}
	hold, err := lock(dir)
	var s *store
	if err == nil {
		if s, err = tryStore(dir, disk, of); rebuilds(err) {
			log.Warn().Err(err).Str("dir", dir).Msg("the state cannot be used and is rebuilt from Kafka")
			if err = empty(dir); err == nil {
				s, err = tryStore(dir, disk, of)
			}
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, errInUse), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		if hold != nil {
			err = errors.Join(err, hold.Close())
		}
		return nil, fmt.Errorf("state directory %s: %w", dir, err)
	default:
		if s, err = substitute(of, err, log); err != nil {
			return nil, err
		}
	}
	s.dir, s.lock = dir, hold
	return s, nil
}

// substitute returns a store in memory in place of one whose disk failed.
func substitute(of meta, why error, log zerolog.Logger) (*store, error) {
	log.Error().Err(why).Msg("the state's disk is full or fails: the state is read back from Kafka and kept in memory until a restart")
	s, err := tryStore("", nil, of)
	if err == nil {
		s.substitute = true
	}
	return s, err
}

// rebuilds reports whether an error is of what is in the directory, not of the disk.
func rebuilds(err error) bool {
	var disk syscall.Errno
	return err != nil && (!errors.As(err, &disk) || errors.Is(err, fs.ErrNotExist))
}

var errInUse = errors.New("another tollbridge uses it; each needs a state directory of its own")

const lockFile = "LOCK"

// lock makes a directory and locks it.
func lock(dir string) (io.Closer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil { // it has who paid what: Pebble would let everyone read it
		return nil, err
	}
	hold, err := vfs.Default.Lock(filepath.Join(dir, lockFile))
	var cause syscall.Errno
	if err != nil && (!errors.As(err, &cause) || cause == syscall.EAGAIN) { // by this process, or another
		err = errInUse
	}
	return hold, err
}

// empty removes what is in a directory, but not its lock.
func empty(dir string) error {
	all, err := os.ReadDir(dir)
	for _, e := range all {
		if e.Name() != lockFile {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// guarded is the file system of a store in a directory that we locked. A write that
// fails never returns: some of Pebble's callers panic then with a lock that is not
// theirs, which nothing recovers.
type guarded struct {
	vfs.FS
	*failure
}

// guard has the store fail and ends here, if a write failed.
func (f *failure) guard(err error) {
	if err != nil {
		f.happened(err)
		select {} // one goroutine or two, once
	}
}

// Lock does nothing: a store that failed would never give its lock back.
func (guarded) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (g guarded) file(f vfs.File, err error) (vfs.File, error) {
	g.guard(err)
	return guardedFile{f, g.failure}, nil
}

func (g guarded) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.file(g.FS.Create(name, c))
}

func (g guarded) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return g.file(g.FS.OpenReadWrite(name, c, o...))
}

func (g guarded) ReuseForWrite(was, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.file(g.FS.ReuseForWrite(was, name, c))
}

func (g guarded) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return f, err
	}
	return guardedFile{f, g.failure}, nil
}

func (g guarded) Rename(was, name string) error {
	g.guard(g.FS.Rename(was, name))
	return nil
}

func (g guarded) MkdirAll(dir string, perm os.FileMode) error {
	g.guard(g.FS.MkdirAll(dir, perm))
	return nil
}

type guardedFile struct {
	vfs.File
	*failure
}

func (f guardedFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	f.guard(err)
	return n, nil
}

func (f guardedFile) WriteAt(b []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(b, at)
	f.guard(err)
	return n, nil
}

func (f guardedFile) Sync() error {
	f.guard(f.File.Sync())
	return nil
}

func (f guardedFile) SyncData() error {
	f.guard(f.File.SyncData())
	return nil
}

func (f guardedFile) SyncTo(length int64) (bool, error) {
	whole, err := f.File.SyncTo(length)
	f.guard(err)
	return whole, nil
}

func (f guardedFile) Close() error {
	f.guard(f.File.Close())
	return nil
}

// watchTime is how often the disk is looked at.
const watchTime = 5 * time.Second

// DefaultMinFree is [Config.MinFree] where that is 0.
const DefaultMinFree = 256 << 20

// watch looks at the store's size and at what is free beside it, until ctx is done.
func (s *History) watch(ctx context.Context) {
	low := false
	for {
		db := s.stored()
		_ = db.do(func() error {
			s.metrics.bytes.Set(float64(db.Metrics().DiskSpaceUsage()))
			return nil
		})
		if s.Dir != "" {
			was := low
			if u, err := s.disk.GetDiskUsage(s.Dir); err == nil {
				s.free.Store(int64(u.AvailBytes))
				s.metrics.free.Set(float64(u.AvailBytes))
				if low = int64(u.AvailBytes) < s.MinFree; low && !was {
					s.Log.Warn().Str("dir", s.Dir).Uint64("free_bytes", u.AvailBytes).Int64("min_free_bytes", s.MinFree).Msg("the state's disk is nearly full")
				}
			}
		}
		select {
		case <-time.After(watchTime):
		case <-ctx.Done():
			return
		}
	}
}

// Warnings are what somebody should see to though webhooks are acknowledged: a disk
// that is nearly full, or has failed.
func (s *History) Warnings() (all []string) {
	if s.stored().substitute {
		all = append(all, "the state is in memory: its disk was full or failed; see to "+s.Dir+" and restart")
	}
	if free := s.free.Load(); s.Dir != "" && free >= 0 && free < s.MinFree {
		all = append(all, fmt.Sprintf("the state's disk is nearly full: %s has %d bytes free, fewer than %d", s.Dir, free, s.MinFree))
	}
	return all
}
