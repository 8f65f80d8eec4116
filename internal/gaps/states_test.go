package gaps_test

import (
	"context"
	"encoding/json"
	"fmt"
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

// stateAPIs are lists of payments in their present state, and the webhooks whose events
// they give.
var stateAPIs = map[string]struct {
	clientID string
	webhooks func(name string) bool // selects samples
	object   func(f fields) (kind string, o fields)
	serve    func(t testing.TB, w http.ResponseWriter, r *http.Request, objects map[string][]fields)
}{
	// https://razorpay.com/docs/api/payments/fetch-all-payments/ and refunds/fetch-all/
	"razorpay": {
		clientID: "rzp_live_71demo",
		webhooks: func(name string) bool {
			return strings.HasPrefix(name, "payment.captured") || strings.HasPrefix(name, "payment.failed") || strings.HasPrefix(name, "refund.processed")
		},
		object: func(f fields) (string, fields) {
			var p struct {
				Payload map[string]struct{ Entity fields }
			}
			b, _ := json.Marshal(f)
			_ = json.Unmarshal(b, &p)
			if refund, ok := p.Payload["refund"]; ok {
				return "refunds", refund.Entity
			}
			return "payments", p.Payload["payment"].Entity
		},
		serve: func(t testing.TB, w http.ResponseWriter, r *http.Request, objects map[string][]fields) {
			q := r.URL.Query()
			skip, err := strconv.Atoi(q.Get("skip"))
			if count, _ := strconv.Atoi(q.Get("count")); err != nil || count != 100 || q.Get("from") == "" || q.Get("to") == "" {
				t.Errorf("bad request %s", r.URL)
			}
			all := objects[strings.TrimPrefix(r.URL.Path, "/v1/")]
			page := []fields{}
			for n := skip; n < min(skip+100, 100+len(all)); n++ { // the first page has payments that were never tried
				if n < 100 {
					page = append(page, fields{"id": text(fmt.Sprint("pay_new", n)), "status": text("created"), "created_at": text(at(n).Unix())})
				} else {
					o := all[n-100]
					o["created_at"] = text(at(n).Unix())
					page = append(page, o)
				}
			}
			answer(w, map[string]any{"entity": "collection", "count": len(page), "items": page})
		},
	},
	// https://paystack.com/docs/api/transaction/#list
	"paystack": {
		webhooks: func(name string) bool {
			return strings.HasPrefix(name, "charge.success") && !strings.Contains(name, "pending")
		},
		object: func(f fields) (string, fields) {
			var o fields
			_ = json.Unmarshal(f["data"], &o)
			return "transaction", o
		},
		serve: func(t testing.TB, w http.ResponseWriter, r *http.Request, objects map[string][]fields) {
			number, err := strconv.Atoi(r.URL.Query().Get("page"))
			if err != nil || number < 1 || r.URL.Path != "/transaction" {
				t.Errorf("bad request %s", r.URL)
			}
			all := append([]fields{{"id": text(1), "status": text("abandoned")}}, objects["transaction"]...)
			o := all[number-1]
			o["created_at"] = text(at(number).Format(time.RFC3339))
			answer(w, map[string]any{"status": true, "data": []fields{o}, "meta": map[string]any{"page": number, "pageCount": len(all)}})
		},
	},
}

// TestStateLists: a list of payments in their present state gives the events with the ids
// that the webhooks give.
func TestStateLists(t *testing.T) {
	for connector, c := range stateAPIs {
		t.Run(connector, func(t *testing.T) {
			keys, _, _ := sign.Dev(connector)
			e := webhook.Endpoint{Connector: connector, Keys: keys, API: &fetch.API{Keys: []fetch.Key{{Name: "main", Value: "key-71demo71"}}, ClientID: c.clientID}}
			objects := map[string][]fields{}
			want := map[string]bool{}
			for _, name := range samples.Names(connector) {
				if !c.webhooks(name) || strings.Contains(name, "@") {
					continue
				}
				payload, err := samples.Payload(connector, name)
				if err != nil {
					t.Fatal(err)
				}
				v := e.JudgeListed(t.Context(), payload, nil, false, now)
				kind, o := c.object(fieldsOf(t, payload))
				if len(v.Events) != 1 || len(o) == 0 || want[v.Events[0].ID] {
					continue
				}
				want[v.Events[0].ID] = true
				objects[kind] = append(objects[kind], o)
			}
			if len(want) == 0 {
				t.Fatal("no samples")
			}
			s := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) { c.serve(t, w, r, objects) })
			testStates(t, s, e, want)
		})
	}
}

