package verify

import (
	"crypto/sha1"
	"crypto/sha3"
	"encoding/base64"
	"fmt"
	"hash"
)

// liqpay hashes "<private key><data><private key>", where data is a field of the form, base64
// of JSON, and is hashed undecoded. The field signature has the hash in base64: SHA3-256
// since version 7 of the API, SHA-1 before. The length shows which one it is. Either is
// accepted: neither can be forged without the key. The oldest callbacks have operation_xml,
// base64 of XML, in place of data, and hash the decoded XML.
//
// It is a plain hash, not an HMAC, and collisions of SHA-1 can be found. No timestamp is
// signed.
//
// https://www.liqpay.ua/documentation/en/api/callback
var liqpay = Connector{
	Docs:     "https://www.liqpay.ua/documentation/en/api/callback",
	Signs:    `SHA-1 or SHA3-256 of "<private key><data><private key>", base64, in the field signature`,
	Covers:   CoversBody,
	Weakness: "a plain hash instead of an HMAC; no timestamp: a captured request can be sent again",
	verify:   liqpayJoined.verify,
	joined:   []joinedScheme{liqpayJoined},
}

var liqpayJoined = joinedScheme{
	read:     inForm("signature", base64.StdEncoding.Strict().DecodeString),
	messages: liqpayMessages,
}

func liqpayMessages(_ Request, f form, _ Keys) ([]message, error) {
	m := message{hash: sha1.New, parts: []part{keyPart, field("data", liqpayData), keyPart}}
	if len(f["signature"]) == base64.StdEncoding.EncodedLen(sha3.New256().Size()) {
		m.hash = func() hash.Hash { return sha3.New256() }
	}
	if f["data"] == "" {
		xml, err := base64.StdEncoding.Strict().DecodeString(f["operation_xml"])
		if err != nil || len(xml) == 0 {
			return nil, fmt.Errorf("%w: want data or operation_xml in the form, base64", ErrMalformed)
		}
		m.parts = []part{keyPart, {name: "operation_xml", format: liqpayData, splitFormat: anyText, convert: func(string) string { return string(xml) }}, keyPart}
	}
	return []message{m}, nil
}

// liqpayData is the format of base64 that package normalize can decode.
var liqpayData = format{want: "base64", min: 4, max: anyText.max, char: anyText.char, valid: func(s string) bool {
	_, err := base64.StdEncoding.DecodeString(s)
	return err == nil
}}
