package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/doctor"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

func inspectCommand() *cobra.Command {
	var q inspection
	c := &cobra.Command{
		Use:   "inspect --connector NAME [flags] [FILE|-]",
		Short: "Say what would become of a request, and why",
		Long: `Say what would become of a request, and why, as one JSON object. Nothing is
published. FILE, or the standard input, is the exact body.

If it is refused, "diagnosis" says what is signed, the mistake and the fix: the
body written anew, another secret or one in another form, a header that was
moved, another address, a clock. Each is tried; the one is named with which the
signature matches. No secret and no right signature is printed. A token that is
the secret itself may be given as the archive keeps it, sha256:<hex>.

With --config FILE the endpoint's keys, address and mode are those of the
configuration, unless flags give others, and the diagnosis also tries the other
endpoints' keys.

With --payload FILE, judge only what a payload means: "verified" is null.

Exit codes: 0 verified (or a payload was judged), 1 refused, 2 the command
line is wrong.`,
		Example: `  tollbridge inspect --connector stripe --secret whsec_… \
      --header 'Stripe-Signature: t=1767225600,v1=…' --at 1767225610 body.json
  tollbridge inspect --connector square --config tollbridge.yaml --endpoint eu \
      --header 'X-Square-Hmacsha256-Signature: …' --header 'Host: pay.example.com' body.json
  tollbridge inspect --connector adyen --payload notification.json
  tollbridge inspect --connector braintree --method GET --secret … --set public_key=… \
      --url 'https://pay.example.com/webhooks/braintree?bt_challenge=…' /dev/null`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return q.run(c, args) },
	}
	f := c.Flags()
	f.StringVar(&q.connector, "connector", "", "whose webhook it is (required)")
	f.StringP("config", "c", "", "configuration file (YAML) whose endpoint it came to")
	f.StringVar(&q.name, "endpoint", "default", "the endpoint's name in the configuration")
	f.StringArrayVar(&q.secrets, "secret", nil, "a secret to verify with; repeat it for several")
	f.StringArrayVar(&q.settings, "set", nil, "KEY=VALUE: a setting of the endpoint; tolerance_seconds=off accepts any age")
	f.StringArrayVar(&q.headers, "header", nil, "'Name: value' of the request")
	f.StringVar(&q.method, "method", http.MethodPost, "the request's method")
	f.StringVar(&q.url, "url", "", "the address that the processor called, with its query")
	f.StringVar(&q.at, "at", "", "when it came in: RFC 3339 or unix seconds; now if it is not given")
	f.StringVar(&q.payload, "payload", "", "judge what the payload in this file means, signature aside")
	f.BoolVar(&q.live, "live", false, "as a live endpoint, which ignores test-mode events")
	f.StringSliceVar(&q.merchantIDKeys, "merchant-id-keys", nil, "names to look for in free metadata")
	return c
}

type inspection struct {
	connector, name, method, url, at, payload  string
	secrets, settings, headers, merchantIDKeys []string
	live                                       bool
}

func (q inspection) run(c *cobra.Command, args []string) error {
	e, others, err := q.endpoints(c)
	if err != nil {
		return err
	}
	now, err := instant(q.at)
	if err != nil {
		return err
	}
	if q.payload != "" {
		b, err := readFile(c, []string{q.payload})
		if err != nil {
			return err
		}
		report, err := ingest.InspectPayload(e, b, now)
		if err != nil {
			return usageError{err}
		}
		return writeJSON(c.OutOrStdout(), report)
	}
	body, err := readFile(c, args)
	if err != nil {
		return err
	}
	r, err := q.request(body)
	if err != nil {
		return err
	}
	if r.URL == "" {
		r.URL = given(e)
	}
	keyring := verify.Keyring{Failed: func(url string, err error) {
		fmt.Fprintf(c.ErrOrStderr(), "tollbridge: the key at %s could not be fetched: %v\n", url, err)
	}}
	v := inspected{Report: ingest.Inspect(c.Context(), e, &keyring, r, now)}
	e.Keys.Fetched = keyring.Held()
	v.Diagnosis = doctor.Case{Endpoint: e, Request: r, Now: now, Others: others}.Diagnose()
	if err := writeJSON(c.OutOrStdout(), v); err != nil {
		return err
	}
	if !*v.Verified {
		return errRefused
	}
	return nil
}

