package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

// TestMetricsPage: docs/metrics.md is what /metrics of a server that has just started
// says, so it is current, and every metric in it has series from the start.
func TestMetricsPage(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	config, listen, admin := filepath.Join(t.TempDir(), "tollbridge.yaml"), freePort(t), freePort(t)
	writeFile(t, config, fmt.Sprintf(`{listen: %s, admin: %s, state: "", kafka: {brokers: [%s], partitions: 3, replication: 1},
endpoints: [{connector: stripe, secrets: {main: {value: whsec_of_default}}}, {connector: mollie, api: {keys: {main: {value: test_key_of_mollie_1234567890}}}, gaps: {every: 1h}}]}`, listen, admin, cluster.ListenAddrs()[0]))
	createTopics(t, config)
	s := startServe(t, config, listen, admin)
	until(t, "serve to be ready", s.ready)
	_, text := s.get("/metrics")
	page := metricsPage(text)
	const path = "../../docs/metrics.md"
	if *update {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if current, err := os.ReadFile(path); err != nil || string(current) != page {
		t.Errorf("docs/metrics.md is not current (%v): run make docs", err)
	}
	if !strings.Contains(page, "`tollbridge_webhooks_total` | counter | `connector` `endpoint` `outcome` `reason` `status` |") {
		t.Errorf("the page lacks the metric of webhooks:\n%s", page)
	}
}

// metricsPage returns the page that lists the metrics of a response of /metrics.
func metricsPage(text string) string {
	help, kind, labels := map[string]string{}, map[string]string{}, map[string][]string{}
	name := ""
	label := regexp.MustCompile(`[{,](\w+)="`)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "# HELP "):
			var rest string
			name, rest, _ = strings.Cut(strings.TrimPrefix(line, "# HELP "), " ")
			help[name] = strings.ReplaceAll(rest, "|", "\\|")
		case strings.HasPrefix(line, "# TYPE "):
			kind[name] = line[strings.LastIndexByte(line, ' ')+1:]
		default:
			if labels[name] == nil {
				labels[name] = []string{}
				for _, m := range label.FindAllStringSubmatch(line, -1) {
					if m[1] != "le" {
						labels[name] = append(labels[name], "`"+m[1]+"`")
					}
				}
			}
		}
	}
	names := make([]string, 0, len(help))
	for name := range help {
		if strings.HasPrefix(name, "tollbridge_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteString("# Metrics\n\nThe admin listener serves these metrics at `/metrics`, and those of the Go runtime and the process (`go_…`, `process_…`). This page is generated: `make docs`.\n\n" +
		"The series of every configured endpoint exist from the start, at 0, so that the first event of a kind is an increase. Only endpoints\n" +
		"with `api` have the metrics `tollbridge_fetch_…` and the stage `fetch`.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, name := range names {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, kind[name], strings.Join(labels[name], " "), help[name])
	}
	return b.String()
}

// TestAlerts: each alert links to its section of docs/operating.md, has a unit test, and
// asks only for metrics that exist.
func TestAlerts(t *testing.T) {
	read := func(path string) string {
		b, err := os.ReadFile(filepath.Join("../..", path))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	rules, tests, manual, metrics := read("deploy/prometheus/rules.yml"), read("deploy/prometheus/rules_test.yml"), read("docs/operating.md"), read("docs/metrics.md")
	alerts := regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(rules, -1)
	if len(alerts) < 10 {
		t.Fatalf("found %d alerts", len(alerts))
	}
	for _, a := range alerts {
		name := a[1]
		if link := "docs/operating.md#" + strings.ToLower(name) + "\n"; !strings.Contains(rules, link) {
			t.Errorf("%s has no runbook_url that ends in %s", name, strings.TrimSpace(link))
		}
		if !strings.Contains(manual, "\n### "+name+"\n") {
			t.Errorf("docs/operating.md has no section %s", name)
		}
		if fires := regexp.MustCompile(`alertname: ` + name + `\n +exp_alerts:`); !fires.MatchString(tests) {
			t.Errorf("%s fires in no unit test", name)
		}
		if !strings.Contains(tests, "alertname: "+name+"}") {
			t.Errorf("%s is quiet in no unit test", name)
		}
	}
	for _, metric := range regexp.MustCompile(`tollbridge_\w+`).FindAllString(rules, -1) {
		if !strings.Contains(metrics, "| `"+metric+"` |") {
			t.Errorf("an alert asks for %s, which docs/metrics.md does not have", metric)
		}
	}
}
