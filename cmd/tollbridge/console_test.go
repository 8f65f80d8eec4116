package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
)

// console returns the address of the console of a bridge's server.
func (b *bridge) console() string { return "http://" + b.admin + "/console/" }

// get returns the response to a request for a page, as JSON or as HTML.
func get(t *testing.T, address, accept string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(body)
}

const asJSON, asHTML = "application/json", "text/html,application/xhtml+xml"

// sameJSON reports whether a page's JSON is the output of a command: one object, or an
// array of the objects that the command prints as lines.
func sameJSON(t *testing.T, page, output string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(page), &x); err != nil {
		t.Fatalf("%v: %s", err, page)
	}
	if _, many := x.([]any); many {
		y = append([]any{}, jsonLines[any](t, output)...)
	} else if err := json.Unmarshal([]byte(output), &y); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return bytes.Equal(p, q)
}

// TestConsole: each page shows a payment that its URL names, and answers the JSON of the
// command.
func TestConsole(t *testing.T) {
	b := startBridge(t)
	b.send(t, paid("4711", 0))
	b.writeLetter(t, paid("buried", 0))
	at := b.console()
	event := ""
	until(t, "the payment to be in the server's history", func() bool {
		var p struct {
			Items []struct{ Event *schemas.Event }
		}
		_, body := get(t, at+"payment?id=4711", asJSON)
		_ = json.Unmarshal([]byte(body), &p)
		for _, i := range p.Items {
			if i.Event != nil {
				event = i.Event.ID
			}
		}
		return event != ""
	})
	for page, command := range map[string][]string{
		"payment?id=4711":        {"timeline", "4711"},
		"payment?id=4711&scan=1": {"timeline", "4711", "--scan"},
		"payment?id=pi_4711":     {"timeline", "pi_4711"},
		"dead":                   {"dead", "list"},
		"topics":                 {"topics", "plan"},
		"connectors":             {"connectors"},
		"connectors?name=adyen":  {"connectors", "adyen"},
	} {
		status, got := get(t, at+page, asJSON)
		run := b.run
		if command[0] == "connectors" { // it has no configuration
			run = func(t *testing.T, _ int, args ...string) string { return tollbridge(t, "", args...).out }
		}
		if want := run(t, 0, append(command, "--json")...); status != http.StatusOK || !sameJSON(t, got, want) {
			t.Errorf("%s: %d %s\nwant the output of %q: %s", page, status, got, command, want)
		}
	}
	var shown, details struct {
		Event    any
		Webhooks []struct {
			Topic             string
			Partition, Offset int
		}
	}
	_, body := get(t, at+"event?id="+event, asJSON)
	_ = json.Unmarshal([]byte(body), &shown)
	_ = json.Unmarshal([]byte(b.run(t, 0, "show", event, "--json")), &details)
	if fmt.Sprint(shown) != fmt.Sprint(details) || len(shown.Webhooks) != 1 {
		t.Fatalf("event: %v, want what show prints: %v", shown, details)
	}
	w := shown.Webhooks[0]
	for page, want := range map[string][]string{
		"":                     {"stripe/default", "Last webhook"},
		"payment?id=4711":      {"payment.captured", "Captured", "test mode", "webhooks.received["},
		"event?id=" + event:    {"payment.captured", event, "pi_4711"},
		"payment?id=unknown-1": {"Nothing is known of unknown-1", "Read the topics"},
		fmt.Sprintf("webhook?at=%s[%d]@%d", w.Topic, w.Partition, w.Offset): {"Stripe-Signature", "verified", "payment.captured", "How it was verified"},
		"dead":                   {"by reason", "stripe/default"},
		"topics":                 {"shop.payment.captured", "right"},
		"connectors":             {"With an endpoint in the configuration", "name=stripe", "name=adyen"},
		"connectors?name=stripe": {"HMAC-SHA256", "payment_intent.succeeded", "subscribe to", "refunds"},
	} {
		status, got := get(t, at+page, asHTML)
		for _, text := range want {
			if status != http.StatusOK || !strings.Contains(strings.ToLower(got), strings.ToLower(text)) {
				t.Errorf("%s: status %d, want 200 and %q:\n%s", page, status, text, got)
			}
		}
	}
	for page, want := range map[string]int{
		"payment": http.StatusBadRequest, "payment?id=%20": http.StatusBadRequest, "webhook?at=x": http.StatusBadRequest, "webhook?at=shop.payment.captured-0-0": http.StatusBadRequest,
		"webhook?at=shop.webhooks.received-0-999": http.StatusNotFound, "event?id=4711": http.StatusNotFound, "connectors?name=nothing": http.StatusNotFound, "nothing": http.StatusNotFound, "../console/nothing": http.StatusNotFound,
	} {
		for _, accept := range []string{asJSON, asHTML} {
			status, got := get(t, at+page, accept)
			if status != want || accept == asJSON && !strings.Contains(got, `"error"`) {
				t.Errorf("%s: status %d, want %d: %s", page, status, want, got)
			}
		}
	}
}

