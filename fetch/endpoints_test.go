package fetch_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
)

const hookAddress = "https://pay.example.com/webhooks/x/default"

// hookAPIs has what each processor answers, by path and query, after its documentation. Each
// has an endpoint of somebody else, a disabled one with our address (where there is such a
// state), and an enabled one with our address, which is subscribed to "wanted" alone, on the
// last of two pages (where there are pages).
var hookAPIs = map[string]struct {
	config  fetch.API
	answers map[string]string
	cursor  map[string]string // X-After-Cursor by path
}{
	// https://docs.stripe.com/api/webhook_endpoints/list
	"stripe": {answers: map[string]string{
		"/v1/webhook_endpoints?limit=100":                     `{"object":"list","has_more":true,"data":[{"id":"we_0","url":"https://other.example.com","status":"enabled","enabled_events":["*"]},{"id":"we_1","url":"` + hookAddress + `","status":"disabled","enabled_events":["*"]}]}`,
		"/v1/webhook_endpoints?limit=100&starting_after=we_1": `{"object":"list","has_more":false,"data":[{"id":"we_2","url":"` + hookAddress + `/","status":"enabled","enabled_events":["wanted"],"api_version":"2025-03-31.basil"}]}`,
	}},
	// https://developer.paypal.com/docs/api/webhooks/v1/#webhooks_list
	"paypal": {config: fetch.API{ClientID: "client-71"}, answers: map[string]string{
		"/v1/oauth2/token":            `{"access_token":"key-71demo71","token_type":"Bearer","expires_in":3600}`,
		"/v1/notifications/webhooks?": `{"webhooks":[{"id":"0","url":"https://other.example.com","event_types":[{"name":"*"}]},{"id":"1","url":"` + hookAddress + `","event_types":[{"name":"wanted"}]}]}`,
	}},
	// https://developer.squareup.com/reference/square/webhook-subscriptions-api/list-webhook-subscriptions
	"square": {answers: map[string]string{
		"/v2/webhooks/subscriptions?include_disabled=true":           `{"subscriptions":[{"id":"wbhk_1","enabled":false,"event_types":["wanted"],"notification_url":"` + hookAddress + `"}],"cursor":"c1"}`,
		"/v2/webhooks/subscriptions?cursor=c1&include_disabled=true": `{"subscriptions":[{"id":"wbhk_2","enabled":true,"event_types":["wanted"],"notification_url":"` + hookAddress + `","api_version":"2025-01-23"}]}`,
	}},
	// https://developer.paddle.com/api-reference/notification-settings/list-notification-settings
	"paddle": {answers: map[string]string{
		"/notification-settings?per_page=200":                `{"data":[{"id":"ntfset_0","type":"email","destination":"a@example.com","active":true},{"id":"ntfset_1","type":"url","destination":"` + hookAddress + `","active":false,"subscribed_events":[]}],"meta":{"pagination":{"has_more":true}}}`,
		"/notification-settings?after=ntfset_1&per_page=200": `{"data":[{"id":"ntfset_2","type":"url","destination":"` + hookAddress + `","active":true,"api_version":1,"traffic_source":"all","subscribed_events":[{"name":"wanted"}]}],"meta":{"pagination":{"has_more":false}}}`,
	}},
	// https://docs.lithic.com/reference/geteventsubscriptions
	"lithic": {answers: map[string]string{
		"/v1/event_subscriptions?page_size=100":                     `{"has_more":true,"data":[{"token":"ep_1","url":"` + hookAddress + `","disabled":true,"event_types":null}]}`,
		"/v1/event_subscriptions?page_size=100&starting_after=ep_1": `{"has_more":false,"data":[{"token":"ep_2","url":"` + hookAddress + `","disabled":false,"event_types":["wanted"]}]}`,
	}},
	// https://docs.btcpayserver.org/API/Greenfield/v1/#operation/Webhooks_GetWebhooks
	"btcpay": {config: fetch.API{Host: "btcpay.example.com"}, answers: map[string]string{
		"/api/v1/api-keys/current?":        `{"permissions":["btcpay.store.webhooks.canmodifywebhooks:store71"]}`,
		"/api/v1/stores/store71/webhooks?": `[{"id":"1","enabled":false,"url":"` + hookAddress + `"},{"id":"2","enabled":true,"automaticRedelivery":true,"url":"` + hookAddress + `","authorizedEvents":{"everything":false,"specificEvents":["wanted"]}}]`,
	}},
	// https://docs.adyen.com/api-explorer/Management/3/get/companies/(companyId)/webhooks
	"adyen": {config: fetch.API{ClientID: "companies/DemoCompany"}, answers: map[string]string{
		"/v3/companies/DemoCompany/webhooks?pageNumber=1&pageSize=100": `{"itemsTotal":3,"pagesTotal":2,"data":[{"id":"S2-1","type":"report-notification","url":"` + hookAddress + `","active":true},{"id":"S2-2","type":"standard","url":"` + hookAddress + `","active":false,"communicationFormat":"json"}]}`,
		"/v3/companies/DemoCompany/webhooks?pageNumber=2&pageSize=100": `{"itemsTotal":3,"pagesTotal":2,"data":[{"id":"S2-3","type":"standard","url":"` + hookAddress + `","active":true,"hasError":false,"communicationFormat":"json","additionalSettings":{"includeEventCodes":["wanted","off"],"excludeEventCodes":["off"],"properties":{}}}]}`,
	}},
	// https://api-reference.checkout.com/#operation/getAllWorkflows and #operation/getWorkflow
	"checkout": {config: fetch.API{Host: "abcd1234.api.checkout.com"}, answers: map[string]string{
		"/workflows?":      `{"data":[{"id":"wf_1","name":"a","active":true},{"id":"wf_2","name":"b","active":false},{"id":"wf_3","name":"c","active":true}]}`,
		"/workflows/wf_1?": `{"id":"wf_1","active":true,"conditions":[],"actions":[{"id":"wfa_1","type":"webhook","url":"https://other.example.com"}]}`,
		"/workflows/wf_2?": `{"id":"wf_2","active":false,"conditions":[],"actions":[{"id":"wfa_2","type":"webhook","url":"` + hookAddress + `"}]}`,
		"/workflows/wf_3?": `{"id":"wf_3","active":true,"conditions":[{"id":"wfc_1","type":"event","events":{"gateway":["other"],"dispute":["wanted"]}},{"id":"wfc_2","type":"entity","entities":["ent_1"]}],"actions":[{"id":"wfa_3","type":"webhook","url":"` + hookAddress + `","signature":{"method":"HMACSHA256"}}]}`,
	}},
	// https://docs.mollie.com/reference/list-webhooks
	"mollie": {answers: map[string]string{
		"/v2/webhooks?limit=250":             `{"count":1,"_embedded":{"webhooks":[{"resource":"webhook","id":"hook_1","url":"` + hookAddress + `","status":"disabled","eventTypes":["*"]}]},"_links":{"next":{"href":"https://api.mollie.com/v2/webhooks?from=hook_2&limit=250","type":"application/hal+json"}}}`,
		"/v2/webhooks?from=hook_2&limit=250": `{"count":1,"_embedded":{"webhooks":[{"resource":"webhook","id":"hook_2","url":"` + hookAddress + `","status":"enabled","eventTypes":["wanted"]}]},"_links":{"next":null}}`,
	}},
	// https://razorpay.com/docs/api/partners/webhooks/fetch-all/
	"razorpay": {config: fetch.API{ClientID: "rzp_live_demo71"}, answers: map[string]string{
		"/v1/webhooks?count=100": `{"entity":"collection","count":2,"items":[{"id":"HK1","entity":"webhook","url":"` + hookAddress + `","active":false,"events":["wanted"]},{"id":"HK2","entity":"webhook","url":"` + hookAddress + `","active":true,"events":{"wanted":true,"off":false}}]}`,
	}},
	// https://shopify.dev/docs/api/admin-rest/latest/resources/webhook
	"shopify": {config: fetch.API{Host: "example.myshopify.com"}, answers: map[string]string{
		"/admin/api/2026-07/webhooks.json?limit=250": `{"webhooks":[{"id":4759306,"address":"https://other.example.com","topic":"orders/create","format":"json"},{"id":4759307,"address":"` + hookAddress + `","topic":"orders/create","format":"json","api_version":"2026-07"},{"id":4759308,"address":"` + hookAddress + `","topic":"wanted","format":"json","api_version":"2026-07"}]}`,
	}},
	// https://api.svix.com/docs#tag/Endpoint/operation/v1.endpoint.list
	"svix": {config: fetch.API{ClientID: "app_71"}, answers: map[string]string{
		"/api/v1/app/app_71/endpoint?limit=250":               `{"data":[{"id":"ep_1","url":"` + hookAddress + `","disabled":true,"filterTypes":null}],"iterator":"ep_1","done":false}`,
		"/api/v1/app/app_71/endpoint?iterator=ep_1&limit=250": `{"data":[{"id":"ep_2","url":"` + hookAddress + `","disabled":false,"filterTypes":["wanted"]}],"iterator":"ep_2","done":true}`,
	}},
	// https://docs.moderntreasury.com/platform/reference/webhooks
	"modern-treasury": {config: fetch.API{ClientID: "org-71"}, cursor: map[string]string{"/api/webhook_endpoints?per_page=100": "c1"}, answers: map[string]string{
		"/api/webhook_endpoints?per_page=100":                 `[{"id":"0","url":"https://other.example.com"}]`,
		"/api/webhook_endpoints?after_cursor=c1&per_page=100": `[{"id":"2","url":"` + hookAddress + `"}]`,
	}},
}

