package fetch_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
	"github.com/tollbridge/tollbridge/schemas"
)

// clock is a time that a test sets.
type clock struct{ nanoseconds atomic.Int64 }

func newClock(c *fetch.Client) *clock {
	k := &clock{}
	k.nanoseconds.Store(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	c.Now = func() time.Time { return time.Unix(0, k.nanoseconds.Load()).UTC() }
	return k
}

func (k *clock) advance(d time.Duration) { k.nanoseconds.Add(int64(d)) }

func classic(id string) fetch.Webhook {
	return fetch.Webhook{Payload: []byte("id=" + id), Unsigned: true, Live: true}
}

func simple(id string) fetch.Webhook {
	return fetch.Webhook{Payload: []byte(`{"id":"event_Demo1","type":"payment.paid","entityId":"` + id + `"}`), Live: true}
}

const demoAnswer = `{"id":"tr_Demo7Kq2","mode":"live"}`

// TestUnknownObject: an unsigned webhook with an id that the API does not know is asked
// for once a minute. A signed one waits for ten minutes and is then given up.
func TestUnknownObject(t *testing.T) {
	s := fetchtest.New(t, status(http.StatusNotFound))
	now := newClock(s.Client)
	for range 10 {
		if _, err := s.Client.Fetch(t.Context(), "mollie", mollieAPI.config, classic("tr_Madeup")); !errors.Is(err, fetch.ErrUnknownObject) {
			t.Fatal(err)
		}
		now.advance(5 * time.Second)
	}
	if n := len(s.Calls()); n != 1 {
		t.Errorf("%d requests in 50 s, want 1", n)
	}
	now.advance(11 * time.Second)
	_, _ = s.Client.Fetch(t.Context(), "mollie", mollieAPI.config, classic("tr_Madeup"))
	if n := len(s.Calls()); n != 2 {
		t.Errorf("%d requests after a minute, want 2", n)
	}

	if _, err := s.Client.Fetch(t.Context(), "mollie", mollieAPI.config, simple("tr_Demo7Kq2")); !errors.Is(err, fetch.ErrUnknownObject) {
		t.Errorf("signed, at first: %v", err)
	}
	now.advance(9 * time.Minute)
	if _, err := s.Client.Fetch(t.Context(), "mollie", mollieAPI.config, simple("tr_Demo7Kq2")); !errors.Is(err, fetch.ErrUnknownObject) {
		t.Errorf("signed, after 9 minutes: %v", err)
	}
	now.advance(2 * time.Minute)
	documents, err := s.Client.Fetch(t.Context(), "mollie", mollieAPI.config, simple("tr_Demo7Kq2"))
	if err != nil || len(documents) != 1 || documents[0].Status != schemas.StatusUnknown {
		t.Errorf("signed, after 11 minutes: %+v, %v", documents, err)
	}
}

// TestKeys: while the API refuses a key, the next one is used. A key that was refused is
// left alone for 30 seconds.
func TestKeys(t *testing.T) {
	var good atomic.Value
	good.Store("Bearer live_new_key_71")
	s := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != good.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(demoAnswer))
	})
	now := newClock(s.Client)
	a := fetch.API{Keys: []fetch.Key{{Name: "a", Value: "live_old_key_71"}, {Name: "b", Value: "live_new_key_71"}}}
	for _, want := range []int{2, 3, 4} { // the refused key is asked once
		if _, err := s.Client.Fetch(t.Context(), "mollie", a, classic("tr_Demo7Kq2")); err != nil {
			t.Fatal(err)
		}
		if n := len(s.Calls()); n != want {
			t.Errorf("%d requests, want %d", n, want)
		}
	}
	good.Store("none")
	for range 5 {
		if _, err := s.Client.Fetch(t.Context(), "mollie", a, classic("tr_Demo7Kq2")); !errors.Is(err, fetch.ErrCredentials) {
			t.Errorf("error %v, want %v", err, fetch.ErrCredentials)
		}
	}
	if n := len(s.Calls()); n != 5 || s.Client.Blocked("mollie", a) == nil {
		t.Errorf("%d requests, want 5; blocked: %v", n, s.Client.Blocked("mollie", a))
	}
	good.Store("Bearer live_new_key_71")
	now.advance(31 * time.Second)
	if _, err := s.Client.Fetch(t.Context(), "mollie", a, classic("tr_Demo7Kq2")); err != nil || s.Client.Blocked("mollie", a) != nil {
		t.Errorf("after 31 s: %v, blocked: %v", err, s.Client.Blocked("mollie", a))
	}
}

