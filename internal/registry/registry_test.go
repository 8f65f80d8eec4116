package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/registry"
	"github.com/tollbridge/tollbridge/schemas"
)

// names are the topics of the tests.
var names = kafka.Names{Prefix: "shop.", Types: []schemas.Type{schemas.PaymentCaptured, schemas.DisputeOpened, schemas.PayoutSucceeded}}

func client(t *testing.T, c registry.Config) *registry.Client {
	t.Helper()
	one, err := registry.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return one
}

// conform checks that a client registers the schemas once, and finds their ids.
func conform(t *testing.T, c *registry.Client) {
	t.Helper()
	if ids, err := c.IDs(t.Context(), names); err == nil || !strings.Contains(err.Error(), "shop.payment.captured-value, shop.dispute.opened-value, shop.payout.succeeded-value; register them") {
		t.Errorf("before the schemas are registered: %v, %v; want an error that names the subjects", ids, err)
	}
	first, err := c.Register(t.Context(), names)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Register(t.Context(), names)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := c.IDs(t.Context(), names)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint32]bool{}
	for _, typ := range names.Types {
		one := first[typ]
		if !one.Registered || one.ID == 0 || seen[one.ID] || one.Name != "shop."+string(typ)+"-value" {
			t.Errorf("%s: registered as %+v, expected an id of its own", typ, one)
		}
		seen[one.ID] = true
		if again[typ].Registered || again[typ].ID != one.ID || ids[typ] != one.ID {
			t.Errorf("%s: registered as %d, the second time %+v, looked up %d", typ, one.ID, again[typ], ids[typ])
		}
	}
	if len(ids) != len(names.Types) {
		t.Errorf("ids of %d types, want %d", len(ids), len(names.Types))
	}
}

// TestRESTAPI: the client speaks the documented API with credentials, against a fake.
func TestRESTAPI(t *testing.T) {
	fake := srfake.New(srfake.WithAuth("Bearer registry-token"))
	t.Cleanup(fake.Close)
	conform(t, client(t, registry.Config{URL: fake.URL(), Token: "registry-token"}))
	if _, err := client(t, registry.Config{URL: fake.URL(), Token: "another-token"}).IDs(t.Context(), names); err == nil || errors.Is(err, registry.ErrUnavailable) || !strings.Contains(err.Error(), "check auth") {
		t.Errorf("with a wrong token: %v", err)
	}
	got, ok := fake.GetSchema("shop.payment.captured-value", 1)
	if !ok || got.Type != sr.TypeJSON || got.Schema.Schema == "" {
		t.Errorf("the subject has %+v", got)
	}
}

// TestAnswers: an error says whether waiting helps, and otherwise what to do.
func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer      http.HandlerFunc
		unavailable bool
		want        string
	}{
		"restarting":    {status(503, ""), true, "answers 503"},
		"too many":      {status(429, `{"error_code": 42901, "message": "slow down"}`), true, "slow down"},
		"no connection": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, true, "looking up the schema of shop.payment.captured-value"},
		"half an answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99")
			_, _ = w.Write([]byte("{"))
		}, true, "unavailable"},
		"wrong user":       {status(401, `{"error_code": 40101, "message": "Unauthorized"}`), false, "check auth"},
		"not this API":     {status(404, "<html>"), false, "check url"},
		"a login page":     {status(302, ""), false, "check url"},
		"another service":  {status(200, "<html>"), false, "check url"},
		"an id of nothing": {status(200, `{"id": 0}`), false, "expected a number from 1"},
	} {
		s := httptest.NewServer(c.answer)
		_, err := client(t, registry.Config{URL: s.URL}).IDs(t.Context(), names)
		s.Close()
		if err == nil || errors.Is(err, registry.ErrUnavailable) != c.unavailable || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q, unavailable %v", name, err, c.want, c.unavailable)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client(t, registry.Config{URL: "http://127.0.0.1:1"}).IDs(ended, names); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("no server: %v", err)
	}
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}
}

