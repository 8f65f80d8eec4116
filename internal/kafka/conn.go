package kafka

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"
)

// Conn is an authenticated connection to a broker. One goroutine at a time may use it; any
// goroutine may close it.
type Conn struct {
	conn         *protocol.Conn
	negotiated   map[protocol.ApiKey]int16 // the request versions that both sides support
	expires      time.Time                 // when the SASL session ends; zero: never
	stopWatching func() bool
}

// Dial connects to a broker; address is host:port. The connection is closed when ctx is
// done.
func (c Config) Dial(ctx context.Context, address string) (*Conn, error) {
	d := net.Dialer{Timeout: DialTimeout}
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		// Closing the connection drops what is not sent yet, and so does the timeout while
		// this process is suspended: no request may reach the broker much later.
		_ = errors.Join(tcp.SetLinger(0), setUserTimeout(tcp, ProduceTimeout))
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	giveUp := func(err error) (*Conn, error) {
		stop()
		_ = raw.Close()
		return nil, fmt.Errorf("broker %s: %w", address, err)
	}
	deadline := time.Now().Add(HandshakeTimeout)
	_ = raw.SetDeadline(deadline)
	security := c.security()
	secure, err := security.handshake(ctx, raw, address)
	if err != nil {
		return giveUp(err)
	}
	n := &Conn{conn: protocol.NewConn(&firstAnswer{Conn: secure}, c.clientID()), stopWatching: stop}
	if err := n.negotiateVersions(); err != nil {
		return giveUp(err)
	}
	if m := security.SASL; m != nil {
		if err := n.authenticate(ctx, m, address); err != nil {
			return giveUp(fmt.Errorf("sasl %s: %w", m.Name(), err))
		}
	}
	return n, nil
}

// firstAnswer is a connection whose first answer must have the size of one of Kafka's.
// The answer of another server, such as HTTP's, would be read as a size of a gigabyte, and
// kafka-go would reserve it.
type firstAnswer struct {
	net.Conn
	checked bool
	rest    []byte // of the size, which was read to be checked
}

// maxFirstAnswer is more than the bytes of any answer about API versions.
const maxFirstAnswer = 1 << 20

// Read reads from the connection.
func (f *firstAnswer) Read(b []byte) (int, error) {
	if !f.checked {
		f.checked, f.rest = true, make([]byte, 4)
		if _, err := io.ReadFull(f.Conn, f.rest); err != nil {
			return 0, err
		}
		if binary.BigEndian.Uint32(f.rest) > maxFirstAnswer {
			return 0, fmt.Errorf("the answer is not one of a Kafka broker: it starts with %q", f.rest)
		}
	}
	if len(f.rest) > 0 {
		n := copy(b, f.rest)
		f.rest = f.rest[n:]
		return n, nil
	}
	return f.Conn.Read(b)
}

// handshake returns the connection with TLS, if TLS is configured.
func (s Security) handshake(ctx context.Context, raw net.Conn, address string) (net.Conn, error) {
	if s.TLS == nil {
		return raw, nil
	}
	t := s.TLS
	if t.ServerName == "" {
		t = t.Clone()
		t.ServerName, _, _ = net.SplitHostPort(address)
	}
	secured := tls.Client(raw, t)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return secured, nil
}

// dialSecure opens a connection with TLS, if TLS is configured, for a kafka-go transport.
func (c Config) dialSecure(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: DialTimeout}
	raw, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, HandshakeTimeout)
	defer cancel()
	secure, err := c.security().handshake(ctx, raw, address)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return secure, nil
}

// renewedMechanism is the SASL mechanism that the configuration has when a connection
// starts.
type renewedMechanism struct{ Config }

// Name returns the name of the mechanism.
func (m renewedMechanism) Name() string { return m.security().SASL.Name() }

// Start starts an authentication.
func (m renewedMechanism) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	return m.security().SASL.Start(ctx)
}

