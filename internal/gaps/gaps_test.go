package gaps_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
	"github.com/tollbridge/tollbridge/internal/gaps"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

var now = time.Now().UTC().Truncate(time.Second)

// event returns a Stripe event of a payment that was captured some minutes ago.
func event(n int, minutes time.Duration) string {
	return fmt.Sprintf(`{"id":"evt_%06d","object":"event","api_version":"2025-03-31.basil","created":%d,"livemode":false,"type":"payment_intent.succeeded",`+
		`"data":{"object":{"id":"pi_%d","object":"payment_intent","amount":500,"amount_received":500,"currency":"eur","status":"succeeded","latest_charge":"ch_%d","livemode":false,"metadata":{"order_id":"order-%d"}}}}`,
		n, now.Add(-minutes*time.Minute).Unix(), n, n, n)
}

// rig is a Kafka, and a server that publishes to it.
type rig struct {
	kafka    kafka.Config
	endpoint webhook.Endpoint
	server   *ingest.Server
	history  *history.History
}

func newRig(t *testing.T, brokers []string) *rig {
	t.Helper()
	keys, _, _ := sign.Dev("stripe")
	r := &rig{kafka: kafka.Config{Brokers: brokers}}
	r.endpoint = webhook.Endpoint{Connector: "stripe", Keys: keys, API: &fetch.API{Keys: []fetch.Key{{Name: "main", Value: "rk_test_71demo71"}}}}
	layout := kafka.Layout{Partitions: 2, Replication: 1}
	if _, err := layout.Apply(t.Context(), r.kafka); err != nil {
		t.Fatal(err)
	}
	producer := publish.NewProducer(publish.Config{Kafka: r.kafka})
	t.Cleanup(producer.Close)
	var err error
	if r.history, err = history.Open(t.Context(), history.Config{Kafka: r.kafka, Publisher: producer, Log: zerolog.Nop()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.history.Close() })
	r.history.Await(t.Context(), 60*time.Second)
	if r.server, err = ingest.New(ingest.Config{Endpoints: []webhook.Endpoint{r.endpoint}, Publisher: producer, History: r.history}); err != nil {
		t.Fatal(err)
	}
	return r
}

