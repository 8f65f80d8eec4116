package verify

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"
)

// worldlineConnect signs the body with the secret of a webhooks key, whose text is the HMAC's
// key, and sends X-GCS-Signature: <base64>. X-GCS-KeyId names the key. It is not signed, and
// ignored: [Verify] tries each secret.
//
// When an endpoint is saved, Worldline sends a GET and expects its header
// X-GCS-Webhooks-Endpoint-Verification as the body of the response. Anyone can send such a
// request.
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
			return Verified{}, fmt.Errorf("%w: %s has %d bytes, want at most 256", ErrMalformed, worldlineConnectProof, len(proof))
		}
		return Verified{Handshake: true, Reply: []byte(proof)}, nil
	}
	return worldlineConnectMAC.verify(r, secret, k, now)
}

var worldlineConnectMAC = mac{hash: sha256.New, header: "X-GCS-Signature", decode: base64.StdEncoding.Strict().DecodeString}
