//go:build linux

package bench_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"

	layout "github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/sign"
)

// secret is the signing secret of every contestant's endpoint.
const secret = "whsec_bench"

// partitions is the number of partitions of every topic.
const partitions = layout.DefaultPartitions

// place has the addresses and folders that a contestant runs with.
type place struct {
	bin, dir    string
	brokers     []string
	replication int
	prefix      string // prefix of its topics' names
	listen      string // host:port for webhooks
	debug       string // host:port for the debug data
}

func (p place) topic() string { return p.prefix + "webhooks" }

// contestant is a program that publishes webhooks to Kafka.
type contestant struct {
	name, says string
	sparse     bool                             // measured in few cells
	ours       bool                             // is tollbridge
	routed     bool                             // writes to the topics that tollbridge has
	command    func(p place) (*exec.Cmd, error) // starts the server
	path       string                           // path for webhooks
}

var contestants = []contestant{
	{name: "tollbridge", says: "tollbridge serve, everything on", ours: true, path: "/webhooks/stripe", command: tollbridge("tollbridge")},
	{name: "franz-go", says: "Echo, HMAC, franz-go's ProduceSync, idempotent (its default); no key", path: "/webhooks", command: echo("franz-go")},
	{name: "franz-go-keyed", says: "the same, the merchant's id as the key of its records (gjson)", path: "/webhooks", command: echo("franz-go", "-keyed"), sparse: true},
	{name: "franz-go-equal", says: "the same, keyed: one record in the topic of the event's type and one in an archive, tollbridge's topics; no event is made", routed: true, path: "/webhooks", command: echo("franz-go", "-equal"), sparse: true},
	{name: "franz-go-1", says: "Echo, HMAC, franz-go's ProduceSync, not idempotent, one request in flight; no key", path: "/webhooks", command: echo("franz-go-1")},
	{name: "kafka-go", says: "Echo, HMAC, kafka-go's Writer, RequireAll, BatchTimeout 1 ms", path: "/webhooks", command: echo("kafka-go"), sparse: true},
	{name: "bento", says: "Bento: http_server, HMAC in Bloblang, kafka_franz, idempotent, max_in_flight 512", path: "/webhooks", command: bento, sparse: true},
	{name: "bento-event", says: "the same, and a mapping makes the event, its key and its topic: one record in tollbridge's topics, no archive, no memory of events", routed: true, path: "/webhooks", command: bentoEvent, sparse: true},
	{name: "watermill", says: "Watermill: HTTP subscriber, HMAC, Kafka publisher (sarama), WaitForAll", path: "/webhooks", command: watermill, sparse: true},
	{name: "no-archive", says: "tollbridge built without keeping webhooks as they came", ours: true, path: "/webhooks/stripe", command: tollbridge("tollbridge-no-archive"), sparse: true},
}

func (c contestant) cells() []cell {
	if c.sparse {
		return sparse
	}
	return cells
}

func (c contestant) url(p place) string { return "http://" + p.listen + c.path }

// mallocs returns the URL at which a contestant reports how much it has allocated.
func (c contestant) mallocs(p place) string {
	if c.ours {
		return "http://" + p.debug + "/metrics"
	}
	return "http://" + p.debug + "/debug/vars"
}

// tollbridge returns a function that makes the command of the named build of
// tollbridge.
func tollbridge(name string) func(place) (*exec.Cmd, error) {
	return func(p place) (*exec.Cmd, error) {
		return exec.Command(filepath.Join(p.bin, name), "serve", "--config", filepath.Join(p.dir, "tollbridge.yaml")), nil
	}
}

// configure writes the smallest valid configuration of tollbridge.
func (p place) configure() error {
	config, err := json.Marshal(map[string]any{
		"listen": p.listen, "admin": p.debug, "state": filepath.Join(p.dir, "state"),
		"kafka":     map[string]any{"brokers": p.brokers, "partitions": partitions, "replication": p.replication, "prefix": p.prefix},
		"endpoints": []any{map[string]any{"connector": "stripe", "secrets": map[string]any{"main": map[string]string{"value": secret}}}},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir, "tollbridge.yaml"), config, 0o600)
}

func echo(producer string, more ...string) func(place) (*exec.Cmd, error) {
	return func(p place) (*exec.Cmd, error) {
		return exec.Command(filepath.Join(p.bin, "echo"), append(append(p.flags(), "-producer", producer, "-prefix", p.prefix), more...)...), nil
	}
}

func watermill(p place) (*exec.Cmd, error) {
	return exec.Command(filepath.Join(p.bin, "watermill"), p.flags()...), nil
}

