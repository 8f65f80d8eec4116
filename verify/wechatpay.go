package verify

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// wechatpay signs "<time>\n<nonce>\n<body>\n" with the key that
// Wechatpay-Serial names. WeChat Pay uses it for all merchants. But the field resource, with
// what happened, is encrypted by AES-256-GCM with the merchant's APIv3 key, which is the
// endpoint's secret. So only the merchant's own notifications are accepted. The payload has
// the resource decrypted.
//
// WeChat Pay tests endpoints with deliberately wrong signatures and expects a refusal.
//
// https://pay.weixin.qq.com/doc/v3/merchant/4012075420
var wechatpay = Connector{
	Docs:    "https://pay.weixin.qq.com/doc/v3/merchant/4012075420",
	Signs:   `RSA-SHA256 of "<time>\n<nonce>\n<body>\n", base64, in Wechatpay-Signature; the resource in the body is encrypted with the APIv3 key`,
	Covers:  CoversBody,
	Headers: wechatpayHeaders,
	Settings: []Setting{
		{Name: "certs", Description: "WeChat Pay's certificates or public keys as JSON, serial number or PUB_KEY_ID to PEM", Required: true},
		tolerance,
	},
	check:  wechatpayCheck,
	verify: wechatpayVerify,
}

// wechatpayHeaders is in the order in which wechatpayVerify reads them.
var wechatpayHeaders = []string{"Wechatpay-Serial", "Wechatpay-Timestamp", "Wechatpay-Nonce", "Wechatpay-Signature"}

// wechatpayTolerance is the tolerance of WeChat Pay's own libraries, for the past and the
// future.
const wechatpayTolerance = 5 * time.Minute

func wechatpayCheck(secret string, k Keys) error {
	certs, err := k.named("certs")
	if err != nil {
		return err
	}
	for serial, text := range certs {
		if _, err := rsaPublic(text); err != nil {
			return fmt.Errorf("%w: certs: %s: %v", ErrSetting, serial, err)
		}
	}
	_, err = wechatpayCipher(secret)
	return err
}

func wechatpayVerify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	var header [4]string
	for i, name := range wechatpayHeaders {
		var err error
		if header[i], err = r.header(name); err != nil {
			return Verified{}, err
		}
	}
	serial, sent, nonce := header[0], header[1], header[2]
	unix, err := strconv.ParseInt(sent, 10, 64)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: Wechatpay-Timestamp is %q, want unix seconds", ErrMalformed, sent)
	}
	signature, err := base64.StdEncoding.Strict().DecodeString(header[3])
	if err != nil {
		return Verified{}, fmt.Errorf("%w: Wechatpay-Signature: %v", ErrMalformed, err)
	}
	certs, err := k.named("certs")
	if err != nil {
		return Verified{}, err
	}
	if certs[serial] == "" {
		return Verified{}, fmt.Errorf("%w: Wechatpay-Serial is %q, want a key of the setting certs", ErrKeyUnknown, serial)
	}
	key, err := rsaPublic(certs[serial])
	if err != nil {
		return Verified{}, fmt.Errorf("%w: certs: %s: %v", ErrSetting, serial, err)
	}
	digest := sha256.Sum256([]byte(sent + "\n" + nonce + "\n" + string(r.Body) + "\n"))
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature) != nil {
		return Verified{}, ErrMismatch
	}
	if err := k.within(time.Unix(unix, 0), now, wechatpayTolerance); err != nil {
		return Verified{}, err
	}
	payload, err := wechatpayDecrypt(r.Body, secret)
	return Verified{Payload: payload}, err
}

// wechatpayDecrypt returns the body with its resource decrypted.
func wechatpayDecrypt(body []byte, key string) ([]byte, error) {
	var fields map[string]jsontext.Value
	if err := decodeJSON(body, &fields); err != nil {
		return nil, err
	}
	var sealed struct {
		Algorithm      string `json:"algorithm"`
		Ciphertext     []byte `json:"ciphertext"`
		Nonce          string `json:"nonce"`
		AssociatedData string `json:"associated_data"`
	}
	if err := decodeJSON(fields["resource"], &sealed); err != nil {
		return nil, err
	}
	if sealed.Algorithm != "AEAD_AES_256_GCM" {
		return nil, fmt.Errorf("%w: resource.algorithm is %q, want AEAD_AES_256_GCM", ErrAlgorithm, sealed.Algorithm)
	}
	gcm, err := wechatpayCipher(key)
	if err != nil {
		return nil, err
	}
	if len(sealed.Nonce) != gcm.NonceSize() {
		return nil, fmt.Errorf("%w: resource.nonce has %d bytes, want %d", ErrMalformed, len(sealed.Nonce), gcm.NonceSize())
	}
	fields["resource"], err = gcm.Open(nil, []byte(sealed.Nonce), sealed.Ciphertext, []byte(sealed.AssociatedData))
	if err != nil {
		return nil, fmt.Errorf("%w: the signature is right, but the resource is not encrypted with this APIv3 key", ErrMismatch)
	}
	decrypted, err := json.Marshal(fields, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("%w: the decrypted resource: %v", ErrMalformed, err)
	}
	return decrypted, nil
}

// wechatpayCipher returns AES-GCM with an APIv3 key.
func wechatpayCipher(key string) (cipher.AEAD, error) {
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		return nil, fmt.Errorf("%w: the secret has %d bytes, want an APIv3 key of 32", ErrSetting, len(key))
	}
	return cipher.NewGCM(block)
}
