package verify

import (
	"crypto/sha512"
	"encoding/hex"
)

// monnify signs the body with the merchant's API client secret, whose text is the HMAC's key,
// and sends monnify-signature: <hex>. A webhook has neither a timestamp nor an event id.
//
// https://developers.monnify.com/docs/webhooks
var monnify = Connector{
	Docs:     "https://developers.monnify.com/docs/webhooks",
	Signs:    "HMAC-SHA512 of the body, hex, in monnify-signature",
	Covers:   CoversBody,
	Weakness: "no timestamp and no event id: a captured request can be sent again; the key is that of the API too",
	Headers:  []string{"Monnify-Signature"},
	verify:   mac{hash: sha512.New, header: "Monnify-Signature", decode: hex.DecodeString}.verify,
}
