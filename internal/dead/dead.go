// Package dead is what can be done about dead letters: verified webhooks that
// are not what their processor documents. Nothing of webhooks.dead is deleted
// or changed. That a letter was handled says another record, which is there
// under the same key and names the letter's place in the header handles.
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
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// What became of a letter.
const (
	Retried   normalize.Outcome = "retried"   // its events are published, or today it has none
	Discarded normalize.Outcome = "discarded" // somebody decided so
)

// Letter is a dead letter.
type Letter struct {
	ID          string `json:"id"` // PARTITION-OFFSET
	SHA256      string `json:"sha256"`
	Bytes       int    `json:"bytes"`
	lookup.Item        // its Webhook is never nil
	// Handled is the record that says what became of it, nil if nothing did.
	Handled *webhook.Archived `json:"handled,omitempty"`
}

// Filter chooses letters; what is empty chooses all.
type Filter struct {
	IDs       []string // PARTITION-OFFSET, or how the body's SHA-256 begins, in hex
	Connector string
	Endpoint  string
	Reason    string    // some of the reason's text
	From, To  time.Time // when the webhook was received
	Handled   bool      // those that were handled, too
}

func (f Filter) matches(l *Letter) bool {
	w := l.Webhook
	switch {
	case len(f.IDs) > 0 && !slices.ContainsFunc(f.IDs, l.is),
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

// digestDigits is how much of a digest names a letter, at least.
const digestDigits = 8

func (l *Letter) is(id string) bool {
	return id == l.ID || id == l.Topic+"-"+l.ID || len(id) >= digestDigits && strings.HasPrefix(l.SHA256, id)
}

// List returns the letters that a filter chooses, in the order in which they
// were received. An id that names none is an error.
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
		case i == nil: // another's
		case i.Webhook.Handles != "":
			marks = append(marks, i.Webhook)
		default:
			l := letter(i)
			all, byID[l.ID] = append(all, l), l
		}
	})
	if err != nil {
		return nil, err
	}
	for _, m := range marks {
		if l := byID[m.Handles]; l != nil {
			l.Handled = m // the last counts
		}
	}
	for _, id := range f.IDs {
		if !slices.ContainsFunc(all, func(l *Letter) bool { return l.is(id) }) {
			return nil, fmt.Errorf("there is no dead letter %q: want PARTITION-OFFSET, such as 3-17, or %d digits of the body's SHA-256", id, digestDigits)
		}
	}
	all = slices.DeleteFunc(all, func(l *Letter) bool { return !f.matches(l) })
	slices.SortStableFunc(all, func(a, b *Letter) int { return a.Webhook.ReceivedAt.Compare(b.Webhook.ReceivedAt) })
	return all, nil
}

func letter(i *lookup.Item) *Letter {
	digest := sha256.Sum256(i.Webhook.Body)
	return &Letter{ID: lookup.LetterID(i.Receipt), SHA256: hex.EncodeToString(digest[:]), Bytes: len(i.Webhook.Body), Item: *i}
}

// Publisher writes records: see [publish.Producer.Publish].
type Publisher interface {
	Publish(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error)
}

// Desk is where letters are handled. Names, Endpoints and By must be set;
// History for retrying, Publisher for all that writes.
type Desk struct {
	Names     kafka.Names
	Endpoints []webhook.Endpoint
	History   *history.History // so that what was published is not again
	Publisher Publisher
	By        string // who handles them
	Note      string // why

	keyring verify.Keyring
}

// Verdict is what a letter comes to today.
type Verdict struct {
	*Letter
	Judgement webhook.Verdict `json:"-"`
	New       []string        `json:"new,omitempty"`   // ids of events that are not published yet
	Known     []string        `json:"known,omitempty"` // and of those that are
	// Stays is why the letter is no better than it was, or not all of it;
	// empty settles it.
	Stays string `json:"stays,omitempty"`
}

// Settled reports whether nothing is left to do once the new events are
// published.
func (v Verdict) Settled() bool { return v.Stays == "" }

// Judge verifies and reads a letter again, with today's code and
// configuration, and looks its events up. Nothing is written.
func (d *Desk) Judge(ctx context.Context, l *Letter) (Verdict, error) {
	v, a, err := d.judge(ctx, l)
	if a != nil {
		a.Forget()
	}
	return v, err
}

