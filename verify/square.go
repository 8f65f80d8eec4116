package verify

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// square signs the notification URL followed by the body with the subscription's signature
// key, whose text is the HMAC's key. The URL must be exactly the one that is set at Square.
// It comes from the configuration, and requests to an endpoint without it are refused.
//
// No timestamp is signed: a captured request can be sent again at any time. The signed
// event_id identifies a redelivery.
//
// https://developer.squareup.com/docs/webhooks/step3validate
var square = Connector{
	Docs:     "https://developer.squareup.com/docs/webhooks/step3validate",
	Signs:    "HMAC-SHA256 of the notification URL and the body, base64, in x-square-hmacsha256-signature",
	Covers:   CoversBody,
	Weakness: "no time is signed: only the event_id shows that a captured request was sent again",
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
		return nil, fmt.Errorf("%w: the URL that is set at Square is not configured: it is signed", ErrSetting)
	}
	return [][]byte{[]byte(r.URL), r.Body}, nil
}
