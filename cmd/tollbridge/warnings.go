package main

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/tollbridge/tollbridge/webhook"
)

// warnings returns what is probably wrong although the configuration can be read:
// settings that are not set, secrets that others can read or that can verify nothing,
// no endpoints, and two listeners with one address.
func (c config) warnings(endpoints []webhook.Endpoint) []string {
	all := c.permissionWarnings()
	if len(endpoints) == 0 {
		all = append(all, "there are no endpoints, and serve does not start without one: 'tollbridge config init CONNECTOR' prints one")
	}
	if sameAddress(c.Listen, c.Admin) {
		all = append(all, fmt.Sprintf("listen (%s) and admin (%s) are the same address: serve cannot listen at both", c.Listen, c.Admin))
	}
	for _, e := range endpoints {
		all = append(all, e.Warnings()...)
		for _, s := range e.Keys.Secrets {
			at := fmt.Sprintf("endpoint %s: the secret %s", e.ID(), s.Name)
			if hint := apiKeyHint(e.Connector, s.Value); hint != "" {
				all = append(all, at+" "+hint)
			}
		}
	}
	return all
}

// sameAddress reports whether two listeners cannot be open at once.
func sameAddress(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	everywhere := func(host string) bool {
		ip, err := netip.ParseAddr(host)
		return host == "" || err == nil && ip.IsUnspecified()
	}
	return hostA == hostB || everywhere(hostA) || everywhere(hostB)
}

// apiKeys are the beginnings of a processor's keys that do not sign webhooks but are
// taken for the key that does. Sources: the processors' pages on API keys.
var apiKeys = map[string]struct {
	prefixes []string
	instead  string
}{
	"stripe":     {[]string{"sk_", "rk_", "pk_"}, "the signing secret of the webhook endpoint, which begins with whsec_"},
	"paddle":     {[]string{"pdl_live_apikey_", "pdl_sdbx_apikey_", "apikey_"}, "the secret key of the notification destination, which begins with pdl_ntfset_"},
	"mollie":     {[]string{"live_", "test_", "access_"}, "the signing secret of the webhook subscription"},
	"gocardless": {[]string{"live_", "sandbox_"}, "the secret of the webhook endpoint"},
	"square":     {[]string{"EAAA", "sq0"}, "the signature key of the webhook subscription"},
}

// apiKeyHint returns what to use instead of a secret that is an API key; "" if it is none.
func apiKeyHint(connector, secret string) string {
	k := apiKeys[connector]
	for _, p := range k.prefixes {
		if strings.HasPrefix(secret, p) {
			return fmt.Sprintf("begins with %s: it is an API key, and no webhook is signed with it; use %s", p, k.instead)
		}
	}
	return ""
}
