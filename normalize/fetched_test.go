package normalize

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/schemas"
)

// fetchedCase is a webhook with what was fetched for it: fetched/<connector>/<case>.json.
type fetchedCase struct {
	Webhook  json.RawMessage            `json:"webhook"` // a text is a form
	Settings map[string]string          `json:"settings"`
	Live     bool                       `json:"live"`
	Fetched  map[string]json.RawMessage `json:"fetched"` // by name
}

// payload returns the webhook's payload.
func (c fetchedCase) payload() []byte {
	var form string
	if json.Unmarshal(c.Webhook, &form) == nil {
		return []byte(form)
	}
	return c.Webhook
}

// normalize returns the result with the documents.
func (c fetchedCase) normalize(t *testing.T, connector string, documents []schemas.Fetched) Result {
	t.Helper()
	r, err := Normalize(connector, c.payload(), Options{ReceivedAt: received, Live: c.Live, Settings: c.Settings, Fetched: documents})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// documents returns the fetched documents, sorted by name.
func (c fetchedCase) documents() (all []schemas.Fetched) {
	for name, body := range c.Fetched {
		all = append(all, schemas.Fetched{Name: name, Status: http.StatusOK, At: received, Body: body})
	}
	slices.SortFunc(all, func(a, b schemas.Fetched) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// eachFetched runs f for every case.
func eachFetched(t *testing.T, f func(t *testing.T, connector, file string, c fetchedCase)) {
	t.Helper()
	files, err := filepath.Glob("fetched/*/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimPrefix(strings.TrimSuffix(file, ".json"), "fetched/"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var c fetchedCase
			if err := json.Unmarshal(b, &c); err != nil {
				t.Fatal(err)
			}
			f(t, filepath.Base(filepath.Dir(file)), file, c)
		})
	}
}

// TestFetched compares the result of each case with its golden, byte for byte.
func TestFetched(t *testing.T) {
	schema := schemaOf(t)
	eachFetched(t, func(t *testing.T, connector, file string, c fetchedCase) {
		r := c.normalize(t, connector, c.documents())
		got, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		name := strings.TrimSuffix(file, ".json") + ".golden"
		if *update {
			if err := os.WriteFile(name, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatalf("%v (run with -update, then read it)", err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs (if right, run with -update):\ngot:\n%s\nwant:\n%s", name, got, want)
		}
		for _, e := range r.Events {
			validate(t, schema, e)
		}
	})
}

// statesOfObjects are the connectors whose webhooks have no state: all events come from
// the document.
var statesOfObjects = map[string]bool{"mollie": true, "mercadopago": true}

// TestFetchedKeepsEvents: a document only adds to the events of a webhook. Their ids,
// types and times stay as they are without it, so that an endpoint which gets an API
// publishes nothing again.
func TestFetchedKeepsEvents(t *testing.T) {
	eachFetched(t, func(t *testing.T, connector, _ string, c fetchedCase) {
		with, without := c.normalize(t, connector, c.documents()), c.normalize(t, connector, nil)
		if statesOfObjects[connector] {
			return
		}
		for _, e := range without.Events {
			i := slices.IndexFunc(with.Events, func(w schemas.Event) bool { return slices.Contains(slices.Collect(w.IDs()), e.ID) })
			switch {
			case i < 0 && with.Has(OutcomeIgnored):
			case i < 0:
				t.Errorf("the event %s %s is not there with the document: %+v", e.Type, e.ID, with.Skipped)
			case with.Events[i].Type != e.Type || !with.Events[i].Time.Equal(e.Time):
				t.Errorf("%s at %v became %s at %v", e.Type, e.Time, with.Events[i].Type, with.Events[i].Time)
			}
		}
		unknown := c.documents()
		for i := range unknown {
			unknown[i].Status = schemas.StatusUnknown
		}
		if got, want := c.normalize(t, connector, unknown), without; !equalJSON(t, got, want) {
			t.Errorf("with documents that the API does not know: %+v, want %+v", got, want)
		}
	})
}

// TestFetchedMalformed: a document is read with the care of a payload. One that is not
// what the processor documents makes the event malformed, and says which document it is.
func TestFetchedMalformed(t *testing.T) {
	eachFetched(t, func(t *testing.T, connector, _ string, c fetchedCase) {
		for i, d := range c.documents() {
			for _, body := range []string{"", " ", "[]", `"text"`, "{", `{"id":1,"id":2}`, "{\"id\":\"\xff\"}", "null x"} {
				documents := c.documents()
				documents[i].Body = []byte(body)
				r := c.normalize(t, connector, documents)
				if !r.Has(OutcomeMalformed) || !strings.Contains(r.Skipped[0].Reason, "fetched") {
					t.Errorf("%s is %q: %d events, %+v; want malformed", d.Name, body, len(r.Events), r.Skipped)
				}
			}
			broken := fetchedCurrency.ReplaceAll(d.Body, []byte(`$1"G1"`))
			if bytes.Equal(broken, d.Body) || connector == "btcpay" {
				continue // btcpay: coins have codes of any form
			}
			documents := c.documents()
			documents[i].Body = broken
			r := c.normalize(t, connector, documents)
			if !r.Has(OutcomeMalformed) && !equalJSON(t, r, c.normalize(t, connector, c.documents())) {
				t.Errorf("%s with a currency that is none: %+v", d.Name, r)
			}
		}
	})
}

// fetchedCurrency finds the currency in a document.
var fetchedCurrency = regexp.MustCompile(`("currency": ?)"[A-Za-z]{3}"`)

func equalJSON(t *testing.T, a, b any) bool {
	t.Helper()
	x, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(x, y)
}
