package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// TestReadme types what README.md says under "Run it", in a clone of the repository. Only
// the addresses are others, so that the test disturbs nothing on this machine.
func TestReadme(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the program from a clone")
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Run it\n")
	_, block, _ := strings.Cut(section, "\n```\n")
	block, after, _ := strings.Cut(block, "```\n")
	send, _, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(after), "`"), "`")
	if !ok || !strings.Contains(block, "tollbridge serve") || !strings.HasPrefix(send, "tollbridge send ") {
		t.Fatalf("README.md has no commands under Run it: %q, %q", block, send)
	}
	clone := filepath.Join(t.TempDir(), "tollbridge")
	if out, err := exec.CommandContext(t.Context(), "git", "clone", "-q", "../..", clone).CombinedOutput(); err != nil {
		t.Skipf("NOT TESTED: the commands of README.md, since this is no git repository: %v %s", err, out)
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	bin, listen, admin := t.TempDir(), freePort(t), freePort(t)
	environment := append(os.Environ(), "GOBIN="+bin, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"),
		"TOLLBRIDGE_BROKERS="+cluster.ListenAddrs()[0], "TOLLBRIDGE_LISTEN="+listen, "TOLLBRIDGE_ADMIN="+admin)
	var log screen
	serve := exec.CommandContext(t.Context(), "sh", "-e", "-c", block)
	serve.Dir, serve.Env, serve.Stdout, serve.Stderr = clone, environment, &log, &log
	serve.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the shell and serve get signals together
	serve.Cancel = func() error { return syscall.Kill(-serve.Process.Pid, syscall.SIGTERM) }
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve.Wait() }()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if a, err := http.Get("http://" + admin + "/readyz"); err == nil {
			_, _ = io.Copy(io.Discard, a.Body)
			a.Body.Close()
			if a.StatusCode == http.StatusOK {
				break
			}
		}
		select {
		case err := <-ended:
			t.Fatalf("%v: %s", err, log.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("serve is not ready: %s", log.String())
		}
	}
	var out bytes.Buffer
	sent := exec.CommandContext(t.Context(), "sh", "-e", "-c", fmt.Sprintf("%s --to http://%s/webhooks/stripe", send, listen))
	sent.Dir, sent.Env, sent.Stdout, sent.Stderr = clone, environment, &out, &out
	if err := sent.Run(); err != nil || !strings.HasPrefix(out.String(), "200 OK") || !strings.Contains(out.String(), `topic="payment.captured"`) {
		t.Errorf("%s: %v, %s", send, err, out.String())
	}
	if err := serve.Cancel(); err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("serve does not stop")
	}
	if changed, err := exec.Command("git", "-C", clone, "status", "--short").Output(); err != nil || strings.TrimSpace(string(changed)) != "" {
		t.Errorf("the clone is changed: %v\n%s", err, changed)
	}
}
