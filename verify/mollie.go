package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// mollie signs the body of its next-gen webhooks with the webhook's signing
// secret and sends X-Mollie-Signature: sha256=<hex>, or only the hex. For a day after a
// secret is replaced, Mollie sends signatures of both, each in a header of its own. Some
// proxies join these headers by commas. No timestamp is signed. Mollie's classic webhooks,
// id=<id>, are not signed: they are refused unless the endpoint has an API, which knows
// whether the id is one of the merchant's payments.
//
// https://docs.mollie.com/reference/webhooks-new
var mollie = Connector{
	Docs:     "https://docs.mollie.com/reference/webhooks-new",
	Signs:    "HMAC-SHA256 of the body, hex, in X-Mollie-Signature (sha256=); classic webhooks (id=tr_…) are not signed, and refused unless api is configured",
	Covers:   CoversBody,
	Weakness: "no timestamp: a captured request can be sent again, and only its event id shows it",
	Headers:  []string{"X-Mollie-Signature"},
	verify:   mollieVerify,
	unsigned: mollieUnsigned,
}

// mollieUnsigned reads a classic webhook: a form whose only field is the id.
func mollieUnsigned(r Request) ([]byte, bool) {
	if r.Header.Get("X-Mollie-Signature") != "" {
		return nil, false
	}
	f, err := r.form()
	return r.Body, err == nil && len(f) == 1 && f["id"] != ""
}

func mollieVerify(r Request, secret string, _ Keys, _ time.Time) (Verified, error) {
	header := strings.Join(r.Header.Values("X-Mollie-Signature"), ",")
	if header == "" {
		return Verified{}, fmt.Errorf("%w: no X-Mollie-Signature header", ErrMissing)
	}
	var signatures [][]byte
	for one := range strings.SplitSeq(header, ",") {
		s, err := hex.DecodeString(strings.TrimPrefix(strings.TrimSpace(one), "sha256="))
		if err != nil {
			return Verified{}, fmt.Errorf("%w: X-Mollie-Signature: %v", ErrMalformed, err)
		}
		signatures = append(signatures, s)
	}
	if !anyEqual(signatures, sum(sha256.New, []byte(secret), r.Body)) {
		return Verified{}, ErrMismatch
	}
	return Verified{Payload: r.Body}, nil
}
