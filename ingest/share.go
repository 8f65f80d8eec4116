package ingest

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// shares divides room, such as bytes or connections, among remote addresses. An
// address may hold no more than what is free for all others: one address has at
// most half of the room, and however much some hold, the next can still have as
// much as each of them. There is nothing to configure but the room.
type shares struct {
	mu   sync.Mutex
	room int64
	used int64
	held map[netip.Prefix]int64
}

func newShares(room int64) *shares { return &shares{room: room, held: map[netip.Prefix]int64{}} }

// take gives n of the room to an address, or returns [errBusy] where there is
// no room, and [errShare] where there is, but not for this address.
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

// give takes n of the room back from an address.
func (s *shares) give(of netip.Prefix, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= n
	if s.held[of] -= n; s.held[of] == 0 {
		delete(s.held, of) // or every address that ever called would stay
	}
}

// addressBlock returns the prefix that shares are counted by. One host has a single IPv4
// address, and commonly all of an IPv6 /64.
func addressBlock(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // of an address that is not valid it is not, too: they share one
	return p
}

// peer returns the address at the other end of a connection. It is not valid
// where there is none, as in tests without a network.
func peer(remote string) netip.Addr {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}

// trusts reports whether an address is of a proxy whose word on its clients'
// addresses counts.
func (s *Server) trusts(a netip.Addr) bool {
	for _, p := range s.TrustedProxies {
		if p.Contains(a.WithZone("")) {
			return true
		}
	}
	return false
}

// client returns the address that a request is from: the peer's, or where that
// is a trusted proxy, the one that the proxy names in X-Forwarded-For or
// Forwarded (RFC 7239). Proxies append to these headers, so that they are read
// from the end, up to the first address that is no trusted proxy's: what stands
// before it was written by whoever called. A proxy writes one of the headers and
// may pass on the other as it came. Where both are there and differ, neither is
// believed.
func (s *Server) client(r *http.Request) netip.Addr {
	from := peer(r.RemoteAddr)
	if !s.trusts(from) {
		return from
	}
	xff, forwarded := r.Header["X-Forwarded-For"], r.Header["Forwarded"]
	a := s.nearest(from, strings.Join(xff, ","), func(element string) string { return element })
	b := s.nearest(from, strings.Join(forwarded, ","), forwardedFor)
	switch {
	case len(forwarded) == 0 || a == b:
		return a
	case len(xff) == 0:
		return b
	}
	return from
}

// nearest walks a list of addresses from its end while they are trusted
// proxies', and returns the last that it can read.
func (s *Server) nearest(from netip.Addr, list string, read func(element string) string) netip.Addr {
	for list != "" && s.trusts(from) {
		cut := strings.LastIndexByte(list, ',')
		next, ok := readAddr(read(strings.TrimSpace(list[cut+1:])))
		if !ok {
			break // unknown, or hidden: it is the proxy's to answer for
		}
		from, list = next, list[:max(cut, 0)]
	}
	return from
}

// forwardedFor returns the node that an element of the header Forwarded names,
// such as for=192.0.2.43;proto=https or For="[2001:db8::1]:4711".
func forwardedFor(element string) string {
	for pair := range strings.SplitSeq(element, ";") {
		name, value, _ := strings.Cut(pair, "=")
		if strings.EqualFold(strings.TrimSpace(name), "for") {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// readAddr reads an address with or without a port.
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

// Listener returns l with a bound on the connections that are open at once,
// [Config.MaxConnections], and a fair share of it for each remote address. What
// is beyond is closed at once. Trusted proxies are not counted: they hold the
// connections of many.
func (s *Server) Listener(l net.Listener) net.Listener { return &limited{Listener: l, s: s} }

type limited struct {
	net.Listener
	s *Server
}

// Accept waits for a connection that has a place.
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

// counted is a connection that gives its place back when it is closed.
type counted struct {
	net.Conn
	release func()
}

// Close closes the connection.
func (c *counted) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// CloseWrite ends what is sent and lets what was sent arrive: net/http does so
// with a request whose body it does not read to the end.
func (c *counted) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
