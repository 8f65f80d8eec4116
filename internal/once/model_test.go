package once_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/internal/once"
)

// The bounds of the arrays of a state. A search stays below them: see [limits].
const (
	maxReplicas = 3
	maxEvents   = 2
	maxClaims   = 6 // of one event
	maxPlaces   = 2
	maxLog      = 8 // records of one place
)

// limits bounds a search.
type limits struct {
	replicas, events, places uint8
	claims                   uint8 // of one event
	total                    uint8 // claims of all events; 0 is no limit
	kills                    uint8 // processes that are killed; each starts again at once
	moves                    uint8 // leaders that move, so that what is not committed is cut off
	others                   uint8 // records of other events
	copies                   uint8 // claims that are written twice
	jumps                    uint8 // timestamps of the log that are wrong
}

// rules has the times of the protocol, in ticks of the clock, and what is broken in it on
// purpose.
type rules struct {
	send     uint8 // [once.Rules.SendTime]
	lifetime uint8 // [once.Rules.Lifetime]
	flight   uint8 // within which a request reaches the log or is lost

	// Rules that are left out, or done wrong.
	claimNotReadBack    bool // the process decides before it reads its claim
	anyOwnClaim         bool // it takes any claim of its own for the one that it waits for
	waitingPublishes    bool // a process that does not own the event publishes it after a while
	notBlocked          bool // a process appends its claim although another's is young, and takes claims that it had read before for old
	noCheck             bool // the owner does not read the places of earlier claims
	checkedEarlier      bool // it takes it that it has read them before it appended its claim
	toHighWatermark     bool // it reads them to the high watermark, not to the end of the log
	noLookUp            bool // it does not look whether the event is known then
	forgetUnread        bool // an old claim is forgotten although its place is not read
	ownSendsForgotten   bool // own claims do not block, although the event was sent under them
	placeChanges        bool // the event is written to another place than the claim says
	startsLate          bool // the owner counts its time from when it has read its claim
	readEarly           bool // the time of a claim is that of the request that fetched it
	logTime             bool // it is the timestamp of Kafka, and a broker's clock is wrong
	restartReadsNothing bool // a process that starts does not read the claims that are there
	compaction          bool // the claims topic keeps the last claim of each event alone
	answersEarly        bool // 2xx once the leader has the event, not all in-sync replicas
	publishesUnknown    bool // a claim whose acknowledgement did not come in time is taken for written

	// Assumptions that do not hold.
	clockStops   bool // the owner's clock stands still while its machine is suspended
	requestsLate bool // requests reach the log later than flight
	uncleanMove  bool // a new leader lacks acknowledged records
}

// phase is what a replica does about an event.
type phase uint8

const (
	idle     phase = iota
	claiming       // the claim is sent; the replica reads until it sees it
	checking       // it owns the event, and reads the places of earlier claims
	ready          // it may publish the event
	sent           // the event is sent, and not answered
	waiting        // another process may publish it
)

// claim is a claim, and which requests about it are under way. All numbers of claims start
// at 1.
type claim struct {
	process, place               uint8
	age                          uint8 // since before it was sent, at most rules.oldest
	claimUnderWay, eventUnderWay uint8
	eventPlace                   uint8
	landed                       uint8 // the claim is written
}

// attempt is what a replica does about one webhook with the event.
type attempt struct {
	phase  phase
	claim  uint8
	check  uint8 // bits of the places to read
	synced uint8 // bits of the places that are read to the end since before the claim was sent
	late   uint8 // in a search with startsLate: the age of the claim when it was read
}

type replica struct {
	process  uint8            // 0: none that has made a claim
	read     [maxEvents]uint8 // how much of the claims topic it has read
	known    [maxEvents]uint8 // it has read the event
	unsure   [maxEvents]uint8 // bits of own claims under which it sent the event, and got no answer
	attempts [maxEvents]attempt

	// ages has the age of each claim that it has read and not forgotten, from when it
	// read it, plus 1. 0: it does not remember the claim.
	ages [maxEvents][maxClaims]uint8
}

