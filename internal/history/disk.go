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

// The store is a copy of what is in Kafka. So tollbridge survives a disk that is
// full or fails: a store in memory takes over and is restored from Kafka.
//
// Pebble was written for databases that cannot outlive their disk. It retries a
// failed write at once and forever, or exits the process. [failure] prevents both:
// it records the error and blocks the goroutine that wrote. The locks that this
// goroutine holds are never released, so nobody may write to such a store or close
// it.

// failure records the first error that makes a store unusable.
type failure struct {
	once   sync.Once
	failed chan struct{} // closed after the error
	err    error         // set before failed is closed
}

func newFailure() *failure { return &failure{failed: make(chan struct{})} }

// fail marks the store as failed. It keeps only the first error.
func (f *failure) fail(err error) {
	f.once.Do(func() {
		f.err = err
		close(f.failed)
	})
}

// Infof and Errorf discard Pebble's log. With Fatalf they implement pebble.Logger.
func (f *failure) Infof(string, ...any)  {}
func (f *failure) Errorf(string, ...any) {}

// Fatalf marks the store as failed and ends the calling goroutine, where Pebble's
// own logger exits the process.
func (f *failure) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err = cause
		}
	}
	f.fail(err)
	runtime.Goexit()
}

// listener returns a listener for errors in Pebble's background goroutines and for
// corrupt data.
func (f *failure) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			if errors.Is(err, vfs.ErrUnsupported) {
				return
			}
			f.guard(err) // otherwise Pebble retries at once and forever
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			f.fail(fmt.Errorf("%s: %w", info.Path, info.Details))
		},
	}
}

// do calls write and returns its error, or the store's failure. It calls write in a new
// goroutine, because a failure ends or blocks the goroutine that writes.
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
				f.fail(err)
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

// readFailed marks the store as failed if err is not nil, and returns err: a row that
// cannot be read now cannot be read later either.
func (f *failure) readFailed(err error) error {
	if err != nil {
		err = fmt.Errorf("state store: %w", err)
		f.fail(err)
	}
	return err
}

// openStore opens the store in a directory; an empty dir keeps it in memory. It
// removes a store that cannot be read, and starts an empty one. If the disk is full
// or fails, the store is in memory. It returns an error if the directory cannot be
// used: another process uses it, or it is not writable.
func openStore(dir string, disk vfs.FS, from origin, log zerolog.Logger) (*store, error) {
	if dir == "" {
		return openPebble("", nil, from)
	}
	held, err := lockDir(dir)
	var s *store
	if err == nil {
		if s, err = openPebble(dir, disk, from); isUnreadable(err) {
			log.Warn().Err(err).Str("dir", dir).Msg("state store is unusable; rebuilding it from Kafka")
			if err = removeFiles(dir); err == nil {
				s, err = openPebble(dir, disk, from)
			}
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, errInUse), errors.Is(err, errLockNoFile), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		if held != nil {
			err = errors.Join(err, held.Close())
		}
		return nil, fmt.Errorf("state directory %s: %w", dir, err)
	default:
		if s, err = openInMemory(from, err, log); err != nil {
			return nil, err
		}
	}
	s.dir, s.lock = dir, held
	return s, nil
}

// openInMemory returns an empty store in memory. It replaces a store whose disk failed
// with the error cause.
func openInMemory(from origin, cause error, log zerolog.Logger) (*store, error) {
	log.Error().Err(cause).Msg("the state store's disk is full or failed; restoring the state from Kafka into memory, where it stays until a restart")
	s, err := openPebble("", nil, from)
	if err == nil {
		s.afterFailure = true
	}
	return s, err
}

// isUnreadable reports whether an error comes from the content of the store's files,
// not from the disk.
func isUnreadable(err error) bool {
	var disk syscall.Errno
	if !errors.As(err, &disk) {
		return err != nil
	}
	switch disk {
	case syscall.ENOENT, syscall.EISDIR, syscall.ENOTDIR, syscall.ELOOP: // a file is missing, or something else has its name
		return true
	}
	return false
}

var errInUse = errors.New("another tollbridge process uses it; give each a state directory of its own")

// errLockNoFile is not mended by removing the folder: another process may still hold the
// lock on the file that was there before.
var errLockNoFile = errors.New("LOCK in it is a folder, and must be a file: stop every tollbridge process that uses the directory, and remove LOCK")

const lockFile = "LOCK"

// lockDir creates a directory and locks it. Close the result to unlock it.
func lockDir(dir string) (io.Closer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil { // Pebble's own mode would let every user read which payments were made
		return nil, err
	}
	held, err := vfs.Default.Lock(filepath.Join(dir, lockFile))
	if errors.Is(err, syscall.EISDIR) {
		return nil, errLockNoFile
	}
	var cause syscall.Errno
	if err != nil && (!errors.As(err, &cause) || cause == syscall.EAGAIN) { // locked by this process or by another one
		err = errInUse
	}
	return held, err
}

// removeFiles removes everything in a directory except the lock file.
func removeFiles(dir string) error {
	all, err := os.ReadDir(dir)
	for _, e := range all {
		if e.Name() != lockFile {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// guarded is the file system of a store. A write that fails marks the store as
// failed and never returns: some of Pebble's callers panic on the error while they
// unlock a lock that they do not hold, which recover cannot stop.
type guarded struct {
	vfs.FS
	*failure
}

// guard marks the store as failed and blocks forever if err is not nil.
func (f *failure) guard(err error) {
	if err != nil {
		f.fail(err)
		select {} // leaks one or two goroutines, once for each failed store
	}
}

// Lock does nothing, because a failed store would never unlock: see [lockDir].
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

// diskInterval is the time between two measurements of the disk.
const diskInterval = 5 * time.Second

// DefaultMinFree is the default of [Config.MinFree], in bytes.
const DefaultMinFree = 256 << 20

// watchDisk measures the store's size and the free space on its disk until ctx is
// done. It logs a warning when the free space falls below [Config.MinFree].
func (h *History) watchDisk(ctx context.Context) {
	low := false
	for {
		db := h.currentStore()
		_ = db.do(func() error {
			h.metrics.bytes.Set(float64(db.Metrics().DiskSpaceUsage()))
			return nil
		})
		if h.Dir != "" {
			was := low
			if u, err := h.disk.GetDiskUsage(h.Dir); err == nil {
				h.freeBytes.Store(int64(u.AvailBytes))
				h.metrics.free.Set(float64(u.AvailBytes))
				if low = int64(u.AvailBytes) < h.MinFree; low && !was {
					h.Log.Warn().Str("dir", h.Dir).Uint64("free_bytes", u.AvailBytes).Int64("min_free_bytes", h.MinFree).Msg("the state directory's disk is nearly full")
				}
			}
		}
		select {
		case <-time.After(diskInterval):
		case <-ctx.Done():
			return
		}
	}
}

// Warnings returns problems that an operator should solve although webhooks are still
// acknowledged: a disk that is nearly full, or that has failed.
func (h *History) Warnings() (all []string) {
	if h.currentStore().afterFailure {
		all = append(all, "the state store is in memory, because its disk was full or failed: make room on the disk of "+h.Dir+" or replace it, then restart")
	}
	if free := h.freeBytes.Load(); h.Dir != "" && free >= 0 && free < h.MinFree {
		all = append(all, fmt.Sprintf("the state directory's disk is nearly full: %s has %d bytes free, want at least %d", h.Dir, free, h.MinFree))
	}
	return all
}
