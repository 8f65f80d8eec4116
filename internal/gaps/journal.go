package gaps

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/webhook"
)

// Journal is a file with the progress of a run and with its missing items. Each line is
// one JSON object. A run that was killed goes on from the last line that says that a page,
// or a missing item, is done.
type Journal struct {
	file      *os.File
	writer    *bufio.Writer
	size      int64 // of the file, with what the writer holds
	entries   []entry
	temporary bool
}

// entry is a missing item in the journal.
type entry struct {
	time int64 // Unix nanoseconds
	at   int64 // offset of its line
}

// line is one line of a journal. One field is set.
type line struct {
	Header *header    `json:"run,omitempty"`
	Item   *item      `json:"item,omitempty"`
	Page   *pageMark  `json:"page,omitempty"`
	Acted  *actedMark `json:"acted,omitempty"`
}

// item is a missing item as the journal has it: with the bodies of its documents, which
// [schemas.Fetched] leaves out in JSON.
type item struct {
	fetch.Item
	Bodies [][]byte `json:"bodies,omitempty"`
}

// newItem returns an item for the journal.
func newItem(i fetch.Item) *item {
	j := &item{Item: i}
	for _, d := range i.Fetched {
		j.Bodies = append(j.Bodies, d.Body)
	}
	return j
}

// read returns the item with its documents.
func (j *item) read() (fetch.Item, error) {
	if len(j.Bodies) != len(j.Fetched) {
		return j.Item, fmt.Errorf("the item %s has %d documents and %d bodies", j.ID, len(j.Fetched), len(j.Bodies))
	}
	for n, body := range j.Bodies {
		j.Fetched[n].Body = body
	}
	return j.Item, nil
}

// header is the first line: what the run was asked for.
type header struct {
	Connector string    `json:"connector"`
	Endpoint  string    `json:"endpoint"`
	Action    Action    `json:"action"`
	From      time.Time `json:"from"`
	To        time.Time `json:"to"`
}

// pageMark says that the items before it are all that are missing until a position.
type pageMark struct {
	Next   fetch.Position `json:"next"`
	Counts Counts         `json:"counts"`
}

// actedMark says how many of the missing items are published or resent.
type actedMark struct {
	Done   int    `json:"done"`
	Counts Counts `json:"counts"`
}

// state is where a run goes on.
type state struct {
	header header
	at     fetch.Position
	counts Counts
	acted  int
}

// ErrJournal means that a file is not a journal, or that it is one of another run. The file
// is not changed.
var ErrJournal = errors.New("the journal cannot be used")

// OpenJournal opens a journal, or creates it with mode 0600: it has payments' data.
func OpenJournal(path string) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return &Journal{file: f, writer: bufio.NewWriter(f)}, nil
}

func openTemporary() (*Journal, error) {
	f, err := os.CreateTemp("", "tollbridge-gaps-")
	if err != nil {
		return nil, err
	}
	return &Journal{file: f, writer: bufio.NewWriter(f), temporary: true}, nil
}

// Close closes the journal. It removes a temporary one.
func (j *Journal) Close() error {
	err := errors.Join(j.writer.Flush(), j.file.Close())
	if j.temporary {
		err = errors.Join(err, os.Remove(j.file.Name()))
	}
	return err
}

// Remove closes and removes the journal, after a run that is finished.
func (j *Journal) Remove() error {
	return errors.Join(j.file.Close(), os.Remove(j.file.Name()))
}

