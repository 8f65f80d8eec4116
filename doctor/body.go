package doctor

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// bodies tries the body as it may have been when it was signed.
func (c Case) bodies() (all []change) {
	body := c.Request.Body
	add := func(f Finding, b []byte) {
		all = append(all, change{f, func(c *Case) { c.Request.Body = b }})
	}
	if _, query, ok := strings.Cut(c.Request.URL, "?"); ok && len(body) == 0 {
		add(Finding{BodyMoved, "what is signed as a body stands in the query of the address", "pass the query as the body"}, []byte(query))
	}
	if len(body) == 0 {
		return all
	}
	const fix = "pass the exact bytes that came in: before any parser, editor or shell has had them"
	tried := map[string]bool{string(body): true}
	for _, v := range append(wrapped(body), written(string(body))...) {
		if v.text != "" && !tried[v.text] {
			tried[v.text] = true
			add(Finding{BodyChanged, "the body was changed on its way: it was signed " + v.what, fix}, []byte(v.text))
		}
	}
	return all
}

// wrapped returns what a body may be a wrapping of.
func wrapped(body []byte) (all []form) {
	var text string
	if json.Unmarshal(body, &text) == nil {
		all = append(all, form{what: "as itself, and came as a string in JSON", text: text})
	}
	trimmed := bytes.TrimSpace(body)
	if b, ok := decodeBase64(string(trimmed)); ok {
		all = append(all, form{what: "as itself, and came as base64, as from a gateway", text: string(b)})
	}
	if b, err := hex.DecodeString(string(trimmed)); err == nil {
		all = append(all, form{what: "as itself, and came as hex", text: string(b)})
	}
	if text, err := url.QueryUnescape(string(body)); err == nil {
		all = append(all, form{what: "as itself, and came percent-encoded", text: text})
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

// writing is one way to write the same text.
type writing struct {
	how   string // empty leaves it as it is
	write func(string) string
}

func asItIs(s string) string { return s }

// written returns a body in other ways of writing the same, those first that
// change least.
func written(body string) (all []form) {
	most := 4
	if len(body) > manyBytes {
		most = 1 // what is large is tried with one change at a time
	}
	layouts, characters, slashes := texts, []writing{{"", asItIs}}, []writing{{"", asItIs}}
	if json.Valid([]byte(strings.TrimPrefix(body, bom))) {
		layouts, characters, slashes = append(slices.Clone(texts), jsons...), append(characters, escapes...), append(slashes, slashings...)
	}
	type counted struct {
		form
		changes int
	}
	var found []counted
	for _, layout := range layouts {
		for _, character := range characters {
			for _, slash := range slashes {
				for _, end := range ends {
					var how []string
					for _, w := range []writing{layout, character, slash, end} {
						if w.how != "" {
							how = append(how, w.how)
						}
					}
					if len(how) == 0 || len(how) > most {
						continue
					}
					text := end.write(slash.write(character.write(layout.write(body))))
					found = append(found, counted{form{what: strings.Join(how, ", "), text: text}, len(how)})
				}
			}
		}
	}
	slices.SortStableFunc(found, func(a, b counted) int { return a.changes - b.changes })
	for _, f := range found {
		all = append(all, f.form)
	}
	return all
}

const bom = "\ufeff"

// texts are the ways to write any text.
var texts = []writing{
	{"", asItIs},
	{"with LF at the ends of its lines", func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }},
	{"with CRLF at the ends of its lines", crlf},
}

// jsons are the ways to write JSON.
var jsons = []writing{
	{"compact", compact},
	{"indented by 2 spaces", indent("  ")},
	{"indented by 4 spaces", indent("    ")},
	{"indented by a space", indent(" ")},
	{"indented by tabs", indent("\t")},
	{"indented by 2 spaces with CRLF", func(s string) string { return crlf(indent("  ")(s)) }},
	{"indented by 4 spaces with CRLF", func(s string) string { return crlf(indent("    ")(s)) }},
	{"with a space after each colon and comma", spaced},
	{"with sorted names, compact", sorted},
	{"with sorted names, indented by 2 spaces", func(s string) string { return indent("  ")(sorted(s)) }},
	{"with sorted names, indented by 4 spaces", func(s string) string { return indent("    ")(sorted(s)) }},
	{"with sorted names, a space after each colon and comma", func(s string) string { return spaced(sorted(s)) }},
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

// slashings are the ways to write a slash in JSON.
var slashings = []writing{
	{`with / and not \/`, func(s string) string { return strings.ReplaceAll(s, `\/`, "/") }},
	{`with \/ and not /`, func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, `\/`, "/"), "/", `\/`) }},
}

// ends are the ways to begin and end a text.
var ends = []writing{
	{"", asItIs},
	{"with nothing before or after it", bareText},
	{"with a newline at its end", func(s string) string { return bareText(s) + "\n" }},
	{"with CRLF at its end", func(s string) string { return bareText(s) + "\r\n" }},
	{"with a byte order mark before it", func(s string) string { return bom + strings.TrimPrefix(s, bom) }},
	{"without a byte order mark before it", func(s string) string { return strings.TrimPrefix(s, bom) }},
}

func bareText(s string) string { return strings.TrimSpace(strings.TrimPrefix(s, bom)) }

func crlf(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
}

func compact(s string) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte(strings.TrimPrefix(s, bom))) != nil {
		return s
	}
	return b.String()
}

func indent(by string) func(string) string {
	return func(s string) string {
		var b bytes.Buffer
		if json.Indent(&b, []byte(bareText(s)), "", by) != nil {
			return s
		}
		return b.String()
	}
}

// spaced is what Python's json.dumps writes.
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

// sorted writes names in their order, as encoding/json does.
func sorted(s string) string {
	v, err := decode([]byte(strings.TrimPrefix(s, bom)))
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

// escape is one of JSON's: of a character that may stand for itself, or of a
// pair of halves, or of none.
var escape = regexp.MustCompile(`\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.`)

// unescaped writes characters instead of their \u escapes, where JSON lets them
// stand.
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

// escaped writes some characters as \u escapes, those beyond 16 bits as two.
func escaped(s, format string, which func(rune) bool) string {
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
