package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/internal/lookup"
)

// style says how records are printed as lines.
type style struct {
	width   int // of the terminal, at which the fields are aligned; 0: tabs separate them
	colours bool
}

// styleOf returns the style for an output: columns at a terminal, and colours
// unless NO_COLOR or TERM=dumb forbids them.
func styleOf(out io.Writer) style {
	width := terminalWidth(out)
	return style{width, width > 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"} // https://no-color.org
}

// The colours of ANSI terminals.
const (
	red, green, yellow, blue, grey = "31", "32", "33", "34", "90"
)

func (s style) paint(colour, text string) string {
	if !s.colours || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// widths are the widths of a record's columns; further fields have no column.
var widths = []int{24, 24, 14, 24, 20}

// line joins the fields of a record. At a terminal they are aligned, the second one is
// coloured, and those that have no room continue on further lines; elsewhere tabs separate
// them.
func (s style) line(colour string, fields ...string) string {
	if s.width == 0 {
		return strings.Join(fields, "\t")
	}
	lines := layOut(fields, widths, s.width)
	lines[0] = strings.Replace(lines[0], fields[1], s.paint(colour, fields[1]), 1)
	return strings.Join(lines, "\n")
}

// oneLine returns text from outside as one line without control characters: unchanged,
// or as a quoted Go string if it has characters that are not printable.
func oneLine(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return strconv.Quote(s)
	}
	return s
}

// timestamp returns a time in UTC with milliseconds.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// colours are the colours of the tones.
var colours = map[display.Tone]string{display.Good: green, display.Warn: yellow, display.Bad: red, display.Info: blue}

// describe returns a record as the fields of a line: when it was written, the
// event type or the webhook's outcome, the amount, the key, the connector and
// endpoint, notes, and the receipt.
func describe(i *lookup.Item) (colour string, fields []string) {
	if w := i.Webhook; w != nil {
		what, notes := "webhook "+oneLine(string(w.Outcome)), fmt.Sprintf("%d bytes", len(w.Body))
		switch {
		case w.Handles != "":
			what, notes = "dead letter "+oneLine(string(w.Outcome)), fmt.Sprintf("%s, by %s", w.Handles, w.By)
		case w.Outcome == "duplicate":
			notes += ", a redelivery: published before"
		}
		if w.Reason != "" {
			notes += ": " + w.Reason
		}
		return grey, []string{timestamp(i.Time), what, "", oneLine(i.Key), oneLine(w.Connector + "/" + w.Endpoint), oneLine(notes), i.Receipt.Text()}
	}
	e := i.Event
	notes := []string{"happened " + timestamp(e.Time)}
	for _, n := range []struct{ text, id string }{
		{"late: newer is", e.Data.NewestEventID}, {"contradicts", e.Data.Contradicts}, {"corrects", e.Data.Corrects},
	} {
		if n.id != "" {
			notes = append(notes, n.text+" "+n.id)
		}
	}
	return colours[display.ToneOf(e.Type)], []string{timestamp(i.Time), oneLine(string(e.Type)), oneLine(display.Amount(e.Data.Amount)), oneLine(e.Subject),
		oneLine(e.Data.Connector + "/" + e.Data.Endpoint), oneLine(strings.Join(notes, ", ")), i.Receipt.Text()}
}

// few returns the first names of a list, and how many more there are.
func few(names []string) string {
	const most = 3
	if len(names) <= most+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
