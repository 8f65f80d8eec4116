// Package fetchtest has an HTTPS server that stands for the APIs of all processors, for
// tests. Every host name leads to it, with a valid certificate.
package fetchtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/fetch"
)

// Server stands for the APIs of all processors.
type Server struct {
	// Client is a client whose requests, to every host, come to the server.
	Client *fetch.Client

	t      testing.TB
	server *httptest.Server
	ca     *x509.Certificate
	key    *ecdsa.PrivateKey
	mu     sync.Mutex
	calls  []string
}

// New starts a server that runs until the test ends. The handler gets all requests: look
// at r.Host.
func New(t testing.TB, handler http.HandlerFunc) *Server {
	t.Helper()
	s := &Server{t: t}
	s.key = newKey(t)
	s.ca = s.issue("tollbridge test authority", nil, s.key)
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.calls = append(s.calls, r.Method+" "+r.Host+r.URL.RequestURI())
		s.mu.Unlock()
		handler(w, r)
	}))
	s.server.TLS = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		key := newKey(t)
		leaf := s.issue(hello.ServerName, s.ca, key)
		return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}, nil
	}}
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	s.Client = &fetch.Client{Transport: s.Transport()}
	return s
}

// Transport returns a transport that trusts the server and leads every host to it.
func (s *Server) Transport() *http.Transport {
	roots := x509.NewCertPool()
	roots.AddCert(s.ca)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.server.Listener.Addr().String())
		},
	}
	s.t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// Calls returns the method, host and path with query of each request so far.
func (s *Server) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Proxy starts an HTTP proxy that leads every host to the server, for a program of its
// own. It returns the environment variables with which the program uses the proxy and
// trusts the server.
func (s *Server) Proxy() []string {
	s.t.Helper()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up, err := net.Dial("tcp", s.server.Listener.Addr().String())
		if r.Method != http.MethodConnect || err != nil {
			http.Error(w, "want CONNECT", http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		down, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			up.Close()
			return
		}
		go func() {
			defer up.Close()
			_, _ = io.Copy(up, buffered)
		}()
		defer down.Close()
		_, _ = io.Copy(down, up)
	}))
	s.t.Cleanup(proxy.Close)
	file := filepath.Join(s.t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.ca.Raw}), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return []string{"HTTPS_PROXY=" + proxy.URL, "SSL_CERT_FILE=" + file}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Error(err)
	}
	return key
}

// issue returns a certificate for a host, or that of the authority if issuer is nil.
func (s *Server) issue(host string, issuer *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if issuer == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage, template.DNSNames = true, true, x509.KeyUsageCertSign, nil
		issuer = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, s.key)
	if err != nil {
		s.t.Error(err)
		return template
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Error(err)
	}
	return certificate
}
