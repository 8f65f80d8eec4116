package kafkatest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/segmentio/kafka-go"
	"github.com/testcontainers/testcontainers-go"
)

func TestMain(m *testing.M) { Main(m) }

func TestBootstrap(t *testing.T) {
	brokers := Bootstrap(t)
	createTopic(t, brokers, "shared")
	roundTrip(t, brokers, "shared")
	t.Run("once", func(t *testing.T) {
		if again := Bootstrap(t); again[0] != brokers[0] {
			t.Errorf("expected one cluster for all tests, got %v and %v", brokers, again)
		}
	})
	t.Run("KAFKA_BROKERS", func(t *testing.T) {
		t.Setenv("KAFKA_BROKERS", brokers[0])
		t.Setenv("TOLLBRIDGE_KAFKA_REPORT", "") // the report would say where the brokers came from
		c := Start(t, Options{Brokers: 3})
		if c.Way() != "KAFKA_BROKERS" {
			t.Errorf("expected the cluster of KAFKA_BROKERS first, got %s", c)
		}
	})
	roundTrip(t, brokers, "shared") // must not stop the cluster of KAFKA_BROKERS
}

func TestDocker(t *testing.T) {
	t.Parallel()
	c, err := start(Options{Brokers: 3, only: "docker"}) // not Start, which would report a missing Docker even if another way is available
	if errors.As(err, new(unavailable)) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Run("three brokers", func(t *testing.T) {
		createTopic(t, c.Bootstrap(), "docker")
		roundTrip(t, c.Bootstrap(), "docker")
	})
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	engine, err := testcontainers.NewDockerClientWithOpts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range c.nodes {
		id := n.(container).GetContainerID()
		if _, err := engine.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{}); err == nil {
			t.Errorf("container %s is left after its test", id)
		}
	}
	if err := c.tidy(); err == nil {
		t.Error("the network is left after its test")
	}
}

func TestJava(t *testing.T) {
	t.Parallel()
	var c *Cluster
	t.Run("three brokers", func(t *testing.T) {
		c = Start(t, Options{Brokers: 3, Faults: true, Disk: true})
		createTopic(t, c.Bootstrap(), "java")
		roundTrip(t, c.Bootstrap(), "java")
		testFaults(t, c)
		testDisk(t, c)
	})
	if c == nil {
		return
	}
	for _, n := range c.nodes {
		p := n.(*process)
		if err := signal(p.cmd.Process, 0); err == nil {
			t.Errorf("process %d is left after its test", p.cmd.Process.Pid)
		}
		if _, err := os.Stat(filepath.Dir(filepath.Dir(p.output))); err == nil {
			t.Errorf("folder of %s is left after its test", p.output)
		}
	}
}

func testFaults(t *testing.T, c *Cluster) {
	silent := func(broker int, why string) {
		t.Helper()
		if _, err := ask(c.bootstrap[broker-1]); err == nil {
			t.Errorf("expected no answer from a %s broker, got one", why)
		}
	}
	c.Pause(2)
	silent(2, "paused")
	c.Resume(2)
	c.Kill(1)
	silent(1, "killed")
	roundTrip(t, c.Bootstrap(), "java")
	c.Stop(3)
	silent(3, "stopped")
	c.Kill(2)
	c.Restart(1, 2, 3)
	roundTrip(t, c.Bootstrap(), "java")
}

// testDisk checks that FillDisk fills the disk of one broker only, and that Restart empties it.
func testDisk(t *testing.T, c *Cluster) {
	if err := c.Disk(); err != nil {
		t.Logf("NOT TESTED WITH A FULL DISK: %v", err)
		return
	}
	write := func() error {
		name := filepath.Join(fmt.Sprintf("/proc/%d/root", c.Processes()[0]), diskOf(filepath.Dir(c.nodes[0].(*process).output)), "test")
		defer os.Remove(name)
		return os.WriteFile(name, make([]byte, 1<<20), 0o644)
	}
	if err := write(); err != nil {
		t.Errorf("expected room before the disk is filled, got %v", err)
	}
	c.FillDisk()
	if err := write(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("expected that the disk is full, got %v", err)
	}
	roundTrip(t, c.Bootstrap(), "java")
	c.Stop(1)
	c.Restart(1)
	if err := write(); err != nil {
		t.Errorf("expected room after the restart, got %v", err)
	}
}

