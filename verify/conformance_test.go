package verify

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestConformance checks every connector with changes of genuine requests: each changed
// request must be refused.
func TestConformance(t *testing.T) {
	for _, v := range vectors(t) {
		if v.want != nil {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			for _, found := range conformance(v, checks...) {
				t.Error(found)
			}
		})
	}
}

// checks are the checks of every connector.
var checks = []func(*trial){(*trial).keys, (*trial).signature, (*trial).signatures, (*trial).query, (*trial).algorithm, (*trial).body, (*trial).time}

// conformance returns the errors of a vector's receiver for the genuine request and for the
// requests that the checks make from it.
func conformance(v vector, checks ...func(*trial)) []string {
	t := &trial{vector: v, c: connectors[v.connector]}
	t.accepts("a genuine request", func(*vector) {})
	if v.handshake() { // nothing is signed: it proves the endpoint, not the processor
		t.refuses("no secret", func(v *vector) { v.keys.Secrets = nil }, ErrNoSecret)
		return t.found
	}
	for _, check := range checks {
		check(t)
	}
	return t.found
}

// trial has the errors that the checks found with one genuine request.
type trial struct {
	vector
	c     Connector
	found []string
}

func (t *trial) find(format string, args ...any) {
	t.found = append(t.found, fmt.Sprintf(format, args...))
}

// accepts adds an error if the changed request is refused.
func (t *trial) accepts(what string, change func(*vector)) Verified {
	got, err := t.with(change).verify()
	if err != nil {
		t.find("refused %s: %v", what, err)
	}
	return got
}

// refuses adds an error if the changed request is accepted, if the result is not empty, or if
// the reason is not one of right.
func (t *trial) refuses(what string, change func(*vector), right ...Reason) {
	got, err := t.with(change).verify()
	switch {
	case err == nil:
		t.find("accepted %s", what)
	case got.Payload != nil || got.Reply != nil || got.Secret != "" || got.Handshake:
		t.find("refused %s, but the result is not empty", what)
	case ReasonOf(err) == "" || len(right) > 0 && !slices.Contains(right, ReasonOf(err)):
		t.find("refused %s, want a reason of %q: %v", what, right, err)
	}
}

func (t *trial) keys() {
	if t.c.Keyless {
		t.refuses("any settings", func(v *vector) { v.keys.Settings = nil })
		return
	}
	t.refuses("no secret", func(v *vector) { v.keys.Secrets = nil }, ErrNoSecret)
	t.refuses("an empty secret", func(v *vector) { v.keys.Secrets = []Secret{{"main", ""}} }, ErrNoSecret)
	t.refuses("an empty secret beside another", func(v *vector) { v.keys.Secrets = append(v.keys.Secrets, Secret{"new", ""}) }, ErrNoSecret)
	wrong := func(s string) string { // of the same form, so that only its value is wrong
		b := []byte(s)
		i := len(b) / 2 // a byte that is neither in the prefix nor in the padding
		b[i] = map[bool]byte{true: '1', false: '0'}[b[i] == '0']
		return string(b)
	}
	right := t.vector.keys.Secrets[len(t.vector.keys.Secrets)-1]
	t.refuses("another secret", func(v *vector) {
		for i, s := range v.keys.Secrets {
			v.keys.Secrets[i].Value = wrong(s.Value)
		}
	})
	got := t.accepts("the second secret", func(v *vector) { v.keys.Secrets = []Secret{{"new", wrong(right.Value)}, {"old", right.Value}} })
	if got.Secret != "old" {
		t.find("the second secret: matched %q", got.Secret)
	}
}

// signature changes the headers that the connector reads.
func (t *trial) signature() {
	for _, name := range t.c.Headers {
		value := t.req.Header.Get(name)
		if value == "" {
			continue
		}
		t.refuses("no "+name, func(v *vector) { v.req.Header.Del(name) })
		t.refuses("an empty "+name, func(v *vector) { v.req.Header.Set(name, "") })
		t.refuses("two "+name, func(v *vector) { v.req.Header.Add(name, "x") })
		from, to := 0, len(value)
		if at := strings.Index(value, t.counts); at >= 0 && t.counts != "" {
			from, to = at, at+len(t.counts)
		}
		t.refuses(name+" cut short", func(v *vector) { v.req.Header.Set(name, value[:to-1]) })
		for i := from; i < to; i++ {
			t.refuses(fmt.Sprintf("%s with byte %d flipped", name, i), func(v *vector) {
				b := []byte(value)
				b[i] ^= 1
				v.req.Header.Set(name, string(b))
			})
		}
	}
}

// digits matches the encoded bytes of a signature, without the name before them.
var digits = regexp.MustCompile(`[0-9A-Za-z+/]{40,}=*`)

// signatures checks that any of several signatures may be the right one: it swaps the right
// one with each other signature.
func (t *trial) signatures() {
	if t.counts == "" {
		return
	}
	form := regexp.MustCompile(digits.ReplaceAllLiteralString(regexp.QuoteMeta(t.counts), digits.String()))
	for _, name := range t.c.Headers {
		value := t.req.Header.Get(name)
		for _, other := range form.FindAllString(value, -1) {
			t.accepts("its signatures in another order", func(v *vector) {
				v.req.Header.Set(name, strings.NewReplacer(other, v.counts, v.counts, other).Replace(value))
			})
		}
	}
}

