// Package deploy_test checks the chart, the plain manifests, the systemd unit, the packages and
// the dashboard. It renders the chart with Helm's own library, and validates each resource with
// kubectl-validate, as an API server would. It is a module of its own, so that tollbridge does
// not depend on these libraries.
package deploy_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write kubernetes/tollbridge.yaml anew")

// kubernetes is the oldest version that the chart supports.
const kubernetes = "1.30"

// minimal are the values that every installation must set.
const minimal = `
config:
  public_url: https://pay.example.com
  kafka: {brokers: ["kafka-0.kafka:9092", "kafka-1.kafka:9092", "kafka-2.kafka:9092"], partitions: 12, replication: 3}
  endpoints:
    - connector: stripe
      secrets: {main: {file: /run/secrets/tollbridge/stripe}}
`

// renderFiles returns what the chart's templates make, by the path of the template.
func renderFiles(t *testing.T, release, values string) (map[string]string, error) {
	t.Helper()
	chart, err := loader.Load("helm/tollbridge")
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := yaml.Unmarshal([]byte(values), &v); err != nil {
		t.Fatal(err)
	}
	capabilities := common.DefaultCapabilities.Copy()
	capabilities.KubeVersion = common.KubeVersion{Version: "v" + kubernetes + ".0", Major: "1", Minor: "30"}
	all, err := util.ToRenderValues(chart, v, common.ReleaseOptions{Name: release, Namespace: "payments", IsInstall: true}, capabilities)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.Render(chart, all)
}

// render returns the chart's resources by file and position.
func render(t *testing.T, release, values string) (map[string]map[string]any, error) {
	t.Helper()
	files, err := renderFiles(t, release, values)
	if err != nil {
		return nil, err
	}
	resources := map[string]map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Ext(name) != ".yaml" {
			continue
		}
		for i, text := range documents(files[name]) {
			var r map[string]any
			if err := yaml.UnmarshalStrict([]byte(text), &r); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, text)
			}
			resources[path.Base(name)+"#"+strconv.Itoa(i)] = r
		}
	}
	return resources, nil
}

// documents splits a YAML file, and leaves out documents with only comments.
func documents(file string) (all []string) {
	for _, text := range regexp.MustCompile(`(?m)^---$`).Split(file, -1) {
		if strings.TrimSpace(regexp.MustCompile(`(?m)^\s*#.*$`).ReplaceAllString(text, "")) != "" {
			all = append(all, text)
		}
	}
	return all
}

// everything are values that switch all resources on.
const everything = minimal + `
applyTopics: true
secret: {existing: payments-secrets}
externalSecret:
  enabled: true
  store: {kind: ClusterSecretStore, name: vault}
  data: [{key: stripe, remote: payments/stripe, property: webhook_secret}]
image: {digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}
imagePullSecrets: [{name: registry}]
state: {size: 20Gi, storageClass: fast, minFree: 1073741824}
service: {type: LoadBalancer, port: 443, annotations: {a: b}}
ingress: {enabled: true, className: nginx, host: pay.example.com, annotations: {a: b}, tlsSecret: pay-tls}
networkPolicy: {webhooksFrom: [{ipBlock: {cidr: 203.0.113.0/24}}], kafkaTo: [{podSelector: {matchLabels: {app: kafka}}}], collectorTo: [{podSelector: {matchLabels: {app: collector}}}]}
serviceMonitor: {enabled: true, labels: {release: prometheus}}
prometheusRule: {enabled: true, labels: {release: prometheus}}
nodeSelector: {kubernetes.io/arch: amd64}
tolerations: [{key: payments, operator: Exists}]
affinity: {nodeAffinity: {}}
podAnnotations: {a: b}
podLabels: {team: payments}
priorityClassName: high
extraEnv: [{name: OTEL_EXPORTER_OTLP_ENDPOINT, value: "http://collector:4318"}]
`

// nothingOptional are values that switch off what can be switched off.
const nothingOptional = `
podDisruptionBudget: {enabled: false}
networkPolicy: {enabled: false}
topologySpread: {enabled: false}
preStopSeconds: 0
`

