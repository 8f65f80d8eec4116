package sign

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	_ "embed"
	"encoding/hex"
	"encoding/pem"
	"errors"
)

// The RSA key that signs for `tollbridge dev`, and its certificate. They are
// public: only the endpoints of dev trust them.
var (
	//go:embed keys/rsa.key.pem
	devKey string
	//go:embed keys/rsa.cert.pem
	devCert string
)

// rsaKey parses an RSA private key in PEM.
func rsaKey(private string) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(private))
	if block == nil {
		return nil, errors.New("the private key is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("the private key is not RSA")
	}
	return key, nil
}

// ecKey parses a private key of a curve: a number in hex.
func ecKey(curve elliptic.Curve, text string) (*ecdsa.PrivateKey, error) {
	raw, err := hex.DecodeString(text)
	if err != nil {
		return nil, errors.New("the private key is not a number in hex")
	}
	return ecdsa.ParseRawPrivateKey(curve, raw)
}
