package once_test

import (
	"fmt"
	"hash/maphash"
	"strings"
	"testing"
	"unsafe"

	"github.com/tollbridge/tollbridge/internal/race"
)

// origin is how a state was reached first.
type origin struct {
	from uint64 // the hash of the state before
	n    uint16 // which of its steps
}

// search goes through all states that can be reached from the first one, breadth first,
// so that a trace is as short as any. States are kept by a hash of 64 bits: two of ten
// million share one with a probability of one to 400,000.
type search struct {
	*model
	seed    maphash.Seed
	visited map[uint64]origin
}

// hash returns the hash of a state. A state has bytes only, so its memory has no gaps.
func (x *search) hash(s *state) uint64 {
	return maphash.Bytes(x.seed, unsafe.Slice((*byte)(unsafe.Pointer(s)), unsafe.Sizeof(*s)))
}

// normalise makes states equal that differ in nothing that matters. It sorts the replicas,
// since nothing depends on which is which, and the array names with them, if it is not nil.
func (m *model) normalise(s *state, names *[maxReplicas]uint8) {
	for e := range m.events {
		m.simplify(s, e)
	}
	for p := range m.places {
		m.simplifyPlace(s, p)
	}
	bytes := func(r *replica) string { return unsafe.String((*byte)(unsafe.Pointer(r)), unsafe.Sizeof(*r)) }
	all := s.replicas[:m.replicas]
	for i := 1; i < len(all); i++ {
		for j := i; j > 0 && bytes(&all[j]) < bytes(&all[j-1]); j-- {
			all[j], all[j-1] = all[j-1], all[j]
			if names != nil {
				names[j], names[j-1] = names[j-1], names[j]
			}
		}
	}
}

// simplify removes from a state what is of no consequence any more for an event. The
// guarantees were checked before.
func (m *model) simplify(s *state, e uint8) {
	publishesAnyway := m.waitingPublishes || m.noLookUp || m.publishesUnknown
	timeless := m.clockStops || m.startsLate
	var used, unread uint8 // bits of claims
	least := s.nTopic[e]
	for r := range m.replicas {
		me := &s.replicas[r]
		at := &me.attempts[e]
		before := at.phase == claiming || at.phase == checking || at.phase == ready
		switch {
		case before && !timeless && s.claim(e, at.claim).age > m.send: // it cannot send any more
			*at = attempt{}
		case me.known[e] != 0 && before && at.phase != ready && !publishesAnyway:
			*at = attempt{}
		case at.phase == waiting && !m.waitingPublishes:
			*at = attempt{}
		case at.phase == ready, at.phase == sent:
			at.check, at.synced = 0, 0
		}
		if me.known[e] != 0 && !publishesAnyway { // it never claims again
			me.ages[e], me.unsure[e], me.read[e] = [maxClaims]uint8{}, 0, s.nTopic[e]
		}
		if at.claim != 0 {
			used |= 1 << (at.claim - 1)
		}
		least = min(least, me.read[e])
	}
	if s.kills < m.kills || m.compaction {
		least = 0
	}
	for _, k := range s.topic[e][least:s.nTopic[e]] {
		unread |= 1 << (k - 1)
	}
	for k := range s.nClaims[e] {
		c := &s.claims[e][k]
		for r := range m.replicas {
			if s.replicas[r].ages[e][k] != 0 {
				unread |= 1 << k
			}
		}
		if c.claimUnderWay != 0 {
			unread |= 1 << k
		}
		switch bit := uint8(1) << k; {
		case used&bit != 0 || c.eventUnderWay != 0:
		case unread&bit != 0: // only what it says matters
			*c = claim{process: c.process, place: c.place, claimUnderWay: c.claimUnderWay}
		default:
			*c = claim{}
		}
	}
	if least > 0 {
		n := copy(s.topic[e][:], s.topic[e][least:s.nTopic[e]])
		clear(s.topic[e][n:])
		s.nTopic[e] = uint8(n)
		for r := range m.replicas {
			s.replicas[r].read[e] -= least
		}
	}
}

// simplifyPlace removes from a place what cannot be cut off and is no event.
func (m *model) simplifyPlace(s *state, p uint8) {
	if m.uncleanMove {
		return
	}
	var n uint8
	high := s.high[p]
	for o := range s.length[p] {
		w := s.places[p][o]
		if o < high && w.kind == otherRecord {
			s.high[p]--
			continue
		}
		if o < high {
			s.answered[w.event] = 0 // the event is committed: 2xx is right for ever
		}
		s.places[p][n] = w
		n++
	}
	clear(s.places[p][n:])
	s.length[p] = n
}

