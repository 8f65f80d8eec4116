package verify

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// standard is the scheme of Standard Webhooks: an HMAC-SHA256 of
// "<id>.<unix seconds>.<body>". The signature header has one v1,<base64> for each active
// secret, separated by spaces. Other versions than v1 are for other kinds of keys. The
// names of the headers begin with a prefix: Webhook-Id, Webhook-Timestamp and
// Webhook-Signature. If a sender uses several prefixes, the first one with an Id header
// is used.
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

// standardTolerance is the tolerance of the Standard Webhooks libraries, for the past and
// the future.
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
	if !anyEqual(signatures, sum(sha256.New, key, []byte(id), []byte("."), []byte(sent), []byte("."), r.Body)) {
		return Verified{}, ErrMismatch
	}
	if err := k.within(time.Unix(unix, 0), now, standardTolerance); err != nil {
		return Verified{}, err
	}
	return Verified{Payload: r.Body}, nil
}

// standardKey decodes a secret of [standard]: base64, usually after whsec_.
func standardKey(secret string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("%w: the secret is not base64, with or without the prefix whsec_", ErrSetting) // err would quote the secret
	}
	return key, nil
}

// checkStandardKey is [Connector.check] for connectors with a [standardKey].
func checkStandardKey(secret string, _ Keys) error {
	key, err := standardKey(secret)
	if err != nil {
		return err
	}
	return checkGuessableKey(key)
}
