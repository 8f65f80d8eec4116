package faults_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// The scenarios of twins: most webhooks reach two or three replicas within half a second,
// and one of them may write the event. See docs/once.md.
var twinScenarios = []scenario{
	{"twins", true, trio, func(g *rig) { g.sleep(10) }},
	{"twins, and replicas are killed", false, trio, func(g *rig) {
		for i := range 3 {
			g.sleep(2)
			g.stopReplica(i, syscall.SIGKILL)
			g.sleep(2)
			g.serve(i, trio)
		}
	}},
	{"twins, and a replica is suspended for 3 s", false, trio, func(g *rig) {
		for i := range 3 {
			g.suspend(i, 3*time.Second)
			g.sleep(2)
		}
	}},
	{"twins, and a replica is suspended for longer than a claim lives", false, trio, func(g *rig) {
		g.suspend(0, kafka.ClaimLifetime+8*time.Second)
		g.sleep(5)
	}},
	{"twins, and a replica stops between its look at the clock and its request", false, heldTrio, func(g *rig) {
		// This breaks an assumption on purpose, so events are written twice: those of
		// the requests that are held, one for each broker. There can be a single event
		// in them, and it is written twice only if another replica takes it over
		// meanwhile: its webhook comes again every few seconds, to any replica.
		g.mayDup, g.mustDup = g.run.InFlight()+1, true
		hold := g.write(holdFile, "")
		g.sleep(int(kafka.ClaimLifetime/time.Second) + 25)
		if err := os.Remove(hold); err != nil {
			g.Error(err)
		}
		g.sleep(5)
	}},
	{"twins, and leaders move", false, trio, func(g *rig) {
		for range 4 {
			g.moveLeaders()
			g.sleep(2)
		}
	}},
	{"twins, and a leader hangs for 5 s", false, trio, func(g *rig) { g.hang(5) }},
	{"twins, and a leader is killed", false, trio, func(g *rig) {
		b := g.leader()
		g.cluster.Kill(b)
		g.sleep(8)
		g.cluster.Restart(b)
	}},
	{"twins, and all brokers are restarted, one after the other", false, trio, func(g *rig) {
		for b := 1; b <= 3; b++ {
			g.cluster.Stop(b)
			g.cluster.Restart(b)
			g.inSync()
		}
	}},
	{"twins, and replies are lost", false, proxiedTrio, func(g *rig) { g.injectProxyFault(noReply, 8) }},
	{"twins, and claims cannot be read", false, proxiedTrio, func(g *rig) {
		g.proxies.fault.Store(int32(noClaims))
		g.proxies.cut() // the fetch sessions that name the topic no more
		g.sleep(6)      // for webhooks under way, within their deadline, and their redeliveries
		_, before := g.run.Sent()
		g.sleep(6)
		_, acked := g.run.Sent()
		g.proxies.fault.Store(int32(noFault))
		if acked > before {
			g.Errorf("%d webhooks were answered 2xx, want none: no replica can know whether its claim is the first", acked-before)
		}
	}},
}

// suspend stops the process of a replica for a while.
func (g *rig) suspend(i int, d time.Duration) {
	g.Helper()
	p := g.replicas[i].process.Process
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		g.Fatal(err)
	}
	time.Sleep(d)
	if err := p.Signal(syscall.SIGCONT); err != nil {
		g.Fatal(err)
	}
}

// A request is held at the only instant at which a claim's owner that stops can do harm:
// after it has looked at the clock, and before the request is sent. No signal meets that
// instant, so the test builds a program that waits there, with requests that have an
// event, as long as a file exists.
const (
	afterClock = `	start := time.Now()
	b.requestSentAt.set(start)
`
	holds = `	if slices.ContainsFunc(b.sent, func(f sentBatch) bool { return f.batch.notAfter > 0 }) {
		hold()
	}
`
	holdSource = `package publish

import (
	"os"
	"time"
)

func hold() {
	for {
		if _, err := os.Stat(os.Getenv("HOLD_REQUESTS")); err != nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}
`
	holdFile = "hold"
)

// buildHolding returns the binary whose requests can be held. It is built once.
func (g *rig) buildHolding() string {
	g.Helper()
	if g.holding != "" {
		return g.holding
	}
	original, err := filepath.Abs("../../publish/sender.go")
	if err != nil {
		g.Fatal(err)
	}
	text, err := os.ReadFile(original)
	if err != nil {
		g.Fatal(err)
	}
	if strings.Count(string(text), afterClock) != 1 {
		g.Fatalf("%s has no %q, or several: its requests cannot be held so", original, afterClock)
	}
	replace := map[string]string{
		original: g.write("sender.go", strings.Replace(string(text), afterClock, holds+afterClock, 1)),
		filepath.Join(filepath.Dir(original), "hold.go"): g.write("hold.go", holdSource),
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		g.Fatal(err)
	}
	binary := filepath.Join(g.dir, "tollbridge-holding")
	build := exec.Command("go", "build", "-overlay", g.write("overlay-hold.json", string(overlay)), "-o", binary, "../../cmd/tollbridge")
	if out, err := build.CombinedOutput(); err != nil {
		g.Fatalf("go build -overlay: %v\n%s", err, out)
	}
	g.holding = binary
	return binary
}
