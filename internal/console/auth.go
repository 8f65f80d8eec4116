package console

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/alexedwards/scs/v2"
	"github.com/rs/zerolog"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"

	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/internal/kafka"
)

// Login says how people log in. The zero value has no login: then the console answers
// only requests that come over the loopback interface and not through a proxy.
type Login struct {
	// Password is the password, or its bcrypt hash as 'htpasswd -nB' prints it; empty is
	// none.
	Password string
	Proxy    *Proxy // nil trusts no proxy
}

// Proxy is a proxy in front of the console that logs people in, and says who they are in a
// header. It proves itself by a secret in another header.
type Proxy struct {
	Header       string // has the name of the user; empty is [DefaultUserHeader]
	SecretHeader string // has the secret; empty is [DefaultSecretHeader]
	Secret       string
}

// The defaults of [Proxy].
const (
	DefaultUserHeader   = "X-Forwarded-User"
	DefaultSecretHeader = "X-Tollbridge-Proxy-Secret"
)

// The least lengths of a password and of a proxy's secret, in bytes.
const (
	minPassword = 12
	minSecret   = 16
)

// Required reports whether people must log in.
func (l Login) Required() bool { return l.Password != "" || l.Proxy != nil }

// Check returns an error for a login that does not protect. It names no secret.
func (l Login) Check() error {
	var errs []error
	switch {
	case l.Password == "":
	case isHash(l.Password):
		if _, err := bcrypt.Cost([]byte(l.Password)); err != nil {
			errs = append(errs, fmt.Errorf("console.password: it begins like a bcrypt hash and is none: %w", err))
		}
	case len(l.Password) < minPassword:
		errs = append(errs, fmt.Errorf("console.password: it has %d characters; want at least %d", len(l.Password), minPassword))
	}
	if p := l.Proxy; p != nil {
		if len(p.Secret) < minSecret {
			errs = append(errs, fmt.Errorf("console.proxy.secret: it has %d characters; want at least %d", len(p.Secret), minSecret))
		}
		for name, header := range map[string]string{"header": p.userHeader(), "secret_header": p.secretHeader()} {
			if strings.Trim(strings.ToLower(header), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
				errs = append(errs, fmt.Errorf("console.proxy.%s: %q is not the name of a header, such as %s", name, header, DefaultUserHeader))
			}
		}
		if strings.EqualFold(p.userHeader(), p.secretHeader()) {
			errs = append(errs, fmt.Errorf("console.proxy: header and secret_header are both %s; want two headers", p.userHeader()))
		}
	}
	return errors.Join(errs...)
}

// isHash reports whether a password is given as its bcrypt hash.
func isHash(password string) bool {
	return strings.HasPrefix(password, "$2a$") || strings.HasPrefix(password, "$2b$") || strings.HasPrefix(password, "$2y$")
}

// userHeader returns the name of the header with the name of the user.
func (p *Proxy) userHeader() string {
	return cmp.Or(p.Header, DefaultUserHeader)
}

// secretHeader returns the name of the header with the secret.
func (p *Proxy) secretHeader() string {
	return cmp.Or(p.SecretHeader, DefaultSecretHeader)
}

// loopbackAddress reports whether an address, host:port, can only be reached from this
// machine.
func loopbackAddress(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && kafka.IsLoopback(host)
}

// CheckListen returns an error if the console can be reached at an address from other
// machines, and needs a login there. key names the address in the error.
func (l Login) CheckListen(key, address string) error {
	if l.Required() || loopbackAddress(address) {
		return nil
	}
	return fmt.Errorf("%s: %s can be reached from other machines, and there the console needs a login: "+
		"a password (console: {password: {env: TOLLBRIDGE_CONSOLE_PASSWORD}}), or a proxy that logs people in "+
		"(console: {proxy: {header: %s, secret: {env: TOLLBRIDGE_CONSOLE_PROXY_SECRET}}}). "+
		"Or use a loopback address, such as 127.0.0.1:9090, and reach it with 'ssh -L' or 'kubectl port-forward'", key, address, DefaultUserHeader)
}

// user is a person who uses the console.
type user struct {
	Name  string // as the audit log and dead letters have it
	Login string // how they logged in: password, proxy, or loopback for no login
	// session identifies the session or the user, for the token of forms.
	session string
}

// The ways to log in, as the audit log has them.
const (
	byPassword = "password"
	byProxy    = "proxy"
	byLoopback = "loopback"
)

// unverified is the name of somebody whose login failed, in the audit log.
const unverified = "unverified"

// userKey is the key of the user in a request's context.
type userKey struct{}

// userOf returns who makes a request.
func userOf(r *http.Request) user {
	u, _ := r.Context().Value(userKey{}).(user)
	return u
}

// The limits of a session.
const (
	sessionIdle     = 30 * time.Minute // without a request
	sessionLifetime = 12 * time.Hour
)

