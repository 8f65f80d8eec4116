package gaps_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
	"github.com/tollbridge/tollbridge/internal/gaps"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

// fields are the fields of a JSON object.
type fields = map[string]json.RawMessage

func fieldsOf(t testing.TB, b []byte) (f fields) {
	t.Helper()
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return f
}

func text(v any) json.RawMessage {
	b, _ := json.Marshal(v)
	return b
}

// smallPage is how many items the servers put on a page, whatever the client asks for.
const smallPage = 4

// listAPI is a processor's list in a test: it speaks the documented API.
type listAPI struct {
	authorization string // the header's value; "" is "Bearer KEY"
	header        string // the name of the header; "" is Authorization
	clientID      string
	host          string
	// items returns what the list has for a webhook.
	items func(t testing.TB, n int, payload []byte) []fields
	// serve answers a request. all are the items, newest first.
	serve func(t testing.TB, w http.ResponseWriter, r *http.Request, all []fields)
	// resend are the last requests of a resend of the item with the number 3.
	resend []string
}

// after returns the items after the one whose field has the value, at most a page, and
// whether there are more.
func after(all []fields, field, value string) (page []fields, more bool) {
	if value != "" {
		n := slices.IndexFunc(all, func(f fields) bool { return string(f[field]) == string(text(value)) })
		all = all[n+1:]
	}
	return all[:min(smallPage, len(all))], len(all) > smallPage
}

