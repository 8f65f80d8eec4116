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
	Retried   normalize.Outcome = "retried"   // its events are published, or today's code makes none of it
	Discarded normalize.Outcome = "discarded" // an operator decided that it gives no event
)

// Letter is a dead letter.
type Letter struct {
	ID          string `json:"id"` // PARTITION-OFFSET
	SHA256      string `json:"sha256"`
	Bytes       int    `json:"bytes"`
	lookup.Item        // its Webhook is never nil
	// Handled is the last record that marks the letter as handled; nil if there is none.
	Handled *webhook.Archived `json:"handled,omitempty"`
}

// Filter selects letters. An empty field selects all.
type Filter struct {
	IDs       []string // PARTITION-OFFSET, or the first digits of the body's SHA-256 in hex
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
	return id == l.ID || id == l.Topic+"-"+l.ID || len(id) >= digestDigits && strings.HasPrefix(l.SHA256, id)
}

// List returns the letters that a filter selects, in the order in which they were
// received. It returns an error if an id of the filter matches no letter. progress,
// if it is not nil, is called with the number of records read so far and of all.
func List(ctx context.Context, reader *consume.Reader, names kafka.Names, f Filter, progress func(done, all int64)) ([]*Letter, error) {
	partitions, err := reader.Partitions(ctx, names.Dead())
	if err != nil {
		return nil, err
	}
	ranges, err := reader.Bounds(ctx, partitions)
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
			l.Handled = m // the last one counts
		}
	}
	for _, id := range f.IDs {
		if !slices.ContainsFunc(all, func(l *Letter) bool { return l.hasID(id) }) {
			return nil, fmt.Errorf("there is no dead letter %q: want PARTITION-OFFSET, such as 3-17, or %d digits of the body's SHA-256", id, digestDigits)
		}
	}
	all = slices.DeleteFunc(all, func(l *Letter) bool { return !f.matches(l) })
	slices.SortStableFunc(all, func(a, b *Letter) int { return a.Webhook.ReceivedAt.Compare(b.Webhook.ReceivedAt) })
	return all, nil
}

func newLetter(i *lookup.Item) *Letter {
	digest := sha256.Sum256(i.Webhook.Body)
	return &Letter{ID: lookup.LetterID(i.Receipt), SHA256: hex.EncodeToString(digest[:]), Bytes: len(i.Webhook.Body), Item: *i}
}

// Handler handles letters. Names, Endpoints and By must be set; History for
// [Handler.Judge] and [Handler.Retry], and Publisher for [Handler.Retry] and [Handler.Discard].
type Handler struct {
	Names     kafka.Names
	Endpoints []webhook.Endpoint
	History   *history.History // knows which events were published
	Publisher history.Publisher
	By        string // the user who handles the letters
	Note      string // why

	keyring verify.Keyring
}

// Verdict is the result of a letter with today's code and configuration.
type Verdict struct {
	*Letter
	Result webhook.Verdict `json:"-"`
	New    []string        `json:"new,omitempty"`   // ids of its events that are not published yet
	Known  []string        `json:"known,omitempty"` // ids of its events that are published
	// Unresolved is the reason why the letter, or a part of it, still cannot be read. It is
	// empty if all of it can be.
	Unresolved string `json:"stays,omitempty"`
}

// Resolved reports whether the letter is handled once its new events are published.
func (v Verdict) Resolved() bool { return v.Unresolved == "" }

// Judge verifies and normalises a letter again, with today's code and configuration,
// and looks up which of its events were published. It writes nothing.
func (d *Handler) Judge(ctx context.Context, l *Letter) (Verdict, error) {
	v, a, err := d.judge(ctx, l)
	if a != nil {
		a.Forget()
	}
	return v, err
}

