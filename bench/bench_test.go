//go:build linux

// Package bench_test measures tollbridge and what else takes webhooks to Kafka,
// each a process of its own, over HTTP on loopback, and writes
// docs/benchmarks.md:
//
//	load ──HTTP──▶ contestant ──Kafka──▶ broker
//
// Load and the fake broker are this test binary, started anew. Without -full,
// TestRivals is a smoke test: every contestant once, for a moment, against the
// fake broker.
package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/internal/kafkatest"
)

var (
	full    = flag.Bool("full", false, "measure, and write the page")
	repeats = flag.Int("repeats", 4, "times that each figure is taken")
	lasting = flag.Duration("cell", 1500*time.Millisecond, "time for each figure, a fifth of it for warming up")
	only    = flag.String("only", "", "names of brokers and contestants, separated by commas; empty is all")
	page    = flag.String("page", "../docs/benchmarks.md", "the file to write")
	raw     = flag.String("raw", "../bin/benchmarks.json", "the file for the single figures")
)

func TestMain(m *testing.M) {
	asLoad()
	asBroker()
	os.Exit(m.Run())
}

// cell is what a figure is taken of.
type cell struct{ Connections, Size int }

// The cells: connections at one size, and sizes at one number of connections.
var (
	middle = cell{64, 2 << 10}
	single = cell{1, 2 << 10}
	cells  = []cell{single, {16, 2 << 10}, middle, {256, 2 << 10}, {64, 512}, {64, 16 << 10}}
	// sparse are those of contestants that only stand for comparison.
	sparse = []cell{single, middle, {256, 2 << 10}}
)

// setting is the Kafka that contestants publish to.
type setting struct {
	name    string
	says    string
	ack     time.Duration // of the fake broker
	brokers int           // real ones; 0 is the fake one
}

var settings = []setting{
	{name: "fake-0ms", says: "a fake broker that acknowledges at once"},
	{name: "fake-2ms", says: "a fake broker that acknowledges after 2 ms", ack: 2 * time.Millisecond},
	{name: "kafka-1", says: "one broker of Apache Kafka", brokers: 1},
	{name: "kafka-3", says: "three brokers of Apache Kafka, replication 3, min.insync.replicas 2", brokers: 3},
}

// sample is one figure's taking.
type sample struct {
	Setting, Contestant string
	Cell                cell
	Repeat              int
	measured
}

// bench is a run.
type bench struct {
	ctx     context.Context
	bin     string // the folder of the programs
	samples []sample
	faults  []string // what went wrong: the run goes on
	visits  int
}

func TestRivals(t *testing.T) {
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	began := time.Now()
	b := &bench{ctx: ctx, bin: t.TempDir()}
	if err := build(ctx, b.bin); err != nil {
		t.Fatal(err)
	}
	rounds, places := *repeats, settings
	if !*full {
		rounds, places = 1, settings[:1]
		*lasting, cells, sparse = 300*time.Millisecond, []cell{middle}, []cell{middle}
	}
	for _, s := range places {
		if chosen(s.name, names(settings, func(s setting) string { return s.name })) {
			t.Run(s.name, func(t *testing.T) { b.at(t, s, rounds) })
		}
	}
	if ctx.Err() != nil {
		t.Fatal("interrupted: nothing is written")
	}
	for _, f := range b.faults {
		t.Error(f)
	}
	if *full && len(b.samples) > 0 {
		if err := b.write(began); err != nil {
			t.Fatal(err)
		}
	}
}

// chosen reports whether -only leaves a name in.
func chosen(name string, among []string) bool {
	picked := slices.DeleteFunc(strings.Split(*only, ","), func(s string) bool { return !slices.Contains(among, s) })
	return len(picked) == 0 || slices.Contains(picked, name)
}

func names[T any](from []T, name func(T) string) (all []string) {
	for _, one := range from {
		all = append(all, name(one))
	}
	return all
}

