package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tollbridge/tollbridge/internal/dead"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/replay"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
)

// person uses the console of a bridge over HTTP.
type person struct {
	t     *testing.T
	b     *bridge
	http  *http.Client
	token string
}

// newPerson returns somebody who is logged in, or needs no login.
func newPerson(t *testing.T, b *bridge, password string) *person {
	t.Helper()
	jar, _ := cookiejar.New(nil)
	p := &person{t: t, b: b, http: &http.Client{Jar: jar}}
	if password != "" {
		if status, body := p.post("login", url.Values{"name": {"anna"}, "password": {password}}); status != http.StatusOK {
			t.Fatalf("login: %d %s", status, body)
		}
	}
	p.get("connectors?name=stripe")
	if p.token == "" {
		t.Fatal("the console gives no token for forms")
	}
	return p
}

// get returns a page as JSON.
func (p *person) get(page string) (int, string) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.b.console()+page, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.do(r)
}

// page returns a page as HTML.
func (p *person) page(page string) (int, string) {
	p.t.Helper()
	a, err := p.http.Get(p.b.console() + page)
	if err != nil {
		p.t.Fatal(err)
	}
	defer a.Body.Close()
	body, _ := io.ReadAll(a.Body)
	return a.StatusCode, string(body)
}

// post sends a form and returns the answer as JSON.
func (p *person) post(page string, form url.Values) (int, string) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.b.console()+page, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return p.do(r)
}

func (p *person) do(r *http.Request) (int, string) {
	p.t.Helper()
	r.Header.Set("Accept", asJSON)
	if p.token != "" {
		r.Header.Set("X-Csrf-Token", p.token)
	}
	a, err := p.http.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if token := a.Header.Get("X-Csrf-Token"); token != "" {
		p.token = token
	}
	return a.StatusCode, string(body)
}

// consoleJob is the JSON of a job.
type consoleJob struct {
	ID, Who, Error string
	Ended          string
	Letters, Stay  int
	Verdicts       []struct {
		ID        string
		Handled   *struct{ Outcome, By, Reason string }
		New       []string
		Stays     string
		Connector string
	}
	Counts  replay.Counts
	Changes []replay.Change
}

// job sends a form that starts a job, and returns it when it has ended.
func (p *person) job(page string, form url.Values) (j consoleJob) {
	p.t.Helper()
	status, body := p.post(page, form)
	if status != http.StatusOK {
		p.t.Fatalf("%s %v: %d %s", page, form, status, body)
	}
	var to struct{ Location string }
	if err := json.Unmarshal([]byte(body), &to); err != nil {
		p.t.Fatal(err)
	}
	until(p.t, "the job to end", func() bool {
		j = consoleJob{}
		_, body = p.get(strings.TrimPrefix(to.Location, "/console/"))
		if err := json.Unmarshal([]byte(body), &j); err != nil {
			p.t.Fatalf("%v: %s", err, body)
		}
		return j.Ended != ""
	})
	return j
}

