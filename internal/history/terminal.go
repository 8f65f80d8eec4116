package history

import (
	"slices"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// contradictions lists for each type the types that cannot have happened before
// it to the same payment, refund, dispute or payout. Such an event is published
// and marked: processors make mistakes, and merchants undo things.
//
// These combinations are left out, because banks and processors cause them:
//   - A payment that failed is paid by a further attempt. The other order is
//     listed: a captured payment that fails, such as a direct debit that the bank
//     refuses late, contradicts the capture, since no money was taken.
//   - A refund that succeeded fails when the payer's bank sends it back.
//   - A dispute that was won in one stage is lost in the next: see [terminalKey].
//   - A payout that succeeded fails when the bank returns it, and one that failed
//     is tried again.
var contradictions = map[schemas.Type][]schemas.Type{
	schemas.PaymentCaptured:  {schemas.PaymentCancelled, schemas.PaymentExpired},
	schemas.PaymentCancelled: {schemas.PaymentCaptured},
	schemas.PaymentExpired:   {schemas.PaymentCaptured},
	schemas.PaymentFailed:    {schemas.PaymentCaptured},

	schemas.RefundSucceeded: {schemas.RefundFailed, schemas.RefundCancelled},
	schemas.RefundFailed:    {}, // contradicts nothing before it; it is listed because others contradict it
	schemas.RefundCancelled: {schemas.RefundSucceeded},

	schemas.DisputeWon:  {schemas.DisputeLost},
	schemas.DisputeLost: {schemas.DisputeWon},

	schemas.PayoutSucceeded: {schemas.PayoutCancelled},
	schemas.PayoutCancelled: {schemas.PayoutSucceeded},
}

// terminalState is an event whose type is a key of [contradictions].
type terminalState struct {
	Type schemas.Type
	ID   string
	Time time.Time
}

func terminalStateOf(e schemas.Event) terminalState { return terminalState{e.Type, e.ID, e.Time} }

// terminalStates holds, for one payment, refund, dispute or payout, the latest
// event of each type that has a terminal state. Time is the latest time of all.
type terminalStates struct {
	Time time.Time
	All  []terminalState
}

// terminalKey returns the key of the payment, refund, dispute or payout that an
// event gives a terminal state, in the form of a reference key. A dispute has one
// for each stage. It is empty if the event's type is in no contradiction, or if
// the event has no id of the object.
func terminalKey(e schemas.Event) string {
	if _, ok := contradictions[e.Type]; !ok {
		return ""
	}
	object := objectOf(e)
	if e.Type.Family() == "payment" {
		object = e.Data.ConnectorTransactionID
	}
	if object == "" {
		return ""
	}
	key := e.Data.Connector + ":" + e.Data.Account + ":" + object
	if e.Data.Stage != "" {
		key += ":" + string(e.Data.Stage)
	}
	return key
}

// with returns the states after further events are published.
func (s terminalStates) with(more ...terminalState) terminalStates {
	all := slices.Clone(s.All)
	for _, m := range more {
		i := slices.IndexFunc(all, func(t terminalState) bool { return t.Type == m.Type })
		if i < 0 {
			all = append(all, m)
		} else if !m.Time.Before(all[i].Time) {
			all[i] = m
		}
		if m.Time.After(s.Time) {
			s.Time = m.Time
		}
	}
	s.All = all
	return s
}

// contradictedBy returns the id of the latest event that is mutually exclusive with e,
// or "" if there is none. The events' times decide which happened first; if the times
// are equal, the event that was published first did.
func (s terminalStates) contradictedBy(e schemas.Event) string {
	var latest terminalState
	for _, other := range s.All {
		first, second := other.Type, e.Type
		if e.Time.Before(other.Time) {
			first, second = second, first
		}
		if slices.Contains(contradictions[second], first) && !other.Time.Before(latest.Time) {
			latest = other
		}
	}
	return latest.ID
}

// terminalStatesOf returns the terminal states of a [terminalKey], those in memory and
// in the store together.
func (h *History) terminalStatesOf(key string) (terminalStates, error) {
	if key == "" {
		return terminalStates{}, nil
	}
	states, ok := h.cachedTerminal.get(key)
	if !ok {
		var err error
		if states, err = h.currentStore().terminal(key); err != nil {
			return states, err
		}
		h.cachedTerminal.put(key, states)
	}
	if own, ok := h.local.terminal[key]; ok {
		states = states.with(own.row.All...)
	}
	return states, nil
}
