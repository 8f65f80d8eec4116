package verify

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// braintree posts a form: bt_payload, which is base64 of XML, and bt_signature,
// "<public key>|<hex>" pairs joined by &, one for each API key of the merchant.
// The pair of a configured public key counts; it is the HMAC-SHA1 of the
// payload's text as it stands in the form, or of that with a newline behind
// it, which Braintree's own libraries allow for. The key is the SHA-1 of the
// private key, so that the secret of an endpoint is the private key.
//
// SHA-1 is broken for collisions, not for HMAC. No time is signed: an old
// notification stays good.
//
// When a webhook is saved, Braintree asks for proof by GET ?bt_challenge=<hex>,
// and is answered "<public key>|<hex HMAC-SHA1 of it>". Anyone can ask: what
// has the form of a challenge is therefore never taken for a notification.
//
// https://developer.paypal.com/braintree/docs/guides/webhooks/parse
var braintree = Connector{
	Docs:     "https://developer.paypal.com/braintree/docs/guides/webhooks/parse",
	Signs:    "HMAC-SHA1 of the form's bt_payload, by the SHA-1 of the private key, hex, in bt_signature",
	Covers:   CoversBody,
	Weakness: "SHA-1; no timestamp and no event id: a captured request can be sent again",
	Settings: []Setting{braintreeKeys},
	verify:   braintreeVerify,
}

var braintreeKeys = Setting{
	Name:        "public_key",
	Description: "the public key that belongs to the private key; while keys are rotated several, separated by commas, the one of the first secret first",
	Required:    true,
}

// braintreeAlphabet is what a payload is written in; other characters, which a
// decoder may skip, are refused.
const braintreeAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\n"

var braintreeChallenge = regexp.MustCompile(`\A[0-9a-f]{20,32}\z`)

func braintreeVerify(r Request, secret string, k Keys, _ time.Time) (Verified, error) {
	key := sha1.Sum([]byte(secret))
	publics := strings.FieldsFunc(k.Settings[braintreeKeys.Name], func(c rune) bool { return c == ',' || c == ' ' })
	if len(publics) == 0 {
		return Verified{}, fmt.Errorf("%w: %q names no key", ErrSetting, braintreeKeys.Name)
	}
	if r.Method == http.MethodGet {
		return braintreeProof(r.URL, publics[0], key[:])
	}
	form, err := url.ParseQuery(string(withoutMark(r.Body)))
	if err != nil {
		return Verified{}, fmt.Errorf("%w: the body is not a form: %v", ErrMalformed, err)
	}
	signature, payload := form["bt_signature"], form["bt_payload"]
	switch {
	case len(signature) == 0 || signature[0] == "":
		return Verified{}, fmt.Errorf("%w: no bt_signature in the form", ErrMissing)
	case len(signature) > 1 || len(payload) != 1 || payload[0] == "":
		return Verified{}, fmt.Errorf("%w: %d bt_signature and %d bt_payload in the form, want one of each", ErrMalformed, len(signature), len(payload))
	case strings.Trim(payload[0], braintreeAlphabet) != "" || braintreeChallenge.MatchString(payload[0]):
		return Verified{}, fmt.Errorf("%w: bt_payload is not base64 of a notification", ErrMalformed)
	}
	if err := braintreeMatch(signature[0], []byte(payload[0]), key[:], publics); err != nil {
		return Verified{}, err
	}
	xml, err := base64.StdEncoding.DecodeString(payload[0])
	if err != nil {
		return Verified{}, fmt.Errorf("%w: bt_payload: %v", ErrMalformed, err)
	}
	return Verified{Payload: xml}, nil
}

// braintreeMatch looks for a pair of one of the public keys whose signature is
// that of the payload.
func braintreeMatch(signature string, payload, key []byte, publics []string) error {
	bare, broken := sum(sha1.New, key, payload), sum(sha1.New, key, payload, []byte("\n"))
	pairs, ours := 0, 0
	for pair := range strings.SplitSeq(signature, "&") {
		public, digest, ok := strings.Cut(pair, "|")
		got, err := hex.DecodeString(digest)
		if !ok || err != nil {
			continue
		}
		pairs++
		if !slices.Contains(publics, public) {
			continue
		}
		ours++
		if hmac.Equal(got, bare) || hmac.Equal(got, broken) {
			return nil
		}
	}
	switch {
	case ours > 0:
		return ErrMismatch
	case pairs > 0:
		return fmt.Errorf("%w: bt_signature has no pair of the public keys %q", ErrKeyUnknown, publics)
	default:
		return fmt.Errorf("%w: bt_signature: want <public key>|<hex>", ErrMalformed)
	}
}

// braintreeProof answers a challenge.
func braintreeProof(address, public string, key []byte) (Verified, error) {
	u, err := url.Parse(address)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: the address: %v", ErrMalformed, err)
	}
	challenge := u.Query()["bt_challenge"]
	switch {
	case len(challenge) == 0:
		return Verified{}, fmt.Errorf("%w: no bt_challenge in the query", ErrMissing)
	case len(challenge) > 1 || !braintreeChallenge.MatchString(challenge[0]):
		return Verified{}, fmt.Errorf("%w: bt_challenge: want 20 to 32 hex digits in lower case", ErrMalformed)
	}
	digest := hex.EncodeToString(sum(sha1.New, key, []byte(challenge[0])))
	return Verified{Handshake: true, Reply: []byte(public + "|" + digest)}, nil
}
