package kafka

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
)

// Check connects to the brokers of the configuration, one after the other, until one
// answers a request for metadata. Its error has a line for each broker. If a port is open
// but does not speak what is configured, the line says what to change: Check finds that
// out by connecting in other ways, without sending credentials.
func (c Config) Check(ctx context.Context) error {
	var errs []error
	for _, address := range c.Brokers {
		err := c.checkBroker(ctx, address)
		if err == nil {
			return nil
		}
		if hint := c.diagnose(ctx, address, err); hint != "" {
			err = fmt.Errorf("%w: %s", err, hint)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// checkBroker requests metadata from a broker.
func (c Config) checkBroker(ctx context.Context, address string) error {
	n, err := c.Dial(ctx, address)
	if err != nil {
		return err
	}
	defer n.Close()
	if _, err = n.Metadata([]string{}); err != nil {
		return fmt.Errorf("broker %s: requesting metadata: %w", address, err)
	}
	return nil
}

// diagnose returns what to change so that a connection that failed with err succeeds, or
// "" if that is not known.
func (c Config) diagnose(ctx context.Context, address string, err error) string {
	s := c.security()
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var coded kafkago.Error
	errors.As(err, &coded)
	switch {
	case errors.As(err, &authority):
		return "set kafka.tls.ca to the certificate authority of the brokers"
	case errors.As(err, &host):
		return "use the name in the broker's certificate as its address, or set kafka.tls.server_name to it"
	case coded == kafkago.IllegalSASLState:
		return noSASL
	case coded == kafkago.SASLAuthenticationFailed:
		return "check kafka.sasl.username and password"
	case coded != 0, !isOpen(ctx, address):
		return ""
	case speaksHTTP(ctx, address):
		return "the port speaks HTTP, it is not a Kafka broker: use the port of the brokers, usually 9092"
	case s.TLS == nil && speaksTLS(ctx, address):
		return "the port speaks TLS: set kafka.tls ({} trusts the certificate authorities of the system), or use the port of a listener without TLS"
	}
	plain := Config{Brokers: c.Brokers, ClientID: c.ClientID}
	if s.TLS != nil && plain.answers(ctx, address) {
		return "the port does not speak TLS: remove kafka.tls, or use the port of a listener with TLS"
	}
	if s.TLS != nil && strings.Contains(err.Error(), "certificate") {
		return "the broker wants another client certificate: see kafka.tls.cert and kafka.tls.key"
	}
	if open := (Config{Brokers: c.Brokers, ClientID: c.ClientID, TLS: s.TLS}); s.SASL != nil && open.checkBroker(ctx, address) == nil {
		return noSASL
	}
	if s.SASL == nil {
		if mechanisms := c.mechanisms(ctx, address); len(mechanisms) > 0 {
			return fmt.Sprintf("the port wants SASL: set kafka.sasl; the broker supports %s", strings.Join(mechanisms, ", "))
		}
	}
	return ""
}

const noSASL = "the port does not use SASL: remove kafka.sasl, or use the port of a listener with SASL"

// probeTimeout is how long each of the other ways to connect may take.
const probeTimeout = 500 * time.Millisecond

// probe calls f with a connection, which is closed afterwards. It returns false if there
// is none.
func probe(ctx context.Context, address string, f func(net.Conn) bool) bool {
	d := net.Dialer{Timeout: probeTimeout}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(probeTimeout))
	return f(conn)
}

// isOpen reports whether something listens at the address.
func isOpen(ctx context.Context, address string) bool {
	return probe(ctx, address, func(net.Conn) bool { return true })
}

// speaksHTTP reports whether an HTTP server listens at the address.
func speaksHTTP(ctx context.Context, address string) bool {
	return probe(ctx, address, func(conn net.Conn) bool {
		if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
			return false
		}
		start := make([]byte, 5)
		_, err := io.ReadFull(conn, start)
		return err == nil && bytes.Equal(start, []byte("HTTP/"))
	})
}

// speaksTLS reports whether a TLS server listens at the address, whether or not it accepts
// the connection.
func speaksTLS(ctx context.Context, address string) bool {
	return probe(ctx, address, func(conn net.Conn) bool {
		err := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx) // nothing is sent over it
		var alert tls.AlertError
		return err == nil || errors.As(err, &alert) || strings.Contains(err.Error(), "remote error: tls:")
	})
}

// answers reports whether a broker answers the first request of a connection.
func (c Config) answers(ctx context.Context, address string) bool {
	n, err := c.Dial(ctx, address)
	if err != nil {
		return false
	}
	n.Close()
	return true
}

// mechanisms returns the SASL mechanisms of a broker; none if its port does not use SASL.
func (c Config) mechanisms(ctx context.Context, address string) []string {
	n, err := c.Dial(ctx, address)
	if err != nil {
		return nil
	}
	defer n.Close()
	var m protocol.Message
	if m, err = n.RoundTrip(&saslhandshake.Request{Mechanism: "PLAIN"}, RequestTimeout); err != nil {
		return nil
	}
	r := m.(*saslhandshake.Response)
	if kafkago.Error(r.ErrorCode) == kafkago.IllegalSASLState {
		return nil
	}
	if len(r.Mechanisms) == 0 {
		return []string{"PLAIN"}
	}
	return r.Mechanisms
}
