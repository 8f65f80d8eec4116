package console

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// masker replaces what the console does not show: card numbers, secrets and personal
// fields. It keeps the last four digits of a card number. What the name of a field says
// counts first; card numbers, e-mail addresses, bank accounts (IBAN) and the secrets of
// the configuration are also found in the text of other fields.
type masker struct {
	secrets []string // the values of the configured secrets and keys
	// personal shows personal fields, for those who have the right to see them. Card
	// numbers, secrets and the fields of both stay masked.
	personal bool
}

// newMasker returns a masker that also hides the secrets of endpoints.
func newMasker(endpoints []webhook.Endpoint) masker {
	var m masker
	add := func(value string) {
		if len(value) >= 8 { // the least length of a secret
			m.secrets = append(m.secrets, value)
		}
	}
	for _, e := range endpoints {
		for _, s := range e.Keys.Secrets {
			add(s.Value)
		}
		if e.API != nil {
			for _, k := range e.API.Keys {
				add(k.Value)
			}
		}
	}
	return m
}

// masked stands for a value that is not shown.
const masked = "•••"

// personalParts and secretParts are parts of the names of fields that are masked: in lower
// case, without separators.
var personalParts = []string{
	"email", "phone", "mobile", "msisdn", "address", "street", "postal", "postcode", "zipcode", "firstname", "lastname", "fullname", "middlename",
	"surname", "givenname", "familyname", "holder", "customername", "shoppername", "payername", "buyername", "billingname", "shippingname", "recipient",
	"birth", "gender", "nationalid", "taxid", "socialsecurity", "passport", "document", "iban", "accountnumber", "routingnumber", "sortcode", "useragent",
	"deviceid", "fingerprint",
}

var secretParts = []string{
	"cardnumber", "securitycode", "cvv", "cvc", "expiry", "expiration", "password", "secret", "apikey", "token", "authorization", "privatekey",
}

// personalNames and secretNames are whole names of fields that are masked.
var personalNames = []string{
	"name", "ip", "city", "zip", "line1", "line2", "dob", "vpa", "upi", "contact", "ssn", "cpf", "cnpj", "nationality", "user", "username",
	"customer_details", "billing", "shipping", "shopper", "payer", "note", "notes", "comment",
}

var secretNames = append([]string{"pin", "pan", "otp", "cookie", "setcookie"}, tokenNames()...)

// tokenNames returns the names of the headers that are the secret itself, of all
// connectors: a token that was sent to the wrong endpoint is valid at another one.
func tokenNames() (all []string) {
	for _, name := range verify.Connectors() {
		c, _ := verify.Lookup(name)
		all = append(all, c.Tokens...)
	}
	return all
}

var separators = strings.NewReplacer("_", "", "-", "", ".", "", " ", "", "[", "", "]", "", ":", "")

// sensitive reports whether a field with this name is masked, with all that it contains.
func (m masker) sensitive(name string) bool {
	name = separators.Replace(strings.ToLower(name))
	if strings.Contains(name, "signature") {
		return false
	}
	named := func(names, parts []string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return separators.Replace(strings.ToLower(n)) == name }) ||
			slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(name, p) })
	}
	return named(secretNames, secretParts) || !m.personal && named(personalNames, personalParts)
}

var (
	digitRuns = regexp.MustCompile(`\b\d(?:[ -]?\d){12,18}\b`)
	emails    = regexp.MustCompile(`[^\s"'<>@=&:;,/]{1,64}(?:@|%40)[^\s"'<>@=&:;,/]{1,255}\.[A-Za-z]{2,}`)
	ibans     = regexp.MustCompile(`\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b`)
	ats       = regexp.MustCompile(`@|%40`)
	// base64s is base64, which can be in lines; with {60,} it would be slow.
	base64s    = regexp.MustCompile(`[A-Za-z0-9+/_=-]+(?:\r?\n[A-Za-z0-9+/_=-]+)*`)
	base64Line = regexp.MustCompile(`[A-Za-z0-9+/_=-]+`)
)

var betweenDigits = strings.NewReplacer(" ", "", "-", "")

// minBase64 is how long base64 must be to be looked into.
const minBase64 = 60

// text masks what is found in a text whatever its field is called.
func (m masker) text(s string) string {
	for _, secret := range m.secrets {
		s = strings.ReplaceAll(s, secret, masked)
		s = strings.ReplaceAll(s, url.QueryEscape(secret), masked)
	}
	if !m.personal {
		s = maskEmails(s)
		s = ibans.ReplaceAllStringFunc(s, func(found string) string {
			if isIBAN(strings.ReplaceAll(found, " ", "")) {
				return masked
			}
			return found
		})
	}
	s = digitRuns.ReplaceAllStringFunc(s, func(found string) string {
		digits := betweenDigits.Replace(found)
		if isCard(digits) {
			return masked + digits[len(digits)-4:]
		}
		return found
	})
	return base64s.ReplaceAllStringFunc(s, m.base64Lines)
}

