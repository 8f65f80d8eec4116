package kafkatest

import (
	"os"
	"syscall"
)

const (
	sigstop = syscall.SIGSTOP
	sigcont = syscall.SIGCONT
)

// attributes puts a child into a process group of its own, and makes the kernel kill
// the child when the test binary ends for any reason.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// signal signals the whole process group: java may be a script that runs another
// process.
func signal(p *os.Process, s syscall.Signal) error { return syscall.Kill(-p.Pid, s) }
