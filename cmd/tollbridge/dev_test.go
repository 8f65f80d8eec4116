package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/verify"
)

// screen is what a command prints while it runs.
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

// until waits for something to become true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s", what)
		}
	}
}

// TestDev starts `tollbridge dev`, sends it the first sample of every connector
// with `tollbridge send`, sees each on the screen, and ends it.
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
		got := tollbridge(t, "", "send", connector, normalize.Samples(connector)[0], "--to", url)
		if got.code != 0 || !strings.HasPrefix(got.out, "20") || !strings.Contains(got.out, `";topic="`) {
			t.Errorf("send %s: exit %d, %s%s", connector, got.code, got.out, got.err)
		}
		if shown := out.String()[before:]; !strings.Contains(shown, "  partition ") || !strings.Contains(shown, "  offset ") {
			t.Errorf("%s is not on the screen: %q", connector, shown)
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
		t.Fatal("dev does not end")
	}
}

// slowKafka takes 300 ms for everything, and counts what is under way.
type slowKafka struct{ arrived chan struct{} }

func (k slowKafka) Publish(_ context.Context, r []publish.Record) ([]publish.Receipt, error) {
	k.arrived <- struct{}{}
	time.Sleep(300 * time.Millisecond)
	return make([]publish.Receipt, len(r)), nil
}

// TestDrain: a stop answers the webhooks under way, takes no more, and leaves
// nothing running.
func TestDrain(t *testing.T) {
	const n = 50
	before := runtime.NumGoroutine()
	kafka := slowKafka{make(chan struct{}, n)}
	keys, secret, _ := sign.Dev("stripe")
	server, err := ingest.New(ingest.Config{Endpoints: []ingest.Endpoint{{Connector: "stripe", Keys: keys}}, Publisher: kafka})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- listen(ctx, zerolog.Nop(), map[net.Listener]http.Handler{l: server}) }()

	client := &http.Client{Transport: &http.Transport{}}
	answers := make(chan string, n)
	for range n {
		go func() { answers <- deliver(client, "http://"+l.Addr().String()+"/webhooks/stripe", secret) }()
	}
	for range n {
		<-kafka.arrived
	}
	stop()
	for range n {
		if got := <-answers; got != "200 OK" {
			t.Errorf("a webhook under way got %s", got)
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("listen: %v", err)
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("a connection was taken after the stop")
	}
	client.CloseIdleConnections()
	until(t, fmt.Sprintf("the %d goroutines that there were before", before), func() bool { return runtime.NumGoroutine() <= before })
}

// deliver sends a signed webhook and returns the status of the answer.
func deliver(client *http.Client, url, secret string) string {
	payload, err := normalize.Sample("stripe", "payment_intent.succeeded")
	if err != nil {
		return err.Error()
	}
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
