package fetch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
)

// api is the API of a processor for the tests, with webhooks that need it. Its answers
// follow the documentation that the variable names.
type api struct {
	config fetch.API
	// header and want are the credential that the API accepts. A function wants none.
	header, want string
	accepts      func(r *http.Request) error // further rules of the API; nil is none
	tokenPath    string                      // of the token endpoint, if there is one
	tokenForm    url.Values                  // what the token endpoint wants
	// answers has the body by method and path with query.
	answers map[string]string
	// answer returns the body for the body of a request, where all requests have one path.
	answer   func(body []byte) (string, bool)
	webhooks []webhookCase
}

// webhookCase is a webhook and the requests that it needs, without the host.
type webhookCase struct {
	name, payload string
	query         url.Values
	settings      map[string]string
	unsigned      bool
	requests      []string
	documents     []string // the names
}

// apis has the API of each connector.
var apis = map[string]api{
	"authorizenet":      authorizenetAPI,
	"billplz":           billplzAPI,
	"braintree":         braintreeAPI,
	"btcpay":            btcpayAPI,
	"flutterwave":       flutterwaveAPI,
	"gocardless":        gocardlessAPI,
	"mercadopago":       mercadopagoAPI,
	"midtrans":          midtransAPI,
	"mollie":            mollieAPI,
	"paddle":            paddleAPI,
	"paypal":            paypalAPI,
	"portone":           portoneAPI,
	"razorpay":          razorpayAPI,
	"recurly":           recurlyAPI,
	"square":            squareAPI,
	"stripe":            stripeAPI,
	"truelayer":         truelayerAPI,
	"wallee":            walleeAPI,
	"worldline-connect": worldlineConnectAPI,
	"xendit":            xenditAPI,
}

// secretText is in each key, query and answer of the tests, and in no error.
const secretText = "demo71secret"

// demoToken is the access token that the token endpoints give.
const demoToken = "token-" + secretText

// key returns the configuration of an API with one key.
func key(value string) fetch.API {
	return fetch.API{Keys: []fetch.Key{{Name: "main", Value: value}}}
}

// serve answers as the API does.
func (a api) serve(w http.ResponseWriter, r *http.Request) {
	if a.token(w, r) {
		return
	}
	if got := r.Header.Get(a.header); a.header != "" && got != a.want {
		http.Error(w, `{"error":"unauthorized"}`, http.StatusUnauthorized)
		return
	}
	if a.accepts != nil {
		if err := a.accepts(r); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
	}
	body, ok := a.answers[r.Method+" "+r.URL.RequestURI()]
	if a.answer != nil {
		sent, _ := io.ReadAll(r.Body)
		body, ok = a.answer(sent)
	}
	if !ok {
		http.Error(w, `{"error":"not found"}`, http.StatusNotFound)
		return
	}
	_, _ = io.WriteString(w, body)
}

