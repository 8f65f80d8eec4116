package publish

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// byHand returns a partition and its leader; nothing is sent unless the test sends it.
func byHand(t *testing.T) (*partition, *broker) {
	k := newCluster(Config{Patience: time.Minute}.withDefaults())
	k.stop()
	k.ctx = t.Context()
	b := &broker{cluster: k, wake: make(chan struct{}, 1)}
	p := &partition{cluster: k, topic: &topic{name: "a"}, leader: b}
	p.topic.limit.Store(defaultMaxMessage)
	return p, b
}

// TestUnknown: once the outcome of a batch is unknown, the same bytes are sent again,
// whatever happens, until an answer decides the outcome. The caller has left, and the
// redelivery is neither written nor answered before.
func TestUnknown(t *testing.T) {
	first := producerID{id: 1, assigned: true}
	for name, test := range map[string]struct {
		attempt kafkago.Error // the first answer; 0: no answer
		settled kafkago.Error
		fate    fate
	}{
		"written":                   {0, 0, stored},
		"recognised":                {kafkago.NotLeaderForPartition, kafkago.DuplicateSequenceNumber, stored},
		"a deposed leader's answer": {kafkago.NotLeaderForPartition, kafkago.ProducerFenced, indeterminate},
		"a topic that went":         {kafkago.UnknownTopicOrPartition, kafkago.TopicAuthorizationFailed, indeterminate},
		"too large":                 {kafkago.RequestTimedOut, kafkago.MessageSizeTooLarge, indeterminate},
		"too large after no answer": {0, kafkago.MessageSizeTooLarge, indeterminate},
	} {
		t.Run(name, func(t *testing.T) {
			p, b := byHand(t)
			c := newCall([]kafka.Record{{Topic: "a", ID: "1", Key: []byte("k")}, {Topic: "a", ID: "2", Key: []byte("k")}})
			for i := range c.records {
				if err := p.addRecord(&c.records[i], &c.slots[i], time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			again := c.records[1]
			sent := p.nextBatch(b, 1<<20)
			p.sealFor(sent, first)
			wire := bytes.Clone(sent.wire)
			c.abandon(errDeadline)
			if _, err := c.result(p.cluster.ledger); !errors.Is(err, errDeadline) {
				t.Fatalf("got %v, want %v", err, errDeadline)
			}
			answer := func(code kafkago.Error) {
				var err error
				if code == 0 {
					err = io.EOF
				}
				p.onResponse(sent, code, -1, err)
			}
			answer(test.attempt)
			for what, disturb := range map[string]func(){
				"no answer":        func() { answer(0) },
				"too few replicas": func() { answer(kafkago.NotEnoughReplicas) },
				"not sent":         func() { p.returnUnsent(sent, 0) },
				"no hope":          func() { p.returnUnsent(sent, 0); p.failWaiters(time.Now().Add(time.Hour)) },
			} {
				p.mu.Lock()
				p.paused = false
				p.mu.Unlock()
				if p.nextBatch(b, 1<<20) != sent {
					t.Fatal("the batch is not sent again")
				}
				p.sealFor(sent, producerID{id: 2, assigned: true})
				disturb()
				if !bytes.Equal(sent.wire, wire) {
					t.Fatalf("%s changed the batch's bytes", what)
				}
			}
			redelivered := newCall([]kafka.Record{again})
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			p.mu.Lock()
			p.failingSince = time.Time{} // otherwise the redelivery would be refused without a look-up
			p.mu.Unlock()
			if known, err := redelivered.slots[0].checkLedger(gone, p.cluster.ledger, p, &again); known || err == nil {
				t.Errorf("before the outcome is known: the redelivery got known %v and error %v, want an error only", known, err)
			}
			p.onResponse(sent, test.settled, 7, nil)
			e := p.cluster.ledger.find(ledgerKey(&again))
			if e == nil || e.fate != test.fate || test.fate == stored && e.receipt.Offset != 8 {
				t.Errorf("the ledger entry is %+v, want fate %d", e, test.fate)
			}
			if len(p.queue) != 0 {
				t.Errorf("%d batches are still in the queue", len(p.queue))
			}
			if test.fate == indeterminate && p.id == first {
				t.Error("the producer id is still used, though its sequence number may have been used")
			}
		})
	}
}

// TestAbandonedNotWritten: a batch whose caller has left is not sent again if the broker
// certainly did not write it.
func TestAbandonedNotWritten(t *testing.T) {
	p, b := byHand(t)
	c := newCall([]kafka.Record{{Topic: "a", ID: "1", Key: []byte("k")}})
	if err := p.addRecord(&c.records[0], &c.slots[0], time.Now()); err != nil {
		t.Fatal(err)
	}
	sent := p.nextBatch(b, 1<<20)
	p.sealFor(sent, producerID{id: 1, assigned: true})
	c.abandon(errDeadline)
	_, _ = c.result(p.cluster.ledger)
	p.onResponse(sent, kafkago.NotEnoughReplicas, -1, nil)
	if p.nextBatch(b, 1<<20) != nil || len(p.queue) != 0 {
		t.Error("the batch is sent again")
	}
	if n := p.cluster.ledger.size.Load(); n != 0 {
		t.Errorf("the ledger has %d records, want none: none was written", n)
	}
}

// fakeLog is a log reader with answers that a test sets.
type fakeLog struct {
	at    map[string]kafka.Receipt
	known bool
	asked time.Time
}

func (r *fakeLog) Follows(topic string) bool { return topic == "a" }

func (r *fakeLog) Written(_ string, _ int, sent time.Time, _ []string) (map[string]kafka.Receipt, bool) {
	r.asked = sent
	return r.at, r.known
}

// TestReadLog: a batch with an unknown outcome, whose callers have left, is not sent
// again. The log is read instead, and the redelivery of each record gets the outcome
// that was found.
func TestReadLog(t *testing.T) {
	first := producerID{id: 1, assigned: true}
	p, b := byHand(t)
	log := &fakeLog{}
	var l LogReader = log
	p.cluster.logReader.Store(&l)
	place := func(ids ...string) *call {
		var records []kafka.Record
		for _, id := range ids {
			records = append(records, kafka.Record{Topic: "a", ID: id, Key: []byte("k")})
		}
		c := newCall(records)
		for i := range c.records {
			if err := p.addRecord(&c.records[i], &c.slots[i], time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		return c
	}
	c := place("1", "2")
	records := c.records
	sent := p.nextBatch(b, 1<<20)
	p.sealFor(sent, first)
	p.onResponse(sent, 0, -1, io.EOF)
	if p.nextBatch(b, 1<<20) != sent || !log.asked.IsZero() {
		t.Fatal("a batch whose caller waits is not sent again")
	}
	before := time.Now()
	p.onResponse(sent, 0, -1, io.EOF)
	c.abandon(errDeadline)
	_, _ = c.result(p.cluster.ledger)
	p.resume()
	if p.nextBatch(b, 1<<20) != nil || !p.paused || log.asked.Before(before) {
		t.Fatalf("the batch is sent again, or the log was read as of %s, before the last attempt ended", log.asked)
	}
	log.at, log.known = map[string]kafka.Receipt{"2": {Topic: "a", Offset: 9}}, true
	p.resume()
	if p.nextBatch(b, 1<<20) != nil || len(p.queue) != 0 {
		t.Fatal("the batch is sent again, though its outcome is known")
	}
	if e := p.cluster.ledger.find(ledgerKey(&records[0])); e != nil {
		t.Errorf("the ledger has a record that was not written: %+v", e)
	}
	if e := p.cluster.ledger.find(ledgerKey(&records[1])); e == nil || e.fate != stored || e.receipt.Offset != 9 {
		t.Errorf("the written record has the entry %+v, want its receipt", e)
	}
	place("3")
	next := p.nextBatch(b, 1<<20)
	if p.sealFor(next, producerID{id: 2, assigned: true}); p.id == first || p.sequence != 0 {
		t.Error("the producer id is still used, though its sequence number may have been used")
	}
}
