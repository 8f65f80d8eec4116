package normalize

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/internal/race"
	"github.com/tollbridge/tollbridge/schemas"
)

// tellerGroup is a fact and the webhooks that report it, an entry of testdata/tellers.
type tellerGroup struct {
	Fact     schemas.Type      `json:"fact"`
	Settings map[string]string `json:"settings"`
	Key      string            `json:"key"`    // the merchant's reference; empty if no teller has it
	OneID    bool              `json:"one_id"` // whichever teller comes first, the event id is the same
	// Tellers are the names of samples of the connector, or payloads of JSON.
	Tellers []json.RawMessage `json:"tellers"`
	// References are the tellers, by index from 0, that make no event and only add
	// references. A group of such tellers alone gives no event.
	References []int `json:"references"`
}

// TestTellers checks each group of testdata/tellers: any subset of the tellers, in any
// order, gives one event of the fact's type, or none if all of them only add
// references. In the end, the event has the merchant's reference and the amount if one
// of the tellers has them.
func TestTellers(t *testing.T) {
	files, err := filepath.Glob("testdata/tellers/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no groups of tellers: %v", err)
	}
	for _, file := range files {
		connector := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(connector, func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var groups []tellerGroup
			if err := json.Unmarshal(b, &groups); err != nil || len(groups) == 0 {
				t.Fatalf("%s: want a list of groups, got %d: %v", file, len(groups), err)
			}
			for i, g := range groups {
				t.Run(fmt.Sprintf("%d-%s", i, g.Fact), func(t *testing.T) { g.test(t, connector) })
			}
		})
	}
}

func (g tellerGroup) test(t *testing.T, connector string) {
	var results []Result
	for i, teller := range g.Tellers {
		payload := []byte(teller)
		var sample string
		if json.Unmarshal(teller, &sample) == nil {
			var err error
			if payload, err = os.ReadFile(filepath.Join("samples", connector, sample)); err != nil {
				t.Fatal(err)
			}
		}
		r, err := Normalize(connector, payload, Options{ReceivedAt: received, Settings: g.Settings})
		if err != nil {
			t.Fatal(err)
		}
		makes := slices.ContainsFunc(r.Events, func(e schemas.Event) bool { return e.Type == g.Fact })
		if want := !slices.Contains(g.References, i); makes != want {
			t.Fatalf("teller %d makes the event: %v, want %v: %s %+v", i, makes, want, payload, r)
		}
		results = append(results, r)
	}
	if len(results) < 2 {
		t.Fatal("the group has fewer than two tellers")
	}
	for order := range orders(len(results)) {
		var h factHistory
		var key, amount, event bool
		var ids []string
		for _, i := range order {
			h.add(results[i])
			event = event || !slices.Contains(g.References, i)
			for _, e := range results[i].Events {
				key = key || e.Data.MerchantTransactionID == g.Key
				amount = amount || e.Type == g.Fact && e.Data.Amount != nil
				if e.Type == g.Fact {
					ids = append(ids, e.ID)
				}
			}
			for _, r := range results[i].References {
				key = key || r.MerchantTransactionID == g.Key
			}
		}
		var facts []schemas.Event
		for _, e := range h.events {
			if e.Type == g.Fact {
				facts = append(facts, e)
			}
		}
		switch {
		case !event && len(facts) == 0:
		case len(facts) != 1 || !event:
			t.Errorf("tellers %v give %d events of %s: %+v", order, len(facts), g.Fact, facts)
		case key && g.Key != "" && facts[0].Subject != g.Key:
			t.Errorf("tellers %v: the key is %q in the end, want %q", order, facts[0].Subject, g.Key)
		case amount && facts[0].Data.Amount == nil:
			t.Errorf("tellers %v: the event has no amount in the end", order)
		case g.OneID && slices.ContainsFunc(ids, func(id string) bool { return id != ids[0] }):
			t.Errorf("tellers %v give the ids %v, want one", order, ids)
		}
	}
}

