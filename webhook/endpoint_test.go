package webhook

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
)

// TestAddress: what a signature may be over is what was configured, whatever
// the request says of where it was sent.
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
