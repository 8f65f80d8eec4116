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

// braintree sends a form with bt_payload, which is base64 of XML, and bt_signature, which has
// "<public key>|<hex>" pairs joined by &, one for each API key of the merchant. The hex is
// the HMAC-SHA1 of bt_payload exactly as in the form or, as in Braintree's own libraries,
// of bt_payload and a newline. Only pairs of a configured public key are compared. The
// HMAC's key is the SHA-1 of the private key; the endpoint's secret is the private key.
//
// Collisions of SHA-1 can be found, but they do not break HMAC-SHA1. No timestamp is
// signed: a captured notification can be sent again at any time.
//
// When a webhook is saved, Braintree sends GET ?bt_challenge=<hex> and expects
// "<public key>|<hex HMAC-SHA1 of the challenge>". Anyone can send a challenge and gets its
// signature. Therefore a bt_payload that looks like a challenge is refused.
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

// braintreeAlphabet has the characters of bt_payload. Others, which a base64 decoder may skip,
// are refused.
const braintreeAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\n"

var braintreeChallenge = regexp.MustCompile(`\A[0-9a-f]{20,32}\z`)

func braintreeVerify(r Request, secret string, k Keys, _ time.Time) (Verified, error) {
	key := sha1.Sum([]byte(secret))
	publics := strings.FieldsFunc(k.Settings[braintreeKeys.Name], func(c rune) bool { return c == ',' || c == ' ' })
	if len(publics) == 0 {
		return Verified{}, fmt.Errorf("%w: %q names no key", ErrSetting, braintreeKeys.Name)
	}
	if r.Method == http.MethodGet {
		return braintreeHandshake(r.URL, publics[0], key[:])
	}
	form, err := url.ParseQuery(string(withoutBOM(r.Body)))
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

// braintreeMatch returns nil if a pair of one of the public keys has the signature of the
// payload.
func braintreeMatch(signature string, payload, key []byte, publics []string) error {
	plain, withNewline := sum(sha1.New, key, payload), sum(sha1.New, key, payload, []byte("\n"))
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
		if hmac.Equal(got, plain) || hmac.Equal(got, withNewline) {
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

// braintreeHandshake returns the reply to a challenge.
func braintreeHandshake(address, public string, key []byte) (Verified, error) {
	u, err := url.Parse(address)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: the URL: %v", ErrMalformed, err)
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
