package fetch_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
)

// gocardlessAPI is the API as in https://github.com/gocardless/gocardless-pro-go,
// event_service.go, payment_service.go and refund_service.go.
var gocardlessAPI = api{
	config: key("live_" + secretText),
	header: "Authorization", want: "Bearer live_" + secretText,
	accepts: func(r *http.Request) error { return wants(r, "GoCardless-Version", "2015-07-06") },
	answers: map[string]string{
		"GET /payments/PMDEMO71":         `{"payments":{"id":"PMDEMO71","amount":2500,"currency":"GBP","status":"paid_out","metadata":{"order_id":"order-71"},"links":{"mandate":"MDDEMO1"}}}`,
		"GET /payments/PMDEMO73":         `{"payments":{"id":"PMDEMO73","amount":2700,"currency":"GBP"}}`,
		"GET /refunds/RFDEMO71":          `{"refunds":{"id":"RFDEMO71","amount":500,"currency":"GBP","links":{"payment":"PMDEMO71"}}}`,
		"GET /outbound_payments/OUT0071": `{"outbound_payments":{"id":"OUT0071","amount":900,"currency":"GBP"}}`,
		"GET /events?created_at%5Bgte%5D=2026-01-01T10%3A00%3A00Z&created_at%5Blte%5D=2026-01-01T10%3A00%3A02.5Z&include=payment&limit=500&resource_type=payments": `{"events":[{"id":"EV1"},{"id":"EV2"}],"meta":{"cursors":{"before":null,"after":null},"limit":500},
			"linked":{"payments":[{"id":"PMDEMO71","amount":2500,"currency":"GBP"},{"id":"PMDEMO72","amount":2600,"currency":"GBP"}]}}`,
	},
	webhooks: []webhookCase{
		{name: "one payment", payload: gocardlessBatch(`{"id":"EV1","resource_type":"payments","action":"confirmed","created_at":"2026-01-01T10:00:00Z","links":{"payment":"PMDEMO71"}}`),
			requests: []string{"GET /payments/PMDEMO71"}, documents: []string{"payment/PMDEMO71"}},
		{name: "two events of one payment", payload: gocardlessBatch(
			`{"id":"EV1","resource_type":"payments","action":"submitted","created_at":"2026-01-01T10:00:00Z","links":{"payment":"PMDEMO71"}}`,
			`{"id":"EV2","resource_type":"payments","action":"confirmed","created_at":"2026-01-01T10:00:00Z","links":{"payment":"PMDEMO71"}}`),
			requests: []string{"GET /payments/PMDEMO71"}, documents: []string{"payment/PMDEMO71"}},
		{name: "payments and one refund", payload: gocardlessBatch(
			`{"id":"EV1","resource_type":"payments","action":"confirmed","created_at":"2026-01-01T10:00:02.5Z","links":{"payment":"PMDEMO71"}}`,
			`{"id":"EV2","resource_type":"payments","action":"confirmed","created_at":"2026-01-01T10:00:00Z","links":{"payment":"PMDEMO72"}}`,
			`{"id":"EV3","resource_type":"refunds","action":"created","created_at":"2026-01-01T10:00:05Z","links":{"refund":"RFDEMO71"}}`,
			`{"id":"EV4","resource_type":"mandates","action":"active","created_at":"2026-01-01T10:00:05Z","links":{"mandate":"MDDEMO1"}}`,
			`{"id":"EV5","resource_type":"payments","action":"paid_out","created_at":"2026-01-01T10:09:00Z","links":{"payment":"PMDEMO99"}}`,
			`{"id":7,"resource_type":["payments"],"links":[]}`),
			requests:  []string{"GET /events?created_at%5Bgte%5D=2026-01-01T10%3A00%3A00Z&created_at%5Blte%5D=2026-01-01T10%3A00%3A02.5Z&include=payment&limit=500&resource_type=payments", "GET /refunds/RFDEMO71"},
			documents: []string{"events/payments", "refund/RFDEMO71"}},
		{name: "a payment that the list lacks", payload: gocardlessBatch(
			`{"id":"EV1","resource_type":"payments","action":"confirmed","created_at":"2026-01-01T10:00:02.5Z","links":{"payment":"PMDEMO71"}}`,
			`{"id":"EV2","resource_type":"payments","action":"confirmed","created_at":"2026-01-01T10:00:00Z","links":{"payment":"PMDEMO73"}}`),
			requests:  []string{"GET /events?created_at%5Bgte%5D=2026-01-01T10%3A00%3A00Z&created_at%5Blte%5D=2026-01-01T10%3A00%3A02.5Z&include=payment&limit=500&resource_type=payments", "GET /payments/PMDEMO73"},
			documents: []string{"events/payments", "payment/PMDEMO73"}},
		{name: "an outbound payment", payload: gocardlessBatch(`{"id":"EV1","resource_type":"outbound_payments","action":"executed","created_at":"2026-01-01T10:00:00Z","links":{"outbound_payment":"OUT0071"}}`),
			requests: []string{"GET /outbound_payments/OUT0071"}, documents: []string{"outbound_payment/OUT0071"}},
		{name: "nothing with an amount", payload: gocardlessBatch(`{"id":"EV4","resource_type":"mandates","action":"active","created_at":"2026-01-01T10:00:05Z","links":{"mandate":"MDDEMO1"}}`)},
	},
}

func gocardlessBatch(events ...string) string {
	return `{"events":[` + strings.Join(events, ",") + `]}`
}

// TestGocardlessPages: a webhook of 250 events of 250 payments costs two requests, even if
// the list has more than one page.
func TestGocardlessPages(t *testing.T) {
	var events, first, second []string
	for i := range 250 {
		id := fmt.Sprintf("PM%06d", i)
		events = append(events, fmt.Sprintf(`{"id":"EV%d","resource_type":"payments","action":"confirmed","created_at":"2026-01-01T10:00:00Z","links":{"payment":%q}}`, i, id))
		payment := fmt.Sprintf(`{"id":%q,"amount":100,"currency":"GBP"}`, id)
		if i < 200 {
			first = append(first, payment)
		} else {
			second = append(second, payment)
		}
	}
	s := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
		list, after := first, `"EV199"`
		if r.URL.Query().Get("after") == "EV199" {
			list, after = second, "null"
		}
		fmt.Fprintf(w, `{"events":[],"meta":{"cursors":{"after":%s}},"linked":{"payments":[%s]}}`, after, strings.Join(list, ","))
	})
	documents, err := s.Client.Fetch(t.Context(), "gocardless", gocardlessAPI.config, fetch.Webhook{Payload: []byte(gocardlessBatch(events...))})
	if err != nil || len(documents) != 2 || len(s.Calls()) != 2 {
		t.Fatalf("%d documents by %d requests, %v; want 2", len(documents), len(s.Calls()), err)
	}
	if n := strings.Count(string(documents[0].Body)+string(documents[1].Body), `"amount"`); n != 250 {
		t.Errorf("%d payments, want 250", n)
	}
}

// TestGocardlessInvalid: a request that GoCardless finds invalid does not hold back the
// events for ever: it counts as one for an unknown object.
func TestGocardlessInvalid(t *testing.T) {
	s := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) })
	_, err := s.Client.Fetch(t.Context(), "gocardless", gocardlessAPI.config, gocardlessAPI.webhooks[0].webhook())
	if !errors.Is(err, fetch.ErrUnknownObject) {
		t.Errorf("error %v, want %v", err, fetch.ErrUnknownObject)
	}
}
