package verify

import (
	"crypto/sha256"
	"encoding/base64"
	"time"
)

// flutterwave signs the body in version 4 with the webhook's secret hash, whose text is the
// HMAC's key, and sends flutterwave-signature: <base64>. Version 3 sends the secret hash
// itself in verif-hash and signs nothing: anyone who captured one such webhook can forge any
// other, and signatures too. So before shipping goods, fetch the payment from Flutterwave.
// If there is a signature, only the signature is verified and verif-hash is ignored.
//
// https://developer.flutterwave.com/docs/webhooks
var flutterwave = Connector{
	Docs:     "https://developer.flutterwave.com/docs/webhooks",
	Signs:    "HMAC-SHA256 of the body, base64, in flutterwave-signature; without that header nothing is signed: verif-hash has the secret itself",
	Covers:   CoversNothing,
	Weakness: "verif-hash proves the sender and nothing of what is sent, and the secret can be read from any one such webhook; no timestamp: a captured request can be sent again",
	Headers:  []string{"flutterwave-signature", "verif-hash"},
	Tokens:   []string{"verif-hash"},
	verify:   flutterwaveVerify,
}

var (
	flutterwaveMAC   = mac{hash: sha256.New, header: "flutterwave-signature", decode: base64.StdEncoding.Strict().DecodeString}
	flutterwavePlain = sharedValue("verif-hash")
)

func flutterwaveVerify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	if len(r.Header.Values(flutterwaveMAC.header)) > 0 {
		return flutterwaveMAC.verify(r, secret, k, now)
	}
	return flutterwavePlain(r, secret, k, now)
}
