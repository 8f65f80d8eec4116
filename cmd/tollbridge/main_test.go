package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
)

// result is the output and the exit code of a command.
type result struct {
	code     int
	out, err string
}

// tollbridge runs a command as main does.
func tollbridge(t *testing.T, in string, args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(in), &out, &errOut)
	return result{code, out.String(), errOut.String()}
}

// jsonLines returns the values of an output that has one line of JSON for each.
func jsonLines[T any](t *testing.T, out string) (all []T) {
	t.Helper()
	for line := range strings.Lines(out) {
		var one T
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, one)
	}
	return all
}

// TestHelp: every command has a help text, and commands with arguments or flags have an
// example.
func TestHelp(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		path := strings.Fields(c.CommandPath())[1:]
		got := tollbridge(t, "", append(path, "--help")...)
		if got.code != 0 || !strings.Contains(got.out, "Usage:") || got.err != "" {
			t.Errorf("%s --help: exit %d, %s", c.CommandPath(), got.code, got.err)
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: its short help is %q; want one without a full stop", c.CommandPath(), c.Short)
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(rootCommand())
}

// TestUsage: for a mistake in the command line or the configuration, the exit code is
// 2, the error is one sentence, and nothing else but help is printed to the standard
// output.
func TestUsage(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"nosuch", `unknown command "nosuch"; see 'tollbridge --help'`},
		{"conectors", "is it 'tollbridge connectors'?"},
		{"--nosuch", "unknown flag: --nosuch"},
		{"tail --conector stripe", "unknown flag: --conector; is it \"--connector\"?"},
		{"ports", `unknown command "ports"; see`},
		{"tial", "is it 'tollbridge tail'?"},
		{"timelien x", "is it 'tollbridge timeline'?"},
		{"topics", "'tollbridge topics' needs one of the commands above"},
		{"topics aply", "is it 'tollbridge topics apply'?"},
		{"config check --partitions x", `"x"`},
		{"config check --config /not/there", "/not/there"},
		{"config check more", `unknown command "more"`},
		{"connectors a b", "accepts at most 1 arg"},
		{"connectors nobody", `unknown connector "nobody"; 'tollbridge connectors' lists them`},
		{"connectors strpe", `unknown connector "strpe"; is it "stripe"?`},
		{"schemas nosuch", "'tollbridge schemas' lists them"},
		{"schemas payment.captred", `is it "payment.captured"?`},
		{"replay --type payment.captred", `is it "payment.captured"?`},
		{"send", "accepts between 1 and 2 arg"},
		{"send nobody", `unknown connector "nobody"`},
		{"send stripe nosuch", `has no sample "nosuch"; it has `},
		{"send stripe --payload /not/there", "/not/there"},
		{"send stripe payment_intent.succeeded --set x", "--set: expected KEY=VALUE"},
		{"inspect", "--connector"},
		{"inspect --connector paypall", `unknown connector "paypall"; is it "paypal"?`},
		{"inspect --connector stripe --at yesterday", "--at: expected RFC 3339 or unix seconds"},
		{"inspect --connector stripe --header x", "--header: expected 'Name: value'"},
		{"inspect --connector stripe --set x", "--set: expected KEY=VALUE"},
		{"inspect --connector stripe /not/there", "/not/there"},
		{"inspect --connector stripe --payload /not/there", "/not/there"},
		{"serve", "there are no endpoints"},
		{"serve --config /not/there", "--config"},
		{"dev --broker nowhere", "--broker"},
		{"dev --broker 127.0.0.1:x", "the port is not a number"},
	} {
		got := tollbridge(t, "", strings.Fields(tt.args)...)
		if got.code != 2 || !strings.HasPrefix(got.err, "tollbridge: ") || !strings.Contains(got.err, tt.want) {
			t.Errorf("%s: exit %d, %q, want 2 and %q", tt.args, got.code, got.err, tt.want)
		}
		if got.out != "" && !strings.Contains(got.out, "Usage:") {
			t.Errorf("%s: prints %q", tt.args, got.out)
		}
	}
}

// TestEnvironment: an environment variable has the same effect as its flag.
func TestEnvironment(t *testing.T) {
	t.Setenv("TOLLBRIDGE_CONNECTOR", "nobody")
	if got := tollbridge(t, "", "inspect"); !strings.Contains(got.err, `unknown connector "nobody"`) {
		t.Errorf("got %q", got.err)
	}
	t.Setenv("TOLLBRIDGE_PARTITIONS", "x")
	if got := tollbridge(t, "", "config", "check"); got.code != 2 || !strings.Contains(got.err, "environment variable TOLLBRIDGE_PARTITIONS") {
		t.Errorf("exit %d, %q", got.code, got.err)
	}
}

