// Package faults_test runs the program beside a real Kafka of three brokers,
// with replication 3 and min.insync.replicas 2, hurts one or the other while
// webhooks come, and asks package soak what became of them. It has no code of
// its own.
//
// TOLLBRIDGE_FAULTS=full runs all scenarios, else a short cut of them.
package faults_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/internal/soak"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
)

const (
	partitions = 3               // of every topic
	rate       = 90              // webhooks a second: three brokers, the program and the load share two cores
	tail       = 3 * time.Second // of a run, after the fault
)

// rig is what the scenarios share: brokers that are warm, and topics. A
// scenario has a program of its own.
type rig struct {
	*testing.T  // of the scenario under way
	cluster     *kafkatest.Cluster
	kafka       publish.Config
	client      *kafka.Client
	proxies     *proxies
	dir, binary string
	url, admin  string
	process     *exec.Cmd
	log         *os.File
	run         *soak.Run
	mayDup      int // records that the program's own death may have doubled
}

var scenarios = []struct {
	name  string
	short bool // in the short cut, too
	via   bool // through the proxies
	does  func(*rig)
}{
	{"a leader is stopped", false, false, func(g *rig) {
		b := g.leader()
		g.cluster.Stop(b)
		g.sleep(5)
		g.cluster.Restart(b)
	}},
	{"all brokers are restarted, one after the other", false, false, func(g *rig) {
		for b := 1; b <= 3; b++ {
			g.cluster.Stop(b)
			g.cluster.Restart(b)
			g.inSync()
		}
	}},
	{"a leader hangs for 5 s", true, false, func(g *rig) { g.hang(5) }},
	{"a leader hangs for 40 s", false, false, func(g *rig) { g.hang(40) }},
	{"leaders move", false, false, func(g *rig) {
		for range 4 {
			g.move()
			g.sleep(2)
		}
	}},
	{"all brokers are down for 10 s", false, false, func(g *rig) {
		g.cluster.Kill(1, 2, 3)
		g.sleep(10)
		g.cluster.Restart(1, 2, 3)
	}},
	{"too few replicas are in sync", false, false, func(g *rig) {
		g.cluster.Stop(2, 3)
		g.sleep(8)
		g.cluster.Restart(2, 3)
	}},
	{"a topic is deleted and created anew", false, false, func(g *rig) { g.renew(schemas.PaymentCaptured) }},
	{"replies are lost", true, true, func(g *rig) { g.hurt(noReply, 8) }},
	{"requests are cut in their middle", false, true, func(g *rig) { g.hurt(halfSent, 8) }},
	{"the network is slow", false, true, func(g *rig) { g.hurt(slow, 8) }},
	{"writes are throttled", false, false, func(g *rig) { g.throttle(10) }},
	{"tollbridge is killed", true, false, func(g *rig) {
		g.sleep(2)
		// What was written and not answered is a second record when it is sent
		// again: what was delivered is remembered in memory only.
		g.mayDup = g.run.InFlight() + 1 // one may begin before the signal is there
		g.end(syscall.SIGKILL)
		g.serve(false)
	}},
	{"tollbridge is stopped", false, false, func(g *rig) {
		g.sleep(2)
		g.end(syscall.SIGTERM)
		g.serve(false)
	}},
	{"a leader is killed", true, false, func(g *rig) {
		b := g.leader()
		g.cluster.Kill(b)
		g.sleep(8)
		if full { // its recovery takes half a minute, and the short cut ends here
			g.cluster.Restart(b)
		}
	}},
}

// full says that all scenarios are to be run.
var full = os.Getenv("TOLLBRIDGE_FAULTS") == "full"

// TestFaults: whatever happens, what was answered 2xx is in Kafka, once and in
// order.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes more than a minute")
	}
	g := newRig(t, 3)
	for _, s := range scenarios {
		if !s.short && !full {
			continue
		}
		t.Run(s.name, func(t *testing.T) { g.play(t, s.via, s.does) })
	}
}

