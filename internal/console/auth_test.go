package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/crypto/bcrypt"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/webhook"
)

const testPassword = "correct horse battery"

// guarded is a console with a login, and its log.
type guarded struct {
	*Handler
	log *bytes.Buffer
}

func newGuarded(c Config) guarded {
	g := guarded{log: new(bytes.Buffer)}
	c.Names = func() (kafka.Names, error) { return kafka.Names{}, errors.New("no broker answers") }
	c.Endpoints = func() []webhook.Endpoint { return nil }
	c.Connectors = func() ([]Connector, error) { return nil, nil }
	c.Log = zerolog.New(g.log).Level(zerolog.ErrorLevel) // audit lines do not depend on it
	g.Handler = New(c)
	return g
}

// sent is a request from another machine.
type sent struct {
	method, path string
	header       map[string]string
	form         url.Values
	cookie       string
	from         string
}

func (g guarded) send(s sent) *httptest.ResponseRecorder {
	if s.method == "" {
		s.method = http.MethodGet
	}
	r := httptest.NewRequest(s.method, s.path, strings.NewReader(s.form.Encode()))
	r.RemoteAddr = "192.0.2.1:5"
	if s.from != "" {
		r.RemoteAddr = s.from
	}
	if s.form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range s.header {
		r.Header.Set(name, value)
	}
	if s.cookie != "" {
		r.Header.Set("Cookie", s.cookie)
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w
}

// logIn returns the cookie of a new session.
func (g guarded) logIn(t *testing.T, name string) string {
	t.Helper()
	w := g.send(sent{method: "POST", path: "/console/login", form: url.Values{"name": {name}, "password": {testPassword}}})
	if w.Code != http.StatusSeeOther || len(w.Result().Cookies()) != 1 {
		t.Fatalf("login: status %d, cookies %v: %s", w.Code, w.Result().Cookies(), w.Body)
	}
	c := w.Result().Cookies()[0]
	return c.Name + "=" + c.Value
}

// token returns the token of the forms of a session.
func (g guarded) token(t *testing.T, cookie string) string {
	t.Helper()
	w := g.send(sent{path: "/console/connectors", cookie: cookie, header: map[string]string{"Accept": "application/json"}})
	if w.Code != 200 || len(w.Header().Get(tokenHeader)) != 64 {
		t.Fatalf("status %d, no token: %v", w.Code, w.Header())
	}
	return w.Header().Get(tokenHeader)
}

// audits returns the lines of the audit log as "what who login".
func (g guarded) audits(t *testing.T) (all []string) {
	t.Helper()
	for line := range strings.Lines(g.log.String()) {
		var l struct{ Audit, Who, Login, Remote string }
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Audit == "" || l.Remote == "" {
			t.Fatalf("not a line of the audit log: %s", line)
		}
		all = append(all, l.Audit+" "+l.Who+" "+l.Login)
	}
	return all
}

// TestLogin: nothing but the form and its style sheet is shown without the password, the
// cookie cannot be read by scripts or sent by other sites, the session gets a new token at
// the login and ends with the logout, and the audit log tells all of it.
func TestLogin(t *testing.T) {
	for _, password := range []string{testPassword, hashed(t, testPassword)} {
		g := newGuarded(Config{Login: Login{Password: password}, Write: true})
		for path, want := range map[string]int{
			"/console/": 303, "/console/payment?id=1": 303, "/console/webhook?at=1": 303, "/console/nothing": 303, "/console": 303,
			"/console/login": 200, "/console/assets/console.css": 200,
		} {
			if w := g.send(sent{path: path}); w.Code != want {
				t.Errorf("%s without a login: status %d, want %d", path, w.Code, want)
			}
		}
		if w := g.send(sent{path: "/console/payment?id=a%20b"}); w.Header().Get("Location") != "/console/login?next=%2Fconsole%2Fpayment%3Fid%3Da%2520b" {
			t.Errorf("location %q", w.Header().Get("Location"))
		}
		if w := g.send(sent{path: "/console/", header: map[string]string{"Accept": "application/json"}}); w.Code != 401 || !strings.Contains(w.Body.String(), `"error"`) {
			t.Errorf("JSON without a login: %d %s", w.Code, w.Body)
		}
		for _, wrong := range []string{"", "x", testPassword + " ", strings.Repeat("x", 1000)} {
			w := g.send(sent{method: "POST", path: "/console/login", form: url.Values{"name": {"eve"}, "password": {wrong}}, from: "192.0.2.9:1"})
			if w.Code != 401 || len(w.Result().Cookies()) != 0 || !strings.Contains(w.Body.String(), "wrong") {
				t.Errorf("password %.20q: status %d, cookies %v", wrong, w.Code, w.Result().Cookies())
			}
		}
		anna, bert := g.logIn(t, "anna"), g.logIn(t, "bert")
		if w := g.send(sent{path: "/console/connectors", cookie: anna}); w.Code != 200 || !strings.Contains(w.Body.String(), "Log out") {
			t.Errorf("logged in: status %d: %s", w.Code, w.Body)
		}
		if g.token(t, anna) == g.token(t, bert) {
			t.Error("two sessions have the same token for forms")
		}
		for token, want := range map[string]int{"": 403, "x": 403, g.token(t, bert): 403, g.token(t, anna): 303} {
			if w := g.send(sent{method: "POST", path: "/console/logout", cookie: anna, form: url.Values{"token": {token}}}); w.Code != want {
				t.Errorf("logout with the token %.4q: status %d, want %d", token, w.Code, want)
				continue
			} else if want == 303 {
				break
			}
		}
		g.send(sent{method: "POST", path: "/console/logout", cookie: anna, header: map[string]string{tokenHeader: "x"}})
		if w := g.send(sent{method: "POST", path: "/console/logout", cookie: bert, header: map[string]string{tokenHeader: g.token(t, bert)}}); w.Code != 303 {
			t.Errorf("logout with the token in the header: status %d", w.Code)
		}
		for _, cookie := range []string{bert, cookieName + "=x"} {
			if w := g.send(sent{path: "/console/connectors", cookie: cookie}); w.Code != 303 {
				t.Errorf("after the logout: status %d, want 303", w.Code)
			}
		}
		got := strings.Join(g.audits(t), "\n")
		for _, want := range []string{"login_failed unverified password", "login anna password", "login bert password", "logout bert password"} {
			if !strings.Contains(got, want) {
				t.Errorf("the audit log has no %q:\n%s", want, got)
			}
		}
		if strings.Contains(g.log.String(), testPassword) {
			t.Error("the log has the password")
		}
	}
}

func hashed(t *testing.T, password string) string {
	t.Helper()
	b, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCookie: the cookie of a session is HttpOnly and SameSite=Strict, and Secure behind
// TLS; a session that somebody planted is not used.
func TestCookie(t *testing.T) {
	g := newGuarded(Config{Login: Login{Password: testPassword}})
	for proto, secure := range map[string]bool{"": false, "http": false, "https": true} {
		w := g.send(sent{method: "POST", path: "/console/login", form: url.Values{"password": {testPassword}}, header: map[string]string{"X-Forwarded-Proto": proto}, cookie: cookieName + "=planted"})
		c := w.Result().Cookies()
		if len(c) != 1 || !c[0].HttpOnly || c[0].SameSite != http.SameSiteStrictMode || c[0].Secure != secure || c[0].Path != "/console/" || c[0].Value == "planted" || c[0].MaxAge > 0 || !c[0].Expires.IsZero() {
			t.Errorf("X-Forwarded-Proto %q: %+v", proto, c)
		}
	}
	if g.access.plain.IdleTimeout != sessionIdle || g.access.secure.Lifetime != sessionLifetime {
		t.Error("the sessions have no time limits")
	}
	before := g.logIn(t, "anna")
	w := g.send(sent{method: "POST", path: "/console/login", cookie: before, form: url.Values{"password": {testPassword}}})
	if after := w.Result().Cookies()[0]; before == after.Name+"="+after.Value {
		t.Error("the login does not renew the session")
	}
	if w := g.send(sent{path: "/console/connectors", cookie: before}); w.Code != 303 {
		t.Errorf("the former session: status %d, want 303", w.Code)
	}
}

// TestSessionEnds: a session ends without requests, and a logout ends the requests in
// progress of its session only.
func TestSessionEnds(t *testing.T) {
	g := newGuarded(Config{Login: Login{Password: testPassword}})
	g.access.plain.IdleTimeout = 300 * time.Millisecond
	cookie := g.logIn(t, "anna")
	if w := g.send(sent{path: "/console/connectors", cookie: cookie}); w.Code != 200 {
		t.Fatalf("status %d", w.Code)
	}
	time.Sleep(400 * time.Millisecond)
	if w := g.send(sent{path: "/console/connectors", cookie: cookie}); w.Code != 303 {
		t.Errorf("after the idle time: status %d, want 303", w.Code)
	}
	g.access.plain.IdleTimeout = sessionIdle
	ended := map[string]chan error{"anna": make(chan error, 1), "bert": make(chan error, 1)}
	started := make(chan struct{}, 2)
	g.mux.HandleFunc("GET /console/endless", func(_ http.ResponseWriter, r *http.Request) {
		started <- struct{}{}
		select {
		case <-r.Context().Done():
			ended[userOf(r).Name] <- nil
		case <-time.After(10 * time.Second):
			ended[userOf(r).Name] <- errors.New("it did not end")
		}
	})
	cookies := map[string]string{"anna": g.logIn(t, "anna"), "bert": g.logIn(t, "bert")}
	for _, c := range cookies {
		go g.send(sent{path: "/console/endless", cookie: c})
	}
	<-started
	<-started
	for _, name := range []string{"anna", "bert"} {
		u := user{Login: byPassword, session: strings.TrimPrefix(cookies[name], cookieName+"=")}
		if w := g.send(sent{method: "POST", path: "/console/logout", cookie: cookies[name], form: url.Values{"token": {g.access.token(u)}}}); w.Code != 303 {
			t.Fatalf("logout: %d", w.Code)
		}
		if err := <-ended[name]; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "anna" && len(ended["bert"]) > 0 {
			t.Error("the logout of anna ended a request of bert")
		}
	}
}

// TestLogoutDuringRequest: the response to a request that was in progress at the logout does
// not store its session again, and neither does a request whose session was read just
// before; a new login ends the requests of the browser's former session, too.
func TestLogoutDuringRequest(t *testing.T) {
	for _, again := range []bool{false, true} {
		g := newGuarded(Config{Login: Login{Password: testPassword}})
		cookie := g.logIn(t, "anna")
		started, ended := make(chan struct{}), make(chan struct{})
		g.mux.HandleFunc("GET /console/slow", func(w http.ResponseWriter, r *http.Request) {
			close(started)
			<-r.Context().Done()
			_, _ = w.Write([]byte("slow"))
			close(ended)
		})
		go g.send(sent{path: "/console/slow", cookie: cookie})
		<-started
		form, path := url.Values{"token": {g.token(t, cookie)}}, "/console/logout"
		if again {
			form, path = url.Values{"password": {testPassword}}, "/console/login"
		}
		if w := g.send(sent{method: "POST", path: path, cookie: cookie, form: form}); w.Code != 303 {
			t.Fatalf("%s: status %d", path, w.Code)
		}
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s does not end the request", path)
		}
		if w := g.send(sent{path: "/console/connectors", cookie: cookie}); w.Code != 303 {
			t.Errorf("after %s the former session is valid again: status %d, want 303", path, w.Code)
		}
	}
	g := newGuarded(Config{Login: Login{Password: testPassword}})
	cookie := g.logIn(t, "anna")
	session := strings.TrimPrefix(cookie, cookieName+"=")
	ctx, err := g.access.plain.Load(t.Context(), session)
	if err != nil {
		t.Fatal(err)
	}
	g.send(sent{method: "POST", path: "/console/logout", cookie: cookie, form: url.Values{"token": {g.token(t, cookie)}}})
	_, end, err := g.during(ctx, user{Name: "anna", Login: byPassword, session: session})
	defer end()
	if !errors.Is(err, errNoLogin) || len(g.requests) != 1 {
		t.Errorf("a request whose session was read before the logout: %v", err)
	}
	if _, _, err := g.access.plain.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if w := g.send(sent{path: "/console/connectors", cookie: cookie}); w.Code != 303 {
		t.Errorf("its response stores the session again: status %d", w.Code)
	}
}

// TestSetLogin: a new password is needed at once, and ends the sessions of the former one
// with their requests in progress; a new secret of the proxy ends none.
func TestSetLogin(t *testing.T) {
	const secret, changed = "a secret of the proxy", "another horse battery"
	g := newGuarded(Config{Login: Login{Password: testPassword, Proxy: &Proxy{Secret: secret}}})
	cookie := g.logIn(t, "anna")
	status := func(cookie, secret string) int {
		s := sent{path: "/console/connectors", cookie: cookie}
		if secret != "" {
			s.header = map[string]string{DefaultUserHeader: "bert", DefaultSecretHeader: secret}
		}
		return g.send(s).Code
	}
	g.SetLogin(Login{Password: testPassword, Proxy: &Proxy{Secret: "the next secret"}})
	if mine, former, next := status(cookie, ""), status("", secret), status("", "the next secret"); mine != 200 || former != 401 || next != 200 {
		t.Errorf("after the proxy's secret changed: the session %d, the former secret %d, the next %d; want 200, 401, 200", mine, former, next)
	}
	started, ended := make(chan struct{}), make(chan struct{})
	g.mux.HandleFunc("GET /console/slow", func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
		close(ended)
	})
	go g.send(sent{path: "/console/slow", cookie: cookie})
	<-started
	former := g.access.login.Load().Password
	g.SetLogin(Login{Password: changed, Proxy: &Proxy{Secret: "the next secret"}})
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("a new password does not end a request in progress")
	}
	if got := status(cookie, ""); got != 303 {
		t.Errorf("after the password changed, its session answers %d, want 303", got)
	}
	for password, want := range map[string]int{former: 401, changed: 303} {
		if w := g.send(sent{method: "POST", path: "/console/login", form: url.Values{"password": {password}}}); w.Code != want {
			t.Errorf("login with %q: %d, want %d", password, w.Code, want)
		}
	}
	// A login that compared the password just before it was changed stores its session after.
	ctx, err := g.access.plain.Load(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	g.access.plain.Put(ctx, sessionUser, "eve")
	g.access.plain.Put(ctx, sessionPassword, g.access.signed(former))
	late, _, err := g.access.plain.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := status(cookieName+"="+late, ""); got != 303 {
		t.Errorf("a session of the former password that is stored late answers %d, want 303", got)
	}
}

