package verify

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"
)

// worldlineConnect signs the body with the webhooks key's secret, text used as
// it is, and sends X-GCS-Signature: <base64>. X-GCS-KeyId names the key; it is
// not signed, and nothing depends on it: each of the secrets is tried.
//
// When an endpoint is saved, Worldline asks for proof by a GET whose header
// X-GCS-Webhooks-Endpoint-Verification is to be sent back as the body. Anyone
// can ask.
//
// https://docs.connect.worldline-solutions.com/documentation/webhooks/
var worldlineConnect = Connector{
	Docs:     "https://docs.connect.worldline-solutions.com/documentation/webhooks/",
	Signs:    "HMAC-SHA256 of the body, base64, in X-GCS-Signature",
	Covers:   CoversBody,
	Weakness: "no timestamp: a captured request can be sent again, though its event id is signed",
	Headers:  []string{"X-GCS-Signature"},
	verify:   worldlineConnectVerify,
}

const worldlineConnectProof = "X-GCS-Webhooks-Endpoint-Verification"

func worldlineConnectVerify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	if r.Method == http.MethodGet {
		proof, err := r.header(worldlineConnectProof)
		if err != nil {
			return Verified{}, err
		}
		if len(proof) > 256 {
			return Verified{}, fmt.Errorf("%w: %s has %d bytes, 256 is the most", ErrMalformed, worldlineConnectProof, len(proof))
		}
		return Verified{Handshake: true, Reply: []byte(proof)}, nil
	}
	return worldlineConnectMAC.verify(r, secret, k, now)
}

var worldlineConnectMAC = mac{hash: sha256.New, header: "X-GCS-Signature", decode: base64.StdEncoding.Strict().DecodeString}
