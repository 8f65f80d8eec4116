package normalize

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/schemas"
)

// eventTimes lists the fields, as paths into the payload, that have the time of the
// event although their names suggest the creation of an object.
var eventTimes = map[string][]string{
	"adyen-platform":    {"createdAt"},
	"checkout":          {"created_on"},
	"coinbase-commerce": {"event.created_at"},
	"gocardless":        {"events.*.created_at"},
	"mollie":            {"createdAt"},
	"moneyhash":         {"transaction.operations.*.statuses.*.created"}, // of an operation's status
	"paypal":            {"create_time"},
	"quickpay":          {"operations.*.created_at"}, // of the operation that the webhook reports
	"razorpay":          {"created_at", "payload.created_at"},
	"square":            {"created_at"},
	"stripe":            {"created"},
	"wechatpay":         {"create_time"},
	"worldline-connect": {"created"},
	"xendit":            {"created"}, // of webhooks with data
}

// laterTypes are the event types of what happens to an object after its creation.
var laterTypes = []schemas.Type{
	schemas.PaymentFailed, schemas.PaymentCaptureFailed, schemas.PaymentCancelled, schemas.PaymentCancelFailed, schemas.PaymentExpired, schemas.PaymentReversed,
	schemas.RefundFailed, schemas.RefundCancelled,
	schemas.DisputeChallenged, schemas.DisputeAccepted, schemas.DisputeExpired, schemas.DisputeCancelled, schemas.DisputeWon, schemas.DisputeLost,
	schemas.PayoutFailed, schemas.PayoutCancelled, schemas.PayoutExpired, schemas.PayoutReversed,
	schemas.MandateFailed, schemas.MandateRevoked,
}

// earlierTime matches the name of a field with the time of an object's creation or of
// an earlier step.
var earlierTime = regexp.MustCompile(`(?i)^(creat|made|init|start|author|execut|submi|issued|transaction_?time|payment_?date|order_?(date|time)|paid|captured_?(at|on)|.*_?created|.*creat(ed|ion)_?(at|on|date|time)?)`)

// year matches the year at the beginning of a time.
var year = regexp.MustCompile(`^20\d\d(-?\d\d)`)

// TestEarlierTime: an event of laterTypes does not have the time of the object's
// creation or of an earlier step. It has its own time or the time of receipt.
func TestEarlierTime(t *testing.T) {
	eachSample(t, func(t *testing.T, connector, file string, payload []byte) {
		body, ok := backdated(payload, eventTimes[connector])
		if !ok {
			return
		}
		r, err := Normalize(connector, body, sampleOptions(file))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Events {
			if slices.Contains(laterTypes, e.Type) && e.Time.Year() == 2001 {
				t.Errorf("%s: %s has the time of an earlier step:\n%s", file, e.Type, body)
			}
		}
	})
}

// backdated returns the payload with every creation and earlier step in 2001. It keeps
// the times of the events themselves.
func backdated(payload []byte, events []string) ([]byte, bool) {
	if payload[0] == '{' {
		var doc any
		if json.Unmarshal(payload, &doc) != nil {
			return nil, false
		}
		backdate(doc, "", events)
		body, err := json.Marshal(doc)
		return body, err == nil
	}
	form, err := url.ParseQuery(string(payload))
	if err != nil || payload[0] == '<' {
		return nil, false
	}
	for name := range form {
		if earlierTime.MatchString(name) {
			form.Set(name, year.ReplaceAllString(form.Get(name), "2001$1"))
		}
	}
	return []byte(form.Encode()), true
}

func backdate(v any, at string, events []string) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			backdate(item, at+".*", events)
		}
	case map[string]any:
		for name, old := range v {
			path := strings.TrimPrefix(at+"."+name, ".")
			if earlierTime.MatchString(name) && !slices.Contains(events, path) {
				switch old := old.(type) {
				case string:
					v[name] = year.ReplaceAllString(old, "2001$1")
				case float64:
					switch {
					case old > 1e12:
						v[name] = 1_000_000_000_000
					case old > 1e9:
						v[name] = 1_000_000_000
					}
				}
			}
			backdate(v[name], at+"."+name, events)
		}
	}
}
