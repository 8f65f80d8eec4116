//go:build linux

package bench_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tollbridge/tollbridge/internal/kafkatest"
)

var ofReplicas = flag.Bool("replicas", false, "measure what replicas cost, in a quarter of an hour")

const (
	replicaRounds = 3
	idleFor       = 10 * time.Second
	claimsToRead  = 1_000_000 // that a replica has to read when it starts
)

// TestReplicas prints what one and two replicas of tollbridge cost under load, what one,
// two and five cost when no webhook arrives, and how long a replica takes to start when
// the last minutes had a million claims. There are three brokers. With -before, another
// build is measured by turns with this one.
func TestReplicas(t *testing.T) {
	if !*ofReplicas {
		t.Skip("make bench-replicas runs it")
	}
	runtime.LockOSThread() // see [bench.at]
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{ctx: ctx, bin: t.TempDir()}
	if err := build(ctx, b.bin, quickBuilds(b.bin)); err != nil {
		t.Fatal(err)
	}
	builds := slices.Clone(contestants[:1])
	if *before != "" {
		builds = append(builds, b.contestantBefore(t))
	}
	cluster := kafkatest.Start(t, kafkatest.Options{Brokers: 3, Faults: true})
	at := kafkaAt{cluster.Bootstrap(), cluster.Processes()}
	cells, *lasting = []cell{single, {16, 2 << 10}, middle}, 4*time.Second
	b.warm(t, settings[3], at)
	for round := range replicaRounds {
		for _, n := range []int{1, 2} {
			for i := range builds {
				c := builds[(i+round)%len(builds)]
				if err := b.group(c, at, n, func(ctx context.Context, g group) error {
					_, err := b.load(ctx, g, replicasSetting(n), round)
					return err
				}); err != nil {
					t.Errorf("round %d, %s, %d replicas under load: %v", round+1, c.name, n, err)
				}
			}
		}
	}
	for _, n := range []int{1, 2} {
		for _, l := range cells {
			for _, c := range builds {
				median := func(f figure) float64 {
					s, _ := spreadOf(results(b.samples).of(replicasSetting(n), l, c.name, f))
					return s.median
				}
				t.Logf("%d replicas, %2d connections: %5.0f webhooks a second, p50 %5.1f ms, p99 %5.1f ms, %4.0f us of CPU, brokers' %4.0f us: %s", n, l.Connections, median(rate), median(p50), median(p99), median(cpuOf), median(brokerCPU), c.name)
			}
		}
	}
	for _, n := range []int{0, 1, 2, 5} {
		for _, c := range builds {
			if err := b.group(c, at, n, func(_ context.Context, g group) error {
				used, brokers, err := g.idle()
				t.Logf("%d idle replicas: %4.1f %% of a core for each, brokers' %4.1f %%: %s", n, 100*used/float64(max(1, n)), 100*brokers, c.name)
				return err
			}); err != nil {
				t.Errorf("%s, %d idle replicas: %v", c.name, n, err)
			}
		}
	}
	if err := b.group(builds[0], at, 0, func(ctx context.Context, g group) error { return g.restart(ctx, t) }); err != nil {
		t.Errorf("a start behind %d claims: %v", claimsToRead, err)
	}
}

func replicasSetting(n int) string { return fmt.Sprintf("%d replicas", n) }

// group is running replicas of a contestant.
type group struct {
	contestant
	at      kafkaAt
	places  []place
	running []*process
}

// group creates topics, starts replicas, calls do and ends everything.
func (b *bench) group(c contestant, at kafkaAt, replicas int, do func(context.Context, group) error) (err error) {
	ctx, cancel := context.WithTimeout(b.ctx, 4*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "tollbridge-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b.visits++
	g := group{contestant: c, at: at}
	for i := range max(1, replicas) {
		p := place{
			bin: b.bin, dir: filepath.Join(dir, fmt.Sprint(i)), brokers: at.addresses, replication: 3,
			prefix: fmt.Sprintf("bench%d.", b.visits), listen: freeAddress(), debug: freeAddress(),
		}
		if err := os.Mkdir(p.dir, 0o700); err != nil {
			return err
		}
		if i == 0 {
			_, err = c.topics(ctx, p)
			defer func() { err = errors.Join(err, deleteTopics(b.ctx, p)) }()
		} else {
			err = p.configure()
		}
		if err != nil {
			return err
		}
		g.places = append(g.places, p)
	}
	for i := range replicas {
		if err := g.launch(ctx, i); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, g.running[i].end()) }()
		if _, err := c.await(ctx, g.places[i]); err != nil {
			return fmt.Errorf("%w; its output ends with\n%s", err, g.running[i].said())
		}
	}
	if err := awaitIdle(at.processes); err != nil {
		return err
	}
	return do(ctx, g)
}

