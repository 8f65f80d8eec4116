package verify

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/types"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/internal/race"
)

// TestSplits attacks each genuine request whose fields are signed as one joined text. It uses
// the connector's own description of that text. It moves every border between two fields to
// every position, moves text across every field between two others, and extends every text
// that does not end with the key (length extension). An attacker with one signature and
// without the secret can send these requests. None may be verified with other fields than
// were signed. To make borders ambiguous, the test also signs each field with digits, status
// codes and capital letters at its ends, if the result is a genuine request.
//
// The race detector makes this test ten times slower and finds nothing in it. With it, the
// test tries only the fields as they are; `make mutations` tries all.
func TestSplits(t *testing.T) {
	additions := []string{"", "1", "2001", "A"}
	if race.Enabled {
		additions = additions[:1]
	}
	tried, seen := map[string]int{}, map[string]bool{}
	for _, v := range vectors(t) {
		if v.want != nil {
			continue
		}
		for _, j := range connectors[v.connector].joined {
			f, m, secret, ok := signedAs(j, v)
			// With another value of the setting forms, other requests are genuine: try each value.
			if kind := m.names(v.connector) + v.keys.Settings[formsSetting]; ok && !seen[kind] {
				seen[kind] = true
				for _, more := range additions {
					tried[v.connector] += attack(t, v, j, m, f, secret, more)
				}
			}
		}
	}
	for name, c := range connectors {
		if endpoint := slices.ContainsFunc(c.Settings, func(s Setting) bool { return s.Endpoint }); tried[name] == 0 && len(c.joined) > 0 && (endpoint || name == "wompi") {
			t.Errorf("%s: has no vector for an attack", name)
		}
	}
}

// signedAs returns the fields, the message and the secret of a genuine request.
func signedAs(j joinedScheme, v vector) (form, message, string, bool) {
	f, signature, err := j.read(v.req)
	if err != nil {
		return nil, message{}, "", false
	}
	all, err := j.messages(v.req, f, v.keys)
	if err != nil {
		return nil, message{}, "", false
	}
	for _, m := range all {
		for _, s := range v.keys.Secrets {
			if bytes.Equal(m.signature(f, s.Value), signature) {
				return f, m, s.Value, true
			}
		}
	}
	return nil, message{}, "", false
}

// names returns a text that identifies a message: the connector and its fields.
func (m message) names(connector string) string {
	for _, run := range m.runs() {
		for _, p := range run {
			connector += " " + p.name
		}
	}
	return connector
}

// runs returns the runs of parts between the key and inner messages, and the runs of inner
// messages.
func (m message) runs() (all [][]part) {
	var run []part
	for _, p := range append(slices.Clip(m.parts), keyPart) {
		if p.inner != nil {
			all = append(all, p.inner.runs()...)
		}
		if p.key || p.inner != nil {
			all, run = append(all, run), nil
		} else {
			run = append(run, p)
		}
	}
	return all
}

// attack signs f with more text at one end of each field, and attacks each of these requests
// that is verified. It returns the number of attacks.
func attack(t *testing.T, v vector, j joinedScheme, m message, f form, secret, more string) (tried int) {
	for _, run := range m.runs() {
		for _, p := range run {
			for _, value := range []string{f[p.name] + more, more + f[p.name]} {
				if p.name == "" || p.unused {
					continue
				}
				good := maps.Clone(f)
				good[p.name] = value
				signature := m.signature(good, secret)
				signed := send(v, f, good, m.signature(f, secret), signature)
				if _, err := signed.verify(); err == nil && !becomesNothing(signed) {
					tried += moved(t, v, m, f, good, secret) + shifted(t, v, m, f, good, secret) + extended(t, v, m, f, good, secret)
				}
				if more == "" {
					return tried
				}
			}
		}
	}
	return tried
}