func answer(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

// at is the time of an item.
func at(n int) time.Time { return now.Add(-time.Duration(5*24*60+n) * time.Minute) }

func stamp(n int) string { return at(n).Format(time.RFC3339) }

// webhooksAddress is the address of the endpoint in the tests.
const webhooksAddress = "https://pay.example.com/webhooks/"

var listAPIs = map[string]listAPI{
	// https://developer.paypal.com/docs/api/webhooks/v1/#webhooks-events_list
	"paypal": {
		clientID: "client-71",
		items: func(t testing.TB, n int, payload []byte) []fields {
			f := fieldsOf(t, payload)
			f["create_time"] = text(stamp(n))
			return []fields{f}
		},
		serve: func(t testing.TB, w http.ResponseWriter, r *http.Request, all []fields) {
			if r.URL.Path == "/v1/oauth2/token" {
				if user, password, _ := r.BasicAuth(); user != "client-71" || password != "key-71demo71" {
					t.Errorf("Basic authentication as %q", user)
				}
				w.Header().Set("Content-Type", "application/json")
				answer(w, map[string]any{"access_token": "key-71demo71", "token_type": "Bearer", "expires_in": 32400})
				return
			}
			if strings.HasSuffix(r.URL.Path, "/resend") {
				w.WriteHeader(http.StatusAccepted)
				return
			}
			q := r.URL.Query()
			if q.Get("start_time") == "" || q.Get("page_size") == "" {
				t.Errorf("bad request %s", r.URL)
			}
			first, _ := strconv.Atoi(q.Get("next_page_token"))
			page := all[first:min(first+smallPage, len(all))]
			links := []map[string]string{{"rel": "self", "href": "https://api-m.paypal.com" + r.URL.RequestURI()}}
			if first+smallPage < len(all) {
				q.Set("next_page_token", strconv.Itoa(first+smallPage))
				links = append(links, map[string]string{"rel": "next", "href": "https://evil.example.com/v1/notifications/webhooks-events?" + q.Encode()})
			}
			answer(w, map[string]any{"events": page, "count": len(page), "links": links})
		},
		resend: []string{"POST api-m.paypal.com/v1/notifications/webhooks-events/ID/resend"},
	},
	// https://developer.gocardless.com/api-reference/#events-list-events
	"gocardless": {
		items: func(t testing.TB, n int, payload []byte) (all []fields) {
			var batch struct{ Events []fields }
			if err := json.Unmarshal(payload, &batch); err != nil {
				t.Fatal(err)
			}
			for _, e := range batch.Events {
				e["created_at"] = text(stamp(n))
				all = append(all, e)
			}
			return all
		},
		serve: func(t testing.TB, w http.ResponseWriter, r *http.Request, all []fields) {
			if r.Header.Get("GoCardless-Version") != "2015-07-06" {
				t.Error("no version")
			}
			switch {
			case strings.HasSuffix(r.URL.Path, "/actions/retry"):
				answer(w, map[string]any{"webhooks": map[string]string{"id": "WB123"}})
			case r.URL.Path == "/webhooks":
				body, _ := json.Marshal(map[string]any{"events": all})
				answer(w, map[string]any{"webhooks": []any{map[string]any{"id": "WB0", "request_body": `{"events":[]}`}, map[string]any{"id": "WB123", "request_body": string(body)}}})
			default:
				page, more := after(all, "id", r.URL.Query().Get("after"))
				cursors := map[string]any{"before": nil, "after": nil}
				if more {
					cursors["after"] = page[len(page)-1]["id"]
				}
				answer(w, map[string]any{"events": page, "meta": map[string]any{"cursors": cursors, "limit": 500}})
			}
		},
		resend: []string{"POST api.gocardless.com/webhooks/WB123/actions/retry"},
	},
	// https://developer.paddle.com/api-reference/events/list-events
	"paddle": {
		items: func(t testing.TB, n int, payload []byte) []fields {
			f := fieldsOf(t, payload)
			delete(f, "notification_id")
			f["occurred_at"] = text(stamp(n))
			return []fields{f}
		},
		serve: func(t testing.TB, w http.ResponseWriter, r *http.Request, all []fields) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/replay"):
				answer(w, map[string]any{"data": map[string]string{"notification_id": "ntf_2"}})
			case r.URL.Path == "/notifications":
				id := r.URL.Query().Get("search")
				answer(w, map[string]any{"data": []any{
					map[string]any{"id": "ntf_1", "origin": "replay", "payload": map[string]string{"event_id": id}},
					map[string]any{"id": "ntf_123", "origin": "event", "payload": map[string]string{"event_id": id}},
				}})
			default:
				if r.URL.Query().Get("order_by") != "id[DESC]" {
					t.Errorf("bad request %s", r.URL)
				}
				page, more := after(all, "event_id", r.URL.Query().Get("after"))
				answer(w, map[string]any{"data": page, "meta": map[string]any{"pagination": map[string]any{"per_page": 200, "has_more": more}}})
			}
		},
		resend: []string{"POST api.paddle.com/notifications/ntf_123/replay"},
	},
	// https://developer.squareup.com/reference/square/events-api/SearchEvents
	"square": {
		items: func(t testing.TB, n int, payload []byte) []fields {
			f := fieldsOf(t, payload)
			f["created_at"] = text(stamp(n))
			return []fields{f}
		},
		serve: func(t testing.TB, w http.ResponseWriter, r *http.Request, all []fields) {
			var q struct {
				Cursor string
				Limit  int
				Query  struct {
					Filter struct {
						CreatedAt struct {
							StartAt time.Time `json:"start_at"`
							EndAt   time.Time `json:"end_at"`
						} `json:"created_at"`
					}
				}
			}
			body, _ := io.ReadAll(r.Body)
			if err := json.Unmarshal(body, &q); err != nil || r.Method != http.MethodPost || r.URL.Path != "/v2/events" || q.Limit < 1 || q.Limit > 100 || q.Query.Filter.CreatedAt.StartAt.IsZero() {
				t.Errorf("bad request %s %s: %s", r.Method, r.URL, body)
			}
			page, more := after(all, "event_id", q.Cursor)
			result := map[string]any{"events": page}
			if more {
				result["cursor"] = page[len(page)-1]["event_id"]
			}
			answer(w, result)
		},
	},
	// https://docs.lithic.com/reference/getevents
	"lithic": {
		authorization: "key-71demo71",
		items: func(t testing.TB, n int, payload []byte) []fields {
			f := fieldsOf(t, payload)
			eventType := f["event_type"]
			if len(eventType) == 0 {
				return nil // without an event_type only older webhooks come
			}
			return []fields{{"token": text(fmt.Sprint("msg_", n)), "created": text(stamp(n)), "event_type": eventType, "payload": payload}}
		},
		serve: func(t testing.TB, w http.ResponseWriter, r *http.Request, all []fields) {
			switch q := r.URL.Query(); {
			case strings.HasSuffix(r.URL.Path, "/resend"):
			case r.URL.Path == "/v1/event_subscriptions":
				answer(w, map[string]any{"has_more": false, "data": []any{
					map[string]any{"token": "ep_1", "url": "https://other.example.com/", "disabled": false},
					map[string]any{"token": "ep_123", "url": webhooksAddress + "lithic/default", "disabled": false},
				}})
			default:
				if q.Get("with_content") != "true" || q.Get("begin") == "" || q.Get("end") == "" {
					t.Errorf("bad request %s", r.URL)
				}
				page, more := after(all, "token", q.Get("starting_after"))
				answer(w, map[string]any{"data": page, "has_more": more})
			}
		},
		resend: []string{"POST api.lithic.com/v1/events/ID/event_subscriptions/ep_123/resend"},
	},
	// https://docs.moderntreasury.com/platform/reference/list-events
	"modern-treasury": {
		clientID: "org-71",
		items: func(t testing.TB, n int, payload []byte) []fields {
			f := fieldsOf(t, payload)
			return []fields{{"id": text(fmt.Sprint("event-", n)), "object": text("event"), "resource": fieldsOf(t, f["data"])["object"], "event_name": f["event"], "event_time": text(stamp(n)), "data": f["data"]}}
		},
		serve: func(t testing.TB, w http.ResponseWriter, r *http.Request, all []fields) {
			if user, password, _ := r.BasicAuth(); user != "org-71" || password != "key-71demo71" {
				t.Errorf("Basic authentication as %q", user)
			}
			page, more := after(all, "id", r.URL.Query().Get("after_cursor"))
			if more {
				var id string
				_ = json.Unmarshal(page[len(page)-1]["id"], &id)
				w.Header().Set("X-After-Cursor", id)
			}
			answer(w, page)
		},
	},
	// https://docs.cdp.coinbase.com/api-reference/commerce-api/rest-api/events/list-events
	"coinbase-commerce": {
		header: "X-Cc-Api-Key", authorization: "key-71demo71",
		items: func(t testing.TB, n int, payload []byte) []fields {
			event := fieldsOf(t, payload)["event"]
			if len(event) == 0 {
				return nil
			}
			f := fieldsOf(t, event)
			f["id"] = text(fmt.Sprint("event-", n))
			f["created_at"] = text(stamp(n))
			return []fields{f}
		},
		serve: func(_ testing.TB, w http.ResponseWriter, r *http.Request, all []fields) {
			page, more := after(all, "id", r.URL.Query().Get("starting_after"))
			pagination := map[string]any{"order": "desc", "total": len(all), "next_uri": nil}
			if more {
				var id string
				_ = json.Unmarshal(page[len(page)-1]["id"], &id)
				pagination["next_uri"] = "https://evil.example.com/events?limit=100&starting_after=" + id
			}
			answer(w, map[string]any{"data": page, "pagination": pagination})
		},
	},
	// https://docs.btcpayserver.org/API/Greenfield/v1/#operation/Webhooks_GetWebhookDeliveries
	"btcpay": {
		authorization: "token key-71demo71", host: "btcpay.example.com",
		items: func(_ testing.TB, n int, payload []byte) []fields {
			return []fields{{"id": text(fmt.Sprint("delivery-", n)), "timestamp": text(at(n).Unix()), "httpCode": text(500), "status": text("HttpError"), "payload": payload}}
		},
		serve: func(t testing.TB, w http.ResponseWriter, r *http.Request, all []fields) {
			const webhooks = "/api/v1/stores/store71/webhooks"
			switch path := r.URL.Path; {
			case path == "/api/v1/api-keys/current":
				answer(w, map[string]any{"apiKey": "…", "permissions": []string{"btcpay.store.canviewinvoices:other", "btcpay.store.webhooks.canmodifywebhooks:store71"}})
			case path == webhooks:
				answer(w, []any{map[string]any{"id": "wh1", "url": "https://other.example.com/"}, map[string]any{"id": "wh123", "url": webhooksAddress + "btcpay/default"}})
			case path == webhooks+"/wh123/deliveries":
				if r.URL.Query().Get("count") == "" {
					t.Error("no count")
				}
				var page []fields
				for _, f := range all {
					page = append(page, fields{"id": f["id"], "timestamp": f["timestamp"], "status": f["status"]})
				}
				answer(w, page)
			case strings.HasSuffix(path, "/request"):
				for _, f := range all {
					if string(text(strings.Split(path, "/")[8])) == string(f["id"]) {
						_, _ = w.Write(f["payload"])
						return
					}
				}
				w.WriteHeader(http.StatusNotFound)
			case strings.HasSuffix(path, "/redeliver"):
				answer(w, "new-delivery")
			default:
				t.Errorf("bad request %s", r.URL)
			}
		},
		resend: []string{"POST btcpay.example.com/api/v1/stores/store71/webhooks/wh123/deliveries/ID/redeliver"},
	},
	// https://www.checkout.com/docs/payments/manage-payments/search-and-filter-payments
	// https://github.com/checkout/checkout-sdk-go, workflows/client.go
	"checkout": {
		host: "abcd1234.api.checkout.com",
		items: func(t testing.TB, n int, payload []byte) []fields {
			f := fieldsOf(t, payload)
			if len(f["id"]) == 0 {
				return nil
			}
			f["timestamp"] = text(stamp(n))
			delete(f, "created_on")
			return []fields{f}
		},
		serve: func(t testing.TB, w http.ResponseWriter, r *http.Request, all []fields) {
			const subject, event = "/workflows/events/subject/", "/workflows/events/"
			switch path := r.URL.Path; {
			case strings.HasSuffix(path, "/reflow"):
				w.WriteHeader(http.StatusAccepted)
			case path == "/payments/search": // one payment has all even events, and one has none
				answer(w, map[string]any{"data": []any{map[string]any{"id": "pay_1", "status": "Captured", "requested_on": stamp(0)}, map[string]any{"id": "pay_2", "status": "Declined", "requested_on": stamp(1)}}})
			case path == "/disputes":
				answer(w, map[string]any{"data": []any{map[string]any{"id": "dsp_1", "status": "won", "last_update": stamp(0)}}})
			case strings.HasPrefix(path, subject):
				data := []any{}
				for n, f := range all {
					if path == subject+"pay_1" && n%2 == 0 || path == subject+"dsp_1" && n%2 == 1 {
						data = append(data, fields{"id": f["id"], "type": f["type"], "timestamp": f["timestamp"]})
					}
				}
				answer(w, map[string]any{"data": data})
			case strings.HasPrefix(path, event):
				for _, f := range all {
					if string(text(strings.TrimPrefix(path, event))) == string(f["id"]) {
						answer(w, f)
						return
					}
				}
				w.WriteHeader(http.StatusNotFound)
			default:
				t.Errorf("bad request %s", r.URL)
			}
		},
		resend: []string{"POST abcd1234.api.checkout.com/workflows/events/ID/reflow"},
	},
}

