package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// recurly signs "<unix milliseconds>.<body>" with the endpoint's secret key and sends
// recurly-signature: <unix milliseconds>,<hex>[,<hex>], with two signatures for a day after
// the key is replaced. The key looks like hex, but is not decoded: its text is the HMAC's
// key. Recurly signs only JSON webhooks: XML webhooks cannot be verified.
//
// https://docs.recurly.com/recurly-subscriptions/docs/signature-verification
var recurly = Connector{
	Docs:     "https://docs.recurly.com/recurly-subscriptions/docs/signature-verification",
	Signs:    `HMAC-SHA256 of "<time in milliseconds>.<body>", hex, in recurly-signature`,
	Covers:   CoversBody,
	Headers:  []string{"recurly-signature"},
	Settings: []Setting{tolerance},
	verify:   recurlyVerify,
}

const recurlyTolerance = 5 * time.Minute

func recurlyVerify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	header, err := r.header("recurly-signature")
	if err != nil {
		return Verified{}, err
	}
	sent, rest, _ := strings.Cut(header, ",")
	var signatures [][]byte
	for value := range strings.SplitSeq(rest, ",") {
		if s, err := hex.DecodeString(value); err == nil && len(s) > 0 {
			signatures = append(signatures, s)
		}
	}
	millis, err := strconv.ParseInt(sent, 10, 64)
	if err != nil || len(signatures) == 0 {
		return Verified{}, fmt.Errorf("%w: recurly-signature: want <unix milliseconds>,<hex>", ErrMalformed)
	}
	if !anyEqual(signatures, sum(sha256.New, []byte(secret), []byte(sent), []byte("."), r.Body)) {
		return Verified{}, ErrMismatch
	}
	if err := k.within(time.UnixMilli(millis), now, recurlyTolerance); err != nil {
		return Verified{}, err
	}
	return Verified{Payload: r.Body}, nil
}