// shifted moves text across a field between two others: it splits the text of three
// neighbouring fields at every position, with the length of the middle field unchanged, so
// that it may still have its format. An example is a status code between a reference and an
// amount.
func shifted(t *testing.T, v vector, m message, f, good form, secret string) (tried int) {
	for _, run := range m.runs() {
		var fields []int
		for i, p := range run {
			if p.name != "" {
				fields = append(fields, i)
			}
		}
		for i := 0; i+2 < len(fields); i++ {
			three := fields[i : i+3]
			if run[three[1]].format.anyText || run[three[1]].text(good, "") == "" {
				continue // of any length: moved has moved its borders
			}
			var text strings.Builder
			for _, p := range run[three[0] : three[2]+1] {
				text.WriteString(p.text(good, ""))
			}
			literals := func(from, to int) (all string) {
				for _, p := range run[from+1 : to] {
					all += p.literal
				}
				return all
			}
			before, after := literals(three[0], three[1]), literals(three[1], three[2])
			length := len(run[three[1]].text(good, ""))
			for at := 0; at+len(before)+length+len(after) <= text.Len(); at++ {
				left, rest := text.String()[:at], text.String()[at:]
				rest, ok := strings.CutPrefix(rest, before)
				if !ok || left == run[three[0]].text(good, "") {
					continue
				}
				middle, rest := rest[:length], rest[length:]
				right, ok := strings.CutPrefix(rest, after)
				if !ok {
					continue
				}
				for _, l := range run[three[0]].sendable(left) {
					for _, c := range run[three[1]].sendable(middle) {
						for _, r := range run[three[2]].sendable(right) {
							bad := maps.Clone(good)
							bad[run[three[0]].name], bad[run[three[1]].name], bad[run[three[2]].name] = l, c, r
							tried++
							refused(t, v, m, f, good, bad, m.signature(f, secret), m.signature(good, secret))
						}
					}
				}
			}
		}
	}
	return tried
}

// moved moves every border between two fields of a genuine request to every position.
func moved(t *testing.T, v vector, m message, f, good form, secret string) (tried int) {
	for _, run := range m.runs() {
		for a := range run {
			between := ""
			for b := a + 1; b < len(run) && run[a].name != ""; b++ {
				if run[b].name == "" {
					between += run[b].literal
					continue
				}
				text := run[a].text(good, "") + between + run[b].text(good, "")
				for at := 0; at+len(between) <= len(text); at++ {
					left, right := text[:at], text[at+len(between):]
					if text[at:at+len(between)] != between || left == run[a].text(good, "") {
						continue
					}
					for _, l := range run[a].sendable(left) {
						for _, r := range run[b].sendable(right) {
							bad := maps.Clone(good)
							bad[run[a].name], bad[run[b].name] = l, r
							tried++
							refused(t, v, m, f, good, bad, m.signature(f, secret), m.signature(good, secret))
						}
					}
				}
				break
			}
		}
	}
	return tried
}

// sendable returns values of a field whose signed text is the given one.
func (p part) sendable(text string) []string {
	if p.convert == nil {
		return []string{text}
	}
	var all []string
	for at := range len(text) + 1 {
		if value := text[:at] + "." + text[at:]; p.convert(value) == text {
			all = append(all, value)
		}
	}
	return all
}

// extended appends to the text of a genuine request after its padding (length extension). An
// attacker who knows the text's length can do so without the key.
func extended(t *testing.T, v vector, m message, f, good form, secret string) (tried int) {
	if runs := m.runs(); !m.hmac && !m.parts[len(m.parts)-1].key {
		var text strings.Builder
		for _, p := range m.parts {
			text.WriteString(p.text(good, secret))
		}
		padding := padding(m.hash().BlockSize(), len(text.String()), m.hash().Size() == 16)
		run := runs[len(runs)-1]
		for i, p := range run {
			if p.name == "" {
				continue
			}
			var tail strings.Builder
			for _, q := range run[i:] {
				tail.WriteString(q.text(good, secret))
			}
			bad := maps.Clone(good)
			bad[p.name] = tail.String() + padding + good[p.name]
			tried++
			refused(t, v, m, f, good, bad, m.signature(f, secret), digest(m.hash, text.String()+padding+tail.String()))
		}
	}
	return tried
}

// padding returns the padding that a hash appends to a text of n bytes.
func padding(block, n int, little bool) string {
	size := block / 8
	b := append([]byte{0x80}, make([]byte, (2*block-1-size-n%block)%block)...)
	length := make([]byte, size)
	if little {
		binary.LittleEndian.PutUint64(length, uint64(n)*8)
	} else {
		binary.BigEndian.PutUint64(length[size-8:], uint64(n)*8)
	}
	return string(append(b, length...))
}

// refused reports an error if a forged request is verified with other fields than the genuine
// request's.
func refused(t *testing.T, v vector, m message, f, good, bad form, old, signature []byte) {
	t.Helper()
	sent := send(v, f, bad, old, signature)
	if _, err := sent.verify(); err != nil {
		if ReasonOf(err) == "" {
			t.Errorf("%s: %v has no reason", v.name, err)
		}
		return
	}
	if becomesNothing(sent) {
		return
	}
	for _, run := range m.runs() {
		for _, p := range run {
			if p.name != "" && !p.unused && good[p.name] != bad[p.name] {
				t.Errorf("%s: forged: %s %q was signed, %q is verified", v.name, p.name, good[p.name], bad[p.name])
				return
			}
		}
	}
}

