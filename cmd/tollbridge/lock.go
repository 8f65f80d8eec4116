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

// lockPatience is how long a command waits for the lock without a word: Kafka
// takes 3 s to form a group.
const lockPatience = 5 * time.Second

// exclusively runs f while no other command writes to the topics. Producers of
// w.producer then write as the lock's holder, and c's context ends when it is lost.
func (w *window) exclusively(c *cobra.Command, names kafka.Names, f func(w window) error) error {
	host, err := os.Hostname()
	if err != nil {
		host = "an unnamed host"
	}
	slow := time.AfterFunc(lockPatience, func() {
		fmt.Fprintln(c.ErrOrStderr(), "waiting for the lock on the topics: another command was stopped, and Kafka waits some seconds for it")
	})
	lock, err := publish.AcquireLock(c.Context(), w.producer.Kafka, names, publish.LockHolder{Command: c.CommandPath(), Host: host, PID: os.Getpid(), Since: time.Now().UTC()})
	slow.Stop()
	if err != nil {
		return err
	}
	defer lock.Release()
	before := c.Context()
	defer c.SetContext(before)
	c.SetContext(lock.Context())
	locked := *w
	locked.producer.Lock = lock
	err = f(locked)
	if cause := context.Cause(lock.Context()); err != nil && errors.Is(cause, publish.ErrLockLost) {
		return cause
	}
	return err
}
