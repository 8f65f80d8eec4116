package verify

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"regexp"
	"time"
)

// wallee signs the body if the webhook listener is configured to sign and to send the state.
// It sends x-signature: algorithm=SHA256withECDSA, keyId=<id>, signature=<base64>. A webhook
// without a signature does not have the state either, and is refused.
//
// wallee uses its keys for all customers, and any customer can have webhooks sent to any
// URL. The body has the space, so a setting can limit an endpoint to webhooks of the
// merchant's own space.
//
// https://app-wallee.com/en-us/doc/webhooks
var wallee = Connector{
	Docs:   "https://app-wallee.com/en-us/doc/webhooks",
	Signs:  "ECDSA (P-256, SHA-256) of the body, base64, in x-signature (algorithm=, keyId=, signature=)",
	Covers: CoversBody,
	Weakness: "the keys sign for all of wallee's customers: set space_id, or other customers' webhooks to this URL are accepted, too; " +
		"no limit to a webhook's age: a captured request can be sent again",
	Headers: []string{"X-Signature"},
	Settings: []Setting{
		{Name: "public_keys", Description: "wallee's keys as JSON, key id to base64 as its API gives it", Required: true},
		walleeSpace,
	},
	Keyless: true,
	check:   walleeCheck,
	verify:  walleeVerify,
}

var walleeSpace = Setting{Name: "space_id", Description: "the space whose webhooks are accepted; without it those of all spaces are accepted"}

func walleeCheck(_ string, k Keys) error {
	given, err := k.named("public_keys")
	if err != nil {
		return err
	}
	for id, text := range given {
		if _, err := walleeKey(text); err != nil {
			return fmt.Errorf("%w: public_keys: %s: %v", ErrSetting, id, err)
		}
	}
	return nil
}

var walleeHeader = regexp.MustCompile(`^algorithm=(\w+), keyId=([\w-]+), signature=([A-Za-z0-9+/=]+)$`)

func walleeVerify(r Request, _ string, k Keys, _ time.Time) (Verified, error) {
	value, err := r.header("X-Signature")
	if err != nil {
		return Verified{}, err
	}
	header := walleeHeader.FindStringSubmatch(value)
	if header == nil {
		return Verified{}, fmt.Errorf("%w: x-signature: want algorithm=<name>, keyId=<id>, signature=<base64>", ErrMalformed)
	}
	algorithm, id := header[1], header[2]
	if algorithm != "SHA256withECDSA" {
		return Verified{}, fmt.Errorf("%w: x-signature has algorithm %q, want SHA256withECDSA", ErrAlgorithm, algorithm)
	}
	signature, err := base64.StdEncoding.Strict().DecodeString(header[3])
	if err != nil {
		return Verified{}, fmt.Errorf("%w: x-signature: %v", ErrMalformed, err)
	}
	given, err := k.named("public_keys")
	if err != nil {
		return Verified{}, err
	}
	if given[id] == "" {
		return Verified{}, fmt.Errorf("%w: x-signature has keyId %q, want a key of the setting public_keys", ErrKeyUnknown, id)
	}
	key, err := walleeKey(given[id])
	if err != nil {
		return Verified{}, fmt.Errorf("%w: public_keys: %s: %v", ErrSetting, id, err)
	}
	digest := sha256.Sum256(r.Body)
	if !ecdsa.VerifyASN1(key, digest[:], signature) {
		return Verified{}, ErrMismatch
	}
	return Verified{Payload: r.Body}, walleeCheckSpace(r.Body, k.Settings[walleeSpace.Name])
}

// walleeCheckSpace returns an error for a webhook of another space than the setting's.
func walleeCheckSpace(body []byte, space string) error {
	if space == "" {
		return nil
	}
	var b struct {
		SpaceID text `json:"spaceId"`
	}
	if err := decodeJSON(body, &b); err != nil {
		return err
	}
	if string(b.SpaceID) != space {
		return fmt.Errorf("%w: the signature is right, but the space is %q, want that of the setting space_id", ErrMismatch, b.SpaceID)
	}
	return nil
}

// walleeKey parses a public key in the format of wallee's API: base64 of DER, not PEM.
func walleeKey(text string) (*ecdsa.PublicKey, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, err
	}
	if key, ok := parsed.(*ecdsa.PublicKey); ok {
		return key, nil
	}
	return nil, fmt.Errorf("a key of type %T, want ECDSA", parsed)
}
