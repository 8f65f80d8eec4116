package ingest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/ingest"
)

// dialFrom opens a connection from a loopback address. It skips the test if the system
// has only 127.0.0.1.
func dialFrom(t *testing.T, from, to string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", to)
	if err != nil && from != "127.0.0.1" {
		t.Skipf("no connection from %s: %v", from, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// postFrom sends a signed body, with optional further headers, from an address. It
// returns the status and how long the answer took.
func postFrom(t *testing.T, from, to string, body []byte, headers ...string) (int, time.Duration) {
	t.Helper()
	start := time.Now()
	c := dialFrom(t, from, to)
	fmt.Fprintf(c, head+"Connection: close\r\nStripe-Signature: %s\r\nContent-Length: %d\r\n", signedAt(t, body, noon), len(body))
	for _, h := range headers {
		fmt.Fprintf(c, "%s\r\n", h)
	}
	if _, err := fmt.Fprintf(c, "\r\n%s", body); err != nil {
		t.Fatal(err)
	}
	return status(t, c), time.Since(start)
}

// stall opens n connections that announce a body of one MiB, send some bytes of it, and
// wait.
func stall(t *testing.T, n, bytes int, to string, headers ...string) {
	t.Helper()
	for range n {
		c := dialFrom(t, "127.0.0.1", to)
		fmt.Fprintf(c, head+"Content-Length: 1048576\r\n%s\r\n%s", strings.Join(append(headers, ""), "\r\n"), strings.Repeat("x", bytes))
	}
}

// TestFairShare: stalled connections of one address use up neither the bytes nor the
// connections of another address, which is answered at once.
func TestFairShare(t *testing.T) {
	for _, tt := range []struct {
		name       string
		n, bytes   int
		body       int // size of the other address's webhook
		change     func(*ingest.Config)
		sameServed bool // more webhooks of the first address are also accepted
	}{
		{"bytes", 300, 40_000, 1 << 20, func(c *ingest.Config) { c.MaxInFlight = 8 << 20 }, false},
		{"connections", 300, 1, 1000, func(c *ingest.Config) { c.MaxConnections = 100 }, false},
		{"little came of much that is announced", 300, 8000, 1 << 20, func(c *ingest.Config) { c.MaxInFlight = 16 << 20 }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBridge(t, tt.change)
			address := listen(t, b)
			stall(t, tt.n, tt.bytes, address)
			body := captured(t)
			if tt.body > len(body) {
				body = padded(t, tt.body)
			}
			if got, took := postFrom(t, "127.0.0.2", address, body); got != http.StatusOK || took > time.Second {
				t.Errorf("another address: %d after %s, want 200 at once", got, took)
			}
			if tt.sameServed {
				if got, took := postFrom(t, "127.0.0.1", address, captured(t)); got != http.StatusOK || took > time.Second {
					t.Errorf("the same address: %d after %s, want 200 at once", got, took)
				}
			}
		})
	}
}

// TestStalledEnd: at the deadline, stalled requests are answered 503, and their memory
// and connections are free again.
func TestStalledEnd(t *testing.T) {
	b := newBridge(t, func(c *ingest.Config) {
		c.MaxInFlight, c.MaxConnections, c.Deadline = 4<<20, 200, 300*time.Millisecond
	})
	address := listen(t, b)
	stall(t, 150, 40_000, address)
	until := func(metric, want string) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); b.metric(metric) != want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s is %s, want %s", metric, b.metric(metric), want)
			}
		}
	}
	until("tollbridge_in_flight_bytes", "0")
	until("tollbridge_in_flight_webhooks", "0")
	until("tollbridge_connections", "0") // net/http keeps a connection half a second longer, so that the answer arrives
	if b.metric("tollbridge_connections_refused_total") == "0" {
		t.Error("no refused connection was counted")
	}
	if got, _ := postFrom(t, "127.0.0.1", address, padded(t, 1<<20)); got != http.StatusOK {
		t.Errorf("the same address after the deadline: %d, want 200", got)
	}
}

