package verify

import (
	"bytes"
	"fmt"
	"net/url"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// header returns the value of a header that has part of a signature.
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

// withoutBOM returns text without a leading UTF-8 byte order mark. Parsers of a body skip
// the mark, but a signature over the body covers its exact bytes.
func withoutBOM(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

// form has the fields of a form or of a flat JSON object, by name.
type form map[string]string

// maxFields is how many fields a form or a JSON object may have. Processors send fewer
// than a hundred.
const maxFields = 2000

// form parses a form-encoded body. It returns an error for a field given twice: two
// parsers could choose different values.
func (r Request) form() (form, error) {
	if n := bytes.Count(r.Body, []byte("&")); n >= maxFields {
		return nil, fmt.Errorf("%w: the form has more than %d fields", ErrMalformed, maxFields)
	}
	values, err := url.ParseQuery(string(withoutBOM(r.Body)))
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

// decodeJSON parses a body that has its signature inside. It returns an error for names
// given twice and for text that is not UTF-8: two parsers could read different values.
func decodeJSON(body []byte, v any) error {
	if err := json.Unmarshal(withoutBOM(body), v); err != nil {
		return fmt.Errorf("%w: the body: %v", ErrMalformed, err)
	}
	return nil
}

// text is the text of a JSON string, or a JSON number or boolean exactly as written:
// processors that sign fields sign this text. Null, objects and arrays, which no
// processor signs, are the empty text.
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
