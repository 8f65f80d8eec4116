package kafka

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout limits how long the kernel sends unacknowledged bytes again. While this
// process is suspended nobody closes the connection, and by default the kernel would go on
// for about 15 minutes.
func setUserTimeout(c *net.TCPConn, d time.Duration) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	}); err != nil {
		return err
	}
	return set
}
