package ingest_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// publisher makes a function a history.Publisher.
type publisher func(context.Context, []kafka.Record) ([]kafka.Receipt, error)

func (p publisher) Publish(ctx context.Context, r []kafka.Record) ([]kafka.Receipt, error) {
	return p(ctx, r)
}

// bridge is a server with what it published and logged.
type bridge struct {
	*ingest.Server
	admin http.Handler
	logs  syncBuffer

	mu      sync.Mutex
	records []kafka.Record
}

// syncBuffer is a bytes.Buffer that a server may write to while a test reads it.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// noon is the time at which these tests' requests arrive.
var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

const publicURL = "https://pay.example.com"

// newBridge returns a server with an endpoint for every connector, and a fake Kafka
// that accepts everything.
func newBridge(t testing.TB, change ...func(*ingest.Config)) *bridge {
	t.Helper()
	b := &bridge{}
	registry := prometheus.NewRegistry()
	c := ingest.Config{
		Publisher: publisher(b.publish),
		Log:       zerolog.New(&b.logs),
		Metrics:   registry,
		Now:       func() time.Time { return noon },
	}
	for _, name := range verify.Connectors() {
		keys, _, _ := sign.Dev(name)
		c.Endpoints = append(c.Endpoints, webhook.Endpoint{Connector: name, PublicURL: publicURL, Keys: keys})
	}
	for _, f := range change {
		f(&c)
	}
	var err error
	if b.Server, err = ingest.New(c); err != nil {
		t.Fatal(err)
	}
	b.admin = b.Admin(registry)
	return b
}

// only leaves just the endpoint of one connector: a server with all of them has
// thousands of metric series, which take some time to create.
func only(connector string) func(*ingest.Config) {
	return func(c *ingest.Config) {
		c.Endpoints = slices.DeleteFunc(c.Endpoints, func(e webhook.Endpoint) bool { return e.Connector != connector })
	}
}

func (b *bridge) publish(_ context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var at []kafka.Receipt
	for _, r := range records {
		at = append(at, kafka.Receipt{Topic: r.Topic, Partition: 3, Offset: int64(len(b.records))})
		b.records = append(b.records, r)
	}
	return at, nil
}

// published returns the records that the server published.
func (b *bridge) published() []kafka.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.records
}

// do sends a request to the webhooks' listener.
func (b *bridge) do(r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w.Result()
}

// ask sends a request to the admin listener.
func (b *bridge) ask(r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	r.Host = "localhost:9090"
	b.admin.ServeHTTP(w, r)
	return w.Result()
}