// captured returns a signed sample, its signature, and the time at which to inspect it.
func captured(t *testing.T) (body, signature string, at time.Time) {
	t.Helper()
	payload, err := samples.Payload("stripe", "payment_intent.succeeded")
	if err != nil {
		t.Fatal(err)
	}
	at = time.Unix(1767225600, 0)
	r, err := sign.Request("stripe", payload, "whsec_test", nil, "", at)
	if err != nil {
		t.Fatal(err)
	}
	return string(payload), "Stripe-Signature: " + r.Header.Get("Stripe-Signature"), at
}

// TestInspect checks the stable part of the output and the exit codes.
func TestInspect(t *testing.T) {
	body, signature, _ := captured(t)
	file := filepath.Join(t.TempDir(), "body.json")
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	const right = `{"verified":true,"secret":"1","outcome":"events","answer":{"status":200,"body":""},"types":["payment.captured"]}`
	refused := func(reason string) string {
		return fmt.Sprintf(`{"verified":false,"reason":%q,"answer":{"status":401,"body":"Unauthorized\n"},"types":[]}`, reason)
	}
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"standard input", []string{"--secret", "whsec_test", "--at", "1767225601"}, 0, right},
		{"- is the standard input", []string{"--secret", "whsec_test", "--at", "1767225601", "-"}, 0, right},
		{"a file", []string{"--secret", "whsec_test", "--at", "1767225601", file}, 0, right},
		{"at in RFC 3339", []string{"--secret", "whsec_test", "--at", "2026-01-01T00:05:00Z"}, 0, right},
		{"at in another zone", []string{"--secret", "whsec_test", "--at", "2026-01-01T01:05:00+01:00"}, 0, right},
		{"any age", []string{"--secret", "whsec_test", "--set", "tolerance_seconds=off"}, 0, right},
		{"the second secret", []string{"--secret", "x", "--secret", "whsec_test", "--at", "1767225601"}, 0, strings.Replace(right, `"1"`, `"2"`, 1)},
		{"a live endpoint", []string{"--secret", "whsec_test", "--at", "1767225601", "--live"}, 0,
			`{"verified":true,"reason":"item 0: ignored: test mode, and the endpoint is live","secret":"1","outcome":"ignored","answer":{"status":200,"body":""},"types":[]}`},
		{"too old", []string{"--secret", "whsec_test", "--at", "2026-01-01T00:05:01Z"}, 1, refused("timestamp_too_old")},
		{"another secret", []string{"--secret", "x", "--at", "1767225601"}, 1, refused("signature_mismatch")},
		{"another method's header", []string{"--secret", "whsec_test", "--header", "Stripe-Signature: t=1,v1=00"}, 1, refused("signature_malformed")},
		{"no secret", nil, 1, `{"verified":false,"reason":"no_secret","answer":{"status":503,"body":"Service Unavailable\n"},"types":[]}`},
		{"only the payload", []string{"--payload", file}, 0, `{"verified":null,"outcome":"events","types":["payment.captured"]}`},
		{"the payload on standard input", []string{"--payload", "-"}, 0, `{"verified":null,"outcome":"events","types":["payment.captured"]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tollbridge(t, body, append([]string{"inspect", "--connector", "stripe", "--header", signature}, tt.args...)...)
			if got.code != tt.code || got.err != "" {
				t.Errorf("exit %d, %q, want %d", got.code, got.err, tt.code)
			}
			if contract := contractOf(t, got.out); contract != tt.want {
				t.Errorf("%s\nwant\n%s\nof %s", contract, tt.want, got.out)
			}
		})
	}
}

// TestInspectDiagnoses: a refusal says what would correct the request, with the keys
// from flags or from a configuration, and prints no secret.
func TestInspectDiagnoses(t *testing.T) {
	body, signature, _ := captured(t)
	config := filepath.Join(t.TempDir(), "tollbridge.yaml")
	err := os.WriteFile(config, []byte(`
public_url: https://pay.example.com
endpoints:
  - {connector: stripe, secrets: {main: {value: whsec_of_default}}}
  - {connector: stripe, name: eu, live: false, secrets: {blue: {value: whsec_test}, green: {value: whsec_of_green}}}
  - {connector: stripe, name: live, secrets: {main: {value: whsec_test}}}
  - {connector: checkout, secrets: {cko: {value: of-checkout}}}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, body string
		args       []string
		code       int
		want       string // of the diagnosis: the cause and the text; "<nil> <nil>" if there is none
	}{
		{"verified", body, []string{"--secret", "whsec_test"}, 0, "<nil> <nil>"},
		{"a newline in the secret", body, []string{"--secret", "whsec_test\n"}, 1, `secret_form the secret "1" has white space around it`},
		{"two newlines at the end of the body", body + "\n", []string{"--secret", "whsec_test"}, 1, "body_changed the body was changed on its way: it was signed with a newline at its end"},
		{"too late", body, []string{"--secret", "whsec_test", "--at", "2026-01-01T01:00:00Z"}, 1, "clock_off the signature is right; it was sent 3600 seconds before"},
		{"forged", body, []string{"--secret", "whsec_other"}, 1, "unexplained no known mistake explains it"},
		{"a test at a live endpoint", body, []string{"--secret", "whsec_test", "--live"}, 0, "test_event it is verified and ignored"},

		{"an endpoint of the configuration", body, []string{"--config", config, "--endpoint", "eu"}, 0, "<nil> <nil>"},
		{"a live endpoint of the configuration", body, []string{"--config", config, "--endpoint", "live"}, 0, "test_event it is verified and ignored"},
		{"that endpoint, not live", body, []string{"--config", config, "--endpoint", "live", "--live=false"}, 0, "<nil> <nil>"},
		{"another endpoint of the configuration", body, []string{"--config", config}, 1,
			`other_secret it is signed with the secret "blue" of the endpoint stripe/eu, which is for tests, and this one is live`},
		{"no endpoint of the configuration", body, []string{"--config", config, "--endpoint", "us"}, 1, `other_secret it is signed with the secret "blue" of the endpoint stripe/eu`},
		{"a flag's secret wins", body, []string{"--config", config, "--endpoint", "eu", "--secret", "whsec_other"}, 1, `other_secret it is signed with the secret "main" of the endpoint stripe/live`},
		{"another connector's", body, []string{"--connector", "checkout", "--config", config}, 1, "other_connector it is of stripe, for the endpoint stripe/eu, and was verified as of checkout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"inspect", "--connector", "stripe", "--header", signature, "--at", "1767225601"}, tt.args...)
			got := tollbridge(t, tt.body, args...)
			var v struct{ Diagnosis map[string]any }
			if err := json.Unmarshal([]byte(got.out), &v); err != nil || got.code != tt.code {
				t.Fatalf("exit %d, %v, %s", got.code, err, got.err)
			}
			if says := fmt.Sprint(v.Diagnosis["cause"], " ", v.Diagnosis["mistake"]); !strings.HasPrefix(says, tt.want) {
				t.Errorf("got %q, want %q", says, tt.want)
			}
			if strings.Contains(got.out, "whsec_") || strings.Contains(got.out, "of-checkout") {
				t.Errorf("a secret is in %s", got.out)
			}
		})
	}
	if got := tollbridge(t, "", "inspect", "--connector", "stripe", "--config", "/not/there"); got.code != 2 || !strings.Contains(got.err, "--config") {
		t.Errorf("no such configuration: exit %d, %s", got.code, got.err)
	}
}

