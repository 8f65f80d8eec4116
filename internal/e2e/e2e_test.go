// Package e2e_test runs the program itself beside a real Kafka: webhooks over
// HTTP in, events out of the topics. It has no code of its own.
package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

const partitions = 4 // of every topic

// tollbridge is a running server, with an endpoint of made-up keys for every
// connector and topics of its own.
type tollbridge struct {
	binary, config string
	url, admin     string
	brokers        []string
	names          kafka.Names
	more           []endpoint // beside those of start
	only           bool       // only the endpoints in more
	sasl           any        // kafka.sasl of the configuration; nil: none
	env            []string   // of the server, beside that of the test
	process        *exec.Cmd
	log            *lockedBuffer
}

// endpoint is an endpoint with a name and settings of its own.
type endpoint struct {
	connector, name string
	settings        map[string]string
	api             map[string]any // as in the configuration; nil is none
	gaps            map[string]any // as in the configuration; nil is none
}

// start builds the program, creates the topics and serves, also with more endpoints.
func start(t *testing.T, more ...endpoint) *tollbridge {
	t.Helper()
	b := build(t, kafkatest.Bootstrap(t))
	b.more = more
	b.start(t)
	return b
}

// startOnly is start with no other endpoints, and with further environment variables for
// the server.
func startOnly(t *testing.T, env []string, endpoints ...endpoint) *tollbridge {
	t.Helper()
	b := build(t, kafkatest.Bootstrap(t))
	b.more, b.only, b.env = endpoints, true, env
	b.start(t)
	return b
}

// start creates the topics and serves.
func (b *tollbridge) start(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(b.config, b.yaml(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(b.binary, "serve", "--config", b.config).CombinedOutput(); err == nil || !strings.Contains(string(out), "topics apply") {
		t.Fatalf("serve without topics: %v, want an error that names 'topics apply'\n%s", err, out)
	}
	if out, err := exec.Command(b.binary, "topics", "apply", "--config", b.config).CombinedOutput(); err != nil {
		t.Fatalf("topics apply: %v\n%s", err, out)
	}
	var err error
	if b.names, _, err = b.names.Existing(t.Context(), kafka.Config{Brokers: b.brokers}); err != nil {
		t.Fatal(err)
	}
	b.serve(t)
}

// build builds the program, for topics and listeners of its own.
func build(t *testing.T, brokers []string) *tollbridge {
	t.Helper()
	dir := t.TempDir()
	b := &tollbridge{
		binary:  filepath.Join(dir, "tollbridge"),
		config:  filepath.Join(dir, "tollbridge.yaml"),
		url:     "http://" + freeAddress(t),
		admin:   "http://" + freeAddress(t),
		brokers: brokers,
		names:   kafka.Names{Prefix: fmt.Sprintf("e2e%d.", time.Now().UnixNano())},
		log:     &lockedBuffer{},
	}
	if out, err := exec.Command("go", "build", "-o", b.binary, "../../cmd/tollbridge").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return b
}

// yaml is the configuration file: JSON is YAML.
func (b *tollbridge) yaml(t *testing.T) []byte {
	t.Helper()
	var all []endpoint
	for _, connector := range verify.Connectors() {
		if !b.only {
			all = append(all, endpoint{connector: connector, name: "default"})
		}
	}
	var endpoints []map[string]any
	for _, e := range append(all, b.more...) {
		keys := e.keys()
		secrets := map[string]any{}
		for _, s := range keys.Secrets {
			secrets[s.Name] = map[string]string{"value": s.Value}
		}
		configured := map[string]any{
			"connector": e.connector, "name": e.name, "live": false, "secrets": secrets, "settings": keys.Settings,
		}
		if e.api != nil {
			configured["api"] = e.api
		}
		if e.gaps != nil {
			configured["gaps"] = e.gaps
		}
		endpoints = append(endpoints, configured)
	}
	cluster := map[string]any{"brokers": b.brokers, "prefix": b.names.Prefix, "partitions": partitions, "replication": 1}
	if b.sasl != nil {
		cluster["sasl"] = b.sasl
	}
	file, err := json.Marshal(map[string]any{
		"listen": strings.TrimPrefix(b.url, "http://"), "admin": strings.TrimPrefix(b.admin, "http://"),
		"kafka":     cluster,
		"endpoints": endpoints, "public_url": b.url, "state": filepath.Join(filepath.Dir(b.config), "state"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// keys returns the made-up keys of the connector with the endpoint's settings.
func (e endpoint) keys() verify.Keys {
	keys, _, _ := sign.Dev(e.connector)
	keys.Settings = maps.Clone(keys.Settings)
	if keys.Settings == nil {
		keys.Settings = map[string]string{}
	}
	maps.Copy(keys.Settings, e.settings)
	return keys
}

func (b *tollbridge) serve(t *testing.T) {
	t.Helper()
	b.process = exec.Command(b.binary, "serve", "--config", b.config)
	b.process.Env = append(os.Environ(), b.env...)
	b.process.Stdout, b.process.Stderr = b.log, b.log
	if err := b.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.process.Process.Kill() }) // it has ended where the test passed
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if r, err := http.Get(b.admin + "/readyz"); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready after 30 s:\n%s", b.log)
		}
	}
}

// stop ends the server as an operator would, and expects it to end well.
func (b *tollbridge) stop(t *testing.T) {
	t.Helper()
	if err := b.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := b.process.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, b.log)
	}
}

