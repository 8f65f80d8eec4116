package normalize

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// withoutByteOrderMark returns text without the UTF-8 byte order mark that some
// processors and proxies put at its beginning. JSON, XML and forms mean the same
// with and without it.
func withoutByteOrderMark(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

// decode reads a JSON payload into v. It skips a byte order mark, and returns an
// error for a duplicate name, for text that is not UTF-8 and for more than
// 10,000 levels of nesting: two JSON readers may read such a payload
// differently. An empty payload, or an absent part of one, leaves v as it is.
//
// A connector first decodes the event's name alone and leaves the rest a [part],
// because an event that it does not know may have any shape. Once it knows the name,
// [redecode] reads the rest.
func decode(payload []byte, v any) error {
	payload = withoutByteOrderMark(payload)
	if len(payload) == 0 || scan(payload, v, true) {
		return nil
	}
	return decodeError(json.Unmarshal(payload, v))
}

// redecode reads a payload, or a part of one, that [decode] has already checked. It
// does not check again for duplicate names and UTF-8. An empty part leaves v as it is.
func redecode(p part, v any) error {
	if len(p) == 0 || scan(p, v, false) {
		return nil
	}
	return decodeError(json.Unmarshal(p, v, unchecked))
}

var unchecked = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// part is the JSON text of a part of a payload. It shares the payload's bytes.
type part []byte

// UnmarshalJSONFrom implements [json.UnmarshalerFrom]. It makes no copy: the decoder of
// [json.Unmarshal] reads from the payload itself, and does not change it.
func (p *part) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	v, err := d.ReadValue()
	*p = part(v)
	return err
}

// kind returns the kind of the JSON value.
func (p part) kind() jsontext.Kind { return jsontext.Value(p).Kind() }

// text returns the value as [text] reads it.
func (p part) text() text {
	switch p.kind() {
	case '"':
		return text(p.unquoted())
	case '0', 't', 'f':
		return text(p)
	}
	return ""
}

// is reports whether a JSON string has the text.
func (p part) is(text string) bool {
	if bytes.IndexByte(p, '\\') < 0 {
		return string(p[1:len(p)-1]) == text
	}
	return p.unquoted() == text
}

// unquoted returns the text of a JSON string.
func (p part) unquoted() string {
	if bytes.IndexByte(p, '\\') < 0 {
		return string(p[1 : len(p)-1])
	}
	s, _ := jsontext.AppendUnquote(nil, p) // no error: the string was checked
	return string(s)
}

// decodeError rewrites an error of the JSON library, wrapping [ErrMalformed].
func decodeError(err error) error {
	if err == nil {
		return nil
	}
	var e *json.SemanticError
	switch {
	case !errors.As(err, &e) || e.GoType == nil:
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	case e.Err != nil:
		return fmt.Errorf("%w: %q: %v", ErrMalformed, e.JSONPointer, e.Err)
	default: // the library's own text differs from run to run, and can quote the payload
		return fmt.Errorf("%w: a JSON %s at %q, want %s", ErrMalformed, e.JSONKind, e.JSONPointer, e.GoType.Kind())
	}
}

// decodeXML reads an XML payload into v. It returns an error for a document type
// declaration, which could declare entities, for more than one root element, for
// more than 100 levels of nesting and for more than 20,000 elements and attributes.
func decodeXML(payload []byte, v any) error {
	payload = withoutByteOrderMark(payload)
	const deepest, most = 100, 20_000
	roots, depth, elements := 0, 0, 0
	for d := xml.NewDecoder(bytes.NewReader(payload)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %v", ErrMalformed, err)
		}
		switch token := token.(type) {
		case xml.Directive:
			return fmt.Errorf("%w: a document type declaration", ErrMalformed)
		case xml.StartElement:
			elements += 1 + len(token.Attr)
			if depth++; depth == 1 {
				roots++
			}
		case xml.EndElement:
			depth--
		}
		if roots > 1 || depth > deepest {
			return fmt.Errorf("%w: want one root element and at most %d levels", ErrMalformed, deepest)
		}
		if elements > most {
			return fmt.Errorf("%w: more than %d elements and attributes", ErrMalformed, most)
		}
	}
	if err := xml.Unmarshal(payload, v); err != nil {
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return nil
}

