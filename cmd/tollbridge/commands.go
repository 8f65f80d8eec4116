package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/registry"
	"github.com/tollbridge/tollbridge/schemas"
)

func topicsCommand() *cobra.Command {
	topics := &cobra.Command{
		Use:   "topics",
		Short: "Compare the topics with the configuration, and create them",
	}
	topics.AddCommand(
		topicsSubcommand(&cobra.Command{
			Use:   "plan",
			Short: "Show which topics are missing or differ from the configuration",
			Long: `Show which topics are missing or differ from the configuration.

With --output strimzi or terraform, print all topics as KafkaTopic resources, or
as kafka_topic resources of the provider Mongey/kafka, for clusters where these
create the topics. The command does not connect to Kafka then: set
kafka.partitions to 6, or to what the existing topics have. Neither can say
which brokers get a partition. 'topics apply' creates partitions with the same
number on the same brokers, so that the records of a webhook go to few brokers.`,
			Example: `  tollbridge topics plan --config tollbridge.yaml
  tollbridge topics plan --config tollbridge.yaml --output strimzi > topics.yaml`,
		}, false),
		topicsSubcommand(&cobra.Command{
			Use:   "apply",
			Short: "Create missing topics, and set the settings of existing ones",
			Long: `Create missing topics, and set the settings of existing topics to the
configured ones. The command never changes the number of partitions or replicas
of a topic, and deletes nothing. There is a topic for each event type that the
configured endpoints can report: run the command again after adding an endpoint.

Choose kafka.partitions once: it is for good. Without it, new topics get as many
partitions as the existing ones have, or 6.

With kafka.schema_registry, the command also registers the JSON Schemas of the
events that are not registered yet, and sets the compatibility of their subjects
to BACKWARD. Run it after an upgrade: 'serve' does not start without the schemas
of its version.

Partitions with the same number are created on the same brokers in all topics,
so that the records of one webhook go to few brokers: make kafka.partitions a
multiple of the number of brokers.`,
		}, true),
		aclsCommand(),
	)
	return topics
}

// topicsSubcommand completes a command that compares the topics, and with a Schema
// Registry the schemas, with the configuration, and prints the findings. If apply is set,
// it creates what is missing.
func topicsSubcommand(c *cobra.Command, apply bool) *cobra.Command {
	var asJSON, allTypes bool
	var output, cluster string
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := loadKafkaConfig(c)
		if err != nil {
			return err
		}
		layout := cfg.layout()
		if allTypes {
			layout.Types = nil
		}
		switch {
		case output == "":
		case output != "strimzi" && output != "terraform":
			return usage("--output: expected strimzi or terraform, got %q", output)
		case layout.Partitions == 0:
			return usage("--output %s needs the number of partitions, since it does not ask Kafka: set kafka.partitions or --partitions to %d, or to what the existing topics have", output, kafka.DefaultPartitions)
		case output == "strimzi":
			return writeStrimziTopics(c.OutOrStdout(), layout, cluster)
		default:
			return writeTerraformTopics(c.OutOrStdout(), layout)
		}
		producer, err := cfg.producer()
		if err != nil {
			return err
		}
		do := kafka.Layout.Plan
		if apply {
			do = kafka.Layout.Apply
		}
		findings, err := do(layout, c.Context(), producer.Kafka)
		if err != nil {
			return err
		}
		topics, err := cfg.withSchemas(c.Context(), layout, findings, apply)
		if err != nil {
			return err
		}
		return printTopics(c, cfg, topics, asJSON, apply)
	}
	c.Flags().StringP("config", "c", "", "the server's configuration file (YAML)")
	kafkaFlags(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "print each topic as one line of JSON")
	c.Flags().BoolVar(&allTypes, "all-types", false, "the topics of all event types, not only of those that the configured endpoints can report")
	if c.Name() == "plan" {
		c.Flags().StringVar(&output, "output", "", "print the topics for strimzi or terraform instead")
		c.Flags().StringVar(&cluster, "strimzi-cluster", "my-cluster", "name of Strimzi's Kafka resource, for its label")
	}
	return c
}

// topicLine is what plan and apply print of a topic.
type topicLine struct {
	kafka.TopicStatus
	Schema *registry.Subject `json:"schema,omitempty"` // of an event topic, if there is a Schema Registry
}

// withSchemas returns the topics, and the schemas of those that have events. If apply is
// set, it registers the schemas that are not registered.
func (c config) withSchemas(ctx context.Context, l kafka.Layout, topics []kafka.TopicStatus, apply bool) ([]topicLine, error) {
	lines := make([]topicLine, len(topics))
	for i, t := range topics {
		lines[i].TopicStatus = t
	}
	client, err := c.Kafka.SchemaRegistry.client()
	if client == nil || err != nil {
		return lines, err
	}
	names, do := kafka.Names{Prefix: l.Prefix, Types: []schemas.Type{}}, client.Plan
	for _, t := range schemas.Types() {
		if slices.ContainsFunc(topics, func(s kafka.TopicStatus) bool { return s.Topic == names.Event(t) }) {
			names.Types = append(names.Types, t)
		}
	}
	if apply {
		do = client.Register
	}
	subjects, err := do(ctx, names)
	if err != nil {
		return nil, err
	}
	for t, s := range subjects {
		i := slices.IndexFunc(lines, func(l topicLine) bool { return l.Topic == names.Event(t) })
		lines[i].Schema = &s
	}
	return lines, nil
}

