package dead

import "regexp"

// Shorten returns the first 100 characters of a reason.
func Shorten(reason string) string {
	if r := []rune(reason); len(r) > 100 {
		return string(r[:100]) + "…"
	}
	return reason
}

// values matches the parts that differ between reasons of one kind: numbers, and quoted
// texts other than JSON pointers.
var values = regexp.MustCompile(`"(?:[^/"\\]|\\.)(?:[^"\\]|\\.)*"|\b\d+\b`)

// ReasonKind returns the beginning of a reason without the values that come from its
// webhook, so that letters with the same problem can be counted together.
func ReasonKind(reason string) string {
	return Shorten(values.ReplaceAllString(reason, "…"))
}
