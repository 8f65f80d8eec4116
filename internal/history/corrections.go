package history

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// correctionDelay is the longest random time that a replica waits before it publishes
// due corrections, which another replica may publish meanwhile.
const correctionDelay = 3 * time.Second

// maxCorrections is the number of due corrections that are read at once, which
// bounds their memory.
const maxCorrections = 1000

// correction returns the event that replaces e, an event with a fallback key,
// under the merchant's id.
func correction(e schemas.Event, merchant string) schemas.Event {
	return correctionOf(e, withMerchant(e, merchant))
}

// publishCorrections publishes due corrections until ctx is done.
func (h *History) publishCorrections(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-time.After(rand.N(correctionDelay)):
		case <-ctx.Done():
			return
		}
		if h.Ready() != nil {
			continue
		}
		due, err := h.currentStore().dueCorrections(maxCorrections)
		rand.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] }) // otherwise replicas publish the same corrections at the same time
		for i := 0; i < len(due) && err == nil; i++ {
			err = h.publishCorrection(ctx, due[i])
		}
		if err != nil && ctx.Err() == nil {
			h.Log.Warn().Err(err).Msg("publishing corrections failed; retrying")
		}
	}
}

func (h *History) publishCorrection(ctx context.Context, e schemas.Event) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	a, err := h.Admit(ctx, []schemas.Event{e})
	if err != nil {
		return err
	}
	var records []kafka.Record
	for _, event := range a.Events {
		r, err := kafka.EventRecord(h.Names, event, "")
		if err != nil {
			a.Forget()
			return errors.Join(err, h.currentStore().dropCorrection(e)) // a retry would fail again
		}
		r.NotAfter = a.NotAfter
		records = append(records, r)
	}
	receipts, err := h.Publisher.Publish(ctx, append(records, a.References...))
	if err != nil {
		a.Fail(err)
		if errors.As(err, new(*kafka.TooLarge)) {
			return errors.Join(err, h.currentStore().dropCorrection(e)) // a retry would fail again
		}
		return err
	}
	a.Done(receipts[:len(a.Events)], receipts[len(a.Events):])
	return h.currentStore().dropCorrection(e)
}

// Drain waits until the store has everything that this process published, and every
// correction that became due through it is published. Call it before the process exits,
// if no other process may publish those corrections.
func (h *History) Drain(ctx context.Context) error {
	for {
		h.mu.Lock()
		unconfirmed := len(h.local.events) + len(h.local.references)
		for _, u := range h.local.unwritten.byKey {
			if !u.own {
				unconfirmed--
			}
		}
		h.mu.Unlock()
		due, err := h.currentStore().dueCorrections(1)
		if err != nil || unconfirmed+len(due) == 0 {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