// written is a record of a place.
type written struct {
	kind  uint8 // of the constants below
	event uint8
	claim uint8
}

const (
	nothing     uint8 = iota
	eventRecord       // an event
	otherRecord       // another event
)

// state is a state of the whole system. It consists of bytes only, so that its memory can
// be hashed.
type state struct {
	replicas [maxReplicas]replica // sorted, see [model.normalise]: which is which does not matter
	claims   [maxEvents][maxClaims]claim
	nClaims  [maxEvents]uint8
	topic    [maxEvents][2 * maxClaims]uint8 // the claims topic, by event: claims
	nTopic   [maxEvents]uint8
	cleared  [maxEvents]uint8 // how much of it compaction has removed
	places   [maxPlaces][maxLog]written
	length   [maxPlaces]uint8
	high     [maxPlaces]uint8 // the high watermark
	answered [maxEvents]uint8 // a webhook with the event was answered with 2xx

	nProcesses                          uint8
	kills, moves, others, copies, jumps uint8 // how many there were
}

func (s *state) claim(event, number uint8) *claim { return &s.claims[event][number-1] }

// model is the rules within limits.
type model struct {
	rules
	limits
}

// oldest is the age from which on ages make no difference.
func (m *model) oldest() uint8 {
	if m.clockStops || m.startsLate || m.requestsLate {
		return m.lifetime + m.send + m.flight + 2
	}
	return max(m.lifetime+m.send, m.send+m.flight+1)
}

// once returns the rules in the package's form: a tick is a nanosecond.
func (m *model) once() once.Rules {
	return once.Rules{SendTime: time.Duration(m.send), Lifetime: time.Duration(m.lifetime)}
}

// clock is the time of a process. Only differences count.
const clock = time.Duration(1000)

// reads returns the claims of an event that a replica remembers, without its own claim
// except.
func (m *model) reads(s *state, r *replica, event, except uint8) []once.Read {
	var all []once.Read
	for k := uint8(1); k <= s.nClaims[event]; k++ {
		age := r.ages[event][k-1]
		c := s.claim(event, k)
		if age == 0 || k == except {
			continue
		}
		all = append(all, once.Read{
			Claim: once.Claim{Process: uint64(c.process), Number: uint64(k), Place: once.Place{Partition: int32(c.place)}},
			At:    clock - time.Duration(age-1),
		})
	}
	return all
}

// violation returns which guarantee a state breaks, or nothing.
func (m *model) violation(s *state) string {
	for e := range m.events {
		n := 0
		for p := range m.places {
			for _, r := range s.places[p][:s.high[p]] {
				if r.kind == eventRecord && r.event == e {
					n++
				}
			}
		}
		switch {
		case n > 1:
			return fmt.Sprintf("event %d is written %d times", e+1, n)
		case n == 0 && s.answered[e] != 0:
			return fmt.Sprintf("event %d is not written, and its webhook was answered with 2xx", e+1)
		}
	}
	return ""
}

// stepName names a kind of step.
type stepName uint8

const (
	stepClaim stepName = iota
	stepClaimWritten
	stepClaimCopied
	stepRead
	stepSync
	stepKnown
	stepChecked
	stepSend
	stepResend
	stepEventWritten
	stepAnswered
	stepAnsweredEarly
	stepGiveUp
	stepWaitingPublishes
	stepCommit
	stepMove
	stepOther
	stepKill
	stepCompact
	stepTick
)

// step is a step of the system, for a trace.
type step struct {
	name              stepName
	replica, event, a uint8
}