// TestHooks: the enabled endpoint with our address is found on any page, and what is to be
// changed is reported.
func TestHooks(t *testing.T) {
	for _, connector := range fetch.ChecksEndpoints() {
		t.Run(connector, func(t *testing.T) {
			api, ok := hookAPIs[connector]
			if !ok {
				t.Fatal("there is no server for it")
			}
			s := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
				path := r.URL.Path + "?" + r.URL.Query().Encode()
				body, ok := api.answers[path]
				if r.URL.Path == "/v1/oauth2/token" {
					w.Header().Set("Content-Type", "application/json")
					body, ok = api.answers[r.URL.Path]
				}
				if !ok {
					t.Errorf("unexpected request %s %s", r.Method, path)
				}
				if cursor := api.cursor[path]; cursor != "" {
					w.Header().Set("X-After-Cursor", cursor)
				}
				_, _ = w.Write([]byte(body))
			})
			caller := &fetch.Caller{Transport: s.Transport(), Sleep: noSleep}
			api.config.Keys = []fetch.Key{{Name: "main", Value: "key-71demo71"}}
			all, err := caller.Hooks(t.Context(), connector, api.config)
			if err != nil {
				t.Fatal(err)
			}
			ours, change, err := fetch.CheckHooks(connector, all, hookAddress, []string{"wanted"})
			if err != nil || ours == nil || !ours.Enabled || len(change) > 0 || !ours.SubscribedTo("wanted") {
				t.Errorf("%+v, %q, %v; want the enabled endpoint, and nothing to change", ours, change, err)
			}
			_, change, _ = fetch.CheckHooks(connector, all, hookAddress, []string{"wanted", "further"})
			if !ours.AllTypes && (len(change) != 1 || !strings.HasSuffix(change[0], "is not subscribed to further")) {
				t.Errorf("%q, want that a type is missing", change)
			}
			if ours, change, _ := fetch.CheckHooks(connector, all, "https://pay.example.com/other", nil); ours != nil || len(change) != 1 || !strings.Contains(change[0], "no webhook endpoint with this address") {
				t.Errorf("%+v, %q; want that there is none with the address", ours, change)
			}
			if _, change, _ := fetch.CheckHooks(connector, all, hookAddress, []string{"off"}); !ours.AllTypes && len(change) != 1 {
				t.Errorf("%q, want that a type is missing that is switched off", change)
			}
			disabled := slices.Clone(all)
			for n := range disabled {
				disabled[n].Enabled = false
			}
			if _, change, _ := fetch.CheckHooks(connector, disabled, hookAddress, nil); len(change) != 1 || !strings.Contains(change[0], "is disabled") {
				t.Errorf("%q, want that it is disabled", change)
			}
		})
	}
}

