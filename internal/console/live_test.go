package console

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

// liveRig is a Kafka with the topics, and consoles that read from it.
type liveRig struct {
	t        *testing.T
	names    kafka.Names
	config   kafka.Config
	producer *publish.Producer
}

func newLiveRig(t *testing.T) *liveRig {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	c := kafka.Config{Brokers: cluster.ListenAddrs()}
	if _, err := (kafka.Layout{Partitions: 3, Replication: 1}).Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	r := &liveRig{t: t, config: c, producer: publish.NewProducer(publish.Config{Kafka: c})}
	t.Cleanup(r.producer.Close)
	return r
}

// server serves a console, with time-outs that are shorter than a view is open.
func (r *liveRig) server() (*Handler, *httptest.Server) {
	r.t.Helper()
	reader := consume.New(r.config)
	r.t.Cleanup(reader.Close)
	h := New(Config{Reader: reader, Names: func() (kafka.Names, error) { return r.names, nil }, Log: zerolog.Nop(),
		Endpoints: func() []webhook.Endpoint { return []webhook.Endpoint{{Connector: "stripe"}} }})
	s := httptest.NewUnstartedServer(h)
	s.Config.ReadTimeout, s.Config.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond
	s.Start()
	r.t.Cleanup(s.Close)
	r.t.Cleanup(h.feed.close)
	return h, s
}

// captured writes an event of a payment, and returns its id.
func (r *liveRig) captured(key string, value int64) string {
	r.t.Helper()
	now := time.Now().UTC()
	id := fmt.Sprintf("%s-%d", key, value)
	e := schemas.Event{SpecVersion: schemas.SpecVersion, ID: id, Source: "/webhooks/stripe/default", Type: schemas.PaymentCaptured, Subject: key, Time: now,
		DataContentType: "application/json", DataSchema: schemas.PaymentCaptured.Schema(),
		Data: schemas.Data{MerchantTransactionID: key, KeySource: schemas.KeyFromPayload, Connector: "stripe", Endpoint: "default", Amount: &schemas.Amount{Value: value, Currency: "EUR"},
			ConnectorEventType: "x", ConnectorTransactionID: "pi_" + key, Status: "captured", ReceivedAt: now}}
	record, err := kafka.EventRecord(r.names, e, "")
	if err != nil {
		r.t.Fatal(err)
	}
	r.write(record)
	return id
}

// archived writes a webhook.
func (r *liveRig) archived(topic, key, outcome, reason string) {
	r.t.Helper()
	w := kafka.Record{Topic: topic, ID: key + outcome, Key: []byte(key), Value: []byte(`{"email":"jane@example.com"}`)}
	for _, h := range [][2]string{{"connector", "adyen"}, {"endpoint", "shop"}, {"received-at", time.Now().UTC().Format(time.RFC3339Nano)}, {"outcome", outcome}, {"reason", reason}} {
		w.Headers = append(w.Headers, schemas.Header{Name: h[0], Value: h[1]})
	}
	r.write(w)
}

func (r *liveRig) write(records ...kafka.Record) {
	r.t.Helper()
	if _, err := r.producer.Publish(r.t.Context(), records); err != nil {
		r.t.Fatal(err)
	}
}

