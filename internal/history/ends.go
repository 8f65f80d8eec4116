package history

import (
	"slices"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// contradictions are, of each type, those that cannot have happened before it
// to the same payment, refund, dispute or payout. They are marked and not
// judged: processors err, and merchants undo.
//
// Not here is what banks and processors do:
//   - a payment that failed is paid by a further attempt (the other way round, a
//     captured payment that fails, such as a direct debit that the bank refuses
//     late, is here: "no money was taken" cannot be true beside it);
//   - a refund that succeeded fails when the payer's bank sends it back;
//   - a dispute that was won in one stage is lost in the next (see [endKey]);
//   - a payout that succeeded fails when the bank returns it, and one that
//     failed is tried again.
var contradictions = map[schemas.Type][]schemas.Type{
	schemas.PaymentCaptured:  {schemas.PaymentCancelled, schemas.PaymentExpired},
	schemas.PaymentCancelled: {schemas.PaymentCaptured},
	schemas.PaymentExpired:   {schemas.PaymentCaptured},
	schemas.PaymentFailed:    {schemas.PaymentCaptured},

	schemas.RefundSucceeded: {schemas.RefundFailed, schemas.RefundCancelled},
	schemas.RefundFailed:    {}, // of what cannot follow it
	schemas.RefundCancelled: {schemas.RefundSucceeded},

	schemas.DisputeWon:  {schemas.DisputeLost},
	schemas.DisputeLost: {schemas.DisputeWon},

	schemas.PayoutSucceeded: {schemas.PayoutCancelled},
	schemas.PayoutCancelled: {schemas.PayoutSucceeded},
}

// end is an event whose type is one of [contradictions].
type end struct {
	Type schemas.Type
	ID   string
	Time time.Time
}

// ends are the last of each type that were published of one thing. Time is the
// latest of theirs.
type ends struct {
	Time time.Time
	All  []end
}

// endKey is what an event is the end of, as its reference; empty if its type is
// in no contradiction, or if it does not say of what it is.
func endKey(e schemas.Event) string {
	if _, ok := contradictions[e.Type]; !ok {
		return ""
	}
	of := thing(e)
	if e.Type.Family() == "payment" {
		of = e.Data.ConnectorTransactionID
	}
	if of == "" {
		return ""
	}
	key := e.Data.Connector + ":" + e.Data.Account + ":" + of
	if e.Data.Stage != "" {
		key += ":" + string(e.Data.Stage)
	}
	return key
}

// with is what the ends are once an event is published.
func (n ends) with(one ...end) ends {
	all := slices.Clone(n.All)
	for _, e := range one {
		i := slices.IndexFunc(all, func(was end) bool { return was.Type == e.Type })
		if i < 0 {
			all = append(all, e)
		} else if !e.Time.Before(all[i].Time) {
			all[i] = e
		}
		if e.Time.After(n.Time) {
			n.Time = e.Time
		}
	}
	n.All = all
	return n
}

// against returns the id of the last event that cannot be true beside e, or "".
// What happened first is told by the times, else by what was published first.
func (n ends) against(e schemas.Event) string {
	var last end
	for _, other := range n.All {
		was, is := other.Type, e.Type
		if e.Time.Before(other.Time) {
			was, is = is, was
		}
		if slices.Contains(contradictions[is], was) && !other.Time.Before(last.Time) {
			last = other
		}
	}
	return last.ID
}
