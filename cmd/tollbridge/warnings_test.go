package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/verify"
)

// TestConfigInit: the configuration that is printed for each connector is right once the
// secrets are set, and has no comment wider than 80
// columns, except links. Keys that must be replaced are errors until they are.
func TestConfigInit(t *testing.T) {
	config := filepath.Join(t.TempDir(), "my.yaml")
	var plain []string // the connectors that need no key in a setting
	for _, name := range verify.Connectors() {
		keys, _, _ := sign.Dev(name)
		if len(keys.Secrets) > 0 {
			t.Setenv(secretVariable(name), keys.Secrets[0].Value)
		}
		got := tollbridge(t, "", "config", "init", name)
		if got.code != 0 {
			t.Fatalf("config init %s: exit %d, %s", name, got.code, got.err)
		}
		for line := range strings.Lines(got.out) {
			if len([]rune(strings.TrimSuffix(line, "\n"))) > 80 && !strings.Contains(line, "https://") && !strings.HasPrefix(line, "      ") {
				t.Errorf("config init %s: a line of %d characters: %s", name, len(line), line)
			}
		}
		writeFile(t, config, got.out)
		checked := tollbridge(t, "", "config", "check", "--config", config)
		if strings.Contains(got.out, "replace this by the text of the PEM file") {
			if checked.code != 2 || !strings.Contains(checked.err, "setting invalid") {
				t.Errorf("config init %s without its key: config check: exit %d, %s", name, checked.code, checked.err)
			}
			continue
		}
		if f, ok := fetch.Lookup(name); ok {
			t.Setenv(apiVariable(name), "k3X9vQ7pLm2aT5wZ")
			lines := []string{"    # api:", "    api:", "    #   keys:", "      keys:"}
			if f.ClientID != "" {
				lines = append(lines, "    #   client_id:", "      client_id:")
			}
			if f.HostHint != "" {
				lines = append(lines, "    #   host:", "      host:")
			}
			if fetch.CheckList(name, fetch.ListQuery{}) == nil { // it needs no setting
				lines = append(lines, "    # gaps:", "    gaps:")
			}
			writeFile(t, config, strings.NewReplacer(lines...).Replace(got.out))
			with := tollbridge(t, "", "config", "check", "--config", config)
			replace := f.ClientIDForm != nil && strings.Contains(with.err, `api.client_id is "replace-me"`)
			if with.code != 0 && !replace {
				t.Errorf("config init %s with the lines of api: config check: exit %d, %s", name, with.code, with.err)
			}
		}
		plain = append(plain, name)
		if checked.code != 0 || !strings.Contains(checked.out, "/webhooks/"+name+"/default") {
			t.Errorf("config init %s: config check: exit %d, %s\n%s", name, checked.code, checked.err, got.out)
		}
	}
	both := tollbridge(t, "", append([]string{"config", "init"}, plain...)...)
	writeFile(t, config, both.out)
	if got := tollbridge(t, "", "config", "check", "--config", config); got.code != 0 {
		t.Errorf("all connectors: exit %d, %s", got.code, got.err)
	}
	for args, want := range map[string]string{"": "requires at least 1 arg", "nobody": `unknown connector "nobody"`, "stripe stripe": "stripe is given twice"} {
		if got := tollbridge(t, "", append([]string{"config", "init"}, strings.Fields(args)...)...); got.code != 2 || !strings.Contains(got.err, want) {
			t.Errorf("config init %s: exit %d, %s, want 2 and %q", args, got.code, got.err, want)
		}
	}
}

// TestConfigWarnings: config check warns of what cannot work, and prints no secret.
func TestConfigWarnings(t *testing.T) {
	config := filepath.Join(t.TempDir(), "my.yaml")
	endpoint := func(connector, secret string) string {
		return "endpoints: [{connector: " + connector + ", secrets: {main: {value: \"" + secret + "\"}}}]"
	}
	for _, tt := range []struct{ name, text, want string }{
		{"right", endpoint("stripe", "whsec_a8Fk3LqP9zXw2"), ""},
		{"an API key of Stripe", endpoint("stripe", "sk_test_a8Fk3LqP9zXw2"), "begins with sk_: it is an API key"},
		{"a restricted key of Stripe", endpoint("stripe", "rk_live_a8Fk3LqP9zXw2"), "which begins with whsec_"},
		{"an API key, which signs for Paystack", endpoint("paystack", "sk_test_a8Fk3LqP9zXw2"), ""},
		{"an API key of Paddle", endpoint("paddle", "pdl_live_apikey_a8Fk3LqP9zXw2"), "it is an API key"},
		{"no endpoints", "log_level: info", "there are no endpoints"},
		{"one address", "listen: 127.0.0.1:9090\n" + endpoint("stripe", "whsec_a8Fk3LqP9zXw2"), "listen (127.0.0.1:9090) and admin (127.0.0.1:9090) are the same address"},
		{"all addresses", "listen: 0.0.0.0:9090\n" + endpoint("stripe", "whsec_a8Fk3LqP9zXw2"), "are the same address"},
		{"one port of two addresses", "listen: 127.0.0.2:9090\n" + endpoint("stripe", "whsec_a8Fk3LqP9zXw2"), ""},
		{"free ports", "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n" + endpoint("stripe", "whsec_a8Fk3LqP9zXw2"), ""},
	} {
		writeFile(t, config, tt.text)
		got := tollbridge(t, "", "config", "check", "--config", config)
		var warned []string // without the advice to configure an API
		for line := range strings.Lines(got.err) {
			if !strings.Contains(line, ": api is not set: ") {
				warned = append(warned, line)
			}
		}
		if got.code != 0 || tt.want == "" && len(warned) > 0 || !strings.Contains(got.err, tt.want) {
			t.Errorf("%s: exit %d, %q, want 0 and %q", tt.name, got.code, got.err, tt.want)
		}
		if strings.Contains(got.err, "a8Fk3LqP9zXw2") {
			t.Errorf("%s: a secret is in %s", tt.name, got.err)
		}
	}
}
