//go:build !linux

package kafka

import (
	"net"
	"time"
)

// setUserTimeout has no effect: only Linux has this limit.
func setUserTimeout(*net.TCPConn, time.Duration) error { return nil }
