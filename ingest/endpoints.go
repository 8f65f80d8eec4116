package ingest

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// route is a configured endpoint, and what the server keeps for it.
type route struct {
	endpoint *webhook.Endpoint
	tally    *tally
	secrets  []*secretUse
	metrics  endpointMetrics
}

// routes are the endpoints of a server by connector/name. They never change: see
// [Server.SetEndpoints].
type routes map[string]*route

// secretUse is a secret, and when it last verified a webhook.
type secretUse struct {
	verify.Secret
	matched atomic.Int64 // Unix nanoseconds; 0 is never
	gauge   prometheus.Gauge
}

// lastMatched returns when the secret last verified a webhook; the zero time is never.
func (u *secretUse) lastMatched() time.Time {
	if n := u.matched.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

// setMatched records that the secret verified a webhook.
func (u *secretUse) setMatched(at time.Time) {
	if at.IsZero() {
		u.gauge.Set(0)
		return
	}
	u.matched.Store(at.UnixNano())
	u.gauge.Set(float64(at.UnixMilli()) / 1000)
}

// countSecret records which secret verified the webhook.
func (d *delivery) countSecret() {
	for _, u := range d.route.secrets {
		if u.Name == d.verdict.Secret {
			u.setMatched(d.start)
		}
	}
}

// RemovedSecret is a secret that no endpoint has any more after [Server.SetEndpoints].
type RemovedSecret struct {
	Endpoint    string    // connector/name
	Name        string    // its name in the former configuration
	LastMatched time.Time // when it last verified a webhook at this server; zero if it never did
}

// SetEndpoints replaces all endpoints at once. Webhooks in flight are finished with the
// endpoint that they began with. It returns the secrets that are no longer accepted.
// After an error, which says what is wrong with the endpoints, nothing has changed.
// One goroutine at a time may call it.
func (s *Server) SetEndpoints(all []webhook.Endpoint) ([]RemovedSecret, error) {
	for i, e := range all {
		if err := e.Check(); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all[:i], func(other webhook.Endpoint) bool { return other.ID() == e.ID() }) {
			return nil, fmt.Errorf("endpoint %s is configured twice", e.ID())
		}
	}
	former, next := s.currentRoutes(), routes{}
	for _, e := range all {
		next[e.ID()] = s.newRoute(e, former[e.ID()])
	}
	s.endpoints.Store(&next)
	return s.removeSecrets(former, next), nil
}

// newRoute returns the route of an endpoint. It continues the counts of the endpoint's
// former route, which may be nil.
func (s *Server) newRoute(e webhook.Endpoint, former *route) *route {
	e.Fetcher = s.Fetcher
	r := &route{endpoint: &e, metrics: s.metrics.add(&e)}
	s.history.Load().CountEndpoint(e.Connector, e.NameOrDefault())
	if former == nil {
		r.tally = newTally(&e, s.Now())
	} else {
		r.tally = former.tally
		r.tally.setEndpoint(&e)
	}
	for _, secret := range e.Keys.Secrets {
		u := &secretUse{Secret: secret, gauge: s.metrics.secrets.WithLabelValues(e.Connector, e.NameOrDefault(), secret.Name)}
		u.setMatched(former.lastMatched(secret.Value))
		r.secrets = append(r.secrets, u)
	}
	return r
}

// lastMatched returns when a secret with this value last verified a webhook, whatever
// its name. A nil route has no secrets.
func (r *route) lastMatched(value string) (last time.Time) {
	if r == nil {
		return last
	}
	for _, u := range r.secrets {
		if at := u.lastMatched(); u.Value == value && at.After(last) {
			last = at
		}
	}
	return last
}

// removeSecrets returns the secrets of former routes whose value the next ones do not
// have, and removes the metrics of endpoints and of secrets' names that they do not have.
func (s *Server) removeSecrets(former, next routes) (removed []RemovedSecret) {
	for id, was := range former {
		var secrets []*secretUse
		if r := next[id]; r != nil {
			secrets = r.secrets
		} else {
			s.metrics.remove(was.endpoint)
		}
		for _, u := range was.secrets {
			if !slices.ContainsFunc(secrets, func(n *secretUse) bool { return n.Name == u.Name }) {
				s.metrics.secrets.DeleteLabelValues(was.endpoint.Connector, was.endpoint.NameOrDefault(), u.Name)
			}
			if !slices.ContainsFunc(secrets, func(n *secretUse) bool { return n.Value == u.Value }) {
				removed = append(removed, RemovedSecret{id, u.Name, u.lastMatched()})
			}
		}
	}
	slices.SortFunc(removed, func(a, b RemovedSecret) int {
		return strings.Compare(a.Endpoint+" "+a.Name, b.Endpoint+" "+b.Name)
	})
	return removed
}

// currentRoutes returns the routes of the endpoints that are configured now.
func (s *Server) currentRoutes() routes {
	if r := s.endpoints.Load(); r != nil {
		return *r
	}
	return nil
}

// CurrentEndpoints returns the endpoints that are configured now.
func (s *Server) CurrentEndpoints() []webhook.Endpoint {
	var all []webhook.Endpoint
	for _, r := range s.currentRoutes() {
		all = append(all, *r.endpoint)
	}
	return all
}
