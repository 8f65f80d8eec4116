package main

import (
	"strings"
	"testing"
	"time"
)

// TestParseTimeOrAge: flags with a time take a time, or an age that may have days.
func TestParseTimeOrAge(t *testing.T) {
	now := time.Date(2026, 3, 29, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "0s": now, "90m": now.Add(-90 * time.Minute), "7d": now.Add(-7 * 24 * time.Hour), "1d12h": now.Add(-36 * time.Hour), "0d": now,
		"65535d": now.Add(-65535 * 24 * time.Hour), "1767261600": time.Unix(1767261600, 0), "2026-03-01T00:00:00Z": time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
	} {
		if got, err := parseTimeOrAge("--from", text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"d", "-1d", "1d-1h", "-90m", "65536d", "65535d2562047h", "1.5d", "7 d", "7D", "1h2d", "yesterday", "2026-03-01"} {
		if got, err := parseTimeOrAge("--from", text, now); err == nil || !strings.Contains(err.Error(), "--from: expected a time") {
			t.Errorf("%q: %s, %v; want an error", text, got, err)
		}
	}
}
