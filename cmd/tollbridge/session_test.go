package main

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// readingCommands are command lines that read event topics. Those that compare the topics
// with other events need all of them.
var readingCommands = map[string]struct{ needsAll bool }{
	"tail --exit --from 1h":            {},
	"tail --received --exit --from 1h": {},
	"timeline order-1":                 {},
	"timeline order-1 --scan":          {},
	"dead list":                        {},
	"references get pi_1":              {},
	"endpoints":                        {},
	"dead retry --endpoint none":       {},
	"replay --from 1h":                 {needsAll: true},
	"gaps --connector stripe":          {needsAll: true},
}

// runWith runs a command line with a configuration, and returns its output and errors.
func runWith(t *testing.T, line, config string) (code int, out string) {
	t.Helper()
	got := tollbridge(t, "", append(strings.Fields(line), "--config", config)...)
	return got.code, got.out + got.err
}

// TestNoTopics: commands that read topics fail if there is no event topic, and say where
// they looked and what to do.
func TestNoTopics(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	brokers := cluster.ListenAddrs()[0]
	config := rightsConfig(t, brokers, "")
	for line := range readingCommands {
		code, out := runWith(t, line, config)
		for _, want := range []string{"topics apply", "--prefix", brokers} {
			if code != 1 || !strings.Contains(out, want) {
				t.Errorf("%s: exit code %d, want 1; the output does not contain %q: %s", line, code, want, out)
			}
		}
	}
}

// TestRights: a user who may read no event topic gets an error about the rights from each
// command, and a user who may read some of them a warning, or an error where all are
// needed.
func TestRights(t *testing.T) {
	names := kafka.Names{}
	may := func(topics ...string) (acls []kfake.ACL) {
		for _, topic := range topics {
			for _, o := range []kmsg.ACLOperation{kmsg.ACLOperationRead, kmsg.ACLOperationDescribe} {
				acls = append(acls, kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: topic, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: o, Allow: true})
			}
		}
		return acls
	}
	others := []string{names.Received(), names.Dead(), names.References()}
	all := kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: "*", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: kmsg.ACLOperationAll, Allow: true}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", "x"),
		kfake.SeedTopics(2, names.All()...), kfake.User("PLAIN", "all", "x", all), kfake.User("PLAIN", "none", "x", may(others...)...),
		kfake.User("PLAIN", "some", "x", may(append(others, names.Event(schemas.PaymentCaptured), names.Event(schemas.RefundSucceeded))...)...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	brokers := cluster.ListenAddrs()[0]
	const why, rights = "the user is not authorized to read", "topics acls view"
	for line, c := range readingCommands {
		if code, out := runWith(t, line, rightsConfig(t, brokers, "none")); code != 1 || !strings.Contains(out, why) || !strings.Contains(out, rights) {
			t.Errorf("%s without rights: exit code %d, want 1 and the reason: %s", line, code, out)
		}
		_, out := runWith(t, line, rightsConfig(t, brokers, "some"))
		if !strings.Contains(out, "warning: what follows may be incomplete: "+why) || !strings.Contains(out, rights) {
			t.Errorf("%s with some rights gives no warning: %s", line, out)
		}
		if failed := strings.Contains(out, "tollbridge: "+why); failed != c.needsAll {
			t.Errorf("%s with some rights fails because of the others: %v, want %v: %s", line, failed, c.needsAll, out)
		}
		if strings.HasPrefix(line, "gaps") {
			continue // it would ask Stripe
		}
		if _, out := runWith(t, line, rightsConfig(t, brokers, "all")); strings.Contains(out, "authorized") {
			t.Errorf("%s with all rights: %s", line, out)
		}
	}
	if code, out := runWith(t, "tail --exit --from 1h --type payment.captured", rightsConfig(t, brokers, "some")); code != 0 {
		t.Errorf("tail of a topic that the user may read: exit code %d: %s", code, out)
	}
	code, out := runWith(t, "tail --exit --from 1h --type payment.failed", rightsConfig(t, brokers, "some"))
	if want := "topic payment.failed: [29] Topic Authorization Failed"; code != 1 || !strings.Contains(out, want) {
		t.Errorf("tail of a topic that the user may not read: exit code %d, want 1 and %q: %s", code, want, out)
	}
}

// rightsConfig writes a configuration with a Stripe endpoint, and returns its file. If
// user is not empty, it connects to Kafka as this user.
func rightsConfig(t *testing.T, brokers, user string) string {
	t.Helper()
	text := "kafka: {brokers: [" + brokers + "], replication: 1}\nadmin: 127.0.0.1:1\n" +
		"endpoints: [{connector: stripe, secrets: {main: {value: whsec_c2VjcmV0IG9mIGEgdGVzdA}}, api: {keys: {main: {value: rk_test_0123456789}}}}]\n"
	if user != "" {
		text = strings.Replace(text, "replication: 1", "replication: 1, sasl: {mechanism: PLAIN, username: "+user+", password: {value: x}}", 1)
	}
	return configFile(t, text)
}
