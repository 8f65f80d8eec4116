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

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/schemas"
)

// webhook is a webhook that was sent, with its answers.
type webhook struct {
	key, topic  string // that its record must have
	kind        int    // index in kinds
	tries       []try
	receipts    []position // of its answers with 2xx, in their order
	twin        bool       // several replicas got it at once
	unconfirmed bool       // delivered again, and not answered with 2xx since
	excused     bool       // its topic was deleted after its 2xx
}

func (w webhook) acked() bool { return len(w.receipts) > 0 }

// try is one request and its answer.
type try struct {
	at, took        time.Duration // when it began, since the start of the run; how long it took
	replica, status int           // 0 is no answer
	receipt         string
}

// delivery is a webhook that is to be sent until it is answered with 2xx.
type delivery struct {
	number, key int
	again       bool // it was answered with 2xx before
	tries       int
}

// position is the position of a record in Kafka.
type position struct {
	topic     string
	partition int
	offset    int64
}

func (p position) String() string {
	return kafka.Receipt{Topic: p.topic, Partition: p.partition, Offset: p.offset}.Text()
}

// kinds are the webhooks that are sent of a key, in turn.
var kinds = []struct {
	event                string // Stripe's event type
	capturable, received int    // amounts
	typ                  schemas.Type
}{
	{"payment_intent.processing", 0, 0, schemas.PaymentProcessing},
	{"payment_intent.amount_capturable_updated", 1099, 0, schemas.PaymentAuthorized},
	{"payment_intent.succeeded", 0, 1099, schemas.PaymentCaptured},
}

// eventID returns the processor's event id of a webhook.
func eventID(run string, number int) string { return "evt_soak" + run + "_" + strconv.Itoa(number) }

// payload returns the body of a webhook, which is the same in each of its deliveries.
func (r *Run) payload(number int, w webhook) []byte {
	k := kinds[w.kind]
	return fmt.Appendf(nil, `{"id":"%s","object":"event","created":%d,"livemode":false,"type":"%s","data":{"object":{`+
		`"id":"pi_soak%s_%d","object":"payment_intent","amount":1099,"amount_capturable":%d,"amount_received":%d,"currency":"eur","livemode":false,`+
		`"metadata":{"merchant_transaction_id":"%s","order_id":"%[8]s"},"payment_method_types":["card"]}}}`,
		eventID(r.id, number), r.began.Unix(), k.event, r.id, number, k.capturable, k.received, w.key)
}

// schedule sends new webhooks at a steady rate, however fast they are answered. It waits
// while each key has a webhook without a 2xx.
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
		if late := time.Since(next); late > time.Second { // it waited for a key: send no burst
			next = next.Add(late)
		}
	}
}

// begin sends the next webhook of a key.
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

// intern returns one shared copy of a text that many webhooks have.
func (r *Run) intern(s string) string {
	if _, ok := r.known[s]; !ok {
		r.known[s] = s
	}
	return r.known[s]
}

// end sets the time until which webhooks are sent again.
func (r *Run) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline = time.Now().Add(r.cfg.Patience)
}

// attempt sends a delivery once. Then it makes the key free for its next webhook, or
// sends the delivery again later.
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
		r.leave() // the key is not used again: the order of its webhooks would mean nothing
	}
}

// targets returns the replicas to which a delivery is sent now: one or, of a twin, any
// number of them.
func (r *Run) targets(d delivery) []int {
	n := len(r.cfg.URLs)
	if d.again || d.tries > 0 || rand.Float64() >= r.cfg.Twice {
		return []int{rand.IntN(n)}
	}
	if n == 1 {
		return []int{0, 0}
	}
	return rand.Perm(n)[:2+rand.IntN(n-1)]
}

// deliver sends a body to replicas: to the first at once, to the others up to
// [Config.Apart] later.
func (r *Run) deliver(body []byte, replicas []int) []try {
	tries := make([]try, len(replicas))
	var answers sync.WaitGroup
	for i, replica := range replicas {
		answers.Go(func() {
			if i > 0 && r.cfg.Apart > 0 {
				time.Sleep(rand.N(r.cfg.Apart))
			}
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

// note stores a request and its answer, and reports whether that is 2xx.
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

// redeliver delivers a share of the webhooks again, some time later.
func (r *Run) redeliver(w *webhook, number int) {
	if r.tally.fatal != nil || rand.Float64() >= r.cfg.Redeliver {
		return
	}
	w.unconfirmed = true
	r.tally.redelivered++
	r.waiting.Add(1)
	time.AfterFunc(r.cfg.After+rand.N(r.cfg.Within), func() { r.due <- delivery{number: number, again: true} })
}

// backoff returns how long to wait before a webhook is sent again. It is much shorter than
// processors wait, so that the run sees the end of an outage at once.
func backoff(attempts int) time.Duration {
	most := min(100*time.Millisecond<<min(attempts, 6), 2*time.Second)
	return most/2 + rand.N(most/2)
}

// acked counts the first 2xx of a webhook.
func (r *Run) acked(w *webhook) {
	now := time.Now()
	r.tally.maxPause = max(r.tally.maxPause, now.Sub(r.tally.lastAck))
	r.tally.lastAck = now
	r.tally.acked++
	if topic := w.receipts[0].topic; r.tally.acked == 1 && topic != w.topic {
		r.giveUp(fmt.Errorf("the first webhook went to %q, not to %s: the endpoint must be Stripe's, with `live: false`, and publish to the topics that are read", topic, w.topic))
	}
}

// fail ends the run if its first webhooks are answered with 4xx: the configuration is wrong.
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

// giveUp ends the run with an error and without a report.
func (r *Run) giveUp(err error) {
	r.tally.fatal = err
	r.stop(err)
}

// leave counts a webhook as answered with 2xx or given up.
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
		return 0, "" // an incomplete answer counts as none
	}
	return a.StatusCode, strings.Join(a.Header.Values("Tollbridge-Receipt"), ", ")
}

var receiptForm = regexp.MustCompile(`^"[^"]+";topic="([^"]+)";partition=(\d+);offset=(\d+)`)

// parseReceipt returns the position of the first record in a receipt header; the zero
// value if there is none.
func parseReceipt(header string) (p position) {
	m := receiptForm.FindStringSubmatch(header)
	if m == nil {
		return position{}
	}
	p.topic = strings.Clone(m[1])
	p.partition, _ = strconv.Atoi(m[2])
	p.offset, _ = strconv.ParseInt(m[3], 10, 64)
	return p
}
