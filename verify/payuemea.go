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

// payuEmea hashes the body followed by the second key and sends
// OpenPayu-Signature: sender=...;signature=<hex>;algorithm=MD5;content=DOCUMENT.
// The algorithm is MD5 unless the merchant asked PayU for another. Like PayU's own library,
// the connector accepts every algorithm of [payuEmeaHashes] that the header names, and reads
// X-OpenPayU-Signature, which has the same content, if there is no OpenPayu-Signature.
//
// It is a plain hash, not an HMAC. With MD5 and SHA-1, an attacker who can make PayU sign a
// chosen body can prepare a second body with the same signature (a collision). No timestamp
// is signed.
//
// https://developers.payu.com/europe/docs/webhooks/signature/
var payuEmea = Connector{
	Docs:     "https://developers.payu.com/europe/docs/webhooks/signature/",
	Signs:    "MD5 (or SHA-1, SHA-256, SHA-512) of the body and the second key, hex, in OpenPayu-Signature, or X-OpenPayU-Signature (signature=, algorithm=)",
	Covers:   CoversBody,
	Weakness: "a plain hash instead of an HMAC, MD5 by default; no timestamp: a captured request can be sent again",
	Headers:  []string{"OpenPayu-Signature", "X-OpenPayU-Signature"},
	verify:   payuEmeaJoined.verify,
	joined:   []joinedScheme{payuEmeaJoined},
}

// payuEmeaHashes has the algorithms of PayU's own libraries, by the names in them.
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

var payuEmeaJoined = joinedScheme{read: payuEmeaRead, messages: payuEmeaMessages}

// payuEmeaRead returns the fields of the header, the whole body as a field, and the signature.
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
	return []message{{hash: h, parts: []part{field(bodyField, anyText), keyPart}}}, nil
}