// TestConsoleHostile: hostile text in every field that an outsider can write is shown as
// text, on every page.
func TestConsoleHostile(t *testing.T) {
	b := startBridge(t)
	event, letter := b.writeHostile(t)
	const tag = `<img src=x onerror=alert(1)><script>alert(2)</script>`
	b.writeEvent(t, tag, strings.Repeat("A", 900_000)+tag)
	at := b.console()
	pages := []string{"", "dead", "dead?all=1", "topics", "webhook?at=" + url.QueryEscape("shop.webhooks.dead-"+letter), "event?scan=1&id=" + event}
	for _, id := range []string{"known", hostile, event, tag, "stripe::pi_known"} {
		pages = append(pages, "payment?scan=1&id="+url.QueryEscape(id), "payment?id="+url.QueryEscape(id))
	}
	for p := range 3 {
		for offset := range 4 {
			for _, topic := range []string{"received", "dead"} {
				pages = append(pages, fmt.Sprintf("webhook?at=shop.webhooks.%s-%d-%d", topic, p, offset))
			}
		}
	}
	known := 0
	for _, page := range pages {
		for _, accept := range []string{asHTML, asJSON} {
			status, got := get(t, at+page, accept)
			if status == http.StatusOK {
				known++
			}
			if status >= 500 {
				t.Errorf("%s: status %d: %.300s", page, status, got)
			}
			if found := controlCharacters(got); len(found) > 0 {
				t.Errorf("%s has control characters: %q", page, found[0])
			}
			if accept == asHTML && (strings.Contains(got, "<img src=x") || strings.Contains(got, "<script>")) {
				t.Errorf("%s has the sender's HTML", page)
			}
			if accept == asHTML && len(got) > 800_000 {
				t.Errorf("%s has %d bytes: a long field is not cut", page, len(got))
			}
			if accept == asJSON && !json.Valid([]byte(got)) {
				t.Errorf("%s: invalid JSON: %.300s", page, got)
			}
		}
	}
	if known < 30 {
		t.Errorf("only %d pages were found", known)
	}
}

// writeEvent publishes an event with a key and an error message, as another program could.
func (b *bridge) writeEvent(t *testing.T, key, message string) {
	t.Helper()
	now := time.Now().UTC()
	b.publishEvent(t, schemas.Event{SpecVersion: "1.0", ID: key, Type: schemas.PaymentFailed, Subject: key, Time: now, Data: schemas.Data{
		MerchantTransactionID: key, Connector: key, Endpoint: key, ConnectorEventType: key, Error: &schemas.Error{Code: key, Message: message}, Amount: &schemas.Amount{Value: 1, Currency: key}, ReceivedAt: now,
	}})
}

