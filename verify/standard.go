package verify

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// standard is Standard Webhooks: "<id>.<unix seconds>.<body>" is signed by
// HMAC-SHA256, and the signature header holds, separated by spaces, one
// v1,<base64> for each live secret. Other versions are for other keys. The
// headers are named by a prefix: Webhook-Id, Webhook-Timestamp and
// Webhook-Signature. Where a sender has two names for them, the first prefix
// whose id is there counts.
//
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
type standard struct{ prefixes []string }

// headers returns the names of the headers that verification reads.
func (s standard) headers() []string {
	var names []string
	for _, p := range s.prefixes {
		names = append(names, p+"-Id", p+"-Timestamp", p+"-Signature")
	}
	return names
}

// standardTolerance is that of the libraries, into the past and the future.
const standardTolerance = 5 * time.Minute

func (s standard) verify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	prefix := s.prefixes[0]
	for _, p := range s.prefixes[1:] {
		if r.Header.Get(prefix+"-Id") == "" {
			prefix = p
		}
	}
	id, err := r.header(prefix + "-Id")
	if err != nil {
		return Verified{}, err
	}
	sent, err := r.header(prefix + "-Timestamp")
	if err != nil {
		return Verified{}, err
	}
	header, err := r.header(prefix + "-Signature")
	if err != nil {
		return Verified{}, err
	}
	unix, err := strconv.ParseInt(sent, 10, 64)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: %s-Timestamp is %q, want unix seconds", ErrMalformed, prefix, sent)
	}
	var signatures [][]byte
	for one := range strings.SplitSeq(header, " ") {
		version, value, _ := strings.Cut(one, ",")
		if b, err := base64.StdEncoding.Strict().DecodeString(value); version == "v1" && err == nil && len(b) > 0 {
			signatures = append(signatures, b)
		}
	}
	if len(signatures) == 0 {
		return Verified{}, fmt.Errorf("%w: %s-Signature: want v1,<base64>", ErrMalformed, prefix)
	}
	key, err := standardKey(secret)
	if err != nil {
		return Verified{}, err
	}
	if !among(signatures, sum(sha256.New, key, []byte(id), []byte("."), []byte(sent), []byte("."), r.Body)) {
		return Verified{}, ErrMismatch
	}
	if err := k.within(time.Unix(unix, 0), now, standardTolerance); err != nil {
		return Verified{}, err
	}
	return Verified{Payload: r.Body}, nil
}

// standardKey is the key of [standard]: base64, mostly after whsec_.
func standardKey(secret string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("%w: the secret is not base64, with or without whsec_ before it", ErrSetting) // err would quote the secret
	}
	return key, nil
}

// checkStandardKey is the Check of connectors with a [standardKey].
func checkStandardKey(secret string, _ Keys) error {
	key, err := standardKey(secret)
	if err != nil {
		return err
	}
	return guessableKey(key)
}