// becomesNothing reports whether a genuine request becomes no event: its message has only
// unused fields.
func becomesNothing(v vector) bool {
	for _, j := range connectors[v.connector].joined {
		if _, m, _, ok := signedAs(j, v); ok {
			return !slices.ContainsFunc(slices.Concat(m.runs()...), func(p part) bool { return p.name != "" && !p.unused })
		}
	}
	return false
}

// send returns the request with other fields and another signature.
func send(v vector, f, fields form, old, signature []byte) vector {
	return v.with(func(v *vector) {
		signed := func(value string) string {
			for _, encode := range []func([]byte) string{hex.EncodeToString, func(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }, base64.StdEncoding.EncodeToString} {
				if value == encode(old) {
					return encode(signature)
				}
			}
			return value
		}
		for name, values := range v.req.Header {
			v.req.Header[name] = []string{signed(values[0])}
		}
		var object map[string]any
		if json.Unmarshal(v.req.Body, &object) == nil {
			var set func(object map[string]any, pointer string)
			set = func(object map[string]any, pointer string) {
				for name, value := range object {
					field := pointer + "/" + name
					if inner, ok := value.(map[string]any); ok {
						set(inner, field)
						continue
					}
					if _, ok := f[name]; ok && pointer == "" {
						field = name // connectors with a flat object name fields without pointers
					}
					if text := signed(fmt.Sprint(value)); text != fmt.Sprint(value) {
						object[name] = text
					} else if fields[field] != f[field] {
						object[name] = fields[field]
					}
				}
			}
			set(object, "")
			v.req.Body, _ = json.Marshal(object)
			return
		}
		var pairs []string
		seen := map[string]bool{}
		for pair := range strings.SplitSeq(string(v.req.Body), "&") {
			name, value, _ := strings.Cut(pair, "=")
			name, _ = url.QueryUnescape(name)
			value, _ = url.QueryUnescape(value)
			seen[name] = true
			if text := signed(value); text != value {
				value = text
			} else {
				value = fields[name]
			}
			pairs = append(pairs, url.QueryEscape(name)+"="+url.QueryEscape(value))
		}
		for name, value := range fields {
			if !seen[name] && value != "" {
				pairs = append(pairs, url.QueryEscape(name)+"="+url.QueryEscape(value))
			}
		}
		v.req.Body = []byte(strings.Join(pairs, "&"))
	})
}

// hashing has the files that may compute a hash, and why. Only messages may compute a plain
// hash with a key: [TestSplits] would not attack any other.
var hashing = map[string]string{
	"fields.go":    "messages",
	"hash.go":      "digest, which only messages call",
	"token.go":     "a shared value is compared by its hash",
	"braintree.go": "the key is the SHA-1 of the private key; the signature is an HMAC",
	"liqpay.go":    "chooses the hash of a message",
	"paypal.go":    "an RSA signature of the hash",
	"trustly.go":   "an RSA signature of the hash",
	"wallee.go":    "an ECDSA signature of the hash",
	"rsa.go":       "an RSA signature of the hash",
	"wechatpay.go": "an RSA signature of the hash",
	"truelayer.go": "an ECDSA signature of the hash",
	"secret.go":    "compares by hashes",
}

// TestPlainHashes checks that connectors compute plain hashes only by describing a [message],
// and that each of them has it in Connector.joined, so that [TestSplits] attacks it.
func TestPlainHashes(t *testing.T) {
	p := newSources(t)
	p.leaks(t, "")
	for _, f := range p.files {
		file := p.fset.Position(f.Pos()).Filename
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			kind := p.info.TypeOf(call)
			hashes := kind != nil && types.TypeString(kind, nil) == "hash.Hash"
			if s, ok := call.Fun.(*ast.SelectorExpr); ok {
				if o, ok := p.info.Uses[s.Sel].(*types.Func); ok && o.Pkg() != nil && strings.HasPrefix(o.Pkg().Path(), "crypto/") && strings.HasPrefix(o.Name(), "Sum") {
					hashes = true
				}
				if o, ok := p.info.Uses[s.Sel].(*types.Func); ok && o.FullName() == "crypto/hmac.New" {
					hashes = false
				}
			}
			if id, ok := call.Fun.(*ast.Ident); ok && id.Name == "digest" && file != "fields.go" {
				t.Errorf("%s: only messages may call digest: describe the hashed text as a message", p.fset.Position(call.Pos()))
			}
			if hashes && hashing[file] == "" {
				t.Errorf("%s: computes a hash: describe the hashed text as a message, or add the file to hashing with the reason", p.fset.Position(call.Pos()))
			}
			return true
		})
	}
	for name, c := range connectors {
		if c.Covers == CoversFields && len(c.joined) == 0 && !slices.Contains([]string{"adyen", "trustly"}, name) {
			t.Errorf("%s: covers fields, but has no Connector.joined", name)
		}
	}
}