// valueSets are the sets of values with which the chart is rendered.
var valueSets = map[string]string{
	"minimal": minimal, "everything": everything, "one replica": minimal + "replicas: 1\n", "nothing optional": minimal + nothingOptional,
	"existing Secret": minimal + "secret: {existing: payments-secrets}\nserviceMonitor: {enabled: true}\n",
}

// TestChart renders the chart with several sets of values, and finds the resources that they
// ask for, without an unknown field. TestValid validates the values of the fields.
func TestChart(t *testing.T) {
	check := schemas(t)
	for name, values := range valueSets {
		t.Run(name, func(t *testing.T) {
			resources, err := render(t, "payments", values)
			if err != nil {
				t.Fatal(err)
			}
			kinds := map[string]bool{}
			for file, r := range resources {
				kinds[fmt.Sprint(r["kind"])] = true
				if err := check(r); err != nil {
					t.Errorf("%s: %v", file, err)
				}
			}
			want := []string{"ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Service", "StatefulSet"}
			switch name {
			case "everything":
				want = []string{"ConfigMap", "ExternalSecret", "Ingress", "NetworkPolicy", "PodDisruptionBudget", "PrometheusRule", "Service", "ServiceMonitor", "StatefulSet"}
			case "existing Secret":
				want = []string{"ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceMonitor", "StatefulSet"}
			case "one replica": // a budget would block every drain
				want = []string{"ConfigMap", "NetworkPolicy", "Service", "StatefulSet"}
			case "nothing optional":
				want = []string{"ConfigMap", "Service", "StatefulSet"}
			}
			if got := slices.Sorted(maps.Keys(kinds)); !slices.Equal(got, want) {
				t.Errorf("kinds %v, want %v", got, want)
			}
		})
	}
}

// TestCollector: the network policy lets spans out if a collector is named.
func TestCollector(t *testing.T) {
	for values, want := range map[string]bool{minimal: false, everything: true} {
		resources, err := render(t, "payments", values)
		if err != nil {
			t.Fatal(err)
		}
		policy, err := yaml.Marshal(resources["networkpolicy.yaml#0"])
		if err != nil || !strings.Contains(string(policy), "port: 9092") || strings.Contains(string(policy), "port: 4318") != want {
			t.Errorf("%v; traces should be allowed: %t\n%s", err, want, policy)
		}
	}
}

// schemas returns a function that decodes a resource: an unknown kind, an unknown or repeated
// field and a value of a wrong type are errors.
func schemas(t *testing.T) func(map[string]any) error {
	t.Helper()
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	return func(r map[string]any) error {
		text, err := yaml.Marshal(r)
		if err != nil {
			return err
		}
		switch r["kind"] {
		case "ServiceMonitor", "PrometheusRule", "ExternalSecret": // TestValid has their schemas
			return nil
		}
		_, _, err = decoder.Decode(text, nil, nil)
		return err
	}
}

