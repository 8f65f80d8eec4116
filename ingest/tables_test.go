package ingest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// TestRefusalOfReasons: the status for each reason of verify.
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
		a, word := responsePolicy{}.refusal(fmt.Errorf("stripe: %w: more", reason))
		if a.Status != want || word != string(reason) {
			t.Errorf("%s: %d %s, want %d", reason, a.Status, word, want)
		}
	}
}

// TestAnswers: the bodies for processors that expect more than a status.
func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		connector string
		v         webhook.Verdict
		status    int
		body      string
	}{
		{"opayo-server", webhook.Verdict{Verified: verify.Verified{Payload: []byte("VendorTxCode=a%26b")}}, 200,
			"Status=OK\r\nRedirectURL=https://shop.example.com/?order=a%26b\r\n"},
		{"stripe", webhook.Verdict{}, 200, ""},
		{"adyen", webhook.Verdict{}, 200, "[accepted]"},
		{"adyen", webhook.Verdict{Err: verify.ErrMismatch}, 401, "Unauthorized\n"},
		{"gocardless", webhook.Verdict{}, 204, ""},
		{"gocardless", webhook.Verdict{Err: verify.ErrMismatch}, 498, "\n"},
		{"gocardless", webhook.Verdict{Err: verify.ErrNoSecret}, 503, "Service Unavailable\n"},
		{"robokassa", webhook.Verdict{Verified: verify.Verified{Payload: []byte("OutSum=1&InvId=7")}}, 200, "OK7"},
		{"trustly", webhook.Verdict{Verified: verify.Verified{Payload: []byte("{}"), Reply: []byte(`{"result":{}}`)}}, 200, `{"result":{}}`},
		{"wechatpay", webhook.Verdict{}, 200, ""},
		{"wechatpay", webhook.Verdict{Err: verify.ErrMismatch}, 401, `{"code":"FAIL","message":"send it again"}`},
		{"xsolla", webhook.Verdict{}, 204, ""},
		{"xsolla", webhook.Verdict{Err: verify.ErrMismatch}, 400, `{"error":{"code":"INVALID_SIGNATURE","message":"Invalid signature"}}`},
		{"xsolla", webhook.Verdict{Err: verify.ErrNoSecret}, 503, "Service Unavailable\n"},
		{"braintree", webhook.Verdict{Verified: verify.Verified{Handshake: true, Reply: []byte("abc|def")}}, 200, "abc|def"},
	} {
		keys := verify.Keys{Settings: map[string]string{"redirect_url": "https://shop.example.com/?order={VendorTxCode}"}}
		a := responseTo(&webhook.Endpoint{Connector: tt.connector, Keys: keys}, tt.v)
		if a.Status != tt.status || a.Body != tt.body {
			t.Errorf("%s: %d %q, want %d %q", tt.connector, a.Status, a.Body, tt.status, tt.body)
		}
		if (a.Body == "") != (a.Headers["Content-Type"] == "") {
			t.Errorf("%s: a body of %q is of type %q", tt.connector, a.Body, a.Headers["Content-Type"])
		}
	}
}

// TestLongTexts: headers stay small, though a batch can have thousands of items.
func TestLongTexts(t *testing.T) {
	const n = 10_000
	const id = "0b0f0b0f-0b0f-5b0f-8b0f-0b0f0b0f0b0f"
	entries, kept := make([]entry, n), make([]normalize.Skipped, n)
	for i := range n {
		entries[i] = entry{id: id, receipt: kafka.Receipt{Topic: "payment.captured", Partition: 3, Offset: int64(i)}}
		kept[i] = normalize.Skipped{Item: i, Outcome: normalize.OutcomeMalformed, Reason: "no amount"}
	}
	reasons := func(kept []normalize.Skipped) string {
		return webhook.Verdict{Result: normalize.Result{Skipped: kept}}.Reasons()
	}
	for name, text := range map[string]string{"receipts": receiptHeader(entries), "reasons": reasons(kept)} {
		if len(text) > 5<<10 || !strings.Contains(text, "more") {
			t.Errorf("%s: %d bytes, ending in %q; want less than 5 KiB, and the number of the others", name, len(text), text[len(text)-40:])
		}
	}
	if got, want := receiptHeader(entries[:2]), `"`+id+`";topic="payment.captured";partition=3;offset=0, "`+id+`";topic="payment.captured";partition=3;offset=1`; got != want {
		t.Errorf("receipts\n%s, want\n%s", got, want)
	}
	if got, want := reasons(kept[:2]), "item 0: malformed: no amount; item 1: malformed: no amount"; got != want {
		t.Errorf("reasons %q, want %q", got, want)
	}
}
