package ingest_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// stripeWith returns an endpoint with secrets, given as NAME=VALUE.
func stripeWith(name string, secrets ...string) webhook.Endpoint {
	e := webhook.Endpoint{Connector: "stripe", Name: name}
	for _, s := range secrets {
		secret, value, _ := strings.Cut(s, "=")
		e.Keys.Secrets = append(e.Keys.Secrets, verify.Secret{Name: secret, Value: value})
	}
	return e
}

// signedWith returns a Stripe webhook that is signed with a secret, sent at noon.
func signedWith(t *testing.T, endpoint, secret string) *http.Request {
	t.Helper()
	v, err := sign.Request("stripe", captured(t), secret, nil, "", noon)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(v.Method, "/webhooks/stripe/"+endpoint, bytes.NewReader(v.Body))
	r.Header = v.Header
	return r
}

// TestSetEndpoints: the endpoints are replaced whole or not at all, and a secret counts
// as removed if no secret of its endpoint has its value any more, whatever its name.
func TestSetEndpoints(t *testing.T) {
	b := newBridge(t, func(c *ingest.Config) {
		c.Endpoints = []webhook.Endpoint{stripeWith("default", "main=whsec_first"), stripeWith("eu", "main=whsec_eu")}
	})
	set := func(want []ingest.RemovedSecret, all ...webhook.Endpoint) {
		t.Helper()
		removed, err := b.SetEndpoints(all)
		if err != nil {
			t.Fatal(err)
		}
		for i := range removed {
			removed[i].LastMatched = removed[i].LastMatched.UTC()
		}
		if !reflect.DeepEqual(removed, want) {
			t.Errorf("removed %v, want %v", removed, want)
		}
	}
	check := func(endpoint, secret string, want int) {
		t.Helper()
		if got := b.do(signedWith(t, endpoint, secret)).StatusCode; got != want {
			t.Errorf("%s with %s: status %d, want %d", endpoint, secret, got, want)
		}
	}
	check("default", "whsec_first", 200)
	check("eu", "whsec_eu", 200)

	// The former secret gets another name, and the new one its name: nothing is removed.
	set(nil, stripeWith("default", "main=whsec_second", "old=whsec_first"), stripeWith("eu", "main=whsec_eu"))
	check("default", "whsec_first", 200)
	set([]ingest.RemovedSecret{{Endpoint: "stripe/default", Name: "old", LastMatched: noon}},
		stripeWith("default", "main=whsec_second"), stripeWith("eu", "main=whsec_eu"))
	check("default", "whsec_first", 401)
	check("default", "whsec_second", 200)

	for name, wrong := range map[string][]webhook.Endpoint{
		"twice":     {stripeWith("us", "main=whsec_us"), stripeWith("us", "main=whsec_us")},
		"no secret": {stripeWith("us", "main=whsec_us"), stripeWith("default")},
	} {
		if _, err := b.SetEndpoints(wrong); err == nil {
			t.Errorf("%s: accepted", name)
		}
		check("us", "whsec_us", 404)
		check("eu", "whsec_eu", 200)
	}

	set([]ingest.RemovedSecret{{Endpoint: "stripe/default", Name: "main", LastMatched: noon}, {Endpoint: "stripe/eu", Name: "main", LastMatched: noon}},
		stripeWith("eu", "main=whsec_third"))
	check("default", "whsec_second", 404)
	check("eu", "whsec_eu", 401)
	set([]ingest.RemovedSecret{{Endpoint: "stripe/eu", Name: "main"}}, stripeWith("eu", "main=whsec_fourth")) // it never matched
	text := bodyOf(t, b.ask(httptest.NewRequest(http.MethodGet, "/metrics", nil)))
	if strings.Contains(text, `tollbridge_secret_matched_timestamp_seconds{connector="stripe",endpoint="default"`) ||
		!strings.Contains(text, `tollbridge_secret_matched_timestamp_seconds{connector="stripe",endpoint="eu",secret="main"} 0`) {
		t.Errorf("metrics of secrets that are not configured, or no metric of one that is: %s", text)
	}
}

// TestSetEndpointsUnderLoad replaces endpoints while webhooks are verified, for the race
// detector. No webhook is refused, since both sets have the secret.
func TestSetEndpointsUnderLoad(t *testing.T) {
	b := newBridge(t, func(c *ingest.Config) { c.Endpoints = []webhook.Endpoint{stripeWith("default", "main=whsec_first")} })
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for range 100 {
				if got := b.do(signedWith(t, "default", "whsec_first")).StatusCode; got != http.StatusOK {
					t.Errorf("status %d", got)
				}
				b.EventTypes()
			}
		})
	}
	for i := range 100 {
		if _, err := b.SetEndpoints([]webhook.Endpoint{stripeWith("default", "main=whsec_first", "next=whsec_next"), stripeWith("eu", "main=whsec_eu")}[:1+i%2]); err != nil {
			t.Error(err)
		}
	}
	senders.Wait()
}

// TestStarting: before it has its history, a server answers verified webhooks 503, and
// refuses others as always.
func TestStarting(t *testing.T) {
	b := newBridge(t, func(c *ingest.Config) {
		c.Starting = true
		c.Endpoints = []webhook.Endpoint{stripeWith("default", "main=whsec_first")}
	})
	for secret, want := range map[string]int{"whsec_first": 503, "whsec_forged": 401} {
		if got := b.do(signedWith(t, "default", secret)).StatusCode; got != want {
			t.Errorf("%s: status %d, want %d", secret, got, want)
		}
	}
	if a := b.ask(httptest.NewRequest(http.MethodGet, "/v1/where?id=x", nil)); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("where answers %d", a.StatusCode)
	}
	if len(b.published()) > 0 {
		t.Error("a record was published")
	}
}
