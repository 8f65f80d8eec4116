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

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/doctor"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

func inspectCommand() *cobra.Command {
	var f inspectFlags
	c := &cobra.Command{
		Use:   "inspect --connector NAME [flags] [FILE|-]",
		Short: "Verify and normalise a request, and explain the result",
		Long: `Verify and normalise a request as the server would, and print the result as one
JSON object. Nothing is published. FILE, or the standard input, is the exact
body.

If the request is refused, "diagnosis" has what the signature covers, the
mistake and the fix. The command tries the common mistakes (a body that was
encoded again, another secret or another form of it, a renamed header, another
URL, a wrong clock) and names the ones with which the signature matches. It
prints no secret and no correct signature. A header that is the secret itself
can have the value that is archived, sha256:<hex>.

With --config FILE, the endpoint's secrets, URL and mode come from the
configuration, unless flags set them, and the diagnosis also tries the secrets
of the other endpoints.

With --payload FILE, the command only normalises a payload: "verified" is null.

Exit codes: 0 verified, or a payload was normalised; 1 refused; 2 the command
line is wrong.`,
		Example: `  tollbridge inspect --connector stripe --secret whsec_… \
      --header 'Stripe-Signature: t=1767225600,v1=…' --at 1767225610 body.json
  tollbridge inspect --connector square --config tollbridge.yaml --endpoint eu \
      --header 'X-Square-Hmacsha256-Signature: …' \
      --header 'Host: pay.example.com' body.json
  tollbridge inspect --connector adyen --payload notification.json
  tollbridge inspect --connector braintree --method GET --secret … \
      --set public_key=… \
      --url 'https://pay.example.com/webhooks/braintree?bt_challenge=…' \
      /dev/null`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args) },
	}
	flags := c.Flags()
	flags.StringVar(&f.connector, "connector", "", "the connector (required)")
	flags.StringP("config", "c", "", "configuration file (YAML) with the endpoint")
	flags.StringVar(&f.name, "endpoint", "default", "the endpoint's name in the configuration")
	flags.StringArrayVar(&f.secrets, "secret", nil, "a secret to verify with; repeatable")
	flags.StringArrayVar(&f.settings, "set", nil, "KEY=VALUE: a setting of the endpoint; repeatable; tolerance_seconds=off accepts any age")
	flags.StringArrayVar(&f.headers, "header", nil, "'Name: value' of the request; repeatable")
	flags.StringVar(&f.method, "method", http.MethodPost, "the request's method")
	flags.StringVar(&f.url, "url", "", "the URL that the processor called, with its query")
	flags.StringVar(&f.at, "at", "", "when the request was received: RFC 3339 or unix seconds (default: now)")
	flags.StringVar(&f.payload, "payload", "", "normalise the payload in this file, without verifying it")
	flags.BoolVar(&f.live, "live", false, "treat the endpoint as live: ignore test-mode events")
	flags.StringSliceVar(&f.merchantIDKeys, "merchant-id-keys", nil, "metadata names that have the merchant's id")
	return c
}

// inspectFlags are the flags of `tollbridge inspect`.
type inspectFlags struct {
	connector, name, method, url, at, payload  string
	secrets, settings, headers, merchantIDKeys []string
	live                                       bool
}

