package ingest_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/kafka"
)

// listen serves webhooks on loopback as `tollbridge serve` does, and returns the
// address.
func listen(t *testing.T, b *bridge, change ...func(*http.Server)) string {
	t.Helper()
	return listenTo(t, b, b.Listener, change...)
}

// listenTo serves any handler on loopback.
func listenTo(t *testing.T, h http.Handler, bound func(net.Listener) net.Listener, change ...func(*http.Server)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := ingest.HTTPServer(h, zerolog.Nop())
	for _, f := range change {
		f(s)
	}
	go s.Serve(bound(l))
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// dial opens a connection with a time limit of 5 s.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// status reads a response from a connection and returns its status.
func status(t *testing.T, c net.Conn) int {
	t.Helper()
	a, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode
}

// closed checks that the server closes a connection.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open")
	}
}

const head = "POST /webhooks/stripe HTTP/1.1\r\nHost: localhost\r\n"

// TestRawRequests sends bytes that no client library would send.
func TestRawRequests(t *testing.T) {
	for _, tt := range []struct {
		name, sent string
		status     int
		closed     bool
	}{
		{"announces too much and sends none of it", head + "Content-Length: 1048577\r\n\r\n", 413, true},
		{"announces too much and would wait", head + "Content-Length: 1048577\r\nExpect: 100-continue\r\n\r\n", 413, true},
		{"chunks beyond the limit", head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat("x", 1<<16)+"\r\n", 17), 413, true},
		{"one chunk that announces too much", head + "Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n" + strings.Repeat("x", 1<<20+1), 413, true},
		{"chunks that are none", head + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, true},
		{"two lengths", head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400, true},
		{"a length and chunks", head + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 401, false},
		{"a negative length", head + "Content-Length: -1\r\n\r\n", 400, true},
		{"compressed on the way", head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, true},
		{"headers over the cap", head + "X: " + strings.Repeat("x", 40<<10) + "\r\n\r\n", 431, true},
		{"many headers over the cap", head + strings.Repeat("X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 800) + "\r\n", 431, true},
		{"no HTTP", "\x16\x03\x01 hello\r\n\r\n", 400, true},
		{"no body", head + "Content-Length: 0\r\n\r\n", 401, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBridge(t)
			c := dial(t, listen(t, b))
			go io.WriteString(c, tt.sent) // the answer may arrive before everything is sent
			if got := status(t, c); got != tt.status {
				t.Errorf("status %d, want %d", got, tt.status)
			}
			if tt.closed {
				closed(t, c)
			}
			if got := b.metric("tollbridge_in_flight_bytes"); got != "0" {
				t.Errorf("%s bytes are still counted as in flight", got)
			}
		})
	}
}

// TestSlow: a sender that sends a byte now and then is cut off.
func TestSlow(t *testing.T) {
	impatient := func(s *http.Server) { s.ReadHeaderTimeout = 200 * time.Millisecond }
	for _, tt := range []struct {
		name, first, drip string
		answered          bool
	}{
		{"headers", head, "X: y\r\n", false},
		{"body", head + "Content-Length: 1000\r\n\r\n", "x", true},
		{"chunks", head + "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", true},
		{"nothing", "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBridge(t, func(c *ingest.Config) { c.Deadline = 300 * time.Millisecond })
			c := dial(t, listen(t, b, impatient))
			start := time.Now()
			go func() {
				for text := tt.first; ; text = tt.drip {
					if _, err := io.WriteString(c, text); err != nil {
						return
					}
					time.Sleep(20 * time.Millisecond)
				}
			}()
			if tt.answered {
				if got := status(t, c); got != http.StatusServiceUnavailable {
					t.Errorf("status %d, want 503, so that the sender sends it again", got)
				}
				if !strings.Contains(b.logs.String(), `"reason":"body_too_slow"`) {
					t.Errorf("the log does not give the reason: %s", b.logs.String())
				}
			}
			closed(t, c)
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("cut off after %s, which is too late", took)
			}
			if got := b.metric("tollbridge_in_flight_bytes"); got != "0" {
				t.Errorf("%s bytes are still counted as in flight", got)
			}
		})
	}
}

// TestCutShort: a body that is shorter than its Content-Length is refused.
func TestCutShort(t *testing.T) {
	c := dial(t, listen(t, newBridge(t)))
	if _, err := io.WriteString(c, head+"Content-Length: 100\r\n\r\nhalf"); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := status(t, c); got != http.StatusBadRequest {
		t.Errorf("status %d, want 400", got)
	}
}

// padded returns a webhook of exactly n bytes.
func padded(t testing.TB, n int) []byte {
	body := captured(t)
	return append(body, bytes.Repeat([]byte(" "), n-len(body))...)
}

