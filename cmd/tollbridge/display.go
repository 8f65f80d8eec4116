package main

import (
	"fmt"
	"io"
	"os"
	"unicode/utf8"
)

// display is where a command prints: what a terminal would take for an order in
// what others wrote, a sender or whoever can write to a topic, is escaped as
// \uXXXX. Newlines and tabs pass: fields that are not to have them go through
// [plain]. In a JSON string the escape stands for the same character.
//
// [run] gives one to every command as its output and its error output, so that no
// command can forget it. What is a command's own, colours and the line that
// progress rewrites, goes through [own].
type display struct {
	to       io.Writer
	terminal bool
	rest     []byte // the beginning of a character whose end is not written yet
}

func newDisplay(to io.Writer) *display { return &display{to: to, terminal: isTerminal(to)} }

// isTerminal reports whether somebody looks at what is written; a variable for
// tests.
var isTerminal = func(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	s, err := f.Stat()
	return err == nil && s.Mode()&os.ModeCharDevice != 0
}

// Write writes b escaped.
func (s *display) Write(b []byte) (int, error) {
	n := len(b)
	if len(s.rest) > 0 {
		b, s.rest = append(s.rest, b...), nil
	}
	var out []byte // nil while nothing is to be escaped
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			if !utf8.FullRune(b[i:]) {
				s.rest = append([]byte(nil), b[i:]...)
				b = b[:i]
				break
			}
			r = rune(b[i]) // no UTF-8: terminals that know none take it for a control, too
		} else if !order(r) {
			if out != nil {
				out = append(out, b[i:i+size]...)
			}
			i += size
			continue
		}
		if out == nil {
			out = append(make([]byte, 0, len(b)+32), b[:i]...)
		}
		out = fmt.Appendf(out, `\u%04x`, r)
		i += size
	}
	if out == nil {
		out = b
	}
	if len(out) > 0 {
		if _, err := s.to.Write(out); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// order reports whether a terminal may take a character for an order, or show
// what follows it in another order than it is written in: the controls of C0 but
// for newline and tab, DEL, those of C1, and Unicode's for text from right to left.
func order(r rune) bool {
	switch {
	case r < 0x20:
		return r != '\n' && r != '\t'
	case r < 0x7f:
		return false
	case r <= 0x9f:
		return true
	}
	return r == 0x061c || r == 0x200e || r == 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// end writes what was begun of a character.
func (s *display) end() {
	rest := s.rest
	s.rest = nil
	for _, b := range rest {
		fmt.Fprintf(s.to, `\u%04x`, b)
	}
}

// own writes what is the program's own as it is. It must not have text of others
// in it, but where that went through [plain].
func own(w io.Writer, text string) error {
	if s, ok := w.(*display); ok {
		s.end()
		w = s.to
	}
	_, err := io.WriteString(w, text)
	return err
}

// exact writes bytes as they are, to a file or a pipe; a terminal gets them
// escaped.
func exact(w io.Writer, b []byte) error {
	if s, ok := w.(*display); ok && !s.terminal {
		s.end()
		w = s.to
	}
	_, err := w.Write(b)
	return err
}

// watched returns what to write a line of progress to, if somebody looks at it.
func watched(w io.Writer) (io.Writer, bool) {
	s, ok := w.(*display)
	if !ok || !s.terminal {
		return nil, false
	}
	return s.to, true
}
