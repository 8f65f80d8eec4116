package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/replay"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/schemas"
)

// TestReplay: topics of their own are given all events again, by a replay that
// is killed and one after it, while the server goes on: the same events, each
// once. And on the live topics there is nothing to do.
func TestReplay(t *testing.T) {
	b := start(t)
	const orders = 300
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for n := i; n < orders; n += 8 {
				if a, err := b.deliver("stripe", captured(fmt.Sprint("replayed-", n))); err != nil || a.StatusCode != http.StatusOK {
					t.Errorf("%v %v", a, err)
				}
			}
		})
	}
	group.Wait()
	seen := map[string]bool{}
	for connector, names := range map[string][]string{"adyen": samples.Names("adyen"), "paypal": samples.Names("paypal")} {
		for _, name := range names {
			payload, err := samples.Payload(connector, name)
			if err != nil {
				t.Fatal(err)
			}
			if !newFacts(t, seen, connector, payload) {
				continue
			}
			if a, err := b.deliver(connector, payload); err != nil || a.StatusCode != http.StatusOK {
				t.Errorf("%s %s: %v %v", connector, name, a, err)
			}
		}
	}
	live := b.eventIDs(t, b.names)

	again := b.names
	again.Prefix += "again."
	b.command(t, "topics", "apply", "--prefix", again.Prefix, "--partitions", "6") // the procedure of docs/operating.md for another number
	args := []string{"replay", "--to-prefix", again.Prefix, "--publish", "--json"}
	first := exec.Command(b.binary, append(args, "--config", b.config, "--rate", "150")...)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); len(b.eventIDs(t, again)) == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the replay publishes nothing")
		}
	}
	_ = first.Process.Kill()
	_ = first.Wait()
	killed := len(b.eventIDs(t, again))
	if killed == 0 || killed >= len(live) {
		t.Fatalf("%d of %d events when it was killed", killed, len(live))
	}
	if n := b.counts(t, args...); n.Published == 0 || n.Unverified != 0 {
		t.Errorf("the second: %+v", n)
	}
	if got := b.eventIDs(t, again); !slices.Equal(got, live) {
		t.Errorf("%d events, want the %d that were published; without %v, and with %v", len(got), len(live), without(live, got), without(got, live))
	}
	if n := b.counts(t, args...); n.Published != 0 {
		t.Errorf("the third: %+v, want nothing published", n)
	}
	if n := b.counts(t, "replay", "--publish", "--json"); n.Published+n.New+n.Changed+n.Gone+n.Unverified != 0 || n.Same == 0 {
		t.Errorf("of the live topics: %+v, want all the same", n)
	}
	b.mended(t, len(live))
	b.stop(t)
}

// newFacts reports whether no fact of a payload was in one before, and adds their ids to
// those that were seen. The order of a fact's webhooks decides its id and its
// corrections, and a replay can read them in another order than they came in.
func newFacts(t *testing.T, seen map[string]bool, connector string, payload []byte) bool {
	t.Helper()
	result, err := normalize.Normalize(connector, payload, normalize.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range result.Events {
		ids = slices.AppendSeq(ids, e.IDs())
	}
	known := slices.ContainsFunc(ids, func(id string) bool { return seen[id] })
	for _, id := range ids {
		seen[id] = true
	}
	return !known
}

// without returns the ids of a that are not in b.
func without(a, b []string) (ids []string) {
	for _, id := range a {
		if !slices.Contains(b, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// mended replays with a program that knows other names for the merchant's id:
// nothing but what that changes is corrected, once.
func (b *tollbridge) mended(t *testing.T, events int) {
	t.Helper()
	a, err := b.deliver("stripe", bytes.Replace(captured("mended"), []byte(`"order_id"`), []byte(`"basket"`), 1))
	if err != nil || a.StatusCode != http.StatusOK {
		t.Fatal(a, err)
	}
	was := eventOf(a.Header.Get("Tollbridge-Receipt"))
	var file map[string]any
	if err := json.Unmarshal(b.yaml(t), &file); err != nil {
		t.Fatal(err)
	}
	file["merchant_id_keys"] = []string{"order_id", "basket"}
	text, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	other := *b
	other.config = filepath.Join(t.TempDir(), "mended.yaml")
	if err := os.WriteFile(other.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	plan := other.command(t, "replay")
	if !strings.Contains(plan, "changed "+was) || !strings.Contains(plan, `subject: "stripe::pi_mended" → "mended"`) || !strings.Contains(plan, "this is a plan; --publish writes 1 events") {
		t.Errorf("the plan: %s", plan)
	}
	for _, want := range []int{1, 0} {
		if n := other.counts(t, "replay", "--publish", "--json"); n.Published != want {
			t.Errorf("%+v, want %d published", n, want)
		}
	}
	if got := len(b.eventIDs(t, b.names)); got != events+2 {
		t.Errorf("%d events, want the %d before, one more and its correction", got, events)
	}
}

// counts runs a replay that prints JSON.
func (b *tollbridge) counts(t *testing.T, args ...string) (n replay.Counts) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(b.command(t, args...)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &n); err != nil {
		t.Fatalf("%v: %s", err, lines)
	}
	return n
}

// eventIDs are those in the event topics, in order, without the corrections of
// keys: which are needed depends on what came first. One that is there twice is
// an error of the test.
func (b *tollbridge) eventIDs(t *testing.T, names kafka.Names) (ids []string) {
	t.Helper()
	for _, r := range b.read(t, names.Events()...) {
		if r.headers[schemas.HeaderCorrects] != "" && r.headers["replay-id"] == "" {
			continue
		}
		ids = append(ids, r.headers[schemas.HeaderEventID])
	}
	slices.Sort(ids)
	if once := slices.Compact(slices.Clone(ids)); len(once) != len(ids) {
		t.Errorf("%d events are there twice", len(ids)-len(once))
	}
	return ids
}
