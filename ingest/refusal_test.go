package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/kafka"
)

// marker is in the body of every request that these tests refuse, and must be in no log
// line.
const marker = "4111111111111111"

// unread fails the test if the body is read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

// TestRefusals: every refusal answers its status and nothing else, is logged and
// counted with its reason, and publishes nothing.
func TestRefusals(t *testing.T) {
	body := []byte(`{"id":"` + marker + `"}`)
	post := func(path string) *http.Request {
		return httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	}
	with := func(header, value string) *http.Request {
		r := signed(t, "stripe", body)
		r.Header.Set(header, value)
		return r
	}
	to := func(method, path string) *http.Request { return httptest.NewRequest(method, path, unread{t}) }
	announce := func(n int64) *http.Request {
		r := to(http.MethodPost, "/webhooks/stripe")
		r.ContentLength = n
		return r
	}
	cut := signed(t, "stripe", body)
	cut.ContentLength++
	forged := signed(t, "stripe", body)
	forged.Body = io.NopCloser(strings.NewReader(strings.Replace(string(body), "1", "2", 1)))

	for _, tt := range []struct {
		name     string
		r        *http.Request
		status   int
		reason   string
		endpoint bool // the endpoint is known when the request is refused
	}{
		{"unknown connector", to("POST", "/webhooks/nobody"), 404, "no_such_endpoint", false},
		{"unknown endpoint", to("POST", "/webhooks/stripe/other"), 404, "no_such_endpoint", false},
		{"unknown path", to("POST", "/"), 404, "no_such_endpoint", false},
		{"too deep", to("POST", "/webhooks/stripe/default/more"), 404, "no_such_endpoint", false},
		{"double slash", to("POST", "/webhooks//stripe"), 404, "no_such_endpoint", false},
		{"two slashes in front", to("POST", "//webhooks/stripe"), 404, "no_such_endpoint", false},
		{"encoded slash", to("POST", "/webhooks/stripe%2Fdefault"), 404, "no_such_endpoint", false},
		{"slash at the end", to("POST", "/webhooks/stripe/"), 404, "no_such_endpoint", false},
		{"encoded letter", to("POST", "/webhooks/%73tripe"), 404, "no_such_endpoint", false},
		{"dots", to("POST", "/webhooks/stripe/../stripe"), 404, "no_such_endpoint", false},
		{"upper case", to("POST", "/webhooks/Stripe"), 404, "no_such_endpoint", false},
		{"long path", to("POST", "/webhooks/"+strings.Repeat("x", 30_000)), 404, "no_such_endpoint", false},
		{"GET", to("GET", "/webhooks/stripe"), 405, "method_not_allowed", true},
		{"HEAD", to("HEAD", "/webhooks/stripe"), 405, "method_not_allowed", true},
		{"PUT", to("PUT", "/webhooks/stripe"), 405, "method_not_allowed", true},
		{"DELETE", to("DELETE", "/webhooks/stripe"), 405, "method_not_allowed", true},
		{"OPTIONS", to("OPTIONS", "/webhooks/stripe"), 405, "method_not_allowed", true},
		{"a method of nobody's", to("BREW", "/webhooks/stripe"), 405, "method_not_allowed", false},
		{"handle_event", to("POST", "/v1/handle_event"), 404, "no_such_endpoint", false},
		{"too large", announce(1<<20 + 1), 413, "body_too_large", true},
		{"far too large", announce(1 << 60), 413, "body_too_large", true},
		{"compressed", with("Content-Encoding", "gzip"), 415, "content_encoding", true},
		{"cut short", cut, 400, "body_unreadable", true},
		{"no signature", post("/webhooks/stripe"), 401, "signature_missing", true},
		{"signature in the query", post("/webhooks/stripe?Stripe-Signature=t%3D1,v1%3D00"), 401, "signature_missing", true},
		{"no signature to read", with("Stripe-Signature", marker), 401, "signature_malformed", true},
		{"another's signature", with("Stripe-Signature", fmt.Sprintf("t=%d,v1=00", noon.Unix())), 401, "signature_mismatch", true},
		{"another body", forged, 401, "signature_mismatch", true},
		{"yesterday's", stale(t, body), 401, "timestamp_too_old", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBridge(t)
			a := b.do(tt.r)
			refused(t, b, a, tt.r.Method, tt.status, tt.reason)
			labels := `connector="",endpoint=""`
			if tt.endpoint {
				labels = `connector="stripe",endpoint="default"`
			}
			line := fmt.Sprintf(`tollbridge_webhooks_total{%s,outcome="",reason=%q,status="%d"}`, labels, tt.reason, tt.status)
			if got := b.metric(line); got != "1" {
				t.Errorf("%s is %s, want 1", line, got)
			}
			if len(b.published()) > 0 {
				t.Errorf("published %q", b.published())
			}
		})
	}
}

