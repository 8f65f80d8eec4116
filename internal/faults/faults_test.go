// Package faults_test runs the program with a real Kafka of three brokers, replication
// factor 3 and min.insync.replicas 2. While webhooks arrive it injects faults into the
// brokers, the replicas of the program, the network, the wall clock and the disks.
// Package soak checks that no record is lost, duplicated or out of order.
//
// TOLLBRIDGE_FAULTS=full runs all scenarios; otherwise a short selection runs.
package faults_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/internal/soak"
	"github.com/tollbridge/tollbridge/schemas"
)

const (
	partitions = 3                // of every topic
	rate       = 90               // webhooks per second: three brokers, the program and the load generator share two cores
	tail       = 3 * time.Second  // how long the load continues after the fault
	stopTime   = 45 * time.Second // from SIGTERM to the end of the process: the grace period in docker-compose.yml
)

// rig has what the scenarios share: running brokers, topics, and the binary and
// configuration of the replicas. Each scenario starts its own replica processes.
type rig struct {
	*testing.T // of the running scenario
	cluster    *kafkatest.Cluster
	kafka      kafka.Config
	client     *kafkago.Client
	proxies    *proxies
	dir        string
	binary     string
	clock      string     // path of the binary whose clock can be set; empty until it is built
	holding    string     // path of the binary whose requests can be held; empty until it is built
	replicas   []*replica // independent of each other
	log        *os.File   // output of all replicas
	run        *soak.Run
	mayDup     int  // records that may be in Kafka twice
	mustDup    bool // at least one of them must be
}

// replica is a process of the program, with an address and a state directory of its own.
type replica struct {
	url, admin, state string
	process           *exec.Cmd // nil if the replica is not running
}

// setting is what a scenario needs before it starts.
type setting struct {
	via      bool // clients reach the brokers through the proxies
	clock    bool // the program's clock can be set
	disk     bool // a broker has a disk that the test can fill
	state    bool // the first replica has a disk for its state that the test can fill
	replicas int  // number of replicas at the start
	spare    int  // number of replicas that the scenario may add
	twins    bool // most webhooks are sent to several replicas
	hold     bool // the first replica's requests can be held
}

var (
	alone   = setting{replicas: 1}
	proxied = setting{replicas: 1, via: true}
	clocked = setting{replicas: 1, clock: true}
	filled  = setting{replicas: 1, disk: true}
	stuffed = setting{replicas: 1, state: true}
	pair    = setting{replicas: 2}
	scaled  = setting{replicas: 2, spare: 1}

	trio        = setting{replicas: 3, twins: true}
	proxiedTrio = setting{replicas: 3, twins: true, via: true}
	heldTrio    = setting{replicas: 3, twins: true, hold: true}
)

// scenario is what happens in one run.
type scenario struct {
	name  string
	short bool // also runs in the short selection
	in    setting
	does  func(*rig)
}

