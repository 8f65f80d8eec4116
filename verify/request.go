package verify

import (
	"bytes"
	"fmt"
	"net/url"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// header returns the one value of a header that carries part of a signature.
func (r Request) header(name string) (string, error) {
	switch values := r.Header.Values(name); {
	case len(values) == 0 || len(values) == 1 && values[0] == "":
		return "", fmt.Errorf("%w: no %s header", ErrMissing, name)
	case len(values) > 1:
		return "", fmt.Errorf("%w: %d %s headers, want one", ErrMalformed, len(values), name)
	default:
		return values[0], nil
	}
}

// withoutMark returns text without the UTF-8 byte order mark that may stand in
// front of it. What is read of a body is read without; a signature over the body
// is over its exact bytes.
func withoutMark(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

// form is the fields of a body that is a form.
type form map[string]string

// maxFields is how many fields a body may have that is read field by field.
// Processors send fewer than a hundred.
const maxFields = 2000

// form reads a form-encoded body. A field given twice is refused: two readers
// could take such a body for two different things.
func (r Request) form() (form, error) {
	if n := bytes.Count(r.Body, []byte("&")); n >= maxFields {
		return nil, fmt.Errorf("%w: the form has more than %d fields", ErrMalformed, maxFields)
	}
	values, err := url.ParseQuery(string(withoutMark(r.Body)))
	if err != nil {
		return nil, fmt.Errorf("%w: the body is not a form: %v", ErrMalformed, err)
	}
	f := form{}
	for name, v := range values {
		if len(v) > 1 {
			return nil, fmt.Errorf("%w: the field %q is given %d times, want one", ErrMalformed, name, len(v))
		}
		f[name] = v[0]
	}
	return f, nil
}

// decodeJSON reads a body whose signature stands inside it. Names given twice
// and text that is not UTF-8 are refused: two readers could take such a body
// for two different things.
func decodeJSON(body []byte, v any) error {
	if err := json.Unmarshal(withoutMark(body), v); err != nil {
		return fmt.Errorf("%w: the body: %v", ErrMalformed, err)
	}
	return nil
}

// text is a JSON string, number or boolean as the text it is written as: what
// is signed where a processor signs fields. Null is the empty text, and so are
// objects and arrays, which nobody signs.
type text string

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (t *text) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	v, err := d.ReadValue()
	if err != nil {
		return err
	}
	switch v.Kind() {
	case '"':
		raw, err := jsontext.AppendUnquote(nil, v)
		*t = text(raw)
		return err
	case '0', 't', 'f':
		*t = text(v)
	default:
		*t = ""
	}
	return nil
}