// negotiateVersions selects the version of each kind of request.
func (n *Conn) negotiateVersions() error {
	m, err := n.conn.RoundTrip(new(apiversions.Request))
	if err != nil {
		return fmt.Errorf("requesting its API versions: %w", err)
	}
	use := map[protocol.ApiKey]int16{} // without heartbeats: kafka-go 0.4.51 reads the fields of later versions in the wrong order
	for _, k := range m.(*apiversions.Response).ApiKeys {
		switch key := protocol.ApiKey(k.ApiKey); key {
		case protocol.Produce, protocol.Metadata, protocol.InitProducerId, protocol.DescribeConfigs,
			protocol.Fetch, protocol.ListOffsets, protocol.SaslHandshake, protocol.SaslAuthenticate,
			protocol.FindCoordinator, protocol.JoinGroup, protocol.SyncGroup, protocol.LeaveGroup,
			protocol.AddPartitionsToTxn, protocol.EndTxn:
			use[key] = key.SelectVersion(k.MinVersion, k.MaxVersion)
			if most, ok := maxVersions[key]; ok {
				use[key] = max(k.MinVersion, min(use[key], most))
			}
		}
	}
	if use[protocol.Produce] < 3 {
		return errors.New("it is older than Kafka 0.11, the first with idempotent producers")
	}
	n.conn.SetVersions(use)
	n.negotiated = use
	return nil
}

// maxVersions limits the versions of requests to less than kafka-go supports. From version
// 11 of Fetch on, followers may answer a consumer, too, and a follower's log may lack
// acknowledged records.
// https://cwiki.apache.org/confluence/display/KAFKA/KIP-392%3A+Allow+consumers+to+fetch+from+closest+replica
var maxVersions = map[protocol.ApiKey]int16{protocol.Fetch: 10}

func (n *Conn) authenticate(ctx context.Context, mechanism sasl.Mechanism, address string) error {
	m, err := n.conn.RoundTrip(&saslhandshake.Request{Mechanism: mechanism.Name()})
	if err != nil {
		return err
	}
	if r := m.(*saslhandshake.Response); r.ErrorCode != 0 {
		return fmt.Errorf("%w: the broker supports %v", kafkago.Error(r.ErrorCode), r.Mechanisms)
	}
	host, _, _ := net.SplitHostPort(address)
	state, say, err := mechanism.Start(sasl.WithMetadata(ctx, &sasl.Metadata{Host: host}))
	for done := false; !done && err == nil; {
		if m, err = n.conn.RoundTrip(&saslauthenticate.Request{AuthBytes: say}); err != nil {
			return err
		}
		r := m.(*saslauthenticate.Response)
		if r.ErrorCode != 0 {
			return fmt.Errorf("%w: %s", kafkago.Error(r.ErrorCode), r.ErrorMessage)
		}
		if r.SessionLifetimeMs > 0 {
			n.expires = time.Now().Add(time.Duration(r.SessionLifetimeMs) * time.Millisecond * 8 / 10)
		}
		done, say, err = state.Next(ctx, r.AuthBytes)
	}
	return err
}

// RoundTrip sends a request and returns the response. After an error the connection must be
// closed.
func (n *Conn) RoundTrip(m protocol.Message, within time.Duration) (protocol.Message, error) {
	if err := n.conn.SetDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	return n.conn.RoundTrip(m)
}

// Metadata requests the metadata of topics. LeaderEpoch is -1 if the broker is too old to
// return it. After an error the connection must be closed.
func (n *Conn) Metadata(topics []string) (*metadata.Response, error) {
	m, err := n.RoundTrip(&metadata.Request{TopicNames: topics}, RequestTimeout)
	if err != nil {
		return nil, err
	}
	r := m.(*metadata.Response)
	if n.negotiated[protocol.Metadata] < leaderEpochVersion {
		for _, t := range r.Topics {
			for i := range t.Partitions {
				t.Partitions[i].LeaderEpoch = -1
			}
		}
	}
	return r, nil
}

// leaderEpochVersion is the first version of metadata responses with leader epochs.
// https://cwiki.apache.org/confluence/display/KAFKA/KIP-320%3A+Allow+fetchers+to+detect+and+handle+log+truncation
const leaderEpochVersion = 7

// Close closes the connection. A RoundTrip that waits for a response fails.
func (n *Conn) Close() {
	n.stopWatching()
	_ = n.conn.Close()
}

// Expired reports whether the SASL session of the connection is about to expire.
func (n *Conn) Expired() bool { return !n.expires.IsZero() && time.Now().After(n.expires) }