// diskScenarios come first: the state of all scenarios' events does not fit on the small
// disk.
var diskScenarios = []scenario{
	{"its state's disk is filled and freed", true, stuffed, func(g *rig) {
		disk := g.replicas[0].state
		failed := func(want float64) func() error {
			return func() error {
				if got := g.metric("tollbridge_state_disk_failed"); got != want {
					return fmt.Errorf("tollbridge_state_disk_failed is %v, want %v", got, want)
				}
				return nil
			}
		}
		usual := g.cpu(3)
		if err := kafkatest.Fill(disk); err != nil {
			g.Fatal(err)
		}
		g.await("without its disk", failed(1))
		g.await("ready, with a warning", func() error {
			if status, text := g.readyz(0); status != http.StatusOK || !strings.Contains(text, "in memory") || !strings.Contains(text, disk) {
				return fmt.Errorf("/readyz: %d %q, want 200 and a warning that the state of %s is in memory", status, text, disk)
			}
			return nil
		})
		checkCPU := func(what string) { // a process that spins uses a whole core, if it gets one
			if got := g.cpu(3); got > 3*usual+1 {
				g.Errorf("%s it used %.1f s of CPU in 3 s, and %.1f s before", what, got, usual)
			} else {
				g.Logf("%s it used %.2f s of CPU in 3 s, and %.2f s before", what, got, usual)
			}
		}
		checkCPU("without its disk")
		g.restart(0, stuffed)
		if err := failed(1)(); err != nil {
			g.Errorf("started on a full disk: %v", err)
		}
		checkCPU("started on a full disk")
		if err := kafkatest.Free(disk); err != nil {
			g.Fatal(err)
		}
		g.restart(0, stuffed)
		if err := failed(0)(); err != nil {
			g.Errorf("started after the disk was freed: %v", err)
		}
		if _, text := g.readyz(0); strings.Contains(text, "in memory") {
			g.Errorf("started after the disk was freed: /readyz warns %q", text)
		}
		log, err := os.ReadFile(g.log.Name())
		if err != nil {
			g.Fatal(err)
		}
		if n := bytes.Count(log, []byte("disk is full or failed")); n != 2 {
			g.Errorf("the log says %d times that the disk is full, want once for each of two processes", n)
		}
		if bytes.Contains(log, []byte("panic:")) {
			g.Errorf("a replica panicked\n%s", g.logTail())
		}
	}},
}

var scenarios = []scenario{
	{"a leader is stopped", false, alone, func(g *rig) {
		b := g.leader()
		g.cluster.Stop(b)
		g.sleep(5)
		g.cluster.Restart(b)
	}},
	{"all brokers are restarted, one after the other", false, alone, func(g *rig) {
		for b := 1; b <= 3; b++ {
			g.cluster.Stop(b)
			g.cluster.Restart(b)
			g.inSync()
		}
	}},
	{"a leader hangs for 5 s", true, alone, func(g *rig) { g.hang(5) }},
	{"a leader hangs for 40 s", false, alone, func(g *rig) { g.hang(40) }},
	{"leaders move", false, alone, func(g *rig) {
		for range 4 {
			g.moveLeaders()
			g.sleep(2)
		}
	}},
	{"all brokers are down for 10 s", false, alone, func(g *rig) {
		g.cluster.Kill(1, 2, 3)
		g.sleep(10)
		g.cluster.Restart(1, 2, 3)
	}},
	{"too few replicas are in sync", false, alone, func(g *rig) {
		g.cluster.Stop(2, 3)
		g.sleep(8)
		g.cluster.Restart(2, 3)
	}},
	{"a topic is deleted and created anew", false, alone, func(g *rig) { g.recreateTopic(schemas.PaymentCaptured) }},
	{"replies are lost", true, proxied, func(g *rig) { g.injectProxyFault(noReply, 8) }},
	{"requests are cut in their middle", false, proxied, func(g *rig) { g.injectProxyFault(halfSent, 8) }},
	{"the network is slow", false, proxied, func(g *rig) { g.injectProxyFault(slow, 8) }},
	{"writes are throttled", false, alone, func(g *rig) { g.throttle(10) }},
	{"tollbridge is killed", true, alone, func(g *rig) {
		g.sleep(2)
		g.stopReplica(0, syscall.SIGKILL)
		g.serve(0, alone)
	}},
	{"tollbridge is stopped", false, alone, func(g *rig) {
		g.sleep(2)
		g.stopReplica(0, syscall.SIGTERM)
		g.serve(0, alone)
	}},
	{"a leader is killed", false, alone, func(g *rig) {
		b := g.leader()
		g.cluster.Kill(b)
		g.sleep(8)
		g.cluster.Restart(b)
	}},
	{"no producer id is given", true, proxied, func(g *rig) { g.rejectProducerIDs(8) }},
	{"leaders move from a broker that follows slowly, with two replicas", true, pair, func(g *rig) { g.lag(12) }},
	{"two replicas, undisturbed", false, pair, func(g *rig) { g.sleep(10) }},
	{"two replicas, and a leader is killed", true, pair, func(g *rig) {
		b := g.leader()
		g.cluster.Kill(b)
		g.sleep(8)
		if full { // recovery takes half a minute, and this is the last scenario of the short selection
			g.cluster.Restart(b)
		}
	}},
	{"one of two replicas is killed", false, pair, func(g *rig) {
		for i := range 2 {
			g.sleep(2)
			g.stopReplica(i, syscall.SIGKILL)
			g.sleep(2)
			g.serve(i, pair)
		}
	}},
	{"a broker's disk is full", false, filled, func(g *rig) {
		g.cluster.FillDisk()
		g.await("without a disk", func() error { return g.halfInSync(1) })
		g.sleep(8)
		if err := g.halfInSync(1); err != nil {
			g.Error(err)
		}
		g.cluster.Stop(1)
		g.cluster.Restart(1)
	}},
	{"its clock jumps by an hour", false, clocked, func(g *rig) {
		for _, by := range []time.Duration{time.Hour, 0, -time.Hour, time.Hour, 0} {
			g.jumpClock(by)
			g.sleep(3)
		}
	}},
	{"its clock is further ahead than brokers take", false, clocked, func(g *rig) {
		g.jumpClock(2 * time.Hour)
		g.sleep(1) // for requests in flight
		_, before := g.run.Sent()
		g.sleep(4)
		if _, acked := g.run.Sent(); acked > before {
			g.Errorf("%d webhooks were answered 2xx, want none: brokers refuse their records", acked-before)
		}
		g.jumpClock(0)
	}},
	{"replicas come and go", false, scaled, func(g *rig) {
		for i := range 3 {
			g.serve((i+2)%3, scaled)
			g.sleep(2)
			g.stopReplica(i, syscall.SIGTERM)
			g.sleep(2)
		}
	}},
}

