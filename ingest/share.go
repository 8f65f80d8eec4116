package ingest

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// shares divides a limit, of bytes or of connections, among remote addresses. An
// address may use at most as much as is left for all others. So one address gets at
// most half of the limit, and however much others use, the next address can get as much
// as each of them.
type shares struct {
	mu   sync.Mutex
	room int64
	used int64
	held map[netip.Prefix]int64
}

func newShares(room int64) *shares { return &shares{room: room, held: map[netip.Prefix]int64{}} }

// take reserves n for an address. It returns [errBusy] if the limit is reached,
// and [errShare] if the address has used its share.
func (s *shares) take(of netip.Prefix, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	free := s.room - s.used - n
	switch {
	case free < 0:
		return errBusy
	case s.held[of]+n > free:
		return errShare
	}
	s.used += n
	s.held[of] += n
	return nil
}

// give releases n that an address had reserved.
func (s *shares) give(of netip.Prefix, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= n
	if s.held[of] -= n; s.held[of] == 0 {
		delete(s.held, of) // otherwise the map would keep every address that ever called
	}
}

// addressBlock returns the prefix that shares are counted by: an IPv4 address, or
// the /64 of an IPv6 address, which one host commonly has to itself.
func addressBlock(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // invalid addresses share the invalid prefix
	return p
}

// peer returns the remote address of a connection. It is not valid if there is no
// connection, as in some tests.
func peer(remote string) netip.Addr {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}

// trusts reports whether an address belongs to a trusted proxy.
func (c *Config) trusts(a netip.Addr) bool {
	for _, p := range c.TrustedProxies {
		if p.Contains(a.WithZone("")) {
			return true
		}
	}
	return false
}

// Client returns the address of a request's sender. It is the peer's, or, if that
// is a trusted proxy, the address in X-Forwarded-For or Forwarded (RFC 7239).
// Proxies append to these headers, so Client reads them from the end, up to the
// first address that is not a trusted proxy's: the sender could have written what
// precedes it. A proxy writes one of the two headers and may pass on the other
// unchanged; if both are present and differ, neither is trusted.
func (c *Config) Client(r *http.Request) netip.Addr {
	from := peer(r.RemoteAddr)
	if !c.trusts(from) {
		return from
	}
	xff, forwarded := r.Header["X-Forwarded-For"], r.Header["Forwarded"]
	a := c.nearest(from, strings.Join(xff, ","), func(element string) string { return element })
	b := c.nearest(from, strings.Join(forwarded, ","), forwardedFor)
	switch {
	case len(forwarded) == 0 || a == b:
		return a
	case len(xff) == 0:
		return b
	}
	return from
}

// nearest reads a list of addresses from its end until an address is not a trusted
// proxy's, and returns the last address that it could read.
func (c *Config) nearest(from netip.Addr, list string, read func(element string) string) netip.Addr {
	for list != "" && c.trusts(from) {
		cut := strings.LastIndexByte(list, ',')
		next, ok := readAddr(read(strings.TrimSpace(list[cut+1:])))
		if !ok {
			break // "unknown" or obfuscated: the proxy counts as the sender
		}
		from, list = next, list[:max(cut, 0)]
	}
	return from
}

// forwardedFor returns the address in an element of the Forwarded header, such as for=192.0.2.43;proto=https or For="[2001:db8::1]:4711".
func forwardedFor(element string) string {
	for pair := range strings.SplitSeq(element, ";") {
		name, value, _ := strings.Cut(pair, "=")
		if strings.EqualFold(strings.TrimSpace(name), "for") {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// readAddr parses an address with or without a port.
func readAddr(text string) (netip.Addr, bool) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at.Addr().Unmap(), true
	}
	if inner, ok := strings.CutPrefix(text, "["); ok {
		text = strings.TrimSuffix(inner, "]")
	}
	a, err := netip.ParseAddr(text)
	return a.Unmap(), err == nil
}

// Listener returns l with [Config.MaxConnections] as the limit on open connections.
// Each remote address gets a fair share of it. Connections beyond the limit are closed
// at once. Connections of trusted proxies do not count, because they serve many
// senders.
func (s *Server) Listener(l net.Listener) net.Listener { return &limited{Listener: l, s: s} }

type limited struct {
	net.Listener
	s *Server
}

// Accept returns the next connection within the limit.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := peer(c.RemoteAddr().String())
		if l.s.trusts(from) {
			return c, nil
		}
		of := addressBlock(from)
		if err := l.s.connections.take(of, 1); err != nil {
			l.s.metrics.connectionsRefused.Inc()
			l.s.Log.Debug().Err(err).Stringer("remote", c.RemoteAddr()).Msg("connection refused")
			_ = c.Close()
			continue
		}
		l.s.metrics.connections.Inc()
		return &counted{Conn: c, release: sync.OnceFunc(func() {
			l.s.connections.give(of, 1)
			l.s.metrics.connections.Dec()
		})}, nil
	}
}

// counted is a connection that leaves the count when it is closed.
type counted struct {
	net.Conn
	release func()
}

// Close closes the connection.
func (c *counted) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// CloseWrite closes the sending side. net/http calls it after a response to a
// request whose body it did not read, so that the response arrives.
func (c *counted) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
