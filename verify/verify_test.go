package verify

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// vector is a recorded request and the expected result. It is a file
// testdata/<connector>/<case>.http with "key: value" lines, a blank line and a raw HTTP
// request without Content-Length, whose body is exact to the last byte.
//
//	expect: ok, or the Reason of the refusal
//	secret: name=value   one line each
//	set: name=value      a setting
//	now: unix seconds    the time of verification
//	sent: unix seconds   after now: the signed timestamp, if it is not now
//	url: the URL that is set at the processor, if it is signed
//	payload: the verified payload, if it is not the body; "" for a handshake
//	reply: the body of the response
//	signed: text of the body that the signature covers, where it covers fields only
//	counts: the part of a header with the right signature, if the header also has another secret's
//	unsigned: the part of the body that is not read, if the signature covers only the rest
type vector struct {
	name, connector string
	want            error
	req             Request
	keys            Keys
	now, sent       time.Time
	payload, reply  *string
	signed          []string
	counts          string
	unsigned        string
	receiver        receiver // verifies it
}

// receiver is [Verify], or a wrong implementation of it.
type receiver func(connector string, r Request, k Keys, now time.Time) (Verified, error)

func vectors(t testing.TB) []vector {
	files, err := filepath.Glob("testdata/*/*.http")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	var all []vector
	for _, f := range files {
		v, err := readVector(f)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all = append(all, v)
	}
	return all
}

func readVector(file string) (vector, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return vector{}, err
	}
	v := vector{
		name:      strings.TrimPrefix(file, "testdata/"),
		connector: filepath.Base(filepath.Dir(file)),
		keys:      Keys{Settings: map[string]string{}},
		receiver:  Verify,
	}
	for {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		if !ok {
			return v, errors.New("no request")
		}
		if b = rest; len(line) == 0 {
			break
		}
		key, value, _ := strings.Cut(string(line), ": ")
		name, setting, _ := strings.Cut(value, "=")
		switch key {
		case "expect":
			if value != "ok" {
				v.want = Reason(value)
			}
		case "secret":
			v.keys.Secrets = append(v.keys.Secrets, Secret{name, setting})
		case "set":
			v.keys.Settings[name] = strings.ReplaceAll(setting, `\n`, "\n")
		case "now", "sent":
			unix, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return v, err
			}
			if v.sent = time.Unix(unix, 0); key == "now" {
				v.now = v.sent
			}
		case "url":
			v.req.URL = value
		case "payload":
			v.payload = &value
		case "reply":
			v.reply = &value
		case "signed":
			v.signed = append(v.signed, value)
		case "counts":
			v.counts = value
		case "unsigned":
			v.unsigned = value
		default:
			return v, fmt.Errorf("unknown key %q", key)
		}
	}
	head, body, _ := bytes.Cut(b, []byte("\n\n"))
	r, err := http.ReadRequest(bufio.NewReader(io.MultiReader(bytes.NewReader(head), strings.NewReader("\n\n"))))
	if err != nil {
		return v, err
	}
	v.req.Method, v.req.Header, v.req.Body = r.Method, r.Header, bytes.TrimSuffix(body, []byte("\n")) // editors end files with one
	return v, nil
}

func (v vector) verify() (Verified, error) { return v.receiver(v.connector, v.req, v.keys, v.now) }

// handshake reports whether v is a handshake: it has no payload.
func (v vector) handshake() bool { return v.payload != nil && *v.payload == "" }

// with returns a changed copy of v.
func (v vector) with(change func(*vector)) vector {
	v.req.Header, v.req.Body = v.req.Header.Clone(), bytes.Clone(v.req.Body)
	v.keys.Secrets, v.keys.Settings = slices.Clone(v.keys.Secrets), maps.Clone(v.keys.Settings)
	change(&v)
	return v
}

