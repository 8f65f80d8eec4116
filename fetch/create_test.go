package fetch_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
)

// chosenSecret is the secret that the tests choose where the merchant does.
const chosenSecret = "whsec_Y2hvc2VuLXNlY3JldC03MQ=="

// givenSecret is the secret that the processors make.
const givenSecret = "given-secret-71"

// creationCase is what a processor wants and answers, after its documentation. Types are
// wanted, which it offers, and unknown, which it does not offer where it lists what it
// offers.
type creationCase struct {
	config fetch.API
	types  []string // nil is wanted and unknown
	// reads has the answers by path, before an endpoint is made; made has those that change
	// then.
	reads, made map[string]string
	path        string   // of the requests that make the endpoint
	wants       []string // their bodies, with IDEMPOTENCY for the key
	answers     []string
	// secretPath is the path of the request for the secret, if there is one.
	secretPath, secretAnswer string
	recognised               string            // the header with the idempotency key, or "body"
	id, secret               string            // of the endpoint
	settings                 map[string]string // that the creation tells
	settingsOfOurs           map[string]string
	leftOut                  []string
}

var creationCases = map[string]creationCase{
	// https://docs.stripe.com/api/webhook_endpoints/create
	"stripe": {
		reads: map[string]string{"/v1/webhook_endpoints?limit=100": `{"object":"list","has_more":false,"data":[]}`},
		made:  map[string]string{"/v1/webhook_endpoints?limit=100": `{"object":"list","has_more":false,"data":[{"id":"we_71","url":"` + hookAddress + `","status":"enabled","enabled_events":["wanted"]}]}`},
		path:  "/v1/webhook_endpoints", recognised: "Idempotency-Key",
		wants:   []string{"api_version=2025-03-31.basil&description=tollbridge&enabled_events%5B%5D=wanted&enabled_events%5B%5D=unknown&url=" + url.QueryEscape(hookAddress)},
		answers: []string{`{"id":"we_71","object":"webhook_endpoint","api_version":"2025-03-31.basil","enabled_events":["wanted","unknown"],"secret":"` + givenSecret + `","status":"enabled","url":"` + hookAddress + `"}`},
		id:      "we_71", secret: givenSecret,
	},
	// https://developer.paypal.com/docs/api/webhooks/v1/#webhooks_post
	// https://developer.paypal.com/docs/api/webhooks/v1/#webhooks-event-types_list
	"paypal": {
		config: fetch.API{ClientID: "client-71"},
		reads: map[string]string{
			"/v1/notifications/webhooks?":             `{"webhooks":[]}`,
			"/v1/notifications/webhooks-event-types?": `{"event_types":[{"name":"wanted","description":"a","status":"ENABLED"},{"name":"other","status":"ENABLED"}]}`,
		},
		made:    map[string]string{"/v1/notifications/webhooks?": `{"webhooks":[{"id":"0EH40505U7160970P","url":"` + hookAddress + `","event_types":[{"name":"wanted"}]}]}`},
		path:    "/v1/notifications/webhooks",
		wants:   []string{`{"url":"` + hookAddress + `","event_types":[{"name":"wanted"}]}`},
		answers: []string{`{"id":"0EH40505U7160970P","url":"` + hookAddress + `","event_types":[{"name":"wanted"}]}`},
		id:      "0EH40505U7160970P", settings: map[string]string{"webhook_id": "0EH40505U7160970P"}, leftOut: []string{"unknown"},
	},
	// https://developer.squareup.com/reference/square/webhook-subscriptions-api/create-webhook-subscription
	"square": {
		reads: map[string]string{
			"/v2/webhooks/subscriptions?include_disabled=true": `{}`,
			"/v2/webhooks/event-types?":                        `{"event_types":["wanted","other"],"metadata":[]}`,
		},
		made: map[string]string{"/v2/webhooks/subscriptions?include_disabled=true": `{"subscriptions":[{"id":"wbhk_71","enabled":true,"event_types":["wanted"],"notification_url":"` + hookAddress + `"}]}`},
		path: "/v2/webhooks/subscriptions", recognised: "body",
		wants:   []string{`{"idempotency_key":"IDEMPOTENCY","subscription":{"name":"tollbridge","enabled":true,"event_types":["wanted"],"notification_url":"` + hookAddress + `","api_version":"2025-03-31.basil"}}`},
		answers: []string{`{"subscription":{"id":"wbhk_71","name":"tollbridge","enabled":true,"event_types":["wanted"],"notification_url":"` + hookAddress + `","api_version":"2025-03-31.basil","signature_key":"` + givenSecret + `"}}`},
		id:      "wbhk_71", secret: givenSecret, leftOut: []string{"unknown"},
	},
	// https://developer.paddle.com/api-reference/notification-settings/create-notification-setting
	"paddle": {
		reads:   map[string]string{"/notification-settings?per_page=200": `{"data":[],"meta":{"pagination":{"has_more":false}}}`},
		made:    map[string]string{"/notification-settings?per_page=200": `{"data":[{"id":"ntfset_71","type":"url","destination":"` + hookAddress + `","active":true,"subscribed_events":[]}],"meta":{"pagination":{"has_more":false}}}`},
		path:    "/notification-settings",
		wants:   []string{`{"description":"tollbridge","type":"url","destination":"` + hookAddress + `","api_version":1,"traffic_source":"platform","subscribed_events":["wanted","unknown"]}`},
		answers: []string{`{"data":{"id":"ntfset_71","description":"tollbridge","type":"url","destination":"` + hookAddress + `","active":true,"api_version":1,"endpoint_secret_key":"` + givenSecret + `"},"meta":{"request_id":"req-71"}}`},
		id:      "ntfset_71", secret: givenSecret,
	},
	// https://docs.lithic.com/reference/posteventsubscriptions and geteventsubscriptionsecret
	"lithic": {
		reads:      map[string]string{"/v1/event_subscriptions?page_size=100": `{"has_more":false,"data":[]}`},
		made:       map[string]string{"/v1/event_subscriptions?page_size=100": `{"has_more":false,"data":[{"token":"ep_71","url":"` + hookAddress + `","disabled":false,"event_types":["wanted"]}]}`},
		path:       "/v1/event_subscriptions",
		wants:      []string{`{"description":"tollbridge","disabled":false,"event_types":["wanted","unknown"],"url":"` + hookAddress + `"}`},
		answers:    []string{`{"token":"ep_71","description":"tollbridge","disabled":false,"event_types":["wanted","unknown"],"url":"` + hookAddress + `"}`},
		secretPath: "GET /v1/event_subscriptions/ep_71/secret", secretAnswer: `{"secret":"` + givenSecret + `"}`,
		id: "ep_71", secret: givenSecret,
	},
	// https://docs.btcpayserver.org/API/Greenfield/v1/#operation/Webhooks_CreateWebhook
	"btcpay": {
		config: fetch.API{Host: "btcpay.example.com"},
		reads: map[string]string{
			"/api/v1/api-keys/current?":        `{"permissions":["btcpay.store.webhooks.canmodifywebhooks:store71"]}`,
			"/api/v1/stores/store71/webhooks?": `[]`,
		},
		made:    map[string]string{"/api/v1/stores/store71/webhooks?": `[{"id":"wh71","enabled":true,"url":"` + hookAddress + `"}]`},
		path:    "/api/v1/stores/store71/webhooks",
		wants:   []string{`{"url":"` + hookAddress + `","enabled":true,"automaticRedelivery":true,"secret":"` + chosenSecret + `","authorizedEvents":{"everything":false,"specificEvents":["wanted","unknown"]}}`},
		answers: []string{`{"id":"wh71","enabled":true,"automaticRedelivery":true,"url":"` + hookAddress + `","secret":"` + chosenSecret + `"}`},
		id:      "wh71", secret: chosenSecret,
	},
	// https://docs.adyen.com/api-explorer/Management/3/post/merchants/(merchantId)/webhooks and generateHmac
	"adyen": {
		config:     fetch.API{ClientID: "merchants/DemoEU"},
		reads:      map[string]string{"/v3/merchants/DemoEU/webhooks?pageNumber=1&pageSize=100": `{"itemsTotal":0,"pagesTotal":0}`},
		made:       map[string]string{"/v3/merchants/DemoEU/webhooks?pageNumber=1&pageSize=100": `{"itemsTotal":1,"pagesTotal":1,"data":[{"id":"S2-71","type":"standard","url":"` + hookAddress + `","active":true}]}`},
		path:       "/v3/merchants/DemoEU/webhooks",
		wants:      []string{`{"type":"standard","url":"` + hookAddress + `","active":true,"communicationFormat":"json","description":"tollbridge","additionalSettings":{"includeEventCodes":["wanted","unknown"]}}`},
		answers:    []string{`{"id":"S2-71","type":"standard","url":"` + hookAddress + `","active":true,"communicationFormat":"json"}`},
		secretPath: "POST /v3/merchants/DemoEU/webhooks/S2-71/generateHmac", secretAnswer: `{"hmacKey":"` + givenSecret + `"}`,
		id: "S2-71", secret: givenSecret,
	},
	// https://docs.mollie.com/reference/create-webhook
	"mollie": {
		config: fetch.API{Environment: fetch.Sandbox},
		types:  []string{"wanted", "unknown", "dispute.created"},
		reads:  map[string]string{"/v2/webhooks?limit=250&testmode=true": `{"count":0,"_embedded":{"webhooks":[]},"_links":{}}`},
		made:   map[string]string{"/v2/webhooks?limit=250&testmode=true": `{"count":1,"_embedded":{"webhooks":[{"id":"hook_71","url":"` + hookAddress + `","status":"enabled","eventTypes":["wanted"]}]},"_links":{}}`},
		path:   "/v2/webhooks", recognised: "Idempotency-Key",
		wants:   []string{`{"name":"tollbridge","url":"` + hookAddress + `","eventTypes":"wanted,unknown","testmode":true}`},
		answers: []string{`{"resource":"webhook","id":"hook_71","url":"` + hookAddress + `","status":"enabled","eventTypes":["wanted","unknown"],"webhookSecret":"` + givenSecret + `"}`},
		id:      "hook_71", secret: givenSecret, leftOut: []string{"dispute.created"},
	},
	// https://shopify.dev/docs/api/admin-rest/latest/resources/webhook#post-webhooks
	"shopify": {
		config: fetch.API{Host: "example.myshopify.com"},
		reads:  map[string]string{"/admin/api/2026-07/webhooks.json?limit=250": `{"webhooks":[]}`},
		made:   map[string]string{"/admin/api/2026-07/webhooks.json?limit=250": `{"webhooks":[{"id":1,"address":"` + hookAddress + `","topic":"wanted","format":"json"},{"id":2,"address":"` + hookAddress + `","topic":"unknown","format":"json"}]}`},
		path:   "/admin/api/2026-07/webhooks.json",
		wants: []string{
			`{"webhook":{"topic":"wanted","address":"` + hookAddress + `","format":"json"}}`,
			`{"webhook":{"topic":"unknown","address":"` + hookAddress + `","format":"json"}}`,
		},
		answers: []string{
			`{"webhook":{"id":1,"address":"` + hookAddress + `","topic":"wanted","format":"json","api_version":"2026-07"}}`,
			`{"webhook":{"id":2,"address":"` + hookAddress + `","topic":"unknown","format":"json","api_version":"2026-07"}}`,
		},
		id: "2 subscriptions",
	},
	// https://api-reference.checkout.com/#operation/addWorkflow and #operation/getEventTypes
	"checkout": {
		config: fetch.API{Host: "abcd1234.api.checkout.com"},
		reads: map[string]string{
			"/workflows?":             `{"data":[]}`,
			"/workflows/event-types?": `[{"id":"gateway","display_name":"Gateway","events":[{"id":"other"}]},{"id":"dispute","events":[{"id":"wanted","display_name":"Wanted"}]}]`,
		},
		made: map[string]string{
			"/workflows?":       `{"data":[{"id":"wf_71","active":true}]}`,
			"/workflows/wf_71?": `{"id":"wf_71","active":true,"conditions":[],"actions":[{"type":"webhook","url":"` + hookAddress + `"}]}`,
		},
		path:    "/workflows",
		wants:   []string{`{"name":"tollbridge","active":true,"conditions":[{"type":"event","events":{"dispute":["wanted"]}}],"actions":[{"type":"webhook","url":"` + hookAddress + `","signature":{"method":"HMACSHA256","key":"` + chosenSecret + `"}}]}`},
		answers: []string{`{"id":"wf_71","_links":{}}`},
		id:      "wf_71", secret: chosenSecret, leftOut: []string{"unknown"},
	},
	// https://api.svix.com/docs#tag/Endpoint/operation/v1.endpoint.create
	"svix": {
		config:  fetch.API{ClientID: "app_71"},
		reads:   map[string]string{"/api/v1/app/app_71/endpoint?limit=250": `{"data":[],"iterator":null,"done":true}`},
		made:    map[string]string{"/api/v1/app/app_71/endpoint?limit=250": `{"data":[{"id":"ep_71","url":"` + hookAddress + `","disabled":false}],"iterator":"ep_71","done":true}`},
		path:    "/api/v1/app/app_71/endpoint",
		wants:   []string{`{"url":"` + hookAddress + `","description":"tollbridge","secret":"` + chosenSecret + `","filterTypes":["wanted","unknown"]}`},
		answers: []string{`{"id":"ep_71","url":"` + hookAddress + `","disabled":false,"filterTypes":["wanted","unknown"]}`},
		id:      "ep_71", secret: chosenSecret,
	},
}

