// Package differential_test compares verify and fetch with libraries of other hands:
// the processors' own and those of the standards. It is a module of its own, so
// that none of them is a dependency of tollbridge.
package differential_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/big"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	paddle "github.com/PaddleHQ/paddle-go-sdk/v4"
	"github.com/go-jose/go-jose/v4"
	razorpay "github.com/razorpay/razorpay-go/utils"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	stripe "github.com/stripe/stripe-go/v82/webhook"
	svix "github.com/svix/svix-webhooks/go"

	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/verify"
)

var requests = flag.Int("requests", 4_000, "how many requests each library judges; those of P-521, which take longer, a twentieth")

// library is another's verification of a connector's webhooks.
type library struct {
	connector string
	accepts   func(r verify.Request, keys verify.Keys) bool
	between   string // several signatures in the header that is named last
	other     string // another secret of the same form; empty for none
	differs   []difference
}

// difference is a deliberate one: who is right is said by why.
type difference struct {
	why  string
	ours bool // accepted by us, and not by the library
	is   func(signature string, r verify.Request) bool
}

// Both libraries of Standard Webhooks read the time as a number and sign it as
// they would write it; the specification signs what stands in the header.
var standardDiffers = []difference{
	{"the time is signed as it is written, and not as it is read", false, func(_ string, r verify.Request) bool {
		t := header(r, "Timestamp")
		return strings.HasPrefix(t, "0") || strings.HasPrefix(t, "+")
	}},
	{"v1,<base64>,more is no signature of the specification's form", false, func(s string, _ verify.Request) bool { return strings.Count(s, ",") > strings.Count(s, " ")+1 }},
	twice,
}

// twice: whoever stands before us may have added a header; the library takes the first.
var twice = difference{"a header given twice is refused", false, func(_ string, r verify.Request) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(r.Header)), func(v []string) bool { return len(v) > 1 })
}}

var libraries = []library{
	{"standardwebhooks", standardAccepts, " ", "whsec_YW5vdGhlci1zZWNyZXQtb2YtMjQtYnl0ZXM=", standardDiffers},
	{"lithic", standardAccepts, " ", "whsec_YW5vdGhlci1zZWNyZXQtb2YtMjQtYnl0ZXM=", standardDiffers},
	{"portone", standardAccepts, " ", "YW5vdGhlci1zZWNyZXQtb2YtMjQtYnl0ZXM=", standardDiffers},
	{"svix", svixAccepts, " ", "whsec_YW5vdGhlci1zZWNyZXQtb2YtMjQtYnl0ZXM=", standardDiffers},
	{"stripe", stripeAccepts, ",", "whsec_another", []difference{
		{"the time is signed as it is written, and not as it is read", false, func(s string, _ verify.Request) bool {
			return strings.Contains(","+s, ",t=0") || strings.Contains(","+s, ",t=+")
		}},
		{"a pair that cannot be read is passed over: another one holds the signature, of the time and the body", true, func(s string, _ verify.Request) bool {
			unpaired := func(pair string) bool { return strings.Count(pair, "=") != 1 }
			return slices.ContainsFunc(strings.Split(s, ","), unpaired) || strings.Count(","+s, ",t=") > 1
		}},
		twice,
	}},
	{"paddle", paddleAccepts, ";", "pdl_ntfset_another", []difference{
		{"Paddle's page says that there are several h1 while a secret is rotated; its library takes one", true, func(s string, _ verify.Request) bool { return strings.Count(s, ";") != 1 }},
		{"hex is hex in either case", true, func(s string, _ verify.Request) bool { return s != strings.ToLower(s) }},
		{"a time ahead of ours was signed by who has the secret", true, func(s string, _ verify.Request) bool { return s > fmt.Sprintf("ts=%d", time.Now().Unix()+299) }},
		twice,
	}},
	{"razorpay", razorpayAccepts, "", "another-secret", []difference{
		{"hex is hex in either case", true, func(s string, _ verify.Request) bool { return s != strings.ToLower(s) }},
		twice,
	}},
	{"truelayer", joseAccepts, "", "", []difference{
		{"the library takes spaces out of a JWS", false, func(s string, _ verify.Request) bool { return strings.Contains(s, " ") }},
		twice,
	}},
}

func header(r verify.Request, name string) string {
	for _, prefix := range []string{"Webhook-", "Svix-"} {
		if v := r.Header.Get(prefix + name); v != "" {
			return v
		}
	}
	return ""
}

func standardAccepts(r verify.Request, keys verify.Keys) bool {
	w, err := standardwebhooks.NewWebhook(keys.Secrets[0].Value)
	return err == nil && w.Verify(r.Body, r.Header) == nil
}

func svixAccepts(r verify.Request, keys verify.Keys) bool {
	w, err := svix.NewWebhook(keys.Secrets[0].Value)
	return err == nil && w.Verify(r.Body, r.Header) == nil
}

