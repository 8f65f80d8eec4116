// Package kafkatest gives tests a real Apache Kafka, since a fake cannot show what a broker does.
//
// Start uses the first of these that is available:
//
//  1. KAFKA_BROKERS: a cluster that runs already, as host:port separated by commas; nothing is started or ended;
//  2. docker: a Docker engine, with the image apache/kafka;
//  3. java: java 17 or later and mvn, which fetches the broker's jars into the user's cache folder.
//
// If none is available, the test is skipped with a message, or fails if TOLLBRIDGE_REQUIRE_KAFKA is set. Where
// TOLLBRIDGE_KAFKA_REPORT names a file (an absolute path: tests run in their package's folder), each run of a package
// appends a line on which Kafka it used or that it had none.
//
// Brokers listen on loopback only and end with the test. If the test binary dies, the java way's brokers die with it
// (on Linux) and containers are removed by testcontainers' reaper, unless that is switched off.
package kafkatest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// version is the Kafka that the docker and the java way run.
const version = "4.3.1"

// patience is how long a broker may take to start or to stop; on a busy machine with
// two cores it takes long.
const patience = 2 * time.Minute

// Options says what kind of cluster a test needs. The zero value is a cluster of one
// broker.
type Options struct {
	// Brokers is 1 (the default) or 3. One broker has replication 1 and min.insync.replicas 1, three have 3 and 2.
	// A cluster from KAFKA_BROKERS is taken as it is.
	Brokers int
	// Faults requests Kill, Stop, Pause, Resume and Restart. Only the java way supports
	// them.
	Faults bool
	// Disk requests a second, small disk for broker 1 that FillDisk can fill.
	// Cluster.Disk says whether this machine allows it. Only the java way supports it.
	Disk bool
	// Listeners are additional listeners of every broker: see Cluster.Listener. Only the
	// java way supports them.
	Listeners []Listener
	// Users are passwords by user name, for SCRAM-SHA-256 and SCRAM-SHA-512. Only the
	// java way supports them.
	Users map[string]string
	// Authorizer makes the brokers refuse what no ACL permits. The addresses of Bootstrap
	// permit everything: there, nobody is authenticated, and ANONYMOUS is a super user.
	// Only the java way supports it.
	Authorizer bool
	// JavaOptions are options of the brokers' java, such as -Dname=value. Only the java way
	// supports them.
	JavaOptions []string

	only string // tries only this way, for this package's tests
}

// java reports whether the options need the java way.
func (o Options) java() bool {
	return o.Faults || o.Disk || len(o.Listeners) > 0 || len(o.Users) > 0 || o.Authorizer || len(o.JavaOptions) > 0
}

// Listener is an additional listener of every broker, such as one with TLS.
type Listener struct {
	Name     string            // upper case, as in the broker's listener.security.protocol.map
	Protocol string            // SSL, SASL_SSL or SASL_PLAINTEXT
	Settings map[string]string // the broker's settings for this listener, without the prefix listener.name.<name>
}

// Cluster is a running Apache Kafka. It does not create topics automatically.
type Cluster struct {
	t         testing.TB
	way       string
	detail    string // an image, a version or addresses
	bootstrap []string
	missed    []string // why each earlier way was not available
	via       []Via
	listeners map[string][]string
	disk      error        // why broker 1 has no disk of its own
	nodes     []node       // broker i is nodes[i-1]; empty for a cluster that was running already
	tidy      func() error // removes what the nodes leave
}

// node is a broker that this package started.
type node interface {
	running() bool
	log() string // the last lines of its output
	end() error  // kills it; no error if it ended before
}

// unavailable is the reason why this machine does not offer a way to a Kafka. Any other
// error means that the way is available and failed.
type unavailable string

func (a unavailable) Error() string { return string(a) }

// unavailablef formats an unavailable error as one short line, even if a tool printed
// several.
func unavailablef(format string, args ...any) unavailable {
	line := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	if len(line) > 300 {
		line = line[:300] + "..."
	}
	return unavailable(line)
}

var ways = []struct {
	name  string
	start func(Options) (*Cluster, error)
}{
	{"KAFKA_BROKERS", viaEnvironment},
	{"docker", viaDocker},
	{"java", viaJava},
}

// Start returns a running cluster, and stops it when the test ends. If no Kafka is available it skips the test.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c, err := start(o)
	reportStart(t, o, c, err)
	c.t = t
	t.Cleanup(func() {
		if err := c.stop(); err != nil {
			t.Errorf("kafkatest: the cluster did not stop cleanly, check for processes or containers that are left: %v", err)
		}
	})
	return c
}

// Bootstrap returns the brokers' addresses, host:port.
func (c *Cluster) Bootstrap() []string { return slices.Clone(c.bootstrap) }

// Listener returns the brokers' addresses at one of Options.Listeners.
func (c *Cluster) Listener(name string) []string { return slices.Clone(c.listeners[name]) }

// Way returns where the cluster came from: "KAFKA_BROKERS", "docker" or "java".
func (c *Cluster) Way() string { return c.way }