// processor is a server that makes endpoints as a [creationCase] says.
type processor struct {
	creationCase
	t     *testing.T
	fault func(w http.ResponseWriter, n int) bool // of the n-th request that makes something; true: it has answered
	// after says what happens once a request has made something, in place of the answer.
	after func(w http.ResponseWriter, n int) bool
	// secretFault is in place of the answer with the secret.
	secretFault func(w http.ResponseWriter) bool

	requests int    // that make something
	makes    int    // things that were made
	key      string // the idempotency key of the last one
}

func (p *processor) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	path := r.URL.Path + "?" + r.URL.Query().Encode()
	switch {
	case r.URL.Path == "/v1/oauth2/token":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"key-71demo71","token_type":"Bearer","expires_in":3600}`)
	case r.Method+" "+r.URL.Path == p.secretPath:
		if p.secretFault == nil || !p.secretFault(w) {
			_, _ = io.WriteString(w, p.secretAnswer)
		}
	case r.Method == http.MethodPost && r.URL.Path == p.path:
		p.make(w, r, string(body))
	case r.Method == http.MethodGet && p.makes > 0 && p.made[path] != "":
		_, _ = io.WriteString(w, p.made[path])
	case r.Method == http.MethodGet && p.reads[path] != "":
		_, _ = io.WriteString(w, p.reads[path])
	default:
		p.t.Errorf("unexpected request %s %s", r.Method, path)
	}
}

// make answers a request that makes an endpoint, or a part of one.
func (p *processor) make(w http.ResponseWriter, r *http.Request, body string) {
	p.requests++
	if p.fault != nil && p.fault(w, p.requests) {
		return
	}
	key := ""
	if p.recognised == "body" {
		var b struct {
			Key string `json:"idempotency_key"`
		}
		_ = json.Unmarshal([]byte(body), &b)
		key, body = b.Key, strings.ReplaceAll(body, b.Key, "IDEMPOTENCY")
	} else if p.recognised != "" {
		key = r.Header.Get(p.recognised)
	}
	if p.recognised != "" && len(key) < 26 { // 128 bits
		p.t.Errorf("the idempotency key is %q", key)
	}
	if key == "" || key != p.key {
		if p.makes == len(p.wants) {
			p.t.Errorf("%d endpoints are made", p.makes+1)
			return
		}
		if !sameBody(body, p.wants[p.makes]) {
			p.t.Errorf("the request has %s, want %s", body, p.wants[p.makes])
		}
		p.makes, p.key = p.makes+1, key
	}
	if p.after != nil && p.after(w, p.requests) {
		return
	}
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, p.answers[p.makes-1])
}

// sameBody compares two bodies: as JSON if the second is an object, or else as forms.
func sameBody(got, want string) bool {
	var a, b any
	if json.Unmarshal([]byte(want), &b) == nil {
		return json.Unmarshal([]byte(got), &a) == nil && reflect.DeepEqual(a, b)
	}
	return got == want
}

// create plans and makes the endpoint of a case.
func (p *processor) create(connector string, waited *time.Duration) (plan fetch.HookPlan, made fetch.Made, err error) {
	s := fetchtest.New(p.t, p.serve)
	caller := &fetch.Caller{Transport: s.Transport(), Sleep: func(ctx context.Context, d time.Duration) error {
		*waited = max(*waited, d)
		return ctx.Err()
	}}
	config := p.config
	config.Keys = []fetch.Key{{Name: "--write-key-file", Value: "access_71demo71"}}
	n := fetch.NewHook{URL: hookAddress, Types: p.types, Secret: chosenSecret, Settings: p.settingsOfOurs}
	if n.Types == nil {
		n.Types = []string{"wanted", "unknown"}
	}
	if c, _ := fetch.CreationOf(connector); c.Versions {
		n.APIVersion = "2025-03-31.basil"
	}
	if plan, err = caller.PlanHook(p.t.Context(), connector, config, n); err != nil || plan.Nothing {
		return plan, made, err
	}
	if p.makes > 0 || p.requests > 0 {
		p.t.Error("the plan has made something")
	}
	made, err = caller.CreateHook(p.t.Context(), connector, config, plan)
	return plan, made, err
}

// drop ends the connection without an answer.
func drop(w http.ResponseWriter) bool {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = connection.Close()
	}
	return true
}

// answerWith answers with a status and a body.
func answerWith(w http.ResponseWriter, status int, body string) bool {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
	return true
}

// TestCreateHook: each processor that can make an endpoint makes one, once, and its secret
// comes, whatever happens to the answers; or the error says what is there.
func TestCreateHook(t *testing.T) {
	if missing := slices.DeleteFunc(fetch.CreatesEndpoints(), func(c string) bool { _, ok := creationCases[c]; return ok }); len(missing) > 0 {
		t.Errorf("there is no case for %v", missing)
	}
	retry := func(n int) func(http.ResponseWriter, int) bool {
		return func(w http.ResponseWriter, request int) bool {
			if request > n {
				return false
			}
			w.Header().Set("Retry-After", "7")
			return answerWith(w, http.StatusTooManyRequests, `{}`)
		}
	}
	for connector, c := range creationCases {
		creation, _ := fetch.CreationOf(connector)
		single := len(c.wants) > 1
		onlyOnce := c.secret == givenSecret && c.secretPath == "" // only the answer to the creation has the secret
		for name, tt := range map[string]struct {
			skip          bool
			fault, after  func(http.ResponseWriter, int) bool
			secretFault   func(http.ResponseWriter) bool
			want, not     error
			text          string
			makes, waited int
		}{
			"no fault":    {makes: len(c.wants)},
			"a limit":     {fault: retry(1), makes: len(c.wants), waited: 7},
			"many limits": {fault: retry(100), want: fetch.ErrLimited, not: fetch.ErrMaybeMade},
			"no right": {fault: func(w http.ResponseWriter, _ int) bool { return answerWith(w, http.StatusUnauthorized, `{}`) },
				want: fetch.ErrCredentials, not: fetch.ErrMaybeMade, text: "--write-key-file"},
			"a conflict": {fault: func(w http.ResponseWriter, _ int) bool {
				return answerWith(w, http.StatusConflict, `{"error":{"message":"the address is taken by access_71demo71"}}`)
			}, want: fetch.ErrRequest, not: fetch.ErrMaybeMade, text: "the processor says: the address is taken by …"},
			"a refused type": {fault: func(w http.ResponseWriter, _ int) bool {
				return answerWith(w, http.StatusUnprocessableEntity, `{"errors":{"topic":["is not a topic"]}}`)
			}, want: fetch.ErrRequest, not: fetch.ErrMaybeMade, text: "topic is not a topic"},
			"an outage": {fault: func(w http.ResponseWriter, _ int) bool { return answerWith(w, http.StatusBadGateway, `<html>`) },
				want: fetch.ErrUnavailable, not: fetch.ErrMaybeMade, text: "run the command again"},
			"an answer that is always lost": {skip: !onlyOnce || c.recognised != "", after: func(w http.ResponseWriter, _ int) bool { return drop(w) },
				want: fetch.ErrMaybeMade, text: c.id, makes: 1},
			"an answer that is lost once": {skip: onlyOnce && c.recognised == "" || single, after: func(w http.ResponseWriter, n int) bool { return n == 1 && drop(w) }, makes: 1},
			"half an answer": {skip: onlyOnce && c.recognised == "" || single, after: func(w http.ResponseWriter, n int) bool {
				if n > 1 {
					return false
				}
				w.Header().Set("Content-Length", "1000")
				return answerWith(w, http.StatusCreated, `{"id":"`)
			}, makes: 1},
			"a lost answer, then a conflict": {skip: c.recognised == "", after: func(w http.ResponseWriter, _ int) bool { return drop(w) },
				fault: func(w http.ResponseWriter, n int) bool { return n > 1 && answerWith(w, http.StatusConflict, `{}`) },
				want:  fetch.ErrMaybeMade, not: fetch.ErrRequest, text: c.id, makes: 1},
			"a lost answer, then limits": {skip: c.recognised == "", after: func(w http.ResponseWriter, _ int) bool { return drop(w) },
				fault: func(w http.ResponseWriter, n int) bool {
					return n > 1 && answerWith(w, http.StatusTooManyRequests, `{}`)
				},
				want: fetch.ErrMaybeMade, not: fetch.ErrLimited, text: c.id, makes: 1},
			"the last answer is lost": {skip: !single, after: func(w http.ResponseWriter, n int) bool { return n == len(c.wants) && drop(w) }, makes: len(c.wants)},
			"the second of several is refused": {skip: !single, fault: func(w http.ResponseWriter, n int) bool { return n == 2 && answerWith(w, http.StatusForbidden, `{}`) },
				want: fetch.ErrMaybeMade, text: "1 of 2 event types", makes: 1},
			"an answer without the secret": {skip: !onlyOnce, after: func(w http.ResponseWriter, _ int) bool {
				return answerWith(w, http.StatusCreated, strings.ReplaceAll(c.answers[0], givenSecret, ""))
			}, want: fetch.ErrMaybeMade, text: c.id, makes: 1},
			"an answer without an id": {skip: c.recognised != "" || onlyOnce || single, after: func(w http.ResponseWriter, _ int) bool {
				return answerWith(w, http.StatusCreated, `{}`)
			}, makes: 1},
			"no answer with the secret": {skip: c.secretPath == "", secretFault: func(w http.ResponseWriter) bool { return answerWith(w, http.StatusInternalServerError, "") },
				want: fetch.ErrMaybeMade, text: c.id, makes: 1},
		} {
			if tt.skip {
				continue
			}
			t.Run(connector+"/"+name, func(t *testing.T) {
				p := &processor{creationCase: c, t: t, fault: tt.fault, after: tt.after, secretFault: tt.secretFault}
				var waited time.Duration
				plan, made, err := p.create(connector, &waited)
				if !slices.Equal(plan.LeftOut, c.leftOut) {
					t.Errorf("left out %v, want %v", plan.LeftOut, c.leftOut)
				}
				if p.makes != tt.makes || tt.waited > 0 && waited != time.Duration(tt.waited)*time.Second {
					t.Errorf("%d are made, after a wait of %s; want %d after %d s", p.makes, waited, tt.makes, tt.waited)
				}
				if tt.want == nil {
					if err != nil || made.ID != c.id || made.Secret != c.secret || !maps.Equal(made.Settings, c.settings) {
						t.Errorf("%+v, %v; want the id %s, the secret %s and the settings %v", made, err, c.id, c.secret, c.settings)
					}
					if creation.Without == "" && made.Secret == "" {
						t.Error("no secret")
					}
					return
				}
				if !errors.Is(err, tt.want) || tt.not != nil && errors.Is(err, tt.not) || !strings.Contains(err.Error(), tt.text) {
					t.Fatalf("%v; want %v with %q, not %v", err, tt.want, tt.text, tt.not)
				}
				for _, secret := range []string{chosenSecret, givenSecret, "access_71demo71"} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("the error has a secret: %v", err)
					}
				}
			})
		}
	}
}

