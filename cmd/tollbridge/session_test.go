package main

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// TestNoTopics: commands that read topics fail if they see no topic of an event type, and
// say both why that can be and what to do. Kafka answers a user without rights as if there
// were no topics.
func TestNoTopics(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	brokers := cluster.ListenAddrs()[0]
	for _, line := range []string{"tail --exit --from 1h", "tail --received --exit --from 1h", "timeline order-1", "dead list", "references get pi_1"} {
		t.Run(line, func(t *testing.T) {
			c := rootCommand()
			var out strings.Builder
			c.SetOut(&out)
			c.SetErr(&out)
			c.SetArgs(append(strings.Fields(line), "--brokers", brokers))
			err := c.ExecuteContext(t.Context())
			if err == nil {
				t.Fatalf("no error, and the output %q", out.String())
			}
			for _, want := range []string{"topics apply", "topics acls view", "not authorized", brokers} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error %q does not say %q", err, want)
				}
			}
		})
	}
}
