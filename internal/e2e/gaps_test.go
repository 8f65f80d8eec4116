package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/fetchtest"
	"github.com/tollbridge/tollbridge/internal/gaps"
)

// TestGaps: webhooks of Stripe are withheld from a running server. The command finds
// exactly those, also after it was killed while it read the list; publishes each once; and
// a second run finds none.
func TestGaps(t *testing.T) {
	b := start(t)
	const events, perPage = 60, 20
	var list []json.RawMessage
	var missing []string
	for n := range events {
		var e map[string]any
		if err := json.Unmarshal(captured(fmt.Sprint("gap", n)), &e); err != nil {
			t.Fatal(err)
		}
		e["id"], e["created"] = fmt.Sprint("evt_gap", n), time.Now().Add(-4*24*time.Hour-time.Duration(n)*time.Minute).Unix() // newest first
		body, _ := json.Marshal(e)
		list = append(list, body)
		if n%9 == 4 {
			missing = append(missing, fmt.Sprint("evt_gap", n))
			continue
		}
		if answer, err := b.send("stripe", body); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v\n%s", answer, err, b.log)
		}
	}
	var hang atomic.Bool
	hangs := make(chan struct{})
	release := make(chan struct{})
	s := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/webhook_endpoints" {
			fmt.Fprintf(w, `{"object":"list","has_more":false,"data":[{"id":"we_1","status":"enabled","enabled_events":["*"],"url":"%s/webhooks/stripe/default"}]}`, b.url)
			return
		}
		after := r.URL.Query().Get("starting_after")
		if after != "" && hang.CompareAndSwap(true, false) {
			close(hangs)
			<-release
			return
		}
		first := 0
		for n := range list {
			if after == fmt.Sprint("evt_gap", n) {
				first = n + 1
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"object": "list", "has_more": first+perPage < events, "data": list[first : first+perPage]})
	})
	t.Cleanup(func() { close(release) }) // before the server closes, which waits for its answers
	var config map[string]any
	if err := json.Unmarshal(b.yaml(t), &config); err != nil {
		t.Fatal(err)
	}
	config["kafka"].(map[string]any)["prefix"] = b.names.Prefix
	for _, e := range config["endpoints"].([]any) {
		if e := e.(map[string]any); e["connector"] == "stripe" {
			e["api"] = map[string]any{"keys": map[string]any{"main": map[string]string{"value": "rk_test_71demo71"}}}
		}
	}
	file := filepath.Join(t.TempDir(), "gaps.yaml")
	text, _ := json.Marshal(config)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) (c *exec.Cmd, out, errs *bytes.Buffer) {
		c = exec.Command(b.binary, append(args, "--config", file)...)
		c.Env = append(os.Environ(), s.Proxy()...)
		out, errs = &bytes.Buffer{}, &bytes.Buffer{}
		c.Stdout, c.Stderr = out, errs
		return c, out, errs
	}
	run := func(code int, args ...string) (n gaps.Counts, found []string) {
		t.Helper()
		c, out, errs := command(append([]string{"gaps", "--connector", "stripe", "--json"}, args...)...)
		_ = c.Run()
		if c.ProcessState.ExitCode() != code {
			t.Fatalf("%v: exit code %d, want %d\n%s%s", args, c.ProcessState.ExitCode(), code, out, errs)
		}
		for line := range strings.Lines(out.String()) {
			var f gaps.Finding
			if json.Unmarshal([]byte(line), &f) == nil && f.ID != "" {
				found = append(found, f.ID)
			} else if err := json.Unmarshal([]byte(line), &n); err != nil {
				t.Fatalf("%v: %s", args, out)
			}
		}
		return n, found
	}

	if n, found := run(1); !slices.Equal(found, missing) || n.Missing != len(missing) || n.Known != events-len(missing) || n.Published != 0 {
		t.Errorf("the plan: %+v, %v; want %v missing", n, found, missing)
	}
	journal := filepath.Join(t.TempDir(), "journal")
	hang.Store(true)
	killed, _, errs := command("gaps", "--connector", "stripe", "--publish", "--journal", journal)
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-hangs:
	case <-time.After(time.Minute):
		t.Errorf("the command asks for no second page\n%s", errs)
	}
	_ = killed.Process.Kill()
	_ = killed.Wait()
	before := len(s.Calls())
	n, _ := run(0, "--publish", "--journal", journal)
	if n.Missing != len(missing) || n.Published != len(missing) || n.Listed != events {
		t.Errorf("after the kill: %+v, want %d published", n, len(missing))
	}
	first := slices.IndexFunc(s.Calls()[before:], func(call string) bool { return strings.Contains(call, "/v1/events?") })
	if call, err := url.QueryUnescape(s.Calls()[before+first]); err != nil || !strings.Contains(call, fmt.Sprint("starting_after=evt_gap", perPage-1)) {
		t.Errorf("after the kill the command begins with %s, want it to go on at the second page", call)
	}
	if _, err := os.Stat(journal); err == nil {
		t.Error("the journal is still there")
	}
	if n, found := run(0); len(found) != 0 || n.Known != events {
		t.Errorf("a second run: %+v, %v; want that nothing is missing", n, found)
	}
	times := map[string]int{}
	for _, r := range b.read(t, b.names.Prefix+"payment.captured") {
		times[r.key]++
	}
	for n := range events {
		if key := fmt.Sprint("gap", n); times[key] != 1 {
			t.Errorf("%s is published %d times", key, times[key])
		}
	}
	c, out, errs := command("endpoints", "check", "--connector", "stripe")
	if err := c.Run(); err != nil || !strings.Contains(out.String(), "all is well") {
		t.Errorf("endpoints check: %v: %s%s", err, out, errs)
	}
	c, out, errs = command("endpoints")
	if err := c.Run(); err != nil || !strings.Contains(out.String(), b.url+"/webhooks/stripe/default") || !strings.Contains(out.String(), fmt.Sprintf("%d events", events)) {
		t.Errorf("endpoints: %v: %s%s", err, out, errs)
	}
}
