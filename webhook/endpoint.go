package webhook

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/suggest"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/verify"
)

// Endpoint is a configured address for the webhooks of one processor.
type Endpoint struct {
	Connector string
	Name      string // the last part of the path; empty is "default"
	Live      bool   // ignore facts of the processor's test mode
	// URL is the address that the processor calls, without a query. PublicURL
	// is the part of it before the path, and is used if URL is empty. One of
	// them is needed if the processor signs the address, which is never taken
	// from the Host header.
	URL, PublicURL string
	Keys           verify.Keys
	MerchantIDKeys []string // see [normalize.Options]
	// API is the processor's API, which is asked for what webhooks only name. Nil asks
	// nobody.
	API *fetch.API
	// Fetcher asks the API. Nil is a client that all such endpoints share.
	Fetcher *fetch.Client
}

// Path returns the path of the endpoint's URL.
func (e Endpoint) Path() string { return "/webhooks/" + e.ID() }

// ID returns the connector and the name, which differ between all endpoints of a
// server: stripe/default.
func (e Endpoint) ID() string { return e.Connector + "/" + e.NameOrDefault() }

// NameOrDefault returns the endpoint's name, or "default" if it has none.
func (e Endpoint) NameOrDefault() string {
	if e.Name == "" {
		return "default"
	}
	return e.Name
}

// Check returns an error if the endpoint could not verify or normalise a
// webhook: an unknown connector, a missing secret or setting, a bad address.
func (e Endpoint) Check() error {
	if _, ok := normalize.Lookup(e.Connector); !ok {
		return fmt.Errorf("endpoint %s: unknown connector %q; %s", e.ID(), e.Connector, suggest.Text(e.Connector, normalize.Connectors(), "'tollbridge connectors' lists them"))
	}
	if e.NameOrDefault() == "." || e.NameOrDefault() == ".." || strings.Trim(e.NameOrDefault(), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" {
		return fmt.Errorf("endpoint %s: a name has only letters, digits, '-', '_' and '.'", e.ID())
	}
	if e.Keys.Settings["tolerance_seconds"] == "off" {
		return fmt.Errorf("endpoint %s: tolerance_seconds: off is only for `tollbridge inspect`: a server would accept old requests that somebody sends again", e.ID())
	}
	keys := e.Keys
	keys.API = e.API != nil
	if err := verify.Check(e.Connector, keys); err != nil {
		return fmt.Errorf("endpoint %s: %w", e.ID(), err)
	}
	if e.API != nil {
		if err := fetch.Check(e.Connector, *e.API); err != nil {
			return fmt.Errorf("endpoint %s: %w", e.ID(), err)
		}
	}
	known := Settings(e.Connector)
	for name := range e.Keys.Settings {
		if !slices.Contains(known, name) {
			return fmt.Errorf("endpoint %s: unknown setting %q; %s", e.ID(), name, suggest.Text(name, known, e.Connector+" has "+orNone(known)))
		}
	}
	if err := e.checkValues(); err != nil {
		return fmt.Errorf("endpoint %s: %w", e.ID(), err)
	}
	if !callable(e.URL) {
		return fmt.Errorf("endpoint %s: url: %q is not an address that a processor can call, such as https://pay.example.com%s", e.ID(), e.URL, e.Path())
	}
	if !callable(e.PublicURL) {
		return fmt.Errorf("endpoint %s: public_url: %q is not the start of an address that a processor can call, such as https://pay.example.com", e.ID(), e.PublicURL)
	}
	return nil
}

// checkValues returns an error if a setting of the connector's normaliser has a value
// that is not one of its values.
func (e Endpoint) checkValues() error {
	n, _ := normalize.Lookup(e.Connector)
	for _, s := range n.Settings {
		value, set := e.Keys.Settings[s.Name]
		if set && s.Values != nil && !slices.Contains(s.Values, value) {
			return fmt.Errorf("settings.%s is %q, want one of %s", s.Name, value, strings.Join(s.Values, ", "))
		}
	}
	return nil
}

// Warnings returns a warning for each setting that is not set although its
// default is wrong for most merchants, and for an API that is not configured although
// events lack the most important without it.
func (e Endpoint) Warnings() []string {
	var all []string
	n, _ := normalize.Lookup(e.Connector)
	for _, s := range n.Settings {
		if s.Unset != "" && e.Keys.Settings[s.Name] == "" {
			all = append(all, fmt.Sprintf("endpoint %s: the setting %s is not set: %s", e.ID(), s.Name, s.Unset))
		}
	}
	if c, ok := fetch.Lookup(e.Connector); ok && c.Must && e.API == nil {
		all = append(all, fmt.Sprintf("endpoint %s: api is not set: %s", e.ID(), c.Lost))
	}
	return all
}

// callable reports whether a processor could call an address. It accepts an
// empty address, which means that none is set.
func callable(address string) bool {
	u, err := url.Parse(address)
	return address == "" || err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") && u.RawQuery == "" && u.Fragment == ""
}

// Address returns the address that the processor called: the endpoint's, with the
// query of the request. It is empty if no address is configured.
func (e Endpoint) Address(r *url.URL) string {
	address := e.URL
	if address == "" && e.PublicURL != "" {
		address = strings.TrimSuffix(e.PublicURL, "/") + r.EscapedPath()
	}
	if address != "" && r.RawQuery != "" {
		address += "?" + r.RawQuery
	}
	return address
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// Settings returns the names of the settings that an endpoint of the connector
// can have, sorted.
func Settings(connector string) []string {
	var names []string
	v, _ := verify.Lookup(connector)
	for _, s := range v.Settings {
		names = append(names, s.Name)
	}
	n, _ := normalize.Lookup(connector)
	for _, s := range n.Settings {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
