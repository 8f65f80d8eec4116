//go:build !linux

package kafkatest

import (
	"os"
	"syscall"
)

// As macOS and the BSDs number them. Windows has neither: the fault fails with an error.
const (
	sigstop = syscall.Signal(17)
	sigcont = syscall.Signal(19)
)

func attributes() *syscall.SysProcAttr { return nil }

func signal(p *os.Process, s syscall.Signal) error { return p.Signal(s) }
