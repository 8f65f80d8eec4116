// Package ingest is the HTTP face of tollbridge. It takes a webhook, has it
// verified, normalised and published, and answers as its processor expects:
//
//	read      the exact bytes, once, under limits
//	verify    is it from whom it says?                       verify
//	normalize what happened, in our words?                   normalize
//	admit     was it published before, and under which key?  history
//	publish   events, and the webhook as it came, to Kafka   publish
//	answer    2xx if and only if Kafka has all of it
//
// Nothing unverified is parsed, nothing unacknowledged is answered 2xx, and
// nothing verified is thrown away: every webhook is also written as it came, to
// webhooks.received, or to webhooks.dead if something in it is not what the
// processor documents.
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

	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// Config is what a [Server] is made of. Endpoints and Publisher must be set;
// every zero value has the meaning its comment says.
type Config struct {
	Endpoints []webhook.Endpoint
	Publisher history.Publisher
	History   *history.History // what was published before; nil remembers nothing
	Names     kafka.Names
	Ready     func(context.Context) error // nil if the topics are there and Kafka answers; nil func is always ready

	MaxBody        int64         // bytes of one body; 0 is [DefaultMaxBody]
	MaxInFlight    int64         // bytes of all bodies under way; 0 is [DefaultMaxInFlight]
	MaxConnections int64         // connections of [Server.Listener], and webhooks, at once; 0 is [DefaultMaxConnections]
	Deadline       time.Duration // from the end of the headers to the answer; 0 is [DefaultDeadline]; a processor's own is in the table of answers

	// TrustedProxies are the proxies that tell the truth about whom they forward
	// a request for. Limits are shared among the addresses that they name.
	TrustedProxies []netip.Prefix
	// HandleEvent says where POST /v1/handle_event is answered; empty is
	// [OnAdmin].
	HandleEvent Exposure
	// AdminHosts are names, beside localhost, that [Server.Admin] may be called by.
	AdminHosts []string

	Log     zerolog.Logger        // one line a request; the zero Logger writes nothing
	Metrics prometheus.Registerer // nil registers nowhere
	Now     func() time.Time      // nil is time.Now
}

// The defaults of [Config].
const (
	DefaultMaxBody        = 1 << 20
	DefaultMaxInFlight    = 64 << 20
	DefaultMaxConnections = 8192
	DefaultDeadline       = 4 * time.Second
)

// MostBody is the largest [Config.MaxBody]: beside a body of that size the
// record that keeps it has room for what else is kept of a request.
const MostBody = kafka.ArchiveMaxMessageBytes - 128<<10

// Exposure says which listeners answer POST /v1/handle_event.
type Exposure string

// The exposures of handle_event.
const (
	OnAdmin  Exposure = "admin"  // the admin listener alone
	OnPublic Exposure = "public" // the listener of the webhooks alone
	OnBoth   Exposure = "both"
	OnNone   Exposure = "off"
)

// Server serves webhooks. Make one with [New].
type Server struct {
	Config
	endpoints   map[string]*webhook.Endpoint // by connector/name
	keyring     verify.Keyring
	inFlight    *shares        // of MaxInFlight
	connections *shares        // of MaxConnections
	webhooks    *shares        // of as many
	asked       verify.Keyring // of handle_event: its callers take nothing from webhooks
	judging     chan struct{}  // of handle_event: a place for each that may be judged at once
	stopping    atomic.Bool
	metrics     *metrics
	echo        *echo.Echo
}

// New returns a server, or says what is wrong with an endpoint.
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
	if c.MaxBody > MostBody {
		return nil, fmt.Errorf("max_body is %d bytes, want at most %d: with its headers a webhook must fit into one record, and the topics that keep webhooks take %d bytes",
			c.MaxBody, MostBody, kafka.ArchiveMaxMessageBytes)
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
		endpoints:   map[string]*webhook.Endpoint{},
		inFlight:    newShares(c.MaxInFlight),
		connections: newShares(c.MaxConnections),
		webhooks:    newShares(c.MaxConnections),
		judging:     make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		metrics:     newMetrics(c.Metrics),
	}
	for i := range c.Endpoints {
		e := c.Endpoints[i]
		if err := e.Check(); err != nil {
			return nil, err
		}
		if s.endpoints[e.ID()] != nil {
			return nil, fmt.Errorf("endpoint %s is there twice", e.ID())
		}
		s.endpoints[e.ID()] = &e
	}
	s.keyring.Failed, s.asked.Failed = s.keyFailed, s.keyFailed
	s.echo = s.routes()
	return s, nil
}

func (s *Server) keyFailed(url string, err error) {
	s.Log.Warn().Str("url", shorten(url)).Err(err).Msg("a processor's key could not be fetched")
}

func (s *Server) routes() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = s.routeError
	for _, path := range []string{"/webhooks/:connector", "/webhooks/:connector/:endpoint"} {
		e.Any(path, s.deliver) // which knows who may ask by GET
	}
	if s.HandleEvent == OnPublic || s.HandleEvent == OnBoth {
		e.POST("/v1/handle_event", func(c echo.Context) error { return s.handleEvent(c, s.configured) })
	}
	return e
}

// routeError answers what has no handler: an unknown path or method. Handlers
// answer themselves and return no error.
func (s *Server) routeError(err error, c echo.Context) {
	d := s.newDelivery(c)
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

// ServeHTTP serves the webhooks' listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A body that nobody reads is dropped before the answer, and must not take
	// longer than one that is read.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.Deadline))
	s.echo.ServeHTTP(w, r)
}

// Stop has /readyz say that the server is stopping, so that nothing new is
// sent to it. All else goes on.
func (s *Server) Stop() { s.stopping.Store(true) }