// TestUnknownID: the page of a payment reads whole topics only if it was asked to or no server
// can be asked, and then waits for other pages that do. So does the page of an event.
func TestUnknownID(t *testing.T) {
	r := newLiveRig(t)
	event := r.captured("order-1", 1)
	h, _ := r.server()
	var where error
	h.Where = func(context.Context, []string) (history.Place, error) { return history.Place{}, where }
	page := func(path string) (int, string) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if len(h.scans) == maxScans { // do not wait long
			ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
		}
		ctx = context.WithValue(ctx, http.LocalAddrContextKey, net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:9090")))
		q := httptest.NewRequestWithContext(ctx, "GET", path, nil)
		q.RemoteAddr = "127.0.0.1:5"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, q)
		return w.Code, w.Body.String()
	}
	check := func(what, path string, want int, text string) {
		t.Helper()
		if status, got := page(path); status != want || !strings.Contains(got, text) {
			t.Errorf("%s: %s: status %d, want %d and %q:\n%s", what, path, status, want, text, got)
		}
	}
	check("unknown to the server", "/console/payment?id=pi_order-1", 200, "Read the topics for it")
	check("asked to read", "/console/payment?id=pi_order-1&scan=1", 200, "payment.captured")
	check("unknown to the server", "/console/event?id="+event, 404, `href="/console/event?id=`+event+`&amp;scan=1"`)
	check("asked to read", "/console/event?id="+event+"&scan=1", 200, "payment.captured")
	check("in no topic", "/console/event?id=nothing&scan=1", 404, "Look for the payment")
	for range maxScans {
		if _, err := h.scan(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	check("while others read", "/console/payment?id=pi_order-1", 200, "Read the topics for it")
	check("while others read", "/console/payment?id=pi_order-1&scan=1", 503, "Other pages are reading")
	check("while others read", "/console/event?id="+event, 404, "Read the topics for it")
	check("while others read", "/console/event?id="+event+"&scan=1", 503, "Other pages are reading")
	where = lookup.ErrNoServer
	check("without a server, while others read", "/console/payment?id=pi_order-1", 503, "Other pages are reading")
	check("without a server, while others read", "/console/event?id="+event, 503, "Other pages are reading")
	<-h.scans
	check("without a server", "/console/payment?id=pi_order-1", 200, "payment.captured")
	check("without a server", "/console/event?id="+event, 200, "payment.captured")
}

// TestManyLetters: a page of 100,000 dead letters has some of them, and the groups of all.
func TestManyLetters(t *testing.T) {
	const n, batch = 100_000, 1000
	r := newLiveRig(t)
	for from := 0; from < n; from += batch {
		var letters []kafka.Record
		for i := from; i < from+batch; i++ {
			a := webhook.Archived{Connector: "adyen", Endpoint: "shop", ReceivedAt: time.Unix(int64(i), 0).UTC(), Outcome: "malformed", Reason: fmt.Sprintf("reason %d of kind %c", i, 'a'+i%3), Body: []byte("{}")}
			w := a.Record("adyen")
			letters = append(letters, kafka.Record{Topic: r.names.Dead(), ID: fmt.Sprint(i), Key: w.Key, Value: w.Value, Headers: w.Headers})
		}
		r.write(letters...)
	}
	h, _ := r.server()
	for path, want := range map[string][]string{
		"/console/dead":         {"1 to 100 of 100000", "reason 99999 of kind", "reason 99900 of kind", "33334"},
		"/console/dead?page=10": {"901 to 1000 of 100000", "reason 99099 of kind", "33334"},
	} {
		w := ask(h, "GET", path, "127.0.0.1:5", "127.0.0.1:9090", map[string]string{"Accept": "text/html"})
		page := w.Body.String()
		if rows := strings.Count(page, "/console/letter?id="); w.Code != http.StatusOK || rows != pageSize || len(page) > 200_000 {
			t.Errorf("%s: status %d, %d letters, %d bytes; want %d letters and at most 200,000 bytes", path, w.Code, rows, len(page), pageSize)
		}
		for _, text := range want {
			if !strings.Contains(page, text) {
				t.Errorf("%s has no %q", path, text)
			}
		}
	}
}

// serverEvent is one server-sent event.
type serverEvent struct{ id, name, data string }

// openStream opens a live view as JSON. The channel has its events, and is closed with it.
func openStream(ctx context.Context, t *testing.T, address, last string) <-chan serverEvent {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/json")
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "text/event-stream" {
		b, _ := io.ReadAll(a.Body)
		t.Fatalf("status %d, %s: %s", a.StatusCode, a.Header.Get("Content-Type"), b)
	}
	events := make(chan serverEvent)
	go func() {
		defer close(events)
		defer a.Body.Close()
		lines := bufio.NewScanner(a.Body)
		lines.Buffer(nil, 1<<20)
		var e serverEvent
		for lines.Scan() {
			field, value, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "id":
				e.id = value
			case "event":
				e.name = value
			case "data":
				e.data = value
			case "":
				select {
				case events <- e:
				case <-ctx.Done():
					return
				}
				e = serverEvent{id: e.id}
			}
		}
	}()
	return events
}

// next returns the next event of one of the names.
func next(t *testing.T, events <-chan serverEvent, names ...string) serverEvent {
	t.Helper()
	timeout := time.After(20 * time.Second)
	var latest serverEvent
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("the stream ended before one of %v; the last event was %+v", names, latest)
			}
			if latest = e; slices.Contains(names, e.name) {
				return e
			}
		case <-timeout:
			t.Fatalf("none of %v came", names)
		}
	}
}

