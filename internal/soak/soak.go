// Package soak holds tollbridge to its promise. It sends numbered, correctly
// signed webhooks at a steady rate, sends again whatever is not answered 2xx,
// as a processor would, and then reads the topics back by partition:
//
//	LOST      answered 2xx, and not in Kafka
//	DUP       in Kafka more than once
//	PHANTOM   in Kafka, and never sent, or not as it was sent
//	ORDER     behind a later one of the same key, in the same partition
//
// Each attempt goes to one of the replicas at random. A share of what was
// answered 2xx is delivered again some time later: the answer must be the first
// one's receipt, and nothing may be written. Another share is delivered to two
// replicas at one instant. Those may both write it, and that is counted apart,
// as twins.
//
// The webhooks are Stripe's, in test mode, of a few event types, so that
// several topics have their share. All webhooks of one key are sent one after
// the other, the next when the one before is answered 2xx: only then has their
// order a meaning.
package soak

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// Config is what to send, where to, and where to read it back. URLs, Secret and
// Kafka must be set; every zero value has the meaning its comment says.
type Config struct {
	URLs   []string     // of an endpoint of Stripe's that takes test mode, one a replica
	Secret string       // of that endpoint
	Kafka  kafka.Config // of the cluster that the endpoint publishes to
	Names  kafka.Names  // of its topics

	Rate    float64       // new webhooks a second; 0 is 100
	Count   int           // of webhooks; 0 is no limit
	For     time.Duration // to send new ones; 0 is no limit
	Callers int           // requests at once; 0 is 64
	Keys    int           // and the most webhooks that wait for their 2xx; 0 is 500

	Redeliver float64       // share of those answered 2xx that is delivered again
	After     time.Duration // the 2xx, for that, at the earliest; 0 is 50 ms
	Within    time.Duration // and from then on at the latest, at random; 0 is 10 s
	Twice     float64       // share that is delivered to two replicas at one instant, or twice to the only one

	Timeout  time.Duration // of one request; 0 is 10 s
	Patience time.Duration // after the last new webhook, until redelivery is given up; 0 is 1 min
	Settle   time.Duration // after the last answer, for what may be written late; 0 is 2 s

	// Alone says that nobody else writes to the topics: whatever is not this
	// run's is a phantom.
	Alone    bool
	Progress func(Progress) // called every second; nil is nobody to tell
}

func (c Config) orElse() Config {
	c.Rate = cmp.Or(c.Rate, 100)
	c.Callers = cmp.Or(c.Callers, 64)
	c.Keys = cmp.Or(c.Keys, 500)
	c.After = cmp.Or(c.After, 50*time.Millisecond)
	c.Within = cmp.Or(c.Within, 10*time.Second)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.Patience = cmp.Or(c.Patience, time.Minute)
	c.Settle = cmp.Or(c.Settle, 2*time.Second)
	return c
}

// Progress is how far a run is.
type Progress struct {
	Stage               string // what is being done
	Sent, Acked         int    // webhooks
	Waiting             int    // sent and not answered 2xx yet
	Refused, Unanswered int    // answers that were not 2xx, requests without one
	Read                int    // records
}

// Run is a run under way. [Run.Wait] ends it.
type Run struct {
	cfg    Config
	id     string // tells the runs apart in what they send
	began  time.Time
	client *http.Client
	topics reader

	idle     chan int      // keys without a webhook under way
	due      chan delivery // to be made now
	waiting  sync.WaitGroup
	inFlight atomic.Int64
	stop     context.CancelCauseFunc // no new webhooks

	mu       sync.Mutex
	sent     []webhook // by number
	turns    []int     // how many there were, by key
	known    map[string]string
	tally    tally
	deadline time.Time // zero while new webhooks are sent
}

// tally is what is counted while sending.
type tally struct {
	acked, waiting, redelivered, refused, unanswered int
	lastAck                                          time.Time
	maxPause, max503                                 time.Duration
	fatal                                            error
}

