//go:build !linux

package kafka

import "time"

var clockBegan = time.Now()

// Clock returns the time since this process was started. Where the wall clock has
// advanced more than the monotonic one, as when the machine slept, the wall clock counts.
func Clock() time.Duration {
	now := time.Now()
	return 1 + max(now.Sub(clockBegan), now.Round(0).Sub(clockBegan.Round(0)))
}