func (f inspectFlags) run(c *cobra.Command, args []string) error {
	e, others, err := f.endpoints(c)
	if err != nil {
		return err
	}
	now, err := parseTime("--at", f.at)
	if err != nil {
		return err
	}
	if f.payload != "" {
		b, err := readFile(c, []string{f.payload})
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
	r, err := f.request(body)
	if err != nil {
		return err
	}
	if r.URL == "" {
		r.URL = configuredURL(e)
	}
	keyring := verify.Keyring{Failed: func(url string, err error) {
		fmt.Fprintf(c.ErrOrStderr(), "tollbridge: the key at %s could not be fetched: %v\n", url, err)
	}}
	v := inspectResult{Report: ingest.Inspect(c.Context(), e, &keyring, r, now)}
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

// inspectResult is the verdict on a request and, if it is refused, the reason.
type inspectResult struct {
	ingest.Report
	Diagnosis *doctor.Diagnosis `json:"diagnosis,omitempty"`
}

// configuredURL returns the URL that the processor calls, or "" if it is not
// configured.
func configuredURL(e webhook.Endpoint) string {
	if e.URL == "" && e.PublicURL != "" {
		return strings.TrimSuffix(e.PublicURL, "/") + e.Path()
	}
	return e.URL
}

// request returns the request that the flags describe.
func (f inspectFlags) request(body []byte) (verify.Request, error) {
	r := verify.Request{Method: f.method, URL: f.url, Header: http.Header{}, Body: body, Archived: true} // tokens may be digests, which 'show' prints
	for _, h := range f.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return r, usage("--header: expected 'Name: value', got %q", h)
		}
		r.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return r, nil
}

// endpoints returns the endpoint that the flags and the configuration describe, and the
// other endpoints of the configuration. It does not check whether the endpoint has a
// secret, because the verdict says so.
func (f inspectFlags) endpoints(c *cobra.Command) (e webhook.Endpoint, others []webhook.Endpoint, err error) {
	if _, ok := verify.Lookup(f.connector); !ok {
		return e, nil, unknownConnector("--connector", f.connector)
	}
	e = webhook.Endpoint{Connector: f.connector}
	if c.Flags().Changed("config") {
		if e, others, err = f.configured(c); err != nil {
			return e, nil, err
		}
	}
	err = f.applyFlags(c, &e)
	return e, others, err
}

// configured returns the endpoint of the configuration, or one without secrets if
// it is not configured, and the other endpoints.
func (f inspectFlags) configured(c *cobra.Command) (e webhook.Endpoint, others []webhook.Endpoint, err error) {
	cfg, err := loadConfig(c)
	if err != nil {
		return e, nil, err
	}
	all, err := cfg.endpoints()
	e = webhook.Endpoint{Connector: f.connector, Name: f.name, PublicURL: cfg.PublicURL}
	for _, one := range all {
		if one.Path() == e.Path() {
			e = one
		} else {
			others = append(others, one)
		}
	}
	return e, others, err
}

// applyFlags sets the endpoint's fields from the flags.
func (f inspectFlags) applyFlags(c *cobra.Command, e *webhook.Endpoint) error {
	if c.Flags().Changed("live") {
		e.Live = f.live
	}
	e.MerchantIDKeys = append(slices.Clone(f.merchantIDKeys), e.MerchantIDKeys...)
	if len(f.secrets) > 0 {
		e.Keys.Secrets = nil
	}
	for i, s := range f.secrets {
		e.Keys.Secrets = append(e.Keys.Secrets, verify.Secret{Name: strconv.Itoa(i + 1), Value: s})
	}
	settings, err := assignments("--set", f.settings)
	if e.Keys.Settings == nil {
		e.Keys.Settings = map[string]string{}
	}
	maps.Copy(e.Keys.Settings, settings)
	return err
}

// assignments parses KEY=VALUE flags.
func assignments(flag string, from []string) (map[string]string, error) {
	all := map[string]string{}
	for _, s := range from {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, usage("%s: expected KEY=VALUE, got %q", flag, s)
		}
		all[name] = value
	}
	return all, nil
}

// readFile reads the file that the first argument names, or the standard input.
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

// writeJSON writes one value as an indented JSON object.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// writeJSONLines writes each value as one line of JSON.
func writeJSONLines[T any](w io.Writer, all []T) error {
	for _, one := range all {
		if err := writeJSONLine(w, one); err != nil {
			return err
		}
	}
	return nil
}

// writeJSONLine writes a value as one line of JSON.
func writeJSONLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