// TestGuesses: guesses are limited for each address and for all, and the limit of one
// address does not keep others out.
func TestGuesses(t *testing.T) {
	g := newGuarded(Config{Login: Login{Password: testPassword}})
	try := func(from, password string) int {
		return g.send(sent{method: "POST", path: "/console/login", from: from, form: url.Values{"password": {password}}}).Code
	}
	var got []int
	for range guessBurst + 3 {
		got = append(got, try("192.0.2.1:5", "wrong"))
	}
	if fmt.Sprint(got) != "[401 401 401 401 401 429 429 429]" {
		t.Errorf("guesses of one address: %v", got)
	}
	if code := try("192.0.2.1:6", testPassword); code != 429 {
		t.Errorf("the right password after too many guesses: %d, want 429", code)
	}
	if code := try("192.0.2.2:5", testPassword); code != 303 {
		t.Errorf("another address: %d, want 303", code)
	}
	for n := range 10 {
		if code := try(fmt.Sprintf("[2001:db8::%d]:5", n), "wrong"); n >= guessBurst && code != 429 {
			t.Errorf("guess %d of a /64: %d, want 429", n, code)
		}
	}
	var l guesses
	at, allowed := time.Now(), 0
	for n := range 10_000 {
		if l.allow(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), at) {
			allowed++
		}
	}
	if allowed != allGuessBurst || len(l.by) > maxGuessers {
		t.Errorf("%d guesses of 10,000 addresses at once were allowed, want %d; %d addresses are remembered", allowed, allGuessBurst, len(l.by))
	}
	if !l.allow(netip.MustParseAddr("10.9.9.9"), at.Add(time.Minute)) {
		t.Error("nobody can log in a minute later")
	}
}

