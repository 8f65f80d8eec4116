package verify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

// digestPrefix is what a [Digest] begins with.
const digestPrefix = "sha256:"

// Digest returns "sha256:" and the SHA-256 of a token in hex. An archived request has it
// in place of a token, which is the secret itself. So the archived request can still be
// verified, but nobody who reads it can send webhooks.
func Digest(token string) string {
	d := sha256.Sum256([]byte(token))
	return digestPrefix + hex.EncodeToString(d[:])
}

// Redact replaces the tokens in header by their digests and returns header. It leaves
// values that are digests already.
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

// sharedValue returns the [Connector.verify] of a processor that sends the secret itself
// in a header and signs nothing. [Connector.Tokens] has the header. It compares hashes, so
// that the time does not even depend on the length of the secret.
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
