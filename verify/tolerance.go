package verify

import (
	"fmt"
	"strconv"
	"time"
)

// tolerance is a setting of every connector whose processor signs a timestamp.
var tolerance = Setting{Name: "tolerance_seconds", Description: "how old a signed timestamp may be, in seconds"}

// maxTolerance is the maximum of tolerance_seconds. No processor redelivers a webhook with
// its first timestamp for that long. So an older request is a replay.
const maxTolerance = 7 * 24 * time.Hour

// anyAge is a tolerance that accepts every timestamp.
const anyAge = time.Duration(1<<63 - 1)

// tolerance returns how old a request may be: the setting, or the processor's default.
// The setting "off" accepts any age. A server's configuration must not have it.
func (k Keys) tolerance(standard time.Duration) (time.Duration, error) {
	switch text := k.Settings[tolerance.Name]; text {
	case "":
		return standard, nil
	case "off":
		return anyAge, nil
	default:
		n, err := strconv.ParseInt(text, 10, 32)
		if most := int64(maxTolerance / time.Second); err != nil || n <= 0 || n > most {
			return 0, fmt.Errorf("%w: tolerance_seconds is %q, want a whole number of seconds from 1 to %d, which is %d days", ErrSetting, text, most, most/86400)
		}
		return time.Duration(n) * time.Second, nil
	}
}

// notBefore returns an error if sent is longer ago than the tolerance. It accepts
// timestamps in the future, as some processors' own libraries do.
func (k Keys) notBefore(sent, now time.Time, standard time.Duration) error {
	t, err := k.tolerance(standard)
	if err != nil {
		return err
	}
	if t != anyAge && now.Sub(sent) > t {
		return &Untimely{ErrStale, sent, now, t}
	}
	return nil
}

// within returns an error if sent is further from now than the tolerance, in the past or
// in the future.
func (k Keys) within(sent, now time.Time, standard time.Duration) error {
	if err := k.notBefore(sent, now, standard); err != nil {
		return err
	}
	t, err := k.tolerance(standard)
	if err != nil {
		return err
	}
	if t != anyAge && sent.Sub(now) > t {
		return &Untimely{ErrFuture, sent, now, t}
	}
	return nil
}

// unixOrMilli returns the time of a Unix timestamp in seconds or in milliseconds, for
// processors that send both. It tells them apart by their size.
func unixOrMilli(count int64) time.Time {
	if count > 1e11 { // in seconds, the year 5138
		return time.UnixMilli(count)
	}
	return time.Unix(count, 0)
}
