package doctor

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// good returns the requests of verify's testdata that are verified, by file, without
// handshakes: those have no signature.
func good(t *testing.T) map[string]Case {
	t.Helper()
	files, err := filepath.Glob("../../verify/testdata/*/ok*.http")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	all := map[string]Case{}
	for _, f := range files {
		c, handshake := read(t, f)
		if !c.signed() && !handshake {
			t.Fatalf("%s is not verified", f)
		}
		if !handshake {
			all[strings.TrimPrefix(f, "../../verify/testdata/")] = c
		}
	}
	for _, name := range verify.Connectors() {
		if !slices.ContainsFunc(slices.Collect(maps.Values(all)), func(c Case) bool { return c.Endpoint.Connector == name }) {
			t.Errorf("%s has no good request", name)
		}
	}
	return all
}

// read reads a vector as verify's own tests do.
func read(t *testing.T, file string) (c Case, handshake bool) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	top, request, _ := strings.Cut(string(b), "\n\n")
	c.Endpoint = webhook.Endpoint{Connector: filepath.Base(filepath.Dir(file)), Keys: verify.Keys{Settings: map[string]string{}}}
	c.Now = time.Unix(0, 0)
	for line := range strings.SplitSeq(top, "\n") {
		key, value, _ := strings.Cut(line, ": ")
		name, text, _ := strings.Cut(value, "=")
		switch key {
		case "secret":
			c.Endpoint.Keys.Secrets = append(c.Endpoint.Keys.Secrets, verify.Secret{Name: name, Value: text})
		case "set":
			c.Endpoint.Keys.Settings[name] = strings.ReplaceAll(text, `\n`, "\n")
		case "now":
			unix, _ := strconv.ParseInt(value, 10, 64)
			c.Now = time.Unix(unix, 0)
		case "url":
			c.Request.URL = value
		case "payload":
			handshake = value == ""
		}
	}
	handshake = handshake || strings.Contains(top, "\npayload:\n") || strings.HasSuffix(top, "\npayload:")
	head, body, _ := strings.Cut(request, "\n\n")
	r, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(head), strings.NewReader("\n\n"))))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	c.Request.Method, c.Request.Header, c.Request.Body = r.Method, r.Header, []byte(strings.TrimSuffix(body, "\n"))
	return c, handshake
}

// with returns a changed copy of c.
func (c Case) with(change func(*Case)) Case {
	c.Request.Header, c.Request.Body = c.Request.Header.Clone(), bytes.Clone(c.Request.Body)
	c.Endpoint.Keys.Secrets, c.Endpoint.Keys.Settings = slices.Clone(c.Endpoint.Keys.Secrets), maps.Clone(c.Endpoint.Keys.Settings)
	change(&c)
	return c
}

// mistake changes a good request to what somebody's mistake makes of it. It changes
// nothing where the mistake does not apply.
type mistake struct {
	name       string
	make       func(*Case)
	cause      Cause
	says       string // a regular expression that the finding's mistake matches
	connectors int    // for how many, at least, it must be found
}

// body returns a mistake that writes the body in another way.
func body(name string, make func(string) string, says string, connectors int) mistake {
	return mistake{name, func(c *Case) { c.Request.Body = []byte(make(string(c.Request.Body))) }, BodyChanged, says, connectors}
}

// secret returns a mistake in every secret.
func secret(name string, make func(string) string, says string, connectors int) mistake {
	return mistake{name, func(c *Case) {
		for i, s := range c.Endpoint.Keys.Secrets {
			c.Endpoint.Keys.Secrets[i].Value = make(s.Value)
		}
	}, SecretForm, says, connectors}
}

// header returns a mistake in every header that verification reads.
func header(name string, make func(h http.Header, name, value string), cause Cause, says string, connectors int) mistake {
	return mistake{name, func(c *Case) {
		for _, name := range c.connector().Headers {
			if value := c.Request.Header.Get(name); value != "" {
				make(c.Request.Header, name, value)
			}
		}
	}, cause, says, connectors}
}

// compactJSON reports whether a body is JSON without white space.
func compactJSON(body string) bool {
	var b bytes.Buffer
	return json.Compact(&b, []byte(body)) == nil && b.String() == body
}

func indented(by string) func(string) string {
	return func(body string) string {
		var b bytes.Buffer
		if !compactJSON(body) || json.Indent(&b, []byte(body), "", by) != nil {
			return body
		}
		return b.String()
	}
}

