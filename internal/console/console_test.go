package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/tollbridge/tollbridge/internal/groups"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

// starting returns the handler of a server that does not know its topics yet.
func starting() *Handler {
	return New(Config{
		Names:     func() (kafka.Names, error) { return kafka.Names{}, errors.New("no broker answers") },
		Endpoints: func() []webhook.Endpoint { return []webhook.Endpoint{{Connector: "stripe"}} },
		Topics:    func(context.Context) ([]kafka.TopicStatus, error) { return nil, errors.New("no broker answers") },
	})
}

// ask returns the response to a request from one address to another.
func ask(h http.Handler, method, path, from, to string, header map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.RemoteAddr = from
	local, _ := net.ResolveTCPAddr("tcp", to)
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
	for name, value := range header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestOnlyLoopback: without a login, only requests over the loopback interface and
// without a proxy are answered, and a page of another site cannot read the console.
func TestOnlyLoopback(t *testing.T) {
	h := starting()
	for _, c := range []struct {
		from, to string
		header   map[string]string
		want     int
	}{
		{"127.0.0.1:5", "127.0.0.1:9090", nil, 200},
		{"[::1]:5", "[::1]:9090", nil, 200},
		{"127.0.0.1:5", "127.0.0.1:9090", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200},
		{"127.0.0.1:5", "127.0.0.1:9090", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403},
		{"192.0.2.1:5", "192.0.2.2:9090", nil, 403},
		{"192.0.2.1:5", "127.0.0.1:9090", nil, 403},
		{"127.0.0.1:5", "192.0.2.2:9090", nil, 403},
		{"nonsense", "127.0.0.1:9090", nil, 403},
		{"127.0.0.1:5", "127.0.0.1:9090", map[string]string{"X-Forwarded-For": "192.0.2.1"}, 403},
		{"127.0.0.1:5", "127.0.0.1:9090", map[string]string{"Forwarded": "for=192.0.2.1"}, 403},
	} {
		w := ask(h, "GET", "/console/", c.from, c.to, c.header)
		if w.Code != c.want {
			t.Errorf("from %s to %s with %v: status %d, want %d: %s", c.from, c.to, c.header, w.Code, c.want, w.Body)
		}
		if c.want == 403 && c.header["Sec-Fetch-Site"] == "" && !strings.Contains(w.Body.String(), "ssh -L") {
			t.Errorf("the refusal does not say what to do: %s", w.Body)
		}
	}
	if w := httptest.NewRecorder(); true {
		h.ServeHTTP(w, httptest.NewRequest("GET", "/console/", nil)) // without the address of the listener
		if w.Code != 403 {
			t.Errorf("without the address of the connection: status %d, want 403", w.Code)
		}
	}
}

// TestHeaders: every response forbids frames, other origins, scripts and styles that are
// not the console's own, and caches.
func TestHeaders(t *testing.T) {
	h := starting()
	for _, path := range []string{"/console/", "/console", "/console/nothing", "/console/payment?id=1", "/console/topics", "/console/assets/console.js", "/console/assets/nothing"} {
		for _, accept := range []string{"text/html", "application/json"} {
			w := ask(h, "GET", path, "127.0.0.1:5", "127.0.0.1:9090", map[string]string{"Accept": accept})
			policy := w.Header().Get("Content-Security-Policy")
			for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"} {
				if !strings.Contains(policy, want) || strings.Contains(policy, "unsafe") {
					t.Errorf("%s: policy %q, want %s", path, policy, want)
				}
			}
			for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin"} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s: %s is %q, want %q", path, name, got, want)
				}
			}
			if body := w.Body.String(); strings.Contains(body, " style=") || strings.Contains(body, "<style") || strings.Contains(body, " onclick=") {
				t.Errorf("%s has styles or scripts that the policy forbids", path)
			}
		}
	}
	w := ask(h, "GET", "/console/assets/console.css?v="+version, "127.0.0.1:5", "127.0.0.1:9090", nil)
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/css") || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
		t.Errorf("the style sheet: %v", w.Header())
	}
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		if w := ask(h, method, "/console/topics", "127.0.0.1:5", "127.0.0.1:9090", nil); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s: status %d, want 405", method, w.Code)
		}
	}
}

// TestStarting: while Kafka is not reached, the pages say so, and what to do.
func TestStarting(t *testing.T) {
	h := starting()
	for path, status := range map[string]int{"/console/": 200, "/console/payment?id=1": 503, "/console/event?id=1": 503, "/console/dead": 503, "/console/topics": 503, "/console/webhook?at=a-0-0": 503} {
		for _, accept := range []string{"text/html", "application/json"} {
			w := ask(h, "GET", path, "127.0.0.1:5", "127.0.0.1:9090", map[string]string{"Accept": accept})
			if w.Code != status || accept == "text/html" && !strings.Contains(w.Body.String(), "no broker answers") {
				t.Errorf("%s: status %d, want %d and the reason: %s", path, w.Code, status, w.Body)
			}
		}
	}
}

