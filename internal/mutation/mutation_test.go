// Package mutation tests that signatures cover everything that an event says. It
// changes every leaf of every signed sample and keeps the signature. A request that
// still verifies must give the same events as the sample.
package mutation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/internal/race"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

var now = time.Date(2026, 1, 1, 10, 15, 35, 0, time.UTC)

// sample is a signed request and the events that it gives.
type sample struct {
	connector, name string
	keys            verify.Keys
	request         verify.Request
	documents       []document
	outcome         normalize.Outcome
	events          []schemas.Event
	reply           string
}

// judge verifies and normalises a request. It returns false if the request is refused.
// It does not fetch the keys that a request names.
func (s sample) judge(r verify.Request) (outcome normalize.Outcome, events []schemas.Event, reply string, verified bool) {
	v, err := verify.Verify(s.connector, r, s.keys, now)
	if err != nil || v.Handshake {
		return "", nil, string(v.Reply), err == nil
	}
	e := webhook.Endpoint{Connector: s.connector, URL: address(s.connector), Keys: s.keys}
	result, err := e.Normalize(v.Payload, now)
	return result.Outcome(), result.Events, string(v.Reply), err == nil
}

func address(connector string) string { return "https://pay.example.com/webhooks/" + connector }

// signed returns the samples of a connector that verify, each signed with the dev keys
// and the settings that its name gives.
func signed(t *testing.T, connector string) []sample {
	var all []sample
	for _, name := range samples.Names(connector) {
		payload, err := samples.Payload(connector, name)
		if err != nil {
			t.Fatal(err)
		}
		keys, private, _ := sign.Dev(connector)
		keys.Settings = maps.Clone(keys.Settings)
		if _, settings, ok := strings.Cut(name, "@"); ok {
			if keys.Settings == nil {
				keys.Settings = map[string]string{}
			}
			for s := range strings.SplitSeq(settings, ",") {
				key, value, _ := strings.Cut(s, "=")
				keys.Settings[key] = value
			}
		}
		r, err := sign.Request(connector, payload, private, keys.Settings, address(connector), now)
		if err != nil {
			continue // no processor signs this webhook
		}
		s := sample{connector: connector, name: name, keys: keys, request: r}
		var verified bool
		if s.outcome, s.events, s.reply, verified = s.judge(r); !verified {
			continue // this sample is to be refused
		}
		s.documents = documents(r)
		all = append(all, s)
	}
	return all
}

// The parts of an event that a mutation must not change.
const (
	typeOf    = "type"       // also the stage of a dispute
	key       = "key"        // the subject and its source
	amount    = "amount"     // all amounts
	eventID   = "event id"   // ours and the processor's
	ids       = "ids"        // of the account, payment, refund, dispute, payout, mandate and network, and whether they are signed
	mode      = "mode"       // live or test
	timeOf    = "time"       // also the deadline of a dispute
	outcome   = "outcome"    // events, malformed or ignored; or fewer events
	newEvents = "new events" // more events
	reply     = "reply"      // the body of the answer
)

