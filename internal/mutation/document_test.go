package mutation

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/verify"
)

// format is how a document is written.
type format int

const (
	isJSON format = iota
	isForm
	isXML
	isHeader
)

// document is a part of a request that has leaves: the body, the query, the headers, or
// a document inside a leaf of another document.
type document struct {
	format format
	prefix string // prefix of its leaves' paths
	text   string
	leaves []leaf
	// request returns the request with this document replaced by a text.
	request func(text string) verify.Request
}

// leaf is a value of a document that has no parts. Its positions are offsets in the
// document's text.
type leaf struct {
	path       string // the names that lead to it, separated by "/", without array indexes
	name       string // the last of the names
	text       string // the value, decoded
	quoted     bool   // the value is a JSON string
	from, to   int    // position of the value
	start, end int    // position of the name and the value together
}

// edit replaces a part of a document's text.
type edit struct {
	from, to int
	with     string
}

// edited returns the text of the document after edits that do not overlap.
func (d document) edited(edits ...edit) string {
	slices.SortFunc(edits, func(a, b edit) int { return a.from - b.from })
	var b strings.Builder
	at := 0
	for _, e := range edits {
		b.WriteString(d.text[at:e.from])
		b.WriteString(e.with)
		at = e.to
	}
	b.WriteString(d.text[at:])
	return b.String()
}

// encode returns a value in the document's syntax.
func (d document) encode(text string) string {
	switch d.format {
	case isJSON:
		quoted, _ := jsontext.AppendQuote(nil, text) // invalid UTF-8 is replaced
		return string(quoted)
	case isForm:
		return url.QueryEscape(text)
	case isXML:
		var b strings.Builder
		_ = xml.EscapeText(&b, []byte(text)) // writing to a Builder never fails
		return b.String()
	}
	return text
}

// separator returns the text between two members of the document.
func (d document) separator() string {
	return map[format]string{isJSON: ",", isForm: "&", isXML: "", isHeader: "\n"}[d.format]
}

// member returns a name and its value in the document's syntax.
func (d document) member(name, text string) string {
	return d.encode(name) + map[format]string{isJSON: ":", isForm: "=", isHeader: ": "}[d.format] + d.encode(text)
}

// without returns the edit that removes a leaf with its name.
func (d document) without(l leaf) edit {
	separator := d.separator()
	if separator == "" {
		return edit{from: l.start, to: l.end}
	}
	end, start := l.end, l.start
	for d.format == isJSON && end < len(d.text) && strings.ContainsRune(" \t\r\n", rune(d.text[end])) {
		end++
	}
	if strings.HasPrefix(d.text[end:], separator) {
		return edit{from: l.start, to: end + len(separator)}
	}
	for d.format == isJSON && start > 0 && strings.ContainsRune(" \t\r\n", rune(d.text[start-1])) {
		start--
	}
	if strings.HasSuffix(d.text[:start], separator) {
		start -= len(separator)
	}
	return edit{from: start, to: l.end}
}

// documents returns the documents of a request, including those inside other documents.
func documents(r verify.Request) []document {
	headers := document{format: isHeader, prefix: "header", request: func(text string) verify.Request {
		changed := r
		changed.Header = http.Header{}
		for line := range strings.SplitSeq(text, "\n") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				changed.Header.Add(name, value)
			}
		}
		return changed
	}}
	for name, values := range r.Header {
		for _, value := range values {
			if headers.text != "" {
				headers.text += "\n"
			}
			start := len(headers.text)
			headers.text += name + ": " + value
			end := len(headers.text)
			headers.leaves = append(headers.leaves, leaf{
				path: "header/" + name, name: name, text: value, quoted: true,
				from: end - len(value), to: end, start: start, end: end,
			})
		}
	}
	all := []document{headers}
	all = appendDocuments(all, "", string(r.Body), func(text string) verify.Request {
		changed := r
		changed.Body = []byte(text)
		return changed
	})
	if address, query, ok := strings.Cut(r.URL, "?"); ok {
		all = appendDocuments(all, "query", query, func(text string) verify.Request {
			changed := r
			changed.URL = address + "?" + text
			return changed
		})
	}
	return all
}

// appendDocuments appends the document that a text is, and the documents inside its
// leaves.
func appendDocuments(all []document, prefix, text string, request func(string) verify.Request) []document {
	d := document{prefix: prefix, text: text, request: request}
	if !d.read() {
		return all
	}
	all = append(all, d)
	for _, l := range d.leaves {
		if decoded, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(l.text, "\n", "")); err == nil && len(decoded) > 2 && strings.ContainsAny(string(decoded[:1]), "{<") {
			all = appendDocuments(all, l.path, string(decoded), func(text string) verify.Request {
				return request(d.edited(edit{l.from, l.to, d.encode(base64.StdEncoding.EncodeToString([]byte(text)))}))
			})
		}
		if trimmed := strings.TrimSpace(l.text); strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "<") {
			all = appendDocuments(all, l.path, l.text, func(text string) verify.Request {
				return request(d.edited(edit{l.from, l.to, d.encode(text)}))
			})
		}
	}
	return all
}