// stale returns a webhook that was signed a day before noon.
func stale(t *testing.T, body []byte) *http.Request {
	r := signed(t, "stripe", body)
	r.Header.Set("Stripe-Signature", signedAt(t, body, noon.Add(-24*time.Hour)))
	return r
}

// refused checks the answer and the log line of a refusal.
func refused(t *testing.T, b *bridge, a *http.Response, method string, status int, reason string) {
	t.Helper()
	want := http.StatusText(status) + "\n"
	if method == http.MethodHead {
		want = ""
	}
	if got := bodyOf(t, a); a.StatusCode != status || got != want {
		t.Errorf("answer %d %q, want %d %q", a.StatusCode, got, status, want)
	}
	if got := a.Header.Get("Retry-After") != ""; got != (status == http.StatusServiceUnavailable) {
		t.Errorf("status %d: has Retry-After is %t", status, got)
	}
	if got := a.Header.Get("Allow") != ""; got != (status == http.StatusMethodNotAllowed) {
		t.Errorf("status %d: has Allow is %t", status, got)
	}
	if got := a.Header.Get("Connection") == "close"; got != (status == http.StatusRequestEntityTooLarge) {
		t.Errorf("status %d: has Connection: close is %t", status, got)
	}
	if a.Header.Get(ingest.ReceiptHeader) != "" {
		t.Error("the refusal has a receipt")
	}
	logs := b.logs.String()
	if !strings.Contains(logs, fmt.Sprintf(`"reason":%q`, reason)) || !strings.Contains(logs, fmt.Sprintf(`"status":%d`, status)) {
		t.Errorf("log %q, want the reason %q and the status %d", logs, reason, status)
	}
	quiet(t, logs)
}

// quiet checks that a log has no secret, no part of a body, and no long lines.
func quiet(t *testing.T, logs string) {
	t.Helper()
	for _, word := range []string{marker, "whsec_dev_stripe"} {
		if strings.Contains(logs, word) {
			t.Errorf("the log contains %q: %q", word, logs)
		}
	}
	for line := range strings.Lines(logs) {
		if len(line) > 2000 && !strings.Contains(line, `"stack"`) {
			t.Errorf("the log line has %d bytes", len(line))
		}
	}
}

// TestQuietLog: no part of a body is logged, even if it is verified and cannot be read.
func TestQuietLog(t *testing.T) {
	for _, body := range []string{
		marker + "x",
		`{"` + marker + `":1,"` + marker + `":2}`,
		`{"id":` + marker + `,"type":1}`,
		`{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":{"id":"pi_1","amount_received":` + marker + `.5}}}`,
	} {
		b := newBridge(t)
		if a := b.do(signed(t, "stripe", []byte(body))); a.StatusCode != http.StatusOK {
			t.Errorf("%s: %d, want 200", body, a.StatusCode)
		}
		quiet(t, b.logs.String())
	}
}

