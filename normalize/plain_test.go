package normalize

import (
	"os"
	"path/filepath"
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
