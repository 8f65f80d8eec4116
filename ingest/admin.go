package ingest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// Admin returns the handler of the admin listener, which must not be reachable from
// outside:
//
//	/metrics            for Prometheus
//	/healthz, /livez    200 while the process runs
//	/readyz             200 while webhooks can be acknowledged; warnings in its body
//	/v1/where?id=…      the receipts of a payment's events: a [history.Place]
//	/v1/event_types     which event types came to each endpoint: [EventTypes]
//	/v1/handle_event    if [Config.HandleEvent] says so
//	/debug/pprof/       Go's profiles
//	/console/           [Config.Console], if it is set
//
// It accepts the Host headers localhost, loopback addresses, the address of the
// connection and [Config.AdminHosts], and responds 421 to others. Otherwise a web
// page could read metrics through a browser on this machine (DNS rebinding).
func (s *Server) Admin(g prometheus.Gatherer) http.Handler {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Pre(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if text := refusedHost(c.Request(), s.AdminHosts, s.Log); text != "" {
				return c.String(http.StatusMisdirectedRequest, text)
			}
			return next(c)
		}
	})
	e.GET("/metrics", echo.WrapHandler(promhttp.HandlerFor(g, promhttp.HandlerOpts{})))
	for _, path := range []string{"/healthz", "/livez"} {
		e.GET(path, func(c echo.Context) error { return c.String(http.StatusOK, "ok\n") })
	}
	e.GET("/readyz", s.readyz)
	e.GET("/v1/where", s.where)
	e.GET("/v1/event_types", s.eventTypes)
	if s.HandleEvent == OnAdmin || s.HandleEvent == OnBoth {
		e.POST("/v1/handle_event", func(c echo.Context) error { return s.handleEvent(c, nil) })
	}
	e.GET("/debug/pprof/*", echo.WrapHandler(http.HandlerFunc(pprof.Index)))
	e.GET("/debug/pprof/profile", echo.WrapHandler(http.HandlerFunc(pprof.Profile)))
	if s.Console != nil {
		e.Any("/console", echo.WrapHandler(s.Console))
		e.Any("/console/*", echo.WrapHandler(s.Console))
	}
	return e
}

// KnownHosts returns a handler that passes on requests whose Host header [Server.Admin]
// would accept with these [Config.AdminHosts], and responds 421 to others.
func KnownHosts(hosts []string, log zerolog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if text := refusedHost(r, hosts, log); text != "" {
			http.Error(w, strings.TrimSuffix(text, "\n"), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refusedHost logs a request with another host and returns the text of the response; it
// returns "" if the host is accepted.
func refusedHost(r *http.Request, hosts []string, log zerolog.Logger) string {
	if answersTo(r, hosts) {
		return ""
	}
	log.Warn().Str("host", shorten(r.Host)).Str("path", shorten(r.URL.Path)).Str("remote", r.RemoteAddr).Msg("admin request refused: its host is not in admin_hosts")
	return fmt.Sprintf("the Host header is %q, want localhost, the listener's own address or a name in admin_hosts\n", shorten(r.Host))
}

// answersTo reports whether a request's host is accepted.
func answersTo(r *http.Request, hosts []string) bool {
	host := hostname(r.Host)
	if a, err := netip.ParseAddr(host); err == nil {
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && a.Unmap() == peer(local.String()) {
			return true
		}
	}
	return kafka.IsLoopback(host) || strings.HasSuffix(host, ".localhost") ||
		slices.ContainsFunc(hosts, func(h string) bool { return hostname(h) == host })
}

// hostname returns the host of a Host header in lower case, without the port, the
// brackets of an IPv6 address and a trailing dot.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// checkHosts returns an error for text that is not the name or address of a host.
func checkHosts(hosts []string) error {
	for _, h := range hosts {
		name := strings.Trim(strings.ToLower(h), "abcdefghijklmnopqrstuvwxyz0123456789-_.")
		if _, err := netip.ParseAddr(h); err != nil && (h == "" || name != "") {
			return fmt.Errorf("admin_hosts: %q is not the name or the address of a host, without a port, such as tollbridge.internal", h)
		}
	}
	return nil
}

// where responds with the receipts of the events of the ids in the query.
func (s *Server) where(c echo.Context) error {
	h, err := s.currentHistory()
	switch {
	case err != nil:
		return c.String(http.StatusServiceUnavailable, err.Error()+"\n")
	case h == nil:
		return c.String(http.StatusNotFound, "this server keeps no history\n")
	}
	place, err := h.Where(c.QueryParams()["id"]...)
	if err != nil {
		s.Log.Warn().Err(err).Msg("lookup of an id failed")
		return c.String(http.StatusServiceUnavailable, err.Error()+"\n")
	}
	return c.JSON(http.StatusOK, place)
}

func (s *Server) readyz(c echo.Context) error {
	const stopping = "not ready: the server is stopping\n"
	if s.stopping.Load() {
		return c.String(http.StatusServiceUnavailable, stopping)
	}
	if s.Ready != nil {
		ctx, cancel := context.WithTimeout(c.Request().Context(), 2*time.Second)
		defer cancel()
		if err := s.Ready(ctx); err != nil {
			s.Log.Warn().Err(err).Msg("not ready")
			return c.String(http.StatusServiceUnavailable, "not ready: "+err.Error()+"\n")
		}
	}
	if s.stopping.Load() { // Ready can take long, and a late 200 would attract webhooks
		return c.String(http.StatusServiceUnavailable, stopping)
	}
	text := "ready\n"
	if h := s.history.Load(); h != nil {
		for _, w := range h.Warnings() {
			text += "warning: " + w + "\n"
		}
	}
	return c.String(http.StatusOK, text)
}
