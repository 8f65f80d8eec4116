package ingest

import (
	"context"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Admin returns the handler of the second listener, which is not for the
// outside: /metrics for Prometheus, /healthz while the process lives, /readyz
// while webhooks can be acknowledged, /v1/where?id=… with a [history.Place]:
// where the events of a payment are, and nothing of what they say; and Go's
// profiles under /debug/pprof/.
func (s *Server) Admin(g prometheus.Gatherer) http.Handler {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.GET("/metrics", echo.WrapHandler(promhttp.HandlerFor(g, promhttp.HandlerOpts{})))
	e.GET("/healthz", func(c echo.Context) error { return c.String(http.StatusOK, "ok\n") })
	e.GET("/readyz", s.readyz)
	e.GET("/v1/where", s.where)
	e.GET("/debug/pprof/*", echo.WrapHandler(http.HandlerFunc(pprof.Index)))
	e.GET("/debug/pprof/profile", echo.WrapHandler(http.HandlerFunc(pprof.Profile)))
	return e
}

// where tells where the events are that the ids of the query stand for.
func (s *Server) where(c echo.Context) error {
	if s.History == nil {
		return c.String(http.StatusNotFound, "this server remembers nothing\n")
	}
	place, err := s.History.Where(c.QueryParams()["id"]...)
	if err != nil {
		s.Log.Warn().Err(err).Msg("looking for an id")
		return c.String(http.StatusServiceUnavailable, err.Error()+"\n")
	}
	return c.JSON(http.StatusOK, place)
}

func (s *Server) readyz(c echo.Context) error {
	if s.Ready != nil {
		ctx, cancel := context.WithTimeout(c.Request().Context(), 2*time.Second)
		defer cancel()
		if err := s.Ready(ctx); err != nil {
			s.Log.Warn().Err(err).Msg("not ready")
			return c.String(http.StatusServiceUnavailable, "not ready: "+err.Error()+"\n")
		}
	}
	return c.String(http.StatusOK, "ready\n")
}
