package verify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// stripe signs "<unix seconds>.<body>" with the endpoint's secret, text used as
// it is, and sends Stripe-Signature: t=<unix seconds>,v1=<hex>[,v1=<hex>], one
// v1 for each live secret while one is being rolled. Other schemes (v0) are
// not for live endpoints. A time in the future is let through, as Stripe's own
// libraries do: only Stripe can have signed it.
//
// https://docs.stripe.com/webhooks#verify-manually
var stripe = Connector{
	Docs:     "https://docs.stripe.com/webhooks#verify-manually",
	Signs:    `HMAC-SHA256 of "<time>.<body>", hex, in Stripe-Signature (t=, v1=)`,
	Covers:   CoversBody,
	Headers:  []string{"Stripe-Signature"},
	Settings: []Setting{tolerance},
	Verify:   stripeVerify,
}

const stripeTolerance = 5 * time.Minute

func stripeVerify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	header, err := r.header("Stripe-Signature")
	if err != nil {
		return Verified{}, err
	}
	var sent string
	var signatures [][]byte
	for pair := range strings.SplitSeq(header, ",") {
		switch name, value, _ := strings.Cut(pair, "="); name {
		case "t":
			sent = value
		case "v1":
			if s, err := hex.DecodeString(value); err == nil {
				signatures = append(signatures, s)
			}
		}
	}
	unix, err := strconv.ParseInt(sent, 10, 64)
	if err != nil || len(signatures) == 0 {
		return Verified{}, fmt.Errorf("%w: Stripe-Signature: want t=<unix seconds>,v1=<hex>", ErrMalformed)
	}
	want := sum(sha256.New, []byte(secret), []byte(sent), []byte("."), r.Body)
	for _, s := range signatures {
		if hmac.Equal(s, want) {
			return Verified{Payload: r.Body}, k.notBefore(time.Unix(unix, 0), now, stripeTolerance)
		}
	}
	return Verified{}, ErrMismatch
}
