package publish

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// byHand returns a partition and its leader, that nobody sends to but the test.
func byHand(t *testing.T) (*partition, *broker) {
	k := newCluster(Config{Patience: time.Minute}.orElse())
	k.stop()
	k.ctx = t.Context()
	b := &broker{cluster: k, wake: make(chan struct{}, 1)}
	p := &partition{cluster: k, topic: &topic{name: "a"}, leader: b}
	p.topic.limit.Store(standardMost)
	return p, b
}

// TestUnknown: once an attempt's outcome is unknown, its batch is sent again as
// it was, whatever comes, until an answer tells. Its caller has left, and its
// redelivery is neither written nor answered before.
func TestUnknown(t *testing.T) {
	first := producerID{id: 1, given: true}
	for name, test := range map[string]struct {
		attempt kafka.Error // its answer; 0: none
		settled kafka.Error
		fate    fate
	}{
		"written":                   {0, 0, stored},
		"recognised":                {kafka.NotLeaderForPartition, kafka.DuplicateSequenceNumber, stored},
		"a deposed leader's answer": {kafka.NotLeaderForPartition, kafka.ProducerFenced, lost},
		"a topic that went":         {kafka.UnknownTopicOrPartition, kafka.TopicAuthorizationFailed, lost},
		"too large":                 {kafka.RequestTimedOut, kafka.MessageSizeTooLarge, lost},
		"too large after no answer": {0, kafka.MessageSizeTooLarge, lost},
	} {
		t.Run(name, func(t *testing.T) {
			p, b := byHand(t)
			c := newCall([]Record{{Topic: "a", ID: "1", Key: []byte("k")}, {Topic: "a", ID: "2", Key: []byte("k")}})
			for i := range c.records {
				if err := p.place(&c.records[i], &c.slots[i], time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			again := c.records[1]
			sent := p.next(b, 1<<20)
			p.sealFor(sent, first)
			wire := bytes.Clone(sent.wire)
			c.leave(errLate)
			if _, err := c.result(p.cluster.ledger); !errors.Is(err, errLate) {
				t.Fatalf("got %v, want %v", err, errLate)
			}
			answer := func(code kafka.Error) {
				var err error
				if code == 0 {
					err = io.EOF
				}
				p.answered(sent, code, -1, err)
			}
			answer(test.attempt)
			for what, disturb := range map[string]func(){
				"no answer":        func() { answer(0) },
				"too few replicas": func() { answer(kafka.NotEnoughReplicas) },
				"not sent":         func() { p.returned(sent) },
				"no hope":          func() { p.returned(sent); p.giveIn(time.Now().Add(time.Hour)) },
			} {
				p.mu.Lock()
				p.paused = false
				p.mu.Unlock()
				if p.next(b, 1<<20) != sent {
					t.Fatal("it is not sent again")
				}
				p.sealFor(sent, producerID{id: 2, given: true})
				disturb()
				if !bytes.Equal(sent.wire, wire) {
					t.Fatalf("%s changed its bytes", what)
				}
			}
			redelivered := newCall([]Record{again})
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			p.mu.Lock()
			p.failing = time.Time{} // it would be refused without a look
			p.mu.Unlock()
			if known, err := redelivered.slots[0].recall(gone, p.cluster.ledger, p, &again); known || err == nil {
				t.Errorf("the redelivery is known %v, error %v, before the outcome is", known, err)
			}
			p.answered(sent, test.settled, 7, nil)
			e := p.cluster.ledger.find(identity(&again))
			if e == nil || e.fate != test.fate || test.fate == stored && e.at.Offset != 8 {
				t.Errorf("the ledger has %+v, want fate %d", e, test.fate)
			}
			if len(p.queue) != 0 {
				t.Errorf("%d batches are still there", len(p.queue))
			}
			if test.fate == lost && p.id == first {
				t.Error("its producer id goes on, with a sequence that may have been used")
			}
		})
	}
}

// TestOrphanRefused: what a broker surely did not append, and nobody waits for,
// is not sent again.
func TestOrphanRefused(t *testing.T) {
	p, b := byHand(t)
	c := newCall([]Record{{Topic: "a", ID: "1", Key: []byte("k")}})
	if err := p.place(&c.records[0], &c.slots[0], time.Now()); err != nil {
		t.Fatal(err)
	}
	sent := p.next(b, 1<<20)
	p.sealFor(sent, producerID{id: 1, given: true})
	c.leave(errLate)
	_, _ = c.result(p.cluster.ledger)
	p.answered(sent, kafka.NotEnoughReplicas, -1, nil)
	if p.next(b, 1<<20) != nil || len(p.queue) != 0 {
		t.Error("it is sent again")
	}
	if n := p.cluster.ledger.size.Load(); n != 0 {
		t.Errorf("%d records are remembered, and none is written", n)
	}
}
