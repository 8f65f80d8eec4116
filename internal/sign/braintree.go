package sign

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/verify"
)

var braintreeKeys = verify.Keys{
	Secrets:  []verify.Secret{{Name: "dev", Value: "dev-braintree-private-key"}},
	Settings: map[string]string{"public_key": "dev-braintree-public-key"},
}

// braintree sends a form with bt_payload, the base64 of the XML in lines of 60
// characters, and bt_signature, "<public key>|<hex of the HMAC-SHA1 of
// bt_payload>". The HMAC's key is the SHA-1 of the private key.
func braintree(payload []byte, secret string, settings map[string]string, _ string, _ time.Time) (verify.Request, error) {
	var lines strings.Builder
	for text := base64.StdEncoding.EncodeToString(payload); text != ""; {
		n := min(60, len(text))
		lines.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	public, _, _ := strings.Cut(settings["public_key"], ",")
	key := sha1.Sum([]byte(secret))
	signature := public + "|" + hex.EncodeToString(mac(sha1.New, string(key[:]), lines.String()))
	form := url.Values{"bt_signature": {signature}, "bt_payload": {lines.String()}}
	return request([]byte(form.Encode()), "application/x-www-form-urlencoded"), nil
}
