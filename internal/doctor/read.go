package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tollbridge/tollbridge/verify"
)

// read describes what the request has of what is signed. Of headers it says the
// times and how long the rest is: a header may hold the secret itself.
func (c Case) read() map[string]string {
	known := c.connector()
	read := map[string]string{"body": fmt.Sprintf("%d bytes", len(c.Request.Body))}
	for _, header := range known.Headers {
		for _, value := range c.Request.Header.Values(header) {
			read[header] = describe(value, known.Covers)
		}
	}
	if c.signsAddress() {
		read["address"] = c.hide(c.Request.URL)
	}
	if len(known.Headers) > 0 { // what is signed of the body is all of it
		return read
	}
	for _, f := range fields(c.Request.Body) {
		if _, first := read[f.name]; !first && named(known.Signs, f.name) {
			read[f.name] = c.hide(cut(f.value))
		}
	}
	return read
}

var part = regexp.MustCompile(`[^,;= ]+=*`)

// describe is a header's value with all but names and numbers left out.
func describe(value string, covers verify.Coverage) string {
	if covers == verify.CoversNothing {
		return fmt.Sprintf("%d characters", len(value))
	}
	return part.ReplaceAllStringFunc(value, func(s string) string {
		_, err := strconv.ParseUint(s, 10, 64)
		if bare := strings.TrimSuffix(s, "="); err == nil && len(s) <= 13 || bare != s && len(bare) < 12 {
			return s
		}
		return fmt.Sprintf("<%d characters>", len(s))
	})
}

// named reports whether a Signs line has a field's name as a word of its own.
func named(signs, field string) bool {
	return slices.Contains(regexp.MustCompile(`[\w.-]+`).FindAllString(signs, -1), field)
}

// field is one of a form or of a JSON object, at whatever depth.
type field struct{ name, value string }

func fields(body []byte) (all []field) {
	if v, err := decode(body); err == nil {
		return inside(v)
	}
	form, _ := url.ParseQuery(string(body))
	for name, values := range form {
		all = append(all, field{name, values[0]})
	}
	return all
}

// decode reads JSON, its numbers as they are written.
func decode(body []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("more than one value")
	}
	return v, nil
}

func inside(v any) (all []field) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			all = append(all, inside(one)...)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			switch one := v[name].(type) {
			case []any, map[string]any:
				all = append(all, inside(one)...)
			default:
				all = append(all, field{name, fmt.Sprint(one)})
			}
		}
	}
	return all
}

// cut bounds a text.
func cut(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// hide returns text that is not the doctor's own, unless a secret is in it.
func (c Case) hide(text string) string {
	secrets := slices.Clone(c.Endpoint.Keys.Secrets)
	for _, o := range c.Others {
		secrets = append(secrets, o.Keys.Secrets...)
	}
	for _, s := range secrets {
		if bare := strings.TrimSpace(s.Value); bare != "" && strings.Contains(text, bare) {
			return "(hidden: a secret is in it)"
		}
	}
	return text
}
