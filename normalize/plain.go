package normalize

import (
	"bytes"
	"unicode/utf8"
)

// Limits of what plain looks at; beyond them it is the library's to say.
const (
	plainDepth = 32
	plainNames = 64 // of one object
)

// structural are the bytes that plain stops at.
var structural = [256]bool{'{': true, '[': true, '}': true, ']': true, ',': true, '"': true}

// plain reports whether a JSON text that is well-formed surely has no name twice
// in one object, nor text that is not UTF-8. It is for what processors send: of
// what is unusual, such as a name with an escape in it, it says no, and the
// library's own look, which costs as much as reading the text, decides.
func plain(text []byte) bool {
	if !utf8.Valid(text) {
		return false
	}
	var stack [plainDepth]scope
	var names [2 * plainNames][]byte // of all objects that are open, one behind the other
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
			end, ok := closing(text, i+1, depth > 0 && stack[depth-1].name)
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

// scope is an object or array that is open.
type scope struct {
	object bool
	name   bool // the next text is a name
	first  int  // of its names
}

// closing returns where the string ends that begins at from. It gives up on one
// with a surrogate, which may be half a character, and on a name with an escape.
func closing(text []byte, from int, name bool) (end int, ok bool) {
	quote := from - 1 // the last that was found; it is looked for once, whatever stands before it
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
		i += escape + 1 // what is escaped
		if name || text[i] == 'u' && (i+1 >= len(text) || text[i+1]|0x20 == 'd') {
			return 0, false
		}
	}
}