// deliver sends a webhook to the server.
func (r *rig) deliver(t *testing.T, body string) {
	t.Helper()
	_, secret, _ := sign.Dev("stripe")
	v, err := sign.Request("stripe", []byte(body), secret, r.endpoint.Keys.Settings, "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	q := httptest.NewRequest(v.Method, "/webhooks/stripe", bytes.NewReader(v.Body))
	q.Header = v.Header
	answer := httptest.NewRecorder()
	r.server.ServeHTTP(answer, q)
	if answer.Code != http.StatusOK {
		t.Fatalf("%d %s: %s", answer.Code, answer.Body, body)
	}
}

func (r *rig) config(s *fetchtest.Server, a gaps.Action) gaps.Config {
	caller := callerOf(s)
	return gaps.Config{
		Endpoint: r.endpoint, From: now.Add(-10 * 24 * time.Hour), To: now.Add(-15 * time.Minute), Action: a,
		List: func(ctx context.Context, q fetch.ListQuery, at fetch.Position) (fetch.Page, error) {
			return caller.Page(ctx, "stripe", q, at)
		},
		Published: func(e schemas.Event) (bool, error) { _, ok, err := r.history.Published(e); return ok, err },
		Publish: func(ctx context.Context, payload []byte, documents []schemas.Fetched) (int, webhook.Verdict, error) {
			return r.server.PublishListed(ctx, r.endpoint.ID(), payload, documents)
		},
	}
}

// callerOf returns a caller whose requests come to the server, and that waits for nothing.
func callerOf(s *fetchtest.Server) *fetch.Caller {
	return &fetch.Caller{Transport: s.Transport(), Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
}

// withheld delivers all but every seventh webhook, and returns all events, newest first,
// and the ids of those that were not delivered and that the processor no longer delivers.
func (r *rig) withheld(t *testing.T, n int) (events, missing []string) {
	for i := range n {
		e := event(i, time.Duration(4*24*60+n-i)) // older than the redeliveries
		events = append(events, e)
		if i%7 == 3 {
			missing = append(missing, fmt.Sprintf("evt_%06d", i))
		} else {
			r.deliver(t, e)
		}
	}
	events = append(events, event(n, 60), event(n+1, 5)) // one may still come, one is too new to be listed
	slices.Reverse(events)
	return events, missing
}

// testWithheld: exactly the webhooks that did not come are found, published once, and a
// second run finds none.
func testWithheld(t *testing.T, brokers []string) {
	r := newRig(t, brokers)
	events, missing := r.withheld(t, 250)
	s := fetchtest.New(t, fetchtest.Stripe(t, events))
	var found []string
	each := func(f gaps.Finding) error {
		if f.Status == gaps.Missing {
			found = append(found, f.ID)
			if !slices.Equal(f.Events, []schemas.Type{schemas.PaymentCaptured}) {
				t.Errorf("%s misses %v", f.ID, f.Events)
			}
		}
		return nil
	}
	for run, c := range []struct {
		action                          gaps.Action
		known, missing, late, published int
	}{
		{gaps.Plan, 250 - len(missing), len(missing), 1, 0},
		{gaps.Publish, 250 - len(missing), len(missing), 1, len(missing) + 1},
		{gaps.Publish, 251, 0, 0, 0},
		{gaps.Plan, 251, 0, 0, 0},
	} {
		found = nil
		cfg := r.config(s, c.action)
		cfg.Each = each
		n, err := gaps.Run(t.Context(), cfg)
		slices.Sort(found)
		if err != nil || n.Listed != 251 || n.Known != c.known || n.Missing != c.missing || n.Late != c.late || n.Published != c.published {
			t.Errorf("run %d, %s: %+v, %v; want %+v", run, c.action, n, err, c)
		}
		if c.missing > 0 && !slices.Equal(found, missing) {
			t.Errorf("run %d found %v, want %v", run, found, missing)
		}
	}
	all, vouched := r.published(t)
	if len(all) != 251 || vouched != len(missing)+1 {
		t.Errorf("%d events are published and %d archived webhooks vouched for by gaps, want 251 and %d", len(all), vouched, len(missing)+1)
	}
	for id, times := range all {
		if times != 1 {
			t.Errorf("%s is published %d times", id, times)
		}
	}
	// A webhook that comes after all is a duplicate.
	r.deliver(t, events[len(events)-1-3])
	if all, _ := r.published(t); len(all) != 251 || slices.Max(slices.Collect(func(yield func(int) bool) {
		for _, n := range all {
			if !yield(n) {
				return
			}
		}
	})) != 1 {
		t.Error("a webhook that came after its gap was published makes another event")
	}
}

// published returns how often each event id is in the topics, and the number of archived
// webhooks that gaps made; each of those is judged again from the archive.
func (r *rig) published(t *testing.T) (ids map[string]int, vouched int) {
	t.Helper()
	reader := consume.New(r.kafka)
	defer reader.Close()
	ids = map[string]int{}
	names := kafka.Names{}
	ranges, err := reader.TopicBounds(t.Context(), append(names.Events(), names.Received())...)
	if err != nil {
		t.Fatal(err)
	}
	err = reader.Read(t.Context(), ranges, func(chunks []consume.Chunk) error {
		for _, chunk := range chunks {
			for _, record := range chunk.Records {
				if record.Topic != names.Received() {
					var e schemas.Event
					if err := json.Unmarshal(record.Value, &e); err != nil {
						return err
					}
					ids[e.ID]++
					continue
				}
				a, err := webhook.ReadArchived(record.Headers, record.Value)
				if err != nil {
					return err
				}
				if a.VouchedBy == webhook.VouchedByGaps {
					vouched++
					v := r.endpoint.JudgeArchived(t.Context(), nil, a)
					if v.Err != nil || len(v.Events) != 1 || v.Events[0].ID != a.EventIDs[0] {
						t.Errorf("judged again: %+v, want the event %v", v, a.EventIDs)
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids, vouched
}

func TestWithheld(t *testing.T) { testWithheld(t, kafkatest.Fake(t).ListenAddrs()) }

// TestWithheldRealKafka is TestWithheld on a real Kafka.
func TestWithheldRealKafka(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real Kafka")
	}
	testWithheld(t, kafkatest.Start(t, kafkatest.Options{}).Bootstrap())
}

// TestHas: a fact is found by the processor's id of its payment and by the merchant's id,
// and only if its own event was published.
func TestHas(t *testing.T) {
	r := newRig(t, kafkatest.Fake(t).ListenAddrs())
	r.deliver(t, event(1, 60))
	cfg := gaps.Config{Endpoint: r.endpoint}
	cfg.Connect(&fetch.Caller{}, r.history, kafka.Names{})
	for fact, want := range map[fetch.Fact]bool{
		{ID: "pi_1", Type: schemas.PaymentCaptured}: true, {ID: "order-1", Type: schemas.PaymentCaptured}: true,
		{ID: "pi_1", Type: schemas.RefundSucceeded}: false, {ID: "pi_2", Type: schemas.PaymentCaptured}: false,
	} {
		has, err := cfg.Has(fact)
		for wait := 0; err == nil && has != want && wait < 100; wait++ { // until the state has the record
			time.Sleep(50 * time.Millisecond)
			has, err = cfg.Has(fact)
		}
		if err != nil || has != want {
			t.Errorf("%s %s: %v, %v; want %v", fact.Type, fact.ID, has, err, want)
		}
	}
}

// generated is a list of many events, of which every hundredth is missing. It makes a
// page when it is asked for one.
type generated struct {
	events, perPage int
	killAt          int // the page at which the run is killed; 0 is never
	pages           []string
}

var errKilled = errors.New("killed")

func (g *generated) list(_ context.Context, q fetch.ListQuery, at fetch.Position) (fetch.Page, error) {
	first, _ := strconv.Atoi(at.Cursor)
	g.pages = append(g.pages, at.Cursor)
	if g.killAt > 0 && len(g.pages) == g.killAt {
		return fetch.Page{}, errKilled
	}
	var p fetch.Page
	for i := first; i < min(first+g.perPage, g.events); i++ {
		p.Items = append(p.Items, fetch.Item{ID: fmt.Sprint("evt_", i), Type: "payment_intent.succeeded", Time: q.To.Add(-time.Duration(i) * time.Second), Payload: []byte(event(i, 8000))})
	}
	p.Next = fetch.Position{Cursor: strconv.Itoa(first + g.perPage), End: first+g.perPage >= g.events}
	return p, nil
}

// TestHundredThousand: a run over 10^5 events needs little memory. It is killed while it
// lists and while it publishes, and goes on where it was.
func TestHundredThousand(t *testing.T) {
	const events, perPage = 100_000, 500
	keys, _, _ := sign.Dev("stripe")
	path := filepath.Join(t.TempDir(), "journal")
	published := map[string]int{}
	var order []string
	killAfter := 300
	var most uint64
	run := func(g *generated) (gaps.Counts, error) {
		j, err := gaps.OpenJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		// The process is killed: the file is closed, and nothing is written any more.
		defer func() { _ = j.Close() }()
		return gaps.Run(t.Context(), gaps.Config{
			Endpoint: webhook.Endpoint{Connector: "stripe", Keys: keys, API: &fetch.API{Keys: []fetch.Key{{Name: "main", Value: "rk_test_71demo71"}}}},
			From:     now.Add(-20 * 24 * time.Hour), To: now.Add(-5 * 24 * time.Hour), Action: gaps.Publish, Journal: j,
			List: g.list,
			Published: func(e schemas.Event) (bool, error) {
				n, _ := strconv.Atoi(e.Subject[len("order-"):])
				return n%100 != 0 || published[e.Subject] > 0, nil
			},
			Publish: func(_ context.Context, payload []byte, _ []schemas.Fetched) (int, webhook.Verdict, error) {
				if killAfter--; killAfter == 0 {
					return 0, webhook.Verdict{}, errKilled
				}
				var e struct {
					Data struct {
						Object struct{ Metadata map[string]string }
					}
				}
				_ = json.Unmarshal(payload, &e)
				order = append(order, e.Data.Object.Metadata["order_id"])
				published[e.Data.Object.Metadata["order_id"]]++
				return 1, webhook.Verdict{}, nil
			},
			Progress: func(_ string, listed int, _ float64) {
				if listed%10_000 == 0 {
					var m runtime.MemStats
					runtime.GC()
					runtime.ReadMemStats(&m)
					most = max(most, m.HeapAlloc)
				}
			},
		})
	}
	first := &generated{events: events, perPage: perPage, killAt: 120}
	if n, err := run(first); !errors.Is(err, errKilled) || n.Listed != 119*perPage {
		t.Errorf("the run that is killed at its 120th page: %+v, %v", n, err)
	}
	second := &generated{events: events, perPage: perPage}
	n, err := run(second)
	if !errors.Is(err, errKilled) || n.Listed != events || n.Missing != events/100 || n.Published != 299 {
		t.Errorf("the run that is killed while it publishes: %+v, %v", n, err)
	}
	if second.pages[0] != first.pages[119] || len(second.pages) != events/perPage-119 {
		t.Errorf("the second run asks for %d pages from %s on, want to go on at %s", len(second.pages), second.pages[0], first.pages[119])
	}
	third := &generated{events: events, perPage: perPage}
	if n, err = run(third); err != nil || n.Listed != events || n.Missing != events/100 || n.Published != events/100 || len(third.pages) != 0 {
		t.Errorf("the last run: %+v, %v, %d pages", n, err, len(third.pages))
	}
	for key, times := range published {
		if times != 1 {
			t.Errorf("%s is published %d times", key, times)
		}
	}
	if len(order) != events/100 || order[0] != "order-99900" || order[len(order)-1] != "order-0" {
		t.Errorf("%d published, from %s to %s; want the oldest first", len(order), order[0], order[len(order)-1])
	}
	if most > 48<<20 {
		t.Errorf("the heap has %d bytes", most)
	}
}

// TestJournalOfAnotherFile: a file that is not a journal is not used and not changed. A new file,
// and one whose first line is not complete, are used.
func TestJournalOfAnotherFile(t *testing.T) {
	keys, _, _ := sign.Dev("stripe")
	for text, journal := range map[string]bool{
		"": true, `{"ru`: true, `{"run":{"connector":"str`: true,
		"public_url: https://pay.example.com\n": false, "{\"id\":1}\n{\"id\":2}\n": false, "{}": false, "\n": false,
	} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := gaps.OpenJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = gaps.Run(t.Context(), gaps.Config{
			Endpoint: webhook.Endpoint{Connector: "stripe", Keys: keys, API: &fetch.API{Keys: []fetch.Key{{Name: "main", Value: "rk_test_71demo71"}}}},
			Journal:  j, From: now.Add(-time.Hour), To: now,
			List:      (&generated{events: 10, perPage: 5}).list,
			Published: func(schemas.Event) (bool, error) { return true, nil },
		})
		_ = j.Close()
		got, _ := os.ReadFile(path)
		if journal && (err != nil || !bytes.HasPrefix(got, []byte(`{"run":`))) || !journal && (!errors.Is(err, gaps.ErrJournal) || string(got) != text) {
			t.Errorf("the file %q: %v, and it has %q", text, err, got)
		}
	}
}

// TestResendRefused: an item that the processor does not deliver again is counted, the first with
// its reason, and the others are resent. An error that is not of one item ends the run.
func TestResendRefused(t *testing.T) {
	keys, _, _ := sign.Dev("paypal")
	for name, tt := range map[string]struct {
		err            error // of every second resend
		resent, failed int
		first          string
	}{
		"refused":     {fetch.ErrRequest, 2, 2, "WH-2: resending: " + fetch.ErrRequest.Error()},
		"unknown":     {fetch.ErrUnknownObject, 2, 2, "WH-2: resending: " + fetch.ErrUnknownObject.Error()},
		"no answer":   {fetch.ErrUnavailable, 1, 0, ""},
		"no error":    {nil, 4, 0, ""},
		"a wrong key": {fetch.ErrCredentials, 1, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			c, err := gaps.Run(t.Context(), gaps.Config{
				Endpoint: webhook.Endpoint{Connector: "paypal", Keys: keys, API: &fetch.API{ClientID: "client-71", Keys: []fetch.Key{{Name: "main", Value: "key-71demo71"}}}},
				Action:   gaps.Resend, From: now.Add(-10 * 24 * time.Hour), To: now,
				List: func(_ context.Context, q fetch.ListQuery, _ fetch.Position) (p fetch.Page, err error) {
					for n := range 4 {
						id := fmt.Sprint("WH-", n)
						payload := fmt.Sprintf(`{"id":%q,"event_type":"PAYMENT.CAPTURE.COMPLETED","create_time":%[2]q,"resource":{"id":%[1]q,"amount":{"value":"5.00","currency_code":"EUR"},"status":"COMPLETED","create_time":%[2]q}}`, id, q.From.Add(time.Hour).Format(time.RFC3339))
						p.Items = append(p.Items, fetch.Item{ID: id, Type: "PAYMENT.CAPTURE.COMPLETED", Time: q.From.Add(time.Hour), Payload: []byte(payload)})
					}
					p.Next.End = true
					return p, nil
				},
				Published: func(schemas.Event) (bool, error) { return false, nil },
				Resend: func(context.Context, fetch.ListQuery, fetch.Item) error {
					if n++; n%2 == 0 && tt.err != nil {
						return fmt.Errorf("resending: %w", tt.err)
					}
					return nil
				},
			})
			if c.Resent != tt.resent || c.Failed != tt.failed || c.FirstFailure != tt.first || (err != nil) != (tt.err != nil && tt.failed == 0) {
				t.Errorf("%+v, %v; want %+v", c, err, tt)
			}
		})
	}
}

// TestJournalOfAnotherRun: a journal is used only for the run that began it.
func TestJournalOfAnotherRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	keys, _, _ := sign.Dev("stripe")
	run := func(a gaps.Action) error {
		j, err := gaps.OpenJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		_, err = gaps.Run(t.Context(), gaps.Config{
			Endpoint: webhook.Endpoint{Connector: "stripe", Keys: keys, API: &fetch.API{Keys: []fetch.Key{{Name: "main", Value: "rk_test_71demo71"}}}},
			Action:   a, Journal: j, From: now.Add(-time.Hour), To: now,
			List:      (&generated{events: 10, perPage: 5}).list,
			Published: func(schemas.Event) (bool, error) { return true, nil },
		})
		return err
	}
	if err := run(gaps.Plan); err != nil {
		t.Error(err)
	}
	if err := run(gaps.Publish); !errors.Is(err, gaps.ErrJournal) {
		t.Errorf("%v, want %v", err, gaps.ErrJournal)
	}
}
