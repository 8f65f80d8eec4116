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
	how   string
	write func(string) string
}

// written returns a body in other ways of writing the same, those first that
// change least.
func written(body string) []form {
	stages, most := [][]writing{texts, ends}, 4
	if json.Valid([]byte(strings.TrimPrefix(body, bom))) {
		stages = [][]writing{slices.Concat(texts, jsons), escapes, slashings, ends}
	}
	if len(body) > manyBytes {
		most = 1 // what is large is tried with one change at a time
	}
	type text struct {
		text string
		how  []string
	}
	all := []text{{text: body}}
	for _, stage := range stages {
		for _, t := range slices.Clone(all) {
			for _, w := range stage {
				if other := w.write(t.text); other != t.text && len(t.how) < most {
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
	return found
}

const bom = "\ufeff"

// texts are the ways to write any text.
var texts = []writing{
	{"with LF at the ends of its lines", func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }},
	{"with CRLF at the ends of its lines", crlf},
}

// jsons are the ways to write JSON.
var jsons = []writing{
	anew("compact", compact),
	anew("indented by 2 spaces", indent("  ")),
	anew("indented by 4 spaces", indent("    ")),
	anew("indented by a space", indent(" ")),
	anew("indented by tabs", indent("\t")),
	anew("indented by 2 spaces with CRLF", func(s string) string { return crlf(indent("  ")(s)) }),
	anew("indented by 4 spaces with CRLF", func(s string) string { return crlf(indent("    ")(s)) }),
	anew("with a space after each colon and comma", spaced),
	anew("with sorted names, compact", sorted),
	anew("with sorted names, indented by 2 spaces", func(s string) string { return indent("  ")(sorted(s)) }),
	anew("with sorted names, indented by 4 spaces", func(s string) string { return indent("    ")(sorted(s)) }),
	anew("with sorted names, a space after each colon and comma", func(s string) string { return spaced(sorted(s)) }),
}

// anew writes JSON and leaves alone what stands around it.
func anew(how string, write func(string) string) writing {
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

// slashings are the ways to write a slash in JSON.
var slashings = []writing{
	{`with / and not \/`, func(s string) string { return strings.ReplaceAll(s, `\/`, "/") }},
	{`with \/ and not /`, func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, `\/`, "/"), "/", `\/`) }},
}

// ends are the ways to begin and end a text.
var ends = []writing{
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
	if json.Compact(&b, []byte(s)) != nil {
		return s
	}
	return b.String()
}

func indent(by string) func(string) string {
	return func(s string) string {
		var b bytes.Buffer
		if json.Indent(&b, []byte(s), "", by) != nil {
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