// post sends a signed body. If it is chunked, the request has no Content-Length.
func post(t testing.TB, address string, body []byte, chunked bool) (int, error) {
	r, err := http.NewRequest(http.MethodPost, "http://"+address+"/webhooks/stripe", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Stripe-Signature", signedAt(t, body, noon))
	if chunked {
		r.ContentLength = -1
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, a.Body)
	return a.StatusCode, errors.Join(err, a.Body.Close())
}

// TestSizes: bodies of about each size at which the buffer grows arrive unchanged, up
// to the last allowed byte.
func TestSizes(t *testing.T) {
	b := newBridge(t)
	address := listen(t, b)
	for _, n := range []int{8<<10 - 1, 8 << 10, 8<<10 + 1, 32 << 10, 32<<10 + 1, 512<<10 + 7, 1<<20 - 1, 1 << 20} {
		for _, chunked := range []bool{false, true} {
			before := len(b.published())
			got, err := post(t, address, padded(t, n), chunked)
			if err != nil || got != http.StatusOK || len(b.published()) != before+2 {
				t.Errorf("%d bytes, chunked %t: %d, %v, want 200", n, chunked, got, err)
			}
		}
	}
	got, err := post(t, address, padded(t, 1<<20+1), false)
	if err == nil && got != http.StatusRequestEntityTooLarge { // otherwise the connection was closed before everything was written
		t.Errorf("one byte more than allowed: %d, want 413", got)
	}
	if got := b.metric("tollbridge_in_flight_bytes"); got != "0" {
		t.Errorf("%s bytes are still counted as in flight", got)
	}
}

// TestBytesInFlight: all bodies together are bounded. A request beyond the bound is
// refused at once.
func TestBytesInFlight(t *testing.T) {
	const room, senders = 4, 16 // room is the MiB that one address may use; as much is reserved for others
	enough := make(chan struct{})
	var b *bridge
	b = newBridge(t, func(c *ingest.Config) {
		c.MaxInFlight = 2 * room << 20
		c.Publisher = publisher(func(ctx context.Context, r []kafka.Record) ([]kafka.Receipt, error) {
			<-enough
			return b.publish(ctx, r)
		})
	})
	address, body := listen(t, b), padded(t, 1<<20)
	answers := make(chan int, senders)
	for range senders {
		go func() {
			got, err := post(t, address, body, false)
			if err != nil {
				t.Error(err)
			}
			answers <- got
		}()
	}
	for range senders - room {
		if got := <-answers; got != http.StatusServiceUnavailable {
			t.Errorf("status %d for a request beyond the bound, want 503", got)
		}
	}
	close(enough)
	passed := 0
	for range room {
		if <-answers == http.StatusOK {
			passed++
		}
	}
	if passed == 0 || 2*passed != len(b.published()) { // each has an event and an archived webhook
		t.Errorf("%d requests were accepted, %d records are published", passed, len(b.published()))
	}
	if got := b.metric("tollbridge_in_flight_bytes"); got != "0" {
		t.Errorf("%s bytes are still counted as in flight", got)
	}
	if !strings.Contains(b.logs.String(), `"reason":"share_of_address_used"`) {
		t.Error("the log does not give the reason")
	}
}

// TestIdleConnections: a connection that announces a large body but sends nothing
// reserves no memory.
func TestIdleConnections(t *testing.T) {
	b := newBridge(t, func(c *ingest.Config) { c.MaxInFlight = 4 << 20 })
	address := listen(t, b)
	for range 64 {
		c := dial(t, address)
		if _, err := io.WriteString(c, head+"Content-Length: 1048576\r\n\r\nx"); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(2 * time.Second); b.metric("tollbridge_in_flight_webhooks") != "64"; {
		if time.Now().After(deadline) {
			t.Fatalf("%s of 64 requests are in flight", b.metric("tollbridge_in_flight_webhooks"))
		}
		time.Sleep(5 * time.Millisecond)
	}
	if got, err := post(t, address, padded(t, 1<<20), true); err != nil || got != http.StatusOK {
		t.Errorf("with 64 idle connections: %d, %v, want 200", got, err)
	}
}

// TestCompressed: a compressed body is refused and never decompressed.
func TestCompressed(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for zeros, n := make([]byte, 1<<20), 0; n < 8; n++ {
		if _, err := z.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	b := newBridge(t)
	for _, encoding := range []string{"gzip", "GZIP", "br", "deflate, gzip", "identity, gzip"} {
		r := signed(t, "stripe", bomb.Bytes())
		r.Header.Set("Content-Encoding", encoding)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		a := b.do(r)
		runtime.ReadMemStats(&after)
		if a.StatusCode != http.StatusUnsupportedMediaType {
			t.Errorf("%s: %d, want 415", encoding, a.StatusCode)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
			t.Errorf("%s: used %d bytes of memory", encoding, took)
		}
	}
	r := signed(t, "stripe", captured(t))
	r.Header.Set("Content-Encoding", "Identity")
	if a := b.do(r); a.StatusCode != http.StatusOK {
		t.Errorf("identity: %d, want 200", a.StatusCode)
	}
}

// hostile returns bodies that Stripe would not send, to be signed with its secret.
func hostile() map[string]string {
	intent := func(id, amount, order string) string {
		return fmt.Sprintf(`{"id":"%s","type":"payment_intent.succeeded","created":1767225600,"livemode":true,
			"data":{"object":{"id":"pi_1","amount_received":%s,"currency":"eur","metadata":{"order_id":%s}}}}`, id, amount, order)
	}
	return map[string]string{
		"empty":                "",
		"null":                 "null",
		"an array":             "[]",
		"a string":             `"payment_intent.succeeded"`,
		"spaces":               strings.Repeat(" ", 1<<20),
		"a million deep":       strings.Repeat("[", 1_000_000),
		"deep and closed":      strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000),
		"deep in the object":   `{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":` + strings.Repeat(`{"a":`, 150_000) + "1" + strings.Repeat("}", 150_003),
		"a name twice":         `{"id":"evt_1","id":"evt_2","type":"payment_intent.succeeded"}`,
		"a huge exponent":      intent("evt_1", "1e400", `"order-43"`),
		"a million digits":     intent("evt_1", strings.Repeat("9", 1_000_000), `"order-43"`),
		"an amount as text":    intent("evt_1", `"1099"`, `"order-43"`),
		"a fraction":           intent("evt_1", "1099.5", `"order-43"`),
		"not UTF-8":            intent("evt_1", "1099", "\"order-\xff\xfe\""),
		"half a surrogate":     intent("evt_1", "1099", `"\ud800"`),
		"two bodies":           intent("evt_1", "1099", `"order-43"`) + "{}",
		"an event":             intent("evt_1", "1099", `"order-43"`),
		"zero in its ids":      intent(`evt_\u0000`, "1099", `"order\u0000-43"`),
		"an id of a megabyte":  intent("evt_1", "1099", `"`+strings.Repeat("x", 1_000_000)+`"`),
		"an id with new lines": intent(`evt_1\r\nX: y`, "1099", `"order\r\n43"`),
		"an id that is empty":  intent("evt_1", "1099", `""`),
		"an id as an object":   intent("evt_1", "1099", `{"a":["b"]}`),
		"an id as a number":    intent("evt_1", "1099", `1e400`),
		"many metadata":        `{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":{"id":"pi_1","metadata":{` + manyNames(10_000) + `}}}}`,
	}
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"name %d":"value",`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// events names the hostile bodies that give an event. Kafka gets the others unchanged.
var events = map[string]bool{
	"an event": true, "zero in its ids": true, "an id with new lines": true, "an id that is empty": true,
	"an id as an object": true, "an id as a number": true, "many metadata": true,
}

// TestHostileBodies: each body is acknowledged, and Kafka gets it as an event or
// unchanged. None uses more than its share of memory, and none leaves anything behind.
func TestHostileBodies(t *testing.T) {
	for name, body := range hostile() {
		t.Run(name, func(t *testing.T) {
			b := newBridge(t)
			if a := b.do(signed(t, "stripe", []byte(body))); a.StatusCode != http.StatusOK {
				t.Fatalf("%d, want 200: %s", a.StatusCode, b.logs.String())
			}
			records := b.published()
			whole := records[len(records)-1]
			if isEvent := strings.HasPrefix(records[0].Topic, "payment."); isEvent != events[name] {
				t.Errorf("published to %s, %q", records[0].Topic, headersOf(whole)["reason"])
			}
			if string(whole.Value) != body || len(whole.Key) == 0 {
				t.Errorf("Kafka has another body than the one sent, or no key: %q", whole.Key)
			}
		})
	}
}

// TestMemory: many hostile and large bodies leave no memory in use.
func TestMemory(t *testing.T) {
	b := newBridge(t, func(c *ingest.Config) {
		c.Log = zerolog.Nop()
		c.Publisher = publisher(func(_ context.Context, r []kafka.Record) ([]kafka.Receipt, error) {
			return make([]kafka.Receipt, len(r)), nil
		})
	})
	bodies := hostile()
	round := func() {
		var all sync.WaitGroup
		for _, body := range bodies {
			all.Go(func() {
				if a := b.do(signed(t, "stripe", []byte(body))); a.StatusCode != http.StatusOK {
					t.Errorf("%d, want 200", a.StatusCode)
				}
			})
		}
		all.Wait()
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	round()
	before := heap()
	for range 2 {
		round()
	}
	if after := heap(); after > before+4<<20 {
		t.Errorf("%d bytes in use after two rounds, %d before", after, before)
	}
	if got := b.metric("tollbridge_in_flight_bytes"); got != "0" {
		t.Errorf("%s bytes are still counted as in flight", got)
	}
}
