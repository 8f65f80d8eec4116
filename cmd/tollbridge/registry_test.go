package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/schemas"
)

// gatedRegistry is a fake Schema Registry that answers 503 while it is closed.
type gatedRegistry struct {
	*httptest.Server
	fake *srfake.Registry
	open atomic.Bool
}

func startRegistry(t *testing.T) *gatedRegistry {
	t.Helper()
	g := &gatedRegistry{fake: srfake.NewRegistry()}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.open.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		g.fake.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	return g
}

// records returns the values of a topic's records, once there are n.
func recordValues(t *testing.T, brokers []string, topic string, n int) (values [][]byte) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	until(t, fmt.Sprintf("%d records of %s", n, topic), func() bool {
		for _, r := range client.PollRecords(t.Context(), n-len(values)).Records() {
			values = append(values, r.Value)
		}
		return len(values) >= n
	})
	return values
}

// TestSchemaRegistry: `topics apply` registers the schemas, `serve` waits for the registry at
// its start and needs it no more then, events have the id of their schema, archived webhooks
// do not, and all commands read events with and without it.
func TestSchemaRegistry(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	registry := startRegistry(t)
	_, secret, _ := sign.Dev("stripe")
	dir, listen, admin := t.TempDir(), freePort(t), freePort(t)
	b := &bridge{
		config: filepath.Join(dir, "tollbridge.yaml"), url: "http://" + listen + "/webhooks/stripe", secret: secret,
		kafka: kafka.Config{Brokers: cluster.ListenAddrs()}, names: kafka.Names{Prefix: "shop."},
	}
	config := func(registry string) string {
		return fmt.Sprintf(`{listen: %s, admin: %s, state: "", kafka: {brokers: [%s], prefix: shop., partitions: 3, replication: 1%s},
endpoints: [{connector: stripe, live: false, secrets: {main: {value: %s}}}]}`, listen, admin, b.kafka.Brokers[0], registry, secret)
	}
	with := fmt.Sprintf(", schema_registry: {url: %q}", registry.URL)

	// The event of one payment was written before there was a registry.
	writeFile(t, b.config, config(""))
	b.run(t, 0, "topics", "apply")
	s := startServe(t, b.config, listen, admin)
	until(t, "serve to be ready", s.ready)
	plain := b.send(t, paid("plain", 0))
	s.end()

	writeFile(t, b.config, config(with))
	if got := tollbridge(t, "", "topics", "plan", "--config", b.config); got.code != 1 || !strings.Contains(got.err, "schema registry is unavailable") {
		t.Errorf("plan without the registry: exit %d, %s", got.code, got.err)
	}
	registry.open.Store(true)
	if out := b.run(t, 0, "topics", "plan"); !strings.Contains(out, "right; its schema would be registered") || registry.fake.SubjectExists("shop.payment.captured-value") {
		t.Errorf("plan: %s", out)
	}
	if got := tollbridge(t, "", "serve", "--config", b.config); got.code != 1 || !strings.Contains(got.err, "shop.payment.captured-value") || !strings.Contains(got.err, "register them with 'tollbridge topics apply'") {
		t.Errorf("serve without schemas: exit %d, %s", got.code, lastLines(got.err))
	}
	b.run(t, 0, "topics", "apply")
	type line struct {
		Topic  string
		Schema struct {
			Subject string
			ID      uint32
		}
	}
	topics := jsonLines[line](t, b.run(t, 0, "topics", "plan", "--json"))
	ids := map[string]uint32{}
	for _, topic := range topics {
		ids[topic.Topic] = topic.Schema.ID
		if events := !strings.Contains(topic.Topic, "webhooks."); events != (topic.Schema.ID > 0) || events && topic.Schema.Subject != topic.Topic+"-value" {
			t.Errorf("plan after apply: %+v", topic)
		}
	}

	registry.open.Store(false)
	s = startServe(t, b.config, listen, admin)
	until(t, "serve to wait", func() bool { return strings.Contains(s.log.String(), "waiting for the schema registry") })
	if code, text := s.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "schema registry") {
		t.Errorf("/readyz without the registry: %d, %s", code, text)
	}
	registry.open.Store(true)
	until(t, "serve to be ready", s.ready)
	registry.open.Store(false) // from now on it is not needed
	if again := b.send(t, paid("plain", 0)); again != plain {
		t.Errorf("the redelivery of an event without a schema's id has the receipt %s, want %s", again, plain)
	}
	b.send(t, disputed("7")) // a fallback key: the correction needs the event's body
	framed := b.send(t, paid("7", 0))
	if again := b.send(t, paid("7", 0)); again != framed {
		t.Errorf("the redelivery has the receipt %s, want %s", again, framed)
	}
	values := recordValues(t, b.kafka.Brokers, "shop.payment.captured", 2)
	for _, v := range values {
		e, err := schemas.Decode(v)
		if err != nil || (e.Subject == "plain") != (v[0] == '{') {
			t.Errorf("%v, %.80q", err, v)
		}
		if want := schemas.Frame(ids["shop.payment.captured"], schemas.Unframe(v)); e.Subject == "7" && string(v) != string(want) {
			t.Errorf("the value begins with %x, want %x", v[:6], want[:6])
		}
	}
	for _, v := range recordValues(t, b.kafka.Brokers, "shop.webhooks.received", 5) {
		if v[0] != '{' {
			t.Errorf("an archived webhook begins with %.10q", v)
		}
	}
	until(t, "the correction of the dispute", func() bool {
		return strings.Count(b.run(t, 0, "tail", "--exit", "--from", "1h", "--json", "--key", "7"), "\n") == 2
	})
	if out := b.run(t, 0, "show", framed); !strings.Contains(out, "payment.captured") {
		t.Errorf("show: %s", out)
	}
	if out := b.run(t, 0, "timeline", "7"); !strings.Contains(out, framed) || !strings.Contains(out, "corrects") {
		t.Errorf("timeline: %s", out)
	}
	if out := b.run(t, 0, "replay", "--from", "1h", "--json"); !strings.Contains(out, `"new":0`) && !strings.Contains(out, `"new": 0`) {
		t.Errorf("a replay finds other events: %s", out)
	}
	if got := tollbridge(t, "", "replay", "--from", "1h", "--publish", "--config", b.config); got.code != 1 || !strings.Contains(got.err, "schema registry is unavailable") {
		t.Errorf("replay --publish without the registry: exit %d, %s", got.code, got.err)
	}
	s.end()

	// A server without the registry knows the events that have the id of a schema.
	writeFile(t, b.config, config(""))
	s = startServe(t, b.config, listen, admin)
	until(t, "serve to be ready", s.ready)
	if again := b.send(t, paid("7", 0)); again != framed {
		t.Errorf("without the registry, the redelivery has the receipt %s, want %s", again, framed)
	}
}

