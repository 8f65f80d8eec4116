package verify

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// trip responds to requests without a network.
type trip func(*http.Request) (*http.Response, error)

func (t trip) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// answer returns a client that gets the same response to every request, and counts requests.
func answer(count *atomic.Int32, status int, body string) *http.Client {
	return &http.Client{Transport: trip(func(*http.Request) (*http.Response, error) {
		count.Add(1)
		return &http.Response{
			StatusCode: status, Status: fmt.Sprint(status), Header: http.Header{"Location": {"https://elsewhere.example/"}},
			Body: io.NopCloser(strings.NewReader(body)),
		}, nil
	})}
}

func need(n int) *KeyNeeded { return &KeyNeeded{URL: fmt.Sprintf("https://keys.example/%d", n)} }

func TestKeyringRemembers(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		body   string
		want   error
		again  time.Duration // after which it is fetched again
	}{
		{"a key", 200, "key", nil, keyringFresh},
		{"an outage", 500, "", ErrKeyNotThere, keyringRetry},
		{"no such key", 404, "", ErrKeyUnknown, keyringRetry},
		{"a key that is gone", 410, "", ErrKeyUnknown, keyringRetry},
		{"a redirect", 302, "key", ErrKeyNotThere, keyringRetry},
		{"the largest key", 200, strings.Repeat("x", keyringBytes), nil, keyringFresh},
		{"too large a key", 200, strings.Repeat("x", keyringBytes+1), ErrKeyNotThere, keyringRetry},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fetched atomic.Int32
				k := Keyring{Client: answer(&fetched, test.status, test.body)}
				get := func(want int32) {
					t.Helper()
					got, err := k.get(t.Context(), need(1))
					if !errors.Is(err, test.want) || err == nil && string(got) != test.body {
						t.Errorf("got %.10q, %v, want %v", got, err, test.want)
					}
					if fetched.Load() != want {
						t.Errorf("fetched %d times, want %d", fetched.Load(), want)
					}
				}
				get(1)
				time.Sleep(test.again - time.Second)
				get(1)
				time.Sleep(time.Second)
				get(2)
			})
		})
	}
}

// TestKeyringOutage checks that an old key is still used while it cannot be fetched again, but
// not after the processor responds that it is gone.
func TestKeyringOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fetched atomic.Int32
		k := Keyring{Client: answer(&fetched, 200, "key")}
		for _, status := range []int{200, 500, 500} {
			k.Client = answer(&fetched, status, "key")
			if got, err := k.get(t.Context(), need(1)); err != nil || string(got) != "key" {
				t.Errorf("%d: got %q, %v", status, got, err)
			}
			time.Sleep(keyringFresh)
		}
		k.Client = answer(&fetched, 410, "")
		if _, err := k.get(t.Context(), need(1)); !errors.Is(err, ErrKeyUnknown) {
			t.Errorf("got %v, want %v", err, ErrKeyUnknown)
		}
		if fetched.Load() != 4 {
			t.Errorf("fetched %d times, want 4", fetched.Load())
		}
	})
}

// TestKeyringBound checks that made-up URLs neither fill the memory nor evict keys.
func TestKeyringBound(t *testing.T) {
	var good, bad atomic.Int32
	k := Keyring{Client: answer(&good, 200, "key")}
	for n := range keyringKeys / 2 {
		k.get(t.Context(), need(n))
	}
	k.Client = answer(&bad, 404, "")
	for n := range 10 * keyringKeys {
		k.get(t.Context(), need(1000+n))
	}
	if len(k.keys) != keyringKeys {
		t.Errorf("%d keys are cached, want %d", len(k.keys), keyringKeys)
	}
	for n := range keyringKeys / 2 {
		if _, err := k.get(t.Context(), need(n)); err != nil {
			t.Errorf("key %d: %v", n, err)
		}
	}
	k.Client = answer(&good, 200, "key")
	for n := range keyringKeys + 1 {
		k.get(t.Context(), need(n))
	}
	if len(k.keys) != keyringKeys || k.keys[need(0).URL] != nil {
		t.Errorf("%d keys are cached, want %d without the one that was not used for the longest time", len(k.keys), keyringKeys)
	}
}

