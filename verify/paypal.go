package verify

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// paypal signs "<transmission id>|<transmission time>|<webhook id>|<crc32>"
// with RSA and SHA-256. The webhook id is the endpoint's and is not sent; the
// CRC32 is the body's, in decimal. The certificate is named by its URL.
//
// A CRC32 is no digest of a body. It has 32 bits and is linear: whoever holds
// one signed request can make any other body fit its CRC32 with four bytes of
// filling, at once, and send it under the signature they hold. So the
// signature proves that PayPal sent something to this webhook, and what it was
// only as far as nobody has seen a request: take webhooks over TLS only, to an
// address that nobody can guess, keep the headers secret, and ask PayPal's API
// before money leaves on the word of a webhook alone.
//
// PayPal names no age at which a request is stale and tries for three days, so
// none is refused for its age. The webhook id is of the sandbox or of live, so
// neither speaks for the other. WEBHOOK_ID is the webhook simulator's, which
// serves anybody: an endpoint with it takes made-up events from anyone.
//
// https://developer.paypal.com/api/rest/webhooks/rest/
var paypal = Connector{
	Docs:   "https://developer.paypal.com/api/rest/webhooks/rest/",
	Signs:  `RSA-SHA256 of "<id>|<time>|<webhook id>|<crc32 of the body>", base64, in PAYPAL-TRANSMISSION-SIG`,
	Covers: CoversBody,
	Weakness: "the body is covered by its CRC32 alone, which is not a cryptographic digest: whoever saw one signed request can forge another body for it; " +
		"keep the address secret and ask PayPal's API before money leaves. No age is refused: PayPal states no limit",
	Headers: paypalHeaders,
	Settings: []Setting{
		{Name: "webhook_id", Description: "the webhook's id in PayPal's dashboard; it is signed", Required: true},
		{Name: "certs", Description: "PayPal's certificates as JSON, URL to PEM; others are fetched from PayPal"},
	},
	Keyless: true,
	check:   paypalCheck,
	verify:  paypalVerify,
}

// paypalHeaders is in the order in which paypalVerify reads them.
var paypalHeaders = []string{
	"PAYPAL-TRANSMISSION-ID", "PAYPAL-TRANSMISSION-TIME", "PAYPAL-TRANSMISSION-SIG", "PAYPAL-CERT-URL", "PAYPAL-AUTH-ALGO",
}

func paypalCheck(_ string, k Keys) error {
	given, err := k.named("certs")
	if err != nil {
		return err
	}
	for at, text := range given {
		if _, _, err := paypalParse([]byte(text)); err != nil {
			return fmt.Errorf("%w: certs: %s: %v", ErrSetting, at, err)
		}
	}
	return nil
}

func paypalVerify(r Request, _ string, k Keys, _ time.Time) (Verified, error) {
	var header [5]string
	for i, name := range paypalHeaders {
		var err error
		if header[i], err = r.header(name); err != nil {
			return Verified{}, err
		}
	}
	id, sent, certificate := header[0], header[1], header[3]
	if algorithm := header[4]; algorithm != "SHA256withRSA" {
		return Verified{}, fmt.Errorf("%w: PAYPAL-AUTH-ALGO is %q, want SHA256withRSA", ErrAlgorithm, algorithm)
	}
	signature, err := base64.StdEncoding.Strict().DecodeString(header[2])
	if err != nil {
		return Verified{}, fmt.Errorf("%w: PAYPAL-TRANSMISSION-SIG: %v", ErrMalformed, err)
	}
	key, err := paypalKey(certificate, sent, k)
	if err != nil {
		return Verified{}, err
	}
	crc := strconv.FormatUint(uint64(crc32.ChecksumIEEE(r.Body)), 10)
	digest := sha256.Sum256([]byte(strings.Join([]string{id, sent, k.Settings["webhook_id"], crc}, "|")))
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature) != nil {
		return Verified{}, ErrMismatch
	}
	return Verified{Payload: r.Body}, nil
}

