package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tollbridge/tollbridge/internal/dead"
	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/internal/groups"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
)

// bridge is a server with one Stripe endpoint, and a fake Kafka.
type bridge struct {
	config, url, secret string
	admin               string // the admin address
	kafka               kafka.Config
	names               kafka.Names
	log                 *screen // of serve
}

// startBridge starts a bridge. More are further lines of its configuration.
func startBridge(t *testing.T, more ...string) *bridge {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b := newBridge(t, cluster.ListenAddrs(), "shop.", more...)
	b.start(t)
	return b
}

// newBridge writes the configuration of a server, and creates the topics.
func newBridge(t *testing.T, brokers []string, prefix string, more ...string) *bridge {
	t.Helper()
	_, secret, _ := sign.Dev("stripe")
	listen, admin := freePort(t), freePort(t)
	b := &bridge{
		config: filepath.Join(t.TempDir(), "tollbridge.yaml"), url: "http://" + listen + "/webhooks/stripe", secret: secret, admin: admin,
		kafka: kafka.Config{Brokers: brokers}, names: kafka.Names{Prefix: prefix}, log: new(screen),
	}
	file := fmt.Sprintf(`{listen: %s, admin: %s, state: "", %s kafka: {brokers: [%s], prefix: %s, partitions: 3, replication: 1},
endpoints: [{connector: stripe, live: false, secrets: {main: {value: %s}}}]}`, listen, admin, strings.Join(more, " "), b.kafka.Brokers[0], prefix, secret)
	if err := os.WriteFile(b.config, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	b.run(t, 0, "topics", "apply")
	return b
}

// start starts the server, and waits until it is ready.
func (b *bridge) start(t *testing.T) {
	t.Helper()
	b.launch(t)
	until(t, "serve to be ready", func() bool {
		a, err := http.Get("http://" + b.admin + "/readyz")
		if err != nil {
			return false
		}
		a.Body.Close()
		return a.StatusCode == http.StatusOK
	})
}

// launch starts the server.
func (b *bridge) launch(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--config", b.config}, strings.NewReader(""), b.log, b.log)
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != 0 {
			t.Errorf("serve: exit %d, %s", code, b.log.String())
		}
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// run runs a command with the server's configuration, and returns its standard
// output.
func (b *bridge) run(t *testing.T, code int, args ...string) string {
	t.Helper()
	got := tollbridge(t, "", append(args, "--config", b.config)...)
	if got.code != code {
		t.Fatalf("%s: exit %d, want %d: %s%s", strings.Join(args, " "), got.code, code, got.out, got.err)
	}
	return got.out
}

// awaitReference waits until a reference with an id is written, which is after the response.
func (b *bridge) awaitReference(t *testing.T, id string) {
	t.Helper()
	until(t, "the reference to be written", func() bool { return tollbridge(t, "", "references", "get", id, "--config", b.config).code == 0 })
}

// send sends a payload and returns the id of its first record's receipt.
func (b *bridge) send(t *testing.T, payload []byte) string {
	t.Helper()
	v, err := sign.Request("stripe", payload, b.secret, nil, b.url, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), v.Method, b.url, bytes.NewReader(v.Body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = v.Header
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if a.StatusCode != http.StatusOK {
		t.Fatalf("the webhook was answered %s", a.Status)
	}
	return strings.Split(a.Header.Get("Tollbridge-Receipt"), `"`)[1]
}

// paid returns a Stripe payload of a payment, of about size bytes.
func paid(order string, size int) []byte {
	b := fmt.Appendf(nil, `{"id":"evt_%s","object":"event","created":1767225600,"livemode":false,"type":"payment_intent.succeeded",`+
		`"data":{"object":{"id":"pi_%[1]s","amount_received":100,"currency":"eur","metadata":{"order_id":"%[1]s"},"description":"`, order)
	const end = `"}}}`
	return append(append(b, strings.Repeat("x", max(0, size-len(b)-len(end)))...), end...)
}

// disputed returns the payload of a dispute that has only the processor's id of the
// payment.
func disputed(order string) []byte {
	return fmt.Appendf(nil, `{"id":"evt_d_%s","object":"event","created":1767225700,"livemode":false,"type":"charge.dispute.created",`+
		`"data":{"object":{"id":"du_%[1]s","object":"dispute","amount":100,"currency":"eur","charge":"ch_%[1]s","payment_intent":"pi_%[1]s","reason":"fraudulent","status":"needs_response"}}}`, order)
}

// timelineItems returns the items of a timeline: the topic and the outcome of each.
func timelineItems(t *testing.T, out string) (all []string) {
	t.Helper()
	var v struct{ Items []lookup.Item }
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, i := range v.Items {
		says := strings.TrimPrefix(i.Topic, "shop.")
		if i.Webhook != nil {
			says += " " + string(i.Webhook.Outcome)
		} else if i.Event.Data.Corrects != "" {
			says += " corrects"
		}
		all = append(all, says)
	}
	return all
}

// TestTimeline: a payment is found by each of its ids, with and without a server, with
// all of its records and none of another payment.
func TestTimeline(t *testing.T) {
	b := startBridge(t)
	b.send(t, paid("other", 0))
	dispute := b.send(t, disputed("7")) // no reference of the payment is known yet
	capture := b.send(t, paid("7", 0))
	b.send(t, paid("7", 0))
	until(t, "the correction", func() bool {
		return strings.Count(b.run(t, 0, "tail", "--exit", "--from", "1h", "--json", "--key", "7"), "\n") == 2
	})
	b.send(t, disputed("7")) // archived with the merchant's id or the fallback key, whichever is known
	events := []string{"dispute.opened", "payment.captured", "webhooks.received events", "webhooks.received events"}
	for _, id := range []string{"7", "pi_7", "stripe::pi_7", "du_7", dispute, capture} {
		for _, args := range [][]string{{"--scan"}, {"--scan", "--from", "1h"}, {}} {
			got := timelineItems(t, b.run(t, 0, append([]string{"timeline", id, "--json"}, args...)...))
			for _, want := range []string{"dispute.opened corrects", "webhooks.received duplicate"} {
				if !slices.Contains(got, want) {
					t.Errorf("timeline %s %s: %q, want %q", id, args, got, want)
				}
			}
			first := slices.DeleteFunc(got, func(s string) bool { return strings.HasSuffix(s, "corrects") || strings.HasSuffix(s, "duplicate") })
			if slices.Sort(first); !slices.Equal(first, events) { // all may have the same millisecond
				t.Errorf("timeline %s %s: %q, want %q", id, args, first, events)
			}
		}
	}
	out := b.run(t, 0, "timeline", "7")
	for _, want := range []string{"dispute.opened\t1.00 EUR\t7\tstripe/default\t", "corrects " + dispute, "id " + capture, "\tshop.payment.captured["} {
		if !strings.Contains(out, want) {
			t.Errorf("timeline 7 does not print %q: %s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("colours in a pipe: %q", out)
	}
	if got := tollbridge(t, "", "timeline", "nobody", "--config", b.config); got.code != 1 || !strings.Contains(got.err, `nothing is known of "nobody"`) {
		t.Errorf("exit %d, %s", got.code, got.err)
	}
	got := tollbridge(t, "", "timeline", "7", "--config", b.config, "--admin", "127.0.0.1:1")
	if got.code != 0 || !strings.Contains(got.err, "reading the topics, since no server said where the events are") || !strings.Contains(got.out, capture) {
		t.Errorf("without a server: exit %d, %s%s", got.code, got.out, got.err)
	}
	out = b.run(t, 0, "show", dispute)
	for _, want := range []string{`"id": "` + dispute, "\ncorrected by  ", "\nsecret        main\n", "\nheader        Stripe-Signature: t=", string(disputed("7"))} {
		if !strings.Contains(out, want) {
			t.Errorf("show does not print %q: %s", want, out)
		}
	}
	correction := regexp.MustCompile(`corrected by  (\S+),`).FindStringSubmatch(out)[1]
	if out := b.run(t, 0, "show", correction, "--raw"); out != string(disputed("7")) {
		t.Errorf("the webhook of a correction is %s", out)
	}
}

// TestRaw: the largest body is printed byte for byte.
func TestRaw(t *testing.T) {
	b := startBridge(t)
	large := paid("large", 1<<20)
	if len(large) != 1<<20 {
		t.Fatalf("the payload has %d bytes", len(large))
	}
	id := b.send(t, large)
	for _, args := range [][]string{{}, {"--scan"}} {
		if out := b.run(t, 0, append([]string{"show", id, "--raw"}, args...)...); out != string(large) {
			t.Errorf("show --raw %s: %d bytes, not the body that was sent", args, len(out))
		}
	}
	var shown struct{ Webhooks []struct{ Body []byte } }
	if err := json.Unmarshal([]byte(b.run(t, 0, "show", id, "--json")), &shown); err != nil || len(shown.Webhooks) != 1 || !bytes.Equal(shown.Webhooks[0].Body, large) {
		t.Errorf("show --json: %v, %d webhooks", err, len(shown.Webhooks))
	}
	binary := make([]byte, 1<<20)
	_, _ = rand.Read(binary)
	bodies := [][]byte{binary, []byte("\xff\xfe{\"id\":\"\x00\x1b[31m"), []byte("{\r\n}\n\n")}
	for _, body := range bodies {
		b.send(t, body)
	}
	for _, l := range b.letters(t) {
		out := b.run(t, 0, "dead", "show", l.ID, "--raw")
		at := slices.IndexFunc(bodies, func(body []byte) bool { return string(body) == out })
		if at < 0 {
			t.Fatalf("dead show %s --raw: %d bytes, not a body that was sent", l.ID, len(out))
		}
		bodies = slices.Delete(bodies, at, at+1)
		if out := b.run(t, 0, "dead", "show", l.ID); strings.Contains(out, "\x1b") || !strings.Contains(out, l.SHA256) {
			t.Errorf("dead show %s: %.300q", l.ID, out)
		}
	}
	if len(bodies) > 0 {
		t.Errorf("%d bodies were not printed", len(bodies))
	}
}

// letters returns the dead letters that are not handled.
func (b *bridge) letters(t *testing.T, args ...string) (all []dead.Letter) {
	t.Helper()
	return jsonLines[dead.Letter](t, b.run(t, 0, append([]string{"dead", "list", "--json"}, args...)...))
}

// TestTail: the selected events are printed as they are in Kafka, and an interrupt is
// no failure.
func TestTail(t *testing.T) {
	b := startBridge(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var out, errOut screen
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"tail", "--json", "--type", "payment.captured", "--config", b.config}, strings.NewReader(""), &out, &errOut)
	}()
	var first []string
	until(t, "tail to print", func() bool { // tail prints only what is published after it started
		first = append(first, b.send(t, paid(fmt.Sprint("early-", len(first)), 0)))
		return out.String() != ""
	})
	last := b.send(t, paid("last", 0))
	b.send(t, disputed("last"))
	until(t, "the last one", func() bool { return strings.Contains(out.String(), last) })
	interrupt()
	if code := <-ended; code != 0 || errOut.String() != "" {
		t.Errorf("tail that is interrupted: exit %d, %s", code, errOut.String())
	}
	for line := range strings.Lines(out.String()) {
		var e schemas.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Type != schemas.PaymentCaptured {
			t.Errorf("%v: %s", err, line)
		}
	}
	count := func(args ...string) int {
		return strings.Count(b.run(t, 0, append([]string{"tail", "--exit"}, args...)...), "\n")
	}
	all := len(first) + 2
	for args, want := range map[string]int{
		"": 0, "--from 1h": all, "--from 1h --connector stripe --endpoint default": all, "--from 1h --connector adyen": 0,
		"--from 1h --endpoint other": 0, "--from 1h --key last": 2, "--from 1h --type dispute.opened": 1, "--from 1h --received": all,
		"--from 2100-01-01T00:00:00Z": 0, "--from 1d --json": all, "--from 1h --received --json --key nobody": 0,
	} {
		if got := count(strings.Fields(args)...); got != want {
			t.Errorf("tail %s: %d lines, want %d", args, got, want)
		}
	}
}

// TestDead: a letter that today's code can read is retried once, and published as the
// server would have published it. A letter that cannot be read stays, or is discarded.
func TestDead(t *testing.T) {
	b := startBridge(t)
	b.send(t, []byte(`{"id": 1}`))
	capture := b.send(t, paid("known", 0)) // published already, and then written as a letter
	b.writeLetter(t, paid("known", 0))
	b.writeLetter(t, paid("buried", 0))
	all := b.letters(t)
	if len(all) != 3 || all[0].Webhook.Reason == "" || all[0].Bytes != 9 {
		t.Fatalf("letters: %+v", all)
	}
	if got := b.letters(t, "--reason", "buried by a test", "--connector", "stripe", "--endpoint", "default", "--from", "1h"); len(got) != 2 {
		t.Errorf("a filter selects %d letters, want 2", len(got))
	}
	if got := b.letters(t, "--to", "1h"); len(got) != 0 {
		t.Errorf("%d letters are older than an hour, want none", len(got))
	}
	events := func() int { return strings.Count(b.run(t, 0, "tail", "--exit", "--from", "1h"), "\n") }
	before := events()
	out := b.run(t, 1, "dead", "retry")
	for _, want := range []string{`stays`, `1 events, 1 of them new`, `1 events, 0 of them new`, `3 letters`} {
		if !strings.Contains(out, want) {
			t.Errorf("dead retry does not print %q: %s", want, out)
		}
	}
	if len(b.letters(t)) != 3 || events() != before {
		t.Error("the plan wrote something")
	}
	b.run(t, 1, "dead", "retry", "--publish", "--note", "mended")
	if left := b.letters(t); len(left) != 1 || left[0].ID != all[0].ID {
		t.Errorf("after the retry these letters are left: %+v", left)
	}
	again := b.run(t, 0, "dead", "retry", all[1].ID, all[2].SHA256[:8], "--publish")
	if events() != before+1 || !strings.Contains(again, "0 of them new") {
		t.Errorf("%d events, want %d: %s", events(), before+1, again)
	}
	var id string
	for line := range strings.Lines(b.run(t, 0, "tail", "--exit", "--from", "1h", "--json", "--key", "buried")) {
		var e schemas.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		id = e.ID
	}
	if id != b.send(t, paid("buried", 0)) { // a redelivery after the retry
		t.Errorf("the retried event has the id %s, the redelivery another one", id)
	}
	if out := b.run(t, 0, "show", id, "--raw"); out != string(paid("buried", 0)) {
		t.Errorf("show --raw of a retried event: %q", out)
	}
	if out := b.run(t, 0, "show", id); !strings.Contains(out, "\ndead letter   ") || !strings.Contains(out, "retried by") {
		t.Errorf("show does not print that the event came from a dead letter: %s", out)
	}
	if out := b.run(t, 0, "show", capture); !strings.Contains(out, "\nsecret        main\n") {
		t.Errorf("show: %s", out)
	}
	b.run(t, 2, "dead", "discard", all[0].ID)
	b.run(t, 2, "dead", "discard", "--note", "x")
	b.run(t, 0, "dead", "discard", all[0].ID, "--note", "a test")
	if len(b.letters(t)) != 1 {
		t.Error("the plan wrote something")
	}
	b.run(t, 0, "dead", "discard", "--connector", "stripe", "--note", "a test", "--apply")
	if out := b.run(t, 0, "dead", "list"); out != "0  not handled\n" {
		t.Errorf("dead list: %q", out)
	}
	for _, l := range b.letters(t, "--all") {
		if l.Handled == nil || l.Handled.By == "" || l.Handled.Reason == "" && l.Handled.Outcome == dead.Discarded {
			t.Errorf("%s is not marked with a user, or not with a reason: %+v", l.ID, l.Handled)
		}
	}
	b.run(t, 1, "dead", "show", "0-99999")
}

// writeLetter writes a webhook to webhooks.dead that today's code can read, as if earlier code
// could not.
func (b *bridge) writeLetter(t *testing.T, payload []byte) {
	t.Helper()
	now := time.Now()
	v, err := sign.Request("stripe", payload, b.secret, nil, b.url, now)
	if err != nil {
		t.Fatal(err)
	}
	p := publish.NewProducer(publish.Config{Kafka: b.kafka})
	defer p.Close()
	r := kafka.Record{Topic: b.names.Dead(), Key: []byte("stripe"), Value: v.Body}
	for _, h := range [][2]string{
		{"connector", "stripe"}, {"endpoint", "default"}, {"method", v.Method}, {"path", "/webhooks/stripe"}, {"secret", "main"},
		{"received-at", now.UTC().Format(time.RFC3339Nano)}, {"outcome", "malformed"}, {"reason", "item 0: malformed: buried by a test"},
		{"event-ids", "webhook"}, {"http-stripe-signature", v.Header.Get("Stripe-Signature")},
	} {
		r.Headers = append(r.Headers, schemas.Header{Name: h[0], Value: h[1]})
	}
	if _, err := p.Publish(t.Context(), []kafka.Record{r}); err != nil {
		t.Fatal(err)
	}
}

// TestRewind moves a group back, but not while it has a member.
func TestRewind(t *testing.T) {
	b := startBridge(t)
	const n = 10
	for i := range n {
		b.send(t, paid(fmt.Sprint("order-", i), 0))
	}
	reader := kafkago.NewReader(kafkago.ReaderConfig{Brokers: b.kafka.Brokers, GroupID: "fulfilment", GroupTopics: []string{"shop.payment.captured"}, MaxWait: 50 * time.Millisecond, StartOffset: kafkago.FirstOffset})
	defer reader.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range n {
		if _, err := reader.ReadMessage(ctx); err != nil { // also commits the offset
			t.Fatal(err)
		}
	}
	args := []string{"rewind", "fulfilment", "--to", "earliest"}
	got := tollbridge(t, "", append(args, "--apply", "--config", b.config)...)
	if got.code != 1 || !strings.Contains(got.err, "1 members; stop them first: ") {
		t.Errorf("with a member: exit %d, %s%s", got.code, got.out, got.err)
	}
	if err := reader.Close(); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	sum := func(args ...string) (again int64) {
		for _, m := range jsonLines[groups.Move](t, b.run(t, 0, append(args, "--json")...)) {
			again += m.Again
		}
		return again
	}
	for range 2 { // a plan changes nothing
		if again := sum(args...); again != n {
			t.Errorf("to the earliest: %d read again, want %d", again, n)
		}
	}
	if again := sum("rewind", "fulfilment", "--to", "0s"); again != 0 {
		t.Errorf("to now: %d read again, want 0", again)
	}
	if out := b.run(t, 0, append(args, "--apply")...); !strings.Contains(out, "is moved: 10 read again, 0 never read") {
		t.Errorf("%s", out)
	}
	if again := sum(args...); again != 0 {
		t.Errorf("after the move: %d read again, want 0", again)
	}
	if out := b.run(t, 0, "rewind", "fulfilment", "--to", "latest"); !strings.Contains(out, "NEVER READ") || !strings.Contains(out, "0 read again, 10 never read") {
		t.Errorf("%s", out)
	}
	b.run(t, 0, "rewind", "other", "--to", "1h", "--topics", "payment.captured,shop.refund.failed:1", "--apply")
	b.run(t, 0, "rewind", "other", "--to", "0", "--topics", "payment.captured[2]")
	b.run(t, 1, "rewind", "nobody", "--to", "earliest")
	for _, wrong := range []string{"--to 99 --topics payment.captured:2", "--to 5", "--to never", "--to earliest --topics nosuch", "--to earliest --topics payment.captured:9", ""} {
		b.run(t, 2, append([]string{"rewind", "fulfilment"}, strings.Fields(wrong)...)...)
	}
}

// TestLine: columns and colours at a terminal, tabs in a pipe, and no control
// characters in either.
func TestLine(t *testing.T) {
	fields := []string{"t", "payment.captured", "1.00 EUR", oneLine("a\x1b[2J\u202e"), "stripe/default", "says", "topic-1-2"}
	if got := (style{}).line(green, fields...); strings.Count(got, "\t") != 6 || strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
	if got := (style{120, true}).line(green, fields...); !strings.Contains(got, "\x1b[32mpayment.captured\x1b[0m ") || strings.Contains(got, "\x1b[2J") {
		t.Errorf("%q", got)
	}
	if got := (style{width: 120}).line(green, fields...); strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
	for want, a := range map[string]schemas.Amount{
		"10.99 EUR": {Value: 1099, Currency: "EUR"}, "-0.05 EUR": {Value: -5, Currency: "EUR"}, "5 JPY": {Value: 5, Currency: "JPY"},
		"0.005 KWD": {Value: 5, Currency: "KWD"}, "1099 XXX": {Value: 1099, Currency: "XXX"},
	} {
		if got := display.Amount(&a); got != want {
			t.Errorf("%v is %q, want %q", a, got, want)
		}
	}
}

// TestTopicsOfEndpoints: `topics apply` creates the topics of the event types that the
// endpoints can report. `serve` with one more endpoint does not start, and names the
// missing topics and the command.
func TestTopicsOfEndpoints(t *testing.T) {
	cluster, broker, err := fakeKafka("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	config := func(endpoints string) string {
		return configFile(t, fmt.Sprintf(`{listen: "127.0.0.1:0", admin: "127.0.0.1:0", state: "", kafka: {brokers: [%s], replication: 1}, endpoints: [%s]}`, broker, endpoints))
	}
	const billplz, shopify = `{connector: billplz, secrets: {main: {value: S-aaaaaaaaaaaa}}}`, `{connector: shopify, secrets: {main: {value: hush7hush8hush9}}}`
	created := func(args ...string) []string {
		t.Helper()
		got := tollbridge(t, "", append([]string{"topics", "apply", "--json"}, args...)...)
		if got.code != 0 {
			t.Fatalf("topics apply: %s%s", got.out, got.err)
		}
		var topics []string
		for _, s := range jsonLines[kafka.TopicStatus](t, got.out) {
			if !s.Exists && s.Partitions == 6 {
				topics = append(topics, s.Topic)
			}
		}
		return topics
	}
	one := config(billplz)
	if got := created("--config", one); !slices.Contains(got, "payment.captured") || slices.Contains(got, "dispute.opened") || !slices.Contains(got, "webhooks.received") {
		t.Errorf("topics apply for billplz created %v", got)
	}
	two := config(billplz + ", " + shopify)
	got := tollbridge(t, "", "serve", "--config", two)
	if got.code == 0 || !strings.Contains(got.err, "dispute.opened") || strings.Contains(got.err, "payment.captured,") || !strings.Contains(got.err, "'tollbridge topics apply'") {
		t.Errorf("serve with shopify, too: exit %d, %s", got.code, got.err)
	}
	if got := created("--config", two); !slices.Contains(got, "dispute.opened") || slices.Contains(got, "payment.captured") {
		t.Errorf("topics apply for shopify, too, created %v", got)
	}
	if got := tollbridge(t, "", "tail", "--type", "payout.created", "--exit", "--config", two); got.code != 2 || !strings.Contains(got.err, "the topic payout.created does not exist") {
		t.Errorf("tail of a type without a topic: exit %d, %s", got.code, got.err)
	}
	if got := created("--all-types", "--config", two); !slices.Contains(got, "payout.created") {
		t.Errorf("topics apply --all-types created %v", got)
	}
}
