package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
)

// tellerGroup is a fact and the webhooks that tell it, as in package normalize's
// testdata/tellers.
type tellerGroup struct {
	Fact       schemas.Type      `json:"fact"`
	Settings   map[string]string `json:"settings"`
	Key        string            `json:"key"`
	Tellers    []json.RawMessage `json:"tellers"`
	References []int             `json:"references"`
}

// payment is one order in which the webhooks of a group come, with ids of its own.
type payment struct {
	group    tellerGroup
	endpoint endpoint
	order    []int // of the tellers
	requests []verify.Request
	results  []normalize.Result
	key      string
}

// TestTellers delivers the webhooks that tell one fact, of seven connectors: every order
// of every subset of up to three tellers, and some orders of more. Kafka then has one
// event of the fact, and, if one of the webhooks says the merchant's reference, that
// event or its last correction has it as key, and the amount if one says it.
func TestTellers(t *testing.T) {
	connectors := []string{"stripe", "adyen", "paypal", "shopify", "razorpay", "square", "mollie"}
	groups := map[string][]tellerGroup{}
	var endpoints []endpoint
	names := map[string]bool{}
	for _, connector := range connectors {
		b, err := os.ReadFile(filepath.Join("../../normalize/testdata/tellers", connector+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var of []tellerGroup
		if err := json.Unmarshal(b, &of); err != nil {
			t.Fatalf("%s: %v", connector, err)
		}
		groups[connector] = of
		for _, g := range of {
			e := g.endpoint(connector)
			if name := connector + "/" + e.name; e.name != "default" && !names[name] {
				names[name] = true
				endpoints = append(endpoints, e)
			}
		}
	}
	b := start(t, endpoints...)
	var payments []*payment
	for _, connector := range connectors {
		for _, g := range groups[connector] {
			for _, order := range tellerOrders(len(g.Tellers)) {
				payments = append(payments, b.payment(t, connector, g, order, len(payments)))
			}
		}
	}
	owner := map[string]*payment{} // by event id
	for _, p := range payments {
		for _, r := range p.results {
			for _, e := range r.Events {
				if other := owner[e.ID]; other != nil && other != p {
					t.Fatalf("two payments of %s %s have the event id %s: the ids in the samples that make it are not changed", p.endpoint.connector, e.Type, e.ID)
				}
				owner[e.ID] = p
			}
		}
	}
	var senders sync.WaitGroup
	next := make(chan *payment)
	for range 16 {
		senders.Go(func() {
			for p := range next {
				for _, r := range p.requests {
					if a, err := b.deliverRequest(r); err != nil || a.StatusCode/100 != 2 {
						t.Errorf("%s: %v %v\n%s", p.endpoint.connector, a, err, r.Body)
					}
				}
			}
		})
	}
	for _, p := range payments {
		next <- p
	}
	close(next)
	senders.Wait()
	topics := map[string]bool{}
	for _, p := range payments {
		topics[b.names.Event(p.group.Fact)] = true
	}
	var wrong []string
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(500 * time.Millisecond) {
		all := map[string][]schemas.Event{} // by the id of the fact's first event, which a correction names
		for _, r := range b.read(t, slices.Collect(maps.Keys(topics))...) {
			var e schemas.Event
			if err := json.Unmarshal([]byte(r.value), &e); err != nil {
				t.Fatal(err)
			}
			id := e.ID
			if e.Data.Corrects != "" {
				id = e.Data.Corrects
			}
			all[id] = append(all[id], e)
		}
		wrong = nil
		for _, p := range payments {
			if w := p.wrong(all); w != "" {
				wrong = append(wrong, w)
			}
		}
		if len(wrong) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d payments are wrong:\n%s", len(wrong), len(payments), strings.Join(wrong[:min(len(wrong), 20)], "\n"))
		}
	}
	t.Logf("%d payments", len(payments))
	b.stop(t)
}

// endpoint returns the endpoint of the group's settings.
func (g tellerGroup) endpoint(connector string) endpoint {
	name := "default"
	for _, setting := range slices.Sorted(maps.Keys(g.Settings)) {
		name += "-" + setting + "-" + g.Settings[setting]
	}
	return endpoint{connector: connector, name: name, settings: g.Settings}
}

// tellerOrders returns every order of every subset of up to three tellers; of more each
// alone, and two orders of all.
func tellerOrders(n int) (all [][]int) {
	if n > 3 {
		for i := range n {
			all = append(all, []int{i})
		}
		for range 2 {
			all = append(all, rand.Perm(n))
		}
		return all
	}
	var extend func(order []int)
	extend = func(order []int) {
		if len(order) > 0 {
			all = append(all, order)
		}
		for i := range n {
			if !slices.Contains(order, i) {
				extend(append(slices.Clone(order), i))
			}
		}
	}
	extend(nil)
	return all
}

// payment returns the requests of a group's tellers in an order. The ids of the payment
// and the merchant's reference end in a number that no other payment has.
func (b *tollbridge) payment(t *testing.T, connector string, g tellerGroup, order []int, number int) *payment {
	t.Helper()
	p := &payment{group: g, endpoint: g.endpoint(connector), order: order}
	var payloads [][]byte
	ids := map[string]bool{g.Key: true}
	for _, teller := range g.Tellers {
		payload := []byte(teller)
		var sample string
		if json.Unmarshal(teller, &sample) == nil {
			var err error
			if payload, err = os.ReadFile(filepath.Join("../../normalize/samples", connector, sample)); err != nil {
				t.Fatal(err)
			}
		}
		payloads = append(payloads, payload)
		var v any
		d := json.NewDecoder(bytes.NewReader(payload))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%s: %v: %s", connector, err, payload)
		}
		addIDs(ids, v)
		_, r := b.meaningAt(t, p.endpoint, payload)
		for _, e := range r.Events {
			if e.Data.KeySource != schemas.KeyFromConnector {
				ids[e.Subject] = true
			}
			ids[e.Data.ConnectorTransactionID] = true
			for _, id := range e.Data.ConnectorReferences {
				ids[id] = true
			}
		}
		for _, reference := range r.References {
			ids[reference.MerchantTransactionID] = true
			for _, id := range reference.IDs {
				ids[id] = true
			}
		}
	}
	delete(ids, "")
	longest := slices.SortedFunc(maps.Keys(ids), func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	suffix := fmt.Sprintf("%04d", number)
	for _, id := range longest {
		pairs = append(pairs, id, id+suffix)
	}
	own := strings.NewReplacer(pairs...)
	if g.Key != "" {
		p.key = own.Replace(g.Key)
	}
	for _, i := range order {
		request, result := b.meaningAt(t, p.endpoint, []byte(own.Replace(string(payloads[i]))))
		p.requests, p.results = append(p.requests, request), append(p.results, result)
	}
	return p
}

// idName matches the names of fields that have ids.
var idName = regexp.MustCompile(`(^|_)id$|Id$|Reference$`)

// addIDs adds the ids in a JSON value. Short ones may be other things elsewhere.
func addIDs(ids map[string]bool, v any) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			addIDs(ids, one)
		}
	case map[string]any:
		for name, one := range v {
			addIDs(ids, one)
			if id := fmt.Sprint(one); one != nil && idName.MatchString(name) && len(id) >= 4 {
				ids[id] = true
			}
		}
	}
}