// read finds the leaves of the document, and reports whether there are any.
func (d *document) read() bool {
	for _, read := range []func() error{d.readJSON, d.readXML, d.readForm} {
		d.leaves = nil
		if read() == nil && len(d.leaves) > 0 {
			return true
		}
	}
	return false
}

var errFormat = errors.New("another format")

func (d *document) path(names ...string) string {
	if d.prefix != "" {
		names = append([]string{d.prefix}, names...)
	}
	return strings.Join(names, "/")
}

func (d *document) readJSON() error {
	d.format = isJSON
	if trimmed := strings.TrimSpace(d.text); !strings.HasPrefix(trimmed, "{") && !strings.HasPrefix(trimmed, "[") {
		return errFormat
	}
	decoder := jsontext.NewDecoder(strings.NewReader(d.text))
	start := 0 // offset of the name before the value
	for {
		switch kind := decoder.PeekKind(); kind {
		case '{', '}', '[', ']':
			if _, err := decoder.ReadToken(); err != nil {
				return err
			}
		default:
			raw, err := decoder.ReadValue()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			to := int(decoder.InputOffset())
			from := to - len(raw)
			parent, members := decoder.StackIndex(decoder.StackDepth())
			if parent == '{' && members%2 == 1 {
				start = from
				continue
			}
			if parent != '{' {
				start = from
			}
			var names []string
			for token := range decoder.StackPointer().Tokens() {
				if _, err := strconv.Atoi(token); err != nil {
					names = append(names, token)
				}
			}
			l := leaf{path: d.path(names...), from: from, to: to, start: start, end: to, quoted: kind == '"', text: string(raw)}
			if len(names) > 0 {
				l.name = names[len(names)-1]
			}
			if kind == '"' {
				text, err := jsontext.AppendUnquote(nil, raw)
				if err != nil {
					return err
				}
				l.text = string(text)
			}
			d.leaves = append(d.leaves, l)
		}
	}
}

func (d *document) readForm() error {
	d.format = isForm
	if strings.HasPrefix(strings.TrimSpace(d.text), "<") || !strings.Contains(d.text, "=") {
		return errFormat
	}
	at := 0
	for pair := range strings.SplitSeq(d.text, "&") {
		name, value, _ := strings.Cut(pair, "=")
		decodedName, err := url.QueryUnescape(name)
		if err != nil {
			return err
		}
		decoded, err := url.QueryUnescape(value)
		if err != nil {
			return err
		}
		end := at + len(pair)
		d.leaves = append(d.leaves, leaf{
			path: d.path(decodedName), name: decodedName, text: decoded, quoted: true,
			from: end - len(value), to: end, start: at, end: end,
		})
		at = end + 1
	}
	return nil
}

var attribute = regexp.MustCompile(`\s([\w:.-]+)="([^"]*)"`)

func (d *document) readXML() error {
	d.format = isXML
	if !strings.HasPrefix(strings.TrimSpace(d.text), "<") {
		return errFormat
	}
	decoder := xml.NewDecoder(strings.NewReader(d.text))
	type element struct {
		name           string
		start, content int
		hasChildren    bool
		text           string
	}
	var open []element
	var names []string
	for {
		from := int(decoder.InputOffset())
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		to := int(decoder.InputOffset())
		switch token := token.(type) {
		case xml.StartElement:
			if len(open) > 0 {
				open[len(open)-1].hasChildren = true
			}
			open, names = append(open, element{name: token.Name.Local, start: from, content: to}), append(names, token.Name.Local)
			for _, m := range attribute.FindAllStringSubmatchIndex(d.text[from:to], -1) {
				name := d.text[from+m[2] : from+m[3]]
				d.leaves = append(d.leaves, leaf{
					path: d.path(append(slices.Clip(names), "@"+name)...), name: name, text: d.text[from+m[4] : from+m[5]], quoted: true,
					from: from + m[4], to: from + m[5], start: from + m[0], end: from + m[1],
				})
			}
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text += string(token)
			}
		case xml.EndElement:
			if len(open) == 0 {
				return errFormat
			}
			e := open[len(open)-1]
			if !e.hasChildren && from >= e.content {
				d.leaves = append(d.leaves, leaf{
					path: d.path(names...), name: e.name, text: e.text, quoted: true,
					from: e.content, to: from, start: e.start, end: to,
				})
			}
			open, names = open[:len(open)-1], names[:len(names)-1]
		}
	}
}
