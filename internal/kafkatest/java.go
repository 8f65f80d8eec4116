package kafkatest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// pom makes Maven resolve a broker's jars.
const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka-jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>` + version + `</version></dependency>
  </dependencies>
</project>
`

// viaJava runs each broker as a process, with its data and log in a fresh folder.
func viaJava(o Options) (_ *Cluster, err error) {
	jars, err := kafkaJars()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tollbridge-kafka-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{detail: "kafka " + version, tidy: func() error { return os.RemoveAll(dir) }}
	defer func() {
		if err != nil {
			c.stop()
		}
	}()
	processes, err := configure(c, dir, jars, o)
	if err != nil {
		return nil, err
	}
	var ids []int
	for i, p := range processes {
		if err := p.launch(); err != nil {
			return nil, err
		}
		ids, c.nodes = append(ids, i+1), append(c.nodes, p)
	}
	return c, c.ready(o.Brokers, ids...)
}

// kafkaJars returns the folder with a broker's jars. The first time, Maven fetches them
// into a temporary folder, which is renamed when it is complete: two test binaries may
// do so at once, and an interrupted one leaves no incomplete folder under the final
// name.
func kafkaJars() (string, error) {
	if _, err := exec.LookPath("java"); err != nil {
		return "", unavailable("no java+mvn")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	jars := filepath.Join(cache, "tollbridge-kafkatest", "libs-"+version) // only the jars that a broker needs
	marker := filepath.Join(jars, ".complete")
	if _, err := os.Stat(marker); err == nil {
		return jars, nil
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		return "", unavailable("no java+mvn")
	}
	if err := os.MkdirAll(filepath.Dir(jars), 0o755); err != nil {
		return "", err
	}
	fetched, err := os.MkdirTemp(filepath.Dir(jars), "fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fetched)
	if err := fetchJars(fetched); err != nil {
		return "", err
	}
	err = os.Rename(fetched, jars)
	if _, other := os.Stat(marker); other == nil {
		return jars, nil // the folder of this test binary or, if the rename failed, of another one
	}
	return "", fmt.Errorf("cannot store the jars of Kafka: the folder %s is incomplete, delete it: %w", jars, err)
}

func fetchJars(dir string) error {
	project := filepath.Join(dir, "pom.xml")
	if err := os.WriteFile(project, []byte(pom), 0o644); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	mvn := exec.CommandContext(ctx, "mvn", "-q", "-B", "-Dstyle.color=never", "-f", project, "dependency:copy-dependencies", "-DoutputDirectory="+dir)
	mvn.WaitDelay = 10 * time.Second // mvn is a script: its java process survives a kill and holds the output open
	if out, err := mvn.CombinedOutput(); err != nil {
		return unavailablef("a mvn that cannot fetch Kafka's jars: %v: %s", err, tail(string(out)))
	}
	return os.WriteFile(filepath.Join(dir, ".complete"), nil, 0o644)
}

// configure writes and formats the brokers' folders; it knows all ports, so it sets the cluster's addresses.
func configure(c *Cluster, dir, jars string, o Options) ([]*process, error) {
	brokers := o.Brokers
	ports := freePorts(5 * brokers)
	client, peer, controller := ports[:brokers], ports[brokers:2*brokers], ports[2*brokers:3*brokers]
	behind, front := ports[3*brokers:4*brokers], ports[4*brokers:]
	var voters []string
	for i := range brokers {
		voters = append(voters, fmt.Sprintf("%d@%s", i+1, loopback(controller[i])))
		c.bootstrap = append(c.bootstrap, loopback(client[i]))
		c.via = append(c.via, Via{Front: loopback(front[i]), Behind: loopback(behind[i])})
	}
	if c.disk = errors.New("Options.Disk is not set"); o.Disk {
		c.disk = makeDisk(homeOf(dir, 1))
	}
	processes, errs := make([]*process, brokers), make([]error, brokers)
	var formats sync.WaitGroup
	for i := range brokers {
		home := homeOf(dir, i+1)
		s := settings(i+1, voters)
		s["listeners"] = fmt.Sprintf("CLIENT://%s,PEER://%s,CONTROLLER://%s,VIA://%s", loopback(client[i]), loopback(peer[i]), loopback(controller[i]), loopback(behind[i]))
		s["advertised.listeners"] = fmt.Sprintf("CLIENT://%s,PEER://%s,VIA://%s", loopback(client[i]), loopback(peer[i]), loopback(front[i]))
		c.listen(s, o.Listeners)
		if o.Authorizer {
			s["authorizer.class.name"], s["super.users"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer", "User:ANONYMOUS"
		}
		s["log.dirs"] = filepath.ToSlash(filepath.Join(home, "data"))
		run := func(args ...string) []string { return args }
		if i == 0 && c.disk == nil {
			s["metadata.log.dir"] = s["log.dirs"]
			s["log.dirs"] += "," + filepath.ToSlash(filepath.Join(diskOf(home), "data"))
			run = func(args ...string) []string { return onDisk(home, args...) }
		}
		properties := filepath.Join(home, "server.properties")
		processes[i] = &process{
			args:   run(slices.Concat([]string{"java", "-Xmx512m"}, o.JavaOptions, []string{"-cp", filepath.Join(jars, "*"), "kafka.Kafka", properties})...),
			output: filepath.Join(home, "broker.log"),
		}
		formats.Go(func() { errs[i] = format(properties, jars, s, o.Users, run) })
	}
	formats.Wait()
	return processes, cmp.Or(errs...) // the first error is enough
}

func homeOf(dir string, broker int) string {
	return filepath.Join(dir, fmt.Sprintf("broker-%d", broker))
}

// listen adds the listeners to a broker's configuration, and records their addresses.
func (c *Cluster) listen(settings map[string]string, listeners []Listener) {
	if c.listeners == nil {
		c.listeners = map[string][]string{}
	}
	for i, port := range freePorts(len(listeners)) {
		l, address := listeners[i], loopback(port)
		c.listeners[l.Name] = append(c.listeners[l.Name], address)
		for _, key := range []string{"listeners", "advertised.listeners"} {
			settings[key] += "," + l.Name + "://" + address
		}
		settings["listener.security.protocol.map"] += "," + l.Name + ":" + l.Protocol
		for key, value := range l.Settings {
			settings["listener.name."+strings.ToLower(l.Name)+"."+key] = value
		}
	}
}

func format(properties, jars string, settings, users map[string]string, run func(...string) []string) error {
	var text strings.Builder
	for key, value := range settings {
		fmt.Fprintf(&text, "%s=%s\n", key, value)
	}
	if err := os.MkdirAll(filepath.Dir(properties), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(properties, []byte(text.String()), 0o644); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	args := []string{"java", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(jars, "*"),
		"kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c", properties}
	for name, password := range users {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, name, password))
		}
	}
	args = run(args...)
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil { // java is too old, or is the placeholder that some systems install
		return unavailablef("a java that cannot run Kafka %s: %v: %s", version, err, tail(string(out)))
	}
	return nil
}

// process is a broker's process; cmd is nil while the broker is killed or stopped.
type process struct {
	args   []string
	output string // the file with its output
	cmd    *exec.Cmd
	ended  chan struct{}
}

func (p *process) launch() error {
	output, err := os.OpenFile(p.output, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	p.cmd, p.ended = exec.Command(p.args[0], p.args[1:]...), make(chan struct{})
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = output, output, attributes()
	started := make(chan error)
	go func() {
		// The kernel kills the child when the thread that started it ends, so this
		// goroutine keeps the thread until then.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer output.Close()
		defer close(p.ended)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.cmd.Wait() // ignore the exit code: the log says why the broker ended
		}
	}()
	return <-started
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *process) log() string {
	text, err := os.ReadFile(p.output)
	if err != nil {
		return err.Error()
	}
	return tail(string(text))
}

func (p *process) end() error {
	if !p.running() {
		return nil
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	return p.wait()
}

func (p *process) signal(s syscall.Signal) error {
	if !p.running() {
		return errors.New("it is not running; Restart it first")
	}
	return signal(p.cmd.Process, s)
}

func (p *process) wait() error {
	select {
	case <-p.ended:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("process %d is still there after %v; its log ends with\n%s", p.cmd.Process.Pid, patience, p.log())
	}
}

// tail returns the last lines of a log.
func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
