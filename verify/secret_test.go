package verify

import (
	"errors"
	"strings"
	"testing"
)

// TestGuessableSecrets: no connector takes a secret that anyone can guess, and
// the error does not quote it.
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
			t.Errorf("%s: a key of few bytes, encoded: %v", name, err)
		}
	}
}

// TestToleranceBound: a tolerance that lets anyone's copies in for years is no setting.
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

// goodKeys is the keys of a good request of the connector, for the caller to change.
func goodKeys(t *testing.T, connector string) Keys {
	t.Helper()
	for _, v := range vectors(t) {
		if v.connector == connector && v.want == nil && Check(connector, v.keys) == nil {
			return v.with(func(*vector) {}).keys
		}
	}
	t.Fatalf("%s has no vector of a good request", connector)
	return Keys{}
}
