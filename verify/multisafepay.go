package verify

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// multisafepay signs "<unix seconds>:<body>" with the website's API key, whose text is the
// HMAC's key, and sends Auth: base64 of "<unix seconds>:<hex>". Each delivery has a new
// timestamp. The timestamp in the URL is a different one. It is not signed, and ignored.
//
// A merchant can choose notifications by GET instead. They are not signed and therefore
// refused.
//
// https://docs.multisafepay.com/docs/webhook
var multisafepay = Connector{
	Docs:     "https://docs.multisafepay.com/docs/webhook",
	Signs:    `HMAC-SHA512 of "<unix seconds>:<body>", hex, in Auth, which is base64 of "<unix seconds>:<hex>"`,
	Covers:   CoversBody,
	Headers:  []string{"Auth"},
	Settings: []Setting{tolerance},
	verify:   multisafepayVerify,
}

// multisafepayTolerance is the tolerance of MultiSafepay's own library, which accepts
// timestamps in the future.
const multisafepayTolerance = 10 * time.Minute

func multisafepayVerify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	header, err := r.header("Auth")
	if err != nil {
		return Verified{}, err
	}
	text, err := base64.StdEncoding.Strict().DecodeString(header)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: Auth: %v", ErrMalformed, err)
	}
	sent, value, _ := strings.Cut(string(text), ":")
	unix, err := strconv.ParseInt(sent, 10, 64)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: Auth: want base64 of <unix seconds>:<hex>", ErrMalformed)
	}
	signature, err := hex.DecodeString(value)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: Auth: want base64 of <unix seconds>:<hex>", ErrMalformed)
	}
	if !hmac.Equal(signature, sum(sha512.New, []byte(secret), []byte(sent), []byte(":"), r.Body)) {
		return Verified{}, ErrMismatch
	}
	if err := k.notBefore(time.Unix(unix, 0), now, multisafepayTolerance); err != nil {
		return Verified{}, err
	}
	return Verified{Payload: r.Body}, nil
}