// judge is Judge, and returns the admission of the events, which reserves them. It is
// nil if the letter has no result.
func (d *Handler) judge(ctx context.Context, l *Letter) (Verdict, *history.Admission, error) {
	v := Verdict{Letter: l}
	at := slices.IndexFunc(d.Endpoints, func(e webhook.Endpoint) bool { return l.Webhook.Is(e) })
	if at < 0 {
		v.Unresolved = fmt.Sprintf("the configuration has no endpoint %s/%s: add it, with its secrets", l.Webhook.Connector, l.Webhook.Endpoint)
		return v, nil, nil
	}
	v.Result = d.Endpoints[at].JudgeArchived(ctx, &d.keyring, *l.Webhook)
	if v.Result.Err != nil {
		v.Unresolved = "verification fails today: " + v.Result.Err.Error()
		return v, nil, ctx.Err()
	}
	for _, k := range v.Result.Skipped {
		if k.Outcome == normalize.OutcomeMalformed {
			v.Unresolved = fmt.Sprintf("item %d: %s", k.Item, k.Reason)
			break
		}
	}
	a, err := d.History.AdmitWhenFresh(ctx, v.Result.Events)
	if err != nil {
		return v, nil, err
	}
	for _, e := range v.Result.Events {
		if _, known := a.Known[e.ID]; known {
			v.Known = append(v.Known, e.ID)
		} else {
			v.New = append(v.New, e.ID)
		}
	}
	return v, a, nil
}

// Retry judges a letter and publishes its new events, as the server would have done.
// If all of the letter can be read now, Retry then marks it as handled. After an
// interruption call it again: it recognises the events that are published.
func (d *Handler) Retry(ctx context.Context, l *Letter) (Verdict, error) {
	v, a, err := d.judge(ctx, l)
	if err != nil || a == nil {
		return v, err
	}
	defer a.Forget() // does nothing after Done
	var records []kafka.Record
	for _, e := range a.Events {
		r, err := kafka.EventRecord(d.Names, e, l.Webhook.Trace)
		if errors.As(err, new(*kafka.TooLarge)) {
			v.Unresolved = err.Error()
			return v, nil
		}
		if err != nil {
			return v, err
		}
		records = append(records, r)
	}
	receipts, err := d.Publisher.Publish(ctx, append(records, a.References...))
	if err != nil {
		return v, fmt.Errorf("dead letter %s: %w", l.ID, err)
	}
	a.Done(receipts[:len(a.Events)], receipts[len(receipts)-len(a.References):])
	if !v.Resolved() {
		return v, nil
	}
	return v, d.mark(ctx, l, Retried, append(v.Known, v.New...))
}

// ErrNote is the error of discarding a letter without a note.
var ErrNote = errors.New("discarding a dead letter needs a note that says why")

// Discard marks a letter as handled without publishing anything. It returns
// [ErrNote] if Note is empty.
func (d *Handler) Discard(ctx context.Context, l *Letter) error {
	if d.Note == "" {
		return ErrNote
	}
	return d.mark(ctx, l, Discarded, nil)
}

// mark writes the record that marks a letter as handled, and sets l.Handled.
func (d *Handler) mark(ctx context.Context, l *Letter, outcome normalize.Outcome, events []string) error {
	m := webhook.Archived{
		Connector: l.Webhook.Connector, Endpoint: l.Webhook.Endpoint, ReceivedAt: time.Now().UTC(),
		Outcome: outcome, Reason: d.Note, EventIDs: events, Trace: l.Webhook.Trace, Handles: l.ID, By: d.By,
	}
	r := m.Record(l.Key)
	_, err := d.Publisher.Publish(ctx, []kafka.Record{{
		Topic: l.Topic, ID: webhook.HeaderHandles + ":" + l.ID, Key: r.Key, Headers: r.Headers,
	}})
	if err != nil {
		return fmt.Errorf("dead letter %s: marking it as %s failed; run the same command again, it publishes nothing twice: %w", l.ID, outcome, err)
	}
	l.Handled = &m
	return nil
}
