package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/fetchtest"
)

// TestGapsSchedule: a server with a schedule finds by itself exactly the webhooks that were
// withheld from it, raises the metric of the alert TollbridgeWebhooksMissing, and publishes
// nothing. After an operator published them, the next run finds none.
func TestGapsSchedule(t *testing.T) {
	t.Parallel() // it mostly waits for the next run
	const events = 30
	var list, withheld []string
	var delivered [][]byte
	for n := range events {
		var e map[string]any
		if err := json.Unmarshal(captured(fmt.Sprint("scheduled", n)), &e); err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprint("evt_scheduled", n)
		e["id"], e["created"] = id, time.Now().Add(-4*24*time.Hour-time.Duration(n)*time.Minute).Unix() // newest first
		body, _ := json.Marshal(e)
		list = append(list, string(body))
		if n%7 == 3 {
			withheld = append(withheld, id)
		} else {
			delivered = append(delivered, body)
		}
	}
	stripe := fetchtest.Stripe(t, list)
	api := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/webhook_endpoints" {
			_, _ = io.WriteString(w, `{"object":"list","has_more":false,"data":[]}`) // its subscriptions are unknown
			return
		}
		stripe(w, r)
	})
	scheduled := listing("stripe")
	scheduled.gaps = map[string]any{"every": "1m", "from": "7d"}
	b := startOnly(t, api.Proxy(), scheduled)
	for _, body := range delivered {
		b.deliverTo(t, "stripe", body)
	}
	metric := func(line string) bool {
		a, err := http.Get(b.admin + "/metrics")
		if err != nil {
			return false
		}
		defer a.Body.Close()
		text, _ := io.ReadAll(a.Body)
		return strings.Contains(string(text), "\n"+line+"\n")
	}
	until := func(what, line string) {
		t.Helper()
		for deadline := time.Now().Add(4 * time.Minute); !metric(line); time.Sleep(time.Second) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: no metric %s\n%s", what, line, b.log)
			}
		}
	}
	const missing = `tollbridge_gaps_items{connector="stripe",endpoint="api",status="missing"} `
	until("a run of the schedule", fmt.Sprint(missing, len(withheld)))
	if n := len(b.eventIDs(t, b.names)); n != len(delivered) {
		t.Errorf("%d events after a run of the schedule, want the %d delivered", n, len(delivered))
	}
	n, found := b.gaps(t, api.Proxy(), 1, "stripe")
	if !slices.Equal(found, withheld) || n.Known != len(delivered) {
		t.Errorf("the command finds %v and %+v, want %v", found, n, withheld)
	}
	if n, _ := b.gaps(t, api.Proxy(), 0, "stripe", "--publish"); n.Published != len(withheld) {
		t.Errorf("published: %+v, want %d", n, len(withheld))
	}
	until("the next run of the schedule", missing+"0")
	if n := len(b.eventIDs(t, b.names)); n != events {
		t.Errorf("%d events in the end, want %d", n, events)
	}
	if metric(`tollbridge_gaps_runs_total{connector="stripe",endpoint="api",result="complete"} 0`) || !metric(`tollbridge_gaps_runs_total{connector="stripe",endpoint="api",result="failed"} 0`) {
		t.Error("the metrics of the runs say that one failed, or that none was complete")
	}
	b.stop(t)
}