// next calls found with every state that one step leads to.
//
// A step whose result is fixed and which no other process notices is not put off: if
// there is one, it is the only one.
func (m *model) next(s *state, found func(step, *state)) {
	var n state
	try := func(p step, change func()) {
		n = *s
		change()
		found(p, &n)
	}
	for r := range m.replicas {
		for e := range m.events {
			if m.localStep(s, &n, r, e, try) {
				return
			}
		}
	}
	for r := range m.replicas {
		m.replicaSteps(s, &n, r, try)
	}
	for e := range m.events {
		m.requestSteps(s, &n, e, try)
	}
	for p := range m.places {
		m.placeSteps(s, &n, p, try)
	}
	try(step{name: stepTick}, func() { m.tick(&n) })
}

// tick lets time pass.
func (m *model) tick(n *state) {
	for e := range m.events {
		for k := range n.nClaims[e] {
			c := &n.claims[e][k]
			c.age = min(c.age+1, m.oldest())
			if c.eventUnderWay != 0 && c.age > m.send+m.flight && !m.requestsLate {
				c.eventUnderWay = 0 // it is lost
			}
			for r := range m.replicas {
				if age := &n.replicas[r].ages[e][k]; *age != 0 {
					*age = min(*age+1, m.oldest()+1)
				}
			}
		}
	}
}

// localStep tries the step of a replica that is not put off, and reports whether there is
// one.
func (m *model) localStep(s, n *state, r, e uint8, try func(step, func())) bool {
	me := &s.replicas[r]
	at, then := me.attempts[e], &n.replicas[r].attempts[e]
	p := step{replica: r, event: e, a: at.claim}
	switch {
	case at.phase == idle:
		return false
	case me.known[e] != 0 && (at.phase == waiting || at.phase == checking && at.check&^at.synced == 0 && !m.noLookUp):
		p.name = stepKnown
		try(p, func() {
			n.answered[e] = 1
			*then = attempt{}
		})
	case at.phase == checking && at.check&^at.synced == 0:
		p.name = stepChecked
		try(p, func() { then.phase = ready })
	default:
		return false
	}
	return true
}

// replicaSteps tries the steps of a replica.
func (m *model) replicaSteps(s, n *state, r uint8, try func(step, func())) {
	me, then := &s.replicas[r], &n.replicas[r]
	if s.kills < m.kills && me.process != 0 {
		try(step{name: stepKill, replica: r}, func() {
			n.kills++
			*then = replica{}
			m.restart(n, then)
		})
	}
	for p := range m.places {
		m.syncStep(s, n, r, p, try)
	}
	for e := range m.events {
		if me.read[e] < s.nTopic[e] {
			try(step{name: stepRead, replica: r, event: e}, func() { m.readClaims(n, then, e, 0) })
			if m.logTime && s.jumps < m.jumps {
				try(step{name: stepRead, replica: r, event: e}, func() {
					n.jumps++
					m.readClaims(n, then, e, m.lifetime)
				})
			}
		}
		m.attemptSteps(s, n, r, e, try)
	}
}

// restart lets a new process read what is committed.
func (m *model) restart(n *state, me *replica) {
	for e := range m.events {
		for p := range m.places {
			for _, w := range n.places[p][:n.high[p]] {
				if w.kind == eventRecord && w.event == e {
					me.known[e] = 1
				}
			}
		}
		if m.restartReadsNothing {
			me.read[e] = n.nTopic[e]
			continue
		}
		m.readClaims(n, me, e, 0)
	}
}

// readClaims lets a replica read the claims topic to its end. The claims have the age
// older.
func (m *model) readClaims(n *state, me *replica, e, older uint8) {
	if m.readEarly {
		older = 1
	}
	at := &me.attempts[e]
	for ; me.read[e] < n.nTopic[e]; me.read[e]++ {
		if me.read[e] < n.cleared[e] {
			continue
		}
		k := n.topic[e][me.read[e]]
		c := n.claim(e, k)
		switch {
		case me.process == 0 || c.process != me.process:
			me.ages[e][k-1] = older + 1
		case at.phase == claiming && (k == at.claim || m.anyOwnClaim):
			m.decide(n, me, e)
		}
	}
}

