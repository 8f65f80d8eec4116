package soak

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/schemas"
)

// webhook is what is known of one that was sent.
type webhook struct {
	key, topic  string // of its record
	kind        int    // of kinds
	tries       []try
	receipts    []place // of its 2xx, one each, in their order
	twin        bool    // two replicas got it at one instant
	unconfirmed bool    // delivered again, and not answered 2xx since
	excused     bool    // its topic was deleted after it was answered 2xx
}

func (w webhook) acked() bool { return len(w.receipts) > 0 }

// try is one request and its answer.
type try struct {
	at, took        time.Duration // since the run began, and from then on
	replica, status int           // 0 is no answer
	receipt         string
}

// delivery is what is due: a webhook, until it is answered 2xx.
type delivery struct {
	number, key int
	again       bool // it was answered 2xx before
	tries       int
}

// place is where a record is.
type place struct {
	topic     string
	partition int
	offset    int64
}

func (p place) String() string { return fmt.Sprintf("%s/%d@%d", p.topic, p.partition, p.offset) }

// kinds is what is sent of a key, in turn.
var kinds = []struct {
	event                string // Stripe's word for it
	capturable, received int    // of the amount
	typ                  schemas.Type
}{
	{"payment_intent.processing", 0, 0, schemas.PaymentProcessing},
	{"payment_intent.amount_capturable_updated", 1099, 0, schemas.PaymentAuthorized},
	{"payment_intent.succeeded", 0, 1099, schemas.PaymentCaptured},
}

// eventID is the processor's identity of a webhook.
func eventID(run string, number int) string { return "evt_soak" + run + "_" + strconv.Itoa(number) }

// payload is a webhook's body, the same in each of its deliveries.
func (r *Run) payload(number int, w webhook) []byte {
	k := kinds[w.kind]
	return fmt.Appendf(nil, `{"id":"%s","object":"event","created":%d,"livemode":false,"type":"%s","data":{"object":{`+
		`"id":"pi_soak%s_%d","object":"payment_intent","amount":1099,"amount_capturable":%d,"amount_received":%d,"currency":"eur","livemode":false,`+
		`"metadata":{"merchant_transaction_id":"%s","order_id":"%[8]s"},"payment_method_types":["card"]}}}`,
		eventID(r.id, number), r.began.Unix(), k.event, r.id, number, k.capturable, k.received, w.key)
}

// schedule makes the webhooks due, one after the other at a steady rate that
// does not heed how they are answered. While all keys have one under way, it
// waits.
func (r *Run) schedule(ctx context.Context) {
	defer r.waiting.Done()
	defer r.stop(errEnd)
	defer r.end()
	timer := time.NewTimer(0)
	defer timer.Stop()
	next := time.Now()
	for number := 0; r.cfg.Count == 0 || number < r.cfg.Count; number++ {
		timer.Reset(time.Until(next))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		select {
		case <-ctx.Done():
			return
		case key := <-r.idle:
			r.begin(key)
		}
		next = next.Add(time.Duration(float64(time.Second) / r.cfg.Rate))
		if late := time.Since(next); late > time.Second { // it waited: no burst to make up for it
			next = next.Add(late)
		}
	}
}

// begin makes the next webhook of a key due.
func (r *Run) begin(key int) {
	r.waiting.Add(1)
	r.mu.Lock()
	k := r.turns[key] % len(kinds)
	r.sent = append(r.sent, webhook{
		key: r.intern("soak" + r.id + "-" + strconv.Itoa(key)), kind: k,
		topic: r.intern(r.cfg.Names.Event(kinds[k].typ)),
	})
	d := delivery{number: len(r.sent) - 1, key: key}
	r.turns[key]++
	r.tally.waiting++
	r.mu.Unlock()
	r.due <- d
}

// intern returns the one copy of a text that stands in many webhooks.
func (r *Run) intern(s string) string {
	if _, ok := r.known[s]; !ok {
		r.known[s] = s
	}
	return r.known[s]
}

// end sets the time at which redelivery is given up.
func (r *Run) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline = time.Now().Add(r.cfg.Patience)
}

// attempt makes a delivery once, and says what comes next: the key's next
// webhook, or another attempt.
func (r *Run) attempt(d delivery) {
	r.mu.Lock()
	due := r.sent[d.number]
	r.mu.Unlock()
	tries := r.deliver(r.payload(d.number, due), r.targets(d))

	r.mu.Lock()
	defer r.mu.Unlock()
	w := &r.sent[d.number]
	w.twin = w.twin || len(tries) > 1 && tries[0].replica != tries[1].replica
	answered := false
	for _, t := range tries {
		answered = r.note(w, t) || answered
	}
	late := !r.deadline.IsZero() && time.Now().After(r.deadline)
	switch {
	case answered && d.again:
		w.unconfirmed = false
		r.waiting.Done()
	case answered:
		r.acked(w)
		r.redeliver(w, d.number)
		r.leave()
		r.idle <- d.key
	case r.tally.fatal == nil && !late:
		d.tries++
		time.AfterFunc(backoff(d.tries), func() { r.due <- d })
	case d.again:
		r.waiting.Done()
	default:
		r.leave() // and the key is not used again: its order would have no meaning
	}
}

