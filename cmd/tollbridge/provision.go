package main

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

func aclsCommand() *cobra.Command {
	var g aclGrant
	var groups, topics []string
	var output string
	c := &cobra.Command{
		Use:   "acls ROLE",
		Short: "Print the Kafka ACLs that the server or another program needs",
		Long: `Print the Kafka ACLs that a program needs, and none that it does not need. The
command does not connect to Kafka. The roles are

  serve      tollbridge serve; with a section console in the configuration also
             the rights of view, and with console.write those of tools
  apply      tollbridge topics plan and topics apply
  view       the commands that only read: tail, timeline, show, references,
             dedupe explain, dead list, dead show, and replay, dead retry and
             rewind without --publish or --apply
  tools      all commands that read or write the topics
  consumer   a consumer of events; --group is its consumer group

--output says what to print:

  kafka-acls  a command line of Kafka's own tool
  strimzi     a KafkaUser resource
  terraform   kafka_acl resources of the provider Mongey/kafka
  json        one list for other programs

The ACLs name the topic of each event type, also of those that no endpoint can
report today. A new version with new event types needs new ACLs: run the command
again after an upgrade. Brokers before Kafka 2.8 also need the
operation IdempotentWrite on the cluster, for serve and tools.`,
		Example: `  tollbridge topics acls serve --principal User:tollbridge -c tollbridge.yaml
  tollbridge topics acls consumer --principal User:shop --group fulfilment \
    --topics payment.captured,refund.succeeded
  tollbridge topics acls serve --principal User:tollbridge --output strimzi`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var roles []string
			for _, r := range kafka.Roles() {
				roles = append(roles, string(r))
			}
			return completeNth(args, roles), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := readConfig(c)
			if err != nil {
				return err
			}
			if err := cfg.Kafka.checkPrefix(); err != nil {
				return usageError{err}
			}
			kind, name, ok := strings.Cut(g.principal, ":")
			if !ok || kind == "" || name == "" || strings.ContainsFunc(g.principal, notPrintable) {
				return usage("--principal: expected a principal of Kafka, such as User:tollbridge, got %q", g.principal)
			}
			g.role, g.brokers = kafka.Role(args[0]), cfg.Kafka.Brokers
			if g.acls, err = (kafka.Names{Prefix: cfg.Kafka.Prefix}).ACLs(g.role, groups, topics); err != nil {
				return usageError{err}
			}
			if g.role == kafka.RoleServe && cfg.Console != (consoleConfig{}) {
				also, err := (kafka.Names{Prefix: cfg.Kafka.Prefix}).ACLs(cfg.Console.role(), nil, nil)
				if err != nil {
					return err
				}
				g.acls = kafka.MergeACLs(g.acls, also)
			}
			write, ok := aclWriters[output]
			if !ok {
				return usage("--output: expected kafka-acls, strimzi, terraform or json, got %q", output)
			}
			return write(c.OutOrStdout(), g)
		},
	}
	f := c.Flags()
	f.StringP("config", "c", "", "the server's configuration file (YAML)")
	f.StringSlice("brokers", nil, "Kafka brokers, host:port")
	f.String("prefix", "", "prefix of the topics' names")
	f.StringVar(&g.principal, "principal", "", "who gets the rights, such as User:tollbridge or User:CN=tollbridge")
	f.StringSliceVar(&groups, "group", nil, "consumer groups: of the consumer, or those that rewind shows or moves")
	f.StringSliceVar(&topics, "topics", nil, "event types that a consumer reads; all if it is not set")
	f.StringVar(&output, "output", "kafka-acls", "kafka-acls, strimzi, terraform or json")
	f.StringVar(&g.cluster, "strimzi-cluster", "my-cluster", "name of Strimzi's Kafka resource, for its label")
	return c
}

func notPrintable(r rune) bool { return !strconv.IsPrint(r) }

// aclGrant is what `topics acls` prints.
type aclGrant struct {
	role      kafka.Role
	principal string
	cluster   string // of Strimzi
	brokers   []string
	acls      []kafka.ACL
}

