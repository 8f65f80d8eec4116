package ingest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollbridge/tollbridge/ingest"
)

// TestCardinality: a sender cannot create metric series. Many different requests of one
// kind leave as many series as one request does.
func TestCardinality(t *testing.T) {
	registry := prometheus.NewRegistry()
	b := newBridge(t, func(c *ingest.Config) { c.Metrics = registry })
	payload := captured(t)
	signature := signedAt(t, payload, noon)
	odd := []string{"\x80\xff", "evt\n2", "☃", strings.Repeat("x", 4000), "{{7*7}}", "a\"b,c=d", "' OR 1=1 --"}
	kinds := map[string]func(n int) *http.Request{
		"a path":      func(n int) *http.Request { return asked("POST", fmt.Sprintf("/made/up/%d", n), payload) },
		"a connector": func(n int) *http.Request { return asked("POST", fmt.Sprintf("/webhooks/made-up-%d", n), payload) },
		"an endpoint": func(n int) *http.Request {
			return asked("POST", fmt.Sprintf("/webhooks/stripe/made-up-%d", n), payload)
		},
		"a query":          func(n int) *http.Request { return asked("POST", fmt.Sprintf("/webhooks/stripe?q=%d", n), payload) },
		"a method":         func(n int) *http.Request { return asked(fmt.Sprintf("MADEUP%d", n), "/webhooks/stripe", payload) },
		"a method nowhere": func(n int) *http.Request { return asked(fmt.Sprintf("MADEUP%d", n), "/made/up", payload) },
		"a body":           func(n int) *http.Request { return asked("POST", "/webhooks/stripe", fmt.Appendf(nil, "{%d", n)) },
		"handle_event on the public listener": func(n int) *http.Request {
			return asked("POST", "/v1/handle_event", fmt.Appendf(nil, `{"connector":"made-up-%d","payload":"{}"}`, n))
		},
		"handle_event": func(n int) *http.Request {
			return asked("POST", "/v1/handle_event", fmt.Appendf(nil, `{"connector":"made-up-%d","payload":"{}"}`, n))
		},
		"headers": func(n int) *http.Request {
			r := asked("POST", "/webhooks/stripe", payload)
			for _, name := range []string{"Stripe-Signature", "Traceparent", "User-Agent", "X-Request-Id", "X-Forwarded-For", "Content-Type", "Host"} {
				r.Header.Set(name, fmt.Sprint(odd[n%len(odd)], n))
			}
			return r
		},
		"an encoding": func(n int) *http.Request {
			r := asked("POST", "/webhooks/stripe", payload)
			r.Header.Set("Content-Encoding", fmt.Sprint(odd[n%len(odd)], n))
			return r
		},
		"a verified event": func(n int) *http.Request {
			body := fmt.Appendf(nil, `{"id":"evt_%d","object":"event","type":"made.up.%d","livemode":true,"data":{"object":{}}}`, n, n)
			r := asked("POST", "/webhooks/stripe", body)
			r.Header.Set("Stripe-Signature", signedAt(t, body, noon))
			return r
		},
		"a redelivery": func(n int) *http.Request {
			r := asked("POST", "/webhooks/stripe", payload)
			r.Header.Set("Stripe-Signature", signature)
			r.Header.Set("Traceparent", fmt.Sprintf("00-%032x-%016x-01", n+1, n+1))
			return r
		},
	}
	for what, make := range kinds {
		do := b.do
		if what == "handle_event" {
			do = b.ask
		}
		answered := do(make(0)).StatusCode
		one := series(t, registry)
		for n := 1; n <= 200; n++ {
			if got := do(make(n)).StatusCode; got != answered {
				t.Fatalf("%s: status %d, and %d for another request of the kind", what, answered, got)
			}
		}
		if many := series(t, registry); many != one {
			t.Errorf("%s: %d series after one request, %d after 200 different ones", what, one, many)
		}
	}
	if series(t, registry) < 10 {
		t.Error("the registry has no metrics of these requests")
	}
}

// asked returns a request; its method and path may be such that no client sends them.
func asked(method, path string, body []byte) *http.Request {
	r := httptest.NewRequest("POST", path, strings.NewReader(string(body)))
	r.Method = method
	return r
}

// series counts the series of a registry.
func series(t *testing.T, from prometheus.Gatherer) (n int) {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		n += len(f.Metric)
	}
	return n
}
