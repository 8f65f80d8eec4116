package schemas_test

import (
	"encoding/json"
	"testing"

	"github.com/tollbridge/tollbridge/schemas"
)

// TestAsyncAPI reads the document as a code generator would. (AsyncAPI's own
// parser, which is JavaScript, accepts it too.)
func TestAsyncAPI(t *testing.T) {
	type ref struct {
		Ref string `json:"$ref"`
	}
	var got struct {
		AsyncAPI string
		Channels map[string]struct {
			Address  string
			Messages map[string]ref
		}
		Operations map[string]struct {
			Action  string
			Channel ref
		}
		Components struct {
			Messages map[string]struct {
				Name, Summary string
				Traits        []ref
				Payload       ref
			}
			MessageTraits map[string]struct {
				ContentType string
				Headers     struct {
					Required   []string
					Properties map[string]any
				}
				Bindings struct {
					Kafka struct{ Key map[string]string }
				}
			}
			Schemas map[string]json.RawMessage
		}
	}
	text := schemas.AsyncAPI("acme.")
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.AsyncAPI != "3.0.0" {
		t.Errorf("the version of AsyncAPI is %q, want 3.0.0", got.AsyncAPI)
	}
	if n, want := len(got.Channels), len(schemas.Types()); n != want || len(got.Operations) != want || len(got.Components.Messages) != want {
		t.Errorf("%d channels, %d operations, %d messages, want %d of each", n, len(got.Operations), len(got.Components.Messages), want)
	}
	doc := document(t, text)
	for _, typ := range schemas.Types() {
		t.Run(string(typ), func(t *testing.T) {
			name := string(typ)
			channel, operation, message := got.Channels[name], got.Operations[name], got.Components.Messages[name]
			for _, c := range []struct{ what, got, want string }{
				{"address", channel.Address, "acme." + name},
				{"action", operation.Action, "send"},
				{"the operation's channel", operation.Channel.Ref, "#/channels/" + name},
				{"the channel's message", channel.Messages[name].Ref, "#/components/messages/" + name},
				{"the message's name", message.Name, name},
				{"the message's summary", message.Summary, typ.Description()},
				{"the message's payload", message.Payload.Ref, "#/components/schemas/" + name},
			} {
				if c.got != c.want {
					t.Errorf("%s is %q, want %q", c.what, c.got, c.want)
				}
			}
			if len(message.Traits) != 1 || message.Traits[0].Ref != "#/components/messageTraits/event" {
				t.Errorf("the message's traits are %v, want that of every event", message.Traits)
			}
			conform(t, typ, compile(t, doc, "urn:test:asyncapi", message.Payload.Ref), false)
		})
	}
	trait := got.Components.MessageTraits["event"]
	if trait.ContentType != schemas.ContentType {
		t.Errorf("the content type is %q, want %q", trait.ContentType, schemas.ContentType)
	}
	for _, header := range []string{"content-type", "event-id", "event-type", "event-time", "key-source", "corrects", "also", "references", "fields", "connector", "traceparent"} {
		if trait.Headers.Properties[header] == nil {
			t.Errorf("the header %s is missing", header)
		}
	}
	if trait.Bindings.Kafka.Key["type"] != "string" {
		t.Errorf("the Kafka key is %v, want text", trait.Bindings.Kafka.Key)
	}
}