// TestMillion: a million webhooks leave nothing behind in the program. It
// compares the last fifth with the second: the first warms up.
func TestMillion(t *testing.T) {
	if !full {
		t.Skip("takes minutes")
	}
	const count, parts = 1_000_000, 5 // the first is the warm-up
	g := newRig(t, 1)
	g.serve(false)
	defer g.end(syscall.SIGTERM)
	_, secret, _ := sign.Dev("stripe")
	run, err := soak.Start(t.Context(), soak.Config{
		URLs: []string{g.url + "/webhooks/stripe"}, Secret: secret, Kafka: g.kafka,
		Rate: 10_000, Count: count, Keys: 2000, Alone: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	var heap, goroutines [parts]float64 // the most of each
	for acked := 0; acked < count; time.Sleep(200 * time.Millisecond) {
		_, acked = run.Sent()
		q := min(acked*parts/count, parts-1)
		// The next collection's goal: twice of what the last one left alive.
		heap[q] = max(heap[q], g.metric("go_memstats_next_gc_bytes")/2)
		goroutines[q] = max(goroutines[q], g.metric("go_goroutines"))
	}
	r, err := run.Wait()
	if err != nil {
		t.Fatalf("%v\n%s", err, g.logged())
	}
	t.Log(r)
	t.Logf("bytes alive by fifths: %.0f; goroutines: %.0f", heap, goroutines)
	if r.Lost+r.Dup+r.Phantom+r.Order+r.WrongReceipts+r.GivenUp > 0 {
		t.Error("want all zeros\n" + strings.Join(r.Details, "\n"))
	}
	if first, last := heap[1], heap[parts-1]; last > 1.25*first+8e6 {
		t.Errorf("the heap grows: %.0f bytes alive, then %.0f", first, last)
	}
	if first, last := goroutines[1], goroutines[parts-1]; last > 1.25*first+16 {
		t.Errorf("goroutines grow: %.0f, then %.0f", first, last)
	}
}

// play runs one scenario: webhooks come before, while and after it does what
// its name says.
func (g *rig) play(t *testing.T, via bool, does func(*rig)) {
	g.T, g.mayDup = t, 0
	g.inSync()
	g.serve(via)
	defer g.end(syscall.SIGTERM)
	_, secret, _ := sign.Dev("stripe")
	run, err := soak.Start(t.Context(), soak.Config{
		URLs: []string{g.url + "/webhooks/stripe"}, Secret: secret, Kafka: g.kafka,
		Rate: rate, Keys: 300, Alone: true, Patience: 40 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	g.run = run
	g.await("under way", func() error { // cold brokers may need more than the program's patience
		if _, acked := run.Sent(); acked < 2*rate {
			return fmt.Errorf("%d webhooks answered 2xx", acked)
		}
		return nil
	})
	does(g)
	time.Sleep(tail)
	run.Stop()
	r, err := run.Wait()
	if err != nil {
		t.Fatalf("%v\n%s", err, g.logged())
	}
	t.Log(r)
	if r.Lost+r.Phantom+r.Order+r.WrongReceipts+r.GivenUp > 0 || r.Dup > g.mayDup {
		t.Errorf("want LOST, PHANTOM, ORDER, wrong receipts and given up 0, DUP %d at most\n%s", g.mayDup, strings.Join(r.Details, "\n"))
		t.Logf("the program's log: %s", g.log.Name())
	}
}

func newRig(t *testing.T, brokers int) *rig {
	t.Helper()
	g := &rig{T: t, cluster: kafkatest.Start(t, kafkatest.Options{Brokers: brokers, Faults: true}), dir: t.TempDir()}
	g.kafka = publish.Config{Brokers: g.cluster.Bootstrap()}
	g.proxies = interpose(t, g.cluster.Via())
	g.binary = filepath.Join(g.dir, "tollbridge")
	g.url, g.admin = "http://"+freeAddress(t), "http://"+freeAddress(t)
	if out, err := exec.Command("go", "build", "-o", g.binary, "../../cmd/tollbridge").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	log, err := os.Create(filepath.Join(g.dir, "tollbridge.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	g.log = log
	var hangUp func()
	g.client, hangUp = g.kafka.Client()
	g.client.Timeout = 20 * time.Second
	t.Cleanup(hangUp)
	var front []string
	for _, v := range g.cluster.Via() {
		front = append(front, v.Front)
	}
	g.configure("direct.yaml", g.cluster.Bootstrap())
	g.configure("via.yaml", front)
	var out []byte
	for range 5 { // the brokers that are up may not all have found each other
		if out, err = exec.Command(g.binary, "topics", "apply", "--config", filepath.Join(g.dir, "direct.yaml")).CombinedOutput(); err == nil {
			return g
		}
		time.Sleep(time.Second)
	}
	t.Fatalf("topics apply: %v\n%s", err, out)
	return nil
}

// configure writes a configuration file: JSON is YAML.
func (g *rig) configure(name string, brokers []string) {
	g.Helper()
	_, secret, _ := sign.Dev("stripe")
	file, err := json.Marshal(map[string]any{
		"listen": strings.TrimPrefix(g.url, "http://"), "admin": strings.TrimPrefix(g.admin, "http://"),
		"state": filepath.Join(g.dir, "state"),
		"kafka": map[string]any{"brokers": brokers, "partitions": partitions, "replication": len(g.cluster.Bootstrap())},
		"endpoints": []any{map[string]any{
			"connector": "stripe", "live": false, "secrets": map[string]any{"main": map[string]string{"value": secret}},
		}},
	})
	if err != nil {
		g.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(g.dir, name), file, 0o600); err != nil {
		g.Fatal(err)
	}
}

// serve starts the program and waits until it is ready.
func (g *rig) serve(via bool) {
	g.Helper()
	config := "direct.yaml"
	if via {
		config = "via.yaml"
	}
	p := exec.Command(g.binary, "serve", "--config", filepath.Join(g.dir, config), "--log-level", "warn")
	p.Stdout, p.Stderr = g.log, g.log
	if err := p.Start(); err != nil {
		g.Fatal(err)
	}
	g.process = p
	g.Cleanup(func() { _ = p.Process.Kill() }) // it has ended where the test passed
	g.await("ready", func() error {
		r, err := http.Get(g.admin + "/readyz")
		if err != nil {
			return err
		}
		r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz: %s", r.Status)
		}
		return nil
	})
}

// end ends the program with a signal, and waits for it.
func (g *rig) end(s syscall.Signal) {
	g.Helper()
	if err := g.process.Process.Signal(s); err != nil {
		g.Errorf("signal: %v", err)
	}
	if err := g.process.Wait(); err != nil && s == syscall.SIGTERM {
		g.Errorf("after SIGTERM: %v\n%s", err, g.logged())
	}
}

// await tries until there is no error.
func (g *rig) await(what string, try func() error) {
	g.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			g.Fatalf("not %s after a minute: %v\n%s", what, err, g.logged())
		}
	}
}

// logged returns the end of the program's log.
func (g *rig) logged() string {
	text, err := os.ReadFile(g.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-1500):])
}

func (g *rig) sleep(seconds int) { time.Sleep(time.Duration(seconds) * time.Second) }

// topics returns what the brokers say of those that the webhooks go to.
func (g *rig) topics() ([]kafka.Topic, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if t, ok := g.client.Transport.(*kafka.Transport); ok {
		t.CloseIdleConnections() // or it answers from what it knows
	}
	m, err := g.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{
		string(schemas.PaymentProcessing), string(schemas.PaymentAuthorized), string(schemas.PaymentCaptured),
	}})
	if err != nil {
		return nil, err
	}
	for _, t := range m.Topics {
		if t.Error != nil {
			return nil, fmt.Errorf("topic %s: %w", t.Name, t.Error)
		}
	}
	return m.Topics, nil
}

