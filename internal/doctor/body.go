package doctor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// bodies returns the changes of the body to what it may have been when it was signed.
// Each is made when the iterator comes to it.
func (c Case) bodies() iter.Seq[change] {
	body := c.Request.Body
	set := func(f Finding, b []byte) change { return change{f, func(c *Case) { c.Request.Body = b }} }
	return func(yield func(change) bool) {
		if len(body) == 0 {
			if _, query, ok := strings.Cut(c.Request.URL, "?"); ok {
				yield(set(Finding{BodyMoved, "the signed body is in the query of the address", "pass the query as the body"}, []byte(query)))
			}
			return
		}
		const fix = "pass the exact bytes that were received, before a parser, editor or shell changes them"
		tried := map[digest]bool{sha256.Sum256(body): true}
		try := func(v form) bool {
			b := []byte(v.text)
			if d := sha256.Sum256(b); len(b) > 0 && !tried[d] {
				tried[d] = true
				return yield(set(Finding{BodyChanged, "the body was changed on its way: it was signed " + v.what, fix}, b))
			}
			return true
		}
		for _, forms := range []iter.Seq[form]{decoded(body), rewritten(string(body))} {
			for v := range forms {
				if !try(v) {
					return
				}
			}
		}
	}
}

type digest = [sha256.Size]byte

// decoded returns the bodies of which this body may be an encoding.
func decoded(body []byte) iter.Seq[form] {
	return func(yield func(form) bool) {
		for _, v := range decodings(body) {
			if !yield(v) {
				return
			}
		}
	}
}

func decodings(body []byte) (all []form) {
	var text string
	if json.Unmarshal(body, &text) == nil {
		all = append(all, form{what: "bare, and came as a string in JSON", text: text})
	}
	trimmed := bytes.TrimSpace(body)
	if b, ok := decodeBase64(string(trimmed)); ok {
		all = append(all, form{what: "bare, and came as base64, as from a gateway", text: string(b)})
	}
	if b, err := hex.DecodeString(string(trimmed)); err == nil {
		all = append(all, form{what: "bare, and came as hex", text: string(b)})
	}
	if text, err := url.QueryUnescape(string(body)); err == nil {
		all = append(all, form{what: "bare, and came percent-encoded", text: text})
	}
	latin := make([]byte, 0, len(body))
	for _, r := range string(body) {
		if r > 0xff {
			latin = nil
			break
		}
		latin = append(latin, byte(r))
	}
	var utf strings.Builder
	for _, b := range body {
		utf.WriteRune(rune(b))
	}
	return append(all, form{what: "in Latin-1, and came in UTF-8", text: string(latin)}, form{what: "in UTF-8, and came in Latin-1 or was converted twice", text: utf.String()})
}

// writing is one way to write the same content.
type writing struct {
	how   string
	write func(string) string
}

// maxGrowth bounds a body that is written in another way, as a multiple of its size:
// the indentation of a deeply nested body could grow with the square of its size.
const maxGrowth = 8

// rewritten returns a body in other ways of writing the same content, the smallest
// changes first: up to four changes together or, of a large body, one.
func rewritten(body string) iter.Seq[form] {
	stages := [][]writing{lineEnds, textEnds}
	if json.Valid([]byte(strings.TrimPrefix(body, bom))) {
		stages = [][]writing{slices.Concat(lineEnds, layouts), escapes, slashes, textEnds}
	}
	if len(body) > largeBody {
		slices.Reverse(stages) // those first that take the least work
		return rewrittenOnce(body, slices.Concat(stages...))
	}
	type text struct {
		text string
		how  []string
	}
	all := []text{{text: body}}
	for _, stage := range stages {
		for _, t := range slices.Clone(all) {
			for _, w := range stage {
				if other := w.write(t.text); other != t.text && len(other) <= maxGrowth*len(body) {
					all = append(all, text{other, append(slices.Clone(t.how), w.how)})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b text) int { return len(a.how) - len(b.how) })
	var found []form
	for _, t := range all[1:] {
		found = append(found, form{what: strings.Join(t.how, ", "), text: t.text})
	}
	return slices.Values(found)
}

// rewrittenOnce returns a body with each of the writings.
func rewrittenOnce(body string, all []writing) iter.Seq[form] {
	return func(yield func(form) bool) {
		for _, w := range all {
			if other := w.write(body); other != body && len(other) <= maxGrowth*len(body) && !yield(form{what: w.how, text: other}) {
				return
			}
		}
	}
}

const bom = "\ufeff"

// lineEnds are the ways to end a line.
var lineEnds = []writing{
	{"with LF at the ends of its lines", func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }},
	{"with CRLF at the ends of its lines", crlf},
}

// layouts are the ways to lay out JSON.
var layouts = []writing{
	layout("compact", compact),
	layout("indented by 2 spaces", indent("  ")),
	layout("indented by 4 spaces", indent("    ")),
	layout("indented by a space", indent(" ")),
	layout("indented by tabs", indent("\t")),
	layout("indented by 2 spaces with CRLF", func(s string) string { return crlf(indent("  ")(s)) }),
	layout("indented by 4 spaces with CRLF", func(s string) string { return crlf(indent("    ")(s)) }),
	layout("with a space after each colon and comma", spaced),
	layout("with sorted names, compact", sorted),
	layout("with sorted names, indented by 2 spaces", func(s string) string { return indent("  ")(sorted(s)) }),
	layout("with sorted names, indented by 4 spaces", func(s string) string { return indent("    ")(sorted(s)) }),
	layout("with sorted names, a space after each colon and comma", func(s string) string { return spaced(sorted(s)) }),
}

// layout writes the JSON of a text in another way, and leaves the white space and the
// byte order mark around it as they are.
func layout(how string, write func(string) string) writing {
	return writing{how, func(s string) string {
		core := bareText(s)
		before, after, _ := strings.Cut(s, core)
		return before + write(core) + after
	}}
}

// escapes are the ways to write characters in JSON.
var escapes = []writing{
	{`with characters instead of \u escapes`, unescaped},
	{`with \u escapes for what is not ASCII`, func(s string) string { return escaped(s, "%04x", beyondASCII) }},
	{`with \u escapes in upper case for what is not ASCII`, func(s string) string { return escaped(s, "%04X", beyondASCII) }},
	{`with \u escapes for <, > and &`, func(s string) string { return escaped(s, "%04x", markup) }},
	{`with \u escapes for <, > and & and what is not ASCII`, func(s string) string {
		return escaped(s, "%04x", func(r rune) bool { return beyondASCII(r) || markup(r) })
	}},
}

// slashes are the ways to write a slash in JSON.
var slashes = []writing{
	{`with / and not \/`, func(s string) string { return strings.ReplaceAll(s, `\/`, "/") }},
	{`with \/ and not /`, func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, `\/`, "/"), "/", `\/`) }},
}