// decodeForm reads a form-encoded payload. A field that is given more than once
// is an error.
func decodeForm(payload []byte) (map[string]string, error) {
	values, err := url.ParseQuery(string(withoutByteOrderMark(payload)))
	if err != nil {
		return nil, fmt.Errorf("%w: not a form: %v", ErrMalformed, err)
	}
	f := map[string]string{}
	for name, v := range values {
		if len(v) > 1 {
			return nil, fmt.Errorf("%w: the field %q is given %d times, want one", ErrMalformed, name, len(v))
		}
		f[name] = v[0]
	}
	return f, nil
}

// text is a JSON string, number or boolean as text, for fields that a processor
// sends as a string in some webhooks and as a number in others. A number keeps
// its digits as they were sent. Null, objects and arrays become "".
type text string

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (t *text) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	switch d.PeekKind() {
	case '"', '0', 't', 'f':
		v, err := d.ReadToken()
		*t = text(v.String())
		return err
	}
	*t = ""
	return d.SkipValue()
}

// fields is an object whose values are read as text. Anything but an object is skipped:
// some processors send an empty array for no fields.
type fields map[string]text

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (f *fields) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '{' {
		return d.SkipValue()
	}
	return json.UnmarshalDecode(d, (*map[string]text)(f))
}

// metadata holds the free fields that a merchant may attach to a payment. It is read
// like [fields], and keeps the values as JSON, because most of them are never used.
type metadata []metadataField

// metadataField is a field as JSON.
type metadataField struct{ name, value part }

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (m *metadata) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	*m = nil
	if d.PeekKind() != '{' {
		return d.SkipValue()
	}
	_, err := d.ReadToken()
	*m = make(metadata, 0, 8)
	for err == nil && d.PeekKind() == '"' {
		var f metadataField
		if err = f.name.UnmarshalJSONFrom(d); err == nil {
			err = f.value.UnmarshalJSONFrom(d)
		}
		*m = append(*m, f)
	}
	if err == nil {
		_, err = d.ReadToken()
	}
	return err
}

// get returns the value of a field, or "" if there is none.
func (m metadata) get(name string) text {
	for _, f := range m {
		if f.name.is(name) {
			return f.value.text()
		}
	}
	return ""
}

// merchantID returns the merchant's reference from free metadata: the value of
// the first of MerchantIDKeys that is not empty in one of them, or "".
func (o Options) merchantID(in ...metadata) string {
	for _, key := range o.MerchantIDKeys {
		for _, m := range in {
			if id := string(m.get(key)); id != "" {
				return id
			}
		}
	}
	return ""
}

// fetched returns the document of that name, KIND/ID, that was fetched for the webhook,
// and whether there is one.
func (o Options) fetched(name string) (body []byte, ok bool) {
	for _, d := range o.Fetched {
		if d.Name == name && d.Status == http.StatusOK {
			return d.Body, true
		}
	}
	return nil, false
}

// fetchedOf returns the fetched documents of a kind, in the order in which they were
// fetched.
func (o Options) fetchedOf(kind string) (all []schemas.Fetched) {
	for _, d := range o.Fetched {
		if of, _, _ := strings.Cut(d.Name, "/"); of == kind && d.Status == http.StatusOK {
			all = append(all, d)
		}
	}
	return all
}

// remembered is how long published events are remembered, so that they are not published
// again: see README.md.
const remembered = 31 * 24 * time.Hour

// tooOld reports whether a fact in a fetched object happened so long before the webhook
// that it may be published and no longer remembered: a refund of an old payment fetches
// the payment with all that ever happened to it.
func (o Options) tooOld(happened time.Time) bool {
	return !happened.IsZero() && o.ReceivedAt.Sub(happened) > remembered-24*time.Hour
}
