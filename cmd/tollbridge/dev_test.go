package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/verify"
)

// screen collects what a command prints while it runs.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// until waits until a condition is true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestDev starts `tollbridge dev`, sends it the first sample of every connector with
// `tollbridge send`, checks that each is printed, and stops it.
func TestDev(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var out, errOut screen
	ended := make(chan int, 1)
	go func() {
		args := []string{"dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--broker", "127.0.0.1:0"}
		ended <- run(ctx, args, strings.NewReader(""), &out, &errOut)
	}()
	at := regexp.MustCompile(`--to (http://127\.0\.0\.1:[1-9]\d*)/webhooks/stripe/default`)
	until(t, "dev to listen", func() bool { return at.MatchString(out.String()) })
	address := at.FindStringSubmatch(out.String())[1]
	for _, connector := range verify.Connectors() {
		before := len(out.String())
		url := address + "/webhooks/" + connector + "/default"
		got := tollbridge(t, "", "send", connector, samples.Names(connector)[0], "--to", url)
		if got.code != 0 || !strings.HasPrefix(got.out, "20") || !strings.Contains(got.out, `";topic="`) ||
			!strings.HasSuffix(got.out, "\n") || strings.Contains(got.out, "\n\n") {
			t.Errorf("send %s: exit %d, %s%s", connector, got.code, got.out, got.err)
		}
		if shown := out.String()[before:]; !strings.Contains(shown, "webhooks.") || !strings.Contains(shown, "]@") {
			t.Errorf("the webhook of %s is not printed: %q", connector, shown)
		}
	}
	got := tollbridge(t, "", "send", "stripe", "payment_intent.succeeded", "--to", address+"/webhooks/stripe", "--secret", "whsec_other", "--json")
	if got.code != 1 || !strings.Contains(got.out, `"status": 401`) {
		t.Errorf("send with another secret: exit %d, %s%s, want 1 and 401", got.code, got.out, got.err)
	}
	interrupt()
	select {
	case code := <-ended:
		if code != 0 || errOut.String() != "" {
			t.Errorf("dev: exit %d, %s", code, errOut.String())
		}
	case <-time.After(10 * time.Second):
		t.Fatal("dev does not stop")
	}
}

// hold is a publisher that delays each webhook until release is closed.
type hold struct {
	arrived, release chan struct{}
	next             history.Publisher
}

func (h *hold) Publish(ctx context.Context, r []kafka.Record) ([]kafka.Receipt, error) {
	if r[0].Topic != (kafka.Names{}).References() { // which the history writes
		h.arrived <- struct{}{}
		<-h.release
	}
	return h.next.Publish(ctx, r)
}

