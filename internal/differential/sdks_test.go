package differential_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	paddle "github.com/PaddleHQ/paddle-go-sdk/v4"
	"github.com/mercadopago/sdk-go/pkg/config"
	"github.com/mercadopago/sdk-go/pkg/payment"
	"github.com/stripe/stripe-go/v82"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
)

// The tests in this file let a processor's own library and package fetch talk to the same
// server, each with its own host names and paths. So the server, which other tests use, does
// what the library expects of the processor, and fetch lists and reads what the library does.

var now = time.Now().UTC().Truncate(time.Second)

// listed returns the ids that fetch lists in the last ten days, in the order of the list.
func listed(t *testing.T, s *fetchtest.Server, connector string) (ids []string) {
	t.Helper()
	caller := &fetch.Caller{Transport: s.Transport(), Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
	q := fetch.ListQuery{From: now.Add(-10 * 24 * time.Hour), To: now, API: fetch.API{Keys: []fetch.Key{{Name: "main", Value: fetchtest.Key}}}, Settings: map[string]string{"tells": "payments"}}
	for at := (fetch.Position{}); !at.End; {
		page, err := caller.Page(t.Context(), connector, q, at)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range page.Items {
			ids = append(ids, i.ID)
		}
		at = page.Next
	}
	return ids
}

// compare checks that fetch lists what the library lists, and all of it.
func compare(t *testing.T, s *fetchtest.Server, connector string, library []string, all int) {
	t.Helper()
	calls := len(s.Calls())
	ours := listed(t, s, connector)
	if len(library) != all || !slices.Equal(ours, library) {
		t.Errorf("the library lists %d, fetch lists %d; want the same %d", len(library), len(ours), all)
	}
	if calls < 2 || len(s.Calls())-calls < 2 {
		t.Errorf("the library sent %d requests and fetch %d; want several pages", calls, len(s.Calls())-calls)
	}
}

// TestStripeLibrary: stripe-go lists the events of a time range, page by page, and reads one.
func TestStripeLibrary(t *testing.T) {
	var events []string
	for n := range 250 {
		events = append(events, fmt.Sprintf(`{"id":"evt_%03d","object":"event","created":%d,"type":"payment_intent.succeeded","data":{"object":{"id":"pi_%[1]d","object":"payment_intent"}}}`, n, now.Add(-time.Duration(n+1)*time.Minute).Unix()))
	}
	s := fetchtest.New(t, fetchtest.Stripe(t, events))
	client := stripe.NewClient(fetchtest.Key, stripe.WithBackends(stripe.NewBackendsWithConfig(&stripe.BackendConfig{
		HTTPClient: &http.Client{Transport: s.Transport()}, MaxNetworkRetries: stripe.Int64(0), EnableTelemetry: stripe.Bool(false), LeveledLogger: &stripe.LeveledLogger{},
	})))
	query := &stripe.EventListParams{CreatedRange: &stripe.RangeQueryParams{GreaterThanOrEqual: now.Add(-10 * 24 * time.Hour).Unix(), LesserThanOrEqual: now.Unix()}}
	query.Limit = stripe.Int64(100)
	var ids []string
	for e, err := range client.V1Events.List(t.Context(), query) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.ID)
	}
	compare(t, s, "stripe", ids, len(events))
	if e, err := client.V1Events.Retrieve(t.Context(), "evt_007", nil); err != nil || e.ID != "evt_007" {
		t.Errorf("%v, %v", e, err)
	}
	thin := fetch.Webhook{Payload: []byte(`{"id":"evt_thin","object":"v2.core.event","type":"v1.payment_intent.succeeded","livemode":false,"snapshot_event":"evt_007","related_object":{"id":"pi_7","type":"payment_intent"}}`)}
	documents, err := s.Client.Fetch(t.Context(), "stripe", fetch.API{Keys: []fetch.Key{{Name: "main", Value: fetchtest.Key}}}, thin)
	if err != nil || len(documents) != 1 || string(documents[0].Body) != events[7] {
		t.Errorf("fetched %+v, %v", documents, err)
	}
	if _, err := client.V1Events.Retrieve(t.Context(), "evt_none", nil); err == nil {
		t.Error("the library reads an event that there is not")
	}
}

// TestMercadoPagoLibrary: sdk-go searches the payments that changed, page by page, and reads
// one.
func TestMercadoPagoLibrary(t *testing.T) {
	var payments []string
	for n := range 250 {
		payments = append(payments, fmt.Sprintf(`{"id":%d,"status":"approved","transaction_amount":149.9,"currency_id":"BRL","date_last_updated":"%s","refunds":[]}`, 1000+n, now.Add(-time.Duration(n+1)*time.Minute).Format(time.RFC3339)))
	}
	s := fetchtest.New(t, fetchtest.MercadoPago(t, payments))
	c, err := config.New(fetchtest.Key, config.WithHTTPClient(&http.Client{Transport: s.Transport()}))
	if err != nil {
		t.Fatal(err)
	}
	client := payment.NewClient(c)
	var ids []string
	for {
		found, err := client.Search(t.Context(), payment.SearchRequest{Limit: 100, Offset: len(ids), Filters: map[string]string{
			"range": "date_last_updated", "begin_date": now.Add(-10 * 24 * time.Hour).Format(time.RFC3339), "end_date": now.Format(time.RFC3339),
			"sort": "date_last_updated", "criteria": "desc",
		}})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range found.Results {
			ids = append(ids, strconv.Itoa(p.ID))
		}
		if len(found.Results) == 0 || len(ids) >= found.Paging.Total {
			break
		}
	}
	compare(t, s, "mercadopago", ids, len(payments))
	one, err := client.Get(t.Context(), 1007)
	if err != nil || one.ID != 1007 || one.TransactionAmount != 149.9 {
		t.Errorf("%+v, %v", one, err)
	}
	w := fetch.Webhook{Payload: []byte(`{"type":"payment"}`), Query: map[string][]string{"data.id": {"1007"}}}
	documents, err := s.Client.Fetch(t.Context(), "mercadopago", fetch.API{Keys: []fetch.Key{{Name: "main", Value: fetchtest.Key}}}, w)
	if err != nil || len(documents) != 1 || string(documents[0].Body) != payments[7] {
		t.Errorf("fetched %+v, %v", documents, err)
	}
	if _, err := client.Get(t.Context(), 7); err == nil {
		t.Error("the library reads a payment that there is not")
	}
}

// TestPaddleLibrary: paddle-go-sdk lists the events, page by page.
func TestPaddleLibrary(t *testing.T) {
	var events []json.RawMessage
	for n := range 450 {
		events = append(events, json.RawMessage(fmt.Sprintf(`{"event_id":"evt_%03d","event_type":"transaction.completed","occurred_at":"%s","data":{"id":"txn_%[1]d"}}`, n, now.Add(-time.Duration(n+1)*time.Minute).Format(time.RFC3339))))
	}
	s := fetchtest.New(t, fetchtest.Paddle(t, events))
	client, err := paddle.New(fetchtest.Key, paddle.WithClient(&http.Client{Transport: s.Transport()}))
	if err != nil {
		t.Fatal(err)
	}
	found, err := client.ListEvents(t.Context(), &paddle.ListEventsRequest{OrderBy: paddle.PtrTo("id[DESC]"), PerPage: paddle.PtrTo(200)})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	if err := found.IterErr(t.Context(), func(e paddle.Event) error {
		ids = append(ids, e.(*paddle.TransactionCompletedEvent).EventID)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	compare(t, s, "paddle", ids, len(events))
}
