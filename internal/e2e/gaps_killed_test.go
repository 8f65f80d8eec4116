package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/fetchtest"
	"github.com/tollbridge/tollbridge/webhook"
)

// manyEvents answers as GoCardless's list of events does, newest first, and as its
// payments do. Event n is three seconds older than event n-1, and is of payment n.
//
// https://developer.gocardless.com/api-reference/#events-list-events
type manyEvents struct {
	t      *testing.T
	newest time.Time
	events int

	lists, payments atomic.Int32
	mu              sync.Mutex
	hang            func(r *http.Request) bool // whether a request gets no answer
	hangs           chan struct{}              // receives when one gets none
	release         chan struct{}
}

func (m *manyEvents) event(n int) string {
	return fmt.Sprintf(`{"id":"EV%07d","created_at":%q,"resource_type":"payments","action":"confirmed","links":{"payment":"PM%07d"},"metadata":{},"resource_metadata":{"order_id":"many-%d"}}`,
		n, m.newest.Add(-time.Duration(n)*3*time.Second).UTC().Format("2006-01-02T15:04:05.000Z"), n, n)
}

func (m *manyEvents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	hangs := m.hang != nil && m.hang(r)
	if hangs {
		m.hang = nil
	}
	m.mu.Unlock()
	if hangs {
		m.hangs <- struct{}{}
		<-m.release
		return
	}
	if id, ok := strings.CutPrefix(r.URL.Path, "/payments/PM"); ok {
		m.payments.Add(1)
		fmt.Fprintf(w, `{"payments":{"id":"PM%s","amount":1000,"currency":"EUR","status":"confirmed","metadata":{},"links":{"mandate":"MD1"}}}`, id)
		return
	}
	m.lists.Add(1)
	q := r.URL.Query()
	first := 0
	if after := q.Get("after"); after != "" {
		n, _ := strconv.Atoi(strings.TrimPrefix(after, "EV"))
		first = n + 1
	}
	limit, err := strconv.Atoi(q.Get("limit"))
	if r.Host != "api-sandbox.gocardless.com" || r.URL.Path != "/events" || err != nil || limit > 500 || q.Get("created_at[gte]") == "" {
		m.t.Errorf("bad request %s %s", r.Host, r.URL)
	}
	var page []string
	for n := first; n < min(first+limit, m.events); n++ {
		page = append(page, m.event(n))
	}
	after := "null"
	if first+limit < m.events {
		after = fmt.Sprintf(`"EV%07d"`, first+limit-1)
	}
	_, _ = io.WriteString(w, `{"events":[`+strings.Join(page, ",")+`],"meta":{"cursors":{"before":null,"after":`+after+`},"limit":500}}`)
}

// setHang sets which request gets no answer.
func (m *manyEvents) setHang(f func(*http.Request) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hang = f
}

// peak is the line of /proc/PID/status with the most memory that a process had.
var peak = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakOf returns the most memory that a process had, in bytes; 0 if it has ended.
func peakOf(pid int) int64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	found := peak.FindSubmatch(status)
	if found == nil {
		return 0
	}
	n, _ := strconv.ParseInt(string(found[1]), 10, 64)
	return n << 10
}