// publishEvent publishes an event as another program could.
func (b *bridge) publishEvent(t *testing.T, e schemas.Event) {
	t.Helper()
	value, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	p := publish.NewProducer(publish.Config{Kafka: b.kafka})
	defer p.Close()
	headers := []schemas.Header{{Name: schemas.HeaderEventID, Value: e.ID}, {Name: schemas.HeaderEventTime, Value: e.Time.Format(time.RFC3339Nano)}}
	if _, err := p.Publish(t.Context(), []kafka.Record{{Topic: b.names.Event(e.Type), Key: []byte(e.Subject), Value: value, Headers: headers}}); err != nil {
		t.Fatal(err)
	}
}

// TestConsoleCommand: the command serves the console without a server, and refuses
// addresses that others can reach.
func TestConsoleCommand(t *testing.T) {
	b := startBridge(t)
	b.send(t, paid("4712", 0))
	ctx, stop := context.WithCancel(t.Context())
	var out screen
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"console", "--config", b.config, "--listen", "127.0.0.1:0", "--admin", freePort(t)}, strings.NewReader(""), &out, &out)
	}()
	until(t, "the command to print its address", func() bool { return strings.Contains(out.String(), "/console/") })
	address := strings.Fields(out.String())[1]
	status, got := get(t, address+"payment?id=4712", asHTML)
	if status != http.StatusOK || !strings.Contains(got, "payment.captured") || !strings.Contains(got, "read from the topics") {
		t.Errorf("status %d: %s", status, got)
	}
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	r.Host = "evil.example"
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if a.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("with another Host header: status %d, want 421", a.StatusCode)
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("exit %d: %s", code, out.String())
	}
	for _, listen := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.com:0", "127.0.0.1"} {
		if got := tollbridge(t, "", "console", "--config", b.config, "--listen", listen); got.code != 2 || !strings.Contains(got.err, "loopback") && !strings.Contains(got.err, "host:port") {
			t.Errorf("--listen %s: exit %d, %s", listen, got.code, got.err)
		}
	}
}

// chromium returns the path of a headless browser.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			kafkatest.Report(t, "the console in a browser: %s", name)
			return path
		}
	}
	kafkatest.Report(t, "NO BROWSER: the console was not tested in one (Debian: apt-get install chromium)")
	t.Skip("NOT TESTED: the console in a browser, since Chromium is not installed (Debian: apt-get install chromium)")
	return ""
}