// orders yields every order of every non-empty subset of n tellers, or 200 random ones
// if n is above 5.
func orders(n int) func(func([]int) bool) {
	return func(yield func([]int) bool) {
		if n > 5 {
			for range 200 {
				if !yield(rand.Perm(n)[:1+rand.IntN(n)]) {
					return
				}
			}
			return
		}
		var extend func(order []int) bool
		extend = func(order []int) bool {
			if len(order) > 0 && !yield(order) {
				return false
			}
			for i := range n {
				if !slices.Contains(order, i) && !extend(append(slices.Clone(order), i)) {
					return false
				}
			}
			return true
		}
		extend(nil)
	}
}

// factHistory is a small model of package history: it finds events by all their ids,
// adds the fields of later tellers, and links references.
type factHistory struct {
	events     []schemas.Event
	known      map[string]int    // event id -> index of the event
	references map[string]string // account:id -> merchant_transaction_id
}

func (h *factHistory) add(r Result) {
	if h.known == nil {
		h.known, h.references = map[string]int{}, map[string]string{}
	}
	for _, e := range r.Events {
		index := -1
		for id := range e.IDs() {
			if i, ok := h.known[id]; ok && index < 0 {
				index = i
			}
		}
		if index < 0 {
			index = len(h.events)
			h.events = append(h.events, e)
		} else {
			h.events[index], _ = h.events[index].Fill(e)
		}
		for _, id := range append([]string{e.ID}, e.Also...) {
			if _, ok := h.known[id]; !ok {
				h.known[id] = index
			}
		}
	}
	for _, r := range r.References {
		h.link(r.MerchantTransactionID, r.Account, r.IDs)
	}
	for range h.events { // the key of one event can give another event its key
		for i := range h.events {
			h.resolve(&h.events[i])
		}
	}
}

func (h *factHistory) link(merchant, account string, ids []string) {
	for _, id := range ids {
		if key := account + ":" + id; h.references[key] == "" {
			h.references[key] = merchant
		}
	}
}

func (h *factHistory) resolve(e *schemas.Event) {
	d := &e.Data
	if d.UnsignedIDs {
		return
	}
	ids := append([]string{d.ConnectorTransactionID}, d.ConnectorReferences...)
	for _, object := range []string{d.ConnectorRefundID, d.ConnectorDisputeID, d.ConnectorPayoutID} {
		ids = append(ids, e.Type.Family()+":"+object)
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == "" || strings.HasSuffix(id, ":") })
	if d.KeySource == schemas.KeyFromConnector || d.KeySource == schemas.KeyFromRequest {
		for _, id := range ids {
			if merchant := h.references[d.Account+":"+id]; merchant != "" {
				e.Subject, d.MerchantTransactionID, d.KeySource = merchant, merchant, schemas.KeyFromReference
			}
		}
	}
	if d.KeySource == schemas.KeyFromPayload || d.KeySource == schemas.KeyFromReference {
		h.link(e.Subject, d.Account, ids)
	}
}

// TestTellersNamed: a connector's Tellers list, once, each event type that makes events
// in the samples, with the types of its events.
func TestTellersNamed(t *testing.T) {
	made := map[string]map[string]map[schemas.Type]bool{} // by connector and event type
	eachSample(t, func(t *testing.T, connector, file string, payload []byte) {
		r, err := Normalize(connector, payload, sampleOptions(file))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Events {
			types := made[connector]
			if types == nil {
				types = map[string]map[schemas.Type]bool{}
				made[connector] = types
			}
			name := e.Data.ConnectorEventType
			if types[name] == nil {
				types[name] = map[schemas.Type]bool{}
			}
			types[name][e.Type] = true
		}
	})
	for _, connector := range Connectors() {
		tellers := connectors[connector].Tellers
		if len(tellers) == 0 && len(made[connector]) > 0 {
			t.Errorf("%s: Tellers is empty, and its webhooks make events", connector)
		}
		by := map[string]Teller{}
		for _, teller := range tellers {
			if _, twice := by[teller.Event]; twice {
				t.Errorf("%s: Tellers has %q twice", connector, teller.Event)
			}
			by[teller.Event] = teller
		}
		for name, types := range made[connector] {
			teller, ok := by[name]
			if !ok {
				t.Errorf("%s: Tellers does not have %q, which makes events", connector, name)
				continue
			}
			for _, typ := range slices.Sorted(maps.Keys(types)) {
				if !slices.Contains(teller.Facts, typ) {
					t.Errorf("%s: Tellers does not say that %q reports %s", connector, name, typ)
				}
			}
		}
	}
}

