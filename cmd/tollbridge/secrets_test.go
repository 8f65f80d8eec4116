package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/sign"
)

// TestToolsNeedNoSecrets: the commands that verify nothing run although the secrets of
// the configuration cannot be read. Those that verify webhooks again say what they lack.
func TestToolsNeedNoSecrets(t *testing.T) {
	b := startBridge(t)
	event := b.send(t, paid("7", 0))
	written, err := os.ReadFile(b.config)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "tollbridge.yaml")
	text := strings.ReplaceAll(string(written), "{value: "+b.secret+"}", "{env: TOLLBRIDGE_TEST_NOT_SET}")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	payload := filepath.Join(t.TempDir(), "payload.json")
	if err := os.WriteFile(payload, paid("7", 0), 0o600); err != nil {
		t.Fatal(err)
	}
	b.awaitReference(t, "7")
	for _, args := range [][]string{
		{"tail", "--exit", "--from", "1h"}, {"timeline", "7"}, {"timeline", "7", "--scan"}, {"show", event},
		{"topics", "plan"}, {"topics", "apply"}, {"dead", "list"}, {"references", "list"}, {"references", "get", "7"},
		{"dedupe", "explain", event}, {"dedupe", "explain", "--connector", "stripe", "--payload", payload},
		{"healthcheck"}, {"healthcheck", "--ready"},
	} {
		if got := tollbridge(t, "", append(args, "--config", config)...); got.code != 0 {
			t.Errorf("%s: exit %d, %s", strings.Join(args, " "), got.code, got.err)
		}
	}
	// It has no such group, but is asked.
	if got := tollbridge(t, "", "rewind", "nobody", "--to", "earliest", "--config", config); strings.Contains(got.err, "TOLLBRIDGE_TEST_NOT_SET") {
		t.Errorf("rewind: exit %d, %s", got.code, got.err)
	}
	for _, args := range [][]string{
		{"serve"}, {"config", "check"}, {"replay"}, {"dead", "retry"},
		{"dedupe", "explain", "--connector", "stripe", payload},
	} {
		got := tollbridge(t, "", append(args, "--config", config)...)
		if got.code != 2 || !strings.Contains(got.err, "the environment variable TOLLBRIDGE_TEST_NOT_SET is not set or empty") {
			t.Errorf("%s: exit %d, %s", strings.Join(args, " "), got.code, got.err)
		}
	}
}

// TestConsoleSecretOnlyForConsole: only the commands that run or check the console read its
// password.
func TestConsoleSecretOnlyForConsole(t *testing.T) {
	b := startBridge(t)
	event := b.send(t, paid("7", 0))
	b.writeLetter(t, paid("8", 0))
	written, err := os.ReadFile(b.config)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, b.config, strings.Replace(string(written), "{listen:", "{console: {password: {env: TOLLBRIDGE_TEST_NOT_SET}}, listen:", 1))
	payload := filepath.Join(t.TempDir(), "payload.json")
	writeFile(t, payload, string(paid("7", 0)))
	signed, err := sign.Request("stripe", paid("7", 0), b.secret, nil, b.url, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	signature := "Stripe-Signature: " + signed.Header.Get("Stripe-Signature")
	b.awaitReference(t, "7")
	for _, args := range [][]string{
		{"tail", "--exit", "--from", "1h"}, {"timeline", "7"}, {"show", event}, {"endpoints"},
		{"topics", "plan"}, {"topics", "apply"}, {"topics", "acls", "serve", "--principal", "User:tollbridge"},
		{"dead", "list"}, {"dead", "retry"}, {"replay"}, {"references", "list"},
		{"dedupe", "explain", "--connector", "stripe", "--header", signature, payload}, {"healthcheck"},
		{"inspect", "--connector", "stripe", "--header", signature, payload},
		{"soak", "--url", b.url, "--count", "5"},
	} {
		if got := tollbridge(t, "", append(args, "--config", b.config)...); got.code != 0 {
			t.Errorf("%s: exit %d, %s", strings.Join(args, " "), got.code, got.err)
		}
	}
	for _, args := range [][]string{{"rewind", "nobody", "--to", "earliest"}, {"gaps", "--connector", "stripe"}} { // there is no such group, and no key
		if got := tollbridge(t, "", append(args, "--config", b.config)...); strings.Contains(got.err, "TOLLBRIDGE_TEST_NOT_SET") {
			t.Errorf("%s: exit %d, %s", strings.Join(args, " "), got.code, got.err)
		}
	}
	for _, args := range [][]string{{"serve"}, {"config", "check"}, {"console"}} {
		got := tollbridge(t, "", append(args, "--config", b.config)...)
		if got.code != 2 || !strings.Contains(got.err, "console.password: the environment variable TOLLBRIDGE_TEST_NOT_SET is not set or empty") {
			t.Errorf("%s: exit %d, %s", strings.Join(args, " "), got.code, got.err)
		}
	}
}

// TestHealthcheck: the exit code is 0 only for the status 200, and the error says what
// the server answered.
func TestHealthcheck(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "not ready: the state is not restored yet")
			return
		}
		fmt.Fprintln(w, "ok")
	}))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"--admin 127.0.0.1:" + port, 0, "ok\n"},
		{"--admin 0.0.0.0:" + port, 0, "ok\n"},
		{"--admin :" + port, 0, "ok\n"},
		{"--ready --admin 127.0.0.1:" + port, 1, "answered 503 Service Unavailable: not ready: the state is not restored yet"},
		{"--admin 127.0.0.1:" + strings.TrimPrefix(freePort(t), "127.0.0.1:"), 1, "connection refused"},
		{"--admin nowhere", 2, `admin: "nowhere" is not host:port`},
	} {
		got := tollbridge(t, "", append([]string{"healthcheck"}, strings.Fields(tt.args)...)...)
		if got.code != tt.code || !strings.Contains(got.out+got.err, tt.want) {
			t.Errorf("healthcheck %s: exit %d, %q, want %d and %q", tt.args, got.code, got.out+got.err, tt.code, tt.want)
		}
	}
}
