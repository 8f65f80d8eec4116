// Package ingest is the HTTP server. For each webhook it runs these stages:
//
//	receive    the exact bytes of the body, under limits
//	verify     is the webhook from its processor?             webhook, verify
//	fetch      what does it only name?                        webhook, fetch
//	normalise  which facts does it report?                    webhook, normalize
//	admit      which events are new, and under which key?     history
//	publish    the events and the archived webhook, to Kafka  publish
//	respond    2xx if and only if Kafka acknowledged all of it
//
// Only a verified payload is parsed. Every verified webhook is archived in
// webhooks.received, or in webhooks.dead if an item of it is malformed. The
// response is the one that the processor expects.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// Config configures a [Server]. Endpoints and Publisher must be set; every other
// zero value has the meaning that its comment gives.
type Config struct {
	Endpoints []webhook.Endpoint
	Publisher history.Publisher
	History   *history.History // nil publishes redeliveries again
	Fetcher   *fetch.Client    // asks the processors' APIs; nil is a client with default settings
	Names     kafka.Names
	// Starting makes the server refuse webhooks with 503 until [Server.Start] sets its
	// history. History is nil then.
	Starting bool
	Ready    func(context.Context) error // returns nil if the topics exist and Kafka responds; a nil function is always ready

	MaxBody        int64         // bytes of one body; 0 is [DefaultMaxBody]
	MaxInFlight    int64         // bytes of all bodies in flight; 0 is [DefaultMaxInFlight]
	MaxConnections int64         // open connections of [Server.Listener], and webhooks in flight; 0 is [DefaultMaxConnections]
	Deadline       time.Duration // from the end of the headers to the response; 0 is [DefaultDeadline]; some processors have a longer one

	// TrustedProxies are the proxies whose X-Forwarded-For and Forwarded headers
	// are trusted. Limits then apply to the addresses that these headers name.
	TrustedProxies []netip.Prefix
	// HandleEvent selects the listeners that serve POST /v1/handle_event; empty is
	// [OnAdmin].
	HandleEvent Exposure
	// AdminHosts are the Host headers that [Server.Admin] accepts beside localhost
	// and its own address.
	AdminHosts []string
	Console    http.Handler // answers /console/ of the admin listener; nil is none

	// Refused is called with each request to an endpoint that is refused because it is not
	// verified or its body cannot be read; nil is not called. It must return quickly, and must
	// copy what it keeps of the header and the body: they are reused after the call.
	Refused func(webhook.Refused)

	Log     zerolog.Logger        // one line per request; the zero Logger writes nothing
	Metrics prometheus.Registerer // nil registers nowhere
	Tracer  trace.Tracer          // of OpenTelemetry; nil makes no spans
	Now     func() time.Time      // nil is time.Now
}

// The defaults of [Config].
const (
	DefaultMaxBody        = 1 << 20
	DefaultMaxInFlight    = 64 << 20
	DefaultMaxConnections = 8192
	DefaultDeadline       = 4 * time.Second
)

// MaxMaxBody is the largest [Config.MaxBody]: the record of the archived webhook
// also has headers, which need some room.
const MaxMaxBody = kafka.ArchiveMaxMessageBytes - 128<<10

// Exposure selects the listeners that serve POST /v1/handle_event.
type Exposure string

// The exposures of handle_event.
const (
	OnAdmin  Exposure = "admin"  // only the admin listener
	OnPublic Exposure = "public" // only the webhooks' listener
	OnBoth   Exposure = "both"
	OnNone   Exposure = "off"
)

// Server serves webhooks. Make one with [New].
type Server struct {
	Config
	endpoints   atomic.Pointer[routes]
	history     atomic.Pointer[history.History]
	keyring     verify.Keyring
	inFlight    *shares        // of MaxInFlight
	connections *shares        // of MaxConnections: open connections
	webhooks    *shares        // of MaxConnections: webhooks in flight
	asked       verify.Keyring // for handle_event, so that its callers cannot use up the webhooks' key fetches
	judging     chan struct{}  // bounds how many handle_event requests are judged at once
	stopping    atomic.Bool
	metrics     *metrics
	echo        *echo.Echo
}

