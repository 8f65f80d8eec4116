package verify

import (
	"bytes"
	"crypto/hmac"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// secretLeast is how many bytes a secret must have: shorter ones are guessed
// from one captured request. The shortest that processors make are PayU India's
// salts, of 8; where the merchant chooses, such as Skrill's secret word, of at
// most 10, as many can be chosen.
const secretLeast = 8

// placeholders are what stands in examples in place of a secret, without case
// and without what is neither a letter nor a digit.
var placeholders = []string{
	"changeme", "changeit", "changethis", "replaceme", "placeholder", "password", "password1", "passw0rd", "secretkey", "mysecret",
	"yoursecret", "yoursecretkey", "yourwebhooksecret", "webhooksecret", "testsecret", "supersecret", "topsecret",
	"12345678", "123456789", "1234567890", "0123456789", "abcdefgh", "qwertyui", "qwertyuiop", "deadbeef", "undefined",
}

// guessable returns an error that wraps [ErrSetting] for a secret that anyone
// can guess, or that has white space around it, which no processor's has. The
// error does not quote the secret.
func guessable(secret string) error {
	if !hmac.Equal([]byte(strings.TrimSpace(secret)), []byte(secret)) {
		return fmt.Errorf("%w: it begins or ends with white space; take that off", ErrSetting)
	}
	text := strings.TrimPrefix(secret, "whsec_") // the same for everybody
	bare := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, text)
	if slices.ContainsFunc(placeholders, func(p string) bool { return hmac.Equal([]byte(p), []byte(bare)) }) {
		return fmt.Errorf("%w: it is a placeholder, not a secret; take the one that the processor shows", ErrSetting)
	}
	return guessableKey([]byte(secret))
}

// guessableKey is [guessable] for the bytes of a key.
func guessableKey(key []byte) error {
	if len(key) < secretLeast {
		return fmt.Errorf("%w: it has %d bytes, want at least %d; take the one that the processor shows, or choose a longer one there", ErrSetting, len(key), secretLeast)
	}
	if rest := bytes.ReplaceAll(bytes.ReplaceAll(key, key[:1], nil), key[len(key)-1:], nil); len(rest) == 0 {
		return fmt.Errorf("%w: it repeats one or two characters, and anyone can guess it; take the one that the processor shows", ErrSetting)
	}
	return nil
}