// TestBodyDeadline: a body that arrives too slowly is cut off at the deadline, whatever
// length it announces. A body that arrives in time is accepted.
func TestBodyDeadline(t *testing.T) {
	for takes, want := range map[time.Duration]int{100 * time.Millisecond: 200, 1500 * time.Millisecond: 503} {
		b := newBridge(t, func(c *ingest.Config) { c.Deadline = 500 * time.Millisecond })
		body := captured(t)
		c := dial(t, listen(t, b))
		start := time.Now()
		fmt.Fprintf(c, head+"Stripe-Signature: %s\r\nContent-Length: %d\r\n\r\n", signedAt(t, body, noon), len(body))
		go func() {
			for i := range 10 {
				if _, err := c.Write(body[len(body)*i/10 : len(body)*(i+1)/10]); err != nil {
					return
				}
				time.Sleep(takes / 10)
			}
		}()
		if got := status(t, c); got != want {
			t.Errorf("a body that takes %s: %d, want %d", takes, got, want)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("a body that takes %s: answered after %s", takes, took)
		}
	}
}

// TestUnreadBody: a refusal waits no longer than the deadline for a body that is not
// read.
func TestUnreadBody(t *testing.T) {
	for path, want := range map[string]int{"/webhooks/nobody": 404, "/": 404, "/v1/handle_event": 404} {
		b := newBridge(t, func(c *ingest.Config) { c.Deadline = 300 * time.Millisecond })
		c := dial(t, listen(t, b))
		start := time.Now()
		io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
		if got := status(t, c); got != want || time.Since(start) > 2*time.Second {
			t.Errorf("%s: %d after %s, want %d", path, got, time.Since(start), want)
		}
	}
}

// TestClientAddress: the client address that a request is counted for, as it is logged.
func TestClientAddress(t *testing.T) {
	const proxy, other = "10.0.0.1:1234", "192.0.2.9:1234"
	for _, tt := range []struct {
		name, remote string
		headers      []string // name, value, ...
		want         string   // empty: the peer's address
	}{
		{"no proxy", other, []string{"X-Forwarded-For", "198.51.100.7"}, ""},
		{"no proxy, the other header", other, []string{"Forwarded", "for=198.51.100.7"}, ""},
		{"a proxy that says nothing", proxy, nil, ""},
		{"a proxy", proxy, []string{"X-Forwarded-For", "198.51.100.7"}, "198.51.100.7"},
		{"the last counts", proxy, []string{"X-Forwarded-For", "203.0.113.1, 198.51.100.7"}, "198.51.100.7"},
		{"the last line counts", proxy, []string{"X-Forwarded-For", "203.0.113.1", "X-Forwarded-For", "198.51.100.7"}, "198.51.100.7"},
		{"two proxies", proxy, []string{"X-Forwarded-For", "203.0.113.1, 198.51.100.7,10.2.3.4"}, "198.51.100.7"},
		{"proxies alone", proxy, []string{"X-Forwarded-For", "10.9.9.9, 10.2.3.4"}, "10.9.9.9"},
		{"with a port", proxy, []string{"X-Forwarded-For", "198.51.100.7:443"}, "198.51.100.7"},
		{"IPv6", proxy, []string{"X-Forwarded-For", "2001:db8::7"}, "2001:db8::7"},
		{"IPv6 with a port", proxy, []string{"X-Forwarded-For", "[2001:db8::7]:443"}, "2001:db8::7"},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:1234", []string{"X-Forwarded-For", "::ffff:198.51.100.7"}, "198.51.100.7"},
		{"unknown", proxy, []string{"X-Forwarded-For", "198.51.100.7, unknown"}, ""},
		{"no address", proxy, []string{"X-Forwarded-For", "198.51.100.7, x"}, ""},
		{"empty", proxy, []string{"X-Forwarded-For", ""}, ""},
		{"RFC 7239", proxy, []string{"Forwarded", `for=203.0.113.1, by=x; For="198.51.100.7:443";proto=https`}, "198.51.100.7"},
		{"RFC 7239, IPv6", proxy, []string{"Forwarded", `for="[2001:db8::7]:443"`}, "2001:db8::7"},
		{"RFC 7239, hidden", proxy, []string{"Forwarded", `for=198.51.100.7, for=_hidden`}, ""},
		{"RFC 7239, no for", proxy, []string{"Forwarded", `proto=https`}, ""},
		{"both, and they agree", proxy, []string{"X-Forwarded-For", "198.51.100.7", "Forwarded", "for=198.51.100.7"}, "198.51.100.7"},
		{"both, and one is the sender's own", proxy, []string{"X-Forwarded-For", "198.51.100.7", "Forwarded", "for=203.0.113.1"}, ""},
	} {
		b := newBridge(t, func(c *ingest.Config) {
			c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		})
		r := signed(t, "stripe", captured(t))
		r.RemoteAddr = tt.remote
		for i := 0; i < len(tt.headers); i += 2 {
			r.Header.Add(tt.headers[i], tt.headers[i+1])
		}
		b.do(r)
		var line struct{ Remote, Client string }
		if err := json.Unmarshal([]byte(b.logs.String()), &line); err != nil {
			t.Fatal(err)
		}
		if line.Client != tt.want || line.Remote != tt.remote {
			t.Errorf("%s: client %q, remote %q, want the client %q", tt.name, line.Client, line.Remote, tt.want)
		}
	}
}

