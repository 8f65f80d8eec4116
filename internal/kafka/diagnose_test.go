package kafka

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tollbridge/tollbridge/internal/kafkatest"
)

// selfSigned returns a TLS configuration for a server at 127.0.0.1, and one for a client
// that trusts it.
func selfSigned(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(c)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool}
}

// TestCheck connects to listeners in ways that they do not speak: the error says what to
// change. TestReal of package publish does the same with Apache Kafka.
func TestCheck(t *testing.T) {
	server, client := selfSigned(t)
	plain := kafkatest.Fake(t).ListenAddrs()[0]
	secure := kafkatest.Fake(t, kfake.TLS(server)).ListenAddrs()[0]
	users := kafkatest.Fake(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "bridge", "secret")).ListenAddrs()[0]
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	webTLS := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(webTLS.Close)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	right, err := SASL("PLAIN", "bridge", "secret")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string // want is part of the error; empty: none
		config     Config
	}{
		{"as configured", "", Config{Brokers: []string{plain}}},
		{"one of two brokers", "", Config{Brokers: []string{"127.0.0.1:1", plain}}},
		{"TLS as configured", "", Config{Brokers: []string{secure}, TLS: client}},
		{"SASL as configured", "", Config{Brokers: []string{users}, SASL: right}},
		{"TLS to a port without", "the port does not speak TLS: remove kafka.tls", Config{Brokers: []string{plain}, TLS: client}},
		{"no TLS to a port with TLS", "the port speaks TLS: set kafka.tls", Config{Brokers: []string{secure}}},
		{"SASL to a port with TLS, without it", "the port speaks TLS: set kafka.tls", Config{Brokers: []string{secure}, SASL: right}},
		{"another authority", "set kafka.tls.ca", Config{Brokers: []string{secure}, TLS: &tls.Config{}}},
		{"another name", "set kafka.tls.server_name", Config{Brokers: []string{secure}, TLS: &tls.Config{RootCAs: client.RootCAs, ServerName: "broker.example.com"}}},
		{"no SASL to a port with SASL", "the port wants SASL: set kafka.sasl; the broker supports PLAIN", Config{Brokers: []string{users}}},
		{"SASL to a port without", "the port does not use SASL: remove kafka.sasl", Config{Brokers: []string{plain}, SASL: right}},
		{"HTTP", "the port speaks HTTP", Config{Brokers: []string{web.Listener.Addr().String()}}},
		{"TLS to HTTP", "the port speaks HTTP", Config{Brokers: []string{web.Listener.Addr().String()}, TLS: client}},
		{"HTTPS", "the port speaks HTTP", Config{Brokers: []string{webTLS.Listener.Addr().String()}}},
		{"nothing listens", "connection refused", Config{Brokers: []string{"127.0.0.1:1"}}},
		{"nothing answers", "broker " + silent.Addr().String(), Config{Brokers: []string{silent.Addr().String()}}},
		{"two wrong brokers", "connection refused\nbroker " + plain, Config{Brokers: []string{"127.0.0.1:1", plain}, TLS: client}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.config.Check(kafkatest.Within(t, 20*time.Second))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("too few brokers", func(t *testing.T) {
		l := Layout{Partitions: 1, Replication: 3}
		_, err := l.Apply(kafkatest.Within(t, 20*time.Second), Config{Brokers: []string{kafkatest.Fake(t, kfake.NumBrokers(1)).ListenAddrs()[0]}})
		if err == nil || !strings.Contains(err.Error(), "kafka.replication is 3, and the number of brokers is 1: start more brokers, or for a trial set kafka.replication: 1") {
			t.Error(err)
		}
	})
}
