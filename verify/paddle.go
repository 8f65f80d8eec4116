package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// paddle signs "<unix seconds>:<body>" with the notification destination's
// secret, text used as it is, and sends Paddle-Signature: ts=<unix
// seconds>;h1=<hex>, one h1 for each live secret while one is being rotated.
// Every attempt is signed anew, so that its libraries let a signature be five
// seconds old; a time in the future they let through, as only Paddle can have
// signed it.
//
// https://developer.paddle.com/webhooks/signature-verification
var paddle = Connector{
	Docs:     "https://developer.paddle.com/webhooks/signature-verification",
	Signs:    `HMAC-SHA256 of "<time>:<body>", hex, in Paddle-Signature (ts=, h1=)`,
	Covers:   CoversBody,
	Headers:  []string{"Paddle-Signature"},
	Settings: []Setting{tolerance},
	Verify:   paddleVerify,
}

const paddleTolerance = 5 * time.Second

func paddleVerify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	header, err := r.header("Paddle-Signature")
	if err != nil {
		return Verified{}, err
	}
	var sent string
	var signatures [][]byte
	for pair := range strings.SplitSeq(header, ";") {
		switch name, value, _ := strings.Cut(pair, "="); name {
		case "ts":
			sent = value
		case "h1":
			if s, err := hex.DecodeString(value); err == nil {
				signatures = append(signatures, s)
			}
		}
	}
	unix, err := strconv.ParseInt(sent, 10, 64)
	if err != nil || len(signatures) == 0 {
		return Verified{}, fmt.Errorf("%w: Paddle-Signature: want ts=<unix seconds>;h1=<hex>", ErrMalformed)
	}
	if !among(signatures, sum(sha256.New, []byte(secret), []byte(sent), []byte(":"), r.Body)) {
		return Verified{}, ErrMismatch
	}
	if err := k.notBefore(time.Unix(unix, 0), now, paddleTolerance); err != nil {
		return Verified{}, err
	}
	return Verified{Payload: r.Body}, nil
}
