package verify

import (
	"errors"
	"strings"
	"testing"
)

// TestGuessableSecrets checks that [Check] returns an error for a secret that anyone can
// guess, for every connector, and that the error does not quote the secret.
func TestGuessableSecrets(t *testing.T) {
	guesses := []string{
		" ", "x", "secret", "1234567", "changeme", "CHANGE-ME", "change_me", "whsec_", "whsec_changeme", "your_secret_key", "password",
		"xxxxxxxxxxxxxxxxxxxx", "00000000000000000000000000000000", "abababababababab", "\t\t\t\t\t\t\t\t\t\t",
	}
	for name, c := range connectors {
		if c.Keyless {
			continue
		}
		good := goodKeys(t, name)
		if err := Check(name, good); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		value := good.Secrets[0].Value
		for _, guess := range append(guesses, " "+value, value+" ", value+"\n", "\u00a0"+value) {
			k := good
			k.Secrets = append([]Secret{{"new", guess}}, good.Secrets...)
			err := Check(name, k)
			if !errors.Is(err, ErrSetting) || !strings.Contains(err.Error(), `secret "new"`) {
				t.Errorf("%s: the secret %q: %v", name, guess, err)
			} else if strings.Contains(err.Error(), value) {
				t.Errorf("%s: the error has the secret: %v", name, err)
			}
		}
	}
	for name, guess := range map[string]string{"svix": "whsec_dGVzdA==", "adyen": "ad1e5eed00", "lithic": "whsec_AAAAAAAAAAAAAAAA"} {
		k := goodKeys(t, name)
		k.Secrets = []Secret{{"short", guess}}
		if err := Check(name, k); !errors.Is(err, ErrSetting) {
			t.Errorf("%s: an encoded key of too few bytes: %v", name, err)
		}
	}
}

// TestToleranceBound checks the limits of tolerance_seconds: with a tolerance of years, anyone
// could replay a captured request.
func TestToleranceBound(t *testing.T) {
	for text, good := range map[string]bool{
		"1": true, "604800": true, "604801": false, "2147483647": false, "99999999999": false, "0": false, "-1": false, "1.5": false, "1h": false,
	} {
		for name, c := range connectors {
			if !timestamped(name, c) {
				continue
			}
			k := goodKeys(t, name)
			k.Settings["tolerance_seconds"] = text
			if err := Check(name, k); (err == nil) != good {
				t.Errorf("%s: tolerance_seconds %s: %v", name, text, err)
			}
		}
	}
}

// goodKeys returns the keys of a genuine request of the connector. The caller may change them.
func goodKeys(t *testing.T, connector string) Keys {
	t.Helper()
	for _, v := range vectors(t) {
		if v.connector == connector && v.want == nil && Check(connector, v.keys) == nil {
			return v.with(func(*vector) {}).keys
		}
	}
	t.Fatalf("%s has no vector of a genuine request", connector)
	return Keys{}
}