// maskEmails masks e-mail addresses. It matches only the text around each @: matching all
// of a text of 1 MB would take seconds.
func maskEmails(s string) string {
	const most = 4 * 255 // bytes before the @, and behind it
	inside := func(c byte) bool { return !strings.ContainsRune("\t\n\f\r \"'<>@=&:;,/", rune(c)) }
	var out strings.Builder
	done := 0
	for at := ats.FindStringIndex(s); at != nil; {
		from, to := at[0], at[1]
		for from > done && at[0]-from < most && inside(s[from-1]) {
			from--
		}
		for to < len(s) && to-at[1] < most && inside(s[to]) {
			to++
		}
		out.WriteString(s[done:from])
		if from < at[0] && at[1] < to {
			out.WriteString(emails.ReplaceAllString(s[from:to], masked))
		} else {
			out.WriteString(s[from:to])
		}
		done = to
		if at = ats.FindStringIndex(s[done:]); at != nil {
			at[0], at[1] = at[0]+done, at[1]+done
		}
	}
	return out.String() + s[done:]
}

// base64Lines masks base64 of text in lines. Shorter lines, such as words, can precede it.
func (m masker) base64Lines(s string) string {
	from := 0
	for len(s)-from >= minBase64 {
		end := strings.IndexByte(s[from:], '\n')
		if end < 0 || end >= minBase64 {
			break
		}
		from += end + 1
	}
	if len(s)-from < minBase64 {
		return s
	}
	if to, ok := m.base64(s[from:]); ok {
		return s[:from] + to
	}
	return base64Line.ReplaceAllStringFunc(s, func(line string) string {
		if len(line) < minBase64 {
			return line
		}
		to, _ := m.base64(line)
		return to
	})
}

// base64 masks base64 of text: all of it or, if personal fields are shown, what is masked in
// the text. It returns s and false if s is something else, such as a signature.
func (m masker) base64(s string) (string, bool) {
	text, ok := decodedText(s)
	switch {
	case !ok:
		return s, false
	case !m.personal:
		return masked, true
	}
	to := m.body(text)
	if bytes.Equal(to, text) {
		return s, true
	}
	encoding := base64.StdEncoding
	if strings.ContainsAny(s, "-_") {
		encoding = base64.URLEncoding
	}
	if !strings.HasSuffix(s, "=") {
		encoding = encoding.WithPadding(base64.NoPadding)
	}
	return encoding.EncodeToString(to), true
}

