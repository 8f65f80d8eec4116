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

// trip answers requests without a network.
type trip func(*http.Request) (*http.Response, error)

func (t trip) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// answer is a client that gives every request the same answer and counts them.
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
		again  time.Duration // after which it is fetched anew
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

// TestKeyringOutage: a key that was fetched serves on while it cannot be
// fetched anew, and no longer than until the processor says that it is gone.
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

// TestKeyringBound: made-up addresses neither fill memory nor push out keys.
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
		t.Errorf("%d are remembered, want %d", len(k.keys), keyringKeys)
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
		t.Errorf("%d are remembered, want %d, and not the one not used for longest", len(k.keys), keyringKeys)
	}
}

// TestKeyringTogether: whoever wants the same key at once waits for one fetch,
// even if the one who began it has gone, and only so many of a host are fetched
// at once; one more waits for its turn as long as it may.
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
				if _, err := k.get(t.Context(), need(n%keyringOfHost)); err != nil {
					t.Errorf("key %d: %v", n, err)
				}
			})
		}
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := k.get(short, need(keyringOfHost)); !errors.Is(err, ErrKeyNotThere) {
			t.Errorf("one fetch more: %v, want %v", err, ErrKeyNotThere)
		}
		if fetched.Load() != 0 {
			t.Errorf("fetched %d times before any of the fetches can have ended", fetched.Load())
		}
		if _, err := k.get(t.Context(), need(keyringOfHost)); err != nil {
			t.Errorf("one fetch more, that waits: %v", err)
		}
		all.Wait()
		if fetched.Load() != keyringOfHost+1 {
			t.Errorf("fetched %d times, want %d", fetched.Load(), keyringOfHost+1)
		}
	})
}

// TestKeyringMadeUp: whoever names addresses of keys that are not there, or hang,
// keeps neither the keys of another host from others, nor those of the same host
// from another address for longer than one fetch takes.
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
			for stranger := range keyringOfHost + 2 {
				for n := range 50 {
					all.Go(func() {
						time.Sleep(time.Duration(n) * 100 * time.Millisecond)
						at := fmt.Sprintf("https://keys.example/made-up-%d-%d", stranger, n)
						if _, err := k.get(from(fmt.Sprintf("192.0.2.%d/32", stranger)), &KeyNeeded{URL: at}); err == nil {
							t.Error("a made-up key is there")
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
			if most := int32((keyringOfHost + 2) * keyringFailed); madeUp.Load() > most {
				t.Errorf("hanging %t: %d made-up keys were asked for, want at most %d", hangs, madeUp.Load(), most)
			}
			// A key that is known is not kept from anybody.
			if got, err := k.get(from("192.0.2.0/32"), &KeyNeeded{URL: "https://keys.example/key"}); err != nil || string(got) != "key" {
				t.Errorf("a known key: %q, %v", got, err)
			}
			time.Sleep(keyringRetry + time.Second)
			if got, err := k.get(from("192.0.2.0/32"), &KeyNeeded{URL: "https://keys.example/another"}); err != nil || string(got) != "key" {
				t.Errorf("a key that is there, later: %q, %v", got, err)
			}
		})
	}
}

// TestKeyringRequesters: how many addresses are remembered is bounded, and they
// are forgotten.
func TestKeyringRequesters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fetched atomic.Int32
		k := Keyring{Client: answer(&fetched, 404, "")}
		ask := func(n int) {
			from := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 32)
			k.get(WithRequester(t.Context(), from), need(n))
		}
		for n := range 2 * keyringAsked {
			ask(n)
		}
		if len(k.of) != keyringAsked || fetched.Load() != keyringAsked {
			t.Errorf("%d addresses are remembered, %d keys fetched, want %d", len(k.of), fetched.Load(), keyringAsked)
		}
		time.Sleep(keyringRetry + time.Second)
		ask(3 * keyringAsked)
		if len(k.of) != 1 || fetched.Load() != keyringAsked+1 {
			t.Errorf("%d addresses are remembered, %d keys fetched later", len(k.of), fetched.Load())
		}
	})
}

