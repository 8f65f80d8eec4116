package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/console"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// onlyIfAsked skips a measurement that takes minutes, unless the environment asks for it.
func onlyIfAsked(t *testing.T) {
	t.Helper()
	if os.Getenv("CONSOLE_LOAD") == "" {
		t.Skip("a measurement of some minutes: set CONSOLE_LOAD=1 to run it")
	}
}

// TestConsoleViewsLoad measures how many webhooks a second the server takes, in turns
// without and with 100 open live views. Senders, views, server and the broker share this
// machine, so that what the views cost is seen.
func TestConsoleViewsLoad(t *testing.T) {
	onlyIfAsked(t)
	b := newBridge(t, kafkatest.Start(t, kafkatest.Options{}).Bootstrap(), fmt.Sprintf("load%d.", time.Now().UnixNano()))
	b.start(t)
	const views, senders, turn = 100, 32, 5 * time.Second
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}, Timeout: 30 * time.Second}
	var sent atomic.Int64
	measure := func() float64 {
		var sending sync.WaitGroup
		start, from := time.Now(), sent.Load()
		for range senders {
			sending.Go(func() {
				for time.Since(start) < turn {
					v, err := sign.Request("stripe", paid(fmt.Sprintf("load-%d", sent.Add(1)), 1000), b.secret, nil, b.url, time.Now())
					if err != nil {
						t.Error(err)
						return
					}
					r, _ := http.NewRequest(v.Method, b.url, bytes.NewReader(v.Body))
					r.Header = v.Header
					a, err := client.Do(r)
					if err != nil {
						t.Error(err)
						return
					}
					a.Body.Close()
					if a.StatusCode != http.StatusOK {
						t.Errorf("a webhook was answered %s", a.Status)
						return
					}
				}
			})
		}
		sending.Wait()
		return float64(sent.Load()-from) / time.Since(start).Seconds()
	}
	measure() // warm
	var without, with []float64
	var rows atomic.Int64
	for range 4 {
		without = append(without, measure())
		ctx, closeViews := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		for range views {
			watching.Go(func() { rows.Add(countRows(ctx, t, b.console()+"live/stream")) })
		}
		time.Sleep(time.Second)
		with = append(with, measure())
		closeViews()
		watching.Wait()
	}
	slices.Sort(without)
	slices.Sort(with)
	ratio := (with[1] + with[2]) / (without[1] + without[2])
	t.Logf("webhooks a second without views %.0f, with %d views %.0f: ratio %.2f; the views got %d rows", without, views, with, ratio, rows.Load())
	if ratio < 0.8 || rows.Load() < 4*views*100 {
		t.Errorf("ratio %.2f, want at least 0.8; %d rows", ratio, rows.Load())
	}
}

// countRows reads a live view until ctx is done, and returns how many rows it got.
func countRows(ctx context.Context, t *testing.T, address string) (rows int64) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		if ctx.Err() == nil {
			t.Error(err)
		}
		return 0
	}
	defer a.Body.Close()
	lines := bufio.NewReaderSize(a.Body, 64<<10)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case err != nil:
			return rows
		case string(line) == "event: record\n":
			rows++
		case string(line) == "event: problem\n":
			t.Error("a view was ended")
		}
	}
}