// TestTypes: a connector makes no events of other types than those that its Tellers
// list, because there are no topics for them. Each text of a sample that is a word in the
// connector's source, such as a status, is replaced by each other such word.
func TestTypes(t *testing.T) {
	if race.Enabled {
		t.Skip("nothing here is concurrent, and it takes minutes: make mutations runs it")
	}
	literal, quoted := regexp.MustCompile(`"[A-Za-z0-9_.:-]{2,60}"`), regexp.MustCompile(`"[^"\\]*"`)
	words := map[string][]string{} // by connector, in quotes
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, connector := range Connectors() {
		name := strings.ReplaceAll(connector, "-", "")
		for _, source := range sources {
			if source != name+".go" && !strings.HasPrefix(source, name+"_") {
				continue
			}
			code, err := os.ReadFile(source)
			if err != nil {
				t.Fatal(err)
			}
			words[connector] = append(words[connector], literal.FindAllString(string(code), -1)...)
		}
		slices.Sort(words[connector])
		words[connector] = slices.Compact(words[connector])
		if len(words[connector]) == 0 && len(connectors[connector].Tellers) > 0 {
			t.Fatalf("%s: there are no words in its source", connector)
		}
	}
	eachSample(t, func(t *testing.T, connector, file string, payload []byte) {
		types := connectors[connector].Types() // and, from then on, those that an error names
		for _, at := range quoted.FindAllIndex(payload, -1) {
			_, known := slices.BinarySearch(words[connector], string(payload[at[0]:at[1]]))
			if !known || bytes.HasPrefix(payload[at[1]:], []byte(":")) { // or the name of a field
				continue
			}
			for _, word := range words[connector] {
				changed := slices.Concat(payload[:at[0]], []byte(word), payload[at[1]:])
				r, err := Normalize(connector, changed, sampleOptions(file))
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range r.Events {
					if !slices.Contains(types, e.Type) {
						types = append(types, e.Type)
						t.Errorf("Tellers does not say that %q can report %s; with %s in place of %s it does", e.Data.ConnectorEventType, e.Type, word, payload[at[0]:at[1]])
					}
				}
			}
		}
	})
}

