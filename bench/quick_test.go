//go:build linux

package bench_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	quick   = flag.Bool("quick", false, "measure three ratios, in less than three minutes")
	profile = flag.String("profile", "", "a folder for CPU and memory profiles of tollbridge under load; empty takes none")
	before  = flag.String("before", "", "a build of tollbridge to compare with, such as that of the commit before; empty compares with none")
)

// quickRounds is how often [TestQuick] measures each contestant.
const quickRounds = 3

// TestQuick prints what a webhook costs at tollbridge, in times of what it costs at a
// thin program and at one that writes as many records to as many topics: run it before
// and after a change. All are measured by turns, against the fake broker. The median of
// the rounds' ratios counts, so that other load on the machine matters less.
func TestQuick(t *testing.T) {
	if !*quick {
		t.Skip("make bench-quick runs it")
	}
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{ctx: ctx, bin: t.TempDir()}
	if err := build(ctx, b.bin, quickBuilds(b.bin)); err != nil {
		t.Fatal(err)
	}
	names := []string{"tollbridge", base, "franz-go-equal"}
	if *before != "" {
		contestants = append(contestants, b.contestantBefore(t))
		names = append(names, "before")
	}
	*only, cells, sparse, *lasting = strings.Join(names, ","), []cell{middle}, []cell{middle}, 4*time.Second
	b.at(t, settings[0], quickRounds)
	for _, f := range b.faults {
		t.Error(f)
	}
	for _, r := range []struct {
		says, against string
		of            figure
	}{
		{"CPU a webhook, in times of " + base + "'s", base, cpuOf},
		{"CPU a webhook, in times of franz-go-equal's", "franz-go-equal", cpuOf},
		{"webhooks a second, in times of franz-go-equal's", "franz-go-equal", rate},
		{"CPU a webhook, in times of that before", "before", cpuOf},
		{"objects a webhook, in times of those before", "before", objects},
	} {
		if n := b.ratio("tollbridge", r.against, r.of); n > 0 {
			t.Logf("%.2f  %s", n, r.says)
		}
	}
	for _, name := range names {
		t.Logf("%4.0f objects a webhook, %3.0f us of CPU, %5.0f webhooks a second: %s", b.median(name, objects), b.median(name, cpuOf), b.median(name, rate), name)
	}
}

// contestantBefore returns the build of -before.
func (b *bench) contestantBefore(t *testing.T) contestant {
	binary, err := filepath.Abs(*before)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(b.bin, "before")); err != nil {
		t.Fatal(err)
	}
	return contestant{name: "before", says: *before, ours: true, path: "/webhooks/stripe", command: tollbridge("before")}
}

// takeProfiles writes a CPU profile of tollbridge, for as long as it is measured, and a
// profile of all that it has allocated.
func takeProfiles(ctx context.Context, p place) error {
	if err := os.MkdirAll(*profile, 0o755); err != nil {
		return err
	}
	for _, c := range []struct{ file, query string }{
		{"cpu", fmt.Sprintf("profile?seconds=%.0f", lasting.Seconds())}, {"allocs", "allocs"},
	} {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.debug+"/debug/pprof/"+c.query, nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(answer.Body)
		if err := errors.Join(err, answer.Body.Close()); err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s: %s", r.URL, answer.Status, body)
		}
		if err := os.WriteFile(filepath.Join(*profile, c.file), body, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// ratio returns the median, over the rounds, of a figure of one contestant in times of
// that of another; 0 if one of them was not measured.
func (b *bench) ratio(name, against string, of figure) float64 {
	var all []float64
	for _, s := range b.samples {
		for _, other := range b.samples {
			if s.Contestant == name && other.Contestant == against && s.Repeat == other.Repeat {
				all = append(all, of(s.measured)/of(other.measured))
			}
		}
	}
	s, _ := spreadOf(all)
	return s.median
}

// median returns the median of a figure of a contestant.
func (b *bench) median(name string, of figure) float64 {
	var all []float64
	for _, s := range b.samples {
		if s.Contestant == name {
			all = append(all, of(s.measured))
		}
	}
	s, _ := spreadOf(all)
	return s.median
}
