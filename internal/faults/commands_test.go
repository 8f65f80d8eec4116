package faults_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/schemas"
)

// writingCommands are the commands of which only one at a time may write to the topics.
var writingCommands = []struct {
	name    string
	args    []string
	from    func(kafka.Names) string
	outcome string // of the archived webhooks
	count   int    // number of webhooks: enough that the command is still writing when the test stops it
}{
	{"dead retry", []string{"dead", "retry", "--publish"}, kafka.Names.Dead, "malformed", 400},
	{"replay", []string{"replay", "--publish", "--rate", "100"}, kafka.Names.Received, "ignored", 400},
}

// testCommands starts each of the writing commands twice at the same time, stops the
// one that writes with SIGSTOP until another run has taken over, and continues it. The
// commands that do not get the lock must say which command is writing, and no event may
// be published twice.
func (g *rig) testCommands(t *testing.T) {
	g.T = t
	var all sync.WaitGroup
	for i, c := range writingCommands {
		all.Go(func() {
			names := kafka.Names{Prefix: fmt.Sprintf("commands-%d.", i)}
			config, err := g.archive(t.Context(), names, c.from(names), c.outcome, c.count)
			if err == nil {
				err = g.takeOver(t.Context(), names, append(c.args, "--config", config), c.count)
			}
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		})
	}
	all.Wait()
}

// takeOver runs several copies of a command that publishes want events. It returns an
// error if two copies write at the same time, or if an event is missing or duplicated
// afterwards.
func (g *rig) takeOver(ctx context.Context, names kafka.Names, args []string, want int) error {
	published, err := g.count(ctx, names.Event(schemas.PaymentCaptured))
	if err != nil {
		return err
	}
	defer published.close()
	begin := time.Now()
	first, second := g.command(args), g.command(args)
	defer first.kill()
	defer second.kill()
	var refused *command
	select { // the first to exit is the one that did not get the lock
	case <-first.ended:
		first, refused = second, first
	case <-second.ended:
		refused = second
	case <-time.After(time.Minute):
		return fmt.Errorf("of two commands at once, expected one to be refused\n%s\n%s", first.said(), second.said())
	}
	if err := refused.failed(fmt.Sprintf("is writing to these topics, process %d on ", first.process.Process.Pid)); err != nil {
		return fmt.Errorf("the second of two commands: %w", err)
	}
	if err := published.atLeast(want / 20); err != nil {
		return fmt.Errorf("the first command: %w\n%s", err, first.said())
	}
	if err := first.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	time.Sleep(time.Second) // for the batches in flight
	before, _ := published.totals()
	if before >= want {
		return fmt.Errorf("the first command had published all %d events when it was stopped, want it stopped while it writes", before)
	}
	third := g.command(args)
	defer third.kill()
	if err := published.atLeast(before + 1); err != nil {
		return fmt.Errorf("the command that takes over: %w\n%s", err, third.said())
	}
	if err := first.signal(syscall.SIGCONT); err != nil {
		return err
	}
	<-first.ended
	if err := first.failed("the lock on the topics is lost"); err != nil {
		return fmt.Errorf("the command that was stopped: %w", err)
	}
	if <-third.ended; third.err != nil {
		return fmt.Errorf("the command that took over: %w\n%s", third.err, third.said())
	}
	if err := published.atLeast(want); err != nil {
		return err
	}
	time.Sleep(time.Second) // long enough to read a duplicate
	if total, distinct := published.totals(); total != want || distinct != want {
		return fmt.Errorf("%d events, %d of them distinct, want %d", total, distinct, want)
	}
	g.Logf("%s: %d events before the take-over, %d in all, none of them twice, in %s",
		strings.Join(args[:len(args)-2], " "), before, want, time.Since(begin).Round(time.Second))
	return nil
}