// decide decides whether a replica owns an event, which has read its claim.
func (m *model) decide(n *state, me *replica, e uint8) {
	at := &me.attempts[e]
	start := clock - time.Duration(n.claim(e, at.claim).age)
	all := m.reads(n, me, e, at.claim)
	if m.notBlocked {
		for i := range all {
			if all[i].At <= start {
				all[i].At -= time.Duration(m.lifetime)
			}
		}
	}
	owns, check := m.once().Decide(all, start)
	at.late = 0
	if m.startsLate {
		at.late = n.claim(e, at.claim).age
	}
	at.phase = waiting
	if owns {
		at.phase = checking
		for _, p := range check {
			at.check |= 1 << p.Partition
		}
		if m.noCheck {
			at.check = 0
		}
	}
}

// syncStep tries that a replica reads a place to the end of the leader's log.
func (m *model) syncStep(s, n *state, r, p uint8, try func(step, func())) {
	if s.high[p] < s.length[p] && !m.toHighWatermark {
		return // it waits until all of it is committed or cut off
	}
	then := &n.replicas[r]
	change := func() {
		for e := range m.events {
			for _, w := range n.places[p][:n.high[p]] {
				if w.kind == eventRecord && w.event == e {
					then.known[e] = 1
				}
			}
			if at := &then.attempts[e]; at.phase != idle {
				at.synced |= 1 << p
			}
			for k := range n.nClaims[e] {
				age := &then.ages[e][k]
				if *age == 0 || n.claims[e][k].place != p {
					continue
				}
				read := once.Read{At: clock - time.Duration(*age-1)}
				if m.once().Forgettable(read, clock) {
					*age, then.unsure[e] = 0, then.unsure[e]&^(1<<k)
				}
			}
		}
	}
	after := *n
	*n = *s
	change()
	changed := n.replicas[r] != s.replicas[r]
	*n = after
	if changed {
		try(step{name: stepSync, replica: r, a: p}, change)
	}
}

// attemptSteps tries what a replica can do about one event.
func (m *model) attemptSteps(s, n *state, r, e uint8, try func(step, func())) {
	me, after := &s.replicas[r], &n.replicas[r]
	at, then := me.attempts[e], &after.attempts[e]
	k := at.claim
	p := step{replica: r, event: e, a: k}
	do := func(name stepName, change func()) { p.name = name; try(p, change) }
	switch at.phase {
	case idle:
		if me.known[e] != 0 {
			if s.answered[e] == 0 {
				do(stepKnown, func() { n.answered[e] = 1 })
			}
			return
		}
		if s.nClaims[e] >= m.claims || m.total != 0 && s.nClaims[0]+s.nClaims[1] >= m.total {
			return
		}
		all := m.reads(s, me, e, 0)
		if m.forgetUnread {
			all = nil
			for _, c := range m.reads(s, me, e, 0) {
				if clock-c.At < time.Duration(m.lifetime) {
					all = append(all, c)
				}
			}
		}
		if m.once().Blocked(all, clock) && !m.notBlocked {
			return // it waits, and answers 503
		}
		for place := range m.places {
			m.claimStep(n, r, e, place, s.nClaims[e]+1, try)
		}
	case claiming:
		c := s.claim(e, k)
		if m.claimNotReadBack && c.landed != 0 || m.publishesUnknown {
			do(stepRead, func() { m.decide(n, after, e) })
		}
		do(stepGiveUp, func() { *then = attempt{} })
	case ready:
		place := s.claim(e, k).place
		if m.maySend(s, at, e) {
			do(stepSend, func() {
				n.send(e, k, place)
				then.phase = sent
			})
			if m.placeChanges {
				do(stepSend, func() {
					n.send(e, k, 1-place)
					then.phase = sent
				})
			}
		}
		do(stepGiveUp, func() { *then = attempt{} })
	case sent:
		c := s.claim(e, k)
		in, committed := s.find(e, k)
		if c.eventUnderWay == 0 && !in && m.maySend(s, at, e) {
			do(stepResend, func() { n.send(e, k, c.eventPlace) })
		}
		if in && committed {
			do(stepAnswered, func() {
				n.answered[e], after.known[e] = 1, 1
				*then = attempt{}
			})
		} else if in && m.answersEarly {
			do(stepAnsweredEarly, func() {
				n.answered[e] = 1
				*then = attempt{}
			})
		}
		do(stepGiveUp, func() {
			if !m.ownSendsForgotten {
				after.ages[e][k-1] = 1
				after.unsure[e] |= 1 << (k - 1)
			}
			*then = attempt{}
		})
	case waiting:
		if m.waitingPublishes {
			do(stepWaitingPublishes, func() { then.phase = ready })
		}
		do(stepGiveUp, func() { *then = attempt{} })
	case checking:
		do(stepGiveUp, func() { *then = attempt{} })
	}
}