// TestProxy: with a trusted proxy, its secret and exactly one name are needed, and the name
// is in the audit log; with a password, too, either lets people in.
func TestProxy(t *testing.T) {
	const secret = "a secret of the proxy"
	for _, both := range []bool{false, true} {
		c := Config{Login: Login{Proxy: &Proxy{Secret: secret}}, Write: true}
		without := 401
		if both {
			c.Login.Password, without = testPassword, 303
		}
		g := newGuarded(c)
		for n, test := range []struct {
			header http.Header
			want   int
		}{
			{nil, without},
			{http.Header{"X-Forwarded-User": {"anna"}}, without},
			{http.Header{"X-Forwarded-User": {"anna"}, DefaultSecretHeader: {secret}}, 200},
			{http.Header{"X-Forwarded-User": {"anna"}, DefaultSecretHeader: {secret + "x"}}, 401},
			{http.Header{"X-Forwarded-User": {"anna"}, DefaultSecretHeader: {""}}, 401},
			{http.Header{"X-Forwarded-User": {"anna"}, DefaultSecretHeader: {secret, secret}}, 401},
			{http.Header{"X-Forwarded-User": {"anna", "eve"}, DefaultSecretHeader: {secret}}, 401},
			{http.Header{"X-Forwarded-User": {" "}, DefaultSecretHeader: {secret}}, 401},
			{http.Header{DefaultSecretHeader: {secret}}, 401},
		} {
			r := httptest.NewRequest("GET", "/console/connectors", nil)
			r.RemoteAddr = "192.0.2.1:5"
			for name, values := range test.header {
				r.Header[name] = values
			}
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			if w.Code != test.want {
				t.Errorf("%d, %v: status %d, want %d: %s", n, test.header, w.Code, test.want, w.Body)
			}
			if test.want == 200 && !strings.Contains(w.Body.String(), "anna") {
				t.Errorf("the page does not say who is logged in: %s", w.Body)
			}
			if strings.Contains(w.Body.String(), secret) {
				t.Error("the page has the secret")
			}
		}
		if w := g.send(sent{path: "/console/login"}); !both && w.Code != 401 {
			t.Errorf("the form without a password: status %d, want 401", w.Code)
		}
	}
}

