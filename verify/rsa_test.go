package verify

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/race"
)

// encodedKeys has an RSA key in every encoding that the package parses.
type encodedKeys struct{ public, certificate, pkcs1, pkcs8 string }

// madeUpKeys returns an RSA key of some length that is not made from primes.
func madeUpKeys(t *testing.T, bits int) encodedKeys {
	t.Helper()
	n := new(big.Int).SetBytes(bytes.Repeat([]byte{0xff}, bits/8))
	public := &rsa.PublicKey{N: n, E: 1<<31 - 1}
	text := func(kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	all := encodedKeys{public: text("PUBLIC KEY", der, err)}
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "long"}, NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err = x509.CreateCertificate(rand.Reader, &c, &c, public, signer)
	all.certificate = text("CERTIFICATE", der, err)
	inner, err := asn1.Marshal(struct {
		Version               int
		N                     *big.Int
		E                     int
		D, P, Q, Dp, Dq, Qinv *big.Int
	}{0, n, 65537, n, n, n, n, n, n})
	all.pkcs1 = text("RSA PRIVATE KEY", inner, err)
	der, err = asn1.Marshal(struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}{0, pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}, inner})
	all.pkcs8 = text("PRIVATE KEY", der, err)
	return all
}

// TestLongRSAKeys checks that [Check] and [Verify] return an error for an RSA key that is too
// long, in every setting that has a key, without computing with it, which would take seconds.
func TestLongRSAKeys(t *testing.T) {
	long := madeUpKeys(t, 262144)
	quoted := func(name, text string) string {
		b, err := json.Marshal(map[string]string{name: text})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	const at = "https://api.paypal.com/v1/notifications/certs/CERT-1"
	for _, c := range []struct{ connector, setting, value string }{
		{"wechatpay", "certs", quoted("SERIAL", long.public)},
		{"wechatpay", "certs", quoted("SERIAL", long.certificate)},
		{"trustly", "public_key_pem", long.public},
		{"trustly", "public_key_pem", long.certificate},
		{"trustly", "private_key_pem", long.pkcs1},
		{"trustly", "private_key_pem", long.pkcs8},
		{"paypal", "certs", quoted(at, long.certificate)},
	} {
		k := goodKeys(t, c.connector)
		k.Settings[c.setting] = c.value
		start := time.Now()
		if err := Check(c.connector, k); !errors.Is(err, ErrSetting) || !strings.Contains(err.Error(), "want at most 8192") {
			t.Errorf("%s: %s with an RSA key of 262144 bits: %v", c.connector, c.setting, err)
		}
		for _, v := range vectors(t) {
			if v.connector != c.connector || v.want != nil {
				continue
			}
			changed := v.with(func(v *vector) {
				v.keys.Settings[c.setting] = strings.NewReplacer("SERIAL", v.req.Header.Get("Wechatpay-Serial"), at, v.req.Header.Get("PAYPAL-CERT-URL")).Replace(c.value)
			})
			if _, err := changed.verify(); err == nil || !strings.Contains(err.Error(), "want at most 8192") {
				t.Errorf("%s: verified by an RSA key of 262144 bits in %s: %v", v.name, c.setting, err)
			}
		}
		limit := time.Second
		if race.Enabled { // it slows the parsing of large numbers down several times
			limit = 10 * time.Second
		}
		if took := time.Since(start); took > limit {
			t.Errorf("%s: %s took %s", c.connector, c.setting, took)
		}
	}
}

// TestLongRSAKeysFetched checks that the limit also applies to fetched certificates and to
// the issuers' certificates that come with them.
func TestLongRSAKeysFetched(t *testing.T) {
	long, short := madeUpKeys(t, 16384), madeUpKeys(t, 2048)
	const at = "https://api.paypal.com/v1/notifications/certs/CERT-1"
	r := Request{Header: map[string][]string{}, Body: []byte("{}")}
	for _, name := range paypalHeaders {
		r.Header.Set(name, map[string]string{
			"PAYPAL-CERT-URL": at, "PAYPAL-AUTH-ALGO": "SHA256withRSA", "PAYPAL-TRANSMISSION-TIME": "2026-03-04T05:06:07Z",
			"PAYPAL-TRANSMISSION-SIG": base64.StdEncoding.EncodeToString(make([]byte, 2048)), "PAYPAL-TRANSMISSION-ID": "1",
		}[name])
	}
	for name, text := range map[string]string{"its own": long.certificate, "its issuer's": short.certificate + long.certificate} {
		k := Keys{Settings: map[string]string{"webhook_id": "WH-1"}, Fetched: map[string][]byte{at: []byte(text)}}
		if _, err := Verify("paypal", r, k, time.Now()); !errors.Is(err, ErrKeyUnknown) || !strings.Contains(err.Error(), "want at most 8192") {
			t.Errorf("a fetched certificate with %s key of 16384 bits: %v", name, err)
		}
	}
}