// TestCreateHookThatIsThere: nothing is made if there is an endpoint with our address. An
// endpoint that is there with some of the event types gets the others where each is a
// subscription of its own.
func TestCreateHookThatIsThere(t *testing.T) {
	for connector, c := range creationCases {
		t.Run(connector, func(t *testing.T) {
			for path, body := range c.made {
				c.reads = maps.Clone(c.reads)
				c.reads[path] = body
			}
			p := &processor{creationCase: c, t: t}
			var waited time.Duration
			plan, _, err := p.create(connector, &waited)
			if err != nil || !plan.Nothing || plan.Existing == nil || p.requests > 0 {
				t.Errorf("%+v, %v; %d requests that make something", plan, err, p.requests)
			}
		})
	}
	c := creationCases["shopify"]
	c.reads = map[string]string{"/admin/api/2026-07/webhooks.json?limit=250": `{"webhooks":[{"id":2,"address":"` + hookAddress + `","topic":"unknown","format":"json"}]}`}
	c.wants, c.answers = c.wants[:1], c.answers[:1]
	p := &processor{creationCase: c, t: t}
	var waited time.Duration
	if plan, made, err := p.create("shopify", &waited); err != nil || plan.Nothing || !slices.Equal(made.Types, []string{"wanted"}) {
		t.Errorf("%+v, %+v, %v; want that the missing topic is made", plan, made, err)
	}
}

