package registry_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/kafkatest"
)

// apicurio is the version of Apicurio Registry that the test runs: a kept registry with
// Confluent's API, whose server is in Maven Central. Confluent's own is not.
const apicurio = "2.6.13.Final"

// startApicurio starts a registry that keeps its schemas in memory, and returns the URL of
// its API. It skips the test where java, mvn or the server cannot be had.
func startApicurio(t *testing.T) string {
	t.Helper()
	dir := fetchApicurio(t)
	port := freePort(t)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	server := exec.Command("java", "-Xmx256m", "-Dquarkus.http.host=127.0.0.1", "-Dquarkus.http.port="+port, "-jar", filepath.Join(dir, "apicurio-registry-app-"+apicurio+"-runner.jar"))
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	t.Cleanup(func() {
		_ = server.Process.Kill()
		<-ended
	})
	url := "http://127.0.0.1:" + port + "/apis/ccompat/v7"
	for start := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		if a, err := http.Get(url + "/subjects"); err == nil {
			a.Body.Close()
			if a.StatusCode == http.StatusOK {
				break
			}
		}
		select {
		case err := <-ended:
			ended <- err
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("the registry ended: %v\n%s", err, text)
		default:
		}
		if time.Since(start) > 2*time.Minute {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("the registry is not ready after two minutes\n%s", text)
		}
	}
	kafkatest.Report(t, "schemas registered in Apicurio Registry %s", apicurio)
	return url
}

// skip skips a test that needs a real registry, and says so in the report.
func skip(t *testing.T, why string) {
	t.Helper()
	kafkatest.Report(t, "NO SCHEMA REGISTRY: no schema was registered in a real one, since %s", why)
	t.Skipf("NOT TESTED with a real schema registry: %s", why)
}

// fetchApicurio returns the folder of the server. The first time, Maven fetches it.
func fetchApicurio(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"java", "mvn", "tar"} {
		if _, err := exec.LookPath(tool); err != nil {
			skip(t, "there is no "+tool)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "tollbridge-registrytest", apicurio)
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	fetched, err := os.MkdirTemp(filepath.Dir(dir), "fetch-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(fetched)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	artifact := fmt.Sprintf("io.apicurio:apicurio-registry-app:%s:tar.gz:all", apicurio)
	mvn := exec.CommandContext(ctx, "mvn", "-q", "-B", "-Dstyle.color=never", "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy", "-Dartifact="+artifact, "-DoutputDirectory="+fetched)
	mvn.WaitDelay = 10 * time.Second // mvn is a script: its java process survives a kill and holds the output open
	if out, err := mvn.CombinedOutput(); err != nil {
		t.Logf("mvn: %v: %.500s", err, out)
		skip(t, "mvn cannot fetch it")
	}
	archive := filepath.Join(fetched, "apicurio-registry-app-"+apicurio+"-all.tar.gz")
	if out, err := exec.Command("tar", "-xzf", archive, "-C", fetched).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	if err := os.Remove(archive); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fetched, dir); err != nil {
		if _, other := os.Stat(dir); other != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
