package schemas

import (
	_ "embed"
	"encoding/json"
)

// eventSchema is what the schemas of all types have in common, with the fields
// of each family in its definitions.
//
//go:embed event.schema.json
var eventSchema []byte

// schema is the JSON Schema of one type's events.
type schema struct {
	Schema      string                     `json:"$schema,omitempty"`
	ID          string                     `json:"$id,omitempty"`
	Title       string                     `json:"title"`
	Description string                     `json:"description"`
	Type        string                     `json:"type"`
	Required    []string                   `json:"required"`
	Properties  map[string]any             `json:"properties"`
	Defs        map[string]json.RawMessage `json:"$defs,omitempty"`
}

// JSONSchema returns the JSON Schema (2020-12) of t's events, indented. Its
// $id is [Type.Schema]. It is strict, which is right for testing a producer;
// consumers should let fields pass that they do not know.
func JSONSchema(t Type) []byte { return indented(schemaOf(t)) }

func schemaOf(t Type) schema {
	var s schema
	if err := json.Unmarshal(eventSchema, &s); err != nil {
		panic("schemas: event.schema.json: " + err.Error()) // embedded: it cannot differ between runs
	}
	s.ID, s.Title, s.Description = t.Schema(), string(t), t.Says()
	is := func(value string) any { return map[string]string{"const": value} }
	ref := func(name string) any { return map[string]string{"$ref": "#/$defs/" + name} }
	s.Properties["type"], s.Properties["dataschema"] = is(string(t)), is(t.Schema())
	s.Properties["data"] = map[string]any{
		"allOf":                 []any{ref("data"), ref(t.Family()), map[string]any{"properties": map[string]any{"status": is(t.Status())}}},
		"unevaluatedProperties": false,
	}
	for _, other := range types {
		if f := other.t.Family(); f != t.Family() {
			delete(s.Defs, f)
		}
	}
	return s
}

// indented is the JSON of v, which has nothing in it that cannot be encoded.
func indented(v any) []byte {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic("schemas: " + err.Error())
	}
	return append(b, '\n')
}