// TestRetryAfter: after a 429 nothing is sent until the API's time is over.
func TestRetryAfter(t *testing.T) {
	var limited atomic.Bool
	limited.Store(true)
	s := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) {
		if limited.Load() {
			w.Header().Set("Retry-After", "40")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		_, _ = w.Write([]byte(demoAnswer))
	})
	now := newClock(s.Client)
	for i := range 4 {
		_, err := s.Client.Fetch(t.Context(), "mollie", mollieAPI.config, simple("tr_Demo7Kq2"))
		var e *fetch.LimitedError
		if want := time.Duration(40-10*i) * time.Second; !errors.As(err, &e) || e.RetryAfter != want {
			t.Errorf("error %v, want a wait of %s", err, want)
		}
		now.advance(10 * time.Second)
	}
	if n := len(s.Calls()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	limited.Store(false)
	if _, err := s.Client.Fetch(t.Context(), "mollie", mollieAPI.config, simple("tr_Demo7Kq2")); err != nil {
		t.Error(err)
	}
}

// TestOutage: after five failures in a row nothing is sent for ten seconds.
func TestOutage(t *testing.T) {
	s := fetchtest.New(t, status(http.StatusBadGateway))
	now := newClock(s.Client)
	for range 20 {
		if _, err := s.Client.Fetch(t.Context(), "mollie", mollieAPI.config, simple("tr_Demo7Kq2")); !errors.Is(err, fetch.ErrUnavailable) {
			t.Errorf("error %v, want %v", err, fetch.ErrUnavailable)
		}
		now.advance(100 * time.Millisecond)
	}
	if n := len(s.Calls()); n != 5 {
		t.Errorf("%d requests, want 5", n)
	}
	now.advance(11 * time.Second)
	_, _ = s.Client.Fetch(t.Context(), "mollie", mollieAPI.config, simple("tr_Demo7Kq2"))
	if n := len(s.Calls()); n != 6 {
		t.Errorf("%d requests after the pause, want 6", n)
	}
}

// TestUnsignedBudget: a flood of made-up ids uses a small part of the limit, and webhooks
// that are signed go on.
func TestUnsignedBudget(t *testing.T) {
	s := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "tr_Demo7Kq2") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte(demoAnswer))
	})
	newClock(s.Client)
	limited := 0
	for i := range 100 {
		_, err := s.Client.Fetch(t.Context(), "mollie", mollieAPI.config, classic("tr_Madeup"+strings.Repeat("x", i%50)+strings.Repeat("y", i/50)))
		if errors.Is(err, fetch.ErrLimited) {
			limited++
		}
	}
	if n := len(s.Calls()); n > 5 || limited < 90 {
		t.Errorf("%d requests and %d refusals for 100 made-up ids, want at most 5, and 95", n, limited)
	}
	if _, err := s.Client.Fetch(t.Context(), "mollie", mollieAPI.config, simple("tr_Demo7Kq2")); err != nil {
		t.Errorf("a signed webhook: %v", err)
	}
}

// TestOneRequestAtATime: webhooks that come while a request for the object runs share the
// next request. None of them gets the answer of the running one, which may be older than
// what they report.
func TestOneRequestAtATime(t *testing.T) {
	var running, requests, most atomic.Int32
	first, release := make(chan struct{}), make(chan struct{})
	s := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) {
		n := running.Add(1)
		defer running.Add(-1)
		most.Store(max(most.Load(), n))
		status := "paid"
		if requests.Add(1) == 1 {
			status = "open"
			close(first)
			<-release
		}
		_, _ = w.Write([]byte(`{"id":"tr_Demo7Kq2","mode":"live","status":"` + status + `"}`))
	})
	fetchStatus := func() string {
		documents, err := s.Client.Fetch(t.Context(), "mollie", mollieAPI.config, simple("tr_Demo7Kq2"))
		if err != nil || len(documents) != 1 {
			t.Errorf("%d documents, %v", len(documents), err)
			return ""
		}
		return string(documents[0].Body)
	}
	var all sync.WaitGroup
	all.Go(func() {
		if got := fetchStatus(); !strings.Contains(got, "open") {
			t.Errorf("the first got %s", got)
		}
	})
	<-first
	for range 8 {
		all.Go(func() {
			if got := fetchStatus(); !strings.Contains(got, "paid") {
				t.Errorf("a later webhook got %s, which was asked for before it came", got)
			}
		})
	}
	time.Sleep(50 * time.Millisecond) // let them come while the first request runs
	close(release)
	all.Wait()
	if most.Load() != 1 || requests.Load() > 3 {
		t.Errorf("%d requests, %d at a time; want 2, and 1", requests.Load(), most.Load())
	}
}

// TestUntrustedTLS: without a certificate that is trusted nothing is sent.
func TestUntrustedTLS(t *testing.T) {
	s := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(demoAnswer)) })
	transport := s.Transport()
	transport.TLSClientConfig.RootCAs = nil
	client := &fetch.Client{Transport: transport}
	if _, err := client.Fetch(t.Context(), "mollie", mollieAPI.config, simple("tr_Demo7Kq2")); !errors.Is(err, fetch.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("error %v, want one about the certificate", err)
	}
	if n := len(s.Calls()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}
