package verify

import (
	"fmt"
	"strconv"
	"time"
)

// tolerance is the setting of every connector that signs the time of sending.
var tolerance = Setting{Name: "tolerance_seconds", Description: "how old a signed timestamp may be, in seconds"}

// maxTolerance is the most that tolerance_seconds can be. It is longer than any
// processor goes on to send a webhook again under a time that it signed once; a
// request that is older is somebody's copy.
const maxTolerance = 7 * 24 * time.Hour

// anyAge is the tolerance that accepts every timestamp.
const anyAge = time.Duration(1<<63 - 1)

// tolerance returns how old a request may be: the setting, or the processor's
// own default. The setting "off" accepts any age; the configuration of a
// server refuses it.
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

// notBefore refuses what was sent longer ago than the tolerance. Some
// processors' own libraries look at the past only.
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

// within refuses what was sent further from now than the tolerance, before it
// or after it.
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

// unixOrMilli is the time of a count of seconds, or of milliseconds: processors
// that send both do not say which.
func unixOrMilli(count int64) time.Time {
	if count > 1e11 { // in seconds, the year 5138
		return time.UnixMilli(count)
	}
	return time.Unix(count, 0)
}
