package webhook

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/normalize"
)

// TestNeeds: package fetch asks for what each event is about that package normalize makes
// an event of. If only normalize knew an event, its amount would be missing.
func TestNeeds(t *testing.T) {
	a := fetch.API{Keys: []fetch.Key{{Name: "main", Value: "demo-71-key"}}, ClientID: "1", Host: "btcpay.shop.example"}
	for connector, payload := range map[string]func(event string) string{
		"stripe": func(event string) string {
			return fmt.Sprintf(`{"id":"evt_thin_1","object":"v2.core.event","type":"v1.%s","related_object":{"id":"pi_1"},"snapshot_event":"evt_1"}`, strings.TrimPrefix(event, "v1."))
		},
		"gocardless": func(event string) string {
			kind, action, _ := strings.Cut(event, ".")
			return fmt.Sprintf(`{"events":[{"id":"EV1","created_at":"2026-01-05T10:00:00Z","resource_type":%q,"action":%q,"links":{%q:"ID1"}}]}`, kind, action, strings.TrimSuffix(kind, "s"))
		},
		"recurly": func(event string) string {
			object, action, _ := strings.Cut(event, ".")
			return fmt.Sprintf(`{"id":"abc","object_type":%q,"event_type":%q}`, object, action)
		},
		"btcpay":  func(event string) string { return fmt.Sprintf(`{"type":%q,"storeId":"S1","invoiceId":"I1"}`, event) },
		"portone": func(event string) string { return fmt.Sprintf(`{"type":%q,"data":{"paymentId":"order-1"}}`, event) },
		"truelayer": func(event string) string {
			return fmt.Sprintf(`{"type":%q,"payment_id":"p1","refund_id":"r1","payout_id":"o1"}`, event)
		},
		"wallee": func(event string) string {
			entity, state, _ := strings.Cut(event, " ")
			return fmt.Sprintf(`{"entityId":1,"spaceId":2,"listenerEntityTechnicalName":%q,"state":%q}`, entity, state)
		},
	} {
		n, _ := normalize.Lookup(connector)
		asked := 0
		for _, teller := range n.Tellers {
			want := !slices.ContainsFunc(needsNothing[connector], func(prefix string) bool { return strings.HasPrefix(teller.Event, prefix) })
			w := fetch.Webhook{Payload: []byte(payload(teller.Event)), Settings: map[string]string{"tells": teller.Tells}}
			if got := fetch.Needs(connector, w, a); got != want {
				t.Errorf("%s: %s is asked for: %v, want %v", connector, teller.Event, got, want)
			} else if got {
				asked++
			}
		}
		if asked == 0 {
			t.Errorf("%s: nothing is asked for", connector)
		}
	}
}

// needsNothing has the beginnings of the events that are about no payment, refund or
// payout of the API.
var needsNothing = map[string][]string{
	"gocardless": {"mandates.", "creditors."},
	"btcpay":     {"Payout"},
	"portone":    {"BillingKey."},
	"truelayer":  {"mandate_", "external_payment_received"},
	"wallee":     {"Token "},
}
