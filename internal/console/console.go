// Package console is a web page for people who ask what happened to a payment: support,
// finance, engineers on call. It draws what the commands print, from the same packages:
// a payment in all topics, a webhook and how it was verified, dead letters, topics.
//
// Every page is a URL of its own and works without JavaScript. With the header Accept:
// application/json it is the JSON that the command prints with --json.
//
// It changes nothing unless Write is set. Without a [Login] it answers only requests that
// come over the loopback interface and not through a proxy. Card numbers, secrets and
// personal fields are masked: see [masker]. All text from outside goes through
// html/template and then through [display.Escape], so no page can forget it.
package console

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/internal/groups"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/webhook"
)

// Config configures the console. Reader, Names and Endpoints must be set.
type Config struct {
	Reader *consume.Reader
	// Names returns the topics that exist, or why they are not known yet.
	Names func() (kafka.Names, error)
	// Endpoints returns the endpoints that are configured now. Their secrets verify
	// archived webhooks again, and are masked wherever they appear.
	Endpoints func() []webhook.Endpoint
	// Where is [lookup.Finder.Where]; nil always reads the topics.
	Where func(ctx context.Context, ids []string) (history.Place, error)
	// Topics compares the topics with the configuration.
	Topics func(ctx context.Context) ([]kafka.TopicStatus, error)
	// Groups returns the consumer groups of the topics, and whether there are more: see
	// [groups.Mover.Lags].
	Groups func(ctx context.Context) ([]groups.Lag, bool, error)
	// Connectors describes all connectors, in the order in which they are listed.
	Connectors func() ([]Connector, error)
	// Metrics has the server's counters; nil shows none.
	Metrics prometheus.Gatherer
	// Ready returns why webhooks cannot be acknowledged; a nil function is not asked.
	Ready func(ctx context.Context) error
	// OtherReplicas returns how many other replicas received webhooks in the last ten
	// minutes; a nil function is not asked.
	OtherReplicas func() int
	// Warnings are those of /readyz; a nil function has none.
	Warnings func() []string
	Login    Login
	// Write lets people retry and discard dead letters and replay; Unmask lets them see the
	// personal fields of a webhook or a refused request. Both are logged.
	Write, Unmask bool
	// Client returns the address of the client of a request; nil is that of the connection.
	Client func(*http.Request) netip.Addr
	// Open runs f with a session, of which f must not use anything afterwards. If the job
	// publishes, f holds the lock on the topics, and its context ends when the lock is lost.
	Open func(ctx context.Context, o Opening, f func(context.Context, Session) error) error
	// Process names this process for dead letters that somebody handles without a login:
	// USER@HOST.
	Process string
	// ParseTime parses the time of a field, as the commands parse that of a flag.
	ParseTime func(field, text string, now time.Time) (time.Time, error)
	// MaxReplay is the most events in the topics, and the most webhooks to read, with which a
	// replay may run in this process; 0 is no limit.
	MaxReplay int64
	// Refused is how many of the last refused requests of each endpoint are kept in memory; 0
	// keeps none. See [Handler.KeepRefused].
	Refused int
	// Send are the lines that send a first webhook to this server, for its empty pages.
	Send []string
	Log  zerolog.Logger
}

// Handler serves the console below /console/. Create it with [New].
type Handler struct {
	Config
	mux    *http.ServeMux
	access *access
	inner  http.Handler // the mux, for those who may see the console
	feed   *feed
	jobs   jobs
	scans  chan struct{} // a token for each page that reads whole topics
	// refused are the last refused requests.
	refused    refusedRequests
	diagnosing sync.Mutex // held during a diagnosis

	mu       sync.Mutex
	samples  []sample                    // one a minute, the latest last
	requests map[string]map[*byte]func() // what ends those in progress, by session
}

