package webhook

import (
	"bufio"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/verify"
)

// TestAddress: the address is the configured one, whatever host the request
// names.
func TestAddress(t *testing.T) {
	const public, own = "https://pay.example.com/", "https://shop.example.com/hooks"
	for _, tt := range []struct{ target, url, publicURL, want string }{
		{"/webhooks/square", "", public, "https://pay.example.com/webhooks/square"},
		{"/webhooks/square?a=1&b=%20", "", public, "https://pay.example.com/webhooks/square?a=1&b=%20"},
		{"/webhooks/square?a=1", own, public, "https://shop.example.com/hooks?a=1"},
		{"/webhooks/square", own, "", own},
		{"/webhooks/square", "", "", ""},
		{"/webhooks/sq%75are", "", public, "https://pay.example.com/webhooks/sq%75are"},
		{"http://evil.example/webhooks/square", "", public, "https://pay.example.com/webhooks/square"},
	} {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(
			"POST " + tt.target + " HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		e := Endpoint{Connector: "square", URL: tt.url, PublicURL: tt.publicURL}
		if got := e.Address(r.URL); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.target, got, tt.want)
		}
	}
}

// TestSettingWarnings: a setting whose default is not right for most merchants warns
// until it is set, and no value but the listed ones is accepted.
func TestSettingWarnings(t *testing.T) {
	for _, connector := range normalize.Connectors() {
		n, _ := normalize.Lookup(connector)
		for _, s := range n.Settings {
			e := Endpoint{Connector: connector, Keys: verify.Keys{Settings: map[string]string{}}}
			named := func(texts []string) bool {
				return slices.ContainsFunc(texts, func(text string) bool {
					return strings.Contains(text, e.ID()) && strings.Contains(text, "the setting "+s.Name+" ") && strings.Contains(text, s.Unset)
				})
			}
			if warned := named(e.Warnings()); s.Unset != "" && !warned {
				t.Errorf("%s: no warning without the setting %s: %q", connector, s.Name, e.Warnings())
			}
			for _, value := range s.Values {
				e.Keys.Settings[s.Name] = value
				if s.Unset != "" && named(e.Warnings()) {
					t.Errorf("%s: a warning with the setting %s=%s: %q", connector, s.Name, value, e.Warnings())
				}
				if err := e.checkValues(); err != nil {
					t.Errorf("%s: %s=%s: %v", connector, s.Name, value, err)
				}
			}
			e.Keys.Settings[s.Name] = "something else"
			if err := e.checkValues(); s.Values != nil && (err == nil || !strings.Contains(err.Error(), s.Name) || !strings.Contains(err.Error(), s.Values[0])) {
				t.Errorf("%s: %s with an unknown value: %v", connector, s.Name, err)
			}
		}
	}
	e := Endpoint{Connector: "adyen"}
	if len(e.Warnings()) == 0 {
		t.Error("adyen has no warning about a setting")
	}
}