// at takes all figures of a setting: the contestants in turn, each time
// another first.
func (b *bench) at(t *testing.T, s setting, rounds int) {
	// The kernel ends our children with the thread that started them, if this
	// process is killed. The thread is this goroutine's, and ends with it.
	runtime.LockOSThread()
	var real kafkaAt
	if s.brokers > 0 {
		cluster := kafkatest.Start(t, kafkatest.Options{Brokers: s.brokers, Faults: true})
		real = kafkaAt{cluster.Bootstrap(), cluster.Processes()}
		b.warm(t, s, real)
	}
	in := slices.DeleteFunc(slices.Clone(contestants), func(c contestant) bool {
		return !chosen(c.name, names(contestants, func(c contestant) string { return c.name }))
	})
	for repeat := range rounds {
		for i := range in {
			c := in[(i+repeat)%len(in)]
			if b.ctx.Err() != nil {
				return
			}
			began := time.Now()
			if err := b.visit(t, s, real, c, repeat); err != nil && b.ctx.Err() == nil {
				b.faults = append(b.faults, fmt.Sprintf("%s, %s, repeat %d: %v", s.name, c.name, repeat+1, err))
			}
			t.Logf("%s, repeat %d: %s in %.1f s", s.name, repeat+1, c.name, time.Since(began).Seconds())
		}
	}
}

// warm has a new broker's code compiled before anything is measured: a JVM
// takes a good part of a minute for that.
func (b *bench) warm(t *testing.T, s setting, at kafkaAt) {
	kept := b.samples
	for _, c := range contestants[:2] {
		if err := b.visit(t, s, at, c, 0); err != nil {
			t.Logf("warming up: %v", err)
		}
	}
	b.samples = kept
}

// kafkaAt is where brokers are, and their processes.
type kafkaAt struct {
	addresses []string
	processes []int
}

// visit starts a contestant, takes its figures, and ends it. After an error there
// are none. The fake broker is a new one each time, since it keeps all in memory.
func (b *bench) visit(t *testing.T, s setting, at kafkaAt, c contestant, repeat int) (err error) {
	ctx, cancel := context.WithTimeout(b.ctx, 3*time.Minute)
	defer cancel()
	kept := len(b.samples)
	defer func() {
		if err != nil {
			b.samples = b.samples[:kept]
		}
	}()
	dir, err := os.MkdirTemp("", "tollbridge-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if s.brokers == 0 {
		fake, err := startBroker(ctx, s.ack)
		if err != nil {
			return err
		}
		defer fake.end()
		at = fake.kafkaAt
	}
	b.visits++
	p := place{
		bin: b.bin, dir: dir, brokers: at.addresses, replication: max(1, s.brokers), prefix: fmt.Sprintf("bench%d.", b.visits),
		listen: freeAddress(), debug: freeAddress(),
	}
	topics, err := c.topics(ctx, p)
	if err != nil {
		return err
	}
	if s.brokers > 0 {
		defer func() { err = errors.Join(err, deleteTopics(b.ctx, p)) }()
	}
	running, err := c.start(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.end()) }()
	acked, err := b.measure(ctx, s, at, c, p, running, repeat)
	if err != nil {
		return fmt.Errorf("%w; its output ends with\n%s", err, running.said())
	}
	return conserved(ctx, at, topics, acked)
}

// measure takes the figures of a contestant that was started, and returns how
// many webhooks it answered 2xx.
func (b *bench) measure(ctx context.Context, s setting, at kafkaAt, c contestant, p place, running *process, repeat int) (acked int, err error) {
	if acked, err = c.await(ctx, p); err != nil {
		return acked, err
	}
	if err := c.refuses(ctx, p); err != nil {
		return acked, err
	}
	if s.brokers > 0 {
		if err := rest(at.processes); err != nil {
			return acked, err
		}
	}
	for i, cell := range c.cells() {
		l := load{
			URL: c.url(p), Secret: secret, Run: fmt.Sprintf("%d%02d", b.visits, i),
			Connections: cell.Connections, Size: cell.Size, Warm: *lasting / 5, For: *lasting * 4 / 5,
			Process: running.cmd.Process.Pid, Brokers: at.processes, Mallocs: c.mallocs(p),
		}
		m, err := l.start(ctx)
		if err != nil {
			return acked, err
		}
		acked += m.Acked
		if m.Failed > 0 || m.Rate == 0 {
			return acked, fmt.Errorf("%d connections, %d bytes: %d webhooks were answered 2xx, %d were not: %s", cell.Connections, cell.Size, m.Acked, m.Failed, m.Failure)
		}
		b.samples = append(b.samples, sample{s.name, c.name, cell, repeat, m})
	}
	return acked, nil
}

// rest waits, a while at most, until real brokers have done what new topics and
// deleted ones make them do: until they take less than half a core.
func rest(brokers []int) error {
	const pace = 500 * time.Millisecond
	used, err := cpu(brokers...)
	for tries := 0; err == nil && tries < 20; tries++ {
		time.Sleep(pace)
		before := used
		if used, err = cpu(brokers...); used-before < pace/2 {
			break
		}
	}
	return err
}

