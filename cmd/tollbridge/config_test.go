package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/kafka"
)

// configFile creates the secret files that the tests' configurations name, and returns the
// name of a file with the configuration and the real paths.
func configFile(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, value := range map[string]string{"stripe": "whsec_file\n", "empty": "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("STRIPE_OLD", "whsec_old")
	file := filepath.Join(dir, "tollbridge.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "/run/secrets/", dir+"/")), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestConfigFiles checks testdata/config: NAME.good.yaml is accepted. The first line of
// NAME.bad.yaml, after "# ", is what the error must say.
func TestConfigFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("found no files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			where := configFile(t, string(b))
			got := tollbridge(t, "", "config", "check", "--config", where)
			if strings.HasSuffix(file, ".good.yaml") {
				if got.code != 0 || !strings.Contains(got.out, "the configuration is right") {
					t.Errorf("exit %d, %s%s", got.code, got.out, got.err)
				}
				return
			}
			first, _, _ := strings.Cut(string(b), "\n")
			want := strings.ReplaceAll(strings.TrimPrefix(first, "# "), "/run/secrets/", filepath.Dir(where)+"/")
			if got.code != 2 || !strings.Contains(got.err, want) || got.out != "" {
				t.Errorf("exit %d, %s%s\nwant 2 and %q", got.code, got.out, got.err, want)
			}
			if strings.Contains(got.err, "whsec_") {
				t.Errorf("the error has a secret: %s", got.err)
			}
			if n := strings.Count(got.err, want); n != 1 {
				t.Errorf("the error is printed %d times: %s", n, got.err)
			}
		})
	}
}

