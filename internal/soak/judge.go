package soak

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Report is the verdict on a run.
type Report struct {
	Sent    int // webhooks
	Acked   int // answered 2xx
	Lost    int // answered 2xx, and not in Kafka
	Dup     int // records of a webhook beside its first
	Phantom int // records that no webhook stands for, or with another key or topic than it
	Order   int // records behind a later one of the same key, in the same partition

	WrongReceipts  int // answered 2xx with a place that is not the record's
	GivenUp        int // never answered 2xx
	UnackedWritten int // never answered 2xx, and in Kafka: the processor would go on to send it
	Others         int // records of others in the same topics

	Refused    int           // answers that were not 2xx
	Unanswered int           // requests without an answer
	MaxPause   time.Duration // between two 2xx
	Max503     time.Duration // until a 503
	Took       time.Duration // all of it

	Details []string // of the first that are wrong
}

// OK reports whether the promise was kept.
func (r Report) OK() bool {
	return r.Lost == 0 && r.Dup == 0 && r.Phantom == 0 && r.Order == 0 && r.WrongReceipts == 0
}

// MarshalJSON gives the names that scripts rely on.
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
		GivenUp        int      `json:"given_up"`
		UnackedWritten int      `json:"unacked_written"`
		Others         int      `json:"others"`
		Refused        int      `json:"refused"`
		Unanswered     int      `json:"unanswered"`
		Took           int64    `json:"took_ms"`
		Details        []string `json:"details,omitempty"`
	}{
		r.Sent, r.Acked, r.Lost, r.Dup, r.Phantom, r.Order, r.MaxPause.Milliseconds(), r.Max503.Milliseconds(),
		r.WrongReceipts, r.GivenUp, r.UnackedWritten, r.Others, r.Refused, r.Unanswered, r.Took.Milliseconds(), r.Details,
	})
}

// String is the verdict in one line.
func (r Report) String() string {
	return fmt.Sprintf("sent %d, acked %d, LOST %d, DUP %d, PHANTOM %d, ORDER %d, wrong receipts %d, given up %d (written %d), others %d, refused %d, unanswered %d, longest pause %v, slowest 503 %v",
		r.Sent, r.Acked, r.Lost, r.Dup, r.Phantom, r.Order, r.WrongReceipts, r.GivenUp, r.UnackedWritten, r.Others,
		r.Refused, r.Unanswered, r.MaxPause.Round(time.Millisecond), r.Max503.Round(time.Millisecond))
}

// add takes over what was counted while sending.
func (r *Report) add(t tally) {
	r.Refused, r.Unanswered = t.refused, t.unanswered
	r.MaxPause, r.Max503 = t.maxPause, t.max503
}

// mostDetails bounds a report that is all wrong.
const mostDetails = 20

func (r *Report) detail(format string, args ...any) {
	if len(r.Details) < mostDetails {
		r.Details = append(r.Details, fmt.Sprintf(format, args...))
	}
}

// record is what was found of one record in Kafka.
type record struct {
	number int    // of its webhook; negative if it is none of this run
	key    string // the record's own
	at     place
}

// lane is where order counts.
type lane struct {
	topic     string
	partition int
	key       string
}

// judge compares what was sent, by number, with what was found. Alone makes
// phantoms of others' records.
func judge(sent []webhook, found []record, alone bool) Report {
	slices.SortFunc(found, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.at.topic, b.at.topic), cmp.Compare(a.at.partition, b.at.partition), cmp.Compare(a.at.offset, b.at.offset))
	})
	r := Report{Sent: len(sent)}
	first := make([]*place, len(sent)) // where each was found first
	confirmed := make([]bool, len(sent))
	last := map[lane]int{}
	for i := range found {
		f := &found[i]
		if !r.sentSo(sent, *f, alone) {
			continue
		}
		n := f.number
		confirmed[n] = confirmed[n] || sent[n].receipt == f.at
		if first[n] != nil {
			r.Dup++
			r.detail("DUP: webhook %d (%s) is at %v and %v", n, sent[n].story(), *first[n], f.at)
			continue // that a copy comes late is no second fault
		}
		first[n] = &f.at
		in := lane{f.at.topic, f.at.partition, f.key}
		if before, ok := last[in]; ok && n < before {
			r.Order++
			r.detail("ORDER: webhook %d (%s) is at %v, behind %d of the same key", n, sent[n].story(), f.at, before)
		}
		last[in] = max(last[in], n)
	}
	for n, w := range sent {
		r.account(n, w, first[n], confirmed[n])
	}
	return r
}

// sentSo reports whether a record is that of a webhook which was sent; if not,
// it is a phantom or another's.
func (r *Report) sentSo(sent []webhook, f record, alone bool) bool {
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

// account judges one webhook by where it was found first, if it was.
func (r *Report) account(n int, w webhook, first *place, confirmed bool) {
	switch {
	case !w.acked:
		r.GivenUp++
		if first != nil {
			r.UnackedWritten++
		}
		return
	case first == nil && !w.excused:
		r.Lost++
		r.detail("LOST: webhook %d (%s), receipt %v", n, w.story(), w.receipt)
	case first != nil && !confirmed && !w.excused:
		r.WrongReceipts++
		r.detail("wrong receipt: webhook %d (%s) is at %v, its receipt says %v", n, w.story(), *first, w.receipt)
	}
	r.Acked++
}

// story is how a webhook's delivery went.
func (w webhook) story() string {
	return fmt.Sprintf("sent at %.3f s, %d attempts, status %d at %.3f s", w.first.Seconds(), w.attempts, w.status, w.last.Seconds())
}