// TestConsoleInBrowser uses the console of dev as a person does: nothing violates the
// content security policy, and no script fails. With CONSOLE_SCREENSHOTS=FOLDER it also
// writes a picture of each page, light and dark, for a phone and a desktop.
func TestConsoleInBrowser(t *testing.T) {
	path := chromium(t)
	b := startBridge(t)
	at := b.console()
	b.writeHostile(t)
	const tag = `<img src=x onerror=alert(1)><b style="color:red">bold</b>`
	b.writeEvent(t, tag, tag)
	for _, sample := range []string{"payment_intent.amount_capturable_updated", "payment_intent.succeeded", "refund.created", "charge.dispute.created", "payment_intent.succeeded", "payment_intent.canceled", "malformed-amount-a-string"} {
		if got := tollbridge(t, "", "send", "stripe", sample, "--to", b.url, "--secret", b.secret); got.code != 0 {
			t.Fatalf("send %s: %s%s", sample, got.out, got.err)
		}
	}
	until(t, "the payment to be in the server's history", func() bool {
		_, body := get(t, at+"payment?id=order-43", asHTML)
		return strings.Contains(body, "payment.cancelled")
	})
	w := openWindow(t, path)
	w.do("the first page", chromedp.Navigate(at), chromedp.WaitVisible(chromedp.CSS("main h1")))
	w.do("the key /", chromedp.KeyEvent("/"))
	if id := value[string](w, `document.activeElement.id`); id != "id" {
		t.Errorf("after / the element %q has the focus, want the search field", id)
	}
	w.do("search", chromedp.Evaluate[chromedp.Void](`document.activeElement.value = ""`), chromedp.KeyEvent("order-43\r"), chromedp.WaitVisible(chromedp.CSS("ol.line")))
	if heading, zone := value[string](w, `document.querySelector("main h1").textContent`), value[bool](w, `[...document.querySelectorAll("time")].every(t => t.title.endsWith("(UTC)"))`); heading != "order-43" || !zone {
		t.Errorf("the page of the payment: heading %q, times in the viewer's zone: %t", heading, zone)
	}
	types := value[[]string](w, `[...document.querySelectorAll("ol.line li:not(.aside) strong")].map(s => s.textContent.trim())`)
	if want := []string{"payment.authorized", "payment.captured", "refund.succeeded", "dispute.opened", "payment.cancelled"}; !slices.Equal(types, want) {
		t.Errorf("the time line has %q, want %q", types, want)
	}
	w.do("the keys", chromedp.Evaluate[chromedp.Void](`document.activeElement.blur()`), chromedp.KeyEvent("j"), chromedp.KeyEvent("j"))
	if at := value[int](w, `[...document.querySelectorAll("[data-row]")].indexOf(document.activeElement)`); at != 1 {
		t.Errorf("after j j the row %d has the focus, want 1", at)
	}
	w.do("an event", chromedp.Click(chromedp.CSS("ol.line li strong a")), chromedp.WaitVisible(chromedp.CSS("#json")))
	var e schemas.Event
	if text := value[string](w, `document.querySelector("#json").textContent`); json.Unmarshal([]byte(text), &e) != nil || e.Subject != "order-43" {
		t.Errorf("the event is shown as %s", text)
	}
	for _, id := range []string{tag, hostile} {
		w.do("hostile text", chromedp.Navigate(at+"payment?scan=1&id="+url.QueryEscape(id)), chromedp.WaitVisible(chromedp.CSS("ol.line")))
		if n := value[int](w, `document.querySelectorAll("main b, main img").length`); n != 0 {
			t.Errorf("%d elements of a sender are in the page", n)
		}
	}
	b.commitOffsets(t, "fulfilment", b.names.Event(schemas.PaymentCaptured))
	b.watchLive(t, w)
	pages := map[string]string{
		"live": "live", "live-filtered": "live?type=payment.captured&min=1&key=order-44",
		"overview": "", "payment": "payment?id=order-43", "event": "event?id=" + e.ID, "dead": "dead", "topics": "topics", "connectors": "connectors", "connector": "connectors?name=stripe", "unknown": "payment?id=order-44",
	}
	for name, from := range map[string]string{"webhook": "payment?id=order-43", "letter": "dead"} {
		w.do(name, chromedp.Navigate(at+from))
		pages[name] = strings.TrimPrefix(value[string](w, `[...document.querySelectorAll('main a[href*="/console/webhook"]')].at(-1).getAttribute("href")`), "/console/")
	}
	pages["groups"], pages["group"] = "groups", "groups?name=fulfilment"
	pages["refused-off"], pages["replay-read-only"] = "refused", "replay"
	for name, page := range pages {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{360, 1280, 3840} {
				w.picture(name, at+page, scheme, width)
			}
		}
	}
	w.pictures("no-such-page", at+"nothing")
	w.forget("404")
	w.check()
}

// TestConsoleEmptyInBrowser looks at the pages of a server that has received nothing: each
// says what to do next.
func TestConsoleEmptyInBrowser(t *testing.T) {
	path := chromium(t)
	b := startBridge(t, "console: {refused: 5},")
	w := openWindow(t, path)
	for name, page := range map[string]string{"overview": "", "live": "live", "dead": "dead", "refused": "refused", "groups": "groups"} {
		w.pictures("empty-"+name, b.console()+page)
		if n := value[int](w, `[...document.querySelectorAll(".empty")].filter(e => e.checkVisibility()).length`); n != 1 {
			t.Errorf("the empty page %q has %d notes that say what to do, want 1", name, n)
		}
	}
	w.check()
}

