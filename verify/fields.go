package verify

import (
	"cmp"
	"crypto/hmac"
	"fmt"
	"hash"
	"iter"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Some processors sign a text that is joined from fields of the request. Such a
// signature proves the text, not the fields. An attacker who captured a signed request can
// send other fields with the same joined text. If the signature is a plain hash of the key
// followed by the text, not an HMAC, the attacker can also append to the text (length
// extension). So a connector only describes its text as a [message], and this file joins,
// hashes and compares for all connectors. After the signature has matched, it checks that
//
//   - each field has its format. After a length extension one never has: the text then
//     contains the hash's padding, which has NUL bytes;
//   - the field that names the merchant account has the endpoint's account;
//   - no other split of the text into fields of these formats would make another event.
//
// TestPlainHashes checks that connectors compute plain hashes only through this file.

// format is the set of texts that a field may have.
type format struct {
	want     string // describes the format in errors, such as: 3 digits
	min, max int    // the length in bytes; min 0 means that the field may be empty
	char     func(b byte) bool
	valid    func(string) bool // a further check of the text; nil means none
	anyText  bool              // allows nearly any text: a border of the field can be anywhere
}

// matches reports whether a text has the format.
func (f format) matches(text string) bool {
	if text == "" {
		return f.min == 0
	}
	if len(text) < f.min || len(text) > f.max {
		return false
	}
	for i := range len(text) {
		if !f.char(text[i]) {
			return false
		}
	}
	return f.valid == nil || f.valid(text)
}

// orEmpty returns the format with the empty text added.
func (f format) orEmpty() format {
	f.min, f.want = 0, f.want+", or nothing"
	return f
}

// without returns the format without texts that contain the separator.
func (f format) without(separator byte) format {
	char := f.char
	f.char = func(b byte) bool { return b != separator && char(b) }
	f.anyText = false
	f.want += fmt.Sprintf(" without %q", separator)
	return f
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// numeric returns the format of least to most digits.
func numeric(least, most int) format {
	want := fmt.Sprintf("%d to %d digits", least, most)
	if least == most {
		want = fmt.Sprintf("%d digits", most)
	}
	return format{want: want, min: least, max: most, char: isDigit}
}

// pattern returns the format of texts that a regular expression matches as a whole.
func pattern(want string, most int, expression string) format {
	re := regexp.MustCompile(`\A(?:` + expression + `)\z`)
	return format{want: want, min: 1, max: most, char: printable, valid: re.MatchString}
}

// digitPattern returns the format of digits that a regular expression matches as a whole.
func digitPattern(want string, most int, expression string) format {
	f := pattern(want, most, expression)
	f.char = isDigit
	return f
}

// decimal returns the format of an amount in major units without leading zeros, with
// least to most decimal places.
func decimal(least, most int) format {
	point := fmt.Sprintf(`\.[0-9]{%d,%d}`, max(least, 1), most)
	if least == 0 {
		point = "(?:" + point + ")?"
	}
	f := pattern(fmt.Sprintf("a decimal such as 1250.50, with %d to %d decimal places", least, most), 24, `(?:0|[1-9][0-9]*)`+point)
	f.char = func(b byte) bool { return isDigit(b) || b == '.' }
	return f
}

// currency is the format of an ISO 4217 code.
var currency = format{want: "three capital letters", min: 3, max: 3, char: func(b byte) bool { return 'A' <= b && b <= 'Z' }}

// oneOf returns the format of some fixed texts.
func oneOf(of ...string) format {
	longest := 0
	for _, w := range of {
		longest = max(longest, len(w))
	}
	return format{want: "one of " + strings.Join(of, ", "), min: 1, max: longest, char: printable, valid: func(s string) bool { return slices.Contains(of, s) }}
}

// printable reports whether UTF-8 without control characters can contain the byte.
func printable(b byte) bool { return b >= ' ' && b != 0x7f }

// id returns the format of a reference of the merchant's or the processor's: UTF-8
// without control characters.
func id(most int) format {
	return format{want: fmt.Sprintf("1 to %d bytes of UTF-8 without control characters", most), min: 1, max: most, char: printable, valid: utf8.ValidString}
}

// anyText is the format of text without NUL bytes. Every text made by length extension has
// NUL bytes.
var anyText = format{want: "text without NUL bytes", max: math.MaxInt, anyText: true, char: func(b byte) bool { return b != 0 }}

// maxMessage is how many bytes a signed text may have, so that the search for other
// splits stays fast. Processors' texts have less than four thousand.
const maxMessage = 64 << 10

// part is a part of the signed text: a field, a literal, the key, or the hash of another
// message.
type part struct {
	name    string // the name of a field; empty for other parts
	format  format
	unused  bool   // no event is made from the field: other values do no harm
	setting string // the name of the setting that the field must be equal to

	convert     func(string) string // returns the text that is signed for a field's value; nil means the value itself
	splitFormat format              // the format of that text in the search for other splits

	literal string
	key     bool
	inner   *message // its hash is signed, as hex
	upper   bool     // the hex is in upper case
}

func field(name string, f format) part { return part{name: name, format: f, splitFormat: f} }

// unusedField is a field from which no event is made.
func unusedField(name string, f format) part {
	return part{name: name, format: f, splitFormat: f, unused: true}
}

// unusedFields are fields of any text from which no event is made.
func unusedFields(names ...string) []part {
	var all []part
	for _, name := range names {
		all = append(all, unusedField(name, anyText))
	}
	return all
}

// account is a field that names the merchant account, which must be that of a setting.
func account(name string, s Setting, f format) part {
	return part{name: name, format: f, splitFormat: f, setting: s.Name}
}

func literal(text string) part { return part{literal: text} }

// keyPart is the endpoint's secret.
var keyPart = part{key: true}

// separated returns the parts with a separator between them.
func separated(separator string, parts ...part) []part {
	var all []part
	for i, p := range parts {
		if i > 0 {
			all = append(all, literal(separator))
		}
		all = append(all, p)
	}
	return all
}

// message describes a signed text: its parts in order, and how they are hashed. With an
// HMAC, the key is not a part of the text.
type message struct {
	hash  func() hash.Hash
	hmac  bool
	parts []part
	// extraCheck checks the fields after the signature has matched; nil means no check.
	extraCheck func(form, Keys) error
}

// text returns the text that is signed for a part.
func (p part) text(f form, secret string) string {
	switch {
	case p.key:
		return secret
	case p.inner != nil && p.upper:
		return fmt.Sprintf("%X", p.inner.signature(f, secret))
	case p.inner != nil:
		return fmt.Sprintf("%x", p.inner.signature(f, secret))
	case p.name == "":
		return p.literal
	case p.convert != nil:
		return p.convert(f[p.name])
	}
	return f[p.name]
}

// signature returns the right signature of the fields.
func (m message) signature(f form, secret string) []byte {
	var text strings.Builder
	for _, p := range m.parts {
		text.WriteString(p.text(f, secret))
	}
	if m.hmac {
		return sum(m.hash, []byte(secret), []byte(text.String()))
	}
	return digest(m.hash, text.String())
}

// check checks the fields of a message whose signature has matched. If a setting of needs
// is not set, check does not search for other splits: it would always find one. Endpoints
// have these settings; `tollbridge inspect` may have only a secret.
func (m message) check(f form, k Keys, needs []Setting) error {
	patterns, err := k.forms()
	if err != nil {
		return err
	}
	if err := m.checkFields(f, k, patterns); err != nil {
		return err
	}
	if m.extraCheck != nil {
		if err := m.extraCheck(f, k); err != nil {
			return err
		}
	}
	for _, s := range needs {
		if k.Settings[s.Name] == "" {
			return nil
		}
	}
	return m.checkSplits(f, k, patterns)
}

// checkFields returns an error for a field that does not have its format, and for
// another merchant account than the setting's.
func (m message) checkFields(f form, k Keys, patterns map[string]*regexp.Regexp) error {
	for _, p := range m.parts {
		value := f[p.name]
		switch {
		case p.inner != nil:
			if err := p.inner.checkFields(f, k, patterns); err != nil {
				return err
			}
		case p.name == "":
		case !p.format.matches(value):
			return fmt.Errorf("%w: %s is %s, want %s", ErrField, p.name, quoted(value), p.format.want)
		case patterns[p.name] != nil && !patterns[p.name].MatchString(value):
			return fmt.Errorf("%w: %s is %s, want a match of its regular expression in the setting %s", ErrField, p.name, quoted(value), formsSetting)
		case p.setting != "" && k.Settings[p.setting] != "" && k.Settings[p.setting] != value:
			return fmt.Errorf("%w: %s is %s, want the value of the setting %s", ErrAccount, p.name, quoted(value), p.setting)
		}
	}
	return nil
}

// quoted returns a value in quotes for an error, truncated if it is long.
func quoted(value string) string {
	const most = 60
	if len(value) > most {
		return fmt.Sprintf("%.*q… (%d bytes)", most, value, len(value))
	}
	return fmt.Sprintf("%q", value)
}

// checkSplits returns an error if the signed text can be split into other fields. No text
// can move across the key or an inner hash, because nobody can choose their values: each
// run of parts between them is searched on its own.
func (m message) checkSplits(f form, k Keys, patterns map[string]*regexp.Regexp) error {
	var run []part
	for _, p := range append(slices.Clip(m.parts), keyPart) {
		if p.inner != nil {
			if err := p.inner.checkSplits(f, k, patterns); err != nil {
				return err
			}
		}
		if !p.key && p.inner == nil {
			run = append(run, p)
			continue
		}
		if len(run) > 1 {
			name, err := otherSplit(run, f, k, patterns)
			if err != nil {
				return err
			}
			if name != "" {
				return fmt.Errorf("%w: the signed text can be split in another way, with another value of %s", ErrAmbiguous, name)
			}
		}
		run = nil
	}
	return nil
}

// otherSplit searches for another split of the parts' text into fields of their formats.
// It returns the first field that has another value in such a split, or "" if there is
// none. Unused fields may have any value.
//
// For each part in turn it computes the positions in the text where the part can end: same
// has the positions that are reached if all fields so far have the received values, and
// other those that are reached if a field has another value, with the name of that field.
func otherSplit(run []part, f form, k Keys, patterns map[string]*regexp.Regexp) (name string, err error) {
	var joined strings.Builder
	for _, p := range run {
		joined.WriteString(p.text(f, ""))
	}
	text := joined.String()
	if len(text) > maxMessage {
		return "", fmt.Errorf("%w: the signed text has %d bytes, want at most %d", ErrField, len(text), maxMessage)
	}
	same, other := make([]bool, len(text)+1), make([]string, len(text)+1)
	same[0] = true
	for _, p := range run {
		nowSame, nowOther := make([]bool, len(text)+1), make([]string, len(text)+1)
		if p.unused && p.splitFormat.anyText && patterns[p.name] == nil { // it can end at every position after its start
			soFar, first := false, ""
			for at := range len(text) + 1 {
				soFar, first = soFar || same[at], cmp.Or(first, other[at])
				nowSame[at], nowOther[at] = soFar, first
			}
			same, other = nowSame, nowOther
			continue
		}
		for at := range len(text) + 1 {
			if !same[at] && other[at] == "" {
				continue
			}
			for end := range p.ends(text, at, k, patterns) {
				changed := !p.unused && p.name != "" && text[at:end] != p.text(f, "")
				switch {
				case other[at] != "":
					nowOther[end] = other[at]
				case changed:
					nowOther[end] = p.name
				}
				if same[at] && !changed {
					nowSame[end] = true
				}
			}
		}
		same, other = nowSame, nowOther
	}
	return other[len(text)], nil
}

// ends yields the positions where the part can end in the text if it begins at a position.
func (p part) ends(text string, at int, k Keys, patterns map[string]*regexp.Regexp) iter.Seq[int] {
	return func(yield func(int) bool) {
		fixed, isFixed := p.literal, p.name == ""
		if p.setting != "" && k.Settings[p.setting] != "" {
			fixed, isFixed = k.Settings[p.setting], true
		}
		if isFixed {
			if strings.HasPrefix(text[at:], fixed) {
				yield(at + len(fixed))
			}
			return
		}
		for end := at; end <= len(text) && end-at <= p.splitFormat.max; end++ {
			if end > at && !p.splitFormat.char(text[end-1]) {
				return
			}
			piece := text[at:end]
			matches := end == at && p.splitFormat.min == 0 || end > at && end-at >= p.splitFormat.min && (p.splitFormat.valid == nil || p.splitFormat.valid(piece))
			if re := patterns[p.name]; re != nil && p.convert == nil {
				matches = matches && re.MatchString(piece)
			}
			if matches && !yield(end) {
				return
			}
		}
	}
}

// formsSetting is the name of the setting that has a regular expression for each reference
// that the merchant makes.
const formsSetting = "forms"

// forms returns the setting for a processor that lets the merchant choose references and
// joins them to the signed text without separators. If it is needed, endpoints must set it.
func forms(example string, needed bool) Setting {
	return Setting{Name: formsSetting, Endpoint: needed, Description: "the formats of the references that the merchant chooses, because the signed text does not show where they begin and end: " +
		"JSON, field to regular expression (RE2, of the whole value), such as " + example}
}

// forms returns the regular expressions of the setting, by field.
func (k Keys) forms() (map[string]*regexp.Regexp, error) {
	given, err := k.named(formsSetting)
	if err != nil {
		return nil, err
	}
	patterns := map[string]*regexp.Regexp{}
	for name, expression := range given {
		re, err := regexp.Compile(`\A(?:` + expression + `)\z`)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %s: %v", ErrSetting, formsSetting, name, err)
		}
		patterns[name] = re
	}
	return patterns, nil
}

// checkForms checks the setting [forms]. It may have regular expressions for the given
// fields, and must have them for the first needed ones.
func checkForms(k Keys, needed int, fields ...string) error {
	patterns, err := k.forms()
	if err != nil {
		return err
	}
	for name := range maps.Keys(patterns) {
		if !slices.Contains(fields, name) {
			return fmt.Errorf("%w: %s: the merchant chooses no signed field %q, want one of %s", ErrSetting, formsSetting, name, strings.Join(fields, ", "))
		}
	}
	for _, name := range fields[:needed] {
		if patterns[name] == nil {
			return fmt.Errorf("%w: %s has no regular expression for %s", ErrSetting, formsSetting, name)
		}
	}
	return nil
}

// joinedScheme is the scheme of processors that sign a [message].
type joinedScheme struct {
	// read returns the fields of a request and its signature.
	read func(Request) (form, []byte, error)
	// messages returns the messages that the processor may have signed for these fields.
	messages func(Request, form, Keys) ([]message, error)
	// needs are the settings without which another split is always possible.
	needs []Setting
}

func (j joinedScheme) verify(r Request, secret string, k Keys, _ time.Time) (Verified, error) {
	f, signature, err := j.read(r)
	if err != nil {
		return Verified{}, err
	}
	return j.verifyFields(r, f, signature, secret, k)
}

// verifyFields verifies a request with the results of read.
func (j joinedScheme) verifyFields(r Request, f form, signature []byte, secret string, k Keys) (Verified, error) {
	messages, err := j.messages(r, f, k)
	if err != nil {
		return Verified{}, err
	}
	for _, m := range messages {
		if !hmac.Equal(signature, m.signature(f, secret)) {
			continue
		}
		if err := m.check(f, k, j.needs); err != nil {
			return Verified{}, err
		}
		return Verified{Payload: r.Body}, nil
	}
	return Verified{}, ErrMismatch
}

// bodyField is the name of the field that is the whole body.
const bodyField = "the body"

// always returns the messages function of a processor that signs every request as m.
func always(m message) func(Request, form, Keys) ([]message, error) {
	return func(Request, form, Keys) ([]message, error) { return []message{m}, nil }
}

// inForm returns the read function for a form with its signature in a field.
func inForm(name string, decode func(string) ([]byte, error)) func(Request) (form, []byte, error) {
	return func(r Request) (form, []byte, error) {
		f, err := r.form()
		if err != nil {
			return nil, nil, err
		}
		signature, err := f.signature(name, decode)
		return f, signature, err
	}
}

// inJSON returns the read function for a JSON object with its signature in a field. Objects
// and arrays in it become empty text: no processor signs them.
func inJSON(name string, decode func(string) ([]byte, error)) func(Request) (form, []byte, error) {
	return func(r Request) (form, []byte, error) {
		f, err := r.object()
		if err != nil {
			return nil, nil, err
		}
		signature, err := f.signature(name, decode)
		return f, signature, err
	}
}

// object parses a body that is a JSON object.
func (r Request) object() (form, error) {
	var f form
	if err := decodeJSON(r.Body, &f); err != nil {
		return nil, err
	}
	return f, nil
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom]. It keeps the values of an object's
// fields exactly as written: see [text].
func (f *form) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if kind := d.PeekKind(); kind != '{' {
		return fmt.Errorf("it is a JSON %s, want an object", kind)
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	*f = form{}
	for d.PeekKind() != '}' {
		if len(*f) == maxFields {
			return fmt.Errorf("it has more than %d fields", maxFields)
		}
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		key := name.String() // copy it: the next read overwrites the token
		var value text
		if err := value.UnmarshalJSONFrom(d); err != nil {
			return err
		}
		(*f)[key] = string(value)
	}
	_, err := d.ReadToken()
	return err
}

// signature decodes the field that has the signature.
func (f form) signature(name string, decode func(string) ([]byte, error)) ([]byte, error) {
	if f[name] == "" {
		return nil, fmt.Errorf("%w: no %s in the body", ErrMissing, name)
	}
	signature, err := decode(f[name])
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %v", ErrMalformed, name, err)
	}
	return signature, nil
}
