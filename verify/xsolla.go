package verify

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"strings"
)

// xsolla hashes the body with the project's secret key behind it and sends
// Authorization: Signature <hex of SHA-1>.
//
// It is a plain hash, not an HMAC, and SHA-1 is broken for collisions: whoever
// can make Xsolla sign a body of their choice could have prepared a second one
// with the same signature. No time is signed.
//
// https://developers.xsolla.com/webhooks/overview/#section/Sign-requests
var xsolla = Connector{
	Docs:     "https://developers.xsolla.com/webhooks/overview/#section/Sign-requests",
	Signs:    "SHA-1 of the body and the secret key, hex, in Authorization: Signature <hex>",
	Covers:   CoversBody,
	Weakness: "a plain SHA-1 instead of an HMAC; no timestamp: a captured request can be sent again",
	Headers:  []string{"Authorization"},
	verify:   xsollaJoined.verify,
	joined:   []joined{xsollaJoined},
}

var xsollaJoined = joined{
	read:     xsollaRead,
	messages: one(message{hash: sha1.New, parts: []part{field(bodyField, free), keyPart}}),
}

func xsollaRead(r Request) (form, []byte, error) {
	header, err := r.header("Authorization")
	if err != nil {
		return nil, nil, err
	}
	value, ok := strings.CutPrefix(header, "Signature ")
	signature, err := hex.DecodeString(value)
	if !ok || err != nil {
		return nil, nil, fmt.Errorf("%w: Authorization: want Signature <hex>", ErrMalformed)
	}
	return form{bodyField: string(r.Body)}, signature, nil
}
