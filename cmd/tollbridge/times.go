package main

import (
	"strconv"
	"strings"
	"time"
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
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if age, err := time.ParseDuration(s); err == nil && age >= 0 {
		return now.Add(-age), nil
	}
	if t, err := parseTime(flag, s); err == nil {
		return t, nil
	}
	return time.Time{}, usage("%s: expected a time in RFC 3339 or unix seconds, or an age such as 90m or 7d, got %q", flag, s)
}