// New returns the handler of the console.
func New(c Config) *Handler {
	h := &Handler{Config: c, mux: http.NewServeMux(), access: newAccess(c.Login), requests: map[string]map[*byte]func(){}, scans: make(chan struct{}, maxScans)}
	h.inner = h.guard(h.mux)
	h.feed = newFeed(func() *consume.Reader { return c.Reader.Slowed(feedInterval) }, c.Names)
	for path, page := range map[string]func(*http.Request) (view, error){
		"/console/{$}": h.overview, "/console/payment": h.payment, "/console/event": h.event, "/console/webhook": h.webhook,
		"/console/dead": h.dead, "/console/topics": h.topics, "/console/connectors": h.connectors, "/console/live": h.live, "/console/groups": h.groups,
	} {
		h.mux.HandleFunc("GET "+path, h.page(page))
	}
	h.mux.HandleFunc("POST /console/webhook", h.post(h.Unmask, "console.unmask", h.unmask(h.webhook)))
	h.mux.HandleFunc("GET /console/refused", h.page(h.refusals))
	h.mux.HandleFunc("POST /console/refused", h.post(h.Unmask, "console.unmask", h.unmask(h.refusals)))
	h.mux.HandleFunc("GET /console/letter", h.page(h.letter))
	h.mux.HandleFunc("POST /console/dead", h.post(h.canWrite(), "console.write", h.handleLetters))
	h.mux.HandleFunc("GET /console/replay", h.page(h.replay))
	h.mux.HandleFunc("POST /console/replay", h.post(h.canWrite(), "console.write", h.runReplay))
	h.mux.HandleFunc("GET /console/job", h.job)
	h.mux.HandleFunc("POST /console/job", h.post(h.canWrite(), "console.write", h.cancelJob))
	if c.Login.Password != "" {
		h.mux.HandleFunc("GET /console/login", h.page(h.loginForm))
		h.mux.HandleFunc("POST /console/login", h.login)
	}
	h.mux.HandleFunc("POST /console/logout", h.post(true, "", h.logout))
	h.mux.Handle("GET /console", http.RedirectHandler("/console/", http.StatusPermanentRedirect))
	h.mux.HandleFunc("GET /console/live/stream", h.stream)
	h.mux.HandleFunc("GET /console/assets/{name}", asset)
	h.mux.HandleFunc("GET /console/", h.page(func(r *http.Request) (view, error) {
		return view{}, problem{http.StatusNotFound, "The console has no such page.", "Look for a payment, or choose a page above."}
	}))
	return h
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("X-Frame-Options", "DENY")        // for browsers that do not know frame-ancestors
	head.Set("Referrer-Policy", "same-origin") // ids of payments are in the URLs; with no-referrer, forms would have the Origin null
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	head.Set("Cache-Control", "no-store")
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		h.Log.Warn().Str("remote", r.RemoteAddr).Str("path", display.Cut(r.URL.Path, 100)).Msg("console request refused: another site asks for it")
		http.Error(w, "tollbridge console: another site asks for it", http.StatusForbidden)
		return
	}
	h.inner.ServeHTTP(w, r)
}

// view is what a page shows: as HTML by the template with its name, and as JSON.
type view struct {
	template string
	Title    string
	Query    string // what the search field shows
	Here     string // the path of the page in the navigation
	Data     any
	JSON     any
	User     user   // who sees the page
	Token    string // of the forms that the user may send
}

// BeforeLogin reports whether the page is the one to log in on, from which no other can be
// reached.
func (v view) BeforeLogin() bool { return v.template == "login" }

// write writes the page as HTML.
func (v view) write(out *bytes.Buffer) error {
	var body bytes.Buffer
	if err := templates.ExecuteTemplate(&body, v.template, v.Data); err != nil {
		return err
	}
	return templates.ExecuteTemplate(out, "page", struct {
		view
		Body template.HTML // written by a template
	}{v, template.HTML(body.String())})
}

// problem is an error that the page tells its reader.
type problem struct {
	status     int
	Text, Next string // what is wrong, and what to do next
}

func (p problem) Error() string { return p.Text + " " + p.Next }

// unread is a problem that reading whole topics may solve.
type unread struct {
	problem
	Scan string // the URL that reads them
}

func (u unread) Unwrap() error { return u.problem }

// pageTime is how long a page may read from Kafka.
const pageTime = 30 * time.Second

// page returns the handler of a page.
func (h *Handler) page(of func(*http.Request) (view, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), pageTime)
		defer cancel()
		v, err := of(r.WithContext(ctx))
		h.show(w, r, v, err)
	}
}

// show writes a page, or the page of its error.
func (h *Handler) show(w http.ResponseWriter, r *http.Request, v view, err error) {
	if err == nil {
		h.showStatus(w, r, v, http.StatusOK)
		return
	}
	var p problem
	switch {
	case errors.As(err, &p):
	case errors.Is(err, context.DeadlineExceeded):
		p = problem{http.StatusServiceUnavailable, fmt.Sprintf("This could not be read from Kafka within %s.", pageTime), "Try again. The command that does the same has no such limit: see tollbridge --help."}
	default:
		p = problem{http.StatusServiceUnavailable, "This cannot be done now: " + err.Error(), "Try again. If it stays, look at /readyz and at the server's log."}
		h.Log.Warn().Err(err).Str("path", display.Cut(r.URL.Path, 100)).Msg("a page of the console failed")
	}
	u, told := unread{problem: p}, map[string]string{"error": p.Error()}
	if errors.As(err, &u) {
		told["scan"] = u.Scan
	}
	v = view{template: "problem", Title: "Not available", Here: v.Here, Query: v.Query, Data: u, JSON: told}
	switch p.status {
	case http.StatusNotFound:
		v.Title = "Not found"
	case http.StatusForbidden, http.StatusUnauthorized:
		v.Title = "Not allowed"
	}
	h.showStatus(w, r, v, p.status)
}

