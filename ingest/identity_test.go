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

// idHeaders are headers in which processors and proxies name a webhook or a delivery.
var idHeaders = []string{
	"X-Razorpay-Event-Id", "X-Shopify-Event-Id", "X-Shopify-Webhook-Id", "X-Shopify-Topic", "X-Shopify-Triggered-At",
	"X-Webhook-Id", "X-Delivery-Id", "X-Event-Id", "X-Idempotency-Key", "X-Idempotency-Header", "Idempotency-Key", "Retry-Count", "X-Retry",
	"Square-Retry-Number", "Square-Initial-Delivery-Timestamp", "Btcpay-Delivery", "QuickPay-Resource-Type", "X-GitHub-Delivery",
	"X-Request-Id", "X-Correlation-Id", "Webhook-Id", "Svix-Id", "PayPal-Transmission-Id", "Date", "User-Agent", "X-Forwarded-For",
}

// eventIDs returns the ids of a request's events, or the reason why the request is not
// verified.
func eventIDs(t *testing.T, connector string, r verify.Request, at time.Time) (ids []string, refused error) {
	t.Helper()
	keys, _, _ := sign.Dev(connector)
	j := webhook.Endpoint{Connector: connector, Keys: keys}.Judge(t.Context(), new(verify.Keyring), r, at)
	for _, e := range j.Events {
		ids = append(ids, e.ID)
	}
	return ids, j.Err
}

// signedRequest returns a connector's signed request, and the ids of its events.
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

// everySample calls f with each sample that gives events.
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

// TestIdentityIsSigned: if an attacker changes a header of a captured webhook, it is
// refused or gives the same events. Event ids are made only from what the signature
// covers.
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
			t.Errorf("with other headers, which verification does not read: error %v, events %v, want %v", refused, got, want)
		}
		for _, name := range slices.Concat(c.Headers, slices.Collect(maps.Keys(r.Header))) {
			for _, value := range []string{"another", "1", ""} {
				other.Header = r.Header.Clone()
				other.Header.Set(name, value)
				if got, refused := eventIDs(t, connector, other, noon); refused == nil && !slices.Equal(got, want) {
					t.Errorf("with the unsigned header %s: %q: events %v, want %v", name, value, got, want)
				}
			}
		}
	})
}

// redeliveries change in a body what the processor documents as different in a
// redelivery.
var redeliveries = map[string]func(body map[string]any){
	// eventDate and other fields differ:
	// https://docs.adyen.com/development-resources/webhooks/best-practices
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
	// Each destination has its own notification id, but the same event id:
	// https://developer.paddle.com/webhooks/about/respond-to-webhooks
	"paddle": func(body map[string]any) { body["notification_id"] = "ntf_another" },
}

// redelivered applies change to a JSON body; in a form it changes the date.
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

// TestRedelivered: a redelivery that is signed an hour later, with the differences that
// the processor documents, gives the same events.
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

// TestByteOrderMark: a webhook with a UTF-8 byte order mark before its body is verified
// and gives the same events. If the signature covers the body, it covers the mark too.
func TestByteOrderMark(t *testing.T) {
	const mark = "\xef\xbb\xbf"
	everySample(t, func(t *testing.T, connector, _ string, payload []byte) {
		r, want := signedRequest(t, connector, payload, noon)
		c, _ := verify.Lookup(connector)
		if c.Covers == verify.CoversBody && (bytes.Equal(r.Body, payload) || connector == "wechatpay") { // WeChat Pay encrypts a part of the payload
			keys, private, _ := sign.Dev(connector)
			var err error
			if r, err = sign.Request(connector, append([]byte(mark), payload...), private, keys.Settings, publicURL+"/webhooks/"+connector, noon); err != nil {
				t.Fatal(err)
			}
		} else {
			r.Body = append([]byte(mark), r.Body...)
		}
		if !bytes.HasPrefix(r.Body, []byte(mark)) {
			t.Fatalf("the body has no byte order mark: %.40q", r.Body)
		}
		if got, err := eventIDs(t, connector, r, noon); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	})
}