// manyItems returns an event, its webhook, and redeliveries.
func manyItems(n int) []*lookup.Item {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	items := []*lookup.Item{{Time: at, Receipt: kafka.Receipt{Topic: "payment.captured"}, Event: &schemas.Event{ID: "e", Type: schemas.PaymentCaptured, Subject: "order", Time: at}}}
	for i := range n - 1 {
		items = append(items, &lookup.Item{Time: at.Add(time.Duration(i) * time.Second), Receipt: kafka.Receipt{Topic: "webhooks.received", Offset: int64(i)},
			Webhook: &webhook.Archived{Connector: "stripe", Endpoint: "default", Outcome: "ignored", Reason: "reason", EventIDs: []string{"other"}}})
	}
	return items
}

// TestManyRows: a page of a payment with 100,000 records shows some of them, is small
// and is written quickly.
func TestManyRows(t *testing.T) {
	const n = 100_000
	items := manyItems(n)
	start := time.Now()
	r := httptest.NewRequest("GET", "/console/payment?id=order&page=7", nil)
	p := newPages(r, n)
	steps := newSteps(items, p.from, p.to)
	var out bytes.Buffer
	v := view{template: "payment", Data: paymentPage{ID: "order", Records: n, Pages: p, Steps: steps}}
	if err := v.write(&out); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 5*time.Second || out.Len() > 300_000 || len(steps) != pageSize {
		t.Errorf("%v, %d bytes, %d steps; want at most 5 s, 300,000 bytes and %d steps", took, out.Len(), len(steps), pageSize)
	}
	for _, want := range []string{"601 to 700 of 100000", "page=6", "page=8", "webhooks.received[0]@599"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the page has no %q", want)
		}
	}
	for query, want := range map[string]string{"": "1 to 100", "page=0": "1 to 100", "page=-5": "1 to 100", "page=x": "1 to 100", "page=99999999": "99901 to 100000", "page=1000": "99901 to 100000"} {
		p := newPages(httptest.NewRequest("GET", "/console/dead?"+query, nil), n)
		if got := fmt.Sprintf("%d to %d", p.First, p.Through); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
}

// TestMarks: a step says what is odd about its event, and names the other event.
func TestMarks(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	item := func(id string, n int, d schemas.Data) *lookup.Item {
		return &lookup.Item{Time: at.Add(time.Duration(n) * time.Hour * 24), Event: &schemas.Event{ID: id, Type: schemas.PaymentCaptured, Time: at, Data: d}}
	}
	hook := func(n int, outcome string, ids ...string) *lookup.Item {
		return &lookup.Item{Time: at.Add(time.Duration(n) * time.Hour * 24), Receipt: kafka.Receipt{Topic: "webhooks.received", Offset: int64(n)},
			Webhook: &webhook.Archived{Connector: "stripe", Outcome: "events", Secret: "main", EventIDs: ids, Reason: outcome}}
	}
	steps := newSteps([]*lookup.Item{
		hook(0, "", "a"), item("a", 0, schemas.Data{}), hook(1, "", "a"), item("a", 3, schemas.Data{Live: true}),
		item("b", 3, schemas.Data{Live: true, Late: true, NewestEventID: "a", Contradicts: "a", KeySource: schemas.KeyFromConnector}),
		item("c", 6, schemas.Data{Live: true, Corrects: "a"}), hook(6, "", "unknown"),
	}, 0, 7)
	var got []string
	for _, s := range steps {
		text := s.What
		for _, m := range s.Marks {
			text += "|" + m.Text
			if m.EventID != "" {
				text += "=" + m.EventID
			}
		}
		got = append(got, fmt.Sprintf("%s %s %t %t", text, s.After, s.Listed, s.Superseded))
	}
	want := []string{
		"webhook  true false",
		"payment.captured|corrected=c|test mode|+1 webhook  false true",
		"webhook 24 hours later true false",
		"payment.captured|corrected=c|same id again|+1 webhook 2 days later false true",
		"payment.captured|late=a|contradicts=a|fallback key  false false",
		"payment.captured|correction=a 3 days later false false",
		"webhook  false false",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestCorrections: a correction says what it changes in the event that it replaces, also in
// an earlier correction; an event that was published long after its webhook was replayed.
func TestCorrections(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	item := func(id, corrects string, days int, value int64, reason string) *lookup.Item {
		d := schemas.Data{Live: true, Corrects: corrects, Amount: &schemas.Amount{Value: value, Currency: "EUR"}, Reason: reason, ReceivedAt: at}
		return &lookup.Item{Time: at.Add(time.Duration(days) * 24 * time.Hour), Event: &schemas.Event{ID: id, Type: schemas.PaymentCaptured, Subject: "order", Time: at, Data: d}}
	}
	items := []*lookup.Item{item("a", "", 0, 1000, ""), item("b", "a", 0, 1099, ""), item("a", "", 1, 1000, ""), item("c", "a", 3, 1099, "<b>why</b>"), item("d", "unknown", 3, 5, "")}
	var got []string
	for _, s := range newSteps(items, 1, len(items)) { // the first is on the page before
		text := fmt.Sprint(s.Event.ID, s.Changes)
		for _, m := range s.Marks {
			if m.Text == "replayed" {
				text += " " + m.Title
			}
		}
		got = append(got, text)
	}
	want := []string{"b[{amount 10.00 EUR 10.99 EUR}]", "a[]", "c[{reason  <b>why</b>}] Published 3 days after its webhook was received: by a replay, or the retry of a dead letter.",
		"d[] Published 3 days after its webhook was received: by a replay, or the retry of a dead letter."}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var out bytes.Buffer
	v := view{template: "payment", Data: paymentPage{ID: "order", Steps: newSteps(items, 0, len(items)), Pages: pages{}}}
	if err := v.write(&out); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"<del>10.00 EUR</del>", "<ins>10.99 EUR</ins>", "&lt;b&gt;why"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("the page has no %q", text)
		}
	}
}

