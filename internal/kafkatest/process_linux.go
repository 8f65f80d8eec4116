package kafkatest

import (
	"os"
	"syscall"
)

const (
	sigstop = syscall.SIGSTOP
	sigcont = syscall.SIGCONT
)

// attributes puts a child in a process group of its own and ends it with the test binary, however that ends.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// signal reaches the whole group: java may be a script that runs another.
func signal(p *os.Process, s syscall.Signal) error { return syscall.Kill(-p.Pid, s) }
