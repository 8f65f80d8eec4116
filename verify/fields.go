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

// Some processors sign fields of the request, joined to one text. Such a
// signature speaks for the text and not for the fields: whoever holds one can
// send other fields that join to the same text and, where the text is hashed
// behind the key without an HMAC, fields that join to a longer one (length
// extension). So a connector only describes its text, as a [message], and this
// file does the rest, the same for all: it joins, hashes and compares. Once the
// signature is right, it asks that
//
//   - each field has its form, which no extended text has: a hash's padding
//     always has NUL bytes;
//   - the field that names the merchant names the endpoint's own;
//   - no other split of the text into fields of their forms would make another
//     event.
//
// There is no other way to a plain hash: TestPlainHashes sees to it.

// format is what a field can look like.
type format struct {
	says     string // for errors: digits
	min, max int    // its length in bytes; a field that may be empty has min 0
	char     func(b byte) bool
	whole    func(string) bool // what else holds for all of it; nil is nothing
	any      bool              // nothing is asked that splits depend on
}

// of reports whether a text has the format.
func (f format) of(text string) bool {
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
	return f.whole == nil || f.whole(text)
}

// orEmpty is the format, or nothing.
func (f format) orEmpty() format {
	f.min, f.says = 0, f.says+", or nothing"
	return f
}

// without is the format without a separator in it.
func (f format) without(separator byte) format {
	char := f.char
	f.char = func(b byte) bool { return b != separator && char(b) }
	f.any = false
	f.says += fmt.Sprintf(" without %q", separator)
	return f
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// numeric is from least to most digits.
func numeric(least, most int) format {
	says := fmt.Sprintf("%d to %d digits", least, most)
	if least == most {
		says = fmt.Sprintf("%d digits", most)
	}
	return format{says: says, min: least, max: most, char: isDigit}
}

// pattern is a text that a regular expression matches as a whole.
func pattern(says string, most int, expression string) format {
	whole := regexp.MustCompile(`\A(?:` + expression + `)\z`)
	return format{says: says, min: 1, max: most, char: printable, whole: whole.MatchString}
}

// digitPattern is a text of digits that a regular expression matches as a whole.
func digitPattern(says string, most int, expression string) format {
	f := pattern(says, most, expression)
	f.char = isDigit
	return f
}

// decimal is an amount in major units without leading zeros, with from least
// to most decimal places.
func decimal(least, most int) format {
	point := fmt.Sprintf(`\.[0-9]{%d,%d}`, max(least, 1), most)
	if least == 0 {
		point = "(?:" + point + ")?"
	}
	f := pattern(fmt.Sprintf("a decimal such as 1250.50, with %d to %d decimal places", least, most), 24, `(?:0|[1-9][0-9]*)`+point)
	f.char = func(b byte) bool { return isDigit(b) || b == '.' }
	return f
}

// currency is the three letters of a currency.
var currency = format{says: "three capital letters", min: 3, max: 3, char: func(b byte) bool { return 'A' <= b && b <= 'Z' }}

// words is one of some texts.
func words(of ...string) format {
	longest := 0
	for _, w := range of {
		longest = max(longest, len(w))
	}
	return format{says: "one of " + strings.Join(of, ", "), min: 1, max: longest, char: printable, whole: func(s string) bool { return slices.Contains(of, s) }}
}

// printable reports whether a byte can be of UTF-8 without control characters.
func printable(b byte) bool { return b >= ' ' && b != 0x7f }

// id is a reference, the merchant's or the processor's: UTF-8 without control
// characters.
func id(most int) format {
	return format{says: fmt.Sprintf("1 to %d bytes of UTF-8 without control characters", most), min: 1, max: most, char: printable, whole: utf8.ValidString}
}

// free is a text that nothing is asked of but that it has no NUL, which every
// extended text has.
var free = format{says: "text without NUL bytes", max: math.MaxInt, any: true, char: func(b byte) bool { return b != 0 }}

// maxMessage is how many bytes a text may have whose splits are looked for. The
// processors' own have less than four thousand.
const maxMessage = 64 << 10

// part is a piece of the text that is signed: a field or a literal, the key, or
// the hash of another message.
type part struct {
	name    string // of the field; empty for what is none
	format  format
	idle    bool   // nothing of an event is made of the field
	setting string // the name of the setting that the field must be equal to

	bare   func(string) string // the field as it is joined; nil is as it came
	joined format              // of that, in the splits that are looked for

	literal string
	key     bool
	inner   *message // whose hash is joined as hex
	upper   bool     // in upper case
}

func field(name string, f format) part { return part{name: name, format: f, joined: f} }

// idleField is a field that nothing of an event is made of.
func idleField(name string, f format) part {
	return part{name: name, format: f, joined: f, idle: true}
}

// idleFields are free fields that nothing of an event is made of.
func idleFields(names ...string) []part {
	var all []part
	for _, name := range names {
		all = append(all, idleField(name, free))
	}
	return all
}

// account is the field that names the merchant.
func account(name string, s Setting, f format) part {
	return part{name: name, format: f, joined: f, setting: s.Name}
}

func literal(text string) part { return part{literal: text} }

// keyPart is the secret.
var keyPart = part{key: true}

// separated puts a separator between parts.
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

// message is the description of a text that is signed: its parts, in order. It
// is hashed as it is, or by HMAC, which has the key for itself.
type message struct {
	hash  func() hash.Hash
	hmac  bool
	parts []part
	// also says what else is wrong with the fields; nil is nothing. It is asked
	// once the signature is right.
	also func(form, Keys) error
}

// text returns a part as it is joined.
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
	case p.bare != nil:
		return p.bare(f[p.name])
	}
	return f[p.name]
}

