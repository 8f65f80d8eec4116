package verify

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"strings"
)

// xsolla hashes the body followed by the project's secret key and sends
// Authorization: Signature <hex of SHA-1>.
//
// It is a plain hash, not an HMAC, and collisions of SHA-1 can be found: an attacker who can
// make Xsolla sign a chosen body can prepare a second body with the same signature. No
// timestamp is signed.
//
// https://developers.xsolla.com/webhooks/overview/#section/Sign-requests
var xsolla = Connector{
	Docs:     "https://developers.xsolla.com/webhooks/overview/#section/Sign-requests",
	Signs:    "SHA-1 of the body and the secret key, hex, in Authorization: Signature <hex>",
	Covers:   CoversBody,
	Weakness: "a plain SHA-1 instead of an HMAC; no timestamp: a captured request can be sent again",
	Headers:  []string{"Authorization"},
	verify:   xsollaJoined.verify,
	joined:   []joinedScheme{xsollaJoined},
}

var xsollaJoined = joinedScheme{
	read:     xsollaRead,
	messages: always(message{hash: sha1.New, parts: []part{field(bodyField, anyText), keyPart}}),
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
