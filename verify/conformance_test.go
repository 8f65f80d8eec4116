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

// TestConformance holds every connector to what a verifier is for: whatever
// is changed in a good request, it is refused.
func TestConformance(t *testing.T) {
	for _, v := range vectors(t) {
		if v.want != nil {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			for _, found := range conformance(v, checks...) {
				t.Error(found)
			}
		})
	}
}

// checks is what a verifier is held to.
var checks = []func(*trial){(*trial).keys, (*trial).signature, (*trial).signatures, (*trial).query, (*trial).algorithm, (*trial).body, (*trial).time}

// conformance returns what is wrong with how a good request's receiver judges
// it, and the requests that the checks make of it.
func conformance(v vector, checks ...func(*trial)) []string {
	t := &trial{vector: v, c: connectors[v.connector]}
	t.accepts("a good request", func(*vector) {})
	if v.handshake() { // it proves the endpoint, not the processor: nothing is signed
		t.refuses("no secret", func(v *vector) { v.keys.Secrets = nil }, ErrNoSecret)
		return t.found
	}
	for _, check := range checks {
		check(t)
	}
	return t.found
}

// trial is the findings about the receiver of one good request.
type trial struct {
	vector
	c     Connector
	found []string
}

func (t *trial) find(format string, args ...any) {
	t.found = append(t.found, fmt.Sprintf(format, args...))
}

// accepts finds fault if the changed request is refused.
func (t *trial) accepts(what string, change func(*vector)) Verified {
	got, err := t.with(change).verify()
	if err != nil {
		t.find("refused %s: %v", what, err)
	}
	return got
}

// refuses finds fault if the changed request is accepted, if anything of it is
// returned, or if the reason is none of those that are right.
func (t *trial) refuses(what string, change func(*vector), right ...Reason) {
	got, err := t.with(change).verify()
	switch {
	case err == nil:
		t.find("accepted %s", what)
	case got.Payload != nil || got.Reply != nil || got.Secret != "" || got.Handshake:
		t.find("refused %s, and returned something of it all the same", what)
	case ReasonOf(err) == "" || len(right) > 0 && !slices.Contains(right, ReasonOf(err)):
		t.find("refused %s for another reason than %q: %v", what, right, err)
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
		i := len(b) / 2 // neither a prefix nor padding
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

// digits is a signature's own text, and not its name.
var digits = regexp.MustCompile(`[0-9A-Za-z+/]{40,}=*`)

// signatures asks that of several signatures any may be the right one: the
// one that counts changes places with each of its form.
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

// query moves what verifies into places where it proves nothing: any page can
// make a browser send a query.
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
		t.refuses("another address", func(v *vector) { v.req.URL += "x" })
		t.refuses("no address", func(v *vector) { v.req.URL = "" })
	}
}

// withQuery is an address with more in its query.
func withQuery(address, query string) string {
	if strings.Contains(address, "?") {
		return address + "&" + query
	}
	return address + "?" + query
}

// algorithms is the names of algorithms as requests have them.
var algorithms = regexp.MustCompile(`\b(AEAD_AES_256_GCM|sha256_hmac|SHA256with(RSA|ECDSA)|[HREP]S(256|384|512)|MD5|SHA-?(1|256|512))\b`)

// algorithm puts another name where the request names its algorithm. The name
// is the sender's to choose among the processor's own, and no others.
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
			t.find("unsigned: %q does not stand in the body", t.unsigned)
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
				t.find("signed: %q does not stand in the body", field)
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

// time finds the edges of the window: a request is accepted to its last second
// and refused after it. Where the future is not let through, the same holds
// for its first second. A connector without a window says what that leaves open.
func (t *trial) time() {
	const year = 365 * 24 * time.Hour
	if !slices.Contains(t.c.Settings, tolerance) {
		if t.c.Weakness == "" {
			t.find("no age is refused, and no weakness named")
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
			t.find("a second past the window: %v, want %v", err, want)
		}
	}
	edge(time.Second, ErrStale)
	if at(-year) != nil { // some libraries look at the past only
		edge(-time.Second, ErrFuture)
	}
	t.accepts("a year later, with tolerance_seconds off", func(v *vector) {
		v.keys.Settings[tolerance.Name], v.now = "off", v.now.Add(year)
	})
}
