package ingest

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/verify"
)

// Endpoint is one address that one processor's webhooks come to.
type Endpoint struct {
	Connector string
	Name      string // the last part of the path; empty is "default"
	Live      bool   // test-mode facts are ignored
	// URL is the address the processor was given, without a query, and PublicURL
	// the part of it before the request's path; URL wins. One is needed where the
	// processor signs the address, which is never taken from the Host header.
	URL, PublicURL string
	Keys           verify.Keys
	MerchantIDKeys []string // see [normalize.Options]
}

// Path is the path of the endpoint's URL.
func (e Endpoint) Path() string { return "/webhooks/" + e.id() }

// id tells endpoints apart.
func (e Endpoint) id() string { return e.Connector + "/" + e.name() }

func (e Endpoint) name() string {
	if e.Name == "" {
		return "default"
	}
	return e.Name
}

// Check refuses an endpoint that could not verify or normalise anything.
func (e Endpoint) Check() error {
	if _, ok := normalize.Lookup(e.Connector); !ok {
		return fmt.Errorf("endpoint %s: unknown connector %q; there are %s", e.id(), e.Connector, strings.Join(normalize.Connectors(), ", "))
	}
	if e.name() == "." || e.name() == ".." || strings.Trim(e.name(), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" {
		return fmt.Errorf("endpoint %s: a name is of letters, digits, '-', '_' and '.'", e.id())
	}
	if e.Keys.Settings["tolerance_seconds"] == "off" {
		return fmt.Errorf("endpoint %s: tolerance_seconds: off is for `tollbridge inspect`; who takes requests of any age takes replayed ones", e.id())
	}
	if err := verify.Check(e.Connector, e.Keys); err != nil {
		return fmt.Errorf("endpoint %s: %w", e.id(), err)
	}
	known := Settings(e.Connector)
	for name := range e.Keys.Settings {
		if !slices.Contains(known, name) {
			return fmt.Errorf("endpoint %s: unknown setting %q; %s has %s", e.id(), name, e.Connector, orNone(known))
		}
	}
	if !callable(e.URL) {
		return fmt.Errorf("endpoint %s: url: %q is not an address that a processor can call, such as https://pay.example.com%s", e.id(), e.URL, e.Path())
	}
	if !callable(e.PublicURL) {
		return fmt.Errorf("endpoint %s: public_url: %q is not the start of an address that a processor can call, such as https://pay.example.com", e.id(), e.PublicURL)
	}
	return nil
}

// callable reports whether an address is empty, or one without a query.
func callable(address string) bool {
	u, err := url.Parse(address)
	return address == "" || err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") && u.RawQuery == "" && u.Fragment == ""
}

// address is what the processor called: what it was given, and the query that
// the request came with.
func (e Endpoint) address(r *url.URL) string {
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

// Settings returns the names of what an endpoint of the connector can set.
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

// Judgement is what becomes of a request before Kafka is asked.
type Judgement struct {
	verify.Verified
	normalize.Result
	Err error // why it was not verified
}

// Outcome is what became of the request: a handshake, or what its payload is.
// It is empty for a request that was not verified.
func (j Judgement) Outcome() normalize.Outcome {
	switch {
	case j.Err != nil:
		return ""
	case j.Handshake:
		return OutcomeHandshake
	}
	return j.Result.Outcome()
}

// OutcomeHandshake is the outcome of a processor's question whether the
// endpoint is the merchant's.
const OutcomeHandshake normalize.Outcome = "handshake"

// OutcomeDuplicate is the outcome of a webhook whose events were all published
// before.
const OutcomeDuplicate normalize.Outcome = "duplicate"

// Judge verifies a request to the endpoint and normalises what was verified.
// Keys that must be fetched come through the keyring. Between the two it ends
// with ctx, as what is verified after that is of no use to anybody.
func (e Endpoint) Judge(ctx context.Context, k *verify.Keyring, r verify.Request, now time.Time) Judgement {
	v, err := k.Verify(ctx, e.Connector, r, e.Keys, now)
	if err != nil {
		return Judgement{Err: err}
	}
	if v.Handshake {
		return Judgement{Verified: v}
	}
	if err := ctx.Err(); err != nil {
		return Judgement{Err: err}
	}
	result, err := e.Normalize(v.Payload, now)
	return Judgement{Verified: v, Result: result, Err: err}
}

// Normalize reads a verified payload as the endpoint's.
func (e Endpoint) Normalize(payload []byte, receivedAt time.Time) (normalize.Result, error) {
	return normalize.Normalize(e.Connector, payload, e.options(receivedAt))
}

func (e Endpoint) options(receivedAt time.Time) normalize.Options {
	return normalize.Options{
		Endpoint:       e.name(),
		Live:           e.Live,
		MerchantIDKeys: e.MerchantIDKeys,
		Settings:       e.Keys.Settings,
		ReceivedAt:     receivedAt,
	}
}
