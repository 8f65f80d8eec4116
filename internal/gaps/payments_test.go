package gaps_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
	"github.com/tollbridge/tollbridge/internal/gaps"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

// paymentList is a processor's list of payments in a test, in two pages or more, and what
// it has to find: the events of webhooks, and facts.
type paymentList struct {
	clientID, host string
	key            string // "" is key-71demo71
	settings       map[string]string
	serve          func(r *http.Request) (body string, header http.Header)
	handler        func(t testing.TB) http.HandlerFunc // instead of serve
	webhooks       []listedWebhook
	reported       bool // events are only reported, and cannot be published
	facts          []fetch.Fact
	resent         string // the request that resends the first item; "" is none
}

// listedWebhook is a webhook, and the document that tollbridge fetches for it.
type listedWebhook struct{ payload, name, document string }

// mercadopagoPayment is a payment as the API has it; without refunds, as the search has it.
func mercadopagoPayment(id int, status, more string) string {
	return fmt.Sprintf(`{"id":%d,"status":"%s","status_detail":"accredited","transaction_amount":149.9,"currency_id":"BRL","captured":true,"live_mode":false,"external_reference":"order-%[1]d","collector_id":5100001,`+
		`"payment_method_id":"pix","payment_type_id":"bank_transfer","date_created":"%[3]s","date_approved":"%[3]s","date_last_updated":"%[3]s"%[4]s}`, id, status, stamp(id%10), more)
}

// recurlyTransaction is a transaction as the API has it.
func recurlyTransaction(id, kind, status string) string {
	return fmt.Sprintf(`{"id":"%s","object":"transaction","uuid":"uuid-%[1]s","type":"%s","status":"%s","currency":"USD","amount":5.5,"account":{"code":"c-9"},"invoice":{"id":"i1","number":"1071"},"updated_at":"%s"}`, id, kind, status, stamp(2))
}

// recurlyWebhook is the webhook of a transaction.
func recurlyWebhook(id, event string) string {
	return fmt.Sprintf(`{"id":"%s","object_type":"payment","site_id":"site71","event_type":"%s","event_time":"%s","uuid":"uuid-%[1]s"}`, id, event, stamp(2))
}

// walleeTransaction is a transaction as the API has it.
func walleeTransaction(id int, state, times string) string {
	return fmt.Sprintf(`{"id":%d,"linkedSpaceId":405,"state":"%s","currency":"CHF","authorizationAmount":25.5,"completedAmount":25.5,"merchantReference":"order-%[1]d","createdOn":"%[3]s"%[4]s}`, id, state, stamp(9), times)
}

// walleeWebhook is the webhook of an entity of the space 405.
func walleeWebhook(entity string, id int, state string) string {
	return fmt.Sprintf(`{"eventId":1,"entityId":%d,"listenerEntityTechnicalName":"%s","spaceId":405,"state":"%s","timestamp":"2026-01-02T03:04:05+0000"}`, id, entity, state)
}

// shopifyOrder is an order as the REST API and the webhooks have it.
func shopifyOrder(id int, status, more string) string {
	return fmt.Sprintf(`{"id":%d,"name":"#%[1]d","currency":"EUR","total_price":"10.99","current_total_price":"10.99","total_outstanding":"0.00","financial_status":"%s","test":false,"created_at":"%[3]s","updated_at":"%[3]s"%[4]s}`, id, status, stamp(1), more)
}

// shopifyTransaction is a transaction as the REST API and the webhooks have it.
func shopifyTransaction(id, order int, kind, status string) string {
	return fmt.Sprintf(`{"id":%d,"order_id":%d,"kind":"%s","gateway":"shopify_payments","status":"%s","created_at":"%[5]s","processed_at":"%[5]s","test":false,"amount":"10.99","currency":"EUR"}`, id, order, kind, status, stamp(1))
}

