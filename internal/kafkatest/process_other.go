//go:build !linux

package kafkatest

import (
	"os"
	"syscall"
)

// The values of macOS and the BSDs. Windows has neither signal: there the fault fails
// with an error.
const (
	sigstop = syscall.Signal(17)
	sigcont = syscall.Signal(19)
)

func attributes() *syscall.SysProcAttr { return nil }

func signal(p *os.Process, s syscall.Signal) error { return p.Signal(s) }