// deliveryIdentities lists, with the reason, the event types whose identity is the id
// of the processor's event although the payload has the object's id. "*" stands for all
// event types of a connector; behind the processor's event type can stand ours, of the
// only events that the reason is for.
var deliveryIdentities = map[string]map[string]string{
	"authorizenet": {
		"net.authorize.payment.priorAuthCapture.created": attempt,
		"net.authorize.payment.void.created":             attempt,
	},
	"btcpay":     {"InvoicePaymentSettled": partOfPayment},
	"checkout":   {"*": "one event reports each fact, with one id for all workflows; a payment has several captures and refunds, and the payload of some has the payment's id alone"},
	"gocardless": {"*": "one event reports each fact, and its id is the same in every delivery; " + again},
	"mollie":     {"payment-link.paid": "a reusable link is paid several times, and the payload has the link's id alone"},
	"paddle":     {"transaction.payment_failed": "one of several attempts, which the payload does not name"},
	"paypal": {
		"BILLING.SUBSCRIPTION.ACTIVATED": again, "BILLING.SUBSCRIPTION.CANCELLED": again, "BILLING.SUBSCRIPTION.CREATED": again,
		"BILLING.SUBSCRIPTION.EXPIRED": again, "BILLING.SUBSCRIPTION.RE-ACTIVATED": again, "BILLING.SUBSCRIPTION.SUSPENDED": again,
		"BILLING_AGREEMENTS.AGREEMENT.CANCELLED": again, "BILLING_AGREEMENTS.AGREEMENT.CREATED": again,
		"VAULT.CREDIT-CARD.CREATED": again, "VAULT.CREDIT-CARD.DELETED": again,
		"VAULT.PAYMENT-TOKEN.CREATED": again, "VAULT.PAYMENT-TOKEN.DELETED": again,
		"CHECKOUT.CHECKOUT.BUYER-APPROVED": again, "CHECKOUT.ORDER.APPROVED": again, "CHECKOUT.ORDER.DECLINED": again,
		"PAYMENTS.PAYMENT.CREATED": again, "INVOICING.INVOICE.PAID": partOfPayment, "PAYMENT.SALE.REVERSED": partOfPayment,
	},
	"stripe": {
		"charge.refunded": "since API version 2022-11-15 it does not name its refund", "mandate.updated": again,
		"invoice.payment_failed": attempt, "payment_intent.payment_failed": attempt, "v1.payment_intent.payment_failed": attempt, "setup_intent.setup_failed": attempt,
		"payment_intent.partially_funded": again, "payment_intent.processing": again, "payment_intent.requires_action": again,
		"payment_intent.succeeded payment.processing": again,
	},
	"truelayer": {"*": "one event reports each fact, and its id is the same in every delivery; " + again},
	"trustly":   {"*": "the notification's id is the same in every delivery, and an order is credited and debited several times"},
	"wechatpay": {
		"ECOMMERCE_ENTRUST.SIGN": again, "ECOMMERCE_ENTRUST.TERMINATE": again, "ENTRUST.RELEASE": again, "ENTRUST.SIGN": again,
		"ENTRUST.SIGNING": again, "ENTRUST.TERMINATE": again, "INSURANCE_ENTRUST.SIGN": again, "INSURANCE_ENTRUST.TERMINATE": again,
		"PAPAY.SIGN": again, "PAPAY.TERMINATE": again, "PAYSCORE.USER_CANCEL_SIGN_PLAN": again, "PAYSCORE.USER_CLOSE_SERVICE": again,
		"PAYSCORE.USER_OPEN_SERVICE": again, "PAYSCORE.USER_SIGN_PLAN": again,
	},
	"worldline-connect": {"payment.refunded": "it has the payment's id and no refund's, and a payment is refunded several times"},
}

// Reasons that deliveryIdentities uses several times.
const (
	again         = "the object can reach this state again, which is another fact"
	partOfPayment = "one of several parts of a payment, which the payload does not name"
	attempt       = "one of several failed attempts, which has no id of its own"
)

// TestIdentityIsOfTheObject: two events of the processor about the same object in the
// same state are the same fact, except those in deliveryIdentities.
func TestIdentityIsOfTheObject(t *testing.T) {
	used := map[string]bool{}
	eachSample(t, func(t *testing.T, connector, file string, payload []byte) {
		o := sampleOptions(file)
		one, err := Normalize(connector, payload, o)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range one.Events {
			d := e.Data
			id := []byte(`"` + d.ConnectorEventID + `"`)
			objects := []string{d.ConnectorTransactionID, d.ConnectorRefundID, d.ConnectorDisputeID, d.ConnectorPayoutID, d.ConnectorMandateID}
			if d.ConnectorEventID == "" || slices.Contains(objects, d.ConnectorEventID) || !slices.ContainsFunc(objects, func(id string) bool { return id != "" }) || !bytes.Contains(payload, id) {
				continue
			}
			two, err := Normalize(connector, bytes.ReplaceAll(payload, id, []byte(`"`+d.ConnectorEventID+`2"`)), o)
			if err != nil || len(two.Events) != len(one.Events) {
				t.Errorf("%s: with another event id of the processor there are %d events, want %d: %v", file, len(two.Events), len(one.Events), err)
				continue
			}
			if two.Events[i].ID == e.ID {
				continue
			}
			reasons, reason := deliveryIdentities[connector], ""
			for _, key := range []string{"*", d.ConnectorEventType, d.ConnectorEventType + " " + string(e.Type)} {
				reason = cmp.Or(reason, reasons[key])
				used[connector+" "+key] = true
			}
			if reason == "" {
				t.Errorf("%s: the identity of %s is the processor's event id; want the object's id, or a reason in deliveryIdentities", file, d.ConnectorEventType)
			}
		}
	})
	for connector, reasons := range deliveryIdentities {
		for event := range reasons {
			if !used[connector+" "+event] {
				t.Errorf("deliveryIdentities has %s %s, whose identity is not the id of the processor's event", connector, event)
			}
		}
	}
}
