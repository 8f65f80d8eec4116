// Package soak checks the promise of tollbridge. It sends numbered, correctly signed
// webhooks at a steady rate, and sends those again that are not answered with 2xx, as a
// processor would. Then it reads the topics by partition and counts:
//
//	LOST      answered with 2xx, and not in Kafka
//	DUP       in Kafka more than once
//	PHANTOM   in Kafka and never sent, or in Kafka with another key or topic
//	ORDER     in Kafka after a later webhook of the same key and partition
//
// Each delivery goes to a random replica. A share of the webhooks that were answered with
// 2xx is delivered again some time later: the answer must have the receipt of the first
// one, and nothing may be written. Another share is delivered to several replicas at once
// or shortly after each other: twins. Only one of the replicas may write those.
//
// The webhooks are Stripe's, in test mode, of several event types, so that they go to
// several topics. The webhooks of one key are sent one after the other, each after the one
// before was answered with 2xx: otherwise their order would mean nothing.
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

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
)

// Config configures a run. URLs, Secret and Kafka must be set.
type Config struct {
	URLs   []string     // of a Stripe endpoint that accepts test mode, one for each replica
	Secret string       // of that endpoint
	Kafka  kafka.Config // of the cluster that the endpoint publishes to
	Names  kafka.Names  // of its topics

	Rate    float64       // new webhooks a second; 0 is 100
	Count   int           // of webhooks; 0 is no limit
	For     time.Duration // to send new ones; 0 is no limit
	Callers int           // requests at the same time; 0 is 64
	Keys    int           // number of keys, and so of webhooks without a 2xx at the same time; 0 is 500

	Redeliver float64       // share of the webhooks that is delivered again after its 2xx
	After     time.Duration // the least time between the 2xx and that delivery; 0 is 50 ms
	Within    time.Duration // the longest random time in addition to After; 0 is 10 s
	Twice     float64       // share of the webhooks that is delivered to two or more replicas, or twice to the only one
	Apart     time.Duration // the longest random time between the first and the other deliveries of those; 0 is at once

	Timeout  time.Duration // of one request; 0 is 10 s
	Patience time.Duration // how long webhooks are sent again after the last new one; 0 is 1 min
	Settle   time.Duration // time between the last answer and reading, for records that are written late; 0 is 2 s

	// Alone reports that nobody else writes to the topics: records of others count as
	// phantoms.
	Alone    bool
	Progress func(Progress) // called every second; may be nil
}

func (c Config) withDefaults() Config {
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

// Progress says how far a run is.
type Progress struct {
	Stage               string // sending or reading
	Sent, Acked         int    // webhooks
	Waiting             int    // sent and not answered with 2xx yet
	Refused, Unanswered int    // answers that were not 2xx, requests without one
	Read                int    // records
}

// Run is a run that was started. [Run.Wait] returns its result.
type Run struct {
	cfg    Config
	id     string // part of the ids and keys that the run sends
	began  time.Time
	client *http.Client
	topics reader

	idle     chan int      // keys of which no webhook waits for its 2xx
	due      chan delivery // to be sent now
	waiting  sync.WaitGroup
	inFlight atomic.Int64
	stop     context.CancelCauseFunc // ends the sending of new webhooks

	mu       sync.Mutex
	sent     []webhook         // by number
	turns    []int             // number of webhooks by key
	known    map[string]string // see intern
	tally    tally
	deadline time.Time // zero while new webhooks are sent
}

// tally has the counts of the sending stage.
type tally struct {
	acked, waiting, redelivered, refused, unanswered int
	lastAck                                          time.Time
	maxPause, max503                                 time.Duration
	fatal                                            error
}

// Start stores the end offsets of the topics and begins to send. Sending ends when Count
// or For is reached, [Run.Stop] is called or ctx is done.
func Start(ctx context.Context, c Config) (*Run, error) {
	c = c.withDefaults()
	r := &Run{
		cfg: c, id: strconv.FormatUint(rand.Uint64(), 36),
		client: &http.Client{Timeout: c.Timeout, Transport: &http.Transport{MaxIdleConnsPerHost: c.Callers}},
		idle:   make(chan int, c.Keys), due: make(chan delivery, c.Keys),
		turns: make([]int, c.Keys), known: map[string]string{},
	}
	var err error
	if r.topics, err = newReader(ctx, c, r.id); err != nil {
		return nil, fmt.Errorf("reading the end offsets of the topics: %w", err)
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

// errEnd is the cause when the sending of new webhooks ends without an error.
var errEnd = errors.New("all webhooks are sent")

// Stop ends the sending of new webhooks.
func (r *Run) Stop() { r.stop(errEnd) }

// Sent returns how many webhooks were sent so far, and how many of them were answered with
// 2xx.
func (r *Run) Sent() (sent, acked int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sent), r.tally.acked
}

// InFlight returns how many requests wait for their answer.
func (r *Run) InFlight() int { return int(r.inFlight.Load()) }

// Renewed tells the run that a topic was deleted and created again: webhooks that were
// answered with 2xx until now need not be in it.
func (r *Run) Renewed(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.sent {
		if w := &r.sent[i]; w.topic == topic && w.acked() {
			w.excused = true
		}
	}
	for p := range r.topics.before {
		if p.Topic == topic {
			r.topics.before[p] = 0
		}
	}
}

// Wait waits until every webhook is sent and answered, or given up, and the topics are
// read, and returns the report. The error says why there is no report.
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
	go func() { found, err = r.topics.read(r.acknowledged()); close(done) }()
	r.show("reading", done)
	if err != nil {
		return Report{}, fmt.Errorf("reading the topics: %w", err)
	}
	report := judge(r.sent, found, r.cfg.Alone)
	report.add(r.tally)
	report.Took = time.Since(r.began)
	return report, nil
}

// show reports the progress every second until done is closed.
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

// acknowledged returns the end offset that each partition must have, according to the
// receipts.
func (r *Run) acknowledged() map[consume.Partition]int64 {
	ends := map[consume.Partition]int64{}
	for _, w := range r.sent {
		for _, at := range w.receipts {
			if !w.excused && at.topic != "" {
				p := consume.Partition{Topic: at.topic, Number: at.partition}
				ends[p] = max(ends[p], at.offset+1)
			}
		}
	}
	return ends
}