// TestKeyringTellsNothing: whoever sent the request learns that a key could not be
// fetched, and the operator why.
func TestKeyringTellsNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := "https://" + l.Addr().String() + "/key"
	l.Close()
	told := ""
	k := Keyring{Failed: func(url string, err error) { told = url + " " + err.Error() }}
	_, err = k.get(t.Context(), &KeyNeeded{URL: at})
	if !errors.Is(err, ErrKeyNotThere) || strings.ContainsAny(err.Error(), "0123456789") || strings.Contains(err.Error(), "dial") {
		t.Errorf("the error is %v, want %v and no more", err, ErrKeyNotThere)
	}
	if !strings.Contains(told, at) || !strings.Contains(told, "refused") {
		t.Errorf("the operator is told %q", told)
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

// authority is a certificate authority: a root, or one below it.
type authority struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

// issue makes a certificate signed by a, or by itself where a is nil.
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

// TestPayPalFetched: a certificate that is fetched is believed only if it is
// PayPal's, was valid at the time of sending, and a root vouches for it.
func TestPayPalFetched(t *testing.T) {
	ca := func(name string) x509.Certificate {
		return x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	}
	root := (*authority)(nil).issue(t, ca("root"))
	below := root.issue(t, ca("below"))
	other := (*authority)(nil).issue(t, ca("other"))
	paypalRoots = x509.NewCertPool()
	paypalRoots.AddCert(root.cert)
	defer func() { paypalRoots = nil }()
	const live, sandbox = "messageverificationcerts.paypal.com", "messageverificationcerts.sandbox.paypal.com"
	named := func(name string) x509.Certificate {
		return x509.Certificate{
			Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			IssuingCertificateURL: []string{"http://issuer.example/below.crt"},
		}
	}
	past := named(live)
	past.NotBefore, past.NotAfter = paypalSent.AddDate(-2, 0, 0), paypalSent.Add(-time.Second)
	future := named(live)
	future.NotBefore, future.NotAfter = paypalSent.Add(time.Second), paypalSent.AddDate(1, 0, 0)
	alone := named(live)
	alone.IssuingCertificateURL = nil
	good := below.issue(t, named(live))
	child := good.issue(t, alone)
	for _, test := range []struct {
		name, host string
		leaf       *authority
		pem        string
		want       error
	}{
		{"the chain", "api.paypal.com", good, good.pem() + below.pem(), nil},
		{"the certificate alone", "api.paypal.com", good, good.pem(), nil},
		{"from the other host", "api-m.paypal.com", good, good.pem(), nil},
		{"the sandbox's", "api.sandbox.paypal.com", below.issue(t, named(sandbox)), "", nil},
		{"signed by the root", "api.paypal.com", root.issue(t, alone), "", nil},
		{"by another root", "api.paypal.com", other.issue(t, named(live)), "", ErrKeyUnknown},
		{"by itself", "api.paypal.com", (*authority)(nil).issue(t, alone), "", ErrKeyUnknown},
		{"without what is between", "api.paypal.com", below.issue(t, alone), "", ErrKeyUnknown},
		{"by one who may not", "api.paypal.com", child, child.pem() + good.pem() + below.pem(), ErrKeyUnknown},
		{"another name", "api.paypal.com", below.issue(t, named("www.paypal.com")), "", ErrKeyUnknown},
		{"the sandbox's at live", "api.paypal.com", below.issue(t, named(sandbox)), "", ErrKeyUnknown},
		{"live's at the sandbox", "api.sandbox.paypal.com", good, good.pem(), ErrKeyUnknown},
		{"expired when it was sent", "api.paypal.com", below.issue(t, past), "", ErrKeyUnknown},
		{"not yet valid when it was sent", "api.paypal.com", below.issue(t, future), "", ErrKeyUnknown},
		{"no certificate", "api.paypal.com", good, "<html>", ErrKeyUnknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.pem == "" {
				test.pem = test.leaf.pem()
			}
			at := "https://" + test.host + "/v1/notifications/certs/CERT-1"
			k := Keyring{Client: &http.Client{Transport: trip(func(r *http.Request) (*http.Response, error) {
				body, ok := map[string]string{at: test.pem, "http://issuer.example/below.crt": string(below.cert.Raw)}[r.URL.String()]
				if !ok {
					t.Errorf("fetches %s", r.URL)
				}
				return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body))}, nil
			})}}
			keys := Keys{Settings: map[string]string{"webhook_id": "WH1"}}
			r := paypalRequest(t, test.leaf.key, at)
			// Judged years later: the time that counts is that of sending.
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

// TestPayPalAddress: only PayPal's own addresses of certificates are fetched.
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