// TestGroups: the page lists the groups by pages, and one group by partition.
func TestGroups(t *testing.T) {
	h := starting()
	many := make([]groups.Lag, 250)
	for n := range many {
		many[n] = groups.Lag{Group: fmt.Sprintf("group-%03d <i>", n), State: "Stable", Members: 2, Records: 7,
			Topics: []groups.TopicLag{{Topic: "payment.captured", Records: 7, Uncommitted: 2, Partitions: []groups.PartitionLag{{Partition: 4, Committed: 3, End: 10, Records: 7, Lost: 1}}}}}
	}
	var failure error
	h.Groups = func(context.Context) ([]groups.Lag, bool, error) { return many, true, failure }
	for path, want := range map[string][]string{
		"/console/groups":                               {"1 to 100 of 250", "group-000 &lt;i&gt;", "payment.captured 7", "more groups", "Stable"},
		"/console/groups?page=3":                        {"201 to 250 of 250", "group-249"},
		"/console/groups?name=group-007+%3Ci%3E":        {"has not read 7 records", "2 more partitions", "1 record deleted"},
		"/console/groups?name=none":                     {"No consumer group"},
		"/console/groups?page=3&name=group-007+%3Ci%3E": {"Stable, 2 members"},
	} {
		w := ask(h, "GET", path, "127.0.0.1:5", "127.0.0.1:9090", map[string]string{"Accept": "text/html"})
		for _, text := range want {
			if !strings.Contains(w.Body.String(), text) {
				t.Errorf("%s has no %q:\n%s", path, text, w.Body)
			}
		}
	}
	var all []groups.Lag
	if w := ask(h, "GET", "/console/groups", "127.0.0.1:5", "127.0.0.1:9090", map[string]string{"Accept": "application/json"}); json.Unmarshal(w.Body.Bytes(), &all) != nil || len(all) != 250 {
		t.Errorf("%d groups as JSON, want 250", len(all))
	}
	many = nil
	if w := ask(h, "GET", "/console/groups", "127.0.0.1:5", "127.0.0.1:9090", nil); !strings.Contains(w.Body.String(), "once it has committed an offset") {
		t.Errorf("without groups: %s", w.Body)
	}
	failure = errors.New("not authorized")
	if w := ask(h, "GET", "/console/groups", "127.0.0.1:5", "127.0.0.1:9090", nil); w.Code != 503 || !strings.Contains(w.Body.String(), "not authorized") {
		t.Errorf("without the right: %d %s", w.Code, w.Body)
	}
}

