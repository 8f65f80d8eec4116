package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/display"
)

// safeWriter escapes control characters as \uXXXX. What commands print has text
// from outside, of senders and of anyone who can write to a topic, and a terminal
// would execute control characters in it. Newlines and tabs are not escaped: fields
// that must not have them go through [oneLine]. In a JSON string the escape means
// the same character.
//
// [run] gives every command a safeWriter as its output and its error output, so
// that no command can forget it. A command's own control characters, colours and
// the progress line, go through [writeTrusted]. It is safe for concurrent use: the
// server's goroutines share its log.
type safeWriter struct {
	to       io.Writer
	terminal bool

	mu   sync.Mutex
	rest []byte // the first bytes of a character whose other bytes are not written yet
}

func newSafeWriter(to io.Writer) *safeWriter { return &safeWriter{to: to, terminal: isTerminal(to)} }

// isTerminal reports whether w is a terminal. It is a variable so that tests can
// replace it.
var isTerminal = func(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	s, err := f.Stat()
	return err == nil && s.Mode()&os.ModeCharDevice != 0
}

// Write writes b with its control characters escaped.
func (s *safeWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(b)
	if len(s.rest) > 0 {
		b, s.rest = append(s.rest, b...), nil
	}
	out, rest := display.Escape(b)
	s.rest = append([]byte(nil), rest...)
	if len(out) > 0 {
		if _, err := s.to.Write(out); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// end writes the bytes of an incomplete character.
func (s *safeWriter) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked()
}

// endLocked is end for a caller that holds the lock.
func (s *safeWriter) endLocked() {
	rest := s.rest
	s.rest = nil
	for _, b := range rest {
		fmt.Fprintf(s.to, `\u%04x`, b)
	}
}

// writeTrusted writes text without escaping. Text from outside in it must have gone
// through [oneLine].
func writeTrusted(w io.Writer, text string) error {
	if s, ok := w.(*safeWriter); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.endLocked()
		w = s.to
	}
	_, err := io.WriteString(w, text)
	return err
}

// writeRaw writes bytes unchanged to a file or a pipe, and escaped to a terminal.
func writeRaw(w io.Writer, b []byte) error {
	if s, ok := w.(*safeWriter); ok && !s.terminal {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.endLocked()
		w = s.to
	}
	_, err := w.Write(b)
	return err
}

// rawWriter writes through [writeRaw] under the lock of its safeWriter, because the
// server's goroutines and the command write to the same output.
type rawWriter struct{ to *safeWriter }

func (w rawWriter) Write(b []byte) (int, error) {
	if err := writeRaw(w.to, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// terminalOf returns the writer of a progress line, if w is a terminal.
func terminalOf(w io.Writer) (io.Writer, bool) {
	s, ok := w.(*safeWriter)
	if !ok || !s.terminal {
		return nil, false
	}
	return s.to, true
}

// readProgress returns a function that rewrites a line of the terminal with the number
// of records read so far and of all, and one that clears the line. report is nil if the
// output is not a terminal.
func readProgress(c *cobra.Command) (report func(done, all int64), clear func()) {
	f, ok := terminalOf(c.ErrOrStderr())
	if !ok {
		return nil, func() {}
	}
	last := time.Now()
	return func(done, all int64) {
		if time.Since(last) > 100*time.Millisecond {
			last = time.Now()
			fmt.Fprintf(f, "\r\x1b[K%d of %d records read", done, all)
		}
	}, func() { fmt.Fprint(f, "\r\x1b[K") }
}
