// Package once has the rules by which replicas agree which of them publishes an event, so
// that two replicas that get the same webhook at the same time do not both publish it.
// docs/once.md explains them. The tests go through every order of the steps of a few
// replicas, with failures, and show that each rule is needed.
//
// Before a process publishes an event, it appends a claim to the claims topic, whose key
// is the event's id, and reads that partition until it reads its own claim. All processes
// read the claims in the same order. Of two claims, only the writer of the later one has
// to know of the other:
//
//	process A  ── claim a ─────────────────── reads a: nothing before it ── publishes
//	process B  ────────── claim b ── reads a, b: a is before b ─────────── waits
//	claims        a   b
//
// A process that is stopped after its claim must not block the event for ever. So the
// writer of a claim sends the event only within [Rules.SendTime], and a claim that was
// read [Rules.Lifetime] ago blocks nobody. Every process counts both times with its own
// clock; no two clocks are compared, and no time is taken from Kafka.
package once

import "time"

// Claim is a record of the claims topic: a process is about to publish an event.
type Claim struct {
	Process uint64 // the process, a random number of its start
	Number  uint64 // of the claim, among those of the process
	Place   Place  // where the process writes the event; it writes it nowhere else
}

// Place is the partition of an event.
type Place struct {
	Topic     string
	Partition int32
}

// Read is a claim that a process has read.
type Read struct {
	Claim
	// At is when it was read, by the clock of the process that read it. It must not be
	// before the claim was in Kafka: take the time after the answer with the claim.
	At time.Duration
}

// Rules has the times of the rules. A process measures them with a clock that does not
// jump and that runs on while the machine sleeps.
type Rules struct {
	// SendTime is within which a process sends the event, from before it appended the
	// claim. It begins no request later, also none that it repeats.
	SendTime time.Duration
	// Lifetime is how long a claim blocks other processes, from when they read it. It is
	// longer than SendTime by the longest time that a request needs to reach the log.
	Lifetime time.Duration
}

// Blocked reports whether a process must not append a claim now, because another may
// still publish the event. The parameter claims has all claims of the event that the
// process has read and not forgotten; of its own, those under which it sent the event and
// does not know whether it is written.
func (r Rules) Blocked(claims []Read, now time.Duration) bool {
	for _, c := range claims {
		if now-c.At < r.Lifetime {
			return true
		}
	}
	return false
}

// Decide is called when a process reads its own claim, with the claims before that, chosen
// as for [Rules.Blocked], and with the time before it appended its claim.
//
// If owns is false, another process may publish the event: this one must not. If owns is
// true, the process waits until it has read the places in check to the end that their
// leaders' logs had at a time after start, committed or not. If the event is in none of
// them, no other process has published it or ever will, and this one may publish it for
// as long as [Rules.MaySend] says.
func (r Rules) Decide(before []Read, start time.Duration) (owns bool, check []Place) {
	for _, c := range before {
		if start-c.At < r.Lifetime {
			return false, nil
		}
		check = append(check, c.Place)
	}
	return true, check
}

// MaySend reports whether the owner of an event may begin to send it, or to send it again.
func (r Rules) MaySend(start, now time.Duration) bool { return now-start <= r.SendTime }

// Forgettable reports whether a process may forget a claim. The parameter inSync is the
// latest time as of which the process has read the claim's place to the end of the
// leader's log: the event is known if it was written under the claim.
func (r Rules) Forgettable(c Read, inSync time.Duration) bool { return inSync-c.At >= r.Lifetime }
