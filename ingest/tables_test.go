package ingest

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/verify"
)

// TestRefusalOfReasons: what verify may say, and whose fault it is.
func TestRefusalOfReasons(t *testing.T) {
	ours := map[verify.Reason]bool{verify.ErrNoSecret: true, verify.ErrSetting: true, verify.ErrKeyNotThere: true}
	for _, reason := range []verify.Reason{
		verify.ErrNoSecret, verify.ErrSetting, verify.ErrMissing, verify.ErrMalformed, verify.ErrMismatch,
		verify.ErrStale, verify.ErrAlgorithm, verify.ErrKeyUnknown, verify.ErrKeyNotThere,
	} {
		want := http.StatusUnauthorized
		if ours[reason] {
			want = http.StatusServiceUnavailable
		}
		a, word := dialect{}.refusal(fmt.Errorf("stripe: %w: more", reason))
		if a.Status != want || word != string(reason) {
			t.Errorf("%s: %d %s, want %d", reason, a.Status, word, want)
		}
	}
}

// TestAnswers: what processors are told that want more than a status.
func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		connector string
		j         Judgement
		status    int
		body      string
	}{
		{"opayo-server", Judgement{Verified: verify.Verified{Payload: []byte("VendorTxCode=a%26b")}}, 200,
			"Status=OK\r\nRedirectURL=https://shop.example.com/?order=a%26b\r\n"},
		{"stripe", Judgement{}, 200, ""},
		{"adyen", Judgement{}, 200, "[accepted]"},
		{"adyen", Judgement{Err: verify.ErrMismatch}, 401, "Unauthorized\n"},
		{"gocardless", Judgement{}, 204, ""},
		{"gocardless", Judgement{Err: verify.ErrMismatch}, 498, "\n"},
		{"gocardless", Judgement{Err: verify.ErrNoSecret}, 503, "Service Unavailable\n"},
		{"robokassa", Judgement{Verified: verify.Verified{Payload: []byte("OutSum=1&InvId=7")}}, 200, "OK7"},
		{"trustly", Judgement{Verified: verify.Verified{Payload: []byte("{}"), Reply: []byte(`{"result":{}}`)}}, 200, `{"result":{}}`},
		{"wechatpay", Judgement{}, 200, ""},
		{"wechatpay", Judgement{Err: verify.ErrMismatch}, 401, `{"code":"FAIL","message":"send it again"}`},
		{"xsolla", Judgement{}, 204, ""},
		{"xsolla", Judgement{Err: verify.ErrMismatch}, 400, `{"error":{"code":"INVALID_SIGNATURE","message":"Invalid signature"}}`},
		{"xsolla", Judgement{Err: verify.ErrNoSecret}, 503, "Service Unavailable\n"},
		{"braintree", Judgement{Verified: verify.Verified{Handshake: true, Reply: []byte("abc|def")}}, 200, "abc|def"},
	} {
		keys := verify.Keys{Settings: map[string]string{"redirect_url": "https://shop.example.com/?order={VendorTxCode}"}}
		a := Endpoint{Connector: tt.connector, Keys: keys}.Answer(tt.j)
		if a.Status != tt.status || a.Body != tt.body {
			t.Errorf("%s: %d %q, want %d %q", tt.connector, a.Status, a.Body, tt.status, tt.body)
		}
		if (a.Body == "") != (a.Headers["Content-Type"] == "") {
			t.Errorf("%s: a body of %q is of type %q", tt.connector, a.Body, a.Headers["Content-Type"])
		}
	}
}

// TestAddress: what a signature may be over is what was configured, whatever
// the request says of where it was sent.
func TestAddress(t *testing.T) {
	const public, own = "https://pay.example.com/", "https://shop.example.com/hooks"
	for _, tt := range []struct{ target, url, publicURL, want string }{
		{"/webhooks/square", "", public, "https://pay.example.com/webhooks/square"},
		{"/webhooks/square?a=1&b=%20", "", public, "https://pay.example.com/webhooks/square?a=1&b=%20"},
		{"/webhooks/square?a=1", own, public, "https://shop.example.com/hooks?a=1"},
		{"/webhooks/square", own, "", own},
		{"/webhooks/square", "", "", ""},
		{"/webhooks/sq%75are", "", public, "https://pay.example.com/webhooks/sq%75are"},
		{"http://evil.example/webhooks/square", "", public, "https://pay.example.com/webhooks/square"},
	} {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(
			"POST " + tt.target + " HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		e := Endpoint{Connector: "square", URL: tt.url, PublicURL: tt.publicURL}
		if got := e.address(r.URL); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.target, got, tt.want)
		}
	}
}

// TestLongTexts: a batch can have thousands of items; headers stay small.
func TestLongTexts(t *testing.T) {
	const n = 10_000
	ids, at, kept := make([]string, n), make([]kafka.Receipt, n), make([]normalize.Kept, n)
	for i := range n {
		ids[i] = "0b0f0b0f-0b0f-5b0f-8b0f-0b0f0b0f0b0f"
		at[i] = kafka.Receipt{Topic: "payment.captured", Partition: 3, Offset: int64(i)}
		kept[i] = normalize.Kept{Item: i, Outcome: normalize.OutcomeMalformed, Reason: "no amount"}
	}
	for name, text := range map[string]string{"receipts": receipts(ids, at), "reasons": reasons(kept)} {
		if len(text) > 5<<10 || !strings.Contains(text, "more") {
			t.Errorf("%s: %d bytes, ending in %q; want under 5 KiB, and how many more there are", name, len(text), text[len(text)-40:])
		}
	}
	if got, want := receipts(ids[:2], at[:2]), `"`+ids[0]+`";topic="payment.captured";partition=3;offset=0, "`+ids[0]+`";topic="payment.captured";partition=3;offset=1`; got != want {
		t.Errorf("receipts\n%s, want\n%s", got, want)
	}
	if got, want := reasons(kept[:2]), "item 0: malformed: no amount; item 1: malformed: no amount"; got != want {
		t.Errorf("reasons %q, want %q", got, want)
	}
}