// paypalKey returns the key at an address: as it was given, or fetched from
// PayPal and checked.
func paypalKey(at, sent string, k Keys) (*rsa.PublicKey, error) {
	given, err := k.named("certs")
	if err != nil {
		return nil, err
	}
	if text, ok := given[at]; ok {
		_, key, err := paypalParse([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("%w: certs: %s: %v", ErrSetting, at, err)
		}
		return key, nil
	}
	name, err := paypalName(at)
	if err != nil {
		return nil, err
	}
	fetched, ok := k.Fetched[at]
	if !ok {
		return nil, &KeyNeeded{URL: at}
	}
	certs, key, err := paypalParse(fetched)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %v", ErrKeyUnknown, at, err)
	}
	when, err := time.Parse(time.RFC3339, sent)
	if err != nil {
		return nil, fmt.Errorf("%w: PAYPAL-TRANSMISSION-TIME is %q, want a time as in RFC 3339", ErrMalformed, sent)
	}
	if err := paypalChain(certs, name, when, k); err != nil {
		return nil, err
	}
	return key, nil
}

// paypalParse reads a certificate with an RSA key, and what comes after it to
// prove it.
func paypalParse(data []byte) ([]*x509.Certificate, *rsa.PublicKey, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		c, err := certificate(block.Bytes)
		if err != nil {
			return nil, nil, err
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, nil, errors.New("no certificate in PEM")
	}
	key, ok := certs[0].PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, nil, fmt.Errorf("the certificate of %s has no RSA key", certs[0].Subject)
	}
	return certs, key, nil
}

// paypalNames is the hosts that PayPal's certificates are fetched from, and
// the name in the certificates of each: one of the sandbox proves nothing of
// live.
var paypalNames = map[string]string{
	"api.paypal.com":           "messageverificationcerts.paypal.com",
	"api-m.paypal.com":         "messageverificationcerts.paypal.com",
	"api.sandbox.paypal.com":   "messageverificationcerts.sandbox.paypal.com",
	"api-m.sandbox.paypal.com": "messageverificationcerts.sandbox.paypal.com",
}

var paypalPath = regexp.MustCompile(`^/v1/notifications/certs/[A-Za-z0-9-]{1,100}$`)

// paypalName returns the name that the certificate at an address must have, if
// the address is PayPal's own and nothing but the address of a certificate.
func paypalName(at string) (string, error) {
	u, err := url.Parse(at)
	if err != nil {
		return "", fmt.Errorf("%w: PAYPAL-CERT-URL is not a URL", ErrKeyUnknown)
	}
	name, ok := paypalNames[u.Host]
	if !ok || !paypalPath.MatchString(u.Path) || at != "https://"+u.Host+u.Path {
		return "", fmt.Errorf("%w: PAYPAL-CERT-URL is %q, want https://api.paypal.com/v1/notifications/certs/<id> or its like", ErrKeyUnknown, at)
	}
	return name, nil
}

// paypalRoots is whose certificates are believed; nil is the system's. Tests
// have their own.
var paypalRoots *x509.CertPool

// paypalChain checks a certificate that was fetched: who it is, that it was
// valid when the request was sent, and that a root vouches for it. PayPal
// serves the certificate alone; its issuer's, which stands between it and the
// root, is where the certificate says.
func paypalChain(certs []*x509.Certificate, name string, when time.Time, k Keys) error {
	leaf, between := certs[0], x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	o := x509.VerifyOptions{
		Roots: paypalRoots, Intermediates: between, DNSName: name, CurrentTime: when,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // the name says what it is for
	}
	_, err := leaf.Verify(o)
	if errors.As(err, new(x509.UnknownAuthorityError)) && len(leaf.IssuingCertificateURL) > 0 {
		at := leaf.IssuingCertificateURL[0]
		fetched, ok := k.Fetched[at]
		if !ok {
			return &KeyNeeded{URL: at, Issuer: true}
		}
		issuer, parsed := certificate(fetched)
		if parsed != nil {
			return fmt.Errorf("%w: %s: %v", ErrKeyUnknown, at, parsed)
		}
		between.AddCert(issuer)
		_, err = leaf.Verify(o)
	}
	if err != nil {
		return fmt.Errorf("%w: the certificate of %s: %v", ErrKeyUnknown, leaf.Subject.CommonName, err)
	}
	return nil
}
