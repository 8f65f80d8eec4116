package normalize

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// TestPlain: plain accepts at least nine tenths of the samples, and no ambiguous text.
func TestPlain(t *testing.T) {
	files, err := filepath.Glob("samples/*/*.json")
	if err != nil || len(files) < 500 {
		t.Fatalf("%d samples, %v", len(files), err)
	}
	unusual := 0
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !plain(b) {
			unusual++
		}
	}
	if unusual > len(files)/10 {
		t.Errorf("%d of %d samples are not plain", unusual, len(files))
	}
	for text, want := range map[string]bool{
		`{"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]}`: true,
		`{"a":"\"},{","b":"\\"}`:                    true,
		`[]`:                                        true,
		`{"a":1,"a":2}`:                             false,
		`{"a":{"b":1,"c":2,"b":3}}`:                 false,
		`[{"x":[1,{"y":1}],"x":2}]`:                 false,
		`{"a":1,"\u0061":2}`:                        false,
		`{"a":"\ud800"}`:                            false,
		"{\"a\":\"\xff\"}":                          false,
	} {
		if plain([]byte(text)) != want {
			t.Errorf("plain(%s) is %v, want %v", text, !want, want)
		}
	}
}

// FuzzPlain: decode, which skips the library's checks for plain text, refuses what the
// library refuses, and reads the same values.
func FuzzPlain(f *testing.F) {
	for _, text := range []string{`{"a":1,"b":{"a":"\n"},"c":[{"a":3},{"a":4}]}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":"\ud800"}`, `["",{"":0,"":1}]`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(withoutByteOrderMark(text)) == 0 {
			return // decode accepts an empty payload, and the library refuses it
		}
		var strict, lax any
		want := json.Unmarshal(withoutByteOrderMark(text), &strict)
		if got := decode(text, &lax); (got == nil) != (want == nil) {
			t.Fatalf("decode returned %v, the library %v", got, want)
		}
		if want != nil {
			return
		}
		a, err := json.Marshal(strict, json.Deterministic(true))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := json.Marshal(lax, json.Deterministic(true)); err != nil || string(a) != string(b) {
			t.Errorf("decode read %s (%v), the library %s", b, err, a)
		}
	})
}

// TestPart tests that a part is read from the payload without a copy, and that a later
// read does not change it.
func TestPart(t *testing.T) {
	payload := []byte(`{"first": {"a": [1, 2]}, "second": "text", "third": null}`)
	before := string(payload)
	var parts struct {
		First  part `json:"first"`
		Second part `json:"second"`
		Third  part `json:"third"`
	}
	if err := decode(payload, &parts); err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		got  part
		want string
		text text
	}{{parts.First, `{"a": [1, 2]}`, ""}, {parts.Second, `"text"`, "text"}, {parts.Third, "null", ""}} {
		i := strings.Index(before, p.want)
		if string(p.got) != p.want || &p.got[0] != &payload[i] || p.got.text() != p.text {
			t.Errorf("got the part %s with the text %q, want %s with the text %q, of the payload's own bytes", p.got, p.got.text(), p.want, p.text)
		}
	}
	if string(payload) != before {
		t.Errorf("the payload is now %s, want %s", payload, before)
	}
}

// TestMetadata tests that metadata has the same values as a map of texts.
func TestMetadata(t *testing.T) {
	for _, text := range []string{`{}`, `null`, `[]`, `"text"`, `7`, `{"order_id": "43"}`, `{"order_\u0069d": "4\u0033\n", "other": "x"}`,
		`{"a": 1.50, "b": true, "order_id": 1e3, "c": {"order_id": "1"}}`, `{"order_id": null}`, `{"order_id": ["43"]}`, `{"order_id": ""}`, `{"é": "€", "order_id": "é"}`} {
		var m metadata
		var all fields
		if err := errors.Join(decode([]byte(text), &m), decode([]byte(text), &all)); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"order_id", "other", "é", "a", "b", "c"} {
			if got, want := m.get(name), all[name]; got != want {
				t.Errorf("%s: %s is %q, want %q", text, name, got, want)
			}
		}
	}
	var m metadata
	if err := decode([]byte(`{"order_id": "1", "order_id": "2"}`), &m); err == nil {
		t.Errorf("got %v for an object with a duplicate name, want an error", m)
	}
}

func BenchmarkPlain(b *testing.B) {
	text, err := os.ReadFile("samples/stripe/payment_intent.succeeded.json")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if !plain(text) {
			b.Fatal("the sample is not plain")
		}
	}
}
