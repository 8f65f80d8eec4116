package normalize

import (
	"bytes"
	"unicode/utf8"
)

// Limits of the payloads that plain checks. Beyond them it returns false.
const (
	plainDepth = 32 // levels of nesting
	plainNames = 64 // names of one object
)

// structural are the bytes that can begin or end an object, an array, a member
// or a string. plain skips all others.
var structural = [256]bool{'{': true, '[': true, '}': true, ']': true, ',': true, '"': true}

// plain reports whether a well-formed JSON text is UTF-8 and has no duplicate name
// in an object. It is a fast check for common payloads: false means only that the
// JSON library has to check, which takes as long as decoding the text. It returns
// false, for example, for a name with an escape in it.
func plain(text []byte) bool {
	if !utf8.Valid(text) {
		return false
	}
	var stack [plainDepth]scope
	var names [2 * plainNames][]byte // of all open objects, the outermost first
	depth, n := 0, 0
	for i := 0; i < len(text); i++ {
		if !structural[text[i]] {
			continue
		}
		switch text[i] {
		case '{', '[':
			if depth == plainDepth {
				return false
			}
			stack[depth] = scope{object: text[i] == '{', name: text[i] == '{', first: n}
			depth++
		case '}', ']':
			if depth == 0 {
				return false
			}
			depth--
			n = stack[depth].first
		case ',':
			if depth > 0 {
				stack[depth-1].name = stack[depth-1].object
			}
		case '"':
			end, ok := endOfString(text, i+1, depth > 0 && stack[depth-1].name)
			if !ok {
				return false
			}
			if depth > 0 && stack[depth-1].name {
				name := text[i+1 : end]
				stack[depth-1].name = false
				if n == len(names) || n-stack[depth-1].first == plainNames {
					return false
				}
				for _, other := range names[stack[depth-1].first:n] {
					if bytes.Equal(other, name) {
						return false
					}
				}
				names[n] = name
				n++
			}
			i = end
		}
	}
	return depth == 0
}

// scope is an open object or array.
type scope struct {
	object bool
	name   bool // the next string is a name
	first  int  // index of its first name
}

// endOfString returns the index of the quote that ends the string beginning at
// from. It returns false for a string with an escaped surrogate, which may be half
// a character, for a name with an escape, and for a string without an end.
func endOfString(text []byte, from int, name bool) (end int, ok bool) {
	quote := from - 1 // index of the last quote found, so that no byte is searched twice
	for i := from; ; i++ {
		if quote < i {
			n := bytes.IndexByte(text[i:], '"')
			if n < 0 {
				return 0, false
			}
			quote = i + n
		}
		escape := bytes.IndexByte(text[i:quote], '\\')
		if escape < 0 {
			return quote, true
		}
		i += escape + 1 // the escaped byte
		if name || text[i] == 'u' && (i+1 >= len(text) || text[i+1]|0x20 == 'd') {
			return 0, false
		}
	}
}
