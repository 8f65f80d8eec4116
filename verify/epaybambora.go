package verify

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// epayBambora hashes the values of all parameters of the callback, in the order
// they stand in, and the secret key behind them. The parameter hash is the
// hash, hex of MD5. The callback is a GET whose query holds the parameters:
// the one case where a query is taken for a body.
//
// The names are not signed, nor where a value ends and the next begins: who
// captured a callback can move digits from one to the other, such as from the
// order's number to the amount. No time of sending is signed.
//
// https://docs.epay.dk/integration/payment-window/hash-md5-check/
var epayBambora = Connector{
	Docs:     "https://docs.epay.dk/integration/payment-window/hash-md5-check/",
	Signs:    "MD5 of the values of all parameters of the query, in their order, and the secret key, hex, in the parameter hash",
	Covers:   CoversFields,
	Weakness: "a plain MD5 over values alone: neither their names nor where one ends is signed; no timestamp",
	Verify:   epayBamboraVerify,
}

func epayBamboraVerify(r Request, secret string, _ Keys, _ time.Time) (Verified, error) {
	f, err := r.form()
	if err != nil {
		return Verified{}, err
	}
	if f["hash"] == "" {
		return Verified{}, fmt.Errorf("%w: no hash among the parameters", ErrMissing)
	}
	signature, err := hex.DecodeString(f["hash"])
	if err != nil {
		return Verified{}, fmt.Errorf("%w: hash: %v", ErrMalformed, err)
	}
	var values strings.Builder
	for pair := range strings.SplitSeq(string(r.Body), "&") { // form has found them all well-formed
		name, _, _ := strings.Cut(pair, "=")
		if name, _ = url.QueryUnescape(name); name != "hash" {
			values.WriteString(f[name])
		}
	}
	if !hmac.Equal(signature, digest(md5.New, values.String()+secret)) {
		return Verified{}, ErrMismatch
	}
	return Verified{Payload: r.Body}, nil
}
