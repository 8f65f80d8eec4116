package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/ingest"
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