// TestSchemaRegistryConfiguration: errors name the key, and show no secret.
func TestSchemaRegistryConfiguration(t *testing.T) {
	t.Setenv("A_SECRET", "secret-of-the-registry")
	for registry, want := range map[string]string{
		`{url: "https://registry.example.com"}`:                                                  "",
		`{url: "https://registry.example.com", auth: {username: me, password: {env: A_SECRET}}}`: "",
		`{url: "https://registry.example.com", auth: {token: {env: A_SECRET}}}`:                  "",
		`{}`: "kafka.schema_registry.url: expected a URL",
		`{url: "https://registry.example.com", auth: {}}`:                                                          "kafka.schema_registry.auth: expected username and password, or token",
		`{url: "https://registry.example.com", auth: {username: me}}`:                                              "kafka.schema_registry.auth: expected username and password, got only one",
		`{url: "https://registry.example.com", auth: {token: {env: NOT_SET}}}`:                                     "kafka.schema_registry.auth.token: the environment variable NOT_SET",
		`{url: "https://registry.example.com", auth: {username: a, password: {file: /none}, token: {value: abc}}}`: "kafka.schema_registry.auth.password: ",
		`{url: "http://registry.example.com", auth: {token: {env: A_SECRET}}}`:                                     "kafka.schema_registry.url: expected https",
		`{url: "https://registry.example.com", tls: {ca: /none}}`:                                                  "kafka.schema_registry.tls: ",
		`{url: "https://registry.example.com", name: a}`:                                                           "unknown key name",
	} {
		file := filepath.Join(t.TempDir(), "tollbridge.yaml")
		writeFile(t, file, "kafka: {schema_registry: "+registry+"}\n")
		got := tollbridge(t, "", "config", "check", "--config", file)
		if (got.code == 0) != (want == "") || !strings.Contains(got.err, want) || strings.Contains(got.err, "secret-of-the-registry") {
			t.Errorf("%s: exit %d, %s; want %q", registry, got.code, got.err, want)
		}
	}
}
