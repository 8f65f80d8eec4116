package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// The texts that `tollbridge endpoints create` must not print.
const (
	createKey    = "rk_live_71demo71write"
	createSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="
)

// hookServer makes webhook endpoints as Stripe, PayPal, Paddle and BTCPay Server do, for a
// test of the command. The tests of package fetch have all processors.
//
// https://docs.stripe.com/api/webhook_endpoints
// https://developer.paypal.com/docs/api/webhooks/v1/
// https://developer.paddle.com/api-reference/notification-settings
// https://docs.btcpayserver.org/API/Greenfield/v1/#operation/Webhooks_CreateWebhook
type hookServer struct {
	mu     sync.Mutex
	made   string // the address
	secret string // that BTCPay Server got
	// lost says that an endpoint is made, but the answers from then on are lost.
	lost bool
	// outage says that the requests that make an endpoint are answered with the status 502.
	outage bool
	// refuses is the body of a refusal with the status 400; empty refuses nothing.
	refuses string
}

func (h *hookServer) serve(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	if h.lost && h.made != "" {
		drop(w)
		return
	}
	switch {
	case r.URL.Path == "/v1/oauth2/token":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"`+createKey+`","token_type":"Bearer","expires_in":3600}`)
	case r.Header.Get("Authorization") != "Bearer "+createKey && r.Header.Get("Authorization") != "token "+createKey:
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == "/api/v1/api-keys/current":
		_, _ = io.WriteString(w, `{"permissions":["btcpay.store.webhooks.canmodifywebhooks:store71"]}`)
	case r.URL.Path == "/v1/notifications/webhooks-event-types":
		_, _ = io.WriteString(w, `{"event_types":[{"name":"PAYMENT.CAPTURE.COMPLETED"}]}`)
	case r.Method == http.MethodGet:
		h.list(w, r.Host)
	case h.outage:
		w.WriteHeader(http.StatusBadGateway)
	case h.refuses != "":
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, h.refuses)
	default:
		h.make(w, r, body)
	}
}

func (h *hookServer) list(w http.ResponseWriter, host string) {
	all := map[string]string{
		"api.stripe.com":     `{"data":[{"id":"we_71","url":%q,"status":"enabled","enabled_events":["*"]}],"has_more":false}`,
		"api.paddle.com":     `{"data":[{"id":"ntfset_71","type":"url","destination":%q,"active":true}],"meta":{"pagination":{"has_more":false}}}`,
		"api-m.paypal.com":   `{"webhooks":[{"id":"0EH71","url":%q,"event_types":[{"name":"*"}]}]}`,
		"btcpay.example.com": `[{"id":"wh71","url":%q,"enabled":true}]`,
	}
	none := map[string]string{"btcpay.example.com": `[]`}
	switch body := none[host]; {
	case h.made != "":
		fmt.Fprintf(w, all[host], h.made)
	case body != "":
		_, _ = io.WriteString(w, body)
	default:
		_, _ = io.WriteString(w, `{"data":[],"webhooks":[],"has_more":false,"meta":{"pagination":{"has_more":false}}}`)
	}
}

func (h *hookServer) make(w http.ResponseWriter, r *http.Request, body []byte) {
	var b struct{ URL, Destination, Secret string }
	_ = json.Unmarshal(body, &b)
	h.made, h.secret = b.URL+b.Destination, b.Secret
	if r.Host == "api.stripe.com" {
		r.Body = io.NopCloser(bytes.NewReader(body))
		h.made = r.FormValue("url")
	}
	if h.lost {
		drop(w)
		return
	}
	w.WriteHeader(http.StatusCreated)
	switch r.Host {
	case "api.stripe.com":
		fmt.Fprintf(w, `{"id":"we_71","url":%q,"status":"enabled","secret":%q}`, h.made, createSecret)
	case "api.paddle.com":
		fmt.Fprintf(w, `{"data":{"id":"ntfset_71","destination":%q,"active":true,"endpoint_secret_key":%q}}`, h.made, createSecret)
	case "api-m.paypal.com":
		fmt.Fprintf(w, `{"id":"0EH71","url":%q}`, h.made)
	default:
		fmt.Fprintf(w, `{"id":"wh71","url":%q,"enabled":true}`, h.made)
	}
}

// drop ends the connection without an answer.
func drop(w http.ResponseWriter) {
	if connection, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = connection.Close()
	}
}

// TestEndpointsCreate runs the program against servers that make endpoints: the secret comes
// into a new file of mode 0600 and nowhere else, and no file is left where no endpoint was
// made.
func TestEndpointsCreate(t *testing.T) {
	folder := t.TempDir()
	binary, config, key := filepath.Join(folder, "tollbridge"), filepath.Join(folder, "tollbridge.yaml"), filepath.Join(folder, "key")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(key, createKey+"\n")
	write(config, `
public_url: https://pay.example.com
endpoints:
  - connector: stripe
  - connector: paddle
  - connector: mollie
    secrets: {main: {env: NOT_SET}}
  - connector: gocardless
    secrets: {main: {env: NOT_SET}}
  - connector: paypal
    api: {client_id: client-71, keys: {main: {env: NOT_SET}}}
  - connector: btcpay
    api: {host: btcpay.example.com, keys: {main: {env: NOT_SET}}}
`)
	const address = "https://pay.example.com/webhooks/stripe/default"
	for name, tt := range map[string]struct {
		server *hookServer // nil is one without faults
		args   []string    // without --secret-file
		file   string      // the content of the file for the secret before: it must stay
		noFile bool        // --secret-file is not given
		code   int
		calls  int    // at least; -1 is none
		out    string // in the output
		errs   string // in the errors
		secret string // in the file; "sent" is what the server got, "kept" is any, empty is no file
	}{
		"a plan without a key":  {args: []string{"--connector", "stripe"}, noFile: true, calls: -1, out: "the processor was not asked"},
		"a plan with a key":     {args: []string{"--connector", "stripe", "--write-key-file", key}, noFile: true, calls: 1, out: "--yes makes the endpoint"},
		"a key from a variable": {args: []string{"--connector", "stripe", "--write-key-env", "WRITE_KEY"}, noFile: true, calls: 1, out: "payment_intent.succeeded"},
		"made": {args: []string{"--connector", "stripe", "--write-key-file", key, "--yes"}, calls: 2,
			out: "made at api.stripe.com: we_71", secret: createSecret},
		"made, as JSON": {args: []string{"--connector", "stripe", "--write-key-file", key, "--yes", "--json"}, calls: 2,
			out: `"secret_file"`, secret: createSecret},
		"there already": {server: &hookServer{made: address}, args: []string{"--connector", "stripe", "--write-key-file", key, "--yes"}, calls: 1, out: "already there"},
		"a file that exists": {args: []string{"--connector", "stripe", "--write-key-file", key, "--yes"}, file: "mine\n", code: 2, calls: -1,
			errs: "--secret-file", secret: "mine"},
		"no file":                {args: []string{"--connector", "stripe", "--write-key-file", key, "--yes"}, noFile: true, code: 2, calls: -1, errs: "--secret-file"},
		"no key":                 {args: []string{"--connector", "stripe", "--yes"}, code: 2, calls: -1, errs: "--write-key-env"},
		"an empty variable":      {args: []string{"--connector", "stripe", "--write-key-env", "NOT_SET", "--yes"}, code: 2, calls: -1, errs: "NOT_SET"},
		"two keys":               {args: []string{"--connector", "stripe", "--write-key-env", "WRITE_KEY", "--write-key-file", key, "--yes"}, code: 2, calls: -1, errs: "one of them"},
		"which endpoint":         {args: []string{"--write-key-file", key, "--yes"}, code: 2, calls: -1, errs: "gocardless/default"},
		"a version that is none": {args: []string{"--connector", "paddle", "--write-key-file", key, "--api-version", "1", "--yes"}, code: 2, calls: -1, errs: "--api-version"},
		"a refused key":          {args: []string{"--connector", "stripe", "--write-key-env", "WRONG_KEY", "--yes"}, code: 1, calls: 1, errs: "Write on Webhook Endpoints"},
		"a refused request": {server: &hookServer{refuses: `{"error":{"message":"Invalid URL \u001b[31m\nFORGED"}}`}, args: []string{"--connector", "stripe", "--write-key-file", key, "--yes"},
			code: 1, calls: 2, out: "nothing was made", errs: "Invalid URL"},
		"a plan with a refused key": {args: []string{"--connector", "stripe", "--write-key-env", "WRONG_KEY"}, noFile: true, code: 1, calls: 1,
			out: "there is no plan at api.stripe.com", errs: "Write on Webhook Endpoints"},
		"none of the types": {args: []string{"--connector", "mollie", "--write-key-file", key, "--types", "dispute.created", "--yes"}, code: 1, calls: -1,
			out: "nothing was made", errs: "none of the event types"},
		"none of the types, without a key": {args: []string{"--connector", "mollie", "--types", "dispute.created"}, noFile: true, code: 2, calls: -1,
			errs: "--types"},
		"the documentation": {args: []string{"--connector", "mollie"}, noFile: true, calls: -1, out: "https://docs.mollie.com/reference/create-webhook"},
		"types left out":    {args: []string{"--connector", "paypal", "--write-key-file", key, "--types", "PAYMENT.CAPTURE.COMPLETED,OTHER", "--yes"}, noFile: true, calls: 4, out: "left out"},
		"our secret, and no answer": {server: &hookServer{outage: true}, args: []string{"--connector", "btcpay", "--write-key-file", key, "--yes"},
			code: 1, calls: 3, out: "an endpoint may have been made at btcpay.example.com", errs: "keep the file", secret: "kept"},
		"a lost answer, and no list": {server: &hookServer{lost: true}, args: []string{"--connector", "paddle", "--write-key-file", key, "--yes"},
			code: 1, calls: 3, out: "may have been made", errs: "look at the processor"},
		"a lost answer with our secret": {server: &hookServer{lost: true}, args: []string{"--connector", "btcpay", "--write-key-file", key, "--yes"},
			code: 1, calls: 3, errs: "its secret is in", secret: "sent"},
		"our secret":       {args: []string{"--connector", "btcpay", "--write-key-file", key, "--yes"}, calls: 4, out: "wh71", secret: "sent"},
		"no secret":        {args: []string{"--connector", "paypal", "--write-key-file", key, "--yes"}, noFile: true, calls: 4, out: "webhook_id: 0EH71"},
		"no secret, file":  {args: []string{"--connector", "paypal", "--write-key-file", key, "--yes"}, code: 2, calls: -1, errs: "no secret of their own"},
		"by hand":          {args: []string{"--connector", "gocardless"}, noFile: true, calls: -1, out: "GoCardless has no API for webhook endpoints"},
		"by hand, with it": {args: []string{"--connector", "gocardless", "--write-key-file", key, "--yes"}, code: 1, calls: -1, out: "GoCardless has no API for webhook endpoints"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // two wait for a list that does not come
			server := tt.server
			if server == nil {
				server = &hookServer{}
			}
			s := fetchtest.New(t, server.serve)
			file := filepath.Join(t.TempDir(), "secret")
			args := append([]string{"endpoints", "create", "--config", config}, tt.args...)
			if !tt.noFile {
				args = append(args, "--secret-file", file)
			}
			if tt.file != "" {
				write(file, tt.file)
			}
			c := exec.CommandContext(t.Context(), binary, args...)
			c.Env = append(append(os.Environ(), s.Proxy()...), "WRITE_KEY="+createKey, "WRONG_KEY=rk_live_wrong")
			var out, errs bytes.Buffer
			c.Stdout, c.Stderr = &out, &errs
			_ = c.Run()
			calls := s.Calls()
			if c.ProcessState.ExitCode() != tt.code || len(calls) < tt.calls || tt.calls < 0 && len(calls) > 0 {
				t.Errorf("exit code %d after %q, want %d after %d requests\n%s%s", c.ProcessState.ExitCode(), calls, tt.code, tt.calls, &out, &errs)
			}
			if !strings.Contains(out.String(), tt.out) || !strings.Contains(errs.String(), tt.errs) {
				t.Errorf("%s\n%s\nwant %q and %q", &out, &errs, tt.out, tt.errs)
			}
			want := tt.secret
			if want == "sent" {
				if want = server.secret; len(want) < 32 {
					t.Errorf("the server got the secret %q", want)
				}
			}
			got, err := os.ReadFile(file)
			info, _ := os.Stat(file)
			if want == "kept" && len(got) >= 32 {
				want = strings.TrimSpace(string(got))
			}
			switch {
			case want == "" && err == nil:
				t.Errorf("the file is left, with %q", got)
			case want != "" && (string(got) != want+"\n" || info.Mode().Perm() != 0o600):
				t.Errorf("the file has %q and the mode %s, want %q and 0600", got, info.Mode(), want)
			}
			for _, secret := range []string{createKey, createSecret, server.secret} {
				if secret != "" && strings.Contains(out.String()+errs.String(), secret) {
					t.Errorf("a secret is printed:\n%s%s", &out, &errs)
				}
			}
			if found := append(controlCharacters(errs.String()), forged(errs.String())...); len(found) > 0 {
				t.Errorf("a text of the processor is printed as it is: %q", found)
			}
			if name == "made" { // the printed lines complete the configuration
				_, lines, _ := strings.Cut(out.String(), "of the configuration:\n")
				next := filepath.Join(folder, "next.yaml")
				write(next, "public_url: https://pay.example.com\nendpoints:\n  - connector: stripe\n"+lines)
				if out, err := exec.Command(binary, "config", "check", "--config", next).CombinedOutput(); err != nil {
					t.Errorf("the lines %s: %v: %s", lines, err, out)
				}
			}
		})
	}
	if _, err := os.Stat(filepath.Join(folder, "missing")); err == nil {
		t.Fatal("the test needs a folder that does not exist")
	}
	s := fetchtest.New(t, func(http.ResponseWriter, *http.Request) {})
	c := exec.Command(binary, "endpoints", "create", "--config", config, "--connector", "stripe", "--write-key-file", key, "--yes", "--secret-file", filepath.Join(folder, "missing", "secret"))
	c.Env = append(os.Environ(), s.Proxy()...)
	if out, _ := c.CombinedOutput(); c.ProcessState.ExitCode() != 2 || len(s.Calls()) > 0 {
		t.Errorf("a folder that does not exist: exit code %d after %q: %s", c.ProcessState.ExitCode(), s.Calls(), out)
	}
}

// TestNewSecrets: the secrets that we choose are of the form that the connector verifies
// with, and no two are the same.
func TestNewSecrets(t *testing.T) {
	chosen := 0
	for _, connector := range fetch.CreatesEndpoints() {
		secret := fetch.NewSecret(connector)
		if secret == "" {
			continue
		}
		chosen++
		if err := verify.Check(connector, verify.Keys{Secrets: []verify.Secret{{Name: "main", Value: secret}}}); err != nil || secret == fetch.NewSecret(connector) {
			t.Errorf("%s: %v", connector, err)
		}
	}
	if chosen != 3 {
		t.Errorf("we choose the secret for %d connectors, want those of BTCPay Server, Checkout.com and Svix", chosen)
	}
}

// TestSelectEndpoint: --connector and --endpoint select the same endpoints in all commands, and
// read only the secrets of these. An error lists the endpoints.
func TestSelectEndpoint(t *testing.T) {
	cfg := config{Endpoints: []endpointConfig{{Connector: "stripe"}, {Connector: "stripe", Name: "b"}, {Connector: "paddle"}}}
	for _, tt := range []struct {
		connector, name, want string // want is the id, or begins with ! and is in the error
	}{
		{"paddle", "", "paddle/default"},
		{"stripe", "b", "stripe/b"},
		{"", "b", "stripe/b"},
		{"stripe", "", "!want one endpoint, and not stripe/default, stripe/b"},
		{"square", "", "!has stripe/default, stripe/b, paddle/default"},
		{"paddle", "b", "!has stripe/default"},
	} {
		var read []string
		e, err := cfg.selectEndpoint(tt.connector, tt.name, func(e *webhook.Endpoint, _ endpointConfig) error {
			read = append(read, e.ID())
			return nil
		})
		if text, fails := strings.CutPrefix(tt.want, "!"); fails {
			if !errors.As(err, &usageError{}) || !strings.Contains(err.Error(), text) {
				t.Errorf("%q, %q: %v, want %s", tt.connector, tt.name, err, text)
			}
		} else if err != nil || e.ID() != tt.want || !slices.Equal(read, []string{tt.want}) {
			t.Errorf("%q, %q: %s, %v after %q; want %s", tt.connector, tt.name, e.ID(), err, read, tt.want)
		}
	}
}

// TestFreeSecretName: the name of a new secret is free.
func TestFreeSecretName(t *testing.T) {
	for want, taken := range map[string][]string{"main": nil, "main2": {"main", "new"}, "main3": {"main", "main2"}} {
		e := endpointConfig{Secrets: map[string]secretConfig{}}
		for _, name := range taken {
			e.Secrets[name] = secretConfig{}
		}
		if got := freeSecretName(e); got != want {
			t.Errorf("beside %q: %s, want %s", taken, got, want)
		}
	}
}

// TestResendKey: the key of `tollbridge gaps --resend` is checked before the run, and an error
// names its flag.
func TestResendKey(t *testing.T) {
	e := webhook.Endpoint{Connector: "paypal", API: &fetch.API{ClientID: "client-71"}}
	file := filepath.Join(t.TempDir(), "key")
	for value, want := range map[string]string{createKey + "\n": "", "short\n": "--write-key-file: ", "\n": "--write-key-file: ", createKey + " \n": "--write-key-file: "} {
		if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		key, err := (&gapsFlags{writeKey: file}).readWriteKey(nil, e)
		switch {
		case want == "" && (err != nil || key.Value != createKey):
			t.Errorf("%+v, %v", key, err)
		case want != "" && (!errors.As(err, &usageError{}) || !strings.HasPrefix(err.Error(), want)):
			t.Errorf("the key %q: %v, want that it begins with %s", value, err, want)
		}
	}
}