// TestLogoutJSON: a client that asks for JSON can log out, whatever the console allows.
func TestLogoutJSON(t *testing.T) {
	g := newGuarded(Config{Login: Login{Password: testPassword}})
	cookie := g.logIn(t, "anna")
	if w := g.send(sent{method: "POST", path: "/console/logout", cookie: cookie, header: map[string]string{"Accept": "application/json", tokenHeader: g.token(t, cookie)}}); w.Code != 200 {
		t.Errorf("logout: status %d: %s", w.Code, w.Body)
	}
	if w := g.send(sent{path: "/console/connectors", cookie: cookie}); w.Code != 303 {
		t.Errorf("after the logout: status %d, want 303", w.Code)
	}
}

// TestOtherSites: a form that another site sends is refused, even with a right token.
func TestOtherSites(t *testing.T) {
	g := newGuarded(Config{Login: Login{Password: testPassword}, Write: true})
	cookie := g.logIn(t, "anna")
	token := g.token(t, cookie)
	for _, header := range []map[string]string{{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://example.com:81"}} {
		for _, path := range []string{"/console/logout", "/console/login", "/console/webhook?at=1"} {
			if w := g.send(sent{method: "POST", path: path, cookie: cookie, header: header, form: url.Values{"token": {token}, "password": {testPassword}}}); w.Code != 403 {
				t.Errorf("%s with %v: status %d, want 403", path, header, w.Code)
			}
		}
	}
	if w := g.send(sent{method: "POST", path: "/console/logout", cookie: cookie, header: map[string]string{"Origin": "http://example.com", "Sec-Fetch-Site": "same-origin"}, form: url.Values{"token": {token}}}); w.Code != 303 {
		t.Errorf("from its own page: status %d, want 303", w.Code)
	}
}

// TestRights: without its right, a form is answered 403 whatever its token.
func TestRights(t *testing.T) {
	for _, unmask := range []bool{false, true} {
		g := newGuarded(Config{Login: Login{Password: testPassword}, Write: true, Unmask: unmask})
		cookie := g.logIn(t, "anna")
		w := g.send(sent{method: "POST", path: "/console/webhook?at=webhooks.received-0-0", cookie: cookie, form: url.Values{"token": {g.token(t, cookie)}}})
		want, audited := 403, 0
		if unmask {
			want, audited = 503, 1 // Kafka does not answer
		}
		if w.Code != want || strings.Count(g.log.String(), `"audit":"unmask"`) != audited {
			t.Errorf("unmask %t: status %d, want %d; log %s", unmask, w.Code, want, g.log)
		}
		if !unmask {
			continue
		}
		g.log.Reset()
		padding := "/console/webhook?x=" + strings.Repeat("x", 900)
		for path, want := range map[string]int{padding + "&at=webhooks.received-0-0": 503, padding + strings.Repeat("x", 100) + "&at=webhooks.received-0-0": 400} {
			w := g.send(sent{method: "POST", path: path, cookie: cookie, form: url.Values{"token": {g.token(t, cookie)}}})
			if logged := strings.Contains(g.log.String(), path); w.Code != want || logged != (want == 503) {
				t.Errorf("a path of %d bytes: status %d, want %d; the log has it: %t", len(path), w.Code, want, logged)
			}
		}
	}
}

// TestLoginCheck: a login that does not protect is refused, and the error of an address
// that others can reach names both ways to log in.
func TestLoginCheck(t *testing.T) {
	long := strings.Repeat("s", minSecret)
	for _, c := range []struct {
		login Login
		wrong string // empty: nothing
	}{
		{Login{}, ""},
		{Login{Password: testPassword}, ""},
		{Login{Password: hashed(t, "x")}, ""},
		{Login{Password: "short"}, "at least 12"},
		{Login{Password: "$2y$10$notahash"}, "bcrypt"},
		{Login{Proxy: &Proxy{Secret: long}}, ""},
		{Login{Proxy: &Proxy{Secret: "short"}}, "at least 16"},
		{Login{Proxy: &Proxy{Secret: long, Header: "X User"}}, "not the name of a header"},
		{Login{Proxy: &Proxy{Secret: long, Header: "x-same", SecretHeader: "X-Same"}}, "two headers"},
	} {
		err := c.login.Check()
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%+v: %v, want %q", c.login, err, c.wrong)
		}
		if err != nil && c.login.Password != "" && strings.Contains(err.Error(), c.login.Password) {
			t.Errorf("the error has the password: %v", err)
		}
	}
	for address, ok := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "0.0.0.0:1": false, ":1": false, "192.0.2.1:1": false, "host.example:1": false, "[::]:1": false, "localhost.example:1": false} {
		err := Login{}.CheckListen("admin", address)
		if (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "password") || !strings.Contains(err.Error(), "proxy")) {
			t.Errorf("the error does not name both ways: %v", err)
		}
		if (Login{Password: testPassword}).CheckListen("admin", address) != nil {
			t.Errorf("%s is refused although there is a login", address)
		}
	}
}

