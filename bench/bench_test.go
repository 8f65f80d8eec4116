//go:build linux

// Package bench_test measures tollbridge and other programs that publish webhooks to
// Kafka. Each program is a process of its own, and gets its webhooks over HTTP on
// loopback. The results are written to docs/benchmarks.md.
//
//	load ──HTTP──▶ contestant ──Kafka──▶ broker
//
// The load generator and the fake broker are further processes of this test binary.
// Without -full, TestRivals is a smoke test: it runs every contestant once, briefly,
// against the fake broker.
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

// cell is a load at which each figure is measured.
type cell struct{ Connections, Size int }

// The cells vary the connections at one size, and the size at one number of
// connections.
var (
	middle = cell{64, 2 << 10}
	single = cell{1, 2 << 10}
	cells  = []cell{single, {16, 2 << 10}, middle, {256, 2 << 10}, {64, 512}, {64, 16 << 10}}
	// sparse are the cells for contestants that are there only for comparison.
	sparse = []cell{single, middle, {256, 2 << 10}}
)

// setting is the Kafka that contestants publish to.
type setting struct {
	name    string
	says    string
	ack     time.Duration // acknowledgement delay of the fake broker
	brokers int           // number of real brokers; 0 means the fake broker
}

var settings = []setting{
	{name: "fake-0ms", says: "a fake broker that acknowledges at once"},
	{name: "fake-2ms", says: "a fake broker that acknowledges after 2 ms", ack: 2 * time.Millisecond},
	{name: "kafka-1", says: "one broker of Apache Kafka", brokers: 1},
	{name: "kafka-3", says: "three brokers of Apache Kafka, replication 3, min.insync.replicas 2", brokers: 3},
}

// sample is one measurement.
type sample struct {
	Setting, Contestant string
	Cell                cell
	Repeat              int
	measured
}

// bench is the state of one run.
type bench struct {
	ctx     context.Context
	bin     string // folder of the built programs
	samples []sample
	faults  []string // errors that do not stop the run
	visits  int
}

func TestRivals(t *testing.T) {
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	began := time.Now()
	b := &bench{ctx: ctx, bin: t.TempDir()}
	if err := build(ctx, b.bin, builds(b.bin)); err != nil {
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

// chosen reports whether -only selects a name.
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

// at measures all contestants in a setting. Each round begins with another contestant.
func (b *bench) at(t *testing.T, s setting, rounds int) {
	// If this process is killed, the kernel kills each child when the thread that started
	// it ends. Locking the thread keeps it alive as long as this goroutine.
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
			err := b.visit(t, s, real, c, repeat)
			if err != nil && b.ctx.Err() == nil {
				t.Logf("%s, repeat %d: %s is visited again after: %v", s.name, repeat+1, c.name, err)
				err = b.visit(t, s, real, c, repeat)
			}
			if err != nil && b.ctx.Err() == nil {
				b.faults = append(b.faults, fmt.Sprintf("%s, %s, repeat %d: %v", s.name, c.name, repeat+1, err))
			}
			t.Logf("%s, repeat %d: %s in %.1f s", s.name, repeat+1, c.name, time.Since(began).Seconds())
		}
	}
}

const (
	warmVisits = 4               // the most visits of each contestant that warms up a broker
	warmFor    = 8 * time.Second // for each of them
)

// warm runs webhooks through a new broker before anything is measured, because its JVM
// needs a good part of a minute to compile the code: until the rates of two visits of the
// first contestant agree within a fifth.
func (b *bench) warm(t *testing.T, s setting, at kafkaAt) {
	kept, allCells := b.samples, cells
	long := *lasting
	cells, *lasting = []cell{middle}, warmFor
	defer func() { b.samples, cells, *lasting = kept, allCells, long }()
	last := 0.0
	for range warmVisits {
		b.samples = nil
		for _, c := range contestants[:2] {
			if err := b.visit(t, s, at, c, 0); err != nil {
				t.Logf("warming up: %v", err)
			}
		}
		now := b.median(contestants[0].name, rate)
		t.Logf("warming up: %.0f webhooks a second", now)
		if last > 0 && max(now, last) <= 1.2*min(now, last) {
			return
		}
		last = now
	}
}

// kafkaAt has the addresses and process ids of the brokers.
type kafkaAt struct {
	addresses []string
	processes []int
}

// visit starts a contestant, measures it, and stops it. After an error it discards the
// measurements. It uses a new fake broker each time, because a fake broker keeps all
// records in memory.
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

// measure measures a running contestant, and returns how many webhooks it answered 2xx.
func (b *bench) measure(ctx context.Context, s setting, at kafkaAt, c contestant, p place, running *process, repeat int) (acked int, err error) {
	if acked, err = c.await(ctx, p); err != nil {
		return acked, err
	}
	if err := c.refuses(ctx, p); err != nil {
		return acked, err
	}
	if s.brokers > 0 {
		if err := awaitIdle(at.processes); err != nil {
			return acked, err
		}
	}
	more, err := b.load(ctx, group{c, at, []place{p}, []*process{running}}, s.name, repeat)
	return acked + more, err
}

// awaitIdle waits until the real brokers have finished the work that creating and deleting
// topics causes: until they use less than half a core, or for 10 seconds.
func awaitIdle(brokers []int) error {
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

// start runs the load generator as a process of its own.
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

// conserved returns an error if the topics have fewer records than webhooks were
// answered 2xx: the figures of a contestant that loses records mean nothing.
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

// deleteTopics deletes the topics of a visit: a whole run would write more than the
// disk may hold.
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

// built is a build of programs: a folder with a go.mod, and the arguments of go build.
type built struct {
	dir  string
	args []string
}

// builds returns the builds of all contestants. tollbridge is built with the module
// versions in its own go.mod, and Bento with those of its release.
func builds(bin string) []built {
	return append(quickBuilds(bin),
		built{"..", []string{"-o", filepath.Join(bin, "tollbridge-no-archive"), "-overlay", filepath.Join(bin, "overlay.json"), "./cmd/tollbridge"}},
		built{".", []string{"-o", bin + "/", "./watermill"}},
		built{"bento", []string{"-o", bin + "/", "."}},
	)
}

// quickBuilds returns the builds of the contestants of [TestQuick].
func quickBuilds(bin string) []built {
	return []built{
		{"..", []string{"-o", filepath.Join(bin, "tollbridge"), "./cmd/tollbridge"}},
		{".", []string{"-o", bin + "/", "./echo"}},
	}
}

// build builds the programs.
func build(ctx context.Context, bin string, all []built) error {
	if err := withoutArchive(bin); err != nil {
		return err
	}
	for _, b := range all {
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
	archiving    = "return append(entries, entry{id: \"webhook\", record: d.archiveRecord(a, r, body, ids, traceparent)}), nil\n"
	notArchiving = "return entries, nil\n"
)

// withoutArchive writes overlay.json, a build overlay for a tollbridge that does not
// archive webhooks, which no configuration allows.
func withoutArchive(bin string) error {
	source, err := filepath.Abs("../ingest/delivery.go")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	if n := strings.Count(string(text), archiving); n != 1 {
		return fmt.Errorf("%s: want the line %q once, it is there %d times: see what keeps webhooks now", source, archiving, n)
	}
	changed := filepath.Join(bin, "delivery.go")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(text), archiving, notArchiving, 1)), 0o600); err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{source: changed}})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(bin, "overlay.json"), overlay, 0o600)
}
