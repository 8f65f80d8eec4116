package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/webhook"
)

func endpointsCommand() *cobra.Command {
	var from string
	var asJSON bool
	c := &cobra.Command{
		Use:   "endpoints",
		Short: "List the endpoints: their addresses, event types and last webhooks",
		Long: `List the configured endpoints: the address that the processor calls, the event
types to subscribe to, and the webhooks that came since --from, with the last of
them. Refused requests are not in Kafka: see the metric
tollbridge_webhooks_total.

'tollbridge endpoints check' asks the processors whether the addresses and the
event types are right, and 'tollbridge endpoints create' makes them there.`,
		Example: `  tollbridge endpoints --config tollbridge.yaml
  tollbridge endpoints --config tollbridge.yaml --from 7d --json
  tollbridge endpoints check --config tollbridge.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return listEndpoints(c, from, asJSON) },
	}
	f := c.Flags()
	sessionFlags(c)
	f.StringVar(&from, "from", "1d", "count the webhooks since this time: RFC 3339, unix seconds, or an age: 90m, 7d")
	f.BoolVar(&asJSON, "json", false, "print each endpoint as one line of JSON")
	c.AddCommand(endpointsCheckCommand(), endpointsCreateCommand())
	return c
}

// endpointInfo is what `tollbridge endpoints` prints about one endpoint.
type endpointInfo struct {
	Connector string         `json:"connector"`
	Endpoint  string         `json:"endpoint"` // its name
	URL       string         `json:"url"`      // empty if url and public_url are not set
	Path      string         `json:"path"`
	Live      bool           `json:"live"`
	Subscribe []string       `json:"subscribe"`
	Webhooks  map[string]int `json:"webhooks_by_outcome"`
	Last      *time.Time     `json:"last_webhook,omitempty"` // nil if none came
}

// addressOf returns the address that the processor calls; empty if it is not configured.
func addressOf(e webhook.Endpoint) string { return e.Address(&url.URL{Path: e.Path()}) }

func listEndpoints(c *cobra.Command, from string, asJSON bool) error {
	since, err := parseTimeOrAge("--from", from, time.Now())
	if err != nil {
		return err
	}
	w, err := openKafkaSession(c)
	if err != nil {
		return err
	}
	defer w.reader.Close()
	endpoints, err := w.endpointsWithoutSecrets()
	if err != nil {
		return usageError{err}
	}
	var all []*endpointInfo
	for _, e := range endpoints {
		i, err := infoOf(e.Connector)
		if err != nil {
			return err
		}
		all = append(all, &endpointInfo{Connector: e.Connector, Endpoint: e.NameOrDefault(), URL: addressOf(e), Path: e.Path(), Live: e.Live, Subscribe: i.Subscribe, Webhooks: map[string]int{}})
	}
	if err := countWebhooks(c, w, since, all); err != nil {
		return err
	}
	if asJSON {
		return writeJSONLines(c.OutOrStdout(), all)
	}
	t := columns(c)
	for _, i := range all {
		address := i.URL
		if address == "" {
			address = i.Path + " (set public_url to print the whole address)"
		}
		fmt.Fprintf(t, "%s\t%s\n", i.Connector+"/"+i.Endpoint, address)
		last := "none"
		if i.Last != nil {
			last = timestamp(*i.Last)
		}
		fmt.Fprintf(t, "\tlast webhook since %s: %s\n", timestamp(since), last)
		for _, o := range outcomes {
			if n := i.Webhooks[string(o)]; n > 0 {
				fmt.Fprintf(t, "\t%d %s\n", n, o)
			}
		}
		fmt.Fprintf(t, "\tsubscribe to: %s\n", strings.Join(i.Subscribe, ", "))
	}
	return t.Flush()
}

// countWebhooks counts the archived webhooks of each endpoint since a time.
func countWebhooks(c *cobra.Command, w kafkaSession, since time.Time, all []*endpointInfo) error {
	partitions, err := w.reader.Partitions(c.Context(), w.names.Received(), w.names.Dead())
	if err != nil {
		return err
	}
	ranges, err := w.reader.Since(c.Context(), partitions, since)
	if err != nil {
		return err
	}
	return w.reader.Read(c.Context(), ranges, func(chunks []consume.Chunk) error {
		for _, chunk := range chunks {
			for _, record := range chunk.Records {
				a, err := webhook.ReadArchived(record.Headers, record.Value)
				if err != nil || a.Handles != "" || a.ReceivedAt.Before(since) {
					continue
				}
				n := slices.IndexFunc(all, func(i *endpointInfo) bool { return i.Connector == a.Connector && i.Endpoint == a.Endpoint })
				if n < 0 {
					continue
				}
				all[n].Webhooks[string(a.Outcome)]++
				if all[n].Last == nil || a.ReceivedAt.After(*all[n].Last) {
					all[n].Last = &a.ReceivedAt
				}
			}
		}
		return nil
	})
}

func endpointsCheckCommand() *cobra.Command {
	var connector, name string
	var asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Ask the processors whether their webhook endpoints are right",
		Long: `Ask the processor of each endpoint with api in the configuration, where its API
can tell: is there a webhook endpoint with our address, is it enabled, and is it
subscribed to the event types that make events. The command prints what to
change at the processor, and changes nothing.

` + strings.Join(wrap("It can ask "+strings.Join(fetch.ChecksEndpoints(), ", ")+".", helpWidth), "\n") + `

Exit codes: 0 all is well, 1 failed or something is to be changed, 2 the command
line or the configuration is wrong.`,
		Example: `  tollbridge endpoints check --config tollbridge.yaml
  tollbridge endpoints check --config tollbridge.yaml --connector stripe --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return checkEndpoints(c, connector, name, asJSON) },
	}
	f := c.Flags()
	sessionFlags(c)
	f.StringVar(&connector, "connector", "", "only endpoints of this connector")
	f.StringVar(&name, "endpoint", "", "only the endpoint with this name")
	f.BoolVar(&asJSON, "json", false, "print each endpoint as one line of JSON")
	return c
}

