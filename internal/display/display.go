// Package display prepares text from outside for a terminal and for a web page. Senders of
// webhooks, and everyone who can write to a topic, choose that text.
package display

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tollbridge/tollbridge/schemas"
)

// IsControl reports whether a character can control a terminal or change the order
// in which text is shown: the control characters of C0 except newline and tab, DEL,
// those of C1, and Unicode's bidirectional controls.
func IsControl(r rune) bool {
	switch {
	case r < 0x20:
		return r != '\n' && r != '\t'
	case r < 0x7f:
		return false
	case r <= 0x9f:
		return true
	}
	return r == 0x061c || r == 0x200e || r == 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// Escape returns b with its control characters, and bytes that are not UTF-8, as \uXXXX.
// In a JSON string the escape means the same character. rest are the first bytes of a
// character at the end of b whose other bytes are missing. Without anything to escape,
// Escape returns b itself.
func Escape(b []byte) (escaped, rest []byte) {
	var out []byte // nil until a character is escaped
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			if !utf8.FullRune(b[i:]) {
				b, rest = b[:i], b[i:]
				break
			}
			r = rune(b[i]) // not UTF-8: a terminal with another encoding may read a control character
		} else if !IsControl(r) {
			if out != nil {
				out = append(out, b[i:i+size]...)
			}
			i += size
			continue
		}
		if out == nil {
			out = append(make([]byte, 0, len(b)+32), b[:i]...)
		}
		out = fmt.Appendf(out, `\u%04x`, r)
		i += size
	}
	if out == nil {
		return b, rest
	}
	return out, rest
}

// Cut returns the first characters of a text, at most as many as given, and "…" if there
// are more.
func Cut(s string, most int) string {
	n := 0
	for i := range s {
		if n == most {
			return s[:i] + "…"
		}
		n++
	}
	return s
}

// Amount returns an amount in major units, such as 10.99 EUR; in minor units
// if the currency is unknown; "" for nil.
func Amount(a *schemas.Amount) string {
	if a == nil {
		return ""
	}
	exponent, ok := schemas.Exponent(a.Currency)
	digits := strconv.FormatInt(a.Value, 10)
	if ok && exponent > 0 {
		sign := ""
		if digits, ok = strings.CutPrefix(digits, "-"); ok {
			sign = "-"
		}
		digits = strings.Repeat("0", max(0, exponent+1-len(digits))) + digits
		digits = sign + digits[:len(digits)-exponent] + "." + digits[len(digits)-exponent:]
	}
	return digits + " " + a.Currency
}

// Age returns a duration in days, hours, minutes or seconds, rounded down: 3 days, 20
// minutes. Fewer than 2 days are hours, and fewer than 2 hours are minutes.
func Age(d time.Duration) string {
	n, unit := int(d.Seconds()), "second"
	switch {
	case d >= 48*time.Hour:
		n, unit = int(d.Hours()/24), "day"
	case d >= 2*time.Hour:
		n, unit = int(d.Hours()), "hour"
	case d >= time.Minute:
		n, unit = int(d.Minutes()), "minute"
	}
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// Tone says how an event type is coloured.
type Tone string

const (
	Good Tone = "good" // money received
	Warn Tone = "warn" // refunds
	Bad  Tone = "bad"  // failures, and money taken back
	Info Tone = "info" // all others
)

// ToneOf returns the tone of an event type.
func ToneOf(t schemas.Type) Tone {
	switch {
	case t == schemas.PaymentCaptured || t == schemas.DisputeWon || t == schemas.PayoutSucceeded:
		return Good
	case t.Family() == "dispute" || t.Family() == "fraud" || strings.HasSuffix(t.Status(), "failed") || t == schemas.PaymentReversed:
		return Bad
	case t.Family() == "refund":
		return Warn
	}
	return Info
}