// The forms of the signatures in these requests.
var hexSignature = regexp.MustCompile(`\b([0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{128})\b`)
var base64Signature = regexp.MustCompile(`[0-9A-Za-z+/]{27,}={1,2}`)

func toBase64(s string) string {
	b, _ := hex.DecodeString(s)
	return base64.StdEncoding.EncodeToString(b)
}

func toHex(s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return s
	}
	return hex.EncodeToString(b)
}

// another returns a different secret of the same form.
func another(s string) string {
	b := []byte(s)
	i := len(b) / 2
	b[i] = map[bool]byte{true: '1', false: '0'}[b[i] == '0']
	return string(b)
}

// elsewhere returns a mistake that moves the endpoint's keys to another endpoint, and
// gives it wrong ones.
func elsewhere(connector string) func(*Case) {
	return func(c *Case) {
		if c.connector().Keyless {
			return
		}
		there := webhook.Endpoint{Connector: connector, Name: "eu", Keys: verify.Keys{Settings: maps.Clone(c.Endpoint.Keys.Settings)}}
		if connector == "" {
			there.Connector = c.Endpoint.Connector
		}
		for i, s := range c.Endpoint.Keys.Secrets {
			there.Keys.Secrets = append(there.Keys.Secrets, verify.Secret{Name: "blue", Value: s.Value})
			c.Endpoint.Keys.Secrets[i].Value = another(s.Value)
		}
		c.Others = []webhook.Endpoint{there}
	}
}