// TestOverview: the first page shows the server's counters, and the chart has a bar for
// each minute.
func TestOverview(t *testing.T) {
	r := prometheus.NewRegistry()
	f := promauto.With(r)
	webhooks := f.NewCounterVec(prometheus.CounterOpts{Name: "tollbridge_webhooks_total"}, []string{"connector", "endpoint", "outcome", "reason", "status"})
	lag := f.NewGauge(prometheus.GaugeOpts{Name: "tollbridge_state_lag_records"})
	under := f.NewGauge(prometheus.GaugeOpts{Name: "tollbridge_kafka_under_min_insync_partitions"})
	open := f.NewGaugeVec(prometheus.GaugeOpts{Name: "tollbridge_open_disputes"}, []string{"connector", "endpoint", "days_left"})
	last := f.NewGaugeVec(prometheus.GaugeOpts{Name: "tollbridge_last_webhook_timestamp_seconds"}, []string{"connector", "endpoint"})
	var ready error
	others := 0
	h := New(Config{
		OtherReplicas: func() int { return others },
		Names:         func() (kafka.Names, error) { return kafka.Names{}, nil }, Endpoints: func() []webhook.Endpoint { return []webhook.Endpoint{{Connector: "stripe"}, {Connector: "adyen"}} },
		Metrics: r, Ready: func(context.Context) error { return ready }, Warnings: func() []string { return []string{"the disk is nearly full"} }, Send: []string{"tollbridge send stripe x"},
	})
	page := func(accept string) string {
		w := ask(h, "GET", "/console/", "127.0.0.1:5", "127.0.0.1:9090", map[string]string{"Accept": accept})
		if w.Code != 200 {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
	if got := page("text/html"); !strings.Contains(got, "No webhook has come yet") || !strings.Contains(got, "tollbridge send stripe x") {
		t.Errorf("before the first webhook: %s", got)
	}
	h.addSample(sample{})
	webhooks.WithLabelValues("stripe", "default", "events", "", "200").Add(30)
	webhooks.WithLabelValues("stripe", "default", "", "wrong_signature", "401").Add(10)
	h.addSample(sample{webhooks: 40, refused: 10, endpoints: map[string]int{"stripe/default": 40}})
	webhooks.WithLabelValues("stripe", "default", "events", "", "200").Add(5)
	webhooks.WithLabelValues("adyen", "gone", "events", "", "200").Add(2)
	lag.Set(7)
	under.Set(3)
	last.WithLabelValues("stripe", "default").Set(1767225600.5)
	for days, n := range map[string]float64{"unknown": 1, "7+": 1, "2": 4, "overdue": 1, "3": 0} {
		open.WithLabelValues("stripe", "default", days).Set(n)
	}
	ready = errors.New("no leader")
	if got := page("text/html"); !strings.Contains(got, "only this one received webhooks") {
		t.Errorf("without other replicas: %s", got)
	}
	others = 2
	got := page("text/html")
	for _, want := range []string{"this one, and 2 others", "answered 503: no leader", "the disk is nearly full", "3 partitions cannot be written", "7 records behind", "10 wrong_signature", "1 dispute overdue", "4 disputes with 2 days left", "1 dispute without a deadline", "2026-01-01T00:00:00.500Z", "35 of 45 accepted", "at most 40 a minute",
		`aria-label="At most 40 webhooks a minute in the last hour"`, `<rect x="116" y="0" width="1.6" height="20"/>`, `<rect x="118" y="18" width="1.6" height="2"/>`,
		`<rect class="good" x="580" y="15" width="8" height="45">`, `<rect class="bad" x="580" y="0" width="8" height="15">`, `<rect class="good" x="590" y="50"`} {
		if !strings.Contains(got, want) {
			t.Errorf("the page has no %s:\n%s", want, got)
		}
	}
	var v struct {
		Health    health
		Endpoints []endpointCounts
	}
	if err := json.Unmarshal([]byte(page("application/json")), &v); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(v.Health.Disputes) != "[{overdue 1} {2 4} {7+ 1} {unknown 1}]" || v.Health.Waiting != "no leader" || len(v.Endpoints) != 2 || v.Endpoints[1].Webhooks != 45 || v.Endpoints[0].Webhooks != 0 {
		t.Errorf("JSON: %+v", v)
	}
	for range 2 * chartMinutes {
		h.addSample(sample{webhooks: 1000, refused: 10}) // more than the server has counted: an endpoint was removed
	}
	if bars, most := chart(h.lastHour(sample{webhooks: 50, refused: 10})); len(bars) != chartMinutes || bars[0].X != 0 || most != 0 {
		t.Errorf("%d bars, the first at %d, at most %d", len(bars), bars[0].X, most)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	h.Run(ctx) // returns
	if got := h.samples[len(h.samples)-1]; got.webhooks != 47 || got.refused != 10 || got.endpoints["stripe/default"] != 45 {
		t.Errorf("the last sample is %v", got)
	}
}