// meaningAt signs a payload for an endpoint, and returns what it means there.
func (b *tollbridge) meaningAt(t *testing.T, e endpoint, payload []byte) (verify.Request, normalize.Result) {
	t.Helper()
	_, private, _ := sign.Dev(e.connector)
	keys := e.keys()
	request, err := sign.Request(e.connector, payload, private, keys.Settings, b.url+"/webhooks/"+e.connector+"/"+e.name, time.Now())
	if err != nil {
		t.Fatalf("%s: %v: %s", e.connector, err, payload)
	}
	v, err := verify.Verify(e.connector, request, keys, time.Now())
	if err != nil {
		t.Fatalf("%s: %v: %s", e.connector, err, payload)
	}
	r, err := normalize.Normalize(e.connector, v.Payload, normalize.Options{Endpoint: e.name, Settings: keys.Settings, ReceivedAt: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return request, r
}

// wrong says what is wrong with the events of a payment, by their first event's id;
// empty if nothing is.
func (p *payment) wrong(all map[string][]schemas.Event) string {
	about := fmt.Sprintf("%s/%s %s, tellers %v", p.endpoint.connector, p.endpoint.name, p.group.Fact, p.order)
	ids := map[string]bool{}
	var tells, key, amount bool
	for n, r := range p.results {
		tells = tells || !slices.Contains(p.group.References, p.order[n])
		for _, e := range r.Events {
			key = key || e.Subject == p.key
			if e.Type == p.group.Fact {
				ids[e.ID] = true
				amount = amount || e.Data.Amount != nil
			}
		}
		for _, reference := range r.References {
			key = key || reference.MerchantTransactionID == p.key
		}
	}
	var published []schemas.Event
	facts := 0
	for id := range ids {
		for _, e := range all[id] {
			if published = append(published, e); e.Data.Corrects == "" {
				facts++
			}
		}
	}
	switch {
	case !tells && facts == 0:
		return ""
	case facts != 1 || !tells:
		return fmt.Sprintf("%s: %d events, want one, or none if all of them only give references", about, facts)
	}
	right := slices.ContainsFunc(published, func(e schemas.Event) bool {
		return (e.Subject == p.key || !key || p.key == "") && (e.Data.Amount != nil || !amount)
	})
	if !right {
		return fmt.Sprintf("%s: want the key %q (%v) and an amount (%v): %+v", about, p.key, key, amount, published)
	}
	return ""
}