// TestCreateHookFirstOfSeveralLost: after the first of several answers is lost, the error says
// that event types are missing, and a second run makes the rest.
func TestCreateHookFirstOfSeveralLost(t *testing.T) {
	const list = "/admin/api/2026-07/webhooks.json?limit=250"
	c := creationCases["shopify"]
	c.made = map[string]string{list: `{"webhooks":[{"id":1,"address":"` + hookAddress + `","topic":"wanted","format":"json"}]}`}
	p := &processor{creationCase: c, t: t, after: func(w http.ResponseWriter, n int) bool { return n == 1 && drop(w) }}
	var waited time.Duration
	if _, made, err := p.create("shopify", &waited); !errors.Is(err, fetch.ErrMaybeMade) || !strings.Contains(err.Error(), "not all event types") || p.makes != 1 {
		t.Errorf("%+v, %v after %d are made; want %v after 1", made, err, p.makes, fetch.ErrMaybeMade)
	}
	c.reads, c.wants, c.answers = c.made, c.wants[1:], c.answers[1:]
	p = &processor{creationCase: c, t: t}
	if _, made, err := p.create("shopify", &waited); err != nil || !slices.Equal(made.Types, []string{"unknown"}) || p.makes != 1 {
		t.Errorf("the second run: %+v, %v; want the rest", made, err)
	}
}