// explore returns the number of states and, if one of them breaks a guarantee, which, and
// the steps to it. check, which may be nil, is called with every state.
func (m *model) explore(check func(*state) string) (states int, broken, trace string) {
	x := &search{model: m, seed: maphash.MakeSeed(), visited: map[uint64]origin{}}
	var first state
	x.visited[x.hash(&first)] = origin{}
	level, deeper := []state{first}, []state{}
	for len(level) > 0 {
		for i := range level {
			s := &level[i]
			from := x.hash(s)
			if check != nil {
				if broken := check(s); broken != "" {
					return len(x.visited), broken, x.trace(from)
				}
			}
			var n uint16
			m.next(s, func(_ step, to *state) {
				n++
				if broken != "" {
					return
				}
				next := *to
				m.normalise(&next, nil)
				h := x.hash(&next)
				if _, seen := x.visited[h]; seen {
					return
				}
				x.visited[h] = origin{from, n}
				if broken = m.violation(&next); broken != "" {
					trace = x.trace(h)
					return
				}
				deeper = append(deeper, next)
			})
			if broken != "" {
				return len(x.visited), broken, trace
			}
		}
		level, deeper = deeper, level[:0]
	}
	return len(x.visited), "", ""
}

// trace describes the steps to a state.
func (x *search) trace(to uint64) string {
	var steps []uint16
	for o := x.visited[to]; o.n != 0; o = x.visited[o.from] {
		steps = append(steps, o.n)
	}
	var b strings.Builder
	names := [maxReplicas]uint8{0, 1, 2}
	var s state
	for i := len(steps) - 1; i >= 0; i-- {
		var n uint16
		var after state
		var taken step
		x.next(&s, func(p step, next *state) {
			if n++; n == steps[i] {
				taken, after = p, *next
			}
		})
		fmt.Fprintf(&b, "%3d. %s\n", len(steps)-i, describe(taken, &s, &after, func(r uint8) byte { return 'A' + names[r] }))
		x.normalise(&after, &names)
		s = after
	}
	return b.String() + s.String()
}

// times are the shortest times of the rules that fit each other.
var times = rules{send: 0, flight: 1, lifetime: 2}

// limits of most searches.
var two = limits{replicas: 2, events: 1, places: 1, claims: 2}

func (l limits) with(change func(*limits)) limits {
	change(&l)
	return l
}

// TestOnce goes through all states within limits. In none of them is an event written twice,
// or a 2xx given for an event that is not written.
func TestOnce(t *testing.T) {
	failing := two.with(func(l *limits) { l.kills, l.moves, l.others, l.copies = 1, 1, 1, 1 })
	longer := rules{send: 1, flight: 1, lifetime: 3}
	for _, c := range []struct {
		name   string
		rules  rules
		limits limits
		long   bool // only without the race detector and -short
	}{
		{"every failure", times, failing.with(func(l *limits) { l.copies = 0 }), false},
		{"every failure, and copies", times, failing, true},
		{"longer times", longer, two.with(func(l *limits) { l.kills, l.moves = 1, 1 }), true},
		{"three claims, one is killed", times, two.with(func(l *limits) { l.claims, l.kills = 3, 1 }), true},
		{"three claims, two are killed", times, two.with(func(l *limits) { l.claims, l.kills = 3, 2 }), true},
		{"three claims, a leader moves", times, two.with(func(l *limits) { l.claims, l.moves = 3, 1 }), true},
		{"two places", times, two.with(func(l *limits) { l.places, l.kills, l.moves = 2, 1, 1 }), true},
		{"three replicas", times, two.with(func(l *limits) { l.replicas, l.claims = 3, 3 }), true},
		{"two events", times, two.with(func(l *limits) { l.events, l.total = 2, 3 }), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.long && (race.Enabled || testing.Short()) {
				t.Skip("a long search: make test does it without the race detector")
			}
			m := &model{rules: c.rules, limits: c.limits}
			states, what, trace := m.explore(nil)
			if what != "" {
				t.Fatalf("%s:\n%s", what, trace)
			}
			t.Logf("%d states", states)
		})
	}
}

// rank orders the steps of a replica that gets a webhook again and again, while no other
// replica does anything, and no failure happens. A step without a rank is not taken.
var rank = map[stepName]int{
	stepKnown: 1, stepChecked: 2, stepAnswered: 3, stepCommit: 4, stepClaimWritten: 5, stepRead: 6, stepSync: 7,
	stepEventWritten: 8, stepSend: 9, stepClaim: 10, stepTick: 11, stepGiveUp: 12,
}

// answers returns why a replica does not answer a webhook with an event with 2xx in the end,
// or nothing. If lose is true, the requests that are under way at the beginning are lost.
func (m *model) answers(s state, r, e uint8, lose bool) string {
	later := *m
	later.claims, later.kills, later.moves, later.others, later.copies = maxClaims, 0, 0, 0, 0
	var steps []string
	if lose {
		for k := range s.nClaims[e] {
			s.claims[e][k].eventUnderWay, s.claims[e][k].claimUnderWay = 0, 0
		}
	}
	ticks := 0
	for range 100 {
		if s.places[0][0].kind == eventRecord && s.high[0] > 0 && s.replicas[r].known[e] != 0 {
			return "" // the event is known: the next delivery is answered with 2xx
		}
		var best step
		var after state
		least := len(rank) + 1
		later.next(&s, func(p step, n *state) {
			of := rank[p.name]
			others := p.replica != r || p.event != e
			switch p.name {
			case stepCommit, stepClaimWritten, stepEventWritten, stepTick, stepKnown, stepChecked:
				others = false
			}
			if p.name == stepTick && ticks > 2*int(m.lifetime) && s.replicas[r].attempts[e].phase != idle {
				of = 13 // the webhook's deadline is over
			}
			if of > 0 && of < least && !others {
				least, best, after = of, p, *n
			}
		})
		if ticks++; best.name != stepTick {
			ticks = 0
		}
		if what := m.violation(&after); what != "" {
			return what
		}
		steps = append(steps, describe(best, &s, &after, func(r uint8) byte { return 'A' + r }))
		if best.replica == r && (best.name == stepAnswered || best.name == stepKnown) {
			return ""
		}
		s = after
	}
	return "no 2xx after\n     " + strings.Join(steps, "\n     ")
}