// deliver sends a payload as its processor would.
func (b *tollbridge) deliver(connector string, payload []byte) (*http.Response, error) {
	r, err := b.sign(connector, payload)
	if err != nil {
		return nil, err
	}
	return b.deliverRequest(r)
}

// deliverRequest sends a request again while it is answered 503: a topic just
// created has no leader on a busy machine yet.
func (b *tollbridge) deliverRequest(r verify.Request) (a *http.Response, err error) {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if a, err = post(r); err != nil || a.StatusCode != http.StatusServiceUnavailable {
			break
		}
	}
	return a, err
}

// sign is a request of the connector's processor.
func (b *tollbridge) sign(connector string, payload []byte) (verify.Request, error) {
	keys, private, _ := sign.Dev(connector)
	return sign.Request(connector, payload, private, keys.Settings, b.url+"/webhooks/"+connector, time.Now())
}

// send sends a payload once.
func (b *tollbridge) send(connector string, payload []byte) (*http.Response, error) {
	r, err := b.sign(connector, payload)
	if err != nil {
		return nil, err
	}
	return post(r)
}

func post(r verify.Request) (*http.Response, error) {
	q, err := http.NewRequest(r.Method, r.URL, bytes.NewReader(r.Body)) // which may have a query that is signed
	if err != nil {
		return nil, err
	}
	q.Header = r.Header
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	_, err = io.Copy(io.Discard, a.Body)
	return a, err
}

// meaning is what normalize says of what is verified of a request: signing may
// put a time into it.
func meaning(connector string, r verify.Request) (normalize.Result, error) {
	keys, _, _ := sign.Dev(connector)
	v, err := verify.Verify(connector, r, keys, time.Now())
	if err != nil {
		return normalize.Result{}, err
	}
	return normalize.Normalize(connector, v.Payload, normalize.Options{Settings: keys.Settings, ReceivedAt: time.Now()})
}

// record is a record with its topic and partition.
type record struct {
	topic      string
	partition  int
	offset     int64
	key, value string
	headers    map[string]string
}

// receipt is how a receipt tells of the record.
func (r record) receipt() string {
	return fmt.Sprintf("topic=%q;partition=%d;offset=%d", r.topic, r.partition, r.offset)
}

// read returns the records of topics, from the first to the last that is there now.
func (b *tollbridge) read(t *testing.T, topics ...string) (all []record) {
	t.Helper()
	fresh := &kafkago.Transport{} // the default one may remember that a topic was not there
	defer fresh.CloseIdleConnections()
	client := &kafkago.Client{Addr: kafkago.TCP(b.brokers...), Timeout: 10 * time.Second, Transport: fresh}
	ask := map[string][]kafkago.OffsetRequest{}
	m, err := client.Metadata(t.Context(), &kafkago.MetadataRequest{Topics: topics})
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range m.Topics {
		for _, p := range topic.Partitions {
			ask[topic.Name] = append(ask[topic.Name], kafkago.LastOffsetOf(p.ID))
		}
	}
	ends, err := client.ListOffsets(t.Context(), &kafkago.ListOffsetsRequest{Topics: ask})
	if err != nil {
		t.Fatal(err)
	}
	end := map[partitionOf]int64{}
	for topic, parts := range ends.Topics {
		for _, p := range parts {
			if p.Error != nil {
				t.Fatalf("%s/%d: %v", topic, p.Partition, p.Error)
			}
			if p.LastOffset > 0 {
				end[partitionOf{topic, int32(p.Partition)}] = p.LastOffset
			}
		}
	}
	return b.readTo(t, end)
}

type partitionOf struct {
	topic  string
	number int32
}