// cookieName is the name of the session's cookie.
const cookieName = "tollbridge_console"

// access decides who may use the console. Sessions are those of scs, in memory: a restart
// ends them, and another replica does not know them.
type access struct {
	login         atomic.Pointer[Login]
	plain, secure *scs.SessionManager // of one store; the second one's cookies are for TLS only
	guesses       guesses
	key           [32]byte   // makes the tokens of forms
	comparing     sync.Mutex // bcrypt is slow on purpose: one comparison at a time
	origins       *http.CrossOriginProtection
}

// newAccess returns the access to a console with a login.
func newAccess(l Login) *access {
	a := &access{plain: scs.New(), origins: http.NewCrossOriginProtection()}
	a.login.Store(&l)
	a.plain.IdleTimeout, a.plain.Lifetime = sessionIdle, sessionLifetime
	a.plain.Cookie.Name, a.plain.Cookie.Path = cookieName, "/console/"
	a.plain.Cookie.HttpOnly, a.plain.Cookie.SameSite, a.plain.Cookie.Persist = true, http.SameSiteStrictMode, false
	secure := *a.plain
	secure.Cookie.Secure = true
	a.secure = &secure
	_, _ = rand.Read(a.key[:]) // never fails
	return a
}

// sessions returns the sessions whose cookies suit a request. A client that lies in
// X-Forwarded-Proto gets a cookie that it does not send back.
func (a *access) sessions(r *http.Request) *scs.SessionManager {
	if r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		return a.secure
	}
	return a.plain
}

// The keys of a session's data: the user's name, and a signature of the password.
const (
	sessionUser     = "user"
	sessionPassword = "password"
)

// errNoLogin is the error of a request without a valid login.
var errNoLogin = errors.New("you are not logged in")

// enter returns who makes a request, or why nobody is let in.
func (a *access) enter(r *http.Request) (user, error) {
	login := a.login.Load()
	if !login.Required() {
		if text := notLocal(r); text != "" {
			return user{}, problem{http.StatusForbidden, "This is only for people on this machine: " + text, tunnel}
		}
		return user{Name: byLoopback, Login: byLoopback, session: byLoopback}, nil
	}
	if p := login.Proxy; p != nil {
		secrets, names := r.Header.Values(p.secretHeader()), r.Header.Values(p.userHeader())
		switch {
		case len(secrets) == 0 && login.Password != "": // not through the proxy
		case len(secrets) != 1 || !equal(secrets[0], p.Secret):
			return user{}, problem{http.StatusUnauthorized, "The request did not come through the proxy that logs people in.", "Open the console at the proxy's address. If you did, its secret in the header " + p.secretHeader() + " is not that of console.proxy.secret."}
		case len(names) != 1 || userName(names[0]) == "":
			return user{}, problem{http.StatusUnauthorized, "The proxy does not say who you are.", "It must send one header " + p.userHeader() + ", and remove those that come from outside."}
		default:
			name := userName(names[0])
			return user{Name: name, Login: byProxy, session: byProxy + ":" + name}, nil
		}
	}
	s := a.sessions(r)
	name := s.GetString(r.Context(), sessionUser)
	if name == "" || s.GetString(r.Context(), sessionPassword) != a.signed(login.Password) { // or the password was changed
		return user{}, errNoLogin
	}
	return user{Name: name, Login: byPassword, session: s.Token(r.Context())}, nil
}

// maxUserName is how many characters of a user's name are kept.
const maxUserName = 60

// userName returns a name as the audit log has it: printable characters, and not too many.
func userName(s string) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) && c != unicode.ReplacementChar {
			return c
		}
		return -1
	}, s)
	return display.Cut(strings.TrimSpace(s), maxUserName)
}

// notLocal returns why a request does not come from this machine itself; "" if it does.
func notLocal(r *http.Request) string {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip"} {
		if r.Header.Get(name) != "" {
			return "without a login the console is not for users behind a proxy (the request has the header " + name + ")."
		}
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil || !loopbackAddress(local.String()) || !loopbackAddress(r.RemoteAddr) {
		return "without a login the console answers only on the loopback interface."
	}
	return ""
}

// tunnel says how to reach the console from another machine.
const tunnel = "Configure a login (console.password or console.proxy), or use 'kubectl port-forward' or 'ssh -L 9090:127.0.0.1:9090 HOST' and open http://127.0.0.1:9090/console/"

// equal compares secrets in a time that does not depend on where they differ.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// rightPassword reports whether a password is the configured one, which may be a hash.
func (a *access) rightPassword(password, configured string) bool {
	if !isHash(configured) {
		return equal(password, configured)
	}
	a.comparing.Lock()
	defer a.comparing.Unlock()
	return bcrypt.CompareHashAndPassword([]byte(configured), []byte(password)) == nil
}