// TestConsoleDead: dead letters are retried and discarded in the console as the commands
// do, with the same lock, and their records and the audit log say by whom.
func TestConsoleDead(t *testing.T) {
	b := startBridge(t, "console: {password: {value: "+consolePassword+"}, write: true},")
	b.send(t, []byte(`{"id": 1}`))
	b.writeLetter(t, paid("buried", 0))
	b.writeLetter(t, paid("buried-2", 0))
	b.writeLetter(t, paid("buried-3", 0))
	p := newPerson(t, b, consolePassword)
	all := b.letters(t)
	if len(all) != 4 {
		t.Fatalf("%d letters, want 4", len(all))
	}
	status, got := p.get("letter?id=" + all[0].ID)
	if want := b.run(t, 0, "dead", "show", all[0].ID, "--json"); status != http.StatusOK || !sameJSON(t, got, want) {
		t.Errorf("letter: %d %s\nwant the output of dead show: %s", status, got, want)
	}
	for _, form := range []url.Values{
		{}, {"action": {"retry"}}, {"action": {"delete"}, "id": {all[0].ID}}, {"action": {"discard"}, "id": {all[0].ID}}, {"action": {"discard"}, "id": {all[0].ID}, "note": {"  "}},
	} {
		if status, body := p.post("dead", form); status != http.StatusBadRequest || !strings.Contains(body, `"error"`) {
			t.Errorf("%v: %d %s, want 400", form, status, body)
		}
	}
	if j := p.job("dead", url.Values{"action": {"retry"}, "id": {"9-99999"}}); !strings.Contains(j.Error, "no dead letter") {
		t.Errorf("a letter that does not exist: %+v", j)
	}
	existing, _, err := kafka.Layout{Names: b.names}.Existing(t.Context(), b.kafka)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := publish.AcquireLock(t.Context(), b.kafka, existing, publish.LockHolder{Command: "another command"})
	if err != nil {
		t.Fatal(err)
	}
	if j := p.job("dead", url.Values{"action": {"retry"}, "id": {all[1].ID}}); !strings.Contains(j.Error, "another command") {
		t.Errorf("while another command has the lock: %+v", j)
	}
	lock.Release()
	if len(b.letters(t)) != 4 {
		t.Error("a letter was handled by a job that failed")
	}
	j := p.job("dead", url.Values{"action": {"retry"}, "id": {all[0].ID, all[1].ID}, "note": {"mended"}})
	if j.Error != "" || j.Letters != 2 || j.Stay != 1 || len(j.Verdicts) != 2 || j.Verdicts[0].Stays == "" || j.Verdicts[1].Handled == nil || len(j.Verdicts[1].New) != 1 || j.Who != "anna" {
		t.Errorf("retry of two letters: %+v", j)
	}
	_, page := p.page("dead")
	id := regexp.MustCompile(`name="group" value="([0-9a-f]+)"><input type="hidden" name="count" value="([0-9]+)"`).FindAllStringSubmatch(page, -1)
	if len(id) != 2 {
		t.Fatalf("the page has %d groups, want 2: %s", len(id), page)
	}
	group := url.Values{"action": {"retry"}, "group": {id[0][1]}, "count": {id[0][2]}} // the largest comes first
	if status, body := p.post("dead", url.Values{"action": {"retry"}, "group": {id[0][1]}}); status != http.StatusBadRequest {
		t.Errorf("a group without its count: %d %s", status, body)
	}
	fewer := url.Values{"action": {"retry"}, "group": {id[0][1]}, "count": {"1"}}
	if j := p.job("dead", fewer); !strings.Contains(j.Error, "2 letters have this reason now, and the page showed 1") || len(b.letters(t)) != 3 {
		t.Errorf("a group of which the page showed fewer letters: %+v", j)
	}
	if j := p.job("dead", group); j.Error != "" || j.Letters != 2 || j.Stay != 0 {
		t.Errorf("retry of a group: %+v", j)
	}
	if j := p.job("dead", group); j.Error != "" || j.Letters != 0 {
		t.Errorf("a second retry of the group: %+v", j)
	}
	if j := p.job("dead", url.Values{"action": {"discard"}, "id": {all[0].ID}, "note": {"a test"}}); j.Error != "" || j.Letters != 1 {
		t.Errorf("discard: %+v", j)
	}
	if left := b.letters(t); len(left) != 0 {
		t.Errorf("letters left: %+v", left)
	}
	want := map[string]string{all[0].ID: "discarded a test", all[1].ID: "retried mended", all[2].ID: "retried ", all[3].ID: "retried "}
	for _, l := range b.letters(t, "--all") {
		if h := l.Handled; h == nil || h.By != "anna (console)" || string(h.Outcome)+" "+h.Reason != want[l.ID] {
			t.Errorf("%s is handled as %+v, want %s", l.ID, h, want[l.ID])
		}
	}
	events := strings.Count(b.run(t, 0, "tail", "--exit", "--from", "1h"), "\n")
	if j := p.job("dead", url.Values{"action": {"retry"}, "id": {all[1].ID}}); j.Stay != 0 || len(j.Verdicts) != 1 || len(j.Verdicts[0].New) != 0 {
		t.Errorf("a retry of a letter that was retried: %+v", j)
	}
	if n := strings.Count(b.run(t, 0, "tail", "--exit", "--from", "1h"), "\n"); n != events {
		t.Errorf("the second retry published %d events", n-events)
	}
	b.send(t, paid("buried", 0)) // a redelivery after the retry makes no event
	if n := strings.Count(b.run(t, 0, "tail", "--exit", "--from", "1h"), "\n"); n != events {
		t.Errorf("after the retry a redelivery published %d events", n-events)
	}
	for _, line := range []string{`"audit":"dead_retry","who":"anna","login":"password","remote":"127.0.0.1"`, `"audit":"dead_discard"`, `"audit":"dead_retry_ended"`, `"note":"mended"`} {
		if !strings.Contains(b.log.String(), line) {
			t.Errorf("the log has no %s", line)
		}
	}
}

