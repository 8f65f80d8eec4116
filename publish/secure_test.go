package publish

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// authority is a certificate authority for tests.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", nil)
	return a
}

// issue writes NAME.pem and NAME.key for the authority, a broker or a client.
func (a *authority) issue(name string, hosts []net.IP) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.must(err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: hosts, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: name == "ca",
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	a.must(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	a.must(err)
	a.must(os.WriteFile(a.file(name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	a.must(os.WriteFile(a.file(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	made, err := x509.ParseCertificate(der)
	a.must(err)
	return made, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// broker returns the TLS settings of a broker that requires a client certificate.
func (a *authority) broker() *tls.Config {
	a.issue("broker", []net.IP{net.IPv4(127, 0, 0, 1)})
	pair, err := tls.LoadX509KeyPair(a.file("broker.pem"), a.file("broker.key"))
	a.must(err)
	trust := x509.NewCertPool()
	trust.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: trust, ClientAuth: tls.RequireAndVerifyClientCert}
}

// TestTLS publishes over mutual TLS, and checks that unknown certificates are refused.
func TestTLS(t *testing.T) {
	a := newAuthority(t)
	a.issue("client", nil)
	seeds := kafkatest.Fake(t, kfake.TLS(a.broker())).ListenAddrs()
	other := newAuthority(t)
	for _, test := range []struct {
		name               string
		ca, cert, key, who string
		ok                 bool
	}{
		{"mutual", a.file("ca.pem"), a.file("client.pem"), a.file("client.key"), "", true},
		{"server name", a.file("ca.pem"), a.file("client.pem"), a.file("client.key"), "broker", true},
		{"another name", a.file("ca.pem"), a.file("client.pem"), a.file("client.key"), "elsewhere", false},
		{"no certificate", a.file("ca.pem"), "", "", "", false},
		{"another authority", other.file("ca.pem"), a.file("client.pem"), a.file("client.key"), "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			settings, err := kafka.TLS(test.ca, test.cert, test.key, test.who)
			a.must(err)
			connects(t, Config{Kafka: kafka.Config{Brokers: seeds, TLS: settings}}, test.ok)
		})
	}
	for _, files := range [][3]string{{"/nowhere", "", ""}, {a.file("ca.key"), "", ""}, {"", a.file("client.pem"), ""}, {"", a.file("client.pem"), a.file("ca.key")}} {
		if _, err := kafka.TLS(files[0], files[1], files[2], ""); err == nil {
			t.Errorf("no error for %q", files)
		}
	}
}

// TestSASL authenticates over TLS with each mechanism.
func TestSASL(t *testing.T) {
	a := newAuthority(t)
	a.issue("client", nil)
	settings, err := kafka.TLS(a.file("ca.pem"), a.file("client.pem"), a.file("client.key"), "")
	a.must(err)
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		seeds := kafkatest.Fake(t, kfake.TLS(a.broker()), kfake.EnableSASL(), kfake.Superuser(mechanism, "bridge", "secret")).ListenAddrs()
		for password, ok := range map[string]bool{"secret": true, "wrong": false} {
			t.Run(mechanism+" "+password, func(t *testing.T) {
				how, err := kafka.SASL(mechanism, "bridge", password)
				a.must(err)
				connects(t, Config{Kafka: kafka.Config{Brokers: seeds, TLS: settings, SASL: how}}, ok)
			})
		}
	}
	if _, err := kafka.SASL("GSSAPI", "", ""); err == nil {
		t.Error("no error for GSSAPI")
	}
}

// connects publishes a record and reads the topics' settings.
func connects(t *testing.T, c Config, ok bool) {
	t.Helper()
	p := start(t, c)
	ctx := kafkatest.Within(t, time.Second)
	_, err := p.Publish(ctx, []kafka.Record{{Topic: "a", Key: []byte("k"), Value: []byte("v")}})
	_, planned := kafka.Layout{Partitions: 3, Replication: 1}.Plan(ctx, c.Kafka)
	if (err == nil) != ok || (planned == nil) != ok {
		t.Errorf("publishing: %v; planning: %v; want success %v", err, planned, ok)
	}
}
