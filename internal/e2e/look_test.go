package e2e_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/schemas"
)

// command runs a command with the server's configuration and returns what it
// prints; one that fails is an error of the test.
func (b *tollbridge) command(t *testing.T, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	c := exec.Command(b.binary, append(args, "--config", b.config)...)
	c.Stdout, c.Stderr = &out, &errOut
	if err := c.Run(); err != nil {
		t.Fatalf("%s: %v: %s%s", strings.Join(args, " "), err, out.Bytes(), errOut.Bytes())
	}
	return out.String()
}

// TestLook runs each command that looks into Kafka beside a real one.
func TestLook(t *testing.T) {
	b := start(t)
	dispute := eventOf(b.receiptOf(t, disputed("look")))
	large := padded(captured("look"), 1<<20)
	capture := eventOf(b.receiptOf(t, large))
	b.receiptOf(t, large)
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(b.command(t, "tail", "--exit", "--from", "1h"), "corrects "+dispute); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no correction\n%s", b.log)
		}
	}
	for _, scan := range []string{"--scan=false", "--scan"} {
		for _, id := range []string{"look", "pi_look", dispute, capture} {
			out := b.command(t, "timeline", id, scan)
			if !strings.Contains(out, dispute) || !strings.Contains(out, capture) || !strings.Contains(out, "webhook duplicate") {
				t.Errorf("timeline %s %s: %s", id, scan, out)
			}
		}
		if out := b.command(t, "show", capture, "--raw", scan); out != string(large) {
			t.Errorf("show --raw %s: %d bytes that differ from the %d sent", scan, len(out), len(large))
		}
	}
	var e schemas.Event
	if err := json.Unmarshal([]byte(b.command(t, "tail", "--exit", "--from", "1h", "--type", "payment.captured", "--json")), &e); err != nil || e.ID != capture {
		t.Errorf("tail: %v, event %s, want %s", err, e.ID, capture)
	}
	b.interruptTail(t)
	b.letters(t)
	b.rewind(t)
	b.stop(t)
}

// eventOf is the event's id of a receipt.
func eventOf(receipt string) string { return strings.Split(receipt, `"`)[1] }

// padded is a JSON object of so many bytes.
func padded(object []byte, size int) []byte {
	const name = `,"description":"`
	b := append(bytes.TrimSuffix(object, []byte("}")), name...)
	return append(append(b, bytes.Repeat([]byte("x"), size-len(b)-2)...), `"}`...)
}

// interruptTail has `tollbridge tail` see an event, and end well.
func (b *tollbridge) interruptTail(t *testing.T) {
	t.Helper()
	var out lockedBuffer
	c := exec.Command(b.binary, "tail", "--config", b.config)
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill() }()
	for n := 0; out.String() == ""; n++ { // it begins where the topics end then
		if n > 200 {
			t.Fatal("tail prints nothing")
		}
		b.receiptOf(t, captured(fmt.Sprint("tailed-", n)))
		time.Sleep(50 * time.Millisecond)
	}
	if err := c.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil || !strings.Contains(out.String(), "\tpayment.captured\t1.00 EUR\ttailed-") {
		t.Errorf("tail that is interrupted: %v: %s", err, out.String())
	}
}