// begin reads the journal, drops what follows its last mark, and returns where to go on.
// The time range of a journal that has a run is that of the journal. It returns an error
// that wraps [ErrJournal] if the journal is of another endpoint or action, or no journal.
// A nil journal starts at the beginning.
func (j *Journal) begin(h header) (s state, err error) {
	if j == nil {
		return state{header: h}, nil
	}
	if _, err := j.file.Seek(0, io.SeekStart); err != nil {
		return s, err
	}
	var kept int64 // the size up to the last mark
	var entries []entry
	compared := 0 // how many of the entries are of pages that are done
	in := bufio.NewReaderSize(j.file, 1<<20)
	for at := int64(0); ; {
		text, err := in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return s, err
		}
		var l line
		if err != nil || json.Unmarshal(text, &l) != nil { // the end, or half a line
			break
		}
		start := at
		at += int64(len(text))
		switch {
		case l.Header != nil:
			s.header, kept = *l.Header, at
		case l.Item != nil:
			entries = append(entries, entry{l.Item.Time.UnixNano(), start})
		case l.Page != nil:
			s.at, s.counts, compared, kept = l.Page.Next, l.Page.Counts, len(entries), at
		case l.Acted != nil:
			s.acted, s.counts, kept = l.Acted.Done, l.Acted.Counts, at
		}
	}
	if kept == 0 {
		if err := j.checkStart(); err != nil {
			return s, err
		}
		if err := j.truncate(0); err != nil {
			return s, err
		}
		s.header = h
		return s, j.write(line{Header: &h}, true)
	}
	if was := s.header; was.Connector != h.Connector || was.Endpoint != h.Endpoint || was.Action != h.Action {
		return s, fmt.Errorf("%w: it has %s of %s/%s; remove it, or name another file", ErrJournal, was.Action, was.Connector, was.Endpoint)
	}
	j.entries = entries[:compared]
	return s, j.truncate(kept)
}

// journalStart begins every journal.
const journalStart = `{"run":`

// checkStart returns an error that wraps [ErrJournal] if the file has something else than the
// beginning of a journal.
func (j *Journal) checkStart() error {
	start := make([]byte, len(journalStart))
	n, err := j.file.ReadAt(start, 0)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case !strings.HasPrefix(journalStart, string(start[:n])):
		return fmt.Errorf("%w: the file is not a journal; name another one", ErrJournal)
	}
	return nil
}

func (j *Journal) truncate(size int64) error {
	if err := j.file.Truncate(size); err != nil {
		return err
	}
	j.size = size
	_, err := j.file.Seek(size, io.SeekStart)
	j.writer.Reset(j.file)
	return err
}

// write appends a line. With sync, it and all before it are on the disk afterwards.
func (j *Journal) write(l line, sync bool) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	n, err := j.writer.Write(append(b, '\n'))
	j.size += int64(n)
	if err != nil || !sync {
		return err
	}
	if err := j.writer.Flush(); err != nil {
		return err
	}
	return j.file.Sync()
}

// add appends a missing item.
func (j *Journal) add(i fetch.Item) error {
	j.entries = append(j.entries, entry{i.Time.UnixNano(), j.size})
	return j.write(line{Item: newItem(i)}, false)
}

// page marks the items before the position as compared. A nil journal marks nothing.
func (j *Journal) page(next fetch.Position, n Counts) error {
	if j == nil {
		return nil
	}
	return j.write(line{Page: &pageMark{next, n}}, true)
}

// acted marks missing items as published or resent.
func (j *Journal) acted(done int, n Counts) error {
	return j.write(line{Acted: &actedMark{done, n}}, true)
}

// missing returns where the missing items are, the oldest first.
func (j *Journal) missing() ([]entry, error) {
	slices.SortFunc(j.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(b.at, a.at)) // lists begin with the newest
	})
	return j.entries, j.writer.Flush()
}

// item reads a missing item.
func (j *Journal) item(e entry) (fetch.Item, error) {
	text, err := bufio.NewReader(io.NewSectionReader(j.file, e.at, j.size-e.at)).ReadBytes('\n')
	if err != nil {
		return fetch.Item{}, err
	}
	var l line
	if err := json.Unmarshal(text, &l); err != nil || l.Item == nil {
		return fetch.Item{}, fmt.Errorf("the journal is damaged at byte %d: %w", e.at, err)
	}
	return l.Item.read()
}

// emptyURL returns the URL of a request to an endpoint, without a query.
func emptyURL(e webhook.Endpoint) *url.URL { return &url.URL{Path: e.Path()} }