// commitOffsets makes a consumer group that has read nothing of a topic yet.
func (b *bridge) commitOffsets(t *testing.T, group, topic string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.kafka.Brokers...), kgo.MaxVersions(kversion.V2_8_0()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	commit, of := kmsg.NewPtrOffsetCommitRequest(), kmsg.NewOffsetCommitRequestTopic()
	commit.Group, commit.Generation, of.Topic = group, -1, topic
	for p := range int32(3) {
		partition := kmsg.NewOffsetCommitRequestTopicPartition()
		partition.Partition = p
		of.Partitions = append(of.Partitions, partition)
	}
	commit.Topics = append(commit.Topics, of)
	a, err := commit.RequestWith(t.Context(), client)
	if err != nil || a.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatal(err, a)
	}
}

// watchLive checks that the live page shows payments as they come, each once, also through
// reloads, and filters them. The page before the second reload has a payment that the page
// after it lacks, because the server read the topics for that one before.
func (b *bridge) watchLive(t *testing.T, w *window) {
	t.Helper()
	at := b.console()
	w.do("live", chromedp.Navigate(at+"live?connector=stripe"), chromedp.WaitVisible(chromedp.CSS("#state.good")))
	b.waitForLive(t, w, "order-live-", 1)
	w.do("a reload", chromedp.Evaluate[chromedp.Void](`location.reload()`))
	b.waitForLive(t, w, "order-live-", 2)
	older := value[string](w, `(() => { const r = new XMLHttpRequest(); r.open("GET", location, false); r.setRequestHeader("Accept", "text/html"); r.send(); return r.responseText })()`)
	b.waitForLive(t, w, "order-live-", 3)
	w.reload("*/console/live?connector*", strings.Replace(older, "<body", `<body id="older"`, 1))
	w.do("the older page", chromedp.WaitVisible(chromedp.CSS("#older #state.good")))
	b.waitForLive(t, w, "order-live-", 4)
	w.do("the filter", chromedp.Navigate(at+"live?type=payment.captured&key=order-live-1"), chromedp.WaitVisible(chromedp.CSS("#state.good")))
	if keys := value[[]string](w, `[...document.querySelectorAll("#live tbody tr td:nth-child(4)")].map(c => c.textContent)`); !slices.Equal(keys, []string{"order-live-1"}) {
		t.Errorf("filtered by key, the live page has %q", keys)
	}
}

