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
// with RSA and SHA-256. The webhook id is the endpoint's and is not sent. The CRC32 is the
// body's, in decimal. A header has the URL of the certificate.
//
// A CRC32 is not a cryptographic digest: it has 32 bits and is linear. Anyone who captured one
// signed request can give any other body the same CRC32 with four extra bytes, at once, and
// send it with the captured signature. So the signature proves that PayPal sent something
// to this webhook. It proves the body only if nobody has captured a request. Receive
// webhooks only over TLS and at a URL that nobody can guess, keep the headers secret, and
// ask PayPal's API before paying out money because of a webhook.
//
// PayPal documents no maximum age and redelivers for three days, so no request is refused
// for its age. A webhook id belongs either to the sandbox or to live, so the signature of
// one is not valid for the other. WEBHOOK_ID is the id of the webhook simulator, which
// anyone can use: an endpoint with it accepts made-up events from anyone.
//
// https://developer.paypal.com/api/rest/webhooks/rest/
var paypal = Connector{
	Docs:   "https://developer.paypal.com/api/rest/webhooks/rest/",
	Signs:  `RSA-SHA256 of "<id>|<time>|<webhook id>|<crc32 of the body>", base64, in PAYPAL-TRANSMISSION-SIG`,
	Covers: CoversBody,
	Weakness: "the body is covered by its CRC32 alone, which is not a cryptographic digest: anyone who captured one signed request can forge another body for it; " +
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

// paypalKey returns the public key of the certificate at a URL: from the setting certs, or
// fetched from PayPal and checked.
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

// paypalParse parses a certificate with an RSA key and the certificates of its chain that
// follow it.
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

// paypalNames has the hosts from which PayPal's certificates are fetched, and the name in the
// certificates of each: a certificate of the sandbox is not valid for live.
var paypalNames = map[string]string{
	"api.paypal.com":           "messageverificationcerts.paypal.com",
	"api-m.paypal.com":         "messageverificationcerts.paypal.com",
	"api.sandbox.paypal.com":   "messageverificationcerts.sandbox.paypal.com",
	"api-m.sandbox.paypal.com": "messageverificationcerts.sandbox.paypal.com",
}

var paypalPath = regexp.MustCompile(`^/v1/notifications/certs/[A-Za-z0-9-]{1,100}$`)

// paypalName returns the name that the certificate at a URL must have. It returns an error if
// the URL is not that of a certificate at PayPal.
func paypalName(at string) (string, error) {
	u, err := url.Parse(at)
	if err != nil {
		return "", fmt.Errorf("%w: PAYPAL-CERT-URL is not a URL", ErrKeyUnknown)
	}
	name, ok := paypalNames[u.Host]
	if !ok || !paypalPath.MatchString(u.Path) || at != "https://"+u.Host+u.Path {
		return "", fmt.Errorf("%w: PAYPAL-CERT-URL is %q, want https://api.paypal.com/v1/notifications/certs/<id> or a certificate at another host of PayPal", ErrKeyUnknown, at)
	}
	return name, nil
}

// paypalRoots are the trusted root certificates; nil means the system's. Tests set their own.
var paypalRoots *x509.CertPool

// paypalChain checks a fetched certificate: its name, that it was valid when the request was
// sent, and that it has a chain to a trusted root. PayPal serves the certificate without its
// issuer's, the intermediate, whose URL is in the certificate.
func paypalChain(certs []*x509.Certificate, name string, when time.Time, k Keys) error {
	leaf, intermediates := certs[0], x509.NewCertPool()
	for _, c := range certs[1:] {
		intermediates.AddCert(c)
	}
	o := x509.VerifyOptions{
		Roots: paypalRoots, Intermediates: intermediates, DNSName: name, CurrentTime: when,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // the name shows its use
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
		intermediates.AddCert(issuer)
		_, err = leaf.Verify(o)
	}
	if err != nil {
		return fmt.Errorf("%w: the certificate of %s: %v", ErrKeyUnknown, leaf.Subject.CommonName, err)
	}
	return nil
}