// token returns the token that the forms of a user's pages have. Other sites cannot read
// it, and it is no longer valid after the session.
func (a *access) token(u user) string { return a.signed(u.session) }

// signed returns the signature of a text.
func (a *access) signed(text string) string {
	m := hmac.New(sha256.New, a.key[:])
	m.Write([]byte(text))
	return hex.EncodeToString(m.Sum(nil))
}

// SetLogin replaces the password and what is known of the proxy. If the password is another
// one, the sessions end, with their requests in progress. It can neither add nor remove
// one of the two.
func (h *Handler) SetLogin(l Login) {
	if former := h.access.login.Swap(&l); former.Password == l.Password {
		return
	}
	_ = h.access.plain.Iterate(context.Background(), h.access.plain.Destroy) // in memory: never fails
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, requests := range h.requests {
		for _, end := range requests {
			end()
		}
	}
}

// The limits of guesses of the password: from one address (from one /64 of IPv6), and from
// all. With the second, bcrypt takes at most a part of one CPU.
const (
	guessBurst, guessEvery       = 5, 12 * time.Second
	allGuessBurst, allGuessEvery = 20, 250 * time.Millisecond
	maxGuessers                  = 4096 // addresses that are remembered
)

// guesses limits how often passwords are tried.
type guesses struct {
	mu  sync.Mutex
	all *rate.Limiter
	by  map[netip.Prefix]*rate.Limiter
}

// allow reports whether an address may try a password now.
func (g *guesses) allow(from netip.Addr, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all == nil {
		g.all = rate.NewLimiter(rate.Every(allGuessEvery), allGuessBurst)
	}
	if g.by == nil || len(g.by) >= maxGuessers { // a client with that many addresses is still limited by all
		g.by = map[netip.Prefix]*rate.Limiter{}
	}
	from = from.Unmap().WithZone("")
	bits := from.BitLen()
	if from.Is6() {
		bits = 64
	}
	block, _ := from.Prefix(bits) // invalid addresses share the invalid prefix
	one := g.by[block]
	if one == nil {
		one = rate.NewLimiter(rate.Every(guessEvery), guessBurst)
		g.by[block] = one
	}
	return one.AllowN(now, 1) && g.all.AllowN(now, 1)
}

// client returns the address of the client of a request.
func (h *Handler) client(r *http.Request) netip.Addr {
	if h.Client != nil {
		return h.Client(r)
	}
	a, _ := netip.ParseAddrPort(r.RemoteAddr)
	return a.Addr()
}

// loginPage is the data of the page with the form.
type loginPage struct {
	Next  string // where to go after the login
	Wrong string // why the last attempt failed
}

// loginForm shows the form.
func (h *Handler) loginForm(r *http.Request) (view, error) {
	return view{template: "login", Title: "Log in", Data: loginPage{Next: local(r.URL.Query().Get("next"))}, JSON: map[string]string{"error": errNoLogin.Error()}}, nil
}

// local returns the path of a page of the console, as a login goes to it: the first page
// instead of anything else.
func local(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, "/console/") || strings.HasPrefix(u.Path, "/console/log") || strings.Contains(u.Path, "..") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/console/"
	}
	return u.RequestURI()
}

// maxLoginForm is the most bytes of the form of a login: anybody can send it.
const maxLoginForm = 8 << 10

// login checks the password and begins a session.
func (h *Handler) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxLoginForm)
	if err := r.ParseForm(); err != nil {
		h.show(w, r, view{}, problem{http.StatusBadRequest, "The form could not be read.", "Open /console/login and try again."})
		return
	}
	next := local(r.PostForm.Get("next"))
	again := func(status int, text string) {
		h.showStatus(w, r, view{template: "login", Title: "Log in", Data: loginPage{next, text}, JSON: map[string]string{"error": text}}, status)
	}
	if !h.access.guesses.allow(h.client(r), time.Now()) {
		w.Header().Set("Retry-After", fmt.Sprint(int(guessEvery.Seconds())))
		again(http.StatusTooManyRequests, "Too many attempts. Wait a few seconds and try again.")
		return
	}
	name, configured := userName(r.PostForm.Get("name")), h.access.login.Load().Password
	if !h.access.rightPassword(r.PostForm.Get("password"), configured) {
		// The password may have been typed into the field of the name.
		h.audit(r, user{Name: unverified, Login: byPassword}, "login_failed").Msg("a login to the console failed: wrong password")
		again(http.StatusUnauthorized, "The password is wrong.")
		return
	}
	if name == "" {
		name = "unnamed"
	}
	s := h.access.sessions(r)
	former := s.Token(r.Context())
	if err := s.RenewToken(r.Context()); err != nil { // so that a token that somebody planted is not used
		h.show(w, r, view{}, err)
		return
	}
	h.endRequests(former)
	s.Put(r.Context(), sessionUser, name)
	s.Put(r.Context(), sessionPassword, h.access.signed(configured))
	h.audit(r, user{Name: name, Login: byPassword}, "login").Msg("somebody logged in to the console")
	h.redirect(w, r, next)
}