// TestGapsKilled: of 10^4 events that the processor lists (10^5 in `make faults`) some never
// came. The command is killed (kill -9) while it reads the list and again while it
// publishes, and goes on each time where it was. Then each missing event is published once,
// a second run finds none, and no run needed much memory.
func TestGapsKilled(t *testing.T) {
	t.Parallel() // it mostly waits: the command uses a quarter of GoCardless's limit
	events, most := 10_000, int64(256<<20)
	if os.Getenv("TOLLBRIDGE_FAULTS") == "full" {
		events = 100_000
	}
	const batch, perPage = 250, 500
	m := &manyEvents{t: t, newest: time.Now().Add(-2 * 24 * time.Hour), events: events, hangs: make(chan struct{}, 1), release: make(chan struct{})}
	api := fetchtest.New(t, m.ServeHTTP)
	t.Cleanup(func() { close(m.release) }) // before the server closes, which waits for its answers
	env := api.Proxy()
	b := startOnly(t, nil, endpoint{connector: "gocardless", name: "api"}) // without an API: the payments need not be fetched

	var missing []string
	var webhooks [][]byte
	for n := 0; n < events; n += batch {
		var in []string
		for i := n; i < n+batch; i++ {
			if i%(events/200) == 77%(events/200) {
				missing = append(missing, fmt.Sprintf("EV%07d", i))
			} else {
				in = append(in, m.event(i))
			}
		}
		webhooks = append(webhooks, []byte(`{"events":[`+strings.Join(in, ",")+`]}`))
	}
	for _, payload := range webhooks {
		b.deliverTo(t, "gocardless", payload)
	}
	b.more = []endpoint{listing("gocardless")}
	if err := os.WriteFile(b.config, b.yaml(t), 0o600); err != nil { // the server reads it again
		t.Fatal(err)
	}

	journal := filepath.Join(t.TempDir(), "journal")
	publishes := []string{"--publish", "--journal", journal}
	var memory int64
	// run runs the command, and kills it when a request gets no answer.
	run := func(args ...string) (code int, out, errs *bytes.Buffer) {
		t.Helper()
		c, out, errs := b.gapsCommand(env, "gocardless", args...)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = c.Wait()
			close(ended)
		}()
		for {
			memory = max(memory, peakOf(c.Process.Pid))
			select {
			case <-m.hangs:
				_ = c.Process.Kill()
				<-ended
				return -1, out, errs
			case <-ended:
				return c.ProcessState.ExitCode(), out, errs
			case <-time.After(20 * time.Millisecond):
			}
		}
	}

	pages := events / perPage
	m.setHang(func(r *http.Request) bool { return r.URL.Path == "/events" && int(m.lists.Load()) == pages/2 })
	if code, out, errs := run(publishes...); code != -1 {
		t.Fatalf("the run ended with %d before it was killed\n%s%s", code, out, errs)
	}
	m.setHang(func(r *http.Request) bool {
		return strings.HasPrefix(r.URL.Path, "/payments/") && int(m.payments.Load()) == len(missing)/3
	})
	if code, out, errs := run(publishes...); code != -1 {
		t.Fatalf("the second run ended with %d before it was killed\n%s%s", code, out, errs)
	}
	if n := int(m.lists.Load()); n != pages {
		t.Errorf("the two runs read %d pages, want each of the %d once", n, pages)
	}
	code, out, errs := run(publishes...)
	for try := 1; code == 1 && try < 3; try++ { // Kafka did not answer in time: the same command goes on
		t.Logf("the third run ended with 1: %s", errs)
		code, out, errs = run(publishes...)
	}
	n, _ := readGaps(t, out)
	if code != 0 || n.Listed != events || n.Missing != len(missing) || n.Published != len(missing) || int(m.lists.Load()) != pages {
		t.Errorf("the third run: exit code %d, %+v, %d pages; want %d published\n%s", code, n, m.lists.Load(), len(missing), errs)
	}
	if _, err := os.Stat(journal); err == nil {
		t.Error("the journal is still there")
	}
	code, out, errs = run()
	if n, found := readGaps(t, out); code != 0 || n.Known != events || len(found) != 0 {
		t.Errorf("a second run: exit code %d, %+v, %v missing\n%s", code, n, found, errs)
	}
	if memory > most {
		t.Errorf("the command used up to %d MB of memory, want at most %d", memory>>20, most>>20)
	}
	t.Logf("%d events, %d missing; the command used up to %d MB of memory", events, len(missing), memory>>20)

	times := map[string]int{}
	var vouched []string
	for _, r := range b.read(t, b.names.Prefix+"payment.captured", b.names.Received()) {
		switch {
		case r.topic != b.names.Received():
			times[r.key]++
		case r.headers["vouched-by"] == string(webhook.VouchedByGaps):
			vouched = append(vouched, r.value[strings.Index(r.value, `"EV`)+1:][:len(missing[0])])
		}
	}
	for n := range events {
		if key := fmt.Sprint("many-", n); times[key] != 1 {
			t.Errorf("%s is published %d times", key, times[key])
		}
	}
	if slices.Sort(vouched); len(times) != events || !slices.Equal(vouched, missing) {
		t.Errorf("%d payments have events; gaps vouches for %d webhooks, want the %d missing ones", len(times), len(vouched), len(missing))
	}
	b.stop(t)
}
