package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/publish"
)

// lockHelp is the help of the commands that take the lock.
const lockHelp = `Only one 'dead retry', 'dead discard', 'replay' or 'gaps --publish' may write to
the topics at a time: a second one fails and names the command that is running,
and its host.
The lock needs rights on a consumer group and on a transactional id, which are
both named PREFIXtollbridge-lock.`

// lockNotice is how long a command waits for the lock before it prints that it is
// waiting: Kafka takes up to 3 s to form a group.
const lockNotice = 5 * time.Second

// withLockToPublish is withLock for a command that publishes events: f also gets the names
// with the ids of the events' schemas, if there is a Schema Registry.
func (s *kafkaSession) withLockToPublish(c *cobra.Command, names kafka.Names, f func(kafkaSession, kafka.Names) error) error {
	return s.withLock(c, names, func(w kafkaSession) error {
		names, err := w.withSchemaIDs(c.Context(), names)
		if err != nil {
			return err
		}
		return f(w, names)
	})
}

// withLock runs f while it holds the lock on the topics, so that no other command
// writes to them. f gets a session whose producers write as the lock's holder. When the
// lock is lost, c's context ends and the error is [publish.ErrLockLost].
func (s *kafkaSession) withLock(c *cobra.Command, names kafka.Names, f func(kafkaSession) error) error {
	waiting := func() {
		fmt.Fprintln(c.ErrOrStderr(), "waiting for the lock on the topics: another command was stopped, and Kafka waits some seconds for it")
	}
	return s.locked(c.Context(), c.CommandPath(), waiting, names, func(ctx context.Context, w kafkaSession) error {
		before := c.Context()
		defer c.SetContext(before)
		c.SetContext(ctx)
		return f(w)
	})
}

// locked is withLock for a command with a name. f gets the context that ends when the lock
// is lost. It calls waiting if it waits long for the lock.
func (s *kafkaSession) locked(ctx context.Context, command string, waiting func(), names kafka.Names, f func(context.Context, kafkaSession) error) error {
	host, err := os.Hostname()
	if err != nil {
		host = "an unnamed host"
	}
	notice := time.AfterFunc(lockNotice, waiting)
	lock, err := publish.AcquireLock(ctx, s.producer.Kafka, names, publish.LockHolder{Command: command, Host: host, PID: os.Getpid(), Since: time.Now().UTC()})
	notice.Stop()
	if err != nil {
		return err
	}
	defer lock.Release()
	locked := *s
	locked.producer.Lock = lock
	err = f(lock.Context(), locked)
	if cause := context.Cause(lock.Context()); err != nil && errors.Is(cause, publish.ErrLockLost) {
		return cause
	}
	return err
}