// TestPublisherErrors: unless all records are acknowledged, the answer is not 2xx.
func TestPublisherErrors(t *testing.T) {
	fail := func(err error) publisher {
		return func(context.Context, []kafka.Record) ([]kafka.Receipt, error) { return nil, err }
	}
	for _, tt := range []struct {
		name, reason string
		p            publisher
	}{
		{"unavailable", "kafka_unavailable", fail(fmt.Errorf("%w: topic x: no leader", kafka.ErrUnavailable))},
		{"refused", "kafka_refuses", fail(fmt.Errorf("%w: too large", kafka.ErrRefused))},
		{"closed", "shutting_down", fail(kafka.ErrClosed)},
		{"deadline", "deadline", fail(context.DeadlineExceeded)},
		{"cancelled", "internal", fail(context.Canceled)},
		{"any other", "internal", fail(errors.New("broker 10.0.0.7 is on fire"))},
		{"a panic", "panic", func(context.Context, []kafka.Record) ([]kafka.Receipt, error) { panic("oh") }},
		{"no receipt", "internal", fail(nil)},
		{"too many receipts", "internal", func(context.Context, []kafka.Record) ([]kafka.Receipt, error) {
			return make([]kafka.Receipt, 3), nil
		}},
		{"blocked", "deadline", func(ctx context.Context, _ []kafka.Record) ([]kafka.Receipt, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBridge(t, func(c *ingest.Config) { c.Publisher, c.Deadline = tt.p, 50*time.Millisecond })
			start := time.Now()
			a := b.do(signed(t, "stripe", captured(t)))
			if took := time.Since(start); took > 500*time.Millisecond {
				t.Errorf("answered after %s, the deadline is 50ms", took)
			}
			refused(t, b, a, http.MethodPost, http.StatusServiceUnavailable, tt.reason)
			if got := b.metric(`tollbridge_events_total{connector="stripe",endpoint="default",type="payment.captured"}`); got != "0" {
				t.Errorf("%s events were counted", got)
			}
			if got := b.metric("tollbridge_in_flight_bytes"); got != "0" {
				t.Errorf("%s bytes are still counted as in flight", got)
			}
		})
	}
}

// TestSenderGone: publishing continues after the sender has disconnected.
func TestSenderGone(t *testing.T) {
	ctx, hangUp := context.WithCancel(t.Context())
	var b *bridge
	b = newBridge(t, func(c *ingest.Config) {
		c.Publisher = publisher(func(ctx context.Context, r []kafka.Record) ([]kafka.Receipt, error) {
			hangUp()
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if _, ok := ctx.Deadline(); !ok {
				t.Error("the context for publishing has no deadline")
			}
			return b.publish(ctx, r)
		})
	})
	a := b.do(signed(t, "stripe", captured(t)).WithContext(ctx))
	if a.StatusCode != http.StatusOK || len(b.published()) != 2 {
		t.Errorf("status %d with %d records, want 200 with 2", a.StatusCode, len(b.published()))
	}
}

// TestRoutes: the paths that lead to an endpoint.
func TestRoutes(t *testing.T) {
	second := func(c *ingest.Config) {
		e := c.Endpoints[stripeAt(c)]
		e.Name = "second.shop-1"
		c.Endpoints = append(c.Endpoints, e)
	}
	for _, tt := range []struct{ path, endpoint string }{
		{"/webhooks/stripe", "default"},
		{"/webhooks/stripe/default", "default"},
		{"/webhooks/stripe/default?x=/y", "default"},
		{"/webhooks/stripe/second.shop-1", "second.shop-1"},
	} {
		b := newBridge(t, second)
		from := signed(t, "stripe", captured(t))
		r := httptest.NewRequest(http.MethodPost, tt.path, from.Body)
		r.Header = from.Header
		r.Header.Set("X-HTTP-Method-Override", "DELETE")
		if a := b.do(r); a.StatusCode != http.StatusOK {
			t.Errorf("%s: %d, want 200", tt.path, a.StatusCode)
			continue
		}
		if got := string(b.published()[0].Value); !strings.Contains(got, `"endpoint":"`+tt.endpoint+`"`) {
			t.Errorf("%s: %s, want the endpoint %s", tt.path, got, tt.endpoint)
		}
	}
}