// metric returns the value of a line of /metrics, or 0 if the line is missing.
func (b *bridge) metric(line string) string {
	a := b.ask(httptest.NewRequest(http.MethodGet, "/metrics", nil))
	all, _ := io.ReadAll(a.Body)
	for l := range strings.Lines(string(all)) {
		if value, ok := strings.CutPrefix(l, line+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return "0"
}

func bodyOf(t testing.TB, r *http.Response) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r.Body); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// signedAt returns the Stripe-Signature of a body that is sent at a time.
func signedAt(t testing.TB, body []byte, at time.Time) string {
	t.Helper()
	_, secret, _ := sign.Dev("stripe")
	v, err := sign.Request("stripe", body, secret, nil, "", at)
	if err != nil {
		t.Fatal(err)
	}
	return v.Header.Get("Stripe-Signature")
}

// signed returns a connector's signed request to the default endpoint, sent at noon.
// Its Host is foreign, and must not matter.
func signed(t testing.TB, connector string, payload []byte) *http.Request {
	t.Helper()
	keys, private, _ := sign.Dev(connector)
	path := "/webhooks/" + connector + "/default"
	v, err := sign.Request(connector, payload, private, keys.Settings, publicURL+path, noon)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(v.Method, strings.TrimPrefix(v.URL, publicURL), bytes.NewReader(v.Body))
	r.Header = v.Header
	r.Host = "evil.example"
	r.Header.Set("X-Forwarded-Host", "evil.example")
	return r
}

func sample(t testing.TB, connector, name string) []byte {
	t.Helper()
	b, err := samples.Payload(connector, name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func captured(t testing.TB) []byte { return sample(t, "stripe", "payment_intent.succeeded") }

// TestSamples sends every sample of every connector. Kafka must have the events that
// normalize returns, and the answer must be the one that the processor expects.
func TestSamples(t *testing.T) {
	answers := map[string]string{ // the unusual answers
		"adyen":        `200 \[accepted\]`,
		"fiuu-molpay":  `200 CBTOKEN:MPSTATOK`,
		"gocardless":   `204 `,
		"ipay88":       `200 RECEIVEOK`,
		"multisafepay": `200 OK`,
		"opayo-server": `200 Status=OK\r\nRedirectURL=https://shop\.example\.com/paid\?order=[-\w]*\r\n`,
		"robokassa":    `200 OK\d*`,
		"trustly":      `200 {"result":{"signature":"[^"]+","uuid":"[^"]+","method":"\w*","data":{"status":"OK"}},"version":"1.1"}`,
		"xsolla":       `204 `,
	}
	for _, connector := range verify.Connectors() {
		for _, name := range samples.Names(connector) {
			payload := sample(t, connector, name)
			if sign.Malformed(connector, payload) {
				continue
			}
			t.Run(connector+"/"+name, func(t *testing.T) {
				b := newBridge(t, only(connector))
				r := signed(t, connector, payload)
				want := meaning(t, connector, r)
				a := b.do(r)
				pattern := cmp.Or(answers[connector], "200 ")
				if got := fmt.Sprint(a.StatusCode, " ", bodyOf(t, a)); !regexp.MustCompile("^" + pattern + "$").MatchString(got) {
					t.Fatalf("answered %q, want %s\n%s", got, pattern, b.logs.String())
				}
				compareEvents(t, b.published(), want.Events)
				compareReceipt(t, a.Header.Get(ingest.ReceiptHeader), b.published())
			})
		}
	}
}

// TestQuery: the fields of a webhook sent as a GET are in its query. No other webhook's
// query is used.
func TestQuery(t *testing.T) {
	const path = "/webhooks/epay-bambora/default"
	r := signed(t, "epay-bambora", sample(t, "epay-bambora", "authorized"))
	want := meaning(t, "epay-bambora", r)
	query, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	target := path + "?" + string(query)
	b := newBridge(t)
	if a := b.do(httptest.NewRequest(http.MethodGet, target, nil)); a.StatusCode != http.StatusOK {
		t.Fatalf("answer %d\n%s", a.StatusCode, b.logs.String())
	}
	compareEvents(t, b.published(), want.Events)
	for name, r := range map[string]*http.Request{
		"the body of a GET":   httptest.NewRequest(http.MethodGet, path, bytes.NewReader(query)),
		"the query of a POST": httptest.NewRequest(http.MethodPost, target, nil),
		"no query":            httptest.NewRequest(http.MethodGet, path, nil),
	} {
		if a := newBridge(t).do(r); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: answer %d, want 401", name, a.StatusCode)
		}
	}
}

// meaning returns what normalize makes of a signed request. The request can still be
// sent afterwards.
func meaning(t *testing.T, connector string, r *http.Request) normalize.Result {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	keys, _, _ := sign.Dev(connector)
	v, err := verify.Verify(connector, verify.Request{Method: r.Method, URL: publicURL + r.URL.RequestURI(), Header: r.Header, Body: body}, keys, noon)
	if err != nil {
		t.Fatal(err)
	}
	want, err := normalize.Normalize(connector, v.Payload, normalize.Options{Settings: keys.Settings, ReceivedAt: noon})
	if err != nil {
		t.Fatal(err)
	}
	return want
}

// compareEvents checks that there is one record for each event, in order, and the
// archived webhook after them.
func compareEvents(t *testing.T, records []kafka.Record, events []schemas.Event) {
	t.Helper()
	if len(records) != len(events)+1 || !strings.HasPrefix(records[len(events)].Topic, "webhooks.") {
		t.Fatalf("%d records for %d events, want one for each event and the archived webhook last", len(records), len(events))
	}
	for i, e := range events {
		r := records[i]
		value, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if r.Topic != string(e.Type) || string(r.Key) != e.Subject || !bytes.Equal(r.Value, value) {
			t.Errorf("record %d: topic %s, key %s\n%s\nwant\n%s", i, r.Topic, r.Key, r.Value, value)
		}
		headers := headersOf(r)
		want := map[string]string{
			"content-type": "application/cloudevents+json", "event-id": e.ID, "event-type": string(e.Type),
			"event-time": e.Time.Format(time.RFC3339Nano), "key-source": string(e.Data.KeySource),
			"connector": e.Data.Connector, "traceparent": headers["traceparent"],
			"fields": e.Fields().String(),
		}
		if len(e.Also) > 0 {
			want["also"] = strings.Join(e.Also, ",")
		}
		if !reflect.DeepEqual(headers, want) || !traceparent.MatchString(headers["traceparent"]) {
			t.Errorf("record %d: headers %v, want %v", i, headers, want)
		}
	}
}

var traceparent = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

func headersOf(r kafka.Record) map[string]string {
	all := map[string]string{}
	for _, h := range r.Headers {
		all[h.Name] = string(h.Value)
	}
	return all
}

// member matches one member of a receipt: a string with parameters, as in RFC 9651.
var member = regexp.MustCompile(`^"([ !#-\[\]-~]*)";topic="([ !#-\[\]-~]*)";partition=(\d{1,15});offset=(\d{1,15})$`)

// compareReceipt checks that there is one member for each record, in order.
func compareReceipt(t *testing.T, header string, records []kafka.Record) {
	t.Helper()
	members := strings.Split(header, ", ")
	if len(members) != len(records) {
		t.Fatalf("receipt %q, want one member for each of %d records", header, len(records))
	}
	for i, r := range records {
		id := headersOf(r)["event-id"]
		if id == "" {
			id = "webhook"
		}
		want := []string{members[i], id, r.Topic, "3", strconv.Itoa(i)}
		if got := member.FindStringSubmatch(members[i]); !reflect.DeepEqual(got, want) {
			t.Errorf("receipt %q means %q, want %q", members[i], got, want)
		}
	}
}

// TestKept sends verified webhooks that give no event. They are acknowledged, and Kafka
// has them unchanged.
func TestKept(t *testing.T) {
	live := func(c *ingest.Config) { c.Endpoints[stripeAt(c)].Live = true }
	for _, tt := range []struct {
		name, body, topic, outcome, reason string
		change                             func(*ingest.Config)
	}{
		{"a type without a word", `{"id":"evt_1","type":"customer.created", "data":{}}`, "webhooks.received", "ignored", `event type "customer.created"`, nil},
		{"not JSON", "\x00\xff{", "webhooks.dead", "malformed", "payload malformed", nil},
		{"a type that does not fit", `{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":[]}}`, "webhooks.dead", "malformed", "item 0: malformed", nil},
		{"test mode to a live endpoint", string(captured(t)), "webhooks.received", "ignored", "test mode", live},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var changes []func(*ingest.Config)
			if tt.change != nil {
				changes = append(changes, tt.change)
			}
			b := newBridge(t, changes...)
			r := signed(t, "stripe", []byte(tt.body))
			r.URL.RawQuery = "a=b&c"
			a := b.do(r)
			if got := bodyOf(t, a); a.StatusCode != http.StatusOK || got != "" {
				t.Fatalf("answer %d %q, want 200 and no body", a.StatusCode, got)
			}
			records := b.published()
			if len(records) != 1 || records[0].Topic != tt.topic || string(records[0].Value) != tt.body || string(records[0].Key) != "stripe" {
				t.Fatalf("records %q, want the body in %s", records, tt.topic)
			}
			compareReceipt(t, a.Header.Get(ingest.ReceiptHeader), records)
			got := headersOf(records[0])
			if !strings.Contains(got["reason"], tt.reason) || !traceparent.MatchString(got["traceparent"]) {
				t.Errorf("headers %v, want the reason %q and a traceparent", got, tt.reason)
			}
			delete(got, "reason")
			delete(got, "traceparent")
			want := map[string]string{
				"connector": "stripe", "endpoint": "default", "method": "POST", "path": "/webhooks/stripe/default", "query": "a=b&c",
				"received-at": "2026-01-01T12:00:00Z", "secret": "dev", "outcome": tt.outcome, "event-ids": "",
				"http-content-type": "application/json", "http-stripe-signature": r.Header.Get("Stripe-Signature"),
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("headers\n%v, want\n%v", got, want)
			}
		})
	}
}

