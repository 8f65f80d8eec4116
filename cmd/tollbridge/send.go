package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

func sendCommand() *cobra.Command {
	var f sendFlags
	c := &cobra.Command{
		Use:   "send CONNECTOR [SAMPLE]",
		Short: "Send a correctly signed sample webhook",
		Long: `Send a correctly signed sample webhook, as the processor would. Without SAMPLE,
list the samples of the connector. Without --secret, sign with the secret that
'tollbridge dev' uses.

Exit codes: 0 the answer was 2xx, 1 it was not, 2 the command line is wrong.`,
		Example: `  tollbridge send stripe payment_intent.succeeded
  tollbridge send stripe --payload event.json --secret whsec_… \
    --to https://pay.example.com/webhooks/stripe`,
		Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if len(args) > 0 {
				names = samples.Names(args[0])
			}
			return completeNth(args, verify.Connectors(), names), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args) },
	}
	flags := c.Flags()
	flags.StringVar(&f.to, "to", "", "the endpoint's URL (default http://127.0.0.1:8080/webhooks/CONNECTOR/default)")
	flags.StringVar(&f.url, "url", "", "the URL to sign, for processors that sign it (default: --to)")
	flags.StringVar(&f.secret, "secret", "", "the secret or private key to sign with")
	flags.StringArrayVar(&f.settings, "set", nil, "KEY=VALUE: a setting of the endpoint that signing needs; repeatable")
	flags.StringVar(&f.payload, "payload", "", "send the payload in this file instead of a sample")
	flags.BoolVar(&f.json, "json", false, "print the answer as JSON")
	return c
}

// sendFlags are the flags of `tollbridge send`.
type sendFlags struct {
	to, url, secret, payload string
	settings                 []string
	json                     bool
}

func (f sendFlags) run(c *cobra.Command, args []string) error {
	connector := args[0]
	keys, private, ok := sign.Dev(connector)
	if !ok {
		return unknownConnector("CONNECTOR", connector)
	}
	if len(args) == 1 && f.payload == "" {
		for _, name := range samples.Names(connector) {
			fmt.Fprintln(c.OutOrStdout(), name)
		}
		return nil
	}
	payload, err := f.read(connector, args)
	if err != nil {
		return usageError{err}
	}
	settings, err := assignments("--set", f.settings)
	if err != nil {
		return err
	}
	if f.secret == "" {
		f.secret = private
	}
	for name, value := range keys.Settings {
		if _, ok := settings[name]; !ok {
			settings[name] = value
		}
	}
	if f.to == "" {
		f.to = "http://127.0.0.1:8080" + webhook.Endpoint{Connector: connector}.Path()
	}
	if f.url == "" {
		f.url = f.to
	}
	r, err := sign.Request(connector, payload, f.secret, settings, f.url, time.Now())
	if err != nil {
		return usageError{err}
	}
	return f.deliver(c, r)
}

func (f sendFlags) read(connector string, args []string) ([]byte, error) {
	if f.payload != "" {
		return os.ReadFile(f.payload)
	}
	return samples.Payload(connector, args[1])
}

// deliver sends the request and prints the response.
func (f sendFlags) deliver(c *cobra.Command, r verify.Request) error {
	to := f.to
	if _, query, ok := strings.Cut(r.URL, "?"); ok && !strings.Contains(to, "?") {
		to += "?" + query // the signature covers the query
	}
	q, err := http.NewRequestWithContext(c.Context(), r.Method, to, bytes.NewReader(r.Body))
	if err != nil {
		return usage("--to: %w", err)
	}
	q.Header = r.Header
	client := http.Client{Timeout: 30 * time.Second}
	a, err := client.Do(q)
	if err != nil {
		return fmt.Errorf("%w; is 'tollbridge dev' or 'tollbridge serve' running there?", err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(io.LimitReader(a.Body, 64<<10))
	if err != nil {
		return err
	}
	receipt := a.Header.Get(ingest.ReceiptHeader)
	if f.json {
		err = writeJSON(c.OutOrStdout(), map[string]any{"status": a.StatusCode, "receipt": receipt, "body": string(body)})
	} else {
		for _, line := range []string{a.Status, receipt, strings.TrimRight(string(body), "\n")} {
			if line != "" && err == nil {
				_, err = fmt.Fprintln(c.OutOrStdout(), line)
			}
		}
	}
	if err == nil && a.StatusCode/100 != 2 {
		return errRefused
	}
	return err
}