// testStates runs over a list, and checks that it gives exactly the events.
func testStates(t *testing.T, s *fetchtest.Server, e webhook.Endpoint, want map[string]bool) {
	t.Helper()
	caller := callerOf(s)
	cfg := (&rig{endpoint: e}).config(s, gaps.Plan)
	cfg.List = func(ctx context.Context, q fetch.ListQuery, at fetch.Position) (fetch.Page, error) {
		return caller.Page(ctx, e.Connector, q, at)
	}
	got := map[string]bool{}
	cfg.Published = func(e schemas.Event) (bool, error) {
		if got[e.ID] = true; !want[e.ID] {
			t.Errorf("%s of %s: the list gives an event that no webhook gives", e.Type, e.Data.ConnectorTransactionID)
		}
		return true, nil
	}
	n, err := gaps.Run(t.Context(), cfg)
	if err != nil || n.Unreadable > 0 || n.Missing > 0 {
		t.Errorf("%+v, %v", n, err)
	}
	for id := range want {
		if !got[id] {
			t.Errorf("the list does not give the event %s: %+v", id, n)
		}
	}
}

// TestMollieList: payments are listed in pages; one with a refund, an old payment with a
// new refund, and an old one with a new chargeback are read with them.
// https://docs.mollie.com/reference/list-payments and list-all-refunds
func TestMollieList(t *testing.T) {
	payment := func(id, status, more string, age int) string {
		return fmt.Sprintf(`{"resource":"payment","id":"%s","mode":"live","status":"%s","amount":{"value":"25.00","currency":"EUR"},"metadata":{"order_id":"order-%[1]s"},"method":"ideal","profileId":"pfl_1","createdAt":"%[4]s","paidAt":"%[4]s"%[3]s}`, id, status, more, stamp(age))
	}
	refunded := `,"amountRefunded":{"value":"5.00","currency":"EUR"}`
	embedded := refunded + `,"_embedded":{"refunds":[{"resource":"refund","id":"re_1","status":"refunded","amount":{"value":"5.00","currency":"EUR"},"paymentId":"tr_Refunded","createdAt":"` + stamp(3) + `"}]}`
	back := `,"amountChargedBack":{"value":"25.00","currency":"EUR"},"_embedded":{"chargebacks":[{"resource":"chargeback","id":"chb_1","amount":{"value":"25.00","currency":"EUR"},"paymentId":"tr_Old","createdAt":"` + stamp(4) + `"}]}`
	const year = 365 * 24 * 60
	whole := map[string]string{
		"tr_Paid":     payment("tr_Paid", "paid", "", 1),
		"tr_Failed":   payment("tr_Failed", "failed", `,"failedAt":"`+stamp(2)+`"`, 2),
		"tr_Refunded": payment("tr_Refunded", "paid", embedded, 3),
		"tr_Old":      payment("tr_Old", "paid", back, year),
	}
	keys, _, _ := sign.Dev("mollie")
	e := webhook.Endpoint{Connector: "mollie", Keys: keys, Live: true, API: &fetch.API{Keys: []fetch.Key{{Name: "main", Value: "live_71demo71demo71"}}}}
	s := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
		const next = `"_links":{"next":{"href":"https://evil.example.com/v2/payments?from=tr_Failed&limit=250"}}`
		switch path, from := r.URL.Path, r.URL.Query().Get("from"); {
		case path == "/v2/payments" && from == "":
			fmt.Fprintf(w, `{"count":1,"_embedded":{"payments":[%s]},%s}`, whole["tr_Paid"], next)
		case path == "/v2/payments" && from == "tr_Failed":
			fmt.Fprintf(w, `{"count":3,"_embedded":{"payments":[%s,%s,%s]},"_links":{"next":{"href":"https://api.mollie.com/v2/payments?from=tr_Older"}}}`, whole["tr_Failed"], payment("tr_Refunded", "paid", refunded, 3), payment("tr_Ancient", "paid", "", year))
		case path == "/v2/refunds":
			fmt.Fprintf(w, `{"count":1,"_embedded":{"refunds":[{"id":"re_1","status":"refunded","paymentId":"tr_Refunded","createdAt":"%s"}]},"_links":{"next":null}}`, stamp(3))
		case path == "/v2/chargebacks":
			fmt.Fprintf(w, `{"count":1,"_embedded":{"chargebacks":[{"id":"chb_1","paymentId":"tr_Old","createdAt":"%s"}]},"_links":{"next":null}}`, stamp(4))
		case whole[strings.TrimPrefix(path, "/v2/payments/")] != "" && strings.Contains(r.URL.Query().Get("embed"), "chargebacks"):
			fmt.Fprint(w, whole[strings.TrimPrefix(path, "/v2/payments/")])
		default:
			t.Errorf("unexpected request %s", r.URL)
		}
	})
	want := map[string]bool{}
	var types []schemas.Type
	for id, body := range whole { // as a webhook that fetches; the old payment was published long ago
		v := e.JudgeListed(t.Context(), []byte("id="+id), []schemas.Fetched{{Name: "payment/" + id, Status: http.StatusOK, Body: []byte(body)}}, false, now)
		for _, e := range v.Events {
			want[e.ID] = true
			types = append(types, e.Type)
		}
	}
	slices.Sort(types)
	if fmt.Sprint(types) != "[dispute.opened payment.captured payment.captured payment.failed refund.succeeded]" {
		t.Fatalf("the webhooks give %v", types)
	}
	testStates(t, s, e, want)
}