// isCard reports whether digits can be a card number: the first digit of a card scheme
// that ISO/IEC 7812 gives to banking, and the check digit of Luhn.
func isCard(digits string) bool {
	if len(digits) < 13 || digits[0] < '2' || digits[0] > '6' {
		return false
	}
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// isIBAN reports whether s has the check digits of an IBAN (ISO 13616).
func isIBAN(s string) bool {
	var digits strings.Builder
	for _, c := range s[4:] + s[:4] {
		switch {
		case c >= 'A' && c <= 'Z':
			digits.WriteString(big.NewInt(int64(c - 'A' + 10)).String())
		default:
			digits.WriteRune(c)
		}
	}
	n, ok := new(big.Int).SetString(digits.String(), 10)
	return ok && n.Mod(n, big.NewInt(97)).Int64() == 1
}

// decodedText decodes base64 of text, in which fields could be: a JSON Web Token, or a
// payload in base64. It returns false if s is none: a signature decodes to other bytes. The
// text can be cut within a character at its beginning and its end.
func decodedText(s string) ([]byte, bool) {
	s = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/", "\r", "", "\n", "").Replace(s), "=")
	if len(s)%4 == 1 { // cut
		s = s[:len(s)-1]
	}
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return nil, false
	}
	whole := b
	for n := 0; n < utf8.UTFMax-1 && len(whole) > 0 && !utf8.RuneStart(whole[0]); n++ {
		whole = whole[1:]
	}
	for n := 0; n < utf8.UTFMax-1 && len(whole) > 0; n++ {
		if r, size := utf8.DecodeLastRune(whole); r != utf8.RuneError || size != 1 {
			break
		}
		whole = whole[:len(whole)-1]
	}
	isText := utf8.Valid(whole) && !bytes.ContainsFunc(whole, func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' })
	return b, isText
}

// body masks a body in JSON, as a form or as other text, and leaves everything else of
// it as it is.
func (m masker) body(b []byte) []byte {
	trimmed := bytes.TrimSpace(b)
	if len(trimmed) == 0 {
		return b
	}
	if trimmed[0] == '{' || trimmed[0] == '[' || trimmed[0] == '"' {
		if out, ok := m.json(b); ok {
			return out
		}
	}
	if !utf8.Valid(b) {
		if m.personal {
			return []byte(m.text(string(b)))
		}
		return []byte(masked)
	}
	if trimmed[0] != '<' && bytes.Contains(b, []byte("=")) && !bytes.ContainsAny(trimmed, "\n\"") {
		return []byte(m.form(string(b)))
	}
	return []byte(m.markup(m.text(string(b))))
}

// json masks a JSON text. It returns false if b is not JSON.
func (m masker) json(b []byte) ([]byte, bool) {
	type level struct {
		object, masked bool
		name           bool // the next token is a name
	}
	d := jsontext.NewDecoder(bytes.NewReader(b), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	var out []byte
	var levels []level
	written, hide := int64(0), false // hide: the value to come is of a sensitive field
	for {
		switch kind := d.PeekKind(); kind {
		case '{', '[':
			if _, err := d.ReadToken(); err != nil {
				return nil, false
			}
			above := len(levels) > 0 && levels[len(levels)-1].masked
			levels, hide = append(levels, level{object: kind == '{', masked: above || hide, name: kind == '{'}), false
			continue
		case '}', ']':
			if _, err := d.ReadToken(); err != nil {
				return nil, false
			}
			levels = levels[:len(levels)-1]
		case 0:
			if len(bytes.TrimSpace(b[d.InputOffset():])) > 0 || len(levels) > 0 {
				return nil, false
			}
			return append(out, b[written:]...), true
		default:
			v, err := d.ReadValue()
			if err != nil {
				return nil, false
			}
			top := len(levels) - 1
			if top >= 0 && levels[top].object && levels[top].name {
				var name string
				_ = json.Unmarshal(v, &name) // it was read as a string
				hide, levels[top].name = m.sensitive(name), false
				continue
			}
			if to := m.scalar(v, hide || top >= 0 && levels[top].masked); to != nil {
				end := d.InputOffset()
				out = append(append(out, b[written:end-int64(len(v))]...), to...)
				written = end
			}
		}
		hide = false
		if top := len(levels) - 1; top >= 0 && levels[top].object {
			levels[top].name = true
		}
	}
}

// scalar returns what replaces a scalar JSON value; nil if it stays.
func (m masker) scalar(v jsontext.Value, hide bool) []byte {
	switch v.Kind() {
	case '"':
		var s string
		if json.Unmarshal(v, &s) != nil {
			return quoted(masked)
		}
		to := s
		switch {
		case s == "":
		case hide:
			to = masked
		case s[0] == '{' || s[0] == '[':
			to = string(m.body([]byte(s)))
		default:
			to = m.text(s)
		}
		if to != s {
			return quoted(to)
		}
	case '0':
		if hide {
			return quoted(masked)
		}
		if to := m.text(string(v)); to != string(v) {
			return quoted(to)
		}
	}
	return nil
}

// quoted returns a JSON string.
func quoted(s string) []byte {
	b, _ := jsontext.AppendQuote(nil, s)
	return b
}

// form masks the fields of a form, or of the query of a URL.
func (m masker) form(s string) string {
	pairs := strings.Split(s, "&")
	for i, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			pairs[i] = m.text(pair)
			continue
		}
		plain, err := url.QueryUnescape(value)
		if err != nil {
			plain = value
		}
		if n, err := url.QueryUnescape(name); err == nil && m.sensitive(n) && value != "" {
			pairs[i] = name + "=" + masked
		} else if to := string(m.fieldValue(plain)); to != plain {
			pairs[i] = name + "=" + to
		}
	}
	return strings.Join(pairs, "&")
}

// fieldValue masks the value of a form's field, which can be JSON.
func (m masker) fieldValue(s string) []byte {
	if s != "" && (s[0] == '{' || s[0] == '[') {
		if out, ok := m.json([]byte(s)); ok {
			return out
		}
	}
	return []byte(m.markup(m.text(s)))
}

var (
	elements   = regexp.MustCompile(`(<([A-Za-z_][\w:.-]*)(?:\s[^<>]*)?>)([^<>]+)(</|$)`)
	attributes = regexp.MustCompile(`([A-Za-z_][\w:.-]*)("?\s*[=:]\s*)("[^"]*(?:"|$)|'[^']*(?:'|$))`)
)

// markup masks the elements and attributes of XML, and the fields of a text that is almost
// JSON, as one that was cut.
func (m masker) markup(s string) string {
	s = elements.ReplaceAllStringFunc(s, func(found string) string {
		p := elements.FindStringSubmatch(found)
		if _, local, ok := strings.Cut(p[2], ":"); !m.sensitive(cmp.Or(local, p[2])) && (!ok || !m.sensitive(p[2])) || strings.TrimSpace(p[3]) == "" {
			return found
		}
		return p[1] + masked + p[4]
	})
	return attributes.ReplaceAllStringFunc(s, func(found string) string {
		p := attributes.FindStringSubmatch(found)
		if !m.sensitive(p[1]) || strings.Trim(p[3], `"'`) == "" {
			return found
		}
		return p[1] + p[2] + p[3][:1] + masked + p[3][:1]
	})
}

// webhook returns a copy of an archived webhook with its headers, query, body and reason
// masked.
// Signatures are shown: without the secret they are of no use. The archive has a token
// that is the secret itself only as a digest.
func (m masker) webhook(w *webhook.Archived) *webhook.Archived {
	to := *w
	to.Query = m.form(w.Query)
	to.Reason = m.text(w.Reason) // it can quote the body
	to.Body = m.body(w.Body)
	to.Header = http.Header{}
	for name, values := range w.Header {
		for _, v := range values {
			to.Header[name] = append(to.Header[name], m.text(v))
		}
	}
	return &to
}