// TestHookTrouble: what the processor says about an endpoint is reported. The sources are those
// of hookAPIs.
func TestHookTrouble(t *testing.T) {
	for name, tt := range map[string]struct{ connector, answer, want string }{
		"adyen, errors":     {"adyen", `{"pagesTotal":1,"data":[{"id":"S2-1","type":"standard","url":"` + hookAddress + `","active":true,"hasError":true}]}`, "errors of its deliveries"},
		"adyen, SOAP":       {"adyen", `{"pagesTotal":1,"data":[{"id":"S2-1","type":"standard","url":"` + hookAddress + `","active":true,"communicationFormat":"soap"}]}`, "SOAP"},
		"mollie, blocked":   {"mollie", `{"_embedded":{"webhooks":[{"id":"hook_1","url":"` + hookAddress + `","status":"blocked","eventTypes":["*"]}]}}`, "hook_1 is disabled: enable it"},
		"mollie, classic":   {"mollie", `{"_embedded":{"webhooks":[]}}`, "each payment has its own webhookUrl"},
		"shopify, XML":      {"shopify", `{"webhooks":[{"id":1,"address":"` + hookAddress + `","topic":"orders/create","format":"json"},{"id":2,"address":"` + hookAddress + `","topic":"orders/paid","format":"xml"}]}`, "the format of orders/paid is XML"},
		"paddle, simulated": {"paddle", `{"data":[{"id":"ntfset_1","type":"url","destination":"` + hookAddress + `","active":true,"traffic_source":"simulation"}],"meta":{"pagination":{"has_more":false}}}`, "simulated events only"},
	} {
		t.Run(name, func(t *testing.T) {
			s := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(tt.answer)) })
			caller := &fetch.Caller{Transport: s.Transport(), Sleep: noSleep}
			config := hookAPIs[tt.connector].config
			config.Keys = []fetch.Key{{Name: "main", Value: "key-71demo71"}}
			all, err := caller.Hooks(t.Context(), tt.connector, config)
			if err != nil {
				t.Fatal(err)
			}
			_, change, err := fetch.CheckHooks(tt.connector, all, hookAddress, nil)
			if err != nil || !strings.Contains(strings.Join(change, "\n"), tt.want) {
				t.Errorf("%q, %v; want %s", change, err, tt.want)
			}
		})
	}
}

