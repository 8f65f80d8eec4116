package verify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mac is the most common scheme: a MAC of some bytes of the request, encoded in one
// header.
type mac struct {
	hash   func() hash.Hash
	header string
	decode func(string) ([]byte, error)    // decodes the header's value
	key    func(string) ([]byte, error)    // returns the MAC's key; nil means the bytes of the secret
	signed func(Request) ([][]byte, error) // returns the signed bytes; nil means the body
}

func (m mac) verify(r Request, secret string, _ Keys, _ time.Time) (Verified, error) {
	value, err := r.header(m.header)
	if err != nil {
		return Verified{}, err
	}
	signature, err := m.decode(value)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: %s: %v", ErrMalformed, m.header, err)
	}
	key := []byte(secret)
	if m.key != nil {
		if key, err = m.key(secret); err != nil {
			return Verified{}, err
		}
	}
	signed := [][]byte{r.Body}
	if m.signed != nil {
		if signed, err = m.signed(r); err != nil {
			return Verified{}, err
		}
	}
	if !hmac.Equal(signature, sum(m.hash, key, signed...)) {
		return Verified{}, ErrMismatch
	}
	return Verified{Payload: r.Body}, nil
}

// timed is the scheme of an HMAC-SHA256 of a timestamp and the body, hex. The header has
// name=value pairs: the timestamp in Unix seconds, and one signature for each active
// secret. Pairs of other names belong to other schemes and are ignored. A timestamp in
// the future is accepted: only the holder of the secret can have signed it.
type timed struct {
	header    string
	between   string // separates the pairs in the header
	time      string // the name of the timestamp
	signature string // the name of a signature
	joint     string // separates the timestamp and the body in the signed text
	tolerance time.Duration
}

func (m timed) verify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	header, err := r.header(m.header)
	if err != nil {
		return Verified{}, err
	}
	var sent string
	var signatures [][]byte
	for pair := range strings.SplitSeq(header, m.between) {
		switch name, value, _ := strings.Cut(pair, "="); name {
		case m.time:
			sent = value
		case m.signature:
			if s, err := hex.DecodeString(value); err == nil {
				signatures = append(signatures, s)
			}
		}
	}
	unix, err := strconv.ParseInt(sent, 10, 64)
	if err != nil || len(signatures) == 0 {
		return Verified{}, fmt.Errorf("%w: %s: want %s=<unix seconds>%s%s=<hex>", ErrMalformed, m.header, m.time, m.between, m.signature)
	}
	if !anyEqual(signatures, sum(sha256.New, []byte(secret), []byte(sent), []byte(m.joint), r.Body)) {
		return Verified{}, ErrMismatch
	}
	if err := k.notBefore(time.Unix(unix, 0), now, m.tolerance); err != nil {
		return Verified{}, err
	}
	return Verified{Payload: r.Body}, nil
}

// anyEqual reports whether one of the signatures is the right one: while secrets are
// rotated, processors send one for each.
func anyEqual(signatures [][]byte, right []byte) bool {
	return slices.ContainsFunc(signatures, func(s []byte) bool { return hmac.Equal(s, right) })
}

// sum returns the HMAC of the concatenated parts.
func sum(h func() hash.Hash, key []byte, parts ...[]byte) []byte {
	m := hmac.New(h, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

// hexKey decodes the key of a processor that issues it as hex.
func hexKey(secret string) ([]byte, error) {
	key, err := hex.DecodeString(secret)
	if err != nil {
		return nil, fmt.Errorf("%w: the secret is not hex", ErrSetting) // err would quote the secret
	}
	return key, nil
}

// checkHexKey is [Connector.check] for connectors with a [hexKey].
func checkHexKey(secret string, _ Keys) error {
	key, err := hexKey(secret)
	if err != nil {
		return err
	}
	return checkGuessableKey(key)
}