// shopifyPages has the pages of orders. Only the first page has the filters, because the
// API refuses them beside page_info.
func shopifyPages(r *http.Request, first, second string) (string, http.Header) {
	q := r.URL.Query()
	switch {
	case r.Header.Get("X-Shopify-Access-Token") != "key-71demo71" || r.Host != "demo-71.myshopify.com" || !strings.HasSuffix(r.URL.Path, "/orders.json"):
		return "", nil
	case q.Get("page_info") == "" && q.Get("status") == "any" && q.Get("updated_at_min") != "" && q.Get("updated_at_max") != "":
		return `{"orders":[` + first + `]}`, http.Header{"Link": {`<https://evil.example.com/orders.json?limit=250&page_info=before>; rel="previous", <https://evil.example.com/orders.json?limit=250&page_info=next71>; rel="next"`}}
	case q.Get("page_info") == "next71" && len(q) == 2:
		return `{"orders":[` + second + `]}`, nil
	}
	return "", nil
}

var paymentLists = map[string]paymentList{
	// https://www.mercadopago.com.br/developers/en/reference/payments/_payments_search/get
	"mercadopago": {
		settings: map[string]string{"tells": "payments"},
		key:      fetchtest.Key,
		handler: func(t testing.TB) http.HandlerFunc {
			return fetchtest.MercadoPago(t, []string{ // the search leaves the refunds out; one payment is of an order
				mercadopagoPayment(9100000001, "approved", ""), mercadopagoPayment(9100000002, "rejected", ""),
				mercadopagoPayment(9100000003, "approved", `,"transaction_amount_refunded":5,"refunds":[{"id":71,"payment_id":9100000003,"amount":5,"status":"approved","date_created":"`+stamp(1)+`"}]`),
				mercadopagoPayment(9100000004, "approved", `,"order":{"id":"ORD71","type":"order"}`),
			})
		},
		webhooks: []listedWebhook{
			{`{"type":"payment"}`, "payment/9100000001", mercadopagoPayment(9100000001, "approved", "")},
			{`{"type":"payment"}`, "payment/9100000004", mercadopagoPayment(9100000004, "approved", `,"order":{"id":"ORD71","type":"order"}`)},
			{`{"type":"payment"}`, "payment/9100000002", mercadopagoPayment(9100000002, "rejected", "")},
			{`{"type":"payment"}`, "payment/9100000003", mercadopagoPayment(9100000003, "approved", `,"refunds":[{"id":71,"amount":5,"status":"approved","date_created":"`+stamp(1)+`"}]`)},
		},
	},
	// https://developer.flutterwave.com/v3.0/reference/get-all-transactions
	"flutterwave": {
		serve: func(r *http.Request) (string, http.Header) {
			q := r.URL.Query()
			item := func(id int, status string) string {
				return fmt.Sprintf(`{"id":%d,"tx_ref":"order-%[1]d","amount":100.5,"currency":"NGN","status":"%s","payment_type":"card","created_at":"%s"}`, id, status, stamp(id))
			}
			if r.URL.Path != "/v3/transactions" || len(q.Get("from")) != len("2026-01-02") || len(q.Get("to")) != len("2026-01-02") {
				return "", nil
			}
			switch q.Get("page") {
			case "1":
				return `{"status":"success","meta":{"page_info":{"total":4,"current_page":1,"total_pages":2}},"data":[` + item(1, "successful") + `,` + item(2, "pending") + `]}`, nil
			case "2":
				return `{"status":"success","meta":{"page_info":{"total":4,"current_page":2,"total_pages":2}},"data":[` + item(3, "failed") + `]}`, nil
			}
			return "", nil
		},
		webhooks: []listedWebhook{
			{payload: `{"event":"charge.completed","data":{"id":1,"tx_ref":"order-1","amount":100.5,"currency":"NGN","status":"successful"}}`},
			{payload: `{"event":"charge.completed","data":{"id":3,"tx_ref":"order-3","amount":100.5,"currency":"NGN","status":"failed"}}`},
		},
	},
	// https://docs.xendit.co/apidocs/list-transactions
	"xendit": {
		serve: func(r *http.Request) (string, http.Header) {
			q := r.URL.Query()
			item := func(id, product, kind, status string) string {
				return fmt.Sprintf(`{"id":"%s","product_id":"%s","type":"%s","status":"%s","reference_id":"order-71","currency":"IDR","amount":90000,"created":"%s"}`, id, product, kind, status, stamp(1))
			}
			if user, _, _ := r.BasicAuth(); user != "key-71demo71" || r.URL.Path != "/transactions" || q.Get("created[gte]") == "" || !slices.Equal(q["types"], []string{"PAYMENT", "REFUND"}) {
				return "", nil
			}
			switch q.Get("after_id") {
			case "":
				return `{"has_more":true,"data":[` + item("txn_1", "py-1", "PAYMENT", "SUCCESS") + `,` + item("txn_2", "py-2", "PAYMENT", "PENDING") + `],"links":[]}`, nil
			case "txn_2":
				return `{"has_more":false,"data":[` + item("txn_3", "rfd-1", "REFUND", "SUCCESS") + `],"links":[]}`, nil
			}
			return "", nil
		},
		facts: []fetch.Fact{{ID: "py-1", Type: schemas.PaymentCaptured}, {ID: "rfd-1", Type: schemas.RefundSucceeded}},
	},
	// https://recurly.com/developers/api/v2021-02-25/index.html#operation/list_transactions
	"recurly": {
		reported: true,
		serve: func(r *http.Request) (string, http.Header) {
			q := r.URL.Query()
			switch {
			case r.Header.Get("Accept") != "application/vnd.recurly.v2021-02-25" || r.URL.Path != "/transactions":
				return "", nil
			case q.Get("cursor") == "next71" && q.Get("limit") == "200":
				return `{"object":"list","has_more":false,"next":null,"data":[` + recurlyTransaction("t3", "refund", "success") + `,` + recurlyTransaction("t4", "verify", "success") + `,` + recurlyTransaction("t5", "authorization", "success") + `]}`, nil
			case q.Get("cursor") == "" && q.Get("sort") == "updated_at" && q.Get("begin_time") != "" && q.Get("end_time") != "":
				return `{"object":"list","has_more":true,"next":"/transactions?cursor=next71&limit=200&sort=updated_at","data":[` + recurlyTransaction("t1", "purchase", "success") + `,` + recurlyTransaction("t2", "purchase", "declined") + `]}`, nil
			}
			return "", nil
		},
		webhooks: []listedWebhook{
			{recurlyWebhook("t1", "succeeded"), "transaction/t1", recurlyTransaction("t1", "purchase", "success")},
			{recurlyWebhook("t2", "failed"), "transaction/t2", recurlyTransaction("t2", "purchase", "declined")},
			{recurlyWebhook("t3", "refunded"), "transaction/t3", recurlyTransaction("t3", "refund", "success")},
			{recurlyWebhook("t5", "authorized"), "transaction/t5", recurlyTransaction("t5", "authorization", "success")},
		},
	},
	// https://github.com/wallee-payment/typescript-sdk, src/apis/TransactionsService.ts
	"wallee": {
		clientID: "71", key: "a2V5LTcxZGVtbzcx", settings: map[string]string{"space_id": "405"},
		serve: func(r *http.Request) (string, http.Header) {
			q := r.URL.Query()
			if r.Header.Get("Space") != "405" || q.Get("order") != "createdOn:DESC" || q.Get("limit") != "100" {
				return "", nil
			}
			switch r.URL.Path + " " + q.Get("offset") {
			case "/api/v2.0/payment/transactions/search 0":
				return `{"hasMore":true,"data":[` + walleeTransaction(1, "FULFILL", `,"completedOn":"`+stamp(1)+`"`) + `,` + walleeTransaction(2, "FAILED", `,"failedOn":"`+stamp(2)+`"`) + `]}`, nil
			case "/api/v2.0/payment/transactions/search 2":
				return `{"hasMore":false,"data":[` + walleeTransaction(3, "CREATE", "") + `]}`, nil
			case "/api/v2.0/payment/refunds/search 0":
				return `{"hasMore":false,"data":[{"id":7,"linkedSpaceId":405,"state":"SUCCESSFUL","amount":5.5,"transaction":1,"createdOn":"` + stamp(9) + `","succeededOn":"` + stamp(1) + `"}]}`, nil
			}
			return `{"hasMore":false,"data":[]}`, nil
		},
		webhooks: []listedWebhook{
			{walleeWebhook("Transaction", 1, "COMPLETED"), "transaction/1", walleeTransaction(1, "COMPLETED", "")},
			{walleeWebhook("Transaction", 2, "FAILED"), "transaction/2", walleeTransaction(2, "FAILED", "")},
			{payload: walleeWebhook("Refund", 7, "SUCCESSFUL")},
		},
	},
	// https://shopify.dev/docs/api/admin-rest/latest/resources/order
	"shopify": {
		host: "demo-71.myshopify.com", settings: map[string]string{"tells": "orders"},
		serve: func(r *http.Request) (string, http.Header) {
			refund := `,"refunds":[{"id":91,"order_id":3,"created_at":"` + stamp(1) + `","note":"damaged","refund_line_items":[],"transactions":[` + shopifyTransaction(73, 3, "refund", "success") + `]}]`
			return shopifyPages(r, shopifyOrder(1, "paid", `,"refunds":[]`)+","+shopifyOrder(2, "voided", ""), shopifyOrder(3, "partially_refunded", refund))
		},
		webhooks: []listedWebhook{
			{payload: shopifyOrder(1, "paid", "")}, {payload: shopifyOrder(2, "voided", "")},
			{payload: `{"id":91,"order_id":3,"created_at":"` + stamp(1) + `","refund_line_items":[],"transactions":[` + shopifyTransaction(73, 3, "refund", "success") + `]}`},
		},
		facts: []fetch.Fact{{ID: "3", Type: schemas.PaymentCaptured}},
	},
	// https://shopify.dev/docs/api/admin-rest/latest/resources/transaction
	"shopify transactions": {
		host: "demo-71.myshopify.com", settings: map[string]string{"tells": "transactions"},
		serve: func(r *http.Request) (string, http.Header) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/orders/1/transactions.json"):
				return `{"transactions":[` + shopifyTransaction(71, 1, "authorization", "success") + `,` + shopifyTransaction(72, 1, "capture", "success") + `]}`, nil
			case strings.HasSuffix(r.URL.Path, "/orders/2/transactions.json"):
				return `{"transactions":[` + shopifyTransaction(73, 2, "refund", "success") + `]}`, nil
			}
			return shopifyPages(r, shopifyOrder(1, "paid", ""), shopifyOrder(2, "refunded", ""))
		},
		webhooks: []listedWebhook{
			{payload: shopifyTransaction(71, 1, "authorization", "success")}, {payload: shopifyTransaction(72, 1, "capture", "success")}, {payload: shopifyTransaction(73, 2, "refund", "success")},
		},
	},
	// https://developer.paypal.com/braintree/graphql/guides/search and reference/queries/refunds
	"braintree": {
		clientID: "public-71",
		serve: func(r *http.Request) (string, http.Header) {
			var q struct {
				Query     string
				Variables struct {
					After string
					Input struct {
						StatusTransition struct {
							SettledAt map[string]time.Time `json:"settledAt"`
						} `json:"statusTransition"`
					}
				}
			}
			b, _ := io.ReadAll(r.Body)
			if user, password, _ := r.BasicAuth(); json.Unmarshal(b, &q) != nil || user != "public-71" || password != "key-71demo71" || r.Header.Get("Braintree-Version") != "2019-01-01" || len(q.Variables.Input.StatusTransition.SettledAt) != 2 {
				return "", nil
			}
			node := func(id string) string {
				return `{"node":{"legacyId":"` + id + `","status":"SETTLED","createdAt":"2026-01-01T00:00:00.000000Z","statusHistory":[{"status":"SETTLED","timestamp":"` + stamp(1) + `"},{"status":"SETTLING","timestamp":"` + stamp(2) + `"}]}}`
			}
			const more, last = `{"hasNextPage":true,"endCursor":"next71"}`, `{"hasNextPage":false,"endCursor":null}`
			switch after := q.Variables.After; {
			case strings.Contains(q.Query, "refunds(input"):
				return `{"data":{"search":{"refunds":{"pageInfo":` + last + `,"edges":[` + node("rf1") + `]}}}}`, nil
			case after == "":
				return `{"data":{"search":{"transactions":{"pageInfo":` + more + `,"edges":[` + node("bt1") + `]}}}}`, nil
			case after == "next71":
				return `{"data":{"search":{"transactions":{"pageInfo":` + last + `,"edges":[` + node("bt2") + `]}}}}`, nil
			}
			return "", nil
		},
		facts: []fetch.Fact{{ID: "bt1", Type: schemas.PaymentCaptured}, {ID: "bt2", Type: schemas.PaymentCaptured}, {ID: "rf1", Type: schemas.RefundSucceeded}},
	},
	// https://developers.monnify.com/api/#get-all-transactions
	"monnify": {
		clientID: "MK_PROD_71",
		serve: func(r *http.Request) (string, http.Header) {
			q := r.URL.Query()
			item := func(id, status string) string {
				return fmt.Sprintf(`{"transactionReference":"MNFY|%s","paymentReference":"order-%[1]s","amount":100,"amountPaid":100,"currencyCode":"NGN","paymentMethod":"CARD","paymentStatus":"%s","createdOn":"%s","completedOn":"%[3]s"}`, id, status, at(1).Format("2006-01-02T15:04:05.000+0000"))
			}
			switch {
			case r.URL.Path == "/api/v1/auth/login":
				if user, password, _ := r.BasicAuth(); r.Method != http.MethodPost || user != "MK_PROD_71" || password != "key-71demo71" {
					return "", nil
				}
				return `{"requestSuccessful":true,"responseMessage":"success","responseCode":"0","responseBody":{"accessToken":"token71","expiresIn":3567}}`, nil
			case r.Header.Get("Authorization") != "Bearer token71" || r.URL.Path != "/api/v1/transactions/search":
				return "", nil
			case q.Get("page") == "0":
				return `{"requestSuccessful":true,"responseBody":{"content":[` + item("1", "PAID") + `,` + item("2", "PENDING") + `],"last":false}}`, nil
			case q.Get("page") == "1":
				return `{"requestSuccessful":true,"responseBody":{"content":[` + item("3", "PARTIALLY_PAID") + `],"last":true}}`, nil
			}
			return "", nil
		},
		webhooks: []listedWebhook{{payload: `{"eventType":"SUCCESSFUL_TRANSACTION","eventData":{"transactionReference":"MNFY|1","paymentReference":"order-1","amountPaid":"100.00","paymentStatus":"PAID","paidOn":"01/01/2026 11:15:30 AM"}}`}},
		facts:    []fetch.Fact{{ID: "MNFY|3", Type: schemas.PaymentCaptured}},
	},
	// https://docs.truelayer.com/reference/merchant-account-get-transactions
	"truelayer": {
		clientID: "client-71", settings: map[string]string{},
		serve: func(r *http.Request) (string, http.Header) {
			q := r.URL.Query()
			paged := r.Header.Get("Tl-Enable-Pagination") == "true" && q.Get("from") != "" && q.Get("to") != ""
			switch path := r.URL.Path; {
			case path == "/connect/token":
				return `{"access_token":"token71","token_type":"Bearer","expires_in":3600}`, nil
			case r.Header.Get("Authorization") != "Bearer token71":
				return "", nil
			case path == "/v3/merchant-accounts":
				return `{"items":[{"id":"acc-gbp","currency":"GBP"},{"id":"acc-eur","currency":"EUR"}]}`, nil
			case path == "/v3/merchant-accounts/acc-gbp/transactions" && paged && q.Get("cursor") == "":
				return `{"items":[{"type":"merchant_account_payment","id":"tx-1","payment_id":"pay-1","status":"settled","settled_at":"` + stamp(1) + `"}],"pagination":{"next_cursor":"next71"}}`, nil
			case path == "/v3/merchant-accounts/acc-gbp/transactions" && paged && q.Get("cursor") == "next71":
				return `{"items":[{"type":"external_payment","id":"tx-2","status":"settled","settled_at":"` + stamp(2) + `"}],"pagination":{}}`, nil
			case path == "/v3/merchant-accounts/acc-eur/transactions" && paged && q.Get("cursor") == "":
				return `{"items":[{"type":"payout","id":"out-1","payout_id":"out-1","status":"executed","created_at":"` + stamp(3) + `","executed_at":"` + stamp(1) + `"},{"type":"payout","id":"out-2","payout_id":"out-2","status":"pending","created_at":"` + stamp(3) + `"}],"pagination":{}}`, nil
			}
			return "", nil
		},
		facts: []fetch.Fact{{ID: "pay-1", Type: schemas.PaymentCaptured}, {ID: "out-1", Type: schemas.PayoutSucceeded}},
	},
	// https://developers.portone.io/api/rest-v2/payment#get-payments
	"portone": {
		serve: func(r *http.Request) (string, http.Header) {
			var q struct {
				Page   struct{ Number, Size int }
				Filter struct {
					TimestampType string
					From, Until   time.Time
				}
			}
			item := func(id, status string) string {
				return `{"status":"` + status + `","id":"` + id + `","statusChangedAt":"` + stamp(1) + `"}`
			}
			switch err := json.Unmarshal([]byte(r.URL.Query().Get("requestBody")), &q); {
			case r.Header.Get("Authorization") != "PortOne key-71demo71":
				return "", nil
			case r.Method == http.MethodPost && r.URL.Path == "/payments/order-1/resend-webhook":
				return `{"webhook":{"id":"wh1"}}`, nil
			case err != nil || r.URL.Path != "/payments" || q.Page.Size != 100 || q.Filter.TimestampType != "STATUS_CHANGED_AT" || q.Filter.From.IsZero() || q.Filter.Until.IsZero():
				return "", nil
			case q.Page.Number == 0:
				return `{"items":[` + item("order-1", "PAID") + `,` + item("order-2", "READY") + `],"page":{"number":0,"size":100,"totalCount":101}}`, nil
			case q.Page.Number == 1:
				return `{"items":[` + item("order-3", "PARTIAL_CANCELLED") + `],"page":{"number":1,"size":100,"totalCount":101}}`, nil
			}
			return "", nil
		},
		facts:  []fetch.Fact{{ID: "order-1", Type: schemas.PaymentCaptured}, {ID: "order-3", Type: schemas.PaymentCaptured}, {ID: "order-3", Type: schemas.RefundSucceeded}},
		resent: "POST api.portone.io/payments/order-1/resend-webhook",
	},
}

