package e2e_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"github.com/tollbridge/tollbridge/schemas"
)

// aclRig is a cluster with an authorizer, and a user for each role.
type aclRig struct {
	*tollbridge                 // connects to the listener with users
	admin       *kafkago.Client // may do everything
	open        []string        // brokers' addresses where everything is permitted
}

const (
	aclPassword = "acl-password"
	aclGroup    = "fulfilment"
	aclOrder    = "acl-order"
)

// TestACLs: with exactly the ACLs that `topics acls` prints, each role can do its work on
// a real broker with an authorizer. Without any one of the operations it cannot.
func TestACLs(t *testing.T) {
	users := map[string]string{}
	for _, role := range kafka.Roles() {
		users[string(role)] = aclPassword
	}
	cluster := kafkatest.Start(t, kafkatest.Options{Authorizer: true, Users: users, Listeners: []kafkatest.Listener{{
		Name: "USERS", Protocol: "SASL_PLAINTEXT", Settings: map[string]string{
			"sasl.enabled.mechanisms":        "SCRAM-SHA-512",
			"scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
		},
	}}})
	g := aclRig{tollbridge: build(t, cluster.Listener("USERS")), open: cluster.Bootstrap()}
	var hangUp func()
	g.admin, hangUp = kafka.Config{Brokers: cluster.Bootstrap()}.Client()
	defer hangUp()

	// The order matters: apply creates the topics of all, serve fills them, and the consumer
	// makes Kafka create its topic of offsets, which takes a while.
	for _, role := range []kafka.Role{kafka.RoleApply, kafka.RoleServe, kafka.RoleConsumer, kafka.RoleView, kafka.RoleTools} {
		t.Run(string(role), func(t *testing.T) {
			work := map[kafka.Role]func(*testing.T, context.Context) error{
				kafka.RoleApply: g.apply, kafka.RoleServe: g.serveAndDeliver, kafka.RoleView: g.view, kafka.RoleTools: g.tools, kafka.RoleConsumer: g.consume,
			}[role]
			acls := g.printed(t, role)
			g.grant(t, role, acls)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := work(t, ctx); err != nil {
				t.Fatalf("with the printed ACLs: %v", err)
			}
			for _, less := range withoutOne(acls) {
				g.grant(t, role, less.acls)
				ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
				err := work(t, ctx)
				if err == nil {
					t.Errorf("%s works also without %s: the list of its ACLs is not minimal", role, less.what)
				}
				cancel()
				why := strings.ToLower(fmt.Sprint(err))
				if err != nil && !strings.Contains(why, "authoriz") && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("without %s: %v; want an error about the authorization, or none in time", less.what, err)
				}
			}
			g.grant(t, role, acls)
			if role == kafka.RoleView {
				g.viewSome(t, acls)
			}
		})
	}
}

// viewSome takes the rights on all event topics but one from the role view, and then on
// that one too. Kafka must say which topics the role may not read.
func (g aclRig) viewSome(t *testing.T, acls []kafkago.ACLEntry) {
	t.Helper()
	one := g.names.Event(schemas.PaymentCaptured)
	less := slices.DeleteFunc(slices.Clone(acls), func(a kafkago.ACLEntry) bool {
		return a.ResourceName != one && slices.Contains(g.names.Events(), a.ResourceName)
	})
	g.grant(t, kafka.RoleView, less)
	const why = "the user is not authorized to read"
	tail, err := exec.CommandContext(t.Context(), g.binary, "tail", "--exit", "--from", "1h", "--config", g.config).CombinedOutput()
	if err != nil || !strings.Contains(string(tail), aclOrder) || !strings.Contains(string(tail), why) {
		t.Errorf("tail with the rights on one event topic: %v; want the events of the topic and a warning: %s", err, tail)
	}
	if err := g.run(t.Context(), "replay --from 1h"); err == nil || !strings.Contains(err.Error(), "tollbridge: "+why) {
		t.Errorf("replay with the rights on one event topic: %v, want an error about the others", err)
	}
	g.grant(t, kafka.RoleView, slices.DeleteFunc(less, func(a kafkago.ACLEntry) bool { return a.ResourceName == one }))
	if err := g.run(t.Context(), "tail --exit --from 1h"); err == nil || !strings.Contains(err.Error(), "tollbridge: "+why) {
		t.Errorf("tail without rights on event topics: %v, want an error about them", err)
	}
	g.grant(t, kafka.RoleView, acls)
}