// launch starts a replica.
func (g *group) launch(ctx context.Context, replica int) error {
	r, err := g.start(ctx, g.places[replica])
	if err == nil {
		g.running = append(g.running, r)
	}
	return err
}

// processes returns the process ids of the replicas.
func (g group) processes() (ids []int) {
	for _, r := range g.running {
		ids = append(ids, r.cmd.Process.Pid)
	}
	return ids
}

// newTopics is how long webhooks are sent to new topics before the first figure is taken: at
// the first record of a partition each broker writes and syncs files.
const newTopics = 2 * time.Second

// load measures the replicas in all cells, and returns how many webhooks were answered
// 2xx.
func (b *bench) load(ctx context.Context, g group, setting string, repeat int) (acked int, err error) {
	for i, cell := range g.cells() {
		l := load{
			Secret: secret, Run: fmt.Sprintf("%d%02d", b.visits, i),
			Connections: cell.Connections, Size: cell.Size, Warm: *lasting / 5, For: *lasting * 4 / 5,
			Processes: g.processes(), Brokers: g.at.processes,
		}
		if i == 0 {
			l.Warm += newTopics
		}
		for _, p := range g.places {
			l.URLs, l.Mallocs = append(l.URLs, g.url(p)), append(l.Mallocs, g.mallocs(p))
		}
		profiled := make(chan error, 1)
		go func() {
			if *profile == "" || g.name != contestants[0].name {
				profiled <- nil
				return
			}
			profiled <- takeProfiles(ctx, g.places[0])
		}()
		m, err := l.start(ctx)
		if err := errors.Join(err, <-profiled); err != nil {
			return acked, err
		}
		acked += m.Acked
		if m.Failed > 0 || m.Rate == 0 { // all answers may have come after the measured time
			return acked, fmt.Errorf("%d connections, %d bytes: %d webhooks were answered 2xx, %d were not: %s", cell.Connections, cell.Size, m.Acked, m.Failed, m.Failure)
		}
		b.samples = append(b.samples, sample{setting, g.name, cell, repeat, m})
	}
	return acked, nil
}

// idle measures how many cores the replicas together and the brokers use when no webhook
// arrives.
func (g group) idle() (used, brokers float64, err error) {
	time.Sleep(2 * time.Second)
	of := func() (replicas, brokers time.Duration, err error) {
		if replicas, err = cpu(g.processes()...); err == nil {
			brokers, err = cpu(g.at.processes...)
		}
		return replicas, brokers, err
	}
	replicas0, brokers0, err := of()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	time.Sleep(idleFor)
	replicas1, brokers1, err := of()
	took := time.Since(began)
	return float64(replicas1-replicas0) / float64(took), float64(brokers1-brokers0) / float64(took), err
}

// restart writes claims of another replica, and logs how long a replica that starts then
// takes until it answers a webhook, and the most memory that it needed.
func (g group) restart(ctx context.Context, t *testing.T) error {
	p := g.places[0]
	client, err := kgo.NewClient(kgo.SeedBrokers(p.brokers...), kgo.DefaultProduceTopic(p.prefix+"webhooks.claims"), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		return err
	}
	defer client.Close()
	var failed error
	for i := range claimsToRead {
		client.Produce(ctx, &kgo.Record{
			Key: []byte("stripe/stripe"),
			Value: fmt.Appendf(nil, `{"process":"0123456789abcdef","number":%d,"events":[{"ids":["%s"],"topic":"%spayment.captured","partition":%d}]}`,
				i+1, eventID(i), p.prefix, i%partitions),
		}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
	}
	if err := errors.Join(client.Flush(ctx), failed); err != nil {
		return err
	}
	began := time.Now()
	if err := g.launch(ctx, 0); err != nil {
		return err
	}
	defer func() { _ = g.running[0].end() }()
	if _, err := g.await(ctx, p); err != nil {
		return fmt.Errorf("%w; its output ends with\n%s", err, g.running[0].said())
	}
	took := time.Since(began)
	_, most, err := memory(g.running[0].cmd.Process.Pid)
	if err != nil {
		return err
	}
	t.Logf("a replica that starts behind %d claims of the last minutes answers its first webhook after %.1f s, and needs at most %d MB", claimsToRead, took.Seconds(), most>>20)
	time.Sleep(40 * time.Second) // longer than claims are of use
	now, _, err := memory(g.running[0].cmd.Process.Pid)
	t.Logf("40 s later it has %d MB", now>>20)
	return err
}

// eventID returns an event id of the usual form.
func eventID(n int) string { return fmt.Sprintf("%08x-0000-5000-8000-%012x", n, n) }