var mistakes = []mistake{
	body("indented by 2", indented("  "), "signed compact", 20),
	body("indented by a tab", indented("\t"), "signed compact", 20),
	body("a newline more", func(s string) string { return s + "\n" }, "nothing before or after it", 25),
	body("a CRLF more", func(s string) string { return s + "\r\n" }, "(nothing before or after it|LF at the ends)", 25),
	body("a byte order mark more", func(s string) string { return bom + s }, "(nothing before or after it|without a byte order mark)", 25),
	body("base64", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }, "came as base64", 40),
	body("a string in JSON", func(s string) string { b, _ := json.Marshal(s); return string(b) }, "came as a string in JSON", 40),
	body("escaped slashes", func(s string) string {
		if !json.Valid([]byte(s)) {
			return s
		}
		return strings.ReplaceAll(s, "/", `\/`)
	}, `with / and not \\/`, 2),
	body("escaped characters", func(s string) string {
		if !json.Valid([]byte(s)) {
			return s
		}
		return strings.NewReplacer("☃", `\u2603`, "ü", `\u00fc`, "é", `\u00e9`).Replace(s)
	}, "characters instead of", 4),

	secret("a newline after it", func(s string) string { return s + "\n" }, "white space around it", 35),
	secret("a space before it", func(s string) string { return " " + s }, "white space around it", 40),
	secret("in quotes", func(s string) string { return `"` + s + `"` }, "quotes around it", 40),
	secret(`\n after it`, func(s string) string { return s + `\n` }, `ends with \\n`, 35),
	secret("a variable's name before it", func(s string) string { return "WEBHOOK_SECRET=" + s }, "name of a variable", 40),
	secret("whsec_ missing", func(s string) string { return strings.TrimPrefix(s, "whsec_") }, "lacks the prefix whsec_", 1),
	secret("whsec_ too many", func(s string) string { return "whsec_" + s }, "whsec_", 35),
	secret("as hex", func(s string) string { return hex.EncodeToString([]byte(s)) }, "is hex, and the text", 30),
	secret("as base64", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }, "is base64, and the text", 30),
	secret("as hex for base64", toHex, "is hex, and base64 is expected", 1),
	secret("as base64 for hex", func(s string) string {
		if !regexp.MustCompile(`^[0-9a-fA-F]{64}$`).MatchString(s) {
			return s
		}
		return toBase64(s)
	}, "is base64, and hex is expected", 2),

	{"another endpoint's secret", elsewhere(""), OtherSecret, `secret "blue" of the endpoint .*/eu`, 40},
	{"another connector's secret", elsewhere("checkout"), OtherSecret, `secret "blue" of the endpoint checkout/eu`, 40},
	{"a secret that cannot be used before it", func(c *Case) {
		c.Endpoint.Keys.Secrets = append([]verify.Secret{{Name: "new", Value: "not hex & not base64!"}}, c.Endpoint.Keys.Secrets...)
	}, OtherSecret, "one before it cannot be used", 6},

	header("hex as base64", func(h http.Header, name, value string) {
		h.Set(name, hexSignature.ReplaceAllStringFunc(value, toBase64))
	}, SignatureForm, "base64, and hex is expected", 15),
	header("base64 as hex", func(h http.Header, name, value string) {
		h.Set(name, base64Signature.ReplaceAllStringFunc(value, toHex))
	}, SignatureForm, "hex, and base64 is expected", 8),
	header("the prefix missing", func(h http.Header, name, value string) {
		h.Set(name, regexp.MustCompile(`(sha256=|sha512=|v1,|v1=|h1=|v3=|signature=|Signature )`).ReplaceAllString(value, ""))
	}, SignatureForm, `lacks "`, 10),
	header("a prefix too many", func(h http.Header, name, value string) {
		if !strings.ContainsAny(value, "=, ") && hexSignature.MatchString(value) {
			h.Set(name, "sha256="+value)
		}
	}, SignatureForm, `has "sha256=" before it`, 8),
	header("names in upper case", func(h http.Header, name, value string) {
		h.Set(name, regexp.MustCompile(`\b(t|v1|h1|sha256|sha512)[=,]`).ReplaceAllStringFunc(value, strings.ToUpper))
	}, SignatureForm, "names in the wrong case", 8),
	header("in quotes", func(h http.Header, name, value string) {
		if hexSignature.FindString(value) == value {
			h.Set(name, `"`+value+`"`)
		}
	}, SignatureForm, "quotes or white space", 8),
	{"hex as base64 in the body", func(c *Case) {
		if len(c.connector().Headers) == 0 {
			_, err := decode(c.Request.Body)
			c.Request.Body = hexSignature.ReplaceAllFunc(c.Request.Body, func(s []byte) []byte {
				if err != nil {
					return []byte(url.QueryEscape(toBase64(string(s))))
				}
				return []byte(toBase64(string(s)))
			})
		}
	}, SignatureForm, "base64, and hex is expected", 8},
	{"base64 as hex in the body", func(c *Case) {
		if c.Endpoint.Connector == "adyen" && bytes.Count(c.Request.Body, []byte("hmacSignature")) == 1 {
			c.Request.Body = base64Signature.ReplaceAllFunc(c.Request.Body, func(s []byte) []byte { return []byte(toHex(string(s))) })
		}
	}, SignatureForm, "hex, and base64 is expected", 1},

	header("named X-", func(h http.Header, name, value string) { h.Del(name); h.Set("X-"+name, value) }, HeaderMoved, "is in the header X-", 30),
	header("named HTTP_", func(h http.Header, name, value string) {
		h.Del(name)
		h["HTTP_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))] = []string{value}
	}, HeaderMoved, "is in the header HTTP_", 30),
	header("with an underscore", func(h http.Header, name, value string) {
		if strings.Contains(name, "-") {
			h.Del(name)
			h[strings.ReplaceAll(name, "-", "_")] = []string{value}
		}
	}, HeaderMoved, "is in the header .*_", 30),
	header("twice", func(h http.Header, name, value string) { h.Add(name, value) }, HeaderTwice, "came 2 times", 15),
	{"in the query", func(c *Case) {
		query := url.Values{}
		for _, name := range c.connector().Headers {
			if value := c.Request.Header.Get(name); value != "" {
				query.Set(name, value)
				c.Request.Header.Del(name)
			}
		}
		switch {
		case len(query) == 0:
		case strings.Contains(c.Request.URL, "?"):
			c.Request.URL += "&" + query.Encode()
		default:
			c.Request.URL += "?" + query.Encode()
		}
	}, HeaderMoved, "is in the query", 30},
	{"the body in the query", func(c *Case) {
		if form := !json.Valid(c.Request.Body); form && len(c.connector().Headers) == 0 {
			c.Request.URL, c.Request.Body = "https://pay.example.com/?"+string(c.Request.Body), nil
		}
	}, BodyMoved, "is in the query", 8},

	{"another scheme", func(c *Case) { c.Request.URL = strings.Replace(c.Request.URL, "https:", "http:", 1) }, OtherAddress, "signed for https://", 1},
	{"a slash more", func(c *Case) {
		if c.Request.URL != "" && !strings.Contains(c.Request.URL, "?") {
			c.Request.URL += "/"
		}
	}, OtherAddress, "signed for https://", 1},
	{"a query more", func(c *Case) {
		if c.Request.URL != "" && !strings.Contains(c.Request.URL, "?") {
			c.Request.URL += "?utm_source=x"
		}
	}, OtherAddress, "signed for https://[^?]*;", 1},
	{"the host behind a proxy", func(c *Case) {
		if u, err := url.Parse(c.Request.URL); err == nil && u.Host != "" {
			c.Request.Header.Set("X-Forwarded-Host", u.Host+", 10.0.0.1")
			u.Host, u.Scheme = "10.0.0.1:8080", "http"
			c.Request.URL = u.String()
		}
	}, OtherAddress, "signed for https://pay.example.com", 1},
	{"no address", func(c *Case) {
		if u, err := url.Parse(c.Request.URL); err == nil && u.Host != "" && u.RawQuery == "" {
			c.Request.Header.Set("Forwarded", `for=192.0.2.1;host="`+u.Host+`";proto=https`)
			c.Request.Header.Set("X-Original-Uri", u.Path)
			c.Request.URL = ""
		}
	}, OtherAddress, "signed for https://pay.example.com", 1},

	{"another connector's name", func(c *Case) {
		c.Endpoint.Connector = map[bool]string{true: "checkout", false: "square"}[c.Endpoint.Connector == "square"]
	}, OtherConnector, "it is of", 45},
	{"another connector's name and secret", func(c *Case) {
		for i, s := range c.Endpoint.Keys.Secrets {
			c.Endpoint.Keys.Secrets[i].Value = another(s.Value)
		}
		c.Endpoint.Connector = map[bool]string{true: "checkout", false: "square"}[c.Endpoint.Connector == "square"]
	}, OtherConnector, "(its signature is one of|it is of)", 45},

	{"a setting with white space", func(c *Case) {
		for name, value := range c.Endpoint.Keys.Settings {
			c.Endpoint.Keys.Settings[name] = value + " \n"
		}
	}, SettingForm, "white space", 1},
	{"another hash", func(c *Case) {
		for _, s := range c.connector().Settings {
			if s.Name == "hash" {
				c.Endpoint.Keys.Settings["hash"] = "sha384"
			}
		}
	}, OtherSetting, "hashes with", 2},
}