// start runs the load in a process of its own.
func (l load) start(ctx context.Context) (m measured, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.Warm+l.For+30*time.Second)
	defer cancel()
	in, err := json.Marshal(l)
	if err != nil {
		return m, err
	}
	var said bytes.Buffer
	c := exec.CommandContext(ctx, os.Args[0])
	c.Env = append(os.Environ(), "BENCH_PROCESS=load")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Stdin, c.Stderr = bytes.NewReader(in), &said
	out, err := c.Output()
	if err != nil {
		return m, fmt.Errorf("the load generator: %w: %s", err, said.Bytes())
	}
	return m, json.Unmarshal(out, &m)
}

// conserved returns an error if there are fewer records in the topics than
// webhooks were answered 2xx: figures of who loses some are worth nothing.
func conserved(ctx context.Context, at kafkaAt, topics []string, acked int) error {
	client := &kafka.Client{Addr: kafka.TCP(at.addresses...), Timeout: 10 * time.Second, Transport: &kafka.Transport{}}
	defer client.Transport.(*kafka.Transport).CloseIdleConnections()
	m, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	if err != nil {
		return err
	}
	asked := map[string][]kafka.OffsetRequest{}
	for _, t := range m.Topics {
		for _, p := range t.Partitions {
			asked[t.Name] = append(asked[t.Name], kafka.LastOffsetOf(p.ID))
		}
	}
	ends, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: asked})
	if err != nil {
		return err
	}
	records := 0
	for _, parts := range ends.Topics {
		for _, p := range parts {
			records += int(p.LastOffset)
		}
	}
	if records < acked {
		return fmt.Errorf("%d webhooks were answered 2xx and Kafka has %d records of them", acked, records)
	}
	return nil
}

// deleteTopics deletes what a visit left: a run writes more than a disk may hold.
func deleteTopics(ctx context.Context, p place) error {
	client := &kafka.Client{Addr: kafka.TCP(p.brokers...), Timeout: time.Minute, Transport: &kafka.Transport{MetadataTTL: time.Second}}
	defer client.Transport.(*kafka.Transport).CloseIdleConnections()
	m, err := client.Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return err
	}
	var ours []string
	for _, t := range m.Topics {
		if strings.HasPrefix(t.Name, p.prefix) {
			ours = append(ours, t.Name)
		}
	}
	r, err := client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: ours})
	if err != nil {
		return err
	}
	var errs []error
	for _, err := range r.Errors {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// build makes the programs. tollbridge has the versions of its own module, and
// Bento those that it was released with.
func build(ctx context.Context, bin string) error {
	without, err := withoutArchive(bin)
	if err != nil {
		return err
	}
	for _, b := range []struct {
		dir  string
		args []string
	}{
		{"..", []string{"-o", filepath.Join(bin, "tollbridge"), "./cmd/tollbridge"}},
		{"..", []string{"-o", filepath.Join(bin, "tollbridge-no-archive"), "-overlay", without, "./cmd/tollbridge"}},
		{".", []string{"-o", bin + "/", "./echo", "./watermill"}},
		{"bento", []string{"-o", bin + "/", "."}},
	} {
		c := exec.CommandContext(ctx, "go", append([]string{"build"}, b.args...)...)
		c.Dir = b.dir
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", strings.Join(b.args, " "), err, out)
		}
	}
	return nil
}

// archiving is the line of ingest that adds the record of the archived webhook;
// notArchiving replaces it to measure what the archive costs.
const (
	archiving    = "return append(entries, entry{id: \"webhook\", record: d.archiveRecord(a, r, body, ids)}), nil\n"
	notArchiving = "return entries, nil\n"
)

// withoutArchive writes the overlay of a tollbridge that keeps no webhooks,
// which is in no configuration's power.
func withoutArchive(bin string) (string, error) {
	source, err := filepath.Abs("../ingest/delivery.go")
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), archiving); n != 1 {
		return "", fmt.Errorf("%s: want the line %q once, it is there %d times: see what keeps webhooks now", source, archiving, n)
	}
	changed := filepath.Join(bin, "delivery.go")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(text), archiving, notArchiving, 1)), 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{source: changed}})
	if err != nil {
		return "", err
	}
	name := filepath.Join(bin, "overlay.json")
	return name, os.WriteFile(name, overlay, 0o600)
}