// TestFairShareBehindProxy: behind a trusted proxy, each client that the proxy names
// has a share, and the proxy's connections are not limited.
func TestFairShareBehindProxy(t *testing.T) {
	b := newBridge(t, func(c *ingest.Config) {
		c.MaxInFlight, c.MaxConnections = 8<<20, 50
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	})
	address := listen(t, b)
	stall(t, 100, 200_000, address, "X-Forwarded-For: 203.0.113.1")
	if got, took := postFrom(t, "127.0.0.1", address, padded(t, 1<<20), "X-Forwarded-For: 198.51.100.7"); got != http.StatusOK || took > time.Second {
		t.Errorf("another client: %d after %s, want 200 at once", got, took)
	}
	if got, _ := postFrom(t, "127.0.0.1", address, padded(t, 1<<20), "X-Forwarded-For: 203.0.113.1"); got != http.StatusServiceUnavailable {
		t.Errorf("the client that stalls: %d, want 503", got)
	}
}

// TestHandleEventListeners: which listeners answer handle_event, and which connectors
// they accept.
func TestHandleEventListeners(t *testing.T) {
	question := func(connector string) *http.Request {
		return httptest.NewRequest(http.MethodPost, "/v1/handle_event", strings.NewReader(fmt.Sprintf(`{"connector":%q,"payload":"{}","webhook_secret":"whsec_dev_stripe"}`, connector)))
	}
	for exposure, want := range map[ingest.Exposure][2]int{ // statuses on the public listener and on the admin listener
		"":              {404, 401},
		ingest.OnAdmin:  {404, 401},
		ingest.OnPublic: {401, 404},
		ingest.OnBoth:   {401, 401},
		ingest.OnNone:   {404, 404},
	} {
		b := newBridge(t, func(c *ingest.Config) { c.HandleEvent = exposure })
		if got := [2]int{b.do(question("stripe")).StatusCode, b.ask(question("stripe")).StatusCode}; got != want {
			t.Errorf("handle_event: %q: %v, want %v", exposure, got, want)
		}
	}
	b := newBridge(t, func(c *ingest.Config) {
		c.HandleEvent = ingest.OnBoth
		c.Endpoints = c.Endpoints[stripeAt(c) : stripeAt(c)+1]
	})
	a := b.do(question("razorpay"))
	if got := bodyOf(t, a); a.StatusCode != http.StatusBadRequest || !strings.Contains(got, `no endpoint of connector \"razorpay\" is configured`) {
		t.Errorf("a connector that is not configured, on the public listener: %d %s, want 400", a.StatusCode, got)
	}
	if got := b.ask(question("razorpay")).StatusCode; got != http.StatusUnauthorized {
		t.Errorf("a connector that is not configured, on the admin listener: %d, want 401", got)
	}
	for metric, want := range map[string]string{
		`tollbridge_handle_event_total{connector="",reason="bad_request",status="400"}`:               "1",
		`tollbridge_handle_event_total{connector="razorpay",reason="signature_missing",status="401"}`: "1",
		`tollbridge_handle_event_duration_seconds_count`:                                              "2",
	} {
		if got := b.metric(metric); got != want {
			t.Errorf("%s is %s, want %s", metric, got, want)
		}
	}
}