// aclWriters are the values of --output.
var aclWriters = map[string]func(io.Writer, aclGrant) error{
	"kafka-acls": writeKafkaACLs, "strimzi": writeStrimziUser, "terraform": writeTerraformACLs,
	"json": func(w io.Writer, g aclGrant) error { return writeJSON(w, g.acls) },
}

// byOperations returns the ACLs grouped by the type of resource and the operations, in
// their order: kafka-acls and Terraform can name many resources at once.
func byOperations(acls []kafka.ACL) (groups [][]kafka.ACL) {
	for _, a := range acls {
		same := func(g []kafka.ACL) bool { return g[0].Type == a.Type && slices.Equal(g[0].Operations, a.Operations) }
		if i := slices.IndexFunc(groups, same); i >= 0 {
			groups[i] = append(groups[i], a)
		} else {
			groups = append(groups, []kafka.ACL{a})
		}
	}
	return groups
}

// aclFlags are the flags of kafka-acls that name a resource.
var aclFlags = map[kafka.ResourceType]string{kafka.ResourceTopic: "--topic", kafka.ResourceGroup: "--group", kafka.ResourceTransactionalID: "--transactional-id"}

// writeKafkaACLs writes one kafka-acls command line for each group of ACLs.
func writeKafkaACLs(w io.Writer, g aclGrant) error {
	for _, acls := range byOperations(g.acls) {
		line := []string{"kafka-acls.sh --bootstrap-server " + shellQuote(strings.Join(g.brokers, ",")) + " --add --allow-principal " + shellQuote(g.principal)}
		var operations []string
		for _, o := range acls[0].Operations {
			operations = append(operations, "--operation "+o)
		}
		line = append(line, strings.Join(operations, " "))
		for _, a := range acls {
			line = append(line, aclFlags[a.Type]+" "+shellQuote(a.Name))
		}
		if _, err := fmt.Fprintln(w, strings.Join(line, " \\\n  ")); err != nil {
			return err
		}
	}
	return nil
}

