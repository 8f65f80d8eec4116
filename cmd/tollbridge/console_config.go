package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tollbridge/tollbridge/internal/console"
	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/publish"
)

// consoleConfig is who may use the console and what for.
type consoleConfig struct {
	Password secretConfig `yaml:"password"` // or its bcrypt hash
	Proxy    *proxyConfig `yaml:"proxy"`    // nil trusts none
	Write    bool         `yaml:"write"`    // retry, discard and replay
	Unmask   bool         `yaml:"unmask"`   // show the personal fields of a webhook or a refused request
	Refused  int          `yaml:"refused"`  // how many of the last refused requests of an endpoint are kept in memory
}

// proxyConfig is [console.Proxy].
type proxyConfig struct {
	Header       string       `yaml:"header"`
	SecretHeader string       `yaml:"secret_header"`
	Secret       secretConfig `yaml:"secret"`
}

// role returns the role whose rights on Kafka the pages need.
func (c consoleConfig) role() kafka.Role {
	if c.Write {
		return kafka.RoleTools
	}
	return kafka.RoleView
}

// login reads how people log in to the console.
func (c consoleConfig) login() (l console.Login, err error) {
	var errs []error
	if c.Password != (secretConfig{}) {
		if l.Password, err = c.Password.read(); err != nil {
			errs = append(errs, fmt.Errorf("console.password: %w", err))
		}
	}
	if p := c.Proxy; p != nil {
		l.Proxy = &console.Proxy{Header: p.Header, SecretHeader: p.SecretHeader}
		if l.Proxy.Secret, err = p.Secret.read(); err != nil {
			errs = append(errs, fmt.Errorf("console.proxy.secret: %w", err))
		}
	}
	if len(errs) == 0 {
		errs = append(errs, l.Check())
	}
	return l, errors.Join(errs...)
}

// checkConsole returns an error if the console of serve cannot be used safely as it is
// configured. Without the section console it answers only requests over the loopback
// interface, so a configuration without it stays valid at any admin address.
func (c config) checkConsole() error {
	if n := c.Console.Refused; n < 0 || n > console.MaxRefused {
		return fmt.Errorf("console.refused is %d; want 0 to %d requests of each endpoint", n, console.MaxRefused)
	}
	l, err := c.Console.login()
	if err == nil && c.Console != (consoleConfig{}) {
		err = l.CheckListen("admin", c.Admin)
	}
	return err
}

// apply sets who may use the console and what for.
func (c consoleConfig) apply(to *console.Config) (err error) {
	to.Write, to.Unmask, to.Refused = c.Write, c.Unmask, c.Refused
	to.Process, to.ParseTime = whoami(), parseTimeOrAge
	to.Login, err = c.login()
	return err
}

// maxServerReplay is the most events in the topics, and the most webhooks to read, with which a
// replay may run in the server's process: it needs about 170 bytes of memory for each.
const maxServerReplay = 1_000_000

// jobHistory opens the history for a job of the console, and returns how to close it.
type jobHistory func(context.Context, kafkaSession, history.Publisher) (h *history.History, end func(), err error)

// openForConsole is [console.Config.Open] for a session: see there. open opens the history of
// the session's own topics.
func (s kafkaSession) openForConsole(ctx context.Context, o console.Opening, open jobHistory, f func(context.Context, console.Session) error) error {
	archive := s.names
	if o.ToPrefix != "" && o.ToPrefix != s.names.Prefix {
		var err error
		if s.names, err = s.topicsAt(ctx, o.ToPrefix, func(string, string) {}); err != nil { // 'topics plan' has the warnings
			return err
		}
		s.reader = consume.New(s.producer.Kafka) // one that was used before may not know new topics yet
		s.reader.GiveUpAfter = kafkaTimeout
		defer s.reader.Close()
		open = func(ctx context.Context, w kafkaSession, to history.Publisher) (*history.History, func(), error) {
			return w.openHistory(ctx, io.Discard, "", to)
		}
	}
	run := func(ctx context.Context, w kafkaSession) error {
		var to history.Publisher = planPublisher{}
		if o.Publish {
			producer := publish.NewProducer(w.producer)
			defer producer.Close()
			to = producer
		}
		closeHistory := func() {}
		defer func() { closeHistory() }()
		return f(ctx, console.Session{Reader: w.reader, Archive: archive, Names: w.names, Publisher: to, History: func(ctx context.Context) (h *history.History, err error) {
			h, end, err := open(ctx, w, to)
			if err == nil {
				closeHistory = end
			}
			return h, err
		}})
	}
	if !o.Publish {
		return run(ctx, s)
	}
	return s.locked(ctx, "tollbridge console, "+o.Command, func() {}, s.names, func(ctx context.Context, w kafkaSession) (err error) {
		if w.names, err = w.withSchemaIDs(ctx, w.names); err != nil {
			return err
		}
		return run(ctx, w)
	})
}