// inSync waits until every partition has its three replicas.
func (g *rig) inSync() {
	g.Helper()
	g.await("in sync", func() error {
		topics, err := g.topics()
		for _, t := range topics {
			for _, p := range t.Partitions {
				if p.Error != nil || len(p.Isr) < 3 {
					err = fmt.Errorf("topic %s, partition %d: %d in sync, %v", t.Name, p.ID, len(p.Isr), p.Error)
				}
			}
		}
		return err
	})
}

// leader returns the broker that leads most of the partitions.
func (g *rig) leader() int {
	g.Helper()
	topics, err := g.topics()
	if err != nil {
		g.Fatal(err)
	}
	var led [4]int
	most := 1
	for _, t := range topics {
		for _, p := range t.Partitions {
			if led[p.Leader.ID]++; led[p.Leader.ID] > led[most] {
				most = p.Leader.ID
			}
		}
	}
	return most
}

func (g *rig) hang(seconds int) {
	b := g.leader()
	g.cluster.Pause(b)
	g.sleep(seconds)
	g.cluster.Resume(b)
}

// hurt has the proxies do something for a while.
func (g *rig) hurt(m mood, seconds int) {
	before := g.proxies.hurt.Load()
	g.proxies.mood.Store(int32(m))
	g.sleep(seconds)
	g.proxies.mood.Store(int32(honest))
	if hurt := g.proxies.hurt.Load() - before; m != slow && hurt < 20 {
		g.Errorf("only %d requests were hurt", hurt)
	} else {
		g.Logf("%d requests were hurt", hurt)
	}
}