// signature is what the signature must be.
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

// check judges the fields of a message whose signature is right. An endpoint
// has set all that it needs; whoever has not, as `tollbridge inspect` with
// nothing but a secret, is not told whether other splits are possible.
func (m message) check(f form, k Keys, needs []Setting) error {
	narrow, err := k.forms()
	if err != nil {
		return err
	}
	if err := m.formed(f, k, narrow); err != nil {
		return err
	}
	if m.also != nil {
		if err := m.also(f, k); err != nil {
			return err
		}
	}
	for _, s := range needs {
		if k.Settings[s.Name] == "" {
			return nil
		}
	}
	return m.certain(f, k, narrow)
}

// formed refuses fields without their form, and those of another merchant.
func (m message) formed(f form, k Keys, narrow map[string]*regexp.Regexp) error {
	for _, p := range m.parts {
		value := f[p.name]
		switch {
		case p.inner != nil:
			if err := p.inner.formed(f, k, narrow); err != nil {
				return err
			}
		case p.name == "":
		case !p.format.of(value):
			return fmt.Errorf("%w: %s is %s, want %s", ErrField, p.name, quoted(value), p.format.says)
		case narrow[p.name] != nil && !narrow[p.name].MatchString(value):
			return fmt.Errorf("%w: %s is %s, want what the setting %s says of it", ErrField, p.name, quoted(value), formsSetting)
		case p.setting != "" && k.Settings[p.setting] != "" && k.Settings[p.setting] != value:
			return fmt.Errorf("%w: %s is %s, want that of the setting %s", ErrAccount, p.name, quoted(value), p.setting)
		}
	}
	return nil
}

// quoted is a value as an error shows it.
func quoted(value string) string {
	const most = 60
	if len(value) > most {
		return fmt.Sprintf("%.*q… (%d bytes)", most, value, len(value))
	}
	return fmt.Sprintf("%q", value)
}

// certain refuses a message that is another one's, too. The key and an inner
// hash, which nobody can choose, keep what is on their two sides apart.
func (m message) certain(f form, k Keys, narrow map[string]*regexp.Regexp) error {
	var run []part
	for _, p := range append(slices.Clip(m.parts), keyPart) {
		if p.inner != nil {
			if err := p.inner.certain(f, k, narrow); err != nil {
				return err
			}
		}
		if !p.key && p.inner == nil {
			run = append(run, p)
			continue
		}
		if len(run) > 1 {
			name, err := split(run, f, k, narrow)
			if err != nil {
				return err
			}
			if name != "" {
				return fmt.Errorf("%w: where %s begins or ends is not certain: what is signed can be split in another way, too", ErrAmbiguous, name)
			}
		}
		run = nil
	}
	return nil
}

