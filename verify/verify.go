// Package verify decides whether a webhook comes from the processor it claims
// to come from. There is one file a connector; this one holds what they share:
// the vocabulary of refusals, the table, and the toolbox.
//
// Verification fails closed. There is no connector without a check and no
// default that lets anything through: without a secret, or a key in its place,
// nothing is verified. What was verified is returned, decoded or decrypted
// where the processor wraps it, and only that may be read afterwards.
//
// Everything here is a pure function of the request, the keys and the time. A
// key that must be fetched first is asked for by a [KeyNeeded] error, which
// [Keyring] serves. The package imports nothing else of tollbridge.
package verify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// connectors is every processor whose webhooks can be verified, by its name in
// the URL. A connector is one line here and a file of its own.
var connectors = map[string]Connector{
	"adyen":            adyen,
	"adyen-platform":   adyenPlatform,
	"authorizenet":     authorizenet,
	"braintree":        braintree,
	"cashfree":         cashfree,
	"checkout":         checkout,
	"flutterwave":      flutterwave,
	"midtrans":         midtrans,
	"mollie":           mollie,
	"moneyhash":        moneyhash,
	"paddle":           paddle,
	"paypal":           paypal,
	"portone":          portone,
	"razorpay":         razorpay,
	"recurly":          recurly,
	"square":           square,
	"standardwebhooks": standardwebhooks,
	"stripe":           stripe,
	"svix":             svix,
	"xendit":           xendit,
}

// Connector is what verify knows of a processor.
type Connector struct {
	Docs     string    // the processor's page about its signatures
	Signs    string    // what is signed, how, and where the signature stands, in one line
	Covers   Coverage  // how much of the request the signature speaks for
	Weakness string    // what the processor's scheme leaves open; empty for none
	Headers  []string  // the headers that verification reads
	Settings []Setting // what an endpoint can or must set beside its secrets
	Keyless  bool      // verified by public keys: an endpoint has no secrets

	// Check refuses keys that could never verify anything, such as a key that
	// is not the hex text it should be. Nil has nothing to refuse.
	Check func(secret string, k Keys) error

	// Verify judges a request by one of the endpoint's secrets.
	Verify Func
}

// Func verifies r by one secret, which is empty for keyless connectors only.
// It is a pure function. An error wraps a [Reason] or is a [KeyNeeded].
type Func func(r Request, secret string, k Keys, now time.Time) (Verified, error)

// Coverage is how much of a request a signature speaks for.
type Coverage string

// The coverages. A field that is not covered is no more than a claim of
// whoever sent the request.
const (
	CoversBody    Coverage = "body"    // every byte of the body
	CoversFields  Coverage = "fields"  // some fields of the body; the others could have been changed
	CoversNothing Coverage = "nothing" // a shared value proves the sender and nothing else
)

// Setting is one thing that an endpoint can configure for verification.
type Setting struct {
	Name     string
	Says     string // what it is, in one line
	Required bool
}

// Request is the part of an HTTP request that a signature may cover.
type Request struct {
	Method string
	// URL is the address that the processor was given, with the query that the
	// request came with: it is made from configuration, never from Host.
	URL    string
	Header http.Header
	Body   []byte // exactly as received
}

// Keys is what an endpoint verifies with.
type Keys struct {
	Secrets  []Secret
	Settings map[string]string
	// Fetched are the public keys that [KeyNeeded] asked for, by URL.
	Fetched map[string][]byte
}

// Secret is one of an endpoint's secrets. An endpoint has several while one
// replaces another.
type Secret struct {
	Name  string
	Value string
}

// Verified is a request that is what it claims to be.
type Verified struct {
	Payload []byte // what was signed, unwrapped: the only bytes to read on
	Secret  string // the name of the secret that matched; empty for keyless connectors
	// Handshake is set where the processor asked for proof that the endpoint is
	// the merchant's. There is no payload; Reply is the body to answer with.
	Handshake bool
	Reply     []byte
}

// Reason is why a request was not verified. It is an error to wrap, the word
// that logs and metrics use, and what `tollbridge inspect` says.
type Reason string

func (r Reason) Error() string { return strings.ReplaceAll(string(r), "_", " ") }

// The reasons.
const (
	ErrUnknown     Reason = "unknown_connector"
	ErrNoSecret    Reason = "no_secret"           // the endpoint has none to verify with
	ErrSetting     Reason = "setting_invalid"     // a setting is missing or unusable
	ErrMissing     Reason = "signature_missing"   // the request carries none
	ErrMalformed   Reason = "signature_malformed" // it, or what it signs, cannot be read
	ErrMismatch    Reason = "signature_mismatch"  // it is not that of this request under any secret
	ErrStale       Reason = "timestamp_too_old"
	ErrFuture      Reason = "timestamp_in_future"
	ErrAlgorithm   Reason = "algorithm_unknown" // signed by an algorithm that the processor does not use
	ErrKeyUnknown  Reason = "key_unknown"       // signed by a key that is not the processor's
	ErrKeyNotThere Reason = "key_unavailable"   // the key could not be fetched: ours to mend, the request may be good
)

// ReasonOf returns the reason in err, or the empty reason.
func ReasonOf(err error) Reason {
	var r Reason
	errors.As(err, &r)
	return r
}

