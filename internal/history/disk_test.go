package history

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"github.com/tollbridge/tollbridge/schemas"
)

// logBuffer is a log that tests can read.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// count returns how often words occurs in the log.
func (l *logBuffer) count(words string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), words)
}

// String returns the log.
func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

const diskFailedMessage = "the state store's disk is full or failed"

// failingDisk returns a disk on which reads or writes fail while on is set.
func failingDisk(kind errorfs.OpReadWrite, with error, on *atomic.Bool) vfs.FS {
	return errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpGetDiskUsage, errorfs.OpStat, errorfs.OpFileStat, errorfs.OpList, errorfs.OpOpen, errorfs.OpOpenDir:
			return nil
		}
		if on.Load() && op.Kind.ReadOrWrite() == kind && !strings.HasSuffix(op.Path, lockFile) {
			return &os.PathError{Op: "test", Path: op.Path, Err: with}
		}
		return nil
	}))
}

// TestDiskFails: if the disk fails while the state is used, or before it is opened, the
// state continues in memory and still knows what was published. It logs the failure
// once, admits events, and can be closed.
func TestDiskFails(t *testing.T) {
	for _, kind := range []errorfs.OpReadWrite{errorfs.OpIsWrite, errorfs.OpIsRead} {
		for _, with := range []error{syscall.ENOSPC, syscall.EIO, syscall.EROFS} {
			for _, before := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v, reading %v, before it is opened %v", with, kind == errorfs.OpIsRead, before), func(t *testing.T) {
					t.Parallel()
					diskFails(t, kind, with, before)
				})
			}
		}
	}
}

func diskFails(t *testing.T, kind errorfs.OpReadWrite, with error, before bool) {
	r, dir := newRig(t), t.TempDir()
	s := r.open(t, dir)
	var first []schemas.Event
	for n := range 50 {
		e := event(fmt.Sprint("e", n), fmt.Sprint("pi_", n), fmt.Sprint("order-", n), schemas.PaymentCaptured, n)
		if _, err := r.put(t.Context(), s, e); err != nil {
			t.Fatal(err)
		}
		first = append(first, e)
	}
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.currentStore().Flush(); err != nil { // so that a look-up must read a file
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	var on atomic.Bool
	var log logBuffer
	on.Store(before)
	s = r.openWith(t, Config{Dir: dir, Publisher: r.producer, Log: zerolog.New(&log), disk: failingDisk(kind, with, &on)})
	on.Store(true)
	closed := make(chan error, 1)
	defer func() {
		go func() { closed <- s.Close() }()
		select {
		case err := <-closed:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(15 * time.Second):
			t.Error("the state does not close")
		}
		if n := log.count(diskFailedMessage); n > 1 {
			t.Errorf("the log says %d times that the disk failed", n)
		}
	}()
	n := 0
	more := func() {
		n++
		e := event(fmt.Sprint("f", n), fmt.Sprint("pi_f", n), fmt.Sprint("order-f", n), schemas.PaymentCaptured, n)
		within(t, "the event is admitted", func() bool { _, err := r.put(t.Context(), s, e); return err == nil }) // events are refused while the state is being restored
	}
	more()
	if kind == errorfs.OpIsWrite {
		within(t, "the state is in memory", func() bool { more(); return s.currentStore().afterFailure }) // Pebble writes 32 KiB at a time
		if n := log.count(diskFailedMessage); n != 1 || len(s.Warnings()) == 0 {
			t.Errorf("the log says %d times that the disk failed, and the warnings are %q", n, s.Warnings())
		}
	}
	within(t, "the state is restored", func() bool { return s.Ready() == nil })
	for _, e := range first {
		within(t, "the event is looked up", func() bool {
			a, err := r.put(t.Context(), s, e)
			if err == nil && len(a.Events) != 0 {
				t.Fatalf("%s is published twice", e.ID)
			}
			return err == nil
		})
	}
}

// TestDiskFailsInTheMiddle: whichever operation of Pebble's flush fails, the process
// continues and the state stays correct.
func TestDiskFailsInTheMiddle(t *testing.T) {
	for n := int32(0); ; n++ {
		r := newRig(t)
		var on atomic.Bool
		var left atomic.Int32
		left.Store(n)
		disk := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
			switch op.Kind {
			case errorfs.OpCreate, errorfs.OpReuseForWrite, errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileClose:
				if on.Load() && left.Add(-1) < 0 {
					return syscall.EIO
				}
			}
			return nil
		}))
		s := r.openWith(t, Config{Dir: t.TempDir(), Publisher: r.producer, disk: disk})
		e := event("one", "pi_1", "order-1", schemas.PaymentCaptured, 1)
		if _, err := r.put(t.Context(), s, e); err != nil {
			t.Fatal(err)
		}
		if err := s.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		on.Store(true)
		db := s.currentStore()
		failed := db.do(db.Flush) != nil
		if failed {
			within(t, "the state is in memory", func() bool { return s.currentStore().afterFailure })
		}
		within(t, "the event is known", func() bool {
			a, err := r.put(t.Context(), s, e)
			return err == nil && len(a.Events) == 0
		})
		if err := s.Close(); err != nil && failed {
			t.Error(err)
		}
		if !failed {
			if n < 5 {
				t.Errorf("a flush of %d operations, want several", n)
			}
			return
		}
	}
}

