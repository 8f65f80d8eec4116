// Package dead lists, retries and discards dead letters: verified webhooks that are
// not what their processor documents. It deletes and changes no record of
// webhooks.dead. To mark a letter as handled it writes a further record with the same
// key, whose header handles has the letter's partition and offset.
package dead

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// The outcomes of a letter that was handled.
const (
	Retried   normalize.Outcome = "retried"   // its events are published, or today's code makes none from it
	Discarded normalize.Outcome = "discarded" // an operator decided that it gives no event
)

// Letter is a dead letter: a record of webhooks.dead.
type Letter struct {
	ID          string `json:"id"` // PARTITION-OFFSET
	SHA256      string `json:"sha256"`
	Bytes       int    `json:"bytes"` // of the body
	lookup.Item        // its Webhook is never nil, and has no bodies: see [Load]
	// Handled is the last record that marks the letter as handled; nil if there is none.
	Handled *webhook.Archived `json:"handled,omitempty"`

	size int // of the bodies that [Load] reads
}

// Filter selects letters. An empty field selects all.
type Filter struct {
	IDs       []string // ids or receipts of letters, or the first digits of the body's SHA-256 in hex
	Connector string
	Endpoint  string
	Reason    string    // a part of the reason's text
	From, To  time.Time // when the webhook was received: From inclusive, To exclusive
	Handled   bool      // include letters that were handled
}

func (f Filter) matches(l *Letter) bool {
	w := l.Webhook
	switch {
	case len(f.IDs) > 0 && !slices.ContainsFunc(f.IDs, l.hasID),
		f.Connector != "" && f.Connector != w.Connector,
		f.Endpoint != "" && f.Endpoint != w.Endpoint,
		!strings.Contains(w.Reason, f.Reason),
		!f.From.IsZero() && w.ReceivedAt.Before(f.From),
		!f.To.IsZero() && !w.ReceivedAt.Before(f.To),
		l.Handled != nil && !f.Handled:
		return false
	}
	return true
}

// digestDigits is the least number of digits of a SHA-256 that select a letter.
const digestDigits = 8

// hasID reports whether an id of [Filter.IDs] selects the letter.
func (l *Letter) hasID(id string) bool {
	at, isPosition := kafka.ParseReceipt(id, l.Topic)
	return isPosition && at == l.Receipt || len(id) >= digestDigits && strings.HasPrefix(l.SHA256, id)
}

// List returns the letters that a filter selects, in the order in which they were
// received, without the bodies of their webhooks: those are most of the memory that letters
// take. It returns an error if an id of the filter matches no letter. progress,
// if it is not nil, is called with the number of records read so far and of all.
func List(ctx context.Context, reader *consume.Reader, names kafka.Names, f Filter, progress func(done, all int64)) ([]*Letter, error) {
	ranges, err := reader.TopicBounds(ctx, names.Dead())
	if err != nil {
		return nil, err
	}
	all, byID := []*Letter{}, map[string]*Letter{}
	var marks []*webhook.Archived
	err = lookup.Each(ctx, reader, ranges, progress, func(r consume.Record) {
		i := lookup.Read(names, r)
		switch {
		case i == nil: // written by another program
		case i.Webhook.Handles != "":
			marks = append(marks, i.Webhook)
		default:
			l := newLetter(i)
			all, byID[l.ID] = append(all, l), l
		}
	})
	if err != nil {
		return nil, err
	}
	for _, m := range marks {
		if l := byID[m.Handles]; l != nil {
			l.Handled = m // the last mark counts
		}
	}
	for _, id := range f.IDs {
		if !slices.ContainsFunc(all, func(l *Letter) bool { return l.hasID(id) }) {
			return nil, fmt.Errorf("there is no dead letter %q: expected its id, such as 3-17, its receipt, such as %s, or %d digits of the body's SHA-256", id, kafka.Receipt{Topic: names.Dead(), Partition: 3, Offset: 17}.Text(), digestDigits)
		}
	}
	all = slices.DeleteFunc(all, func(l *Letter) bool { return !f.matches(l) })
	slices.SortStableFunc(all, func(a, b *Letter) int { return a.Webhook.ReceivedAt.Compare(b.Webhook.ReceivedAt) })
	return all, nil
}