// shellQuote returns s as one word of a POSIX shell.
func shellQuote(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_.,:/=@%+-]+$`)

// strimziTypes are Strimzi's names of the types of resources.
var strimziTypes = map[kafka.ResourceType]string{kafka.ResourceTopic: "topic", kafka.ResourceGroup: "group", kafka.ResourceTransactionalID: "transactionalId"}

// writeStrimziUser writes a KafkaUser. Strimzi calls a user with a client certificate
// CN=NAME, where NAME is the name of the resource.
func writeStrimziUser(w io.Writer, g aclGrant) error {
	user := strings.TrimPrefix(g.principal, "User:")
	authentication := "scram-sha-512"
	if name, ok := strings.CutPrefix(user, "CN="); ok {
		user, authentication = name, "tls"
	}
	if !resourceName.MatchString(user) {
		return usage("--principal: Strimzi names its users User:NAME or User:CN=NAME, with a name of lower-case letters, digits, '-' and '.'; got %q", g.principal)
	}
	type resource struct {
		Type        string `yaml:"type"`
		Name        string `yaml:"name"`
		PatternType string `yaml:"patternType"`
	}
	type rule struct {
		Resource   resource `yaml:"resource"`
		Operations []string `yaml:"operations,flow"`
	}
	var rules []rule
	for _, a := range g.acls {
		rules = append(rules, rule{resource{strimziTypes[a.Type], a.Name, "literal"}, a.Operations})
	}
	return writeStrimzi(w, "KafkaUser", user, g.cluster, map[string]any{
		"authentication": map[string]string{"type": authentication},
		"authorization":  map[string]any{"type": "simple", "acls": rules},
	})
}

// resourceName matches the name of a Kubernetes resource.
var resourceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)

// writeStrimzi writes one resource of Strimzi as a YAML document.
func writeStrimzi(w io.Writer, kind, name, cluster string, spec any) error {
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	document := struct {
		APIVersion string         `yaml:"apiVersion"`
		Kind       string         `yaml:"kind"`
		Metadata   map[string]any `yaml:"metadata"`
		Spec       any            `yaml:"spec"`
	}{"kafka.strimzi.io/v1", kind, map[string]any{"name": name, "labels": map[string]string{"strimzi.io/cluster": cluster}}, spec}
	if _, err := fmt.Fprintln(w, "---"); err != nil {
		return err
	}
	if err := e.Encode(document); err != nil {
		return err
	}
	return e.Close()
}

// writeTerraformACLs writes one kafka_acl resource for each group of ACLs.
func writeTerraformACLs(w io.Writer, g aclGrant) error {
	var b strings.Builder
	writeTerraformProvider(&b)
	for _, acls := range byOperations(g.acls) {
		label := terraformLabel(fmt.Sprint(g.role, " ", acls[0].Type, " ", strings.Join(acls[0].Operations, " ")))
		fmt.Fprintf(&b, "\nresource \"kafka_acl\" %s {\n  for_each = {\n    for pair in setproduct([\n", terraformText(label))
		for _, a := range acls {
			fmt.Fprintf(&b, "      %s,\n", terraformText(a.Name))
		}
		b.WriteString("      ], [")
		for j, o := range acls[0].Operations {
			if j > 0 {
				b.WriteString(", ")
			}
			b.WriteString(terraformText(o))
		}
		fmt.Fprintf(&b, `]) : "${pair[0]} ${pair[1]}" => { name = pair[0], operation = pair[1] }
  }
  resource_name                = each.value.name
  resource_type                = "%s"
  resource_pattern_type_filter = "Literal"
  acl_principal                = %s
  acl_host                     = "*"
  acl_operation                = each.value.operation
  acl_permission_type          = "Allow"
}
`, acls[0].Type, terraformText(g.principal))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeTerraformProvider writes which provider the resources belong to. How it connects
// to Kafka stays with the user.
func writeTerraformProvider(b *strings.Builder) {
	b.WriteString("terraform {\n  required_providers {\n    kafka = { source = \"Mongey/kafka\" }\n  }\n}\n")
}

// terraformText returns s as a string literal of Terraform.
// https://developer.hashicorp.com/terraform/language/expressions/strings
func terraformText(s string) string {
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "${", "$${", "%{", "%%{").Replace(s)
	return `"` + s + `"`
}

// writeStrimziTopics writes a KafkaTopic for each topic of the layout.
func writeStrimziTopics(w io.Writer, l kafka.Layout, cluster string) error {
	for _, topic := range l.All() {
		name := strings.ToLower(strings.ReplaceAll(topic, "_", "-"))
		if !resourceName.MatchString(name) {
			return usage("kafka.prefix: the topic %q makes no name of a Kubernetes resource: begin the prefix with a letter or a digit", topic)
		}
		err := writeStrimzi(w, "KafkaTopic", name, cluster, struct {
			TopicName  string            `yaml:"topicName"`
			Partitions int               `yaml:"partitions"`
			Replicas   int               `yaml:"replicas"`
			Config     map[string]string `yaml:"config"`
		}{topic, l.Partitions, l.Replication, l.Settings(topic)})
		if err != nil {
			return err
		}
	}
	return nil
}

// writeTerraformTopics writes a kafka_topic resource for each topic of the layout.
func writeTerraformTopics(w io.Writer, l kafka.Layout) error {
	var b strings.Builder
	writeTerraformProvider(&b)
	for _, topic := range l.All() {
		fmt.Fprintf(&b, "\nresource \"kafka_topic\" %s {\n  name               = %s\n  partitions         = %d\n  replication_factor = %d\n  config = {\n",
			terraformText(terraformLabel(topic)), terraformText(topic), l.Partitions, l.Replication)
		settings := l.Settings(topic)
		for _, name := range slices.Sorted(maps.Keys(settings)) {
			fmt.Fprintf(&b, "    %s = %s\n", terraformText(name), terraformText(settings[name]))
		}
		b.WriteString("  }\n  lifecycle {\n    prevent_destroy = true\n  }\n}\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// terraformLabel returns a name for a resource of Terraform.
func terraformLabel(s string) string {
	return "tollbridge_" + strings.ToLower(notInLabel.ReplaceAllString(s, "_"))
}

var notInLabel = regexp.MustCompile(`[^A-Za-z0-9_]+`)