// as writes the configuration with which a role connects.
func (g aclRig) as(t *testing.T, role kafka.Role) {
	t.Helper()
	g.sasl = map[string]any{"mechanism": "SCRAM-SHA-512", "username": role, "password": map[string]string{"value": aclPassword}}
	if err := os.WriteFile(g.config, g.yaml(t), 0o600); err != nil {
		t.Fatal(err)
	}
}

// printed returns the ACLs that a shell gives to kafka-acls.sh if it runs the output of
// `topics acls`. It checks that they are the same in JSON.
func (g aclRig) printed(t *testing.T, role kafka.Role) (acls []kafkago.ACLEntry) {
	t.Helper()
	g.as(t, role)
	principal := "User:" + string(role)
	args := []string{"topics", "acls", string(role), "--principal", principal}
	if role != kafka.RoleServe && role != kafka.RoleApply {
		args = append(args, "--group", aclGroup)
	}
	tool := t.TempDir()
	if err := os.WriteFile(filepath.Join(tool, "kafka-acls.sh"), []byte("#!/bin/sh\nprintf '%s\\n' \"$@\" end\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	shell := exec.Command("sh", "-e", "-c", g.command(t, args...))
	shell.Env = append(os.Environ(), "PATH="+tool+":"+os.Getenv("PATH"))
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	kinds := map[string]kafkago.ResourceType{"--topic": kafkago.ResourceTypeTopic, "--group": kafkago.ResourceTypeGroup, "--transactional-id": kafkago.ResourceTypeTransactionalID}
	for _, call := range strings.SplitAfter(string(out), "\nend\n") {
		words := strings.Split(strings.TrimSuffix(call, "end\n"), "\n")
		var operations []kafkago.ACLOperationType
		for i, word := range words[:len(words)-1] {
			switch value := words[i+1]; word {
			case "--bootstrap-server":
				if value != strings.Join(g.brokers, ",") {
					t.Errorf("--bootstrap-server %s, want %v", value, g.brokers)
				}
			case "--allow-principal":
				if value != principal {
					t.Errorf("--allow-principal %s, want %s", value, principal)
				}
			case "--operation":
				var o kafkago.ACLOperationType
				if err := o.UnmarshalText([]byte(value)); err != nil {
					t.Fatal(err)
				}
				operations = append(operations, o)
			case "--topic", "--group", "--transactional-id":
				for _, o := range operations {
					acls = append(acls, kafkago.ACLEntry{
						ResourceType: kinds[word], ResourceName: value, ResourcePatternType: kafkago.PatternTypeLiteral,
						Principal: principal, Host: "*", Operation: o, PermissionType: kafkago.ACLPermissionTypeAllow,
					})
				}
			}
		}
	}
	var list []kafka.ACL
	if err := json.Unmarshal([]byte(g.command(t, append(args, "--output", "json")...)), &list); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, a := range list {
		n += len(a.Operations)
	}
	if n == 0 || n != len(acls) {
		t.Errorf("%d ACLs as command lines, %d in JSON", len(acls), n)
	}
	return acls
}

// grant replaces all ACLs of a role's user, and waits until the broker knows the new ones.
func (g aclRig) grant(t *testing.T, role kafka.Role, acls []kafkago.ACLEntry) {
	t.Helper()
	principal := "User:" + string(role)
	deleted, err := g.admin.DeleteACLs(t.Context(), &kafkago.DeleteACLsRequest{Filters: []kafkago.DeleteACLsFilter{{
		ResourceTypeFilter: kafkago.ResourceTypeAny, ResourcePatternTypeFilter: kafkago.PatternTypeAny,
		PrincipalFilter: principal, Operation: kafkago.ACLOperationTypeAny, PermissionType: kafkago.ACLPermissionTypeAny,
	}}})
	if err == nil {
		err = deleted.Results[0].Error
	}
	if err != nil {
		t.Fatal(err)
	}
	created, err := g.admin.CreateACLs(t.Context(), &kafkago.CreateACLsRequest{ACLs: acls})
	if err == nil {
		err = errors.Join(created.Errors...)
	}
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		r, err := g.admin.DescribeACLs(t.Context(), &kafkago.DescribeACLsRequest{Filter: kafkago.ACLFilter{
			ResourceTypeFilter: kafkago.ResourceTypeAny, ResourcePatternTypeFilter: kafkago.PatternTypeAny,
			PrincipalFilter: principal, Operation: kafkago.ACLOperationTypeAny, PermissionType: kafkago.ACLPermissionTypeAny,
		}})
		n := 0
		if err == nil {
			for _, resource := range r.Resources {
				n += len(resource.ACLs)
			}
		}
		if n == len(acls) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the broker has %d ACLs of %s, want %d: %v", n, principal, len(acls), err)
		}
	}
}