// contractOf returns the stable part of an inspection, in one line.
func contractOf(t *testing.T, out string) string {
	t.Helper()
	var v struct {
		Verified any    `json:"verified"`
		Reason   string `json:"reason,omitempty"`
		Secret   string `json:"secret,omitempty"`
		Outcome  string `json:"outcome,omitempty"`
		Answer   *struct {
			Status int    `json:"status"`
			Body   string `json:"body"`
		} `json:"answer,omitempty"`
		Events []schemas.Event `json:"events,omitempty"`
		Types  []schemas.Type  `json:"types"`
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Events == nil {
		t.Fatalf("%v, want an object with events, got %s", err, out)
	}
	v.Types = []schemas.Type{}
	for _, e := range v.Events {
		v.Types = append(v.Types, e.Type)
	}
	v.Events = nil
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestInspectPayloads: any payload gives an outcome, never a failure of the command.
func TestInspectPayloads(t *testing.T) {
	for payload, outcome := range map[string]string{
		"": "malformed", "null": "malformed", "{": "malformed", "\x00\xff": "malformed",
		`{"id":"evt_1","type":"customer.created"}`: "ignored",
	} {
		got := tollbridge(t, payload, "inspect", "--connector", "stripe", "--payload", "-")
		if got.code != 0 || !strings.Contains(got.out, `"outcome": "`+outcome+`"`) {
			t.Errorf("%q: exit %d, %s%s, want 0 and %s", payload, got.code, got.out, got.err, outcome)
		}
	}
}

// TestLists checks the lists of connectors and samples, as text and as JSON.
func TestLists(t *testing.T) {
	all := jsonLines[connectorInfo](t, tollbridge(t, "", "connectors", "--json").out)
	if len(all) != len(verify.Connectors()) {
		t.Errorf("connectors --json: %d of %d", len(all), len(verify.Connectors()))
	}
	for _, i := range all {
		if i.Signs == "" || i.Covers == "" || i.Key == "" || len(i.Docs) != 2 || len(i.Samples) == 0 {
			t.Errorf("connectors --json leaves out required fields: %+v", i)
		}
		one := tollbridge(t, "", "connectors", i.Name)
		if one.code != 0 || !strings.Contains(one.out, i.Signs) || !strings.Contains(one.out, i.Docs[0]) {
			t.Errorf("connectors %s: exit %d, %s%s", i.Name, one.code, one.out, one.err)
		}
		listed := tollbridge(t, "", "send", i.Name)
		if want := strings.Join(samples.Names(i.Name), "\n") + "\n"; listed.code != 0 || listed.out != want {
			t.Errorf("send %s: exit %d, %q, want %q", i.Name, listed.code, listed.out, want)
		}
	}
	for args, want := range map[string]string{
		"connectors":               "stripe",
		"schemas":                  "payment.captured",
		"schemas payment.captured": `"$schema"`,
		"version":                  "tollbridge ",
		"--version":                "tollbridge ",
		"completion bash":          "__tollbridge",
		"completion zsh":           "#compdef tollbridge",
		"__complete s":             "send",
		"__complete send s":        "stripe",
		"__complete send stripe p": "payment_intent.succeeded",
		"__complete connectors s":  "stripe",
		"__complete schemas pay":   "payment.captured",
	} {
		if got := tollbridge(t, "", strings.Fields(args)...); got.code != 0 || !strings.Contains(got.out, want) {
			t.Errorf("%s: exit %d, %s%s, want %q", args, got.code, got.out, got.err, want)
		}
	}
}

// TestSchemasOut: there is one file for each type, with the JSON that the command
// prints.
func TestSchemasOut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	if got := tollbridge(t, "", "schemas", "--out", dir); got.code != 0 {
		t.Fatalf("exit %d, %s", got.code, got.err)
	}
	for _, typ := range schemas.Types() {
		b, err := os.ReadFile(filepath.Join(dir, string(typ)+".schema.json"))
		if err != nil || !json.Valid(b) || !bytes.Equal(b, schemas.JSONSchema(typ)) {
			t.Errorf("%s: %v, %d bytes", typ, err, len(b))
		}
	}
	written, err := os.ReadFile(filepath.Join(dir, "asyncapi.json"))
	printed := tollbridge(t, "", "schemas", "--asyncapi")
	if err != nil || printed.code != 0 || string(written) != printed.out {
		t.Errorf("asyncapi.json: %v; exit %d", err, printed.code)
	}
	if got := tollbridge(t, "", "schemas", "--asyncapi", "--prefix", "shop."); !strings.Contains(got.out, `"address": "shop.payment.captured"`) {
		t.Errorf("with a prefix: exit %d, %s", got.code, got.err)
	}
}

// TestFailures: for a failure that the user did not cause, the exit code is 1.
func TestFailures(t *testing.T) {
	for args, want := range map[string]string{
		"send stripe payment_intent.succeeded --to http://127.0.0.1:1/": "is 'tollbridge dev' or 'tollbridge serve' running there?",
		"topics plan --brokers 127.0.0.1:1":                             "127.0.0.1:1",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		var out, errOut bytes.Buffer
		if code := run(ctx, strings.Fields(args), strings.NewReader(""), &out, &errOut); code != 1 || !strings.Contains(errOut.String(), want) {
			t.Errorf("%s: exit %d, %s, want 1 and %q", args, code, errOut.String(), want)
		}
		cancel()
	}
}

// TestHelpFits: the help of every command fits a terminal of 80 columns.
func TestHelpFits(t *testing.T) {
	var check func(c *cobra.Command)
	check = func(c *cobra.Command) {
		var help bytes.Buffer
		c.SetOut(&help)
		if err := c.Help(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(help.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
				t.Errorf("%s: %d columns: %s", c.CommandPath(), n, line)
			}
		}
		for _, sub := range c.Commands() {
			check(sub)
		}
	}
	check(rootCommand())
}