// TestHandleEventLimits: the body of a handle_event request has a deadline, and its
// bytes are counted. A request whose client has disconnected is not processed.
func TestHandleEventLimits(t *testing.T) {
	b := newBridge(t, func(c *ingest.Config) {
		c.Deadline, c.MaxInFlight = 300*time.Millisecond, 2<<20
	})
	address := listenTo(t, b.admin, func(l net.Listener) net.Listener { return l })
	c := dial(t, address)
	start := time.Now()
	io.WriteString(c, "POST /v1/handle_event HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
	if got, took := status(t, c), time.Since(start); got != http.StatusServiceUnavailable || took > 2*time.Second {
		t.Errorf("a body that does not arrive: %d after %s, want 503", got, took)
	}
	if !strings.Contains(b.logs.String(), `"reason":"body_too_slow"`) {
		t.Errorf("the log does not give the reason: %s", b.logs.String())
	}

	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	payload := captured(t)
	q, err := json.Marshal(map[string]any{
		"connector": "stripe", "payload": string(payload), "webhook_secret": "whsec_dev_stripe",
		"headers": map[string]string{"Stripe-Signature": signedAt(t, payload, noon)},
	})
	if err != nil {
		t.Fatal(err)
	}
	a := b.ask(httptest.NewRequest(http.MethodPost, "/v1/handle_event", bytes.NewReader(q)).WithContext(gone))
	if got := bodyOf(t, a); a.StatusCode != http.StatusServiceUnavailable || strings.Contains(got, "payment.captured") {
		t.Errorf("a client that has disconnected: %d %s", a.StatusCode, got)
	}
	if got := b.metric("tollbridge_in_flight_bytes"); got != "0" {
		t.Errorf("%s bytes are still counted as in flight", got)
	}
}

// TestAdminHost: the admin listener answers only requests to its own host names.
// Otherwise a web page could read it through a browser, with a host name of the page's
// own that resolves to the listener.
func TestAdminHost(t *testing.T) {
	b := newBridge(t, func(c *ingest.Config) { c.AdminHosts = []string{"tollbridge", "Bridge.internal"} })
	address := listenTo(t, b.admin, func(l net.Listener) net.Listener { return l })
	_, port, _ := net.SplitHostPort(address)
	paths := []string{"/metrics", "/healthz", "/readyz", "/v1/where?id=1", "/v1/handle_event", "/debug/pprof/", "/debug/pprof/heap", "/nowhere"}
	for host, known := range map[string]bool{
		address: true, "127.0.0.1": true, "localhost": true, "LOCALHOST:" + port: true, "localhost.:80": true, "a.localhost": true,
		"[::1]:" + port: true, "[::1]": true, "127.9.9.9": true, "[::ffff:127.0.0.1]": true,
		"tollbridge:9090": true, "tollbridge": true, "bridge.INTERNAL.": true,

		"evil.example": false, "evil.example:" + port: false, "localhost.evil.example": false, "tollbridge.evil.example": false,
		"nottollbridge": false, "127.0.0.1.evil.example": false, "10.0.0.1": false, "0.0.0.0": false, "[::]": false,
		"2130706433": false, "0x7f.1": false, "": false, "evil.example:localhost": false,
	} {
		for _, path := range paths {
			c := dial(t, address)
			fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host)
			got := status(t, c)
			if refused := got == http.StatusMisdirectedRequest; refused == known && got != http.StatusBadRequest || known && got == http.StatusBadRequest {
				t.Errorf("Host %q, %s: %d, should be known: %t", host, path, got, known)
			}
			c.Close()
		}
	}
	c := dial(t, address) // the host of an absolute URL counts
	io.WriteString(c, "GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if got := status(t, c); got != http.StatusMisdirectedRequest {
		t.Errorf("an absolute address: %d, want 421", got)
	}
}