// TestAnswered shows that from every state, a webhook that is delivered to a replica again
// and again is answered with 2xx when the failures stop, whichever replica that is, also
// if the others have stopped for good.
func TestAnswered(t *testing.T) {
	l := two.with(func(l *limits) { l.kills, l.moves = 1, 1 })
	check := func(m *model) func(*state) string {
		return func(s *state) string {
			for r := range m.replicas {
				for _, lose := range []bool{false, true} {
					if what := m.answers(*s, r, 0, lose); what != "" {
						return what
					}
				}
			}
			return ""
		}
	}
	m := &model{rules: times, limits: l}
	states, what, trace := m.explore(check(m))
	if what != "" {
		t.Fatalf("%s\nfrom the state after\n%s", what, trace)
	}
	t.Logf("%d states", states)

	// A claim that blocks for ever is found.
	m = &model{rules: broken(func(r *rules) { r.lifetime = 200 }), limits: l}
	states, what, _ = m.explore(check(m))
	if what == "" {
		t.Errorf("nothing found in %d states if a claim blocks for ever", states)
	}
}

// broken returns the rules with something broken.
func broken(change func(*rules)) rules {
	r := times
	change(&r)
	return r
}

// TestBroken shows that each rule is needed: without it, the search finds an event that is
// written twice, or a 2xx for an event that is not written.
func TestBroken(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*rules)
		limits limits
	}{
		{"the owner decides before it reads its claim", func(r *rules) { r.claimNotReadBack = true }, two},
		{"any own claim is taken for the new one", func(r *rules) { r.anyOwnClaim = true }, two.with(func(l *limits) { l.claims = 3 })},
		{"a claim without acknowledgement is taken for written", func(r *rules) { r.publishesUnknown = true }, two},
		{"who does not own the event publishes it", func(r *rules) { r.waitingPublishes = true }, two},
		{"a claim that was read before does not block", func(r *rules) { r.notBlocked = true }, two},
		{"earlier places are not read", func(r *rules) { r.noCheck = true }, two},
		{"earlier places were read before the claim", func(r *rules) { r.checkedEarlier = true }, two},
		{"earlier places are read to the high watermark", func(r *rules) { r.toHighWatermark = true }, two},
		{"the event is not looked up after that", func(r *rules) { r.noLookUp = true }, two},
		{"an old claim is forgotten, its place unread", func(r *rules) { r.forgetUnread = true }, two},
		{"own claims of unknown outcome do not block", func(r *rules) { r.ownSendsForgotten = true }, two},
		{"the event goes to another place than claimed", func(r *rules) { r.placeChanges = true }, two.with(func(l *limits) { l.places = 2 })},
		{"the owner counts from when it read its claim", func(r *rules) { r.startsLate = true }, two},
		{"the lifetime is no longer than sending and flight", func(r *rules) { r.lifetime = 1 }, two},
		{"a claim's time is before it was in Kafka", func(r *rules) { r.readEarly = true }, two},
		{"a claim's time is Kafka's timestamp, which is wrong", func(r *rules) { r.logTime = true }, two.with(func(l *limits) { l.jumps = 1 })},
		{"a process that starts reads no claims", func(r *rules) { r.restartReadsNothing = true }, two.with(func(l *limits) { l.kills = 1 })},
		{"the claims topic is compacted", func(r *rules) { r.compaction = true }, two},
		{"2xx before the in-sync replicas have the event", func(r *rules) { r.answersEarly = true }, two.with(func(l *limits) { l.moves = 1 })},

		// What docs/once.md names as not covered.
		{"assumption: the owner's clock stands still", func(r *rules) { r.clockStops = true }, two},
		{"assumption: a request is under way for longer", func(r *rules) { r.requestsLate = true }, two},
		{"assumption: an unclean leader election", func(r *rules) { r.uncleanMove = true }, two.with(func(l *limits) { l.moves = 1 })},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &model{rules: broken(c.change), limits: c.limits}
			n, what, trace := m.explore(nil)
			if what == "" {
				t.Fatalf("nothing found in %d states", n)
			}
			t.Logf("%s, found after %d states:\n%s", what, n, trace)
		})
	}
}