// difference returns the parts in which events differ.
func difference(outcomeA, outcomeB normalize.Outcome, a, b []schemas.Event, replyA, replyB string) []string {
	var parts []string
	add := func(part string, differs bool) {
		if differs && !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	add(reply, replyA != replyB)
	fromMalformed := outcomeA == normalize.OutcomeMalformed
	add(newEvents, len(b) > len(a) && !fromMalformed)
	add(outcome, fromMalformed && outcomeB != outcomeA || len(b) < len(a) || len(a) == len(b) && outcomeA != outcomeB)
	if len(a) != len(b) {
		return parts
	}
	for i := range a {
		x, y := a[i].Data, b[i].Data
		add(typeOf, a[i].Type != b[i].Type || x.Status != y.Status || x.Stage != y.Stage)
		add(key, a[i].Subject != b[i].Subject || x.KeySource != y.KeySource || x.MerchantTransactionID != y.MerchantTransactionID)
		add(amount, !equal(x.Amount, y.Amount) || !equal(x.AuthorizedAmount, y.AuthorizedAmount) || !equal(x.CapturedAmount, y.CapturedAmount))
		add(eventID, a[i].ID != b[i].ID || x.ConnectorEventID != y.ConnectorEventID)
		add(ids, x.Account != y.Account || x.ConnectorTransactionID != y.ConnectorTransactionID || x.UnsignedIDs != y.UnsignedIDs ||
			!slices.Equal(x.ConnectorReferences, y.ConnectorReferences) || x.NetworkTransactionID != y.NetworkTransactionID ||
			x.MandateID != y.MandateID || x.ConnectorRefundID != y.ConnectorRefundID || x.MerchantRefundID != y.MerchantRefundID ||
			x.ConnectorDisputeID != y.ConnectorDisputeID || x.ConnectorPayoutID != y.ConnectorPayoutID ||
			x.MerchantPayoutID != y.MerchantPayoutID || x.ConnectorMandateID != y.ConnectorMandateID)
		add(mode, x.Live != y.Live)
		add(timeOf, !a[i].Time.Equal(b[i].Time) || !equal(x.RespondBy, y.RespondBy))
	}
	return parts
}

func equal[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// mutant is a request that differs from a sample in one leaf or two.
type mutant struct {
	how     string
	paths   []string // paths of the changed leaves
	request verify.Request
}

// vocabulary has what the samples of a connector contain: the values by path, and the
// names of leaves by the path of their object.
type vocabulary struct {
	values  map[string][]string
	members map[string][]string
	seen    map[string]int
}

// often reports whether enough mutants of this kind were made of these leaves in other
// samples already.
func (v *vocabulary) often(s sample, kind string, paths ...string) bool {
	most := 3
	if s.bodySigned() {
		most = 1
	}
	name := kind + " " + strings.Join(paths, " ")
	v.seen[name]++
	return v.seen[name] > most
}

func (v *vocabulary) add(s sample) {
	for _, d := range s.documents {
		for _, l := range d.leaves {
			if values := v.values[l.path]; len(values) < 12 && !slices.Contains(values, l.text) && len(l.text) < 100 {
				v.values[l.path] = append(values, l.text)
			}
			parent := strings.TrimSuffix(l.path, l.name)
			if names := v.members[parent]; !slices.Contains(names, l.name) {
				v.members[parent] = append(names, l.name)
			}
		}
	}
}

// mutants calls yield with the mutants of a sample; yield reports whether a mutant
// verifies. If the signature covers single fields, each leaf gets many values. If it
// covers the whole body, one other value is enough.
func (s sample) mutants(v *vocabulary, thorough bool, yield func(mutant) (verified bool)) {
	for _, d := range s.documents {
		isSigned := make([]bool, len(d.leaves))
		for i, l := range d.leaves {
			emit := func(how string, edits ...edit) (verified bool) {
				return yield(mutant{how + " " + l.path, []string{l.path}, d.request(d.edited(edits...))})
			}
			isSigned[i] = !emit("change", edit{l.from, l.to, d.encode(l.text + "9")})
			if isSigned[i] && v.often(s, "drop and double", l.path) {
				continue
			}
			emit("drop", d.without(l))
			if !thorough {
				continue
			}
			member := d.text[l.start:l.from] + d.encode(l.text+"9") + d.text[l.to:l.end]
			emit("double, the other one last", edit{l.end, l.end, d.separator() + member})
			if isSigned[i] && s.bodySigned() {
				continue
			}
			emit("double, the other one first", edit{l.start, l.start, member + d.separator()})
			emit("double", edit{l.end, l.end, d.separator() + d.text[l.start:l.end]})
			for _, value := range d.values(l, v, isSigned[i]) {
				emit("change to "+value, edit{l.from, l.to, value})
			}
		}
		if thorough {
			s.moves(d, v, isSigned, yield)
			s.additions(d, v, yield)
		}
	}
}

// bodySigned reports whether the connector's signature covers every byte of the body.
func (s sample) bodySigned() bool {
	c, _ := verify.Lookup(s.connector)
	return c.Covers == verify.CoversBody
}

// words are values that have a meaning for some processor.
var words = []string{"", "0", "1", "2", "00", "-2", "true", "false", "OK", "FAILED", "succeeded", "captured", "won", "refund", "REFUND", "USD", "JPY", "2020-02-02T02:02:02Z", "2020-02-02 02:02:02", "1.00"}

// values returns other values of a leaf, in the document's syntax: values that are
// nearly the same and, if the leaf is not signed, words and the values of this leaf in
// other samples.
func (d document) values(l leaf, v *vocabulary, isSigned bool) []string {
	texts := []string{"", "9" + l.text, l.text + " ", " " + l.text, l.text + "\x00", strings.ToUpper(l.text), strings.ToLower(l.text), l.text + ".0"}
	if l.text != "" {
		texts = append(texts, l.text[:len(l.text)-1], l.text[1:])
	}
	if !isSigned {
		texts = append(append(texts, v.values[l.path]...), words...)
	}
	var values []string
	add := func(value string) {
		if value != d.text[l.from:l.to] && !slices.Contains(values, value) {
			values = append(values, value)
		}
	}
	for _, text := range texts {
		if text != l.text || !l.quoted {
			add(d.encode(text))
		}
	}
	if d.format == isJSON {
		for _, raw := range []string{"null", "true", "9", "[]", "{}", `["x"]`, `{"x":"y"}`, strings.TrimSpace(l.text)} {
			if jsontext.Value(raw).IsValid() {
				add(raw)
			}
		}
	}
	return values
}

// moves yields requests in which text moved from one leaf to another, or from a name to
// its value. One of the two leaves at least is signed, both if they are not neighbours.
// The other leaf is the next in the document or the next by name and, if few leaves are
// signed, any leaf.
func (s sample) moves(d document, v *vocabulary, isSigned []bool, yield func(mutant) (verified bool)) {
	few := 0
	for _, is := range isSigned {
		if is {
			few++
		}
	}
	anyPair := !s.bodySigned() && few <= 12 && d.format != isHeader
	byName := make([]int, len(d.leaves)) // the index of a leaf in the order of names
	sorted := slices.Clone(d.leaves)
	slices.SortStableFunc(sorted, func(a, b leaf) int { return strings.Compare(a.path, b.path) })
	for i, l := range d.leaves {
		byName[i] = slices.IndexFunc(sorted, func(other leaf) bool { return other.start == l.start })
	}
	for i, a := range d.leaves {
		for j, b := range d.leaves {
			neighbours := j == i+1 || !s.bodySigned() && byName[j] == byName[i]+1
			if i == j || !neighbours && !anyPair || !isSigned[i] && !isSigned[j] || !neighbours && (!isSigned[i] || !isSigned[j]) {
				continue
			}
			if v.often(s, "move", a.path, b.path) {
				continue
			}
			lengths := []int{1}
			if !s.bodySigned() {
				lengths = []int{1, 2, 3, len(a.text), len(b.text)}
				slices.Sort(lengths)
			}
			move := func(how string, edits ...edit) {
				yield(mutant{fmt.Sprintf("%s %s and %s", how, a.path, b.path), []string{a.path, b.path}, d.request(d.edited(edits...))})
			}
			both := func(how, textA, textB string) {
				move(how, edit{a.from, a.to, d.encode(textA)}, edit{b.from, b.to, d.encode(textB)})
			}
			for _, n := range slices.Compact(lengths) {
				if n > 0 && n <= len(a.text) {
					both("move the end of", a.text[:len(a.text)-n], a.text[len(a.text)-n:]+b.text)
				}
				if n > 0 && n <= len(b.text) {
					both("move to the end of", a.text+b.text[:n], b.text[n:])
				}
			}
			if s.bodySigned() {
				continue
			}
			swallowed := d.without(b)
			if swallowed.from < a.to && a.from < swallowed.to {
				continue
			}
			for _, between := range []string{"", ":", "|", "="} {
				move("swallow with "+between, edit{a.from, a.to, d.encode(a.text + between + b.name + b.text)}, swallowed)
			}
			move("swallow the value of", edit{a.from, a.to, d.encode(a.text + b.text)}, swallowed)
		}
		if s.bodySigned() || !isSigned[i] || d.format == isXML || a.start == a.from || v.often(s, "rename", a.path) {
			continue
		}
		// rename moves the border between a leaf's name and its value.
		rename := func(name, text string) {
			member := d.member(name, text)
			yield(mutant{"rename " + a.path + " to " + name, []string{a.path}, d.request(d.edited(edit{a.start, a.end, member}))})
		}
		for n := 1; n <= 8; n++ {
			if n < len(a.name) {
				rename(a.name[:len(a.name)-n], a.name[len(a.name)-n:]+a.text)
			}
			if n <= len(a.text) {
				rename(a.name+a.text[:n], a.text[n:])
			}
		}
	}
}

// additions yields requests with one more leaf, which other samples of the connector
// have in the same object.
func (s sample) additions(d document, v *vocabulary, yield func(mutant) (verified bool)) {
	if d.format == isXML || s.bodySigned() {
		return
	}
	has := map[string]bool{}
	for _, l := range d.leaves {
		has[l.path] = true
	}
	done := map[string]bool{}
	for _, l := range d.leaves {
		parent := strings.TrimSuffix(l.path, l.name)
		if done[parent] || l.start == l.from {
			continue
		}
		done[parent] = true
		for _, name := range v.members[parent] {
			path := parent + name
			if has[path] {
				continue
			}
			for _, text := range append(slices.Clip(v.values[path]), "9", "1.00") {
				yield(mutant{"add " + path + " " + text, []string{path}, d.request(d.edited(edit{l.end, l.end, d.separator() + d.member(name, text)}))})
			}
		}
	}
}

// learns reports whether a reference between the processor's ids and the merchant's
// would be learnt from ids that differ from the sample's.
func learns(a, b []schemas.Event) bool {
	for i := range min(len(a), len(b)) {
		x, y := a[i].Data, b[i].Data
		if a[i].Type == b[i].Type && !y.UnsignedIDs &&
			(x.ConnectorTransactionID != y.ConnectorTransactionID || !slices.Equal(x.ConnectorReferences, y.ConnectorReferences)) {
			return true
		}
	}
	return false
}

// TestMutations changes every leaf of every signed sample, and keeps the signature. A
// mutant that still verifies must give the same events, unless the list of unsigned
// leaves allows the difference. With -short or the race detector, each leaf is only
// changed and dropped.
func TestMutations(t *testing.T) {
	thorough := !race.Enabled && !testing.Short()
	for _, connector := range verify.Connectors() {
		t.Run(connector, func(t *testing.T) {
			t.Parallel()
			all := signed(t, connector)
			if len(all) == 0 {
				t.Fatal("no sample verifies")
			}
			c, _ := verify.Lookup(connector)
			v := &vocabulary{values: map[string][]string{}, members: map[string][]string{}, seen: map[string]int{}}
			for _, s := range all {
				v.add(s)
			}
			needed, failures, tried := map[string]bool{}, map[string]bool{}, 0
			fail := func(s sample, m mutant, what string) {
				if kind := what + strings.Join(m.paths, ", "); !failures[kind] {
					failures[kind] = true
					t.Errorf("%s: %s: the signature still verifies, and %s", s.name, m.how, what)
				}
			}
			for _, s := range all {
				s.mutants(v, thorough && c.Covers != verify.CoversNothing, func(m mutant) bool {
					tried++
					outcome, events, reply, verified := s.judge(m.request)
					if !verified {
						return false
					}
					if c.Covers != verify.CoversNothing && learns(s.events, events) {
						fail(s, m, "a reference is learnt from another id")
					}
					for _, part := range difference(s.outcome, outcome, s.events, events, s.reply, reply) {
						is := listed(connector, part, m.paths)
						if c.Covers == verify.CoversNothing {
							is = part
						}
						if is == "" {
							fail(s, m, "the "+part+" changed")
						}
						needed[is] = true
					}
					return true
				})
			}
			t.Logf("%d samples, %d mutants", len(all), tried)
			switch {
			case c.Covers == verify.CoversNothing:
				if !slices.Contains(nothingSigned, connector) {
					t.Errorf("coverage is %q, which exempts the connector from this test: want one of %q", c.Covers, nothingSigned)
				}
			case slices.Contains(nothingSigned, connector):
				t.Errorf("coverage is %q, and the connector is one of %q", c.Covers, nothingSigned)
			case thorough:
				unneeded(t, connector, needed)
			}
			if c.Covers == verify.CoversNothing && !needed[amount] && slices.ContainsFunc(all, func(s sample) bool { return len(s.events) > 0 }) {
				t.Errorf("coverage is %q, and no mutant changes an amount: some of the body is signed", c.Covers)
			}
		})
	}
}