// fewer is a list of ACLs that lacks one operation on a group of resources.
type fewer struct {
	what string
	acls []kafkago.ACLEntry
}

// withoutOne returns the list without each of its operations, for each group of resources
// that have the same operations.
func withoutOne(acls []kafkago.ACLEntry) (all []fewer) {
	operations := map[string]string{} // of each resource
	name := func(a kafkago.ACLEntry) string { return a.ResourceType.String() + " " + a.ResourceName }
	for _, a := range acls {
		operations[name(a)] += " " + a.Operation.String()
	}
	group := func(a kafkago.ACLEntry) string {
		return fmt.Sprintf("%s on each %s that has%s", a.Operation, a.ResourceType, operations[name(a)])
	}
	for _, a := range acls {
		what := group(a)
		if !slices.ContainsFunc(all, func(f fewer) bool { return f.what == what }) {
			all = append(all, fewer{what, slices.DeleteFunc(slices.Clone(acls), func(b kafkago.ACLEntry) bool { return group(b) == what })})
		}
	}
	return all
}

// run runs commands of the program until one fails.
func (g aclRig) run(ctx context.Context, commands ...string) error {
	for _, line := range commands {
		out, err := exec.CommandContext(ctx, g.binary, append(strings.Fields(line), "--config", g.config)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", line, cmp.Or(ctx.Err(), err), out)
		}
	}
	return nil
}

// apply creates topics, and sets the settings of existing ones.
func (g aclRig) apply(t *testing.T, ctx context.Context) error {
	g.as(t, kafka.RoleApply)
	if err := g.run(ctx, "topics apply"); err != nil {
		return err
	}
	altered, err := g.admin.IncrementalAlterConfigs(ctx, &kafkago.IncrementalAlterConfigsRequest{Resources: []kafkago.IncrementalAlterConfigsRequestResource{{
		ResourceType: kafkago.ResourceTypeTopic, ResourceName: g.names.Dead(),
		Configs: []kafkago.IncrementalAlterConfigsRequestConfig{{Name: "retention.ms", Value: "1000000", ConfigOperation: kafkago.ConfigOperationSet}},
	}}})
	if err == nil {
		err = altered.Resources[0].Error
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := g.run(ctx, "topics apply", "topics plan"); err != nil {
		return err
	}
	// The topic must be missing for the next attempt. The broker may list it a moment longer.
	deleted, err := g.admin.DeleteTopics(ctx, &kafkago.DeleteTopicsRequest{Topics: []string{g.names.Dead()}})
	if err == nil {
		err = deleted.Errors[g.names.Dead()]
	}
	if err != nil {
		t.Fatal(err)
	}
	for time.Sleep(200 * time.Millisecond); ; time.Sleep(50 * time.Millisecond) {
		m, err := g.admin.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{g.names.Dead()}})
		if err == nil && errors.Is(m.Topics[0].Error, kafkago.UnknownTopicOrPartition) {
			return nil
		}
	}
}