// TestHooksWithoutEnd: a list that does not end is an error, not a list without our endpoint.
func TestHooksWithoutEnd(t *testing.T) {
	n := 0
	s := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) {
		n++
		fmt.Fprintf(w, `{"subscriptions":[],"cursor":"c%d"}`, n)
	})
	caller := &fetch.Caller{Transport: s.Transport(), Sleep: noSleep}
	if _, err := caller.Hooks(t.Context(), "square", fetch.API{Keys: []fetch.Key{{Name: "main", Value: "key-71demo71"}}}); err == nil || !strings.Contains(err.Error(), "pages") {
		t.Errorf("%v after %d pages, want an error", err, n)
	}
}

// TestOfferedTypes: what Mollie does not offer is not reported as missing.
func TestOfferedTypes(t *testing.T) {
	hook := fetch.Hook{ID: "hook_1", URL: hookAddress, Enabled: true, Types: []string{"payment.paid"}}
	if _, change, err := fetch.CheckHooks("mollie", []fetch.Hook{hook}, hookAddress, []string{"payment.paid", "dispute.created"}); err != nil || len(change) > 0 {
		t.Errorf("%q, %v", change, err)
	}
	if got := fetch.HasNoHook("mollie", false); !strings.Contains(got, "classic") {
		t.Errorf("an endpoint of Mollie without a secret: %q", got)
	}
	if got := fetch.HasNoHook("mollie", true) + fetch.HasNoHook("stripe", false); got != "" {
		t.Errorf("an endpoint with a secret, and one of Stripe: %q", got)
	}
}

// TestPagesThatRepeat: a page that names itself as the next one is an error, and not the end: what
// follows would be left out. An empty page is the end.
func TestPagesThatRepeat(t *testing.T) {
	at := time.Now().UTC().Truncate(time.Second).Add(-time.Hour)
	subscriptions := `{"id":"wbhk_1","enabled":true,"notification_url":"` + hookAddress + `"}`
	s := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
		item := fmt.Sprintf(`{"id":"x","status":"Captured","requested_on":%[1]q,"last_update":%[1]q}`, at.Format(time.RFC3339))
		switch r.URL.Path {
		case "/v2/webhooks/subscriptions":
			_, _ = w.Write([]byte(`{"subscriptions":[` + subscriptions + `],"cursor":"c1"}`))
		case "/payments/search", "/disputes":
			_, _ = w.Write([]byte(`{"data":[` + strings.Repeat(item+",", 99) + item + `]}`))
		default:
			_, _ = w.Write([]byte(`{"data":[]}`))
		}
	})
	caller := &fetch.Caller{Transport: s.Transport(), Sleep: noSleep}
	keys := []fetch.Key{{Name: "main", Value: "key-71demo71"}}
	if _, err := caller.Hooks(t.Context(), "square", fetch.API{Keys: keys}); !errors.Is(err, fetch.ErrUnavailable) {
		t.Errorf("webhook endpoints: %v, want %v", err, fetch.ErrUnavailable)
	}
	subscriptions = ""
	if all, err := caller.Hooks(t.Context(), "square", fetch.API{Keys: keys}); err != nil || len(all) > 0 {
		t.Errorf("no webhook endpoints: %v, %v", all, err)
	}
	q := fetch.ListQuery{From: at.Add(-time.Hour), To: at.Add(time.Hour), API: fetch.API{Host: "abcd1234.api.checkout.com", Keys: keys}}
	for part, name := range []string{"payments", "disputes"} {
		next, err := fetch.Position{Part: part}, error(nil)
		for page := 0; err == nil && next.Part == part && page < 5; page++ {
			var p fetch.Page
			p, err = caller.Page(t.Context(), "checkout", q, next)
			next = p.Next
		}
		if !errors.Is(err, fetch.ErrUnavailable) {
			t.Errorf("the list of %s: %v, want %v", name, err, fetch.ErrUnavailable)
		}
	}
}