// KeyNeeded is the error of a connector that can go on only with what URL
// holds. The connector has made sure that URL is the processor's own.
type KeyNeeded struct {
	URL string
	// Issuer is set where URL, which the processor's certificate names, holds
	// the certificate of its issuer. It proves itself by its root, so that plain
	// http, which issuers use, does no harm.
	Issuer bool
}

func (k *KeyNeeded) Error() string { return "needs the key at " + k.URL }

// Unwrap makes it an [ErrKeyNotThere] to whoever has no [Keyring].
func (k *KeyNeeded) Unwrap() error { return ErrKeyNotThere }

// Verify verifies r as sent by the named connector. Each of the secrets is
// tried, and the first that matches is named in the result.
func Verify(connector string, r Request, k Keys, now time.Time) (Verified, error) {
	c, ok := connectors[connector]
	if !ok {
		return Verified{}, fmt.Errorf("%w %q", ErrUnknown, connector)
	}
	if err := c.usable(k); err != nil {
		return Verified{}, fmt.Errorf("%s: %w", connector, err)
	}
	if c.Keyless {
		v, err := c.Verify(r, "", k, now)
		if err != nil {
			return Verified{}, fmt.Errorf("%s: %w", connector, err)
		}
		return v, nil
	}
	var mismatch error
	for _, s := range k.Secrets {
		v, err := c.Verify(r, s.Value, k, now)
		if err == nil {
			v.Secret = s.Name
			return v, nil
		}
		mismatch = err
		if !errors.Is(err, ErrMismatch) {
			break
		}
	}
	return Verified{}, fmt.Errorf("%s: %w", connector, mismatch)
}

// usable is the part of [Check] that is asked again with every request: no
// secret, no entry.
func (c Connector) usable(k Keys) error {
	if !c.Keyless && len(k.Secrets) == 0 {
		return ErrNoSecret
	}
	for _, s := range k.Secrets {
		if s.Value == "" {
			return fmt.Errorf("%w: the secret %q is empty", ErrNoSecret, s.Name)
		}
	}
	for _, s := range c.Settings {
		if s.Required && k.Settings[s.Name] == "" {
			return fmt.Errorf("%w: %q is not set: %s", ErrSetting, s.Name, s.Says)
		}
	}
	return nil
}

// Check returns what is wrong with an endpoint's keys before any request came,
// or nil. An error wraps [ErrUnknown], [ErrNoSecret] or [ErrSetting].
func Check(connector string, k Keys) error {
	c, ok := connectors[connector]
	if !ok {
		return fmt.Errorf("%w %q", ErrUnknown, connector)
	}
	if err := c.usable(k); err != nil {
		return err
	}
	if c.Keyless && len(k.Secrets) > 0 {
		return fmt.Errorf("%w: %s is verified by public keys and takes no secrets", ErrSetting, connector)
	}
	if _, err := k.tolerance(0); err != nil {
		return err
	}
	if c.Check == nil {
		return nil
	}
	if c.Keyless {
		return c.Check("", k)
	}
	for _, s := range k.Secrets {
		if err := c.Check(s.Value, k); err != nil {
			return fmt.Errorf("secret %q: %w", s.Name, err)
		}
	}
	return nil
}

// Connectors returns the names of the processors Verify knows, sorted.
func Connectors() []string { return slices.Sorted(maps.Keys(connectors)) }

// Lookup returns what verify knows of a processor.
func Lookup(connector string) (Connector, bool) {
	c, ok := connectors[connector]
	return c, ok
}

// Tolerance is the setting of every connector that signs the time of sending.
var tolerance = Setting{Name: "tolerance_seconds", Says: "how old a signed timestamp may be, in seconds"}

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
		if err != nil || n <= 0 {
			return 0, fmt.Errorf("%w: tolerance_seconds is %q, want a positive whole number of seconds", ErrSetting, text)
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
		return fmt.Errorf("%w: sent at %s, %s before %s; %s is the most", ErrStale,
			sent.UTC().Format(time.RFC3339), now.Sub(sent).Round(time.Second), now.UTC().Format(time.RFC3339), t)
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
		return fmt.Errorf("%w: sent at %s, %s after %s; %s is the most", ErrFuture,
			sent.UTC().Format(time.RFC3339), sent.Sub(now).Round(time.Second), now.UTC().Format(time.RFC3339), t)
	}
	return nil
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

// sharedValue is the Verify of processors that send the secret itself in a
// header and sign nothing. It is compared by its hash, so that not even its
// length can be measured.
func sharedValue(header string) Func {
	return func(r Request, secret string, _ Keys, _ time.Time) (Verified, error) {
		value, err := r.header(header)
		if err != nil {
			return Verified{}, err
		}
		got, want := sha256.Sum256([]byte(value)), sha256.Sum256([]byte(secret))
		if !hmac.Equal(got[:], want[:]) {
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
	_, err := standardKey(secret)
	return err
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
	_, err := hexKey(secret)
	return err
}

// decodeJSON reads a body whose signature stands inside it. Names given twice
// and text that is not UTF-8 are refused: two readers could take such a body
// for two different things.
func decodeJSON(body []byte, v any) error {
	if err := json.Unmarshal(body, v); err != nil {
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
