package verify

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"time"
)

// cashfree signs x-webhook-timestamp followed by the body with the client secret, whose text
// is the HMAC's key, and sends x-webhook-signature: <base64>. The timestamp is in seconds or
// in milliseconds. Cashfree does not document whether a redelivery has a new timestamp, so
// the tolerance is a day. The id in x-idempotency-key is not signed.
//
// https://www.cashfree.com/docs/payments/online/webhooks/signature-verification
var cashfree = Connector{
	Docs:     "https://www.cashfree.com/docs/payments/online/webhooks/signature-verification",
	Signs:    "HMAC-SHA256 of x-webhook-timestamp and the body, base64, in x-webhook-signature",
	Covers:   CoversBody,
	Weakness: "the window is a day, since retries may carry the first time; the event id is not signed",
	Headers:  []string{"x-webhook-signature", "x-webhook-timestamp"},
	Settings: []Setting{tolerance},
	verify:   cashfreeVerify,
}

const cashfreeTolerance = 24 * time.Hour

var cashfreeMAC = mac{
	hash:   sha256.New,
	header: "x-webhook-signature",
	decode: base64.StdEncoding.Strict().DecodeString,
	signed: func(r Request) ([][]byte, error) {
		sent, err := r.header("x-webhook-timestamp")
		return [][]byte{[]byte(sent), r.Body}, err
	},
}

func cashfreeVerify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	v, err := cashfreeMAC.verify(r, secret, k, now)
	if err != nil {
		return Verified{}, err
	}
	count, err := strconv.ParseInt(r.Header.Get("x-webhook-timestamp"), 10, 64)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: x-webhook-timestamp: want unix seconds or milliseconds", ErrMalformed)
	}
	if err := k.notBefore(unixOrMilli(count), now, cashfreeTolerance); err != nil {
		return Verified{}, err
	}
	return v, nil
}