// TestConsoleReadOnly: without the right, no form is accepted and no page has one.
func TestConsoleReadOnly(t *testing.T) {
	b := startBridge(t)
	b.writeLetter(t, paid("buried", 0))
	for _, page := range []string{"dead", "replay", "job", "webhook?at=shop.webhooks.dead-0-0"} {
		p := &person{t: t, b: b, http: http.DefaultClient}
		if status, body := p.post(page, url.Values{"action": {"retry"}, "id": {"0-0"}}); status != http.StatusForbidden || !strings.Contains(body, "console.") {
			t.Errorf("%s: %d %s, want 403", page, status, body)
		}
	}
	for _, page := range []string{"dead", "replay", "letter?id=" + b.letters(t)[0].ID} {
		if status, body := get(t, b.console()+page, asHTML); status != http.StatusOK || strings.Contains(body, "<button name=") || !strings.Contains(body, "read-only") {
			t.Errorf("%s: status %d, or it has a form:\n%s", page, status, body)
		}
	}
	if len(b.letters(t)) != 1 {
		t.Error("the letter was handled")
	}
}

// TestConsoleReplay: a plan shows the differences field by field, and its publication
// writes what the plan showed, once.
func TestConsoleReplay(t *testing.T) {
	b := startBridge(t, "console: {write: true},")
	b.send(t, paid("4711", 0))
	b.writeLetter(t, paid("buried", 0)) // a replay makes its event
	b.writeChanged(t, "4711")
	p := newPerson(t, b, "")
	for _, form := range []url.Values{
		{}, {"action": {"plan"}, "from": {"yesterday"}}, {"action": {"plan"}, "type": {string(schemas.PaymentCaptured), "x"}}, {"action": {"plan"}, "key": {strings.Repeat("x\n", 3) + strings.Repeat("y", 1001)}}, {"action": {"plan"}, "outcome": {"x"}}, {"action": {"plan"}, "endpoint": {"x/y"}}, {"action": {"plan"}, "rate": {"-1"}}, {"action": {"plan"}, "rate": {"NaN"}},
		{"action": {"plan"}, "from": {"shop.webhooks.received[0]@0"}, "to": {"shop.webhooks.received[1]@9"}}, {"action": {"plan"}, "from": {"shop.webhooks.dead[0]@0"}}, {"action": {"plan"}, "to_prefix": {"a b"}},
	} {
		if status, body := p.post("replay", form); status != http.StatusBadRequest {
			t.Errorf("%v: %d %s, want 400", form, status, body)
		}
	}
	from := kafka.Receipt{Topic: b.names.Received(), Partition: kafka.PartitionOf([]byte("4711"), 3)}.Text()
	to := strings.TrimSuffix(from, "0") + "1"
	some := p.job("replay", url.Values{"action": {"plan"}, "from": {from}, "to": {to}})
	if some.Error != "" || some.Counts.Read != 1 || some.Counts.Changed != 1 || some.Counts != countsOf(t, b.run(t, 0, "replay", "--from", from, "--to", to, "--json")) {
		t.Errorf("a plan of one offset: %+v", some)
	}
	if _, page := get(t, b.console()+"job?id="+some.ID, asHTML); !strings.Contains(page, from) || !strings.Contains(page, to) || strings.Contains(page, "Received since") {
		t.Errorf("the page of the plan does not have its offsets, and only them: %s", page)
	}
	if beyond := p.job("replay", url.Values{"action": {"plan"}, "from": {to}}); !strings.Contains(beyond.Error, "none of them in the range") {
		t.Errorf("a plan of offsets that are not there: %+v", beyond)
	}
	if lost := p.job("replay", url.Values{"action": {"plan"}, "to_prefix": {"lost."}}); !strings.Contains(lost.Error, "tollbridge topics apply --prefix lost.") {
		t.Errorf("a plan for topics that are not there: %+v", lost)
	}
	plan := p.job("replay", url.Values{"action": {"plan"}, "from": {"1d"}})
	if plan.Error != "" || plan.Counts.New != 1 || plan.Counts.Changed != 1 || plan.Counts.Published != 0 || len(plan.Changes) != 2 {
		t.Fatalf("plan: %+v", plan)
	}
	var lines []string
	out := b.run(t, 0, "replay", "--from", "1d", "--json")
	for _, c := range plan.Changes {
		one, _ := json.Marshal(c)
		lines = append(lines, string(one))
		if !strings.Contains(out, c.Event.ID) || c.Event.Data.Corrects != "" && len(c.Diff) == 0 {
			t.Errorf("the change %s is not what the command prints: %s", one, out)
		}
	}
	_, page := get(t, b.console()+"job?id="+plan.ID, asHTML)
	for _, want := range []string{"connector_event_type", "made by a test", "payment_intent.succeeded", "Publish", "correction", "buried"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page of the plan has no %q:\n%s", want, page)
		}
	}
	if status, body := p.post("replay", url.Values{"action": {"publish"}, "plan": {"another"}}); status != http.StatusConflict {
		t.Errorf("publication of another plan: %d %s", status, body)
	}
	done := p.job("replay", url.Values{"action": {"publish"}, "plan": {plan.ID}})
	if done.Error != "" || done.Counts.Published != 2 {
		t.Fatalf("publication: %+v", done)
	}
	for i, c := range done.Changes {
		if one, _ := json.Marshal(c); !slices.Contains(lines, string(one)) {
			t.Errorf("change %d was not in the plan: %s", i, one)
		}
	}
	if status, _ := p.post("replay", url.Values{"action": {"publish"}, "plan": {plan.ID}}); status != http.StatusConflict {
		t.Errorf("a second publication of the plan: %d, want 409", status)
	}
	if again := p.job("replay", url.Values{"action": {"plan"}, "from": {"1d"}}); again.Counts.New+again.Counts.Changed != 0 || again.Counts.Same != 2 {
		t.Errorf("a plan after the publication: %+v", again.Counts)
	}
	if one := p.job("replay", url.Values{"action": {"plan"}, "from": {"1d"}, "endpoint": {"stripe/default"}, "key": {"buried"}, "type": {string(schemas.PaymentCaptured)}}); one.Error != "" || one.Counts.Same != 1 {
		t.Errorf("a plan of one payment: %+v", one)
	}
	several := p.job("replay", url.Values{"action": {"plan"}, "key": {"buried\r\n4711\r\n", "nobody"}, "type": {string(schemas.PaymentCaptured), string(schemas.RefundFailed)}})
	if several.Error != "" || several.Counts.Same != 2 || several.Counts != countsOf(t, b.run(t, 0, "replay", "--key", "buried,4711", "--key", "nobody", "--type", "payment.captured,refund.failed", "--json")) {
		t.Errorf("a plan of several payments and event types: %+v", several)
	}
	if _, page := get(t, b.console()+"job?id="+several.ID, asHTML); !strings.Contains(page, "<div>4711</div>") || !strings.Contains(page, "<div>refund.failed</div>") {
		t.Errorf("the page of the plan does not have what was selected: %s", page)
	}
	b.run(t, 0, "topics", "apply", "--prefix", "again.")
	other := p.job("replay", url.Values{"action": {"plan"}, "to_prefix": {"again."}})
	if other.Error != "" || other.Counts.New != 2 || other.Counts != countsOf(t, b.run(t, 0, "replay", "--to-prefix", "again.", "--json")) {
		t.Fatalf("a plan for another prefix: %+v", other)
	}
	if there := p.job("replay", url.Values{"action": {"publish"}, "plan": {other.ID}}); there.Error != "" || there.Counts.Published != 2 {
		t.Errorf("publication to another prefix: %+v", there)
	}
	if again := countsOf(t, b.run(t, 0, "replay", "--to-prefix", "again.", "--json")); again.Same != 2 || again.New != 0 {
		t.Errorf("after the publication to another prefix: %+v", again)
	}
	if buried := p.job("replay", url.Values{"action": {"plan"}, "from": {"1d"}, "reason": {"buried by"}}); buried.Error != "" || buried.Counts.Read != 1 || buried.Counts.Same != 1 {
		t.Errorf("a plan of webhooks with a reason: %+v", buried)
	}
	for _, parts := range [][]string{
		{`"audit":"replay_plan","who":"loopback"`}, {`"audit":"replay_plan"`, from}, {`"audit":"replay_plan"`, "buried by"}, {`"audit":"replay_plan"`, `"to_prefix":"again."`},
		{`"audit":"replay_publish"`, `"to_prefix":"again."`}, {`"audit":"replay_publish_ended"`, `"events":2`},
	} {
		if !slices.ContainsFunc(strings.Split(b.log.String(), "\n"), func(line string) bool {
			return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) })
		}) {
			t.Errorf("the log has no line with %q", parts)
		}
	}
}