// loaded returns the configuration that serve would use.
func loaded(t *testing.T, args ...string) config {
	t.Helper()
	var cfg config
	c := &cobra.Command{RunE: func(c *cobra.Command, _ []string) (err error) {
		if err = flagsFromEnv(c.Flags()); err == nil {
			cfg, err = loadConfig(c)
		}
		return err
	}}
	configFlags(c)
	c.SetArgs(args)
	if err := c.Execute(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestPrecedence: flags override environment variables, those override the file, and
// the file overrides the defaults.
func TestPrecedence(t *testing.T) {
	file := configFile(t, "listen: 127.0.0.1:1\nadmin: 127.0.0.1:2\nkafka: {brokers: [file:1], prefix: file., partitions: 7}\n")
	t.Setenv("TOLLBRIDGE_CONFIG", file)
	t.Setenv("TOLLBRIDGE_LISTEN", "127.0.0.1:11")
	t.Setenv("TOLLBRIDGE_BROKERS", "env1:1,env2:2")
	t.Setenv("TOLLBRIDGE_PREFIX", "env.")
	cfg := loaded(t, "--listen", "127.0.0.1:111")
	for name, pair := range map[string][2]any{
		"listen, by a flag":        {cfg.Listen, "127.0.0.1:111"},
		"brokers, by environment":  {strings.Join(cfg.Kafka.Brokers, " "), "env1:1 env2:2"},
		"prefix, by environment":   {cfg.Kafka.Prefix, "env."},
		"admin, by the file":       {cfg.Admin, "127.0.0.1:2"},
		"partitions, by the file":  {cfg.Kafka.Partitions, 7},
		"replication, as standard": {cfg.Kafka.Replication, 3},
		"deadline, as standard":    {cfg.Deadline, ingest.DefaultDeadline},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %v, want %v", name, pair[0], pair[1])
		}
	}
}

// TestContract reads the configuration that the documentation shows.
func TestContract(t *testing.T) {
	b, err := os.ReadFile("testdata/config/contract.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg := loaded(t, "-c", configFile(t, string(b)))
	endpoints, err := cfg.endpoints()
	if err != nil || len(endpoints) != 1 {
		t.Fatalf("%d endpoints, %v", len(endpoints), err)
	}
	e := endpoints[0]
	if !e.Live || e.Path() != "/webhooks/stripe/default" || e.PublicURL != "https://pay.example.com" || e.Keys.Settings["tolerance_seconds"] != "300" {
		t.Errorf("endpoint %+v", e)
	}
	var secrets []string
	for _, s := range e.Keys.Secrets {
		secrets = append(secrets, s.Name+"="+s.Value)
	}
	if got, want := strings.Join(secrets, " "), "main=whsec_test old=whsec_old vault=whsec_file"; got != want {
		t.Errorf("secrets %s, want %s", got, want)
	}
}

// TestStructuredSettings: a setting may be YAML, or JSON text with the same content.
func TestStructuredSettings(t *testing.T) {
	got, err := settingTexts(map[string]any{
		"keys": map[string]any{"kid": []any{1, "two"}}, "text": `{"a":1}`, "flag": true, "number": 300,
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"keys": `{"kid":[1,"two"]}`, "text": `{"a":1}`, "flag": "true", "number": "300"} {
		if got[name] != want {
			t.Errorf("%s: %s, want %s", name, got[name], want)
		}
	}
}

// TestSASLConfiguration: each mechanism wants its own keys, and the error names the one
// that is missing or does not belong to it.
func TestSASLConfiguration(t *testing.T) {
	t.Setenv("A_SECRET", "secret-of-the-client")
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/none")
	oauth := `oauth: {token_url: "https://sso.example.com/token", client_id: a, client_secret: {env: A_SECRET}, scopes: [kafka]}`
	for sasl, want := range map[string]string{
		`{mechanism: OAUTHBEARER, ` + oauth + `}`:                            "",
		`{mechanism: PLAIN, username: a, password: {env: A_SECRET}}`:         "",
		`{mechanism: OAUTHBEARER}`:                                           "OAUTHBEARER wants oauth",
		`{mechanism: OAUTHBEARER, username: a, ` + oauth + `}`:               "no username",
		`{mechanism: PLAIN, ` + oauth + `}`:                                  "oauth belongs to the mechanism OAUTHBEARER",
		`{mechanism: PLAIN, password: {env: A_SECRET}}`:                      "username: it is empty",
		`{mechanism: PLAIN, username: a}`:                                    "password: want exactly one of value, env and file",
		`{mechanism: AWS_MSK_IAM, aws: {region: eu-central-1}}`:              "AWS_MSK_IAM wants kafka.tls",
		`{mechanism: AWS_MSK_IAM, aws: {region: eu-central-1}}, tls: {}`:     "",
		`{mechanism: AWS_MSK_IAM}, tls: {}`:                                  "region: expected the cluster's region",
		`{mechanism: AWS_MSK_IAM, username: a}, tls: {}`:                     "wants no username",
		`{mechanism: AWS_MSK_IAM, ` + oauth + `}, tls: {}`:                   "wants no username",
		`{mechanism: AWS_MSK_IAM, aws: {region: a, profile: none}}, tls: {}`: "failed to get shared config profile, none",
		`{mechanism: PLAIN, username: a, aws: {}}`:                           "aws belongs to the mechanism AWS_MSK_IAM",
		`{mechanism: GSSAPI, username: a, password: {env: A_SECRET}}`:        `got "GSSAPI"`,
		`{mechanism: OAUTHBEARER, oauth: {token_url: "https://a.example.com", client_id: a, client_secret: {env: NOT_SET}}}`: "oauth.client_secret: the environment variable NOT_SET",
		`{mechanism: OAUTHBEARER, oauth: {token_url: "http://a.example.com", client_id: a, client_secret: {env: A_SECRET}}}`: "expected https",
	} {
		file := filepath.Join(t.TempDir(), "tollbridge.yaml")
		if err := os.WriteFile(file, []byte("kafka: {sasl: "+sasl+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		got := tollbridge(t, "", "config", "check", "--config", file)
		if (got.code == 0) != (want == "") || !strings.Contains(got.err, want) || strings.Contains(got.err, "secret-of-the-client") {
			t.Errorf("%s: exit %d, %s; want %q", sasl, got.code, got.err, want)
		}
	}
}

// TestProvisionConsole: with a section console, serve gets also each right of the commands
// that do what its pages do, and each resource comes once.
func TestProvisionConsole(t *testing.T) {
	acls := func(role, config string) (all []kafka.ACL) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "tollbridge.yaml")
		if err := os.WriteFile(file, []byte("{kafka: {prefix: shop.}"+config+"}"), 0o600); err != nil {
			t.Fatal(err)
		}
		got := tollbridge(t, "", "topics", "acls", role, "--principal", "User:a", "--output", "json", "--config", file)
		if err := json.Unmarshal([]byte(got.out), &all); got.code != 0 || err != nil {
			t.Fatalf("exit %d, %v: %s", got.code, err, got.err)
		}
		return all
	}
	rights := func(lists ...[]kafka.ACL) (all []string) {
		for _, a := range slices.Concat(lists...) {
			for _, o := range a.Operations {
				all = append(all, fmt.Sprint(a.Type, " ", a.Name, " ", o))
			}
		}
		slices.Sort(all)
		return all
	}
	serve := acls("serve", "")
	for console, role := range map[string]string{"refused: 5": "view", "write: true": "tools"} {
		both := acls("serve", ", console: {"+console+"}")
		if got, want := rights(both), slices.Compact(rights(serve, acls(role, ""))); !slices.Equal(got, want) {
			t.Errorf("with console: {%s}, serve gets %q, want %q", console, got, want)
		}
		resources := map[string]bool{}
		for _, a := range both {
			if resources[string(a.Type)+a.Name] {
				t.Errorf("%s %s comes twice", a.Type, a.Name)
			}
			resources[string(a.Type)+a.Name] = true
		}
	}
}

// TestProvision: the ACLs and the topics for other tools have every topic of the layout,
// and a principal or a name that the tool cannot have is refused.
func TestProvision(t *testing.T) {
	topics := kafka.Names{Prefix: "shop."}.All()
	for _, args := range []string{
		"topics acls serve --principal User:a", "topics acls tools --principal User:a --output strimzi", "topics acls view --principal User:a --output terraform",
		"topics plan --output strimzi --partitions 6", "topics plan --output terraform --partitions 6",
	} {
		got := tollbridge(t, "", append(strings.Fields(args), "--prefix", "shop.")...)
		if got.code != 0 || got.err != "" {
			t.Errorf("%s: exit %d: %s", args, got.code, got.err)
		}
		for _, topic := range topics {
			if !strings.Contains(got.out, topic) {
				t.Errorf("%s: the topic %s is missing", args, topic)
			}
		}
	}
	for args, want := range map[string]string{
		"acls serve":                                                        "--principal: expected a principal of Kafka",
		"acls serve --principal tollbridge":                                 "such as User:tollbridge",
		"acls owner --principal User:a":                                     "expected serve, apply, view, tools or consumer",
		"acls consumer --principal User:a":                                  "needs the name of its consumer group",
		"acls serve --principal User:a --group g":                           "uses no consumer group",
		"acls view --principal User:a --topics x":                           "only those of a consumer",
		"acls consumer --principal User:a --group g --topics webhooks.dead": "neither an event type nor its topic",
		"acls serve --principal User:a --output xml":                        "--output",
		"acls serve --principal User:A_b --output strimzi":                  "Strimzi names its users",
		"plan --output xml":                                                 "--output",
		"plan --output strimzi --partitions 6 --prefix _a":                  "kafka.prefix",
		"plan --output strimzi":                                             "set kafka.partitions",
		"plan --output terraform":                                           "set kafka.partitions",
	} {
		got := tollbridge(t, "", append([]string{"topics"}, strings.Fields(args)...)...)
		if got.code != 2 || !strings.Contains(got.err, want) {
			t.Errorf("topics %s: exit %d, %s; want 2 and %q", args, got.code, got.err, want)
		}
	}
	got := tollbridge(t, "", "topics", "acls", "consumer", "--principal", "User:it's ${a}", "--group", "g", "--topics", "payment.captured")
	if want := `--allow-principal 'User:it'\''s ${a}'`; !strings.Contains(got.out, want) || strings.Count(got.out, "--topic ") != 1 {
		t.Errorf("got %s, want %s and one topic", got.out, want)
	}
	got = tollbridge(t, "", "topics", "acls", "consumer", "--principal", "User:CN=it", "--group", "g", "--output", "strimzi")
	if !strings.Contains(got.out, "type: tls") || !strings.Contains(got.out, "name: it\n") {
		t.Errorf("got %s, want a user with a client certificate", got.out)
	}
}

// TestWatchedFiles: the files that are watched are all those that a reload reads, in one
// order, although the secrets have none.
func TestWatchedFiles(t *testing.T) {
	c := config{file: "tollbridge.yaml"}
	if err := parseConfig([]byte(`{kafka: {tls: {ca: ca.pem, cert: client.pem, key: client.key},
  sasl: {mechanism: OAUTHBEARER, oauth: {token_url: "https://sso.example.com", client_id: a, client_secret: {file: oauth}, ca: sso.pem}}},
console: {password: {file: console}},
endpoints: [{connector: stripe, secrets: {main: {file: s1}, next: {file: s2}, third: {file: s1}}, api: {keys: {main: {file: k1}, next: {file: k2}}}}]}`), &c); err != nil {
		t.Fatal(err)
	}
	want := []string{"ca.pem", "client.key", "client.pem", "console", "k1", "k2", "oauth", "s1", "s2", "sso.pem", "tollbridge.yaml"}
	for range 20 {
		if got := c.files(); !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}
