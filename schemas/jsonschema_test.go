package schemas_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tollbridge/tollbridge/schemas"
)

// document decodes JSON into the types that package jsonschema expects.
func document(t *testing.T, b []byte) any {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("not JSON: %v", err)
	}
	return doc
}

// encoded returns an event as a consumer decodes it.
func encoded(t *testing.T, e schemas.Event) map[string]any {
	t.Helper()
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return document(t, b).(map[string]any)
}

// compile compiles the schema at a location of a document.
func compile(t *testing.T, doc any, url, place string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource(url, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(url + place)
	if err != nil {
		t.Fatalf("the schema does not compile: %v", err)
	}
	return s
}

func TestJSONSchema(t *testing.T) {
	meta := jsonschema.NewCompiler().MustCompile("https://json-schema.org/draft/2020-12/schema")
	for _, typ := range schemas.Types() {
		t.Run(string(typ), func(t *testing.T) {
			doc := document(t, schemas.JSONSchema(typ))
			if err := meta.Validate(doc); err != nil {
				t.Errorf("the metaschema refuses it: %v", err)
			}
			for key, want := range map[string]string{"$id": typ.Schema(), "title": string(typ), "description": typ.Description()} {
				if got := doc.(map[string]any)[key]; got != want {
					t.Errorf("%s is %v, want %q", key, got, want)
				}
			}
			open := compile(t, doc, typ.Schema(), "")
			conform(t, typ, open, false)
			strict := compile(t, document(t, schemas.StrictJSONSchema(typ)), typ.Schema(), "")
			conform(t, typ, strict, true)
			conform(t, typ, registrySchema(t, typ), true)
		})
	}
}

// registrySchema returns the compiled schema for registries. It checks that the metaschema of
// draft-07 accepts it, and that it has no keyword that registries do not compare.
func registrySchema(t *testing.T, typ schemas.Type) *jsonschema.Schema {
	t.Helper()
	b := schemas.RegistrySchema(typ)
	for _, keyword := range []string{"$ref", "$defs", "allOf", "unevaluatedProperties"} {
		if bytes.Contains(b, []byte(`"`+keyword+`"`)) {
			t.Errorf("the registry's schema has %s", keyword)
		}
	}
	doc := document(t, b)
	if err := jsonschema.NewCompiler().MustCompile("http://json-schema.org/draft-07/schema").Validate(doc); err != nil {
		t.Errorf("the metaschema refuses the registry's schema: %v", err)
	}
	return compile(t, doc, typ.Schema(), "")
}

// conform checks that a schema accepts the events of its type and refuses
// invalid ones. Only a strict schema refuses fields and values that a later
// version may add.
func conform(t *testing.T, typ schemas.Type, s *jsonschema.Schema, strict bool) {
	if err := s.Validate(encoded(t, full(typ))); err != nil {
		t.Errorf("refuses an event with all fields: %v", err)
	}
	refuses := func(what string, change func(event, data map[string]any)) {
		t.Helper()
		event := encoded(t, full(typ))
		change(event, event["data"].(map[string]any))
		if s.Validate(event) == nil {
			t.Errorf("accepts an event with %s", what)
		}
	}
	later := func(what string, change func(event, data map[string]any)) {
		t.Helper()
		if strict {
			refuses(what, change)
			return
		}
		event := encoded(t, full(typ))
		change(event, event["data"].(map[string]any))
		if err := s.Validate(event); err != nil {
			t.Errorf("refuses an event with %s: %v", what, err)
		}
	}
	other := schemas.PaymentFailed
	if typ == other {
		other = schemas.RefundFailed
	}
	amount := func(key string, value any) func(_, data map[string]any) {
		return func(_, data map[string]any) { data["amount"].(map[string]any)[key] = value }
	}
	set := func(key string, value any) func(event, _ map[string]any) {
		return func(event, _ map[string]any) { event[key] = value }
	}
	setData := func(key string, value any) func(_, data map[string]any) {
		return func(_, data map[string]any) { data[key] = value }
	}
	refuses("another type", set("type", string(other)))
	refuses("another dataschema", set("dataschema", other.Schema()))
	refuses("another specversion", set("specversion", "0.3"))
	refuses("an id that is no UUID", set("id", "evt_1"))
	refuses("an empty subject", set("subject", ""))
	refuses("a time that is no time", set("time", "23 Nov 2026"))
	refuses("a source that is no path of ours", set("source", "/webhooks/stripe"))
	refuses("another status", setData("status", "done"))
	refuses("an empty merchant_transaction_id", setData("merchant_transaction_id", ""))
	later("another key_source", setData("key_source", "guess"))
	refuses("live as text", setData("live", "true"))
	later("an unknown field in data", setData("card_number", "4242"))
	refuses("null for what is absent", setData("account", nil))
	refuses("a float amount", amount("value", json.Number("10.99")))
	refuses("an amount as text", amount("value", "1099"))
	refuses("a currency in lower case", amount("currency", "eur"))
	refuses("an empty currency", amount("currency", ""))
	later("an unknown field in amount", amount("scale", json.Number("2")))

	for key := range encoded(t, full(typ)) {
		refuses("no "+key, func(event, _ map[string]any) { delete(event, key) })
	}
	own := encoded(t, full(typ))["data"].(map[string]any)
	for _, key := range []string{"merchant_transaction_id", "key_source", "connector", "endpoint", "live", "connector_event_type", "status", "received_at"} {
		refuses("no "+key, func(_, data map[string]any) { delete(data, key) })
	}
	for _, stranger := range schemas.Types() {
		for key, value := range encoded(t, full(stranger))["data"].(map[string]any) {
			if _, ok := own[key]; !ok {
				later(key+", a field of "+stranger.Family(), setData(key, value))
			}
		}
	}
}

// TestSchemaHasEveryField: the structs and event.schema.json name the same
// fields, and each family's fields are those that [full] fills in.
func TestSchemaHasEveryField(t *testing.T) {
	defs := map[string][]string{} // the fields of each definition
	root := map[string]any{}
	for _, typ := range schemas.Types() {
		root = document(t, schemas.JSONSchema(typ)).(map[string]any)
		for name, def := range root["$defs"].(map[string]any) {
			defs[name] = slices.Sorted(maps.Keys(def.(map[string]any)["properties"].(map[string]any)))
		}
		got := slices.Sorted(maps.Keys(encoded(t, full(typ))["data"].(map[string]any)))
		if want := union(defs["data"], defs[typ.Family()]); !slices.Equal(got, want) {
			t.Errorf("an event of the family %s with all fields has\n%v, and its schema\n%v", typ.Family(), got, want)
		}
	}
	data := defs["data"]
	for _, family := range families {
		data = union(data, defs[family])
	}
	for _, c := range []struct {
		name   string
		fields []string
		of     any
	}{
		{"the event", slices.Sorted(maps.Keys(root["properties"].(map[string]any))), schemas.Event{}},
		{"data and the families", data, schemas.Data{}},
		{"amount", defs["amount"], schemas.Amount{}},
		{"payment_method", defs["payment_method"], schemas.PaymentMethod{}},
		{"error", defs["error"], schemas.Error{}},
	} {
		if want := fields(c.of); !slices.Equal(c.fields, want) {
			t.Errorf("%s in event.schema.json has the fields\n%v, and %T\n%v", c.name, c.fields, c.of, want)
		}
	}
}

// TestSchemaHasEveryWord: the schema lists the values of the constants.
func TestSchemaHasEveryWord(t *testing.T) {
	s := compile(t, document(t, schemas.StrictJSONSchema(schemas.DisputeOpened)), "urn:test", "")
	for _, k := range []schemas.KeySource{schemas.KeyFromPayload, schemas.KeyFromRequest, schemas.KeyFromReference, schemas.KeyFromConnector} {
		for _, stage := range []schemas.Stage{schemas.StagePreDispute, schemas.StageDispute, schemas.StagePreArbitration} {
			e := full(schemas.DisputeOpened)
			e.Data.KeySource, e.Data.Stage = k, stage
			if err := s.Validate(encoded(t, e)); err != nil {
				t.Errorf("%s, %s: %v", k, stage, err)
			}
		}
	}
}

// fields returns the JSON names of a struct's fields, sorted.
func fields(of any) (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeOf(of)) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "-" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func union(a, b []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}

// TestSchemaOfTimes: the schema accepts the encoding of every time.
func TestSchemaOfTimes(t *testing.T) {
	s := compile(t, document(t, schemas.JSONSchema(schemas.PaymentCaptured)), "urn:test", "")
	for _, when := range []time.Time{happened, received, time.Unix(0, 1).UTC(), happened.In(time.FixedZone("IST", 19800))} {
		e := full(schemas.PaymentCaptured)
		e.Time = when
		if err := s.Validate(encoded(t, e)); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
}