// targets returns which replicas get the next attempt of a delivery.
func (r *Run) targets(d delivery) []int {
	n := len(r.cfg.URLs)
	one := rand.IntN(n)
	if d.again || d.tries > 0 || rand.Float64() >= r.cfg.Twice {
		return []int{one}
	}
	return []int{one, (one + 1 + rand.IntN(max(n-1, 1))) % n}
}

// deliver sends a body to replicas at one instant.
func (r *Run) deliver(body []byte, replicas []int) []try {
	tries := make([]try, len(replicas))
	var answers sync.WaitGroup
	for i, replica := range replicas {
		answers.Go(func() {
			t := try{at: time.Since(r.began), replica: replica}
			r.inFlight.Add(1)
			t.status, t.receipt = r.post(body, r.cfg.URLs[replica])
			r.inFlight.Add(-1)
			t.took = time.Since(r.began) - t.at
			tries[i] = t
		})
	}
	answers.Wait()
	return tries
}

// note takes down a request and its answer, and reports whether that is 2xx.
func (r *Run) note(w *webhook, t try) bool {
	receipt := t.receipt
	t.receipt = "" // there may be millions of tries
	w.tries = append(w.tries, t)
	switch {
	case t.status/100 == 2:
		p := parseReceipt(receipt)
		p.topic = r.intern(p.topic)
		w.receipts = append(w.receipts, p)
		return true
	case t.status == 0:
		r.tally.unanswered++
	default:
		r.tally.refused++
	}
	if t.status == http.StatusServiceUnavailable {
		r.tally.max503 = max(r.tally.max503, t.took)
	}
	r.fail(t)
	return false
}

// redeliver has a share of the webhooks delivered again, some time later.
func (r *Run) redeliver(w *webhook, number int) {
	if r.tally.fatal != nil || rand.Float64() >= r.cfg.Redeliver {
		return
	}
	w.unconfirmed = true
	r.tally.redelivered++
	r.waiting.Add(1)
	time.AfterFunc(r.cfg.After+rand.N(r.cfg.Within), func() { r.due <- delivery{number: number, again: true} })
}

// backoff is how long a webhook waits for its next attempt: far shorter than a
// processor would make it wait, so that the end of an outage is seen at once.
func backoff(attempts int) time.Duration {
	most := min(100*time.Millisecond<<min(attempts, 6), 2*time.Second)
	return most/2 + rand.N(most/2)
}

// acked notes a webhook's first 2xx.
func (r *Run) acked(w *webhook) {
	now := time.Now()
	r.tally.maxPause = max(r.tally.maxPause, now.Sub(r.tally.lastAck))
	r.tally.lastAck = now
	r.tally.acked++
	if topic := w.receipts[0].topic; r.tally.acked == 1 && topic != w.topic {
		r.giveUp(fmt.Errorf("the first webhook went to %q, not to %s: the endpoint must be Stripe's, with `live: false`, and publish to the topics that are read", topic, w.topic))
	}
}

// fail ends a run whose first webhooks are refused for what they are.
func (r *Run) fail(t try) {
	if t.status/100 != 4 || r.tally.acked > 0 {
		return
	}
	why := "is the URL that of Stripe's endpoint?"
	if t.status == http.StatusUnauthorized {
		why = "is the secret that of the endpoint?"
	}
	r.giveUp(fmt.Errorf("%s answers %d %s: %s", r.cfg.URLs[t.replica], t.status, http.StatusText(t.status), why))
}

// giveUp ends the run without a verdict.
func (r *Run) giveUp(err error) {
	r.tally.fatal = err
	r.stop(err)
}

// leave notes that a webhook is answered 2xx or given up.
func (r *Run) leave() {
	r.tally.waiting--
	r.waiting.Done()
}

// post sends a body, signed now, and returns the answer's status, 0 for none, and its receipt.
func (r *Run) post(body []byte, url string) (status int, receipt string) {
	signed, err := sign.Request("stripe", body, r.cfg.Secret, nil, url, time.Now())
	if err != nil {
		return 0, ""
	}
	q, err := http.NewRequest(signed.Method, url, bytes.NewReader(signed.Body))
	if err != nil {
		return 0, ""
	}
	q.Header = signed.Header
	a, err := r.client.Do(q)
	if err != nil {
		return 0, ""
	}
	defer a.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(a.Body, 64<<10)); err != nil {
		return 0, "" // half an answer is none
	}
	return a.StatusCode, strings.Join(a.Header.Values("Tollbridge-Receipt"), ", ")
}

var receiptForm = regexp.MustCompile(`^"[^"]+";topic="([^"]+)";partition=(\d+);offset=(\d+)`)

// parseReceipt returns the place of the first record that a receipt names, or
// none.
func parseReceipt(header string) (p place) {
	m := receiptForm.FindStringSubmatch(header)
	if m == nil {
		return place{}
	}
	p.topic = strings.Clone(m[1])
	p.partition, _ = strconv.Atoi(m[2])
	p.offset, _ = strconv.ParseInt(m[3], 10, 64)
	return p
}
