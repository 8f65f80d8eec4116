package verify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// lyra signs kr-answer, a field of the form that is JSON. The field kr-hash has the MAC in
// hex. The key is the REST API's password if Lyra's servers send the form
// (kr-hash-key=password), and the HMAC-SHA-256 key if the payer's browser does. The merchant
// chooses which of them are secrets of the endpoint. PayZen, Systempay, Izipay and others
// are brands of Lyra's platform.
//
// Slashes and quotes may have been escaped in transit. Lyra's own library then hashes the
// text without the backslashes, and so does this connector. It returns the text that was
// hashed, because the text with backslashes could mean something else. No timestamp is
// signed.
//
// https://docs.lyra.com/en/rest/V4.0/api/kb/ipn_usage.html
var lyra = Connector{
	Docs:     "https://docs.lyra.com/en/rest/V4.0/api/kb/ipn_usage.html",
	Signs:    "HMAC-SHA256 of the form's kr-answer, hex, in the field kr-hash",
	Covers:   CoversBody,
	Weakness: "no timestamp: a captured request can be sent again",
	verify:   lyraVerify,
}

var (
	lyraSlashes     = strings.NewReplacer(`\/`, `/`)
	lyraBackslashes = strings.NewReplacer(`\\`, `\`, `\`, ``)
)

func lyraVerify(r Request, secret string, _ Keys, _ time.Time) (Verified, error) {
	f, err := r.form()
	if err != nil {
		return Verified{}, err
	}
	switch {
	case f["kr-hash"] == "":
		return Verified{}, fmt.Errorf("%w: no kr-hash in the form", ErrMissing)
	case f["kr-hash-algorithm"] != "sha256_hmac":
		return Verified{}, fmt.Errorf("%w: kr-hash-algorithm is %q, want sha256_hmac", ErrAlgorithm, f["kr-hash-algorithm"])
	}
	signature, err := hex.DecodeString(f["kr-hash"])
	if err != nil {
		return Verified{}, fmt.Errorf("%w: kr-hash: %v", ErrMalformed, err)
	}
	answer := f["kr-answer"]
	for _, signed := range []string{answer, lyraSlashes.Replace(answer), lyraBackslashes.Replace(answer)} {
		if hmac.Equal(signature, sum(sha256.New, []byte(secret), []byte(signed))) {
			return Verified{Payload: []byte(signed)}, nil
		}
	}
	return Verified{}, ErrMismatch
}