// TestCreateHookRefusal: the processor's text in an error has neither the key nor our secret,
// also where the text is cut.
func TestCreateHookRefusal(t *testing.T) {
	for name, said := range map[string]string{
		"at the cut": strings.Repeat("x", 490) + " access_71demo71",
		"the secret": "the secret " + chosenSecret + " is too short",
	} {
		t.Run(name, func(t *testing.T) {
			body, _ := json.Marshal(map[string]string{"message": said})
			p := &processor{creationCase: creationCases["btcpay"], t: t, fault: func(w http.ResponseWriter, _ int) bool {
				return answerWith(w, http.StatusUnprocessableEntity, string(body))
			}}
			var waited time.Duration
			_, _, err := p.create("btcpay", &waited)
			if !errors.Is(err, fetch.ErrRequest) || !strings.Contains(err.Error(), said[:9]) || strings.Contains(err.Error(), "access_71") || strings.Contains(err.Error(), chosenSecret) {
				t.Errorf("%v; want the text without the key and the secret", err)
			}
		})
	}
}

// TestPlanHookNoneOffered: event types that the processor's API does not offer do not become all
// of its event types.
func TestPlanHookNoneOffered(t *testing.T) {
	for connector, types := range map[string][]string{"mollie": {"dispute.created"}, "paypal": {"unknown"}, "checkout": {"unknown"}} {
		c := creationCases[connector]
		c.types = types
		p := &processor{creationCase: c, t: t}
		var waited time.Duration
		if plan, _, err := p.create(connector, &waited); !errors.Is(err, fetch.ErrRequest) || !slices.Equal(plan.LeftOut, types) || p.requests > 0 {
			t.Errorf("%s: %+v, %v; want that all are left out, and an error", connector, plan, err)
		}
	}
}