// Start notes where the topics end and begins to send, until Count or For is
// reached, [Run.Stop] is called or ctx is done.
func Start(ctx context.Context, c Config) (*Run, error) {
	c = c.orElse()
	r := &Run{
		cfg: c, id: strconv.FormatUint(rand.Uint64(), 36),
		client: &http.Client{Timeout: c.Timeout, Transport: &http.Transport{MaxIdleConnsPerHost: c.Callers}},
		idle:   make(chan int, c.Keys), due: make(chan delivery, c.Keys),
		turns: make([]int, c.Keys), known: map[string]string{},
	}
	var err error
	if r.topics, err = newReader(ctx, c, r.id); err != nil {
		return nil, fmt.Errorf("where the topics end: %w", err)
	}
	for key := range c.Keys {
		r.idle <- key
	}
	sending, stop := context.WithCancelCause(ctx)
	if r.stop = stop; c.For > 0 {
		time.AfterFunc(c.For, r.Stop)
	}
	r.began = time.Now()
	r.tally.lastAck = r.began
	for range c.Callers {
		go func() {
			for d := range r.due {
				r.attempt(d)
			}
		}()
	}
	r.waiting.Add(1)
	go r.schedule(sending)
	return r, nil
}

// errEnd ends the sending of new webhooks.
var errEnd = errors.New("that was all")

// Stop ends the sending of new webhooks.
func (r *Run) Stop() { r.stop(errEnd) }

// Sent returns how many webhooks were sent so far, and how many of them were
// answered 2xx.
func (r *Run) Sent() (sent, acked int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sent), r.tally.acked
}

// InFlight returns how many requests wait for their answer now.
func (r *Run) InFlight() int { return int(r.inFlight.Load()) }

// Renewed says that a topic was deleted and created anew since the run began:
// what was answered 2xx until now is not asked for.
func (r *Run) Renewed(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.sent {
		if w := &r.sent[i]; w.topic == topic && w.acked() {
			w.excused = true
		}
	}
	clear(r.topics.before[topic])
}

// Wait returns the verdict, once everything is sent, answered or given up, and
// read back. An error says why there is none.
func (r *Run) Wait() (Report, error) {
	done := make(chan struct{})
	go func() { r.waiting.Wait(); close(done) }()
	r.show("sending", done)
	close(r.due)
	r.client.CloseIdleConnections()
	if err := r.tally.fatal; err != nil {
		return Report{}, err
	}
	time.Sleep(r.cfg.Settle)

	var found []record
	var err error
	done = make(chan struct{})
	go func() { found, err = r.topics.read(r.farthest()); close(done) }()
	r.show("reading back", done)
	if err != nil {
		return Report{}, fmt.Errorf("reading the topics back: %w", err)
	}
	report := judge(r.sent, found, r.cfg.Alone)
	report.add(r.tally)
	report.Took = time.Since(r.began)
	return report, nil
}

// show tells of the progress until done.
func (r *Run) show(stage string, done <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		if r.cfg.Progress != nil {
			r.mu.Lock()
			p := Progress{
				Stage: stage, Sent: len(r.sent), Acked: r.tally.acked, Waiting: r.tally.waiting,
				Refused: r.tally.refused, Unanswered: r.tally.unanswered, Read: int(r.topics.count.Load()),
			}
			r.mu.Unlock()
			r.cfg.Progress(p)
		}
	}
}

// farthest returns the end that each partition must have, by the receipts.
func (r *Run) farthest() map[string]map[int]int64 {
	ends := map[string]map[int]int64{}
	for _, w := range r.sent {
		for _, p := range w.receipts {
			if w.excused || p.topic == "" {
				continue
			}
			if ends[p.topic] == nil {
				ends[p.topic] = map[int]int64{}
			}
			ends[p.topic][p.partition] = max(ends[p.topic][p.partition], p.offset+1)
		}
	}
	return ends
}
