package doctor

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// signsAddress reports whether the connector needs the address to verify: without one it
// refuses the request because a setting is missing.
func (c Case) signsAddress() bool {
	reason := func(address string) verify.Reason {
		c.Request.URL = address
		_, err := c.verify()
		return verify.ReasonOf(err)
	}
	return reason("") == verify.ErrSetting && reason("https://pay.example.com/") != verify.ErrSetting
}

// addresses returns the changes to addresses that the processor may have been given.
func (c Case) addresses() (all []change) {
	tried := map[string]bool{c.Request.URL: true}
	for _, address := range c.candidates() {
		if tried[address] {
			continue
		}
		tried[address] = true
		here := c.Request.URL
		if here == "" {
			here = "none"
		}
		all = append(all, change{Finding{OtherAddress, fmt.Sprintf("it was signed for %s; the address given here is %s", c.hide(address), c.hide(here)),
			"give that address: --url, or the endpoint's url or public_url"}, func(c *Case) { c.Request.URL = address }})
	}
	return all
}

// candidates returns every combination of the schemes, hosts, paths and queries in the
// request, in the headers of proxies and in the configuration.
func (c Case) candidates() (all []string) {
	u, err := url.Parse(c.Request.URL)
	if err != nil {
		u = &url.URL{}
	}
	paths, queries := []string{u.EscapedPath()}, []string{u.RawQuery, ""}
	hosts := []string{u.Host}
	for _, o := range append([]webhook.Endpoint{c.Endpoint}, c.Others...) {
		if o.Connector != c.Endpoint.Connector {
			continue
		}
		paths = append(paths, o.Path(), strings.TrimSuffix(o.Path(), "/default"))
		for _, address := range []string{o.URL, o.PublicURL} {
			if known, err := url.Parse(address); err == nil && known.Host != "" {
				hosts, paths = append(hosts, known.Host), append(paths, known.EscapedPath())
			}
		}
	}
	for _, name := range []string{"X-Original-Uri", "X-Original-Url", "X-Rewrite-Url", "X-Forwarded-Uri"} {
		if seen, err := url.Parse(c.Request.Header.Get(name)); err == nil && seen.Path != "" {
			paths, queries = append(paths, seen.EscapedPath()), append(queries, seen.RawQuery)
		}
	}
	if prefix := c.Request.Header.Get("X-Forwarded-Prefix"); prefix != "" {
		paths = append(paths, strings.TrimSuffix(prefix, "/")+u.EscapedPath())
	}
	for _, scheme := range []string{"https", "http"} {
		for _, host := range c.hosts(hosts) {
			for _, path := range slashed(paths) {
				for _, query := range queries {
					if query != "" {
						query = "?" + query
					}
					all = append(all, scheme+"://"+host+path+query)
				}
			}
		}
	}
	return all
}

// hosts returns the known hosts and those in the request's headers, each with and without
// www and a port.
func (c Case) hosts(known []string) (all []string) {
	for _, name := range []string{"Host", "X-Forwarded-Host", "X-Original-Host", "X-Forwarded-Server"} {
		first, _, _ := strings.Cut(c.Request.Header.Get(name), ",")
		known = append(known, strings.TrimSpace(first))
	}
	if m := forwardedHost.FindStringSubmatch(c.Request.Header.Get("Forwarded")); m != nil {
		known = append(known, m[1])
	}
	for _, host := range known {
		if host == "" {
			continue
		}
		without := (&url.URL{Host: host}).Hostname()
		all = append(all, host, without, strings.ToLower(host), strings.TrimPrefix(host, "www."), "www."+host, without+":443", without+":80")
	}
	return all
}

// forwardedHost matches the host in the header Forwarded (RFC 7239).
var forwardedHost = regexp.MustCompile(`(?i)\bhost="?([^";,\s]+)`)

// slashed returns each path with and without a slash at its end.
func slashed(paths []string) (all []string) {
	for _, p := range paths {
		bare := strings.TrimSuffix(p, "/")
		all = append(all, p, bare, bare+"/")
	}
	return all
}