func stripeAccepts(r verify.Request, keys verify.Keys) bool {
	return stripe.ValidatePayload(r.Body, r.Header.Get("Stripe-Signature"), keys.Secrets[0].Value) == nil
}

func paddleAccepts(r verify.Request, keys verify.Keys) bool {
	v := paddle.NewWebhookVerifier(keys.Secrets[0].Value, paddle.VerifierWithTimestampTolerance(5*time.Minute))
	ok, err := v.Verify(&http.Request{Header: r.Header, Body: io.NopCloser(bytes.NewReader(r.Body))})
	return ok && err == nil
}

func razorpayAccepts(r verify.Request, keys verify.Keys) bool {
	return razorpay.VerifyWebhookSignature(string(r.Body), r.Header.Get("X-Razorpay-Signature"), keys.Secrets[0].Value)
}

// joseAccepts puts together what TrueLayer signs, and leaves the rest to a
// library of JOSE.
func joseAccepts(r verify.Request, keys verify.Keys) bool {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(keys.Settings["jwks"]), &set); err != nil {
		return false
	}
	signature := r.Header.Get("Tl-Signature")
	protected, _, _ := strings.Cut(signature, ".")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(protected)
	if err != nil {
		return false
	}
	var h struct {
		Version string `json:"tl_version"`
		Headers string `json:"tl_headers"`
	}
	address, wrong := url.Parse(r.URL)
	if json.Unmarshal(raw, &h) != nil || wrong != nil || h.Version != "2" || strings.Count(signature, ".") != 2 {
		return false
	}
	payload := r.Method + " " + address.EscapedPath() + "\n"
	for _, name := range strings.Split(h.Headers, ",") {
		payload += name + ": " + r.Header.Get(name) + "\n"
	}
	jws, err := jose.ParseDetached(signature, []byte(payload+string(r.Body)), []jose.SignatureAlgorithm{jose.ES512})
	if err != nil {
		return false
	}
	for _, key := range set.Key(jws.Signatures[0].Header.KeyID) {
		if jws.DetachedVerify([]byte(payload+string(r.Body)), key.Key) == nil {
			return true
		}
	}
	return false
}

// TestLibraries: both sides accept and refuse the same requests, good ones and
// what can be made of them, but for the differences that are named.
func TestLibraries(t *testing.T) {
	for i, l := range libraries {
		t.Run(l.connector, func(t *testing.T) {
			t.Parallel()
			random := mathrand.New(mathrand.NewPCG(2026, uint64(i)))
			n, accepted, named := *requests, 0, map[string]int{}
			if l.connector == "truelayer" {
				n /= 20
			}
			for range n {
				keys, r := l.request(t, random)
				_, err := verify.Verify(l.connector, r, keys, time.Now())
				ours, theirs := err == nil, l.accepts(r, keys)
				if ours {
					accepted++
				}
				if ours == theirs {
					continue
				}
				signature := r.Header.Get(signatureHeader(l.connector))
				at := slices.IndexFunc(l.differs, func(d difference) bool { return d.ours == ours && d.is(signature, r) })
				if at < 0 {
					t.Fatalf("we accept: %t (%v), the library: %t\n%q\n%q", ours, err, theirs, r.Header, r.Body)
				}
				named[l.differs[at].why]++
			}
			t.Logf("%d requests, %d of them accepted; differences: %v", n, accepted, named)
			if accepted < n/10 || accepted > n*9/10 {
				t.Errorf("%d of %d requests are accepted: want both good ones and others", accepted, n)
			}
		})
	}
}

// signatureHeader is the last header that the connector reads and the
// signature stands in.
func signatureHeader(connector string) string {
	c, _ := verify.Lookup(connector)
	for _, name := range c.Headers {
		if strings.Contains(strings.ToLower(name), "signature") {
			return name
		}
	}
	return ""
}

