package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// served is `tollbridge serve` in this process.
type served struct {
	url, admin string
	log        screen
	stop       context.CancelFunc // as SIGTERM does
	ended      chan int           // receives the exit code
}

// startServe starts `tollbridge serve` with a configuration that has these addresses.
func startServe(t *testing.T, config, listen, admin string) *served {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	s := &served{url: "http://" + listen, admin: "http://" + admin, stop: stop, ended: make(chan int, 1)}
	go func() {
		s.ended <- run(ctx, []string{"serve", "--config", config}, strings.NewReader(""), &s.log, &s.log)
	}()
	t.Cleanup(func() {
		stop()
		select {
		case <-s.ended:
		case <-time.After(time.Minute):
			t.Error("serve does not stop")
		}
	})
	return s
}

// end stops the server and returns its exit code.
func (s *served) end() int {
	s.stop()
	code := <-s.ended
	s.ended <- code
	return code
}

// get returns the status and the body of a response of the admin listener.
func (s *served) get(path string) (int, string) {
	a, err := http.Get(s.admin + path)
	if err != nil {
		return 0, err.Error()
	}
	defer a.Body.Close()
	b, _ := io.ReadAll(a.Body)
	return a.StatusCode, string(b)
}

func (s *served) ready() bool { code, _ := s.get("/readyz"); return code == http.StatusOK }

// metric reports whether /metrics has a line.
func (s *served) metric(line string) bool {
	_, text := s.get("/metrics")
	return strings.Contains(text, "\n"+line)
}

// writeConfig writes a file as one change.
func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// createTopics creates the topics of a configuration.
func createTopics(t *testing.T, config string) {
	t.Helper()
	if got := tollbridge(t, "", "topics", "apply", "--config", config); got.code != 0 {
		t.Fatalf("topics apply: exit %d, %s", got.code, got.err)
	}
}

// sender sends signed webhooks without a pause until it is stopped, each of another
// payment, and counts those that were not answered 200.
type sender struct {
	secret  atomic.Pointer[string]
	sent    atomic.Int64
	mu      sync.Mutex
	refused []string
	stop    chan struct{}
	running sync.WaitGroup
}

// startSender starts senders that stop with the test, or after a minute.
func startSender(t *testing.T, url, secret string, senders int) *sender {
	s := &sender{stop: make(chan struct{})}
	s.secret.Store(&secret)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}, Timeout: 20 * time.Second}
	until := time.Now().Add(time.Minute)
	for range senders {
		s.running.Go(func() {
			for time.Now().Before(until) {
				select {
				case <-s.stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				if got := deliver(client, url, *s.secret.Load(), int(s.sent.Add(1))); got != "200 OK" {
					s.mu.Lock()
					s.refused = append(s.refused, got)
					s.mu.Unlock()
				}
			}
		})
	}
	t.Cleanup(func() { s.end(); client.CloseIdleConnections() })
	return s
}

// more waits until further webhooks were answered.
func (s *sender) more(t *testing.T, n int64) {
	t.Helper()
	from := s.sent.Load()
	until(t, "more webhooks", func() bool { return s.sent.Load() > from+n })
}

// end stops the senders and returns the answers other than 200.
func (s *sender) end() []string {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.running.Wait()
	return s.refused
}

// mountedSecrets is a folder in which secrets change as Kubernetes changes them: each
// file is a link into the folder ..data, which is a link that is replaced.
type mountedSecrets struct {
	dir string
	n   int
}

