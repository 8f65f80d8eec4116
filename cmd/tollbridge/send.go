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
	var m mailing
	c := &cobra.Command{
		Use:   "send CONNECTOR [SAMPLE]",
		Short: "Send a correctly signed sample webhook",
		Long: `Send a correctly signed sample webhook, as the processor would. Without a
SAMPLE, list the connector's. Without --secret, sign with the made-up secret
of 'tollbridge dev'.

Exit codes: 0 answered 2xx, 1 anything else.`,
		Example: `  tollbridge send stripe payment_intent.succeeded
  tollbridge send stripe --payload event.json --secret whsec_… --to https://pay.example.com/webhooks/stripe`,
		Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if len(args) > 0 {
				names = samples.Names(args[0])
			}
			return completeNth(args, verify.Connectors(), names), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error { return m.run(c, args) },
	}
	f := c.Flags()
	f.StringVar(&m.to, "to", "", "where to (default http://127.0.0.1:8080/webhooks/CONNECTOR/default)")
	f.StringVar(&m.url, "url", "", "the address to sign, where the processor signs it (default: --to)")
	f.StringVar(&m.secret, "secret", "", "the secret, or private key, to sign with")
	f.StringArrayVar(&m.settings, "set", nil, "KEY=VALUE: a setting of the endpoint that signing needs")
	f.StringVar(&m.payload, "payload", "", "send the payload in this file instead of a sample")
	f.BoolVar(&m.json, "json", false, "print the answer as JSON")
	return c
}

type mailing struct {
	to, url, secret, payload string
	settings                 []string
	json                     bool
}

func (m mailing) run(c *cobra.Command, args []string) error {
	connector := args[0]
	keys, private, ok := sign.Dev(connector)
	if !ok {
		return usage("connector %q is unknown; there are %s", connector, strings.Join(verify.Connectors(), ", "))
	}
	if len(args) == 1 && m.payload == "" {
		for _, name := range samples.Names(connector) {
			fmt.Fprintln(c.OutOrStdout(), name)
		}
		return nil
	}
	payload, err := m.read(connector, args)
	if err != nil {
		return usageError{err}
	}
	settings, err := assignments("--set", m.settings)
	if err != nil {
		return err
	}
	if m.secret == "" {
		m.secret = private
	}
	for name, value := range keys.Settings {
		if _, ok := settings[name]; !ok {
			settings[name] = value
		}
	}
	if m.to == "" {
		m.to = "http://127.0.0.1:8080" + webhook.Endpoint{Connector: connector}.Path()
	}
	if m.url == "" {
		m.url = m.to
	}
	r, err := sign.Request(connector, payload, m.secret, settings, m.url, time.Now())
	if err != nil {
		return usageError{err}
	}
	return m.deliver(c, r)
}

func (m mailing) read(connector string, args []string) ([]byte, error) {
	if m.payload != "" {
		return os.ReadFile(m.payload)
	}
	return samples.Payload(connector, args[1])
}

// deliver sends the request and prints the answer.
func (m mailing) deliver(c *cobra.Command, r verify.Request) error {
	to := m.to
	if _, query, ok := strings.Cut(r.URL, "?"); ok && !strings.Contains(to, "?") {
		to += "?" + query // it is signed
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
	if m.json {
		err = writeJSON(c.OutOrStdout(), map[string]any{"status": a.StatusCode, "receipt": receipt, "body": string(body)})
	} else {
		_, err = fmt.Fprintf(c.OutOrStdout(), "%s\n%s\n%s", a.Status, receipt, body)
	}
	if err == nil && a.StatusCode/100 != 2 {
		return errRefused
	}
	return err
}