// TestConsoleReplayWithoutTemporaryFolder: where only the state folder can be written to, as
// in a container, a replay to another prefix keeps its history there, and removes it. What
// a crash left is removed at the start.
func TestConsoleReplayWithoutTemporaryFolder(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	state := t.TempDir()
	left := filepath.Join(state, "replay", "history", "CURRENT")
	if err := os.MkdirAll(filepath.Dir(left), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(left, []byte("MANIFEST-000001\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBridge(t, cluster.ListenAddrs(), "shop.", "console: {write: true},")
	file, err := os.ReadFile(b.config)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, b.config, strings.Replace(string(file), `state: ""`, "state: "+state, 1))
	b.run(t, 0, "topics", "apply", "--prefix", "again.")
	t.Setenv("TMPDIR", filepath.Join(state, "none"))
	b.start(t)
	removed := func(when string) {
		t.Helper()
		if _, err := os.Stat(filepath.Join(state, "replay")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s the folder of a replay is there: %v", when, err)
		}
	}
	removed("after the start")
	b.send(t, paid("4711", 0))
	p := newPerson(t, b, "")
	plan := p.job("replay", url.Values{"action": {"plan"}, "to_prefix": {"again."}})
	if plan.Error != "" || plan.Counts.New != 1 {
		t.Fatalf("a plan for another prefix: %+v", plan)
	}
	removed("after the plan")
	if there := p.job("replay", url.Values{"action": {"publish"}, "plan": {plan.ID}}); there.Error != "" || there.Counts.Published != 1 {
		t.Errorf("publication to another prefix: %+v", there)
	}
	removed("after the publication")
}

// countsOf returns the counts that 'tollbridge replay --json' prints last.
func countsOf(t *testing.T, out string) (n replay.Counts) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &n); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return n
}