// archive creates topics, writes webhooks to one of them as a server would have,
// and returns the configuration file of the commands.
func (g *rig) archive(ctx context.Context, names kafka.Names, topic, outcome string, count int) (config string, err error) {
	_, secret, _ := sign.Dev("stripe")
	file, err := json.Marshal(map[string]any{
		"kafka": map[string]any{"brokers": g.cluster.Bootstrap(), "prefix": names.Prefix, "partitions": partitions, "replication": 3},
		"endpoints": []any{map[string]any{
			"connector": "stripe", "live": false, "secrets": map[string]any{"main": map[string]string{"value": secret}},
		}},
	})
	if err != nil {
		return "", err
	}
	config = filepath.Join(g.dir, names.Prefix+"yaml")
	if err := os.WriteFile(config, file, 0o600); err != nil {
		return "", err
	}
	if out, err := exec.Command(g.binary, "topics", "apply", "--config", config).CombinedOutput(); err != nil {
		return "", fmt.Errorf("topics apply: %w\n%s", err, out)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(g.cluster.Bootstrap()...), kgo.DefaultProduceTopic(topic))
	if err != nil {
		return "", err
	}
	defer client.Close()
	now := time.Now()
	var records []*kgo.Record
	for i := range count {
		payload := fmt.Appendf(nil, `{"id":"evt_c_%d","object":"event","created":%d,"livemode":false,"type":"payment_intent.succeeded",`+
			`"data":{"object":{"id":"pi_c_%[1]d","amount_received":100,"currency":"eur","metadata":{"order_id":"order-%[1]d"}}}}`, i, now.Unix())
		v, err := sign.Request("stripe", payload, secret, nil, "http://127.0.0.1/webhooks/stripe", now)
		if err != nil {
			return "", err
		}
		r := &kgo.Record{Key: fmt.Append(nil, "order-", i), Value: payload}
		for _, h := range [][2]string{
			{"connector", "stripe"}, {"endpoint", "default"}, {"method", v.Method}, {"path", "/webhooks/stripe"},
			{"received-at", now.UTC().Format(time.RFC3339Nano)}, {"outcome", outcome}, {"reason", "written by a test"},
			{"http-stripe-signature", v.Header.Get("Stripe-Signature")},
		} {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
		}
		records = append(records, r)
	}
	return config, client.ProduceSync(ctx, records...).FirstErr()
}

// command is a run of the program. Read err and output only after ended is closed.
type command struct {
	process *exec.Cmd
	output  bytes.Buffer
	err     error
	ended   chan struct{}
}

func (g *rig) command(args []string) *command {
	c := &command{process: exec.Command(g.binary, args...), ended: make(chan struct{})}
	c.process.Stdout, c.process.Stderr = &c.output, &c.output
	if c.err = c.process.Start(); c.err != nil {
		close(c.ended)
		return c
	}
	go func() {
		c.err = c.process.Wait()
		close(c.ended)
	}()
	return c
}

func (c *command) signal(s syscall.Signal) error { return c.process.Process.Signal(s) }

// kill ends a command that is still running.
func (c *command) kill() {
	select {
	case <-c.ended:
	default:
		_ = c.process.Process.Kill()
		<-c.ended
	}
}

// said kills the command if it is running, and returns its output.
func (c *command) said() string {
	c.kill()
	return c.output.String()
}

// failed returns an error unless the command ended with exit code 1 and this
// message.
func (c *command) failed(message string) error {
	<-c.ended
	if code := c.process.ProcessState.ExitCode(); code != 1 || !strings.Contains(c.output.String(), message) {
		return fmt.Errorf("exit code %d, want 1 and %q\n%s", code, message, c.output.String())
	}
	return nil
}

// counter counts the records of a topic by event id.
type counter struct {
	client *kgo.Client
	mu     sync.Mutex
	ids    map[string]bool
	total  int
}

// count counts the records of a topic from its beginning on. Close the counter.
func (g *rig) count(ctx context.Context, topic string) (*counter, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(g.cluster.Bootstrap()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	c := &counter{client: client, ids: map[string]bool{}}
	go func() {
		for ctx.Err() == nil {
			fetches := client.PollFetches(ctx)
			if fetches.IsClientClosed() {
				return
			}
			c.mu.Lock()
			fetches.EachRecord(func(r *kgo.Record) {
				c.total++
				for _, h := range r.Headers {
					if h.Key == schemas.HeaderEventID {
						c.ids[string(h.Value)] = true
					}
				}
			})
			c.mu.Unlock()
		}
	}()
	return c, nil
}

func (c *counter) close() { c.client.Close() }

func (c *counter) totals() (total, distinct int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total, len(c.ids)
}

// atLeast waits until the topic has n records.
func (c *counter) atLeast(n int) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		total, _ := c.totals()
		if total >= n {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d events after a minute, want at least %d", total, n)
		}
	}
}
