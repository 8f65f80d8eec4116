package sign

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"

	"github.com/tollbridge/tollbridge/verify"
)

// The certificate's serial number and the APIv3 key of `tollbridge dev`. They
// are public.
const (
	wechatpayDevSerial = "23DE3DDE4D35D39E6044AE033E2EB9177548384D"
	wechatpayDevKey    = "dev-wechatpay-apiv3-key-32-bytes"
)

// wechatpayDev returns the dev keys.
func wechatpayDev() verify.Keys {
	certs, err := json.Marshal(map[string]string{wechatpayDevSerial: devCert})
	if err != nil {
		panic("sign: " + err.Error()) // marshalling strings cannot fail
	}
	keys := secret(wechatpayDevKey)
	keys.Settings = map[string]string{"certs": string(certs)}
	return keys
}

// wechatpay encrypts the resource by AES-256-GCM and sends the RSA-SHA256
// signature of the timestamp, the nonce and the body.
func wechatpay(payload []byte, private string, _ map[string]string, _ string, now time.Time) (verify.Request, error) {
	key, err := rsaKey(private)
	if err != nil {
		return verify.Request{}, err
	}
	payload, bom := bytes.CutPrefix(payload, []byte("\ufeff")) // a byte order mark is signed, but not JSON
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(payload, &fields); err != nil {
		return verify.Request{}, err
	}
	if fields == nil {
		return verify.Request{}, errNoObject
	}
	if fields["resource"], err = wechatpayEncrypt(fields["resource"], wechatpayDevKey); err != nil {
		return verify.Request{}, err
	}
	body, err := json.Marshal(fields)
	if err != nil {
		return verify.Request{}, err
	}
	if bom {
		body = append([]byte("\ufeff"), body...)
	}
	sent, nonce := strconv.FormatInt(now.Unix(), 10), rand.Text()
	digest := sha256.Sum256([]byte(sent + "\n" + nonce + "\n" + string(body) + "\n"))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	return request(body, "application/json", "Wechatpay-Timestamp", sent, "Wechatpay-Nonce", nonce,
		"Wechatpay-Serial", wechatpayDevSerial, "Wechatpay-Signature", base64.StdEncoding.EncodeToString(signature)), err
}

// wechatpayEncrypt returns the JSON of an encrypted resource.
func wechatpayEncrypt(text []byte, key string) (json.RawMessage, error) {
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	nonce := rand.Text()[:gcm.NonceSize()]
	sealed := base64.StdEncoding.EncodeToString(gcm.Seal(nil, []byte(nonce), text, []byte("transaction")))
	return json.Marshal(map[string]string{
		"algorithm": "AEAD_AES_256_GCM", "associated_data": "transaction", "nonce": nonce, "ciphertext": sealed,
	})
}
