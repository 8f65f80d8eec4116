package verify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// moneyhash signs the base64 of the body followed by the timestamp, with the account's webhook
// signature key, whose text is the HMAC's key. It sends
// MoneyHash-Signature: t=<unix seconds>,v1=<hex>,v2=<hex>,v3=<hex>. Only v3 is verified: v1
// and v2 are older schemes.
//
// MoneyHash does not document a maximum age, or whether a redelivery has a new timestamp. So
// any age is accepted unless the endpoint sets a tolerance.
//
// https://docs.moneyhash.io/docs/webhooks-signature
var moneyhash = Connector{
	Docs:     "https://docs.moneyhash.io/docs/webhooks-signature",
	Signs:    `HMAC-SHA256 of base64(<body>) and the time, hex, in MoneyHash-Signature (t=, v3=)`,
	Covers:   CoversBody,
	Weakness: "any age is accepted unless tolerance_seconds is set: a captured request can be sent again",
	Headers:  []string{"MoneyHash-Signature"},
	Settings: []Setting{tolerance},
	verify:   moneyhashVerify,
}

func moneyhashVerify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	header, err := r.header("MoneyHash-Signature")
	if err != nil {
		return Verified{}, err
	}
	var sent, value string
	for pair := range strings.SplitSeq(header, ",") {
		switch name, v, _ := strings.Cut(pair, "="); name {
		case "t":
			sent = v
		case "v3":
			value = v
		}
	}
	unix, err := strconv.ParseInt(sent, 10, 64)
	signature, notHex := hex.DecodeString(value)
	if err != nil || notHex != nil || len(signature) == 0 {
		return Verified{}, fmt.Errorf("%w: MoneyHash-Signature: want t=<unix seconds>,v3=<hex>", ErrMalformed)
	}
	body := base64.StdEncoding.AppendEncode(nil, r.Body)
	if !hmac.Equal(signature, sum(sha256.New, []byte(secret), body, []byte(sent))) {
		return Verified{}, ErrMismatch
	}
	if err := k.notBefore(time.Unix(unix, 0), now, anyAge); err != nil {
		return Verified{}, err
	}
	return Verified{Payload: r.Body}, nil
}