// TestEventLists: a list of events, page by page, gives the events with the ids that the
// webhooks give. A limit and an outage of the processor only delay it.
func TestEventLists(t *testing.T) {
	for connector, c := range listAPIs {
		t.Run(connector, func(t *testing.T) {
			keys, _, _ := sign.Dev(connector)
			if keys.Settings == nil {
				keys.Settings = map[string]string{}
			}
			host := c.host
			e := webhook.Endpoint{Connector: connector, Keys: keys, URL: webhooksAddress + connector + "/default", API: &fetch.API{
				Keys: []fetch.Key{{Name: "main", Value: "key-71demo71"}}, ClientID: c.clientID, Host: host,
			}}
			if err := fetch.Check(connector, *e.API); err != nil {
				t.Fatal(err)
			}
			var all []fields
			want := map[string]bool{}
			seen := map[string]bool{}
			for n, name := range samples.Names(connector) {
				payload, err := samples.Payload(connector, name)
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(name, "@") || !json.Valid(payload) { // with another setting
					continue
				}
				v := e.JudgeListed(t.Context(), payload, nil, false, now)
				items := c.items(t, n, payload)
				if v.Err != nil || len(v.Events) == 0 || len(items) == 0 || slices.ContainsFunc(items, func(f fields) bool {
					return len(f["id"]) > 0 && seen[string(f["id"])] || len(f["event_id"]) > 0 && seen[string(f["event_id"])]
				}) {
					continue
				}
				for _, f := range items {
					seen[string(f["id"])], seen[string(f["event_id"])] = true, true
				}
				delete(seen, "")
				for _, e := range v.Events {
					want[e.ID] = false
				}
				all = append(all, items...)
			}
			if len(want) < 4 {
				t.Fatalf("only %d samples", len(want))
			}
			calls := 0
			s := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
				header, authorization := "Authorization", "Bearer key-71demo71"
				if c.header != "" {
					header = c.header
				}
				if c.authorization != "" {
					authorization = c.authorization
				}
				if basic := c.clientID != "" && strings.HasPrefix(r.Header.Get("Authorization"), "Basic "); !basic && r.Header.Get(header) != authorization {
					t.Errorf("%s is %q, want %q", header, r.Header.Get(header), authorization)
				}
				switch calls++; {
				case calls == 2 && !strings.Contains(r.URL.Path, "token"):
					w.Header().Set("Retry-After", "3")
					w.WriteHeader(http.StatusTooManyRequests)
				case calls == 3 && !strings.Contains(r.URL.Path, "token"):
					w.WriteHeader(http.StatusBadGateway)
				default:
					c.serve(t, w, r, all)
				}
			})
			cfg := (&rig{endpoint: e}).config(s, gaps.Plan)
			caller := callerOf(s)
			cfg.List = func(ctx context.Context, q fetch.ListQuery, at fetch.Position) (fetch.Page, error) {
				return caller.Page(ctx, connector, q, at)
			}
			cfg.Published = func(e schemas.Event) (bool, error) {
				if _, ok := want[e.ID]; !ok {
					t.Errorf("%s %s: the list gives an event that no webhook gives", e.Type, e.Data.ConnectorEventType)
				}
				want[e.ID] = true
				return true, nil
			}
			n, err := gaps.Run(t.Context(), cfg)
			if err != nil || n.Listed != len(all) || n.Unreadable > 1 || n.Late+n.Missing != 0 {
				t.Errorf("%+v, %v; want %d listed", n, err, len(all))
			}
			for id, found := range want {
				if !found {
					t.Errorf("the list does not give the event %s", id)
				}
			}
			if list, _ := fetch.ListOf(connector); list.Resends() != (c.resend != nil) {
				t.Errorf("resends: %v", list.Resends())
			} else if list.Resends() {
				testResend(t, connector, e, s, caller, all[min(3, len(all)-1)], c.resend)
			}
		})
	}
}

