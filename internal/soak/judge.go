package soak

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Report is the result of a run.
type Report struct {
	Sent    int // webhooks
	Acked   int // answered with 2xx
	Lost    int // answered with 2xx, and not in Kafka
	Dup     int // records of webhooks that have another record already
	Phantom int // records of no webhook, or with another key or topic than their webhook's
	Order   int // records after the record of a later webhook of the same key and partition

	WrongReceipts  int // answers with 2xx whose receipt is not that of the record
	Redelivered    int // webhooks that were delivered again after their 2xx
	Unconfirmed    int // of those, not answered with 2xx then
	Twice          int // webhooks that several replicas got at once
	Twins          int // of those, in Kafka more than once
	GivenUp        int // webhooks that were never answered with 2xx
	UnackedWritten int // of those, in Kafka: a processor would send them again
	Others         int // records of other programs in the same topics

	Refused    int           // answers other than 2xx
	Unanswered int           // requests without an answer
	MaxPause   time.Duration // longest time between two answers with 2xx
	Max503     time.Duration // longest time until an answer with 503
	Took       time.Duration // of the run

	Details []string // the first faults
}

// OK reports whether no fault was counted.
func (r Report) OK() bool {
	return r.Lost == 0 && r.Dup == 0 && r.Phantom == 0 && r.Order == 0 && r.WrongReceipts == 0 && r.Unconfirmed == 0
}

// MarshalJSON uses the names that scripts rely on.
func (r Report) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Sent           int      `json:"sent"`
		Acked          int      `json:"acked"`
		Lost           int      `json:"lost"`
		Dup            int      `json:"dup"`
		Phantom        int      `json:"phantom"`
		Order          int      `json:"order"`
		MaxPause       int64    `json:"max_pause_ms"`
		Max503         int64    `json:"max_503_ms"`
		WrongReceipts  int      `json:"wrong_receipts"`
		Redelivered    int      `json:"redelivered"`
		Unconfirmed    int      `json:"unconfirmed"`
		Twice          int      `json:"twice"`
		Twins          int      `json:"twins"`
		GivenUp        int      `json:"given_up"`
		UnackedWritten int      `json:"unacked_written"`
		Others         int      `json:"others"`
		Refused        int      `json:"refused"`
		Unanswered     int      `json:"unanswered"`
		Took           int64    `json:"took_ms"`
		Details        []string `json:"details,omitempty"`
	}{
		r.Sent, r.Acked, r.Lost, r.Dup, r.Phantom, r.Order, r.MaxPause.Milliseconds(), r.Max503.Milliseconds(),
		r.WrongReceipts, r.Redelivered, r.Unconfirmed, r.Twice, r.Twins, r.GivenUp, r.UnackedWritten, r.Others, r.Refused, r.Unanswered, r.Took.Milliseconds(), r.Details,
	})
}

// String returns the report as one line.
func (r Report) String() string {
	return fmt.Sprintf("sent %d, acked %d, LOST %d, DUP %d, PHANTOM %d, ORDER %d, wrong receipts %d, redelivered %d (unconfirmed %d), twice %d (twins %d), given up %d (written %d), others %d, refused %d, unanswered %d, longest pause %v, slowest 503 %v",
		r.Sent, r.Acked, r.Lost, r.Dup, r.Phantom, r.Order, r.WrongReceipts,
		r.Redelivered, r.Unconfirmed, r.Twice, r.Twins, r.GivenUp, r.UnackedWritten, r.Others,
		r.Refused, r.Unanswered, r.MaxPause.Round(time.Millisecond), r.Max503.Round(time.Millisecond))
}

// add sets the counts of the sending stage.
func (r *Report) add(t tally) {
	r.Redelivered, r.Refused, r.Unanswered = t.redelivered, t.refused, t.unanswered
	r.MaxPause, r.Max503 = t.maxPause, t.max503
}

// mostDetails is the largest number of [Report.Details].
const mostDetails = 20

func (r *Report) detail(format string, args ...any) {
	if len(r.Details) < mostDetails {
		r.Details = append(r.Details, fmt.Sprintf(format, args...))
	}
}

// record is a record that was read from Kafka.
type record struct {
	number int    // of its webhook; negative if the webhook is not of this run
	key    string // of the record
	at     position
}