func eventID(t *testing.T, e serverEvent) string {
	t.Helper()
	var i lookup.Item
	if err := json.Unmarshal([]byte(e.data), &i); err != nil || i.Event == nil {
		t.Fatalf("not an event: %v: %s", err, e.data)
	}
	return i.Event.ID
}

// TestLiveResumes: a view that is interrupted after any event continues with the next
// one, at the same or another server, longer than the server's time-outs: nothing is
// missing, and nothing comes twice.
func TestLiveResumes(t *testing.T) {
	r := newLiveRig(t)
	_, one := r.server()
	_, other := r.server()
	var want, got []string
	last, n := "", 0
	write := func(many int) {
		for range many {
			n++
			want = append(want, r.captured(fmt.Sprintf("order-%d", n%7), int64(n)))
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	watching := openStream(ctx, t, other.URL+"/console/live/stream", "") // the other server reads on meanwhile
	last = next(t, openStream(ctx, t, one.URL+"/console/live/stream", ""), "position").id
	first := last
	next(t, watching, "position")
	go func() {
		for range watching {
		}
	}()
	for round := range 8 {
		write(5)
		server := []*httptest.Server{one, other}[round%2]
		ctx, stop := context.WithCancel(t.Context())
		events := openStream(ctx, t, server.URL+"/console/live/stream", last)
		for range 3 + round%3 {
			if len(got) == len(want) {
				write(1)
			}
			e := next(t, events, "record")
			got, last = append(got, eventID(t, e)), e.id
		}
		if round == 3 {
			time.Sleep(700 * time.Millisecond) // longer than the server's time-outs
			write(1)
			e := next(t, events, "record")
			got, last = append(got, eventID(t, e)), e.id
		}
		stop()
	}
	rest := openStream(ctx, t, one.URL+"/console/live/stream", last)
	for len(got) < len(want) {
		got = append(got, eventID(t, next(t, rest, "record")))
	}
	again := openStream(ctx, t, other.URL+"/console/live/stream?after="+url.QueryEscape(first), "")
	var all []string
	for range want {
		all = append(all, eventID(t, next(t, again, "record")))
	}
	slices.Sort(want)
	slices.Sort(got)
	slices.Sort(all)
	if !slices.Equal(got, want) {
		t.Errorf("resumed: got %v\nwant %v", got, want)
	}
	if !slices.Equal(all, want) {
		t.Errorf("from the first position: got %v\nwant %v", all, want)
	}
	stop()
	nothing := openStream(t.Context(), t, one.URL+"/console/live/stream", "nonsense")
	if e := next(t, nothing, "notice"); !strings.Contains(e.data, "not known") || e.id == "" {
		t.Errorf("with an unknown position: %+v", e)
	}
}

// TestLiveInterrupted: views that are interrupted again and again while records are written to
// several topics and partitions, and continue at either of two servers, get each record once.
func TestLiveInterrupted(t *testing.T) {
	const many, batch, views = 400, 8, 4 // fewer records than a view may show at once
	r := newLiveRig(t)
	var servers []*httptest.Server
	for range 2 {
		h, _ := r.server()
		servers = append(servers, httptest.NewServer(h)) // without its short time-outs
		t.Cleanup(servers[len(servers)-1].Close)
	}
	var watching sync.WaitGroup
	for n := range views {
		random := rand.New(rand.NewPCG(1, uint64(n)))
		got, last := map[kafka.Receipt]int{}, ""
		// look reads some events of a view that continues after the last one.
		look := func(events int) {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			view := openStream(ctx, t, servers[random.IntN(len(servers))].URL+"/console/live/stream", last)
			for range events {
				e := next(t, view, "record", "position", "problem")
				if last = cmp.Or(e.id, last); e.name == "problem" {
					break // as a browser, which comes back
				}
				if e.name == "record" {
					var i lookup.Item
					if err := json.Unmarshal([]byte(e.data), &i); err != nil {
						t.Error(err)
					}
					got[i.Receipt]++
				}
				if len(got) == many {
					break
				}
			}
		}
		for last == "" {
			look(1)
		}
		watching.Go(func() {
			for len(got) < many && t.Context().Err() == nil {
				look(1 + random.IntN(40))
				time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
			}
			look(1) // nothing is left
			for at, times := range got {
				if times != 1 {
					t.Errorf("view %d got the record %s %d times, want once", n, at.Text(), times)
				}
			}
			if len(got) != many {
				t.Errorf("view %d got %d records, want %d", n, len(got), many)
			}
		})
	}
	for from := 0; from < many; from += batch {
		var records []kafka.Record
		for n := from; n < from+batch; n++ {
			a := webhook.Archived{Connector: "stripe", Endpoint: "default", ReceivedAt: time.Now().UTC(), Outcome: "ignored", Body: []byte("{}")}
			w := a.Record(fmt.Sprintf("order-%d", n%11))
			records = append(records, kafka.Record{Topic: []string{r.names.Received(), r.names.Dead()}[n%2], ID: fmt.Sprint(n), Key: w.Key, Value: w.Value, Headers: w.Headers})
		}
		r.write(records...)
	}
	watching.Wait()
}

// TestLiveFilters: a view has the records that match, and no others; the page shows the
// same, the newest first.
func TestLiveFilters(t *testing.T) {
	r := newLiveRig(t)
	_, s := r.server()
	queries := map[string]string{
		"":                          "adyen:dead adyen:ignored order-1-1000 order-1-99999 order-2-1000",
		"type=payment.captured":     "order-1-1000 order-1-99999 order-2-1000",
		"type=payment.failed":       "",
		"type=events":               "order-1-1000 order-1-99999 order-2-1000",
		"type=webhooks":             "adyen:ignored",
		"type=dead+letters":         "adyen:dead",
		"connector=stripe":          "order-1-1000 order-1-99999 order-2-1000",
		"connector=adyen":           "adyen:dead adyen:ignored",
		"endpoint=shop":             "adyen:dead adyen:ignored",
		"key=order-1":               "adyen:ignored order-1-1000 order-1-99999",
		"min=10.00":                 "order-1-1000 order-1-99999 order-2-1000",
		"min=10.01":                 "order-1-99999",
		"max=10":                    "order-1-1000 order-2-1000",
		"min=10&max=10&key=order-2": "order-2-1000",
	}
	last := next(t, openStream(t.Context(), t, s.URL+"/console/live/stream", ""), "position").id
	r.captured("order-1", 1000)
	r.captured("order-2", 1000)
	r.captured("order-1", 99999)
	r.archived(r.names.Received(), "order-1", "ignored", "card 4111111111111111 of jane@example.com")
	// Without an event, the key is the connector.
	r.archived(r.names.Dead(), "adyen", "dead", "")
	caughtUp := openStream(t.Context(), t, s.URL+"/console/live/stream", last) // the feed has all of them
	for range 5 {
		next(t, caughtUp, "record")
	}
	text := func(i *lookup.Item) string {
		if i.Event != nil {
			return i.Event.ID
		}
		return i.Webhook.Connector + ":" + string(i.Webhook.Outcome)
	}
	for query, want := range queries {
		ctx, stop := context.WithCancel(t.Context())
		var got []string
		for e := range openStream(ctx, t, s.URL+"/console/live/stream?"+query, last) {
			if e.name == "position" { // what there was came before it
				break
			}
			var i lookup.Item
			if err := json.Unmarshal([]byte(e.data), &i); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(e.data, "4111111111111111") || strings.Contains(e.data, "jane@") {
				t.Errorf("%s: not masked: %s", query, e.data)
			}
			got = append(got, text(&i))
		}
		stop()
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("stream %s: got %v, want %s", query, got, want)
		}
		var page struct {
			Records []*lookup.Item
			After   string
		}
		w := ask(s.Config.Handler, "GET", "/console/live?"+query, "127.0.0.1:5", "127.0.0.1:9090", map[string]string{"Accept": "application/json"})
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %v: %s", query, w.Code, err, w.Body)
		}
		got = nil
		for n, i := range page.Records {
			got = append(got, text(i))
			if n > 0 && i.Time.After(page.Records[n-1].Time) {
				t.Errorf("%s: not the newest first", query)
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("page %s: got %v, want %s", query, got, want)
		}
		w = ask(s.Config.Handler, "GET", "/console/live?"+query, "127.0.0.1:5", "127.0.0.1:9090", map[string]string{"Accept": "text/html"})
		if rows := strings.Count(w.Body.String(), "<tr data-row"); rows != len(got) || strings.Contains(w.Body.String(), "4111111111111111") {
			t.Errorf("%s: %d rows, want %d, with masked text:\n%s", query, rows, len(got), w.Body)
		}
		if strings.Contains(w.Body.String(), "/console/payment?id=adyen") {
			t.Errorf("%s: the connector is shown as a merchant's id", query)
		}
	}
	for _, query := range []string{"type=nothing", "min=x", "min=1e9", "max=1/3", "min=" + strings.Repeat("1", 40)} {
		for _, path := range []string{"/console/live", "/console/live/stream"} {
			if w := ask(s.Config.Handler, "GET", path+"?"+query, "127.0.0.1:5", "127.0.0.1:9090", nil); w.Code != http.StatusBadRequest {
				t.Errorf("%s?%s: status %d, want 400: %s", path, query, w.Code, w.Body)
			}
		}
	}
}

// TestLiveEnds: views end at once when the server stops, one view more than the most is
// told why it is not opened, and the reader stops after the last view.
func TestLiveEnds(t *testing.T) {
	r := newLiveRig(t)
	h, s := r.server()
	run, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { h.Run(run); close(done) }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := openStream(ctx, t, s.URL+"/console/live/stream", "")
	next(t, events, "position")
	h.feed.mu.Lock()
	v := h.feed.views[0]
	for len(h.feed.views) < maxViews {
		h.feed.views = append(h.feed.views, &liveView{source: v.source, wants: v.wants, wake: make(chan struct{}, 1)})
	}
	h.feed.mu.Unlock()
	if e := next(t, openStream(ctx, t, s.URL+"/console/live/stream", ""), "problem"); !strings.Contains(e.data, "200 live views are open") || !strings.Contains(e.data, "close one") {
		t.Errorf("one view too many: %+v", e)
	}
	h.feed.mu.Lock()
	h.feed.views = h.feed.views[:1]
	h.feed.mu.Unlock()
	start := time.Now()
	stop()
	<-done
	if e := next(t, events, "problem"); !strings.Contains(e.data, "stopping") {
		t.Errorf("at the stop: %+v", e)
	}
	for range events {
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("the view ended after %v", took)
	}
	if e := next(t, openStream(ctx, t, s.URL+"/console/live/stream", ""), "problem"); !strings.Contains(e.data, "stopping") {
		t.Errorf("after the stop: %+v", e)
	}

	other, s := r.server()
	ctx, cancel = context.WithCancel(t.Context())
	next(t, openStream(ctx, t, s.URL+"/console/live/stream", ""), "position")
	cancel()
	deadline := time.Now().Add(10 * time.Second)
	for other.feed.openViews() > 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	other.feed.stopIfIdle()
	other.feed.mu.Lock()
	defer other.feed.mu.Unlock()
	if len(other.feed.views) != 0 || other.feed.source != nil {
		t.Errorf("%d views, reading: %t; want none", len(other.feed.views), other.feed.source != nil)
	}
}

// TestLiveSession: with a login, a view ends after the idle time of a session, so that it
// does not outlive one.
func TestLiveSession(t *testing.T) {
	r := newLiveRig(t)
	h, _ := r.server()
	h.access.login.Store(&Login{Proxy: &Proxy{Secret: "a secret of the proxy"}})
	for idle := time.Second; ; idle *= 2 {
		h.access.plain.IdleTimeout = idle
		request := httptest.NewRequest("GET", "/console/live/stream", nil)
		request.Header.Set(DefaultSecretHeader, "a secret of the proxy")
		request.Header.Set(DefaultUserHeader, "anna")
		start, w := time.Now(), httptest.NewRecorder()
		h.ServeHTTP(w, request) // returns
		began := strings.Contains(w.Body.String(), "event: position")
		if took := time.Since(start); took < idle || took > idle+20*time.Second || strings.Contains(w.Body.String(), "event: problem") || !began && idle > 10*time.Second {
			t.Errorf("with %v, after %v: %d %s", idle, took, w.Code, w.Body)
		}
		if began || t.Failed() { // on a busy machine, a view can take longer to begin
			return
		}
	}
}

// TestAmounts: an amount of a filter is a decimal number of a few digits, however it is
// written.
func TestAmounts(t *testing.T) {
	for text, valid := range map[string]bool{"": true, "10.99": true, "-1": true, "0.01": true, "1e999999999": false, "0x1p999999999": false, "1/3": false, "1_0": false, "x": false, "1.2.3": false, strings.Repeat("9", 31): false} {
		start := time.Now()
		if _, err := parseLiveFilter(url.Values{"min": {text}}); (err == nil) != valid || time.Since(start) > time.Second {
			t.Errorf("%q: %v after %v, want valid %t", text, err, time.Since(start), valid)
		}
	}
}

// testFeed returns a feed with one partition, whose records the test adds.
func testFeed(filters ...liveFilter) (*feed, []*liveView, func(n int)) {
	f := newFeed(nil, nil)
	p := consume.Partition{Topic: string(schemas.PaymentCaptured)}
	f.source = &source{partitions: []consume.Partition{p}, index: map[consume.Partition]int{p: 0}, next: []int64{0}, stop: func() {}}
	for _, filter := range filters {
		if _, _, err := f.join(context.Background(), filter); err != nil {
			panic(err)
		}
	}
	value, _ := json.Marshal(schemas.Event{SpecVersion: schemas.SpecVersion, ID: "e", Type: schemas.PaymentCaptured, Subject: "order", Data: schemas.Data{Connector: "stripe"}})
	return f, slices.Clone(f.views), func(n int) {
		c := consume.Chunk{Partition: p}
		for i := range n {
			c.Records = append(c.Records, consume.Record{Partition: p, Offset: f.source.next[0] + int64(i), Key: []byte("order"), Value: value})
		}
		c.Next = f.source.next[0] + int64(n)
		_ = f.add(f.source, []consume.Chunk{c})
	}
}

// TestLiveSlow: a view that does not read is ended and can resume where it stopped; the
// others go on. More than a view shows is counted, also behind a filter.
func TestLiveSlow(t *testing.T) {
	f, views, add := testFeed(liveFilter{}, liveFilter{}, liveFilter{Connector: "adyen"}, liveFilter{Key: "other"})
	slow, quick := views[0], views[1]
	seen := 0
	for range 40 {
		add(60)
		slow.reserve, quick.reserve = reserveRows, reserveRows // as after some time
		records, leftOut, next, err := f.drain(quick)
		if seen += len(records); err != nil || leftOut > 0 || next[0] != int64(seen) {
			t.Fatalf("a view that reads: %d left out, %v, next %v, want %d", leftOut, err, next, seen)
		}
	}
	records, _, _, err := f.drain(slow)
	if !errors.Is(err, errTooSlow) || len(records) != 0 || slices.Contains(f.views, slow) {
		t.Errorf("a view that does not read has %d records and the error %v", len(records), err)
	}
	for _, v := range views[2:4] {
		if records, leftOut, next, err := f.drain(v); len(records) > 0 || leftOut > 0 || err != nil || next[0] != 2400 {
			t.Errorf("a view without a match: %d records, %d left out, next %v, %v", len(records), leftOut, next, err)
		}
	}
	f, views, add = testFeed(liveFilter{}, liveFilter{Connector: "stripe"})
	add(5000)
	for _, v := range views {
		records, leftOut, next, err := f.drain(v)
		if len(records) != reserveRows+rowsPerSecond || len(records)+leftOut != 5000 || next[0] != 5000 || err != nil {
			t.Errorf("5000 at once: %d records, %d left out, next %v, %v", len(records), leftOut, next, err)
		}
	}
}

// TestPosition: what is written is read again; anything else is not a position, and never
// a panic.
func TestPosition(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var partitions []consume.Partition
		var next []int64
		for _, topic := range []string{"a.payment.captured", "a.refund.failed", "a.webhooks.received"} {
			for n := range random.IntN(20) {
				partitions = append(partitions, consume.Partition{Topic: topic, Number: n})
				next = append(next, random.Int64N(1<<random.IntN(62)))
			}
		}
		text := position("a.", partitions, next)
		got, ok := parsePosition("a.", text)
		if !ok || strings.ContainsAny(text, " \r\n") {
			t.Fatalf("%q is not parsed", text)
		}
		for i, p := range partitions {
			if got[p] != next[i] {
				t.Errorf("%q: %v has %d, want %d", text, p, got[p], next[i])
			}
		}
	}
	for _, text := range []string{"", "x", ",", "a:zz-", "a:-1", "a:zzzzzzzzzzzzzzzz", strings.Repeat("a:1,", 5000)} {
		if got, ok := parsePosition("", text); ok {
			t.Errorf("%.20q is a position: %v", text, got)
		}
	}
	many := make([]consume.Partition, 3000)
	next := make([]int64, len(many))
	for n := range many {
		many[n], next[n] = consume.Partition{Topic: "t", Number: n}, 1<<40
	}
	if text := position("", many, next); text != "" {
		t.Errorf("a position of %d bytes does not fit into a request", len(text))
	}
}