func (m *mountedSecrets) set(t *testing.T, files map[string]string) {
	t.Helper()
	m.n++
	real := fmt.Sprintf("..2026_%d", m.n)
	if err := os.Mkdir(filepath.Join(m.dir, real), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, value := range files {
		if err := os.WriteFile(filepath.Join(m.dir, real, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		if m.n == 1 {
			if err := os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Symlink(real, filepath.Join(m.dir, "..data_tmp")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(m.dir, "..data_tmp"), filepath.Join(m.dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if m.n > 1 {
		if err := os.RemoveAll(filepath.Join(m.dir, fmt.Sprintf("..2026_%d", m.n-1))); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRotateUnderLoad replaces a secret while webhooks are sent, by changes of mounted
// secrets: first both are accepted, then the sender changes, then the former is removed.
// No webhook is refused, and the log says when the former secret last matched.
func TestRotateUnderLoad(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	dir := t.TempDir()
	mounted := &mountedSecrets{dir: filepath.Join(dir, "secrets")}
	if err := os.Mkdir(mounted.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	const first, second = "whsec_the_first_one", "whsec_the_second_one"
	mounted.set(t, map[string]string{"main": first + "\n", "next": first + "\n"})
	config, listen, admin := filepath.Join(dir, "tollbridge.yaml"), freePort(t), freePort(t)
	writeFile(t, config, fmt.Sprintf(`{listen: %s, admin: %s, state: "", kafka: {brokers: [%s], partitions: 3, replication: 1},
endpoints: [{connector: stripe, live: false, secrets: {main: {file: %[4]s/main}, next: {file: %[4]s/next}}}]}`, listen, admin, cluster.ListenAddrs()[0], mounted.dir))
	createTopics(t, config)
	s := startServe(t, config, listen, admin)
	until(t, "serve to be ready", s.ready)
	load := startSender(t, s.url+"/webhooks/stripe", first, 4)
	load.more(t, 20)

	mounted.set(t, map[string]string{"main": first + "\n", "next": second + "\n"})
	until(t, "the reload", func() bool { return s.metric(`tollbridge_config_reloads_total{result="applied"} 1`) })
	if !s.metric(`tollbridge_secret_matched_timestamp_seconds{connector="stripe",endpoint="default",secret="next"} 0`) {
		t.Error("the new secret matched before it was used")
	}
	load.more(t, 20)
	changed := second
	load.secret.Store(&changed)
	load.more(t, 40)
	if s.metric(`tollbridge_secret_matched_timestamp_seconds{connector="stripe",endpoint="default",secret="next"} 0`) {
		t.Error("the metric does not say that the new secret matches")
	}
	mounted.set(t, map[string]string{"main": second + "\n", "next": second + "\n"})
	until(t, "the second reload", func() bool { return s.metric(`tollbridge_config_reloads_total{result="applied"} 2`) })
	load.more(t, 20)
	if refused := load.end(); len(refused) > 0 {
		t.Errorf("%d of %d webhooks were refused: %s", len(refused), load.sent.Load(), refused[0])
	}
	if log := s.log.String(); !strings.Contains(log, "a secret was removed; if the processor still signs with it") || !strings.Contains(log, `"secret":"main","last_matched":"`) {
		t.Errorf("the log does not say when the former secret last matched: %s", lastLines(log))
	}
	if got := deliver(http.DefaultClient, s.url+"/webhooks/stripe", first, 1); got != "401 Unauthorized" {
		t.Errorf("a webhook with the former secret is answered %s", got)
	}
	if strings.Contains(s.log.String(), "whsec_") {
		t.Error("the log has a secret")
	}
}

// lastLines returns the end of a log.
func lastLines(log string) string { return log[max(0, len(log)-2000):] }

// TestReload: SIGHUP and changes of the file are applied whole or refused whole, with the
// reason in the log. Changes that need a restart are named.
func TestReload(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	config, listen, admin := filepath.Join(t.TempDir(), "tollbridge.yaml"), freePort(t), freePort(t)
	file := func(partitions int, level string, endpoints ...string) string {
		return fmt.Sprintf("{listen: %s, admin: %s, state: \"\", log_level: %s, kafka: {brokers: [%s], partitions: %d, replication: 1},\nendpoints: [%s]}",
			listen, admin, level, cluster.ListenAddrs()[0], partitions, strings.Join(endpoints, ", "))
	}
	const a, b, broken = "{connector: stripe, live: false, secrets: {main: {value: whsec_of_default}}}", "{connector: stripe, name: eu, live: false, secrets: {main: {value: whsec_of_eu}}}", "{connector: stripe, name: us}"
	writeFile(t, config, file(3, "info", a))
	createTopics(t, config)
	s := startServe(t, config, listen, admin)
	until(t, "serve to be ready", s.ready)
	send := func(endpoint, secret string, n int) string {
		return deliver(http.DefaultClient, s.url+"/webhooks/stripe/"+endpoint, secret, n)
	}
	if got := send("eu", "whsec_of_eu", 1); got != "404 Not Found" {
		t.Fatalf("an endpoint that is not configured: %s", got)
	}
	writeFile(t, config, file(3, "info", a, b)) // the watch sees it
	until(t, "the new endpoint", func() bool { return send("eu", "whsec_of_eu", 2) == "200 OK" })

	writeFile(t, config, file(3, "error", b, broken)) // one of its endpoints is wrong: nothing changes
	until(t, "the refusal", func() bool { return s.metric(`tollbridge_config_reloads_total{result="refused"} 1`) })
	if !s.metric("tollbridge_config_last_reload_successful 0") || !strings.Contains(s.log.String(), "the configuration is refused; the former one stays in use") ||
		!strings.Contains(s.log.String(), "endpoint stripe/us") {
		t.Errorf("the log does not say why: %s", lastLines(s.log.String()))
	}
	if got := send("default", "whsec_of_default", 3); got != "200 OK" {
		t.Errorf("after a refused configuration, an endpoint answers %s", got)
	}

	writeFile(t, config, file(6, "error", b)) // partitions need a restart
	until(t, "the removal", func() bool { return send("default", "whsec_of_default", 4) == "404 Not Found" })
	until(t, "the metric of the last reload", func() bool { return s.metric("tollbridge_config_last_reload_successful 1") })
	if !strings.Contains(s.log.String(), `"keys":["kafka.partitions"]`) {
		t.Errorf("the log does not name what needs a restart: %s", lastLines(s.log.String()))
	}
	before := len(s.log.String())
	if got := send("eu", "whsec_of_eu", 5); got != "200 OK" || len(s.log.String()) != before {
		t.Errorf("%s; at log level error, the log has %s", got, s.log.String()[before:])
	}
	writeFile(t, config, file(3, "error", b, "{connector: gocardless, secrets: {main: {value: of-gocardless}}}")) // it also reports reversals
	until(t, "the refusal for lack of a topic", func() bool { return s.metric(`tollbridge_config_reloads_total{result="refused"} 2`) })
	if !strings.Contains(s.log.String(), "payment.reversed, payout.reversed; create them with 'tollbridge topics apply' and restart") {
		t.Errorf("the log does not name the topics: %s", lastLines(s.log.String()))
	}
	late := filepath.Join(filepath.Dir(config), "late")
	writeFile(t, config, file(3, "error", b, fmt.Sprintf("{connector: stripe, name: late, live: false, secrets: {main: {file: %s}}}", late)))
	until(t, "the refusal for lack of a secret's file", func() bool { return s.metric(`tollbridge_config_reloads_total{result="refused"} 3`) })
	writeFile(t, late, "whsec_of_late\n")
	until(t, "the endpoint whose secret came late", func() bool { return send("late", "whsec_of_late", 6) == "200 OK" })
	n := strings.Count(s.log.String(), "refused")
	writeFile(t, config, "listen: [")
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(t, "the refusal of a file that is not YAML", func() bool { return strings.Count(s.log.String(), "refused") > n })
	if got := send("eu", "whsec_of_eu", 7); got != "200 OK" {
		t.Errorf("after a file that is not YAML: %s", got)
	}
}

// TestWaitsForKafka: a server that starts before Kafka says why it is not ready, answers
// webhooks 503, and works once Kafka is there. SIGTERM ends it while it waits.
func TestWaitsForKafka(t *testing.T) {
	config, listen, admin, broker := filepath.Join(t.TempDir(), "tollbridge.yaml"), freePort(t), freePort(t), freePort(t)
	writeFile(t, config, fmt.Sprintf(`{listen: %s, admin: %s, state: "", kafka: {brokers: [%s], partitions: 3, replication: 1},
endpoints: [{connector: stripe, live: false, secrets: {main: {value: whsec_of_default}}}]}`, listen, admin, broker))
	s := startServe(t, config, listen, admin)
	until(t, "the reason in readyz", func() bool {
		code, text := s.get("/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(text, "connection refused")
	})
	if code, _ := s.get("/livez"); code != http.StatusOK {
		t.Errorf("livez answers %d", code)
	}
	until(t, "503 for webhooks", func() bool {
		return deliver(http.DefaultClient, s.url+"/webhooks/stripe", "whsec_of_default", 1) == "503 Service Unavailable"
	})
	if got := deliver(http.DefaultClient, s.url+"/webhooks/stripe", "whsec_another", 1); got != "401 Unauthorized" {
		t.Errorf("a forged webhook is answered %s", got)
	}
	until(t, "a line every few seconds", func() bool { return strings.Count(s.log.String(), "waiting for Kafka") >= 2 })
	if code := s.end(); code != 0 {
		t.Errorf("SIGTERM while it waits: exit %d", code)
	}
	s = startServe(t, config, listen, admin)
	until(t, "the log", func() bool { return strings.Contains(s.log.String(), "waiting for Kafka") })
	cluster, _, err := fakeKafka(broker, "")
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	createTopics(t, config)
	select { // the topics may be asked for before they are there: that ends the server
	case code := <-s.ended:
		if code != 1 || !strings.Contains(s.log.String(), "topics are missing") {
			t.Fatalf("exit %d, %s", code, lastLines(s.log.String()))
		}
		s = startServe(t, config, listen, admin)
	case <-time.After(openingInterval + time.Second):
	}
	until(t, "serve to be ready", s.ready)
	if got := deliver(http.DefaultClient, s.url+"/webhooks/stripe", "whsec_of_default", 1); got != "200 OK" {
		t.Errorf("a webhook is answered %s", got)
	}
}

// balancer is a proxy that sends each request to the next server that is ready, and asks
// for that as load balancers do: at an interval. It sends nothing twice.
type balancer struct {
	ready   []atomic.Bool
	next    atomic.Int64
	proxies []*httputil.ReverseProxy
}

const balancerInterval = 100 * time.Millisecond

func startBalancer(t *testing.T, addresses ...string) (*balancer, string) {
	b := &balancer{ready: make([]atomic.Bool, len(addresses))}
	for _, address := range addresses {
		proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
		proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) {
			t.Logf("%s: %v", address, err)
			w.WriteHeader(http.StatusBadGateway)
		}
		b.proxies = append(b.proxies, proxy)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: b}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return b, "http://" + l.Addr().String()
}

// follow asks a server whether it is ready until the test ends.
func (b *balancer) follow(t *testing.T, i int, admin string) {
	s := &served{admin: "http://" + admin}
	var following sync.WaitGroup
	t.Cleanup(following.Wait)
	following.Go(func() {
		for t.Context().Err() == nil {
			code, text := s.get("/readyz")
			if b.ready[i].Swap(code == http.StatusOK) != (code == http.StatusOK) {
				t.Logf("%s: readyz answers %d %s", admin, code, text)
			}
			time.Sleep(balancerInterval)
		}
	})
}

func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	first := int(b.next.Add(1))
	for n := range b.proxies {
		i := (first + n) % len(b.proxies)
		if b.ready[i].Load() {
			b.proxies[i].ServeHTTP(w, r)
			return
		}
	}
	http.Error(w, "no server is ready", http.StatusGatewayTimeout)
}

// TestRollingRestart restarts two replicas behind a balancer, one after the other, while
// webhooks are sent. None of them fails at the sender.
func TestRollingRestart(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	var configs, listens, admins []string
	for range 2 {
		listen, admin := freePort(t), freePort(t)
		dir := t.TempDir()
		config := filepath.Join(dir, "tollbridge.yaml")
		writeFile(t, config, fmt.Sprintf(`{listen: %s, admin: %s, state: %s/state, shutdown_delay: 500ms, kafka: {brokers: [%s], partitions: 3, replication: 1},
endpoints: [{connector: stripe, live: false, secrets: {main: {value: whsec_of_default}}}]}`, listen, admin, dir, cluster.ListenAddrs()[0]))
		configs, listens, admins = append(configs, config), append(listens, listen), append(admins, admin)
	}
	createTopics(t, configs[0])
	balance, address := startBalancer(t, listens...)
	replicas := make([]*served, 2)
	for i := range replicas {
		replicas[i] = startServe(t, configs[i], listens[i], admins[i])
		balance.follow(t, i, admins[i])
		until(t, "the replica to be ready", func() bool { return balance.ready[i].Load() })
	}
	load := startSender(t, address+"/webhooks/stripe", "whsec_of_default", 8)
	load.more(t, 50)
	for round := range 2 {
		for i := range replicas {
			if code := replicas[i].end(); code != 0 {
				t.Errorf("round %d, replica %d: exit %d", round, i, code)
			}
			load.more(t, 20)
			replicas[i] = startServe(t, configs[i], listens[i], admins[i])
			until(t, "the replica to be ready", func() bool { return balance.ready[i].Load() })
			load.more(t, 20)
		}
	}
	if failed := load.end(); len(failed) > 0 {
		t.Errorf("%d of %d webhooks failed: %s", len(failed), load.sent.Load(), failed[0])
	}
}

// authority is a certificate authority.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{}
	_, a.cert, a.key = a.issue(t, true)
	return a
}

// issue returns a certificate for 127.0.0.1; one that signs itself if root is set.
func (a authority) issue(t *testing.T, root bool) (tls.Certificate, *x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: root, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	parent, signer := a.cert, a.key
	if root {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, c, key
}

// writeClient writes a certificate and its key.
func (a authority) writeClient(t *testing.T, cert, key string) {
	t.Helper()
	pair, _, private := a.issue(t, false)
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
	writeFile(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})))
}

// cutListener remembers the connections, to cut them.
type cutListener struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (l *cutListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
	}
	return c, err
}

func (l *cutListener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close()
	}
	l.conns = nil
}

// TestRenewClientCertificate: a broker accepts another certificate authority from now on.
// After the client's certificate was replaced, the server connects again. If the sections
// with it and with the password are removed together with their files, the rest of the
// configuration is applied, and the server goes on with what it read before.
func TestRenewClientCertificate(t *testing.T) {
	before, after := newAuthority(t), newAuthority(t)
	broker, _, _ := before.issue(t, false)
	var accepted atomic.Pointer[x509.CertPool]
	pool := func(a authority) *x509.CertPool { p := x509.NewCertPool(); p.AddCert(a.cert); return p }
	accepted.Store(pool(before))
	var listener *cutListener
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "bridge", "of-bridge"), kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		if err != nil {
			return nil, err
		}
		listener = &cutListener{Listener: l}
		return tls.NewListener(listener, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{Certificates: []tls.Certificate{broker}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: accepted.Load()}, nil
		}}), nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	dir := t.TempDir()
	config, listen, admin := filepath.Join(dir, "tollbridge.yaml"), freePort(t), freePort(t)
	writeFile(t, filepath.Join(dir, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: before.cert.Raw})))
	cert, key, password := filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key"), filepath.Join(dir, "password")
	before.writeClient(t, cert, key)
	writeFile(t, password, "of-bridge\n")
	file := func(endpoint, security string) string {
		return fmt.Sprintf(`{listen: %s, admin: %s, state: "", kafka: {brokers: [%s], partitions: 3, replication: 1%s},
endpoints: [{connector: stripe, name: %s, live: false, secrets: {main: {value: whsec_of_default}}}]}`, listen, admin, cluster.ListenAddrs()[0], security, endpoint)
	}
	writeFile(t, config, file("default", fmt.Sprintf(", tls: {ca: %s/ca.pem, cert: %s, key: %s}, sasl: {mechanism: PLAIN, username: bridge, password: {file: %s}}", dir, cert, key, password)))
	createTopics(t, config)
	s := startServe(t, config, listen, admin)
	until(t, "serve to be ready", s.ready)

	accepted.Store(pool(after))
	listener.cut()
	until(t, "the broker to refuse the certificate", func() bool { return !s.ready() })
	after.writeClient(t, cert, key)
	until(t, "the reload", func() bool { return s.metric(`tollbridge_config_reloads_total{result="applied"} 1`) })
	until(t, "serve to be ready with the new certificate", s.ready)
	until(t, "a webhook", func() bool {
		return deliver(http.DefaultClient, s.url+"/webhooks/stripe", "whsec_of_default", 1) == "200 OK"
	})

	for i, endpoint := range []string{"eu", "us"} { // the second reload must not read the files either
		writeFile(t, config, file(endpoint, ""))
		if i == 0 {
			for _, gone := range []string{cert, key, password} {
				if err := os.Remove(gone); err != nil {
					t.Fatal(err)
				}
			}
		}
		listener.cut()
		until(t, "the endpoint "+endpoint, func() bool {
			return deliver(http.DefaultClient, s.url+"/webhooks/stripe/"+endpoint, "whsec_of_default", i+2) == "200 OK"
		})
	}
	if log := s.log.String(); !strings.Contains(log, `"keys":["kafka.tls","kafka.sasl"]`) {
		t.Errorf("the log does not name what needs a restart: %s", lastLines(log))
	}
	time.Sleep(2 * reloadDelay)
	reloads := func() int {
		log := s.log.String()
		return strings.Count(log, "a file of the configuration changed")
	}
	done := reloads()
	writeFile(t, filepath.Join(dir, "another"), "not a file of the configuration") // the server sees that its folder changed
	if time.Sleep(3 * reloadDelay); reloads() != done {
		t.Errorf("the configuration was read again, and no file of it changed: %s", lastLines(s.log.String()))
	}
}
