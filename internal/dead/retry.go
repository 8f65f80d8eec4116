package dead

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// The limits of a batch of letters. They bound its memory, and are far below what the
// producer accepts at once. A letter that exceeds a limit by itself is a batch of its
// own.
const (
	maxLetters = 200
	maxEvents  = 500
	maxBytes   = 4 << 20 // of the bodies that [Load] reads

	maxLetterBytes = 32 << 20 // of the events of one letter: many events can repeat what the body says once
)

// Retry judges letters and publishes their new events, as the server would have done.
// It then marks as handled those letters in which nothing is malformed any more. It
// calls each with the verdicts, in the order of the letters. After an interruption call
// it again: it recognises the events that are published.
//
// Retry holds the bodies of few letters at a time, however many there are. It works in
// batches: it writes the events of many letters in one request to Kafka, and marks the
// letters in another. Letters of the same payment are never in the same batch, so that each
// event is looked up after the earlier events of its payment are published.
func (d *Handler) Retry(ctx context.Context, letters []*Letter, each func(Verdict) error) error {
	b := newBatch()
	err := d.verifyAll(ctx, letters, func(v Verdict) error {
		keys := paymentKeys(v.Result.Events)
		if b.isFull(v) || b.has(keys) {
			if err := d.publish(ctx, b.verdicts, each); err != nil {
				return err
			}
			b = newBatch()
		}
		b.add(v, keys)
		return nil
	})
	if err != nil {
		return err
	}
	return d.publish(ctx, b.verdicts, each)
}

// batch holds letters that are retried together.
type batch struct {
	verdicts      []Verdict
	events, bytes int
	keys          map[string]struct{} // see paymentKeys
}

func newBatch() *batch { return &batch{keys: map[string]struct{}{}} }

func (b *batch) isFull(v Verdict) bool {
	return len(b.verdicts) >= maxLetters || b.events+len(v.Result.Events) > maxEvents || b.bytes+v.size > maxBytes
}

func (b *batch) has(keys []string) bool {
	for _, key := range keys {
		if _, ok := b.keys[key]; ok {
			return true
		}
	}
	return false
}

func (b *batch) add(v Verdict, keys []string) {
	b.verdicts = append(b.verdicts, v)
	b.events += len(v.Result.Events)
	b.bytes += v.size
	for _, key := range keys {
		b.keys[key] = struct{}{}
	}
}

// paymentKeys returns the values by which events of one payment are recognised: the
// event ids, the key and the processor's ids.
func paymentKeys(events []schemas.Event) (keys []string) {
	for _, e := range events {
		for id := range e.IDs() {
			keys = append(keys, "id:"+id)
		}
		keys = append(keys, "key:"+e.Subject)
		keys = append(keys, history.ReferenceKeys(e)...)
	}
	return keys
}

// publish publishes the new events of a batch, marks its letters and calls each with the
// verdicts.
func (d *Handler) publish(ctx context.Context, batch []Verdict, each func(Verdict) error) error {
	for {
		left, err := d.tryPublish(ctx, batch)
		if err != nil {
			return err
		}
		if !left {
			break
		}
	}
	var marks []mark
	for _, v := range batch {
		if v.Resolved() {
			marks = append(marks, mark{v.Letter, Retried, append(v.Known, v.New...)})
		}
	}
	if err := d.write(ctx, marks); err != nil {
		return err
	}
	for _, v := range batch {
		if err := each(v); err != nil {
			return err
		}
	}
	return nil
}

// tryPublish publishes the new events of a batch. A letter with an event that is too
// large for Kafka becomes unresolved, and none of its events is published; tryPublish then
// returns true, to be called again for the other letters.
func (d *Handler) tryPublish(ctx context.Context, batch []Verdict) (left bool, err error) {
	var events []schemas.Event
	var references []schemas.Reference
	for _, v := range batch {
		if !v.tooLarge {
			events = append(events, v.Result.Events...)
			references = append(references, v.Result.References...)
		}
	}
	if len(events)+len(references) == 0 {
		return false, nil
	}
	a, err := d.History.AdmitWhenFresh(ctx, events, references...)
	if err != nil {
		return false, err
	}
	if d.noCorrections {
		a.DropCorrections()
	}
	defer a.Forget()                                           // no effect after Done
	letterOf, traceOf := map[string]int{}, map[string]string{} // by event id
	for i := range batch {
		batch[i].split(a.Known)
		for _, e := range batch[i].Result.Events {
			letterOf[e.ID], traceOf[e.ID] = i, batch[i].Webhook.Trace
		}
	}
	var records []kafka.Record
	bytes := map[int]int{} // by letter index
	for _, e := range a.Events {
		r, err := kafka.EventRecord(d.Names, e, traceOf[e.ID])
		letter := letterOf[e.ID]
		if bytes[letter] += len(r.Value); err == nil && bytes[letter] > maxLetterBytes {
			err = &kafka.TooLarge{Err: fmt.Errorf("its events have more than %d bytes together", maxLetterBytes)}
		}
		switch {
		case errors.As(err, new(*kafka.TooLarge)):
			batch[letter].setTooLarge(err)
			left = true
		case err != nil:
			return false, err
		}
		r.NotAfter = a.NotAfter
		records = append(records, r)
	}
	if left {
		return true, nil
	}
	var archived []int // the letters whose webhooks are archived anew
	for i, v := range batch {
		if v.fetched && v.Resolved() && len(v.Result.Events) > 0 {
			records, archived = append(records, d.archiveRecord(v)), append(archived, i)
		}
	}
	if len(records)+len(a.References) == 0 {
		return false, nil
	}
	receipts, err := d.Publisher.Publish(ctx, append(records, a.References...))
	var large *kafka.TooLarge
	if errors.As(err, &large) { // the topic accepts less than the event schema
		for _, i := range large.Records {
			if i < len(a.Events) && a.Events[i].Data.Corrects != "" {
				d.noCorrections, left = true, true
			} else if i < len(a.Events) {
				batch[letterOf[a.Events[i].ID]].setTooLarge(large)
				left = true
			} else if i < len(a.Events)+len(archived) { // what the API answered is too large
				batch[archived[i-len(a.Events)]].fetched, left = false, true
			}
		}
		if left {
			return true, nil
		}
	}
	if err != nil {
		a.Fail(err)
		return false, fmt.Errorf("publishing the events of %d dead letters, the first of them %s, failed; run the same command again, it publishes nothing twice: %w", len(batch), batch[0].ID, err)
	}
	a.Done(receipts[:len(a.Events)], receipts[len(receipts)-len(a.References):])
	return false, nil
}

// archiveRecord returns the record of a letter's webhook for webhooks.received, with what
// the processor's API answered now. A replay reads it from there, as it does for a webhook
// that came with that answer. The record has the time at which the webhook was received.
func (d *Handler) archiveRecord(v Verdict) kafka.Record {
	a := *v.webhook
	a.Fetched, a.VouchedBy, a.Outcome, a.Reason = v.Result.Fetched, v.Result.VouchedBy(), v.Result.Outcome(), v.Result.Reasons()
	a.EventIDs, a.By = append(slices.Clone(v.Known), v.New...), d.By
	r := a.RecordAgain(v.Result.Events[0].Subject)
	return kafka.Record{Topic: d.Names.Received(), ID: a.ID(), Key: r.Key, Value: r.Value, Headers: r.Headers}
}

func (v *Verdict) setTooLarge(err error) { v.tooLarge, v.Unresolved = true, err.Error() }