// stripeAt returns the index of Stripe's endpoint.
func stripeAt(c *ingest.Config) int {
	for i, e := range c.Endpoints {
		if e.Connector == "stripe" {
			return i
		}
	}
	return -1
}

// TestTraceparent: a webhook's traceparent is passed on, and an invalid one is
// replaced.
func TestTraceparent(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, tt := range []struct {
		came string
		kept bool
	}{
		{good, true},
		{"", false},
		{strings.ToUpper(good), false},
		{good + "-00", false},
		{"ff" + good[2:], false},
		{"00-00000000000000000000000000000000-b7ad6b7169203331-01", false},
		{"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false},
		{"00-0af7651916cd43dd8448eb211c8031zc-b7ad6b7169203331-01", false},
		{strings.Repeat("0", 500), false},
	} {
		b := newBridge(t)
		r := signed(t, "stripe", captured(t))
		r.Header.Set("Traceparent", tt.came)
		b.do(r)
		got := headersOf(b.published()[0])["traceparent"]
		if (got == tt.came) != tt.kept || !traceparent.MatchString(got) {
			t.Errorf("Traceparent %q: published as %q, kept should be %t", tt.came, got, tt.kept)
		}
		if line := b.logs.String(); !strings.Contains(line, got) {
			t.Errorf("the log %q does not have the trace %q", line, got)
		}
	}
}

// TestLogAndMetrics: each request gives one log line and the right counts.
func TestLogAndMetrics(t *testing.T) {
	b := newBridge(t)
	b.do(signed(t, "stripe", captured(t)))
	var line map[string]any
	if err := json.Unmarshal([]byte(b.logs.String()), &line); err != nil {
		t.Fatalf("%v: want one log line, got %q", err, b.logs.String())
	}
	for name, want := range map[string]any{
		"level": "info", "message": "webhook", "connector": "stripe", "endpoint": "default", "outcome": "events", "secret": "dev",
		"status": 200.0, "method": "POST", "path": "/webhooks/stripe/default", "bytes": float64(len(captured(t))),
	} {
		if line[name] != want {
			t.Errorf("log: %s is %v, want %v", name, line[name], want)
		}
	}
	for metric, want := range map[string]string{
		`tollbridge_webhooks_total{connector="stripe",endpoint="default",outcome="events",reason="",status="200"}`: "1",
		`tollbridge_events_total{connector="stripe",endpoint="default",type="payment.captured"}`:                   "1",
		`tollbridge_webhook_bytes_total`:                                strconv.Itoa(len(captured(t))),
		`tollbridge_webhook_duration_seconds_count{connector="stripe"}`: "1",
		`tollbridge_in_flight_bytes`:                                    "0",
		`tollbridge_in_flight_webhooks`:                                 "0",
	} {
		if got := b.metric(metric); got != want {
			t.Errorf("%s is %s, want %s", metric, got, want)
		}
	}
	const letters = `tollbridge_dead_letters_total{connector="stripe",endpoint="default"}`
	if got := b.metric(letters); got != "0" {
		t.Errorf("%s dead letters were counted for an event, want none", got)
	}
	b.do(signed(t, "stripe", []byte("{")))
	if got := b.metric(letters); got != "1" {
		t.Errorf("%s dead letters were counted for a webhook that cannot be read, want 1", got)
	}
}

// TestLogOfManyItems: a verified sender cannot make a log line large.
func TestLogOfManyItems(t *testing.T) {
	b := newBridge(t)
	b.do(signed(t, "stripe", fmt.Appendf(nil, `{"id":"evt_1","type":"x.%s"}`, strings.Repeat("y", 500_000))))
	if len(b.published()) != 1 {
		t.Fatalf("%d records, want only the archived webhook", len(b.published()))
	}
	if n := len(b.logs.String()); n > 2000 {
		t.Errorf("the log line has %d bytes", n)
	}
	if n := len(headersOf(b.published()[0])["reason"]); n > 10_000 {
		t.Errorf("the record's reason has %d bytes", n)
	}
}

func TestAdmin(t *testing.T) {
	var ready error
	b := newBridge(t, func(c *ingest.Config) { c.Ready = func(context.Context) error { return ready } })
	for _, tt := range []struct {
		path   string
		ready  error
		status int
		body   string
	}{
		{"/healthz", kafka.ErrUnavailable, 200, "ok\n"},
		{"/readyz", nil, 200, "ready\n"},
		{"/readyz", kafka.ErrUnavailable, 503, "not ready: kafka cannot acknowledge\n"},
		{"/webhooks/stripe", nil, 404, ""},
		{"/v1/where?id=order-1", nil, 404, "this server keeps no history\n"},
	} {
		ready = tt.ready
		a := b.ask(httptest.NewRequest(http.MethodGet, tt.path, nil))
		if got := bodyOf(t, a); a.StatusCode != tt.status || tt.body != "" && got != tt.body {
			t.Errorf("%s: %d %q, want %d %q", tt.path, a.StatusCode, got, tt.status, tt.body)
		}
	}
	// The webhooks' listener serves none of these.
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/v1/where", "/v1/handle_event"} {
		if a := b.do(httptest.NewRequest(http.MethodGet, path, nil)); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s on the webhooks' listener: %d, want 404", path, a.StatusCode)
		}
	}
}

