package schemas

import (
	_ "embed"
	"encoding/json"
)

// eventSchema is the common part of the schemas of all types, with the fields
// of each family in its definitions. The examples of a field are all values
// that this version writes.
//
//go:embed event.schema.json
var eventSchema []byte

// schema is the JSON Schema of one type's events.
type schema struct {
	Schema      string                     `json:"$schema,omitempty"`
	ID          string                     `json:"$id,omitempty"`
	Comment     string                     `json:"$comment,omitempty"`
	Title       string                     `json:"title"`
	Description string                     `json:"description"`
	Type        string                     `json:"type"`
	Required    []string                   `json:"required"`
	Properties  map[string]any             `json:"properties"`
	Defs        map[string]json.RawMessage `json:"$defs,omitempty"`
}

// JSONSchema returns the JSON Schema (2020-12) of t's events, indented. Its
// $id is [Type.Schema]. It accepts fields that it does not know, as consumers
// should: a later version may add some. [StrictJSONSchema] refuses them.
func JSONSchema(t Type) []byte { return indented(schemaOf(t)) }

// StrictJSONSchema returns the JSON Schema of t's events as this version writes
// them: it refuses fields and values that this version does not have. It is for
// tests of code that produces events, not for consumers.
func StrictJSONSchema(t Type) []byte {
	var s any
	if err := json.Unmarshal(JSONSchema(t), &s); err != nil {
		panic("schemas: " + err.Error()) // it was encoded here
	}
	root := s.(map[string]any)
	root["properties"].(map[string]any)["data"].(map[string]any)["unevaluatedProperties"] = false
	for name, def := range root["$defs"].(map[string]any) {
		def := def.(map[string]any)
		if def["type"] == "object" && name != "data" { // data is one part of an allOf
			def["additionalProperties"] = false
		}
		for _, field := range def["properties"].(map[string]any) {
			if field := field.(map[string]any); field["examples"] != nil {
				field["enum"] = field["examples"]
			}
		}
	}
	return indented(s)
}

func schemaOf(t Type) schema {
	var s schema
	if err := json.Unmarshal(eventSchema, &s); err != nil {
		panic("schemas: event.schema.json: " + err.Error()) // embedded: it cannot differ between runs
	}
	s.ID, s.Title, s.Description = t.Schema(), string(t), t.Description()
	is := func(value string) any { return map[string]string{"const": value} }
	ref := func(name string) any { return map[string]string{"$ref": "#/$defs/" + name} }
	s.Properties["type"], s.Properties["dataschema"] = is(string(t)), is(t.Schema())
	s.Properties["data"] = map[string]any{
		"allOf": []any{ref("data"), ref(t.Family()), map[string]any{"properties": map[string]any{"status": is(t.Status())}}},
	}
	for _, other := range types {
		if f := other.t.Family(); f != t.Family() {
			delete(s.Defs, f)
		}
	}
	return s
}

// indented returns the JSON of v, which must be encodable.
func indented(v any) []byte {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic("schemas: " + err.Error())
	}
	return append(b, '\n')
}
