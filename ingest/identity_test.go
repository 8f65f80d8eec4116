package ingest_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// idHeaders are headers in which processors, and what stands before us, name a
// webhook or its attempt.
var idHeaders = []string{
	"X-Razorpay-Event-Id", "X-Shopify-Event-Id", "X-Shopify-Webhook-Id", "X-Shopify-Topic", "X-Shopify-Triggered-At",
	"X-Webhook-Id", "X-Delivery-Id", "X-Event-Id", "X-Idempotency-Key", "X-Idempotency-Header", "Idempotency-Key", "Retry-Count", "X-Retry",
	"Square-Retry-Number", "Square-Initial-Delivery-Timestamp", "Btcpay-Delivery", "QuickPay-Resource-Type", "X-GitHub-Delivery",
	"X-Request-Id", "X-Correlation-Id", "Webhook-Id", "Svix-Id", "PayPal-Transmission-Id", "Date", "User-Agent", "X-Forwarded-For",
}

// eventIDs is what a request comes to: the ids of its events, and why it is not
// verified if it is not.
func eventIDs(t *testing.T, connector string, r verify.Request, at time.Time) (ids []string, refused error) {
	t.Helper()
	keys, _, _ := sign.Dev(connector)
	j := webhook.Endpoint{Connector: connector, Keys: keys}.Judge(t.Context(), new(verify.Keyring), r, at)
	for _, e := range j.Events {
		ids = append(ids, e.ID)
	}
	return ids, j.Err
}

// signedRequest is the request of a connector's processor, and the ids of its
// events.
func signedRequest(t *testing.T, connector string, payload []byte, at time.Time) (verify.Request, []string) {
	t.Helper()
	keys, private, _ := sign.Dev(connector)
	r, err := sign.Request(connector, payload, private, keys.Settings, publicURL+"/webhooks/"+connector, at)
	if err != nil {
		t.Fatal(err)
	}
	ids, refused := eventIDs(t, connector, r, at)
	if refused != nil {
		t.Fatal(refused)
	}
	return r, ids
}

// everySample calls f with each sample that comes to events.
func everySample(t *testing.T, f func(t *testing.T, connector, name string, payload []byte)) {
	for _, connector := range verify.Connectors() {
		for _, name := range samples.Names(connector) {
			payload, err := samples.Payload(connector, name)
			if err != nil {
				t.Fatal(err)
			}
			if !sign.Malformed(connector, payload) {
				t.Run(connector+"/"+name, func(t *testing.T) { f(t, connector, name, payload) })
			}
		}
	}
}

// TestIdentityIsSigned: whoever changes a header of a webhook that he caught
// has it refused, or it is the same events again. What no signature speaks for
// is in no id.
func TestIdentityIsSigned(t *testing.T) {
	everySample(t, func(t *testing.T, connector, _ string, payload []byte) {
		r, want := signedRequest(t, connector, payload, noon)
		c, _ := verify.Lookup(connector)
		other := r
		other.Header = r.Header.Clone()
		for _, name := range idHeaders {
			if !slices.ContainsFunc(c.Headers, func(read string) bool { return strings.EqualFold(read, name) }) {
				other.Header.Set(name, "another")
			}
		}
		if got, refused := eventIDs(t, connector, other, noon); refused != nil || !slices.Equal(got, want) {
			t.Errorf("with other headers that verification does not read: %v, events %v, want %v", refused, got, want)
		}
		for _, name := range slices.Concat(c.Headers, slices.Collect(maps.Keys(r.Header))) {
			for _, value := range []string{"another", "1", ""} {
				other.Header = r.Header.Clone()
				other.Header.Set(name, value)
				if got, refused := eventIDs(t, connector, other, noon); refused == nil && !slices.Equal(got, want) {
					t.Errorf("with %s: %q: events %v, want %v: the header is not signed", name, value, got, want)
				}
			}
		}
	})
}

// redeliveries are what processors document to differ in the body of a webhook
// that they send again.
var redeliveries = map[string]func(body map[string]any){
	// eventDate and other fields: https://docs.adyen.com/development-resources/webhooks/best-practices
	"adyen": func(body map[string]any) {
		items, _ := body["notificationItems"].([]any)
		for _, i := range items {
			if item, ok := i.(map[string]any)["NotificationRequestItem"].(map[string]any); ok {
				item["eventDate"], item["operations"] = "2026-02-03T04:05:06+01:00", []any{"REFUND"}
			}
		}
	},
	// https://docs.btcpayserver.org/API/Greenfield/v1/#tag/Webhooks
	"btcpay": func(body map[string]any) {
		if body["originalDeliveryId"] == nil {
			body["originalDeliveryId"] = body["deliveryId"]
		}
		body["deliveryId"], body["isRedelivery"] = "anotherDelivery", true
	},
	// https://docs.cdp.coinbase.com/commerce/api-arcitecture/webhooks-fields
	"coinbase-commerce": func(body map[string]any) {
		body["id"], body["attempt_number"], body["scheduled_for"] = "another", 2, "2026-02-03T04:05:06Z"
	},
	// The id of the notification is each destination's own, that of the event is not:
	// https://developer.paddle.com/webhooks/about/respond-to-webhooks
	"paddle": func(body map[string]any) { body["notification_id"] = "ntf_another" },
}

// redelivered changes a body that is JSON; a form's date if it is a form.
func redelivered(payload []byte, change func(map[string]any)) ([]byte, error) {
	if payload[0] != '{' {
		form, err := url.ParseQuery(string(payload))
		form.Set("eventDate", "2026-02-03T04:05:06+01:00")
		return []byte(form.Encode()), err
	}
	var body map[string]any
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if err := d.Decode(&body); err != nil {
		return nil, err
	}
	change(body)
	return json.Marshal(body)
}

// TestRedelivered: a webhook that its processor sends again, signed an hour
// later and with what it documents to differ, is the same events.
func TestRedelivered(t *testing.T) {
	later := noon.Add(time.Hour)
	everySample(t, func(t *testing.T, connector, name string, payload []byte) {
		_, want := signedRequest(t, connector, payload, noon)
		if _, got := signedRequest(t, connector, payload, later); !slices.Equal(got, want) {
			t.Errorf("an hour later: events %v, want %v", got, want)
		}
		change := redeliveries[connector]
		if change == nil || len(want) == 0 {
			return
		}
		changed, err := redelivered(payload, change)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := signedRequest(t, connector, changed, later); !slices.Equal(got, want) {
			t.Errorf("with another body: events %v, want %v", got, want)
		}
	})
}

// TestByteOrderMark: a webhook with a UTF-8 byte order mark in front of its body
// is verified and is the same events. Where the body is signed the mark is
// signed with it, else it is not.
func TestByteOrderMark(t *testing.T) {
	const mark = "\xef\xbb\xbf"
	everySample(t, func(t *testing.T, connector, _ string, payload []byte) {
		r, want := signedRequest(t, connector, payload, noon)
		c, _ := verify.Lookup(connector)
		if c.Covers == verify.CoversBody && (bytes.Equal(r.Body, payload) || connector == "wechatpay") { // which seals a part of it
			keys, private, _ := sign.Dev(connector)
			var err error
			if r, err = sign.Request(connector, append([]byte(mark), payload...), private, keys.Settings, publicURL+"/webhooks/"+connector, noon); err != nil {
				t.Fatal(err)
			}
		} else {
			r.Body = append([]byte(mark), r.Body...)
		}
		if !bytes.HasPrefix(r.Body, []byte(mark)) {
			t.Fatalf("the body has no mark: %.40q", r.Body)
		}
		if got, err := eventIDs(t, connector, r, noon); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	})
}