func (p place) flags() []string {
	return []string{"-listen", p.listen, "-debug", p.debug, "-brokers", strings.Join(p.brokers, ","), "-topic", p.topic(), "-secret", secret}
}

// bento copies the bytes to one topic.
func bento(p place) (*exec.Cmd, error) {
	return bentoWith(p, map[string]any{"topic": p.topic()})
}

// bentoEvent makes an event with the main fields of tollbridge's. It reads three types of
// PaymentIntent events, and the merchant's id only from order_id.
func bentoEvent(p place) (*exec.Cmd, error) {
	event := `let type = match this.type {
  "payment_intent.processing" => "payment.processing"
  "payment_intent.amount_capturable_updated" => "payment.authorized"
  "payment_intent.succeeded" => "payment.captured"
  _ => throw("an event that the mapping does not know")
}
let o = this.data.object
let key = $o.metadata.order_id.not_empty()
meta topic = "` + p.prefix + `" + $type
meta key = $key
root.specversion = "1.0"
root.id = ($o.id + ":" + $o.status).hash("sha1").encode("hex")
root.source = "/webhooks/stripe/default"
root.type = $type
root.subject = $key
root.time = this.created.ts_format("2006-01-02T15:04:05Z", "UTC")
root.datacontenttype = "application/json"
root.data.merchant_transaction_id = $key
root.data.key_source = "payload"
root.data.connector = "stripe"
root.data.endpoint = "default"
root.data.live = this.livemode
root.data.connector_event_id = this.id
root.data.connector_event_type = this.type
root.data.connector_transaction_id = $o.id
root.data.connector_references = [$o.latest_charge]
root.data.amount.value = if $o.amount_received > 0 { $o.amount_received } else { $o.amount }
root.data.amount.currency = $o.currency.uppercase()
root.data.status = $type.split(".").index(1)
root.data.received_at = now()
root.data.payment_method.type = $o.payment_method_types.index(0)
`
	return bentoWith(p, map[string]any{"topic": `${! meta("topic") }`, "key": `${! meta("key") }`}, event)
}

// bentoWith configures Bento by choice of components, without tuning: the faster of its two
// Kafka outputs, and as many records in flight as there are connections. The mappings
// follow the check of the signature.
func bentoWith(p place, to map[string]any, mappings ...string) (*exec.Cmd, error) {
	check := `let signed = @."Stripe-Signature".re_find_object("^t=(?P<t>[0-9]+),v1=(?P<v1>[0-9a-f]{64})$")
let age = (now().ts_unix() - $signed.t.number()).abs()
let want = ($signed.t + "." + content().string()).hash("hmac_sha256", "` + secret + `").encode("hex")
root = if $age > 300 || $signed.v1 != $want { throw("not verified") } else { content() }
`
	processors := []any{map[string]any{"mapping": check}}
	for _, m := range mappings {
		processors = append(processors, map[string]any{"mapping": m})
	}
	output := map[string]any{"seed_brokers": p.brokers, "idempotent_write": true, "max_in_flight": 512, "metadata": map[string]any{}}
	maps.Copy(output, to)
	config, err := json.Marshal(map[string]any{
		"http":     map[string]any{"enabled": false},
		"input":    map[string]any{"http_server": map[string]any{"address": p.listen, "path": "/webhooks", "timeout": "10s"}},
		"pipeline": map[string]any{"processors": processors},
		"output":   map[string]any{"reject_errored": map[string]any{"kafka_franz": output}},
		"logger":   map[string]any{"level": "ERROR"},
	})
	if err != nil {
		return nil, err
	}
	name := filepath.Join(p.dir, "bento.yaml")
	c := exec.Command(filepath.Join(p.bin, "bento"), "-c", name)
	c.Env = append(os.Environ(), "BENCH_DEBUG="+p.debug)
	return c, os.WriteFile(name, config, 0o600)
}