func TestVectors(t *testing.T) {
	accepted, refused := map[string]bool{}, map[string]bool{}
	for _, v := range vectors(t) {
		t.Run(v.name, func(t *testing.T) {
			if _, ok := connectors[v.connector]; !ok {
				t.Fatalf("testdata/%s belongs to no connector", v.connector)
			}
			got, err := v.verify()
			if !errors.Is(err, v.want) {
				t.Fatalf("got %v, want %v", err, v.want)
			}
			if v.want != nil {
				refused[v.connector] = true
				if got.Payload != nil || got.Reply != nil {
					t.Errorf("refused, but returned %+v", got)
				}
				return
			}
			accepted[v.connector] = true
			want := string(v.req.Body)
			if v.payload != nil {
				want = *v.payload
			}
			if string(got.Payload) != want {
				t.Errorf("payload %q, want %q", got.Payload, want)
			}
			if got.Handshake != v.handshake() {
				t.Errorf("handshake %v, want %v", got.Handshake, v.handshake())
			}
			if v.reply != nil && string(got.Reply) != *v.reply {
				t.Errorf("reply %q, want %q", got.Reply, *v.reply)
			}
			if err := Check(v.connector, v.keys); err != nil {
				t.Errorf("Check refuses keys that verify: %v", err)
			}
		})
	}
	for _, c := range Connectors() {
		if !accepted[c] || !refused[c] {
			t.Errorf("connector %q needs a vector in testdata/%s that is verified (ok*.http) and one that is refused", c, c)
		}
	}
}

func TestUnknownConnector(t *testing.T) {
	if _, err := Verify("nobody", Request{}, Keys{Secrets: []Secret{{"main", "x"}}}, time.Now()); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v, want %v", err, ErrUnknown)
	}
	if err := Check("nobody", Keys{}); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v, want %v", err, ErrUnknown)
	}
}

// FuzzVerify searches for panics, for refusals without a reason or with a result, and for
// requests that are verified with a secret that signed none of them.
func FuzzVerify(f *testing.F) {
	byConnector := map[string]vector{}
	for _, v := range vectors(f) {
		var head bytes.Buffer
		if err := v.req.Header.Write(&head); err != nil {
			f.Fatal(err)
		}
		f.Add(v.connector, v.req.Method, v.req.URL, head.String(), v.req.Body)
		if byConnector[v.connector].connector == "" || v.want == nil {
			byConnector[v.connector] = v
		}
	}
	f.Fuzz(func(t *testing.T, connector, method, url, head string, body []byte) {
		v, ok := byConnector[connector]
		if !ok {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("POST / HTTP/1.1\r\n" + head + "\r\n\r\n")))
		if err != nil {
			return
		}
		request := Request{Method: method, URL: url, Header: r.Header, Body: body}
		verify := func(k Keys) (Verified, error) {
			got, err := Verify(connector, request, k, v.now)
			if err != nil && (ReasonOf(err) == "" || got.Payload != nil || got.Reply != nil || got.Handshake) {
				t.Errorf("%s refused %q %q with %+v and %v, want nothing and a reason", connector, head, body, got, err)
			}
			return got, err
		}
		_, _ = verify(v.keys) // may be genuine
		if !connectors[connector].Keyless {
			got, err := verify(Keys{Settings: v.keys.Settings, Secrets: []Secret{{"fuzz", "a3f1c0de5ec2e7000000000000000000"}}})
			if err == nil && !got.Handshake {
				t.Errorf("forged: %s %q %q", connector, head, body)
			}
		}
	})
}

// TestReasons: Reasons has every constant of type Reason.
func TestReasons(t *testing.T) {
	source, err := os.ReadFile("verify.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`Reason = "(\w+)"`).FindAllStringSubmatch(string(source), -1)
	for _, m := range found {
		if !slices.Contains(Reasons(), Reason(m[1])) {
			t.Errorf("Reasons lacks %s", m[1])
		}
	}
	if len(found) != len(Reasons()) {
		t.Errorf("%d constants and %d reasons", len(found), len(Reasons()))
	}
}