// answers returns the handler of the list's API.
func (l paymentList) answers(t testing.TB) http.HandlerFunc {
	if l.handler != nil {
		return l.handler(t)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		body, header := l.serve(r)
		if body == "" {
			t.Errorf("unexpected request %s %s", r.Method, r.URL)
		}
		w.Header().Set("Content-Type", "application/json")
		maps.Copy(w.Header(), header)
		_, _ = io.WriteString(w, body)
	}
}

// endpoint returns the endpoint of a list's connector.
func (l paymentList) endpoint(t *testing.T, connector string) webhook.Endpoint {
	t.Helper()
	keys, _, _ := sign.Dev(connector)
	if l.settings != nil {
		keys.Settings = maps.Clone(l.settings)
	}
	e := webhook.Endpoint{Connector: connector, Keys: keys, API: &fetch.API{
		Keys: []fetch.Key{{Name: "main", Value: cmp.Or(l.key, "key-71demo71")}}, ClientID: l.clientID, Host: l.host,
	}}
	if err := fetch.Check(connector, *e.API); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestPaymentLists: a list of payments gives exactly the events of their webhooks, and the
// facts that have no ids of events. A limit and an outage of the processor only delay it.
func TestPaymentLists(t *testing.T) {
	for name, l := range paymentLists {
		t.Run(name, func(t *testing.T) {
			connector, _, _ := strings.Cut(name, " ")
			e := l.endpoint(t, connector)
			failures := []int{http.StatusOK, http.StatusTooManyRequests, http.StatusBadGateway}
			handler := l.answers(t)
			s := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
				isToken := strings.Contains(r.URL.Path, "token") || strings.Contains(r.URL.Path, "login")
				if len(failures) > 0 && !isToken {
					status := failures[0]
					failures = failures[1:]
					if status != http.StatusOK {
						w.WriteHeader(status)
						return
					}
				}
				handler(w, r)
			})
			want := l.eventIDs(t, e)
			caller := callerOf(s)
			cfg := (&rig{endpoint: e}).config(s, gaps.Plan)
			var first fetch.Item
			cfg.List = func(ctx context.Context, q fetch.ListQuery, at fetch.Position) (fetch.Page, error) {
				page, err := caller.Page(ctx, connector, q, at)
				if first.ID == "" && len(page.Items) > 0 {
					first = page.Items[0]
				}
				return page, err
			}
			cfg.Published = func(e schemas.Event) (bool, error) {
				if !want[e.ID] {
					t.Errorf("%s of %s: the list gives an event that no webhook gives", e.Type, e.Data.ConnectorTransactionID)
				}
				delete(want, e.ID)
				return true, nil
			}
			var facts []fetch.Fact
			cfg.Has = func(f fetch.Fact) (bool, error) { facts = append(facts, f); return true, nil }
			n, err := gaps.Run(t.Context(), cfg)
			if err != nil || n.Unreadable > 0 || n.Missing > 0 || l.handler == nil && n.Pages < 2 {
				t.Errorf("%+v, %v", n, err)
			}
			if len(want) > 0 {
				t.Errorf("the list does not give %d events: %+v", len(want), n)
			}
			if !slices.Equal(facts, l.facts) {
				t.Errorf("facts %v, want %v", facts, l.facts)
			}
			list, _ := fetch.ListOf(connector)
			if publish := len(l.webhooks) > 0 && !l.reported; list.Publish != publish || list.Kind != fetch.ListStates || list.Resends() != (l.resent != "") {
				t.Errorf("publish %v, resends %v, kind %s", list.Publish, list.Resends(), list.Kind)
			}
			if l.resent == "" {
				return
			}
			if err := caller.Resend(t.Context(), connector, fetch.ListQuery{API: *e.API}, first); err != nil {
				t.Error(err)
			}
			if calls := s.Calls(); calls[len(calls)-1] != l.resent {
				t.Errorf("resent by %s, want %s", calls[len(calls)-1], l.resent)
			}
		})
	}
}

