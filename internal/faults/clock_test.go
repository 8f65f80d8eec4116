package faults_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A Go program reads the time from the kernel without a library that a test could
// replace. So the test builds the program with a time package whose wall clock is ahead
// by the offset in a file, and which otherwise equals the toolchain's.
const (
	ourNow = `func Now() Time {
	sec, nsec, mono := runtimeNow()
`
	jumpingNow = `var ahead atomic.Int64

// SetAhead sets the offset of the wall clock.
func SetAhead(seconds int64) { ahead.Store(seconds) }

` + ourNow + `	sec += ahead.Load()
`
	follower = `package main

import (
	"fmt"
	"os"
	"time"
)

func init() {
	go func() {
		for ; ; time.Sleep(5 * time.Millisecond) {
			var seconds int64
			text, _ := os.ReadFile(os.Getenv("CLOCK_AHEAD"))
			if _, err := fmt.Sscan(string(text), &seconds); err == nil {
				time.SetAhead(seconds)
			}
		}
	}()
}
`
)

// buildWithClock returns the binary whose clock can be set. It is built once, with every
// package that depends on time, which takes minutes without a build cache.
func (g *rig) buildWithClock() string {
	g.Helper()
	if g.clock != "" {
		return g.clock
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		g.Fatalf("go env GOROOT: %v", err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(original)
	if err != nil {
		g.Fatal(err)
	}
	jumping := strings.NewReplacer(ourNow, jumpingNow, "import (\n", "import (\n\t\"sync/atomic\"\n").Replace(string(text))
	if strings.Count(jumping, jumpingNow) != 1 {
		g.Fatalf("%s has no %q: the test cannot change this toolchain's clock", original, ourNow)
	}
	extra, err := filepath.Abs("../../cmd/tollbridge/clock_ahead.go")
	if err != nil {
		g.Fatal(err)
	}
	replace := map[string]string{original: g.write("time.go", jumping), extra: g.write("clock_ahead.go", follower)}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		g.Fatal(err)
	}
	binary := filepath.Join(g.dir, "tollbridge-clock")
	build := exec.Command("go", "build", "-overlay", g.write("overlay.json", string(overlay)), "-o", binary, "../../cmd/tollbridge")
	if out, err := build.CombinedOutput(); err != nil {
		g.Fatalf("go build -overlay: %v\n%s", err, out)
	}
	g.clock = binary
	return binary
}

// ahead is the name of the file that holds the offset.
const ahead = "ahead"

func (g *rig) write(name, text string) string {
	g.Helper()
	name = filepath.Join(g.dir, name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		g.Fatal(err)
	}
	return name
}

// jumpClock sets the offset of the program's wall clock, and waits until the Date header of
// its answers shows it.
func (g *rig) jumpClock(by time.Duration) {
	g.Helper()
	g.write(ahead, fmt.Sprint(int64(by.Seconds())))
	g.await("at another time", func() error {
		r, err := http.Get(g.replicas[0].admin + "/healthz")
		if err != nil {
			return err
		}
		r.Body.Close()
		date, err := http.ParseTime(r.Header.Get("Date"))
		if off := time.Until(date) - by; err == nil && off.Abs() > 5*time.Second {
			err = fmt.Errorf("the Date header is %v, which is %v off", date, off)
		}
		return err
	})
}
