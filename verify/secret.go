package verify

import (
	"bytes"
	"crypto/hmac"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// minSecretBytes is how many bytes a secret must have: with one captured request,
// anyone can find a shorter one by trying all. The shortest that processors issue are
// PayU India's salts, of 8 bytes. Where merchants choose the secret, such as Skrill's
// secret word of at most 10 bytes, they can choose one that is long enough.
const minSecretBytes = 8

// placeholders are texts that examples have in place of a secret: in lower case, and
// only their letters and digits.
var placeholders = []string{
	"changeme", "changeit", "changethis", "replaceme", "placeholder", "password", "password1", "passw0rd", "secretkey", "mysecret",
	"yoursecret", "yoursecretkey", "yourwebhooksecret", "webhooksecret", "testsecret", "supersecret", "topsecret",
	"12345678", "123456789", "1234567890", "0123456789", "abcdefgh", "qwertyui", "qwertyuiop", "deadbeef", "undefined",
}

// checkGuessable returns an error that wraps [ErrSetting] for a secret that anyone can
// guess, or that begins or ends with white space, which no processor's secret does. The
// error does not quote the secret.
func checkGuessable(secret string) error {
	if !hmac.Equal([]byte(strings.TrimSpace(secret)), []byte(secret)) {
		return fmt.Errorf("%w: it begins or ends with white space; remove it", ErrSetting)
	}
	text := strings.TrimPrefix(secret, "whsec_") // the same for everybody
	bare := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, text)
	if slices.ContainsFunc(placeholders, func(p string) bool { return hmac.Equal([]byte(p), []byte(bare)) }) {
		return fmt.Errorf("%w: it is a placeholder, not a secret; use the one that the processor shows", ErrSetting)
	}
	return checkGuessableKey([]byte(secret))
}

// checkGuessableKey is [checkGuessable] for the bytes of a key.
func checkGuessableKey(key []byte) error {
	if len(key) < minSecretBytes {
		return fmt.Errorf("%w: it has %d bytes, want at least %d; use the one that the processor shows, or choose a longer one there", ErrSetting, len(key), minSecretBytes)
	}
	if rest := bytes.ReplaceAll(bytes.ReplaceAll(key, key[:1], nil), key[len(key)-1:], nil); len(rest) == 0 {
		return fmt.Errorf("%w: it repeats one or two characters, and anyone can guess it; use the one that the processor shows", ErrSetting)
	}
	return nil
}