// New returns a server. An error says what is wrong with the configuration.
func New(c Config) (*Server, error) {
	if c.MaxBody == 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = DefaultMaxInFlight
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = DefaultMaxConnections
	}
	if c.MaxBody > MaxMaxBody {
		return nil, fmt.Errorf("max_body is %d bytes, want at most %d: with its headers a webhook must fit into one record, and the topics of archived webhooks accept %d bytes",
			c.MaxBody, MaxMaxBody, kafka.ArchiveMaxMessageBytes)
	}
	if c.MaxInFlight < 2*c.MaxBody {
		return nil, fmt.Errorf("max_in_flight is %d bytes, want at least twice max_body, %d: one address has at most half of it", c.MaxInFlight, 2*c.MaxBody)
	}
	switch c.HandleEvent {
	case "":
		c.HandleEvent = OnAdmin
	case OnAdmin, OnPublic, OnBoth, OnNone:
	default:
		return nil, fmt.Errorf("handle_event is %q, want admin, public, both or off", c.HandleEvent)
	}
	if err := checkHosts(c.AdminHosts); err != nil {
		return nil, err
	}
	if c.Deadline == 0 {
		c.Deadline = DefaultDeadline
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Server{
		Config:      c,
		inFlight:    newShares(c.MaxInFlight),
		connections: newShares(c.MaxConnections),
		webhooks:    newShares(c.MaxConnections),
		judging:     make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		metrics:     newMetrics(c.Metrics),
	}
	if s.Fetcher == nil {
		s.Fetcher = &fetch.Client{}
	}
	s.Fetcher.Observe = s.fetched
	if s.Tracer != nil {
		s.Fetcher.Wrap = func(t http.RoundTripper) http.RoundTripper { return tracedTransport{t, s.Tracer} }
	}
	s.history.Store(c.History)
	if _, err := s.SetEndpoints(c.Endpoints); err != nil {
		return nil, err
	}
	if c.Metrics != nil {
		c.Metrics.MustRegister(blockedCollector{s})
	}
	s.keyring.Failed, s.asked.Failed = s.keyFailed, s.keyFailed
	s.echo = s.routes()
	return s, nil
}

func (s *Server) keyFailed(url string, err error) {
	s.Log.Warn().Str("url", shorten(url)).Err(err).Msg("a processor's key could not be fetched")
}

// fetched counts a request to a processor's API, and logs a key that it refuses: another
// key may still work.
func (s *Server) fetched(call fetch.Call) {
	s.metrics.countFetch(call)
	if call.Result == fetch.ResultCredentials && call.Sent {
		s.Log.Error().Str("connector", call.Connector).Str("key", call.Key).
			Msg("the processor's API refuses the key: replace it in api.keys, or give it the rights that `tollbridge connectors` lists")
	}
}

func (s *Server) routes() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = s.routeError
	for _, path := range []string{"/webhooks/:connector", "/webhooks/:connector/:endpoint"} {
		e.Any(path, s.deliver) // deliver checks the method: some processors use GET
	}
	if s.HandleEvent == OnPublic || s.HandleEvent == OnBoth {
		e.POST("/v1/handle_event", func(c echo.Context) error { return s.handleEvent(c, s.configured) })
	}
	return e
}

// routeError responds to an unknown path or method. Handlers respond themselves
// and return no error.
func (s *Server) routeError(err error, c echo.Context) {
	d := s.newDelivery(c, "")
	switch {
	case errors.Is(err, echo.ErrNotFound):
		d.err = errEndpoint
	case errors.Is(err, echo.ErrMethodNotAllowed):
		d.err = errMethod
	default:
		d.err = err
	}
	d.respond(c)
}

// ServeHTTP handles the requests of the webhooks' listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// net/http reads the rest of an unread body before it responds. This must not
	// take longer than reading a body.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.Deadline))
	if s.stopping.Load() { // the sender's next webhook then goes to another replica
		w.Header().Set("Connection", "close")
	}
	s.echo.ServeHTTP(w, r)
}

// errStarting is the error of webhooks before [Server.Start].
var errStarting = fmt.Errorf("%w: the server is starting: it has not reached Kafka yet", kafka.ErrUnavailable)

// Start sets the history of a server that was made with [Config.Starting]. The server
// accepts webhooks from then on.
func (s *Server) Start(h *history.History) {
	s.history.Store(h)
	for _, r := range s.currentRoutes() {
		h.CountEndpoint(r.endpoint.Connector, r.endpoint.NameOrDefault())
	}
}

// currentHistory returns the history, which is nil if the server has none. It returns
// errStarting before [Server.Start].
func (s *Server) currentHistory() (*history.History, error) {
	h := s.history.Load()
	if h == nil && s.Starting {
		return nil, errStarting
	}
	return h, nil
}

// names returns the names of the topics. Those of the history also have the ids of the
// events' schemas, which are not known before it was opened.
func (s *Server) names() kafka.Names {
	if h := s.history.Load(); h != nil {
		return h.Names
	}
	return s.Names
}

// Stop makes /readyz return 503, so that load balancers send no new webhooks.
// Webhooks are still accepted.
func (s *Server) Stop() { s.stopping.Store(true) }
