package schemas

import (
	"encoding/json"
	"maps"
)

// RegistrySchema returns the JSON Schema of t's events for a Schema Registry, as JSON of
// one line. It accepts what [StrictJSONSchema] accepts. It differs from [JSONSchema] since
// registries compare the versions of a schema by rules of their own:
//
//   - It refuses fields and values that this version does not write. Under the
//     compatibility BACKWARD, a registry accepts a new optional field only if the schema
//     before refused that field: otherwise older events could have it with another type.
//     https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/serdes-json.html#json-schema-compatibility-rules
//   - It is draft-07, without references and allOf: registries compare few others.
func RegistrySchema(t Type) []byte {
	var s map[string]any
	if err := json.Unmarshal(StrictJSONSchema(t), &s); err != nil {
		panic("schemas: " + err.Error()) // it was encoded here
	}
	defs := s["$defs"].(map[string]any)
	delete(s, "$defs")
	s["$schema"] = "http://json-schema.org/draft-07/schema#"
	s["additionalProperties"] = false
	properties := s["properties"].(map[string]any)
	data := map[string]any{"type": "object", "additionalProperties": false}
	fields := map[string]any{}
	for _, part := range properties["data"].(map[string]any)["allOf"].([]any) {
		part := inlined(part, defs).(map[string]any)
		maps.Copy(fields, part["properties"].(map[string]any))
		if required, ok := part["required"]; ok {
			data["required"] = required
		}
	}
	data["properties"] = fields
	properties["data"] = data
	b, err := json.Marshal(s)
	if err != nil {
		panic("schemas: " + err.Error())
	}
	return b
}

// inlined returns a schema with the definitions in place of the references to them.
func inlined(schema any, defs map[string]any) any {
	object, ok := schema.(map[string]any)
	if !ok {
		return schema
	}
	all := map[string]any{}
	if ref, ok := object["$ref"].(string); ok {
		maps.Copy(all, inlined(defs[ref[len("#/$defs/"):]], defs).(map[string]any))
	}
	for name, value := range object {
		if name != "$ref" {
			all[name] = inlined(value, defs)
		}
	}
	return all
}
