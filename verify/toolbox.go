package verify

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// tolerance is the setting of every connector that signs the time of sending.
var tolerance = Setting{Name: "tolerance_seconds", Description: "how old a signed timestamp may be, in seconds"}

// maxTolerance is the most that tolerance_seconds can be. It is longer than any
// processor goes on to send a webhook again under a time that it signed once; a
// request that is older is somebody's copy.
const maxTolerance = 7 * 24 * time.Hour

// anyAge is the tolerance that accepts every timestamp.
const anyAge = time.Duration(1<<63 - 1)

// tolerance returns how old a request may be: the setting, or the processor's
// own default. The setting "off" accepts any age; the configuration of a
// server refuses it.
func (k Keys) tolerance(standard time.Duration) (time.Duration, error) {
	switch text := k.Settings[tolerance.Name]; text {
	case "":
		return standard, nil
	case "off":
		return anyAge, nil
	default:
		n, err := strconv.ParseInt(text, 10, 32)
		if most := int64(maxTolerance / time.Second); err != nil || n <= 0 || n > most {
			return 0, fmt.Errorf("%w: tolerance_seconds is %q, want a whole number of seconds from 1 to %d, which is %d days", ErrSetting, text, most, most/86400)
		}
		return time.Duration(n) * time.Second, nil
	}
}

// notBefore refuses what was sent longer ago than the tolerance. Some
// processors' own libraries look at the past only.
func (k Keys) notBefore(sent, now time.Time, standard time.Duration) error {
	t, err := k.tolerance(standard)
	if err != nil {
		return err
	}
	if t != anyAge && now.Sub(sent) > t {
		return &Untimely{ErrStale, sent, now, t}
	}
	return nil
}

// within refuses what was sent further from now than the tolerance, before it
// or after it.
func (k Keys) within(sent, now time.Time, standard time.Duration) error {
	if err := k.notBefore(sent, now, standard); err != nil {
		return err
	}
	t, err := k.tolerance(standard)
	if err != nil {
		return err
	}
	if t != anyAge && sent.Sub(now) > t {
		return &Untimely{ErrFuture, sent, now, t}
	}
	return nil
}

// unixOrMilli is the time of a count of seconds, or of milliseconds: processors
// that send both do not say which.
func unixOrMilli(count int64) time.Time {
	if count > 1e11 { // in seconds, the year 5138
		return time.UnixMilli(count)
	}
	return time.Unix(count, 0)
}

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

// mac is the commonest scheme: a keyed hash of some bytes of the request,
// encoded in one header.
type mac struct {
	hash   func() hash.Hash
	header string
	decode func(string) ([]byte, error)    // of the header's value
	key    func(string) ([]byte, error)    // from the secret; nil takes its bytes
	signed func(Request) ([][]byte, error) // nil is the body
}

func (m mac) verify(r Request, secret string, _ Keys, _ time.Time) (Verified, error) {
	value, err := r.header(m.header)
	if err != nil {
		return Verified{}, err
	}
	signature, err := m.decode(value)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: %s: %v", ErrMalformed, m.header, err)
	}
	key := []byte(secret)
	if m.key != nil {
		if key, err = m.key(secret); err != nil {
			return Verified{}, err
		}
	}
	signed := [][]byte{r.Body}
	if m.signed != nil {
		if signed, err = m.signed(r); err != nil {
			return Verified{}, err
		}
	}
	if !hmac.Equal(signature, sum(m.hash, key, signed...)) {
		return Verified{}, ErrMismatch
	}
	return Verified{Payload: r.Body}, nil
}

// timed is a MAC of the time of sending and the body, hex. The header holds,
// as name=value, the time in unix seconds and one signature for each live
// secret; other names are of schemes that are not for us. A time in the future
// is let through: only who has the secret can have signed it.
type timed struct {
	header    string
	between   string // the pairs in the header
	time      string // the name of the time
	signature string // the name of a signature
	joint     string // stands between the time and the body where they are signed
	tolerance time.Duration
}

