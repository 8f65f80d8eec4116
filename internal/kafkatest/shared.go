package kafkatest

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// shared is the one-broker cluster of all tests in a test binary.
var shared struct {
	sync.Once
	owned   bool // Main must stop it
	cluster *Cluster
	err     error
}

// Main runs a package's tests, and then stops the cluster that Bootstrap shares among them:
//
//	func TestMain(m *testing.M) { kafkatest.Main(m) }
func Main(m *testing.M) {
	shared.owned = true
	code := m.Run()
	if shared.cluster != nil {
		if err := shared.cluster.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "kafkatest: the shared cluster is not ended cleanly, look for leftovers:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Bootstrap returns the addresses of a cluster of one broker that all tests of the package share. The first call
// starts it, and Main stops it. Each test must use topics of its own. If no Kafka is available it skips the test, as
// Start does.
func Bootstrap(t testing.TB) []string {
	t.Helper()
	if !shared.owned {
		t.Fatal("kafkatest: nothing would stop the shared cluster; add func TestMain(m *testing.M) { kafkatest.Main(m) }")
	}
	shared.Do(func() { shared.cluster, shared.err = start(Options{}) })
	reportStart(t, Options{}, shared.cluster, shared.err)
	return shared.cluster.Bootstrap()
}
