package ingest_test

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestPythonClient runs the Python client of docs/handle-event.md.
func TestPythonClient(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("NOT TESTED: the Python client of docs/handle-event.md: there is no python3")
	}
	page, err := os.ReadFile("../docs/handle-event.md")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(page), "```python\n")
	program, _, found := strings.Cut(program, "```")
	if !found {
		t.Fatal("docs/handle-event.md has no Python program")
	}
	b := newBridge(t)
	b.Now = time.Now
	server := httptest.NewServer(b.Admin(prometheus.NewRegistry()))
	defer server.Close()
	payload := captured(t)
	ask := func(signature string) (string, error) {
		out, err := exec.CommandContext(t.Context(), python, "-c", program, server.URL+"/v1/handle_event", string(payload), signature, "whsec_dev_stripe").CombinedOutput()
		return string(out), err
	}
	if out, err := ask(signedAt(t, payload, time.Now())); err != nil || out != "payment.captured order-43\n" {
		t.Errorf("%v, %q", err, out)
	}
	if out, err := ask("t=1,v1=00"); err == nil || !strings.Contains(out, "HTTP Error 401") {
		t.Errorf("a wrong signature: %v, %q", err, out)
	}
}