// topics creates a contestant's topics, and returns those that get one record for every
// webhook.
func (c contestant) topics(ctx context.Context, p place) ([]string, error) {
	if c.ours || c.routed {
		if err := p.configure(); err != nil {
			return nil, err
		}
		program := filepath.Join(p.bin, "tollbridge")
		if c.ours { // another version may have other topics
			command, err := c.command(p)
			if err != nil {
				return nil, err
			}
			program = command.Path
		}
		apply := exec.CommandContext(ctx, program, "topics", "apply", "--config", filepath.Join(p.dir, "tollbridge.yaml"))
		if out, err := apply.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("topics apply: %w\n%s", err, out)
		}
		return []string{p.prefix + "payment.processing", p.prefix + "payment.authorized", p.prefix + "payment.captured"}, nil
	}
	client := &kafka.Client{Addr: kafka.TCP(p.brokers...), Timeout: time.Minute, Transport: &kafka.Transport{}}
	defer client.Transport.(*kafka.Transport).CloseIdleConnections()
	r, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: p.topic(), NumPartitions: partitions, ReplicationFactor: p.replication,
		ConfigEntries: []kafka.ConfigEntry{{ConfigName: "min.insync.replicas", ConfigValue: strconv.Itoa(max(1, p.replication-1))}},
	}}})
	if err != nil {
		return nil, err
	}
	return []string{p.topic()}, r.Errors[p.topic()]
}

// start starts a contestant.
func (c contestant) start(ctx context.Context, p place) (*process, error) {
	command, err := c.command(p)
	if err != nil {
		return nil, err
	}
	output, err := os.Create(filepath.Join(p.dir, "output"))
	if err != nil {
		return nil, err
	}
	defer output.Close()
	command.Stdout, command.Stderr = output, output
	return launch(command, output.Name())
}

// await returns once a contestant has answered a webhook 2xx.
func (c contestant) await(ctx context.Context, p place) (acked int, err error) {
	w := newWriter("ready"+p.prefix, middle.Size)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		var status int
		if status, err = c.post(ctx, p, w.next(), secret); err == nil && status/100 == 2 {
			return 1, nil
		}
		if err == nil {
			err = fmt.Errorf("it answered %d", status)
		}
	}
	return 0, fmt.Errorf("%s is not ready after 30 s: %w", c.name, err)
}

// refuses returns an error if a contestant accepts a webhook that was signed with
// another secret.
func (c contestant) refuses(ctx context.Context, p place) error {
	status, err := c.post(ctx, p, newWriter("forged"+p.prefix, middle.Size).next(), "whsec_another")
	if err == nil && status/100 == 2 {
		err = fmt.Errorf("%s answered %d to a webhook with a wrong signature", c.name, status)
	}
	return err
}

func (c contestant) post(ctx context.Context, p place, body []byte, secret string) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	signed, err := sign.Request("stripe", body, secret, nil, c.url(p), time.Now())
	if err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url(p), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header = signed.Header
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

// process is a program that this test started.
type process struct {
	cmd    *exec.Cmd
	output string // file with its output
	ended  chan error
}

// launch starts a program. The kernel kills it when the calling thread ends.
func launch(command *exec.Cmd, output string) (*process, error) {
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: command, output: output, ended: make(chan error, 1)}
	go func() { p.ended <- command.Wait() }()
	return p, nil
}

// end sends SIGTERM to a program, and SIGKILL if it does not exit. It ignores the exit
// code, and returns an error only if the program had exited before.
func (p *process) end() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("it exited by itself (%w); its output ends with\n%s", <-p.ended, p.said())
	}
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	return nil
}

// said returns the end of a program's output, and before it the errors that the program
// logged in JSON.
func (p *process) said() string {
	text, err := os.ReadFile(p.output)
	if err != nil {
		return err.Error()
	}
	const most = 1500
	var errs strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, `"level":"error"`) && errs.Len()+len(line) <= most {
			errs.WriteString(line)
		}
	}
	return errs.String() + string(text[max(0, len(text)-most+errs.Len()):])
}

// fakeBroker is a process that kfake runs in.
type fakeBroker struct {
	kafkaAt
	process *process
	stdin   io.Closer
}

// startBroker starts the fake broker.
func startBroker(ctx context.Context, ack time.Duration) (*fakeBroker, error) {
	c := exec.CommandContext(ctx, os.Args[0])
	c.Env = append(os.Environ(), "BENCH_PROCESS=broker", "BENCH_ACK="+ack.String())
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: c, ended: make(chan error, 1)}
	address, err := bufio.NewReader(out).ReadString('\n')
	go func() { p.ended <- c.Wait() }()
	f := &fakeBroker{kafkaAt{[]string{strings.TrimSpace(address)}, []int{c.Process.Pid}}, p, in}
	if err != nil {
		f.end()
		return nil, fmt.Errorf("the fake broker did not print its address: %w", err)
	}
	return f, nil
}

func (f *fakeBroker) end() {
	_ = f.stdin.Close()
	_ = f.process.end()
}

// freeAddress returns an unused address, with a port below the range that systems use
// for outgoing connections.
func freeAddress() string {
	for {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 18000+rand.IntN(2000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
}