// eventIDs returns the ids of the events of the webhooks.
func (l paymentList) eventIDs(t *testing.T, e webhook.Endpoint) map[string]bool {
	t.Helper()
	ids := map[string]bool{}
	for _, h := range l.webhooks {
		var documents []schemas.Fetched
		if h.name != "" {
			documents = []schemas.Fetched{{Name: h.name, Status: http.StatusOK, Body: []byte(h.document)}}
		}
		v := e.JudgeListed(t.Context(), []byte(h.payload), documents, false, now)
		if v.Err != nil || len(v.Events) == 0 {
			t.Fatalf("the webhook %s gives %d events, %v, %v", h.payload, len(v.Events), v.Err, v.Skipped)
		}
		for _, e := range v.Events {
			ids[e.ID] = true
		}
	}
	return ids
}

// TestPaymentsPublished: what is published of a list of payments, by way of the journal,
// has the events that the webhooks give, with the documents that the list has.
func TestPaymentsPublished(t *testing.T) {
	for name, l := range paymentLists {
		connector, _, _ := strings.Cut(name, " ")
		if list, _ := fetch.ListOf(connector); !list.Publish {
			continue
		}
		t.Run(name, func(t *testing.T) {
			e := l.endpoint(t, connector)
			want := l.eventIDs(t, e)
			s := fetchtest.New(t, l.answers(t))
			caller := callerOf(s)
			cfg := (&rig{endpoint: e}).config(s, gaps.Publish)
			cfg.List = func(ctx context.Context, q fetch.ListQuery, at fetch.Position) (fetch.Page, error) {
				return caller.Page(ctx, connector, q, at)
			}
			cfg.Published = func(schemas.Event) (bool, error) { return false, nil }
			cfg.Has = func(fetch.Fact) (bool, error) { return true, nil }
			got := map[string]bool{}
			cfg.Publish = func(ctx context.Context, payload []byte, documents []schemas.Fetched) (int, webhook.Verdict, error) {
				v := e.JudgeListed(ctx, payload, documents, false, now)
				for _, e := range v.Events {
					got[e.ID] = true
				}
				return len(v.Events), v, v.Err
			}
			if n, err := gaps.Run(t.Context(), cfg); err != nil || n.Failed > 0 || !maps.Equal(got, want) {
				t.Errorf("%d events are published, want %d: %+v, %v", len(got), len(want), n, err)
			}
		})
	}
}