// sequence identifies the records whose order counts.
type sequence struct {
	topic     string
	partition int
	key       string
}

// judge compares the webhooks that were sent, by number, with the records that were read.
// If alone is set, records of other programs are phantoms.
func judge(sent []webhook, found []record, alone bool) Report {
	slices.SortFunc(found, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.at.topic, b.at.topic), cmp.Compare(a.at.partition, b.at.partition), cmp.Compare(a.at.offset, b.at.offset))
	})
	r := Report{Sent: len(sent)}
	where := make([][]position, len(sent)) // of the records of each webhook
	last := map[sequence]int{}
	for _, f := range found {
		if !r.isAsSent(sent, f, alone) {
			continue
		}
		n := f.number
		if where[n] = append(where[n], f.at); len(where[n]) > 1 {
			r.doubled(n, sent[n], where[n])
			continue // a duplicate that comes late is not a second fault
		}
		in := sequence{f.at.topic, f.at.partition, f.key}
		if before, ok := last[in]; ok && n < before {
			r.Order++
			r.detail("ORDER: webhook %d (%s) is at %v, behind %d of the same key", n, sent[n].story(), f.at, before)
		}
		last[in] = max(last[in], n)
	}
	for n, w := range sent {
		r.account(n, w, where[n])
	}
	return r
}

// doubled counts a further record of a webhook.
func (r *Report) doubled(n int, w webhook, where []position) {
	if w.twin && len(where) == 2 {
		r.Twins++
	}
	r.Dup++
	r.detail("DUP: webhook %d (%s) is at %v", n, w.story(), where)
}

// isAsSent reports whether a record is that of a webhook of the run. Otherwise it counts
// the record as a phantom or as another program's.
func (r *Report) isAsSent(sent []webhook, f record, alone bool) bool {
	switch {
	case f.number < 0 && !alone:
		r.Others++
		return false
	case f.number < 0:
		r.Phantom++
		r.detail("PHANTOM: the record with key %s at %v is not of this run", f.key, f.at)
		return false
	case f.number >= len(sent):
		r.Phantom++
		r.detail("PHANTOM: webhook %d, at %v, was never sent", f.number, f.at)
		return false
	case sent[f.number].key != f.key || sent[f.number].topic != f.at.topic:
		r.Phantom++
		r.detail("PHANTOM: webhook %d is at %v with key %s, was sent for %s with key %s", f.number, f.at, f.key, sent[f.number].topic, sent[f.number].key)
		return false
	}
	return true
}

// account counts one webhook by its answers and its records.
func (r *Report) account(n int, w webhook, where []position) {
	if w.twin {
		r.Twice++
	}
	if w.unconfirmed {
		r.Unconfirmed++
		r.detail("unconfirmed: webhook %d (%s)", n, w.story())
	}
	switch {
	case !w.acked():
		r.GivenUp++
		if len(where) > 0 {
			r.UnackedWritten++
		}
		return
	case w.excused:
	case len(where) == 0:
		r.Lost++
		r.detail("LOST: webhook %d (%s), receipt %v", n, w.story(), w.receipts[0])
	default:
		r.receipts(n, w, where)
	}
	r.Acked++
}

// receipts counts the answers whose receipt is not that of a record. A wrong receipt that
// the answers to redeliveries repeat counts once.
func (r *Report) receipts(n int, w webhook, where []position) {
	for i, receipt := range w.receipts {
		if !slices.Contains(where, receipt) && (i == 0 || receipt != w.receipts[0]) {
			r.WrongReceipts++
			r.detail("wrong receipt: webhook %d (%s) is at %v, the receipt of its 2xx number %d says %v", n, w.story(), where, i+1, receipt)
		}
	}
}

// story describes the first and the last deliveries of a webhook.
func (w webhook) story() string {
	var all []string
	for i, t := range w.tries {
		if i < 3 || i >= len(w.tries)-3 {
			all = append(all, fmt.Sprintf("at %.3f s replica %d: %d in %.3f s", t.at.Seconds(), t.replica+1, t.status, t.took.Seconds()))
		} else if i == 3 {
			all = append(all, fmt.Sprintf("%d more", len(w.tries)-6))
		}
	}
	return strings.Join(all, ", ")
}