// maySend reports whether the owner may send the event now.
func (m *model) maySend(s *state, at attempt, e uint8) bool {
	age := s.claim(e, at.claim).age
	return m.clockStops || m.once().MaySend(clock-time.Duration(age-at.late), clock)
}

// claimStep tries a claim.
func (m *model) claimStep(n *state, r, e, place, k uint8, try func(step, func())) {
	try(step{name: stepClaim, replica: r, event: e, a: k}, func() {
		me := &n.replicas[r]
		if me.process == 0 {
			n.nProcesses++
			me.process = n.nProcesses
		}
		n.nClaims[e] = k
		*n.claim(e, k) = claim{process: me.process, place: place, claimUnderWay: 1}
		me.attempts[e] = attempt{phase: claiming, claim: k}
		if m.checkedEarlier {
			me.attempts[e].synced = 1<<m.places - 1
		}
		if m.forgetUnread {
			for i, age := range me.ages[e] {
				if age > m.lifetime {
					me.ages[e][i] = 0
				}
			}
		}
	})
}

// requestSteps tries what happens to requests that are under way.
func (m *model) requestSteps(s, n *state, e uint8, try func(step, func())) {
	if m.compaction && s.nTopic[e] > s.cleared[e]+1 {
		try(step{name: stepCompact, event: e}, func() { n.cleared[e] = n.nTopic[e] - 1 })
	}
	for k := uint8(1); k <= s.nClaims[e]; k++ {
		c, then := s.claim(e, k), n.claim(e, k)
		p := step{event: e, a: k}
		do := func(name stepName, change func()) { p.name = name; try(p, change) }
		if c.claimUnderWay != 0 {
			do(stepClaimWritten, func() { n.writeClaim(e, k); then.claimUnderWay = 0 })
			if s.copies < m.copies {
				do(stepClaimCopied, func() { n.writeClaim(e, k); n.copies++ })
			}
		}
		if c.eventUnderWay != 0 {
			do(stepEventWritten, func() {
				then.eventUnderWay = 0
				n.append(c.eventPlace, written{eventRecord, e, k})
			})
		}
	}
}

// placeSteps tries what happens to a place.
func (m *model) placeSteps(s, n *state, p uint8, try func(step, func())) {
	if s.others < m.others {
		try(step{name: stepOther, a: p}, func() {
			n.others++
			n.append(p, written{kind: otherRecord})
		})
	}
	if s.high[p] < s.length[p] {
		try(step{name: stepCommit, a: p}, func() { n.high[p] = n.length[p] })
	}
	lowest := s.high[p]
	if m.uncleanMove && lowest > 0 {
		lowest--
	}
	if s.moves < m.moves {
		for to := lowest; to < s.length[p]; to++ {
			try(step{name: stepMove, a: p}, func() {
				n.moves++
				clear(n.places[p][to:])
				n.length[p], n.high[p] = to, min(n.high[p], to)
			})
		}
	}
}

// send puts the event of a claim under way.
func (s *state) send(e, k, place uint8) {
	c := s.claim(e, k)
	c.eventUnderWay, c.eventPlace = 1, place
}