// readTo returns the records of partitions before an offset of each. Commands that
// write leave control records in the topics, which are no records of ours.
func (b *tollbridge) readTo(t *testing.T, end map[partitionOf]int64) (all []record) {
	t.Helper()
	from := map[string]map[int32]kgo.Offset{}
	for p := range end {
		if from[p.topic] == nil {
			from[p.topic] = map[int32]kgo.Offset{}
		}
		from[p.topic][p.number] = kgo.NewOffset().At(0)
	}
	if len(from) == 0 {
		return nil
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.brokers...), kgo.ConsumePartitions(from), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for left := maps.Clone(end); len(left) > 0; {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("reading the topics: %v; not read to their ends: %v", err, left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			p := partitionOf{r.Topic, r.Partition}
			if r.Offset >= end[p] {
				return
			}
			if r.Offset == end[p]-1 {
				delete(left, p)
			}
			if r.Attrs.IsControl() {
				return
			}
			one := record{r.Topic, int(r.Partition), r.Offset, string(r.Key), string(r.Value), map[string]string{}}
			for _, h := range r.Headers {
				one.headers[h.Key] = string(h.Value)
			}
			all = append(all, one)
		})
	}
	slices.SortFunc(all, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
	})
	return all
}

// member is one record in a receipt.
var member = regexp.MustCompile(`"([^"]+)";(topic="[^"]+";partition=\d+;offset=\d+)`)

// TestEverySample sends every sample of every connector, and finds in Kafka
// what their receipts say, no less and no more.
func TestEverySample(t *testing.T) {
	b := start(t)
	events := map[string]schemas.Event{} // by their place
	seen := map[string]bool{}            // their ids
	known := map[string]string{}         // by each of its ids, the id under which a fact was published
	whole := map[string]bool{}
	for _, connector := range verify.Connectors() {
		for _, name := range samples.Names(connector) {
			payload, err := samples.Payload(connector, name)
			if err != nil {
				t.Fatal(err)
			}
			if sign.Malformed(connector, payload) {
				continue
			}
			request, err := b.sign(connector, payload)
			if err != nil {
				t.Fatal(err)
			}
			a, err := b.deliverRequest(request)
			if err != nil {
				t.Fatal(err)
			}
			if a.StatusCode/100 != 2 {
				t.Errorf("%s %s: answered %s\n%s", connector, name, a.Status, b.log)
				continue
			}
			r, err := meaning(connector, request)
			if err != nil {
				t.Fatal(err)
			}
			receipts := member.FindAllStringSubmatch(a.Header.Get("Tollbridge-Receipt"), -1)
			for i, e := range r.Events {
				want := e.ID // some samples are of one fact: it is published once, with the first one's id
				for id := range e.IDs() {
					if first := known[id]; first != "" {
						want = first
						break
					}
				}
				if receipts[i][1] != want {
					t.Errorf("%s %s: receipt %d is of %s, want %s", connector, name, i, receipts[i][1], want)
				}
				if !seen[want] {
					events[receipts[i][2]] = e
				}
				seen[want] = true
				for _, id := range append([]string{e.ID}, e.Also...) {
					known[id] = cmp.Or(known[id], want)
				}
			}
			for _, kept := range receipts[len(r.Events):] {
				whole[kept[2]] = true
			}
		}
	}
	if len(events) < 100 || len(whole) < 10 {
		t.Errorf("all samples are %d events and %d webhooks kept whole; there should be hundreds, and dozens", len(events), len(whole))
	}
	for _, r := range b.read(t, b.names.Kept()...) {
		e, ok := events[r.receipt()]
		switch {
		case ok:
			checkRecord(t, b, r, e)
		case r.topic == b.names.References():
			if r.key == "" || r.value == "" {
				t.Errorf("%s is no reference: %q is %q", r.receipt(), r.key, r.value)
			}
		case r.headers["corrects"] != "":
			if !seen[r.headers["corrects"]] {
				t.Errorf("%s corrects what was not published: %s", r.receipt(), r.value)
			}
		case !whole[r.receipt()]:
			t.Errorf("%s is in no receipt: %s", r.receipt(), r.value)
		}
		delete(events, r.receipt())
		delete(whole, r.receipt())
	}
	for at, e := range events {
		t.Errorf("%s of %s is lost: answered 2xx with %s, and not in Kafka", e.Type, e.Data.Connector, at)
	}
	for at := range whole {
		t.Errorf("a webhook kept whole is lost: answered 2xx with %s, and not in Kafka", at)
	}
	b.stop(t)
}