// writeChanged publishes a correction of the event of a payment, as another version of
// tollbridge could have made it.
func (b *bridge) writeChanged(t *testing.T, order string) {
	t.Helper()
	line, _, _ := strings.Cut(b.run(t, 0, "tail", "--exit", "--from", "1h", "--json", "--key", order), "\n")
	var e schemas.Event
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		t.Fatal(err)
	}
	e.Data.Corrects, e.ID, e.Data.ConnectorEventType = e.ID, "00000000-0000-5000-8000-00000000abcd", "made by a test"
	b.publishEvent(t, e)
}

// TestConsoleWriteInBrowser retries and discards dead letters, and makes and publishes the
// plan of a replay, as a person does. Hostile text is shown as text on these pages.
func TestConsoleWriteInBrowser(t *testing.T) {
	path := chromium(t)
	b := startBridge(t, "console: {password: {value: "+consolePassword+"}, write: true, unmask: true, refused: 5},")
	b.writeHostile(t)
	_ = tollbridge(t, "", "send", "stripe", "payment_intent.succeeded", "--to", b.url, "--secret", "whsec_"+strings.Repeat("Ab1+", 8))
	b.send(t, []byte(`{"id": 1}`))
	b.writeLetter(t, paid("buried", 0))
	b.send(t, paid("4711", 900_000))
	b.writeChanged(t, "4711")
	w := openWindow(t, path)
	at := b.console()
	w.do("login", chromedp.Navigate(at), chromedp.SendKeys(chromedp.CSS("#password"), consolePassword+"\r"), chromedp.WaitVisible(chromedp.CSS("form.account")))
	first := b.letters(t)
	w.do("the list", chromedp.Navigate(at+"dead"), chromedp.WaitVisible(chromedp.CSS("input[name=id]")))
	w.picture("dead-write", at+"dead", "light", 1280)
	w.picture("dead-write", at+"dead", "dark", 360)
	var buried dead.Letter
	for _, l := range first {
		if strings.Contains(l.Webhook.Reason, "buried by a test") {
			buried = l
		}
	}
	w.retry(at, buried.ID)
	w.do("discard without a note", chromedp.Navigate(at+"dead"), chromedp.WaitVisible(chromedp.CSS("input[name=id]")), chromedp.Click(chromedp.CSS("input[name=id]")), chromedp.Click(chromedp.CSS(".bar-of button[value=discard]")), chromedp.WaitVisible(chromedp.CSS(".empty h1")))
	w.forget("400")
	w.discardAll(at, "<i>note</i>\u202e")
	if left := b.letters(t); len(left) != 0 {
		t.Errorf("%d letters are left", len(left))
	}
	w.picture("replay", at+"replay", "light", 1280)
	w.picture("replay", at+"replay", "dark", 360)
	b.run(t, 0, "topics", "apply", "--prefix", "again.")
	w.publish(at, w.plan(at, "shop.webhooks.received["+fmt.Sprint(kafka.PartitionOf([]byte("4711"), 3))+"]@0", "again."))
	plan := w.plan(at, "7d", "")
	w.picture("plan", at+"job"+plan, "light", 1280)
	w.picture("plan", at+"job"+plan, "dark", 360)
	w.publish(at, plan)
	for _, page := range []string{"dead?all=1", "letter?id=" + first[0].ID, "job", "replay", "payment?scan=1&id=4711"} {
		w.do(page, chromedp.Navigate(at+page), chromedp.WaitVisible(chromedp.CSS("main h1")))
		if n := value[int](w, `document.querySelectorAll("main b, main img, main i, main script").length`); n != 0 {
			t.Errorf("%s: %d elements of a sender are in the page", page, n)
		}
		if n := value[int](w, `document.documentElement.outerHTML.length`); n > 800_000 {
			t.Errorf("%s has %d characters: a long field is not cut", page, n)
		}
		if found := controlCharacters(value[string](w, `document.querySelector("main").textContent`)); len(found) > 0 {
			t.Errorf("%s has control characters: %q", page, found)
		}
	}
	w.picture("refused", at+"refused", "light", 1280)
	w.do("a refused request", chromedp.Navigate(at+"refused"), chromedp.Click(chromedp.CSS("main td a")), chromedp.WaitVisible(chromedp.CSS("main .notice strong")))
	refused := value[string](w, `location.search`)
	w.picture("refusal", at+"refused"+refused, "light", 1280)
	w.picture("refusal", at+"refused"+refused, "dark", 360)
	w.do("personal fields", chromedp.Navigate(at+"letter?id="+buried.ID), chromedp.Click(chromedp.CSS(`main a[href*="/console/webhook"]`)), chromedp.WaitVisible(chromedp.CSS("main form button")), chromedp.Click(chromedp.CSS("main form button")), chromedp.WaitNotPresent(chromedp.CSS("main form button")))
	partition, offset, _ := strings.Cut(buried.ID, "-")
	if what := "/console/webhook?at=" + url.QueryEscape(fmt.Sprintf("shop.webhooks.dead[%s]@%s", partition, offset)); !strings.Contains(strings.ToLower(b.log.String()), strings.ToLower(fmt.Sprintf(`"what":%q`, what))) { // the browser sends the escapes as html/template writes them
		t.Errorf("the log does not say who saw the personal fields, want %q:\n%s", what, regexp.MustCompile(`.*unmask.*`).FindAllString(b.log.String(), -1))
	}
	w.check()
}