// String names the way and the version of Kafka.
func (c *Cluster) String() string { return c.way + " " + c.detail }

func start(o Options) (*Cluster, error) {
	o.Brokers = cmp.Or(o.Brokers, 1)
	if o.Brokers != 1 && o.Brokers != 3 {
		return nil, fmt.Errorf("expected Options.Brokers 1 or 3, got %d", o.Brokers)
	}
	if o.java() {
		o.only = "java"
	}
	var missed []string
	for _, w := range ways {
		if o.only != "" && o.only != w.name {
			continue
		}
		c, err := w.start(o)
		if err == nil {
			c.way, c.missed = w.name, missed
			return c, nil
		}
		if !errors.As(err, new(unavailable)) {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		missed = append(missed, err.Error())
	}
	return nil, unavailable(strings.Join(missed, ", "))
}

func (c *Cluster) stop() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.end())
	}
	if c.tidy != nil {
		errs = append(errs, c.tidy())
	}
	return errors.Join(errs...)
}

func viaEnvironment(Options) (*Cluster, error) {
	addresses := strings.FieldsFunc(os.Getenv("KAFKA_BROKERS"), func(r rune) bool { return r == ',' || r == ' ' })
	if len(addresses) == 0 {
		return nil, unavailable("no KAFKA_BROKERS")
	}
	c := &Cluster{detail: strings.Join(addresses, ","), bootstrap: addresses}
	return c, await(func() error {
		var errs []error
		for _, address := range c.bootstrap {
			_, err := ask(address)
			if err == nil {
				return nil
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// ready waits until each broker answers a metadata request with a list of at least count brokers, itself among them.
func (c *Cluster) ready(count int, ids ...int) error {
	for _, id := range ids {
		err := await(func() error {
			listed, err := ask(c.bootstrap[id-1])
			if err == nil && (len(listed) < count || !slices.Contains(listed, id)) {
				err = fmt.Errorf("broker %d lists the brokers %v, expected at least %d brokers and itself", id, listed, count)
			}
			return err
		}, c.nodes[id-1])
		if err != nil {
			return fmt.Errorf("broker %d: %w", id, err)
		}
	}
	return nil
}

// await retries try until it succeeds, a node ends, or patience has passed.
func await(try func() error, nodes ...node) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		err := try()
		if err == nil {
			return nil
		}
		for _, n := range nodes {
			if !n.running() {
				return fmt.Errorf("it ended before it answered; its log ends with\n%s", n.log())
			}
		}
		if time.Now().Before(deadline) {
			continue
		}
		err = fmt.Errorf("expected an answer to a metadata request within %v: %w", patience, err)
		for _, n := range nodes {
			err = fmt.Errorf("%w; its log ends with\n%s", err, n.log())
		}
		return err
	}
}

// ask returns the IDs of the brokers that the one at address lists. It uses a connection of its own, since
// kafka.Client answers from its cache.
func ask(address string) (ids []int, err error) {
	conn, err := (&kafka.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	brokers, err := conn.Brokers()
	for _, b := range brokers {
		ids = append(ids, b.ID)
	}
	return ids, err
}

// settings returns a broker's configuration, but for where it listens. The replication of internal topics follows the
// number of brokers; the short times let a test see a dead broker replaced in seconds.
func settings(id int, voters []string) map[string]string {
	replication, inSync := "1", "1"
	if len(voters) == 3 {
		replication, inSync = "3", "2"
	}
	return map[string]string{
		"process.roles":                                    "broker,controller",
		"node.id":                                          strconv.Itoa(id),
		"controller.quorum.voters":                         strings.Join(voters, ","),
		"controller.listener.names":                        "CONTROLLER",
		"inter.broker.listener.name":                       "PEER",
		"listener.security.protocol.map":                   "CLIENT:PLAINTEXT,PEER:PLAINTEXT,CONTROLLER:PLAINTEXT,VIA:PLAINTEXT",
		"auto.create.topics.enable":                        "false",
		"default.replication.factor":                       replication,
		"min.insync.replicas":                              inSync,
		"offsets.topic.replication.factor":                 replication,
		"offsets.topic.num.partitions":                     "4",
		"transaction.state.log.replication.factor":         replication,
		"transaction.state.log.min.isr":                    inSync,
		"transaction.state.log.num.partitions":             "4",
		"share.coordinator.state.topic.replication.factor": replication,
		"share.coordinator.state.topic.min.isr":            inSync,
		"group.initial.rebalance.delay.ms":                 "0",
		"broker.session.timeout.ms":                        "6000",
		"replica.lag.time.max.ms":                          "4000",
	}
}

// freePorts returns unused ports of 127.0.0.1. They are below the range that systems
// use for outgoing connections: such a connection, even one to the dead broker itself,
// could otherwise take a broker's port before the broker restarts.
func freePorts(count int) (ports []int) {
	for len(ports) < count {
		port := 20000 + rand.IntN(12000)
		l, err := net.Listen("tcp", loopback(port))
		if err != nil {
			continue
		}
		defer l.Close() // only on return, so that no port is returned twice
		ports = append(ports, port)
	}
	return ports
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