// checkRecord holds a record to the event it should be.
func checkRecord(t *testing.T, b *tollbridge, r record, want schemas.Event) {
	t.Helper()
	var got schemas.Event
	if err := json.Unmarshal([]byte(r.value), &got); err != nil {
		t.Errorf("%s: %v", r.topic, err)
		return
	}
	// What depends on the samples that came before: the state's own tests ask for it.
	if got.Data.KeySource == schemas.KeyFromReference && want.Data.KeySource != schemas.KeyFromPayload {
		want.Data.KeySource, want.Data.MerchantTransactionID, want.Subject = schemas.KeyFromReference, got.Subject, got.Subject
	}
	want.Data.Late, want.Data.NewestEventID, want.Data.Contradicts = got.Data.Late, got.Data.NewestEventID, got.Data.Contradicts
	got.Data.ReceivedAt = want.Data.ReceivedAt
	if want.Time.Equal(want.Data.ReceivedAt) { // the processor does not say when
		got.Time = want.Time
	}
	if g, w := encode(t, got), encode(t, want); g != w {
		t.Errorf("%s:\ngot  %s\nwant %s", r.receipt(), g, w)
	}
	if r.topic != b.names.Event(want.Type) || r.key != want.Data.MerchantTransactionID {
		t.Errorf("%s has key %s, want topic %s and key %s", r.receipt(), r.key, b.names.Event(want.Type), want.Data.MerchantTransactionID)
	}
	// Where Java's clients look for the key: kafka-go has the algorithm of its own.
	java := kafkago.Murmur2Balancer{Consistent: true}
	if p := java.Balance(kafkago.Message{Key: []byte(r.key)}, 0, 1, 2, 3); p != r.partition {
		t.Errorf("%s: key %s belongs into partition %d", r.receipt(), r.key, p)
	}
	headers := map[string]string{
		"content-type": schemas.ContentType, "event-id": want.ID, "event-type": string(want.Type),
		"event-time": r.headers["event-time"], "key-source": string(want.Data.KeySource),
		"connector": want.Data.Connector, "traceparent": r.headers["traceparent"],
		"fields": got.Fields().String(),
	}
	if len(want.Also) > 0 {
		headers["also"] = strings.Join(want.Also, ",")
	}
	if text, ok := r.headers["references"]; ok {
		references := schemas.ParseReferences(text)
		if len(references) == 0 || slices.ContainsFunc(references, func(key string) bool { return !strings.HasPrefix(key, want.Data.Connector+":") }) {
			t.Errorf("%s: header references is %q, want a JSON array of connector:account:id", r.receipt(), text)
		}
		headers["references"] = text
	}
	if !maps.Equal(r.headers, headers) || len(r.headers["traceparent"]) != 55 {
		t.Errorf("%s: headers %v, want %v", r.receipt(), r.headers, headers)
	}
}

func encode(t *testing.T, e schemas.Event) string {
	t.Helper()
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestStopUnderLoad: a server that is told to end answers what it has taken,
// and whatever it answered 2xx is in Kafka.
func TestStopUnderLoad(t *testing.T) {
	b := start(t)
	for n := range 8 * partitions { // until every partition has its leader
		if a, err := b.deliver("stripe", captured(fmt.Sprint("warm-", n))); err != nil || a.StatusCode != http.StatusOK {
			t.Fatalf("%v %v\n%s", a, err, b.log)
		}
	}
	var stopping atomic.Bool
	var mu sync.Mutex
	var acked []string
	var callers sync.WaitGroup
	for c := range 16 {
		callers.Go(func() {
			for n := 0; !stopping.Load(); n++ {
				id := fmt.Sprintf("order-%d-%d", c, n)
				a, err := b.send("stripe", captured(id))
				if err != nil {
					return // the listener is closed: the processor sends again
				}
				if a.StatusCode != http.StatusOK {
					t.Errorf("%s: answered %s", id, a.Status)
					return
				}
				mu.Lock()
				acked = append(acked, id)
				mu.Unlock()
			}
		})
	}
	time.Sleep(2 * time.Second)
	b.stop(t)
	stopping.Store(true)
	callers.Wait()
	var keys []string
	for _, r := range b.read(t, b.names.Event(schemas.PaymentCaptured)) {
		keys = append(keys, r.key)
	}
	slices.Sort(keys)
	for _, id := range acked {
		if _, ok := slices.BinarySearch(keys, id); !ok {
			t.Errorf("%s was answered 200 and is not in Kafka", id)
		}
	}
	t.Logf("%d webhooks answered 200 before the end, %d records", len(acked), len(keys))
	if len(acked) < 20 {
		t.Errorf("only %d webhooks in two seconds", len(acked))
	}
}

// captured returns a Stripe payload of an order that was paid.
func captured(order string) []byte {
	return fmt.Appendf(nil, `{"id":"evt_%s","object":"event","created":1767225600,"livemode":false,"type":"payment_intent.succeeded",`+
		`"data":{"object":{"id":"pi_%[1]s","amount_received":100,"currency":"eur","metadata":{"order_id":"%[1]s"}}}}`, order)
}

// freeAddress returns an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// lockedBuffer is a log that is written while it is read.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.b.String()
	return text[max(0, len(text)-4000):]
}