// TestConsoleOnRealKafka uses the console of a server on an Apache Kafka behind a login: a
// payment is found, its time line is drawn, live views go on through a reload, dead letters
// are retried and discarded, and a replay is planned and published.
func TestConsoleOnRealKafka(t *testing.T) {
	path := chromium(t)
	b := newBridge(t, kafkatest.Start(t, kafkatest.Options{}).Bootstrap(), fmt.Sprintf("console%d.", time.Now().UnixNano()),
		"console: {password: {value: "+consolePassword+"}, write: true},")
	b.start(t)
	until(t, "the first webhook to be acknowledged", func() bool { // a broker that has just started can take longer than a webhook's deadline
		return tollbridge(t, "", "send", "stripe", "payment_intent.succeeded", "--to", b.url, "--secret", b.secret).code == 0
	})
	b.send(t, paid("4711", 0))
	b.send(t, disputed("4711"))
	at := b.console()
	p := newPerson(t, b, consolePassword)
	until(t, "the dispute to be in the server's history", func() bool {
		_, body := p.page("payment?id=4711")
		return strings.Contains(body, "dispute.opened")
	})
	w := openWindow(t, path)
	w.do("login", chromedp.Navigate(at), chromedp.SendKeys(chromedp.CSS("#password"), consolePassword+"\r"), chromedp.WaitVisible(chromedp.CSS("form.account")))
	until(t, "the page's module", func() bool { return value[string](w, `document.readyState`) == "complete" })
	w.do("the key /", chromedp.KeyEvent("/"))
	w.do("search", chromedp.Evaluate[chromedp.Void](`document.activeElement.value = ""`), chromedp.KeyEvent("pi_4711\r"), chromedp.WaitVisible(chromedp.CSS("ol.line")))
	types := value[[]string](w, `[...document.querySelectorAll("ol.line li:not(.aside) strong")].map(s => s.textContent.trim())`)
	if want := []string{"payment.captured", "dispute.opened"}; !slices.Equal(types, want) {
		t.Errorf("the time line has %q, want %q", types, want)
	}
	b.watchLive(t, w)
	for page, want := range map[string]string{"topics": "all as configured", "groups": "No consumer group has an offset in these topics", "live?key=4711": "dispute.opened", "": "acknowledged"} {
		if status, got := p.page(page); status != http.StatusOK || !strings.Contains(got, want) {
			t.Errorf("%s: status %d, want %q:\n%s", page, status, want, got)
		}
	}
	b.writeLetter(t, paid("buried", 0))
	buried := b.letters(t)[0]
	b.send(t, []byte(`{"id": 1}`))
	w.retry(at, buried.ID)
	w.discardAll(at, "a test")
	if left := b.letters(t); len(left) != 0 {
		t.Errorf("%d letters are left", len(left))
	}
	b.writeChanged(t, "4711")
	w.publish(at, w.plan(at, "7d", ""))
	w.check()
}

// waitForLive sends a webhook of a payment, and waits until the live page shows all that
// have the prefix, each once.
func (b *bridge) waitForLive(t *testing.T, w *window, prefix string, n int) {
	t.Helper()
	b.send(t, paid(fmt.Sprintf("%s%d", prefix, n), 0))
	var keys []string
	defer func() {
		if t.Failed() {
			t.Logf("the live page shows the payments %q; the server's log ends with\n%s", keys, lastLines(b.log.String()))
		}
	}()
	until(t, "the live page to show the payment", func() bool {
		keys = value[[]string](w, `document.readyState !== "complete" ? [] : [...document.querySelectorAll("#live tbody tr:not(.aside) td:nth-child(4)")].map(c => c.textContent)`)
		return slices.Contains(keys, fmt.Sprintf("%s%d", prefix, n))
	})
	for i := 1; i <= n; i++ {
		key := fmt.Sprintf("%s%d", prefix, i)
		if count := len(slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k != key })); count != 1 {
			t.Errorf("the live page shows %s %d times, want once: %q", key, count, keys)
		}
	}
}

// window is a tab of a headless browser.
type window struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string // errors that the browser reported

	paused chan fetch.RequestID // requests that wait for an answer: see reload
}

func openWindow(t *testing.T, path string) *window {
	t.Helper()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1280, 900))
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	w := &window{t: t, ctx: ctx, paused: make(chan fetch.RequestID, 1)}
	if err := chromedp.Listen(ctx, w.hear); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	return w
}

// hear keeps what the browser complains about.
func (w *window) hear(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Source == log.EntrySourceSecurity {
			w.complaints = append(w.complaints, e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		w.complaints = append(w.complaints, e.ExceptionDetails.Text)
	case *fetch.EventRequestPaused:
		w.paused <- e.RequestID
	case *page.EventJavascriptDialogOpening:
		w.complaints = append(w.complaints, "a script of a sender ran: "+e.Message)
	}
}

// check reports the complaints.
func (w *window) check() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.complaints {
		w.t.Error("the browser complains: " + c)
	}
}

// forget removes the complaints that contain a text: those that the test provokes.
func (w *window) forget(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.complaints = slices.DeleteFunc(w.complaints, func(c string) bool { return strings.Contains(c, text) })
}

// do runs actions within 20 s.
func (w *window) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
}