// showStatus writes a page with a status.
func (h *Handler) showStatus(w http.ResponseWriter, r *http.Request, v view, status int) {
	if v.User = userOf(r); v.User.Login != "" {
		v.Token = h.access.token(v.User)
	}
	var out bytes.Buffer
	var err error
	if wantsJSON(r) {
		w.Header().Set("Content-Type", "application/json")
		if v.Token != "" {
			w.Header().Set(tokenHeader, v.Token)
		}
		e := json.NewEncoder(&out)
		e.SetIndent("", "  ")
		err = e.Encode(v.JSON)
	} else {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		err = v.write(&out)
	}
	if err != nil {
		h.Log.Error().Err(err).Str("path", display.Cut(r.URL.Path, 100)).Msg("a page of the console could not be written")
		http.Error(w, "the page could not be written; the server's log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Vary", "Accept")
	w.WriteHeader(status)
	text, rest := display.Escape(out.Bytes())
	_, _ = w.Write(text) // the browser went away
	for _, b := range rest {
		_, _ = fmt.Fprintf(w, `\u%04x`, b)
	}
}

// wantsJSON reports whether a client asks for JSON and not for HTML.
func wantsJSON(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	return strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}

//go:embed assets
var assetFiles embed.FS

//go:embed pages
var pageFiles embed.FS

// version is part of the URLs of the assets, so that a browser never uses those of
// another version.
var version = func() string {
	digest := sha256.New()
	_ = fs.WalkDir(assetFiles, ".", func(path string, d fs.DirEntry, err error) error {
		if b, err := assetFiles.ReadFile(path); err == nil {
			digest.Write(b)
		}
		return err
	})
	return hex.EncodeToString(digest.Sum(nil))[:12]
}()

// asset serves an embedded file.
func asset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	b, err := assetFiles.ReadFile("assets/" + name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	if r.URL.Query().Get("v") == version {
		w.Header().Set("Cache-Control", "max-age=31536000, immutable")
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
}

// templates are the pages. The functions are those that they share.
var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"version": func() string { return version },
	"cut":     func(s string) string { return display.Cut(s, maxShown) },
	"amount":  display.Amount,
	"tone":    display.ToneOf,
	"utc":     func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") },
	"receipt": kafka.Receipt.Text,
	"count":   count,
	"count64": func(n int64, noun string) string { return count(int(n), noun) },
	"kinds":   func() []string { return []string{kindEvents, kindWebhooks, kindLetters} },
	"link": func(current, page, url, text string) navigation {
		return navigation{url, text, current == page}
	},
}).ParseFS(pageFiles, "pages/*.html"))

// navigation is a link of the page's head.
type navigation struct {
	URL, Text string
	Current   bool // it is this page
}

// maxShown is how many characters of one field a list shows.
const maxShown = 200

// count returns a number with its noun: 1 webhook, 2 webhooks.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// maxScans is how many pages read whole topics at once: each takes memory and CPU.
const maxScans = 2

// scan waits until a page may read whole topics. The caller must call done after it.
func (h *Handler) scan(ctx context.Context) (done func(), err error) {
	select {
	case h.scans <- struct{}{}:
		return func() { <-h.scans }, nil
	case <-ctx.Done():
		return nil, problem{http.StatusServiceUnavailable, fmt.Sprintf("Other pages are reading the topics: at most %d do at once.", maxScans), "Try again in a moment."}
	}
}

// finder returns what finds payments. With scan it reads the topics; without, it reads them
// only if no server can be asked.
func (h *Handler) finder(scan bool) (lookup.Finder, error) {
	names, err := h.Names()
	f := lookup.Finder{Reader: h.Reader, Names: names, Quick: true}
	if !scan {
		f.Where = h.Where
	}
	return f, err
}

// pageSize is how many records a page lists.
const pageSize = 100

// pages are the pages of a list. Numbers begin at 1.
type pages struct {
	Number, Last   int
	First, Through int // the numbers of the entries of this page
	All            int
	Former, Next   string // URLs; empty if there is none
	from, to       int
}

// newPages returns the page of a request, of a list with n entries.
func newPages(r *http.Request, n int) pages {
	p := pages{Number: 1, Last: max(1, (n+pageSize-1)/pageSize), All: n}
	query := r.URL.Query()
	if number, err := strconv.Atoi(query.Get("page")); err == nil {
		p.Number = min(max(1, number), p.Last)
	}
	p.from, p.to = (p.Number-1)*pageSize, min(p.Number*pageSize, n)
	p.First, p.Through = p.from+1, p.to
	link := func(number int) string {
		query.Set("page", strconv.Itoa(number))
		return "?" + query.Encode()
	}
	if p.Number > 1 {
		p.Former = link(p.Number - 1)
	}
	if p.Number < p.Last {
		p.Next = link(p.Number + 1)
	}
	return p
}

// mustJSON returns v as JSON. v must be a type of ours, which JSON can hold.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte(fmt.Sprintf("%q", err.Error()))
	}
	return b
}

// sorted returns the endpoints by name.
func sorted(all []webhook.Endpoint) []webhook.Endpoint {
	return slices.SortedFunc(slices.Values(all), func(a, b webhook.Endpoint) int { return cmp.Compare(a.ID(), b.ID()) })
}