// serveAndDeliver runs the server until it has answered webhooks of each outcome, and a
// redelivery.
func (g aclRig) serveAndDeliver(t *testing.T, ctx context.Context) error {
	g.as(t, kafka.RoleApply)
	if err := g.run(t.Context(), "topics apply"); err != nil {
		t.Fatal(err)
	}
	g.as(t, kafka.RoleServe)
	server := exec.CommandContext(ctx, g.binary, "serve", "--config", g.config)
	log := &lockedBuffer{}
	server.Stdout, server.Stderr = log, log
	server.Cancel = func() error { return server.Process.Signal(os.Interrupt) }
	server.WaitDelay = 10 * time.Second
	if err := os.RemoveAll(filepath.Join(filepath.Dir(g.config), "state")); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	defer func() {
		_ = server.Process.Signal(os.Interrupt)
		<-ended
	}()
	for {
		err := g.deliverAll()
		if err == nil {
			return nil
		}
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("serve ended: %w: %s", err, log)
		case <-ctx.Done():
			return fmt.Errorf("%w: %s: %s", ctx.Err(), err, log)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// deliverAll delivers a webhook of each outcome.
func (g aclRig) deliverAll() error {
	r, err := http.Get(g.tollbridge.admin + "/readyz")
	if err != nil {
		return err
	}
	r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz is answered %s", r.Status)
	}
	order := "acl-" + strconv.FormatInt(time.Now().UnixNano(), 10)
	receipt := ""
	for _, payload := range [][]byte{
		captured(order), disputed(order), captured(order), captured(aclOrder), // the third is a redelivery
		[]byte(`{"id":"evt_1","object":"event","type":"customer.created","created":1767225600,"livemode":false,"data":{"object":{}}}`), // ignored
		[]byte(`not JSON`), // a dead letter
	} {
		a, err := g.send("stripe", payload)
		if err != nil {
			return err
		}
		a.Body.Close()
		if a.StatusCode != http.StatusOK {
			return fmt.Errorf("%s is answered %s", payload, a.Status)
		}
		if string(payload) == string(captured(order)) {
			got, _, _ := strings.Cut(a.Header.Get("Tollbridge-Receipt"), ",") // after it comes the archived webhook, which differs
			if receipt == "" {
				receipt = got
			} else if got != receipt {
				return fmt.Errorf("the redelivery has the receipt %s, want %s", got, receipt)
			}
		}
	}
	return nil
}

// view runs each command that only reads.
func (g aclRig) view(t *testing.T, ctx context.Context) error {
	g.as(t, kafka.RoleView)
	err := g.run(ctx, "tail --exit --from 1h", "timeline "+aclOrder, "references get pi_"+aclOrder, "dead list", "dead retry --endpoint none", "replay --from 1h", "rewind "+aclGroup+" --to earliest --topics "+string(schemas.PaymentCaptured))
	if err != nil {
		return err
	}
	if err := g.run(ctx, "replay --from 1h --publish"); err == nil {
		t.Error("the role view can write")
	}
	return nil
}

// tools runs each command that writes.
func (g aclRig) tools(t *testing.T, ctx context.Context) error {
	g.as(t, kafka.RoleTools)
	letters := *g.tollbridge
	letters.brokers = g.open
	letters.bury(t)
	if err := g.run(ctx, "tail --exit --from 1h", "dead discard --from 1h --note test --apply"); err != nil {
		return err
	}
	letters.bury(t)
	return g.run(ctx, "dead retry --from 1h --publish", "replay --from 1h --publish", "rewind "+aclGroup+" --to earliest --topics "+string(schemas.PaymentCaptured)+" --apply")
}

// consume reads an event as a member of a consumer group.
func (g aclRig) consume(t *testing.T, ctx context.Context) error {
	mechanism, err := scram.Mechanism(scram.SHA512, string(kafka.RoleConsumer), aclPassword)
	if err != nil {
		t.Fatal(err)
	}
	r := kafkago.NewReader(kafkago.ReaderConfig{
		Brokers: g.brokers, GroupID: aclGroup, GroupTopics: g.names.Events(), StartOffset: kafkago.FirstOffset,
		MaxWait: 100 * time.Millisecond, RebalanceTimeout: time.Second, Dialer: &kafkago.Dialer{SASLMechanism: mechanism, Timeout: 5 * time.Second},
	})
	defer r.Close()
	m, err := r.FetchMessage(ctx)
	if err != nil {
		return err
	}
	return r.CommitMessages(ctx, m)
}
