package schemas_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/tollbridge/tollbridge/schemas"
)

// TestCloudEvents reads events with the Go library of CloudEvents.
func TestCloudEvents(t *testing.T) {
	for _, typ := range schemas.Types() {
		e := full(typ)
		encoded, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var ce event.Event
		if err := json.Unmarshal(encoded, &ce); err != nil {
			t.Errorf("%s: %v", typ, err)
			continue
		}
		if err := ce.Validate(); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
		for _, c := range []struct{ name, got, want string }{
			{"specversion", ce.SpecVersion(), "1.0"},
			{"id", ce.ID(), e.ID},
			{"source", ce.Source(), e.Source},
			{"type", ce.Type(), string(typ)},
			{"subject", ce.Subject(), e.Subject},
			{"time", ce.Time().String(), e.Time.String()},
			{"datacontenttype", ce.DataContentType(), "application/json"},
			{"dataschema", ce.DataSchema(), typ.Schema()},
		} {
			if c.got != c.want {
				t.Errorf("%s: %s is %q, want %q", typ, c.name, c.got, c.want)
			}
		}
		if len(ce.Extensions()) != 0 {
			t.Errorf("%s: read as extensions: %v", typ, ce.Extensions())
		}
		var got schemas.Data
		if err := ce.DataAs(&got); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
		had, _ := json.Marshal(e.Data)
		if has, _ := json.Marshal(got); !bytes.Equal(has, had) {
			t.Errorf("%s: data is %s, want %s", typ, has, had)
		}
	}
}
