package sign

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"time"

	"github.com/tollbridge/tollbridge/verify"
)

// walleeDevKey signs for `tollbridge dev`: a number in hex. It is public.
const walleeDevKey = "de5e000000000000000000000000000000000000000000000000000000001eaf"

// walleeDev returns the dev keys.
func walleeDev() verify.Keys {
	key, err := ecKey(elliptic.P256(), walleeDevKey)
	if err != nil {
		panic("sign: " + err.Error()) // a constant key cannot fail
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		panic("sign: " + err.Error())
	}
	keys := `{"dev":"` + base64.StdEncoding.EncodeToString(der) + `"}`
	return verify.Keys{Settings: map[string]string{"public_keys": keys}}
}

// wallee sends the base64 of the ECDSA signature with SHA-256 of the payload.
func wallee(payload []byte, private string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
	key, err := ecKey(elliptic.P256(), private)
	if err != nil {
		return verify.Request{}, err
	}
	digest := sha256.Sum256(payload)
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	return request(payload, "application/json",
		"X-Signature", "algorithm=SHA256withECDSA, keyId=dev, signature="+base64.StdEncoding.EncodeToString(signature)), err
}