// TestKeyringTogether checks that concurrent requests for the same key wait for one fetch, even
// if the request that started it is cancelled, and that the fetches from one host are limited:
// one more waits until a fetch ends, or its context does.
func TestKeyringTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fetched atomic.Int32
		answer := answer(&fetched, 200, "key").Transport
		k := Keyring{Client: &http.Client{Transport: trip(func(r *http.Request) (*http.Response, error) {
			select {
			case <-time.After(time.Second):
				return answer.RoundTrip(r)
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		})}}
		gone, cancel := context.WithCancel(t.Context())
		go k.get(gone, need(0))
		synctest.Wait()
		cancel()
		var all sync.WaitGroup
		for n := range 100 {
			all.Go(func() {
				if _, err := k.get(t.Context(), need(n%keyringHostRunning)); err != nil {
					t.Errorf("key %d: %v", n, err)
				}
			})
		}
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := k.get(short, need(keyringHostRunning)); !errors.Is(err, ErrKeyNotThere) {
			t.Errorf("one more fetch: %v, want %v", err, ErrKeyNotThere)
		}
		if fetched.Load() != 0 {
			t.Errorf("%d fetches ended too early", fetched.Load())
		}
		if _, err := k.get(t.Context(), need(keyringHostRunning)); err != nil {
			t.Errorf("one more fetch, which waits: %v", err)
		}
		all.Wait()
		if fetched.Load() != keyringHostRunning+1 {
			t.Errorf("fetched %d times, want %d", fetched.Load(), keyringHostRunning+1)
		}
	})
}

// TestKeyringMadeUp checks that a sender with URLs of missing keys, or URLs that hang, does
// not delay fetches from another host, and delays fetches from the same host for other
// senders by at most the time of one fetch.
func TestKeyringMadeUp(t *testing.T) {
	for _, hangs := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var madeUp atomic.Int32
			k := Keyring{Client: &http.Client{Transport: trip(func(r *http.Request) (*http.Response, error) {
				answer := func(status int) (*http.Response, error) {
					return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("key"))}, nil
				}
				switch {
				case !strings.Contains(r.URL.Path, "made-up"):
					return answer(200)
				case hangs:
					madeUp.Add(1)
					<-r.Context().Done()
					return nil, r.Context().Err()
				}
				madeUp.Add(1)
				time.Sleep(50 * time.Millisecond)
				return answer(404)
			})}}
			from := func(address string) context.Context {
				return WithRequester(t.Context(), netip.MustParsePrefix(address))
			}
			var all sync.WaitGroup
			for attacker := range keyringHostRunning + 2 {
				for n := range 50 {
					all.Go(func() {
						time.Sleep(time.Duration(n) * 100 * time.Millisecond)
						at := fmt.Sprintf("https://keys.example/made-up-%d-%d", attacker, n)
						if _, err := k.get(from(fmt.Sprintf("192.0.2.%d/32", attacker)), &KeyNeeded{URL: at}); err == nil {
							t.Error("got a made-up key")
						}
					})
				}
			}
			time.Sleep(time.Second)
			synctest.Wait()
			start := time.Now()
			for _, at := range []string{"https://other.example/key", "https://keys.example/key"} {
				if got, err := k.get(from("198.51.100.7/32"), &KeyNeeded{URL: at}); err != nil || string(got) != "key" {
					t.Errorf("%s: %q, %v", at, got, err)
				}
			}
			if took := time.Since(start); took > keyringTimeout {
				t.Errorf("hanging %t: took %s", hangs, took)
			}
			all.Wait()
			if most := int32((keyringHostRunning + 2) * keyringSenderFailed); madeUp.Load() > most {
				t.Errorf("hanging %t: %d made-up keys were fetched, want at most %d", hangs, madeUp.Load(), most)
			}
			// An attacker gets a cached key, too.
			if got, err := k.get(from("192.0.2.0/32"), &KeyNeeded{URL: "https://keys.example/key"}); err != nil || string(got) != "key" {
				t.Errorf("a cached key: %q, %v", got, err)
			}
			time.Sleep(keyringRetry + time.Second)
			if got, err := k.get(from("192.0.2.0/32"), &KeyNeeded{URL: "https://keys.example/another"}); err != nil || string(got) != "key" {
				t.Errorf("another key after keyringRetry: %q, %v", got, err)
			}
		})
	}
}

