package normalize

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// everything has a field of each kind that [scan] reads, and of those that it leaves to the
// JSON library.
type everything struct {
	Text     text            `json:"text"`
	Part     part            `json:"part"`
	Metadata metadata        `json:"metadata"`
	Fields   fields          `json:"fields"`
	Data     stripeData      `json:"data"`
	String   string          `json:"string"`
	Bool     bool            `json:"bool"`
	Truth    *bool           `json:"truth"`
	Int      int             `json:"int"`
	Number   *int64          `json:"number"`
	Parts    []part          `json:"parts"`
	Strings  []string        `json:"strings"`
	Map      map[string]part `json:"map"`
	Texts    map[string]text `json:"texts"`
	Time     time.Time       `json:"time"`
	Raw      jsontext.Value  `json:"raw"`
	Float    float64         `json:"float"`
	Any      any             `json:"any"`
	Inner    *struct {
		Text text  `json:"text"`
		Ints []int `json:"ints"`
	} `json:"inner"`
	All []everything `json:"all"`
	embedded
	Untagged string
	hidden   string //lint:ignore U1000 a field that neither may set
}

type embedded struct {
	Deep text `json:"deep"`
}

// TestScan: scan reads at least nine tenths of the samples, and no ambiguous or malformed
// text.
func TestScan(t *testing.T) {
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
		if !scan(b, new(part), true) {
			unusual++
		}
	}
	if unusual > len(files)/10 {
		t.Errorf("%d of %d samples are not read", unusual, len(files))
	}
	for text, want := range map[string]bool{
		`{"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]}`:  true,
		`{"a":"\"},{","b":"\\"}`:                     true,
		" { \"a\" : [ 1 , -0.5e+7 , null ] } \r\n\t": true,
		`[]`:                        true,
		`{"":1," ":2}`:              true,
		`{"a":1,"a":2}`:             false,
		`{"":1,"":2}`:               false,
		`{"a":{"b":1,"c":2,"b":3}}`: false,
		`[{"x":[1,{"y":1}],"x":2}]`: false,
		`{"a":1,"\u0061":2}`:        false,
		`{"a":"\ud800"}`:            false,
		"{\"a\":\"\xff\"}":          false,
		"{\"a\":\"\n\"}":            false,
		`{"a":1,}`:                  false,
		`{"a" 1}`:                   false,
		`{"a":01}`:                  false,
		`{"a":1}}`:                  false,
		`{"a":1`:                    false,
		`{"a":"\`:                   false,
		`{"a":"\u00`:                false,
		`[1,]`:                      false,
		`[+1]`:                      false,
		`[1.]`:                      false,
		`[1e]`:                      false,
		`[tru]`:                     false,
		``:                          false,
		strings.Repeat("[", scanDepth+1) + strings.Repeat("]", scanDepth+1): false,
	} {
		if scan([]byte(text), new(part), true) != want {
			t.Errorf("scan(%s) is %v, want %v", text, !want, want)
		}
	}
}

// TestScanReads: scan reads every sample, and samples with a part of their text replaced,
// as the JSON library does, or leaves them to it.
func TestScanReads(t *testing.T) {
	names := []string{"text", "part", "metadata", "fields", "data", "string", "bool", "truth", "int", "number", "parts", "strings", "map", "texts", "time", "raw", "float", "any", "inner", "all", "deep", "Untagged", "hidden", "unknown"}
	values := []string{
		`null`, `true`, `false`, `0`, `-0`, `17`, `-1.50`, `1e3`, `9223372036854775807`, `9223372036854775808`, `"text"`, `"caf\u00e9 \"\\\/\b\f\n\r\t€"`, `"\ud83d\ude00"`, `""`,
		`[]`, `[1, 2]`, `["a","b"]`, `[null]`, `[{"text": 1}]`, `{}`, `{"object": {"id": 1}, "previous_attributes": [], "x": 1}`, `{"text": "a", "ints": [1, 2, -3]}`, `{"a": 1, "b": null, "c": "\u0041"}`,
		`"2026-01-02T03:04:05.6Z"`, `{"a":1,"a":2}`,
	}
	read := 0
	for _, name := range names {
		for _, value := range values {
			for _, format := range []string{`{%q: %s}`, `{"x": [1, {"y": 2}], %q : %s , "z": "w"}`, `{"all": [{%q: %s}]}`} {
				if sameAsLibrary(t, fmt.Appendf(nil, format, name, value)) {
					read++
				}
			}
		}
	}
	if most := len(names) * len(values) * 3; read < most/3 {
		t.Errorf("scan read %d of %d texts, want at least a third", read, most)
	}
}

// sameAsLibrary reads a text with [scan] and with the JSON library and compares what they
// read. It reports whether scan read it.
func sameAsLibrary(t *testing.T, text []byte) bool {
	var got, want everything
	err := json.Unmarshal(text, &want)
	read := scan(text, &got, true)
	switch {
	case !read && !reflect.ValueOf(got).IsZero():
		t.Errorf("scan did not read %s, and left %+v", text, got)
	case read && err != nil:
		t.Errorf("scan read %s, and the library returned %v", text, err)
	case read && !reflect.DeepEqual(got, want):
		t.Errorf("scan read %s as\n%+v, the library as\n%+v", text, got, want)
	}
	if err != nil {
		return read
	}
	var unchecked everything
	if scan(text, &unchecked, false) && !reflect.DeepEqual(unchecked, want) {
		t.Errorf("without check, scan read %s as\n%+v, the library as\n%+v", text, unchecked, want)
	}
	return read
}

// FuzzScan: scan reads what the library reads, and nothing that the library refuses.
func FuzzScan(f *testing.F) {
	for _, text := range []string{
		`{"a":1,"b":{"a":"\n"},"c":[{"a":3},{"a":4}]}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":"\ud800"}`, `["",{"":0,"":1}]`,
		`{"text": 1, "part": {"a": [1]}, "metadata": {"a": "b"}, "fields": {"a": 1}, "data": {"object": {}}, "string": "s", "truth": true, "int": 1, "number": -5}`,
		`{"parts": [1, {}], "strings": ["a"], "map": {"a": 1}, "time": "2026-01-02T03:04:05Z", "raw": 1, "float": 1.5, "any": [1], "inner": {"ints": [1]}, "all": [{"text": "x"}]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		sameAsLibrary(t, text)
		if len(withoutByteOrderMark(text)) == 0 {
			return // decode accepts an empty payload, and the library refuses it
		}
		var strict, lax any
		want := json.Unmarshal(withoutByteOrderMark(text), &strict)
		if got := decode(text, &lax); (got == nil) != (want == nil) {
			t.Fatalf("decode returned %v, the library %v", got, want)
		}
		if want == nil && !reflect.DeepEqual(strict, lax) {
			t.Errorf("decode read %v, the library %v", lax, strict)
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

// BenchmarkScan measures the check of a payload alone, and with its fields.
func BenchmarkScan(b *testing.B) {
	text, err := os.ReadFile("samples/stripe/payment_intent.succeeded.json")
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		to   func() any
	}{{"part", func() any { return new(part) }}, {"event", func() any { return new(stripeEvent) }}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if !scan(text, c.to(), true) {
					b.Fatal("scan left the sample to the library")
				}
			}
		})
	}
}
