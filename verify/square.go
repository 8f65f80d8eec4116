package verify

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// square signs the notification URL followed by the body with the
// subscription's signature key, text used as it is. The URL is the one that
// was given to Square, to the byte: it comes from configuration, and a request
// to an endpoint without one is refused.
//
// No time is signed, so a captured request stays good for ever: event_id,
// which is, tells a repetition.
//
// https://developer.squareup.com/docs/webhooks/step3validate
var square = Connector{
	Docs:     "https://developer.squareup.com/docs/webhooks/step3validate",
	Signs:    "HMAC-SHA256 of the notification URL and the body, base64, in x-square-hmacsha256-signature",
	Covers:   CoversBody,
	Weakness: "no time is signed: only the event_id tells a captured request that is sent again",
	Headers:  []string{"x-square-hmacsha256-signature"},
	verify: mac{
		hash:   sha256.New,
		header: "x-square-hmacsha256-signature",
		decode: base64.StdEncoding.Strict().DecodeString,
		signed: squareSigned,
	}.verify,
}

func squareSigned(r Request) ([][]byte, error) {
	if r.URL == "" {
		return nil, fmt.Errorf("%w: the URL that Square was given is not configured, and it is signed", ErrSetting)
	}
	return [][]byte{[]byte(r.URL), r.Body}, nil
}