// TestKeyringRequesters checks that the number of senders in memory is limited, and that they
// are removed after some time.
func TestKeyringRequesters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fetched atomic.Int32
		k := Keyring{Client: answer(&fetched, 404, "")}
		ask := func(n int) {
			from := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 32)
			k.get(WithRequester(t.Context(), from), need(n))
		}
		for n := range 2 * keyringSenders {
			ask(n)
		}
		if len(k.senders) != keyringSenders || fetched.Load() != keyringSenders {
			t.Errorf("%d senders are counted, %d keys fetched, want %d", len(k.senders), fetched.Load(), keyringSenders)
		}
		time.Sleep(keyringRetry + time.Second)
		ask(3 * keyringSenders)
		if len(k.senders) != 1 || fetched.Load() != keyringSenders+1 {
			t.Errorf("%d senders are counted and %d keys fetched after keyringRetry", len(k.senders), fetched.Load())
		}
	})
}

// TestKeyringHidesCause checks that the error for the sender does not have the cause of a
// failed fetch, but Keyring.Failed gets it.
func TestKeyringHidesCause(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := "https://" + l.Addr().String() + "/key"
	l.Close()
	reported := ""
	k := Keyring{Failed: func(url string, err error) { reported = url + " " + err.Error() }}
	_, err = k.get(t.Context(), &KeyNeeded{URL: at})
	if !errors.Is(err, ErrKeyNotThere) || strings.ContainsAny(err.Error(), "0123456789") || strings.Contains(err.Error(), "dial") {
		t.Errorf("the error is %v, want %v without the cause", err, ErrKeyNotThere)
	}
	if !strings.Contains(reported, at) || !strings.Contains(reported, "refused") {
		t.Errorf("Failed was called with %q", reported)
	}
}

func TestKeyringTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := Keyring{Client: &http.Client{Transport: trip(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})}}
		start := time.Now()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, ctx := range []context.Context{short, t.Context()} {
			if _, err := k.get(ctx, need(1)); !errors.Is(err, ErrKeyNotThere) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want %v", err, ErrKeyNotThere)
			}
		}
		if took := time.Since(start); took != keyringTimeout {
			t.Errorf("took %s, want %s", took, keyringTimeout)
		}
	})
}

func TestKeyringTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/key", http.StatusFound)
		default:
			io.WriteString(w, "key")
		}
	}))
	defer server.Close()
	k := Keyring{Client: server.Client()}
	if got, err := k.get(t.Context(), &KeyNeeded{URL: server.URL + "/key"}); err != nil || string(got) != "key" {
		t.Errorf("got %q, %v", got, err)
	}
	for at, want := range map[string]error{
		server.URL + "/moved":                           ErrKeyNotThere,
		strings.Replace(server.URL, "https", "http", 1): ErrKeyUnknown,
		"file:///etc/passwd":                            ErrKeyUnknown,
		"::":                                            ErrKeyUnknown,
	} {
		if got, err := k.get(t.Context(), &KeyNeeded{URL: at}); !errors.Is(err, want) {
			t.Errorf("%s: got %q, %v, want %v", at, got, err, want)
		}
	}
	var zero Keyring // does not know the server's CA
	if _, err := zero.get(t.Context(), &KeyNeeded{URL: server.URL + "/key"}); !errors.Is(err, ErrKeyNotThere) {
		t.Errorf("got %v, want %v", err, ErrKeyNotThere)
	}
}

