package sign

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/tollbridge/tollbridge/verify"
)

// paypalCertURL is a made-up URL: no certificate is there.
const paypalCertURL = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-tollbridge-dev"

// paypalDev returns the dev keys. They have the certificate, so that none is fetched.
func paypalDev() verify.Keys {
	certs, err := json.Marshal(map[string]string{paypalCertURL: devCert})
	if err != nil {
		panic("sign: " + err.Error()) // marshalling strings cannot fail
	}
	return verify.Keys{Settings: map[string]string{"webhook_id": "0DEV0000000000001", "certs": string(certs)}}
}

// paypal sends the RSA-SHA256 signature of "id|time|webhook id|CRC32 of the payload".
func paypal(payload []byte, private string, settings map[string]string, _ string, now time.Time) (verify.Request, error) {
	key, err := rsaKey(private)
	if err != nil {
		return verify.Request{}, err
	}
	id, sent := rand.Text(), now.UTC().Format(time.RFC3339)
	digest := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%s|%d", id, sent, settings["webhook_id"], crc32.ChecksumIEEE(payload)))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		return verify.Request{}, err
	}
	return request(payload, "application/json",
		"Paypal-Transmission-Id", id, "Paypal-Transmission-Time", sent,
		"Paypal-Transmission-Sig", base64.StdEncoding.EncodeToString(signature),
		"Paypal-Cert-Url", paypalCertURL, "Paypal-Auth-Algo", "SHA256withRSA", "Paypal-Auth-Version", "v2"), nil
}
