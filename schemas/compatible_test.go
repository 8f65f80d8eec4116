package schemas_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/schemas"
)

var update = flag.Bool("update", false, "write schemas/json anew, if the change is compatible")

// TestCompatible compares the schemas with those in json/, which consumers
// have. It fails after an incompatible change; with -update it writes a
// compatible one to json/.
func TestCompatible(t *testing.T) {
	want := map[string][]byte{"asyncapi.json": schemas.AsyncAPI("")}
	for _, typ := range schemas.Types() {
		want[string(typ)+".schema.json"] = schemas.JSONSchema(typ)
	}
	if *update {
		if err := os.MkdirAll("json", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, now := range want {
		path := filepath.Join("json", name)
		before, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if before != nil && strings.HasSuffix(name, ".schema.json") {
			for _, broken := range incompatible(t, before, now) {
				t.Errorf("%s: %s: consumers build on it; give the type a new version (see Type.Schema) or take the change back", path, broken)
			}
		}
		if bytes.Equal(before, now) || t.Failed() {
			continue
		}
		if !*update {
			t.Errorf("%s differs from the code: run go test ./schemas -run TestCompatible -update, and commit it", path)
		} else if err := os.WriteFile(path, now, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob("json/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if want[filepath.Base(path)] == nil {
			t.Errorf("%s: the type is gone, and consumers may read its topic", path)
		}
	}
}

// TestIncompatible: which changes [TestCompatible] refuses and accepts.
func TestIncompatible(t *testing.T) {
	type object = map[string]any
	at := func(o object, path ...string) object {
		for _, name := range path {
			o = o[name].(object)
		}
		return o
	}
	dataFields := []string{"$defs", "data", "properties"}
	for _, c := range []struct {
		change     string
		compatible bool
		do         func(schema object)
	}{
		{"no change", true, func(object) {}},
		{"a new field", true, func(s object) { at(s, dataFields...)["risk_score"] = object{"type": "integer"} }},
		{"a new value of an open field", true, func(s object) {
			at(s, append(dataFields, "key_source")...)["examples"] = []any{"payload", "guess"}
		}},
		{"a new definition", true, func(s object) { at(s, "$defs")["address"] = object{"type": "object"} }},
		{"another description", true, func(s object) { at(s, append(dataFields, "live")...)["description"] = "Real money." }},
		{"a field removed", false, func(s object) { delete(at(s, dataFields...), "account") }},
		{"a field renamed", false, func(s object) {
			fields := at(s, dataFields...)
			fields["merchant_account"] = fields["account"]
			delete(fields, "account")
		}},
		{"another type of a field", false, func(s object) { at(s, append(dataFields, "live")...)["type"] = "string" }},
		{"a field made optional", false, func(s object) {
			data := at(s, "$defs", "data")
			data["required"] = data["required"].([]any)[1:]
		}},
		{"a field made required", false, func(s object) {
			data := at(s, "$defs", "data")
			data["required"] = append(data["required"].([]any), "account")
		}},
		{"a stricter pattern", false, func(s object) { at(s, "properties", "source")["pattern"] = "^/webhooks/stripe/" }},
		{"a closed object", false, func(s object) { at(s, "$defs", "amount")["additionalProperties"] = false }},
		{"another version of the address", false, func(s object) { s["$id"] = "urn:tollbridge:schemas/payment.captured/2" }},
	} {
		t.Run(c.change, func(t *testing.T) {
			before := schemas.JSONSchema(schemas.PaymentCaptured)
			var changed object
			if err := json.Unmarshal(before, &changed); err != nil {
				t.Fatal(err)
			}
			c.do(changed)
			after, err := json.Marshal(changed)
			if err != nil {
				t.Fatal(err)
			}
			if broken := incompatible(t, before, after); (len(broken) == 0) != c.compatible {
				t.Errorf("found %q, want compatible %v", broken, c.compatible)
			}
		})
	}
}

// incompatible returns what a schema lacks or changes compared with an earlier
// version. Only fields, definitions and examples may be added, and only texts
// for people may change.
func incompatible(t *testing.T, before, after []byte) []string {
	t.Helper()
	var b, a any
	for _, s := range []struct {
		text []byte
		into *any
	}{{before, &b}, {after, &a}} {
		if err := json.Unmarshal(s.text, s.into); err != nil {
			t.Fatal(err)
		}
	}
	return changes("", "", b, a)
}

// changes compares the values at a path of two schemas; in is the keyword that
// they are the value of.
func changes(path, in string, before, after any) (broken []string) {
	b, object := before.(map[string]any)
	a, still := after.(map[string]any)
	if !object || !still {
		if !reflect.DeepEqual(before, after) {
			broken = append(broken, fmt.Sprintf("%s was %v and is %v", path, before, after))
		}
		return broken
	}
	names := in == "properties" || in == "$defs" // the keys are names, not keywords
	for _, key := range slices.Sorted(maps.Keys(b)) {
		if _, still := a[key]; !still {
			broken = append(broken, fmt.Sprintf("%s/%s is gone", path, key))
		} else if names {
			broken = append(broken, changes(path+"/"+key, "", b[key], a[key])...)
		} else if !forPeople[key] {
			broken = append(broken, changes(path+"/"+key, key, b[key], a[key])...)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(a)) {
		if _, had := b[key]; !had && !names && !forPeople[key] {
			broken = append(broken, fmt.Sprintf("%s/%s is new", path, key))
		}
	}
	return broken
}

// forPeople lists the keywords that do not affect validation.
var forPeople = map[string]bool{"title": true, "description": true, "$comment": true, "examples": true}