// TestMistakes: the diagnosis names each mistake, in every good request of every
// connector.
func TestMistakes(t *testing.T) {
	requests := good(t)
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			found, says := map[string]bool{}, regexp.MustCompile(m.says)
			for file, right := range requests {
				c := right.with(m.make)
				if c.signed() {
					continue // it does not apply, or does no harm
				}
				d := c.Diagnose()
				if d == nil || d.Cause != m.cause || !says.MatchString(d.Mistake) {
					t.Errorf("%s: want %s, %q, got %s", file, m.cause, m.says, text(t, d))
					continue
				}
				found[right.Endpoint.Connector] = true
				quiet(t, file, right, c, d)
			}
			if len(found) < m.connectors {
				t.Errorf("named for %d connectors, want %d at least: %v", len(found), m.connectors, slices.Sorted(maps.Keys(found)))
			}
		})
	}
}

func text(t *testing.T, d *Diagnosis) string {
	t.Helper()
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// long are the words that are long enough for a signature.
var long = regexp.MustCompile(`[0-9A-Za-z+/_=-]{24,}`)

// quiet checks that a diagnosis has no secret, and nothing that could be a correct
// signature except for what is in the request itself.
func quiet(t *testing.T, file string, right, judged Case, d *Diagnosis) {
	t.Helper()
	says := text(t, d)
	keys := slices.Concat(right.Endpoint.Keys.Secrets, judged.Endpoint.Keys.Secrets)
	for _, o := range judged.Others {
		keys = append(keys, o.Keys.Secrets...)
	}
	for _, s := range keys {
		if len(s.Value) > 3 && strings.Contains(says, s.Value) {
			t.Errorf("%s: the secret %q is in %s", file, s.Name, says)
		}
	}
	plain, _ := url.PathUnescape(string(judged.Request.Body))
	came := plain + string(judged.Request.Body) + fmt.Sprint(judged.Request.Header) + judged.Request.URL
	words := d.Mistake + " " + d.Fix + " " + fmt.Sprint(d.Also) + " " + strings.Join(slices.Collect(maps.Values(d.Read)), " ")
	for _, ours := range append([]string{judged.connector().Docs}, judged.connector().Headers...) {
		words = strings.ReplaceAll(words, ours, "")
	}
	for _, s := range long.FindAllString(words, -1) {
		if !strings.Contains(came, s) && looksSigned(s) {
			t.Errorf("%s: %q is not of the request: %s", file, s, says)
		}
	}
}

// looksSigned reports whether a word could be a signature: it has digits, and
// is no path.
func looksSigned(s string) bool {
	return strings.ContainsAny(s, "0123456789") && !strings.Contains(s, "/webhooks/")
}

// TestGood: a request that is verified has no diagnosis.
func TestGood(t *testing.T) {
	for file, c := range good(t) {
		if d := c.Diagnose(); d != nil {
			t.Errorf("%s: %s", file, text(t, d))
		}
	}
}

// TestForged: a forged request is unexplained, and the diagnosis contains nothing that
// helps its sender.
func TestForged(t *testing.T) {
	done := map[string]bool{}
	requests := good(t)
	for _, file := range slices.Sorted(maps.Keys(requests)) {
		right := requests[file]
		if done[right.Endpoint.Connector] {
			continue
		}
		done[right.Endpoint.Connector] = true
		c := right.with(func(c *Case) {
			for i, s := range c.Endpoint.Keys.Secrets {
				c.Endpoint.Keys.Secrets[i].Value = another(s.Value)
			}
			if c.connector().Keyless {
				c.Request.Body[len(c.Request.Body)/2] ^= 1
			}
		})
		d := c.Diagnose()
		if d == nil || d.Cause != Unexplained || !strings.Contains(d.Mistake, "no known mistake explains it") || d.Tried == 0 {
			t.Errorf("%s: want %s, got %s", file, Unexplained, text(t, d))
			continue
		}
		if d.Signed != c.connector().Signs || d.Read["body"] != fmt.Sprintf("%d bytes", len(c.Request.Body)) {
			t.Errorf("%s: it does not say what is signed: %s", file, text(t, d))
		}
		quiet(t, file, right, c, d)
	}
}

// TestMissing: the diagnosis says that a request has no signature, or that an endpoint
// has no keys.
func TestMissing(t *testing.T) {
	requests, done := good(t), map[string]bool{}
	for _, file := range slices.Sorted(maps.Keys(requests)) {
		right := requests[file]
		headless := right.with(func(c *Case) {
			for _, name := range c.connector().Headers {
				c.Request.Header.Del(name)
			}
		})
		if len(right.connector().Headers) > 0 && headless.signed() || done[right.Endpoint.Connector] {
			continue // it is signed in its body, and others of its connector in a header
		}
		done[right.Endpoint.Connector] = true
		if len(right.connector().Headers) > 0 {
			d := headless.Diagnose()
			if d == nil || d.Cause != Cause(verify.ErrMissing) || !strings.Contains(d.Mistake, "it has no "+right.connector().Headers[0]) {
				t.Errorf("%s without its headers: %s", file, text(t, d))
			}
		} else if d := right.with(func(c *Case) { c.Request.Body = nil }).Diagnose(); d == nil || !strings.Contains(d.Mistake, "body is empty") {
			t.Errorf("%s without its body: %s", file, text(t, d))
		}
		d := right.with(func(c *Case) { c.Endpoint.Keys = verify.Keys{} }).Diagnose()
		want := []Cause{Cause(verify.ErrNoSecret), Cause(verify.ErrSetting), Cause(verify.ErrKeyUnknown), Cause(verify.ErrKeyNotThere)}
		if d == nil || !slices.Contains(want, d.Cause) {
			t.Errorf("%s without keys: %s", file, text(t, d))
		}
	}
}

// TestSignedFields: if the signature is right and the signed fields are not, the cause is
// the refusal reason, with the fix for it. The vectors of verify are named after the
// reasons.
func TestSignedFields(t *testing.T) {
	for _, c := range []struct {
		file  string
		cause Cause
		says  string // in the mistake
		fix   string // in the fix
	}{
		{"midtrans/field-shifted.http", "field_malformed", "the signature is right; ", "correct the setting forms"},
		{"skrill/field-*.http", "field_malformed", "the signature is right; ", "somebody moved or added text"},
		{"*/account*.http", "account_mismatch", "the signature is right; ", "send it to the endpoint of that merchant"},
		{"midtrans/ambiguous.http", "fields_ambiguous", "split in another way", "describe in the setting forms how the merchant's references look"},
		{"billplz/ambiguous*.http", "fields_ambiguous", "the signature is right; ", "look the payment up at the processor"},
	} {
		files, err := filepath.Glob("../../verify/testdata/" + c.file)
		if err != nil || len(files) == 0 {
			t.Errorf("no vector %s", c.file)
		}
		for _, file := range files {
			refused, _ := read(t, file)
			d := refused.Diagnose()
			if d == nil || d.Cause != c.cause || !strings.Contains(d.Mistake, c.says) || !strings.Contains(d.Fix, c.fix) {
				t.Errorf("%s: %+v, want the cause %s, %q as mistake and %q as fix", file, d, c.cause, c.says, c.fix)
			}
		}
	}
}

// TestSettingUnset: the diagnosis of a request that is verified without the settings that
// a server must have names these.
func TestSettingUnset(t *testing.T) {
	tried := 0
	for file, c := range good(t) {
		known, _ := verify.Lookup(c.Endpoint.Connector)
		for _, s := range known.Settings {
			if !s.Endpoint || c.Endpoint.Keys.Settings[s.Name] == "" {
				continue
			}
			bare := c.with(func(c *Case) { delete(c.Endpoint.Keys.Settings, s.Name) })
			if _, err := bare.verify(); err != nil {
				continue // what is signed depends on the setting
			}
			tried++
			d := bare.Diagnose()
			if d == nil || d.Cause != SettingUnset || !strings.Contains(d.Mistake, s.Name) || !strings.Contains(d.Fix, "--set") {
				t.Errorf("%s without %s: %+v, want the cause %s and the setting's name", file, s.Name, d, SettingUnset)
			}
		}
	}
	if tried == 0 {
		t.Error("no good request is verified without a setting that a server must have")
	}
}

// TestHandshake: a handshake is not taken for a signature of another connector.
func TestHandshake(t *testing.T) {
	c := Case{Endpoint: webhook.Endpoint{Connector: "checkout", Keys: verify.Keys{Secrets: []verify.Secret{{Name: "main", Value: "not-guessed"}}}}, Now: time.Unix(0, 0),
		Request: verify.Request{Method: http.MethodGet, Header: http.Header{"X-Gcs-Webhooks-Endpoint-Verification": {"e6b8c1d0"}}}}
	if v, err := verify.Verify("worldline-connect", c.Request, c.Endpoint.Keys, c.Now); err != nil || !v.Handshake {
		t.Fatalf("no handshake: %v", err)
	}
	if d := c.Diagnose(); d == nil || d.Cause != Cause(verify.ErrMissing) {
		t.Errorf("want %s, got %s", verify.ErrMissing, text(t, d))
	}
}

// TestClocks: the diagnosis of a request that is too old or too new says by how much, and
// whether the signature is right.
func TestClocks(t *testing.T) {
	timed := 0
	at := time.Unix(1767225600, 0)
	for _, connector := range verify.Connectors() {
		known, _ := verify.Lookup(connector)
		if !slices.ContainsFunc(known.Settings, func(s verify.Setting) bool { return s.Name == "tolerance_seconds" }) {
			continue
		}
		timed++
		c := sample(t, connector, samples.Names(connector)[0], at)
		c.Endpoint.Keys.Settings["tolerance_seconds"] = "60"
		judge := func(what string, cause Cause, says string, change func(*Case)) {
			t.Helper()
			d := c.with(change).Diagnose()
			if d == nil || d.Cause != cause || !strings.Contains(d.Mistake, says) {
				t.Errorf("%s %s: want %s, %q, got %s", connector, what, cause, says, text(t, d))
			}
		}
		judge("too old", ClockOff, "the signature is right; it was sent 100000 seconds before the time of verification, and 60 are tolerated",
			func(c *Case) { c.Now = at.Add(100000 * time.Second) })
		judge("judged in milliseconds", TimeUnit, "the time of verification is in milliseconds", func(c *Case) { c.Now = time.Unix(at.UnixMilli(), 0) })
		judge("too old and forged", Unexplained, "no known mistake", func(c *Case) {
			c.Now = at.Add(100000 * time.Second)
			for i, s := range c.Endpoint.Keys.Secrets {
				c.Endpoint.Keys.Secrets[i].Value = another(s.Value)
			}
			if connector == "wechatpay" { // its secret decrypts
				c.Request.Body = append(c.Request.Body, 'x')
			}
		})
		if early := c.with(func(c *Case) { c.Now = at.Add(-100000 * time.Second) }); early.Diagnose() != nil {
			judge("too new", ClockOff, "the signature is right; it was sent 100000 seconds after the time of verification, and 60 are tolerated",
				func(c *Case) { c.Now = early.Now })
		}
		if d := c.with(func(c *Case) { // two mistakes: both are named
			c.Now = at.Add(100000 * time.Second)
			for i := range c.Endpoint.Keys.Secrets {
				c.Endpoint.Keys.Secrets[i].Value = " " + c.Endpoint.Keys.Secrets[i].Value
			}
		}).Diagnose(); connector != "wechatpay" && (d == nil || d.Cause != SecretForm || len(d.Also) != 1 || d.Also[0].Cause != ClockOff) {
			t.Errorf("%s: a secret in the wrong form, too late: %s", connector, text(t, d))
		}
	}
	if timed < 8 {
		t.Errorf("%d connectors sign a time, want 8 at least", timed)
	}
}

// TestUnits: the diagnosis names a time in the other unit, in the header or in the signed
// text.
func TestUnits(t *testing.T) {
	at := time.Unix(1767225600, 0)
	for connector, says := range map[string]string{
		"stripe": "is in milliseconds, and was signed in seconds", "standardwebhooks": "is in milliseconds, and was signed in seconds",
		"paddle": "is in milliseconds, and was signed in seconds", "recurly": "is in seconds, and was signed in milliseconds",
	} {
		c := sample(t, connector, samples.Names(connector)[0], at)
		for _, name := range c.connector().Headers {
			value := c.Request.Header.Get(name)
			if connector == "recurly" {
				value = strings.Replace(value, "1767225600000", "1767225600", 1)
			} else {
				value = strings.Replace(value, "1767225600", "1767225600000", 1)
			}
			c.Request.Header.Set(name, value)
		}
		if d := c.Diagnose(); d == nil || d.Cause != TimeUnit || !strings.Contains(d.Mistake, says) {
			t.Errorf("%s: want %q, got %s", connector, says, text(t, d))
		}
	}
	c := sample(t, "svix", samples.Names("svix")[0], time.Unix(at.UnixMilli(), 0))
	c.Now = at
	if d := c.Diagnose(); d == nil || d.Cause != TimeUnit || !strings.Contains(d.Mistake, "its time is in milliseconds") {
		t.Errorf("signed in milliseconds: %s", text(t, d))
	}
}

// sample returns a signed sample with the keys that verify it.
func sample(t *testing.T, connector, event string, at time.Time) Case {
	t.Helper()
	payload, err := samples.Payload(connector, event)
	if err != nil {
		t.Fatal(err)
	}
	return signedWith(t, connector, payload, at)
}

func signedWith(t *testing.T, connector string, payload []byte, at time.Time) Case {
	t.Helper()
	keys, private, _ := sign.Dev(connector)
	if private == "" {
		private = keys.Secrets[0].Value
	}
	r, err := sign.Request(connector, payload, private, keys.Settings, "https://pay.example.com/webhooks/"+connector, at)
	if err != nil {
		t.Fatal(err)
	}
	keys.Settings = maps.Clone(keys.Settings)
	if keys.Settings == nil {
		keys.Settings = map[string]string{}
	}
	return Case{Endpoint: webhook.Endpoint{Connector: connector, Keys: keys}, Request: r, Now: at}
}

// TestBodies: the diagnosis finds the signed body again, however a processor writes its
// JSON, after something has written it in another way.
func TestBodies(t *testing.T) {
	payload := []byte(`{"a":{"b":"x/y <ü> 😀","n":1.50},"list":[1,2],"z":"a, b: c\"d"}`)
	writings := map[string]func(string) string{
		"indented by 2":         indented("  "),
		"indented by 4, a line": func(s string) string { return indented("    ")(s) + "\n" },
		"indented by a tab":     indented("\t"),
		"with CRLF":             func(s string) string { return strings.ReplaceAll(indented("  ")(s), "\n", "\r\n") },
		"a newline at its end":  func(s string) string { return s + "\n" },
		"with a mark":           func(s string) string { return bom + s },
		"as PHP": func(s string) string {
			return strings.NewReplacer("/", `\/`, "ü", `\u00fc`, "😀", `\ud83d\ude00`).Replace(s)
		},
		"as Python": func(s string) string {
			return `{"a": {"b": "x/y <\u00fc> \ud83d\ude00", "n": 1.50}, "list": [1, 2], "z": "a, b: c\"d"}`
		},
		"as Go":   func(s string) string { return strings.NewReplacer("<", `\u003c`, ">", `\u003e`).Replace(s) },
		"as Java": func(s string) string { return strings.NewReplacer("ü", `\u00FC`, "😀", `\uD83D\uDE00`).Replace(s) },
	}
	for _, connector := range []string{"checkout", "shopify", "stripe", "truelayer", "square", "payu-emea", "xsolla"} {
		for name, write := range writings {
			signed := write(string(payload))
			if signed == string(payload) {
				t.Fatalf("%s writes the same", name)
			}
			c := signedWith(t, connector, []byte(signed), time.Unix(1767225600, 0))
			if !c.signed() {
				t.Fatalf("%s: a sample is not verified", connector)
			}
			c.Request.Body = payload
			if d := c.Diagnose(); d == nil || d.Cause != BodyChanged {
				t.Errorf("%s, signed %s, came compact: %s", connector, name, text(t, d))
			}
		}
		shuffled := []byte(`{"z":"a, b: c\"d","list":[1,2],"a":{"n":1.50,"b":"x/y <ü> 😀"}}`)
		c := signedWith(t, connector, payload, time.Unix(1767225600, 0))
		c.Request.Body = shuffled
		if d := c.Diagnose(); d == nil || d.Cause != BodyChanged || !strings.Contains(d.Mistake, "sorted names") {
			t.Errorf("%s, signed with sorted names: %s", connector, text(t, d))
		}
	}
}

// TestTestEvents: the diagnosis says that a live endpoint ignores a test, for every sample
// that is ignored for that reason alone.
func TestTestEvents(t *testing.T) {
	said := map[string]bool{}
	for _, connector := range verify.Connectors() {
		for _, event := range samples.Names(connector) {
			c := sample(t, connector, event, time.Unix(1767225600, 0))
			if signedButRefused(func() error { _, err := c.verify(); return err }()) {
				continue // what is malformed in it is signed
			}
			test, errTest := c.Endpoint.Normalize(payload(t, c), c.Now)
			c.Endpoint.Live = true
			live, errLive := c.Endpoint.Normalize(payload(t, c), c.Now)
			want := errTest == nil && errLive == nil && len(test.Events) > 0 && len(live.Events) == 0
			d := c.Diagnose()
			if got := d != nil && d.Cause == TestEvent; got != want {
				t.Errorf("%s %s: %s, want that it is a test: %t", connector, event, text(t, d), want)
			}
			said[connector] = said[connector] || want
		}
	}
	if !said["stripe"] {
		t.Error("no test of stripe's")
	}
}

func payload(t *testing.T, c Case) []byte {
	t.Helper()
	v, err := c.verify()
	if err != nil {
		t.Fatalf("%s: %v", c.Endpoint.Connector, err)
	}
	return v.Payload
}

// TestUnsigned: a webhook that its processor does not sign is no mistake of a signature. If
// the endpoint has an API, the API's answer says what is wrong; else it needs one.
func TestUnsigned(t *testing.T) {
	c := Case{
		Endpoint: webhook.Endpoint{Connector: "mollie"}, Now: time.Now(),
		Request: verify.Request{Method: http.MethodPost, Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, Body: []byte("id=tr_Demo7Kq2")},
	}
	if d := c.Diagnose(); d == nil || d.Cause != Cause(verify.ErrNoSecret) || !strings.Contains(d.Fix, "api in its configuration") {
		t.Errorf("without an API: %+v", d)
	}
	c.Endpoint.API = &fetch.API{Keys: []fetch.Key{{Name: "main", Value: "test_key_of_mollie_1234567890"}}}
	if d := c.Diagnose(); d != nil {
		t.Errorf("with an API: %+v, want nothing to mend", d)
	}
}
