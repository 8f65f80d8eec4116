package sign

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/tollbridge/tollbridge/verify"
)

// The key that signs for `tollbridge dev`, a number in hex, and its id. They are
// public.
const (
	truelayerDevKey = "00" +
		"de5ede5ede5ede5ede5ede5ede5ede5ede5ede5ede5ede5ede5ede5ede5ede5e" +
		"de5ede5ede5ede5ede5ede5ede5ede5ede5ede5ede5ede5ede5ede5ede5ede5e" + "01"
	truelayerDevKeyID = "dev"
)

// truelayerDev returns the dev keys. They have the key set, so that none is fetched.
func truelayerDev() verify.Keys {
	key, err := ecKey(elliptic.P521(), truelayerDevKey)
	if err != nil {
		panic("sign: " + err.Error()) // a constant key cannot fail
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		panic("sign: " + err.Error())
	}
	half := (len(point) - 1) / 2
	b64 := base64.RawURLEncoding.EncodeToString
	jwks := fmt.Sprintf(`{"keys":[{"kty":"EC","alg":"ES512","crv":"P-521","kid":"%s","x":"%s","y":"%s"}]}`,
		truelayerDevKeyID, b64(point[1:1+half]), b64(point[1+half:]))
	return verify.Keys{Settings: map[string]string{"jwks": jwks}}
}

// truelayer sends a detached JWS, by ES512, of the path, the timestamp and the payload.
func truelayer(payload []byte, private string, _ map[string]string, address string, now time.Time) (verify.Request, error) {
	key, err := ecKey(elliptic.P521(), private)
	if err != nil {
		return verify.Request{}, err
	}
	u, err := url.Parse(address)
	if err != nil {
		return verify.Request{}, err
	}
	header, err := json.Marshal(map[string]string{
		"alg": "ES512", "kid": truelayerDevKeyID, "tl_version": "2", "tl_headers": "X-Tl-Webhook-Timestamp",
		"jku": "https://webhooks.truelayer.com/.well-known/jwks",
	})
	if err != nil {
		return verify.Request{}, err
	}
	b64, sent := base64.RawURLEncoding.EncodeToString, now.UTC().Format(time.RFC3339)
	signed := b64(header) + "." + b64([]byte("POST "+u.EscapedPath()+"\nX-Tl-Webhook-Timestamp: "+sent+"\n"+string(payload)))
	digest := sha512.Sum512([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return verify.Request{}, err
	}
	signature := append(r.FillBytes(make([]byte, 66)), s.FillBytes(make([]byte, 66))...)
	return request(payload, "application/json", "X-Tl-Webhook-Timestamp", sent, "Tl-Signature", b64(header)+".."+b64(signature)), nil
}