// endpointCheck is the result of `tollbridge endpoints check` for one endpoint.
type endpointCheck struct {
	Connector string      `json:"connector"`
	Endpoint  string      `json:"endpoint"` // its name
	URL       string      `json:"url"`
	Ours      *fetch.Hook `json:"processor,omitempty"` // as the processor has it
	Change    []string    `json:"change,omitempty"`    // what to change
	Skipped   string      `json:"skipped,omitempty"`   // why the processor was not asked
	Failed    string      `json:"failed,omitempty"`    // why the processor gave no answer
}

func checkEndpoints(c *cobra.Command, connector, name string, asJSON bool) error {
	cfg, err := loadKafkaConfig(c)
	if err != nil {
		return err
	}
	endpoints, err := cfg.selectEndpoints(connector, name, readEndpoint)
	if err != nil {
		return err
	}
	var caller fetch.Caller
	var all []endpointCheck
	for _, e := range endpoints {
		one, err := checkEndpoint(c, &caller, e)
		if err != nil {
			return err
		}
		all = append(all, one)
	}
	err = printChecks(c, all, asJSON)
	if slices.ContainsFunc(all, func(one endpointCheck) bool { return len(one.Change) > 0 || one.Failed != "" }) {
		err = errors.Join(err, errRefused)
	}
	return err
}

// checkEndpoint asks the processor of one endpoint.
func checkEndpoint(c *cobra.Command, caller *fetch.Caller, e webhook.Endpoint) (one endpointCheck, err error) {
	one = endpointCheck{Connector: e.Connector, Endpoint: e.NameOrDefault(), URL: addressOf(e)}
	keys, ok := fetch.EndpointKeys(e.Connector)
	none := fetch.HasNoHook(e.Connector, len(e.Keys.Secrets) > 0)
	switch {
	case !ok && fetch.EndpointByHand(e.Connector) != "":
		one.Skipped = "tollbridge cannot ask the API of " + e.Connector + " for its webhook endpoints; look here: " + fetch.EndpointByHand(e.Connector)
		return one, nil
	case !ok:
		one.Skipped = "tollbridge cannot ask the API of " + e.Connector + " for its webhook endpoints: look at its dashboard"
		return one, nil
	case none != "":
		one.Skipped = none
		return one, nil
	case e.API == nil:
		one.Skipped = "api is not configured: it needs " + keys
		return one, nil
	case one.URL == "":
		one.Skipped = "the address is unknown: set url or public_url"
		return one, nil
	}
	hooks, err := caller.Hooks(c.Context(), e.Connector, *e.API)
	if c.Context().Err() != nil {
		return one, c.Context().Err()
	}
	if err != nil {
		one.Failed = err.Error()
		return one, nil
	}
	i, err := infoOf(e.Connector)
	if err != nil {
		return one, err
	}
	one.Ours, one.Change, err = fetch.CheckHooks(e.Connector, hooks, one.URL, i.Subscribe)
	return one, err
}

func printChecks(c *cobra.Command, all []endpointCheck, asJSON bool) error {
	if asJSON {
		return writeJSONLines(c.OutOrStdout(), all)
	}
	w := columns(c)
	for _, one := range all {
		state := "all is well"
		switch {
		case one.Skipped != "":
			state = "not checked: " + one.Skipped
		case one.Failed != "":
			state = "failed: " + one.Failed
		case len(one.Change) > 0:
			state = "to be changed"
		}
		fmt.Fprintf(w, "%s\t%s\n", one.Connector+"/"+one.Endpoint, oneLine(state))
		for _, change := range one.Change {
			fmt.Fprintf(w, "\t%s\n", oneLine(change))
		}
		if one.Ours != nil && one.Ours.APIVersion != "" {
			fmt.Fprintf(w, "\tAPI version %s\n", oneLine(one.Ours.APIVersion))
		}
	}
	return w.Flush()
}
