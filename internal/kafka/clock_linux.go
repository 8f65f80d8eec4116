package kafka

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock returns the time since this machine was started. Unlike Go's monotonic clock it
// also runs while the machine sleeps.
func Clock() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // every Linux since 2.6.39 has this clock
	}
	return time.Duration(t.Nano())
}
