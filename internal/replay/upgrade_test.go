package replay_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/replay"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

// load writes the records of testdata/before-tellers.jsonl.gz to Kafka. These are all
// topics of a server as the version before commit 451db25 wrote them; that commit made
// all webhooks of one fact give one event. The server got webhooks of Stripe, and the
// samples of the connectors whose identities, or webhooks for a fact, changed in that
// commit.
func (r *rig) load(t *testing.T) (connectors []string) {
	t.Helper()
	f, err := os.Open("testdata/before-tellers.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var records []kafka.Record
	seen := map[string]bool{}
	for lines := json.NewDecoder(bufio.NewReader(z)); lines.More(); {
		var one struct {
			Topic, Key string
			Value      []byte
			Headers    [][2]string
		}
		if err := lines.Decode(&one); err != nil {
			t.Fatal(err)
		}
		record := kafka.Record{Topic: one.Topic, Key: []byte(one.Key), Value: one.Value}
		for _, h := range one.Headers {
			record.Headers = append(record.Headers, schemas.Header{Name: h[0], Value: h[1]})
			if h[0] == "connector" {
				seen[h[1]] = true
			}
		}
		records = append(records, record)
	}
	for some := range slices.Chunk(records, 500) {
		if _, err := r.producer.Publish(t.Context(), some); err != nil {
			t.Fatal(err)
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// TestUpgrade: a replay over an archive of the version before publishes the events that
// were lost, each once, and nothing twice. A replay with Missing corrects nothing. One
// without it adds, once, what further webhooks say.
func TestUpgrade(t *testing.T) {
	lost := []string{
		"stripe payment.captured order-a",                    // only the Checkout session reported it
		"stripe payment.captured stripe::pi_3PqTb0Demo1102b", // only the charge
		"stripe payment.captured stripe::pi_3PqTb0Demo1202c", // only the invoice
		"stripe payment.captured order-f",                    // the charge and the session
		"stripe payment.failed stripe::pi_3PqTb0Demo1207j",   // only the invoice
		"xendit payment.captured toll-order-7",               // only the session
	}
	for _, missing := range []bool{true, false} {
		r := newRig(t)
		connectors := r.load(t)
		before := r.events(t, kafka.Names{})
		c := replay.Config{Filter: replay.Filter{Missing: missing}}
		for _, connector := range connectors {
			keys, _, _ := sign.Dev(connector)
			c.Endpoints = append(c.Endpoints, webhook.Endpoint{Connector: connector, Keys: keys})
		}
		if n, _ := r.must(t, c, nil); n.New != len(lost) || n.Same < 300 {
			t.Errorf("Missing %v: the plan is %+v, want %d new events", missing, n, len(lost))
		}
		r.must(t, c, r.producer)
		after := r.events(t, kafka.Names{})
		var found []string
		changed := map[string]bool{} // first ids of the corrections
		for id, e := range after {
			switch _, old := before[id]; {
			case old:
			case e.Data.Corrects == "":
				found = append(found, fmt.Sprintf("%s %s %s", e.Data.Connector, e.Type, e.Subject))
			default:
				changed[e.Data.Corrects] = true
				if _, old := before[e.Data.Corrects]; missing && old && e.Data.KeySource != schemas.KeyFromReference {
					t.Errorf("a replay with Missing corrects %s: %+v", e.Data.Corrects, e)
				}
			}
		}
		for _, e := range after { // the last correction of a lost event has its final key
			i := slices.Index(found, fmt.Sprintf("%s %s %s", e.Data.Connector, e.Type, after[e.Data.Corrects].Subject))
			if before[e.Data.Corrects].ID == "" && e.Data.Corrects != "" && i >= 0 && e.Subject != after[e.Data.Corrects].Subject {
				found[i] = fmt.Sprintf("%s %s %s", e.Data.Connector, e.Type, e.Subject)
			}
		}
		slices.Sort(found)
		if want := slices.Sorted(slices.Values(lost)); !slices.Equal(found, want) {
			t.Errorf("Missing %v: new events:\n%s\nwant\n%s", missing, strings.Join(found, "\n"), strings.Join(want, "\n"))
		}
		if !missing && len(changed) < 10 {
			t.Errorf("%d events are corrected, want at least 10: further webhooks add to them", len(changed))
		}
		if n, _ := r.must(t, c, r.producer); n.Published != 0 || n.New != 0 {
			t.Errorf("Missing %v: second replay: %+v, want nothing published", missing, n)
		}
	}
}
