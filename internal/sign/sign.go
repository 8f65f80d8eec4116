// Package sign makes the requests that processors would send: for `tollbridge
// send` and `soak`, and for tests. It is written from the processors' pages
// and apart from verify, so that each is a check of the other. A connector is
// one line here; an odd scheme has a file of its own.
package sign

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/verify"
)

// connectors is how every processor signs, by the connector's name.
var connectors = map[string]Signer{
	"adyen":            {Dev: secret("ad1e5eed00000000000000000000000000000000000000000000000000000de5"), Sign: adyen},
	"adyen-platform":   {Dev: secret("ad1e5eed000000000000000000000000000000000000000000000000000f1a7f"), Sign: adyenPlatform},
	"authorizenet":     {Dev: secret("DE5A0701DE5A0701DE5A0701DE5A0701DE5A0701DE5A0701DE5A0701DE5A0701"), Sign: authorizenet},
	"braintree":        {Dev: braintreeKeys, Sign: braintree},
	"cashfree":         {Dev: secret("dev-cashfree-client-secret"), Sign: cashfree},
	"checkout":         {Dev: secret("dev-checkout-signature-key"), Sign: hexOfBody(sha256.New, "Cko-Signature")},
	"flutterwave":      {Dev: secret("dev-flutterwave-secret-hash"), Sign: secretIn("Verif-Hash")},
	"midtrans":         {Dev: secret("dev-midtrans-server-key"), Sign: midtrans},
	"mollie":           {Dev: secret("dev-mollie-signing-secret"), Sign: hexOfBody(sha256.New, "X-Mollie-Signature")},
	"moneyhash":        {Dev: secret("dev-moneyhash-signature-key"), Sign: moneyhash},
	"paddle":           {Dev: secret("pdl_ntfset_dev_paddle"), Sign: paddle},
	"paypal":           {Dev: paypalDev(), Private: paypalDevKey, Sign: paypal},
	"portone":          {Dev: secret("ZGV2LXBvcnRvbmUtc2VjcmV0IQ=="), Sign: standard("Webhook")},
	"razorpay":         {Dev: secret("dev-razorpay-webhook-secret"), Sign: hexOfBody(sha256.New, "X-Razorpay-Signature")},
	"recurly":          {Dev: secret("dev5ecre700000000000000000000000"), Sign: recurly},
	"square":           {Dev: secret("dev_square"), Sign: square},
	"standardwebhooks": {Dev: secret("whsec_ZGV2LXN0YW5kYXJkd2ViaG9va3Mtc2VjcmV0"), Sign: standard("Webhook")},
	"stripe":           {Dev: secret("whsec_dev_stripe"), Sign: stripe},
	"svix":             {Dev: secret("whsec_ZGV2LXN2aXgtc2VjcmV0LW9mLTI0LWIu"), Sign: standard("Svix")},
	"xendit":           {Dev: secret("dev-xendit-verification-token"), Sign: secretIn("X-Callback-Token")},
}

// Signer is how one processor signs.
type Signer struct {
	// Dev is what `tollbridge dev` configures: made-up keys that anyone may know.
	Dev verify.Keys
	// Private is what signs, where that is not the secret that verifies.
	Private string
	Sign    Func
}

// Func makes the request that the processor would send to url at a time. The
// secret is one of the endpoint's, or a private key.
type Func func(payload []byte, secret string, settings map[string]string, url string, now time.Time) (verify.Request, error)

// Request makes the request that a connector's processor would send to url for
// a payload, signed with secret.
func Request(connector string, payload []byte, secret string, settings map[string]string, url string, now time.Time) (verify.Request, error) {
	s, ok := connectors[connector]
	if !ok {
		return verify.Request{}, fmt.Errorf("connector %q cannot be signed for", connector)
	}
	r, err := s.Sign(payload, secret, settings, url, now)
	if err != nil {
		return verify.Request{}, fmt.Errorf("%s: %w", connector, err)
	}
	r.Method, r.URL = http.MethodPost, url
	return r, nil
}

// Dev returns the made-up keys of `tollbridge dev`, and what signs for them.
func Dev(connector string) (keys verify.Keys, private string, ok bool) {
	s, ok := connectors[connector]
	if !ok {
		return verify.Keys{}, "", false
	}
	if private = s.Private; private == "" {
		private = s.Dev.Secrets[0].Value
	}
	return s.Dev, private, true
}

// secret is the dev keys of a connector that needs nothing but a secret.
func secret(value string) verify.Keys {
	return verify.Keys{Secrets: []verify.Secret{{Name: "dev", Value: value}}}
}

// authorizenet: sha512=<HEX of HMAC-SHA512 over the payload>.
func authorizenet(payload []byte, secret string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
	digest := hex.EncodeToString(mac(sha512.New, secret, string(payload)))
	return request(payload, "application/json", "X-Anet-Signature", "sha512="+strings.ToUpper(digest)), nil
}