// TestDecoderRefuses: the decoder finds a field that does not exist and a value of a wrong
// type.
func TestDecoderRefuses(t *testing.T) {
	check := schemas(t)
	for name, change := range map[string]func(spec map[string]any){
		"unknown field": func(s map[string]any) { s["replica"] = 2 },
		"wrong type":    func(s map[string]any) { s["replicas"] = "two" },
	} {
		resources, err := render(t, "payments", minimal)
		if err != nil {
			t.Fatal(err)
		}
		r := resources["statefulset.yaml#0"]
		change(r["spec"].(map[string]any))
		if check(r) == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestValues: values that cannot work are refused with an error that names them.
func TestValues(t *testing.T) {
	for values, want := range map[string]string{
		"":                                       "brokers",
		minimal + "replicas: 0\n":                "replicas",
		strings.ReplaceAll(minimal, ":9092", ""): "brokers",
		minimal + "externalSecret: {enabled: true}\n":                                   "name",
		minimal + "ingress: {enabled: true}\n":                                          "ingress.host",
		minimal + "networkPolicy: {metricsFrom: []}\n":                                  "metricsFrom",
		strings.Replace(minimal, "config:\n", "config:\n  listen: 127.0.0.1:8080\n", 1): "not",
	} {
		if _, err := render(t, "payments", values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot %v, want an error that names %q", values, err, want)
		}
	}
}

// TestLint runs Helm's own checks.
func TestLint(t *testing.T) {
	var v map[string]any
	if err := yaml.Unmarshal([]byte(everything), &v); err != nil {
		t.Fatal(err)
	}
	for _, m := range lint.RunAll("helm/tollbridge", v, "payments").Messages {
		if m.Severity >= support.WarningSev {
			t.Error(m)
		}
	}
}

// TestSecurity: the containers run without any privilege.
func TestSecurity(t *testing.T) {
	resources, err := render(t, "payments", everything)
	if err != nil {
		t.Fatal(err)
	}
	pod := at(t, resources["statefulset.yaml#0"], "spec", "template", "spec").(map[string]any)
	if at(t, pod, "securityContext", "runAsNonRoot") != true || pod["automountServiceAccountToken"] != false {
		t.Error("the pod may run as root, or has a token of the cluster")
	}
	containers := slices.Concat(pod["containers"].([]any), pod["initContainers"].([]any))
	if len(containers) != 2 {
		t.Fatalf("%d containers, want 2", len(containers))
	}
	for _, c := range containers {
		s := at(t, c, "securityContext").(map[string]any)
		if s["allowPrivilegeEscalation"] != false || s["readOnlyRootFilesystem"] != true || fmt.Sprint(at(t, s, "capabilities", "drop")) != "[ALL]" {
			t.Errorf("%v", s)
		}
	}
}

func at(t *testing.T, v any, keys ...string) any {
	t.Helper()
	for _, k := range keys {
		v = v.(map[string]any)[k]
	}
	if v == nil {
		t.Fatalf("no %s", strings.Join(keys, "."))
	}
	return v
}

// TestConfiguration: tollbridge itself accepts the configuration that the chart makes.
func TestConfiguration(t *testing.T) {
	resources, err := render(t, "payments", minimal)
	if err != nil {
		t.Fatal(err)
	}
	text := at(t, resources["configmap.yaml#0"], "data").(map[string]any)["tollbridge.yaml"].(string)
	checkConfiguration(t, t.TempDir(), text, "/run/secrets/tollbridge/stripe")
}

// TestConsole: with a password from the Secret, tollbridge accepts a console that the whole
// cluster can reach, and the notes of an installation say where it is.
func TestConsole(t *testing.T) {
	for _, login := range []string{"", "  console: {password: {file: /run/secrets/tollbridge/console}}\n"} {
		values := strings.Replace(minimal, "config:\n", "config:\n"+login, 1)
		resources, err := render(t, "payments", values)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		text := at(t, resources["configmap.yaml#0"], "data").(map[string]any)["tollbridge.yaml"].(string)
		if has := strings.Contains(text, "console:"); has != (login != "") {
			t.Errorf("the section console is in the configuration: %t\n%s", has, text)
		}
		password := filepath.Join(dir, "console")
		if err := os.WriteFile(password, []byte("a password for tests"), 0o600); err != nil {
			t.Fatal(err)
		}
		checkConfiguration(t, dir, strings.ReplaceAll(text, "/run/secrets/tollbridge/console", password), "/run/secrets/tollbridge/stripe")
		files, err := renderFiles(t, "payments", values)
		if err != nil {
			t.Fatal(err)
		}
		notes := files["tollbridge/templates/NOTES.txt"]
		if !strings.Contains(notes, "port-forward pod/payments-tollbridge-0 9090") || strings.Contains(notes, "behind a login") != (login != "") {
			t.Errorf("the notes do not say how to reach the console, login %q:\n%s", login, notes)
		}
	}
}

// TestComposeConsole: docker-compose.yml gives tollbridge the password of the console, and
// this machine, and no other, its port.
func TestComposeConsole(t *testing.T) {
	text, err := os.ReadFile("../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Environment map[string]string
			Ports       []string
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	s := file.Services["tollbridge"]
	if !slices.Contains(s.Ports, "127.0.0.1:9090:9090") {
		t.Errorf("the ports %v do not have the console's", s.Ports)
	}
	for password, want := range map[string]bool{"a password for tests": true, "": false, "short": false} {
		check := exec.Command(program(t), "config", "check", "--config", "../tollbridge.yaml")
		for name := range s.Environment {
			value := map[string]string{"STRIPE_WEBHOOK_SECRET": "whsec_deploy_test", "TOLLBRIDGE_CONSOLE_PASSWORD": password}[name]
			check.Env = append(check.Env, name+"="+value)
		}
		if out, err := check.CombinedOutput(); (err == nil) != want || !want && !strings.Contains(string(out), "console") {
			t.Errorf("config check with the password %q: %v: %s", password, err, out)
		}
	}
}

// folder is for what several tests share.
var folder string

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if folder, err = os.MkdirTemp("", "tollbridge-deploy-*"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

// buildOnce builds tollbridge once and returns the path of the program.
var buildOnce = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(folder, "tollbridge")
	build := exec.Command("go", "build", "-o", binary, "./cmd/tollbridge")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return binary, nil
})

// program returns the path of tollbridge.
func program(t *testing.T) string {
	t.Helper()
	binary, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// checkConfiguration has tollbridge check a configuration for Stripe, whose secret is in the
// file secretFile there.
func checkConfiguration(t *testing.T, dir, text, secretFile string) {
	t.Helper()
	secret := filepath.Join(dir, "stripe")
	if err := os.WriteFile(secret, []byte("whsec_deploy_test"), 0o600); err != nil {
		t.Fatal(err)
	}
	text = strings.ReplaceAll(text, secretFile, secret)
	file := filepath.Join(dir, "tollbridge.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program(t), "config", "check", "--config", file).CombinedOutput(); err != nil || !strings.Contains(string(out), "/webhooks/stripe") {
		t.Errorf("config check: %v: %s\n%s", err, out, text)
	}
}

// TestManifests: kubernetes/tollbridge.yaml is what the chart makes of kubernetes/values.yaml.
func TestManifests(t *testing.T) {
	values, err := os.ReadFile("kubernetes/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	resources, err := render(t, "tollbridge", string(values))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.WriteString("# Made from the chart in ../helm/tollbridge and values.yaml by `make kubernetes`.\n")
	check := schemas(t)
	for _, name := range slices.Sorted(maps.Keys(resources)) {
		r := resources[name]
		if err := check(r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		text, err := yaml.Marshal(withoutHelm(r))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "---\n%s", text)
	}
	if *update {
		if err := os.WriteFile("kubernetes/tollbridge.yaml", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile("kubernetes/tollbridge.yaml"); err != nil || !bytes.Equal(got, b.Bytes()) {
		t.Errorf("kubernetes/tollbridge.yaml is not what the chart makes (%v): run `make kubernetes`", err)
	}
}

// TestRules: the chart has the alerts of prometheus/rules.yml. A chart cannot read files
// outside of its folder.
func TestRules(t *testing.T) {
	want, err := os.ReadFile("prometheus/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	const file = "helm/tollbridge/files/rules.yml"
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not prometheus/rules.yml (%v): run `make kubernetes`", file, err)
	}
	resources, err := render(t, "payments", everything)
	if err != nil {
		t.Fatal(err)
	}
	var rules, chart struct {
		Groups []struct{ Rules []map[string]any }
	}
	if err := yaml.Unmarshal(want, &rules); err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(resources["prometheusrule.yaml#0"]["spec"])
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &chart); err != nil {
		t.Fatal(err)
	}
	if len(rules.Groups) == 0 || fmt.Sprint(chart) != fmt.Sprint(rules) {
		t.Errorf("the chart's alerts are not those of prometheus/rules.yml")
	}
}

// withoutHelm removes the labels that say that Helm manages a resource.
func withoutHelm(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "helm.sh/chart")
		delete(v, "app.kubernetes.io/managed-by")
		for _, inner := range v {
			withoutHelm(inner)
		}
	case []any:
		for _, inner := range v {
			withoutHelm(inner)
		}
	}
	return v
}

// TestUnit: systemd accepts the unit, and finds it well protected.
func TestUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("no systemd-analyze")
	}
	text, err := os.ReadFile("systemd/tollbridge.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "tollbridge.service")
	program, err := exec.LookPath("true") // the program is not installed here
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(unit, bytes.ReplaceAll(text, []byte("/usr/bin/tollbridge"), []byte(program)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput(); err != nil || bytes.Contains(out, []byte("tollbridge.service:")) {
		t.Errorf("systemd-analyze verify: %v: %s", err, out)
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=15", unit).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v: %s", err, out)
	}
	t.Log(string(out[max(0, len(out)-120):]))
}