// inspected is a verdict and, where something is wrong, what it is.
type inspected struct {
	ingest.Report
	Diagnosis *doctor.Diagnosis `json:"diagnosis,omitempty"`
}

// given is the address that the processor was given, as far as it is
// configured.
func given(e webhook.Endpoint) string {
	if e.URL == "" && e.PublicURL != "" {
		return strings.TrimSuffix(e.PublicURL, "/") + e.Path()
	}
	return e.URL
}

// request is the request that the flags describe.
func (q inspection) request(body []byte) (verify.Request, error) {
	r := verify.Request{Method: q.method, URL: q.url, Header: http.Header{}, Body: body, Archived: true} // as 'show' prints it
	for _, h := range q.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return r, usage("--header: want 'Name: value', got %q", h)
		}
		r.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return r, nil
}

// endpoints returns the endpoint that the flags and the configuration describe,
// and the configuration's others. That it lacks a secret is part of what is
// judged.
func (q inspection) endpoints(c *cobra.Command) (e webhook.Endpoint, others []webhook.Endpoint, err error) {
	if _, ok := verify.Lookup(q.connector); !ok {
		return e, nil, usage("--connector: %q is unknown; there are %s", q.connector, strings.Join(verify.Connectors(), ", "))
	}
	e = webhook.Endpoint{Connector: q.connector}
	if c.Flags().Changed("config") {
		if e, others, err = q.configured(c); err != nil {
			return e, nil, err
		}
	}
	err = q.overlay(c, &e)
	return e, others, err
}

// configured returns the endpoint of the configuration, without keys if it is
// not there, and the others.
func (q inspection) configured(c *cobra.Command) (e webhook.Endpoint, others []webhook.Endpoint, err error) {
	cfg, err := loadConfig(c)
	if err != nil {
		return e, nil, err
	}
	all, err := cfg.endpoints()
	e = webhook.Endpoint{Connector: q.connector, Name: q.name, PublicURL: cfg.PublicURL}
	for _, one := range all {
		if one.Path() == e.Path() {
			e = one
		} else {
			others = append(others, one)
		}
	}
	return e, others, err
}

// overlay puts the flags that were given over the endpoint.
func (q inspection) overlay(c *cobra.Command, e *webhook.Endpoint) error {
	if c.Flags().Changed("live") {
		e.Live = q.live
	}
	e.MerchantIDKeys = append(slices.Clone(q.merchantIDKeys), e.MerchantIDKeys...)
	if len(q.secrets) > 0 {
		e.Keys.Secrets = nil
	}
	for i, s := range q.secrets {
		e.Keys.Secrets = append(e.Keys.Secrets, verify.Secret{Name: strconv.Itoa(i + 1), Value: s})
	}
	settings, err := assignments("--set", q.settings)
	if e.Keys.Settings == nil {
		e.Keys.Settings = map[string]string{}
	}
	maps.Copy(e.Keys.Settings, settings)
	return err
}

// assignments reads KEY=VALUE flags.
func assignments(flag string, from []string) (map[string]string, error) {
	all := map[string]string{}
	for _, s := range from {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, usage("%s: want KEY=VALUE, got %q", flag, s)
		}
		all[name] = value
	}
	return all, nil
}

// instant reads --at.
func instant(s string) (time.Time, error) {
	if s == "" {
		return time.Now(), nil
	}
	if unix, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(unix, 0), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, usage("--at: want RFC 3339 or unix seconds, got %q", s)
	}
	return t, nil
}

// readFile reads the file that is named first, or the standard input.
func readFile(c *cobra.Command, args []string) (b []byte, err error) {
	if len(args) == 0 || args[0] == "-" {
		b, err = io.ReadAll(c.InOrStdin())
	} else {
		b, err = os.ReadFile(args[0])
	}
	if err != nil {
		return nil, usageError{err}
	}
	return b, nil
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