// printTopics prints the topics. It returns errRefused if events could be lost in one.
func printTopics(c *cobra.Command, cfg config, topics []topicLine, asJSON, applied bool) error {
	var wrong error
	for _, t := range topics {
		if t.Wrong {
			wrong = errRefused
		}
	}
	if asJSON {
		if err := writeJSONLines(c.OutOrStdout(), topics); err != nil {
			return err
		}
		return wrong
	}
	would := "would be "
	if applied {
		would = ""
	}
	w := columns(c)
	var states []string            // in the order of their first topics
	alike := map[string][]string{} // topics by state
	for _, t := range topics {
		state := "right"
		switch {
		case !t.Exists:
			state = fmt.Sprintf("%screated: %d partitions, %d replicas", would, t.Partitions, cfg.Kafka.Replication)
		case t.Wrong:
			state = "WRONG: " + t.Drift
		case t.Drift != "":
			state = "differs: " + t.Drift
		}
		switch s := t.Schema; {
		case s == nil:
		case s.ID == 0:
			state += "; its schema would be registered"
		case s.Registered:
			state += "; its schema was registered"
		default:
			state += "; its schema is registered"
		}
		if alike[state] == nil {
			states = append(states, state)
		}
		alike[state] = append(alike[state], t.Topic)
	}
	for _, state := range states {
		names := alike[state]
		if len(names) <= mostAlike {
			for _, name := range names {
				fmt.Fprintf(w, "%s\t%s\n", name, state)
			}
			continue
		}
		fmt.Fprintf(w, "%d topics\t%s: %s\n", len(names), ofMany(state), few(names))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return wrong
}

// ofMany returns what a finding about one topic says of several.
func ofMany(finding string) string { return strings.Replace(finding, "has ", "have ", 1) }

// mostAlike is how many topics with the same finding are printed one by one. --json prints
// each.
const mostAlike = 4

// completeNth returns the choices that the shell offers for the argument after
// args. There is one list of choices for each argument.
func completeNth(args []string, choices ...[]string) []string {
	if len(args) >= len(choices) {
		return nil
	}
	return choices[len(args)]
}

func schemasCommand() *cobra.Command {
	var dir, prefix string
	var asyncAPI bool
	c := &cobra.Command{
		Use:   "schemas [TYPE]",
		Short: "List the event types; print their JSON Schemas and AsyncAPI",
		Example: `  tollbridge schemas
  tollbridge schemas payment.captured
  tollbridge schemas --asyncapi --prefix shop.
  tollbridge schemas --out ./schemas`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return completeNth(args, eventTypes()), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case dir != "":
				return writeSchemas(c, dir, prefix)
			case asyncAPI:
				_, err := c.OutOrStdout().Write(schemas.AsyncAPI(prefix))
				return err
			case len(args) == 0:
				w := columns(c)
				for _, t := range schemas.Types() {
					fmt.Fprintf(w, "%s\t%s\n", t, t.Description())
				}
				return w.Flush()
			case !schemas.Type(args[0]).Known():
				return unknownType("TYPE", args[0])
			}
			_, err := c.OutOrStdout().Write(schemas.JSONSchema(schemas.Type(args[0])))
			return err
		},
	}
	c.Flags().StringVar(&dir, "out", "", "write TYPE.schema.json of every type, and asyncapi.json, to this folder")
	c.Flags().BoolVar(&asyncAPI, "asyncapi", false, "print the AsyncAPI 3.0 document of the topics")
	c.Flags().StringVar(&prefix, "prefix", "", "prefix of the topics' names in the AsyncAPI document")
	return c
}

func writeSchemas(c *cobra.Command, dir, prefix string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, t := range schemas.Types() {
		if err := os.WriteFile(filepath.Join(dir, string(t)+".schema.json"), schemas.JSONSchema(t), 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "asyncapi.json"), schemas.AsyncAPI(prefix), 0o644); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "wrote %d schemas and asyncapi.json to %s\n", len(schemas.Types()), dir)
	return err
}

func configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Print and check a configuration"}
	check := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration without connecting to Kafka",
		Long: `Check the configuration without connecting to Kafka, and print the path of each
endpoint. The command warns about what cannot work or is unsafe: an API key as
webhook secret, no endpoints, listen and admin with one address, settings that
should be set, such as capture for Adyen, and secrets that other users of this
computer can read.

Exit codes: 0 the configuration can be used; 2 it is wrong.`,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadServeConfig(c)
			if err != nil {
				return err
			}
			endpoints, err := cfg.endpoints()
			if err != nil {
				return err
			}
			for _, e := range endpoints {
				fmt.Fprintln(c.OutOrStdout(), e.Path())
			}
			for _, warning := range cfg.warnings(endpoints) {
				fmt.Fprintln(folded(c.ErrOrStderr()), "warning: "+warning)
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), "the configuration is right")
			return err
		},
	}
	configFlags(check)
	c.AddCommand(check, configInitCommand())
	return c
}