// request makes a request of the processor's, mostly changed.
func (l library) request(t *testing.T, random *mathrand.Rand) (verify.Keys, verify.Request) {
	t.Helper()
	keys, private, _ := sign.Dev(l.connector)
	if l.connector == "paddle" { // five seconds is less than a busy machine may need between two clocks
		keys.Settings = map[string]string{"tolerance_seconds": "300"}
	}
	names := samples.Names(l.connector)
	payload, err := samples.Payload(l.connector, names[random.IntN(len(names))])
	if err != nil {
		t.Fatal(err)
	}
	if random.IntN(4) == 0 { // any bytes
		payload = make([]byte, random.IntN(200))
		for i := range payload {
			payload[i] = byte(random.Uint32())
		}
	}
	ages := []time.Duration{0, 0, 0, 0, time.Second, -time.Second, 3 * time.Minute, -3 * time.Minute, 6 * time.Minute, -6 * time.Minute, 240 * time.Hour}
	at := time.Now().Add(-ages[random.IntN(len(ages))])
	const address = "https://pay.example.com/webhooks/x"
	signed := func(secret string) verify.Request {
		r, err := sign.Request(l.connector, payload, secret, keys.Settings, address, at)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := signed(private)
	if l.other != "" && l.between != "" && random.IntN(3) == 0 {
		name := signatureHeader(l.connector)
		mine, others := r.Header.Get(name), signed(l.other).Header.Get(name)
		others = others[strings.LastIndex(others, l.between)+1:]
		cut := strings.LastIndex(mine, l.between) + 1
		r.Header.Set(name, []string{mine + l.between + others, mine[:cut] + others + l.between + mine[cut:]}[random.IntN(2)])
	}
	for range random.IntN(3) {
		l.change(&r, random)
	}
	return keys, r
}

// change makes one change.
func (l library) change(r *verify.Request, random *mathrand.Rand) {
	c, _ := verify.Lookup(l.connector)
	var there []string
	for _, name := range c.Headers {
		if r.Header.Get(name) != "" {
			there = append(there, name)
		}
	}
	if len(there) == 0 || random.IntN(4) == 0 {
		r.Body = changed(r.Body, random)
		return
	}
	name := there[random.IntN(len(there))]
	value := r.Header.Get(name)
	switch random.IntN(6) {
	case 0:
		r.Header.Del(name)
	case 1:
		r.Header.Add(name, value)
	case 2:
		r.Header.Set(name, strings.ToUpper(value))
	case 3: // its pairs in another order, and each perhaps twice
		parts := strings.Split(value, l.between)
		random.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		r.Header.Set(name, strings.Join(append(parts, parts[random.IntN(len(parts))]), l.between))
	default:
		r.Header.Set(name, string(changed([]byte(value), random)))
	}
}

// changed returns text with a byte less, more or other.
func changed(text []byte, random *mathrand.Rand) []byte {
	const alphabet = " ,;=.:+-/_0123456789abcdefABCDEFvthsgzZ"
	b := alphabet[random.IntN(len(alphabet))]
	at := random.IntN(len(text) + 1)
	switch kind := random.IntN(3); {
	case kind == 0 || at == len(text):
		return slices.Insert(slices.Clone(text), at, b)
	case kind == 1:
		return slices.Delete(slices.Clone(text), at, at+1)
	default:
		return fmt.Appendf(nil, "%s%c%s", text[:at], b, text[at+1:])
	}
}

// TestJOSE: of what a library of JOSE can sign, both take what is TrueLayer's,
// and nothing else: no algorithm of the sender's choice, no key that comes with
// the signature, no extension that must be understood.
func TestJOSE(t *testing.T) {
	keys, private, _ := sign.Dev("truelayer")
	number, _ := new(big.Int).SetString(private, 16)
	own, err := ecdsa.ParseRawPrivateKey(elliptic.P521(), number.FillBytes(make([]byte, 66)))
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		algorithm jose.SignatureAlgorithm
		key       any
		more      map[jose.HeaderKey]any
		embed     bool
		want      error
	}{
		{name: "TrueLayer's", algorithm: jose.ES512, key: own},
		{name: "with an extension to ignore", algorithm: jose.ES512, key: own, more: map[jose.HeaderKey]any{"exp": 1}},
		{name: "with one to understand", algorithm: jose.ES512, key: own, more: map[jose.HeaderKey]any{"crit": []string{"exp"}, "exp": 1}, want: verify.ErrMalformed},
		{name: "another's", algorithm: jose.ES512, key: other, want: verify.ErrMismatch},
		{name: "another's with the key in it", algorithm: jose.ES512, key: other, embed: true, want: verify.ErrMismatch},
		{name: "by the public key as a secret", algorithm: jose.HS512, key: []byte(keys.Settings["jwks"]), want: verify.ErrMalformed},
	} {
		o := &jose.SignerOptions{EmbedJWK: tt.embed, ExtraHeaders: map[jose.HeaderKey]any{"tl_version": "2", "tl_headers": "X-Tl-Webhook-Timestamp", "kid": "dev"}}
		maps.Copy(o.ExtraHeaders, tt.more)
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: tt.algorithm, Key: tt.key}, o)
		if err != nil {
			t.Fatal(err)
		}
		const sent, body = "2026-01-02T03:04:05Z", `{"type":"payment_executed"}`
		jws, err := signer.Sign([]byte("POST /webhooks/x\nX-Tl-Webhook-Timestamp: " + sent + "\n" + body))
		if err != nil {
			t.Fatal(err)
		}
		signature, err := jws.DetachedCompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		r := verify.Request{Method: http.MethodPost, URL: "https://pay.example.com/webhooks/x", Body: []byte(body),
			Header: http.Header{"Tl-Signature": {signature}, "X-Tl-Webhook-Timestamp": {sent}}}
		if _, err := verify.Verify("truelayer", r, keys, time.Now()); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if got := joseAccepts(r, keys); got != (tt.want == nil) {
			t.Errorf("%s: the library accepts: %t", tt.name, got)
		}
	}
}