// testResend: the processor is asked to deliver one item again.
func testResend(t *testing.T, connector string, e webhook.Endpoint, s *fetchtest.Server, caller *fetch.Caller, f fields, want []string) {
	t.Helper()
	var id string
	for _, name := range []string{"event_id", "token", "id"} {
		if len(f[name]) > 0 {
			_ = json.Unmarshal(f[name], &id)
			break
		}
	}
	q := fetch.ListQuery{From: now.Add(-24 * time.Hour), To: now, API: *e.API, URL: e.URL}
	if err := caller.Resend(t.Context(), connector, q, fetch.Item{ID: id, Time: now.Add(-time.Hour)}); err != nil {
		t.Error(err)
	}
	calls := s.Calls()
	if got := calls[len(calls)-1]; got != strings.ReplaceAll(want[0], "ID", id) {
		t.Errorf("resent by %s, want %s", got, strings.ReplaceAll(want[0], "ID", id))
	}
}

// TestAskSubscriptions: only the processors whose lists have events are asked for the event
// types of the endpoint: the items of other lists have none to compare with.
func TestAskSubscriptions(t *testing.T) {
	const address = "https://pay.example.com/webhooks/x/default"
	for connector, want := range map[string]bool{"stripe": true, "mollie": false, "razorpay": false, "shopify": false, "gocardless": false} {
		s := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"data":[{"id":"we_1","url":%[1]q,"status":"enabled","enabled_events":["a"]},{"id":"we_2","url":%[1]q,"status":"enabled","enabled_events":["b"]}],"has_more":false}`, address)
		})
		c := gaps.Config{Endpoint: webhook.Endpoint{Connector: connector, URL: address, API: &fetch.API{Keys: []fetch.Key{{Name: "main", Value: "rk_test_71demo71"}}}}}
		err := c.AskSubscriptions(t.Context(), &fetch.Caller{Transport: s.Transport()})
		if err != nil || (c.Subscribed != nil) != want || (len(s.Calls()) > 0) != want {
			t.Errorf("%s: %v after %q, Subscribed is set: %t; want %t", connector, err, s.Calls(), c.Subscribed != nil, want)
		}
		if want && (!c.Subscribed("a") || !c.Subscribed("b") || c.Subscribed("c")) {
			t.Errorf("%s: want the event types of both endpoints with the address", connector)
		}
	}
}