func (m timed) verify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	header, err := r.header(m.header)
	if err != nil {
		return Verified{}, err
	}
	var sent string
	var signatures [][]byte
	for pair := range strings.SplitSeq(header, m.between) {
		switch name, value, _ := strings.Cut(pair, "="); name {
		case m.time:
			sent = value
		case m.signature:
			if s, err := hex.DecodeString(value); err == nil {
				signatures = append(signatures, s)
			}
		}
	}
	unix, err := strconv.ParseInt(sent, 10, 64)
	if err != nil || len(signatures) == 0 {
		return Verified{}, fmt.Errorf("%w: %s: want %s=<unix seconds>%s%s=<hex>", ErrMalformed, m.header, m.time, m.between, m.signature)
	}
	if !among(signatures, sum(sha256.New, []byte(secret), []byte(sent), []byte(m.joint), r.Body)) {
		return Verified{}, ErrMismatch
	}
	if err := k.notBefore(time.Unix(unix, 0), now, m.tolerance); err != nil {
		return Verified{}, err
	}
	return Verified{Payload: r.Body}, nil
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

// hashSetting is the setting of processors that let the merchant choose how
// they hash.
var hashSetting = Setting{Name: "hash", Description: "the hash that the processor was told to use: " + strings.Join(slices.Sorted(maps.Keys(hashes)), ", ")}

var hashes = map[string]func() hash.Hash{
	"md5":    md5.New,
	"sha1":   sha1.New,
	"sha256": sha256.New,
	"sha384": sha512.New384,
	"sha512": sha512.New,
}

// hash returns the hash of the setting, or the processor's own default.
func (k Keys) hash(standard func() hash.Hash) (func() hash.Hash, error) {
	name := k.Settings[hashSetting.Name]
	if name == "" {
		return standard, nil
	}
	if h, ok := hashes[name]; ok {
		return h, nil
	}
	return nil, fmt.Errorf("%w: hash is %q, want %s", ErrSetting, name, strings.Join(slices.Sorted(maps.Keys(hashes)), ", "))
}

// digest returns the hash of text.
func digest(h func() hash.Hash, text string) []byte {
	d := h()
	d.Write([]byte(text))
	return d.Sum(nil)
}

// named is a setting that holds texts by name, as a JSON object: nil if it is
// not set.
func (k Keys) named(setting string) (given map[string]string, err error) {
	if text := k.Settings[setting]; text != "" {
		if err := json.Unmarshal([]byte(text), &given); err != nil {
			return nil, fmt.Errorf("%w: %s is not a JSON object of texts by name: %v", ErrSetting, setting, err)
		}
	}
	return given, nil
}

// digestPrefix marks a digest of a token: the hash and its form.
const digestPrefix = "sha256:"

// Digest returns what a copy of a request keeps in place of a token, which is
// the secret itself: "sha256:" and the SHA-256 in hex. A copy can be compared
// with a secret by it, and nothing can be sent with it.
func Digest(token string) string {
	d := sha256.Sum256([]byte(token))
	return digestPrefix + hex.EncodeToString(d[:])
}

// Redact returns header with the tokens of the connector as their digests,
// where they are not already.
func (c Connector) Redact(header http.Header) http.Header {
	for _, name := range c.Tokens {
		values := header.Values(name)
		for i, v := range values {
			if !isDigest(v) {
				values[i] = Digest(v)
			}
		}
	}
	return header
}

// isDigest reports whether a text has the form of a [Digest].
func isDigest(s string) bool {
	text, ok := strings.CutPrefix(s, digestPrefix)
	d, err := hex.DecodeString(text)
	return ok && err == nil && len(d) == sha256.Size
}

// sharedValue is the Verify of processors that send the secret itself in a
// header and sign nothing; their Tokens have the header. It is compared by its
// hash, so that not even its length can be measured.
func sharedValue(header string) Func {
	return func(r Request, secret string, _ Keys, _ time.Time) (Verified, error) {
		value, err := r.header(header)
		if err != nil {
			return Verified{}, err
		}
		got := Digest(value)
		if r.Archived && isDigest(value) {
			got = value
		}
		if !hmac.Equal([]byte(got), []byte(Digest(secret))) {
			return Verified{}, ErrMismatch
		}
		return Verified{Payload: r.Body}, nil
	}
}