// letters has a dead letter come back byte for byte, one retried and one
// discarded.
func (b *tollbridge) letters(t *testing.T) {
	t.Helper()
	binary := make([]byte, 1<<20)
	_, _ = rand.Read(binary)
	if a, err := b.deliver("stripe", binary); err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("%v %v\n%s", a, err, b.log)
	}
	b.bury(t)
	type letter struct {
		ID    string
		Bytes int
	}
	var all []letter
	list := func() int {
		t.Helper()
		all = nil
		for line := range strings.Lines(b.command(t, "dead", "list", "--json")) {
			all = append(all, letter{})
			if err := json.Unmarshal([]byte(line), &all[len(all)-1]); err != nil {
				t.Fatal(err)
			}
		}
		return len(all)
	}
	if n := list(); n != 2 || all[0].Bytes != len(binary) {
		t.Fatalf("dead list: %+v, want the binary one first and another", all)
	}
	if out := b.command(t, "dead", "show", all[0].ID, "--raw"); out != string(binary) {
		t.Errorf("dead show --raw: %d bytes that differ", len(out))
	}
	for _, want := range []string{"1 of them new", "0 of them new"} {
		if out := b.command(t, "dead", "retry", all[1].ID, "--publish"); !strings.Contains(out, want) {
			t.Errorf("dead retry: %s, want %q", out, want)
		}
	}
	if n := strings.Count(b.command(t, "tail", "--exit", "--from", "1h", "--key", "buried"), "\n"); n != 1 {
		t.Errorf("the retried event is there %d times", n)
	}
	b.command(t, "dead", "discard", all[0].ID, "--note", "a test", "--apply")
	if n := list(); n != 0 {
		t.Errorf("%d letters are left: %+v", n, all)
	}
}

// bury writes a webhook to webhooks.dead that today's code can read.
func (b *tollbridge) bury(t *testing.T) {
	t.Helper()
	now := time.Now()
	r, err := b.sign("stripe", captured("buried"))
	if err != nil {
		t.Fatal(err)
	}
	m := kafka.Message{Topic: b.names.Dead(), Key: []byte("stripe"), Value: r.Body}
	for _, h := range [][2]string{
		{"connector", "stripe"}, {"endpoint", "default"}, {"method", r.Method}, {"path", "/webhooks/stripe"},
		{"received-at", now.UTC().Format(time.RFC3339Nano)}, {"outcome", "malformed"}, {"reason", "by a test"},
		{"http-stripe-signature", r.Header.Get("Stripe-Signature")},
	} {
		m.Headers = append(m.Headers, kafka.Header{Key: h[0], Value: []byte(h[1])})
	}
	w := &kafka.Writer{Addr: kafka.TCP(b.brokers...), RequiredAcks: kafka.RequireAll, Balancer: kafka.Murmur2Balancer{Consistent: true}, BatchTimeout: time.Millisecond, Transport: &kafka.Transport{}}
	defer w.Close()
	if err := w.WriteMessages(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// rewind moves a group back to the beginning, once it has no members.
func (b *tollbridge) rewind(t *testing.T) {
	t.Helper()
	group := b.names.Prefix + "fulfilment"
	read := func(while func()) string {
		t.Helper()
		r := kafka.NewReader(kafka.ReaderConfig{
			Brokers: b.brokers, GroupID: group, GroupTopics: []string{b.names.Event(schemas.PaymentCaptured)},
			StartOffset: kafka.FirstOffset, MaxWait: 100 * time.Millisecond, RebalanceTimeout: time.Second,
		})
		defer r.Close()
		m, err := r.ReadMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		while()
		return fmt.Sprint(m.Partition, "-", m.Offset)
	}
	read(func() {
		out, err := exec.Command(b.binary, "rewind", group, "--to", "earliest", "--apply", "--config", b.config).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "1 members; stop them first") {
			t.Errorf("rewind while it has a member: %v: %s", err, out)
		}
	})
	if out := b.command(t, "rewind", group, "--to", "earliest"); !strings.Contains(out, "would be moved") || !strings.Contains(out, " 1 read again") {
		t.Errorf("rewind: %s", out)
	}
	if out := b.command(t, "rewind", group, "--to", "earliest", "--apply"); !strings.Contains(out, "is moved: 1 read again, 0 never read") {
		t.Errorf("rewind --apply: %s", out)
	}
	if out := b.command(t, "rewind", group, "--to", "earliest"); !strings.Contains(out, " 0 read again, 0 never read") {
		t.Errorf("rewind after it: %s", out)
	}
	if at := read(func() {}); !strings.HasSuffix(at, "-0") {
		t.Errorf("the group begins at %s, want offset 0", at)
	}
}
