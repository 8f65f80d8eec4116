package verify

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// payuEmea hashes the body with the second key behind it and sends
// OpenPayu-Signature: sender=...;signature=<hex>;algorithm=MD5;content=DOCUMENT.
// The algorithm is MD5 unless PayU was asked for another; the header names it,
// and PayU's own library takes whichever of its list stands there. The library
// reads X-OpenPayU-Signature, too, which says the same.
//
// It is a plain hash, not an HMAC: with MD5 and SHA-1, whoever can make PayU
// sign a body of their choice could have prepared a second one with the same
// signature. No time is signed.
//
// https://developers.payu.com/europe/docs/webhooks/signature/
var payuEmea = Connector{
	Docs:     "https://developers.payu.com/europe/docs/webhooks/signature/",
	Signs:    "MD5 (or SHA-1, SHA-256, SHA-512) of the body and the second key, hex, in OpenPayu-Signature, or X-OpenPayU-Signature (signature=, algorithm=)",
	Covers:   CoversBody,
	Weakness: "a plain hash instead of an HMAC, MD5 by default; no timestamp: a captured request can be sent again",
	Headers:  []string{"OpenPayu-Signature", "X-OpenPayU-Signature"},
	verify:   payuEmeaJoined.verify,
	joined:   []joined{payuEmeaJoined},
}

// payuEmeaHashes is the algorithms under the names that PayU's own libraries know.
var payuEmeaHashes = map[string]func() hash.Hash{
	"MD5":     md5.New,
	"SHA":     sha1.New,
	"SHA1":    sha1.New,
	"SHA-1":   sha1.New,
	"SHA256":  sha256.New,
	"SHA-256": sha256.New,
	"SHA512":  sha512.New,
	"SHA-512": sha512.New,
}

var payuEmeaJoined = joined{read: payuEmeaRead, messages: payuEmeaMessages}

// payuEmeaRead reads the header, and the body as one field.
func payuEmeaRead(r Request) (form, []byte, error) {
	name := "OpenPayu-Signature"
	if r.Header.Get(name) == "" {
		name = "X-OpenPayU-Signature"
	}
	header, err := r.header(name)
	if err != nil {
		return nil, nil, err
	}
	parts := form{}
	for pair := range strings.SplitSeq(header, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if _, twice := parts[name]; twice && name != "" {
			return nil, nil, fmt.Errorf("%w: OpenPayu-Signature: two %s, want one", ErrMalformed, name)
		}
		parts[name] = value
	}
	signature, err := hex.DecodeString(parts["signature"])
	if err != nil || len(signature) == 0 || parts["algorithm"] == "" {
		return nil, nil, fmt.Errorf("%w: OpenPayu-Signature: want signature=<hex>;algorithm=<name>", ErrMalformed)
	}
	parts[bodyField] = string(r.Body)
	return parts, signature, nil
}

func payuEmeaMessages(_ Request, f form, _ Keys) ([]message, error) {
	h, ok := payuEmeaHashes[f["algorithm"]]
	if !ok {
		return nil, fmt.Errorf("%w: OpenPayu-Signature: algorithm %q", ErrAlgorithm, f["algorithm"])
	}
	return []message{{hash: h, parts: []part{field(bodyField, free), keyPart}}}, nil
}