// full reports whether all scenarios run.
var full = os.Getenv("TOLLBRIDGE_FAULTS") == "full"

// TestFaults checks that every webhook answered 2xx is in Kafka, once and in order, in
// every scenario.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes more than a minute")
	}
	g := newRig(t, 3)
	if full {
		t.Run("two commands write at once", g.testCommands)
	}
	for _, s := range slices.Concat(diskScenarios, twinScenarios, scenarios) { // the last of the short selection leaves a broker down
		if !s.short && !full {
			continue
		}
		t.Run(s.name, func(t *testing.T) { g.play(t, s.in, s.does) })
	}
}

// TestMillion checks that the program does not leak memory or goroutines over a million
// webhooks. It compares the last fifth with the second; the first is the warm-up.
func TestMillion(t *testing.T) {
	if !full {
		t.Skip("takes minutes")
	}
	const count, parts = 1_000_000, 5 // the first is the warm-up
	g := newRig(t, 1)
	g.serve(0, alone)
	defer g.stopReplica(0, syscall.SIGTERM)
	_, secret, _ := sign.Dev("stripe")
	run, err := soak.Start(t.Context(), soak.Config{
		URLs: []string{g.replicas[0].url}, Secret: secret, Kafka: g.kafka,
		Rate: 10_000, Count: count, Keys: 2000, Alone: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	var heap, goroutines [parts]float64 // the maximum of each
	for acked := 0; acked < count; time.Sleep(200 * time.Millisecond) {
		_, acked = run.Sent()
		q := min(acked*parts/count, parts-1)
		// The goal of the next collection is twice the live heap after the last one.
		heap[q] = max(heap[q], g.metric("go_memstats_next_gc_bytes")/2)
		goroutines[q] = max(goroutines[q], g.metric("go_goroutines"))
	}
	r, err := run.Wait()
	if err != nil {
		t.Fatalf("%v\n%s", err, g.logTail())
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

// play runs one scenario. Webhooks are sent before, during and after its fault.
func (g *rig) play(t *testing.T, in setting, does func(*rig)) {
	g.T, g.mayDup, g.mustDup = t, 0, false
	if err := g.cluster.Disk(); in.disk && err != nil {
		kafkatest.Report(t, "NO FULL DISK: package faults skipped it (%v)", err)
		t.Skipf("NOT TESTED WITH A FULL DISK: %v. It needs Linux, mkfs.ext4, and the right to mount.", err)
	}
	if in.state {
		if err := kafkatest.SmallDisk(t, g.replicas[0].state); err != nil {
			kafkatest.Report(t, "NO FULL STATE DISK: package faults skipped it (%v)", err)
			t.Skipf("NOT TESTED WITH A FULL STATE DISK: %v. It needs Linux, and the right to mount.", err)
		}
	}
	g.inSync()
	defer g.stopReplicas()
	_, secret, _ := sign.Dev("stripe")
	c := soak.Config{
		Secret: secret, Kafka: g.kafka, Rate: rate, Keys: 300, Alone: true, Patience: 40 * time.Second,
	}
	for i := range in.replicas {
		g.serve(i, in)
	}
	for _, r := range g.replicas[:in.replicas+in.spare] {
		c.URLs = append(c.URLs, r.url)
	}
	if full || in.replicas > 1 {
		c.Redeliver, c.Within = 0.2, 5*time.Second
		c.After = 250 * time.Millisecond // a busy machine shows a record late
	}
	if in.replicas > 1 {
		c.Twice = 0.01
	}
	if in.twins {
		c.Twice, c.Apart = 0.7, 500*time.Millisecond
		c.Patience += kafka.ClaimLifetime // for what a replica claimed before it ended
	}
	run, err := soak.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	g.run = run
	g.await("under way", func() error { // brokers that just started may need longer than the program's limit
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
		t.Fatalf("%v\n%s", err, g.logTail())
	}
	t.Log(r)
	if g.mustDup && r.Dup == 0 {
		t.Error("DUP 0: this scenario breaks an assumption, so that events are written twice, and shows that they are counted")
	}
	if r.Lost+r.Phantom+r.Order+r.WrongReceipts+r.Unconfirmed+r.GivenUp > 0 || r.Dup > g.mayDup {
		t.Errorf("want LOST, PHANTOM, ORDER, wrong receipts, unconfirmed and given up 0, DUP %d at most\n%s", g.mayDup, strings.Join(r.Details, "\n"))
		t.Logf("the program's log ends with\n%s", g.logTail())
	}
	g.await("with all references written", g.referencesWritten)
}

// referencesWritten returns an error if an event states a reference that is not in
// webhooks.references. A process that was killed may have left them to another, which
// waits half a minute.
func (g *rig) referencesWritten() error {
	names, _, err := kafka.Names{}.Existing(g.Context(), g.kafka)
	if err != nil {
		return err
	}
	reader := consume.New(g.kafka)
	defer reader.Close()
	ranges, err := reader.TopicBounds(g.Context(), append(names.Events(), names.References())...)
	if err != nil {
		return err
	}
	written, stated := map[string]bool{}, map[string]kafka.Receipt{}
	if err := reader.Read(g.Context(), ranges, func(chunks []consume.Chunk) error {
		for _, c := range chunks {
			for _, r := range c.Records {
				if r.Topic == names.References() {
					written[string(r.Key)] = true
				}
				for _, key := range schemas.ParseReferences(r.Header(schemas.HeaderReferences)) {
					stated[key] = r.Receipt()
				}
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if len(stated) == 0 {
		return errors.New("no event states a reference")
	}
	for key, at := range stated {
		if !written[key] {
			return fmt.Errorf("the event at %s states %s, which is not in %s", at.Text(), key, names.References())
		}
	}
	return nil
}

func newRig(t *testing.T, brokers int) *rig {
	t.Helper()
	g := &rig{T: t, cluster: kafkatest.Start(t, kafkatest.Options{Brokers: brokers, Faults: true, Disk: full && brokers > 1}), dir: t.TempDir()}
	g.kafka = kafka.Config{Brokers: g.cluster.Bootstrap()}
	g.proxies = startProxies(t, g.cluster.Via())
	g.binary = filepath.Join(g.dir, "tollbridge")
	for free := freeAddresses(t, 6); len(free) > 0; free = free[2:] {
		g.replicas = append(g.replicas, &replica{
			url: "http://" + free[0] + "/webhooks/stripe", admin: "http://" + free[1],
			state: filepath.Join(g.dir, fmt.Sprintf("state-%d", len(g.replicas))),
		})
	}
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
	var out []byte
	for range 5 { // the brokers may not have found each other yet
		if out, err = g.applyTopics(); err == nil {
			return g
		}
		time.Sleep(time.Second)
	}
	t.Fatalf("topics apply: %v\n%s", err, out)
	return nil
}

// applyTopics creates the topics that are missing.
func (g *rig) applyTopics() ([]byte, error) {
	g.Helper()
	return exec.Command(g.binary, "topics", "apply", "--config", g.configure(0, alone)).CombinedOutput()
}

// configure writes a replica's configuration file: JSON is YAML.
func (g *rig) configure(i int, in setting) string {
	g.Helper()
	_, secret, _ := sign.Dev("stripe")
	r, brokers := g.replicas[i], g.cluster.Bootstrap()
	if in.via {
		brokers = nil
		for _, v := range g.cluster.Via() {
			brokers = append(brokers, v.Front)
		}
	}
	endpoint := map[string]any{"connector": "stripe", "live": false, "secrets": map[string]any{"main": map[string]string{"value": secret}}}
	if in.clock { // the clock that signs the webhooks does not jump
		endpoint["settings"] = map[string]any{"tolerance_seconds": 4 * 3600}
	}
	listen, _, _ := strings.Cut(strings.TrimPrefix(r.url, "http://"), "/")
	file, err := json.Marshal(map[string]any{
		"listen": listen, "admin": strings.TrimPrefix(r.admin, "http://"), "state": r.state,
		"kafka":     map[string]any{"brokers": brokers, "partitions": partitions, "replication": len(g.cluster.Bootstrap())},
		"endpoints": []any{endpoint},
	})
	if err != nil {
		g.Fatal(err)
	}
	name := filepath.Join(g.dir, fmt.Sprintf("%d.yaml", i))
	if err := os.WriteFile(name, file, 0o600); err != nil {
		g.Fatal(err)
	}
	return name
}

// serve starts a replica and waits until it is ready.
func (g *rig) serve(i int, in setting) {
	g.Helper()
	r, binary := g.replicas[i], g.binary
	if in.clock {
		binary = g.buildWithClock()
	}
	if in.hold && i == 0 {
		binary = g.buildHolding()
	}
	p := exec.Command(binary, "serve", "--config", g.configure(i, in), "--log-level", "warn")
	p.Stdout, p.Stderr = g.log, g.log
	// The normal binary ignores both: see buildWithClock and buildHolding.
	p.Env = append(os.Environ(), "CLOCK_AHEAD="+filepath.Join(g.dir, ahead), "HOLD_REQUESTS="+filepath.Join(g.dir, holdFile))
	if err := p.Start(); err != nil {
		g.Fatal(err)
	}
	r.process = p
	g.Cleanup(func() { _ = p.Process.Kill() }) // the process has exited already if the test passed
	g.await("ready", func() error {
		a, err := http.Get(r.admin + "/readyz")
		if err != nil {
			return err
		}
		a.Body.Close()
		if a.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz: %s", a.Status)
		}
		return nil
	})
}

// stopReplica stops a replica with a signal, and waits for it.
func (g *rig) stopReplica(i int, s syscall.Signal) {
	g.Helper()
	p := g.replicas[i].process
	g.replicas[i].process = nil
	if err := p.Process.Signal(s); err != nil {
		g.Errorf("signal: %v", err)
	}
	if err := p.Wait(); err != nil && s == syscall.SIGTERM {
		g.Errorf("after SIGTERM: %v\n%s", err, g.logTail())
	}
}

// restart stops a replica as an operator would, and starts it again.
func (g *rig) restart(i int, in setting) {
	g.Helper()
	began := time.Now()
	g.stopReplica(i, syscall.SIGTERM)
	if took := time.Since(began); took > stopTime {
		g.Errorf("the stop took %s, want at most %s", took.Round(time.Second), stopTime)
	}
	g.serve(i, in)
}

// readyz returns what a replica says of itself.
func (g *rig) readyz(i int) (status int, text string) {
	g.Helper()
	a, err := http.Get(g.replicas[i].admin + "/readyz")
	if err != nil {
		g.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		g.Fatal(err)
	}
	return a.StatusCode, string(b)
}

// stopReplicas stops all running replicas.
func (g *rig) stopReplicas() {
	g.Helper()
	for i, r := range g.replicas {
		if r.process != nil {
			g.stopReplica(i, syscall.SIGTERM)
		}
	}
}

// await retries until there is no error.
func (g *rig) await(what string, try func() error) {
	g.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			g.Fatalf("not %s after a minute: %v\n%s", what, err, g.logTail())
		}
	}
}

// logTail returns the end of the program's log.
func (g *rig) logTail() string {
	text, err := os.ReadFile(g.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-1500):])
}

func (g *rig) sleep(seconds int) { time.Sleep(time.Duration(seconds) * time.Second) }

// topics returns the metadata of the topics that the webhooks are written to.
func (g *rig) topics() ([]kafkago.Topic, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if t, ok := g.client.Transport.(*kafkago.Transport); ok {
		t.CloseIdleConnections() // otherwise the client answers from its cache
	}
	m, err := g.client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{
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

// inSync waits until every partition has three in-sync replicas.
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

// halfInSync returns nil if a broker is in sync for some partitions but not for others.
func (g *rig) halfInSync(broker int) error {
	topics, err := g.topics()
	if err != nil {
		return err
	}
	var with, without int
	for _, t := range topics {
		for _, p := range t.Partitions {
			if slices.ContainsFunc(p.Isr, func(b kafkago.Broker) bool { return b.ID == broker }) {
				with++
			} else {
				without++
			}
		}
	}
	if with == 0 || without == 0 {
		return fmt.Errorf("broker %d is in sync for %d partitions and out of sync for %d; want some of both", broker, with, without)
	}
	return nil
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

// injectProxyFault makes the proxies inject a fault for a while.
func (g *rig) injectProxyFault(m proxyFault, seconds int) {
	before := g.proxies.affected.Load()
	g.proxies.fault.Store(int32(m))
	g.sleep(seconds)
	g.proxies.fault.Store(int32(noFault))
	if hurt := g.proxies.affected.Load() - before; m != slow && hurt < 10 {
		g.Errorf("only %d requests were affected", hurt)
	} else {
		g.Logf("%d requests were affected", hurt)
	}
}

// throttle sets a produce quota of a tenth of the load on tollbridge's client for a
// while.
func (g *rig) throttle(seconds int) {
	g.Helper()
	quota := func(op kafkago.AlterClientQuotaOps) {
		op.Key = "producer_byte_rate"
		r, err := g.client.AlterClientQuotas(context.Background(), &kafkago.AlterClientQuotasRequest{Entries: []kafkago.AlterClientQuotaEntry{{
			Entities: []kafkago.AlterClientQuotaEntity{{EntityType: "client-id", EntityName: "tollbridge"}}, Ops: []kafkago.AlterClientQuotaOps{op},
		}}})
		if err == nil {
			err = r.Entries[0].Error
		}
		if err != nil {
			g.Fatal(err)
		}
	}
	quota(kafkago.AlterClientQuotaOps{Value: 4000})
	g.sleep(seconds)
	quota(kafkago.AlterClientQuotaOps{Remove: true})
	if got := g.metric("tollbridge_kafka_throttled_seconds_total"); got == 0 {
		g.Error("no request was throttled")
	} else {
		g.Logf("throttled for %.1f s", got)
	}
}

// rejectProducerIDs starts the program while the brokers refuse to give it a producer
// id, and stops refusing after a while. It checks that the program retries with a
// back-off, opens few connections, and logs the reason.
func (g *rig) rejectProducerIDs(seconds int) {
	g.Helper()
	g.stopReplica(0, syscall.SIGTERM)
	asked, connected := g.proxies.affected.Load(), g.proxies.conns.Load()
	g.proxies.fault.Store(int32(noID))
	over := make(chan struct{})
	time.AfterFunc(time.Duration(seconds)*time.Second, func() {
		asked, connected = g.proxies.affected.Load()-asked, g.proxies.conns.Load()-connected
		g.proxies.fault.Store(int32(noFault))
		close(over)
	})
	begin := time.Now()
	g.serve(0, proxied)
	<-over
	if took := time.Since(begin); took < time.Duration(seconds)*time.Second {
		g.Errorf("ready after %s, want at least %d s: until then it had no producer id", took, seconds)
	}
	if g.Logf("%d requests for a producer id, %d connections in %d s", asked, connected, seconds); asked < 3 || asked > 40 || connected > 100 {
		g.Error("want between 3 and 40 requests, and 100 connections at most")
	}
	if text, err := os.ReadFile(g.log.Name()); err != nil || !strings.Contains(string(text), "kafka gives no producer id: [31]") {
		g.Errorf("the log does not give the reason why nothing was published (%v)\n%s", err, g.logTail())
	}
}

// lag moves all leaders away from a broker and throttles the broker's replication until
// it leaves the ISR. A consumer that still read from this broker would miss records
// that were acknowledged since.
func (g *rig) lag(seconds int) {
	g.Helper()
	broker := g.leader()
	const rate, replicas = "follower.replication.throttled.rate", "follower.replication.throttled.replicas"
	set := func(on bool) {
		g.Helper()
		entry := func(name, value string) []kafkago.IncrementalAlterConfigsRequestConfig {
			c := kafkago.IncrementalAlterConfigsRequestConfig{Name: name, Value: value, ConfigOperation: kafkago.ConfigOperationSet}
			if !on {
				c.Value, c.ConfigOperation = "", kafkago.ConfigOperationDelete
			}
			return []kafkago.IncrementalAlterConfigsRequestConfig{c}
		}
		r := &kafkago.IncrementalAlterConfigsRequest{Resources: []kafkago.IncrementalAlterConfigsRequestResource{
			{ResourceType: kafkago.ResourceTypeBroker, ResourceName: strconv.Itoa(broker), Configs: entry(rate, "1")},
		}}
		topics, err := g.topics()
		if err != nil {
			g.Fatal(err)
		}
		for _, t := range topics {
			r.Resources = append(r.Resources, kafkago.IncrementalAlterConfigsRequestResource{
				ResourceType: kafkago.ResourceTypeTopic, ResourceName: t.Name, Configs: entry(replicas, "*"),
			})
		}
		answer, err := g.client.IncrementalAlterConfigs(context.Background(), r)
		for _, of := range answer.Resources {
			err = errors.Join(err, of.Error)
		}
		if err != nil {
			g.Fatal(err)
		}
	}
	set(true)
	defer set(false)
	g.await("led by others", func() error {
		g.electLeaders(func(replicas []int) []int {
			return append(slices.DeleteFunc(replicas, func(id int) bool { return id == broker }), broker)
		})
		if n := g.leaderCount(broker); n > 0 {
			return fmt.Errorf("broker %d leads %d partitions", broker, n)
		}
		return nil
	})
	g.sleep(seconds)
	if err := g.outOfSync(broker); err != nil {
		g.Error(err)
	}
}

// leaderCount returns the number of partitions that a broker leads.
func (g *rig) leaderCount(broker int) (n int) {
	g.Helper()
	topics, err := g.topics()
	if err != nil {
		g.Fatal(err)
	}
	for _, t := range topics {
		for _, p := range t.Partitions {
			if p.Leader.ID == broker {
				n++
			}
		}
	}
	return n
}

// outOfSync returns an error if a broker is in sync for every partition.
func (g *rig) outOfSync(broker int) error {
	topics, err := g.topics()
	if err != nil {
		return err
	}
	for _, t := range topics {
		for _, p := range t.Partitions {
			if !slices.ContainsFunc(p.Isr, func(b kafkago.Broker) bool { return b.ID == broker }) {
				return nil
			}
		}
	}
	return fmt.Errorf("broker %d is in sync for all partitions, want it out of sync: its replication is throttled", broker)
}

// metric returns the value of a gauge or counter of the first replica.
func (g *rig) metric(name string) (value float64) {
	g.Helper()
	r, err := http.Get(g.replicas[0].admin + "/metrics")
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

// cpu waits, and returns the seconds of CPU time that the first replica used meanwhile.
func (g *rig) cpu(seconds int) float64 {
	g.Helper()
	const used = "process_cpu_seconds_total"
	before := g.metric(used)
	g.sleep(seconds)
	return g.metric(used) - before
}

// moveLeaders makes the next replica of every partition its leader.
func (g *rig) moveLeaders() {
	g.Helper()
	g.electLeaders(func(replicas []int) []int { return append(replicas[1:], replicas[0]) })
}

// electLeaders reorders the replicas of every partition, and elects the first as leader.
func (g *rig) electLeaders(order func(replicas []int) []int) {
	g.Helper()
	topics, err := g.topics()
	if err != nil {
		g.Fatal(err)
	}
	for _, t := range topics {
		var assign []kafkago.AlterPartitionReassignmentsRequestAssignment
		var elect []int
		for _, p := range t.Partitions {
			var ids []int
			for _, b := range p.Replicas {
				ids = append(ids, b.ID)
			}
			assign = append(assign, kafkago.AlterPartitionReassignmentsRequestAssignment{PartitionID: p.ID, BrokerIDs: order(ids)})
			elect = append(elect, p.ID)
		}
		if _, err := g.client.AlterPartitionReassignments(context.Background(), &kafkago.AlterPartitionReassignmentsRequest{
			Topic: t.Name, Assignments: assign, Timeout: 5 * time.Second,
		}); err != nil {
			g.Fatal(err)
		}
		if _, err := g.client.ElectLeaders(context.Background(), &kafkago.ElectLeadersRequest{
			Topic: t.Name, Partitions: elect, Timeout: 5 * time.Second,
		}); err != nil {
			g.Fatal(err)
		}
	}
}

// recreateTopic deletes a topic and creates it again. The check excludes the topic's
// records until all brokers know of the deletion.
func (g *rig) recreateTopic(typ schemas.Type) {
	g.Helper()
	names := kafka.Names{}
	if r, err := g.client.DeleteTopics(context.Background(), &kafkago.DeleteTopicsRequest{Topics: []string{names.Event(typ)}}); err != nil || r.Errors[names.Event(typ)] != nil {
		g.Fatal(err, r)
	}
	g.sleep(6)
	g.run.Renewed(names.Event(typ))
	if out, err := g.applyTopics(); err != nil {
		g.Fatalf("topics apply: %v\n%s", err, out)
	}
	g.sleep(5)
}

// freeAddresses returns unused addresses, with ports below the range that systems use for
// outgoing connections.
func freeAddresses(t *testing.T, n int) (all []string) {
	t.Helper()
	for range 100 * n {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 18000+rand.IntN(2000)))
		if err != nil {
			continue
		}
		defer l.Close() // only on return, so that no address is returned twice
		if all = append(all, l.Addr().String()); len(all) == n {
			return all
		}
	}
	t.Fatal("no free ports")
	return nil
}
