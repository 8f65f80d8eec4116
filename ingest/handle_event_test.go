package ingest_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestHandleEventOverHTTP calls POST /v1/handle_event with a correct request, and with
// one thing at a time changed in it.
func TestHandleEventOverHTTP(t *testing.T) {
	payload := captured(t)
	right := map[string]any{
		"connector": "stripe", "payload": string(payload), "webhook_secret": "whsec_dev_stripe",
		"headers": map[string]string{"stripe-signature": signedAt(t, payload, noon)},
	}
	with := func(change map[string]any) string {
		q := maps.Clone(right)
		maps.Copy(q, change)
		b, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	minuteOld := map[string]string{"Stripe-Signature": signedAt(t, payload, noon.Add(-time.Minute))}
	ignored := []byte(`{"id":"evt_1","type":"customer.created"}`)
	for _, tt := range []struct {
		name, body string
		status     int
		want       string // part of the answer
	}{
		{"right", with(nil), 200, `"verified":true`},
		{"has the first event by itself", with(nil), 200, `"event":{"specversion":"1.0"`},
		{"base64", with(map[string]any{"payload": "", "payload_base64": payload}), 200, `"type":"payment.captured"`},
		{"no event", with(map[string]any{"payload": string(ignored), "headers": map[string]string{"Stripe-Signature": signedAt(t, ignored, noon)}}), 200, `"outcome":"ignored"`},
		{"method and url", with(map[string]any{"method": "POST", "url": "https://pay.example.com/?a=b"}), 200, `"verified":true`},
		{"a minute old", with(map[string]any{"headers": minuteOld}), 200, `"verified":true`},

		{"a minute is too old", with(map[string]any{"headers": minuteOld, "settings": map[string]string{"tolerance_seconds": "59"}}), 401, `"reason":"timestamp_too_old"`},
		{"another secret", with(map[string]any{"webhook_secret": "whsec_other"}), 401, `"reason":"signature_mismatch"`},
		{"another payload", with(map[string]any{"payload": "{}"}), 401, `"verified":false`},
		{"no headers", with(map[string]any{"headers": nil}), 401, `"reason":"signature_missing"`},

		{"no secret", with(map[string]any{"webhook_secret": ""}), 400, "no secret"},
		{"unknown connector", with(map[string]any{"connector": "nobody"}), 400, `unknown connector \"nobody\"`},
		{"unknown setting", with(map[string]any{"settings": map[string]string{"x": "y"}}), 400, "unknown setting"},
		{"any age", with(map[string]any{"settings": map[string]string{"tolerance_seconds": "off"}}), 400, "only for `tollbridge inspect`"},
		{"two payloads", with(map[string]any{"payload_base64": payload}), 400, "want one of payload and payload_base64"},
		{"payload as an object", with(map[string]any{"payload": map[string]any{}}), 400, "the payload as a string"},
		{"a name too many", with(map[string]any{"secret": "x"}), 400, "secret"},
		{"no base64", with(map[string]any{"payload_base64": "!"}), 400, "want {connector"},
		{"not JSON", "connector=stripe", 400, "want {connector"},
		{"empty", "", 400, "want {connector"},
		{"too large", strings.Repeat(" ", 1<<20+1), 413, "body_too_large"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBridge(t)
			a := b.ask(httptest.NewRequest(http.MethodPost, "/v1/handle_event", strings.NewReader(tt.body)))
			got := bodyOf(t, a)
			if a.StatusCode != tt.status || !strings.Contains(got, tt.want) {
				t.Errorf("%d %s\nwant %d with %s", a.StatusCode, got, tt.status, tt.want)
			}
			if !json.Valid([]byte(got)) || strings.Contains(got, "whsec_") {
				t.Errorf("want JSON without a secret, got %s", got)
			}
			if strings.Contains(got, "diagnosis") {
				t.Errorf("the answer tells the sender how to correct its request: %s", got)
			}
			if len(b.published()) > 0 {
				t.Error("handle_event published")
			}
			quiet(t, b.logs.String())
		})
	}
}

// TestBase64IsExact: bytes that are not text arrive unchanged.
func TestBase64IsExact(t *testing.T) {
	payload := []byte("\xff\xfe{}")
	q, err := json.Marshal(map[string]any{
		"connector": "stripe", "webhook_secret": "whsec_dev_stripe", "payload_base64": base64.StdEncoding.EncodeToString(payload),
		"headers": map[string]string{"Stripe-Signature": signedAt(t, payload, noon)},
	})
	if err != nil {
		t.Fatal(err)
	}
	a := newBridge(t).ask(httptest.NewRequest(http.MethodPost, "/v1/handle_event", bytes.NewReader(q)))
	if got := bodyOf(t, a); a.StatusCode != http.StatusOK || !strings.Contains(got, `"outcome":"malformed"`) {
		t.Errorf("%d %s, want 200 and malformed", a.StatusCode, got)
	}
}
