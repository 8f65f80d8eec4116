package sign_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/verify"
)

// TestEveryConnector checks, for every sample of every connector, that package verify
// verifies the signed request and that package normalize can read its payload.
func TestEveryConnector(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const url = "http://127.0.0.1:8080/webhooks/x"
	for _, connector := range verify.Connectors() {
		keys, private, ok := sign.Dev(connector)
		if !ok {
			t.Errorf("connector %q has no signer in internal/sign", connector)
			continue
		}
		if err := verify.Check(connector, keys); err != nil {
			t.Errorf("%s: the dev keys: %v", connector, err)
		}
		for _, name := range samples.Names(connector) {
			payload, err := samples.Payload(connector, name)
			if err != nil {
				t.Fatal(err)
			}
			r, err := sign.Request(connector, payload, private, keys.Settings, url, now)
			if err != nil {
				t.Errorf("%s %s: %v", connector, name, err)
				continue
			}
			v, err := verify.Verify(connector, r, keys, now)
			if strings.Contains(name, "malformed") && sign.Malformed(connector, payload) {
				continue
			}
			if err != nil {
				t.Errorf("%s %s: %v", connector, name, err)
				continue
			}
			if _, err := normalize.Normalize(connector, v.Payload, normalize.Options{ReceivedAt: now}); err != nil {
				t.Errorf("%s %s: %v", connector, name, err)
			}
		}
	}
}

// TestEmptySecret checks that a request that is signed with the empty secret, as anyone could
// do, is never verified, whatever secrets the endpoint has.
func TestEmptySecret(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const url = "http://127.0.0.1:8080/webhooks/x"
	for _, connector := range verify.Connectors() {
		keys, _, _ := sign.Dev(connector)
		if c, _ := verify.Lookup(connector); c.Keyless {
			continue
		}
		payload, err := samples.Payload(connector, samples.Names(connector)[0])
		if err != nil {
			t.Fatal(err)
		}
		r, err := sign.Request(connector, payload, "", keys.Settings, url, now)
		if err != nil {
			continue // the signer needs a key
		}
		for _, secrets := range [][]verify.Secret{nil, {{Name: "empty"}}, append([]verify.Secret{{Name: "empty"}}, keys.Secrets...), keys.Secrets} {
			if _, err := verify.Verify(connector, r, verify.Keys{Secrets: secrets, Settings: keys.Settings}, now); err == nil {
				t.Errorf("%s: verified a request signed with the empty secret, at an endpoint with %d secrets", connector, len(secrets))
			}
		}
	}
}

// TestDevIsCopied changes the keys that Dev returns, and wants those of the next call
// unchanged.
func TestDevIsCopied(t *testing.T) {
	keys, _, _ := sign.Dev("square")
	want := keys.Secrets[0].Value
	keys.Secrets[0].Value = "changed"
	for name := range keys.Settings {
		keys.Settings[name] = "changed"
	}
	keys, private, _ := sign.Dev("square")
	if keys.Secrets[0].Value != want || private != want {
		t.Errorf("the secret is %q and %q, want %q", keys.Secrets[0].Value, private, want)
	}
	for name, value := range keys.Settings {
		if value == "changed" {
			t.Errorf("the setting %s is changed", name)
		}
	}
}
