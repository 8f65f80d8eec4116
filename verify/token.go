package verify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

// digestPrefix marks a digest of a token: the hash and its form.
const digestPrefix = "sha256:"

// Digest returns what a copy of a request keeps in place of a token, which is
// the secret itself: "sha256:" and the SHA-256 in hex. A copy can be compared
// with a secret by it, and nothing can be sent with it.
func Digest(token string) string {
	d := sha256.Sum256([]byte(token))
	return digestPrefix + hex.EncodeToString(d[:])
}

// Redact returns header with the tokens of the connector as their digests,
// where they are not already.
func (c Connector) Redact(header http.Header) http.Header {
	for _, name := range c.Tokens {
		values := header.Values(name)
		for i, v := range values {
			if !isDigest(v) {
				values[i] = Digest(v)
			}
		}
	}
	return header
}

// isDigest reports whether a text has the form of a [Digest].
func isDigest(s string) bool {
	text, ok := strings.CutPrefix(s, digestPrefix)
	d, err := hex.DecodeString(text)
	return ok && err == nil && len(d) == sha256.Size
}

// sharedValue is the Verify of processors that send the secret itself in a
// header and sign nothing; their Tokens have the header. It is compared by its
// hash, so that not even its length can be measured.
func sharedValue(header string) verifyFunc {
	return func(r Request, secret string, _ Keys, _ time.Time) (Verified, error) {
		value, err := r.header(header)
		if err != nil {
			return Verified{}, err
		}
		got := Digest(value)
		if r.Archived && isDigest(value) {
			got = value
		}
		if !hmac.Equal([]byte(got), []byte(Digest(secret))) {
			return Verified{}, ErrMismatch
		}
		return Verified{Payload: r.Body}, nil
	}
}
