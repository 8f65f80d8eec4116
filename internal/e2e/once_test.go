package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// receiptOf delivers a Stripe webhook and returns the receipt of its event.
func (b *tollbridge) receiptOf(t *testing.T, payload []byte) string {
	t.Helper()
	a, err := b.deliver("stripe", payload)
	if err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("%v %v\n%s", a, err, b.log)
	}
	event, _, _ := strings.Cut(a.Header.Get("Tollbridge-Receipt"), ", ")
	return event
}

// kill ends the server without a word.
func (b *tollbridge) kill(t *testing.T) {
	t.Helper()
	if err := b.process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = b.process.Wait()
}

// replica starts another server on the same topics, with a state of its own.
func (b *tollbridge) replica(t *testing.T) *tollbridge {
	t.Helper()
	dir := t.TempDir()
	r := &tollbridge{
		binary: b.binary, config: filepath.Join(dir, "tollbridge.yaml"), brokers: b.brokers, names: b.names,
		url: "http://" + freeAddress(t), admin: "http://" + freeAddress(t), log: &lockedBuffer{},
	}
	if err := os.WriteFile(r.config, r.yaml(t), 0o600); err != nil {
		t.Fatal(err)
	}
	r.serve(t)
	return r
}

// TestOnce: the same webhook a hundred times, across a restart, a kill, an
// emptied state directory and two replicas, is one record and one receipt.
func TestOnce(t *testing.T) {
	b := start(t)
	payload := captured("order-once")
	want := b.receiptOf(t, payload)
	times := 1
	again := func(b *tollbridge) {
		t.Helper()
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() {
				for range 5 {
					if got := b.receiptOf(t, payload); got != want {
						t.Errorf("receipt %s, want the first one's, %s", got, want)
					}
				}
			})
		}
		callers.Wait()
		times += 20
	}
	again(b)
	b.stop(t)
	b.serve(t)
	again(b)
	b.kill(t)
	b.serve(t)
	again(b)
	b.kill(t)
	if err := os.RemoveAll(filepath.Join(filepath.Dir(b.config), "state")); err != nil {
		t.Fatal(err)
	}
	b.serve(t)
	again(b)
	other := b.replica(t)
	again(other)
	if records := b.read(t, b.names.Event(schemas.PaymentCaptured)); len(records) != 1 || times < 100 {
		t.Errorf("%d deliveries are %d records, want one of at least 100", times, len(records))
	}
	outcomes := map[string]int{}
	for _, r := range b.read(t, b.names.Received()) {
		if r.value != string(payload) {
			t.Errorf("kept %q, want the body as it came", r.value)
		}
		outcomes[r.headers["outcome"]]++
	}
	if outcomes["events"] != 1 || outcomes["duplicate"] != times-1 {
		t.Errorf("%d deliveries are kept as %v, want one of events and the others duplicates", times, outcomes)
	}
	other.stop(t)
	b.stop(t)
}

// disputed is a Stripe payload of a dispute, which knows nothing of the order.
func disputed(order string) []byte {
	return fmt.Appendf(nil, `{"id":"evt_dp_%s","object":"event","created":1767225700,"livemode":false,"type":"charge.dispute.created",`+
		`"data":{"object":{"id":"dp_%[1]s","object":"dispute","amount":100,"currency":"eur","charge":"ch_%[1]s","payment_intent":"pi_%[1]s","status":"needs_response","reason":"fraudulent","metadata":{}}}}`, order)
}

// TestReferences: a dispute without the order's id goes under it, whether the
// payment came before, through another replica, or comes afterwards.
func TestReferences(t *testing.T) {
	b := start(t)
	other := b.replica(t)
	b.receiptOf(t, captured("before"))
	b.receiptOf(t, disputed("before"))
	other.receiptOf(t, disputed("after"))
	b.receiptOf(t, captured("after"))

	find := func(key string, corrects bool) (found schemas.Event, ok bool) {
		t.Helper()
		for _, r := range b.read(t, b.names.Event(schemas.DisputeOpened)) {
			if r.key == key && (r.headers["corrects"] != "") == corrects {
				if err := json.Unmarshal([]byte(r.value), &found); err != nil {
					t.Fatal(err)
				}
				return found, true
			}
		}
		return found, false
	}
	if e, ok := find("before", false); !ok || e.Data.KeySource != schemas.KeyFromReference {
		t.Errorf("the dispute after its payment: %v, %+v, want it under the order's id by reference", ok, e)
	}
	first, ok := find("stripe::pi_after", false)
	if !ok {
		t.Error("the dispute before its payment is not under the processor's id")
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		correction, ok := find("after", true)
		if ok {
			if correction.Data.Corrects != first.ID || correction.ID == first.ID || correction.Data.MerchantTransactionID != "after" {
				t.Errorf("the correction is %+v, want one of %s under the order's id", correction, first.ID)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no correction\n%s\n%s", b.log, other.log)
		}
	}
	other.stop(t)
	b.stop(t)
}

// TestLate: an event that is older than what its payment has is marked.
func TestLate(t *testing.T) {
	b := start(t)
	newer := b.receiptOf(t, captured("order-late"))
	older := strings.Replace(strings.Replace(string(captured("order-late")), "evt_", "evt_older_", 1), "1767225600", "1767225000", 1)
	older = strings.Replace(older, "payment_intent.succeeded", "payment_intent.processing", 1)
	b.receiptOf(t, []byte(older))
	records := b.read(t, b.names.Event(schemas.PaymentProcessing))
	if len(records) != 1 {
		t.Fatalf("%d records, want the late one", len(records))
	}
	var e schemas.Event
	if err := json.Unmarshal([]byte(records[0].value), &e); err != nil {
		t.Fatal(err)
	}
	if !e.Data.Late || !strings.Contains(newer, `"`+e.Data.NewestEventID+`"`) {
		t.Errorf("late %v after %s, want it marked, after the event of %s", e.Data.Late, e.Data.NewestEventID, newer)
	}
	b.stop(t)
}
