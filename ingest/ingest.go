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
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"github.com/tollbridge/tollbridge/history"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/verify"
)

// Publisher is what ingest asks of Kafka. Publish returns once all in-sync
// replicas have all of the records, with their receipts in the same order; an
// error wraps one of package publish's.
type Publisher interface {
	Publish(ctx context.Context, records []publish.Record) ([]publish.Receipt, error)
}

// Config is what a [Server] is made of. Endpoints and Publisher must be set;
// every zero value has the meaning its comment says.
type Config struct {
	Endpoints []Endpoint
	Publisher Publisher
	History   *history.History // what was published before; nil remembers nothing
	Names     publish.Names
	Ready     func(context.Context) error // nil if the topics are there and Kafka answers; nil func is always ready

	MaxBody     int64         // bytes of one body; 0 is [DefaultMaxBody]
	MaxInFlight int64         // bytes of all bodies under way; 0 is [DefaultMaxInFlight]
	Deadline    time.Duration // from the first byte to the answer; 0 is [DefaultDeadline]; a processor's own is in the table of answers

	Log     zerolog.Logger        // one line a request; the zero Logger writes nothing
	Metrics prometheus.Registerer // nil registers nowhere
	Now     func() time.Time      // nil is time.Now
}

// The defaults of [Config].
const (
	DefaultMaxBody     = 1 << 20
	DefaultMaxInFlight = 64 << 20
	DefaultDeadline    = 4 * time.Second
)

// Server serves webhooks. Make one with [New].
type Server struct {
	Config
	endpoints map[string]*Endpoint // by connector/name
	keyring   verify.Keyring
	inFlight  *semaphore.Weighted
	metrics   *metrics
	echo      *echo.Echo
}

// New returns a server, or says what is wrong with an endpoint.
func New(c Config) (*Server, error) {
	if c.MaxBody == 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = DefaultMaxInFlight
	}
	if c.MaxInFlight <= c.MaxBody {
		return nil, fmt.Errorf("the limit of all bodies, %d bytes, is not above that of one, %d", c.MaxInFlight, c.MaxBody)
	}
	if c.Deadline == 0 {
		c.Deadline = DefaultDeadline
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Server{
		Config:    c,
		endpoints: map[string]*Endpoint{},
		inFlight:  semaphore.NewWeighted(c.MaxInFlight),
		metrics:   newMetrics(c.Metrics),
	}
	for i := range c.Endpoints {
		e := c.Endpoints[i]
		if err := e.Check(); err != nil {
			return nil, err
		}
		if s.endpoints[e.id()] != nil {
			return nil, fmt.Errorf("endpoint %s is there twice", e.id())
		}
		s.endpoints[e.id()] = &e
	}
	s.echo = s.routes()
	return s, nil
}

func (s *Server) routes() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = s.routeError
	for _, path := range []string{"/webhooks/:connector", "/webhooks/:connector/:endpoint"} {
		e.Any(path, s.webhook) // which knows who may ask by GET
	}
	e.POST("/v1/handle_event", s.handleEvent)
	return e
}

// routeError answers what has no handler: an unknown path or method. Handlers
// answer themselves and return no error.
func (s *Server) routeError(err error, c echo.Context) {
	p := s.newPassage(c)
	switch {
	case errors.Is(err, echo.ErrNotFound):
		p.err = errEndpoint
	case errors.Is(err, echo.ErrMethodNotAllowed):
		p.err = errMethod
	default:
		p.err = err
	}
	p.finish(c)
}

// ServeHTTP serves the webhooks' listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, r) }