// TestPaymentsThatCannotBePublished: a payment of which the list has only the state is
// reported as missing, and never published.
func TestPaymentsThatCannotBePublished(t *testing.T) {
	l := paymentLists["monnify"]
	e := l.endpoint(t, "monnify")
	s := fetchtest.New(t, l.answers(t))
	cfg := (&rig{endpoint: e}).config(s, gaps.Publish)
	caller := callerOf(s)
	cfg.List = func(ctx context.Context, q fetch.ListQuery, at fetch.Position) (fetch.Page, error) {
		return caller.Page(ctx, "monnify", q, at)
	}
	cfg.Published = func(schemas.Event) (bool, error) { return false, nil }
	cfg.Has = func(fetch.Fact) (bool, error) { return false, nil }
	var published []string
	cfg.Publish = func(_ context.Context, payload []byte, _ []schemas.Fetched) (int, webhook.Verdict, error) {
		published = append(published, string(payload))
		return 1, webhook.Verdict{}, nil
	}
	n, err := gaps.Run(t.Context(), cfg)
	if err != nil || n.Missing != 2 || n.Published != 1 || n.Failed != 0 || len(published) != 1 || !strings.Contains(published[0], "MNFY|1") {
		t.Errorf("%+v, %v; published %q", n, err, published)
	}
}