// find reports whether the event of a claim is in the log, and committed. A leader that
// has a batch recognises it, so the event of one claim is not written twice.
func (s *state) find(e, k uint8) (in, committed bool) {
	p := s.claim(e, k).eventPlace
	for o, w := range s.places[p][:s.length[p]] {
		if w.kind == eventRecord && w.event == e && w.claim == k {
			return true, uint8(o) < s.high[p]
		}
	}
	return false, false
}

func (s *state) append(p uint8, w written) {
	s.places[p][s.length[p]] = w
	s.length[p]++
}

func (s *state) writeClaim(e, k uint8) {
	s.topic[e][s.nTopic[e]] = k
	s.nTopic[e]++
	s.claim(e, k).landed = 1
}

// describe says what a step did, which led from before to after.
func describe(p step, before, after *state, name func(uint8) byte) string {
	who := "replica " + string(name(p.replica))
	event := fmt.Sprintf("event %d", p.event+1)
	id := fmt.Sprintf("claim %d", p.a)
	place := fmt.Sprintf("partition %d", p.a)
	switch p.name {
	case stepClaim:
		return fmt.Sprintf("%s gets a webhook with %s and sends %s, for partition %d", who, event, id, after.claim(p.event, p.a).place)
	case stepClaimWritten:
		return id + " is written to the claims topic"
	case stepClaimCopied:
		return id + " is written to the claims topic, and sent once more"
	case stepRead:
		s := who + " reads the claims topic"
		to := after.replicas[p.replica].attempts[p.event]
		if before.replicas[p.replica].attempts[p.event].phase == claiming {
			s += map[phase]string{checking: fmt.Sprintf(": it owns the event by claim %d", to.claim), waiting: ": it does not own the event"}[to.phase]
		}
		return s
	case stepSync:
		return fmt.Sprintf("%s has read %s to the end of the leader's log", who, place)
	case stepKnown:
		return fmt.Sprintf("%s knows %s and answers 2xx", who, event)
	case stepChecked:
		return fmt.Sprintf("%s does not know %s: it may publish", who, event)
	case stepSend:
		return fmt.Sprintf("%s sends %s", who, event)
	case stepResend:
		return fmt.Sprintf("%s gets no answer, and sends %s again", who, event)
	case stepEventWritten:
		c := before.claim(p.event, p.a)
		return fmt.Sprintf("%s of %s is written to partition %d, offset %d, not committed", event, id, c.eventPlace, before.length[c.eventPlace])
	case stepAnswered:
		return fmt.Sprintf("%s gets the acknowledgement of %s and answers 2xx", who, event)
	case stepAnsweredEarly:
		return fmt.Sprintf("%s answers 2xx before %s is committed", who, event)
	case stepGiveUp:
		return fmt.Sprintf("%s answers 503", who)
	case stepWaitingPublishes:
		return fmt.Sprintf("%s has waited long enough and publishes", who)
	case stepCommit:
		return fmt.Sprintf("%s is committed up to offset %d", place, after.high[p.a])
	case stepMove:
		return fmt.Sprintf("%s gets another leader, whose log ends at offset %d", place, after.length[p.a])
	case stepOther:
		return fmt.Sprintf("another record is written to %s, offset %d, not committed", place, before.length[p.a])
	case stepKill:
		return who + " is killed, starts again and reads what is committed"
	case stepCompact:
		return fmt.Sprintf("the claims of %s are compacted: the last is kept", event)
	case stepTick:
		return "time passes"
	}
	return "?"
}

// String lists the logs, for the end of a trace.
func (s *state) String() string {
	var b strings.Builder
	for p := range s.places {
		if s.length[p] == 0 {
			continue
		}
		fmt.Fprintf(&b, "partition %d:", p)
		for o, w := range s.places[p][:s.length[p]] {
			if uint8(o) == s.high[p] {
				b.WriteString(" | not committed:")
			}
			switch w.kind {
			case eventRecord:
				fmt.Fprintf(&b, " [event %d, claim %d]", w.event+1, w.claim)
			case otherRecord:
				b.WriteString(" [other]")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}
