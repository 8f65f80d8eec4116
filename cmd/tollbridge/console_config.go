package main

import (
	"errors"
	"fmt"

	"github.com/tollbridge/tollbridge/internal/console"
)

// consoleConfig is who may use the console and what for.
type consoleConfig struct {
	Password secretConfig `yaml:"password"` // or its bcrypt hash
	Proxy    *proxyConfig `yaml:"proxy"`    // nil trusts none
	Write    bool         `yaml:"write"`    // retry, discard and replay
	Unmask   bool         `yaml:"unmask"`   // show the personal fields of a webhook
}

// proxyConfig is [console.Proxy].
type proxyConfig struct {
	Header       string       `yaml:"header"`
	SecretHeader string       `yaml:"secret_header"`
	Secret       secretConfig `yaml:"secret"`
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
	l, err := c.Console.login()
	if err == nil && c.Console != (consoleConfig{}) {
		err = l.CheckListen("admin", c.Admin)
	}
	return err
}

// apply sets who may use the console and what for.
func (c consoleConfig) apply(to *console.Config) (err error) {
	to.Write, to.Unmask = c.Write, c.Unmask
	to.Login, err = c.login()
	return err
}