// standard is Standard Webhooks: "<id>.<unix seconds>.<body>" is signed by
// HMAC-SHA256, and the signature header holds, separated by spaces, one
// v1,<base64> for each live secret. Other versions are for other keys. The
// headers are named by a prefix: Webhook-Id, Webhook-Timestamp and
// Webhook-Signature. Where a sender has two names for them, the first prefix
// whose id is there counts.
//
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
type standard struct{ prefixes []string }

// headers returns the names of the headers that verification reads.
func (s standard) headers() []string {
	var names []string
	for _, p := range s.prefixes {
		names = append(names, p+"-Id", p+"-Timestamp", p+"-Signature")
	}
	return names
}

// standardTolerance is that of the libraries, into the past and the future.
const standardTolerance = 5 * time.Minute

func (s standard) verify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	prefix := s.prefixes[0]
	for _, p := range s.prefixes[1:] {
		if r.Header.Get(prefix+"-Id") == "" {
			prefix = p
		}
	}
	id, err := r.header(prefix + "-Id")
	if err != nil {
		return Verified{}, err
	}
	sent, err := r.header(prefix + "-Timestamp")
	if err != nil {
		return Verified{}, err
	}
	header, err := r.header(prefix + "-Signature")
	if err != nil {
		return Verified{}, err
	}
	unix, err := strconv.ParseInt(sent, 10, 64)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: %s-Timestamp is %q, want unix seconds", ErrMalformed, prefix, sent)
	}
	var signatures [][]byte
	for one := range strings.SplitSeq(header, " ") {
		version, value, _ := strings.Cut(one, ",")
		if b, err := base64.StdEncoding.Strict().DecodeString(value); version == "v1" && err == nil && len(b) > 0 {
			signatures = append(signatures, b)
		}
	}
	if len(signatures) == 0 {
		return Verified{}, fmt.Errorf("%w: %s-Signature: want v1,<base64>", ErrMalformed, prefix)
	}
	key, err := standardKey(secret)
	if err != nil {
		return Verified{}, err
	}
	if !among(signatures, sum(sha256.New, key, []byte(id), []byte("."), []byte(sent), []byte("."), r.Body)) {
		return Verified{}, ErrMismatch
	}
	if err := k.within(time.Unix(unix, 0), now, standardTolerance); err != nil {
		return Verified{}, err
	}
	return Verified{Payload: r.Body}, nil
}

// standardKey is the key of [standard]: base64, mostly after whsec_.
func standardKey(secret string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("%w: the secret is not base64, with or without whsec_ before it", ErrSetting) // err would quote the secret
	}
	return key, nil
}

// checkStandardKey is the Check of connectors with a [standardKey].
func checkStandardKey(secret string, _ Keys) error {
	key, err := standardKey(secret)
	if err != nil {
		return err
	}
	return guessableKey(key)
}

// among reports whether one of the signatures is the right one: processors
// send several while one secret replaces another.
func among(signatures [][]byte, right []byte) bool {
	return slices.ContainsFunc(signatures, func(s []byte) bool { return hmac.Equal(s, right) })
}

// sum returns the MAC of the parts, one after the other.
func sum(h func() hash.Hash, key []byte, parts ...[]byte) []byte {
	m := hmac.New(h, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

// hexKey is the key of processors that hand it out as hex text.
func hexKey(secret string) ([]byte, error) {
	key, err := hex.DecodeString(secret)
	if err != nil {
		return nil, fmt.Errorf("%w: the secret is not hex text", ErrSetting) // err would quote the secret
	}
	return key, nil
}

// checkHexKey is the Check of connectors with a [hexKey].
func checkHexKey(secret string, _ Keys) error {
	key, err := hexKey(secret)
	if err != nil {
		return err
	}
	return guessableKey(key)
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