// TestConfig: a wrong configuration is refused, and no error shows a credential.
func TestConfig(t *testing.T) {
	for _, c := range []struct {
		config registry.Config
		want   string
	}{
		{registry.Config{}, "expected a URL"},
		{registry.Config{URL: "registry:8081"}, "expected a URL"},
		{registry.Config{URL: "http://registry:8081?a=b"}, "without a query"},
		{registry.Config{URL: "https://me:hidden@registry"}, "no user"},
		{registry.Config{URL: "https://registry", Username: "me"}, "only one of them"},
		{registry.Config{URL: "https://registry", Password: "hidden"}, "only one of them"},
		{registry.Config{URL: "https://registry", Username: "me", Password: "hidden", Token: "hidden"}, "got both"},
		{registry.Config{URL: "http://registry", Username: "me", Password: "hidden"}, "expected https"},
		{registry.Config{URL: "http://registry", Token: "hidden"}, "expected https"},
		{registry.Config{URL: "http://registry:8081"}, ""},
		{registry.Config{URL: "http://localhost:8081", Token: "hidden"}, ""},
		{registry.Config{URL: "http://[::1]:8081/apis/ccompat/v7", Token: "hidden"}, ""},
	} {
		_, err := registry.New(c.config)
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hidden")) {
			t.Errorf("%+v: %v; want %q", c.config, err, c.want)
		}
	}
}

// TestApicurio: on a real registry the schemas are registered once, and it accepts what a
// later version may change and refuses what would break consumers.
func TestApicurio(t *testing.T) {
	url := startApicurio(t)
	c := client(t, registry.Config{URL: url})
	conform(t, c)

	later := names
	later.Types = names.Types[:1]
	subject := "shop.payment.captured-value"
	api, err := sr.NewClient(sr.URLs(url))
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]struct {
		accepted bool
		apply    func(data map[string]any)
	}{
		"a new field": {true, func(data map[string]any) { properties(data)["fee"] = map[string]any{"type": "string"} }},
		"a new value": {true, func(data map[string]any) {
			source := properties(data)["key_source"].(map[string]any)
			source["enum"] = append(source["enum"].([]any), "guess")
		}},
		"a field that is gone":    {false, func(data map[string]any) { delete(properties(data), "connector_transaction_id") }},
		"a field of another type": {false, func(data map[string]any) { properties(data)["account"] = map[string]any{"type": "integer"} }},
		"a new required field":    {false, func(data map[string]any) { data["required"] = append(data["required"].([]any), "account") }},
	} {
		var s map[string]any
		if err := json.Unmarshal(schemas.RegistrySchema(schemas.PaymentCaptured), &s); err != nil {
			t.Fatal(err)
		}
		change.apply(properties(s)["data"].(map[string]any))
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := api.CheckCompatibility(t.Context(), subject, -1, sr.Schema{Schema: string(b), Type: sr.TypeJSON})
		if err != nil || got.Is != change.accepted {
			t.Errorf("%s: %+v, %v; want compatible %v", what, got, err, change.accepted)
		}
	}
	if level := api.Compatibility(t.Context(), subject)[0]; level.Err != nil || level.Level != sr.CompatBackward {
		t.Errorf("the compatibility is %v, %v; want BACKWARD", level.Level, level.Err)
	}

	// A subject that another program wrote to is refused, with its reason.
	other := names
	other.Prefix = "other."
	if _, err := api.RegisterSchema(t.Context(), "other.payment.captured-value", sr.Schema{Schema: `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"id":{"type":"integer"}},"additionalProperties":false}`, Type: sr.TypeJSON}, -1, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Register(t.Context(), other); err == nil || errors.Is(err, registry.ErrUnavailable) || !strings.Contains(err.Error(), "not compatible") {
		t.Errorf("a subject with another schema: %v", err)
	}
}

func properties(schema map[string]any) map[string]any { return schema["properties"].(map[string]any) }