func (d *Desk) judge(ctx context.Context, l *Letter) (Verdict, *history.Admission, error) {
	v := Verdict{Letter: l}
	at := slices.IndexFunc(d.Endpoints, func(e webhook.Endpoint) bool { return l.Webhook.Is(e) })
	if at < 0 {
		v.Stays = fmt.Sprintf("the configuration has no endpoint %s/%s", l.Webhook.Connector, l.Webhook.Endpoint)
		return v, nil, nil
	}
	v.Judgement = d.Endpoints[at].JudgeArchived(ctx, &d.keyring, *l.Webhook)
	if v.Judgement.Err != nil {
		v.Stays = "it is not verified any more: " + v.Judgement.Err.Error()
		return v, nil, ctx.Err()
	}
	for _, k := range v.Judgement.Kept {
		if k.Outcome == normalize.OutcomeMalformed {
			v.Stays = fmt.Sprintf("item %d: %s", k.Item, k.Reason)
			break
		}
	}
	a, err := d.History.AdmitWhenFresh(ctx, v.Judgement.Events)
	if err != nil {
		return v, nil, err
	}
	for _, e := range v.Judgement.Events {
		if _, known := a.Known[e.ID]; known {
			v.Known = append(v.Known, e.ID)
		} else {
			v.New = append(v.New, e.ID)
		}
	}
	return v, a, nil
}

// Retry judges a letter and publishes those of its events that are not
// published yet, as the server would have. If nothing of it is malformed any
// more it then marks it as handled. Whoever is interrupted between the two
// retries: what is published is recognised.
func (d *Desk) Retry(ctx context.Context, l *Letter) (Verdict, error) {
	v, a, err := d.judge(ctx, l)
	if err != nil || a == nil {
		return v, err
	}
	defer a.Forget() // unless it is done
	var records []kafka.Record
	for _, e := range a.Events {
		r, err := kafka.EventRecord(d.Names, e, l.Webhook.Trace)
		if errors.As(err, new(*kafka.TooLarge)) {
			v.Stays = err.Error()
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
	if !v.Settled() {
		return v, nil
	}
	return v, d.mark(ctx, l, Retried, append(v.Known, v.New...))
}

// ErrNote is returned for a letter that is discarded without a note.
var ErrNote = errors.New("whoever discards a dead letter says why")

// Discard marks a letter as handled.
func (d *Desk) Discard(ctx context.Context, l *Letter) error {
	if d.Note == "" {
		return ErrNote
	}
	return d.mark(ctx, l, Discarded, nil)
}

// mark writes the record that says that a letter is handled.
func (d *Desk) mark(ctx context.Context, l *Letter, outcome normalize.Outcome, events []string) error {
	m := webhook.Archived{
		Connector: l.Webhook.Connector, Endpoint: l.Webhook.Endpoint, ReceivedAt: time.Now().UTC(),
		Outcome: outcome, Reason: d.Note, EventIDs: events, Trace: l.Webhook.Trace, Handles: l.ID, By: d.By,
	}
	var headers []schemas.Header
	for _, h := range [][2]string{
		{"connector", m.Connector}, {"endpoint", m.Endpoint}, {"received-at", m.ReceivedAt.Format(time.RFC3339Nano)},
		{"outcome", string(m.Outcome)}, {"reason", m.Reason}, {"event-ids", strings.Join(m.EventIDs, ",")},
		{"traceparent", m.Trace}, {webhook.HeaderHandles, m.Handles}, {"by", m.By},
	} {
		headers = append(headers, schemas.Header{Name: h[0], Value: h[1]})
	}
	_, err := d.Publisher.Publish(ctx, []kafka.Record{{
		Topic: l.Topic, ID: webhook.HeaderHandles + ":" + l.ID, Key: []byte(l.Key), Headers: headers,
	}})
	if err != nil {
		return fmt.Errorf("dead letter %s: that it is %s could not be written; do the same again, nothing is doubled: %w", l.ID, outcome, err)
	}
	l.Handled = &m
	return nil
}