// reload loads the page again. The browser gets an answer from the test in place of the
// server's, if the address is of the pattern.
func (w *window) reload(pattern, html string) {
	w.t.Helper()
	if _, err := chromedp.Call(w.ctx, fetch.Enable, fetch.EnableParams{Patterns: []*fetch.RequestPattern{{URLPattern: pattern}}}); err != nil {
		w.t.Fatal(err)
	}
	w.do("a reload", chromedp.Evaluate[chromedp.Void](`location.reload()`))
	answer := fetch.FulfillRequestParams{ResponseCode: http.StatusOK, ResponseHeaders: []*fetch.HeaderEntry{{Name: "Content-Type", Value: "text/html; charset=utf-8"}}, Body: []byte(html)}
	select {
	case answer.RequestID = <-w.paused:
	case <-time.After(30 * time.Second):
		w.t.Fatalf("no request for %s", pattern)
	}
	if _, err := chromedp.Call(w.ctx, fetch.FulfillRequest, answer); err != nil {
		w.t.Fatal(err)
	}
	if _, err := chromedp.Call(w.ctx, fetch.Disable, cdp.Empty{}); err != nil {
		w.t.Fatal(err)
	}
}

// value returns the value of a JavaScript expression.
func value[T any](w *window, expression string) T {
	w.t.Helper()
	v, err := chromedp.Run(w.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		w.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// axe checks the accessibility of a page: see testdata/axe-core.
var axe = sync.OnceValues(func() (string, error) {
	b, err := os.ReadFile("testdata/axe-core/axe.min.js")
	return string(b), err
})

// accessible reports what axe-core finds serious or critical in the page.
func (w *window) accessible(what string) {
	w.t.Helper()
	script, err := axe()
	if err != nil {
		w.t.Fatal(err)
	}
	found := value[[]string](w, script+`;
		axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.filter(v => v.impact === "serious" || v.impact === "critical")
			.map(v => v.id + ": " + v.help + ": " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + " " + n.failureSummary).join(" | ")))`)
	for _, f := range found {
		w.t.Errorf("%s: axe-core: %s", what, f)
	}
}

// pictures takes a light picture for a desktop and a dark one for a phone; and all others
// if somebody is to look at them.
func (w *window) pictures(name, address string) {
	w.t.Helper()
	w.picture(name, address, "light", 1280)
	w.picture(name, address, "dark", 360)
	if os.Getenv("CONSOLE_SCREENSHOTS") != "" {
		w.picture(name, address, "light", 360)
		w.picture(name, address, "dark", 1280)
		w.picture(name, address, "light", 3840)
	}
}

// picture opens a page in a window of a width, and looks at it. It writes a picture of it to
// the folder CONSOLE_SCREENSHOTS, if that is set.
func (w *window) picture(name, address, scheme string, width int64) {
	w.t.Helper()
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	if _, err := chromedp.Call(w.ctx, emulation.SetEmulatedMedia, media); err != nil {
		w.t.Fatal(err)
	}
	w.do(name, chromedp.EmulateViewport(width, 900), chromedp.Navigate(address), chromedp.WaitVisible(chromedp.CSS("main h1")))
	w.look(name, scheme, width)
}

// look checks that the page in the window fits, and writes its picture as [window.picture]
// says.
func (w *window) look(name, scheme string, width int64) {
	w.t.Helper()
	if value[bool](w, `document.documentElement.scrollWidth > document.documentElement.clientWidth`) {
		w.t.Errorf("%s is wider than a window of %d pixels", name, width)
	}
	if width < 2000 {
		w.accessible(fmt.Sprintf("%s, %s, %d pixels", name, scheme, width))
	}
	folder := os.Getenv("CONSOLE_SCREENSHOTS")
	if folder == "" {
		return
	}
	b, err := chromedp.Run(w.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, fmt.Sprintf("%s-%s-%d.png", name, scheme, width)), b, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}
