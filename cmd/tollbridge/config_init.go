package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

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
from an environment variable.`,
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
	_, err := io.WriteString(w, b.String())
	return err
}

// settingComment returns the lines that describe a setting.
func settingComment(name, description string) (lines []string) {
	const width = 76
	line := "    #   " + name + ":"
	for word := range strings.FieldsSeq(description) {
		if len(line)+1+len(word) > width {
			lines = append(lines, line+"\n")
			line = "    #    "
		}
		line += " " + word
	}
	return append(lines, line+"\n")
}