// split looks for another way to split the text of the parts into fields of
// their forms, and returns a field that has another value then.
//
// It goes through the parts and keeps the places that a split can have come to:
// those with the values that came, and those with another one, each with the
// first field that has it.
func split(run []part, f form, k Keys, narrow map[string]*regexp.Regexp) (name string, err error) {
	var joined strings.Builder
	for _, p := range run {
		joined.WriteString(p.text(f, ""))
	}
	text := joined.String()
	if len(text) > maxMessage {
		return "", fmt.Errorf("%w: %d bytes are signed, %d are the most", ErrField, len(text), maxMessage)
	}
	same, other := make([]bool, len(text)+1), make([]string, len(text)+1)
	same[0] = true
	for _, p := range run {
		nowSame, nowOther := make([]bool, len(text)+1), make([]string, len(text)+1)
		if p.idle && p.joined.any && narrow[p.name] == nil { // it can end anywhere behind where it can begin
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
			for end := range p.ends(text, at, f, k, narrow) {
				changed := !p.idle && p.name != "" && text[at:end] != p.text(f, "")
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

// ends yields where the part can end in a text if it begins at a place.
func (p part) ends(text string, at int, f form, k Keys, narrow map[string]*regexp.Regexp) iter.Seq[int] {
	return func(yield func(int) bool) {
		fixed, is := p.literal, p.name == ""
		if p.setting != "" && k.Settings[p.setting] != "" {
			fixed, is = k.Settings[p.setting], true
		}
		if is {
			if strings.HasPrefix(text[at:], fixed) {
				yield(at + len(fixed))
			}
			return
		}
		for end := at; end <= len(text) && end-at <= p.joined.max; end++ {
			if end > at && !p.joined.char(text[end-1]) {
				return
			}
			piece := text[at:end]
			is := end == at && p.joined.min == 0 || end > at && end-at >= p.joined.min && (p.joined.whole == nil || p.joined.whole(piece))
			if re := narrow[p.name]; re != nil && p.bare == nil {
				is = is && re.MatchString(piece)
			}
			if is && !yield(end) {
				return
			}
		}
	}
}

// formsSetting is the name of the setting that tells how fields of the
// merchant's own look.
const formsSetting = "forms"

// forms is the setting of processors that let the merchant choose a reference,
// and put nothing between it and its neighbours where they sign it.
func forms(example string, needed bool) Setting {
	return Setting{Name: formsSetting, Endpoint: needed, Description: "how the references that the merchant makes look, since nothing says where they begin and end in what is signed: " +
		"JSON, field to regular expression (RE2, of the whole value), such as " + example}
}

// forms reads the setting.
func (k Keys) forms() (map[string]*regexp.Regexp, error) {
	given, err := k.named(formsSetting)
	if err != nil {
		return nil, err
	}
	narrow := map[string]*regexp.Regexp{}
	for name, expression := range given {
		re, err := regexp.Compile(`\A(?:` + expression + `)\z`)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %s: %v", ErrSetting, formsSetting, name, err)
		}
		narrow[name] = re
	}
	return narrow, nil
}

// checkForms is the part of Check of connectors with [forms]: the fields are
// those that it may speak of, the needed ones first.
func checkForms(k Keys, needed int, fields ...string) error {
	narrow, err := k.forms()
	if err != nil {
		return err
	}
	for name := range maps.Keys(narrow) {
		if !slices.Contains(fields, name) {
			return fmt.Errorf("%w: %s: no field %q is signed that the merchant chooses; there are %s", ErrSetting, formsSetting, name, strings.Join(fields, ", "))
		}
	}
	for _, name := range fields[:needed] {
		if narrow[name] == nil {
			return fmt.Errorf("%w: %s does not say how %s looks", ErrSetting, formsSetting, name)
		}
	}
	return nil
}

// joined is the scheme of processors that sign a [message].
type joined struct {
	// read returns the fields of a request and the signature that it has.
	read func(Request) (form, []byte, error)
	// messages are what those fields may be signed as.
	messages func(Request, form, Keys) ([]message, error)
	// needs are the settings without which other splits are always possible.
	needs []Setting
}

func (j joined) verify(r Request, secret string, k Keys, _ time.Time) (Verified, error) {
	f, signature, err := j.read(r)
	if err != nil {
		return Verified{}, err
	}
	return j.verifyFields(r, f, signature, secret, k)
}

// verifyFields verifies a request whose fields and signature have been read.
func (j joined) verifyFields(r Request, f form, signature []byte, secret string, k Keys) (Verified, error) {
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

// bodyField is the name by which a scheme that hashes the whole body has it.
const bodyField = "the body"

// one is the messages of a processor that always signs the same.
func one(m message) func(Request, form, Keys) ([]message, error) {
	return func(Request, form, Keys) ([]message, error) { return []message{m}, nil }
}

// inForm reads a form with its signature in a field.
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

// inJSON reads a JSON object with its signature in a field. Objects and arrays
// in it are empty: nobody signs them.
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

// object reads a body that is a JSON object as a form.
func (r Request) object() (form, error) {
	var f form
	if err := decodeJSON(r.Body, &f); err != nil {
		return nil, err
	}
	return f, nil
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom]: the fields of an object
// as they are written.
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
		key := name.String() // the token is the decoder's
		var value text
		if err := value.UnmarshalJSONFrom(d); err != nil {
			return err
		}
		(*f)[key] = string(value)
	}
	_, err := d.ReadToken()
	return err
}

// signature decodes the field that a signature stands in.
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
