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

// mac is the commonest scheme: a keyed hash of some bytes of the request,
// encoded in one header.
type mac struct {
	hash   func() hash.Hash
	header string
	decode func(string) ([]byte, error)    // of the header's value
	key    func(string) ([]byte, error)    // from the secret; nil takes its bytes
	signed func(Request) ([][]byte, error) // nil is the body
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

// timed is a MAC of the time of sending and the body, hex. The header holds,
// as name=value, the time in unix seconds and one signature for each live
// secret; other names are of schemes that are not for us. A time in the future
// is let through: only who has the secret can have signed it.
type timed struct {
	header    string
	between   string // the pairs in the header
	time      string // the name of the time
	signature string // the name of a signature
	joint     string // stands between the time and the body where they are signed
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
	if !among(signatures, sum(sha256.New, []byte(secret), []byte(sent), []byte(m.joint), r.Body)) {
		return Verified{}, ErrMismatch
	}
	if err := k.notBefore(time.Unix(unix, 0), now, m.tolerance); err != nil {
		return Verified{}, err
	}
	return Verified{Payload: r.Body}, nil
}

// among reports whether one of the signatures is the right one: processors
// send several while one secret replaces another.
func among(signatures [][]byte, right []byte) bool {
	return slices.ContainsFunc(signatures, func(s []byte) bool { return hmac.Equal(s, right) })
}

// sum returns the MAC of the parts, one after the other.
func sum(h func() hash.Hash, key []byte, parts ...[]byte) []byte {
	m := hmac.New(h, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

// hexKey is the key of processors that hand it out as hex text.
func hexKey(secret string) ([]byte, error) {
	key, err := hex.DecodeString(secret)
	if err != nil {
		return nil, fmt.Errorf("%w: the secret is not hex text", ErrSetting) // err would quote the secret
	}
	return key, nil
}

// checkHexKey is the Check of connectors with a [hexKey].
func checkHexKey(secret string, _ Keys) error {
	key, err := hexKey(secret)
	if err != nil {
		return err
	}
	return guessableKey(key)
}