// throttle gives tollbridge a quota of a tenth of what it writes, for a while.
func (g *rig) throttle(seconds int) {
	g.Helper()
	quota := func(op kafka.AlterClientQuotaOps) {
		op.Key = "producer_byte_rate"
		r, err := g.client.AlterClientQuotas(context.Background(), &kafka.AlterClientQuotasRequest{Entries: []kafka.AlterClientQuotaEntry{{
			Entities: []kafka.AlterClientQuotaEntity{{EntityType: "client-id", EntityName: "tollbridge"}}, Ops: []kafka.AlterClientQuotaOps{op},
		}}})
		if err == nil {
			err = r.Entries[0].Error
		}
		if err != nil {
			g.Fatal(err)
		}
	}
	quota(kafka.AlterClientQuotaOps{Value: 4000})
	g.sleep(seconds)
	quota(kafka.AlterClientQuotaOps{Remove: true})
	if got := g.metric("tollbridge_kafka_throttled_seconds_total"); got == 0 {
		g.Error("no request was throttled")
	} else {
		g.Logf("throttled for %.1f s", got)
	}
}

// metric returns a gauge or counter of the program's.
func (g *rig) metric(name string) (value float64) {
	g.Helper()
	r, err := http.Get(g.admin + "/metrics")
	if err != nil {
		g.Fatal(err)
	}
	defer r.Body.Close()
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		if n, _ := fmt.Sscanf(lines.Text(), name+" %g", &value); n == 1 {
			return value
		}
	}
	g.Fatalf("/metrics has no %s", name)
	return 0
}

// move has every partition led by the next of its replicas.
func (g *rig) move() {
	g.Helper()
	topics, err := g.topics()
	if err != nil {
		g.Fatal(err)
	}
	for _, t := range topics {
		var assign []kafka.AlterPartitionReassignmentsRequestAssignment
		var elect []int
		for _, p := range t.Partitions {
			var ids []int
			for _, b := range p.Replicas {
				ids = append(ids, b.ID)
			}
			assign = append(assign, kafka.AlterPartitionReassignmentsRequestAssignment{PartitionID: p.ID, BrokerIDs: append(ids[1:], ids[0])})
			elect = append(elect, p.ID)
		}
		if _, err := g.client.AlterPartitionReassignments(context.Background(), &kafka.AlterPartitionReassignmentsRequest{
			Topic: t.Name, Assignments: assign, Timeout: 5 * time.Second,
		}); err != nil {
			g.Fatal(err)
		}
		if _, err := g.client.ElectLeaders(context.Background(), &kafka.ElectLeadersRequest{
			Topic: t.Name, Partitions: elect, Timeout: 5 * time.Second,
		}); err != nil {
			g.Fatal(err)
		}
	}
}

// renew deletes a topic and creates it anew. What was in it cannot be asked
// for, nor what was answered 2xx until the deletion was known everywhere.
func (g *rig) renew(typ schemas.Type) {
	g.Helper()
	names := publish.Names{}
	if r, err := g.client.DeleteTopics(context.Background(), &kafka.DeleteTopicsRequest{Topics: []string{names.Event(typ)}}); err != nil || r.Errors[names.Event(typ)] != nil {
		g.Fatal(err, r)
	}
	g.sleep(6)
	g.run.Renewed(names.Event(typ))
	if out, err := exec.Command(g.binary, "topics", "apply", "--config", filepath.Join(g.dir, "direct.yaml")).CombinedOutput(); err != nil {
		g.Fatalf("topics apply: %v\n%s", err, out)
	}
	g.sleep(5)
}

// freeAddress returns an address that nobody listens on, below those that
// systems give to outgoing connections.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 18000+rand.IntN(2000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}