// logout ends the session.
func (h *Handler) logout(w http.ResponseWriter, r *http.Request) {
	u := userOf(r)
	if u.Login != byPassword {
		h.show(w, r, view{}, problem{http.StatusBadRequest, "There is no session to end.", "You are logged in by " + u.Login + "."})
		return
	}
	if err := h.access.sessions(r).Destroy(r.Context()); err != nil {
		h.show(w, r, view{}, err)
		return
	}
	h.endRequests(u.session)
	h.audit(r, u, "logout").Msg("somebody logged out of the console")
	h.redirect(w, r, "/console/login")
}

// redirect answers a form with the page that shows its result; a client that asks for JSON
// gets its address.
func (h *Handler) redirect(w http.ResponseWriter, r *http.Request, to string) {
	if wantsJSON(r) {
		w.Header().Set("Location", to)
		h.showStatus(w, r, view{JSON: map[string]string{"location": to}}, http.StatusOK)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// audit begins a line of the audit log: who does what, from where. It is written at every
// log level.
func (h *Handler) audit(r *http.Request, u user, what string) *zerolog.Event {
	return h.Log.Log().Str("audit", what).Str("who", u.Name).Str("login", u.Login).Stringer("remote", h.client(r))
}

// guard answers those who may not see the console, and passes on the requests of others
// with their user.
func (h *Handler) guard(next http.Handler) http.Handler {
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.access.origins.Check(r); err != nil {
			h.Log.Warn().Stringer("remote", h.client(r)).Str("path", display.Cut(r.URL.Path, 100)).Err(err).Msg("console request refused: another site sent it")
			h.show(w, r, view{}, problem{http.StatusForbidden, "Another site sent this form.", "Open the console and send it from there."})
			return
		}
		login := h.access.login.Load()
		if r.URL.Path == "/console/login" && login.Password != "" || strings.HasPrefix(r.URL.Path, "/console/assets/") && login.Required() {
			next.ServeHTTP(w, r)
			return
		}
		u, err := h.access.enter(r)
		ctx, end := r.Context(), func() {}
		if err == nil {
			ctx, end, err = h.during(context.WithValue(ctx, userKey{}, u), u)
		}
		defer end()
		switch {
		case errors.Is(err, errNoLogin) && !wantsJSON(r) && r.Method == http.MethodGet:
			http.Redirect(w, r, "/console/login?"+url.Values{"next": {local(r.URL.RequestURI())}}.Encode(), http.StatusSeeOther)
			return
		case errors.Is(err, errNoLogin):
			err = problem{http.StatusUnauthorized, "You are not logged in.", "Send the password as the field password of a form to /console/login, and keep the cookie."}
			fallthrough
		case err != nil:
			h.Log.Warn().Stringer("remote", h.client(r)).Str("path", display.Cut(r.URL.Path, 100)).Err(err).Msg("console request refused")
			h.show(w, r, view{}, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
	if h.access.login.Load().Password == "" {
		return inner
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.access.sessions(r).LoadAndSave(inner).ServeHTTP(w, r)
	})
}

// during registers a request of a user, and returns its context and a function that must be
// called at the end of the request. The context ends when the user logs out, at the latest
// when the longest session ends. It returns [errNoLogin] if the user has just logged out.
func (h *Handler) during(ctx context.Context, u user) (context.Context, func(), error) {
	if u.Login != byPassword {
		return ctx, func() {}, nil
	}
	inSession := ctx
	ctx, cancel := context.WithDeadline(ctx, h.access.plain.Deadline(ctx))
	id := new(byte)
	h.mu.Lock()
	if h.requests[u.session] == nil {
		h.requests[u.session] = map[*byte]func(){}
	}
	h.requests[u.session][id] = func() {
		_ = h.access.plain.Destroy(inSession) // in memory: never fails
		cancel()
	}
	h.mu.Unlock()
	end := func() {
		cancel()
		h.mu.Lock()
		defer h.mu.Unlock()
		if delete(h.requests[u.session], id); len(h.requests[u.session]) == 0 {
			delete(h.requests, u.session)
		}
	}
	// A logout between the read of the session and the registration did not see this request.
	if _, found, err := h.access.plain.Store.Find(u.session); err != nil || !found {
		_ = h.access.plain.Destroy(inSession)
		return ctx, end, cmp.Or(err, errNoLogin)
	}
	return ctx, end, nil
}

// endRequests cancels the requests in progress of a session that was ended. It ends the
// session in each of them, too: their responses would store it again.
func (h *Handler) endRequests(session string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, end := range h.requests[session] {
		end()
	}
}
