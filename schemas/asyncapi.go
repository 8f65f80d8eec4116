package schemas

import "bytes"

// AsyncAPI returns an AsyncAPI 3.0 document of the topics that tollbridge
// writes events to, with one channel for each type. A channel's address is the
// topic's name: prefix, then the type.
//
// https://www.asyncapi.com/docs/reference/specification/v3.0.0
func AsyncAPI(prefix string) []byte {
	type object = map[string]any
	ref := func(to string) object { return object{"$ref": "#/" + to} }
	text := func(description string) object { return object{"type": "string", "description": description} }

	channels, operations, messages, components := object{}, object{}, object{}, object{}
	for _, t := range types {
		name := string(t.t)
		channels[name] = object{"address": prefix + name, "description": t.description, "messages": object{name: ref("components/messages/" + name)}}
		operations[name] = object{"action": "send", "channel": ref("channels/" + name)}
		messages[name] = object{"name": name, "summary": t.description, "traits": []any{ref("components/messageTraits/event")}, "payload": ref("components/schemas/" + name)}
		s := schemaOf(t.t)
		for name, def := range s.Defs {
			components[name] = def
		}
		s.Schema, s.ID, s.Defs = "", "", nil // the document has one set of definitions
		components[name] = s
	}
	b := indented(object{
		"asyncapi": "3.0.0",
		"info": object{
			"title":       "tollbridge",
			"version":     "1",
			"description": "The webhooks of payment processors as one stream of events: CloudEvents " + SpecVersion + " in JSON, structured mode.",
		},
		"defaultContentType": ContentType,
		"channels":           channels,
		"operations":         operations,
		"components": object{
			"messages": messages,
			"messageTraits": object{"event": object{
				"contentType": ContentType,
				"headers": object{
					"type":     "object",
					"required": []string{"content-type", "event-id", "event-type", "event-time", "key-source", "connector"},
					"properties": object{
						"content-type": object{"const": ContentType},
						"event-id":     text("The event's id. Process each id once."),
						"event-type":   text("The event's type."),
						"event-time":   text("The event's time, RFC 3339."),
						"key-source":   text("The event's data.key_source."),
						"corrects":     text("The id of the event that this one replaces."),
						"also":         text("Further ids of the same fact, separated by commas: those of the processor's other webhooks that tell it."),
						"references":   text("The processor's ids, each as connector:account:id, that this event is the first to map to its merchant_transaction_id: a JSON array of strings."),
						"fields":       text("The optional fields that the event has, separated by commas."),
						"connector":    text("The processor."),
						"traceparent":  text("The W3C trace context of the webhook."),
					},
				},
				"bindings": object{"kafka": object{"key": text("The merchant_transaction_id."), "bindingVersion": "0.5.0"}},
			}},
			"schemas": components,
		},
	})
	return bytes.ReplaceAll(b, []byte(`"#/$defs/`), []byte(`"#/components/schemas/`))
}
