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

	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/verify"
)

// read describes the signed parts of the request by their name. Of headers it returns
// names and numbers, and only the length of everything else: a header may be the secret.
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
	if len(known.Headers) > 0 { // the whole body is signed
		return read
	}
	named := map[string]bool{} // the words of the Signs line
	for _, name := range word.FindAllString(known.Signs, -1) {
		named[name] = true
	}
	eachField(c.Request.Body, func(name, value string) {
		if _, seen := read[name]; !seen && named[name] {
			read[name] = c.hide(display.Cut(value, 200))
		}
	})
	return read
}

var (
	part = regexp.MustCompile(`[^,;= ]+=*`)
	word = regexp.MustCompile(`[\w.-]+`)
)

// describe returns a header's value with its names and numbers, and the length of
// everything else.
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

// eachField calls f with the fields of a form, or of a JSON object at every depth.
func eachField(body []byte, f func(name, value string)) {
	if v, err := decode(body); err == nil {
		eachValue(v, f)
		return
	}
	form, _ := url.ParseQuery(string(body))
	for name, values := range form {
		f(name, values[0])
	}
}

// decode decodes one JSON value. Numbers are [json.Number].
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

// eachValue calls f with the members of decoded JSON that are neither objects nor arrays.
func eachValue(v any, f func(name, value string)) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			eachValue(one, f)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			switch one := v[name].(type) {
			case []any, map[string]any:
				eachValue(one, f)
			default:
				f(name, fmt.Sprint(one))
			}
		}
	}
}

// hide returns a text of the request or the configuration, unless it contains a secret.
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
