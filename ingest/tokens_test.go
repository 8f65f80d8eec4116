package ingest_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// TestTokens: for every connector, the archived webhook has no secret in its headers,
// can still be verified, and cannot be sent as a webhook: the archive's replacement of
// the secret is refused.
func TestTokens(t *testing.T) {
	for _, connector := range verify.Connectors() {
		t.Run(connector, func(t *testing.T) {
			payload := sample(t, connector, verifiable(t, connector))
			requests := []*http.Request{signed(t, connector, payload)}
			keys, _, _ := sign.Dev(connector)
			c, _ := verify.Lookup(connector)
			for _, token := range c.Tokens { // otherwise it may be signed in another way, as by Flutterwave
				r := signed(t, connector, payload)
				for _, name := range c.Headers {
					r.Header.Del(name)
				}
				r.Header.Set(token, keys.Secrets[0].Value)
				requests = append(requests, r)
			}
			for _, r := range requests {
				archivedWithoutSecrets(t, connector, keys, c, r)
			}
		})
	}
}

// verifiable returns the name of a connector's last sample that can be verified. Some
// samples are refused whatever their signature, and are not archived.
func verifiable(t *testing.T, connector string) string {
	t.Helper()
	for _, name := range slices.Backward(samples.Names(connector)) {
		if !sign.Malformed(connector, sample(t, connector, name)) {
			return name
		}
	}
	t.Fatalf("every sample of %s is refused", connector)
	return ""
}

func archivedWithoutSecrets(t *testing.T, connector string, keys verify.Keys, c verify.Connector, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	send := func(b *bridge, header http.Header) int {
		q := httptest.NewRequest(r.Method, r.URL.String(), bytes.NewReader(body))
		q.Header = header.Clone()
		w := httptest.NewRecorder()
		b.ServeHTTP(w, q)
		return w.Code
	}
	b := newBridge(t)
	if code := send(b, r.Header); code/100 != 2 {
		t.Fatalf("answered %d", code)
	}
	at := slices.IndexFunc(b.published(), func(r kafka.Record) bool { return strings.HasPrefix(r.Topic, "webhooks.") })
	if at < 0 {
		t.Fatal("the webhook is not archived")
	}
	record := b.published()[at]
	for _, h := range record.Headers {
		for _, s := range keys.Secrets {
			if strings.Contains(string(h.Value), s.Value) {
				t.Errorf("the archived header %s contains the secret: add it to the connector's Tokens", h.Name)
			}
		}
	}
	endpoint := webhook.Endpoint{Connector: connector, Keys: keys, PublicURL: publicURL}
	again := func(headers []schemas.Header) webhook.Archived {
		a, err := webhook.ReadArchived(headers, record.Value)
		if err != nil {
			t.Fatal(err)
		}
		if j := endpoint.JudgeArchived(t.Context(), new(verify.Keyring), a); j.Err != nil {
			t.Errorf("the archived webhook is not verified: %v", j.Err)
		}
		return a
	}
	kept := again(record.Headers)
	// An older version archived tokens unchanged.
	older := slices.Clone(record.Headers)
	for _, token := range c.Tokens {
		for i := range older {
			if older[i].Name == "http-"+token {
				older[i].Value = keys.Secrets[0].Value
			}
		}
	}
	for name, values := range again(older).Header {
		if !slices.Equal(values, kept.Header[name]) {
			t.Errorf("the header %s of an older record is read as %q, want %q", name, values, kept.Header[name])
		}
	}
	// A request with the archived headers is refused.
	replayed := r.Header.Clone()
	has := false
	for _, token := range c.Tokens {
		if v := kept.Header.Get(token); v != "" {
			has = true
			if !strings.HasPrefix(v, "sha256:") {
				t.Errorf("%s is archived as %q, want its digest", token, v)
			}
			replayed.Set(token, v)
		}
	}
	if has {
		for _, name := range c.Headers {
			if !slices.Contains(c.Tokens, name) {
				replayed.Del(name)
			}
		}
		if code := send(newBridge(t), replayed); code/100 == 2 {
			t.Error("a request with the digest in place of the secret is accepted")
		}
	}
}