// newLetter returns the letter of a record, without the bodies.
func newLetter(i *lookup.Item) *Letter {
	w := i.Webhook
	digest := sha256.Sum256(w.Body)
	l := &Letter{ID: lookup.LetterID(i.Receipt), SHA256: hex.EncodeToString(digest[:]), Bytes: len(w.Body), Item: *i, size: len(w.Body)}
	w.Body = nil
	for n := range w.Fetched {
		l.size += len(w.Fetched[n].Body)
		w.Fetched[n].Body = nil
	}
	return l
}

// Load reads the webhooks of letters with their bodies: those of the request, and of the
// answers of the processor's API. It leaves out letters that are no longer in the topic.
func Load(ctx context.Context, reader *consume.Reader, names kafka.Names, letters ...*Letter) (map[*Letter]*webhook.Archived, error) {
	at := make([]kafka.Receipt, len(letters))
	for n, l := range letters {
		at[n] = l.Receipt
	}
	records, err := reader.Get(ctx, at)
	all := map[*Letter]*webhook.Archived{}
	for _, l := range letters {
		if r, ok := records[l.Receipt]; ok {
			if i := lookup.Read(names, r); i != nil {
				all[l] = i.Webhook
			}
		}
	}
	return all, err
}

// Handler handles letters. Names, Endpoints and By must be set; Reader and History for
// [Handler.Plan] and [Handler.Retry], and Publisher for [Handler.Retry] and [Handler.Discard].
type Handler struct {
	Reader    *consume.Reader // reads the webhooks of letters with their bodies
	Names     kafka.Names
	Endpoints []webhook.Endpoint
	History   *history.History // looks up which events were published
	Publisher history.Publisher
	By        string // the user who handles the letters
	Note      string // why they handle them so

	keyring       verify.Keyring
	noCorrections bool // Kafka accepts no record as large as one of the corrections
}

// Verdict is what today's code and configuration make of a letter.
type Verdict struct {
	*Letter
	Result webhook.Verdict `json:"-"`
	New    []string        `json:"new,omitempty"`   // ids of its events that are not published yet
	Known  []string        `json:"known,omitempty"` // ids of its events that are published
	// Unresolved is the reason why the letter, or a part of it, still cannot be read. It
	// is empty if the whole letter can be read.
	Unresolved string `json:"stays,omitempty"`

	webhook  *webhook.Archived // with its bodies; nil if Kafka no longer has it
	tooLarge bool              // an event is too large for Kafka
	// fetched says that Result has what the processor's API answers now, and not what the
	// archive has. It is archived with the webhook's new events.
	fetched bool
}

// Resolved reports whether the letter is handled once its new events are published.
func (v Verdict) Resolved() bool { return v.Unresolved == "" }

// Plan verifies and normalises letters again, with today's code and configuration, and
// looks up which of their events were published. It writes nothing. If a letter cannot be
// read with what the archive has, Plan asks the processor's API for what the webhook only
// names. It calls each with the verdicts, in the order of the letters.
func (d *Handler) Plan(ctx context.Context, letters []*Letter, each func(Verdict) error) error {
	return d.verifyAll(ctx, letters, func(v Verdict) error {
		if len(v.Result.Events) > 0 {
			a, err := d.History.LookUpWhenFresh(ctx, v.Result.Events)
			if err != nil {
				return err
			}
			a.Forget()
			v.split(a.Known)
		}
		return each(v)
	})
}

// verifyAll loads, verifies and normalises letters, and calls f with their verdicts, without
// New and Known. It holds the webhooks of few letters at a time.
func (d *Handler) verifyAll(ctx context.Context, letters []*Letter, f func(Verdict) error) error {
	for len(letters) > 0 {
		n, bytes := 0, 0
		for n < len(letters) && n < maxLetters && (n == 0 || bytes+letters[n].size <= maxBytes) {
			bytes += letters[n].size
			n++
		}
		webhooks, err := Load(ctx, d.Reader, d.Names, letters[:n]...)
		if err != nil {
			return err
		}
		for _, l := range letters[:n] {
			v, err := d.verify(ctx, l, webhooks[l])
			if err == nil {
				err = f(v)
			}
			if err != nil {
				return err
			}
		}
		letters = letters[n:]
	}
	return nil
}