// textEnds are the ways to begin and end a text.
var textEnds = []writing{
	{"with nothing before or after it", bareText},
	{"with a newline at its end", func(s string) string { return bareText(s) + "\n" }},
	{"with CRLF at its end", func(s string) string { return bareText(s) + "\r\n" }},
	{"with a byte order mark before it", func(s string) string { return bom + strings.TrimPrefix(s, bom) }},
	{"without a byte order mark before it", func(s string) string { return strings.TrimPrefix(s, bom) }},
}

// bareText returns a text without the white space and the byte order mark around it.
func bareText(s string) string { return strings.TrimSpace(strings.TrimPrefix(s, bom)) }

func crlf(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
}

func compact(s string) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte(s)) != nil {
		return s
	}
	return b.String()
}

func indent(by string) func(string) string {
	return func(s string) string {
		var b bytes.Buffer
		if indentedSize(s, len(by)) > maxGrowth*len(s) || json.Indent(&b, []byte(s), "", by) != nil {
			return s
		}
		return b.String()
	}
}

// indentedSize returns about how many bytes JSON has if each level is indented by some.
func indentedSize(s string, by int) (size int) {
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		size++
		switch {
		case quoted && s[i] == '\\':
			i++
			size++
		case s[i] == '"':
			quoted = !quoted
		case quoted:
		case s[i] == '{' || s[i] == '[':
			depth++
			size += 1 + depth*by
		case s[i] == '}' || s[i] == ']':
			depth--
			size += 1 + depth*by
		case s[i] == ',':
			size += 1 + depth*by
		case s[i] == ':':
			size++
		case s[i] <= ' ':
			size--
		}
	}
	return size
}

// spaced writes JSON with a space after each colon and comma, as Python's json.dumps does.
func spaced(s string) string {
	var b strings.Builder
	quoted := false
	s = compact(s)
	for i := 0; i < len(s); i++ {
		b.WriteByte(s[i])
		switch {
		case quoted && s[i] == '\\':
			i++
			b.WriteByte(s[i])
		case s[i] == '"':
			quoted = !quoted
		case !quoted && (s[i] == ':' || s[i] == ','):
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// sorted writes compact JSON with the names of each object in their order.
func sorted(s string) string {
	v, err := decode([]byte(s))
	if err != nil {
		return s
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return s
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func beyondASCII(r rune) bool { return r >= utf8.RuneSelf }
func markup(r rune) bool      { return r == '<' || r == '>' || r == '&' }

// escape matches an escape of JSON: a surrogate pair, another \u escape, or a backslash
// and a character.
var escape = regexp.MustCompile(`\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.`)

// unescaped replaces \u escapes by their characters, except for characters that JSON
// does not allow without an escape.
func unescaped(s string) string {
	return escape.ReplaceAllStringFunc(s, func(e string) string {
		var text string
		if e[1] != 'u' || json.Unmarshal([]byte(`"`+e+`"`), &text) != nil {
			return e
		}
		if r, _ := utf8.DecodeRuneInString(text); r < ' ' || r == '"' || r == '\\' || r == utf8.RuneError {
			return e
		}
		return text
	})
}

// escaped replaces the characters that which selects by \u escapes, those beyond 16 bits
// by surrogate pairs. format writes the four digits.
func escaped(s, format string, which func(rune) bool) string {
	if strings.IndexFunc(s, which) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case !which(r) || string(r) == bom:
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u`+format+`\u`+format, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u`+format, r)
		}
	}
	return b.String()
}