// TestStop: after SIGTERM, which ends the context, /readyz answers 503 first. Requests
// in flight are answered and no new ones accepted. The admin listener closes last, and
// no goroutine is left.
func TestStop(t *testing.T) {
	const n = 50
	before := runtime.NumGoroutine() + 1 // the console's session store stays
	cluster, broker, err := fakeKafka("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	cfg := devConfig("127.0.0.1:0", "127.0.0.1:0", broker)
	producer, err := cfg.producer()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.layout().Apply(t.Context(), producer.Kafka); err != nil {
		t.Fatal(err)
	}
	l, err := cfg.open()
	if err != nil {
		t.Fatal(err)
	}
	_, secret, _ := sign.Dev("stripe")
	webhooks, admin := l.webhooks.Addr().String(), "http://"+l.admin.Addr().String()
	held := &hold{arrived: make(chan struct{}, n), release: make(chan struct{})}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	var logs screen
	go func() {
		ended <- serve(ctx, cfg, l, zerolog.New(&logs), hooks{publisher: func(next history.Publisher) history.Publisher {
			held.next = next
			return held
		}}, nil)
	}()
	client := &http.Client{Transport: &http.Transport{}}
	ready := func() string {
		a, err := client.Get(admin + "/readyz")
		if err != nil {
			return err.Error()
		}
		defer a.Body.Close()
		b, _ := io.ReadAll(a.Body)
		return a.Status + " " + string(b)
	}
	until(t, "the server to be ready", func() bool { return ready() == "200 OK ready\n" })

	answers := make(chan string, n)
	var stopping atomic.Bool
	for i := range n {
		go func() {
			for {
				status := deliver(client, "http://"+webhooks+"/webhooks/stripe", secret, i)
				if status == "200 OK" || stopping.Load() {
					answers <- status
					return
				}
				time.Sleep(100 * time.Millisecond) // a busy machine refuses some: they are delivered again
			}
		}()
	}
	for range n {
		<-held.arrived
	}
	stopping.Store(true)
	stop()
	until(t, "readyz to say that the server stops", func() bool { return ready() == "503 Service Unavailable not ready: the server is stopping\n" })
	until(t, "the webhooks' listener to close", func() bool {
		c, err := net.Dial("tcp", webhooks)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if got := len(answers); got > 0 {
		t.Errorf("%d webhooks were answered before they were published", got)
	}
	if got := ready(); !strings.Contains(got, "stopping") {
		t.Errorf("while webhooks are answered, readyz answers %s", got)
	}
	close(held.release)
	for range n {
		if got := <-answers; got != "200 OK" {
			t.Errorf("a webhook in flight was answered %s", got)
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("serve: %v", err)
	}
	if got := ready(); !strings.Contains(got, "refused") {
		t.Errorf("after the stop, readyz answers %s", got)
	}
	said := -1
	for _, line := range []string{"stopping: /readyz answers 503", "requests finished", "stopped"} {
		at := strings.Index(logs.String(), line)
		if at <= said {
			t.Errorf("the log line %q is missing or in the wrong order in %s", line, logs.String())
		}
		said = at
	}
	client.CloseIdleConnections()
	cluster.Close()
	until(t, fmt.Sprintf("the %d goroutines that there were before", before), func() bool { return runtime.NumGoroutine() <= before })
}

// deliver sends a signed webhook and returns the status of the response.
func deliver(client *http.Client, url, secret string, number int) string {
	payload, err := samples.Payload("stripe", "payment_intent.succeeded")
	if err != nil {
		return err.Error()
	}
	payload = regexp.MustCompile(`(evt|pi|ch)_[A-Za-z0-9]+`).ReplaceAll(payload, fmt.Appendf(nil, "${1}_%d", number)) // another payment
	v, err := sign.Request("stripe", payload, secret, nil, url, time.Now())
	if err != nil {
		return err.Error()
	}
	r, err := http.NewRequest(v.Method, url, bytes.NewReader(v.Body))
	if err != nil {
		return err.Error()
	}
	r.Header = v.Header
	a, err := client.Do(r)
	if err != nil {
		return err.Error()
	}
	a.Body.Close()
	return a.Status
}

// TestDevSecret: dev accepts webhooks that are signed with the secret of --secret, and
// prints why it refuses another.
func TestDevSecret(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	var out, errOut screen
	ended := make(chan int, 1)
	go func() {
		args := []string{"dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--broker", "127.0.0.1:0", "--secret", "stripe=whsec_a8Fk3LqP9zXw2"}
		ended <- run(ctx, args, strings.NewReader(""), &out, &errOut)
	}()
	defer func() { interrupt(); <-ended }()
	at := regexp.MustCompile(`--to (http://127\.0\.0\.1:[1-9]\d*)/webhooks/stripe/default`)
	until(t, "dev to listen", func() bool { return at.MatchString(out.String()) })
	url := at.FindStringSubmatch(out.String())[1] + "/webhooks/stripe"
	if !strings.Contains(out.String(), "stripe has your secret") {
		t.Errorf("the output does not say whose secret is used: %s", out.String())
	}
	send := func(to string, args ...string) result {
		return tollbridge(t, "", append([]string{"send", "stripe", "payment_intent.succeeded", "--to", to}, args...)...)
	}
	if got := send(url, "--secret", "whsec_a8Fk3LqP9zXw2"); got.code != 0 {
		t.Errorf("signed with the secret: exit %d, %s%s", got.code, got.out, got.err)
	}
	if got := send(url, "--secret", "whsec_a8Fk3LqP9zXw2 "); got.code != 1 {
		t.Errorf("signed with another secret: exit %d, %s%s", got.code, got.out, got.err)
	}
	until(t, "the cause of the refusal", func() bool { return strings.Contains(out.String(), "refused: 401  /webhooks/stripe  ") })
	if got := send(strings.Replace(url, "stripe", "strype", 1), "--secret", "whsec_a8Fk3LqP9zXw2"); got.code != 1 {
		t.Errorf("an unknown path: exit %d", got.code)
	}
	until(t, "the refusal of the path", func() bool {
		return strings.Contains(out.String(), "refused: 404  /webhooks/strype: no endpoint has this path")
	})
	for _, wrong := range []string{"stripe", "stripe=", "nobody=x"} {
		if got := tollbridge(t, "", "dev", "--broker", "127.0.0.1:0", "--secret", wrong); got.code != 2 || !strings.Contains(got.err, "--secret") {
			t.Errorf("--secret %s: exit %d, %s", wrong, got.code, got.err)
		}
	}
}
