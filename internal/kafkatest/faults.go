package kafkatest

import (
	"errors"
	"slices"
	"syscall"
	"time"
)

// Via has two addresses for a proxy of a broker. The broker listens on Behind and advertises Front to clients that
// connect through the proxy. The test listens on Front and forwards to Behind.
type Via struct{ Front, Behind string }

// Via returns the addresses for proxies, those of broker i at index i-1. Only the java
// way supports proxies.
func (c *Cluster) Via() []Via { return slices.Clone(c.via) }

// Kill kills brokers at once, as in a crash (SIGKILL). Brokers are numbered from 1, as in their IDs. Like the other
// faults it needs Options.Faults, and is called from the test's own goroutine, since it fails the test on an error.
func (c *Cluster) Kill(brokers ...int) {
	c.t.Helper()
	c.each(brokers, (*process).end)
}

// Stop ends brokers in order (SIGTERM) and waits for them.
func (c *Cluster) Stop(brokers ...int) {
	c.t.Helper()
	c.each(brokers, func(p *process) error { return p.signal(syscall.SIGTERM) })
	c.each(brokers, (*process).wait)
}

// Pause suspends brokers (SIGSTOP): their connections stay open, but they do not answer.
func (c *Cluster) Pause(brokers ...int) {
	c.t.Helper()
	c.each(brokers, func(p *process) error {
		if err := p.signal(sigstop); err != nil {
			return err
		}
		time.Sleep(freezing)
		return nil
	})
}

// freezing is how long threads of a suspended process may continue: a busy machine
// stops them one after the other.
const freezing = 200 * time.Millisecond

// Resume continues paused brokers (SIGCONT).
func (c *Cluster) Resume(brokers ...int) {
	c.t.Helper()
	c.each(brokers, func(p *process) error { return p.signal(sigcont) })
}

// Restart starts killed or stopped brokers again on their old data and waits until they
// answer. Brokers answer only while most of the cluster runs: if all brokers were
// stopped, name all of them in one call.
func (c *Cluster) Restart(brokers ...int) {
	c.t.Helper()
	c.each(brokers, func(p *process) error {
		if p.running() {
			return errors.New("it is still running; Kill or Stop it first")
		}
		return p.launch()
	})
	if err := c.ready(1, brokers...); err != nil {
		c.t.Fatalf("kafkatest: restart: %v", err)
	}
}

func (c *Cluster) each(brokers []int, do func(*process) error) {
	c.t.Helper()
	for _, i := range brokers {
		if c.way != "java" {
			c.t.Fatalf("kafkatest: expected a cluster whose brokers can be killed, got %s; start it with Options{Faults: true}", c)
		}
		if i < 1 || i > len(c.nodes) {
			c.t.Fatalf("kafkatest: expected a broker from 1 to %d, got %d", len(c.nodes), i)
		}
		if err := do(c.nodes[i-1].(*process)); err != nil {
			c.t.Fatalf("kafkatest: broker %d: %v", i, err)
		}
	}
}

// Processes returns the process IDs of the brokers, that of broker i at index i-1. Only
// the java way supports it.
func (c *Cluster) Processes() (ids []int) {
	c.t.Helper()
	for i := range c.nodes {
		c.each([]int{i + 1}, func(p *process) error {
			ids = append(ids, p.cmd.Process.Pid)
			return nil
		})
	}
	return ids
}