// TestSettingsOfLists: a list that needs a setting says which.
func TestSettingsOfLists(t *testing.T) {
	for connector, setting := range map[string]string{"mercadopago": "tells", "shopify": "tells", "wallee": "space_id"} {
		l := paymentLists[connector]
		l.settings = map[string]string{}
		e := l.endpoint(t, connector)
		_, err := gaps.Run(t.Context(), gaps.Config{Endpoint: e, From: now.Add(-time.Hour), To: now})
		if !errors.Is(err, gaps.ErrAction) || !strings.Contains(err.Error(), "setting "+setting) {
			t.Errorf("%s: error %v", connector, err)
		}
		if err := (gaps.Job{Endpoint: e, Every: time.Hour, From: gaps.DefaultFrom}).Check(); err == nil || !strings.Contains(err.Error(), "setting "+setting) {
			t.Errorf("%s: a schedule: error %v", connector, err)
		}
	}
}

// TestMercadoPagoOffsets: the search starts again at the time of the last payment before the
// offset is large, and an endless page of one time is an error.
func TestMercadoPagoOffsets(t *testing.T) {
	const all = 2300
	e := paymentLists["mercadopago"].endpoint(t, "mercadopago")
	var payments, sameTime []string
	for n := range all {
		p := `{"id":%d,"status":"approved","transaction_amount":1,"currency_id":"BRL","date_last_updated":"%s"}`
		payments = append(payments, fmt.Sprintf(p, 1000+n, now.Add(-time.Duration(24*60+n)*time.Minute).Format(time.RFC3339)))
		sameTime = append(sameTime, fmt.Sprintf(p, 1000+n, now.Add(-24*time.Hour).Format(time.RFC3339)))
	}
	list := func(payments []string) (map[string]bool, error) {
		s := fetchtest.New(t, fetchtest.MercadoPago(t, payments))
		caller, ids := callerOf(s), map[string]bool{}
		q := fetch.ListQuery{From: now.Add(-10 * 24 * time.Hour), To: now, API: *e.API, Settings: e.Keys.Settings}
		for at := (fetch.Position{}); !at.End; {
			page, err := caller.Page(t.Context(), "mercadopago", q, at)
			if err != nil {
				return ids, err
			}
			for _, i := range page.Items {
				ids[i.ID] = true
			}
			at = page.Next
		}
		return ids, nil
	}
	if ids, err := list(payments); err != nil || len(ids) != all {
		t.Errorf("%d payments, %v; want %d", len(ids), err, all)
	}
	if ids, err := list(sameTime); !errors.Is(err, fetch.ErrUnavailable) {
		t.Errorf("%d payments, %v; want an error", len(ids), err)
	}
}