// authority is a certificate authority: a root or an intermediate.
type authority struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

// issue returns a certificate signed by a, or a self-signed one if a is nil.
func (a *authority) issue(t *testing.T, c x509.Certificate) *authority {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(1)
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = paypalSent.AddDate(-1, 0, 0), paypalSent.AddDate(1, 0, 0)
	}
	if a == nil {
		a = &authority{&c, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, &c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

var paypalSent = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// TestPayPalFetched checks that a fetched certificate is trusted only if it has PayPal's name,
// was valid at the time of sending, and has a chain to a trusted root.
func TestPayPalFetched(t *testing.T) {
	ca := func(name string) x509.Certificate {
		return x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	}
	root := (*authority)(nil).issue(t, ca("root"))
	intermediate := root.issue(t, ca("intermediate"))
	other := (*authority)(nil).issue(t, ca("other"))
	paypalRoots = x509.NewCertPool()
	paypalRoots.AddCert(root.cert)
	defer func() { paypalRoots = nil }()
	const live, sandbox = "messageverificationcerts.paypal.com", "messageverificationcerts.sandbox.paypal.com"
	named := func(name string) x509.Certificate {
		return x509.Certificate{
			Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			IssuingCertificateURL: []string{"http://issuer.example/intermediate.crt"},
		}
	}
	past := named(live)
	past.NotBefore, past.NotAfter = paypalSent.AddDate(-2, 0, 0), paypalSent.Add(-time.Second)
	future := named(live)
	future.NotBefore, future.NotAfter = paypalSent.Add(time.Second), paypalSent.AddDate(1, 0, 0)
	alone := named(live)
	alone.IssuingCertificateURL = nil
	good := intermediate.issue(t, named(live))
	child := good.issue(t, alone)
	for _, test := range []struct {
		name, host string
		leaf       *authority
		pem        string
		want       error
	}{
		{"the chain", "api.paypal.com", good, good.pem() + intermediate.pem(), nil},
		{"the certificate alone", "api.paypal.com", good, good.pem(), nil},
		{"from the other host", "api-m.paypal.com", good, good.pem(), nil},
		{"the sandbox's", "api.sandbox.paypal.com", intermediate.issue(t, named(sandbox)), "", nil},
		{"signed by the root", "api.paypal.com", root.issue(t, alone), "", nil},
		{"signed by another root", "api.paypal.com", other.issue(t, named(live)), "", ErrKeyUnknown},
		{"self-signed", "api.paypal.com", (*authority)(nil).issue(t, alone), "", ErrKeyUnknown},
		{"without the intermediate", "api.paypal.com", intermediate.issue(t, alone), "", ErrKeyUnknown},
		{"signed by a certificate that is no CA", "api.paypal.com", child, child.pem() + good.pem() + intermediate.pem(), ErrKeyUnknown},
		{"another name", "api.paypal.com", intermediate.issue(t, named("www.paypal.com")), "", ErrKeyUnknown},
		{"the sandbox's at live", "api.paypal.com", intermediate.issue(t, named(sandbox)), "", ErrKeyUnknown},
		{"live's at the sandbox", "api.sandbox.paypal.com", good, good.pem(), ErrKeyUnknown},
		{"expired when it was sent", "api.paypal.com", intermediate.issue(t, past), "", ErrKeyUnknown},
		{"not yet valid when it was sent", "api.paypal.com", intermediate.issue(t, future), "", ErrKeyUnknown},
		{"no certificate", "api.paypal.com", good, "<html>", ErrKeyUnknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.pem == "" {
				test.pem = test.leaf.pem()
			}
			at := "https://" + test.host + "/v1/notifications/certs/CERT-1"
			k := Keyring{Client: &http.Client{Transport: trip(func(r *http.Request) (*http.Response, error) {
				body, ok := map[string]string{at: test.pem, "http://issuer.example/intermediate.crt": string(intermediate.cert.Raw)}[r.URL.String()]
				if !ok {
					t.Errorf("fetches %s", r.URL)
				}
				return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body))}, nil
			})}}
			keys := Keys{Settings: map[string]string{"webhook_id": "WH1"}}
			r := paypalRequest(t, test.leaf.key, at)
			// Verified years later: the certificate must have been valid at the time of sending.
			got, err := k.Verify(t.Context(), "paypal", r, keys, paypalSent.AddDate(5, 0, 0))
			if !errors.Is(err, test.want) || err == nil && string(got.Payload) != "{}" {
				t.Errorf("got %q, %v, want %v", got.Payload, err, test.want)
			}
			if keys.Fetched != nil {
				t.Error("the caller's keys were changed")
			}
		})
	}
}

