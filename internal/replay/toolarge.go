package replay

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

// reject counts and reports an event that is too large, with the key under which it
// would be published.
func (r *run) reject(w *work, e schemas.Event, large *kafka.TooLarge) error {
	r.Counts.TooLarge++
	if e.Data.Corrects != "" {
		r.Changed--
	} else {
		r.New--
	}
	if i := slices.IndexFunc(w.batch, func(c Change) bool { return c.Event.ID == e.ID }); i >= 0 {
		at := w.batch[i].from
		r.tooLarge[at] = append(r.tooLarge[at], large.Error())
	}
	if r.Config.TooLarge == nil {
		return nil
	}
	return r.Config.TooLarge(e, large.Error())
}

// archiveTooLarge writes each webhook that gives a too large event to webhooks.dead as
// malformed, as the server does. It leaves out webhooks that are in the topic already.
// A plan writes nothing.
func (r *run) archiveTooLarge(ctx context.Context) error {
	if r.Publisher == nil || len(r.tooLarge) == 0 {
		return nil
	}
	known, err := r.deadLetters(ctx)
	if err != nil {
		return err
	}
	var all []kafka.Receipt
	for at := range r.tooLarge {
		if at.Topic != r.Events.Dead() {
			all = append(all, at)
		}
	}
	for some := range slices.Chunk(all, maxRedeliveries) {
		records, err := r.Reader.Get(ctx, some)
		if err != nil {
			return err
		}
		for at, record := range records {
			a, err := webhook.ReadArchived(record.Headers, record.Value)
			if err != nil {
				return err
			}
			if known[a.ID()] {
				continue
			}
			known[a.ID()] = true
			a.Outcome, a.Reason = normalize.OutcomeMalformed, strings.Join(r.tooLarge[at], "; ")
			written := a.Record(string(record.Key))
			letter := kafka.Record{Topic: r.Events.Dead(), ID: a.ID(), Key: written.Key, Value: written.Value, Headers: written.Headers}
			if _, err := r.Publisher.Publish(ctx, []kafka.Record{letter}); err != nil {
				return fmt.Errorf("writing a webhook with too large events to %s: %w", letter.Topic, err)
			}
		}
	}
	return nil
}

// deadLetters returns the ids of the webhooks in webhooks.dead: see [webhook.Archived.ID].
func (r *run) deadLetters(ctx context.Context) (map[string]bool, error) {
	ranges, err := r.Reader.TopicBounds(ctx, r.Events.Dead())
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	err = r.read(ctx, "dead letters", ranges, func(record consume.Record) error {
		if a, err := webhook.ReadArchived(record.Headers, record.Value); err == nil && a.Handles == "" {
			all[a.ID()] = true
		}
		return nil
	})
	return all, err
}