// token answers for the token endpoint, and reports whether the request was for it.
func (a api) token(w http.ResponseWriter, r *http.Request) bool {
	if a.tokenPath == "" || r.URL.Path != a.tokenPath {
		return false
	}
	_ = r.ParseForm()
	form := url.Values{}
	for name := range a.tokenForm {
		form[name] = r.PostForm[name]
	}
	if user, password, ok := r.BasicAuth(); ok {
		form.Set("client_id", user)
		form.Set("client_secret", password)
	}
	if form.Encode() != a.tokenForm.Encode() {
		http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
		return true
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"access_token":"`+demoToken+`","token_type":"Bearer","expires_in":3600}`)
	return true
}

// webhook returns the webhook for the client.
func (c webhookCase) webhook() fetch.Webhook {
	return fetch.Webhook{Payload: []byte(c.payload), Query: c.query, Settings: c.settings, Unsigned: c.unsigned, Live: true}
}

// TestAPIs: every connector has an API in this test.
func TestAPIs(t *testing.T) {
	for _, connector := range fetch.Connectors() {
		a, ok := apis[connector]
		if c, _ := fetch.Lookup(connector); c.Lost == "" { // webhooks have everything: see the lists
			continue
		}
		if !ok {
			t.Errorf("%s has no API in apis", connector)
			continue
		}
		if err := fetch.Check(connector, a.config); err != nil {
			t.Errorf("%s: %v", connector, err)
		}
	}
}

// TestConnectors: what each connector asks for, and that the API accepts it.
func TestConnectors(t *testing.T) {
	for connector, a := range apis {
		for _, tt := range a.webhooks {
			t.Run(connector+"/"+tt.name, func(t *testing.T) {
				s := fetchtest.New(t, a.serve)
				documents, err := s.Client.Fetch(t.Context(), connector, a.config, tt.webhook())
				if err != nil {
					t.Fatal(err)
				}
				var names, calls []string
				for _, d := range documents {
					names = append(names, d.Name)
					if d.Status != http.StatusOK {
						t.Errorf("%s has the status %d", d.Name, d.Status)
					}
				}
				for _, call := range s.Calls() {
					method, address, _ := strings.Cut(call, " ")
					_, path, _ := strings.Cut(address, "/")
					if !strings.HasPrefix("/"+path, a.tokenPath) || a.tokenPath == "" {
						calls = append(calls, method+" /"+path)
					}
				}
				if !slices.Equal(calls, tt.requests) {
					t.Errorf("asked %q\nwant  %q", calls, tt.requests)
				}
				if !slices.Equal(names, tt.documents) {
					t.Errorf("documents %q, want %q", names, tt.documents)
				}
			})
		}
	}
}

// TestFaults: what each connector makes of an API that does not answer as it should.
func TestFaults(t *testing.T) {
	for connector, a := range apis {
		var need webhookCase
		for _, w := range a.webhooks {
			if len(w.requests) > 0 {
				need = w
				break
			}
		}
		for _, tt := range []struct {
			name  string
			fault http.HandlerFunc
			want  error
		}{
			{"401", status(http.StatusUnauthorized), fetch.ErrCredentials},
			{"403", status(http.StatusForbidden), fetch.ErrCredentials},
			{"404", status(http.StatusNotFound), fetch.ErrUnknownObject},
			{"429", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(http.StatusTooManyRequests)
			}, fetch.ErrUnavailable},
			{"500", status(http.StatusInternalServerError), fetch.ErrUnavailable},
			{"503", status(http.StatusServiceUnavailable), fetch.ErrUnavailable},
			{"half an answer", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "1000")
				_, _ = io.WriteString(w, `{"id":"`+secretText)
			}, fetch.ErrUnavailable},
			{"a redirect", func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://elsewhere.example/"+secretText, http.StatusFound)
			}, fetch.ErrUnavailable},
			{"10 MB", func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `{"id":"`+strings.Repeat("a", 10<<20)+`"}`)
			}, fetch.ErrUnavailable},
			{"not JSON", func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "<html>"+secretText+"</html>")
			}, fetch.ErrUnavailable},
			{"nothing", status(http.StatusOK), fetch.ErrUnavailable},
			{"another kind of JSON", func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `["`+secretText+`"]`)
			}, nil},
			{"another object", func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `{"id":"another","uuid":"another"}`)
			}, nil},
			{"too slow", nil, fetch.ErrUnavailable},
		} {
			t.Run(connector+"/"+tt.name, func(t *testing.T) {
				over := make(chan struct{})
				limit := 2 * time.Second
				if tt.fault == nil {
					limit = 200 * time.Millisecond
					tt.fault = func(http.ResponseWriter, *http.Request) { <-over }
				}
				s := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
					if !a.token(w, r) {
						tt.fault(w, r)
					}
				})
				t.Cleanup(func() { close(over) }) // before the server waits for its handlers
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				documents, err := s.Client.Fetch(ctx, connector, a.config, need.webhook())
				switch {
				case err == nil:
					t.Fatalf("%d documents and no error", len(documents))
				case tt.want != nil && !errors.Is(err, tt.want):
					t.Errorf("error %v, want %v", err, tt.want)
				case tt.want == nil && !errors.Is(err, fetch.ErrAccount) && !errors.Is(err, fetch.ErrUnavailable):
					t.Errorf("error %v, want one for another object or an unusable answer", err)
				}
				var limited *fetch.LimitedError
				if tt.name == "429" && (!errors.As(err, &limited) || limited.RetryAfter != 7*time.Second) {
					t.Errorf("error %v, want a wait of 7 s", err)
				}
				if strings.Contains(err.Error(), secretText) {
					t.Errorf("the error has a key, a query or an answer: %v", err)
				}
				for _, call := range s.Calls() {
					if strings.Contains(call, "elsewhere.example") {
						t.Errorf("followed the redirect: %s", call)
					}
				}
			})
		}
	}
}

// TestIDsInPaths: an id that would be more than one segment of a path, or another one, is
// escaped or not asked for.
func TestIDsInPaths(t *testing.T) {
	for connector, a := range apis {
		for _, tt := range a.webhooks {
			if len(tt.requests) == 0 {
				continue
			}
			for _, id := range idsIn(tt) {
				for _, evil := range []string{"../../x", "..", ".", "a/b", "a?b=c", "a#b", "%2e%2e%2f", "a%00b", ""} {
					w := tt.webhook()
					w.Payload = []byte(strings.ReplaceAll(tt.payload, id, evil))
					if !strings.HasPrefix(tt.payload, "{") {
						w.Payload = []byte(strings.ReplaceAll(tt.payload, id, url.QueryEscape(evil)))
					}
					s := fetchtest.New(t, func(w http.ResponseWriter, r *http.Request) {
						if a.token(w, r) {
							return
						}
						path := r.URL.EscapedPath()
						if strings.Count(path, "/") != strings.Count(pathOf(tt.requests[0]), "/") || slices.Contains(strings.Split(path, "/"), "..") || slices.Contains(strings.Split(path, "/"), ".") {
							t.Errorf("%s/%s: the id %q makes the path %s", connector, tt.name, evil, path)
						}
						w.WriteHeader(http.StatusNotFound)
					})
					_, _ = s.Client.Fetch(t.Context(), connector, a.config, w)
				}
			}
		}
	}
}

// idsIn returns the segments of the paths of the requests that the payload has.
func idsIn(c webhookCase) (ids []string) {
	for _, r := range c.requests[:1] {
		for _, s := range strings.Split(pathOf(r), "/") {
			if s, err := url.PathUnescape(s); err == nil && len(s) > 5 && strings.Contains(c.payload, `"`+s+`"`) && !slices.Contains(ids, s) {
				ids = append(ids, s)
			}
		}
	}
	return ids
}

// pathOf returns the path of a request.
func pathOf(request string) string {
	_, path, _ := strings.Cut(request, " ")
	path, _, _ = strings.Cut(path, "?")
	return path
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// wants returns an error unless the request has the header.
func wants(r *http.Request, name, value string) error {
	if got := r.Header.Get(name); got != value {
		return fmt.Errorf("%s is %q, want %q", name, got, value)
	}
	return nil
}
