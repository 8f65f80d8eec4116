package verify

import (
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
)

// rsaMost is the most bits that an RSA key may have. No processor's key has
// more than 4,096, and the work of one verification grows with the square of
// the key's length: a key of 262,144 bits takes seconds. crypto/tls has the
// same limit.
const rsaMost = 8192

// rsaSized refuses a public key that is too long to calculate with.
func rsaSized(key *rsa.PublicKey) error {
	if bits := key.N.BitLen(); bits > rsaMost {
		return fmt.Errorf("an RSA key of %d bits, want at most %d", bits, rsaMost)
	}
	return nil
}

// certificate parses a certificate in DER. A certificate with an RSA key that
// is too long is an error, so that no signature is ever checked by it.
func certificate(der []byte) (*x509.Certificate, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if key, ok := c.PublicKey.(*rsa.PublicKey); ok {
		if err := rsaSized(key); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// rsaPublic reads the RSA public key of PEM text: that of a certificate, or a
// key alone.
func rsaPublic(text string) (*rsa.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no PEM")
	}
	var key any
	var err error
	switch block.Type {
	case "CERTIFICATE":
		var c *x509.Certificate
		if c, err = certificate(block.Bytes); err == nil {
			key = c.PublicKey
		}
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	default:
		err = fmt.Errorf("a PEM %s, want CERTIFICATE or PUBLIC KEY", block.Type)
	}
	if err != nil {
		return nil, err
	}
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("a key of type %T, want RSA", key)
	}
	return public, rsaSized(public)
}

// rsaPrivate reads an RSA private key in PEM, as PKCS #1 or PKCS #8. The
// length is looked at before the key is parsed: parsing tests it for being one.
func rsaPrivate(text string) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no PEM")
	}
	if block.Type == "RSA PRIVATE KEY" {
		if err := rsaNumbersSized(block.Bytes); err != nil {
			return nil, err
		}
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	var outer struct { // RFC 5208, 5
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}
	if _, err := asn1.Unmarshal(block.Bytes, &outer); err != nil {
		return nil, err
	}
	if outer.Algorithm.Algorithm.Equal(oidRSA) {
		if err := rsaNumbersSized(outer.Key); err != nil {
			return nil, err
		}
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if key, ok := parsed.(*rsa.PrivateKey); ok {
		return key, nil
	}
	return nil, fmt.Errorf("a key of type %T, want RSA", parsed)
}

// oidRSA is rsaEncryption: RFC 8017, A.1.
var oidRSA = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}

// rsaNumbersSized refuses a private key in DER, PKCS #1, that has a number of
// more than rsaMost bits.
func rsaNumbersSized(der []byte) error {
	var numbers []asn1.RawValue
	if _, err := asn1.Unmarshal(der, &numbers); err != nil {
		return err
	}
	for _, n := range numbers {
		if len(n.Bytes) > rsaMost/8+1 { // a number whose first bit is set has a zero byte before it
			return fmt.Errorf("an RSA key with a number of %d bytes, want at most %d bits", len(n.Bytes), rsaMost)
		}
	}
	return nil
}
