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

// maxRSABits is the length limit of RSA keys. No processor's key has more than 4,096
// bits. The time of one verification grows with the square of the key's length: a key of
// 262,144 bits takes seconds. crypto/tls has the same limit.
const maxRSABits = 8192

// checkRSASize returns an error for a public key that is too long: one verification
// would take too much time.
func checkRSASize(key *rsa.PublicKey) error {
	if bits := key.N.BitLen(); bits > maxRSABits {
		return fmt.Errorf("an RSA key of %d bits, want at most %d", bits, maxRSABits)
	}
	return nil
}

// certificate parses a certificate in DER. It returns an error for an RSA key that is
// too long, so that no signature is ever verified with it.
func certificate(der []byte) (*x509.Certificate, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if key, ok := c.PublicKey.(*rsa.PublicKey); ok {
		if err := checkRSASize(key); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// rsaPublic parses an RSA public key in PEM: a certificate's key, or a bare key.
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
	return public, checkRSASize(public)
}

// rsaPrivate parses an RSA private key in PEM, as PKCS #1 or PKCS #8. It checks the
// length first, because parsing also validates the key, which takes long for a long key.
func rsaPrivate(text string) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no PEM")
	}
	if block.Type == "RSA PRIVATE KEY" {
		if err := checkPKCS1Size(block.Bytes); err != nil {
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
		if err := checkPKCS1Size(outer.Key); err != nil {
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

// checkPKCS1Size returns an error for a PKCS #1 private key in DER with a number of more
// than maxRSABits bits.
func checkPKCS1Size(der []byte) error {
	var numbers []asn1.RawValue
	if _, err := asn1.Unmarshal(der, &numbers); err != nil {
		return err
	}
	for _, n := range numbers {
		if len(n.Bytes) > maxRSABits/8+1 { // DER puts a zero byte before a number whose first bit is set
			return fmt.Errorf("an RSA key with a number of %d bytes, want at most %d bits", len(n.Bytes), maxRSABits)
		}
	}
	return nil
}
