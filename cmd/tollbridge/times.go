package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// parseTime parses a time in RFC 3339 or unix seconds; "" is now. The flag is
// named in the error.
func parseTime(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Now(), nil
	}
	if unix, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(unix, 0), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, usage("%s: expected RFC 3339 or unix seconds, got %q", flag, s)
	}
	return t, nil
}

// parseTimeOrAge parses a time in RFC 3339 or unix seconds, or an age such as 90m
// or 7d; "" is the zero time. The flag is named in the error.
func parseTimeOrAge(flag, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if age, err := parseDuration(s); err == nil && age >= 0 {
		return now.Add(-age), nil
	}
	if t, err := parseTime(flag, s); err == nil {
		return t, nil
	}
	return time.Time{}, usage("%s: expected a time in RFC 3339 or unix seconds, or an age such as 90m or 7d, got %q", flag, s)
}

// parseDuration parses a duration as [time.ParseDuration] does, which may begin with a
// number of days of 24 hours: 90m, 7d, 1d12h.
func parseDuration(s string) (time.Duration, error) {
	count, rest, found := strings.Cut(s, "d")
	if !found {
		return time.ParseDuration(s)
	}
	days, err := strconv.ParseUint(count, 10, 16) // fewer than a Duration can hold
	if err != nil {
		return 0, fmt.Errorf("the number of days in %q is not a whole number below 65536", s)
	}
	d := time.Duration(days) * 24 * time.Hour
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	if err == nil && (more < 0 || d+more < d) {
		err = errors.New("what follows the days is negative or too long")
	}
	return d + more, err
}

// duration is a duration in the configuration that may have days: see [parseDuration].
type duration time.Duration

// UnmarshalYAML reads the duration. Its error is that of the library for a wrong value.
func (d *duration) UnmarshalYAML(n *yaml.Node) error {
	parsed, err := parseDuration(n.Value)
	if err != nil || n.Kind != yaml.ScalarNode {
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: cannot unmarshal %s into main.duration", n.Line, n.ShortTag())}}
	}
	*d = duration(parsed)
	return nil
}
