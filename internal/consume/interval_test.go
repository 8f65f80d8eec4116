package consume

import (
	"testing"
	"time"
)

func TestPollInterval(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct{ pace, took, want time.Duration }{
		{0, 0, 10 * ms},
		{0, 2 * ms, 10 * ms},
		{0, 12 * ms, 48 * ms},
		{0, time.Second, 100 * ms},
		{50 * ms, 12 * ms, 50 * ms},
		{50 * ms, 20 * ms, 80 * ms},
		{time.Second, 20 * ms, time.Second},
	} {
		reader := &Reader{}
		if test.pace > 0 {
			reader = reader.Slowed(test.pace)
		}
		if got := reader.pollInterval(test.took); got != test.want {
			t.Errorf("PollInterval %s, after a fetch that took %s: got %s, want %s", test.pace, test.took, got, test.want)
		}
	}
}