// TestBtcpayStores: a key for several stores does not say in which one the webhook is.
func TestBtcpayStores(t *testing.T) {
	for permissions, want := range map[string]string{
		`"btcpay.store.webhooks.canmodifywebhooks:store71","btcpay.store.canviewinvoices:store72"`:                                                   "",
		`"btcpay.store.webhooks.canmodifywebhooks:store71","btcpay.store.webhooks.canviewwebhooks:store71"`:                                          "",
		`"btcpay.store.webhooks.canmodifywebhooks:store72","btcpay.store.canviewinvoices:store72","btcpay.store.webhooks.canmodifywebhooks:store71"`: "for the stores store71, store72",
		`"btcpay.store.webhooks.canmodifywebhooks"`: "for one store",
	} {
		s := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/v1/api-keys/current" {
				fmt.Fprintf(w, `{"permissions":[%s]}`, permissions)
				return
			}
			_, _ = w.Write([]byte(`[]`))
		})
		caller := &fetch.Caller{Transport: s.Transport(), Sleep: noSleep}
		_, err := caller.Hooks(t.Context(), "btcpay", fetch.API{Host: "btcpay.example.com", Keys: []fetch.Key{{Name: "main", Value: "key-71demo71"}}})
		if (err == nil) != (want == "") || err != nil && (!errors.Is(err, fetch.ErrCredentials) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", permissions, err, want)
		}
	}
}

// TestKeyNames: an error names a key of the command line by its flag.
func TestKeyNames(t *testing.T) {
	for name, want := range map[string]string{"main": "api.keys.main: ", "--write-key-file": "--write-key-file: "} {
		for _, value := range []string{"short", "control\x01character"} {
			err := fetch.Check("stripe", fetch.API{Keys: []fetch.Key{{Name: name, Value: value}}})
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%v, want that it begins with %q", err, want)
			}
		}
	}
}

// TestHooksOfOneAddress: several endpoints with our address count together. A disabled one counts
// only if none is enabled, and "keep one" is for two that get the same event types.
func TestHooksOfOneAddress(t *testing.T) {
	payments := fetch.Hook{ID: "we_1", URL: hookAddress, Enabled: true, Types: []string{"payment"}}
	disputes := fetch.Hook{ID: "we_2", URL: hookAddress + "/", Enabled: true, Types: []string{"dispute"}}
	all := fetch.Hook{ID: "we_3", URL: hookAddress, Enabled: true, AllTypes: true}
	other := fetch.Hook{ID: "we_4", URL: "https://other.example.com", Enabled: true, AllTypes: true}
	off := func(h fetch.Hook) fetch.Hook {
		h.Enabled = false
		return h
	}
	for name, tt := range map[string]struct {
		hooks      []fetch.Hook
		subscribed string // the event types that come, of payment, dispute and payout
		change     string // in the one finding; empty is none
	}{
		"none":                     {[]fetch.Hook{other}, "nil", "no webhook endpoint with this address"},
		"one":                      {[]fetch.Hook{other, payments}, "payment", "we_1 is not subscribed to dispute"},
		"two":                      {[]fetch.Hook{payments, disputes}, "payment dispute", ""},
		"two that share":           {[]fetch.Hook{payments, disputes, all}, "payment dispute payout", "we_1 and we_3 have this address"},
		"two with all":             {[]fetch.Hook{all, all}, "payment dispute payout", "keep one"},
		"one, and a disabled one":  {[]fetch.Hook{off(all), payments}, "payment", "we_1 is not subscribed to dispute"},
		"a disabled one":           {[]fetch.Hook{off(all)}, "payment dispute payout", "we_3 is disabled"},
		"two, and a disabled copy": {[]fetch.Hook{payments, off(payments), disputes}, "payment dispute", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			if subscribed := fetch.SubscriptionsAt(tt.hooks, hookAddress); subscribed == nil {
				got = []string{"nil"}
			} else {
				for _, eventType := range []string{"payment", "dispute", "payout"} {
					if subscribed(eventType) {
						got = append(got, eventType)
					}
				}
			}
			if strings.Join(got, " ") != tt.subscribed {
				t.Errorf("%q come, want %q", got, tt.subscribed)
			}
			_, change, err := fetch.CheckHooks("stripe", tt.hooks, hookAddress, []string{"payment", "dispute"})
			if err != nil || (tt.change == "") != (len(change) == 0) || !strings.Contains(strings.Join(change, "\n"), tt.change) || len(change) > 1 {
				t.Errorf("%q, %v; want %q", change, err, tt.change)
			}
		})
	}
}