// verify verifies and normalises a letter with its webhook.
func (d *Handler) verify(ctx context.Context, l *Letter, w *webhook.Archived) (Verdict, error) {
	v := Verdict{Letter: l, webhook: w}
	if w == nil {
		v.Unresolved = "Kafka deleted this letter while it was being retried (kafka.retention): nothing can be done"
		return v, nil
	}
	at := slices.IndexFunc(d.Endpoints, func(e webhook.Endpoint) bool { return w.Is(e) })
	if at < 0 {
		v.Unresolved = fmt.Sprintf("the configuration has no endpoint %s/%s: add it, with its secrets", w.Connector, w.Endpoint)
		return v, nil
	}
	e := d.Endpoints[at]
	v.Result = e.JudgeArchived(ctx, &d.keyring, *w)
	if v.Result.Err != nil {
		v.Unresolved = "verification fails today: " + v.Result.Err.Error()
		return v, ctx.Err()
	}
	if v.Unresolved = malformed(v.Result); v.Unresolved == "" {
		return v, nil
	}
	switch again, ok, err := d.fetch(ctx, e, *w); {
	case err != nil:
		return v, err
	case ok && again.Err != nil:
		v.Unresolved += "; asked again: " + again.Err.Error()
	case ok:
		v.Result, v.Unresolved, v.fetched = again, malformed(again), true
	}
	return v, nil
}

// malformed returns why an item of the webhook cannot be read; empty if all can.
func malformed(v webhook.Verdict) string {
	for _, k := range v.Skipped {
		if k.Outcome == normalize.OutcomeMalformed {
			return fmt.Sprintf("item %d: %s", k.Item, k.Reason)
		}
	}
	return ""
}

// The limits of a processor's API that is asked for many letters.
const (
	fetchAttempts = 5           // for one letter
	longestWait   = time.Minute // before the next attempt
)

// fetch asks the processor's API again for what a letter only names: the API may know an
// object today that it did not know then. It waits as long as a limit says. ok is false if
// there is nothing to ask.
func (d *Handler) fetch(ctx context.Context, e webhook.Endpoint, w webhook.Archived) (v webhook.Verdict, ok bool, err error) {
	for attempt := 1; ; attempt++ {
		v, ok = e.FetchArchived(ctx, &d.keyring, w)
		var limited *fetch.LimitedError
		if ctx.Err() != nil || !errors.As(v.Err, &limited) || attempt == fetchAttempts {
			return v, ok, ctx.Err()
		}
		select {
		case <-time.After(min(limited.RetryAfter, longestWait)):
		case <-ctx.Done():
		}
	}
}

// split sets New and Known. The argument known has the published events.
func (v *Verdict) split(known map[string]history.Located) {
	v.New, v.Known = nil, nil
	for _, e := range v.Result.Events {
		if event, ok := known[e.ID]; ok {
			v.Known = append(v.Known, event.ID)
		} else {
			v.New = append(v.New, e.ID)
		}
	}
}

// ErrNote is returned when a letter is discarded without a note.
var ErrNote = errors.New("discarding a dead letter needs a note that says why")

// Discard marks letters as handled without publishing anything. It returns [ErrNote] if
// Note is empty.
func (d *Handler) Discard(ctx context.Context, letters []*Letter) error {
	if d.Note == "" {
		return ErrNote
	}
	for some := range slices.Chunk(letters, maxLetters) {
		marks := make([]mark, len(some))
		for i, l := range some {
			marks[i] = mark{l, Discarded, nil}
		}
		if err := d.write(ctx, marks); err != nil {
			return err
		}
	}
	return nil
}

// mark describes how a letter was handled.
type mark struct {
	letter  *Letter
	outcome normalize.Outcome
	events  []string
}

// write writes the records that mark letters as handled, and sets their Handled.
func (d *Handler) write(ctx context.Context, marks []mark) error {
	if len(marks) == 0 {
		return nil
	}
	var records []kafka.Record
	var handled []*webhook.Archived
	for _, m := range marks {
		l := m.letter
		a := webhook.Archived{
			Connector: l.Webhook.Connector, Endpoint: l.Webhook.Endpoint, ReceivedAt: time.Now().UTC(),
			Outcome: m.outcome, Reason: d.Note, EventIDs: m.events, Trace: l.Webhook.Trace, Handles: l.ID, By: d.By,
		}
		r := a.Record(l.Key)
		records = append(records, kafka.Record{Topic: l.Topic, ID: webhook.HeaderHandles + ":" + l.ID, Key: r.Key, Headers: r.Headers})
		handled = append(handled, &a)
	}
	if _, err := d.Publisher.Publish(ctx, records); err != nil {
		return fmt.Errorf("marking %d dead letters as %s, the first of them %s, failed; run the same command again, it publishes nothing twice: %w", len(marks), marks[0].outcome, marks[0].letter.ID, err)
	}
	for i, m := range marks {
		m.letter.Handled = handled[i]
	}
	return nil
}
