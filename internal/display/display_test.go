package display_test

import (
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/schemas"
)

// TestEscape: control characters are escaped, other text stays.
func TestEscape(t *testing.T) {
	for text, want := range map[string][2]string{
		"":                           {"", ""},
		"order-43 \n\té 日本 🎉":        {"order-43 \n\té 日本 🎉", ""},
		"a\x1b[2J\u202eb\u009bc\x7f": {`a\u001b[2J\u202eb\u009bc\u007f`, ""},
		"a\xffb\r":                   {`a\u00ffb\u000d`, ""},
		"a\xf0\x9f":                  {"a", "\xf0\x9f"},
		"\x07\xe6\x97":               {`\u0007`, "\xe6\x97"},
	} {
		if got, rest := display.Escape([]byte(text)); string(got) != want[0] || string(rest) != want[1] {
			t.Errorf("%q: got %q and the rest %q, want %q and %q", text, got, rest, want[0], want[1])
		}
	}
}

// TestAge: durations are shown in the unit of which there are at least two, where there is one.
func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 seconds", time.Second: "1 second", 59 * time.Second: "59 seconds", 61 * time.Second: "1 minute", 2*time.Hour - 1: "119 minutes",
		2 * time.Hour: "2 hours", 48*time.Hour - 1: "47 hours", 48 * time.Hour: "2 days", 30 * 24 * time.Hour: "30 days",
	} {
		if got := display.Age(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

// TestAmount: amounts are shown in major units if the currency is known.
func TestAmount(t *testing.T) {
	for want, a := range map[string]*schemas.Amount{
		"": nil, "10.99 EUR": {Value: 1099, Currency: "EUR"}, "-0.05 EUR": {Value: -5, Currency: "EUR"}, "500 JPY": {Value: 500, Currency: "JPY"},
		"1.234 KWD": {Value: 1234, Currency: "KWD"}, "7 XXX": {Value: 7, Currency: "XXX"}, "7 <b>": {Value: 7, Currency: "<b>"},
	} {
		if got := display.Amount(a); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestCut: a text is cut between characters, and bytes that are not UTF-8 count as one
// character each.
func TestCut(t *testing.T) {
	for _, tt := range []struct {
		text string
		most int
		want string
	}{
		{"", 3, ""},
		{"abc", 3, "abc"},
		{"abcd", 3, "abc…"},
		{"żółw", 3, "żół…"},
		{"ab\xff\xfe", 3, "ab\xff…"},
		{"支払い", 3, "支払い"},
	} {
		if got := display.Cut(tt.text, tt.most); got != tt.want {
			t.Errorf("Cut(%q, %d) is %q, want %q", tt.text, tt.most, got, tt.want)
		}
	}
}