// TestConsoleMillion writes a million webhooks with their events to an Apache Kafka, and
// measures how long a payment's page takes: at a server, and at the command beside it and
// without it.
func TestConsoleMillion(t *testing.T) {
	onlyIfAsked(t)
	const all, batch = 1_000_000, 1_000
	b := newBridge(t, kafkatest.Start(t, kafkatest.Options{}).Bootstrap(), fmt.Sprintf("million%d.", time.Now().UnixNano()))
	producer := publish.NewProducer(publish.Config{Kafka: b.kafka})
	until(t, "a broker that has just started to acknowledge", func() bool {
		_, err := producer.Publish(t.Context(), b.webhookAndEvent(t, all))
		return err == nil
	})
	start := time.Now()
	var next atomic.Int64
	var writing sync.WaitGroup
	for range 8 {
		writing.Go(func() {
			for {
				from := int(next.Add(batch)) - batch
				if from >= all || t.Failed() {
					return
				}
				var records []kafka.Record
				for n := from; n < from+batch; n++ {
					records = append(records, b.webhookAndEvent(t, n)...)
				}
				if _, err := producer.Publish(t.Context(), records); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	producer.Close()
	t.Logf("%d webhooks and their events were written in %v", all, time.Since(start).Round(time.Second))
	start = time.Now()
	b.launch(t)
	until(t, "the admin listener", func() bool {
		a, err := http.Get("http://" + b.admin + "/healthz")
		return err == nil && a.Body.Close() == nil
	})
	for restored := false; !restored && time.Since(start) < 5*time.Minute; time.Sleep(time.Second) {
		_, body := get(t, b.console()+"payment?id=order-999999", asHTML)
		_, health := get(t, b.console(), asJSON)
		restored = strings.Contains(body, "payment.captured") && strings.Contains(health, `"state_lag_records": 0`)
	}
	t.Logf("the server was ready after %v", time.Since(start).Round(time.Second))
	measure := func(what, console string, ids func(n int) string, most time.Duration) {
		t.Helper()
		var took []time.Duration
		for i := range 20 {
			n := (i*49_999 + 7) % all
			start := time.Now()
			status, got := get(t, console+"payment?id="+ids(n), asHTML)
			took = append(took, time.Since(start))
			if status != http.StatusOK || !strings.Contains(got, "payment.captured") || !strings.Contains(got, `>webhook</a>`) {
				t.Fatalf("%s: %s: status %d: %.2000s", what, ids(n), status, got)
			}
		}
		slices.Sort(took)
		t.Logf("%s: median %v, longest of %d %v", what, took[len(took)/2], len(took), took[len(took)-1])
		if took[len(took)/2] > most {
			t.Errorf("%s: median %v, want at most %v", what, took[len(took)/2], most)
		}
	}
	order := func(n int) string { return fmt.Sprintf("order-%d", n) }
	measure("serve, by the merchant's id", b.console(), order, time.Second)
	measure("serve, by the processor's id", b.console(), func(n int) string { return fmt.Sprintf("pi_%d", n) }, time.Second)
	start = time.Now()
	if status, got := get(t, b.console()+"payment?id=nobody", asHTML); status != http.StatusOK || !strings.Contains(got, "Nothing is known of nobody") {
		t.Errorf("an unknown id: status %d: %.2000s", status, got)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("serve, an unknown id: %v, want at most 1s", took)
	}
	beside := startConsole(t, b.config, b.admin)
	measure("console beside serve, by the merchant's id", beside, order, time.Second)
	alone := startConsole(t, b.config, freePort(t))
	start = time.Now()
	if status, got := get(t, alone+"payment?id=order-999", asHTML); status != http.StatusOK || !strings.Contains(got, "payment.captured") {
		t.Errorf("console without a server: status %d: %.2000s", status, got)
	}
	t.Logf("console without a server, by the merchant's id, which reads one partition of each topic: %v", time.Since(start))
}

// startConsole starts 'tollbridge console' and returns its address.
func startConsole(t *testing.T, config, admin string) string {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var out screen
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"console", "--config", config, "--listen", "127.0.0.1:0", "--admin", admin}, strings.NewReader(""), &out, &out)
	}()
	t.Cleanup(func() { stop(); <-ended })
	until(t, "the command to print its address", func() bool { return strings.Contains(out.String(), "/console/") })
	return strings.Fields(out.String())[1]
}

// webhookAndEvent returns the records of a webhook about payment n, as the server writes
// them: the webhook, its event and the reference of the processor's id.
func (b *bridge) webhookAndEvent(t *testing.T, n int) []kafka.Record {
	now := time.Now().UTC()
	key, id := fmt.Sprintf("order-%d", n), fmt.Sprintf("stripe:evt_%d", n)
	event := schemas.Event{
		SpecVersion: schemas.SpecVersion, ID: id, Source: "/webhooks/stripe/default", Type: schemas.PaymentCaptured, Subject: key, Time: now,
		DataContentType: "application/json", DataSchema: schemas.PaymentCaptured.Schema(),
		Data: schemas.Data{MerchantTransactionID: key, KeySource: schemas.KeyFromPayload, Connector: "stripe", Endpoint: "default", Amount: &schemas.Amount{Value: 1099, Currency: "EUR"},
			ConnectorEventType: "payment_intent.succeeded", ConnectorTransactionID: fmt.Sprintf("pi_%d", n), Status: "captured", ReceivedAt: now},
	}
	e, err := kafka.EventRecord(b.names, event, "")
	if err != nil {
		t.Error(err)
	}
	w := kafka.Record{Topic: b.names.Received(), ID: id + " webhook", Key: []byte(key), Value: paid(key, 600)}
	for _, h := range [][2]string{{"connector", "stripe"}, {"endpoint", "default"}, {"received-at", now.Format(time.RFC3339Nano)}, {"outcome", "events"}, {"event-ids", id}} {
		w.Headers = append(w.Headers, schemas.Header{Name: h[0], Value: h[1]})
	}
	records := []kafka.Record{w, e}
	for _, reference := range history.ReferenceKeys(event) {
		records = append(records, kafka.Record{Topic: b.names.References(), ID: reference, Key: []byte(reference), Value: []byte(key), Headers: []schemas.Header{{Name: schemas.HeaderEventID, Value: id}}})
	}
	return records
}

// accepting is a publisher that accepts everything.
type accepting struct{}

func (accepting) Publish(_ context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
	return make([]kafka.Receipt, len(records)), nil
}

// TestConsoleCost: with a console, a webhook allocates no more than without one.
func TestConsoleCost(t *testing.T) {
	_, secret, _ := sign.Dev("stripe")
	endpoints := []webhook.Endpoint{{Connector: "stripe", Keys: verify.Keys{Secrets: []verify.Secret{{Name: "main", Value: secret}}}}}
	v, err := sign.Request("stripe", paid("4711", 1000), secret, nil, "http://localhost/webhooks/stripe", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	allocations := func(with bool) float64 {
		metrics := prometheus.NewRegistry()
		c := ingest.Config{Endpoints: endpoints, Publisher: accepting{}, Metrics: metrics, Log: zerolog.Nop()}
		if with {
			pages := console.New(console.Config{Names: func() (kafka.Names, error) { return kafka.Names{}, nil }, Endpoints: func() []webhook.Endpoint { return endpoints }, Metrics: metrics, Log: zerolog.Nop()})
			ctx, stop := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { pages.Run(ctx) })
			defer running.Wait()
			defer stop()
			c.Console = pages
		}
		server, err := ingest.New(c)
		if err != nil {
			t.Fatal(err)
		}
		return testing.AllocsPerRun(500, func() {
			r := httptest.NewRequest(v.Method, "/webhooks/stripe", bytes.NewReader(v.Body))
			r.Header = v.Header
			w := httptest.NewRecorder()
			if server.ServeHTTP(w, r); w.Code != http.StatusOK {
				t.Fatalf("the webhook was answered %d: %s", w.Code, w.Body)
			}
		})
	}
	without, with := allocations(false), allocations(true)
	if with > without+1 { // a sample of the counters can fall into the run
		t.Errorf("a webhook allocates %.0f times with the console, %.0f without", with, without)
	}
	t.Logf("allocations of a webhook: %.0f with the console, %.0f without", with, without)
}
