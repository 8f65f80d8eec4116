package deploy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestValid validates with kubectl-validate, as an API server would, what the chart makes of
// several sets of values, and the plain manifests: against the schemas of the oldest
// Kubernetes that the chart supports, which are in kubectl-validate, and against the
// CustomResourceDefinitions of the operators, which are in testdata/crds. Resources with a
// mistake have to be refused for this mistake. Nothing is fetched from a network.
func TestValid(t *testing.T) {
	dir := t.TempDir()
	mistakes := map[string]string{} // by file: what its error has to name; empty for valid resources
	add := func(name string, resource any, mistake string) {
		text, err := yaml.Marshal(resource)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, strings.NewReplacer("/", "_", " ", "_", "#", "_").Replace(name)+".yaml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		mistakes[file] = mistake
	}
	for name, values := range valueSets {
		resources, err := render(t, "payments", values)
		if err != nil {
			t.Fatal(err)
		}
		for file, r := range resources {
			add(name+" "+file, r, "")
		}
	}
	manifests, err := os.ReadFile("kubernetes/tollbridge.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range documents(string(manifests)) {
		add(fmt.Sprint("manifest ", i), json.RawMessage(toJSON(t, text)), "")
	}
	for name, c := range map[string]struct {
		file    string
		change  func(spec map[string]any)
		mistake string
	}{
		"unknown field":   {"statefulset.yaml#0", func(s map[string]any) { s["replica"] = 2 }, "replica"},
		"wrong type":      {"statefulset.yaml#0", func(s map[string]any) { s["replicas"] = "two" }, "replicas"},
		"missing field":   {"statefulset.yaml#0", func(s map[string]any) { delete(s, "selector") }, "selector"},
		"port":            {"services.yaml#0", func(s map[string]any) { s["ports"] = []any{map[string]any{"port": "http"}} }, "port"},
		"monitor field":   {"servicemonitor.yaml#0", func(s map[string]any) { s["endpoint"] = []any{} }, "endpoint"},
		"monitor value":   {"servicemonitor.yaml#0", func(s map[string]any) { s["endpoints"].([]any)[0].(map[string]any)["interval"] = "often" }, "interval"},
		"rules no name":   {"prometheusrule.yaml#0", func(s map[string]any) { delete(s["groups"].([]any)[0].(map[string]any), "name") }, "name"},
		"external secret": {"externalsecret.yaml#0", func(s map[string]any) { s["secretStoreRef"].(map[string]any)["kind"] = "Vault" }, "kind"},
	} {
		resources, err := render(t, "payments", everything)
		if err != nil {
			t.Fatal(err)
		}
		c.change(resources[c.file]["spec"].(map[string]any))
		add("mistake "+name, resources[c.file], c.mistake)
	}
	crds, err := filepath.Abs("testdata/crds")
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("go", "tool", "-modfile=.ci/kubernetes.mod", "kubectl-validate", "--version", kubernetes, "--local-crds", crds, "--output", "json", dir)
	c.Dir = ".."
	c.Env = append(os.Environ(), "KUBECONFIG=/dev/null", "KUBERNETES_SERVICE_HOST=") // no cluster is asked
	out, err := c.Output()
	var results map[string][]struct{ Status, Message string }
	if decoding := json.Unmarshal(out, &results); decoding != nil {
		var exit *exec.ExitError
		errors.As(err, &exit)
		t.Fatalf("kubectl-validate: %v: %v: %+v\n%s", err, decoding, exit, out)
	}
	for file, mistake := range mistakes {
		r := results[file]
		if len(r) != 1 {
			t.Fatalf("%s: results %v, want one", filepath.Base(file), r)
		}
		switch name := filepath.Base(file); {
		case mistake == "" && r[0].Status != "Success":
			t.Errorf("%s: %s", name, r[0].Message)
		case mistake != "" && (r[0].Status == "Success" || !strings.Contains(r[0].Message, mistake)):
			t.Errorf("%s: %s, %q; want an error that names %s", name, r[0].Status, r[0].Message, mistake)
		}
	}
}

func toJSON(t *testing.T, text string) []byte {
	t.Helper()
	b, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