// TestNew: New refuses a configuration with which the server could not work.
func TestNew(t *testing.T) {
	keys, _, _ := sign.Dev("stripe")
	good := webhook.Endpoint{Connector: "stripe", Keys: keys}
	with := func(change func(*webhook.Endpoint)) ingest.Config {
		e := good
		change(&e)
		return ingest.Config{Endpoints: []webhook.Endpoint{e}}
	}
	set := func(name, value string) ingest.Config {
		return with(func(e *webhook.Endpoint) { e.Keys.Settings = map[string]string{name: value} })
	}
	for _, tt := range []struct {
		name string
		c    ingest.Config
		want string // part of the error; "": no error
	}{
		{"good", ingest.Config{Endpoints: []webhook.Endpoint{good}}, ""},
		{"unknown connector", with(func(e *webhook.Endpoint) { e.Connector = "nobody" }), `unknown connector "nobody"; 'tollbridge connectors' lists them`},
		{"no secret", with(func(e *webhook.Endpoint) { e.Keys.Secrets = nil }), "no secret"},
		{"empty secret", with(func(e *webhook.Endpoint) { e.Keys.Secrets = []verify.Secret{{Name: "old"}} }), `the secret "old" is empty`},
		{"unknown setting", set("tolerance", "300"), `unknown setting "tolerance"; is it "tolerance_seconds"? stripe has refunds, tells, tolerance_seconds`},
		{"bad setting", set("tolerance_seconds", "-1"), "want a whole number of seconds from 1 to 604800"},
		{"tolerance off", set("tolerance_seconds", "off"), "only for `tollbridge inspect`"},
		{"slash in a name", with(func(e *webhook.Endpoint) { e.Name = "a/b" }), "a name has only letters"},
		{"dots for a name", with(func(e *webhook.Endpoint) { e.Name = ".." }), "a name has only letters"},
		{"URL without a scheme", with(func(e *webhook.Endpoint) { e.URL = "pay.example.com" }), "url: \"pay.example.com\" is not an address that a processor can call"},
		{"URL with a query", with(func(e *webhook.Endpoint) { e.URL = "https://pay.example.com/?a=b" }), "is not an address"},
		{"public URL of another scheme", with(func(e *webhook.Endpoint) { e.PublicURL = "ftp://pay.example.com" }), "public_url: "},
		{"twice", ingest.Config{Endpoints: []webhook.Endpoint{good, {Connector: "stripe", Name: "default", Keys: keys}}}, "endpoint stripe/default is configured twice"},
		{"limits", ingest.Config{MaxBody: 100, MaxInFlight: 199}, "want at least twice max_body, 200"},
		{"a body that no record holds", ingest.Config{MaxBody: ingest.MaxMaxBody + 1}, "want at most"},
		{"handle_event nowhere that is", ingest.Config{HandleEvent: "all"}, "want admin, public, both or off"},
		{"a URL as a host", ingest.Config{AdminHosts: []string{"http://tollbridge"}}, "is not the name or the address of a host"},
	} {
		_, err := ingest.New(tt.c)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}