// TestNext: after the login only a page of the console follows.
func TestNext(t *testing.T) {
	for next, want := range map[string]string{
		"": "/console/", "/console/payment?id=a%20b": "/console/payment?id=a%20b", "https://evil.example/console/": "/console/", "//evil.example/console/": "/console/", "/metrics": "/console/",
		"/console/../metrics": "/console/", "/console/login": "/console/", "/console/logout": "/console/", `/console/\evil`: "/console/", "/console/\r\nX: y": "/console/", "javascript:alert(1)": "/console/",
	} {
		if got := local(next); got != want {
			t.Errorf("%q: %q, want %q", next, got, want)
		}
	}
}

// TestHostileLogin: what a visitor types is shown and logged as text.
func TestHostileLogin(t *testing.T) {
	g := newGuarded(Config{Login: Login{Password: testPassword}})
	const hostile = "<script>alert(1)</script>\x1b[31m\u202e"
	cookie := g.logIn(t, hostile+strings.Repeat("x", 2000))
	for _, w := range []*httptest.ResponseRecorder{
		g.send(sent{path: "/console/connectors", cookie: cookie}),
		g.send(sent{path: "/console/login?next=" + url.QueryEscape("/console/"+hostile)}),
		g.send(sent{method: "POST", path: "/console/login", form: url.Values{"next": {hostile}, "name": {hostile}, "password": {hostile}}}),
		g.send(sent{method: "POST", path: "/console/login", form: url.Values{"password": {strings.Repeat("x", 1<<20)}}}),
	} {
		if body := w.Body.String(); strings.Contains(body, "<script>alert") || strings.ContainsAny(body, "\x1b\u202e") || len(body) > 20_000 {
			t.Errorf("status %d: the page has what the visitor typed: %.2000s", w.Code, body)
		}
	}
	if strings.ContainsAny(g.log.String(), "\x1b\u202e") {
		t.Errorf("the log has control characters: %q", g.log)
	}
}