// TestUnavailable checks what Start does if no Kafka is available.
func TestUnavailable(t *testing.T) {
	hideKafka(t)
	for _, test := range []struct {
		name, require, outcome, report string
		options                        Options
	}{
		{"skips", "", "skip: NOT TESTED AGAINST A REAL KAFKA: TestNeedy (no KAFKA_BROKERS, no Docker engine, no java+mvn). To run it, set KAFKA_BROKERS",
			"NO REAL KAFKA: package kafkatest skipped its tests against one (no KAFKA_BROKERS, no Docker engine, no java+mvn)\n", Options{}},
		{"skips faults", "", "skip: NOT TESTED AGAINST A REAL KAFKA: TestNeedy (no java+mvn). To run it, install java",
			"NO REAL KAFKA: package kafkatest skipped its fault tests against one (no java+mvn)\n", Options{Faults: true}},
		{"fails", "1", "fatal: NOT TESTED AGAINST A REAL KAFKA: TestNeedy", "NO REAL KAFKA", Options{}},
		{"two brokers", "", "fatal: kafkatest: expected Options.Brokers 1 or 3, got 2", "", Options{Brokers: 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			report := filepath.Join(t.TempDir(), "report")
			t.Setenv("TOLLBRIDGE_KAFKA_REPORT", report)
			t.Setenv("TOLLBRIDGE_REQUIRE_KAFKA", test.require)
			for range 2 { // the second call adds no line
				if got := outcome(func(t testing.TB) { Start(t, test.options) }); !strings.HasPrefix(got, test.outcome) {
					t.Errorf("expected %q..., got %q", test.outcome, got)
				}
			}
			if got, _ := os.ReadFile(report); !strings.HasPrefix(string(got), test.report) || strings.Count(string(got), "\n") > 1 {
				t.Errorf("expected the report to be %q, got %q", test.report, got)
			}
		})
	}
}

// hideKafka makes every way of Start unavailable.
func hideKafka(t *testing.T) {
	t.Setenv("KAFKA_BROKERS", "")
	t.Setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
	t.Setenv("PATH", "")
}

// TestBrokerDiesWithTest kills a test binary. Its broker, here a process that only sleeps, must die with it.
func TestBrokerDiesWithTest(t *testing.T) {
	if os.Getenv("KAFKATEST_ORPHAN") != "" {
		p := &process{args: []string{"sleep", "600"}, output: os.DevNull}
		if err := p.launch(); err != nil {
			t.Fatal(err)
		}
		fmt.Println("pid", p.cmd.Process.Pid)
		select {}
	}
	if runtime.GOOS != "linux" {
		t.Skip("only Linux kills a child when its parent ends")
	}
	binary := exec.Command(os.Args[0], "-test.run=^TestBrokerDiesWithTest$")
	binary.Env = append(os.Environ(), "KAFKATEST_ORPHAN=1")
	out, err := binary.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := binary.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscanf(out, "pid %d\n", &pid); err != nil {
		t.Error(err)
	}
	binary.Process.Kill()
	binary.Wait()
	child, _ := os.FindProcess(pid)
	for deadline := time.Now().Add(10 * time.Second); signal(child, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			signal(child, 9)
			t.Fatalf("process %d outlives the test binary that started it", pid)
		}
	}
}

// recordingTest is a test that records its result.
type recordingTest struct {
	testing.TB
	ended string
}

func (n *recordingTest) Helper()                   {}
func (n *recordingTest) Name() string              { return "TestNeedy" }
func (n *recordingTest) Skip(args ...any)          { n.end("skip: " + fmt.Sprint(args...)) }
func (n *recordingTest) Fatal(args ...any)         { n.end("fatal: " + fmt.Sprint(args...)) }
func (n *recordingTest) Fatalf(f string, a ...any) { n.end("fatal: " + fmt.Sprintf(f, a...)) }

func (n *recordingTest) end(how string) {
	n.ended = how
	runtime.Goexit()
}

func outcome(test func(testing.TB)) string {
	var n recordingTest
	var wg sync.WaitGroup
	wg.Go(func() { test(&n) })
	wg.Wait()
	return n.ended
}

func createTopic(t *testing.T, brokers []string, topic string) {
	t.Helper()
	client := kafkaClient(t, brokers)
	created, err := client.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{
		{Topic: topic, NumPartitions: 1, ReplicationFactor: -1},
	}})
	if err == nil {
		err = created.Errors[topic]
	}
	if err != nil {
		t.Fatal(err)
	}
}

// roundTrip produces a record to a topic and reads it back. It retries, because a new
// topic or a new leader may not answer at once.
func roundTrip(t *testing.T, brokers []string, topic string) {
	t.Helper()
	want := rand.Text()
	err := await(func() error {
		got, err := tryRoundTrip(t, brokers, topic, want)
		if err == nil && got != want {
			t.Errorf("expected %q back, got %q", want, got)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func tryRoundTrip(t *testing.T, brokers []string, topic, value string) (string, error) {
	client := kafkaClient(t, brokers)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	produced, err := client.Produce(ctx, &kafka.ProduceRequest{Topic: topic, RequiredAcks: kafka.RequireAll,
		Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes([]byte(value))})})
	if err == nil {
		err = produced.Error
	}
	if err != nil {
		return "", err
	}
	fetched, err := client.Fetch(ctx, &kafka.FetchRequest{Topic: topic, Offset: produced.BaseOffset, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Second})
	if err == nil {
		err = fetched.Error
	}
	if err != nil {
		return "", err
	}
	record, err := fetched.Records.ReadRecord()
	if err != nil {
		return "", err
	}
	got, err := io.ReadAll(record.Value)
	return string(got), err
}

func kafkaClient(t *testing.T, brokers []string) *kafka.Client {
	transport := &kafka.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &kafka.Client{Addr: kafka.TCP(brokers...), Transport: transport}
}