// cashfree: base64 of HMAC-SHA256 over the time in milliseconds and the payload.
func cashfree(payload []byte, secret string, _ map[string]string, _ string, now time.Time) (verify.Request, error) {
	t := strconv.FormatInt(now.UnixMilli(), 10)
	signature := base64.StdEncoding.EncodeToString(mac(sha256.New, secret, t, string(payload)))
	return request(payload, "application/json", "X-Webhook-Timestamp", t, "X-Webhook-Signature", signature), nil
}

// moneyhash: t=<unix seconds>,v3=<hex of HMAC-SHA256 over base64(payload) and t>.
func moneyhash(payload []byte, secret string, _ map[string]string, _ string, now time.Time) (verify.Request, error) {
	t := strconv.FormatInt(now.Unix(), 10)
	v3 := hex.EncodeToString(mac(sha256.New, secret, base64.StdEncoding.EncodeToString(payload), t))
	return request(payload, "application/json", "MoneyHash-Signature", "t="+t+",v3="+v3), nil
}

// paddle: ts=<unix seconds>;h1=<hex of HMAC-SHA256 over "ts:payload">.
func paddle(payload []byte, secret string, _ map[string]string, _ string, now time.Time) (verify.Request, error) {
	t := strconv.FormatInt(now.Unix(), 10)
	h1 := hex.EncodeToString(mac(sha256.New, secret, t, ":", string(payload)))
	return request(payload, "application/json", "Paddle-Signature", "ts="+t+";h1="+h1), nil
}

// recurly: <unix milliseconds>,<hex of HMAC-SHA256 over "milliseconds.payload">.
func recurly(payload []byte, secret string, _ map[string]string, _ string, now time.Time) (verify.Request, error) {
	t := strconv.FormatInt(now.UnixMilli(), 10)
	signature := hex.EncodeToString(mac(sha256.New, secret, t, ".", string(payload)))
	return request(payload, "application/json", "Recurly-Signature", t+","+signature), nil
}

// square: base64 of HMAC-SHA256 over the notification URL and the payload.
func square(payload []byte, secret string, _ map[string]string, url string, _ time.Time) (verify.Request, error) {
	signature := base64.StdEncoding.EncodeToString(mac(sha256.New, secret, url, string(payload)))
	return request(payload, "application/json", "X-Square-Hmacsha256-Signature", signature), nil
}

// stripe: t=<unix seconds>,v1=<hex of HMAC-SHA256 over "t.payload">.
func stripe(payload []byte, secret string, _ map[string]string, _ string, now time.Time) (verify.Request, error) {
	t := strconv.FormatInt(now.Unix(), 10)
	v1 := hex.EncodeToString(mac(sha256.New, secret, t, ".", string(payload)))
	return request(payload, "application/json", "Stripe-Signature", "t="+t+",v1="+v1), nil
}

// standard: Standard Webhooks, v1,<base64 of HMAC-SHA256 over
// "id.<unix seconds>.payload">, keyed by what is base64 after whsec_.
func standard(prefix string) Func {
	return func(payload []byte, secret string, _ map[string]string, _ string, now time.Time) (verify.Request, error) {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil {
			return verify.Request{}, errors.New("the secret is not base64")
		}
		id := "msg_" + hex.EncodeToString(mac(sha256.New, "id", string(payload)))[:24]
		t := strconv.FormatInt(now.Unix(), 10)
		v1 := base64.StdEncoding.EncodeToString(mac(sha256.New, string(key), id, ".", t, ".", string(payload)))
		return request(payload, "application/json", prefix+"-Id", id, prefix+"-Timestamp", t, prefix+"-Signature", "v1,"+v1), nil
	}
}

// hexOfBody: the commonest scheme, the hex of a MAC of the body in a header.
func hexOfBody(h func() hash.Hash, header string) Func {
	return func(payload []byte, secret string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
		return request(payload, "application/json", header, hex.EncodeToString(mac(h, secret, string(payload)))), nil
	}
}

// secretIn: the secret itself in a header, and nothing signed.
func secretIn(header string) Func {
	return func(payload []byte, secret string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
		return request(payload, "application/json", header, secret), nil
	}
}

// request is a body and one or more headers.
func request(body []byte, contentType string, headers ...string) verify.Request {
	h := http.Header{"Content-Type": {contentType}}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return verify.Request{Header: h, Body: body}
}

// mac is the keyed hash of the parts, one after the other.
func mac(h func() hash.Hash, key string, parts ...string) []byte {
	m := hmac.New(h, []byte(key))
	for _, p := range parts {
		m.Write([]byte(p))
	}
	return m.Sum(nil)
}