// query moves the signature or the body into the query or a cookie, where it must not be
// accepted: any web page can make a browser send them.
func (t *trial) query() {
	inHeaders := slices.ContainsFunc(t.c.Headers, func(name string) bool { return t.req.Header.Get(name) != "" })
	if inHeaders {
		t.refuses("the signature in the query and in a cookie", func(v *vector) {
			query := url.Values{}
			for _, name := range t.c.Headers {
				query.Set(name, v.req.Header.Get(name))
				query.Set(strings.ToLower(name), v.req.Header.Get(name))
				v.req.Header.Add("Cookie", name+"="+v.req.Header.Get(name))
				v.req.Header.Del(name)
			}
			v.req.URL = withQuery(v.req.URL, query.Encode())
		})
	}
	if t.c.Covers != CoversNothing {
		t.refuses("the body in the query", func(v *vector) { v.req.URL, v.req.Body = withQuery(v.req.URL, string(v.req.Body)), nil })
	}
	if t.req.URL != "" {
		t.refuses("another URL", func(v *vector) { v.req.URL += "x" })
		t.refuses("no URL", func(v *vector) { v.req.URL = "" })
	}
}

// withQuery returns a URL with more text in its query.
func withQuery(address, query string) string {
	if strings.Contains(address, "?") {
		return address + "&" + query
	}
	return address + "?" + query
}

// algorithms matches the names of algorithms in requests.
var algorithms = regexp.MustCompile(`\b(AEAD_AES_256_GCM|sha256_hmac|SHA256with(RSA|ECDSA)|[HREP]S(256|384|512)|MD5|SHA-?(1|256|512))\b`)

// algorithm replaces the name of the algorithm in the request. Only the processor's own
// algorithms may be accepted.
func (t *trial) algorithm() {
	for _, name := range []string{"none", "NONE", "HS256", "crc32", ""} {
		other := func(text string) string { return algorithms.ReplaceAllLiteralString(text, name) }
		for _, header := range t.c.Headers {
			value := t.req.Header.Get(header)
			changed := other(value)
			if head, rest, ok := strings.Cut(value, "."); ok { // of a JWS
				if b, err := base64.RawURLEncoding.DecodeString(head); err == nil {
					changed = base64.RawURLEncoding.EncodeToString([]byte(other(string(b)))) + "." + rest
				}
			}
			if changed != value {
				t.refuses(fmt.Sprintf("the algorithm %q", name), func(v *vector) { v.req.Header.Set(header, changed) }, ErrAlgorithm, ErrMalformed, ErrMissing)
			}
		}
		if body := other(string(t.req.Body)); body != string(t.req.Body) {
			t.refuses(fmt.Sprintf("the algorithm %q", name), func(v *vector) { v.req.Body = []byte(body) })
		}
	}
}

func (t *trial) body() {
	body := t.req.Body
	if len(body) == 0 {
		return
	}
	flip := func(i int) {
		t.refuses(fmt.Sprintf("the body with byte %d (%q) flipped", i, body[i]), func(v *vector) { v.req.Body[i] ^= 1 })
	}
	switch t.c.Covers {
	case CoversBody:
		from := bytes.Index(body, []byte(t.unsigned))
		if from < 0 {
			t.find("unsigned: %q is not in the body", t.unsigned)
			return
		}
		for i := range body {
			if i < from || i >= from+len(t.unsigned) {
				flip(i)
			}
		}
		t.refuses("one byte more", func(v *vector) { v.req.Body = append(v.req.Body, ' ') })
		var spaced bytes.Buffer
		if json.Indent(&spaced, body, "", " ") == nil {
			t.refuses("the same JSON in other bytes", func(v *vector) { v.req.Body = spaced.Bytes() })
		}
	case CoversFields:
		if len(t.signed) == 0 {
			t.find("a connector that covers fields needs signed: lines in its vectors")
		}
		for _, field := range t.signed {
			at := bytes.Index(body, []byte(field))
			if at < 0 {
				t.find("signed: %q is not in the body", field)
				continue
			}
			for i := range field {
				flip(at + i)
			}
		}
	}
	if t.c.Covers != CoversNothing {
		t.refuses("no body", func(v *vector) { v.req.Body = nil })
		t.refuses("the body cut short", func(v *vector) { v.req.Body = v.req.Body[:len(body)-1] })
		t.refuses("half the body", func(v *vector) { v.req.Body = v.req.Body[:len(body)/2] })
	}
}

// time checks the limits of the tolerance: a request is accepted until its last second and
// refused after it. If the connector refuses timestamps in the future, the same must hold for
// them. A connector without a tolerance must name a weakness.
func (t *trial) time() {
	const year = 365 * 24 * time.Hour
	if !slices.Contains(t.c.Settings, tolerance) {
		if t.c.Weakness == "" {
			t.find("no age is refused, but Weakness is empty")
		}
		t.accepts("a year later, without a tolerance", func(v *vector) { v.now = v.now.Add(year) })
		return
	}
	v := t.with(func(v *vector) { v.keys.Settings[tolerance.Name] = "60"; v.now = v.sent })
	at := func(d time.Duration) error {
		_, err := v.with(func(w *vector) { w.now = v.now.Add(d) }).verify()
		return err
	}
	edge := func(step time.Duration, want Reason) {
		last := time.Duration(-1)
		for n := time.Duration(0); n <= 120; n++ {
			if at(n*step) == nil {
				last = n
			}
		}
		if last < 0 || last > 60 {
			t.find("accepted until %s from the time of sending, with tolerance_seconds 60", last*step)
		}
		if err := at((last + 1) * step); !errors.Is(err, want) {
			t.find("a second outside of the tolerance: %v, want %v", err, want)
		}
	}
	edge(time.Second, ErrStale)
	if at(-year) != nil { // some connectors accept timestamps in the future
		edge(-time.Second, ErrFuture)
	}
	t.accepts("a year later, with tolerance_seconds off", func(v *vector) {
		v.keys.Settings[tolerance.Name], v.now = "off", v.now.Add(year)
	})
}
