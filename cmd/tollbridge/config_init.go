package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/verify"
)

func configInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init CONNECTOR...",
		Short: "Print a configuration with comments, for a trial on this machine",
		Long: `Print a configuration file for connectors, with comments. It listens at
127.0.0.1, expects Kafka at 127.0.0.1:9092 and one broker, and reads each secret
from an environment variable. Where tollbridge can ask the processor's API, the
lines that configure it are comments.`,
		Example: `  tollbridge config init stripe > my.yaml
  tollbridge config init stripe adyen > my.yaml`,
		Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return verify.Connectors(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			for i, name := range args {
				if _, ok := verify.Lookup(name); !ok {
					return unknownConnector("CONNECTOR", name)
				}
				if slices.Contains(args[:i], name) {
					return usage("CONNECTOR: %s is given twice", name)
				}
			}
			return writeInitialConfig(c.OutOrStdout(), args)
		},
	}
}

// secretVariable returns the environment variable that a new configuration reads a
// connector's secret from.
func secretVariable(connector string) string {
	return strings.ToUpper(strings.ReplaceAll(connector, "-", "_")) + "_WEBHOOK_SECRET"
}

// writeInitialConfig writes a configuration for connectors.
func writeInitialConfig(w io.Writer, connectors []string) error {
	if _, err := io.WriteString(w, `# A configuration of tollbridge for a trial on this machine.
# 'tollbridge config check -c FILE' says what is wrong with it; README.md,
# "Configuration", lists all keys.

listen: 127.0.0.1:8080   # webhooks; put a proxy with TLS in front of it
admin: 127.0.0.1:9090    # /metrics /healthz /readyz; not for the outside
# console: {write: true}  # the console may change things: docs/console.md
state: ./state           # what was published; rebuilt from Kafka if it is empty

kafka:
  brokers: [127.0.0.1:9092]
  partitions: 6          # of every topic; it cannot be changed later
  replication: 1         # for one broker; 3 in production

# public_url: https://pay.example.com   # the base of the URLs that processors call

endpoints:
`); err != nil {
		return err
	}
	for _, name := range connectors {
		if err := writeInitialEndpoint(w, name); err != nil {
			return err
		}
	}
	return nil
}

// writeInitialEndpoint writes an endpoint with its required settings, and the others as
// comments.
func writeInitialEndpoint(w io.Writer, name string) error {
	v, _ := verify.Lookup(name)
	n, _ := normalize.Lookup(name)
	keys, _, _ := sign.Dev(name)
	var b strings.Builder
	fmt.Fprintf(&b, "  - connector: %s   # %s\n", name, v.Docs)
	b.WriteString("    live: false          # also accept test-mode events; true in production\n")
	if !v.Keyless {
		fmt.Fprintf(&b, "    secrets:\n      main: {env: %s}\n", secretVariable(name))
	}
	// Some connectors need a setting only together with another, or with the secret's form.
	needsAll := verify.Check(name, verify.Keys{Secrets: keys.Secrets}) != nil
	required := map[string]string{} // with a made-up value
	var lines []string
	for _, s := range v.Settings {
		if value := keys.Settings[s.Name]; s.Required || s.Endpoint || needsAll {
			if strings.Contains(value, "-----BEGIN") { // a made-up key must not be used: everyone knows it
				value = "replace this by the text of the PEM file"
			}
			if value != "" {
				required[s.Name] = value
			}
		}
		lines = append(lines, settingComment(s.Name, s.Description)...)
	}
	for _, s := range n.Settings {
		lines = append(lines, settingComment(s.Name, s.Description)...)
	}
	if len(lines) > 0 {
		fmt.Fprintf(&b, "    # Settings:\n%s", strings.Join(lines, ""))
	}
	if len(required) > 0 {
		b.WriteString("    settings:            # required; replace the values by yours\n")
		for _, s := range slices.Sorted(maps.Keys(required)) {
			value, err := yaml.Marshal(map[string]string{s: required[s]})
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(value)) {
				b.WriteString("      " + line)
			}
		}
	}
	b.WriteString(initialAPI(name))
	_, err := io.WriteString(w, b.String())
	return err
}

// apiVariable returns the environment variable that a new configuration reads the key for
// a connector's API from.
func apiVariable(connector string) string {
	return strings.ToUpper(strings.ReplaceAll(connector, "-", "_")) + "_API_KEY"
}

// initialAPI returns comments that say what the API of a connector's processor is good for,
// and the lines that configure it; nothing if tollbridge does not ask it.
func initialAPI(connector string) string {
	f, ok := fetch.Lookup(connector)
	if !ok {
		return ""
	}
	var lines []string
	if f.Lost != "" {
		lines = append(lines, wrapped("    # Without api,", f.Lost+".", "    # ")...)
	}
	if v, _ := verify.Lookup(connector); v.HasUnsigned() && !v.Keyless {
		lines = append(lines, wrapped("    # With api,", "an endpoint that gets only webhooks that are not signed needs no secrets.", "    # ")...)
	}
	lines = append(lines, wrapped("    # The key of api:", f.Keys+".", "    # ")...)
	if f.ClientID != "" {
		lines = append(lines, wrapped("    # The client_id of api:", f.ClientID+".", "    # ")...)
	}
	lines = append(lines, fmt.Sprintf("    # api:                 # docs/processor-apis.md\n    #   keys: {main: {env: %s}}\n", apiVariable(connector)))
	if f.ClientID != "" {
		lines = append(lines, "    #   client_id: replace-me\n")
	}
	if f.HostHint != "" {
		lines = append(lines, "    #   host: "+strings.SplitN(f.HostHint, ",", 2)[0]+"\n")
	}
	if _, ok := fetch.ListOf(connector); ok {
		lines = append(lines, "    # gaps: {every: 1h}    # with api: look for webhooks that never came\n")
	}
	return strings.Join(lines, "")
}

// settingComment returns the lines that describe a setting.
func settingComment(name, description string) []string {
	return wrapped("    #   "+name+":", description, "    #     ")
}

// wrapped returns the lines of a comment that begins with first; the others begin with
// indent.
func wrapped(first, text, indent string) (lines []string) {
	const width = 76
	line := first
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > width {
			lines = append(lines, line+"\n")
			line = strings.TrimSuffix(indent, " ")
		}
		line += " " + word
	}
	return append(lines, line+"\n")
}