// TestCreateHookOfCompany: a webhook of Adyen's company account gets the merchant accounts that
// our endpoint accepts.
//
// https://docs.adyen.com/api-explorer/Management/3/post/companies/(companyId)/webhooks
func TestCreateHookOfCompany(t *testing.T) {
	const path = "/v3/companies/Demo/webhooks"
	for setting, filter := range map[string]string{
		"":                  `"filterMerchantAccountType":"allAccounts","filterMerchantAccounts":[]`,
		`["ShopEU","Shop"]`: `"filterMerchantAccountType":"includeAccounts","filterMerchantAccounts":["ShopEU","Shop"]`,
	} {
		c := creationCases["adyen"]
		c.config.ClientID, c.path = "companies/Demo", path
		c.reads = map[string]string{path + "?pageNumber=1&pageSize=100": `{"itemsTotal":0,"pagesTotal":0}`}
		c.wants = []string{strings.Replace(c.wants[0], `"active"`, filter+`,"active"`, 1)}
		c.secretPath = "POST " + path + "/S2-71/generateHmac"
		c.settingsOfOurs = map[string]string{"merchant_accounts": setting}
		p := &processor{creationCase: c, t: t}
		var waited time.Duration
		if _, made, err := p.create("adyen", &waited); err != nil || made.Secret != givenSecret || p.makes != 1 {
			t.Errorf("%q: %+v, %v", setting, made, err)
		}
	}
}