func paypalRequest(t *testing.T, key *rsa.PrivateKey, at string) Request {
	t.Helper()
	sent := paypalSent.Format(time.RFC3339)
	digest := sha256.Sum256(fmt.Appendf(nil, "T1|%s|WH1|%d", sent, crc32.ChecksumIEEE([]byte("{}"))))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	for i, value := range []string{"T1", sent, base64.StdEncoding.EncodeToString(signature), at, "SHA256withRSA"} {
		h.Set(paypalHeaders[i], value)
	}
	return Request{Header: h, Body: []byte("{}")}
}

// TestPayPalAddress checks that only URLs of certificates at PayPal are fetched.
func TestPayPalAddress(t *testing.T) {
	key := (*authority)(nil).issue(t, x509.Certificate{}).key
	keys := Keys{Settings: map[string]string{"webhook_id": "WH1"}}
	for _, at := range []string{
		"http://api.paypal.com/v1/notifications/certs/CERT-1",
		"https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1",
		"https://evil.paypal.com/v1/notifications/certs/CERT-1",
		"https://evil.example/v1/notifications/certs/CERT-1",
		"https://api.paypal.com:8443/v1/notifications/certs/CERT-1",
		"https://api.paypal.com:443/v1/notifications/certs/CERT-1",
		"https://me@api.paypal.com/v1/notifications/certs/CERT-1",
		"https://api.paypal.com@evil.example/v1/notifications/certs/CERT-1",
		"https://api.paypal.com/v1/notifications/certs/",
		"https://api.paypal.com/v1/notifications/certs/../webhooks",
		"https://api.paypal.com/v1/notifications/certs/%2e%2e",
		"https://api.paypal.com/v1/notifications/certs/CERT%2D1",
		"https://api.paypal.com/v1/notifications/certs/CERT-1/x",
		"https://api.paypal.com/v1/notifications/certs/CERT-1?x=1",
		"https://api.paypal.com/v1/notifications/certs/CERT-1?",
		"https://api.paypal.com/v1/notifications/certs/CERT-1#x",
		"https://API.paypal.com/v1/notifications/certs/CERT-1",
		"https://api.paypal.com./v1/notifications/certs/CERT-1",
		"//api.paypal.com/v1/notifications/certs/CERT-1",
		"https:api.paypal.com/v1/notifications/certs/CERT-1",
		"https://api.paypal.com/cgi-bin/upload/CERT-1",
		"\x7f",
	} {
		if _, err := Verify("paypal", paypalRequest(t, key, at), keys, paypalSent); ReasonOf(err) != ErrKeyUnknown {
			t.Errorf("%q: got %v, want %v", at, err, ErrKeyUnknown)
		}
	}
	at := "https://api.paypal.com/v1/notifications/certs/CERT-1"
	_, err := Verify("paypal", paypalRequest(t, key, at), keys, paypalSent)
	var need *KeyNeeded
	if !errors.As(err, &need) || need.URL != at || ReasonOf(err) != ErrKeyNotThere {
		t.Errorf("got %v, want it to need the key at %s", err, at)
	}
}
