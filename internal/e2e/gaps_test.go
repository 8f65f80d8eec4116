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
	"github.com/tollbridge/tollbridge/internal/sign"
)

// listing returns an endpoint with the name api, whose processor is asked with [fetchtest.Key].
func listing(connector string) endpoint {
	return endpoint{connector: connector, name: "api", api: map[string]any{"keys": map[string]any{"main": map[string]string{"value": fetchtest.Key}}}}
}

// deliverTo sends a webhook to the endpoint of [listing].
func (b *tollbridge) deliverTo(t *testing.T, connector string, payload []byte) {
	t.Helper()
	keys, private, _ := sign.Dev(connector)
	r, err := sign.Request(connector, payload, private, keys.Settings, b.url+"/webhooks/"+connector+"/api", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if a, err := b.deliverRequest(r); err != nil || a.StatusCode/100 != 2 {
		t.Fatalf("%s: %v, %v\n%s", connector, a, err, b.log)
	}
}

// gapsCommand returns `tollbridge gaps` for the endpoint of [listing], and what it prints.
func (b *tollbridge) gapsCommand(env []string, connector string, args ...string) (c *exec.Cmd, out, errs *bytes.Buffer) {
	c = exec.Command(b.binary, append([]string{"gaps", "--connector", connector, "--endpoint", "api", "--json", "--config", b.config}, args...)...)
	c.Env = append(os.Environ(), env...)
	out, errs = &bytes.Buffer{}, &bytes.Buffer{}
	c.Stdout, c.Stderr = out, errs
	return c, out, errs
}

// gaps runs `tollbridge gaps`, and returns its counts and the ids of the items that it found.
func (b *tollbridge) gaps(t *testing.T, env []string, code int, connector string, args ...string) (n gaps.Counts, found []string) {
	t.Helper()
	c, out, errs := b.gapsCommand(env, connector, args...)
	_ = c.Run()
	if c.ProcessState.ExitCode() != code {
		t.Fatalf("gaps %s %v: exit code %d, want %d\n%s%s", connector, args, c.ProcessState.ExitCode(), code, out, errs)
	}
	return readGaps(t, out)
}

// readGaps reads what `tollbridge gaps --json` printed.
func readGaps(t *testing.T, out *bytes.Buffer) (n gaps.Counts, found []string) {
	t.Helper()
	for line := range strings.Lines(out.String()) {
		var f gaps.Finding
		if json.Unmarshal([]byte(line), &f) == nil && f.ID != "" {
			found = append(found, f.ID)
		} else if err := json.Unmarshal([]byte(line), &n); err != nil {
			t.Fatalf("gaps: %v: %s", err, line)
		}
	}
	return n, found
}

// TestGaps: webhooks of Stripe are withheld from a running server. The command finds
// exactly those, also after it was killed while it read the list; publishes each once; and
// a second run finds none.
func TestGaps(t *testing.T) {
	b := startOnly(t, nil, listing("stripe"))
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
		b.deliverTo(t, "stripe", body)
	}
	var hang atomic.Bool
	hangs := make(chan struct{})
	release := make(chan struct{})
	s := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/webhook_endpoints" {
			fmt.Fprintf(w, `{"object":"list","has_more":false,"data":[{"id":"we_1","status":"enabled","enabled_events":["*"],"url":"%s/webhooks/stripe/api"}]}`, b.url)
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
	env := s.Proxy()
	run := func(code int, args ...string) (gaps.Counts, []string) {
		t.Helper()
		return b.gaps(t, env, code, "stripe", args...)
	}

	if n, found := run(1); !slices.Equal(found, missing) || n.Missing != len(missing) || n.Known != events-len(missing) || n.Published != 0 {
		t.Errorf("the plan: %+v, %v; want %v missing", n, found, missing)
	}
	journal := filepath.Join(t.TempDir(), "journal")
	hang.Store(true)
	killed, _, errs := b.gapsCommand(env, "stripe", "--publish", "--journal", journal)
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
	check := exec.Command(b.binary, "endpoints", "check", "--connector", "stripe", "--endpoint", "api", "--config", b.config)
	check.Env = append(os.Environ(), env...)
	if out, err := check.CombinedOutput(); err != nil || !strings.Contains(string(out), "all is well") {
		t.Errorf("endpoints check: %v: %s", err, out)
	}
	if out := b.command(t, "endpoints"); !strings.Contains(out, b.url+"/webhooks/stripe/api") || !strings.Contains(out, fmt.Sprintf("%d events", events)) {
		t.Errorf("endpoints: %s", out)
	}
}
