package lookup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// ErrNoServer reports that no running server said where the events are. A [Finder.Where]
// that asks a server wraps it.
var ErrNoServer = errors.New("no server said where the events are")

// Payment is everything that was found of a payment.
type Payment struct {
	ID string `json:"id"` // the id that was looked for
	// Scanned is set if the topics were read, which also finds redeliveries, webhooks
	// without an event, and dead letters.
	Scanned bool      `json:"scanned"`
	Items   []*Item   `json:"items"` // in the order in which they were written; empty if there are none
	Amounts []Amounts `json:"amounts"`
}

// Find returns the records of the payment that has an id, and its amounts: see
// [Finder.Payment]. If Where returns [ErrNoServer], Find calls noServer, which must not be
// nil, with the error, and then reads the topics unless noServer returns an error.
func (f Finder) Find(ctx context.Context, id string, noServer func(error) error) (p Payment, err error) {
	items, err := f.Payment(ctx, id)
	if errors.Is(err, ErrNoServer) {
		if err := noServer(err); err != nil {
			return p, err
		}
		f.Where = nil
		items, err = f.Payment(ctx, id)
	}
	return Payment{ID: id, Scanned: f.Where == nil, Items: items, Amounts: AmountsOf(items)}, err
}

// ItemWithBody adds a webhook's body to its JSON.
type ItemWithBody struct {
	*Item
	Body []byte `json:"body"` // base64
}

// Details is an event with the records that belong to it.
type Details struct {
	Event       *Item          `json:"event"`
	Again       []*Item        `json:"again,omitempty"`        // further records with the event's id
	CorrectedBy []*Item        `json:"corrected_by,omitempty"` // its corrections
	Webhooks    []ItemWithBody `json:"webhooks"`               // the webhook that gave it, then redeliveries
	Handled     []*Item        `json:"handled,omitempty"`      // how its webhook was handled, if that was a dead letter
}

// Details returns the details of the event with an id. It returns an error if the
// payment has no such event.
func (p Payment) Details(id string) (x Details, err error) {
	origin := id // the id of the event that a correction corrects, because no webhook gives a correction
	for _, i := range p.Items {
		switch {
		case i.Event == nil:
		case i.Event.ID == id && x.Event == nil:
			x.Event, origin = i, cmp.Or(i.Event.Data.Corrects, id)
		case i.Event.ID == id:
			x.Again = append(x.Again, i)
		case i.Event.Data.Corrects == id:
			x.CorrectedBy = append(x.CorrectedBy, i)
		}
	}
	if x.Event == nil {
		return x, fmt.Errorf("%q is not the id of an event; 'tollbridge timeline' takes other ids, too", id)
	}
	letters := map[string]bool{} // by topic and [LetterID]
	for _, i := range p.Items {
		if w := i.Webhook; w != nil && w.Handles != "" && slices.Contains(w.EventIDs, origin) {
			x.Handled = append(x.Handled, i)
			letters[i.Topic+" "+w.Handles] = true
		}
	}
	for _, i := range p.Items {
		w := i.Webhook
		if w != nil && w.Handles == "" && (slices.Contains(w.EventIDs, origin) || letters[i.Topic+" "+LetterID(i.Receipt)]) {
			x.Webhooks = append(x.Webhooks, ItemWithBody{i, w.Body})
		}
	}
	return x, nil
}