// TestFullDisk is TestDiskFails on a real file system.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := kafkatest.SmallDisk(t, dir); err != nil {
		kafkatest.Report(t, "NO FULL DISK: package history skipped it (%v)", err)
		t.Skipf("NOT TESTED WITH A FULL DISK: %v. It needs Linux, and the right to mount.", err)
	}
	r := newRig(t)
	var log logBuffer
	c := Config{Dir: dir, Publisher: r.producer, Log: zerolog.New(&log), MinFree: 1 << 20}
	s := r.openWith(t, c)
	put := func(id string) {
		t.Helper()
		within(t, "the event is admitted", func() bool {
			_, err := r.put(t.Context(), s, event(id, "pi_"+id, "order-"+id, schemas.PaymentCaptured, 1))
			return err == nil
		})
	}
	put("first")
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := kafkatest.Fill(dir); err != nil {
		t.Fatal(err)
	}
	for n := 0; !s.currentStore().afterFailure; n++ { // the last page of a file may have room left
		if n == 5000 {
			t.Fatal("the full disk is not detected")
		}
		put(fmt.Sprint("full-", n))
	}
	known := func() {
		t.Helper()
		within(t, "the event is known", func() bool {
			a, err := r.put(t.Context(), s, event("first", "pi_first", "order-first", schemas.PaymentCaptured, 1))
			return err == nil && len(a.Events) == 0
		})
	}
	known()
	within(t, "both warnings are there", func() bool { return len(s.Warnings()) == 2 })
	if err := s.Close(); err != nil {
		t.Error(err)
	}

	s = r.openWith(t, c) // while the disk is full
	known()
	put("last")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := kafkatest.Free(dir); err != nil {
		t.Fatal(err)
	}
	s = r.openWith(t, c) // after space was freed
	defer s.Close()
	if s.currentStore().afterFailure {
		t.Error("the state is in memory although its disk has free space again")
	}
	known()
	t.Log(log.String())
}

// TestLockIsAFolder: a store whose LOCK is a folder is not opened, and the error says what
// to do.
func TestLockIsAFolder(t *testing.T) {
	r, dir := newRig(t), t.TempDir()
	lock := filepath.Join(dir, "history", lockFile)
	if err := os.MkdirAll(lock, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Config{Dir: dir, Kafka: r.kafka})
	if !errors.Is(err, errLockNoFile) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("got %v, want %v and the directory", err, errLockNoFile)
	}
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	s := r.open(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCorrupt: whichever file of the state is damaged, the state still knows what was
// published. It is rebuilt once, and the next start needs no rebuild.
func TestCorrupt(t *testing.T) {
	r, whole := newRig(t), t.TempDir()
	s := r.open(t, whole)
	var all []schemas.Event
	for n := range 300 {
		e := event(fmt.Sprint("e", n), fmt.Sprint("pi_", n), fmt.Sprint("order-", n), schemas.PaymentCaptured, n)
		all = append(all, e)
		if _, err := r.put(t.Context(), s, e); err != nil {
			t.Fatal(err)
		}
		if n == 150 {
			if err := s.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.currentStore().Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(whole, "history", "*"))
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		if name == lockFile {
			continue
		}
		for how, spoil := range map[string]func([]byte) []byte{
			"emptied":   func([]byte) []byte { return nil },
			"cut":       func(b []byte) []byte { return b[:len(b)/2] },
			"garbage":   func(b []byte) []byte { return bytes.Repeat([]byte("garbage "), len(b)/8+1) },
			"one byte":  func(b []byte) []byte { b[len(b)/2] ^= 0x55; return b },
			"no longer": nil,
			"a folder":  nil,
			"a link":    nil,
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				dir := t.TempDir()
				if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(dir, "history", name)
				b, err := os.ReadFile(path)
				switch {
				case err != nil:
				case spoil == nil:
					if err = os.Remove(path); err == nil && how == "a folder" {
						err = os.Mkdir(path, 0o700)
					}
					if err == nil && how == "a link" {
						err = os.Symlink(name, path) // to itself
					}
				case len(b) > 0:
					err = os.WriteFile(path, spoil(b), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				for range 2 {
					s := r.open(t, dir)
					for _, e := range all {
						within(t, "the event is known", func() bool {
							a, err := s.Admit(t.Context(), []schemas.Event{e})
							if err != nil {
								return false
							}
							a.Forget()
							if len(a.Events) != 0 {
								t.Fatalf("%s is new, want it known", e.ID)
							}
							return true
						})
					}
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}
