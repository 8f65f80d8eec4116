package kafkatest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// reportStart reports the result of a start. It skips or fails the test if there is no cluster.
func reportStart(t testing.TB, o Options, c *Cluster, err error) {
	t.Helper()
	switch {
	case err == nil:
		why := ""
		if len(c.missed) > 0 {
			why = ", since there is " + strings.Join(c.missed, ", ")
		}
		t.Logf("real Kafka: %s at %s%s", c, strings.Join(c.bootstrap, ","), why)
		Report(t, "real Kafka: %s (package %s)", c, testedPackage())
	case !errors.As(err, new(unavailable)):
		t.Fatalf("kafkatest: %v", err)
	default:
		tests := "tests"
		if o.Faults {
			tests = "fault tests"
		}
		Report(t, "NO REAL KAFKA: package %s skipped its %s against one (%v)", testedPackage(), tests, err)
		text := fmt.Sprintf("NOT TESTED AGAINST A REAL KAFKA: %s (%v). %s", t.Name(), err, remedy(o))
		if os.Getenv("TOLLBRIDGE_REQUIRE_KAFKA") != "" {
			t.Fatal(text + " The test fails instead of being skipped because TOLLBRIDGE_REQUIRE_KAFKA is set.")
		}
		t.Skip(text)
	}
}

func remedy(o Options) string {
	if o.java() {
		return "To run it, install java 17 or later and mvn: it needs brokers of its own."
	}
	return "To run it, set KAFKA_BROKERS=host:port, or start a Docker engine that has or can pull " + image +
		", or install java 17 or later and mvn."
}

var reported sync.Map

// Report appends a line to the file that TOLLBRIDGE_KAFKA_REPORT names, once for each run of a test binary.
func Report(t testing.TB, format string, args ...any) {
	t.Helper()
	name, line := os.Getenv("TOLLBRIDGE_KAFKA_REPORT"), fmt.Sprintf(format, args...)
	if _, done := reported.LoadOrStore(name+"\n"+line, true); name == "" || done {
		return
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = fmt.Fprintln(f, line)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Errorf("kafkatest: TOLLBRIDGE_KAFKA_REPORT must name a writable file: %v", err)
	}
}

// testedPackage returns the last element of the import path of the package under test.
// Its test binary has this name.
func testedPackage() string {
	return strings.TrimSuffix(strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"), ".test")
}