// TestClientIDForm: a client id that would lead to another path is refused.
func TestClientIDForm(t *testing.T) {
	for connector, ids := range map[string]map[string]bool{
		"adyen": {"companies/DemoCompany": true, "merchants/Demo_EU": true, "DemoCompany": false, "companies/a/b": false, "users/a": false, "companies/": false},
		"svix":  {"app_71": true, "merchant.71": true, "a/b": false, "": false},
	} {
		for id, want := range ids {
			err := fetch.Check(connector, fetch.API{ClientID: id, Keys: []fetch.Key{{Name: "main", Value: "key-71demo71"}}})
			if (err == nil) != want {
				t.Errorf("%s: %q: %v", connector, id, err)
			}
		}
	}
}

// TestCallerFaults: what a caller does about each answer.
func TestCallerFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(w http.ResponseWriter, n int)
		want   error
		calls  int
	}{
		"an outage that ends": {func(w http.ResponseWriter, n int) {
			if n < 3 {
				w.WriteHeader(http.StatusBadGateway)
			}
			_, _ = w.Write([]byte(`{"data":[],"has_more":false}`))
		}, nil, 3},
		"an outage":       {func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusInternalServerError) }, fetch.ErrUnavailable, 6},
		"a limit":         {func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusTooManyRequests) }, fetch.ErrUnavailable, 6},
		"a refused key":   {func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusUnauthorized) }, fetch.ErrCredentials, 1},
		"no right":        {func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusForbidden) }, fetch.ErrCredentials, 1},
		"not there":       {func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusNotFound) }, fetch.ErrUnknownObject, 1},
		"a wrong request": {func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusBadRequest) }, fetch.ErrRequest, 1},
		"a redirect": {func(w http.ResponseWriter, _ int) {
			w.Header().Set("Location", "https://evil.example.com/")
			w.WriteHeader(http.StatusFound)
		}, fetch.ErrRequest, 1},
		"half an answer": {func(w http.ResponseWriter, _ int) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"data"`))
		}, fetch.ErrUnavailable, 6},
		"not JSON":           {func(w http.ResponseWriter, _ int) { _, _ = w.Write([]byte(`<html>`)) }, fetch.ErrUnavailable, 6},
		"an answer of 40 MB": {func(w http.ResponseWriter, _ int) { _, _ = w.Write(make([]byte, 40<<20)) }, fetch.ErrRequest, 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			s := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) {
				n++
				tt.answer(w, n)
			})
			caller := &fetch.Caller{Transport: s.Transport(), Sleep: noSleep}
			_, err := caller.Hooks(t.Context(), "stripe", fetch.API{Keys: []fetch.Key{{Name: "main", Value: "key-71demo71"}}})
			if !errors.Is(err, tt.want) || len(s.Calls()) != tt.calls {
				t.Errorf("%v after %d requests, want %v after %d", err, len(s.Calls()), tt.want, tt.calls)
			}
			if err != nil && strings.Contains(err.Error(), "key-71demo71") {
				t.Errorf("the error has the key: %v", err)
			}
		})
	}
}

func noSleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }
