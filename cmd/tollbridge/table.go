package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/rivo/uniseg"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// terminalWidth returns the number of columns of a terminal; 0 if w is none, and its lines
// have no limit. It is a variable so that tests can replace it.
var terminalWidth = func(w io.Writer) int {
	s, ok := w.(*safeWriter)
	if !ok || !s.terminal {
		return 0
	}
	if f, ok := s.to.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return helpWidth
}

// helpWidth is the width of help, and of a terminal that does not tell its own.
const helpWidth = 80

// cellTable collects lines whose cells are separated by tabs, and prints them in columns. At a
// terminal it wraps them to its width.
type cellTable struct {
	out io.Writer
	buf bytes.Buffer
}

func columns(c *cobra.Command) *cellTable { return &cellTable{out: c.OutOrStdout()} }

// Write collects text.
func (t *cellTable) Write(b []byte) (int, error) { return t.buf.Write(b) }

// Flush prints the collected lines.
func (t *cellTable) Flush() error {
	defer t.buf.Reset()
	limit := terminalWidth(t.out)
	if limit == 0 {
		w := tabwriter.NewWriter(t.out, 0, 0, columnGap, ' ', 0)
		_, err := w.Write(t.buf.Bytes())
		if err != nil {
			return err
		}
		return w.Flush()
	}
	var rows [][]string
	for line := range strings.Lines(t.buf.String()) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	widths := columnWidths(rows, limit/2)
	var b strings.Builder
	for _, row := range rows {
		for _, line := range layOut(row, widths, limit) {
			b.WriteString(line + "\n")
		}
	}
	_, err := io.WriteString(t.out, b.String())
	return err
}

const (
	columnGap = 2  // spaces between columns
	indent    = 4  // of the lines that continue a row
	leastWrap = 24 // the fewest columns in which the last cell is wrapped
)

// columnWidths returns the widths of the columns: of their widest cells, but at most most.
// The last cell of a row does not count.
func columnWidths(rows [][]string, most int) (widths []int) {
	for _, row := range rows {
		for i, cell := range row[:len(row)-1] {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], min(most, uniseg.StringWidth(cell)))
		}
	}
	return widths
}

// layOut returns the cells of a row as lines of at most limit columns; only a word that is
// longer makes a longer line. The cells begin at their columns. A last cell that does not
// fit is wrapped there; cells that have no room go to further lines.
func layOut(cells []string, widths []int, limit int) (lines []string) {
	line, at, start := "", 0, 0 // at is the width of line, start where the column begins
	for i, cell := range cells {
		pos := start
		if i > 0 && at > 0 {
			pos = max(pos, at+columnGap)
		}
		last := i == len(cells)-1
		room := limit - pos
		if width := uniseg.StringWidth(cell); width > room && width > 0 {
			if i == 0 || last && room >= leastWrap {
				for n, part := range wrap(cell, room) {
					if n > 0 {
						lines, line, at = append(lines, line), "", 0
					}
					line += strings.Repeat(" ", max(0, pos-at)) + part
					at = pos + uniseg.StringWidth(part)
				}
				start = pos
				if i < len(widths) {
					start += widths[i] + columnGap
				}
				continue
			}
			return append(append(lines, line), further(cells[i:], limit)...)
		}
		if cell != "" {
			line += strings.Repeat(" ", max(0, pos-at)) + cell
			at = pos + uniseg.StringWidth(cell)
		}
		if i < len(widths) {
			start += widths[i] + columnGap
		}
	}
	return append(lines, strings.TrimRight(line, " "))
}

// further returns cells as indented lines: as many cells on a line as fit.
func further(cells []string, limit int) (lines []string) {
	line := ""
	for _, cell := range cells {
		joined := line + strings.Repeat(" ", columnGap) + cell
		switch {
		case cell == "":
		case line != "" && uniseg.StringWidth(joined) <= limit:
			line = joined
		default:
			if line != "" {
				lines = append(lines, line)
			}
			parts := wrap(cell, limit-indent)
			for i := range parts {
				parts[i] = strings.Repeat(" ", indent) + parts[i]
			}
			line = parts[len(parts)-1]
			lines = append(lines, parts[:len(parts)-1]...)
		}
	}
	return append(lines, line)
}

// wrap returns text as lines of at most limit columns, broken at spaces. A longer word is a
// line of its own.
func wrap(text string, limit int) (lines []string) {
	line := ""
	for _, word := range strings.Split(text, " ") {
		switch {
		case line == "":
			line = word
		case uniseg.StringWidth(line)+1+uniseg.StringWidth(word) <= limit:
			line += " " + word
		default:
			lines, line = append(lines, strings.TrimRight(line, " ")), word
		}
	}
	return append(lines, strings.TrimRight(line, " "))
}

// folded returns a writer that wraps each line to the width of the terminal; a line
// continues below the text after its label. Only whole lines may be written to it.
func folded(out io.Writer) io.Writer {
	if limit := terminalWidth(out); limit > 0 {
		return foldWriter{out, limit}
	}
	return out
}

type foldWriter struct {
	to    io.Writer
	limit int
}

func (f foldWriter) Write(b []byte) (int, error) {
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		line, ended := strings.CutSuffix(line, "\n")
		out.WriteString(strings.Join(fold(line, f.limit), "\n"))
		if ended {
			out.WriteByte('\n')
		}
	}
	_, err := io.WriteString(f.to, out.String())
	return len(b), err
}

// fold wraps a line. It continues below the text that follows a label, which two or more
// spaces or a colon end.
func fold(line string, limit int) []string {
	if uniseg.StringWidth(line) <= limit {
		return []string{line}
	}
	text := strings.TrimLeft(line, " ")
	margin := len(line) - len(text)
	label, rest, ok := strings.Cut(text, "  ")
	rest = strings.TrimLeft(rest, " ")
	if pos := uniseg.StringWidth(line) - uniseg.StringWidth(rest); ok && pos <= limit-leastWrap && uniseg.StringWidth(label) < limit/2 {
		parts := wrap(rest, limit-pos)
		lines := []string{line[:len(line)-len(rest)] + parts[0]}
		for _, part := range parts[1:] {
			lines = append(lines, strings.Repeat(" ", pos)+part)
		}
		return lines
	}
	parts := wrap(text, limit-margin-indent)
	for i := range parts {
		parts[i] = strings.Repeat(" ", margin+min(i, 1)*indent) + parts[i]
	}
	return parts
}