// retry retries a letter on its page.
func (w *window) retry(at, id string) {
	w.t.Helper()
	w.do("retry", chromedp.Navigate(at+"letter?id="+id), chromedp.Click(chromedp.CSS("button[value=retry]")), chromedp.WaitVisible(chromedp.CSS(".title .tag.good")))
	if got := value[string](w, `document.querySelector("main tbody").textContent`); !strings.Contains(got, "retried") || !strings.Contains(got, "1 of them new") {
		w.t.Errorf("after the retry the page shows %q", got)
	}
}

// discardAll discards all letters of the first page.
func (w *window) discardAll(at, note string) {
	w.t.Helper()
	w.do("discard", chromedp.Navigate(at+"dead"), chromedp.WaitVisible(chromedp.CSS("input[name=id]")), chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("input[name=id]").forEach(i => i.checked = true)`),
		chromedp.SendKeys(chromedp.CSS(".bar-of input[name=note]"), note), chromedp.Click(chromedp.CSS(".bar-of button[value=discard]")), chromedp.WaitVisible(chromedp.CSS(".title .tag.good")))
}

// plan makes the plan of a replay, which must change something, and returns the query of its
// page.
func (w *window) plan(at, from, toPrefix string) string {
	w.t.Helper()
	w.do("a plan", chromedp.Navigate(at+"replay"), chromedp.WaitVisible(chromedp.CSS("#from")), chromedp.Evaluate[chromedp.Void](`document.querySelector("#from").value = ""`),
		chromedp.SendKeys(chromedp.CSS("#from"), from), chromedp.SendKeys(chromedp.CSS("#to_prefix"), toPrefix),
		chromedp.Click(chromedp.CSS("button[value=plan]")), chromedp.WaitVisible(chromedp.CSS("button[value=publish]")))
	return value[string](w, `location.search`)
}

// publish publishes a plan.
func (w *window) publish(at, plan string) {
	w.t.Helper()
	w.do("publication", chromedp.Navigate(at+"job"+plan), chromedp.Click(chromedp.CSS("button[value=publish]")), chromedp.WaitVisible(chromedp.CSS("[data-kind=replay_publish] .tag.good")))
	if got := value[string](w, `document.querySelector("main").textContent`); !regexp.MustCompile(`[1-9]\d*\s*events published`).MatchString(got) {
		w.t.Errorf("after the publication the page shows %q", got)
	}
}

// TestConsoleRefused: a refused request is shown with its cause, and an accepted one is not
// kept.
func TestConsoleRefused(t *testing.T) {
	b := startBridge(t, "console: {refused: 3},")
	b.send(t, paid("4711", 0))
	if got := tollbridge(t, "", "send", "stripe", "payment_intent.succeeded", "--to", b.url, "--secret", "whsec_"+strings.Repeat("Ab1+", 8)); got.code == 0 {
		t.Fatalf("a webhook with another secret was accepted: %s", got.out)
	}
	a, err := http.Get(b.url) // GET is no webhook
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	var all []struct {
		Number                              int
		Connector, Endpoint, Reason, Method string
		Status, Bytes                       int
	}
	_, body := get(t, b.console()+"refused", asJSON)
	if err := json.Unmarshal([]byte(body), &all); err != nil || len(all) != 2 || all[0].Method != "GET" || all[0].Status != 405 || all[1].Connector != "stripe" || all[1].Endpoint != "default" || all[1].Status != 401 || all[1].Bytes == 0 {
		t.Fatalf("%v: %s", err, body)
	}
	var one struct{ Diagnosis struct{ Mistake, Fix string } }
	_, body = get(t, fmt.Sprintf("%srefused?number=%d", b.console(), all[1].Number), asJSON)
	if err := json.Unmarshal([]byte(body), &one); err != nil || one.Diagnosis.Mistake == "" {
		t.Errorf("%v: %s", err, body)
	}
	if _, page := get(t, fmt.Sprintf("%srefused?number=%d", b.console(), all[1].Number), asHTML); !strings.Contains(page, "HMAC-SHA256") || !strings.Contains(page, "Stripe-Signature") {
		t.Errorf("the page: %s", page)
	}
}