// TestCreateHookInterrupted: after the request is sent, an interruption does not lose the
// secret. If the answer is lost, too, the error says that the endpoint may exist.
func TestCreateHookInterrupted(t *testing.T) {
	for name, lost := range map[string]bool{"stripe": false, "lithic": false, "adyen": false, "stripe, lost": true} {
		connector, _, _ := strings.Cut(name, ",")
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			p := &processor{creationCase: creationCases[connector], t: t}
			p.after = func(w http.ResponseWriter, _ int) bool {
				cancel()
				return lost && drop(w)
			}
			s := fetchtest.New(t, p.serve)
			caller := &fetch.Caller{Transport: s.Transport(), Sleep: noSleep}
			config := p.config
			config.Keys = []fetch.Key{{Name: "--write-key-file", Value: "access_71demo71"}}
			n := fetch.NewHook{URL: hookAddress, Types: []string{"wanted", "unknown"}}
			if connector == "stripe" {
				n.APIVersion = "2025-03-31.basil"
			}
			plan, err := caller.PlanHook(ctx, connector, config, n)
			if err != nil {
				t.Fatal(err)
			}
			made, err := caller.CreateHook(ctx, connector, config, plan)
			if lost {
				if !errors.Is(err, fetch.ErrMaybeMade) || made.ID == "" || p.requests != 1 {
					t.Errorf("%+v, %v after %d requests; want %v", made, err, p.requests, fetch.ErrMaybeMade)
				}
				return
			}
			if err != nil || made.Secret != givenSecret || ctx.Err() == nil {
				t.Errorf("%+v, %v; want the secret", made, err)
			}
		})
	}
}
